//! A bound for the files and indexes of sealed segments that a shard holds: they are opened again when they are needed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use runtime::Effects;

use crate::segment::LogSegment;

/// Sealed segments with open files or loaded indexes, oldest first. Lives on every shard.
pub(crate) struct SealedFiles<E: Effects> {
    segments_max: usize,
    segments: RefCell<VecDeque<Weak<LogSegment<E>>>>,
}

impl<E: Effects> SealedFiles<E> {
    pub(crate) fn new(segments_max: usize) -> Self {
        Self { segments_max, segments: RefCell::default() }
    }

    /// Remembers that a segment holds a file or indexes; the oldest beyond the limit lets go of them.
    pub(crate) fn note(&self, segment: &Rc<LogSegment<E>>) {
        assert!(segment.is_sealed(), "what may lose its indexes at any time is sealed");
        let mut segments = self.segments.borrow_mut();
        segments.push_back(Rc::downgrade(segment));
        while segments.len() > self.segments_max {
            if let Some(old) = segments.pop_front().and_then(|old| old.upgrade())
                && !Rc::ptr_eq(&old, segment)
            {
                old.release();
            }
        }
    }
}
