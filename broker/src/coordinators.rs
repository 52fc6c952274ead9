//! The group coordinators of this shard: one for each partition of `__consumer_offsets` that it owns.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use model::{PartitionId, TopicPartition};
use runtime::Effects;

use crate::coordinator::{GroupError, Request, Response};
use crate::metadata::TopicImage;
use crate::partition::Partition;
use crate::shard::Shard;

mod group_service;

pub use group_service::GroupService;

/// The topic that holds groups and their offsets.
pub const GROUP_TOPIC: &str = "__consumer_offsets";

/// The coordinators of one shard.
pub struct Coordinators<E: Effects> {
    groups: RefCell<BTreeMap<PartitionId, Rc<GroupService<E>>>>,
}

impl<E: Effects> Default for Coordinators<E> {
    fn default() -> Self {
        Self { groups: RefCell::default() }
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
    }

    /// A topic was deleted somewhere in the cluster; the offsets committed for it go as well.
    pub fn topic_deleted(&self, topic: &TopicImage) {
        for service in self.all() {
            service.topic_deleted(topic);
        }
    }

    /// Asks the coordinator of a partition. What the request does happens before this returns, the
    /// future only waits for the answer.
    ///
    /// Whoever asks knows that the partition belongs to this shard. While it is still being opened the client shall ask
    /// here again: sent to look for another coordinator, librdkafka would be gone for seconds.
    pub fn ask(
        &self,
        shard: &Shard<E>,
        partition: PartitionId,
        request: Request,
    ) -> impl Future<Output = Response> + use<E> {
        let service = self.groups.borrow().get(&partition).cloned();
        let asked = match service {
            Some(service) => Ok(service.ask(request)),
            None if shard.stopping() || shard.is_offline(GROUP_TOPIC, partition) => {
                Err(request.refused(GroupError::NotCoordinator))
            }
            None => Err(request.refused(GroupError::CoordinatorLoadInProgress)),
        };
        async move {
            match asked {
                Ok(answer) => answer.await.expect("a coordinator answers all, at the latest when it resigns"),
                Err(refusal) => refusal,
            }
        }
    }

    /// Asks every coordinator of this shard the same.
    pub async fn ask_all(&self, shard: &Shard<E>, request: &Request) -> Vec<Response> {
        let partitions: Vec<PartitionId> = self.groups.borrow().keys().copied().collect();
        let asked: Vec<_> =
            partitions.into_iter().map(|partition| self.ask(shard, partition, request.clone())).collect();
        futures_util::future::join_all(asked).await
    }

    fn all(&self) -> Vec<Rc<GroupService<E>>> {
        self.groups.borrow().values().map(Rc::clone).collect()
    }
}
