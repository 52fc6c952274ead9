//! Opening the logs of partitions that an image gives to this shard.

use std::rc::Rc;
use std::sync::Arc;

use model::{PartitionId, TopicId, TopicPartition};
use runtime::Effects;
use storage::{Log, StorageError};

use super::offline_partitions::OfflinePartition;
use super::partition::Partition;
use super::replica_manager::{Hosted, ReplicaManager};
use super::replica_state::{Transition, record_of, replica_config};
use crate::config::TopicConfig;
use crate::metadata::TopicImage;

impl<E: Effects> ReplicaManager<E> {
    /// Opens the log of a partition and takes the role that the image has for it by then.
    pub(super) async fn open_partition(self: &Rc<Self>, topic: &Arc<TopicImage>, id: PartitionId) {
        let name = TopicPartition::new(Arc::clone(&topic.name), id);
        let newest = self.image().topic_by_id(topic.id).cloned();
        let config = self.topic_config(newest.as_ref().unwrap_or(topic));
        match self.open_log(&name, topic.id, &config).await {
            Ok(log) => self.host(topic, id, log),
            Err(error) => {
                self.note_unopened(&name, topic.id, &error);
                self.hosted.borrow_mut().insert((topic.id, id), Hosted::Offline(name, error));
            }
        }
    }

    fn host(self: &Rc<Self>, opened: &Arc<TopicImage>, id: PartitionId, log: Rc<Log<E>>) {
        let newest = self.image().topic_by_id(opened.id).cloned();
        let topic = newest.as_ref().unwrap_or(opened);
        let Some(image) = topic.partition(id).or_else(|| opened.partition(id)) else { return };
        let config = self.topic_config(topic);
        log.set_config(config.to_log_config());
        let config = replica_config(&config, image.replicas.len());
        let (effects, offline) = (self.effects.clone(), Arc::clone(&self.offline));
        let partition = Partition::host(effects, self.node, log, record_of(image, config), config, offline);
        self.reopening.forget(topic.id, id);
        self.hosted.borrow_mut().insert((topic.id, id), Hosted::Online(Rc::clone(&partition)));
        self.note_availability(&partition);
        let (stable, high_watermark) = (partition.log.last_stable_offset(), partition.high_watermark());
        if stable < high_watermark {
            // Kafka's coordinator would end it; there is none here.
            tracing::warn!(partition = %partition.name, offset = %stable, "a transaction was left open, and nobody ends it: read_committed consumers do not get further");
        }
        if newest.is_none() {
            // It was deleted meanwhile: its turn comes.
            self.close(&partition);
        } else if partition.leads() {
            self.tell(&partition, Transition::Elected);
        }
    }

    /// Tells of a log that could not be opened, and has it tried again if the reason may pass.
    fn note_unopened(self: &Rc<Self>, name: &TopicPartition, topic: TopicId, error: &StorageError) {
        let reason = error.to_string();
        let offline = OfflinePartition { name: name.clone(), is_readable: false, reason };
        self.offline.note(topic, offline);
        if !error.may_pass() {
            self.reopening.forget(topic, name.partition);
            tracing::error!(partition = %name, %error, "partition is offline");
        } else if self.open_again(topic, name.partition) {
            tracing::warn!(partition = %name, %error, "partition is offline, its log is tried again until it opens");
        }
    }

    /// Tells everyone whether an open log can be served as it should.
    pub(super) fn note_availability(&self, partition: &Partition<E>) {
        let (name, topic_id) = (partition.name.clone(), partition.topic_id);
        if partition.contradiction().is_some() {
            // Told by the partition itself.
            return;
        }
        match partition.log.offline() {
            Some(error @ StorageError::Corrupt { .. }) => {
                let reason = error.to_string();
                self.offline.note(topic_id, OfflinePartition { name, is_readable: true, reason });
            }
            _ => self.offline.forget(topic_id, name.partition),
        }
    }

    /// Opens a log. A directory that was left by a topic that was removed makes way; what is known of no topic at all may
    /// be this one's, with a damaged identity, and is left to its owner.
    async fn open_log(
        &self,
        name: &TopicPartition,
        topic_id: TopicId,
        config: &TopicConfig,
    ) -> Result<Rc<Log<E>>, StorageError> {
        let open = || self.logs.open_log(name.clone(), topic_id, config.to_log_config());
        match open().await {
            Err(error @ StorageError::OtherTopic { found, .. }) if self.image().was_removed(found) => {
                tracing::warn!(partition = %name, %error, "the directory of a topic that was removed is in the way");
                self.logs.set_aside(name).await?;
                open().await
            }
            opened => opened,
        }
    }
}
