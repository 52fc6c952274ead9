//! The one clock of a run: monotonic, in nanoseconds of the Unix epoch.
//!
//! Deciding code (pacing, phases, verification) never reads it; it is handed `now`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch.
pub(crate) type Nanos = u64;

/// One second in nanoseconds.
pub(crate) const SECOND: Nanos = 1_000_000_000;

/// A monotonic clock anchored once at the wall clock, so stamps of two processes on one machine compare.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    origin_ns: Nanos,
}

impl Clock {
    /// Anchors the clock at the present moment.
    pub(crate) fn new() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), origin_ns: nanos(wall) }
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Nanos {
        self.origin_ns + nanos(self.origin.elapsed())
    }
}

/// A duration in nanoseconds; saturates after 584 years.
pub(crate) fn nanos(duration: std::time::Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

/// Nanoseconds as seconds, for reports.
#[expect(clippy::cast_precision_loss, reason = "a report needs no more than 53 bits")]
pub(crate) fn seconds(ns: Nanos) -> f64 {
    ns as f64 / 1e9
}
