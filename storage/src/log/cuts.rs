//! What a log remembers of having been cut at its end, for who reads it meanwhile and for who cuts it again.

use std::cell::Cell;

use model::Offset;
use runtime::Effects;

use crate::log::Log;
use crate::{ReadError, StorageError};

/// A cut of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The segment in which the log ends from now on.
    pub(crate) base: Offset,
    /// Where in its file.
    pub(crate) position: u64,
    /// The offset behind what is left.
    pub(crate) end: Offset,
    /// Nothing is left, and the log goes on here.
    pub(crate) reset: Option<Offset>,
}

/// The cuts of a log. Lives on the log's shard.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// Begun since the log was opened.
    count: Cell<u64>,
    /// The one that has begun to change files and has not come to its end.
    unfinished: Cell<Option<Cut>>,
}

impl Cuts {
    /// How many have begun: who reads compares it before and after.
    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    pub(crate) fn note_begun(&self) {
        self.count.set(self.count.get() + 1);
    }

    pub(crate) fn is_unfinished(&self) -> bool {
        self.unfinished.get().is_some()
    }

    pub(crate) fn set_unfinished(&self, cut: Cut) {
        self.unfinished.set(Some(cut));
    }

    pub(crate) fn take_unfinished(&self) -> Option<Cut> {
        self.unfinished.take()
    }
}

impl<E: Effects> Log<E> {
    /// Refuses what was read if the log was cut meanwhile: it may be of what is gone, or of what came in its place.
    pub(crate) fn check_uncut<T>(&self, cuts: u64, read: Result<T, ReadError>) -> Result<T, ReadError> {
        if self.cuts.count() == cuts { read } else { Err(ReadError::Storage(StorageError::Truncating)) }
    }
}
