//! How many connections a shard logs that it closes: a client that tries again at once, or a scanner, must not fill the log.

use std::cell::Cell;
use std::time::Duration;

use runtime::Monotonic;

/// Lines within [`PERIOD`].
const LINES_MAX: u32 = 500;
const PERIOD: Duration = Duration::from_secs(10);

/// Counts the lines of one shard.
#[derive(Debug, Default)]
pub struct ClosingLines {
    period_began: Cell<Option<Monotonic>>,
    lines: Cell<u32>,
    left_out: Cell<u64>,
}

impl ClosingLines {
    /// Whether the next line may be written, and how many were left out since the one before.
    pub fn next(&self, now: Monotonic) -> Option<u64> {
        if self.period_began.get().is_none_or(|began| now.since(began) >= PERIOD) {
            self.period_began.set(Some(now));
            self.lines.set(0);
        }
        if self.lines.get() == LINES_MAX {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.lines.set(self.lines.get() + 1);
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_with_the_next_line() {
        let lines = ClosingLines::default();
        let at = |seconds| Monotonic(0) + Duration::from_secs(seconds);
        for _ in 0..LINES_MAX {
            assert_eq!(lines.next(at(1)), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(lines.next(at(1)), None);
        }
        assert_eq!(lines.next(at(10)), None, "the period began with the first line");
        assert_eq!([lines.next(at(11)), lines.next(at(11))], [Some(6), Some(0)]);
    }
}
