//! When a connection's next batch is due. Pure: `now` comes from the caller.
//!
//! Open loop: batch `k` of the run is due at `start + k * records_per_batch / rate`, whatever the broker does. A late
//! sender gets the old due times one after the other, so latency measured from them holds the time spent waiting
//! and coordinated omission cannot happen.

use crate::clock::{Nanos, SECOND};

/// The schedule of one connection.
#[derive(Debug, Clone)]
pub(crate) enum Pacer {
    /// Always due: the in-flight limit alone decides (closed loop).
    Saturating,
    /// Due at fixed moments (open loop).
    Paced(Schedule),
}

/// Every `stride`-th unit of a run's schedule, beginning at unit `next`.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    start: Nanos,
    records_per_unit: u64,
    records_per_second: u64,
    next: u64,
    stride: u64,
    /// Units due from here on are not handed out.
    end: Nanos,
}

impl Pacer {
    /// The share of connection `index` among `connections` in a run at `records_per_second`.
    pub(crate) fn paced(
        start: Nanos,
        records_per_second: u64,
        records_per_unit: u64,
        index: u64,
        connections: u64,
    ) -> Self {
        Self::Paced(Schedule {
            start,
            records_per_unit,
            records_per_second: records_per_second.max(1),
            next: index,
            stride: connections.max(1),
            end: Nanos::MAX,
        })
    }

    /// When the next unit is due; `None` means at once, the end of time that there is none.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        match self {
            Self::Saturating => None,
            Self::Paced(schedule) => {
                Some(schedule.due()).map(|due| if due < schedule.end { due } else { Nanos::MAX })
            }
        }
    }

    /// Ends the schedule; what was due before `end` is still handed out.
    pub(crate) fn close(&mut self, end: Nanos) {
        if let Self::Paced(schedule) = self {
            schedule.end = schedule.end.min(end);
        }
    }

    /// Whether a closed schedule has handed out everything; a saturating one has nothing to catch up with.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.next_due().is_none_or(|due| due == Nanos::MAX)
    }

    /// Takes the next unit if it is due and returns the moment it should have been sent.
    pub(crate) fn take(&mut self, now: Nanos) -> Option<Nanos> {
        match self {
            Self::Saturating => Some(now),
            Self::Paced(schedule) => {
                let due = schedule.due();
                if due > now || due >= schedule.end {
                    return None;
                }
                schedule.next += schedule.stride;
                Some(due)
            }
        }
    }
}

/// Holds a consuming connection to a rate: behind each answer no fetch is sent for as long as its records take at
/// that rate. Time that was not used is not made up for: a burst would be no paced reader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchPace {
    records_per_second: Option<u64>,
    resume_at: Nanos,
}

impl FetchPace {
    /// At most `records_per_second`; `None` is as fast as possible.
    pub(crate) fn new(records_per_second: Option<u64>) -> Self {
        Self { records_per_second, resume_at: 0 }
    }

    /// Whether a fetch may be sent.
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        now >= self.resume_at
    }

    /// From when on a fetch may be sent.
    pub(crate) fn resume_at(&self) -> Nanos {
        self.resume_at
    }

    /// An answer with that many records has arrived.
    pub(crate) fn fetched(&mut self, records: u64, now: Nanos) {
        if let Some(rate) = self.records_per_second {
            self.resume_at = self.resume_at.max(now) + records * SECOND / rate.max(1);
        }
    }
}

impl Schedule {
    fn due(&self) -> Nanos {
        let records = u128::from(self.next) * u128::from(self.records_per_unit);
        let offset = records * u128::from(SECOND) / u128::from(self.records_per_second);
        self.start.saturating_add(Nanos::try_from(offset).unwrap_or(Nanos::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All due times that `pacer` hands out up to `now`.
    fn take_all(pacer: &mut Pacer, now: Nanos) -> Vec<Nanos> {
        std::iter::from_fn(|| pacer.take(now)).collect()
    }

    #[test]
    fn units_are_due_at_fixed_moments() {
        let check = |rate, unit, (index, connections), now, expect: &[Nanos]| {
            let mut pacer = Pacer::paced(0, rate, unit, index, connections);
            assert_eq!(take_all(&mut pacer, now), expect, "rate {rate} unit {unit} index {index}");
        };
        check(1_000, 1, (0, 1), 2_500_000, &[0, 1_000_000, 2_000_000]);
        check(1_000, 2, (0, 1), 4_000_000, &[0, 2_000_000, 4_000_000]);
        check(1_000, 1, (1, 2), 5_000_000, &[1_000_000, 3_000_000, 5_000_000]);
        check(3, 1, (0, 1), SECOND, &[0, 333_333_333, 666_666_666, SECOND]);
        check(1_000, 1, (2, 3), 1_999_999, &[]);
    }

    #[test]
    fn a_stalled_sender_gets_the_old_due_times() {
        let mut pacer = Pacer::paced(100, 1_000_000, 1, 0, 1);
        assert_eq!(pacer.take(100), Some(100));
        // Nothing is taken for 5 us: the units missed meanwhile keep their intended moments.
        assert_eq!(take_all(&mut pacer, 5_100), vec![1_100, 2_100, 3_100, 4_100, 5_100]);
        assert_eq!(pacer.next_due(), Some(6_100));
    }

    #[test]
    fn connections_together_offer_the_whole_rate() {
        let mut due: Vec<Nanos> =
            (0..7).flat_map(|i| take_all(&mut Pacer::paced(0, 10_000, 1, i, 7), SECOND - 1)).collect();
        due.sort_unstable();
        assert_eq!(due.len(), 10_000);
        assert!(due.windows(2).all(|pair| pair[1] - pair[0] == 100_000));
    }

    #[test]
    fn a_closed_schedule_hands_out_what_was_due_before() {
        let mut pacer = Pacer::paced(0, 1_000, 1, 0, 1);
        pacer.close(2_500_000);
        assert!(!pacer.is_exhausted());
        assert_eq!(take_all(&mut pacer, SECOND), vec![0, 1_000_000, 2_000_000]);
        assert!(pacer.is_exhausted() && Pacer::Saturating.is_exhausted());
    }

    #[test]
    fn a_paced_reader_waits_for_what_it_has_read() {
        let mut pace = FetchPace::new(Some(1_000));
        pace.fetched(2, 0);
        // A second answer of the same moment, and one behind an idle second.
        pace.fetched(3, 1_000_000);
        assert_eq!(
            (pace.resume_at(), pace.is_due(4_999_999), pace.is_due(5_000_000)),
            (5_000_000, false, true)
        );
        pace.fetched(1, SECOND);
        assert_eq!(pace.resume_at(), SECOND + 1_000_000);
        let mut free = FetchPace::new(None);
        free.fetched(1_000_000, SECOND);
        assert!(free.is_due(0));
    }

    #[test]
    fn saturating_is_always_due_now() {
        let mut pacer = Pacer::Saturating;
        assert_eq!((pacer.take(7), pacer.next_due()), (Some(7), None));
    }
}
