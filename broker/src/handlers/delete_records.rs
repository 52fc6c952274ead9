//! DeleteRecords: moves the start of logs forward (KIP-107).

use std::ops::RangeInclusive;
use std::rc::Rc;

use futures_util::future::join_all;
use model::{Offset, PartitionId, TopicId};
use net::protocol::ErrorCode;
use net::protocol::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use runtime::Effects;

use crate::errors::read_error_code;
use crate::request::RequestContext;
use crate::shard::Shard;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=2;

/// Up to the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<Shard<E>>,
    _context: &RequestContext,
    request: DeleteRecordsRequest<'_>,
) -> DeleteRecordsResponse {
    let image = shard.image();
    let topics = request.topics.iter().map(|asked| {
        let topic = image.topic(asked.name).cloned();
        async move {
            let partitions = asked.partitions.iter().map(|partition| {
                let id = PartitionId(partition.partition_index);
                let known = topic.as_ref().filter(|topic| topic.partition(id).is_some());
                let internal = known.is_some_and(|topic| topic.internal);
                // Kafka's rule: what compaction keeps is not to be cut off.
                let only_compacted = known.is_some_and(|topic| {
                    let config = shard.topic_config(topic);
                    config.cleanup_compact && !config.cleanup_delete
                });
                let topic_id = known.map(|topic| topic.id);
                async move {
                    let outcome = match topic_id {
                        None => Err(ErrorCode::UnknownTopicOrPartition),
                        Some(_) if internal => Err(ErrorCode::InvalidTopicException),
                        Some(_) if only_compacted => Err(ErrorCode::PolicyViolation),
                        Some(topic_id) => delete(shard, topic_id, id, partition.offset).await,
                    };
                    DeleteRecordsPartitionResult {
                        partition_index: id.0,
                        low_watermark: outcome.map_or(-1, |start| start.0),
                        error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
                    }
                }
            });
            DeleteRecordsTopicResult { name: asked.name.to_owned(), partitions: join_all(partitions).await }
        }
    });
    DeleteRecordsResponse { throttle_time_ms: 0, topics: join_all(topics).await }
}

async fn delete<E: Effects>(
    shard: &Rc<Shard<E>>,
    topic_id: TopicId,
    id: PartitionId,
    offset: i64,
) -> Result<Offset, ErrorCode> {
    let target = shard.owner(topic_id, id);
    let advance = move |shard: Rc<Shard<E>>| async move {
        let partition = shard.partition(topic_id, id)?;
        let to = match offset {
            HIGH_WATERMARK => partition.high_watermark(),
            offset if offset < 0 || Offset(offset) > partition.high_watermark() => {
                return Err(ErrorCode::OffsetOutOfRange);
            }
            offset => Offset(offset),
        };
        partition.log.advance_log_start(to).await.map_err(|error| read_error_code(&error))
    };
    shard.call(target, advance).await
}
