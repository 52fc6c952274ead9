//! Decides how long a shard looks for work before it sleeps.
//!
//! Looking pays when work comes within the limit, as between the requests of a client on the same machine; it is wasted
//! when the next event is a disk away. So the time grows while sleeps turn out short and shrinks while looking finds nothing.

use std::time::Duration;

/// The present length of the search.
#[derive(Debug, Default)]
pub(crate) struct Spinner {
    limit: Duration,
    short_sleeps: u32,
}

/// Sleeps in a row that would have been worth a search, before the search begins again.
const SHORT_SLEEPS: u32 = 2;

/// A search shorter than this is not worth its start.
const LIMIT_MIN: Duration = Duration::from_micros(4);

impl Spinner {
    /// How long to look now; `limit_max` is what the owner allows.
    pub(crate) fn limit(&self, limit_max: Duration) -> Duration {
        self.limit.min(limit_max)
    }

    /// Work came while it was looked for.
    pub(crate) fn found(&mut self, limit_max: Duration) {
        self.limit = (self.limit * 2).min(limit_max);
    }

    /// No work came in time.
    pub(crate) fn missed(&mut self) {
        self.limit /= 2;
        if self.limit < LIMIT_MIN {
            self.limit = Duration::ZERO;
        }
        self.short_sleeps = 0;
    }

    /// A sleep has lasted this long.
    pub(crate) fn slept(&mut self, time: Duration, limit_max: Duration) {
        if time >= limit_max {
            self.short_sleeps = 0;
            return;
        }
        self.short_sleeps += 1;
        if self.short_sleeps >= SHORT_SLEEPS {
            self.short_sleeps = 0;
            self.limit = limit_max;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_micros(50);

    #[test]
    fn short_sleeps_start_the_search_and_misses_end_it() {
        let mut spinner = Spinner::default();
        assert_eq!(spinner.limit(MAX), Duration::ZERO);
        spinner.slept(Duration::from_micros(20), MAX);
        assert_eq!(spinner.limit(MAX), Duration::ZERO);
        spinner.slept(Duration::from_micros(20), MAX);
        assert_eq!(spinner.limit(MAX), MAX);
        for _ in 0..10 {
            spinner.missed();
        }
        assert_eq!(spinner.limit(MAX), Duration::ZERO);
    }

    #[test]
    fn long_sleeps_do_not_start_it() {
        let mut spinner = Spinner::default();
        for _ in 0..10 {
            spinner.slept(Duration::from_micros(20), MAX);
            spinner.missed();
            spinner.slept(Duration::from_micros(120), MAX);
        }
        assert_eq!(spinner.limit(MAX), Duration::ZERO);
        assert_eq!(spinner.limit(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn finds_keep_it_going_within_what_is_allowed() {
        let mut spinner = Spinner::default();
        spinner.slept(Duration::ZERO, MAX);
        spinner.slept(Duration::ZERO, MAX);
        for _ in 0..5 {
            spinner.missed();
            spinner.found(MAX);
        }
        assert_eq!(spinner.limit(MAX), MAX);
    }
}
