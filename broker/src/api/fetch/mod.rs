//! Fetch: record batches from a given offset on, at once or when there are enough.

pub mod elements;
pub mod memory;
pub mod owners;
pub(crate) mod read;
pub mod session;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, select, select_all};
use model::PartitionId;
use net::protocol::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use net::protocol::{ErrorCode, Records, RecordsPart};
use runtime::{Clock, Effects, Monotonic};
use storage::ReadLimits;

use crate::api::errors::{partition_error_code, read_error_code};
use crate::api::fetch::memory::Patience;
use crate::api::fetch::owners::{Asked, Item, Owners};
use crate::api::fetch::read::{Found, Part, read_charged};
use crate::api::fetch::session::{FetchScope, FetchWish, PartitionKey, SessionRequest, Trouble};
use crate::api::reply::{ExternalPart, FilePart, Reply};
use crate::api::request::{CloseReason, RequestContext};
use crate::api::response_records::{RecordSource, ResponseRecords};
use crate::api::services::ShardServices;
use crate::api::session::Session;
use crate::metadata::MetadataImage;
use crate::replicas::fetch_waits::ConnectionKey;
use crate::replicas::{CurrentLeader, FetchWait};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 4..=18;

/// From this version on topics are named by id.
const VERSION_TOPIC_IDS: i16 = 13;

/// From this version on the response may say how the client's log or leader differs from ours.
const VERSION_HINTS: i16 = 12;

/// `read_committed`.
const READ_COMMITTED: i8 = 1;

/// How long a fetch waits in line for memory, if its client allows no longer wait: a client that is turned away has lost its
/// place in the line when it asks again.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(10);

/// The limits that all partitions of a request share.
#[derive(Debug, Clone, Copy)]
struct Limits {
    max_bytes: usize,
    min_bytes: usize,
    committed_only: bool,
}

/// What one partition answers.
struct Fetched<E: Effects> {
    slot: usize,
    error: ErrorCode,
    high_watermark: i64,
    last_stable_offset: i64,
    log_start: i64,
    current_leader: Option<CurrentLeader>,
    diverging: Option<(i32, i64)>,
    /// The client has to hear of it at once.
    urgent: bool,
    /// There was no memory for what there is.
    starved: bool,
    source: Option<RecordSource>,
    parts: Vec<Part<E>>,
    bytes: usize,
    /// What counts for `min_bytes`: where there is more than could be read at once, all that is asked for.
    counted: usize,
}

impl<E: Effects> Fetched<E> {
    fn failed(slot: usize, error: ErrorCode) -> Self {
        Self {
            slot,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start: -1,
            current_leader: None,
            diverging: None,
            urgent: false,
            starved: false,
            source: None,
            parts: Vec::new(),
            bytes: 0,
            counted: 0,
        }
    }

    /// Leaves the records for the next request.
    fn leave(&mut self) {
        self.parts.clear();
        (self.bytes, self.counted) = (0, 0);
    }

    fn trouble(&self) -> Option<Trouble> {
        let diverging = self.diverging.map(|(epoch, end)| Trouble::Diverging(epoch, end));
        if self.error == ErrorCode::None { diverging } else { Some(Trouble::Error(self.error)) }
    }
}

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

/// Reads until there are enough bytes, something urgent has happened, or the time is up.
async fn fetch_until<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    session: &Session,
    asked: &Asked<'_>,
    limits: Limits,
    deadline: Monotonic,
) -> Vec<Fetched<E>> {
    let connection_id = session.connection_id;
    let mut without_owner = Vec::new();
    for first_round in std::iter::once(true).chain(std::iter::repeat(false)) {
        let Owners { by_shard, none } = asked.find_owners(shard);
        let failed = none.iter().map(|(slot, code)| Fetched {
            urgent: if first_round {
                asked.is_news(*slot, *code, by_shard.is_empty())
            } else {
                !without_owner.contains(&(*slot, *code))
            },
            ..Fetched::failed(*slot, *code)
        });
        let mut fetched: Vec<Fetched<E>> = failed.collect();
        without_owner = none;
        let now = shard.effects.clock().now();
        let last_round =
            now >= deadline || shard.stopping() || session.is_ending() || enough(&fetched, limits);
        let round =
            Round { connection_id, limits, last: last_round, patience: deadline.max(now + MEMORY_WAIT_MAX) };
        let (answers, waiting) = read_round(shard, &by_shard, round).await;
        let starved = answers.iter().any(|answer| answer.starved);
        fetched.extend(answers);
        if last_round || starved || enough(&fetched, limits) || asked.wishes.is_empty() {
            withdraw(shard, connection_id, &waiting).await;
            return fetched;
        }
        drop(fetched);
        wait_for_more(shard, session, &waiting, deadline).await;
    }
    unreachable!("the last round returns")
}

/// What all reads of a round share.
#[derive(Debug, Clone, Copy)]
struct Round {
    connection_id: u64,
    limits: Limits,
    /// The request is answered whatever is found.
    last: bool,
    /// How long memory may be waited for.
    patience: Monotonic,
}

/// Has every shard read what it owns; yields the answers, and the shards that will wake the connection when there is more.
///
/// A shard must not be waited for while records of another are held. So if there are several, none waits for memory at
/// first; if there is none for the first in order, the others leave their records for the next request.
async fn read_round<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    by_shard: &[(usize, Vec<Item>)],
    round: Round,
) -> (Vec<Fetched<E>>, Vec<usize>) {
    let patience = if by_shard.len() == 1 { Patience::Until(round.patience) } else { Patience::None };
    let calls = by_shard.iter().map(|(target, items)| read_on(shard, *target, items, round, patience));
    let mut answers = join_all(calls).await;
    let is_starved = |(answers, _): &(Vec<Fetched<E>>, bool)| answers.iter().any(|answer| answer.starved);
    let found_any = answers.iter().flat_map(|(answers, _)| answers).any(|answer| answer.bytes > 0);
    let starved =
        answers.iter().position(is_starved).filter(|at| by_shard.len() > 1 && (*at == 0 || !found_any));
    if let Some(at) = starved {
        answers.iter_mut().flat_map(|(answers, _)| answers).for_each(Fetched::leave);
        let (target, items) = &by_shard[at];
        answers[at] = read_on(shard, *target, items, round, Patience::Until(round.patience)).await;
    }
    let owners = by_shard.iter().map(|(target, _)| *target);
    let waiting = owners.zip(&answers).filter_map(|(target, (_, waits))| waits.then_some(target)).collect();
    (answers.into_iter().flat_map(|(answers, _)| answers).collect(), waiting)
}

/// Has one shard read; says whether it will wake the connection when there is more.
async fn read_on<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    target: usize,
    items: &[Item],
    round: Round,
    patience: Patience,
) -> (Vec<Fetched<E>>, bool) {
    let (who, items) = ((shard.index, round.connection_id), items.to_vec());
    let call = shard.call(target, move |shard| async move {
        let fetched = read_all(&shard, &items, round.limits, patience).await;
        let starved = fetched.iter().any(|answer| answer.starved);
        let waits = !round.last && !starved && !enough(&fetched, round.limits);
        if waits {
            register(&shard, &items, &fetched, who);
        }
        (fetched, waits)
    });
    call.await
}

fn enough<E: Effects>(fetched: &[Fetched<E>], limits: Limits) -> bool {
    let bytes: usize = fetched.iter().map(|answer| answer.counted).sum();
    bytes >= limits.min_bytes || fetched.iter().any(|answer| answer.urgent)
}

/// Reads one after the other until one has given something, which may be larger than the limits; the rest together,
/// as many at once as the limits allow, so that partitions on disk do not wait for each other.
async fn read_all<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    items: &[Item],
    limits: Limits,
    patience: Patience,
) -> Vec<Fetched<E>> {
    let mut fetched: Vec<Fetched<E>> = Vec::with_capacity(items.len());
    // Fewer bytes than asked for are as good an answer.
    let mut left = limits.max_bytes.min(shard.fetch_memory.allowance_bytes());
    let mut first = true;
    while let Some(rest) = items.get(fetched.len()..).filter(|rest| !rest.is_empty()) {
        let together = if first { 1 } else { count_within(rest, left) };
        let reads = rest[..together].iter().map(|item| {
            let reading =
                Reading { bytes_left: left, first, committed_only: limits.committed_only, patience };
            read_one(shard, item, reading)
        });
        for answer in join_all(reads).await {
            left = left.saturating_sub(answer.bytes);
            first &= answer.bytes == 0;
            shard.stats.fetched(answer.bytes);
            fetched.push(answer);
        }
    }
    fetched
}

/// How one partition is read.
#[derive(Debug, Clone, Copy)]
struct Reading {
    bytes_left: usize,
    /// Nothing has been read yet: one batch may be larger than the limits, and no memory is held.
    first: bool,
    committed_only: bool,
    patience: Patience,
}

/// How many of `items`, from the first on, can have all that they may want out of `bytes`; at least one.
fn count_within(items: &[Item], bytes: usize) -> usize {
    let mut wanted = 0_usize;
    let within = items.iter().take_while(|item| {
        wanted = wanted.saturating_add(item.max_bytes.min(bytes));
        wanted <= bytes
    });
    within.count()
}

async fn read_one<E: Effects>(shard: &ShardServices<E>, item: &Item, reading: Reading) -> Fetched<E> {
    let answer = read_partition(shard, item, reading).await;
    let trouble = answer.trouble();
    Fetched { urgent: trouble.is_some() && trouble != item.told, ..answer }
}

async fn read_partition<E: Effects>(shard: &ShardServices<E>, item: &Item, reading: Reading) -> Fetched<E> {
    let Reading { bytes_left, first, committed_only, patience } = reading;
    let partition = match shard.replicas.led(item.topic_id, item.partition, item.current_leader_epoch) {
        Ok(partition) => partition,
        Err(error) => {
            let failed = Fetched::failed(item.slot, partition_error_code(&error));
            return Fetched { current_leader: error.current_leader(), ..failed };
        }
    };
    let leader_epoch = partition.leader_epoch();
    let mut answer = Fetched::failed(item.slot, ErrorCode::None);
    let log = &partition.log;
    if item.fetch_offset >= log.log_end_offset()
        && let Err(error) = partition.check_end_known()
    {
        answer.error = partition_error_code(&error);
        return answer;
    }
    let stable = partition.last_stable_offset();
    let up_to = if committed_only { stable } else { partition.high_watermark() };
    answer.high_watermark = partition.high_watermark().0;
    answer.last_stable_offset = stable.0;
    answer.log_start = log.log_start_offset().0;
    if item.last_fetched_epoch > leader_epoch {
        answer.error = ErrorCode::OffsetOutOfRange;
        return answer;
    }
    if item.last_fetched_epoch.0 >= 0 {
        let (epoch, end) = log.end_offset_for_epoch(item.last_fetched_epoch);
        if end.0 >= 0 && (epoch < item.last_fetched_epoch || end < item.fetch_offset) {
            answer.diverging = Some((epoch.0, end.0));
            return answer;
        }
    }
    // A consumer whose limits are spent still learns about the offsets.
    let max_bytes = item.max_bytes.min(bytes_left);
    let limits = ReadLimits { max_bytes, min_one: first, up_to };
    let patience = if first { patience } else { Patience::None };
    match read_charged(shard, log, item.fetch_offset, limits, log.reads_ranges(), patience).await {
        Ok(Found { parts, bytes, more, starved }) => {
            partition.traffic.add_fetched(bytes);
            answer.bytes = bytes;
            answer.counted = if more { bytes.max(item.max_bytes) } else { bytes };
            // Behind something that was read, what there is no memory for waits for the next request.
            answer.starved = starved && first;
            answer.parts = parts;
            answer.source = Some(RecordSource {
                owner: shard.index,
                topic_id: item.topic_id,
                partition: item.partition,
                memory: shard.fetch_memory.watch(),
            });
        }
        Err(error) => {
            let code = read_error_code(&error);
            if code != ErrorCode::OffsetOutOfRange {
                tracing::warn!(partition = %partition.name, offset = %item.fetch_offset, %error, "fetch failed");
            }
            let log_start = answer.log_start;
            answer = Fetched::failed(item.slot, code);
            if code == ErrorCode::OffsetOutOfRange {
                answer.log_start = log_start;
            }
        }
    }
    answer
}

/// Asks the partitions of `items` to wake the connection `who` when there is more than `fetched` has seen.
fn register<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    items: &[Item],
    fetched: &[Fetched<E>],
    who: ConnectionKey,
) {
    let wait = Rc::new(FetchWait::default());
    for (item, answer) in items.iter().zip(fetched) {
        if let Some(partition) = shard.replicas.hosted(item.topic_id, item.partition) {
            partition.register_fetch(&wait);
            // A read that had to wait for the disk may have missed an advance.
            if answer.trouble().is_none() && partition.high_watermark().0 != answer.high_watermark {
                wait.wake();
            }
        }
    }
    shard.replicas.fetch_waits.insert(who, wait);
}

/// Waits until one of the shards where this connection is registered may have more, the time is up, or the connection
/// is being ended; then withdraws the registrations elsewhere.
async fn wait_for_more<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    session: &Session,
    waiting: &[usize],
    deadline: Monotonic,
) {
    let who = (shard.index, session.connection_id);
    let calls = waiting.iter().map(|target| {
        Box::pin(shard.call(*target, move |shard| async move {
            if let Some(wait) = shard.replicas.fetch_waits.get(who) {
                wait.woken().await;
            }
        }))
    });
    let calls: Vec<_> = calls.collect();
    let ending = Box::pin(session.end_begun());
    let sleep = Box::pin(shard.effects.clock().sleep_until(deadline));
    let over = select(sleep, ending);
    if calls.is_empty() {
        over.await;
    } else {
        select(over, select_all(calls)).await;
    }
    withdraw(shard, session.connection_id, waiting).await;
}

/// Ends the connection's waits on other shards.
async fn withdraw<E: Effects>(shard: &Rc<ShardServices<E>>, connection_id: u64, waiting: &[usize]) {
    let who = (shard.index, connection_id);
    for target in waiting {
        shard.call(*target, move |shard| async move { shard.replicas.fetch_waits.cancel(who) }).await;
    }
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

/// Puts the answers in the order of the wishes. Every shard has read up to the limit of the whole request; what is
/// too much together stays for the next one.
fn trim<E: Effects>(mut fetched: Vec<Fetched<E>>, max_bytes: usize) -> Vec<Fetched<E>> {
    fetched.sort_by_key(|answer| answer.slot);
    let mut total = 0;
    for answer in &mut fetched {
        if total > 0 && total + answer.bytes > max_bytes {
            answer.leave();
        }
        total += answer.bytes;
    }
    fetched
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
