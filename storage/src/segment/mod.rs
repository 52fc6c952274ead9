//! One segment of a log: a `.log` file with its two indexes. The last segment of a log is active and grows;
//! the others are sealed.

pub(crate) mod chunk_memory;
pub(crate) mod log_read;
pub(crate) mod offset_index;
pub(crate) mod prewrite;
pub(crate) mod read_cache;
pub(crate) mod scan;
pub(crate) mod sealed_files;
pub(crate) mod tail;
pub(crate) mod time_index;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use model::{Offset, RecordBatch};
use runtime::{Disk, Effects};

use crate::LogConfig;
use crate::segment::offset_index::OffsetIndex;
use crate::segment::read_cache::Runs;
use crate::segment::tail::{BatchMark, Tail, to_u64};
use crate::segment::time_index::{TimeIndex, TimesClaim};

/// The file type of a set of effects.
pub(crate) type FileOf<E> = <<E as Effects>::Disk as Disk>::File;

/// Bytes at most in one write of one log (more only if a single batch is larger). Recovery relies on it, see
/// [`TORN_WRITE_MAX`].
pub(crate) const GROUP_WRITE_MAX: u64 = 1 << 20;

/// A good batch at least this far behind a bad one is not of the same write, unless that was of a single large batch.
///
/// A log has one write in flight, which starts at the first byte that is not durable, in its page, and covers whole
/// batches up to some end, all of the last page included. What stands behind the end in that page may be written with it:
/// batches that came later, whole ones too. Everything before the write is durable and everything behind its last page
/// is zeros or the end of the file. So if the write is torn, the first bad batch starts at its first new byte or later, and
/// a good batch lies less than the length of the new bytes and a page behind.
///
/// A write that is longer than [`GROUP_WRITE_MAX`] holds one batch and nothing else, so that good batches further behind
/// than this can only stand in its last page, and only zeros follow that page; how large the batch was need not be known,
/// and cannot be: `max.message.bytes` may have been lowered. A good batch of which that is not true proves that what was
/// durable is damaged. (A torn large batch whose records hold whole batches in the clear, with offsets that would fit,
/// looks like damage too. Then the log is offline and nothing is lost.)
pub(crate) const TORN_WRITE_MAX: u64 = GROUP_WRITE_MAX + PAGE;

/// The end of a batch that the file does not have durably yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingEnd {
    pub(crate) position: u64,
    pub(crate) next_offset: Offset,
}

/// The offset index and the time index.
pub(crate) struct Indexes {
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
}

/// How far a segment has come. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The last one of its log: batches are appended.
    Active,
    /// Nothing more is appended: not even the last page is needed in memory once it is durable. Its file may have yet to be
    /// written and has to be cut, its indexes are in memory and have to be written.
    Full,
    /// Nothing is written any more: files and indexes are opened when they are needed, and let go of.
    Sealed,
}

/// One segment. Lives on its log's shard.
///
/// Invariant: the indexes of a segment that is not sealed are in memory, and say all that there is to say.
pub(crate) struct LogSegment<E: Effects> {
    pub(crate) base: Offset,
    dir: Rc<Path>,
    /// Whether the shard's list of segments with cached chunks has it.
    pub(crate) cached: Cell<bool>,
    /// A read has met damage and looked at all of it: the index leads to where it should.
    pub(crate) walked: Cell<bool>,
    stage: Cell<Stage>,
    pub(crate) state: RefCell<SegmentState>,
    /// Opened for direct I/O by who writes and cuts the file; `None` while nothing is to be written.
    pub(crate) writer: RefCell<Option<FileOf<E>>>,
    /// Opened for direct I/O by readers while there is no writer; nothing is ever written through it.
    pub(crate) reader: RefCell<Option<FileOf<E>>>,
    /// Opened for buffered reading, for sendfile; of a sealed segment only.
    pub(crate) buffered: RefCell<Option<FileOf<E>>>,
    /// What reads found in the file.
    pub(crate) runs: RefCell<Runs>,
}

/// What changes in a segment.
///
/// Invariant: `durable_size <= size`, as is `journaled_size`; `pending` covers exactly the bytes between them; the tail ends at `size`.
pub(crate) struct SegmentState {
    /// Logical bytes, in memory or on disk.
    pub(crate) size: u64,
    /// Bytes that are durable in the segment's file.
    pub(crate) durable_size: u64,
    /// Bytes that are durable in the journal, if that has more than the file.
    pub(crate) journaled_size: u64,
    /// Bytes that entries of the journal have, those in flight too; less than `journaled_size` if there are none.
    pub(crate) entered_size: u64,
    /// Bytes below were only handed to the kernel and not synced since (`durability=kafka`); 0 if there are none.
    pub(crate) buffered_to: u64,
    /// Bytes that the file has at most, padding and prewritten zeros included.
    pub(crate) physical_size: u64,
    /// The offset behind the last batch.
    pub(crate) next_offset: Offset,
    pub(crate) pending: VecDeque<PendingEnd>,
    pub(crate) tail: Tail,
    /// `None` for a sealed segment whose indexes are not loaded.
    pub(crate) indexes: Option<Indexes>,
    /// Entries of the indexes that stand in the files.
    pub(crate) persisted: (usize, usize),
    pub(crate) bytes_since_index: u64,
    /// The largest timestamp and the last offset of its batch; -1 if there is none or it is not known.
    pub(crate) max_timestamp: (i64, Offset),
    /// Whether that is true: not if a part of the file cannot be read and nothing else says what was there.
    pub(crate) times_known: bool,
    /// What that takes from a file and has not been compared with the batches yet.
    pub(crate) times_claim: Option<TimesClaim>,
    /// It did not agree with them: what the time index has, and what followed from that, is not to be believed.
    pub(crate) times_wrong: bool,
    /// The first batch's largest timestamp, from which the age of the segment counts.
    pub(crate) first_timestamp: Option<i64>,
    /// When the segment was created or opened, in ms since 1970.
    pub(crate) created_ms: i64,
    /// Taken off `segment.ms` for this segment.
    pub(crate) jitter_ms: u64,
    /// Where zeros are on disk, or were before they were written over.
    pub(crate) prewritten: Range<u64>,
    /// A prewrite from here on is under way; nothing may be written behind it.
    pub(crate) prewriting_from: Option<u64>,
    /// Bytes of the last prewrite.
    pub(crate) prewrite_step: u64,
    /// The directory entry is durable.
    pub(crate) created: bool,
}

impl<E: Effects> LogSegment<E> {
    /// An empty segment that does not exist on disk yet.
    pub(crate) fn new(dir: Rc<Path>, base: Offset, created_ms: i64) -> Self {
        let state = SegmentState {
            size: 0,
            durable_size: 0,
            journaled_size: 0,
            entered_size: 0,
            buffered_to: 0,
            physical_size: 0,
            next_offset: base,
            pending: VecDeque::new(),
            tail: Tail::default(),
            indexes: Some(Indexes { offsets: OffsetIndex::new(base), times: TimeIndex::new(base) }),
            persisted: (0, 0),
            bytes_since_index: 0,
            max_timestamp: (-1, base),
            times_known: true,
            times_claim: None,
            times_wrong: false,
            first_timestamp: None,
            created_ms,
            jitter_ms: 0,
            prewritten: 0..0,
            prewriting_from: None,
            prewrite_step: 0,
            created: false,
        };
        Self {
            base,
            dir,
            cached: Cell::new(false),
            walked: Cell::new(false),
            stage: Cell::new(Stage::Active),
            state: RefCell::new(state),
            writer: RefCell::new(None),
            reader: RefCell::new(None),
            buffered: RefCell::new(None),
            runs: RefCell::default(),
        }
    }

    /// A sealed segment on disk, trusted without being read.
    pub(crate) fn sealed(dir: Rc<Path>, base: Offset, next_offset: Offset, size: u64) -> Self {
        let segment = Self::new(dir, base, 0);
        {
            let mut state = segment.state.borrow_mut();
            (state.size, state.durable_size, state.physical_size) = (size, size, size);
            (state.next_offset, state.indexes, state.created) = (next_offset, None, true);
        }
        segment.advance_to(Stage::Sealed);
        segment
    }

    /// Notes how far the segment has come.
    pub(crate) fn advance_to(&self, stage: Stage) {
        assert!(stage > self.stage.get(), "a segment goes forward: {:?} to {stage:?}", self.stage.get());
        self.stage.set(stage);
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.stage.get() == Stage::Sealed
    }

    pub(crate) fn size(&self) -> u64 {
        self.state.borrow().size
    }

    pub(crate) fn next_offset(&self) -> Offset {
        self.state.borrow().next_offset
    }

    pub(crate) fn is_durable(&self) -> bool {
        let state = self.state.borrow();
        state.durable_size == state.size
    }

    /// The path of the segment's file with this ending.
    pub(crate) fn path(&self, ending: &str) -> PathBuf {
        self.dir.join(file_name(self.base, ending))
    }

    /// Drops the first cached chunk, if it is durable; returns the bytes freed.
    pub(crate) fn evict_first(&self) -> usize {
        let mut state = self.state.borrow_mut();
        let (durable, before) = (state.durable_size, state.tail.capacity());
        if state.tail.evict_first(durable).is_none()
            && self.stage.get() > Stage::Active
            && durable == state.size
        {
            // The last chunk, which nobody goes on to fill.
            state.tail.clear();
        }
        before - state.tail.capacity()
    }

    /// Keeps only the last page in memory, outside the pool, if all is durable, and nothing of a full segment; returns the
    /// bytes freed.
    pub(crate) fn shrink(&self) -> usize {
        let mut state = self.state.borrow_mut();
        if state.durable_size < state.size {
            return 0;
        }
        let (before, size) = (state.tail.capacity(), state.size);
        if self.stage.get() > Stage::Active {
            state.tail.clear();
        } else {
            state.tail.shrink(size);
        }
        before - state.tail.capacity()
    }

    pub(crate) fn check_invariants(&self, stage: Stage) {
        assert_eq!(self.stage.get(), stage, "of the segment at {}", self.base);
        let state = self.state.borrow();
        state.check_invariants();
        if stage == Stage::Sealed {
            assert!(
                self.writer.borrow().is_none() && state.pending.is_empty(),
                "sealed segments are not written"
            );
            assert!(!state.tail.is_parked(), "nobody goes on with a sealed segment");
        } else {
            assert!(state.indexes.is_some(), "what is not sealed keeps its indexes");
        }
    }

    /// Lets go of the files and indexes of a sealed segment; they are opened again when needed.
    pub(crate) fn release(&self) {
        assert!(self.is_sealed(), "what is not sealed keeps its indexes");
        self.close_files();
        self.state.borrow_mut().indexes = None;
    }

    /// Closes all files. Nobody may be about to write.
    pub(crate) fn close_files(&self) {
        drop(self.writer.borrow_mut().take());
        drop(self.reader.borrow_mut().take());
        drop(self.buffered.borrow_mut().take());
    }

    /// Whether a batch of `size` bytes up to `max_timestamp`, ending with `last_offset`, belongs in a new segment
    /// (Kafka's `LogSegment.shouldRoll`).
    pub(crate) fn should_roll(
        &self,
        config: &LogConfig,
        size: usize,
        max_timestamp: i64,
        last_offset: Offset,
        now_ms: i64,
    ) -> bool {
        let state = self.state.borrow();
        if state.size == 0 {
            return false;
        }
        let index_entries = state.indexes.as_ref().map_or(0, |indexes| indexes.offsets.len());
        let index_full = to_u64((index_entries + 1) * OffsetIndex::ENTRY_SIZE) > config.segment_index_bytes;
        state.size + to_u64(size) > config.segment_bytes
            || state.is_old(config, max_timestamp, now_ms)
            || index_full
            || i32::try_from(last_offset.0 - self.base.0).is_err()
    }
}

impl SegmentState {
    /// Whether the segment has been filled for `segment.ms`, by the records' time if they have one.
    pub(crate) fn is_old(&self, config: &LogConfig, max_timestamp: i64, now_ms: i64) -> bool {
        let age = match self.first_timestamp {
            Some(first) if max_timestamp >= 0 => max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.created_ms),
        };
        u64::try_from(age).is_ok_and(|age| age > config.segment_ms.saturating_sub(self.jitter_ms))
    }

    /// Notes a batch at the end of the segment: indexes, timestamps, size.
    pub(crate) fn note_batch(
        &mut self,
        batch: &RecordBatch<'_>,
        base: Offset,
        max_timestamp: i64,
        interval: u64,
    ) {
        let last_offset = base.plus(i64::from(batch.last_offset_delta()));
        self.note_timestamp(max_timestamp, last_offset);
        if self.first_timestamp.is_none() && max_timestamp >= 0 {
            self.first_timestamp = Some(max_timestamp);
        }
        if self.bytes_since_index > interval
            && let Some(indexes) = &mut self.indexes
        {
            if indexes.offsets.append(last_offset, self.size) {
                self.bytes_since_index = 0;
            }
            indexes.times.maybe_append(self.max_timestamp.0, self.max_timestamp.1);
        }
        let size = to_u64(batch.size());
        self.bytes_since_index += size;
        self.size += size;
        self.next_offset = last_offset.plus(1);
    }

    /// Notes that a batch that ends with `last_offset` has records up to `timestamp`. The largest one known never falls:
    /// retention must not take for old what holds younger records.
    pub(crate) fn note_timestamp(&mut self, timestamp: i64, last_offset: Offset) {
        if timestamp > self.max_timestamp.0 {
            self.max_timestamp = (timestamp, last_offset);
        }
    }

    /// Appends a batch in memory; [`Tail::reserve`] has made room.
    pub(crate) fn append(
        &mut self,
        batch: &RecordBatch<'_>,
        header: &[u8],
        base: Offset,
        max_timestamp: i64,
        interval: u64,
    ) {
        let position = self.size;
        self.note_batch(batch, base, max_timestamp, interval);
        let mark = BatchMark { position, base, next: self.next_offset };
        self.tail.append(mark, header, batch.records());
        self.pending.push_back(PendingEnd { position: self.size, next_offset: self.next_offset });
    }

    /// Bytes that are durable, wherever that is.
    pub(crate) fn acknowledged_size(&self) -> u64 {
        self.durable_size.max(self.journaled_size)
    }

    /// Whether the file has blocks for everything appended, so that a full disk cannot hinder its writing.
    pub(crate) fn has_blocks(&self) -> bool {
        let (written, end) = (page_up(self.durable_size), page_up(self.size));
        end <= written || (self.prewritten.start <= written && end <= self.prewritten.end)
    }

    /// Notes that zeros are on disk there.
    pub(crate) fn note_prewritten(&mut self, from: u64, to: u64) {
        let start = if self.prewritten.end == from { self.prewritten.start } else { from };
        self.prewritten = start..to;
    }

    /// What the next write covers: whole batches up to [`GROUP_WRITE_MAX`] and `up_to`, not into a prewrite that is under
    /// way.
    pub(crate) fn write_end(&self, up_to: u64) -> Option<u64> {
        let limit = self.durable_size + GROUP_WRITE_MAX;
        let barrier = self.prewriting_from.unwrap_or(u64::MAX);
        let fits = |end: u64| page_up(end) <= barrier && end <= up_to;
        let ends = self.pending.iter().map(|pending| pending.position);
        let first = self.pending.front().map(|pending| pending.position).filter(|&end| fits(end))?;
        Some(ends.take_while(|&end| end <= limit && fits(end)).last().unwrap_or(first))
    }

    /// Notes that everything below `end` is durable in the journal; returns the offset behind it.
    pub(crate) fn journaled(&mut self, end: u64) -> Offset {
        let done = self.pending.partition_point(|pending| pending.position <= end);
        self.journaled_size = end;
        self.pending[done - 1].next_offset
    }

    /// Notes that everything below `end` is durable in the file; returns the offset behind it.
    pub(crate) fn written(&mut self, end: u64) -> Offset {
        let done = self.pending.partition_point(|pending| pending.position <= end);
        let last = self.pending.drain(..done).next_back().expect("a write covers whole batches");
        self.durable_size = end;
        self.physical_size = self.physical_size.max(page_up(end));
        last.next_offset
    }

    /// The last entry of the time index when a segment is sealed.
    pub(crate) fn finish_time_index(&mut self) {
        let (timestamp, offset) = self.max_timestamp;
        if let Some(indexes) = &mut self.indexes {
            indexes.times.maybe_append(timestamp, offset);
        }
    }

    /// Counts an index file as written if it holds exactly what the index has; says whether that is so.
    pub(crate) fn take_over(&mut self, ending: &str, file: &[u8]) -> bool {
        // A log that was stopped has it.
        self.finish_time_index();
        let Some(Indexes { offsets, times }) = &self.indexes else { return false };
        let (index, entries) = match ending {
            "index" => (offsets.encode(0), &mut self.persisted.0),
            _ => (times.encode(0), &mut self.persisted.1),
        };
        let same = index == file;
        if same {
            *entries = if ending == "index" { offsets.len() } else { times.len() };
        }
        same
    }

    /// Whether the index files hold all that they will ever have to say about the bytes so far.
    pub(crate) fn file_indexes_complete(&self) -> bool {
        self.indexes.as_ref().is_none_or(|indexes| {
            let (timestamp, offset) = self.max_timestamp;
            let written = self.persisted == (indexes.offsets.len(), indexes.times.len());
            written && indexes.times.covers(timestamp, offset)
        })
    }

    /// The indexes of a segment that is about to have its files written for good.
    ///
    /// # Panics
    /// They do not cover the segment: files that lack entries would be trusted, and records removed as older than they are.
    pub(crate) fn whole_indexes(&self) -> &Indexes {
        let indexes = self.indexes.as_ref().expect("a segment that is not sealed keeps its indexes");
        let indexed = indexes.offsets.last().map_or(0, |(_, position)| position);
        assert_eq!(indexed + self.bytes_since_index, self.size, "the offset index reaches the end");
        let (timestamp, offset) = self.max_timestamp;
        assert!(indexes.times.covers(timestamp, offset), "the time index has the largest timestamp");
        indexes
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.acknowledged_size() <= self.size);
        assert_eq!(self.pending.back().map_or(self.durable_size, |last| last.position), self.size);
        assert!(self.pending.iter().is_sorted_by(|a, b| a.position < b.position));
        self.tail.check_invariants(self.size);
    }
}

/// The name of a segment's file: the base offset in 20 digits, and an ending.
pub(crate) fn file_name(base: Offset, ending: &str) -> String {
    format!("{:020}.{ending}", base.0)
}

/// The base offset in a segment's file name with this ending.
pub(crate) fn parse_file_name(name: &str, ending: &str) -> Option<Offset> {
    let digits = name.strip_suffix(ending)?.strip_suffix('.')?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Offset)
}

/// The unit of direct I/O, as a file position.
pub(crate) const PAGE: u64 = 4096;
const _: () = assert!(runtime::buffer::PAGE_SIZE == 4096);

pub(crate) const fn page_down(position: u64) -> u64 {
    position - position % PAGE
}

pub(crate) const fn page_up(position: u64) -> u64 {
    page_down(position.saturating_add(PAGE - 1))
}
