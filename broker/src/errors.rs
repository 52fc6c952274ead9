//! The one place where internal errors become Kafka's error codes.

use net::protocol::ErrorCode;
use storage::{AppendError, ReadError, StorageError};

/// The code for a batch that was not appended.
#[must_use]
pub(crate) fn append_error_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Corrupt(_) => ErrorCode::CorruptMessage,
        AppendError::UnsupportedMagic(_) | AppendError::InvalidRecord { .. } => ErrorCode::InvalidRecord,
        AppendError::UnsupportedCompression(_) => ErrorCode::UnsupportedCompressionType,
        AppendError::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::DiskFull { .. } | AppendError::OverBudget | AppendError::Storage(_) => {
            ErrorCode::KafkaStorageError
        }
        _ => ErrorCode::UnknownServerError,
    }
}

/// The index in its batch of the record that broke a rule, if the error is about one that is known.
#[must_use]
pub(crate) const fn append_error_record(error: &AppendError) -> Option<i32> {
    match error {
        AppendError::InvalidRecord { record_index, .. }
        | AppendError::InvalidTimestamp { record_index, .. } => *record_index,
        _ => None,
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
