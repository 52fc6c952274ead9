//! Produce: appends record batches and answers when they are acknowledged.
//!
//! Everything up to the append happens in the order in which the requests of a connection arrive; only the wait for the
//! acknowledgement overlaps with the requests behind it.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, join_all};
use model::{LeaderEpoch, Offset, PartitionId, TopicId};
use net::protocol::ErrorCode;
use net::protocol::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData,
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use replication::Acks;
use runtime::sync::Permit;
use runtime::{Clock, Effects};
use storage::{AppendError, ClientBatch, RecordRules};

use super::named_topic::{named_partition, named_topic};
use super::named_twice::Repeated;
use crate::api::dispatch::Started;
use crate::api::errors::{append_error_code, broken_rules_code, partition_error_code};
use crate::api::reply::Reply;
use crate::api::request::{CloseReason, RequestContext};
use crate::api::services::ShardServices;
use crate::mesh::fan_out::{FanOut, Placed};
use crate::metadata::{TopicImage, is_internal};
use crate::replicas::{AckWait, PartitionError};

/// Advertised from 0 on because old librdkafka drops compression otherwise (KAFKA-18659); bodies below 3 are refused.
pub const VERSIONS: RangeInclusive<i16> = 0..=13;

/// The versions whose body can be read.
pub(super) const VERSIONS_READ: RangeInclusive<i16> = 3..=13;

/// Zstandard came with this version (KIP-110).
const VERSION_ZSTD: i16 = 7;

/// From this version on topics are named by id.
const VERSION_TOPIC_IDS: i16 = 13;

/// From this version on the response names the records that broke a rule (KIP-467).
const VERSION_RECORD_ERRORS: i16 = 8;

/// One partition's batch.
struct Item<B> {
    topic_id: TopicId,
    partition: PartitionId,
    batch: B,
}

/// A batch on its way to the shard that owns its partition.
type CheckedItem = Placed<Item<ClientBatch>>;

/// What became of one partition's batch.
#[derive(Debug, Clone)]
enum Outcome {
    Appended {
        base_offset: Offset,
        log_append_time: i64,
        log_start: Offset,
    },
    Failed {
        code: ErrorCode,
        message: Option<String>,
        records: Vec<(i32, String)>,
    },
    /// Some records break a rule of the topic; which ones is found out where the batch came from.
    RecordsRefused(Box<(ClientBatch, RecordRules)>),
}

impl Outcome {
    const fn failed(code: ErrorCode) -> Self {
        Self::Failed { code, message: None, records: Vec::new() }
    }

    fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Failed { code, message: Some(message.into()), records: Vec::new() }
    }
}

/// A topic of the request, and those of its partitions that are answered.
struct TopicSlots {
    name: String,
    topic_id: TopicId,
    partitions: Vec<i32>,
}

/// Starts a produce request: when this completes, its batches are appended or on their way, in order. `granted` is kept
/// until the answer is built.
pub(super) async fn start<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: ProduceRequest<'_>,
    granted: Option<Permit>,
    body: &Bytes,
) -> Started<E> {
    let (acks, acks_valid) = match request.acks {
        0 => (None, true),
        1 => (Some(Acks::Leader), true),
        -1 => (Some(Acks::All), true),
        _ => (None, false),
    };
    let (topics, batches) = sort_out(shard, context, &request, body, acks_valid);
    let (by_shard, mut outcomes) = batches.split();
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let in_transit = by_shard.groups().iter().any(|(target, _)| *target != shard.index);
    let mut calls = Vec::with_capacity(by_shard.groups().len());
    for (target, items) in by_shard {
        let items = check(shard, items).await;
        calls.push(append_on(shard, target, items, acks, timeout).await);
    }
    let shard = Rc::clone(shard);
    let context = context.clone();
    let no_reply = request.acks == 0;
    let pending = Box::pin(async move {
        let _granted = granted;
        let answers = match calls.len() {
            1 => calls.remove(0).await,
            _ => join_all(calls).await.into_iter().flatten().collect(),
        };
        for Placed { place, what } in answers {
            outcomes.fill([Placed { place, what: name_offenders(&shard, what).await }]);
        }
        let outcomes = outcomes.complete();
        if no_reply {
            let failed = outcomes.iter().find_map(|outcome| match outcome {
                Outcome::Failed { code, .. } => Some(*code),
                Outcome::Appended { .. } | Outcome::RecordsRefused(_) => None,
            });
            return failed.map_or(Ok(None), |code| Err(CloseReason::FailedWithoutReply(code)));
        }
        let response = respond(&shard, &context, topics, outcomes);
        Reply::encode(&context, &response).map(Some)
    });
    Started { pending, in_transit }
}

/// Finds the owner of every batch. What has none gets its error at once.
fn sort_out<E: Effects>(
    shard: &ShardServices<E>,
    context: &RequestContext,
    request: &ProduceRequest<'_>,
    body: &Bytes,
    acks_valid: bool,
) -> (Vec<TopicSlots>, FanOut<Item<Bytes>, Outcome>) {
    let image = shard.image();
    let by_id = context.api_version >= VERSION_TOPIC_IDS;
    let mut topics = Vec::with_capacity(request.topic_data.len());
    let mut batches = FanOut::default();
    let repeated = repeated_batches(request);
    let mut place = 0;
    for data in request.topic_data.iter() {
        let topic = named_topic(&image, by_id, (data.name, data.topic_id));
        let mut slots =
            TopicSlots { name: data.name.to_owned(), topic_id: data.topic_id, partitions: Vec::new() };
        for partition in data.partition_data.iter() {
            place += 1;
            if repeated.is_superseded(place - 1) {
                continue;
            }
            slots.partitions.push(partition.index);
            let item = if acks_valid {
                check_item(context, request.transactional_id, topic, &partition, body)
            } else {
                Err(Outcome::refused(ErrorCode::InvalidRequiredAcks, "acks must be 0, 1 or -1 (all)"))
            };
            match item {
                Ok(item) => batches.ask(shard.owner(item.topic_id, item.partition), item),
                Err(outcome) => batches.answer(outcome),
            }
        }
        if !slots.partitions.is_empty() || data.partition_data.is_empty() {
            topics.push(slots);
        }
    }
    (topics, batches)
}

/// One batch of the request and whose it is, unless it is refused whatever the log says.
fn check_item(
    context: &RequestContext,
    transactional_id: Option<&str>,
    topic: Result<&Arc<TopicImage>, ErrorCode>,
    data: &PartitionProduceData<'_>,
    body: &Bytes,
) -> Result<Item<Bytes>, Outcome> {
    let (topic_id, partition) = named_partition(topic, data.index).map_err(Outcome::failed)?;
    let is_internal = topic.is_ok_and(|topic| is_internal(&topic.name));
    if is_internal && context.client_id.as_deref() != Some("__admin_client") {
        return Err(Outcome::failed(ErrorCode::InvalidTopicException));
    }
    let records = check_records(context.api_version, transactional_id, data.records)?;
    Ok(Item { topic_id, partition, batch: body.slice_ref(records) })
}

/// Partitions with several batches: of those Kafka takes the last.
fn repeated_batches(request: &ProduceRequest<'_>) -> Repeated {
    let named = request.topic_data.iter().flat_map(|data| {
        data.partition_data.iter().map(move |partition| (partition.index, data.topic_id, data.name))
    });
    Repeated::of(named)
}

/// The rules that depend on the request rather than on the log.
fn check_records<'a>(
    version: i16,
    transactional_id: Option<&str>,
    records: Option<&'a [u8]>,
) -> Result<&'a [u8], Outcome> {
    let Some(records) = records.filter(|records| !records.is_empty()) else {
        return Err(Outcome::refused(
            ErrorCode::InvalidRecord,
            format!(
                "Produce requests with version {version} must have at least one record batch per partition"
            ),
        ));
    };
    let batch = model::RecordBatch::parse(records);
    if batch.as_ref().is_ok_and(model::RecordBatch::is_transactional) {
        if transactional_id.is_none() {
            return Err(Outcome::failed(ErrorCode::TransactionalIdAuthorizationFailed));
        }
        // There is no coordinator that could ever end the transaction.
        return Err(Outcome::refused(ErrorCode::InvalidTxnState, "transactions are not supported yet"));
    }
    if let Ok(batch) = batch
        && batch.compression() == Some(model::Compression::Zstd)
        && version < VERSION_ZSTD
    {
        return Err(Outcome::refused(
            ErrorCode::UnsupportedCompressionType,
            format!("Produce requests with version {version} are not allowed to use ZStandard compression"),
        ));
    }
    Ok(records)
}

/// Looks at the records on the shard that received them; whoever sent a batch that takes long waits for it.
async fn check<E: Effects>(shard: &ShardServices<E>, items: Vec<Placed<Item<Bytes>>>) -> Vec<CheckedItem> {
    let mut checked = Vec::with_capacity(items.len());
    for Placed { place, what: Item { topic_id, partition, batch } } in items {
        let batch = shard.records.check(batch).await;
        checked.push(Placed { place, what: Item { topic_id, partition, batch } });
    }
    checked
}

/// Finds out which records of a refused batch break a rule.
async fn name_offenders<E: Effects>(shard: &ShardServices<E>, outcome: Outcome) -> Outcome {
    let Outcome::RecordsRefused(refused) = outcome else { return outcome };
    let offenders = shard.records.offenders(&refused.0, refused.1).await;
    let code = broken_rules_code(offenders.iter().map(|(_, rule)| *rule));
    let records: Vec<(i32, String)> =
        offenders.into_iter().map(|(index, rule)| (index, rule.to_string())).collect();
    let first = records.first().map(|(index, rule)| format!("; record {index}: {rule}"));
    let message = format!("one or more records have been rejected{}", first.unwrap_or_default());
    Outcome::Failed { code, message: Some(message), records }
}

/// Sends the items to their shard, in order; the returned future yields their outcomes.
async fn append_on<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    target: usize,
    items: Vec<CheckedItem>,
    acks: Option<Acks>,
    timeout: Duration,
) -> impl Future<Output = Vec<Placed<Outcome>>> + use<E> {
    if target == shard.index {
        return Either::Left(append(shard, items, acks, timeout).await);
    }
    let append_there =
        move |shard: Rc<ShardServices<E>>| async move { append(&shard, items, acks, timeout).await.await };
    Either::Right(shard.send_call(target, append_there).await)
}

/// Appends the items before it returns, in order, as memory has room for them; the returned future waits for their
/// acknowledgement.
async fn append<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    items: Vec<CheckedItem>,
    acks: Option<Acks>,
    timeout: Duration,
) -> impl Future<Output = Vec<Placed<Outcome>>> + use<E> {
    let turn = shard.logs.append_turn().await;
    let clock = shard.effects.clock();
    let wait = AckWait::new(clock.now() + timeout);
    let mut outcomes = Vec::with_capacity(items.len());
    let mut rest = &items[..];
    while !rest.is_empty() {
        let admitted = turn.admitted(rest.iter().map(|item| item.what.batch.bytes().len())).await;
        let now = clock.unix_ms();
        let (first, behind) = rest.split_at(admitted);
        for item in first {
            let what = append_one(shard, &item.what, acks, &wait, outcomes.len(), now);
            outcomes.push(Placed { place: item.place, what });
        }
        rest = behind;
    }
    async move {
        for (index, error) in wait.wait().await {
            outcomes[index].what = Outcome::failed(partition_error_code(&error));
        }
        outcomes
    }
}

fn append_one<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    item: &Item<ClientBatch>,
    acks: Option<Acks>,
    wait: &Rc<AckWait>,
    index: usize,
    now: i64,
) -> Outcome {
    let partition = match shard.replicas.led(item.topic_id, item.partition, LeaderEpoch::NONE) {
        Ok(partition) => partition,
        Err(error) => return not_led(&error),
    };
    if !shard.takes_appends() {
        return Outcome::failed(ErrorCode::NotLeaderOrFollower);
    }
    let log = &partition.log;
    match log.append_checked(&item.batch, partition.leader_epoch(), now) {
        Ok(info) => {
            let bytes = item.batch.bytes().len();
            shard.stats.produced(bytes, info.last_offset.0 - info.first_offset.0 + 1);
            partition.produced_bytes.set(partition.produced_bytes.get() + bytes as u64);
            partition.appended();
            if let Some(acks) = acks {
                shard.replicas.wait_for_acks(&partition, acks, info.last_offset.plus(1), index, wait);
            }
            Outcome::Appended {
                base_offset: info.first_offset,
                log_append_time: info.log_append_time.unwrap_or(-1),
                log_start: info.log_start_offset,
            }
        }
        Err(error) => {
            tracing::debug!(partition = %partition.name, %error, "append refused");
            if let AppendError::RecordsRefused(rules) = error {
                return Outcome::RecordsRefused(Box::new((item.batch.clone(), rules)));
            }
            Outcome::refused(append_error_code(&error), error.to_string())
        }
    }
}

/// Tells why a partition is offline, where that is the matter.
fn not_led(error: &PartitionError) -> Outcome {
    let code = partition_error_code(error);
    let message = (code == ErrorCode::KafkaStorageError).then(|| error.to_string());
    Outcome::Failed { code, message, records: Vec::new() }
}

fn respond<E: Effects>(
    shard: &ShardServices<E>,
    context: &RequestContext,
    topics: Vec<TopicSlots>,
    outcomes: Vec<Outcome>,
) -> ProduceResponse {
    let mut outcomes = outcomes.into_iter();
    let mut moved = false;
    let responses = topics
        .into_iter()
        .map(|topic| TopicProduceResponse {
            partition_responses: topic
                .partitions
                .iter()
                .zip(&mut outcomes)
                .map(|(index, outcome)| {
                    let response = partition_response(context.api_version, *index, outcome);
                    moved |= response.error_code == ErrorCode::NotLeaderOrFollower.code();
                    response
                })
                .collect(),
            name: topic.name,
            topic_id: topic.topic_id,
        })
        .collect();
    let mut node_endpoints = Vec::new();
    if moved && context.api_version >= 10 {
        let (host, port) = super::cluster::advertised(shard, context);
        node_endpoints.push(NodeEndpoint { node_id: shard.identity.node_id.0, host, port, rack: None });
    }
    ProduceResponse { responses, throttle_time_ms: 0, node_endpoints }
}

fn partition_response(version: i16, index: i32, outcome: Outcome) -> PartitionProduceResponse {
    let mut response = PartitionProduceResponse {
        index,
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        current_leader: LeaderIdAndEpoch::default(),
        ..PartitionProduceResponse::default()
    };
    match outcome {
        Outcome::Appended { base_offset, log_append_time, log_start } => {
            response.base_offset = base_offset.0;
            response.log_append_time_ms = log_append_time;
            response.log_start_offset = log_start.0;
        }
        Outcome::Failed { code, message, records } => {
            response.error_code = code.code();
            if version >= VERSION_RECORD_ERRORS {
                let named = |(batch_index, message)| BatchIndexAndErrorMessage {
                    batch_index,
                    batch_index_error_message: Some(message),
                };
                response.record_errors = records.into_iter().map(named).collect();
            }
            response.error_message = message;
        }
        Outcome::RecordsRefused(_) => unreachable!("its records have been named"),
    }
    response
}
