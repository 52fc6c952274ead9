//! Bugs that are planted to see that the scenarios catch them.

use runtime::sim::{Fault, FaultKind, OpKind, SimWorld};
use storage::CommitMode;

use super::{named, power_cut};
use crate::server::NODE;

/// A bug that is planted to see that the scenarios catch it: a promise of the disk that is not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Acknowledges what the kernel has taken, not what is durable.
    AckBeforeDurable,
    /// Writes to logs without waiting for the device.
    UnsyncedWrites,
    /// Writes to the journal without waiting for the device.
    UnsyncedJournal,
    /// Does not sync the directory of a new segment.
    UnsyncedDirectory,
    /// Renames a deleted partition without making that durable.
    UnsyncedDeletion,
}

/// All mutants.
pub const MUTANTS: [Mutant; 5] = [
    Mutant::AckBeforeDurable,
    Mutant::UnsyncedWrites,
    Mutant::UnsyncedJournal,
    Mutant::UnsyncedDirectory,
    Mutant::UnsyncedDeletion,
];

impl Mutant {
    /// Runs the power cuts of one seed with the bug planted; `Err` is what caught it.
    ///
    /// # Errors
    /// What was broken.
    pub fn run(self, seed: u64) -> Result<(), String> {
        named(power_cut::everywhere(seed, Some(self)))
    }

    pub(super) fn commit_mode(mutant: Option<Self>) -> CommitMode {
        if mutant == Some(Self::AckBeforeDurable) { CommitMode::Kafka } else { CommitMode::Fsync }
    }

    pub(super) fn plant(self, world: &SimWorld) {
        let lie = |op, path: &str| world.disk(NODE).inject(Fault::new(op, FaultKind::Lie).on(path));
        match self {
            Self::AckBeforeDurable => {}
            Self::UnsyncedWrites => lie(OpKind::Write, ".log"),
            Self::UnsyncedJournal => lie(OpKind::Write, "/journal-"),
            Self::UnsyncedDirectory => lie(OpKind::Sync, "/orders-"),
            Self::UnsyncedDeletion => lie(OpKind::Meta, "/short-lived-"),
        }
    }
}
