//! What a shard has for those who answer clients. Built by the node; everything in it is used by the shard's own thread
//! only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use model::{NodeId, PartitionId, TopicId};
use runtime::sync::oneshot;
use runtime::{Clock, Effects, Monotonic};
use storage::{LogManager, RecordChecker};

use crate::api::fetch::elements::FetchElements;
use crate::api::fetch::memory::FetchMemory;
use crate::api::fetch::session::FetchSessions;
use crate::api::metadata_answers::MetadataAnswers;
use crate::api::request_memory::RequestMemory;
use crate::config::BrokerConfig;
use crate::controller::Controller;
use crate::controller::producer_ids::ProducerIds;
use crate::coordination::directory::Coordinators;
use crate::logging::Loggers;
use crate::mesh::calls::{Callee, Calls};
use crate::mesh::placement::Placement;
use crate::metadata::MetadataImage;
use crate::replicas::ReplicaManager;
use crate::stats::Stats;

/// Who this broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `node.id`.
    pub node_id: NodeId,
    /// The cluster's id, from meta.properties.
    pub cluster_id: String,
}

/// What one shard has for handlers. Lives on every shard.
pub struct ShardServices<E: Effects> {
    /// This shard's number.
    pub index: usize,
    /// Clock, disk, network.
    pub effects: E,
    /// Who this broker is.
    pub identity: Arc<Identity>,
    /// Which shard owns which partition.
    pub placement: Placement,
    /// The levels of the log, which clients may change.
    pub loggers: Arc<Loggers>,
    /// This shard's logs.
    pub logs: Rc<LogManager<E>>,
    /// The partitions that this shard hosts.
    pub replicas: Rc<ReplicaManager<E>>,
    /// Coordinators of the partitions of internal topics that are led here.
    pub coordinators: Coordinators<E>,
    /// Calls to other shards.
    pub calls: Calls<Self>,
    /// Fetch sessions of the connections accepted here.
    pub sessions: RefCell<FetchSessions>,
    /// Room for the partitions that fetches name.
    pub fetch_elements: FetchElements,
    /// Memory for records on their way out.
    pub fetch_memory: FetchMemory,
    /// Memory for large requests on their way in.
    pub request_memory: RequestMemory,
    /// Looks at the records that clients of this shard send.
    pub records: RecordChecker<E>,
    /// Answers to Metadata requests for all topics.
    pub metadata_answers: MetadataAnswers,
    /// Producer ids to give away.
    pub producer_ids: ProducerIds,
    /// What happened here, counted.
    pub stats: Stats,
    /// The controller, on shard 0.
    pub controller: Option<Rc<Controller<E>>>,
    /// What changes while the shard serves.
    pub current: Current,
}

/// What changes while a shard serves: the newest metadata and settings, and how far it stops.
pub struct Current {
    image: RefCell<Arc<MetadataImage>>,
    config: RefCell<Arc<BrokerConfig>>,
    stopping: Cell<bool>,
    refusing_appends: Cell<bool>,
}

impl Current {
    /// An empty image, and the settings of the start.
    #[must_use]
    pub fn new(config: Arc<BrokerConfig>) -> Self {
        Self {
            image: RefCell::default(),
            config: RefCell::new(config),
            stopping: Cell::new(false),
            refusing_appends: Cell::new(false),
        }
    }

    /// Takes over a new image.
    pub fn replace_image(&self, image: Arc<MetadataImage>) {
        self.image.replace(image);
    }

    /// Takes over new settings.
    pub fn replace_config(&self, config: Arc<BrokerConfig>) {
        self.config.replace(config);
    }

    /// Notes that the broker is shutting down.
    pub fn stop(&self) {
        self.stopping.set(true);
    }

    /// Has requests that are still being worked on append nothing more.
    pub fn refuse_appends(&self) {
        self.refusing_appends.set(true);
    }
}

impl<E: Effects> ShardServices<E> {
    /// The metadata as this shard knows it.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.current.image.borrow())
    }

    /// The broker's settings, dynamic ones applied.
    #[must_use]
    pub fn config(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.current.config.borrow())
    }

    /// Whether the broker is shutting down.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.current.stopping.get()
    }

    /// Whether clients may append.
    #[must_use]
    pub fn takes_appends(&self) -> bool {
        !self.current.refusing_appends.get()
    }

    /// The shard that owns a partition. Partitions of one topic go around all shards.
    #[must_use]
    pub fn owner(&self, topic_id: TopicId, partition: PartitionId) -> usize {
        self.placement.owner(topic_id, partition)
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

    /// As [`Calls::tell`].
    pub async fn tell(self: &Rc<Self>, target: usize, what: impl FnOnce(&Rc<Self>) + Send + 'static) {
        Calls::tell(self, target, what).await;
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

    /// As [`ShardServices::call_controller`], for a client that waits only so long: `None` when that time is over, while the call
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

impl<E: Effects> Callee for ShardServices<E> {
    fn calls(&self) -> &Calls<Self> {
        &self.calls
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.effects.spawn(task);
    }
}
