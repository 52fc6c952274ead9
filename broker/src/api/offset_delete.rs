//! OffsetDelete: forgets a group's offsets in topics that it does not consume any more.

use std::ops::RangeInclusive;
use std::rc::Rc;

use model::TopicId;
use net::protocol::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use runtime::Effects;

use super::groups::{ask, code_of, fill_in, pending};
use super::named_topic::{named_partition, named_topic};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::coordination::groups::{self, Request};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=0;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: OffsetDeleteRequest<'_>,
) -> OffsetDeleteResponse {
    let image = shard.image();
    let mut known = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics.iter() {
        let topic = named_topic(&image, false, (asked.name, TopicId::ZERO));
        let partitions = asked.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
            partition_index: partition.partition_index,
            error_code: pending(named_partition(topic, partition.partition_index)),
        });
        let name = asked.name.to_owned();
        topics.push(OffsetDeleteResponseTopic { name: name.clone(), partitions: partitions.collect() });
        let indexes = asked.partitions.iter().map(|partition| partition.partition_index);
        known.push((name, indexes.filter(|index| named_partition(topic, *index).is_ok()).collect()));
    }
    // Even with nothing left to delete the coordinator says whether the group is there.
    let delete = groups::OffsetDeleteRequest { group_id: request.group_id.to_owned(), topics: known };
    let deleted = ask(shard, request.group_id, Request::OffsetDelete(delete)).await.into_offset_delete();
    if deleted.error.is_some() {
        topics.clear();
    }
    let codes = topics.iter_mut().flat_map(|topic| &mut topic.partitions).map(|found| &mut found.error_code);
    fill_in(codes, deleted.topics.into_iter().flat_map(|(_, results)| results));
    OffsetDeleteResponse { error_code: code_of(deleted.error), throttle_time_ms: 0, topics }
}
