//! The group coordinators of this shard: one for each partition of `__consumer_offsets` that it owns.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use model::{PartitionId, TopicPartition};
use runtime::sync::Notify;
use runtime::{Clock, Effects};

use crate::coordination::groups::{GroupError, Request, Response};
use crate::metadata::TopicImage;
use crate::node::shard::Shard;
use crate::replicas::partition::Partition;

mod group_service;

pub use group_service::GroupService;

/// The topic that holds groups and their offsets.
pub const GROUP_TOPIC: &str = "__consumer_offsets";

/// How long a request waits for a coordinator that is not there yet.
const LOAD_PATIENCE: Duration = Duration::from_secs(2);

/// The coordinators of one shard.
pub struct Coordinators<E: Effects> {
    groups: RefCell<BTreeMap<PartitionId, Rc<GroupService<E>>>>,
    /// One came, loaded or went.
    changed: Notify,
}

enum Found<E: Effects> {
    Ready(Rc<GroupService<E>>),
    /// It is being opened, or loads.
    NotYet,
    Nowhere,
}

impl<E: Effects> Default for Coordinators<E> {
    fn default() -> Self {
        Self { groups: RefCell::default(), changed: Notify::new() }
    }
}

impl<E: Effects> Coordinators<E> {
    /// This shard has opened `partition`; if it belongs to `__consumer_offsets`, its coordinator starts to load.
    pub fn elected(&self, shard: &Rc<Shard<E>>, partition: &Rc<Partition<E>>) {
        if &*partition.name.topic != GROUP_TOPIC {
            return;
        }
        let service = GroupService::start(shard, Rc::clone(partition));
        let previous = self.groups.borrow_mut().insert(partition.name.partition, service);
        if let Some(previous) = previous {
            previous.resign();
        }
        self.changed.notify_all();
    }

    /// A coordinator has loaded its log, or could not.
    fn loading_ended(&self) {
        self.changed.notify_all();
    }

    /// This shard is about to close a partition.
    #[expect(
        clippy::unused_async,
        reason = "a coordinator with open transactions will have something to wait for"
    )]
    pub async fn resign(&self, _shard: &Rc<Shard<E>>, partition: &TopicPartition) {
        if &*partition.topic != GROUP_TOPIC {
            return;
        }
        let service = self.groups.borrow_mut().remove(&partition.partition);
        if let Some(service) = service {
            service.resign();
        }
    }

    /// The broker shuts down: everyone who waits is told to look for another coordinator.
    pub fn resign_all(&self) {
        for service in std::mem::take(&mut *self.groups.borrow_mut()).into_values() {
            service.resign();
        }
        self.changed.notify_all();
    }

    /// A topic was deleted somewhere in the cluster; the offsets committed for it go as well.
    pub fn topic_deleted(&self, topic: &TopicImage) {
        for service in self.all() {
            service.topic_deleted(topic);
        }
    }

    /// Asks the coordinator of a partition that belongs to this shard. What the request does happens before this returns,
    /// the future only waits for the answer; unless the coordinator is still being opened or loads: then the request
    /// waits for that a while.
    pub fn ask(
        &self,
        shard: &Rc<Shard<E>>,
        partition: PartitionId,
        request: Request,
    ) -> impl Future<Output = Response> + use<E> {
        let asked = match self.find(shard, partition, &request) {
            Found::Ready(service) => Ok(service.ask(request)),
            Found::NotYet | Found::Nowhere => Err((Rc::clone(shard), request)),
        };
        async move {
            let answer = match asked {
                Ok(answer) => answer,
                Err((shard, request)) => match shard.coordinators.loaded(&shard, partition, &request).await {
                    Ok(service) => service.ask(request),
                    Err(error) => return request.refused(error),
                },
            };
            answer.await.expect("a coordinator answers all, at the latest when it resigns")
        }
    }

    /// Waits for a coordinator that is still being opened or loads. To be sent away costs more: librdkafka comes back after
    /// three seconds.
    async fn loaded(
        &self,
        shard: &Shard<E>,
        partition: PartitionId,
        request: &Request,
    ) -> Result<Rc<GroupService<E>>, GroupError> {
        let clock = shard.effects.clock();
        let deadline = clock.now() + LOAD_PATIENCE;
        loop {
            match self.find(shard, partition, request) {
                Found::Ready(service) => return Ok(service),
                Found::Nowhere => return Err(GroupError::NotCoordinator),
                Found::NotYet => {}
            }
            let changed = pin!(self.changed.notified());
            if let Either::Right(_) = select(changed, pin!(clock.sleep_until(deadline))).await {
                return Err(GroupError::CoordinatorLoadInProgress);
            }
        }
    }

    fn find(&self, shard: &Shard<E>, partition: PartitionId, request: &Request) -> Found<E> {
        match self.groups.borrow().get(&partition) {
            Some(service) if !service.is_loading() || matches!(request, Request::Heartbeat(_)) => {
                Found::Ready(Rc::clone(service))
            }
            Some(_) => Found::NotYet,
            None if shard.stopping() || shard.is_offline(GROUP_TOPIC, partition) => Found::Nowhere,
            None => Found::NotYet,
        }
    }

    /// Asks every coordinator of this shard the same.
    pub async fn ask_all(&self, shard: &Rc<Shard<E>>, request: &Request) -> Vec<Response> {
        let partitions: Vec<PartitionId> = self.groups.borrow().keys().copied().collect();
        let asked: Vec<_> =
            partitions.into_iter().map(|partition| self.ask(shard, partition, request.clone())).collect();
        futures_util::future::join_all(asked).await
    }

    /// How many groups are coordinated here.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.borrow().values().map(|service| service.group_count()).sum()
    }

    fn all(&self) -> Vec<Rc<GroupService<E>>> {
        self.groups.borrow().values().map(Rc::clone).collect()
    }
}
