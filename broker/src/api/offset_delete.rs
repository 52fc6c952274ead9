//! OffsetDelete: forgets a group's offsets in topics that it does not consume any more.

use std::ops::RangeInclusive;
use std::rc::Rc;

use model::PartitionId;
use net::protocol::ErrorCode;
use net::protocol::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use runtime::Effects;

use super::groups::{ask, code_of};
use crate::coordination::groups::{self, GroupError, Request};
use crate::api::request::RequestContext;
use crate::node::shard::Shard;

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
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics.iter() {
        let topic = image.topic(asked.name);
        let exists = |index: i32| topic.is_some_and(|topic| topic.partition(PartitionId(index)).is_some());
        let asked_partitions = || asked.partitions.iter().map(|partition| partition.partition_index);
        let partitions = asked_partitions().map(|partition_index| OffsetDeleteResponsePartition {
            partition_index,
            error_code: if exists(partition_index) {
                PENDING
            } else {
                ErrorCode::UnknownTopicOrPartition.code()
            },
        });
        let name = asked.name.to_owned();
        topics.push(OffsetDeleteResponseTopic { name: name.clone(), partitions: partitions.collect() });
        known.push((name, asked_partitions().filter(|index| exists(*index)).collect()));
    }
    // Even with nothing left to delete the coordinator says whether the group is there.
    let delete = groups::OffsetDeleteRequest { group_id: request.group_id.to_owned(), topics: known };
    let deleted = ask(shard, request.group_id, Request::OffsetDelete(delete)).await.into_offset_delete();
    if deleted.error.is_some() {
        topics.clear();
    }
    fill_in(&mut topics, deleted.topics.into_iter().flat_map(|(_, results)| results));
    OffsetDeleteResponse { error_code: code_of(deleted.error), throttle_time_ms: 0, topics }
}

/// Writes the coordinator's answers, which come in the order asked, where they are still missing.
fn fill_in(
    topics: &mut [OffsetDeleteResponseTopic],
    answers: impl Iterator<Item = (i32, Option<GroupError>)>,
) {
    let missing = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    for (partition, (_, error)) in missing.filter(|partition| partition.error_code == PENDING).zip(answers) {
        partition.error_code = code_of(error);
    }
}

/// Stands for the coordinator's answer; no code of Kafka's.
const PENDING: i16 = i16::MIN;
