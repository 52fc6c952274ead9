//! Fetches that wait for more records: each is known to the partitions that it asks, and by the connection that it came
//! from. A connection has at most one, so that the number of waits is bounded by the number of connections.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use runtime::sync::Notify;

/// A fetch that waits for more records in any of its partitions.
#[derive(Default)]
pub struct FetchWait {
    notify: Notify,
    woken: Cell<bool>,
    cancelled: Cell<bool>,
}

impl FetchWait {
    /// Completes when a partition it was registered with may have more to read, or when it was cancelled.
    pub async fn woken(&self) {
        while !self.woken.get() {
            self.notify.notified().await;
        }
    }

    /// Completes the wait.
    pub fn wake(&self) {
        self.woken.set(true);
        self.notify.notify_one();
    }

    /// Completes the wait, and says that nobody waits any more.
    fn cancel(&self) {
        self.cancelled.set(true);
        self.wake();
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }
}

/// The fetches that wait for one partition.
#[derive(Default)]
pub(super) struct FetchWaiters {
    waiting: RefCell<Vec<Weak<FetchWait>>>,
}

/// From this many waiting fetches on, the dead ones are swept out before the list grows.
const FETCHERS_SWEEP: usize = 64;

impl FetchWaiters {
    /// Wakes `wait` when there may be more to read. It is forgotten when dropped.
    pub(super) fn add(&self, wait: &Rc<FetchWait>) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= FETCHERS_SWEEP && waiting.len() == waiting.capacity() {
            waiting.retain(|waiting| waiting.strong_count() > 0);
        }
        waiting.push(Rc::downgrade(wait));
    }

    /// Wakes everybody.
    pub(super) fn wake(&self) {
        if self.waiting.borrow().is_empty() {
            return;
        }
        for waiting in self.waiting.take() {
            if let Some(waiting) = waiting.upgrade() {
                waiting.wake();
            }
        }
    }
}

/// A connection: its shard and its number there.
pub type ConnectionKey = (usize, u64);

/// The waits of one shard.
#[derive(Default)]
pub struct FetchWaits {
    waits: RefCell<HashMap<ConnectionKey, Rc<FetchWait>>>,
}

impl FetchWaits {
    /// Registers a wait of the connection. One that it had before is over: its `last` one, or that of a request whose answer
    /// nobody waits for any more. If the connection was cancelled meanwhile, so is the wait.
    pub fn insert(&self, who: ConnectionKey, wait: Rc<FetchWait>, last: Option<&Rc<FetchWait>>) {
        let before = self.waits.borrow_mut().insert(who, Rc::clone(&wait));
        let Some(before) = before else { return };
        if before.is_cancelled() {
            wait.cancel();
        } else if last.is_none_or(|last| !Rc::ptr_eq(last, &before)) {
            before.cancel();
        }
    }

    /// The connection's wait.
    #[must_use]
    pub fn get(&self, who: ConnectionKey) -> Option<Rc<FetchWait>> {
        self.waits.borrow().get(&who).cloned()
    }

    /// Has the connection look whether there is more.
    pub fn wake(&self, who: ConnectionKey) {
        if let Some(wait) = self.waits.borrow().get(&who) {
            wait.wake();
        }
    }

    /// Ends the connection's wait, or the next one. Whoever cancels also forgets.
    pub fn cancel(&self, who: ConnectionKey) {
        self.waits.borrow_mut().entry(who).or_default().cancel();
    }

    /// Removes a wait that is over, unless the connection has another by now.
    pub fn remove(&self, who: ConnectionKey, wait: &Rc<FetchWait>) {
        let mut waits = self.waits.borrow_mut();
        if waits.get(&who).is_some_and(|present| Rc::ptr_eq(present, wait)) {
            waits.remove(&who);
        }
    }

    /// Removes what there is of the connection.
    pub fn forget(&self, who: ConnectionKey) {
        if let Some(wait) = self.waits.borrow_mut().remove(&who) {
            wait.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const WHO: ConnectionKey = (0, 1);

    fn wait() -> Rc<FetchWait> {
        Rc::default()
    }

    #[test]
    fn a_cancellation_that_comes_before_the_wait_is_not_lost() {
        let waits = FetchWaits::default();
        waits.cancel(WHO);
        let (first, second) = (wait(), wait());
        waits.insert(WHO, Rc::clone(&first), None);
        assert!(first.is_cancelled() && first.woken().now_or_never().is_some());
        waits.insert(WHO, Rc::clone(&second), Some(&first));
        assert!(second.is_cancelled(), "it came between two waits of one request");
        waits.forget(WHO);
        let third = wait();
        waits.insert(WHO, Rc::clone(&third), None);
        assert!(!third.is_cancelled());
    }

    #[test]
    fn a_request_goes_on_with_another_wait_and_ends_that_of_an_earlier_request() {
        let waits = FetchWaits::default();
        let (first, second, other) = (wait(), wait(), wait());
        waits.insert(WHO, Rc::clone(&first), None);
        waits.wake(WHO);
        assert!(first.woken().now_or_never().is_some() && !first.is_cancelled());
        waits.insert(WHO, Rc::clone(&second), Some(&first));
        assert!(!first.is_cancelled() && !second.is_cancelled());
        waits.insert(WHO, Rc::clone(&other), None);
        assert!(second.is_cancelled() && !other.is_cancelled());
        waits.remove(WHO, &second);
        assert!(waits.get(WHO).is_some(), "the other one stays");
        waits.remove(WHO, &other);
        assert!(waits.get(WHO).is_none());
    }
}
