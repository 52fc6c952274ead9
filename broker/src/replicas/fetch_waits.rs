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
    /// Registers the connection's wait; one that it had before is over.
    pub fn insert(&self, who: ConnectionKey, wait: Rc<FetchWait>) {
        if let Some(before) = self.waits.borrow_mut().insert(who, wait) {
            before.wake();
        }
    }

    /// The connection's wait.
    #[must_use]
    pub fn get(&self, who: ConnectionKey) -> Option<Rc<FetchWait>> {
        self.waits.borrow().get(&who).cloned()
    }

    /// Ends the connection's wait.
    pub fn cancel(&self, who: ConnectionKey) {
        if let Some(wait) = self.waits.borrow_mut().remove(&who) {
            wait.wake();
        }
    }
}
