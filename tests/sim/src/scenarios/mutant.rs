//! Bugs that are planted to see that the scenarios catch them.

use std::panic::catch_unwind;

use runtime::sim::{Fault, FaultKind, OpKind, SimWorld};
use storage::CommitMode;

use super::{named, power_cut};
use crate::server::NODE;

/// A bug that is planted to see that the scenarios catch it: a promise of the disk that is not asked for, or a step of
/// storage that is left out.
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
    /// A step of storage.
    Storage(storage::Mutant),
}

/// All mutants.
pub const MUTANTS: [Mutant; 10] = [
    Mutant::AckBeforeDurable,
    Mutant::UnsyncedWrites,
    Mutant::UnsyncedJournal,
    Mutant::UnsyncedDirectory,
    Mutant::UnsyncedDeletion,
    Mutant::Storage(storage::Mutant::WritesBesideEntry),
    Mutant::Storage(storage::Mutant::ClaimsNoHalf),
    Mutant::Storage(storage::Mutant::EndsNoLog),
    Mutant::Storage(storage::Mutant::KeepsRecoveryPoint),
    Mutant::Storage(storage::Mutant::CutsFileFirst),
];

impl Mutant {
    /// Runs the power cuts of one seed with the bug planted; `Err` is what caught it, an assertion of storage included.
    ///
    /// # Errors
    /// What was broken.
    pub fn run(self, seed: u64) -> Result<(), String> {
        storage::plant(match self {
            Self::Storage(mutant) => Some(mutant),
            _ => None,
        });
        let run = catch_unwind(|| named(power_cut::everywhere(seed, Some(self))));
        storage::plant(None);
        run.unwrap_or_else(|_| Err("a panic".to_owned()))
    }

    pub(super) fn commit_mode(mutant: Option<Self>) -> CommitMode {
        if mutant == Some(Self::AckBeforeDurable) { CommitMode::Kafka } else { CommitMode::Fsync }
    }

    pub(super) fn plant(self, world: &SimWorld) {
        let lie = |op, path: &str| world.disk(NODE).inject(Fault::new(op, FaultKind::Lie).on(path));
        match self {
            Self::AckBeforeDurable | Self::Storage(_) => {}
            Self::UnsyncedWrites => lie(OpKind::Write, ".log"),
            Self::UnsyncedJournal => lie(OpKind::Write, "/journal-"),
            Self::UnsyncedDirectory => lie(OpKind::Sync, "/orders-"),
            Self::UnsyncedDeletion => lie(OpKind::Meta, "/short-lived-"),
        }
    }
}
