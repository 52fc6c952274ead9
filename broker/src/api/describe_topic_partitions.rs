//! DescribeTopicPartitions: topics with their partitions, page by page (KIP-966).

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

use net::protocol::ErrorCode;
use net::protocol::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, ResponseCursor,
};
use runtime::Effects;

use super::cluster::{OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS};
use super::partition_state::PartitionState;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::metadata::{TopicImage, validate_topic_name};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=0;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: DescribeTopicPartitionsRequest<'_>,
) -> DescribeTopicPartitionsResponse {
    let image = shard.image();
    let asked: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name).collect();
    let all = asked.is_empty();
    let (first_topic, mut first_partition) =
        request.cursor.map_or(("", 0), |cursor| (cursor.topic_name, cursor.partition_index));
    let foreign = request.cursor.is_some() && !all && !asked.contains(first_topic);
    if foreign || first_partition < 0 {
        let topics =
            request.topics.iter().map(|topic| failed(topic.name, ErrorCode::InvalidRequest)).collect();
        return DescribeTopicPartitionsResponse { topics, ..DescribeTopicPartitionsResponse::default() };
    }
    let limit = shard.config().request_partitions_max();
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, limit);
    let mut response = DescribeTopicPartitionsResponse::default();
    let names: Box<dyn Iterator<Item = &str>> = if all {
        Box::new(image.topics_from(first_topic).map(|topic| &*topic.name))
    } else {
        Box::new(asked.range(first_topic..).copied())
    };
    for name in names {
        if name != first_topic {
            first_partition = 0;
        }
        let Some(topic) = image.topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        if left == 0 {
            response.next_cursor = Some(ResponseCursor { topic_name: name.to_owned(), partition_index: 0 });
            break;
        }
        let (described, next) = describe(shard, topic, first_partition, left);
        left -= described.partitions.len();
        response.topics.push(described);
        if let Some(partition_index) = next {
            response.next_cursor = Some(ResponseCursor { topic_name: name.to_owned(), partition_index });
            break;
        }
    }
    response
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = if validate_topic_name(name).is_ok() {
        ErrorCode::UnknownTopicOrPartition
    } else {
        ErrorCode::InvalidTopicException
    };
    failed(name, code)
}

fn failed(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(name.to_owned()),
        topic_authorized_operations: OPERATIONS_NOT_ASKED,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

/// At most `limit` partitions from `first` on, and the index of the first one left out.
fn describe<E: Effects>(
    shard: &ShardServices<E>,
    topic: &Arc<TopicImage>,
    first: i32,
    limit: usize,
) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
    let mut behind = topic.partition_ids().zip(&topic.partitions).filter(|(id, _)| id.0 >= first);
    let nodes = |nodes: &[model::NodeId]| nodes.iter().map(|node| node.0).collect();
    let partitions = behind
        .by_ref()
        .take(limit)
        .map(|(id, image)| {
            let state = PartitionState::of(shard, topic.id, id, image);
            DescribeTopicPartitionsResponsePartition {
                error_code: state.error_code().code(),
                partition_index: id.0,
                leader_id: state.leader_id,
                leader_epoch: image.leader_epoch.0,
                replica_nodes: nodes(&image.replicas),
                isr_nodes: state.in_sync,
                eligible_leader_replicas: Some(state.eligible),
                last_known_elr: Some(Vec::new()),
                offline_replicas: state.offline,
            }
        })
        .collect();
    let next = behind.next().map(|(id, _)| id.0);
    let described = DescribeTopicPartitionsResponseTopic {
        error_code: 0,
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: topic.internal,
        partitions,
        topic_authorized_operations: TOPIC_OPERATIONS,
    };
    (described, next)
}
