//! Who has a log on its way from appended to durable, and what the journal keeps for it: one state per log, and every way
//! from one to another.
//!
//! | state | who has the log | comes from, by | leads to, by |
//! |---|---|---|---|
//! | `Resting` | nobody | all others | `Queued` (`queue`), `Stalled` (`stall`), `Cutting` (`begin_cut`) |
//! | `Queued` | the shard's commit queue | `Resting` | `InLane` (`join_lane`), `Committing` or `Resting` (`begin_commit`) |
//! | `InLane` | the journal's lane, for the next entry | `Queued` | `Resting` (`enter_entry`), `Committing` or `Resting` (`begin_commit`) |
//! | `Committing` | a task that has its segments written; it opens a file, or looks what is next | `Queued`, `InLane`, `Writing` | `Writing` (`begin_write`), `Resting` (`finish_commit`) |
//! | `Writing` | the same task, with a write under way | `Committing` | `Committing` (`finish_write`) |
//! | `Stalled` | the shard's list of logs whose write failed for a while | `Resting` | `Resting` (`resume`) |
//! | `Cutting` | a task that cuts its file, or the log at its end; nothing else of the log is under way | `Resting` | `Resting` (`finish_cut`) |
//!
//! Beside that the log may be flushed: what the journal has of it is written to its segment, whoever has the log
//! meanwhile, but for who writes or cuts it (`begin_flush`, `finish_flush`). And it may be in entries of the journal under
//! way, while it waits for the next one, rests or is stalled (`enter_entry`, `leave_entry`).
//!
//! No append is forgotten: `queue` does nothing but in `Resting`, since every other state comes back to there, and whoever
//! brings it back looks for what is pending: the task before `finish_commit`, without a pause in between; who cuts,
//! resumes or ends an entry or a flush, behind that. A commit that finds an entry or a flush of the log under way leaves it
//! to the end of that.

use std::cell::Cell;

use crate::mutant::{Mutant, planted};

/// Who has a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nobody.
    Resting,
    /// The shard's commit queue.
    Queued,
    /// The journal's lane.
    InLane,
    /// A task of the commit loop, between writes.
    Committing,
    /// A task of the commit loop, with a write to a segment under way.
    Writing,
    /// The shard's list of logs that are tried again.
    Stalled,
    /// A task that cuts its file to length, or the log at its end.
    Cutting,
}

/// The commit state of one log. Changed by the named steps only; each asserts what it comes from.
///
/// Invariant: one write to the segments at a time, so who is `Writing` is not flushed; no entry is under way while a task
/// commits, writes or cuts, nor a flush while one cuts; a log that is in an entry, or of which the journal has more than
/// its segments, is told from one that the journal knows nothing of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommitState {
    turn: Cell<Turn>,
    /// What the journal has is being written to a segment.
    flushing: Cell<bool>,
    /// Entries of the journal under way that have bytes of the log.
    entries: Cell<u32>,
    /// The older half of the journal that has bytes of the log that its segments do not have.
    half: Cell<Option<usize>>,
    /// The journal may have entries with bytes of the log, needed or not.
    journaled: Cell<bool>,
}

impl CommitState {
    /// Of a log whose segments have everything.
    pub(crate) const fn new() -> Self {
        Self {
            turn: Cell::new(Turn::Resting),
            flushing: Cell::new(false),
            entries: Cell::new(0),
            half: Cell::new(None),
            journaled: Cell::new(false),
        }
    }

    /// Who has the log.
    pub(crate) fn turn(&self) -> Turn {
        self.turn.get()
    }

    /// Whether something of the log is under way, or waits for its turn.
    pub(crate) fn is_busy(&self) -> bool {
        self.turn.get() != Turn::Resting || self.flushing.get() || self.entries.get() > 0
    }

    /// Whether a write to a segment is under way.
    pub(crate) fn is_writing(&self) -> bool {
        self.turn.get() == Turn::Writing || self.flushing.get()
    }

    /// The older half of the journal that is kept for the log.
    pub(crate) fn half(&self) -> Option<usize> {
        self.half.get()
    }

    /// Whether the journal may have entries with bytes of the log, needed or not.
    pub(crate) fn is_journaled(&self) -> bool {
        self.journaled.get()
    }

    /// Entries under way that have bytes of the log.
    pub(crate) fn entries(&self) -> u32 {
        self.entries.get()
    }

    /// Something was appended; says whether the log has to be put on the commit queue, or is found by who has it.
    #[must_use]
    pub(crate) fn queue(&self) -> bool {
        let resting = self.turn.get() == Turn::Resting;
        if resting {
            self.turn.set(Turn::Queued);
        }
        resting
    }

    /// What is pending goes into the next entry of the journal.
    pub(crate) fn join_lane(&self) {
        self.step(&[Turn::Queued], Turn::InLane);
    }

    /// What is pending is to be written to the segments; says whether a task may do so. The end of an entry that is under
    /// way queues the log again.
    #[must_use]
    pub(crate) fn begin_commit(&self) -> bool {
        let free = self.entries.get() == 0 || planted(Mutant::WritesBesideEntry);
        self.step(&[Turn::Queued, Turn::InLane], if free { Turn::Committing } else { Turn::Resting });
        free
    }

    /// The task writes to a segment, unless a flush does: the end of that queues the log again.
    #[must_use]
    pub(crate) fn begin_write(&self) -> bool {
        assert_eq!(self.turn.get(), Turn::Committing, "only who commits writes");
        if self.flushing.get() {
            return false;
        }
        self.turn.set(Turn::Writing);
        true
    }

    /// The write has ended, well or not.
    pub(crate) fn finish_write(&self) {
        self.step(&[Turn::Writing], Turn::Committing);
    }

    /// The task has nothing more to write, or cannot.
    pub(crate) fn finish_commit(&self) {
        self.step(&[Turn::Committing], Turn::Resting);
    }

    /// A write has failed for a while: it waits to be tried again.
    pub(crate) fn stall(&self) {
        self.step(&[Turn::Resting], Turn::Stalled);
    }

    /// It is tried again.
    pub(crate) fn resume(&self) {
        self.step(&[Turn::Stalled], Turn::Resting);
    }

    /// The file is to be cut; says whether nothing else is under way.
    #[must_use]
    pub(crate) fn begin_cut(&self) -> bool {
        let free = !self.is_busy();
        if free {
            self.turn.set(Turn::Cutting);
        }
        free
    }

    /// The file was cut, or could not be.
    pub(crate) fn finish_cut(&self) {
        self.step(&[Turn::Cutting], Turn::Resting);
    }

    /// What the journal has is to be written to a segment; says whether that may begin.
    #[must_use]
    pub(crate) fn begin_flush(&self) -> bool {
        let free = !self.is_writing() && self.turn.get() != Turn::Cutting;
        if free {
            self.flushing.set(true);
        }
        free
    }

    /// The flush has ended, well or not.
    pub(crate) fn finish_flush(&self) {
        assert!(self.flushing.replace(false), "a flush was under way");
    }

    /// An entry with what was pending is on its way.
    pub(crate) fn enter_entry(&self) {
        self.step(&[Turn::InLane], Turn::Resting);
        self.entries.set(self.entries.get() + 1);
        self.journaled.set(true);
    }

    /// An entry has ended: in this half, durably, or nowhere. Says whether the half has to be kept for the log from now on.
    #[must_use]
    pub(crate) fn leave_entry(&self, half: Option<usize>) -> bool {
        let left = self.entries.get().checked_sub(1).expect("an entry was under way");
        self.entries.set(left);
        let claims = half.is_some() && self.half.get().is_none();
        if claims && !planted(Mutant::ClaimsNoHalf) {
            self.half.set(half);
            return true;
        }
        false
    }

    /// The segments have all that the journal has; the half that was kept for the log, if one was.
    #[must_use]
    pub(crate) fn release_half(&self) -> Option<usize> {
        self.half.take()
    }

    /// Nothing that the journal has of the log counts any more.
    pub(crate) fn leave_journal(&self) {
        assert!(self.half.get().is_none() && self.entries.get() == 0, "the journal is not needed");
        self.journaled.set(false);
    }

    /// Checks what must always hold.
    pub(crate) fn check_invariants(&self) {
        let (turn, entries) = (self.turn.get(), self.entries.get());
        let alone = matches!(turn, Turn::Committing | Turn::Writing | Turn::Cutting);
        assert!(!alone || entries == 0, "{self:?}: an entry is under way beside a task");
        let unflushed = matches!(turn, Turn::Writing | Turn::Cutting);
        assert!(!unflushed || !self.flushing.get(), "{self:?}: two write at the same time");
        assert!(self.journaled.get() || (entries == 0 && self.half.get().is_none()), "{self:?}: unknown");
    }

    fn step(&self, from: &[Turn], to: Turn) {
        let turn = self.turn.get();
        assert!(from.contains(&turn), "a log that is {turn:?} cannot become {to:?}");
        self.turn.set(to);
    }
}

#[cfg(test)]
#[path = "state_test.rs"]
mod state_test;
