//! OffsetDelete: forgets a group's offsets in topics that it does not consume any more.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use runtime::Effects;

use super::groups::{ask, code_of};
use crate::coordinator::{self, Request};
use crate::request::RequestContext;
use crate::shard::Shard;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=0;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<Shard<E>>,
    _context: &RequestContext,
    request: OffsetDeleteRequest<'_>,
) -> OffsetDeleteResponse {
    let image = shard.image();
    let mut known = Vec::new();
    let mut topics = Vec::new();
    for topic in request.topics.iter() {
        let partitions: Vec<i32> =
            topic.partitions.iter().map(|partition| partition.partition_index).collect();
        if image.topic(topic.name).is_some() {
            known.push((topic.name.to_owned(), partitions));
        } else {
            let code = ErrorCode::UnknownTopicOrPartition.code();
            topics
                .push(response_topic(topic.name, partitions.into_iter().map(|partition| (partition, code))));
        }
    }
    // Even with nothing left to delete the coordinator says whether the group is there.
    let delete = coordinator::OffsetDeleteRequest { group_id: request.group_id.to_owned(), topics: known };
    let deleted = ask(shard, request.group_id, Request::OffsetDelete(delete)).await.into_offset_delete();
    if deleted.error.is_some() {
        topics.clear();
    }
    for (name, partitions) in deleted.topics {
        let partitions = partitions.into_iter().map(|(partition, error)| (partition, code_of(error)));
        topics.push(response_topic(&name, partitions));
    }
    OffsetDeleteResponse { error_code: code_of(deleted.error), throttle_time_ms: 0, topics }
}

fn response_topic(name: &str, partitions: impl Iterator<Item = (i32, i16)>) -> OffsetDeleteResponseTopic {
    let partition =
        |(partition_index, error_code)| OffsetDeleteResponsePartition { partition_index, error_code };
    OffsetDeleteResponseTopic { name: name.to_owned(), partitions: partitions.map(partition).collect() }
}
