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
    /// Whether the last response had an error.
    pub failed: bool,
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
        }
    }

    fn update(&mut self, wish: FetchWish) {
        let key = PartitionKey::of(&wish, self.by_id);
        if let Some(partition) = self.order.get(&key).and_then(|order| self.partitions.get_mut(order)) {
            partition.wish = wish;
            return;
        }
        self.order.insert(key, self.next_order);
        let partition = SessionPartition { wish, high_watermark: -1, log_start: -1, failed: false };
        self.partitions.insert(self.next_order, partition);
        self.next_order += 1;
    }

    fn forget(&mut self, key: &PartitionKey) {
        if let Some(order) = self.order.remove(key) {
            self.partitions.remove(&order);
        }
    }

    /// What the session's client wants, in the order in which it should be served.
    #[must_use]
    pub fn wishes(&self) -> Vec<FetchWish> {
        self.partitions.values().map(|partition| partition.wish.clone()).collect()
    }

    /// Notes what is about to be answered for one partition and tells whether the client needs to hear it.
    pub fn answered(
        &mut self,
        key: &PartitionKey,
        has_records: bool,
        failed: bool,
        offsets: (i64, i64),
    ) -> bool {
        let Some(order) = self.order.get_mut(key) else { return true };
        let Some(mut partition) = self.partitions.remove(order) else { return true };
        let changed = (partition.high_watermark, partition.log_start) != offsets;
        let tell = has_records || failed || changed || partition.failed;
        (partition.high_watermark, partition.log_start) = offsets;
        partition.failed = failed;
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

    /// A session in use.
    pub fn get_mut(&mut self, id: i32) -> Option<&mut FetchSession> {
        self.sessions.get_mut(&id)
    }

    /// Decides how to answer a request with `wishes`, of which `forgotten` are to be dropped; yields what to fetch.
    ///
    /// # Errors
    /// Kafka's code when the session is not there, or at another epoch.
    pub fn begin(
        &mut self,
        request: SessionRequest,
        wishes: Vec<FetchWish>,
        forgotten: &[PartitionKey],
        now: Monotonic,
    ) -> Result<(FetchScope, Vec<FetchWish>), ErrorCode> {
        if matches!(request.epoch, NO_SESSION | NEW_SESSION) {
            self.sessions.remove(&request.id);
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
        for wish in wishes {
            session.update(wish);
        }
        for key in forgotten {
            session.forget(key);
        }
        session.last_used = now;
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        if session.partitions.is_empty() {
            self.sessions.remove(&request.id);
            return Ok((FetchScope::Sessionless, Vec::new()));
        }
        let wishes = session.wishes();
        Ok((FetchScope::Incremental { id: request.id }, wishes))
    }

    fn create(&mut self, by_id: bool, wishes: &[FetchWish], now: Monotonic) -> Option<i32> {
        if self.sessions.len() >= self.sessions_max {
            let (oldest, session) = self.sessions.iter().min_by_key(|(_, session)| session.last_used)?;
            if now.since(session.last_used) < self.eviction {
                return None;
            }
            let oldest = *oldest;
            self.sessions.remove(&oldest);
        }
        let mut session = FetchSession::new(by_id, now);
        for wish in wishes {
            session.update(wish.clone());
        }
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

/// The epoch of a request that wants no session.
const NO_SESSION: i32 = -1;

/// The epoch of a request that wants a new session.
const NEW_SESSION: i32 = 0;

/// A session unused for this long may make room for a new one (Kafka's `min.incremental.fetch.session.eviction.ms`).
const EVICTION_MIN: Duration = Duration::from_secs(120);

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
        }
    }

    fn sessions(sessions_max: usize) -> FetchSessions {
        FetchSessions { sessions: HashMap::new(), sessions_max, eviction: EVICTION_MIN, next_id: 0 }
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
        assert!(session.answered(&key, true, false, (5, 0)), "records");
        assert!(!session.answered(&key, false, false, (5, 0)), "nothing new");
        assert!(session.answered(&key, false, false, (6, 0)), "the high watermark moved");
        assert!(session.answered(&key, false, true, (6, 0)), "an error");
        assert!(session.answered(&key, false, false, (6, 0)), "the error is gone");
        assert!(!session.answered(&key, false, false, (6, 0)));
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
}
