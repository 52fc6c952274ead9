//! Partitions whose log could not be opened for a reason that passes: no room, no descriptors, no memory. Each is tried again
//! until it opens, cannot be opened for another reason, or is deleted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use model::{PartitionId, TopicId};
use runtime::{Clock, Effects};

use super::replica_manager::ReplicaManager;

/// The pause before the first new try; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// Partitions that wait for their next try.
#[derive(Default)]
pub(super) struct Reopening {
    waiting: RefCell<BTreeSet<(TopicId, PartitionId)>>,
    running: Cell<bool>,
}

impl Reopening {
    /// Whether a partition is to be tried again.
    pub(super) fn waits(&self, topic: TopicId, partition: PartitionId) -> bool {
        self.waiting.borrow().contains(&(topic, partition))
    }

    /// Tries a partition no more.
    pub(super) fn forget(&self, topic: TopicId, partition: PartitionId) {
        self.waiting.borrow_mut().remove(&(topic, partition));
    }

    fn all(&self) -> Vec<(TopicId, PartitionId)> {
        self.waiting.borrow().iter().copied().collect()
    }
}

impl<E: Effects> ReplicaManager<E> {
    /// Has a partition tried again; says whether that is news.
    pub(super) fn open_again(self: &Rc<Self>, topic: TopicId, partition: PartitionId) -> bool {
        let is_new = self.reopening.waiting.borrow_mut().insert((topic, partition));
        if !self.reopening.running.replace(true) {
            self.effects.spawn(Rc::clone(self).reopen());
        }
        is_new
    }

    /// Queues the partitions behind the changes of the metadata, so that no try meets a deletion.
    async fn reopen(self: Rc<Self>) {
        let clock = self.effects.clock().clone();
        let mut pause = PAUSE_MIN;
        loop {
            clock.sleep_until(clock.now() + pause).await;
            let partitions = self.reopening.all();
            if partitions.is_empty() || self.is_stopping() {
                break;
            }
            let _stopping = self.add_log_changes(partitions).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.reopening.running.set(false);
    }
}
