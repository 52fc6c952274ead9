//! What can go wrong below the log. `broker` maps each reason to Kafka's error code in one place.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};

use model::{BatchError, Offset, ProducerEpoch, ProducerId, Sequence, TopicId};

use crate::RecordRules;

/// Why a log was not cut at its end.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TruncateError {
    /// Committed records would go, and the partition's record does not allow that.
    #[error(
        "offset {requested} lies below the high watermark {high_watermark}: committed records are not cut off"
    )]
    BelowHighWatermark {
        /// Where it was to be cut.
        requested: Offset,
        /// What is below is committed.
        high_watermark: Offset,
    },
    /// The log starts behind the offset: it is to be reset.
    #[error("the log cannot end at offset {requested}, since it starts at {log_start}")]
    BelowLogStart {
        /// Where it was to be cut.
        requested: Offset,
        /// The first offset of the log.
        log_start: Offset,
    },
    /// The log is offline, or files could not be changed: if that may pass, the same call ends what was begun.
    #[error("{0}")]
    Storage(#[from] StorageError),
}

/// A failure of the data directory or of one log as a whole.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused an operation on a file.
    #[error("{action} {path}: {message}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kind, to tell a full disk from a broken one.
        kind: io::ErrorKind,
        /// What the system said.
        message: String,
    },
    /// Another broker uses the directory.
    #[error("{path} is in use by another broker (its lock is taken)")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory belongs to another node or cluster, or was written in an unknown format.
    #[error("{path}: {message}")]
    Mismatch {
        /// The file that says so.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
    /// The directory of a partition is that of another topic of the same name, which was not deleted to the end.
    #[error(
        "{path} belongs to the topic with the id {found}, not to the one with the id {expected}, unless its partition.metadata is damaged; correct that, or move the directory away"
    )]
    OtherTopic {
        /// The directory.
        path: PathBuf,
        /// The topic it belongs to.
        found: TopicId,
        /// The topic that was asked for.
        expected: TopicId,
    },
    /// Files of a partition are gone. Nothing was created in their place.
    #[error(
        "{path} is missing, but the checkpoints know of records below offset {below}; restore it, or delete the topic"
    )]
    Missing {
        /// The file or directory.
        path: PathBuf,
        /// The records that were there lie below.
        below: Offset,
    },
    /// Data that was once durable is damaged. The log stays offline, nothing was changed.
    #[error("{path} is damaged at byte {position} (offset {offset}): {message}")]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// The first bad byte.
        position: u64,
        /// The offset that was expected there.
        offset: Offset,
        /// What is wrong.
        message: String,
    },
    /// A write or sync of this data directory has failed before; nothing is written any more.
    #[error("the data directory has failed: {0}")]
    DirectoryFailed(String),
    /// The log has been closed or deleted.
    #[error("the log is closed")]
    Closed,
    /// The log is being cut at its end: see [`crate::Log::truncate_to`].
    #[error("the log is being truncated")]
    Truncating,
    /// The shard's memory is spent.
    #[error("no memory left in the shard's budget")]
    OverBudget,
}

impl StorageError {
    /// An error of the operating system, with the place where it happened.
    pub(crate) fn io(action: &'static str, path: &Path, error: &io::Error) -> Self {
        // An error of `runtime::Disk` names the path as well; once is enough.
        let message = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Self::Io { action, path: path.to_owned(), kind: error.kind(), message }
    }

    /// Whether the same may succeed later: the disk is full, or there are no descriptors left (see `runtime::Disk`). Then
    /// the directory is not to be given up.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.is_busy() || self.is_disk_full()
    }

    /// Whether the process has no descriptors left.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Io { kind: io::ErrorKind::ResourceBusy, .. })
    }

    /// Whether a log that could not be opened for this reason may open later although nobody repairs anything: the reason
    /// passes, or memory was short.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.is_passing()
            || matches!(self, Self::OverBudget | Self::Io { kind: io::ErrorKind::OutOfMemory, .. })
    }

    /// Whether the disk is full, which passes, unlike other failures.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { kind: io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, .. })
    }
}

/// Why a batch was not appended; nothing was stored.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The bytes are not a record batch: cut off, or the checksum is wrong (CORRUPT_MESSAGE).
    #[error("{0}")]
    Corrupt(BatchError),
    /// A message format before version 2 (UNSUPPORTED_FOR_MESSAGE_FORMAT).
    #[error("message format {0} is not supported, only 2")]
    UnsupportedMagic(i8),
    /// A batch that breaks the rules, whatever topic it is for (INVALID_RECORD).
    #[error("{message}")]
    InvalidRecord {
        /// Which rule.
        message: String,
    },
    /// A codec that Kafka does not define (UNSUPPORTED_COMPRESSION_TYPE).
    #[error("unknown compression codec {0}")]
    UnsupportedCompression(i16),
    /// Records break a rule of the topic: [`crate::RecordChecker::offenders`] names them (INVALID_TIMESTAMP or
    /// INVALID_RECORD).
    #[error("records break a rule of the topic")]
    RecordsRefused(RecordRules),
    /// Larger than `max.message.bytes` (MESSAGE_TOO_LARGE).
    #[error("the record batch has {size} bytes, more than the configured maximum of {max}")]
    TooLarge {
        /// Bytes of the batch.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// Larger than a segment may be (RECORD_LIST_TOO_LARGE).
    #[error("the record batch has {size} bytes, more than a segment of {max} holds")]
    LargerThanSegment {
        /// Bytes of the batch.
        size: usize,
        /// The limit.
        max: u64,
    },
    /// The sequence does not follow the producer's last one (OUT_OF_ORDER_SEQUENCE_NUMBER).
    #[error(
        "out of order sequence for producer {producer_id} at offset {offset}: {incoming} incoming, {current} current"
    )]
    OutOfOrderSequence {
        /// The producer.
        producer_id: ProducerId,
        /// The sequence of the batch.
        incoming: Sequence,
        /// The last one stored.
        current: Sequence,
        /// Where the batch would have gone.
        offset: Offset,
    },
    /// A newer instance of the producer has written (INVALID_PRODUCER_EPOCH).
    #[error("epoch {incoming} of producer {producer_id} is older than {current}, the last seen")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// The epoch of the batch.
        incoming: ProducerEpoch,
        /// The last one seen.
        current: ProducerEpoch,
    },
    /// A newer coordinator has ended a transaction of the producer (TRANSACTION_COORDINATOR_FENCED).
    #[error(
        "epoch {incoming} of the coordinator of producer {producer_id} is older than {current}, the last seen"
    )]
    CoordinatorFenced {
        /// The producer.
        producer_id: ProducerId,
        /// The coordinator's epoch in the marker.
        incoming: i32,
        /// The last one seen.
        current: i32,
    },
    /// A leader's batch does not go on where the follower's log ends. The caller may know why: the leader's log starts within
    /// the batch, or the batch came twice.
    #[error("a batch of offsets {first} to {last}, where the log goes on at {expected}")]
    UnexpectedOffset {
        /// The batch's first offset.
        first: Offset,
        /// Its last offset.
        last: Offset,
        /// The end of the log, or of the batch before.
        expected: Offset,
    },
    /// No room on the disk; try again later (KAFKA_STORAGE_ERROR).
    #[error("the disk is full: {available} bytes left, {reserve} are kept in reserve")]
    DiskFull {
        /// Bytes left.
        available: u64,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// The memory for appends is spent; try again later.
    #[error("no memory left for appends")]
    OverBudget,
    /// The log or its directory does not take writes any more (KAFKA_STORAGE_ERROR).
    #[error("{0}")]
    Storage(StorageError),
}

/// Why a read returned nothing.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The offset is not in the log (OFFSET_OUT_OF_RANGE).
    #[error("offset {requested} is not in the log, which goes from {log_start} to {log_end}")]
    OffsetOutOfRange {
        /// What was asked for.
        requested: Offset,
        /// The first offset of the log.
        log_start: Offset,
        /// The offset behind its last record.
        log_end: Offset,
    },
    /// The bytes on disk are damaged (CORRUPT_MESSAGE); the offset may be passed over.
    #[error("{0}")]
    Corrupt(StorageError),
    /// The disk or the directory failed (KAFKA_STORAGE_ERROR).
    #[error("{0}")]
    Storage(StorageError),
}

impl ReadError {
    /// Whether the same read may succeed later: memory or descriptors were spent, or the log was being cut.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Storage(error) => {
                error.is_passing() || matches!(error, StorageError::OverBudget | StorageError::Truncating)
            }
            Self::OffsetOutOfRange { .. } | Self::Corrupt(_) => false,
        }
    }
}
