//! Whether the disk is slow now, as its last operations have shown.

use std::cell::Cell;
use std::time::Duration;

use super::clock;
use crate::time::Monotonic;

/// An operation that takes longer is slow.
const SLOW: Duration = Duration::from_millis(10);

/// How long a slow operation counts.
const MEMORY: Duration = Duration::from_secs(1);

/// What one shard has seen of the disk.
#[derive(Debug, Default)]
pub(super) struct Pace {
    slow_until: Cell<Monotonic>,
}

impl Pace {
    /// Notes that an operation that began at `started` has ended.
    pub(super) fn took(&self, started: Monotonic) {
        self.note(started, clock::now());
    }

    fn note(&self, started: Monotonic, now: Monotonic) {
        if now.since(started) > SLOW {
            self.slow_until.set(now + MEMORY);
        }
    }

    pub(super) fn is_slow(&self) -> bool {
        let until = self.slow_until.get();
        until > Monotonic::default() && clock::now() < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_operation_counts_for_a_while() {
        let pace = Pace::default();
        let now = clock::now();
        pace.note(now, now + Duration::from_millis(9));
        assert!(!pace.is_slow());
        pace.note(now, now + Duration::from_mins(1));
        assert!(pace.is_slow());
        pace.slow_until.set(now);
        assert!(!pace.is_slow());
    }
}
