//! OffsetForLeaderEpoch: where an epoch ended (KIP-101, KIP-320).

use std::ops::RangeInclusive;
use std::rc::Rc;

use futures_util::future::join_all;
use model::{LeaderEpoch, PartitionId};
use net::protocol::ErrorCode;
use net::protocol::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use runtime::Effects;

use super::fetch::check_epoch;
use crate::request::RequestContext;
use crate::shard::Shard;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 2..=4;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<Shard<E>>,
    _context: &RequestContext,
    request: OffsetForLeaderEpochRequest<'_>,
) -> OffsetForLeaderEpochResponse {
    let image = shard.image();
    let topics = request.topics.iter().map(|asked| {
        let topic = image.topic(asked.topic).cloned();
        async move {
            let partitions = asked.partitions.iter().map(|partition| {
                let id = PartitionId(partition.partition);
                let topic_id =
                    topic.as_ref().filter(|topic| topic.partition(id).is_some()).map(|topic| topic.id);
                let client = LeaderEpoch(partition.current_leader_epoch);
                let epoch = LeaderEpoch(partition.leader_epoch);
                async move {
                    let answer = match topic_id {
                        None => Err(ErrorCode::UnknownTopicOrPartition),
                        Some(topic_id) => {
                            let find = move |shard: Rc<Shard<E>>| async move {
                                let partition = shard.partition(topic_id, id)?;
                                check_epoch(client, partition.leader_epoch())?;
                                partition.check_end_known()?;
                                Ok(partition.log.end_offset_for_epoch(epoch))
                            };
                            shard.call(shard.owner(topic_id, id), find).await
                        }
                    };
                    end_offset(id, answer)
                }
            });
            OffsetForLeaderTopicResult {
                topic: asked.topic.to_owned(),
                partitions: join_all(partitions).await,
            }
        }
    });
    OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics: join_all(topics).await }
}

fn end_offset(id: PartitionId, answer: Result<(LeaderEpoch, model::Offset), ErrorCode>) -> EpochEndOffset {
    match answer {
        Ok((epoch, offset)) => EpochEndOffset {
            error_code: 0,
            partition: id.0,
            leader_epoch: epoch.0,
            end_offset: offset.0,
        },
        Err(code) => EpochEndOffset {
            error_code: code.code(),
            partition: id.0,
            leader_epoch: -1,
            end_offset: -1,
        },
    }
}
