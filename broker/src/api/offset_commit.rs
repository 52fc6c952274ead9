//! OffsetCommit: a group notes how far it came.

use std::ops::RangeInclusive;
use std::rc::Rc;

use model::PartitionId;
use net::protocol::ErrorCode;
use net::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use runtime::Effects;

use super::groups::{ask, code_of};
use crate::coordination::groups::{CommitPartition, CommitRequest, CommitResponse, CommitTopic, Request};
use crate::metadata::TopicImage;
use crate::api::request::RequestContext;
use crate::node::shard::Shard;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 2..=10;

/// Up to this version clients may say how long their offsets are to be kept.
const VERSION_RETENTION_TIME: i16 = 4;
/// From this version on clients know that a group may not be found.
const VERSION_GROUP_NOT_FOUND: i16 = 9;
/// From this version on topics are named by id (KIP-848).
const VERSION_TOPIC_ID: i16 = 10;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<Shard<E>>,
    context: &RequestContext,
    request: OffsetCommitRequest<'_>,
) -> OffsetCommitResponse {
    let version = context.api_version;
    let by_id = version >= VERSION_TOPIC_ID;
    let image = shard.image();
    let mut known = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics.iter() {
        let found = if by_id { image.topic_by_id(asked.topic_id) } else { image.topic(asked.name) };
        let unknown = if by_id && found.is_none() {
            ErrorCode::UnknownTopicId
        } else {
            ErrorCode::UnknownTopicOrPartition
        };
        let exists = |index: i32| found.is_some_and(|topic| topic.partition(PartitionId(index)).is_some());
        let partitions = asked.partitions.iter().map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: if exists(partition.partition_index) { PENDING } else { unknown.code() },
        });
        topics.push(OffsetCommitResponseTopic {
            name: asked.name.to_owned(),
            topic_id: asked.topic_id,
            partitions: partitions.collect(),
        });
        if let Some(found) = found {
            known.push(commit_topic(&asked, found, exists));
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
        fill_in(&mut topics, committed);
    }
    OffsetCommitResponse { throttle_time_ms: 0, topics }
}

fn commit_topic(
    asked: &OffsetCommitRequestTopic<'_>,
    topic: &TopicImage,
    exists: impl Fn(i32) -> bool,
) -> CommitTopic {
    let existing = asked.partitions.iter().filter(|partition| exists(partition.partition_index));
    let partitions = existing.map(|partition| CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.map(str::to_owned),
    });
    CommitTopic { name: topic.name.to_string(), topic_id: topic.id, partitions: partitions.collect() }
}

/// Writes the coordinator's answers, which come in the order asked, where they are still missing.
fn fill_in(topics: &mut [OffsetCommitResponseTopic], committed: CommitResponse) {
    let answers = committed.topics.into_iter().flat_map(|topic| topic.partitions);
    let missing = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    for (partition, (_, error)) in missing.filter(|partition| partition.error_code == PENDING).zip(answers) {
        partition.error_code = code_of(error);
    }
}

/// Stands for the coordinator's answer; no code of Kafka's.
const PENDING: i16 = i16::MIN;
