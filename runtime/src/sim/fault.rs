//! What can be made to go wrong on a simulated disk.

use std::time::Duration;

/// The kinds of disk operation, as faults and crash points tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// Content is read.
    Read,
    /// Content is written: `write_at`, `prewrite`, `write_file`.
    Write,
    /// Made durable: `sync`, `sync_dir`.
    Sync,
    /// Names and lengths: open, create, rename, remove, truncate, list.
    Meta,
    /// Any of them. For a crash point: any operation that changes the disk.
    Any,
}

impl OpKind {
    pub(super) fn matches(self, kind: Self) -> bool {
        self == Self::Any || self == kind
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The operation fails with EIO. A failed write may have written some sectors; sectors that a failed sync
    /// did not write are taken for clean afterwards, as Linux does, so a second sync does not help.
    Eio,
    /// The operation fails with ENOSPC and changes nothing.
    NoSpace,
    /// One bit of what is read or written is flipped, without an error.
    BitFlip,
    /// The operation reports success and makes nothing durable: a write only reaches the cache, a sync does
    /// nothing. Stands for a disk that lies as well as for code that forgets to sync.
    Lie,
    /// The operation takes this much longer.
    Slow(Duration),
}

/// A rule that makes operations fail.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Which operations.
    pub op: OpKind,
    /// Only paths that contain this text; empty for all.
    pub path: String,
    /// What goes wrong.
    pub kind: FaultKind,
    /// Matching operations that pass unharmed first.
    pub skip: u64,
    /// Operations hit before the rule is used up.
    pub count: u64,
    /// The chance that a matching operation is hit, 0 to 1.
    pub probability: f64,
}

impl Fault {
    /// Every operation of this kind on every path, from now on.
    #[must_use]
    pub const fn new(op: OpKind, kind: FaultKind) -> Self {
        Self { op, path: String::new(), kind, skip: 0, count: u64::MAX, probability: 1.0 }
    }

    /// Only paths that contain `text`.
    #[must_use]
    pub fn on(mut self, text: &str) -> Self {
        text.clone_into(&mut self.path);
        self
    }

    /// Lets `skip` operations pass first, then hits `count`.
    #[must_use]
    pub const fn after(mut self, skip: u64, count: u64) -> Self {
        self.skip = skip;
        self.count = count;
        self
    }

    /// Hits each operation only with this chance.
    #[must_use]
    pub const fn with_probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// Whether an operation is hit; uses the rule up.
    pub(super) fn hits(&mut self, op: OpKind, path: &str, rng: &mut fastrand::Rng) -> bool {
        if self.count == 0 || !self.op.matches(op) || !path.contains(&self.path) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let hit = self.probability >= 1.0 || rng.f64() < self.probability;
        if hit {
            self.count -= 1;
        }
        hit
    }
}

/// How long disk operations take: uniform between the two, so that operations under way at once complete in
/// any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latency {
    pub(super) fn draw(self, rng: &mut fastrand::Rng) -> u64 {
        let min = u64::try_from(self.min.as_nanos()).unwrap_or(u64::MAX);
        let max = u64::try_from(self.max.as_nanos()).unwrap_or(u64::MAX);
        rng.u64(min..=max.max(min))
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self { min: Duration::from_micros(20), max: Duration::from_micros(400) }
    }
}
