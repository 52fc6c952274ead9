//! OffsetCommit: a group notes how far it came.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use runtime::Effects;

use super::groups::{ask, code_of};
use crate::coordinator::{CommitPartition, CommitRequest, CommitTopic, CommitTopicResult, Request};
use crate::request::RequestContext;
use crate::shard::Shard;

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
    let mut responses = Vec::new();
    for topic in request.topics.iter() {
        let found = if by_id { image.topic_by_id(topic.topic_id) } else { image.topic(topic.name) };
        if let Some(found) = found {
            known.push(commit_topic(&topic, &found.name, found.id));
            // Filled in when the coordinator has answered.
            responses.push(None);
        } else {
            let code = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            responses.push(Some(refused(&topic, code)));
        }
    }
    let mut committed = Vec::new().into_iter();
    if !known.is_empty() {
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
        committed =
            ask(shard, request.group_id, Request::Commit(commit)).await.into_commit().topics.into_iter();
    }
    let topics = responses.into_iter().filter_map(|refused| refused.or_else(|| committed.next().map(result)));
    OffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn commit_topic(topic: &OffsetCommitRequestTopic<'_>, name: &str, id: model::TopicId) -> CommitTopic {
    let partitions = topic.partitions.iter().map(|partition| CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.map(str::to_owned),
    });
    CommitTopic { name: name.to_owned(), topic_id: id, partitions: partitions.collect() }
}

fn refused(topic: &OffsetCommitRequestTopic<'_>, code: ErrorCode) -> OffsetCommitResponseTopic {
    let partition =
        |partition_index| OffsetCommitResponsePartition { partition_index, error_code: code.code() };
    OffsetCommitResponseTopic {
        name: topic.name.to_owned(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(|asked| partition(asked.partition_index)).collect(),
    }
}

fn result(topic: CommitTopicResult) -> OffsetCommitResponseTopic {
    let partition = |(partition_index, error)| OffsetCommitResponsePartition {
        partition_index,
        error_code: code_of(error),
    };
    OffsetCommitResponseTopic {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    }
}
