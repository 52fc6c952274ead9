//! Bugs that tests plant, to see that the invariants catch them. Outside of tests and of the feature `mutants`
//! there are none, and the checks for them compile to nothing.

/// A planted bug; each leaves out one line of the durability rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Acknowledge what is in memory everywhere and durable nowhere.
    AckBeforeDurable,
    /// Acknowledge what is durable often enough but not on every member of the ISR.
    AckBeforeReplicated,
    /// Ask for one durable copy less.
    CountsOneTooFew,
    /// Let an ISR below `min.insync.replicas` acknowledge.
    NotFrozen,
    /// Let a replica that was asked into the ISR lag.
    ForgetsProposedIsr,
    /// Count durable copies outside of the committed ISR.
    CountsProposedDurable,
    /// Let the high watermark fall.
    GoesBack,
    /// Believe progress that was made under another leader.
    IgnoresEpoch,
    /// Cut off records below the high watermark without a word.
    CutsAcknowledged,
    /// Report durable records before the view is on the disk.
    ReportsBeforeView,
    /// Have the view written while a cut is not durable yet.
    ViewBeforeCut,
    /// Let a replica join that has all below the high watermark but not all that the leader started with.
    JoinsAtHighWatermark,
    /// Call an ISR settled when fewer members have made durable what the leader started with.
    SettlesTooEarly,
    /// Keep no record of former in-sync replicas.
    NoRecord,
    /// Keep the ISR before a shrink on record, but not those that joined since.
    NoUnion,
    /// Keep no record of how few copies there may be.
    ForgetsFewerCopies,
    /// Let a leader that registers anew keep its epoch.
    NoBump,
    /// Keep a replica that lost its memory in the ISR.
    KeepsUnclean,
    /// Grant an ISR to an incarnation that is gone.
    IgnoresBrokerEpoch,
    /// Count a new disk as the one it replaces.
    IgnoresDirectory,
    /// Elect behind a blackout with one report less than it takes.
    RecoversTooEarly,
}

#[cfg(any(test, feature = "mutants"))]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug into everything that runs on this thread, or takes it out again.
#[cfg(any(test, feature = "mutants"))]
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}

/// Whether a test has planted this bug.
#[cfg(any(test, feature = "mutants"))]
pub(crate) fn planted(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}

/// Whether a test has planted this bug: never, here.
#[cfg(not(any(test, feature = "mutants")))]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
}
