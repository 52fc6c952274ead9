//! A classic consumer group: its members, its state and the protocol they agreed on.
//!
//! This file has the data and the questions about it; what happens in a rebalance is in `rebalance.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::api::{GroupError, JoinMember, JoinResponse, Protocol, Response};
use super::completion::Generation;
use super::member::Member;
use super::records;
use crate::coordination::runner::{AppendToken, RequestToken};

/// Where a group is in its life. A group that does not exist is called `Dead` towards clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No members; perhaps offsets.
    Empty,
    /// Waiting for members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// Consuming.
    Stable,
}

impl State {
    /// Kafka's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// How long an empty group that got its first member goes on waiting for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InitialDelay {
    /// The length of the running wait.
    pub(super) delay_ms: u64,
    /// How much longer waits may be added.
    pub(super) remaining_ms: u64,
}

/// A classic group.
///
/// Invariant (see `check_invariants`): the counters and indexes say what the members say; a leader is a member; an
/// empty group has no members.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ClassicGroup {
    pub(super) id: String,
    pub(super) state: State,
    pub(super) previous_state: State,
    /// Wall clock; unknown for records of old brokers.
    pub(super) state_since_ms: Option<i64>,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) generation: i32,
    pub(super) leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Instance id to member id.
    static_members: BTreeMap<String, String>,
    /// Members that got their id but have not joined with it (KIP-394).
    pub(super) pending_join: BTreeSet<String>,
    /// Members that have not asked for their assignment in this generation.
    pub(super) pending_sync: BTreeSet<String>,
    awaiting_join_count: usize,
    /// How many members speak each protocol; none is 0.
    supported: BTreeMap<String, usize>,
    /// What the members consume, where the coordinator understands their protocol.
    pub(super) subscribed_topics: Option<BTreeSet<String>>,
    /// While `Some`, the group is in the wait before its first generation.
    pub(super) initial_delay: Option<InitialDelay>,
    /// Whether somebody joined during the running initial wait.
    pub(super) new_member_added: bool,
    /// The append that records that the group exists; if it fails, this group goes and not a later one of its name.
    pub(super) created_by: Option<AppendToken>,
}

impl ClassicGroup {
    /// An empty group.
    pub(super) fn new(id: &str, state_since_ms: Option<i64>) -> Self {
        Self {
            id: id.to_owned(),
            state: State::Empty,
            previous_state: State::Empty,
            state_since_ms,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join_count: 0,
            supported: BTreeMap::new(),
            subscribed_topics: None,
            initial_delay: None,
            new_member_added: false,
            created_by: None,
        }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.members.iter()
    }

    pub(super) fn member_ids(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub(super) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(super) const fn awaiting_join_count(&self) -> usize {
        self.awaiting_join_count
    }

    pub(super) fn static_member_id(&self, instance_id: &str) -> Option<&String> {
        self.static_members.get(instance_id)
    }

    /// The present generation.
    pub(super) const fn generation(&self) -> Generation {
        Generation { created_by: self.created_by, id: self.generation }
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Whether a member that joins or leaves starts a rebalance, as opposed to taking part in the running one.
    pub(super) fn can_rebalance(&self) -> bool {
        self.state != State::PreparingRebalance
    }

    pub(super) fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_join_count && self.pending_join.is_empty()
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Whether members consume the topic; a consumer group whose subscriptions cannot be read may consume any.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// The time that members have to join: that of the slowest.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        let slowest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        u64::try_from(slowest.unwrap_or(0)).unwrap_or(0)
    }

    pub(super) fn transition_to(&mut self, state: State, wall_ms: i64) {
        self.previous_state = self.state;
        self.state = state;
        self.state_since_ms = Some(wall_ms);
    }

    /// Whether a member with these protocols fits in.
    pub(super) fn supports_protocols(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let spoken_by_all = |name: &str| self.supported.get(name).copied().unwrap_or(0) == self.members.len();
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| spoken_by_all(&protocol.name))
    }

    /// Checks that a request comes from a member, and from the newest process of a static one.
    pub(super) fn validate_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(GroupError::UnknownMemberId),
                Some(current) if current != id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    /// Adds a member, whose JoinGroup waits unless the member comes from the log.
    pub(super) fn add(&mut self, id: String, mut member: Member, join: Option<RequestToken>) {
        self.pending_join.remove(&id);
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members.insert(instance_id.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.count_protocols(&member);
        member.awaiting_join = join;
        self.awaiting_join_count += usize::from(join.is_some());
        self.members.insert(id, member);
    }

    /// Removes a member, pending or not, and hands it out with the requests that still wait for a reply.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
        let removed = self.members.remove(id)?;
        self.uncount_protocols(&removed);
        self.awaiting_join_count -= usize::from(removed.awaiting_join.is_some());
        if let Some(instance_id) = &removed.group_instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(removed)
    }

    /// Gives a static member a new id; its old one is unknown from now on. The requests that wait under the old id
    /// are handed out.
    pub(super) fn replace_static_member(
        &mut self,
        old_id: &str,
        new_id: &str,
    ) -> (Option<RequestToken>, Option<RequestToken>) {
        let was_leader = self.is_leader(old_id);
        let was_pending_sync = self.pending_sync.contains(old_id);
        let Some(mut member) = self.remove(old_id) else { return (None, None) };
        let waiting = (member.awaiting_join.take(), member.awaiting_sync.take());
        member.is_new = false;
        self.add(new_id.to_owned(), member, None);
        if was_leader {
            self.leader = Some(new_id.to_owned());
        }
        if was_pending_sync {
            self.pending_sync.insert(new_id.to_owned());
        }
        waiting
    }

    /// Takes over what a member said when it joined again, and parks its request. A request that it had parked
    /// before is handed out.
    pub(super) fn update_member(
        &mut self,
        id: &str,
        protocols: Vec<Protocol>,
        timeouts_ms: (i32, i32),
        join: Option<RequestToken>,
    ) -> Option<RequestToken> {
        let mut member = self.members.remove(id)?;
        self.uncount_protocols(&member);
        member.protocols = protocols;
        (member.session_timeout_ms, member.rebalance_timeout_ms) = timeouts_ms;
        self.count_protocols(&member);
        let superseded = std::mem::replace(&mut member.awaiting_join, join);
        self.awaiting_join_count += usize::from(join.is_some());
        self.awaiting_join_count -= usize::from(superseded.is_some());
        self.members.insert(id.to_owned(), member);
        superseded
    }

    /// The JoinGroup of a member that is to be answered now.
    pub(super) fn take_join(&mut self, id: &str) -> Option<RequestToken> {
        let token = self.members.get_mut(id)?.awaiting_join.take()?;
        self.awaiting_join_count -= 1;
        Some(token)
    }

    /// The SyncGroup of a member that is to be answered now.
    pub(super) fn take_sync(&mut self, id: &str) -> Option<RequestToken> {
        self.members.get_mut(id)?.awaiting_sync.take()
    }

    /// Parks a SyncGroup; one that the member had parked before is handed out.
    pub(super) fn park_sync(&mut self, id: &str, token: RequestToken) -> Option<RequestToken> {
        self.members.get_mut(id)?.awaiting_sync.replace(token)
    }

    pub(super) fn set_assignment(&mut self, id: &str, assignment: bytes::Bytes) {
        if let Some(member) = self.members.get_mut(id) {
            member.assignment = assignment;
        }
    }

    pub(super) fn set_is_new(&mut self, id: &str, is_new: bool) {
        if let Some(member) = self.members.get_mut(id) {
            member.is_new = is_new;
        }
    }

    /// Makes a member that has joined the leader, if the present one has not. `false` if nobody has joined.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &String| self.members.get(id).is_some_and(|member| member.awaiting_join.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let Some(elected) = self.members.keys().find(|id| joined(id)).cloned() else { return false };
        self.leader = Some(elected);
        true
    }

    /// The protocol of the next generation: of those that all members speak, the one that most prefer; of equals,
    /// the first by name. `None` if the group has no members.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let spoken_by_all = self.supported.iter().filter(|(_, count)| **count == self.members.len());
        let candidates: BTreeSet<&str> = spoken_by_all.map(|(name, _)| name.as_str()).collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for vote in self.members.values().filter_map(|member| member.vote(&candidates)) {
            *votes.entry(vote).or_default() += 1;
        }
        // `max_by_key` takes the last of equals, and we want the first.
        votes.into_iter().rev().max_by_key(|&(_, count)| count).map(|(name, _)| name.to_owned())
    }

    /// Counts the generation up and goes where it leads: to the assignment, or to an empty group.
    pub(super) fn init_next_generation(&mut self, wall_ms: i64) {
        self.generation = self.generation.wrapping_add(1);
        self.initial_delay = None;
        self.new_member_added = false;
        self.pending_sync.clear();
        self.protocol = self.select_protocol();
        self.recompute_subscribed_topics();
        let next = if self.members.is_empty() { State::Empty } else { State::CompletingRebalance };
        self.transition_to(next, wall_ms);
    }

    /// Reads the members' subscriptions, if they are consumers.
    pub(super) fn recompute_subscribed_topics(&mut self) {
        self.subscribed_topics = None;
        if !self.uses_consumer_protocol() {
            return;
        }
        if self.members.is_empty() {
            self.subscribed_topics = Some(BTreeSet::new());
            return;
        }
        let Some(protocol) = &self.protocol else { return };
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            // A subscription that cannot be read leaves the group without knowledge of its topics.
            let Ok(topics) = records::subscribed_topics(&member.metadata(protocol)) else { return };
            all.extend(topics);
        }
        self.subscribed_topics = Some(all);
    }

    /// The members as the leader sees them.
    pub(super) fn join_members(&self) -> Vec<JoinMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |(id, member): (&String, &Member)| JoinMember {
            member_id: id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.iter().map(member).collect()
    }

    /// The reply to a JoinGroup of the current generation. Only the leader gets the list of members.
    pub(super) fn join_response(&self, member_id: &str) -> JoinResponse {
        JoinResponse {
            error: None,
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: if self.is_leader(member_id) { self.join_members() } else { Vec::new() },
        }
    }

    /// The same as a [`Response`].
    pub(super) fn joined(&self, member_id: &str) -> Response {
        Response::Join(self.join_response(member_id))
    }

    fn count_protocols(&mut self, member: &Member) {
        for name in member.protocol_names() {
            *self.supported.entry(name.to_owned()).or_default() += 1;
        }
    }

    fn uncount_protocols(&mut self, member: &Member) {
        for name in member.protocol_names() {
            if let Some(count) = self.supported.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(name);
                }
            }
        }
    }

    /// Panics when the group contradicts itself. For tests and simulation.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let mut supported: BTreeMap<String, usize> = BTreeMap::new();
        for name in self.members.values().flat_map(Member::protocol_names) {
            *supported.entry(name.to_owned()).or_default() += 1;
        }
        assert_eq!(supported, self.supported, "{}", self.id);
        let awaiting = self.members.values().filter(|member| member.awaiting_join.is_some()).count();
        assert_eq!(awaiting, self.awaiting_join_count, "{}", self.id);
        let statics =
            self.members.iter().filter_map(|(id, m)| Some((m.group_instance_id.clone()?, id.clone())));
        assert_eq!(statics.collect::<BTreeMap<_, _>>(), self.static_members, "{}", self.id);
        assert!(self.pending_join.iter().all(|id| !self.members.contains_key(id)), "{}", self.id);
        assert!(self.pending_sync.iter().all(|id| self.members.contains_key(id)), "{}", self.id);
        assert_eq!(self.leader.is_some(), !self.members.is_empty(), "{}", self.id);
        assert!(self.leader.iter().all(|id| self.members.contains_key(id)), "{}", self.id);
        match self.state {
            State::Empty => assert!(self.members.is_empty(), "{}", self.id),
            State::CompletingRebalance | State::Stable => {
                assert!(!self.members.is_empty(), "{}", self.id);
                assert!(self.protocol.is_some(), "{}", self.id);
            }
            State::PreparingRebalance => {
                assert!(self.members.values().all(|member| member.awaiting_sync.is_none()), "{}", self.id);
            }
        }
    }
}

/// The protocol type of consumers, the only one whose metadata the coordinator looks into.
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";
