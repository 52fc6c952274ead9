//! One shard: what a core owns, and what it knows of the rest.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use futures_util::stream::{self, StreamExt};
use model::{LeaderEpoch, NodeId, PartitionId, TopicId, TopicPartition};
use net::protocol::ErrorCode;
use runtime::mesh::MeshPort;
use runtime::sync::oneshot;
use runtime::{Clock, Effects, Monotonic};
use storage::{Log, LogDir, LogManager, RecordChecker, StorageError};

use crate::api::fetch::elements::FetchElements;
use crate::api::fetch::memory::FetchMemory;
use crate::api::fetch::session::FetchSessions;
use crate::api::request_memory::RequestMemory;
use crate::clients::connections::Connections;
use crate::config::{BrokerConfig, TopicConfig};
use crate::controller::Controller;
use crate::controller::producer_ids::ProducerIds;
use crate::coordination::directory::Coordinators;
use crate::logging::Loggers;
use crate::mesh::calls::{Calls, Job};
use crate::metadata::reopening::Reopening;
use crate::metadata::topic_changes::TopicChanges;
use crate::metadata::{MetadataImage, TopicImage};
use crate::replicas::fetch_waits::FetchWaits;
use crate::replicas::offline_partitions::{Availability, OfflinePartition, OfflinePartitions};
use crate::replicas::partition::Partition;
use crate::stats::Stats;

/// What all shards share and nobody changes.
pub struct Identity {
    /// `node.id`.
    pub node_id: NodeId,
    /// The cluster's id, from meta.properties.
    pub cluster_id: String,
    /// The data directory.
    pub log_dir: Arc<LogDir>,
    /// How many shards there are.
    pub shards: usize,
    /// Descriptors that the process may have: half are for connections, half for logs.
    pub descriptors: usize,
    /// Memory of each shard that keeps what fetches read from disk.
    pub read_cache_bytes: u64,
    /// The levels of the log, which clients may change.
    pub loggers: Arc<Loggers>,
    /// Partitions that are not served as they should be.
    pub offline: Arc<OfflinePartitions>,
}

/// A partition as its owner finds it.
pub enum Hosted<E: Effects> {
    /// Open and serving.
    Online(Rc<Partition<E>>),
    /// The log of this name could not be opened.
    Offline(TopicPartition),
}

/// One shard's state. Everything in it is used by the shard's own thread only.
pub struct Shard<E: Effects> {
    /// This shard's number.
    pub index: usize,
    /// Clock, disk, network.
    pub effects: E,
    /// What never changes.
    pub identity: Arc<Identity>,
    /// This shard's logs.
    pub logs: Rc<LogManager<E>>,
    /// Calls to other shards.
    pub calls: Calls<E>,
    /// Fetch sessions of the connections accepted here.
    pub sessions: RefCell<FetchSessions>,
    /// Room for the partitions that fetches name.
    pub fetch_elements: FetchElements,
    /// Memory for records on their way out.
    pub fetch_memory: FetchMemory,
    /// Fetches that wait for partitions owned here.
    pub fetch_waits: FetchWaits,
    /// Producer ids to give away.
    pub producer_ids: ProducerIds,
    /// Coordinators of the partitions of internal topics that are led here.
    pub coordinators: Coordinators<E>,
    /// Topics whose logs follow the image.
    pub topic_changes: TopicChanges,
    /// Partitions whose log is tried again.
    pub reopening: Reopening,
    /// Memory for large requests on their way in.
    pub request_memory: RequestMemory,
    /// Looks at the records that clients of this shard send.
    pub records: RecordChecker<E>,
    /// Client connections accepted here.
    pub connections: Connections,
    /// What happened here, counted.
    pub stats: Stats,
    /// The controller, on shard 0.
    pub controller: Option<Rc<Controller<E>>>,
    image: RefCell<Arc<MetadataImage>>,
    config: RefCell<Arc<BrokerConfig>>,
    partitions: RefCell<HashMap<(TopicId, PartitionId), Hosted<E>>>,
    topic_configs: RefCell<HashMap<TopicId, Arc<TopicConfig>>>,
    stopping: Cell<bool>,
    refusing_appends: Cell<bool>,
}

/// Logs opened or deleted at the same time by one shard.
const LOG_CHANGES_MAX: usize = 32;

/// How often requests that wait for acknowledgements are checked for their time-out.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);

impl<E: Effects> Shard<E> {
    /// A shard with an empty image. `controller` is given to shard 0 only.
    pub fn new(
        index: usize,
        effects: E,
        identity: Arc<Identity>,
        config: Arc<BrokerConfig>,
        logs: Rc<LogManager<E>>,
        port: MeshPort<Job<E>>,
        controller: Option<Rc<Controller<E>>>,
    ) -> Rc<Self> {
        let shard = Rc::new(Self {
            index,
            sessions: RefCell::new(FetchSessions::new(identity.shards, &config, effects.random())),
            fetch_elements: FetchElements::new(config.memory_per_shard_bytes()),
            fetch_memory: FetchMemory::new(config.memory_per_shard_bytes() / 8),
            fetch_waits: FetchWaits::default(),
            producer_ids: ProducerIds::default(),
            coordinators: Coordinators::new(&effects, &identity.offline),
            calls: Calls::new(port),
            records: RecordChecker::new(effects.clone(), config.trusts_headers()),
            effects,
            identity,
            logs,
            topic_changes: TopicChanges::default(),
            reopening: Reopening::default(),
            request_memory: RequestMemory::new(
                config.memory_per_shard_bytes() / 4,
                config.socket_request_bytes_max(),
            ),
            connections: Connections::default(),
            stats: Stats::default(),
            controller,
            image: RefCell::default(),
            config: RefCell::new(config),
            partitions: RefCell::default(),
            topic_configs: RefCell::default(),
            stopping: Cell::new(false),
            refusing_appends: Cell::new(false),
        });
        let serving = Rc::clone(&shard);
        shard.effects.spawn(async move { serving.calls.serve(Rc::clone(&serving)).await });
        shard.effects.spawn(expire_acks(Rc::clone(&shard)));
        shard
    }

    /// The metadata as this shard knows it.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    /// The broker's settings, dynamic ones applied.
    #[must_use]
    pub fn config(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.config.borrow())
    }

    /// Whether the broker is shutting down.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Makes [`Shard::stopping`] true.
    pub fn stop(&self) {
        self.stopping.set(true);
    }

    /// Has requests that are still being worked on append nothing more.
    pub fn refuse_appends(&self) {
        self.refusing_appends.set(true);
    }

    /// Whether clients may append.
    #[must_use]
    pub fn takes_appends(&self) -> bool {
        !self.refusing_appends.get()
    }

    /// The shard that owns a partition. Partitions of one topic go around all shards.
    #[must_use]
    pub fn owner(&self, topic_id: TopicId, partition: PartitionId) -> usize {
        owner_shard(topic_id, partition, self.identity.shards)
    }

    /// A partition owned by this shard.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition` if there is none here, `KafkaStorageError` if its log is offline.
    pub fn partition(
        &self,
        topic_id: TopicId,
        partition: PartitionId,
    ) -> Result<Rc<Partition<E>>, ErrorCode> {
        match self.partitions.borrow().get(&(topic_id, partition)) {
            Some(Hosted::Online(partition)) => Ok(Rc::clone(partition)),
            Some(Hosted::Offline(_)) => Err(ErrorCode::KafkaStorageError),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }

    /// All open partitions of this shard.
    #[must_use]
    pub fn online_partitions(&self) -> Vec<Rc<Partition<E>>> {
        self.online_where(|_| true)
    }

    fn online_where(&self, is_wanted: impl Fn(&Partition<E>) -> bool) -> Vec<Rc<Partition<E>>> {
        let partitions = self.partitions.borrow();
        partitions
            .values()
            .filter_map(|hosted| match hosted {
                Hosted::Online(partition) => is_wanted(partition).then(|| Rc::clone(partition)),
                Hosted::Offline(_) => None,
            })
            .collect()
    }

    /// The settings of a topic, its own and inherited ones.
    #[must_use]
    pub fn topic_config(&self, topic: &TopicImage) -> Arc<TopicConfig> {
        let mut cached = self.topic_configs.borrow_mut();
        let resolve = || Arc::new(TopicConfig::resolve(&self.config.borrow(), &topic.configs));
        Arc::clone(cached.entry(topic.id).or_insert_with(resolve))
    }

    /// Takes over a new image, at once. The future completes when the partitions of `changed` topics are in line with
    /// it: logs are opened, created, reconfigured and deleted in order of the images.
    pub fn apply_image(
        self: &Rc<Self>,
        image: Arc<MetadataImage>,
        changed: Vec<TopicId>,
    ) -> impl Future<Output = ()> + use<E> {
        let config = BrokerConfig::with_dynamic(
            &self.config(),
            &image.broker_configs(None),
            &image.broker_configs(Some(self.identity.node_id)),
        );
        let broker_changed = config.is_some();
        if let Some(config) = config {
            self.tell_overridden(&config);
            *self.config.borrow_mut() = Arc::new(config);
            self.topic_configs.borrow_mut().clear();
        }
        let before = self.image.replace(Arc::clone(&image));
        let changed = if broker_changed { image.topics().map(|topic| topic.id).collect() } else { changed };
        for id in &changed {
            self.topic_configs.borrow_mut().remove(id);
            if image.topic_by_id(*id).is_none()
                && let Some(topic) = before.topic_by_id(*id)
            {
                self.coordinators.topic_deleted(topic);
            }
        }
        let aligned = (!changed.is_empty()).then(|| TopicChanges::add(self, changed));
        async move {
            if let Some(aligned) = aligned {
                let _stopping = aligned.await;
            }
        }
    }

    /// Logs which settings of the start have ceased to count, once for all shards.
    fn tell_overridden(&self, config: &BrokerConfig) {
        if self.index != 0 {
            return;
        }
        let before = self.config();
        let known = before.overridden();
        for [key, counts, given] in config.overridden().into_iter().filter(|row| !known.contains(row)) {
            tracing::warn!(%key, %counts, %given, "a setting given at start does not count: a client has set it, and that is kept");
        }
    }

    /// Brings the partitions of topics in line with the image.
    pub(crate) async fn align_topics(self: &Rc<Self>, topics: Vec<TopicId>) {
        let image = self.image();
        let work: Vec<LogChange> = topics
            .into_iter()
            .flat_map(|id| match image.topic_by_id(id) {
                Some(topic) => self.align_topic(topic),
                None => self.removed_topic(id),
            })
            .collect();
        stream::iter(work).for_each_concurrent(LOG_CHANGES_MAX, |change| self.change_log(change)).await;
    }

    fn align_topic(&self, topic: &Arc<TopicImage>) -> Vec<LogChange> {
        let mut work = Vec::new();
        let config = self.topic_config(topic);
        for id in topic.partition_ids() {
            if self.owner(topic.id, id) != self.index {
                continue;
            }
            match self.partitions.borrow().get(&(topic.id, id)) {
                Some(Hosted::Online(partition)) => {
                    partition.log.set_config(config.to_log_config());
                    partition.configure(&config);
                }
                Some(Hosted::Offline(_)) if !self.reopening.waits(topic.id, id) => {}
                Some(Hosted::Offline(_)) | None => {
                    work.push(LogChange::Open { topic: Arc::clone(topic), partition: id })
                }
            }
        }
        work
    }

    fn removed_topic(&self, topic_id: TopicId) -> Vec<LogChange> {
        let partitions = self.partitions.borrow();
        let ids = partitions.keys().filter(|(id, _)| *id == topic_id);
        ids.map(|(_, partition)| LogChange::Delete { topic_id, partition: *partition }).collect()
    }

    async fn change_log(self: &Rc<Self>, change: LogChange) {
        if self.stopping() {
            return;
        }
        match change {
            LogChange::Open { topic, partition } => self.open_partition(&topic, partition).await,
            LogChange::Delete { topic_id, partition } => {
                self.reopening.forget(topic_id, partition);
                self.identity.offline.forget(topic_id, partition);
                let hosted = self.partitions.borrow_mut().remove(&(topic_id, partition));
                let (name, deleted) = match hosted {
                    Some(Hosted::Online(partition)) => {
                        self.coordinators.resign(&partition);
                        partition.close(ErrorCode::UnknownTopicOrPartition);
                        (partition.name.clone(), self.logs.delete_log(&partition.name).await)
                    }
                    Some(Hosted::Offline(name)) => {
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
    }

    async fn open_partition(self: &Rc<Self>, topic: &Arc<TopicImage>, id: PartitionId) {
        let name = TopicPartition::new(Arc::clone(&topic.name), id);
        let config = self.topic_config(topic);
        let hosted = match self.open_log(&name, topic.id, &config).await {
            Ok(log) => {
                let epoch = topic.partition(id).map_or(LeaderEpoch(0), |image| image.leader_epoch);
                log.assign_epoch(epoch);
                self.reopening.forget(topic.id, id);
                Hosted::Online(Partition::lead(
                    self.effects.clone(),
                    self.identity.node_id,
                    epoch,
                    log,
                    &config,
                ))
            }
            Err(error) => {
                self.note_unopened(&name, topic.id, &error);
                Hosted::Offline(name)
            }
        };
        let opened = match &hosted {
            Hosted::Online(partition) => Some(Rc::clone(partition)),
            Hosted::Offline(_) => None,
        };
        self.partitions.borrow_mut().insert((topic.id, id), hosted);
        self.note_availability(topic.id, id);
        if let Some(partition) = opened {
            self.coordinators.elected(&partition, &self.config(), &self.image());
        }
    }

    /// Tells of a log that could not be opened, and has it tried again if the reason may pass.
    fn note_unopened(self: &Rc<Self>, name: &TopicPartition, topic: TopicId, error: &StorageError) {
        let reason = error.to_string();
        let offline = OfflinePartition { name: name.clone(), is_readable: false, reason };
        self.identity.offline.note(topic, offline);
        if !error.may_pass() {
            self.reopening.forget(topic, name.partition);
            tracing::error!(partition = %name, %error, "partition is offline");
        } else if Reopening::add(self, topic, name.partition) {
            tracing::warn!(partition = %name, %error, "partition is offline, its log is tried again until it opens");
        }
    }

    /// Tells everyone whether an open log can be served as it should.
    fn note_availability(&self, topic_id: TopicId, id: PartitionId) {
        let Ok(partition) = self.partition(topic_id, id) else { return };
        match partition.log.offline() {
            Some(error @ StorageError::Corrupt { .. }) => {
                let (name, reason) = (partition.name.clone(), error.to_string());
                self.identity.offline.note(topic_id, OfflinePartition { name, is_readable: true, reason });
            }
            _ => self.identity.offline.forget(topic_id, id),
        }
    }

    /// What this broker can do with a partition.
    #[must_use]
    pub fn availability(&self, topic_id: TopicId, id: PartitionId) -> Availability {
        match self.identity.offline.availability(topic_id, id) {
            Availability::Online if self.identity.log_dir.is_failed() => Availability::ReadOnly,
            availability => availability,
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

    /// Calls `start` on every shard and yields the results in order of the shards.
    pub async fn call_all<R, F, Fut>(self: &Rc<Self>, start: F) -> Vec<R>
    where
        R: Send + 'static,
        F: FnOnce(Rc<Self>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        join_all((0..self.identity.shards).map(|target| self.call(target, start.clone()))).await
    }

    /// Calls `start` with the controller, which lives on shard 0.
    pub async fn call_controller<R, F, Fut>(self: &Rc<Self>, start: F) -> R
    where
        R: Send + 'static,
        F: FnOnce(Rc<Self>, Rc<Controller<E>>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        self.call(0, move |shard| {
            let controller = Rc::clone(shard.controller.as_ref().expect("shard 0 has the controller"));
            start(shard, controller)
        })
        .await
    }

    /// As [`Shard::call_controller`], for a client that waits only so long: `None` when that time is over, while the call
    /// goes on. `start` learns when that is. Without any time nothing begins, as in Kafka.
    pub async fn call_controller_within<R, F, Fut>(self: &Rc<Self>, timeout_ms: i32, start: F) -> Option<R>
    where
        R: Send + 'static,
        F: FnOnce(Rc<Self>, Rc<Controller<E>>, Monotonic) -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let timeout_ms = u64::try_from(timeout_ms).ok().filter(|ms| *ms > 0)?;
        let clock = self.effects.clock();
        let deadline = clock.now() + Duration::from_millis(timeout_ms);
        let (sender, receiver) = oneshot::channel();
        let shard = Rc::clone(self);
        self.effects.spawn(async move {
            let call = shard.call_controller(move |shard, controller| start(shard, controller, deadline));
            let _gone = sender.send(call.await);
        });
        match select(receiver, std::pin::pin!(clock.sleep_until(deadline))).await {
            Either::Left((answer, _)) => answer.ok(),
            Either::Right(_) => None,
        }
    }
}

enum LogChange {
    Open { topic: Arc<TopicImage>, partition: PartitionId },
    Delete { topic_id: TopicId, partition: PartitionId },
}

/// The shard that owns a partition: partitions of one topic go around all shards, topics start
/// at different ones.
#[must_use]
pub fn owner_shard(topic_id: TopicId, partition: PartitionId, shards: usize) -> usize {
    let bits = u128::from_be_bytes(topic_id.0);
    let hash = (bits ^ (bits >> 64)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let sum = (hash & 0x7fff_ffff) + u128::from(partition.0.unsigned_abs());
    usize::try_from(sum % shards as u128).unwrap_or(0)
}

async fn expire_acks<E: Effects>(shard: Rc<Shard<E>>) {
    while !shard.stopping() {
        let now = shard.effects.clock().now();
        for partition in shard.online_where(Partition::has_waiting_producers) {
            partition.expire(now);
        }
        shard.effects.clock().sleep_until(now + EXPIRY_INTERVAL).await;
    }
}
