//! The one place where internal errors become Kafka's error codes.

use net::protocol::ErrorCode;
use storage::{AppendError, BrokenRule, ReadError, StorageError};

use crate::replicas::PartitionError;

/// The code for a batch that was not appended.
#[must_use]
pub(crate) fn append_error_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Corrupt(_) => ErrorCode::CorruptMessage,
        AppendError::UnsupportedMagic(_)
        | AppendError::InvalidRecord { .. }
        | AppendError::RecordsRefused(_) => ErrorCode::InvalidRecord,
        AppendError::UnsupportedCompression(_) => ErrorCode::UnsupportedCompressionType,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        AppendError::DiskFull { .. } | AppendError::OverBudget | AppendError::Storage(_) => {
            ErrorCode::KafkaStorageError
        }
        _ => ErrorCode::UnknownServerError,
    }
}

/// The code for a batch with records that break these rules: Kafka minds the timestamps first. There are none where
/// headers are believed, which tell of nothing but timestamps.
#[must_use]
pub(crate) fn broken_rules_code(mut rules: impl ExactSizeIterator<Item = BrokenRule>) -> ErrorCode {
    if rules.len() > 0 && rules.all(|rule| rule == BrokenRule::NoKey) {
        ErrorCode::InvalidRecord
    } else {
        ErrorCode::InvalidTimestamp
    }
}

/// The code for a partition that does not do what is asked of it.
#[must_use]
pub(crate) const fn partition_error_code(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Unknown => ErrorCode::UnknownTopicOrPartition,
        PartitionError::NotLeader(_) => ErrorCode::NotLeaderOrFollower,
        PartitionError::FencedEpoch(_) => ErrorCode::FencedLeaderEpoch,
        PartitionError::UnknownEpoch(_) => ErrorCode::UnknownLeaderEpoch,
        PartitionError::Storage(_) | PartitionError::Contradiction(_) => ErrorCode::KafkaStorageError,
        PartitionError::TimedOut => ErrorCode::RequestTimedOut,
    }
}

/// The code for a read that returned nothing.
#[must_use]
pub(crate) fn read_error_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt(_) => ErrorCode::CorruptMessage,
        ReadError::Storage(StorageError::OverBudget) => ErrorCode::RequestTimedOut,
        ReadError::Storage(_) => ErrorCode::KafkaStorageError,
        _ => ErrorCode::UnknownServerError,
    }
}
