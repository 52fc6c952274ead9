//! Which logs retention looks at without waiting for its turn: those whose settings or start have changed, and all of them while
//! room is short.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use model::TopicPartition;
use runtime::sync::Notify;
use runtime::{Effects, Monotonic};

use crate::Log;

/// How often all logs are looked at while room is short.
const SHORT_PAUSE: Duration = Duration::from_secs(30);

/// Who is due. Lives on every shard.
#[derive(Default)]
pub(crate) struct RetentionDue {
    logs: RefCell<BTreeSet<TopicPartition>>,
    all: Cell<bool>,
    /// When all logs may be due again for want of room.
    short_next: Cell<Monotonic>,
    wake: Notify,
}

impl RetentionDue {
    /// Has a log looked at soon.
    pub(crate) fn add(&self, tp: &TopicPartition) {
        self.logs.borrow_mut().insert(tp.clone());
        self.wake.notify_one();
    }

    /// Room is short: has all logs looked at, but not again and again.
    pub(crate) fn add_all(&self, now: Monotonic) {
        if now >= self.short_next.get() {
            self.short_next.set(now + SHORT_PAUSE);
            self.all.set(true);
            self.wake.notify_one();
        }
    }

    /// There is room: the next time that it is short begins anew.
    pub(crate) fn forget_short(&self) {
        self.short_next.set(Monotonic::default());
    }

    /// The shard closes.
    pub(crate) fn close(&self) {
        self.wake.notify_one();
    }

    /// Waits until some log may be due.
    pub(crate) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Those of `logs` that are due.
    pub(crate) fn take<E: Effects>(&self, logs: &BTreeMap<TopicPartition, Rc<Log<E>>>) -> Vec<Rc<Log<E>>> {
        let due = self.logs.take();
        if self.all.take() {
            return logs.values().cloned().collect();
        }
        due.iter().filter_map(|tp| logs.get(tp).cloned()).collect()
    }
}
