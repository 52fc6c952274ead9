//! The coordinators of this shard: which internal topic has which machine.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use runtime::Effects;

use crate::config::BrokerConfig;
use crate::coordination::elected::ElectedCoordinators;
use crate::coordination::groups::{GroupConfig, GroupCoordinator, GroupNotice, RemovedTopics};
use crate::coordination::runner::CoordinatorMachine;
use crate::metadata::{MetadataImage, TopicImage};
use crate::replicas::{Partition, ReplicaManager};

/// The topic that holds groups and their offsets.
pub const GROUP_TOPIC: &str = GroupCoordinator::TOPIC;

/// All coordinators of one shard. Lives on every shard.
pub struct Coordinators<E: Effects> {
    /// Of consumer groups.
    pub groups: Rc<ElectedCoordinators<E, Rc<Partition<E>>, GroupCoordinator>>,
}

impl<E: Effects> Coordinators<E> {
    /// None yet, over the partitions of `replicas`.
    #[must_use]
    pub fn new(effects: &E, replicas: &Rc<ReplicaManager<E>>) -> Self {
        let offline = Arc::clone(replicas.offline());
        let hosting = Rc::clone(replicas);
        let may_lead = move |(topic_id, id)| hosting.may_lead(topic_id, id);
        Self { groups: ElectedCoordinators::new(effects.clone(), offline, Box::new(may_lead)) }
    }

    /// This shard leads `partition` in a new epoch: if its topic has coordinators, one starts to load.
    pub fn elected(&self, partition: &Rc<Partition<E>>, config: &BrokerConfig, image: &Arc<MetadataImage>) {
        if &*partition.name.topic == GROUP_TOPIC {
            let removed = GroupNotice::RemovedBefore(removed_topics(image));
            self.groups.elected(Rc::clone(partition), group_config(config), Some(removed));
        }
    }

    /// This shard does not lead `partition` any more.
    pub fn resign(&self, partition: &Partition<E>) {
        if &*partition.name.topic == GROUP_TOPIC {
            self.groups.resign((partition.topic_id, partition.name.partition));
        }
    }

    /// The broker shuts down.
    pub fn stop(&self) {
        self.groups.stop();
    }

    /// A topic was deleted somewhere in the cluster; what coordinators know about it goes as well.
    pub fn topic_deleted(&self, topic: &TopicImage) {
        let (topic, topic_id) = (topic.name.to_string(), topic.id);
        self.groups.notify_all(&GroupNotice::TopicDeleted { topic, topic_id });
    }
}

/// Topics that were removed, as far as `image` knows. One that it does not know may be too new for it, unless it comes
/// from a record without an id: such are old.
fn removed_topics(image: &Arc<MetadataImage>) -> RemovedTopics {
    let image = Arc::clone(image);
    RemovedTopics::new(move |name, id| image.was_removed(id) || (id.is_zero() && image.topic(name).is_none()))
}

fn group_config(config: &BrokerConfig) -> GroupConfig {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let millis_i32 = |duration| i32::try_from(millis(duration)).unwrap_or(i32::MAX);
    GroupConfig {
        min_session_timeout_ms: millis_i32(config.group_session_timeout_min()),
        max_session_timeout_ms: millis_i32(config.group_session_timeout_max()),
        initial_rebalance_delay_ms: millis(config.group_initial_rebalance_delay()),
        group_size_max: config.group_size_max(),
        offset_metadata_max: config.offset_metadata_bytes_max(),
        offsets_retention_ms: i64::try_from(millis(config.offsets_retention())).unwrap_or(i64::MAX),
        offsets_retention_check_interval_ms: millis(config.offsets_retention_check_interval()),
    }
}
