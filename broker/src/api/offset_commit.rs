//! OffsetCommit: a group notes how far it came.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

use net::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use runtime::Effects;

use super::groups::{ask, fill_in, pending};
use super::named_topic::{named_partition, named_topic};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::coordination::groups::{CommitPartition, CommitRequest, CommitTopic, Request};
use crate::metadata::TopicImage;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 2..=10;

/// Up to this version clients may say how long their offsets are to be kept.
const VERSION_RETENTION_TIME: i16 = 4;
/// From this version on clients know that a group may not be found.
const VERSION_GROUP_NOT_FOUND: i16 = 9;
/// From this version on topics are named by id (KIP-848).
const VERSION_TOPIC_IDS: i16 = 10;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: OffsetCommitRequest<'_>,
) -> OffsetCommitResponse {
    let version = context.api_version;
    let by_id = version >= VERSION_TOPIC_IDS;
    let image = shard.image();
    let mut known = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics.iter() {
        let topic = named_topic(&image, by_id, (asked.name, asked.topic_id));
        let partitions = asked.partitions.iter().map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: pending(named_partition(topic, partition.partition_index)),
        });
        topics.push(OffsetCommitResponseTopic {
            name: asked.name.to_owned(),
            topic_id: asked.topic_id,
            partitions: partitions.collect(),
        });
        if let Ok(topic) = topic {
            known.push(commit_topic(&asked, topic));
        }
    }
    if known.iter().any(|topic| !topic.partitions.is_empty()) {
        let retention_time_ms =
            Some(request.retention_time_ms).filter(|ms| version <= VERSION_RETENTION_TIME && *ms != -1);
        let commit = CommitRequest {
            group_id: request.group_id.to_owned(),
            generation_id: request.generation_id_or_member_epoch,
            member_id: request.member_id.to_owned(),
            group_instance_id: request.group_instance_id.map(str::to_owned),
            retention_time_ms,
            group_not_found_known: version >= VERSION_GROUP_NOT_FOUND,
            topics: known,
        };
        let committed = ask(shard, request.group_id, Request::Commit(commit)).await.into_commit();
        let codes =
            topics.iter_mut().flat_map(|topic| &mut topic.partitions).map(|found| &mut found.error_code);
        fill_in(codes, committed.topics.into_iter().flat_map(|topic| topic.partitions));
    }
    OffsetCommitResponse { throttle_time_ms: 0, topics }
}

fn commit_topic(asked: &OffsetCommitRequestTopic<'_>, topic: &Arc<TopicImage>) -> CommitTopic {
    let exists = |index| named_partition(Ok(topic), index).is_ok();
    let existing = asked.partitions.iter().filter(|partition| exists(partition.partition_index));
    let partitions = existing.map(|partition| CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.map(str::to_owned),
    });
    CommitTopic { name: topic.name.to_string(), topic_id: topic.id, partitions: partitions.collect() }
}
