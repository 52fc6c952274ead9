//! DescribeQuorum: who decides about the metadata (KIP-595). On one node: this one.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, ReplicaState, ResponsePartitionData,
    ResponseTopicData,
};
use runtime::{Clock, Effects};

use super::cluster::advertised;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::metadata::CLUSTER_METADATA;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=2;

/// From this version on the response tells when a voter was last heard of.
const VERSION_TIMES: i16 = 1;

/// From this version on the response tells where the voters are.
const VERSION_NODES: i16 = 2;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: DescribeQuorumRequest<'_>,
) -> DescribeQuorumResponse {
    let progress = shard.call_controller(|_, controller| async move { controller.log_progress() }).await;
    let node_id = shard.identity.node_id.0;
    let now = shard.effects.clock().unix_ms();
    let describe = |topic: &str, partition_index: i32| {
        if topic != CLUSTER_METADATA || partition_index != 0 {
            let error_code = ErrorCode::UnknownTopicOrPartition.code();
            return ResponsePartitionData { partition_index, error_code, ..ResponsePartitionData::default() };
        }
        let log_end_offset = progress.log_end.0;
        let mut voter = ReplicaState { replica_id: node_id, log_end_offset, ..ReplicaState::default() };
        if context.api_version >= VERSION_TIMES {
            (voter.last_fetch_timestamp, voter.last_caught_up_timestamp) = (now, now);
        }
        if context.api_version >= VERSION_NODES {
            voter.replica_directory_id = shard.logs.dir().directory_id();
        }
        ResponsePartitionData {
            partition_index,
            leader_id: node_id,
            leader_epoch: progress.leader_epoch.0,
            high_watermark: progress.high_watermark.0,
            current_voters: vec![voter],
            ..ResponsePartitionData::default()
        }
    };
    let topics = request.topics.iter().map(|topic| ResponseTopicData {
        topic_name: topic.topic_name.to_owned(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| describe(topic.topic_name, partition.partition_index))
            .collect(),
    });
    let (host, port) = advertised(shard, context);
    let listener = Listener { name: "CONTROLLER".to_owned(), host, port: u16::try_from(port).unwrap_or(0) };
    DescribeQuorumResponse {
        topics: topics.collect(),
        nodes: if context.api_version >= VERSION_NODES {
            vec![Node { node_id, listeners: vec![listener] }]
        } else {
            Vec::new()
        },
        ..DescribeQuorumResponse::default()
    }
}
