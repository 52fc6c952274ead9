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
    fn saturating_is_always_due_now() {
        let mut pacer = Pacer::Saturating;
        assert_eq!((pacer.take(7), pacer.next_due()), (Some(7), None));
    }
}
