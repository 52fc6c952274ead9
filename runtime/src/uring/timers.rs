//! Wakers ordered by the moment at which they are due.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::time::Monotonic;

/// One timer: its moment, and a number that makes it unique.
pub(crate) type TimerKey = (Monotonic, u64);

/// All timers of a shard.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    next: u64,
    queue: BTreeMap<TimerKey, Waker>,
}

impl Timers {
    pub(crate) fn insert(&mut self, deadline: Monotonic, waker: Waker) -> TimerKey {
        self.next += 1;
        let key = (deadline, self.next);
        self.queue.insert(key, waker);
        key
    }

    /// Renews the waker of a timer that has not fired.
    pub(crate) fn renew(&mut self, key: TimerKey, waker: &Waker) {
        if let Some(slot) = self.queue.get_mut(&key) {
            slot.clone_from(waker);
        }
    }

    pub(crate) fn remove(&mut self, key: TimerKey) {
        self.queue.remove(&key);
    }

    /// When the first timer is due.
    pub(crate) fn first(&self) -> Option<Monotonic> {
        self.queue.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Takes out the first timer that is due.
    pub(crate) fn pop_due(&mut self, now: Monotonic) -> Option<Waker> {
        let first = self.queue.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_not_early() {
        let mut timers = Timers::default();
        let keys: Vec<_> =
            [30, 10, 20, 10].iter().map(|at| timers.insert(Monotonic(*at), Waker::noop().clone())).collect();
        timers.remove(keys[2]);
        let mut fired = Vec::new();
        for now in [5, 10, 25, 30] {
            while timers.pop_due(Monotonic(now)).is_some() {
                fired.push(now);
            }
        }
        assert_eq!(fired, [10, 10, 30]);
        assert_eq!(timers.first(), None);
    }
}
