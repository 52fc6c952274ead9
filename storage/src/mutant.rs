//! Bugs that tests plant, to see that the simulator catches them. Outside of tests and of the feature `mutants` there are
//! none, and the checks for them compile to nothing.

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Have a log write to its segments what an entry of the journal under way has of it.
    WritesBesideEntry,
    /// Keep no half of the journal for what the segments do not have yet.
    ClaimsNoHalf,
    /// Let the journal have what it has of a log that was deleted or cut.
    EndsNoLog,
    /// Cut a log below its recovery point.
    KeepsRecoveryPoint,
    /// Leave epochs in their file that began behind a cut.
    KeepsEpochs,
    /// Cut a segment before those behind it are gone.
    CutsFileFirst,
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
