//! Finding records by time: the first at or after a timestamp, and the one with the largest.

use std::rc::Rc;

use bytes::Bytes;
use model::{Offset, RecordBatch, TimestampType};
use runtime::Effects;

use crate::log::{Log, TimestampOffset};
use crate::records::{PIECE_BYTES, Reading, UNPACKED_BYTES_MAX, Visit};
use crate::segment::LogSegment;
use crate::segment::log_read::ReadLimits;
use crate::{ReadError, StorageError};

impl<E: Effects> Log<E> {
    /// The first record at or after `timestamp`, below `up_to`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn offset_for_timestamp(
        &self,
        timestamp: i64,
        up_to: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let segments: Vec<Rc<LogSegment<E>>> = self.state.borrow().segments.iter().cloned().collect();
        for segment in segments {
            if segment.size() == 0 || segment.base >= up_to {
                continue;
            }
            let largest = self.largest_timestamp(&segment).await.map_err(ReadError::Storage)?;
            if largest.is_some_and(|(largest, _)| largest < timestamp) {
                continue;
            }
            let start = self.start_for_timestamp(&segment, timestamp).await?;
            let end = segment.next_offset().min(up_to);
            if let Some(found) = self.first_at(start, end, timestamp).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The record with the largest timestamp; of several the first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn max_timestamp_offset(&self) -> Result<Option<TimestampOffset>, ReadError> {
        let segments: Vec<Rc<LogSegment<E>>> = self.state.borrow().segments.iter().cloned().collect();
        let mut largest: Option<(i64, Offset)> = None;
        for segment in segments {
            if segment.size() == 0 {
                continue;
            }
            let checked = self.largest_timestamp(&segment).await.map_err(ReadError::Storage)?;
            let (timestamp, offset) = checked.unwrap_or_else(|| segment.state.borrow().max_timestamp);
            if timestamp >= 0 && largest.is_none_or(|(known, _)| timestamp > known) {
                largest = Some((timestamp, offset));
            }
        }
        let Some((timestamp, offset)) = largest else { return Ok(None) };
        self.first_at(offset, offset.plus(1), timestamp).await
    }

    /// The first record at or after `timestamp` in the batches from the one that holds `from` up to `end`.
    async fn first_at(
        &self,
        from: Offset,
        end: Offset,
        timestamp: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let log_start = self.log_start_offset();
        let mut next = from.max(log_start);
        while next < end {
            let limits = ReadLimits { max_bytes: 64 << 10, min_one: true, up_to: Offset(i64::MAX) };
            let bytes = self.read_bytes(next, limits).await?;
            let before = next;
            for batch in model::batches(&bytes).filter_map(Result::ok) {
                next = batch.next_offset();
                if batch.max_timestamp() < timestamp {
                    continue;
                }
                let batch = bytes.slice_ref(batch.bytes());
                // Unpacking takes longer than the shard may be held.
                let found = self.shard.effects.compute(move || first_in(&batch, timestamp, log_start)).await;
                let found = found.map_err(|error| {
                    ReadError::Storage(StorageError::io("unpack a batch of", &self.dir, &error))
                })?;
                if let Some(found) = found {
                    return Ok((found.offset < end).then_some(found));
                }
            }
            if next == before {
                break;
            }
        }
        Ok(None)
    }
}

/// The first record of the batch at or after `timestamp`. A batch that cannot be read is named by its first offset, so
/// that nothing is missed.
fn first_in(batch: &Bytes, timestamp: i64, log_start: Offset) -> Option<TimestampOffset> {
    let parsed = RecordBatch::parse(batch).ok()?;
    let found = |(offset, timestamp): (Offset, i64)| TimestampOffset {
        offset,
        timestamp,
        leader_epoch: parsed.leader_epoch(),
    };
    let whole = (parsed.base_offset().max(log_start), parsed.max_timestamp());
    if parsed.timestamp_type() == TimestampType::LogAppendTime {
        return Some(found(whole));
    }
    let first = FirstAt { base: parsed.base_offset(), log_start, timestamp, found: None };
    let Ok(mut reading) = Reading::new(batch, &parsed, first) else { return Some(found(whole)) };
    reading.allow_gaps();
    let read = reading.step(&mut vec![0; PIECE_BYTES], UNPACKED_BYTES_MAX);
    match reading.visited().found {
        Some(first) => Some(found(first)),
        None if matches!(read, Ok(true)) => None,
        None => Some(found(whole)),
    }
}

/// Looks for the first record at or after a timestamp.
struct FirstAt {
    base: Offset,
    log_start: Offset,
    timestamp: i64,
    found: Option<(Offset, i64)>,
}

impl Visit for FirstAt {
    fn record(&mut self, offset_delta: i32, timestamp: i64, _has_key: bool) {
        let offset = self.base.plus(i64::from(offset_delta));
        if self.found.is_none() && timestamp >= self.timestamp && offset >= self.log_start {
            self.found = Some((offset, timestamp));
        }
    }
}
