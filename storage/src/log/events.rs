//! What a log tells those who own something of it: its partition, a coordinator over it, a lane to a follower.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use model::Offset;

use crate::StorageError;

/// Subscribers of one log.
const SUBSCRIBERS_MAX: usize = 4;

/// What has happened to a log.
#[derive(Debug, Clone, Copy)]
pub enum LogEvent<'a> {
    /// Everything below this offset is durable now.
    DurableEndAdvanced(Offset),
    /// Retention or a deletion of records has moved the start of the log here.
    LogStartAdvanced(Offset),
    /// Nothing will be written to the log any more.
    Failed(&'a StorageError),
}

/// Who hears what happens to a log, on the log's shard, from within what makes it happen.
pub trait LogSubscriber {
    /// Takes notice. The log may be asked anything.
    fn notify(&self, event: LogEvent<'_>);
}

/// The subscribers of a log, in no order. Each ends its subscription by being dropped.
#[derive(Default)]
pub(crate) struct Subscribers {
    slots: RefCell<[Option<Weak<dyn LogSubscriber>>; SUBSCRIBERS_MAX]>,
}

impl Subscribers {
    /// Takes a free place for `subscriber`, unless it has one.
    pub(crate) fn add(&self, subscriber: Weak<dyn LogSubscriber>) {
        let mut slots = self.slots.borrow_mut();
        if slots.iter().flatten().any(|known| known.ptr_eq(&subscriber)) {
            return;
        }
        let free = slots.iter_mut().find(|slot| slot.as_ref().is_none_or(|known| known.strong_count() == 0));
        *free.expect("each owner of a log subscribes once, and there are few kinds of them") =
            Some(subscriber);
    }

    /// Tells all of `event`.
    pub(crate) fn tell(&self, event: LogEvent<'_>) {
        for at in 0..SUBSCRIBERS_MAX {
            // The borrow ends before the call, which may run other code.
            let subscriber: Option<Rc<_>> = self.slots.borrow()[at].as_ref().and_then(Weak::upgrade);
            if let Some(subscriber) = subscriber {
                subscriber.notify(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Counts, and may subscribe another one from within.
    #[derive(Default)]
    struct Counting {
        heard: Cell<u32>,
        from_within: RefCell<Option<(Rc<Subscribers>, Rc<Counting>)>>,
    }

    impl LogSubscriber for Counting {
        fn notify(&self, _event: LogEvent<'_>) {
            self.heard.set(self.heard.get() + 1);
            if let Some((all, other)) = self.from_within.take() {
                all.add(weak(&other));
            }
        }
    }

    fn weak(subscriber: &Rc<Counting>) -> Weak<dyn LogSubscriber> {
        let subscriber: Rc<dyn LogSubscriber> = subscriber.clone();
        Rc::downgrade(&subscriber)
    }

    #[test]
    fn all_hear_everything_once_until_they_go() {
        let all = Rc::new(Subscribers::default());
        let counting: Vec<Rc<Counting>> = (0..SUBSCRIBERS_MAX).map(|_| Rc::default()).collect();
        all.add(weak(&counting[0]));
        all.add(weak(&counting[0]));
        *counting[0].from_within.borrow_mut() = Some((Rc::clone(&all), Rc::clone(&counting[1])));
        all.tell(LogEvent::DurableEndAdvanced(Offset(1)));
        all.tell(LogEvent::LogStartAdvanced(Offset(1)));
        assert_eq!(counting[0].heard.get(), 2);
        assert!(counting[1].heard.get() >= 1, "subscribed while the first event was told");
        // Whoever goes makes room, however many come and go.
        for _ in 0..10 * SUBSCRIBERS_MAX {
            let passing = Rc::new(Counting::default());
            all.add(weak(&passing));
            all.tell(LogEvent::Failed(&StorageError::Closed));
            assert_eq!(passing.heard.get(), 1);
        }
        counting.iter().for_each(|subscriber| all.add(weak(subscriber)));
        let before: Vec<u32> = counting.iter().map(|subscriber| subscriber.heard.get()).collect();
        all.tell(LogEvent::DurableEndAdvanced(Offset(2)));
        let after: Vec<u32> = counting.iter().map(|subscriber| subscriber.heard.get() - 1).collect();
        assert_eq!(before, after);
    }

    #[test]
    #[should_panic(expected = "each owner of a log subscribes once")]
    fn there_are_not_many_of_them() {
        let all = Subscribers::default();
        let counting: Vec<Rc<Counting>> = (0..=SUBSCRIBERS_MAX).map(|_| Rc::default()).collect();
        counting.iter().for_each(|subscriber| all.add(weak(subscriber)));
    }
}
