//! DescribeProducers: what partitions remember of their producers (KIP-664).

use std::ops::RangeInclusive;
use std::rc::Rc;

use model::{LeaderEpoch, TopicId};
use net::protocol::ErrorCode;
use net::protocol::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use runtime::Effects;
use storage::ActiveProducer;

use super::named_topic::{named_partition, named_topic};
use super::owners::{Asked, ask_owners};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::metadata::validate_topic_name;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=0;

/// About what a producer takes, as built on its shard and here, and as encoded.
const PRODUCER_BYTES: usize = 128;

/// Answers one request. A partition may have many producers, and be named often: one is asked after the other, as long as
/// there is room for what it may tell.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: DescribeProducersRequest<'_>,
) -> DescribeProducersResponse {
    let mut room = shard.request_memory.building_bytes_max() / PRODUCER_BYTES;
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics.iter() {
        let invalid = validate_topic_name(asked.name).err();
        let mut partitions = Vec::with_capacity(asked.partition_indexes.len());
        for partition_index in asked.partition_indexes.iter() {
            let told = match &invalid {
                // Without the sentence, which has the name in it, once for each partition.
                Some(_) => Err((ErrorCode::InvalidTopicException, None)),
                None => ask(shard, asked.name, partition_index, room).await,
            };
            let mut response = PartitionResponse { partition_index, ..PartitionResponse::default() };
            match told {
                Ok(producers) => {
                    room -= producers.len();
                    response.active_producers = producers.into_iter().map(described).collect();
                }
                Err((code, message)) => {
                    (response.error_code, response.error_message) = (code.code(), message)
                }
            }
            partitions.push(response);
        }
        topics.push(TopicResponse { name: asked.name.to_owned(), partitions });
    }
    DescribeProducersResponse { throttle_time_ms: 0, topics }
}

/// The producers of a partition, if there are not more than `room`.
async fn ask<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    topic: &str,
    index: i32,
    room: usize,
) -> Result<Vec<ActiveProducer>, (ErrorCode, Option<String>)> {
    let of = named_partition(named_topic(&shard.image(), false, (topic, TopicId::ZERO)), index);
    let question = std::iter::once(Asked { of, leader_epoch: LeaderEpoch::NONE, question: room });
    let told = ask_owners(shard, question, async |partition, room: usize| {
        Ok(partition.log.active_producers(room + 1))
    });
    let producers = told.await.remove(0).map_err(|code| (code, None))?;
    if producers.len() > room {
        let message = "Too many producers for one answer: ask for fewer partitions at a time.".to_owned();
        return Err((ErrorCode::PolicyViolation, Some(message)));
    }
    Ok(producers)
}

fn described(producer: ActiveProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.id.0,
        producer_epoch: i32::from(producer.epoch.0),
        last_sequence: producer.last_sequence.0,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_start.map_or(-1, |offset| offset.0),
    }
}
