//! The deadlines of all groups of a coordinator, earliest first.

use std::collections::BTreeMap;

/// What is to happen at a deadline. A key has at most one deadline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKey {
    /// A member, or one that got its id but has not joined with it, was silent for too long.
    Session {
        /// The group.
        group: String,
        /// The member.
        member: String,
    },
    /// Members had long enough to join.
    Join(String),
    /// Members had long enough to ask for their assignment.
    Sync(String),
    /// Time to look for expired offsets.
    OffsetExpiration,
    /// Time to go on with offsets in removed topics.
    RemovedTopics,
}

/// Keyed deadlines. Two keys that are due at the same time fire in the order in which they were set.
///
/// Invariant: `by_key` and `by_time` hold the same pairs.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_key: BTreeMap<TimerKey, (u64, u64)>,
    by_time: BTreeMap<(u64, u64), TimerKey>,
    set_count: u64,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, key: TimerKey, deadline_ms: u64) {
        self.cancel(&key);
        self.set_count += 1;
        let at = (deadline_ms, self.set_count);
        self.by_key.insert(key.clone(), at);
        self.by_time.insert(at, key);
    }

    /// Forgets a deadline.
    pub(super) fn cancel(&mut self, key: &TimerKey) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&at);
        }
    }

    /// How many deadlines were ever set.
    pub(super) const fn set_count(&self) -> u64 {
        self.set_count
    }

    /// Takes the earliest deadline that is not after `now_ms`, unless it was set after the first `set_count` ones: so
    /// a timer that sets itself without delay does not hold up its tick.
    pub(super) fn take_due(&mut self, now_ms: u64, set_count: u64) -> Option<TimerKey> {
        let (&at, _) = self.by_time.first_key_value()?;
        if at.0 > now_ms || at.1 > set_count {
            return None;
        }
        let key = self.by_time.remove(&at)?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.by_time.first_key_value().map(|(&(deadline, _), _)| deadline)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.by_key.clear();
        self.by_time.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_fire_once_in_order_and_move() {
        let mut timers = Timers::default();
        timers.set(TimerKey::Join("b".into()), 5);
        timers.set(TimerKey::Join("a".into()), 5);
        timers.set(TimerKey::Sync("c".into()), 3);
        timers.set(TimerKey::OffsetExpiration, 1);
        timers.set(TimerKey::OffsetExpiration, 9);
        timers.cancel(&TimerKey::Sync("c".into()));
        assert_eq!(timers.next_deadline(), Some(5));
        assert_eq!(timers.take_due(4, u64::MAX), None);
        assert_eq!(timers.take_due(5, u64::MAX), Some(TimerKey::Join("b".into())));
        assert_eq!(timers.take_due(5, u64::MAX), Some(TimerKey::Join("a".into())));
        assert_eq!(timers.take_due(5, u64::MAX), None);
        assert_eq!(timers.take_due(9, timers.set_count() - 1), None, "set too late");
        assert_eq!(timers.take_due(9, u64::MAX), Some(TimerKey::OffsetExpiration));
        assert_eq!(timers.next_deadline(), None);
    }
}
