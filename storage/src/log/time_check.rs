//! Whether the time index of a segment is true. Its file has no checksum: an entry that came from it counts only once the
//! batch that it names has the timestamp that it gives, which the batch's checksum covers. Else records would be deleted that
//! are not old, or be passed over by a look-up.

use std::rc::Rc;

use model::Offset;
use runtime::Effects;

use crate::log::Log;
use crate::segment::LogSegment;
use crate::segment::log_read::ReadLimits;
use crate::segment::scan::Scan;
use crate::segment::time_index::TimesClaim;
use crate::{ReadError, StorageError};

impl<E: Effects> Log<E> {
    /// The largest timestamp in a segment and the last offset of its batch, checked; `None` if that cannot be known, since
    /// a part of the segment is damaged.
    pub(crate) async fn largest_timestamp(
        &self,
        segment: &Rc<LogSegment<E>>,
    ) -> Result<Option<(i64, Offset)>, StorageError> {
        self.load_indexes(segment).await?;
        let claim = segment.state.borrow().times_claim;
        if let Some(claim) = claim {
            if !self.is_true(segment, claim).await? {
                self.scan_times(segment).await?;
            }
            segment.state.borrow_mut().times_claim = None;
        }
        let state = segment.state.borrow();
        Ok(state.times_known.then_some(state.max_timestamp))
    }

    /// Where to look for the first record at or after `timestamp`.
    pub(crate) async fn start_for_timestamp(
        &self,
        segment: &Rc<LogSegment<E>>,
        timestamp: i64,
    ) -> Result<Offset, ReadError> {
        self.load_indexes(segment).await.map_err(ReadError::Storage)?;
        let (found, offset) = {
            let state = segment.state.borrow();
            if state.times_wrong {
                return Ok(segment.base);
            }
            // The entry's batch itself may be the one, if it has just this timestamp.
            let before = timestamp.saturating_sub(1);
            state.indexes.as_ref().map_or((-1, segment.base), |indexes| indexes.times.lookup(before))
        };
        if found < 0 || offset < self.log_start_offset() {
            return Ok(offset);
        }
        let limits = ReadLimits { max_bytes: 1, min_one: true, up_to: Offset(i64::MAX) };
        let bytes = self.read_bytes(offset, limits).await?;
        let batch = model::batches(&bytes).next().and_then(Result::ok);
        if batch.is_some_and(|batch| batch.max_timestamp() == found) {
            return Ok(offset);
        }
        self.warn_of_times(segment);
        Ok(segment.base)
    }

    async fn is_true(&self, segment: &Rc<LogSegment<E>>, claim: TimesClaim) -> Result<bool, StorageError> {
        let TimesClaim { timestamp, offset, end } = claim;
        let position = {
            let state = segment.state.borrow();
            state.indexes.as_ref().map_or(0, |indexes| indexes.offsets.lookup(offset).1)
        };
        let (path, file) = (segment.path("log"), self.file_to_read(segment).await?);
        let (mut found, mut larger) = (false, false);
        let scan = Scan::new(&self.shard.effects, &file, &path, end);
        let walk = scan.batches(position, segment.base, |batch| {
            let holds = (batch.base_offset()..batch.next_offset()).contains(&offset);
            found |= holds && batch.max_timestamp() == timestamp;
            larger |= batch.next_offset() > offset && batch.max_timestamp() > timestamp;
        });
        let whole = walk.await?.problem.is_none();
        Ok(whole && found && !larger)
    }

    /// Finds the largest timestamp from the batches.
    async fn scan_times(&self, segment: &Rc<LogSegment<E>>) -> Result<(), StorageError> {
        let (path, file) = (segment.path("log"), self.file_to_read(segment).await?);
        let size = segment.state.borrow().durable_size;
        let mut largest = (-1, segment.base);
        let scan = Scan::new(&self.shard.effects, &file, &path, size);
        let walk = scan.batches(0, segment.base, |batch| {
            if batch.max_timestamp() > largest.0 {
                largest = (batch.max_timestamp(), batch.last_offset());
            }
        });
        let whole = walk.await?.problem.is_none();
        {
            let mut state = segment.state.borrow_mut();
            (state.times_known, state.times_wrong) = (whole, true);
            if state.size == size {
                state.max_timestamp = largest;
            } else {
                // What is not in the file yet may have the largest.
                state.note_timestamp(largest.0, largest.1);
            }
        }
        self.warn_of_times(segment);
        Ok(())
    }

    fn warn_of_times(&self, segment: &LogSegment<E>) {
        tracing::warn!(path = %segment.path("timeindex").display(), "damaged time index, the records are looked at instead");
    }
}
