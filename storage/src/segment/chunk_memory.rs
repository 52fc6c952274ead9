//! Memory for the append chunks of a shard's segments: bounded, and durable chunks that are only kept for readers are given up
//! first, those of the oldest segments.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use runtime::Effects;

use crate::segment::LogSegment;

/// The chunks of all segments of a shard. Lives on every shard.
pub(crate) struct ChunkMemory<E: Effects> {
    bytes_max: usize,
    bytes: Cell<usize>,
    /// Segments with chunks, the next to give some up first.
    segments: RefCell<VecDeque<Weak<LogSegment<E>>>>,
}

impl<E: Effects> ChunkMemory<E> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: Cell::new(0), segments: RefCell::default() }
    }

    /// Bytes of all chunks.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// The largest chunk that an append may take which would like one of `wanted` bytes, and can do with less: many logs that
    /// take one each must not take more than there is.
    pub(crate) fn chunk_max(&self, wanted: usize) -> usize {
        let most = self.bytes_max / 8;
        let wanted = wanted.min(most);
        if wanted == 0 || self.make_room(wanted) { most } else { self.room().min(most) }
    }

    /// Notes that a segment's chunks changed from `before` to `after` bytes, and that there may be some to give up.
    pub(crate) fn grown(&self, segment: &Rc<LogSegment<E>>, before: usize, after: usize) {
        self.changed(before, after);
        if !segment.cached.replace(true) {
            self.segments.borrow_mut().push_back(Rc::downgrade(segment));
        }
    }

    /// Notes that chunks of `bytes` were let go of.
    pub(crate) fn freed(&self, bytes: usize) {
        self.changed(bytes, 0);
    }

    fn changed(&self, before: usize, after: usize) {
        self.bytes.set((self.bytes.get() + after).saturating_sub(before));
    }

    /// Gives up chunks until `bytes` more fit; says whether they do. What is larger than half of all need not fit: other logs
    /// could keep it waiting for ever.
    pub(crate) fn make_room(&self, bytes: usize) -> bool {
        let excess = || (self.bytes.get() + bytes.min(self.bytes_max / 2)).saturating_sub(self.bytes_max);
        self.evict(excess());
        excess() == 0
    }

    /// Bytes that chunks may take in addition to what they have.
    fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes.get())
    }

    /// Frees at least `bytes` of durable chunks, oldest first, or as much as there is: full chunks first, then the chunks that
    /// logs go on to fill.
    pub(crate) fn evict(&self, bytes: usize) {
        let mut freed = 0;
        for shrink in [false, true] {
            let mut fruitless = 0;
            while freed < bytes && fruitless < self.segments.borrow().len() {
                let Some(oldest) = self.segments.borrow_mut().pop_front() else { break };
                let Some(segment) = oldest.upgrade() else { continue };
                let gone = if shrink { segment.shrink() } else { segment.evict_first() };
                freed += gone;
                fruitless = if gone == 0 { fruitless + 1 } else { 0 };
                if segment.state.borrow().tail.capacity() > 0 {
                    self.segments.borrow_mut().push_back(oldest);
                } else {
                    segment.cached.set(false);
                }
            }
        }
        self.freed(freed);
    }
}
