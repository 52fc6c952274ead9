//! Partitions whose log could not be opened for a reason that passes: no room, no descriptors, no memory. Each is tried again
//! until it opens, cannot be opened for another reason, or is deleted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use model::{PartitionId, TopicId};
use runtime::{Clock, Effects};

use crate::metadata::topic_changes::TopicChanges;
use crate::node::shard::Shard;

/// The pause before the first new try; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// Partitions that wait for their next try. Lives on every shard.
#[derive(Default)]
pub struct Reopening {
    waiting: RefCell<BTreeSet<(TopicId, PartitionId)>>,
    running: Cell<bool>,
}

impl Reopening {
    /// Whether a partition is to be tried again.
    #[must_use]
    pub fn waits(&self, topic: TopicId, partition: PartitionId) -> bool {
        self.waiting.borrow().contains(&(topic, partition))
    }

    /// Tries a partition no more.
    pub fn forget(&self, topic: TopicId, partition: PartitionId) {
        self.waiting.borrow_mut().remove(&(topic, partition));
    }

    /// Has a partition tried again; says whether that is news.
    pub fn add<E: Effects>(shard: &Rc<Shard<E>>, topic: TopicId, partition: PartitionId) -> bool {
        let reopening = &shard.reopening;
        let is_new = reopening.waiting.borrow_mut().insert((topic, partition));
        if !reopening.running.replace(true) {
            shard.effects.spawn(run(Rc::clone(shard)));
        }
        is_new
    }

    fn topics(&self) -> Vec<TopicId> {
        let topics: BTreeSet<TopicId> = self.waiting.borrow().iter().map(|(topic, _)| *topic).collect();
        topics.into_iter().collect()
    }
}

/// Queues the topics behind the changes of the metadata, so that no try meets a deletion.
async fn run<E: Effects>(shard: Rc<Shard<E>>) {
    let clock = shard.effects.clock().clone();
    let mut pause = PAUSE_MIN;
    loop {
        clock.sleep_until(clock.now() + pause).await;
        let topics = shard.reopening.topics();
        if topics.is_empty() || shard.stopping() {
            break;
        }
        let _stopping = TopicChanges::add(&shard, topics).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    shard.reopening.running.set(false);
}
