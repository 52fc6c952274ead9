//! Partitions whose logs have yet to follow the metadata: one image after the other, in order, behind the image itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use model::{PartitionId, TopicId};
use runtime::Effects;
use runtime::sync::oneshot;

use super::replica_manager::{Hosted, ReplicaManager};
use crate::metadata::TopicImage;

/// Logs opened or deleted at the same time by one shard.
const LOG_CHANGES_MAX: usize = 32;

/// Changes that wait for those before them; the controller bounds how many there are.
#[derive(Default)]
pub(super) struct LogChanges {
    waiting: RefCell<VecDeque<Waiting>>,
    running: Cell<bool>,
}

/// Partitions, and who hears when their logs are in line.
type Waiting = (Vec<(TopicId, PartitionId)>, oneshot::Sender<()>);

impl LogChanges {
    fn next(&self) -> Option<Waiting> {
        self.waiting.borrow_mut().pop_front()
    }
}

enum LogChange {
    Open {
        topic: Arc<TopicImage>,
        partition: PartitionId,
    },
    Delete {
        topic_id: TopicId,
        partition: PartitionId,
    },
    /// It could not be opened, and is not to be any more.
    Forget {
        topic_id: TopicId,
        partition: PartitionId,
    },
}

impl<E: Effects> ReplicaManager<E> {
    /// Queues partitions whose logs are to be brought in line with the image of that moment or a later one. The receiver hears
    /// when that is done, or that it will not be because the broker stops.
    pub(super) fn add_log_changes(
        self: &Rc<Self>,
        partitions: Vec<(TopicId, PartitionId)>,
    ) -> oneshot::Receiver<()> {
        let changes = &self.log_changes;
        let (sender, receiver) = oneshot::channel();
        changes.waiting.borrow_mut().push_back((partitions, sender));
        if !changes.running.replace(true) {
            self.effects.spawn(Rc::clone(self).change_logs());
        }
        receiver
    }

    async fn change_logs(self: Rc<Self>) {
        while let Some((partitions, done)) = self.log_changes.next() {
            // The next start makes up for what is left out.
            if !self.is_stopping() {
                self.align(partitions).await;
                let _gone = done.send(());
            }
        }
        self.log_changes.running.set(false);
    }

    /// Opens and deletes logs as the image has it.
    async fn align(self: &Rc<Self>, partitions: Vec<(TopicId, PartitionId)>) {
        let image = self.image();
        let change = |(topic_id, id): (TopicId, PartitionId)| match image.topic_by_id(topic_id) {
            Some(topic) => self.log_change(topic, id),
            None => Some(LogChange::Delete { topic_id, partition: id }),
        };
        let work: Vec<LogChange> = partitions.into_iter().filter_map(change).collect();
        stream::iter(work).for_each_concurrent(LOG_CHANGES_MAX, |change| self.change_log(change)).await;
    }

    fn log_change(&self, topic: &Arc<TopicImage>, id: PartitionId) -> Option<LogChange> {
        let is_wanted = self.is_wanted(topic, id);
        let open = LogChange::Open { topic: Arc::clone(topic), partition: id };
        match self.hosted.borrow().get(&(topic.id, id)) {
            None => is_wanted.then_some(open),
            Some(Hosted::Offline(..)) if !is_wanted => {
                Some(LogChange::Forget { topic_id: topic.id, partition: id })
            }
            Some(Hosted::Offline(..)) => self.reopening.waits(topic.id, id).then_some(open),
            // Its role has changed already. The log stays until nothing acknowledged depends on it.
            Some(Hosted::Online(_)) => None,
        }
    }

    async fn change_log(self: &Rc<Self>, change: LogChange) {
        if self.is_stopping() {
            return;
        }
        match change {
            LogChange::Open { topic, partition } => self.open_partition(&topic, partition).await,
            LogChange::Delete { topic_id, partition } => self.delete_log(topic_id, partition).await,
            LogChange::Forget { topic_id, partition } => drop(self.forget(topic_id, partition)),
        }
    }

    fn forget(&self, topic_id: TopicId, partition: PartitionId) -> Option<Hosted<E>> {
        self.reopening.forget(topic_id, partition);
        self.offline.forget(topic_id, partition);
        self.hosted.borrow_mut().remove(&(topic_id, partition))
    }

    async fn delete_log(self: &Rc<Self>, topic_id: TopicId, partition: PartitionId) {
        let (name, deleted) = match self.forget(topic_id, partition) {
            Some(Hosted::Online(partition)) => {
                (partition.name.clone(), self.logs.delete_log(&partition.name).await)
            }
            Some(Hosted::Offline(name, _)) => {
                let is_known = |id| self.image().topic_by_id(id).is_some();
                let deleted = self.logs.delete_unopened(&name, topic_id, is_known).await;
                (name, deleted)
            }
            None => return,
        };
        if let Err(error) = deleted {
            tracing::error!(partition = %name, %error, "could not delete the log");
        }
    }
}
