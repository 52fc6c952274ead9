//! What the header of a client's batch must say, whatever topic it is for, in Kafka's order (`LogValidator`,
//! `UnifiedLog.analyzeAndValidateRecords`).

use model::{BatchError, Offset, RecordBatch};

use super::check::invalid;
use crate::AppendError;

/// The one batch that a client may send, its header in order. The beginning of another behind it is left out, as in Kafka.
pub(crate) fn check_header(bytes: &[u8]) -> Result<RecordBatch<'_>, AppendError> {
    let Some(batch) = whole_batch(bytes)? else { return Err(invalid("no whole record batch")) };
    if whole_batch(&bytes[batch.size()..])?.is_some() {
        return Err(invalid("more than one record batch for a partition"));
    }
    check_counts(&batch)?;
    if batch.base_offset() != Offset::ZERO {
        let base = batch.base_offset();
        return Err(invalid(format!("the baseOffset of the record batch should be 0, but it is {base}")));
    }
    if batch.is_control() {
        return Err(invalid("clients are not allowed to write control records"));
    }
    if batch.producer_id().is_some() && batch.base_sequence().0 < 0 {
        let (sequence, id) = (batch.base_sequence(), batch.producer_id());
        return Err(invalid(format!("invalid sequence number {sequence} of producer {id}")));
    }
    Ok(batch)
}

/// What every batch must say, whoever wrote it: as many offsets as records, and a codec.
pub(crate) fn check_counts(batch: &RecordBatch<'_>) -> Result<(), AppendError> {
    let count = batch.record_count();
    if batch.last_offset_delta() < 0 || count <= 0 {
        return Err(invalid(format!("invalid reported count for record batch: {count}")));
    }
    if i64::from(count) != i64::from(batch.last_offset_delta()) + 1 {
        let last = batch.last_offset_delta();
        return Err(invalid(format!("inconsistent batch offset range [0, {last}] and count {count}")));
    }
    if batch.compression().is_none() {
        return Err(AppendError::UnsupportedCompression(batch.attributes() & 7));
    }
    Ok(())
}

/// The batch at the start of `bytes`, unless it is cut off.
fn whole_batch(bytes: &[u8]) -> Result<Option<RecordBatch<'_>>, AppendError> {
    match RecordBatch::parse(bytes) {
        Ok(batch) => Ok(Some(batch)),
        Err(BatchError::Truncated { .. }) => Ok(None),
        Err(BatchError::Magic(magic @ 0..2)) => Err(AppendError::UnsupportedMagic(magic)),
        Err(other) => Err(AppendError::Corrupt(other)),
    }
}
