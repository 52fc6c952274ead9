//! A coordinator with a clock, a log and clients that write down what they are told.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::coordination::groups::{
    Action, CommitPartition, CommitRequest, CommitResponse, CommitTopic, FetchOffsetsRequest, FetchTopic,
    GroupConfig, GroupCoordinator, GroupError, GroupNotice, HeartbeatRequest, Input, JoinRequest,
    JoinResponse, LeaveRequest, LeaveResponse, LeavingMember, Protocol, Request, Response, SyncRequest,
    SyncResponse,
};
use crate::coordination::runner::{
    AppendToken, CoordinatorMachine, LogRecord, Now, RequestToken, WriteError,
};

/// Wall-clock time at the monotonic time 0.
pub(super) const EPOCH_MS: i64 = 1_700_000_000_000;

/// Drives one coordinator. Appends succeed at once unless [`World::hold_appends`] was called.
pub(super) struct World {
    pub(super) coordinator: GroupCoordinator,
    pub(super) now_ms: u64,
    /// What is durable.
    pub(super) log: Vec<LogRecord>,
    pub(super) held: Vec<(AppendToken, Vec<LogRecord>)>,
    holds: bool,
    tokens: u64,
    open: BTreeSet<RequestToken>,
    replies: BTreeMap<RequestToken, Response>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(GroupConfig::default())
    }

    pub(super) fn with(config: GroupConfig) -> Self {
        Self::loaded(config, Vec::new(), 0)
    }

    /// A coordinator that starts with a log.
    pub(super) fn loaded(config: GroupConfig, log: Vec<LogRecord>, now_ms: u64) -> Self {
        let mut coordinator = GroupCoordinator::new(config);
        for record in &log {
            coordinator.replay(&record.key, record.value.as_deref()).unwrap();
        }
        let mut world = Self {
            coordinator,
            now_ms,
            log,
            held: Vec::new(),
            holds: false,
            tokens: 0,
            open: BTreeSet::new(),
            replies: BTreeMap::new(),
        };
        world.input(Input::LoadDone);
        world
    }

    pub(super) fn now(&self) -> Now {
        Now { monotonic_ms: self.now_ms, wall_ms: EPOCH_MS + i64::try_from(self.now_ms).unwrap() }
    }

    pub(super) fn input(&mut self, input: Input) {
        let now = self.now();
        let actions = self.coordinator.step(input, now);
        self.carry_out(actions);
    }

    /// A whole pass over all offsets; how many steps it took.
    pub(super) fn removed_topics_pass(&mut self, notice: GroupNotice) -> usize {
        self.input(Input::Notice(notice));
        let mut steps = 0;
        while self.coordinator.is_forgetting() {
            self.advance(1);
            steps += 1;
        }
        steps
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        self.coordinator.check_invariants();
        for action in actions {
            match action {
                Action::Reply { token, response } => {
                    assert!(self.open.remove(&token), "{token:?} was answered before, or never asked");
                    self.replies.insert(token, response);
                }
                Action::Append { token, records, continues: _ } => {
                    assert!(!records.is_empty());
                    self.held.push((token, records));
                }
            }
        }
        if !self.holds {
            self.release(Ok(()));
        }
    }

    /// Appends wait for [`World::release`] from now on.
    pub(super) fn hold_appends(&mut self) {
        self.holds = true;
    }

    /// Lets all held appends succeed or fail.
    pub(super) fn release(&mut self, result: Result<(), WriteError>) {
        self.holds = false;
        while !self.held.is_empty() {
            self.release_first(result);
        }
    }

    pub(super) fn release_first(&mut self, result: Result<(), WriteError>) {
        let (token, records) = self.held.remove(0);
        if result.is_ok() {
            self.log.extend(records);
        }
        let holds = std::mem::replace(&mut self.holds, true);
        self.input(Input::Appended { token, result });
        self.holds = holds;
    }

    pub(super) fn send(&mut self, request: Request) -> RequestToken {
        self.tokens += 1;
        let token = RequestToken(self.tokens);
        self.open.insert(token);
        self.input(Input::Request { token, request });
        token
    }

    /// Lets time pass, with a tick at each deadline.
    pub(super) fn advance(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(deadline) = self.coordinator.next_deadline().filter(|deadline| *deadline <= end) {
            self.now_ms = self.now_ms.max(deadline);
            self.input(Input::Tick);
        }
        self.now_ms = end;
    }

    pub(super) fn open_requests(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_waiting(&self, token: RequestToken) -> bool {
        self.open.contains(&token)
    }

    #[track_caller]
    pub(super) fn reply(&self, token: RequestToken) -> Response {
        self.replies.get(&token).expect("answered").clone()
    }

    #[track_caller]
    pub(super) fn ask(&mut self, request: Request) -> Response {
        let token = self.send(request);
        self.reply(token)
    }

    #[track_caller]
    pub(super) fn joined(&self, token: RequestToken) -> JoinResponse {
        match self.reply(token) {
            Response::Join(response) => response,
            other => panic!("not a JoinGroup: {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn synced(&self, token: RequestToken) -> SyncResponse {
        match self.reply(token) {
            Response::Sync(response) => response,
            other => panic!("not a SyncGroup: {other:?}"),
        }
    }

    pub(super) fn send_join(&mut self, join: Join) -> RequestToken {
        let mut random = [0; 16];
        random[8..].copy_from_slice(&(self.tokens + 1).to_be_bytes());
        self.send(Request::Join(JoinRequest { random, ..join.0 }))
    }

    /// Gets a member id (KIP-394).
    #[track_caller]
    pub(super) fn member_id(&mut self) -> String {
        let token = self.send_join(Join::new(""));
        let response = self.joined(token);
        assert_eq!(response.error, Some(GroupError::MemberIdRequired));
        response.member_id
    }

    pub(super) fn send_sync(&mut self, member: &str, generation: i32, assigned: &[&str]) -> RequestToken {
        self.send(Request::Sync(SyncRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: member.into(),
            assignments: assigned
                .iter()
                .map(|id| ((*id).to_owned(), Bytes::from(format!("for {id}"))))
                .collect(),
            ..SyncRequest::default()
        }))
    }

    #[track_caller]
    pub(super) fn heartbeat(&mut self, member: &str, generation: i32) -> Option<GroupError> {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: member.into(),
            group_instance_id: None,
        };
        match self.ask(Request::Heartbeat(request)) {
            Response::Heartbeat(error) => error,
            other => panic!("not a Heartbeat: {other:?}"),
        }
    }

    pub(super) fn send_leave(&mut self, members: &[(&str, Option<&str>)]) -> RequestToken {
        let member = |(id, instance): &(&str, Option<&str>)| LeavingMember {
            member_id: (*id).to_owned(),
            group_instance_id: instance.map(str::to_owned),
            reason: None,
        };
        self.send(Request::Leave(LeaveRequest {
            group_id: "g".into(),
            members: members.iter().map(member).collect(),
        }))
    }

    #[track_caller]
    pub(super) fn left(&self, token: RequestToken) -> LeaveResponse {
        match self.reply(token) {
            Response::Leave(response) => response,
            other => panic!("not a LeaveGroup: {other:?}"),
        }
    }

    /// Brings group `g` to a stable generation with as many members; returns their ids, the leader first, and the
    /// generation.
    #[track_caller]
    pub(super) fn stable(&mut self, count: usize) -> (Vec<String>, i32) {
        let joins: Vec<Join> = (0..count).map(|_| Join::new(&self.member_id())).collect();
        self.stable_with(joins)
    }

    /// The same with given members.
    #[track_caller]
    pub(super) fn stable_with(&mut self, joins: Vec<Join>) -> (Vec<String>, i32) {
        let tokens: Vec<RequestToken> = joins.into_iter().map(|join| self.send_join(join)).collect();
        let mut waited_ms = 0;
        while tokens.iter().any(|token| self.is_waiting(*token)) {
            self.advance(1_000);
            waited_ms += 1_000;
            assert!(waited_ms < 100_000, "the group never forms");
        }
        let replies: Vec<JoinResponse> = tokens.iter().map(|token| self.joined(*token)).collect();
        let (leader, generation) = (replies[0].leader.clone(), replies[0].generation_id);
        let mut ids: Vec<String> = replies.into_iter().map(|reply| reply.member_id).collect();
        ids.sort_by_key(|id| *id != leader);
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        for id in ids.iter().rev() {
            self.send_sync(id, generation, if *id == leader { &names } else { &[] });
        }
        assert_eq!(self.state(), "Stable");
        (ids, generation)
    }

    /// The state of group `g` as DescribeGroups tells it.
    #[track_caller]
    pub(super) fn state(&mut self) -> &'static str {
        match self.ask(Request::Describe(vec!["g".into()])) {
            Response::Describe(groups) => groups[0].state,
            other => panic!("not a DescribeGroups: {other:?}"),
        }
    }

    pub(super) fn send_commit(&mut self, commit: CommitRequest) -> RequestToken {
        self.send(Request::Commit(commit))
    }

    /// Commits offset `offset` of partition 0 of topic `t`; the result of that partition.
    #[track_caller]
    pub(super) fn commit(&mut self, member: &str, generation: i32, offset: i64) -> Option<GroupError> {
        let token = self.send_commit(commit(member, generation, "t", offset));
        self.committed(token).topics[0].partitions[0].1
    }

    #[track_caller]
    pub(super) fn committed(&self, token: RequestToken) -> CommitResponse {
        match self.reply(token) {
            Response::Commit(response) => response,
            other => panic!("not an OffsetCommit: {other:?}"),
        }
    }

    /// All committed offsets of group `g` as (topic, partition, offset).
    #[track_caller]
    pub(super) fn offsets(&mut self) -> Vec<(String, i32, i64)> {
        match self.ask(fetch_all()) {
            Response::FetchOffsets(response) => {
                assert_eq!(response.error, None);
                let topics = response.topics.into_iter();
                topics
                    .flat_map(|topic| {
                        topic.partitions.into_iter().map(move |p| (topic.name.clone(), p.partition, p.offset))
                    })
                    .collect()
            }
            other => panic!("not an OffsetFetch: {other:?}"),
        }
    }
}

pub(super) fn commit(member: &str, generation: i32, topic: &str, offset: i64) -> CommitRequest {
    let partition = CommitPartition { partition: 0, offset, leader_epoch: 5, metadata: Some("note".into()) };
    CommitRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.into(),
        group_not_found_known: true,
        topics: vec![CommitTopic {
            name: topic.into(),
            partitions: vec![partition],
            ..CommitTopic::default()
        }],
        ..CommitRequest::default()
    }
}

pub(super) fn fetch_all() -> Request {
    Request::FetchOffsets(FetchOffsetsRequest { group_id: "g".into(), require_stable: false, topics: None })
}

pub(super) fn fetch_one(require_stable: bool) -> Request {
    let topic = FetchTopic { name: "t".into(), partitions: vec![0], ..FetchTopic::default() };
    Request::FetchOffsets(FetchOffsetsRequest {
        group_id: "g".into(),
        require_stable,
        topics: Some(vec![topic]),
    })
}

/// A JoinGroup of group `g`: version 9, session timeout 10 s, rebalance timeout 60 s, consumer of topic `t`.
#[derive(Clone)]
pub(super) struct Join(pub(super) JoinRequest);

impl Join {
    pub(super) fn new(member: &str) -> Self {
        Self(JoinRequest {
            group_id: "g".into(),
            member_id: member.into(),
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: "range".into(), metadata: subscription(&["t"]) }],
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            requires_known_member_id: true,
            supports_skip_assignment: true,
            ..JoinRequest::default()
        })
    }

    pub(super) fn instance(member: &str, instance: &str) -> Self {
        let mut join = Self::new(member);
        join.0.group_instance_id = Some(instance.into());
        join
    }

    /// Version 3: no member id needed.
    pub(super) fn old() -> Self {
        let mut join = Self::new("");
        join.0.requires_known_member_id = false;
        join.0.supports_skip_assignment = false;
        join
    }

    pub(super) fn protocols(mut self, names: &[&str]) -> Self {
        let protocol = |name: &&str| Protocol { name: (*name).into(), metadata: subscription(&["t"]) };
        self.0.protocols = names.iter().map(protocol).collect();
        self
    }

    pub(super) fn topics(mut self, topics: &[&str]) -> Self {
        self.0.protocols[0].metadata = subscription(topics);
        self
    }
}

/// A consumer's subscription, version 1.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 1];
    bytes.extend_from_slice(&u32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend_from_slice(&u16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
    }
    bytes.extend_from_slice(&[0xff; 4]);
    bytes.extend_from_slice(&[0; 4]);
    Bytes::from(bytes)
}
