//! The partitions that one shard hosts: follows the metadata, and is asked for them by everybody else.
//!
//! What an image says of partitions that are here counts at once, when the image is taken over; logs are opened and deleted
//! behind that, in order of the images (`log_changes`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::{LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionId, TopicId, TopicPartition};
use replication::Acks;
use runtime::{Clock, Effects};
use storage::{LogManager, StorageError};

use super::acks::AckWait;
use super::error::{CurrentLeader, PartitionError};
use super::fetch_waits::FetchWaits;
use super::log_changes::LogChanges;
use super::offline_partitions::{Availability, OfflinePartitions};
use super::partition::Partition;
use super::reopening::Reopening;
use super::replica_state::{Transition, has_replica, record_of, replica_config};
use crate::config::{BrokerConfig, TopicConfig};
use crate::metadata::{MetadataDelta, MetadataImage, PartitionImage, TopicImage};

/// Hears which leaderships begin and end on a shard, while the image that says so is taken over.
pub trait LeadershipSubscriber<E: Effects> {
    /// This node leads the partition in a new epoch.
    fn elected(&self, partition: &Rc<Partition<E>>);

    /// This node has ceased to lead the partition.
    fn deposed(&self, partition: &Partition<E>);
}

/// A replica that this shard has.
pub(super) enum Hosted<E: Effects> {
    /// Its log is open.
    Online(Rc<Partition<E>>),
    /// Its log could not be opened.
    Offline(TopicPartition, StorageError),
}

/// Says which partitions belong to a shard.
pub type Owns = Box<dyn Fn(TopicId, PartitionId) -> bool>;

/// The replicas of one shard. Lives on every shard.
pub struct ReplicaManager<E: Effects> {
    /// Fetches that wait for partitions of this shard.
    pub fetch_waits: FetchWaits,
    pub(super) effects: E,
    pub(super) node: NodeId,
    pub(super) logs: Rc<LogManager<E>>,
    /// What is wrong with partitions of this broker, for everyone who tells of it.
    pub(super) offline: Arc<OfflinePartitions>,
    pub(super) owns: Owns,
    pub(super) hosted: RefCell<HashMap<(TopicId, PartitionId), Hosted<E>>>,
    pub(super) log_changes: LogChanges,
    pub(super) reopening: Reopening,
    image: RefCell<Arc<MetadataImage>>,
    config: RefCell<Arc<BrokerConfig>>,
    topic_configs: RefCell<HashMap<TopicId, Arc<TopicConfig>>>,
    subscriber: RefCell<Option<Rc<dyn LeadershipSubscriber<E>>>>,
    /// Partitions with requests that wait for an acknowledgement.
    awaited: RefCell<Vec<Rc<Partition<E>>>>,
    stopping: Cell<bool>,
}

/// How often requests that wait for acknowledgements are checked for their time-out.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);

impl<E: Effects> ReplicaManager<E> {
    /// No replicas yet. `owns` says which partitions belong to this shard.
    #[must_use]
    pub fn new(
        effects: E,
        node: NodeId,
        logs: Rc<LogManager<E>>,
        offline: Arc<OfflinePartitions>,
        config: Arc<BrokerConfig>,
        owns: Owns,
    ) -> Rc<Self> {
        let replicas = Rc::new(Self {
            fetch_waits: FetchWaits::default(),
            effects,
            node,
            logs,
            offline,
            owns,
            hosted: RefCell::default(),
            log_changes: LogChanges::default(),
            reopening: Reopening::default(),
            image: RefCell::default(),
            config: RefCell::new(config),
            topic_configs: RefCell::default(),
            subscriber: RefCell::default(),
            awaited: RefCell::default(),
            stopping: Cell::new(false),
        });
        replicas.effects.spawn(Rc::clone(&replicas).expire_acks());
        replicas
    }

    /// Names who hears of leaderships.
    pub fn subscribe(&self, subscriber: Rc<dyn LeadershipSubscriber<E>>) {
        *self.subscriber.borrow_mut() = Some(subscriber);
    }

    /// Opens and deletes no more logs.
    pub fn stop(&self) {
        self.stopping.set(true);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Takes over a new image, of which `delta` says what is new, and the broker's settings that belong to it: the partitions
    /// that are here get their roles and settings before this returns. The future completes when the logs are in line, too.
    pub fn apply_image(
        self: &Rc<Self>,
        image: Arc<MetadataImage>,
        config: &Arc<BrokerConfig>,
        delta: &MetadataDelta,
    ) -> impl Future<Output = ()> + use<E> {
        let is_reconfigured = !Arc::ptr_eq(config, &self.config.borrow());
        if is_reconfigured {
            *self.config.borrow_mut() = Arc::clone(config);
            self.topic_configs.borrow_mut().clear();
        }
        *self.image.borrow_mut() = Arc::clone(&image);
        for id in delta.topic_configs().chain(delta.removed_topics().map(|topic| topic.id)) {
            self.topic_configs.borrow_mut().remove(&id);
        }
        let reconfigured: BTreeSet<_> = if is_reconfigured {
            // In order, unlike the map: simulations are to be the same each time.
            self.hosted.borrow().keys().copied().collect()
        } else {
            partitions_of(delta.topic_configs().filter_map(|id| image.topic_by_id(id))).collect()
        };
        reconfigured.into_iter().for_each(|(topic, id)| self.apply_settings(&image, topic, id));
        let changed: Vec<_> = delta.partitions().filter(|(topic, id)| (self.owns)(*topic, *id)).collect();
        changed.iter().for_each(|(topic, id)| self.apply_role(&image, *topic, *id));
        let removed = partitions_of(delta.removed_topics());
        let removed: Vec<_> = removed.filter(|(topic, id)| (self.owns)(*topic, *id)).collect();
        let open = removed.iter().filter_map(|(topic, id)| self.hosted(*topic, *id));
        open.for_each(|partition| self.close(&partition));
        let behind = [changed, removed].concat();
        let aligned = (!behind.is_empty()).then(|| self.add_log_changes(behind));
        async move {
            if let Some(aligned) = aligned {
                let _stopping = aligned.await;
            }
        }
    }

    fn apply_settings(&self, image: &MetadataImage, topic_id: TopicId, id: PartitionId) {
        let (Some(partition), Some(topic)) = (self.hosted(topic_id, id), image.topic_by_id(topic_id)) else {
            return;
        };
        partition.log.set_config(self.topic_config(topic).to_log_config());
        self.apply_role(image, topic_id, id);
    }

    fn apply_role(&self, image: &MetadataImage, topic_id: TopicId, id: PartitionId) {
        let Some(partition) = self.hosted(topic_id, id) else { return };
        let Some(topic) = image.topic_by_id(topic_id) else { return };
        if let Some(record) = topic.partition(id) {
            self.apply_partition(&partition, record, &self.topic_config(topic));
        }
    }

    /// Gives an open partition its role.
    fn apply_partition(&self, partition: &Rc<Partition<E>>, image: &PartitionImage, config: &TopicConfig) {
        let config = replica_config(config, image.replicas.len());
        // Most of a topic is as it was; there may be many thousand partitions.
        if partition.is_current(PartitionEpoch(image.partition_epoch), config) {
            return;
        }
        let was_offline = partition.contradiction().is_some();
        let transition = partition.apply_record(record_of(image, config), config);
        if was_offline && partition.contradiction().is_none() {
            self.note_availability(partition);
        }
        self.tell(partition, transition);
    }

    pub(super) fn tell(&self, partition: &Rc<Partition<E>>, transition: Transition) {
        let Some(subscriber) = self.subscriber.borrow().clone() else { return };
        match transition {
            Transition::Elected => subscriber.elected(partition),
            Transition::Deposed => subscriber.deposed(partition),
            Transition::None | Transition::Fenced => {}
        }
    }

    /// Nobody is served any more; the log is deleted in its turn.
    pub(super) fn close(&self, partition: &Rc<Partition<E>>) {
        let led = partition.leads();
        partition.close();
        self.tell(partition, if led { Transition::Deposed } else { Transition::None });
    }

    /// A partition that this node leads, for somebody who knows of the leader epoch `known` ([`LeaderEpoch::NONE`] if of
    /// none).
    ///
    /// # Errors
    /// [`PartitionError`] if there is none, it cannot be read, the epoch is another one (KIP-320), or another node leads.
    pub fn led(
        &self,
        topic_id: TopicId,
        id: PartitionId,
        known: LeaderEpoch,
    ) -> Result<Rc<Partition<E>>, PartitionError> {
        match self.hosted.borrow().get(&(topic_id, id)) {
            Some(Hosted::Online(partition)) => {
                partition.check_leads(known)?;
                Ok(Rc::clone(partition))
            }
            Some(Hosted::Offline(_, error)) => {
                Err(self.elsewhere(topic_id, id).unwrap_or(error.clone().into()))
            }
            None => Err(self.elsewhere(topic_id, id).unwrap_or(PartitionError::Unknown)),
        }
    }

    /// Who leads a partition instead, if the image says that this node does not.
    fn elsewhere(&self, topic_id: TopicId, id: PartitionId) -> Option<PartitionError> {
        let image = self.image.borrow();
        let partition = image.topic_by_id(topic_id)?.partition(id)?;
        let node = Some(partition.leader).filter(|leader| *leader != PartitionImage::NO_LEADER);
        let leader = CurrentLeader { node, epoch: partition.leader_epoch };
        (node != Some(self.node)).then_some(PartitionError::NotLeader(leader))
    }

    /// A partition whose log is open here, whoever leads it.
    #[must_use]
    pub fn hosted(&self, topic_id: TopicId, id: PartitionId) -> Option<Rc<Partition<E>>> {
        match self.hosted.borrow().get(&(topic_id, id)) {
            Some(Hosted::Online(partition)) => Some(Rc::clone(partition)),
            Some(Hosted::Offline(..)) | None => None,
        }
    }

    /// Whether this node leads a partition, or will when its log is open. One that no image names yet may be so new.
    #[must_use]
    pub fn may_lead(&self, topic_id: TopicId, id: PartitionId) -> bool {
        matches!(self.led(topic_id, id, LeaderEpoch::NONE), Ok(_) | Err(PartitionError::Unknown))
    }

    /// Calls `visit` with every partition whose log is open here.
    pub fn for_each(&self, mut visit: impl FnMut(&Partition<E>)) {
        for hosted in self.hosted.borrow().values() {
            if let Hosted::Online(partition) = hosted {
                visit(partition);
            }
        }
    }

    /// What is wrong with partitions of this broker.
    #[must_use]
    pub const fn offline(&self) -> &Arc<OfflinePartitions> {
        &self.offline
    }

    /// What this broker can do with a partition.
    #[must_use]
    pub fn availability(&self, topic_id: TopicId, id: PartitionId) -> Availability {
        match self.offline.availability(topic_id, id) {
            Availability::Online if self.logs.dir().is_failed() => Availability::ReadOnly,
            availability => availability,
        }
    }

    /// The metadata as of the last image.
    pub(super) fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    /// Whether the image has a replica of a partition for this shard.
    pub(super) fn is_wanted(&self, topic: &TopicImage, id: PartitionId) -> bool {
        let image = topic.partition(id);
        (self.owns)(topic.id, id) && image.is_some_and(|image| has_replica(image, self.node))
    }

    /// The settings of a topic, its own and inherited ones.
    #[must_use]
    pub fn topic_config(&self, topic: &TopicImage) -> Arc<TopicConfig> {
        if let Some(known) = self.topic_configs.borrow().get(&topic.id) {
            return Arc::clone(known);
        }
        let resolved = Arc::new(TopicConfig::resolve(&self.config.borrow(), &topic.configs));
        // Who has been under way since before a change may ask about an older image: that must not be remembered.
        let image = self.image.borrow();
        if image.topic_by_id(topic.id).is_some_and(|newest| std::ptr::eq(&raw const **newest, topic)) {
            self.topic_configs.borrow_mut().insert(topic.id, Arc::clone(&resolved));
        }
        resolved
    }

    /// Answers `slot` of `wait` when everything below `offset` of a partition is acknowledged as `acks` asks.
    pub fn wait_for_acks(
        &self,
        partition: &Rc<Partition<E>>,
        acks: Acks,
        offset: Offset,
        slot: usize,
        wait: &Rc<AckWait>,
    ) {
        if partition.wait_for_acks(acks, offset, slot, wait) && !partition.is_awaited.replace(true) {
            self.awaited.borrow_mut().push(Rc::clone(partition));
        }
    }

    /// Answers, now and then, the requests whose time is up.
    async fn expire_acks(self: Rc<Self>) {
        while !self.is_stopping() {
            let now = self.effects.clock().now();
            let mut awaited = self.awaited.take();
            awaited.retain(|partition| {
                partition.expire(now);
                let is_awaited = partition.has_waiting_producers();
                partition.is_awaited.set(is_awaited);
                is_awaited
            });
            self.awaited.borrow_mut().append(&mut awaited);
            self.effects.clock().sleep_until(now + EXPIRY_INTERVAL).await;
        }
    }
}

fn partitions_of<'a>(
    topics: impl Iterator<Item = &'a Arc<TopicImage>>,
) -> impl Iterator<Item = (TopicId, PartitionId)> {
    topics.flat_map(|topic| topic.partition_ids().map(|id| (topic.id, id)))
}
