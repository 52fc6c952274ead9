//! What metadata says about a partition that this broker has, whole or not.

use model::{PartitionId, TopicId};
use net::protocol::ErrorCode;
use runtime::Effects;

use crate::api::services::ShardServices;
use crate::metadata::PartitionImage;
use crate::replicas::offline_partitions::Availability;

/// Who leads a partition, and how its replicas are.
pub(super) struct PartitionState {
    /// The leader, or [`NO_LEADER`].
    pub(super) leader_id: i32,
    /// Replicas that acknowledge what is written.
    pub(super) in_sync: Vec<i32>,
    /// Those that do not, though they might lead if nobody else can.
    pub(super) eligible: Vec<i32>,
    /// Replicas that are not as they should be.
    pub(super) offline: Vec<i32>,
}

/// See [`PartitionImage::NO_LEADER`].
const NO_LEADER: i32 = PartitionImage::NO_LEADER.0;

impl PartitionState {
    /// The state of a partition as the metadata and its owner have it. What can be read still has a leader, but nothing
    /// can be written, so no replica is in sync.
    pub(super) fn of<E: Effects>(
        shard: &ShardServices<E>,
        topic_id: TopicId,
        id: PartitionId,
        image: &PartitionImage,
    ) -> Self {
        let here = shard.identity.node_id;
        let availability = shard.replicas.availability(topic_id, id);
        let is_led = image.leader == here && availability != Availability::Offline;
        let is_whole = |node: &model::NodeId| *node != here || availability == Availability::Online;
        let nodes = |nodes: &[model::NodeId], whole: bool| {
            nodes.iter().filter(|node| is_whole(node) == whole).map(|node| node.0).collect()
        };
        Self {
            leader_id: if is_led { image.leader.0 } else { NO_LEADER },
            in_sync: nodes(&image.isr, true),
            eligible: nodes(&image.isr, false),
            offline: nodes(&image.replicas, false),
        }
    }

    /// What a client is told of it.
    pub(super) const fn error_code(&self) -> ErrorCode {
        if self.leader_id == NO_LEADER { ErrorCode::LeaderNotAvailable } else { ErrorCode::None }
    }
}
