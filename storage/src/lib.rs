//! The log: segments in Kafka's names and bytes, appended by direct I/O, made durable by one commit
//! loop per shard, recovered after kill and power loss, trimmed by retention.
//!
//! Storage knows no clients and computes no high watermark. All state lives on one shard, apart from
//! [`LogDir`], which all shards share and which is never touched on the data path beyond one flag.
#![forbid(unsafe_code)]

mod config;
mod error;
mod log;
mod log_dir;
mod log_manager;
mod stats;

pub use config::{CommitMode, LogConfig, LogDirOptions, LogManagerOptions, SealedRead};
pub use error::{AppendError, ReadError, StorageError};
pub use log::{AppendInfo, AppendOrigin, Log, LogListener, LogRead, ReadPart, TimestampOffset};
pub use log_dir::LogDir;
pub use log_manager::LogManager;
pub use stats::{Histogram, StorageStats};
