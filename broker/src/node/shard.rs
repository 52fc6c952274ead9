//! One shard: what a core owns, and what it knows of the rest.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use model::{NodeId, PartitionId, TopicId};
use runtime::mesh::MeshPort;
use runtime::sync::oneshot;
use runtime::{Clock, Effects, Monotonic};
use storage::{LogDir, LogManager, RecordChecker};

use crate::api::fetch::elements::FetchElements;
use crate::api::fetch::memory::FetchMemory;
use crate::api::fetch::session::FetchSessions;
use crate::api::request_memory::RequestMemory;
use crate::clients::connections::Connections;
use crate::config::BrokerConfig;
use crate::controller::Controller;
use crate::controller::producer_ids::ProducerIds;
use crate::coordination::directory::Coordinators;
use crate::logging::Loggers;
use crate::mesh::calls::{Callee, Calls, Job};
use crate::mesh::placement::Placement;
use crate::metadata::MetadataImage;
use crate::replicas::offline_partitions::OfflinePartitions;
use crate::replicas::{LeadershipListener, Partition, ReplicaManager};
use crate::stats::Stats;

/// What all shards share and nobody changes.
pub struct Identity {
    /// `node.id`.
    pub node_id: NodeId,
    /// The cluster's id, from meta.properties.
    pub cluster_id: String,
    /// The data directory.
    pub log_dir: Arc<LogDir>,
    /// Which shard owns which partition.
    pub placement: Placement,
    /// Descriptors that the process may have: half are for connections, half for logs.
    pub descriptors: usize,
    /// Memory of each shard that keeps what fetches read from disk.
    pub read_cache_bytes: u64,
    /// The levels of the log, which clients may change.
    pub loggers: Arc<Loggers>,
    /// Partitions that are not served as they should be.
    pub offline: Arc<OfflinePartitions>,
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
    /// The partitions that this shard hosts.
    pub replicas: Rc<ReplicaManager<E>>,
    /// Calls to other shards.
    pub calls: Calls<Self>,
    /// Fetch sessions of the connections accepted here.
    pub sessions: RefCell<FetchSessions>,
    /// Room for the partitions that fetches name.
    pub fetch_elements: FetchElements,
    /// Memory for records on their way out.
    pub fetch_memory: FetchMemory,
    /// Producer ids to give away.
    pub producer_ids: ProducerIds,
    /// Coordinators of the partitions of internal topics that are led here.
    pub coordinators: Coordinators<E>,
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
    stopping: Cell<bool>,
    refusing_appends: Cell<bool>,
}

impl<E: Effects> Shard<E> {
    /// A shard with an empty image. `controller` is given to shard 0 only.
    pub fn new(
        index: usize,
        effects: E,
        identity: Arc<Identity>,
        config: Arc<BrokerConfig>,
        logs: Rc<LogManager<E>>,
        port: MeshPort<Job<Self>>,
        controller: Option<Rc<Controller<E>>>,
    ) -> Rc<Self> {
        let (node, placement) = (identity.node_id, identity.placement);
        let replicas = ReplicaManager::new(
            effects.clone(),
            node,
            Rc::clone(&logs),
            Arc::clone(&identity.offline),
            Arc::clone(&config),
            Box::new(move |topic_id, partition| placement.owner(topic_id, partition) == index),
        );
        let shard = Rc::new(Self {
            index,
            sessions: RefCell::new(FetchSessions::new(
                identity.placement.shards(),
                &config,
                effects.random(),
            )),
            fetch_elements: FetchElements::new(config.memory_per_shard_bytes()),
            fetch_memory: FetchMemory::new(config.memory_per_shard_bytes() / 8),
            producer_ids: ProducerIds::default(),
            coordinators: Coordinators::new(&effects, &replicas),
            calls: Calls::new(index, port),
            records: RecordChecker::new(effects.clone(), config.trusts_headers()),
            effects,
            identity,
            logs,
            replicas,
            request_memory: RequestMemory::new(
                config.memory_per_shard_bytes() / 4,
                config.socket_request_bytes_max(),
            ),
            connections: Connections::default(),
            stats: Stats::default(),
            controller,
            image: RefCell::default(),
            config: RefCell::new(config),
            stopping: Cell::new(false),
            refusing_appends: Cell::new(false),
        });
        shard.replicas.set_listener(Rc::new(ToCoordinators(Rc::downgrade(&shard))));
        shard.effects.spawn(Calls::serve(Rc::clone(&shard)));
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
        self.replicas.stop();
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
        self.identity.placement.owner(topic_id, partition)
    }

    /// Takes over a new image, at once. The future completes when the partitions of `changed` topics are in line with it.
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
        }
        let before = self.image.replace(Arc::clone(&image));
        let changed = if broker_changed { image.topics().map(|topic| topic.id).collect() } else { changed };
        let removed = changed.iter().filter(|id| image.topic_by_id(**id).is_none());
        for topic in removed.filter_map(|id| before.topic_by_id(*id)) {
            self.coordinators.topic_deleted(topic);
        }
        self.replicas.apply_image(image, &self.config(), changed)
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

    /// As [`Calls::call`].
    pub async fn call<R, F, Fut>(self: &Rc<Self>, target: usize, start: F) -> R
    where
        R: Send + 'static,
        F: FnOnce(Rc<Self>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        Calls::call(self, target, start).await
    }

    /// As [`Calls::send_call`].
    pub async fn send_call<R, F, Fut>(
        self: &Rc<Self>,
        target: usize,
        start: F,
    ) -> impl Future<Output = R> + use<R, F, Fut, E>
    where
        R: Send + 'static,
        F: FnOnce(Rc<Self>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        Calls::send_call(self, target, start).await
    }

    /// As [`Calls::call_all`].
    pub async fn call_all<R, F, Fut>(self: &Rc<Self>, start: F) -> Vec<R>
    where
        R: Send + 'static,
        F: FnOnce(Rc<Self>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        Calls::call_all(self, start).await
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

impl<E: Effects> Callee for Shard<E> {
    fn calls(&self) -> &Calls<Self> {
        &self.calls
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.effects.spawn(task);
    }
}

/// Has the coordinators of a shard follow its leaderships.
struct ToCoordinators<E: Effects>(Weak<Shard<E>>);

impl<E: Effects> LeadershipListener<E> for ToCoordinators<E> {
    fn elected(&self, partition: &Rc<Partition<E>>) {
        if let Some(shard) = self.0.upgrade() {
            shard.coordinators.elected(partition, &shard.config(), &shard.image());
        }
    }

    fn deposed(&self, partition: &Partition<E>) {
        if let Some(shard) = self.0.upgrade() {
            shard.coordinators.resign(partition);
        }
    }
}
