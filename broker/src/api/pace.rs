//! Long work of a handler in pieces, so that the other tasks of its shard go on.

use runtime::yield_now;

/// Counts what was done since the last yield.
#[derive(Debug, Default)]
pub(super) struct Pace {
    done: usize,
}

impl Pace {
    /// Notes so many units of work, each of about a microsecond, and yields when there were many.
    pub(super) async fn worked(&mut self, units: usize) {
        self.done += units;
        if self.done >= UNITS_MAX {
            self.done = 0;
            yield_now().await;
        }
    }
}

/// About a millisecond.
const UNITS_MAX: usize = 1_000;
