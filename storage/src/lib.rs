//! The log: segments in Kafka's names and bytes, appended by direct I/O, made durable by one commit
//! loop per shard, recovered after kill and power loss, trimmed by retention.
//!
//! Storage knows no clients and computes no high watermark. All state lives on one shard, apart from
//! [`LogDir`], which all shards share and which is never touched on the data path beyond one flag.
#![forbid(unsafe_code)]

mod at_once;
mod commit;
mod config;
mod decompress;
mod dir;
pub mod dump_log;
mod error;
mod log;
mod manager;
#[cfg_attr(not(any(test, feature = "mutants")), expect(unreachable_pub, reason = "tests see it"))]
mod mutant;
mod producer;
mod records;
mod recovery;
mod segment;
mod shard;
mod stats;
mod upkeep;

pub use config::{CommitMode, LOCK_PATIENCE, LogConfig, LogDirOptions, LogManagerOptions, SealedRead};
pub use decompress::unpacked_records;
pub use dir::LogDir;
pub use error::{AppendError, ReadError, StorageError, TruncateError};
pub use log::events::{LogEvent, LogSubscriber};
pub use log::origin::AppendOrigin;
pub use log::producers::ActiveProducer;
pub use log::read_memory::{ReadMemory, Unmetered};
pub use log::{AppendInfo, Log, TimestampOffset};
pub use manager::{AppendTurn, LogManager};
#[cfg(any(test, feature = "mutants"))]
pub use mutant::{Mutant, plant};
pub use producer::budget::PRODUCER_BYTES;
pub use records::{BrokenRule, ClientBatch, RecordChecker, RecordRules};
pub use segment::log_read::{LogRead, MemoryPart, ReadLimits, ReadPart};
pub use stats::{Histogram, StorageStats};
pub use upkeep::truncate::CutCommitted;
