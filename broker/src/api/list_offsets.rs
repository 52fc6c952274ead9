//! ListOffsets: the offset that belongs to a time, or to one of the special times.

use std::ops::RangeInclusive;
use std::rc::Rc;

use model::{LeaderEpoch, Offset, TopicId};
use net::protocol::ErrorCode;
use net::protocol::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use runtime::Effects;
use storage::{ReadError, TimestampOffset};

use super::fetch::READ_COMMITTED;
use super::named_topic::{named_partition, named_topic};
use super::named_twice::Repeated;
use super::owners::{Asked, ask_owners};
use crate::api::errors::{partition_error_code, read_error_code};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::replicas::Partition;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 1..=11;

/// The special timestamps of the request, with the version that brought them.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: (i64, i16) = (-3, 7);
const EARLIEST_LOCAL: (i64, i16) = (-4, 8);
const LATEST_TIERED: (i64, i16) = (-5, 9);
const EARLIEST_PENDING_UPLOAD: (i64, i16) = (-6, 11);

/// From this version on the response tells the leader epoch.
const VERSION_LEADER_EPOCH: i16 = 4;

#[derive(Debug, Clone, Copy)]
struct Question {
    timestamp: i64,
    version: i16,
    committed_only: bool,
}

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: ListOffsetsRequest<'_>,
) -> ListOffsetsResponse {
    let image = shard.image();
    let named = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |partition| (partition.partition_index, topic.name))
    });
    let repeated = &Repeated::of(named);
    let committed_only = request.isolation_level == READ_COMMITTED;
    let questions = request.topics.iter().flat_map(|asked| {
        let topic = named_topic(&image, false, (asked.name, TopicId::ZERO));
        asked.partitions.iter().map(move |partition| {
            let question =
                Question { timestamp: partition.timestamp, version: context.api_version, committed_only };
            Asked {
                of: named_partition(topic, partition.partition_index),
                leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                question,
            }
        })
    });
    // Kafka refuses a partition that is named several times, and says so once.
    let questions = questions.enumerate().filter(|(place, _)| !repeated.is_superseded(*place));
    let questions = questions.map(|(place, asked)| Asked {
        of: if repeated.is_last(place) { Err(ErrorCode::InvalidRequest) } else { asked.of },
        ..asked
    });
    let find = async |partition: Rc<Partition<E>>, question| find(&partition, question).await;
    let mut answers = ask_owners(shard, questions, find).await.into_iter();
    let mut places = 0..;
    let topics = request.topics.iter().map(|asked| {
        let once =
            asked.partitions.iter().zip(&mut places).filter(|(_, place)| !repeated.is_superseded(*place));
        let partitions = once
            .zip(&mut answers)
            .map(|((partition, _), answer)| respond(context.api_version, partition.partition_index, answer));
        ListOffsetsTopicResponse { name: asked.name.to_owned(), partitions: partitions.collect() }
    });
    ListOffsetsResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn respond(
    version: i16,
    partition_index: i32,
    answer: Result<TimestampOffset, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let mut response = ListOffsetsPartitionResponse { partition_index, ..Default::default() };
    match answer {
        Ok(found) => {
            response.timestamp = found.timestamp;
            response.offset = found.offset.0;
            if version >= VERSION_LEADER_EPOCH {
                response.leader_epoch = found.leader_epoch.0;
            }
        }
        Err(code) => response.error_code = code.code(),
    }
    response
}

async fn find<E: Effects>(
    partition: &Rc<Partition<E>>,
    question: Question,
) -> Result<TimestampOffset, ErrorCode> {
    let log = &partition.log;
    let end =
        if question.committed_only { partition.last_stable_offset() } else { partition.high_watermark() };
    let at = |offset: Offset| TimestampOffset {
        offset,
        timestamp: -1,
        leader_epoch: log.latest_epoch().unwrap_or(partition.leader_epoch()),
    };
    let nothing = TimestampOffset { offset: Offset(-1), timestamp: -1, leader_epoch: LeaderEpoch(-1) };
    let since = |(_, version): (i64, i16)| question.version >= version;
    let found = |result: Result<Option<TimestampOffset>, ReadError>| match result {
        Ok(found) => Ok(found.unwrap_or(nothing)),
        Err(error) => Err(read_error_code(&error)),
    };
    let earliest = [EARLIEST, EARLIEST_LOCAL.0].contains(&question.timestamp);
    if !earliest {
        partition.check_end_known().map_err(|error| partition_error_code(&error))?;
    }
    match question.timestamp {
        LATEST => Ok(at(end)),
        EARLIEST => Ok(at(log.log_start_offset())),
        timestamp if timestamp == MAX_TIMESTAMP.0 && since(MAX_TIMESTAMP) => {
            found(log.max_timestamp_offset().await)
        }
        timestamp if timestamp == EARLIEST_LOCAL.0 && since(EARLIEST_LOCAL) => Ok(at(log.log_start_offset())),
        timestamp if timestamp == LATEST_TIERED.0 && since(LATEST_TIERED) => Ok(nothing),
        timestamp if timestamp == EARLIEST_PENDING_UPLOAD.0 && since(EARLIEST_PENDING_UPLOAD) => Ok(nothing),
        timestamp if timestamp < 0 => Err(ErrorCode::UnsupportedVersion),
        timestamp => found(log.offset_for_timestamp(timestamp, end).await),
    }
}
