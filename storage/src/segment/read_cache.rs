//! What reads found in files, kept for the next reader of the same batches.
//!
//! Files are read past the page cache, so several consumers behind the tail would each have the disk read for them. A run
//! is what one read returned: whole batches, verified, as they lie in the file. Runs of a segment never overlap. Which to
//! give up is decided by CLOCK (Corbató 1968): the oldest, unless it was of use since it was last looked at.
//!
//! Fresh memory costs about as much CPU as all the rest of a read, and the kernel cannot reclaim it as it does the page
//! cache. So a read is kept only where another has been shortly before, and given up when nobody needs it for a while: a
//! consumer that catches up leaves nothing behind.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use model::{Offset, RecordBatch};
use runtime::Effects;
use runtime::sync::Notify;

use crate::segment::LogSegment;
use crate::segment::log_read::{LogRead, MemoryPart, ReadLimits, ReadPart};
use crate::segment::tail::to_u64;

/// A run that nobody has read for so long is given up; a read is kept where another has been within this time.
const UNUSED_MS: u64 = 60_000;

/// How many runs are looked at for that at a time.
const LOOKS: usize = 512;

/// A read is not worth keeping if its batches fill less than this part of its buffer. Buffers come in sizes of powers of
/// four.
const HELD_SHARES: u64 = 4;

/// Batches that follow each other, in memory.
struct Run {
    /// In the segment's file.
    position: u64,
    /// The offset behind the last batch.
    next: Offset,
    bytes: Bytes,
    /// Memory that `bytes` keeps, in bytes.
    held: u64,
    used_ms: Cell<u64>,
    /// Since the clock's hand last passed.
    used: Cell<bool>,
}

/// What is kept of one segment.
#[derive(Default)]
pub(crate) struct Runs {
    by_offset: BTreeMap<Offset, Run>,
    /// How far into the file reads have begun, and when the last one did.
    read_to: u64,
    read_ms: u64,
    /// The segment has been removed from its log.
    gone: bool,
}

/// What a read found, to be kept.
pub(crate) struct Found {
    /// In the segment's file.
    pub(crate) position: u64,
    /// Whole batches.
    pub(crate) bytes: Bytes,
    /// Memory that `bytes` keeps, in bytes.
    pub(crate) held: u64,
}

/// The runs of all segments of one shard. Lives on every shard.
pub(crate) struct ReadCache<E: Effects> {
    bytes_max: u64,
    bytes: Cell<u64>,
    /// In the order of the clock's hand; entries whose run is gone are skipped.
    clock: RefCell<VecDeque<(Weak<LogSegment<E>>, Offset)>>,
    filled: Notify,
}

impl Runs {
    /// Whole batches from the one that holds `from` on, as far as runs follow each other; `None` if no run has it.
    pub(crate) fn read<E: Effects>(
        &self,
        from: Offset,
        limits: ReadLimits,
        now_ms: u64,
    ) -> Option<LogRead<E>> {
        let mut run = self.holding(from)?;
        let (mut parts, mut size, mut next) = (Vec::new(), 0, from);
        loop {
            let left = ReadLimits {
                max_bytes: limits.max_bytes - size.min(limits.max_bytes),
                min_one: limits.min_one && size == 0,
                ..limits
            };
            let range = run.select(next, left);
            run.used_ms.set(now_ms);
            run.used.set(true);
            let behind =
                RecordBatch::parse(&run.bytes[range.end..]).map_or(run.next, |next| next.base_offset());
            let whole = range.end == run.bytes.len();
            if !range.is_empty() {
                size += range.len();
                let held_bytes = usize::try_from(run.held).unwrap_or(usize::MAX);
                parts.push(ReadPart::Memory(MemoryPart { bytes: run.bytes.slice(range), held_bytes }));
            }
            let end = run.position + to_u64(run.bytes.len());
            next = run.next;
            match self.by_offset.get(&next) {
                Some(following) if whole && following.position == end => run = following,
                _ => {
                    return Some(LogRead {
                        parts,
                        size_bytes: size,
                        more: size > 0 && behind < limits.up_to,
                    });
                }
            }
        }
    }

    /// Where the first run behind `from` starts in the file.
    pub(crate) fn position_behind(&self, from: Offset) -> Option<u64> {
        self.by_offset.range(from..).next().map(|(_, run)| run.position)
    }

    /// Notes a read of the file; says whether one has been there shortly before. Readers go forward, so that it need not be
    /// remembered where each of them was.
    fn note_read(&mut self, position: u64, now_ms: u64) -> bool {
        let lately = self.read_ms > 0 && now_ms.saturating_sub(self.read_ms) < UNUSED_MS;
        let repeated = lately && position <= self.read_to;
        self.read_to = if lately { self.read_to.max(position) } else { position };
        self.read_ms = now_ms.max(1);
        repeated && !self.gone
    }

    fn holding(&self, offset: Offset) -> Option<&Run> {
        let (_, run) = self.by_offset.range(..=offset).next_back()?;
        (offset < run.next).then_some(run)
    }

    fn overlaps(&self, base: Offset, next: Offset) -> bool {
        self.by_offset.range(..next).next_back().is_some_and(|(_, last)| last.next > base)
    }
}

impl Run {
    /// The range of the batches from the one that holds `from` on that `limits` allow.
    fn select(&self, from: Offset, limits: ReadLimits) -> std::ops::Range<usize> {
        let (mut at, mut start) = (0, None);
        for batch in model::batches(&self.bytes).map_while(Result::ok) {
            if batch.last_offset() >= from {
                let first = *start.get_or_insert(at);
                let fits = at + batch.size() - first <= limits.max_bytes || (at == first && limits.min_one);
                if !fits || batch.next_offset() > limits.up_to {
                    break;
                }
            }
            at += batch.size();
        }
        start.unwrap_or(at)..at
    }
}

impl<E: Effects> ReadCache<E> {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, bytes: Cell::new(0), clock: RefCell::default(), filled: Notify::new() }
    }

    /// Memory held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Keeps what was read, if that is worth its memory.
    pub(crate) fn keep(&self, segment: &Rc<LogSegment<E>>, found: Found, now_ms: u64) {
        let Found { position, bytes, held } = found;
        let repeated = segment.runs.borrow_mut().note_read(position, now_ms);
        if !repeated || held > self.bytes_max || to_u64(bytes.len()) < held / HELD_SHARES {
            return;
        }
        let (mut base, mut next) = (None, Offset::ZERO);
        for batch in model::batches(&bytes).map_while(Result::ok) {
            base.get_or_insert(batch.base_offset());
            next = batch.next_offset();
        }
        let Some(base) = base else { return };
        if segment.runs.borrow().overlaps(base, next) {
            return;
        }
        self.shrink_to(self.bytes_max - held);
        let run = Run { position, next, bytes, held, used_ms: Cell::new(now_ms), used: Cell::new(false) };
        segment.runs.borrow_mut().by_offset.insert(base, run);
        self.bytes.set(self.bytes.get() + held);
        self.clock.borrow_mut().push_back((Rc::downgrade(segment), base));
        self.filled.notify_one();
    }

    /// A segment goes: nothing of it is kept, and nothing will be.
    pub(crate) fn forget(&self, segment: &LogSegment<E>) {
        let forgotten = segment.runs.replace(Runs { gone: true, ..Runs::default() });
        let held: u64 = forgotten.by_offset.values().map(|run| run.held).sum();
        self.bytes.set(self.bytes.get() - held);
    }

    /// Gives up so many bytes, or all there are.
    pub(crate) fn shrink(&self, bytes: u64) {
        self.shrink_to(self.bytes.get().saturating_sub(bytes));
    }

    /// The shard closes.
    pub(crate) fn wake(&self) {
        self.filled.notify_one();
    }

    fn shrink_to(&self, bytes: u64) {
        while self.bytes.get() > bytes {
            let Some((segment, base)) = self.clock.borrow_mut().pop_front() else { return };
            if self.pass(&segment, base, |run| run.used.replace(false)) {
                self.clock.borrow_mut().push_back((segment, base));
            }
        }
    }

    /// The hand passes over a run, which is given up unless `stays`; says whether it is still there.
    fn pass(&self, segment: &Weak<LogSegment<E>>, base: Offset, stays: impl Fn(&Run) -> bool) -> bool {
        let Some(segment) = segment.upgrade() else { return false };
        let mut runs = segment.runs.borrow_mut();
        let Some(run) = runs.by_offset.get(&base) else { return false };
        if stays(run) {
            return true;
        }
        self.bytes.set(self.bytes.get() - run.held);
        runs.by_offset.remove(&base);
        false
    }

    /// Waits until something is kept, or the shard closes.
    pub(crate) async fn used(&self) {
        if self.clock.borrow().is_empty() {
            self.filled.notified().await;
        }
    }

    /// Gives up what nobody has needed for a while.
    pub(crate) fn give_up_unused(&self, now_ms: u64) {
        let looks = self.clock.borrow().len().min(LOOKS);
        for _ in 0..looks {
            let Some((segment, base)) = self.clock.borrow_mut().pop_front() else { return };
            if self.pass(&segment, base, |run| now_ms.saturating_sub(run.used_ms.get()) < UNUSED_MS) {
                self.clock.borrow_mut().push_back((segment, base));
            }
        }
    }
}
