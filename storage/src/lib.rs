//! The log: segments in Kafka's names and bytes, appended by direct I/O, made durable by one commit
//! loop per shard, recovered after kill and power loss, trimmed by retention.
//!
//! Storage knows no clients and computes no high watermark. All state lives on one shard, apart from
//! [`LogDir`], which all shards share and which is never touched on the data path beyond one flag.
#![forbid(unsafe_code)]

mod append;
mod append_validation;
mod at_once;
mod checkpoint;
mod checkpoint_checksum;
mod checkpoint_files;
mod commit_loop;
mod config;
mod creation;
mod decompress;
pub mod dump_log;
mod error;
mod journal;
mod journal_entry;
mod journal_replay;
mod leader_epoch_cache;
mod log;
mod log_dir;
mod log_manager;
mod log_segment;
mod maintenance;
mod meta_properties;
mod offset_index;
mod opening;
mod prewrite;
mod producer_budget;
mod producer_expiry;
mod producer_snapshot;
mod producer_state;
mod producer_table;
mod read;
mod read_cache;
mod read_memory;
mod records;
mod recovery;
mod removal;
mod replay;
mod retention;
mod retention_due;
mod scan;
mod shard;
mod stats;
mod tail;
mod time_check;
mod time_index;
mod timestamps;

pub use config::{CommitMode, LOCK_PATIENCE, LogConfig, LogDirOptions, LogManagerOptions, SealedRead};
pub use decompress::unpacked_records;
pub use error::{AppendError, ReadError, StorageError};
pub use log::{AppendInfo, AppendOrigin, Log, LogListener, LogRead, MemoryPart, ReadPart, TimestampOffset};
pub use log_dir::LogDir;
pub use log_manager::LogManager;
pub use producer_budget::PRODUCER_BYTES;
pub use read::ReadLimits;
pub use read_memory::{ReadMemory, Unmetered};
pub use records::{BrokenRule, ClientBatch, RecordChecker, RecordRules};
pub use stats::{Histogram, StorageStats};
