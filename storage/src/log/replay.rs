//! Walking over a whole log, for who must know all of it or nothing: coordinators and the metadata.
//!
//! Unlike a read, which returns what is good before damage, a replay fails unless it has met every batch up to the end
//! that the log is known to have.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use model::{BatchError, Offset, RecordBatch};
use runtime::{Clock, Effects};

use crate::log::Log;
use crate::log::read::{buffer_size, span};
use crate::segment::LogSegment;
use crate::segment::tail::to_u64;
use crate::{ReadError, StorageError};

/// Bytes per read, unless a single batch is larger.
const WINDOW: u64 = 1 << 20;

/// How long a replay waits before it looks for memory again.
const MEMORY_PAUSE: Duration = Duration::from_millis(1);

impl<E: Effects> Log<E> {
    /// Calls `visit` with every batch from the one that holds `from` to the end of the log, in order. Waits for memory.
    ///
    /// # Errors
    /// [`ReadError`] if anything is damaged or missing, though `visit` may have seen what lies before.
    pub async fn replay(
        self: &Rc<Self>,
        from: Offset,
        mut visit: impl FnMut(RecordBatch<'_>),
    ) -> Result<(), ReadError> {
        self.check_whole()?;
        let cuts = self.cuts.count();
        let from = from.max(self.log_start_offset());
        self.check_range(from)?;
        self.written_to(self.log_end_offset()).await.map_err(ReadError::Storage)?;
        let segments: Vec<Rc<LogSegment<E>>> = {
            let state = self.state.borrow();
            let first = state.floor(from).map_or(0, |(at, _)| at);
            state.segments.iter().skip(first).cloned().collect()
        };
        let mut visit = |batch: RecordBatch<'_>| {
            if batch.last_offset() >= from {
                visit(batch);
            }
        };
        for (at, segment) in segments.iter().enumerate() {
            // Compaction may have removed the last records of a segment that others follow.
            let may_end_early = self.config().compact && at + 1 < segments.len();
            let replayed = self.replay_segment(segment, may_end_early, &mut visit).await;
            self.check_uncut(cuts, replayed)?;
        }
        self.check_whole()
    }

    /// Refuses a log whose end is not what it once was.
    fn check_whole(&self) -> Result<(), ReadError> {
        match self.offline() {
            Some(error @ StorageError::Corrupt { .. }) => Err(ReadError::Corrupt(error)),
            Some(error @ StorageError::Closed) => Err(ReadError::Storage(error)),
            _ => Ok(()),
        }
    }

    async fn replay_segment(
        &self,
        segment: &Rc<LogSegment<E>>,
        may_end_early: bool,
        visit: &mut impl FnMut(RecordBatch<'_>),
    ) -> Result<(), ReadError> {
        let (end, next) = {
            let state = segment.state.borrow();
            (state.durable_size, state.next_offset)
        };
        let (mut position, mut expected, mut window) = (0, segment.base, WINDOW);
        while position < end {
            let bytes = self.read_patiently(segment, position, window.min(end - position)).await?;
            let mut at = 0;
            let problem = loop {
                if at == bytes.len() {
                    break None;
                }
                match self.following(&bytes[at..], expected) {
                    Ok(batch) => {
                        visit(batch);
                        expected = batch.next_offset();
                        at += batch.size();
                    }
                    Err(error) => break Some(error),
                }
            };
            position += to_u64(at);
            window = WINDOW;
            // A segment that was full when the broker was killed may not have been cut yet.
            if expected == next && bytes[at..].iter().all(|&byte| byte == 0) {
                break;
            }
            match problem {
                None => {}
                // The window cut the batch off, not the file.
                Some(BatchError::Truncated { needed, .. }) if position + to_u64(needed) <= end => {
                    window = window.max(to_u64(needed));
                }
                Some(error) => return Err(self.corrupt(segment, position, expected, &error)),
            }
        }
        if expected == next || (may_end_early && expected < next) {
            return Ok(());
        }
        let error = BatchError::Inconsistent("the segment does not end where it should");
        Err(self.corrupt(segment, position, expected, &error))
    }

    /// The batch at the start of `bytes`, which must be good and go on at `expected`. Offsets lie outside the checksum;
    /// without compaction they have no gaps, and never do they go back.
    fn following<'a>(&self, bytes: &'a [u8], expected: Offset) -> Result<RecordBatch<'a>, BatchError> {
        let batch = RecordBatch::parse(bytes)?;
        let base = batch.base_offset();
        let follows = base == expected || (self.config().compact && base > expected);
        if !follows || batch.last_offset_delta() < 0 {
            return Err(BatchError::Inconsistent("the offset does not follow the one before"));
        }
        batch.verify_crc()?;
        Ok(batch)
    }

    /// Reads from the segment's file; waits for memory while others have it.
    async fn read_patiently(
        &self,
        segment: &Rc<LogSegment<E>>,
        position: u64,
        length: u64,
    ) -> Result<Bytes, ReadError> {
        let clock = self.shard.effects.clock();
        let budget = to_u64(self.shard.effects.buffers().budget_bytes());
        let may_fit = buffer_size(span(position, length)) <= budget;
        loop {
            match self.read_range(segment, position, length).await {
                Err(ReadError::Storage(StorageError::OverBudget))
                    if may_fit && !self.shard.closing.get() && !self.is_closed() =>
                {
                    clock.sleep_until(clock.now() + MEMORY_PAUSE).await;
                }
                read => return read,
            }
        }
    }
}
