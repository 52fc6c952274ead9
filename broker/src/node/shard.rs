//! One shard of a node: builds what a core owns, and lets the node's start and stop reach it.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use runtime::Effects;
use runtime::mesh::MeshPort;
use storage::{LogDir, LogManager, RecordChecker};

use crate::api::fetch::elements::FetchElements;
use crate::api::fetch::memory::FetchMemory;
use crate::api::fetch::session::FetchSessions;
use crate::api::metadata_answers::MetadataAnswers;
use crate::api::request_memory::RequestMemory;
use crate::api::services::{Current, Identity, ShardServices};
use crate::clients::connections::Connections;
use crate::controller::Controller;
use crate::controller::producer_ids::ProducerIds;
use crate::coordination::directory::Coordinators;
use crate::mesh::calls::{Callee, Calls, Job};
use crate::mesh::placement::Placement;
use crate::node::start::StartOptions;
use crate::replicas::offline_partitions::OfflinePartitions;
use crate::replicas::{LeadershipSubscriber, Partition, ReplicaManager};
use crate::stats::Stats;

/// What shard 0 has found when it starts, and all shards share.
#[derive(Clone)]
pub struct Shared {
    /// Who this broker is.
    pub identity: Arc<Identity>,
    /// The data directory.
    pub log_dir: Arc<LogDir>,
    /// Which shard owns which partition.
    pub placement: Placement,
    /// Partitions that are not served as they should be.
    pub offline: Arc<OfflinePartitions>,
}

/// One shard's end of the meshes that are used after the start.
pub struct CallPorts<E: Effects> {
    /// For those who answer clients.
    pub services: MeshPort<Job<ShardServices<E>>>,
    /// For the node's start and stop.
    pub node: MeshPort<Job<Shard<E>>>,
}

/// One shard, as the node has it. Lives on every shard.
pub struct Shard<E: Effects> {
    /// What it has for those who answer clients.
    pub services: Rc<ShardServices<E>>,
    /// Client connections accepted here.
    pub connections: Rc<Connections>,
    calls: Calls<Self>,
}

/// The part of a shard's memory that may go to kept answers to Metadata requests.
const METADATA_ANSWERS_SHARE: usize = 64;

impl<E: Effects> Shard<E> {
    /// A shard with an empty image. `controller` is given to shard 0 only.
    pub fn new(
        index: usize,
        effects: E,
        shared: Shared,
        options: &StartOptions,
        logs: Rc<LogManager<E>>,
        ports: CallPorts<E>,
        controller: Option<Rc<Controller<E>>>,
    ) -> Rc<Self> {
        let Shared { identity, placement, offline, .. } = shared;
        let config = &options.config;
        let replicas = ReplicaManager::new(
            effects.clone(),
            identity.node_id,
            Rc::clone(&logs),
            offline,
            Arc::clone(config),
            Box::new(move |topic_id, partition| placement.owner(topic_id, partition) == index),
        );
        let memory_bytes = config.memory_per_shard_bytes();
        let services = Rc::new(ShardServices {
            index,
            identity,
            placement,
            loggers: Arc::clone(&options.loggers),
            logs,
            coordinators: Coordinators::new(&effects, &replicas),
            replicas,
            calls: Calls::new(index, ports.services),
            sessions: RefCell::new(FetchSessions::new(placement.shards(), config, effects.random())),
            fetch_elements: FetchElements::new(memory_bytes),
            fetch_memory: FetchMemory::new(memory_bytes / 8),
            request_memory: RequestMemory::new(memory_bytes / 4, config.socket_request_bytes_max()),
            records: RecordChecker::new(effects.clone(), config.trusts_headers()),
            effects,
            metadata_answers: MetadataAnswers::new(memory_bytes / METADATA_ANSWERS_SHARE),
            producer_ids: ProducerIds::default(),
            stats: Stats::default(),
            controller,
            current: Current::new(Arc::clone(config)),
        });
        services.replicas.subscribe(Rc::new(ToCoordinators(Rc::downgrade(&services))));
        services.effects.spawn(Calls::serve(Rc::clone(&services)));
        let shard = Rc::new(Self {
            services,
            connections: Rc::new(Connections::new(options.descriptors / 2)),
            calls: Calls::new(index, ports.node),
        });
        shard.services.effects.spawn(Calls::serve(Rc::clone(&shard)));
        shard
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

    /// As [`Calls::call_all`].
    pub async fn call_all<R, F, Fut>(self: &Rc<Self>, start: F) -> Vec<R>
    where
        R: Send + 'static,
        F: FnOnce(Rc<Self>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        Calls::call_all(self, start).await
    }
}

impl<E: Effects> Callee for Shard<E> {
    fn calls(&self) -> &Calls<Self> {
        &self.calls
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.services.effects.spawn(task);
    }
}

/// Has the coordinators of a shard follow its leaderships.
struct ToCoordinators<E: Effects>(Weak<ShardServices<E>>);

impl<E: Effects> LeadershipSubscriber<E> for ToCoordinators<E> {
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
