//! Settings of logs and of the shard that holds them. `broker` declares the settings for users and fills these in.

use std::time::Duration;

use model::{NodeId, TimestampType};

/// What an acknowledgement waits for (`durability` of a topic, as far as one broker's disk is concerned).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CommitMode {
    /// `durable_end` passes a batch when it is on stable storage.
    #[default]
    Fsync,
    /// `durable_end` passes a batch when the kernel has taken it, as Kafka does; for comparisons on equal terms.
    Kafka,
}

/// How sealed segments are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SealedRead {
    /// Hand out file ranges to be sent by sendfile.
    Sendfile,
    /// Read by direct I/O into memory and verify checksums.
    #[default]
    Direct,
}

/// The settings of one log; may be replaced while the log is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_ms: u64,
    /// `segment.jitter.ms`: at most this much is taken off `segment_ms`, by chance, per segment.
    pub segment_jitter_ms: u64,
    /// `segment.index.bytes`: size of the offset index that makes a segment roll.
    pub segment_index_bytes: u64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u64,
    /// `retention.ms`; `None` keeps for ever.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`; `None` is without limit.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy` contains `delete`.
    pub delete_retention: bool,
    /// `cleanup.policy` contains `compact`. Clients must give every record a key; nothing is compacted yet.
    pub compact: bool,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: u64,
    /// `max.message.bytes`: the largest record batch.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms` (KIP-937).
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms` (KIP-937).
    pub timestamp_after_max_ms: i64,
    /// What `durable_end` means for this log.
    pub commit_mode: CommitMode,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(7 * 24 * 3_600_000),
            retention_bytes: None,
            delete_retention: true,
            compact: false,
            file_delete_delay_ms: 60_000,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            commit_mode: CommitMode::Fsync,
        }
    }
}

/// How long a start waits for the lock of a broker that was killed. The kernel finishes its writes in milliseconds
/// unless the device is stuck.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How to open a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirOptions {
    /// `node.id`, written to a new directory and compared with the one in an old directory.
    pub node_id: NodeId,
    /// `cluster.id` for a new directory; `None` draws one. If both are there they must be the same.
    pub cluster_id: Option<String>,
    /// Locks the directory against a second broker, and waits so long for one that has just been killed. Off only where the
    /// disk is simulated: the lock is one of the operating system's.
    pub lock: Option<Duration>,
}

impl Default for LogDirOptions {
    fn default() -> Self {
        Self { node_id: NodeId(1), cluster_id: None, lock: Some(LOCK_PATIENCE) }
    }
}

/// The settings of all logs of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogManagerOptions {
    /// How sealed segments are read.
    pub sealed_read: SealedRead,
    /// Verify checksums of what direct reads return.
    pub verify_reads: bool,
    /// Bytes of append chunks (pending and cached) that this shard may hold.
    pub append_bytes_max: usize,
    /// Bytes of memory that keep what reads found in files, beside the append chunks; 0 keeps nothing.
    pub read_cache_bytes: u64,
    /// Appends of clients are refused while the file system has less room than this.
    pub disk_reserve_bytes: u64,
    /// `log.retention.check.interval.ms`.
    pub retention_check_ms: u64,
    /// A log is checkpointed after this many bytes...
    pub checkpoint_bytes: u64,
    /// ... or this much time, if it changed.
    pub checkpoint_ms: u64,
    /// After this long without an append a log is checkpointed, its file cut to its logical length.
    pub idle_ms: u64,
    /// After this long without an append a log gives back its append chunks.
    pub chunk_idle_ms: u64,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: u64,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_expiry_check_ms: u64,
    /// Producers that the logs of this shard remember, apart from the first few of each.
    pub producers_max: usize,
    /// Deleted segments and partitions are unlinked at most one per this time, large ones bit by bit.
    pub unlink_pause: Duration,
    /// Sealed segments with an open file or loaded indexes that this shard keeps.
    pub sealed_open_max: usize,
    /// Files of active segments that this shard keeps open if nothing is to be written to them.
    pub active_open_max: usize,
    /// Whether files are prewritten ahead of small appends.
    pub prewrite: bool,
    /// Bytes of the journal that acknowledges small appends to several logs by one write; 0 does without.
    pub journal_bytes: u64,
}

impl LogManagerOptions {
    /// Logs that are sealed, checkpointed or closed at the same time: each opens some files.
    pub(crate) fn upkeep_max(&self) -> usize {
        (self.active_open_max / FILES_OF_UPKEEP).clamp(1, UPKEEP_MAX)
    }
}

impl Default for LogManagerOptions {
    fn default() -> Self {
        Self {
            sealed_read: SealedRead::Direct,
            verify_reads: true,
            append_bytes_max: 256 << 20,
            read_cache_bytes: 64 << 20,
            disk_reserve_bytes: 64 << 20,
            retention_check_ms: 300_000,
            checkpoint_bytes: 64 << 20,
            checkpoint_ms: 30_000,
            idle_ms: 1_000,
            chunk_idle_ms: 10_000,
            producer_id_expiration_ms: 86_400_000,
            producer_expiry_check_ms: 600_000,
            producers_max: 100_000,
            unlink_pause: Duration::from_millis(20),
            sealed_open_max: 256,
            active_open_max: 4096,
            prewrite: true,
            journal_bytes: 1 << 20,
        }
    }
}

/// Logs that are looked after at the same time ...
const UPKEEP_MAX: usize = 64;

/// ... each with so many files open.
const FILES_OF_UPKEEP: usize = 4;
