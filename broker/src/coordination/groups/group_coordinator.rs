//! The state machine of one partition of `__consumer_offsets`.

use std::collections::BTreeMap;

use net::protocol::DecodeError;

use super::api::{Action, FetchOffsetsRequest, GroupError, GroupNotice, Input, Request, Response};
use super::completion::{Change, Completion};
use super::config::GroupConfig;
use super::group::{ClassicGroup, State};
use super::offset_cursor::OffsetCursor;
use super::offset_store::OffsetStore;
use super::records::{self, Replayed};
use super::removed_topics::RemovedTopicsPass;
use super::step_context::StepContext;
use super::timers::TimerKey;
use crate::coordination::runner::{
    AppendToken, CoordinatorMachine, LogRecord, Now, Refusal, RequestToken, WriteError,
};

/// The groups whose ids hash to one partition, and their committed offsets.
#[derive(Debug)]
pub struct GroupCoordinator {
    pub(super) groups: BTreeMap<String, ClassicGroup>,
    pub(super) offsets: OffsetStore,
    /// Fetches of stable offsets, by the append that they wait for.
    pub(super) waiting_fetches: BTreeMap<AppendToken, Vec<(RequestToken, FetchOffsetsRequest)>>,
    /// How far the present pass over all offsets has come, if there is one.
    pub(super) expiration: Option<OffsetCursor>,
    pub(super) removed_topics: RemovedTopicsPass,
    pub(super) context: StepContext,
}

impl CoordinatorMachine for GroupCoordinator {
    const TOPIC: &'static str = "__consumer_offsets";
    const COORDINATES: &'static str = "groups";

    type Config = GroupConfig;
    type Request = Request;
    type Response = Response;
    type Notice = GroupNotice;
    type ReplayError = DecodeError;

    fn new(config: GroupConfig) -> Self {
        Self {
            groups: BTreeMap::new(),
            offsets: OffsetStore::default(),
            waiting_fetches: BTreeMap::new(),
            expiration: None,
            removed_topics: RemovedTopicsPass::default(),
            context: StepContext::new(config),
        }
    }

    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), DecodeError> {
        match records::decode(key, value)? {
            Replayed::Offset { group, topic, partition, offset } => {
                if offset.is_some() && !self.groups.contains_key(&group) {
                    self.groups.insert(group.clone(), ClassicGroup::new(&group, None));
                }
                self.offsets.replay(&group, &topic, partition, offset);
            }
            Replayed::Group { id, group: Some(group) } => {
                self.groups.insert(id, *group);
            }
            Replayed::Group { id, group: None } => {
                self.groups.remove(&id);
            }
            Replayed::Other => {}
        }
        Ok(())
    }

    fn step(&mut self, input: Input, now: Now) -> Vec<Action> {
        self.context.now = now;
        match input {
            Input::Request { token, request } => self.on_request(token, request),
            Input::Tick => self.on_tick(),
            Input::Appended { token, result } => self.on_appended(token, result),
            Input::Notice(notice) => self.topics_removed(notice),
            Input::LoadDone => self.on_load_done(),
            Input::Resign => self.on_resign(),
        }
        self.context.take_actions()
    }

    fn next_deadline(&self) -> Option<u64> {
        self.context.timers.next_deadline()
    }

    fn count(&self) -> usize {
        self.groups.len()
    }

    fn refuse(request: &Request, refusal: Refusal) -> Response {
        request.refused(match refusal {
            Refusal::Loading => GroupError::CoordinatorLoadInProgress,
            Refusal::NotCoordinator => GroupError::NotCoordinator,
        })
    }

    fn answer_while_loading(request: &Request) -> Option<Response> {
        match request {
            // A member that is only alive must not be frightened into a rebalance by a restart.
            Request::Heartbeat(_) => Some(Response::Heartbeat(None)),
            _ => None,
        }
    }
}

impl GroupCoordinator {
    fn on_request(&mut self, token: RequestToken, request: Request) {
        match request {
            Request::Join(join) => self.join(token, join),
            Request::Sync(sync) => self.sync(token, sync),
            Request::Heartbeat(heartbeat) => self.heartbeat(token, &heartbeat),
            Request::Leave(leave) => self.leave(token, leave),
            Request::Commit(commit) => self.commit(token, commit),
            Request::FetchOffsets(fetch) => self.fetch_offsets(token, fetch),
            Request::Describe(ids) => self.describe(token, &ids),
            Request::List(list) => self.list(token, &list),
            Request::Delete(ids) => self.delete(token, ids),
            Request::OffsetDelete(delete) => self.delete_offsets(token, delete),
        }
    }

    fn on_tick(&mut self) {
        // One by one, because a timer may cancel another. What they set is for a later tick.
        let set_count = self.context.timers.set_count();
        while let Some(key) = self.context.timers.take_due(self.context.now.monotonic_ms, set_count) {
            self.on_timer(&key);
        }
    }

    fn on_timer(&mut self, key: &TimerKey) {
        let (groups, context) = (&mut self.groups, &mut self.context);
        let record = match key {
            TimerKey::OffsetExpiration => return self.on_expiration_timer(),
            TimerKey::RemovedTopics => return self.on_removed_topics_timer(),
            TimerKey::Join(id) => groups.get_mut(id).and_then(|group| group.on_join_timer(context)),
            TimerKey::Sync(id) => groups.get_mut(id).and_then(|group| group.on_sync_timer(context)),
            TimerKey::Session { group, member } => {
                groups.get_mut(group).and_then(|group| group.on_session_timer(member, context))
            }
        };
        self.append_empty_generation(record);
    }

    fn append_empty_generation(&mut self, record: Option<LogRecord>) {
        if let Some(record) = record {
            self.context.append(vec![record], Completion::NOTHING);
        }
    }

    fn on_appended(&mut self, token: AppendToken, result: Result<(), WriteError>) {
        let Some(completion) = self.context.under_way.remove(&token) else { return };
        match completion.change {
            Change::None => {}
            Change::Created { group } => self.on_created(token, &group, result),
            Change::Assigned { group, generation, assignments } => {
                let group = self.groups.get_mut(&group);
                let record = group
                    .and_then(|group| group.assigned(generation, assignments, result, &mut self.context));
                self.append_empty_generation(record);
            }
            Change::Rejoined(rejoin) => {
                if let Some(group) = self.groups.get_mut(&rejoin.group) {
                    group.rejoined(*rejoin, result, &mut self.context);
                }
            }
            Change::Offsets { group, changed } => self.on_offsets(token, &group, &changed, result),
            Change::Deleted { groups, offsets } => self.on_deleted(token, groups, &offsets, result),
        }
        if let Some((request, response)) = completion.reply {
            let response = match result {
                Ok(()) => response,
                Err(error) => response.fail(error.into()),
            };
            self.context.reply(request, response);
        }
        self.answer_waiting_fetches(token);
    }

    /// A group whose existence could not be written does not exist.
    fn on_created(&mut self, token: AppendToken, id: &str, result: Result<(), WriteError>) {
        let Err(error) = result else { return };
        if self.groups.get(id).is_none_or(|group| group.created_by != Some(token)) {
            return;
        }
        if let Some(mut group) = self.groups.remove(id) {
            group.send_everyone_away(error.into(), &mut self.context);
            group.cancel_timers(&mut self.context);
        }
        // A commit without membership that became durable meanwhile keeps it, as it would after a restart.
        if self.offsets.durable_of(id).next().is_some() && !self.is_being_deleted(id) {
            self.insert_simple_group(id);
        }
    }

    /// Whether the end of a group is under way: it must not come back by what was written before.
    fn is_being_deleted(&self, id: &str) -> bool {
        let names = |completion: &Completion| match &completion.change {
            Change::Deleted { groups, .. } => groups.iter().any(|group| group.id == id),
            _ => false,
        };
        self.context.under_way.values().any(names)
    }

    /// A group of a consumer without membership.
    fn insert_simple_group(&mut self, id: &str) {
        self.groups.insert(id.to_owned(), ClassicGroup::new(id, Some(self.context.now.wall_ms)));
    }

    fn on_offsets(
        &mut self,
        token: AppendToken,
        group: &str,
        changed: &[(String, i32)],
        result: Result<(), WriteError>,
    ) {
        for (topic, partition) in changed {
            self.offsets.settle((group, topic, *partition), token, result.is_ok());
        }
        if result.is_ok() && !self.groups.contains_key(group) && !self.is_being_deleted(group) {
            self.insert_simple_group(group);
        }
    }

    fn on_deleted(
        &mut self,
        token: AppendToken,
        groups: Vec<ClassicGroup>,
        offsets: &[(String, String, i32)],
        result: Result<(), WriteError>,
    ) {
        for (group, topic, partition) in offsets {
            self.offsets.settle((group, topic, *partition), token, result.is_ok());
        }
        // Whoever used the id since has a group of its own, and a later deletion has the last word.
        for group in groups {
            if result.is_err() && !self.groups.contains_key(&group.id) && !self.is_being_deleted(&group.id) {
                self.groups.insert(group.id.clone(), group);
            }
        }
    }

    fn on_load_done(&mut self) {
        self.schedule_offset_expiration();
        let mut records = Vec::new();
        for group in self.groups.values_mut() {
            for member_id in group.member_ids() {
                group.restart_session(&member_id, &mut self.context);
            }
            if group.member_count() > self.context.config.group_size_max && group.state == State::Stable {
                // The limit was lowered: the rebalance decides who stays.
                records.extend(group.prepare_rebalance(&mut self.context));
            }
        }
        for record in records {
            self.append_empty_generation(Some(record));
        }
    }

    fn on_resign(&mut self) {
        for group in self.groups.values_mut() {
            group.send_everyone_away(GroupError::NotCoordinator, &mut self.context);
        }
        for completion in std::mem::take(&mut self.context.under_way).into_values() {
            if let Some((token, response)) = completion.reply {
                self.context.reply(token, response.fail(GroupError::NotCoordinator));
            }
        }
        for (token, request) in std::mem::take(&mut self.waiting_fetches).into_values().flatten() {
            self.context.reply(token, Request::FetchOffsets(request).refused(GroupError::NotCoordinator));
        }
        self.groups.clear();
        self.offsets.clear();
        self.context.timers.clear();
    }

    /// Panics when the machine contradicts itself. For tests and simulation.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        for (id, group) in &self.groups {
            assert_eq!(*id, group.id);
            group.check_invariants();
        }
        assert!(self.waiting_fetches.keys().all(|token| self.context.under_way.contains_key(token)));
    }
}
