//! OffsetForLeaderEpoch: where an epoch ended (KIP-101, KIP-320).

use std::ops::RangeInclusive;
use std::rc::Rc;

use model::{LeaderEpoch, PartitionId, TopicId};
use net::protocol::ErrorCode;
use net::protocol::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use runtime::Effects;

use super::named_topic::{named_partition, named_topic};
use super::owners::{Asked, ask_owners};
use crate::api::errors::partition_error_code;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::replicas::Partition;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 2..=4;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: OffsetForLeaderEpochRequest<'_>,
) -> OffsetForLeaderEpochResponse {
    let image = shard.image();
    let questions = request.topics.iter().flat_map(|asked| {
        let topic = named_topic(&image, false, (asked.topic, TopicId::ZERO));
        asked.partitions.iter().map(move |partition| Asked {
            of: named_partition(topic, partition.partition),
            leader_epoch: LeaderEpoch(partition.current_leader_epoch),
            question: LeaderEpoch(partition.leader_epoch),
        })
    });
    let find = async |partition: Rc<Partition<E>>, epoch| {
        partition.check_end_known().map_err(|error| partition_error_code(&error))?;
        Ok(partition.log.end_offset_for_epoch(epoch))
    };
    let mut answers = ask_owners(shard, questions, find).await.into_iter();
    let topics = request.topics.iter().map(|asked| {
        let partitions = asked.partitions.iter().zip(&mut answers);
        OffsetForLeaderTopicResult {
            topic: asked.topic.to_owned(),
            partitions: partitions
                .map(|(asked, answer)| end_offset(PartitionId(asked.partition), answer))
                .collect(),
        }
    });
    OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn end_offset(id: PartitionId, answer: Result<(LeaderEpoch, model::Offset), ErrorCode>) -> EpochEndOffset {
    match answer {
        Ok((epoch, offset)) => {
            EpochEndOffset { error_code: 0, partition: id.0, leader_epoch: epoch.0, end_offset: offset.0 }
        }
        Err(code) => {
            EpochEndOffset { error_code: code.code(), partition: id.0, leader_epoch: -1, end_offset: -1 }
        }
    }
}
