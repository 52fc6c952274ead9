//! DeleteRecords: moves the start of logs forward (KIP-107).

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

use model::{LeaderEpoch, Offset, TopicId};
use net::protocol::ErrorCode;
use net::protocol::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use runtime::Effects;

use super::named_topic::{named_partition, named_topic};
use super::named_twice::Repeated;
use super::owners::{Asked, ask_owners};
use crate::api::errors::read_error_code;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::metadata::TopicImage;
use crate::replicas::Partition;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=2;

/// Up to the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: DeleteRecordsRequest<'_>,
) -> DeleteRecordsResponse {
    let image = shard.image();
    let named = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |partition| (partition.partition_index, topic.name))
    });
    // Of a partition that is named several times the last counts, as in Kafka.
    let repeated = &Repeated::of(named);
    let questions = request.topics.iter().flat_map(|asked| {
        let topic = named_topic(&image, false, (asked.name, TopicId::ZERO));
        let refused = topic.ok().and_then(|topic| refused(shard, topic));
        asked.partitions.iter().map(move |partition| {
            let known = named_partition(topic, partition.partition_index);
            let of = known.and_then(|known| refused.map_or(Ok(known), Err));
            Asked { of, leader_epoch: LeaderEpoch::NONE, question: partition.offset }
        })
    });
    let questions = questions.enumerate().filter(|(place, _)| !repeated.is_superseded(*place));
    let questions = questions.map(|(_, question)| question);
    let delete = async |partition: Rc<Partition<E>>, offset| delete(&partition, offset).await;
    let mut answers = ask_owners(shard, questions, delete).await.into_iter();
    let mut places = 0..;
    let topics = request.topics.iter().map(|asked| {
        let once =
            asked.partitions.iter().zip(&mut places).filter(|(_, place)| !repeated.is_superseded(*place));
        let partitions =
            once.zip(&mut answers).map(|((partition, _), outcome)| DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark: outcome.map_or(-1, |start| start.0),
                error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
            });
        DeleteRecordsTopicResult { name: asked.name.to_owned(), partitions: partitions.collect() }
    });
    let topics = topics.filter(|topic| !topic.partitions.is_empty());
    DeleteRecordsResponse { throttle_time_ms: 0, topics: topics.collect() }
}

/// Why no records of a topic may be deleted.
fn refused<E: Effects>(shard: &ShardServices<E>, topic: &Arc<TopicImage>) -> Option<ErrorCode> {
    if topic.internal {
        return Some(ErrorCode::InvalidTopicException);
    }
    // Kafka's rule: what compaction keeps is not to be cut off.
    let config = shard.replicas.topic_config(topic);
    (config.cleanup_compact && !config.cleanup_delete).then_some(ErrorCode::PolicyViolation)
}

async fn delete<E: Effects>(partition: &Partition<E>, offset: i64) -> Result<Offset, ErrorCode> {
    let to = match offset {
        HIGH_WATERMARK => partition.high_watermark(),
        offset if offset < 0 || Offset(offset) > partition.high_watermark() => {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        offset => Offset(offset),
    };
    partition.log.advance_log_start(to).await.map_err(|error| read_error_code(&error))
}
