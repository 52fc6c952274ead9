//! Fetch: record batches from a given offset on, at once or when there are enough.

pub mod elements;
mod fetched;
mod long_poll;
pub mod memory;
pub mod owners;
mod partitions;
pub(crate) mod read;
pub mod session;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::PartitionId;
use net::protocol::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use net::protocol::{ErrorCode, Records, RecordsPart};
use runtime::{Clock, Effects};

use crate::api::fetch::fetched::{Fetched, Limits, trim};
use crate::api::fetch::long_poll::fetch_until;
use crate::api::fetch::owners::Asked;
use crate::api::fetch::read::Part;
use crate::api::fetch::session::{FetchScope, FetchWish, PartitionKey, SessionRequest};
use crate::api::reply::{ExternalPart, FilePart, Reply};
use crate::api::request::{CloseReason, RequestContext};
use crate::api::response_records::{RecordSource, ResponseRecords};
use crate::api::services::ShardServices;
use crate::metadata::MetadataImage;
use crate::replicas::CurrentLeader;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 4..=18;

/// From this version on topics are named by id.
const VERSION_TOPIC_IDS: i16 = 13;

/// From this version on the response may say how the client's log or leader differs from ours.
const VERSION_HINTS: i16 = 12;

/// `read_committed`.
pub(super) const READ_COMMITTED: i8 = 1;

/// Answers one request.
///
/// # Errors
/// The response cannot be encoded.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: FetchRequest<'_>,
) -> Result<Reply<E>, CloseReason> {
    let by_id = context.api_version >= VERSION_TOPIC_IDS;
    let session = SessionRequest { id: request.session_id, epoch: request.session_epoch, by_id };
    let elements = elements(&request) + shard.sessions.borrow().partitions_of(session.id);
    let Some(_room) = shard.fetch_elements.admit(elements).await else {
        return refuse(context, ErrorCode::InvalidRequest);
    };
    let wishes = wishes(&shard.image(), &request, by_id);
    let forgotten = forgotten(&request, by_id);
    let now = shard.effects.clock().now();
    let begun = shard.sessions.borrow_mut().begin(session, wishes, &forgotten, now);
    let (scope, mut wishes) = match begun {
        Ok(begun) => begun,
        Err(code) => return refuse(context, code),
    };
    if by_id && let FetchScope::Incremental { id } = scope {
        name_topics(shard, id, &mut wishes);
    }
    let max_bytes = shard.config().fetch_bytes_max().min(positive(request.max_bytes));
    let limits = Limits {
        max_bytes,
        // More than may be sent is never there.
        min_bytes: positive(request.min_bytes).min(max_bytes),
        committed_only: request.isolation_level == READ_COMMITTED,
    };
    let deadline = now + Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let fetched = if request.replica_id >= 0 || request.replica_state.replica_id >= 0 {
        // No other broker has replicas of what is here.
        (0..wishes.len()).map(|slot| Fetched::failed(slot, ErrorCode::NotLeaderOrFollower)).collect()
    } else {
        let asked = Asked { wishes: &wishes, by_id, again: matches!(scope, FetchScope::Incremental { .. }) };
        fetch_until(shard, &context.session, &asked, limits, deadline).await
    };
    respond(shard, context, &scope, &wishes, trim(fetched, limits.max_bytes), limits.committed_only)
}

fn refuse<E: Effects>(context: &RequestContext, code: ErrorCode) -> Result<Reply<E>, CloseReason> {
    let response = FetchResponse { error_code: code.code(), ..FetchResponse::default() };
    Reply::encode(context, &response)
}

fn positive(value: i32) -> usize {
    usize::try_from(value).unwrap_or(0)
}

/// Partitions that a request names.
fn elements(request: &FetchRequest<'_>) -> usize {
    let asked = request.topics.iter().map(|topic| topic.partitions.len() + 1);
    let forgotten = request.forgotten_topics_data.iter().map(|topic| topic.partitions.len() + 1);
    asked.chain(forgotten).sum()
}

/// Has a session know the names of topics that were not known when their ids were first given.
fn name_topics<E: Effects>(shard: &ShardServices<E>, session: i32, wishes: &mut [FetchWish]) {
    let image = shard.image();
    for wish in wishes.iter_mut().filter(|wish| wish.topic.is_empty()) {
        if let Some(topic) = image.topic_by_id(wish.topic_id) {
            wish.topic = Arc::clone(&topic.name);
            if let Some(session) = shard.sessions.borrow_mut().get_mut(session) {
                session.name_topic(&PartitionKey::of(wish, true), &topic.name);
            }
        }
    }
}

fn wishes(image: &MetadataImage, request: &FetchRequest<'_>, by_id: bool) -> Vec<FetchWish> {
    let mut wishes = Vec::new();
    for topic in request.topics.iter() {
        let known = if by_id { image.topic_by_id(topic.topic_id) } else { image.topic(topic.topic) };
        let name = known.map_or_else(|| Arc::from(topic.topic), |known| Arc::clone(&known.name));
        let topic_id = known.map_or(topic.topic_id, |known| known.id);
        wishes.extend(topic.partitions.iter().map(|partition| FetchWish {
            topic: Arc::clone(&name),
            topic_id,
            partition: PartitionId(partition.partition),
            fetch_offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes,
            current_leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
            told: None,
        }));
    }
    last_of_each(wishes, by_id)
}

/// Of a partition that is named twice the last wish counts, as in Kafka.
fn last_of_each(wishes: Vec<FetchWish>, by_id: bool) -> Vec<FetchWish> {
    if wishes.len() < 2 {
        return wishes;
    }
    let mut places = HashMap::with_capacity(wishes.len());
    let mut kept: Vec<FetchWish> = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let place = *places.entry(PartitionKey::of(&wish, by_id)).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(earlier) => *earlier = wish,
            None => kept.push(wish),
        }
    }
    kept
}

fn forgotten(request: &FetchRequest<'_>, by_id: bool) -> Vec<PartitionKey> {
    let mut keys = Vec::new();
    for topic in request.forgotten_topics_data.iter() {
        keys.extend(topic.partitions.iter().map(|partition| {
            let wish = FetchWish {
                topic: Arc::from(topic.topic),
                topic_id: topic.topic_id,
                partition: PartitionId(partition),
                fetch_offset: 0,
                max_bytes: 0,
                current_leader_epoch: -1,
                last_fetched_epoch: -1,
                told: None,
            };
            PartitionKey::of(&wish, by_id)
        }));
    }
    keys
}

fn respond<E: Effects>(
    shard: &ShardServices<E>,
    context: &RequestContext,
    scope: &FetchScope,
    wishes: &[FetchWish],
    fetched: Vec<Fetched<E>>,
    committed_only: bool,
) -> Result<Reply<E>, CloseReason> {
    let by_id = context.api_version >= VERSION_TOPIC_IDS;
    let session_id = match scope {
        FetchScope::Sessionless => 0,
        FetchScope::Full { id } | FetchScope::Incremental { id } => *id,
    };
    let mut sessions = shard.sessions.borrow_mut();
    let mut session = sessions.get_mut(session_id);
    let mut external = Vec::new();
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    for answer in fetched {
        let wish = &wishes[answer.slot];
        shard.stats.fetched(wish.topic_id, answer.bytes);
        if let Some(session) = session.as_mut() {
            let offsets = (answer.high_watermark, answer.log_start);
            let key = PartitionKey::of(wish, by_id);
            let tell = session.answered(&key, answer.bytes > 0, answer.trouble(), offsets);
            if !tell && matches!(scope, FetchScope::Incremental { .. }) {
                continue;
            }
        }
        let same = |last: &FetchableTopicResponse| {
            if by_id { last.topic_id == wish.topic_id } else { *last.topic == *wish.topic }
        };
        if !responses.last().is_some_and(same) {
            responses.push(FetchableTopicResponse {
                topic: wish.topic.to_string(),
                topic_id: wish.topic_id,
                partitions: Vec::new(),
            });
        }
        let hints = context.api_version >= VERSION_HINTS;
        let mut data = partition_data(wish.partition, answer, hints, &mut external);
        data.aborted_transactions = committed_only.then(Vec::new);
        responses.last_mut().expect("one was just pushed").partitions.push(data);
    }
    let response = FetchResponse { session_id, responses, ..FetchResponse::default() };
    Reply::encode_with_external(context, &response, external)
}

fn partition_data<E: Effects>(
    partition: PartitionId,
    answer: Fetched<E>,
    hints: bool,
    external: &mut Vec<ExternalPart<E>>,
) -> PartitionData {
    let records = external_records(answer.parts, answer.source, external);
    let epoch_trouble =
        hints && matches!(answer.error, ErrorCode::FencedLeaderEpoch | ErrorCode::NotLeaderOrFollower);
    PartitionData {
        partition_index: partition.0,
        error_code: answer.error.code(),
        high_watermark: answer.high_watermark,
        last_stable_offset: answer.last_stable_offset,
        log_start_offset: answer.log_start,
        diverging_epoch: answer
            .diverging
            .map_or_else(EpochEndOffset::default, |(epoch, end_offset)| EpochEndOffset { epoch, end_offset }),
        current_leader: answer
            .current_leader
            .filter(|_| epoch_trouble)
            .map_or_else(Default::default, leader_hint),
        preferred_read_replica: -1,
        records: Some(records),
        ..PartitionData::default()
    }
}

fn leader_hint(leader: CurrentLeader) -> LeaderIdAndEpoch {
    LeaderIdAndEpoch { leader_id: leader.node.map_or(-1, |node| node.0), leader_epoch: leader.epoch.0 }
}

/// Puts tokens where records stand in the response.
fn external_records<E: Effects>(
    parts: Vec<Part<E>>,
    source: Option<RecordSource>,
    external: &mut Vec<ExternalPart<E>>,
) -> Records {
    let mut records = Records::new();
    let mut push = |part, length| {
        external.push(part);
        records.push(RecordsPart::External {
            token: external.len() as u64 - 1,
            length: u32::try_from(length).expect("a read is bounded by fetch.max.bytes, an i32"),
        });
    };
    let mut pieces = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::Memory(bytes) => pieces.push(bytes),
            Part::File { file, position, length } => {
                push(ExternalPart::File(FilePart { file, position, length }), length);
            }
        }
    }
    if let Some(source) = source.filter(|_| !pieces.is_empty()) {
        let in_memory = ResponseRecords { pieces, source };
        let length = in_memory.length() as u64;
        push(ExternalPart::Records(in_memory), length);
    }
    records
}
