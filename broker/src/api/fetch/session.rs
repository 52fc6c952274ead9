//! Incremental fetch sessions (KIP-227): the broker remembers what a consumer fetches, so that neither side has to
//! repeat it. A session lives on the shard of its connection; a client that comes back elsewhere starts a new one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use model::{PartitionId, TopicId};
use net::protocol::ErrorCode;
use runtime::Monotonic;

use crate::config::BrokerConfig;

/// What a consumer wants of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchWish {
    /// The topic's name, as given or as known; empty if neither.
    pub topic: Arc<str>,
    /// The topic's id, as given or as known; zero if neither.
    pub topic_id: TopicId,
    /// The partition's index.
    pub partition: PartitionId,
    /// The first offset wanted.
    pub fetch_offset: i64,
    /// At most so many bytes.
    pub max_bytes: i32,
    /// The leader epoch that the client knows; -1 for none.
    pub current_leader_epoch: i32,
    /// The epoch of the last record that the client has; -1 for none.
    pub last_fetched_epoch: i32,
    /// What the client was last told is wrong, if it has asked for the same since.
    pub told: Option<Trouble>,
}

impl FetchWish {
    /// Whether both ask for the same of the same partition.
    fn asks_the_same(&self, other: &Self) -> bool {
        self.fetch_offset == other.fetch_offset
            && self.current_leader_epoch == other.current_leader_epoch
            && self.last_fetched_epoch == other.last_fetched_epoch
    }
}

/// What keeps a partition from being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// An error.
    Error(ErrorCode),
    /// The client's log has parted from ours: the last epoch that both have, and where it ends.
    Diverging(i32, i64),
}

/// A partition of a session, and what was last said about it.
#[derive(Debug, Clone)]
pub struct SessionPartition {
    /// What is wanted.
    pub wish: FetchWish,
    /// The high watermark in the last response.
    pub high_watermark: i64,
    /// The log start offset in the last response.
    pub log_start: i64,
}

/// How a partition is known within a session: by id where the client uses ids, else by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionKey(TopicId, Arc<str>, PartitionId);

impl PartitionKey {
    /// The key of a wish.
    #[must_use]
    pub fn of(wish: &FetchWish, by_id: bool) -> Self {
        if by_id {
            Self(wish.topic_id, Arc::from(""), wish.partition)
        } else {
            Self(TopicId::ZERO, Arc::clone(&wish.topic), wish.partition)
        }
    }
}

/// One session.
#[derive(Debug)]
pub struct FetchSession {
    epoch: i32,
    by_id: bool,
    last_used: Monotonic,
    next_order: u64,
    order: HashMap<PartitionKey, u64>,
    /// In the order in which they are served; what had records moves to the end.
    partitions: BTreeMap<u64, SessionPartition>,
    /// What all partitions together cost.
    bytes: usize,
}

impl FetchSession {
    fn new(by_id: bool, now: Monotonic) -> Self {
        Self {
            epoch: 1,
            by_id,
            last_used: now,
            next_order: 0,
            order: HashMap::new(),
            partitions: BTreeMap::new(),
            bytes: 0,
        }
    }

    fn update(&mut self, mut wish: FetchWish) {
        let key = PartitionKey::of(&wish, self.by_id);
        if let Some(partition) = self.order.get(&key).and_then(|order| self.partitions.get_mut(order)) {
            if partition.wish.asks_the_same(&wish) {
                wish.told = partition.wish.told;
            }
            // A topic's name is remembered when the topic is gone.
            if self.by_id && wish.topic.is_empty() {
                wish.topic = Arc::clone(&partition.wish.topic);
            }
            partition.wish = wish;
            return;
        }
        self.order.insert(key, self.next_order);
        self.bytes += cost_bytes(&wish, self.by_id);
        let partition = SessionPartition { wish, high_watermark: -1, log_start: -1 };
        self.partitions.insert(self.next_order, partition);
        self.next_order += 1;
    }

    fn forget(&mut self, key: &PartitionKey) {
        let order = self.order.remove(key);
        if let Some(partition) = order.and_then(|order| self.partitions.remove(&order)) {
            self.bytes -= cost_bytes(&partition.wish, self.by_id);
        }
    }

    /// What the session's client wants, in the order in which it should be served.
    #[must_use]
    pub fn wishes(&self) -> Vec<FetchWish> {
        self.partitions.values().map(|partition| partition.wish.clone()).collect()
    }

    /// Notes the name of a topic that was not known when the client first asked for it.
    pub fn name_topic(&mut self, key: &PartitionKey, name: &Arc<str>) {
        let partition = self.order.get(key).and_then(|order| self.partitions.get_mut(order));
        if let Some(partition) = partition.filter(|_| self.by_id) {
            partition.wish.topic = Arc::clone(name);
        }
    }

    /// Notes what is about to be answered for one partition and tells whether the client needs to hear it.
    pub fn answered(
        &mut self,
        key: &PartitionKey,
        has_records: bool,
        trouble: Option<Trouble>,
        offsets: (i64, i64),
    ) -> bool {
        let Some(order) = self.order.get_mut(key) else { return true };
        let Some(mut partition) = self.partitions.remove(order) else { return true };
        let changed = (partition.high_watermark, partition.log_start) != offsets;
        let tell = has_records || trouble.is_some() || changed || partition.wish.told.is_some();
        (partition.high_watermark, partition.log_start) = offsets;
        partition.wish.told = trouble;
        if has_records {
            *order = self.next_order;
            self.next_order += 1;
        }
        self.partitions.insert(*order, partition);
        tell
    }
}

/// What a request says about sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRequest {
    /// The session's id; 0 for none.
    pub id: i32,
    /// [`NO_SESSION`], [`NEW_SESSION`], or the next epoch of the session.
    pub epoch: i32,
    /// Whether the request names topics by id.
    pub by_id: bool,
}

/// How a fetch is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchScope {
    /// With everything, for just this request.
    Sessionless,
    /// With everything, as the start of session `id`.
    Full {
        /// The new session.
        id: i32,
    },
    /// With what has changed since the last response of session `id`.
    Incremental {
        /// The session.
        id: i32,
    },
}

/// The sessions of one shard.
#[derive(Debug)]
pub struct FetchSessions {
    sessions: HashMap<i32, FetchSession>,
    sessions_max: usize,
    /// What the partitions of all sessions cost together.
    bytes: usize,
    bytes_max: usize,
    eviction: Duration,
    next_id: i32,
}

impl FetchSessions {
    /// No sessions yet. The cache's size is that of the whole broker, shared out evenly.
    ///
    /// Ids are counted from a `random` one on: those of other shards and of the time before a restart must stay
    /// unknown, lest a client that comes back with one goes on in the session of another.
    #[must_use]
    pub fn new(shards: usize, config: &BrokerConfig, random: u64) -> Self {
        Self {
            sessions: HashMap::new(),
            sessions_max: config.fetch_sessions_max().div_ceil(shards.max(1)),
            bytes: 0,
            bytes_max: config.memory_per_shard_bytes() / MEMORY_SHARE,
            eviction: EVICTION_MIN,
            next_id: i32::try_from(random >> 33).unwrap_or(0),
        }
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are no sessions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Memory that the partitions of all sessions take, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many partitions a session has; 0 if there is no such session.
    #[must_use]
    pub fn partitions_of(&self, id: i32) -> usize {
        self.sessions.get(&id).map_or(0, |session| session.partitions.len())
    }

    /// A session in use.
    pub fn get_mut(&mut self, id: i32) -> Option<&mut FetchSession> {
        self.sessions.get_mut(&id)
    }

    /// Decides how to answer a request with `wishes`, of which `forgotten` are to be dropped; yields what to fetch.
    ///
    /// # Errors
    /// Kafka's code when the session is not there, or at another epoch. A session that would take more memory than there
    /// is for sessions ends: it is not there either.
    pub fn begin(
        &mut self,
        request: SessionRequest,
        wishes: Vec<FetchWish>,
        forgotten: &[PartitionKey],
        now: Monotonic,
    ) -> Result<(FetchScope, Vec<FetchWish>), ErrorCode> {
        if matches!(request.epoch, NO_SESSION | NEW_SESSION) {
            self.remove(request.id);
            if request.epoch == NO_SESSION || wishes.is_empty() {
                return Ok((FetchScope::Sessionless, wishes));
            }
            let Some(id) = self.create(request.by_id, &wishes, now) else {
                return Ok((FetchScope::Sessionless, wishes));
            };
            return Ok((FetchScope::Full { id }, wishes));
        }
        let Some(session) = self.sessions.get_mut(&request.id) else {
            return Err(ErrorCode::FetchSessionIdNotFound);
        };
        if session.epoch != request.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != request.by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let before = session.bytes;
        for wish in wishes {
            session.update(wish);
        }
        for key in forgotten {
            session.forget(key);
        }
        session.last_used = now;
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        self.bytes = self.bytes - before + session.bytes;
        if session.partitions.is_empty() {
            self.remove(request.id);
            return Ok((FetchScope::Sessionless, Vec::new()));
        }
        let (wishes, grown) = (session.wishes(), session.bytes > before);
        if grown && self.bytes > self.bytes_max {
            self.remove(request.id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        Ok((FetchScope::Incremental { id: request.id }, wishes))
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.bytes -= session.bytes;
        }
    }

    /// Makes room for a session of so many bytes, at the expense of those that have not been used for long; says whether
    /// there is.
    fn make_room(&mut self, bytes: usize, now: Monotonic) -> bool {
        if bytes > self.bytes_max {
            return false;
        }
        while self.sessions.len() >= self.sessions_max || self.bytes + bytes > self.bytes_max {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last_used);
            let Some((oldest, session)) = oldest else { return false };
            if now.since(session.last_used) < self.eviction {
                return false;
            }
            let oldest = *oldest;
            self.remove(oldest);
        }
        true
    }

    fn create(&mut self, by_id: bool, wishes: &[FetchWish], now: Monotonic) -> Option<i32> {
        let bytes = wishes.iter().map(|wish| cost_bytes(wish, by_id)).sum();
        if !self.make_room(bytes, now) {
            return None;
        }
        let mut session = FetchSession::new(by_id, now);
        for wish in wishes {
            session.update(wish.clone());
        }
        self.bytes += session.bytes;
        loop {
            self.next_id = if self.next_id == i32::MAX { 1 } else { self.next_id + 1 };
            if !self.sessions.contains_key(&self.next_id) {
                break;
            }
        }
        self.sessions.insert(self.next_id, session);
        Some(self.next_id)
    }
}

/// What a partition of a session takes, in bytes: its entries, and a name that maybe nobody else has.
fn cost_bytes(wish: &FetchWish, by_id: bool) -> usize {
    PARTITION_BYTES + if by_id { 0 } else { wish.topic.len() }
}

/// The epoch of a request that wants no session.
const NO_SESSION: i32 = -1;

/// The epoch of a request that wants a new session.
const NEW_SESSION: i32 = 0;

/// A session unused for this long may make room for a new one (Kafka's `min.incremental.fetch.session.eviction.ms`).
const EVICTION_MIN: Duration = Duration::from_secs(120);

/// The partitions of all sessions may take this part of a shard's memory.
const MEMORY_SHARE: usize = 32;

/// What one partition of a session takes, in bytes, without the topic's name.
const PARTITION_BYTES: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(topic: &str, partition: i32, offset: i64) -> FetchWish {
        FetchWish {
            topic: Arc::from(topic),
            topic_id: TopicId::ZERO,
            partition: PartitionId(partition),
            fetch_offset: offset,
            max_bytes: 1,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            told: None,
        }
    }

    fn sessions(sessions_max: usize) -> FetchSessions {
        FetchSessions {
            sessions: HashMap::new(),
            sessions_max,
            bytes: 0,
            bytes_max: 10 * PARTITION_BYTES,
            eviction: EVICTION_MIN,
            next_id: 0,
        }
    }

    fn request(id: i32, epoch: i32) -> SessionRequest {
        SessionRequest { id, epoch, by_id: false }
    }

    fn started(sessions: &mut FetchSessions) -> i32 {
        let wishes = vec![wish("a", 0, 1), wish("a", 1, 2)];
        let begun = sessions.begin(request(0, 0), wishes, &[], Monotonic(0)).unwrap();
        let (FetchScope::Full { id }, _) = begun else { panic!("no session: {begun:?}") };
        id
    }

    #[test]
    fn a_session_remembers_adds_and_forgets() {
        let mut sessions = sessions(10);
        let id = started(&mut sessions);
        let forgotten = [PartitionKey::of(&wish("a", 0, 0), false)];
        let begun = sessions.begin(request(id, 1), vec![wish("b", 0, 7)], &forgotten, Monotonic(1));
        let expected = (FetchScope::Incremental { id }, vec![wish("a", 1, 2), wish("b", 0, 7)]);
        assert_eq!(begun, Ok(expected));
        let begun = sessions.begin(request(id, 2), vec![wish("a", 1, 5)], &[], Monotonic(1));
        let expected = (FetchScope::Incremental { id }, vec![wish("a", 1, 5), wish("b", 0, 7)]);
        assert_eq!(begun, Ok(expected));
    }

    #[test]
    fn what_does_not_fit_the_session_is_refused() {
        let mut sessions = sessions(10);
        let id = started(&mut sessions);
        let rows = [
            (request(id + 1, 1), ErrorCode::FetchSessionIdNotFound),
            (request(id, 2), ErrorCode::InvalidFetchSessionEpoch),
            (request(id, -2), ErrorCode::InvalidFetchSessionEpoch),
            (request(0, -2), ErrorCode::FetchSessionIdNotFound),
            (SessionRequest { id, epoch: 1, by_id: true }, ErrorCode::FetchSessionTopicIdError),
        ];
        for (request, code) in rows {
            assert_eq!(sessions.begin(request, Vec::new(), &[], Monotonic(1)), Err(code), "{request:?}");
        }
        let closed = sessions.begin(request(id, -1), vec![wish("a", 0, 0)], &[], Monotonic(1));
        assert_eq!(closed, Ok((FetchScope::Sessionless, vec![wish("a", 0, 0)])));
        assert!(sessions.is_empty());
    }

    #[test]
    fn only_changes_are_told_and_what_had_records_goes_to_the_end() {
        let mut sessions = sessions(10);
        let id = started(&mut sessions);
        let session = sessions.get_mut(id).unwrap();
        let key = PartitionKey::of(&wish("a", 0, 0), false);
        let error = Some(Trouble::Error(ErrorCode::OffsetOutOfRange));
        assert!(session.answered(&key, true, None, (5, 0)), "records");
        assert!(!session.answered(&key, false, None, (5, 0)), "nothing new");
        assert!(session.answered(&key, false, None, (6, 0)), "the high watermark moved");
        assert!(session.answered(&key, false, error, (6, 0)), "an error");
        assert!(session.answered(&key, false, error, (6, 0)), "is told as long as it is there");
        assert!(session.answered(&key, false, None, (6, 0)), "the error is gone");
        assert!(!session.answered(&key, false, None, (6, 0)));
        let order: Vec<i32> = session.wishes().iter().map(|wish| wish.partition.0).collect();
        assert_eq!(order, [1, 0]);
    }

    #[test]
    fn a_full_cache_keeps_those_in_use() {
        let mut sessions = sessions(1);
        let id = started(&mut sessions);
        let soon = sessions.begin(request(0, 0), vec![wish("b", 0, 0)], &[], Monotonic(1)).unwrap();
        assert_eq!(soon.0, FetchScope::Sessionless);
        let late = Monotonic(0) + EVICTION_MIN;
        let later = sessions.begin(request(0, 0), vec![wish("b", 0, 0)], &[], late).unwrap();
        assert_eq!(later.0, FetchScope::Full { id: id + 1 });
        assert_eq!(sessions.len(), 1);
    }
    #[test]
    fn trouble_stays_told_until_something_else_is_asked() {
        let mut sessions = sessions(10);
        let id = started(&mut sessions);
        let error = Trouble::Error(ErrorCode::OffsetOutOfRange);
        let key = PartitionKey::of(&wish("a", 0, 0), false);
        sessions.get_mut(id).unwrap().answered(&key, false, Some(error), (-1, -1));
        let rows = [(None, Some(error)), (Some(1), Some(error)), (Some(2), None)];
        for (epoch, (asked, told)) in (1..).zip(rows) {
            let wishes = asked.map(|offset| wish("a", 0, offset)).into_iter().collect();
            let (_, wishes) = sessions.begin(request(id, epoch), wishes, &[], Monotonic(1)).unwrap();
            assert_eq!(wishes[0].told, told, "asked for {asked:?}");
        }
    }

    /// A client may name any number of partitions, and any number of sessions.
    #[test]
    fn what_sessions_hold_is_bounded() {
        let mut sessions = sessions(100);
        let many = |count| (0..count).map(|partition| wish("", partition, 0)).collect::<Vec<_>>();
        let begun = sessions.begin(request(0, 0), many(11), &[], Monotonic(0)).unwrap();
        assert_eq!(begun.0, FetchScope::Sessionless, "too large for a session");
        let begun = sessions.begin(request(0, 0), many(8), &[], Monotonic(0)).unwrap();
        let FetchScope::Full { id } = begun.0 else { panic!("there is room") };
        let begun = sessions.begin(request(0, 0), many(3), &[], Monotonic(0)).unwrap();
        assert_eq!(begun.0, FetchScope::Sessionless, "the first has taken the room");
        assert!(sessions.begin(request(id, 1), many(10), &[], Monotonic(0)).is_ok());
        let grown = sessions.begin(request(id, 2), many(11), &[], Monotonic(0));
        assert_eq!((grown, sessions.bytes()), (Err(ErrorCode::FetchSessionIdNotFound), 0));
        let id = started(&mut sessions);
        let gone = ["a", "a"].iter().zip(0..).map(|(topic, at)| PartitionKey::of(&wish(topic, at, 0), false));
        let gone: Vec<_> = gone.collect();
        assert!(sessions.begin(request(id, 1), Vec::new(), &gone[..1], Monotonic(0)).is_ok());
        assert_eq!(sessions.bytes(), PARTITION_BYTES + 1);
        assert!(sessions.begin(request(id, 2), Vec::new(), &gone, Monotonic(0)).is_ok());
        assert_eq!((sessions.len(), sessions.bytes()), (0, 0));
    }
}
