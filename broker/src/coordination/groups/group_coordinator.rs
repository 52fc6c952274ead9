//! The state machine of one partition of `__consumer_offsets`.

use std::collections::BTreeMap;

use net::protocol::DecodeError;

use super::api::{
    Action, AppendError, AppendToken, FetchOffsetsRequest, GroupError, Input, Now, Request, RequestToken,
    Response,
};
use super::completion::{Completion, Effect};
use super::config::GroupConfig;
use super::effects::Effects;
use super::group::{ClassicGroup, State};
use super::offset_cursor::OffsetCursor;
use super::offset_store::OffsetStore;
use super::records::{self, LogRecord, Replayed};
use super::timers::TimerKey;

/// Whether the coordinator serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Records are being replayed.
    Loading,
    /// It serves.
    Active,
    /// The partition is led elsewhere.
    Resigned,
}

/// The groups whose ids hash to one partition, and their committed offsets.
///
/// Feed it all records of the log ([`GroupCoordinator::replay`]), then [`Input::LoadDone`]; then call
/// [`GroupCoordinator::step`] for everything that happens and carry out the actions, in order.
///
/// Invariant: the same inputs at the same times give the same actions.
#[derive(Debug)]
pub struct GroupCoordinator {
    phase: Phase,
    pub(super) groups: BTreeMap<String, ClassicGroup>,
    pub(super) offsets: OffsetStore,
    /// Fetches of stable offsets, by the append that they wait for.
    pub(super) waiting_fetches: BTreeMap<AppendToken, Vec<(RequestToken, FetchOffsetsRequest)>>,
    /// How far the present pass over all offsets has come, if there is one.
    pub(super) expiration: Option<OffsetCursor>,
    pub(super) fx: Effects,
}

impl GroupCoordinator {
    /// A coordinator that waits for the log.
    #[must_use]
    pub fn new(config: GroupConfig) -> Self {
        Self {
            phase: Phase::Loading,
            groups: BTreeMap::new(),
            offsets: OffsetStore::default(),
            waiting_fetches: BTreeMap::new(),
            expiration: None,
            fx: Effects::new(config),
        }
    }

    /// Takes over a change of settings; running timers keep their deadlines.
    pub fn set_config(&mut self, config: GroupConfig) {
        self.fx.config = config;
    }

    /// Takes over a record of the log. Only before [`Input::LoadDone`].
    ///
    /// # Errors
    /// When the record is malformed. It changed nothing; the shell decides whether to go on.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), DecodeError> {
        debug_assert_eq!(self.phase, Phase::Loading, "replay ends with LoadDone");
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

    /// Handles one input and says what is to be done.
    #[must_use]
    pub fn step(&mut self, input: Input, now: Now) -> Vec<Action> {
        self.fx.now = now;
        match input {
            Input::Request { token, request } => self.on_request(token, request),
            Input::Tick => self.on_tick(),
            Input::Appended { token, result } => self.on_appended(token, result),
            Input::TopicDeleted { topic, topic_id } if self.phase == Phase::Active => {
                self.topic_deleted(&topic, topic_id);
            }
            Input::TopicDeleted { .. } => {}
            Input::LoadDone => self.on_load_done(),
            Input::Resign => self.on_resign(),
        }
        self.fx.take_actions()
    }

    /// When the next [`Input::Tick`] is due, on the monotonic clock.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.fx.timers.next_deadline()
    }

    /// Whether records are still being replayed.
    #[must_use]
    pub const fn is_loading(&self) -> bool {
        matches!(self.phase, Phase::Loading)
    }

    /// How many groups there are.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    fn on_request(&mut self, token: RequestToken, request: Request) {
        let refusal = match (self.phase, &request) {
            (Phase::Active, _) => None,
            // A member that is only alive must not be frightened into a rebalance by a restart.
            (Phase::Loading, Request::Heartbeat(_)) => Some(Response::Heartbeat(None)),
            (Phase::Loading, _) => Some(request.refused(GroupError::CoordinatorLoadInProgress)),
            (Phase::Resigned, _) => Some(request.refused(GroupError::NotCoordinator)),
        };
        if let Some(refusal) = refusal {
            return self.fx.reply(token, refusal);
        }
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
        let set_count = self.fx.timers.set_count();
        while let Some(key) = self.fx.timers.take_due(self.fx.now.monotonic_ms, set_count) {
            self.on_timer(&key);
        }
    }

    fn on_timer(&mut self, key: &TimerKey) {
        let (groups, fx) = (&mut self.groups, &mut self.fx);
        let record = match key {
            TimerKey::OffsetExpiration => return self.on_expiration_timer(),
            TimerKey::Join(id) => groups.get_mut(id).and_then(|group| group.on_join_timer(fx)),
            TimerKey::Sync(id) => groups.get_mut(id).and_then(|group| group.on_sync_timer(fx)),
            TimerKey::Session { group, member } => {
                groups.get_mut(group).and_then(|group| group.on_session_timer(member, fx))
            }
        };
        self.append_empty_generation(record);
    }

    fn append_empty_generation(&mut self, record: Option<LogRecord>) {
        if let Some(record) = record {
            self.fx.append(vec![record], Completion::NOTHING);
        }
    }

    fn on_appended(&mut self, token: AppendToken, result: Result<(), AppendError>) {
        let Some(completion) = self.fx.under_way.remove(&token) else { return };
        match completion.effect {
            Effect::None => {}
            Effect::Created { group } => self.on_created(token, &group, result),
            Effect::Assigned { group, generation, assignments } => {
                let group = self.groups.get_mut(&group);
                let record =
                    group.and_then(|group| group.assigned(generation, assignments, result, &mut self.fx));
                self.append_empty_generation(record);
            }
            Effect::Rejoined(rejoin) => {
                if let Some(group) = self.groups.get_mut(&rejoin.group) {
                    group.rejoined(*rejoin, result, &mut self.fx);
                }
            }
            Effect::Offsets { group, changed } => self.on_offsets(token, &group, &changed, result),
            Effect::Deleted { groups, offsets } => self.on_deleted(token, groups, &offsets, result),
        }
        if let Some((request, response)) = completion.reply {
            let response = match result {
                Ok(()) => response,
                Err(error) => response.fail(error.into()),
            };
            self.fx.reply(request, response);
        }
        self.answer_waiting_fetches(token);
    }

    /// A group whose existence could not be written does not exist.
    fn on_created(&mut self, token: AppendToken, id: &str, result: Result<(), AppendError>) {
        let Err(error) = result else { return };
        if self.groups.get(id).is_none_or(|group| group.created_by != Some(token)) {
            return;
        }
        if let Some(mut group) = self.groups.remove(id) {
            group.send_everyone_away(error.into(), &mut self.fx);
            group.cancel_timers(&mut self.fx);
        }
        // A commit without membership that became durable meanwhile keeps it, as it would after a restart.
        if self.offsets.durable_of(id).next().is_some() && !self.is_being_deleted(id) {
            self.insert_simple_group(id);
        }
    }

    /// Whether the end of a group is under way: it must not come back by what was written before.
    fn is_being_deleted(&self, id: &str) -> bool {
        let names = |completion: &Completion| match &completion.effect {
            Effect::Deleted { groups, .. } => groups.iter().any(|group| group.id == id),
            _ => false,
        };
        self.fx.under_way.values().any(names)
    }

    /// A group of a consumer without membership.
    fn insert_simple_group(&mut self, id: &str) {
        self.groups.insert(id.to_owned(), ClassicGroup::new(id, Some(self.fx.now.wall_ms)));
    }

    fn on_offsets(
        &mut self,
        token: AppendToken,
        group: &str,
        changed: &[(String, i32)],
        result: Result<(), AppendError>,
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
        result: Result<(), AppendError>,
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
        if self.phase != Phase::Loading {
            return;
        }
        self.phase = Phase::Active;
        self.schedule_offset_expiration();
        let mut records = Vec::new();
        for group in self.groups.values_mut() {
            for member_id in group.member_ids() {
                group.restart_session(&member_id, &mut self.fx);
            }
            if group.member_count() > self.fx.config.group_size_max && group.state == State::Stable {
                // The limit was lowered: the rebalance decides who stays.
                records.extend(group.prepare_rebalance(&mut self.fx));
            }
        }
        for record in records {
            self.append_empty_generation(Some(record));
        }
    }

    fn on_resign(&mut self) {
        self.phase = Phase::Resigned;
        for group in self.groups.values_mut() {
            group.send_everyone_away(GroupError::NotCoordinator, &mut self.fx);
        }
        for completion in std::mem::take(&mut self.fx.under_way).into_values() {
            if let Some((token, response)) = completion.reply {
                self.fx.reply(token, response.fail(GroupError::NotCoordinator));
            }
        }
        for (token, request) in std::mem::take(&mut self.waiting_fetches).into_values().flatten() {
            self.fx.reply(token, Request::FetchOffsets(request).refused(GroupError::NotCoordinator));
        }
        self.groups.clear();
        self.offsets.clear();
        self.fx.timers.clear();
    }

    /// Panics when the machine contradicts itself. For tests and simulation.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        for (id, group) in &self.groups {
            assert_eq!(*id, group.id);
            group.check_invariants();
        }
        assert!(self.waiting_fetches.keys().all(|token| self.fx.under_way.contains_key(token)));
    }
}
