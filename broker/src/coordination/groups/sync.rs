//! SyncGroup and Heartbeat.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::api::{GroupError, HeartbeatRequest, Response, SyncRequest, SyncResponse};
use super::completion::{Change, Completion, Generation};
use super::group::{ClassicGroup, State};
use super::group_coordinator::GroupCoordinator;
use super::records::stable_group;
use super::step_context::StepContext;
use super::timers::TimerKey;
use crate::coordination::runner::{LogRecord, RequestToken, WriteError};

impl GroupCoordinator {
    /// A member asks for its assignment; the leader brings everyone's.
    pub(super) fn sync(&mut self, token: RequestToken, request: SyncRequest) {
        let context = &mut self.context;
        if request.group_id.is_empty() {
            return context.reply(token, SyncResponse::refused(GroupError::InvalidGroupId));
        }
        match self.groups.get_mut(&request.group_id) {
            Some(group) if group.state != State::Empty => group.sync(token, request, context),
            _ => context.reply(token, SyncResponse::refused(GroupError::UnknownMemberId)),
        }
    }

    /// A member is alive.
    pub(super) fn heartbeat(&mut self, token: RequestToken, request: &HeartbeatRequest) {
        let error = if request.group_id.is_empty() {
            Some(GroupError::InvalidGroupId)
        } else {
            match self.groups.get(&request.group_id) {
                None => Some(GroupError::UnknownMemberId),
                Some(group) => group.heartbeat(request, &mut self.context).err(),
            }
        };
        self.context.reply(token, Response::Heartbeat(error));
    }
}

impl ClassicGroup {
    fn sync(&mut self, token: RequestToken, request: SyncRequest, context: &mut StepContext) {
        if let Err(error) = self.validate_sync(&request) {
            return context.reply(token, SyncResponse::refused(error));
        }
        let id = &request.member_id;
        match self.state {
            State::Empty => context.reply(token, SyncResponse::refused(GroupError::UnknownMemberId)),
            State::PreparingRebalance => {
                context.reply(token, SyncResponse::refused(GroupError::RebalanceInProgress));
            }
            State::CompletingRebalance => {
                self.forget_pending_sync(id, context);
                let superseded = self.park_sync(id, token);
                context.reply_to(superseded, || SyncResponse::refused(GroupError::RebalanceInProgress));
                if self.is_leader(id) {
                    self.store_assignments(request.assignments, context);
                }
            }
            State::Stable => {
                self.forget_pending_sync(id, context);
                let response = self.synced(id);
                context.reply(token, response);
            }
        }
    }

    fn validate_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        let differs = |asked: &Option<String>, own: &Option<String>| matches!((asked, own), (Some(asked), Some(own)) if asked != own);
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    /// Writes the leader's assignment; it takes effect when it is durable.
    fn store_assignments(&self, assignments: Vec<(String, Bytes)>, context: &mut StepContext) {
        let known = assignments.into_iter().filter(|(id, _)| self.member(id).is_some());
        let assignments: BTreeMap<String, Bytes> = known.collect();
        let record = stable_group(self, &assignments);
        let change = Change::Assigned { group: self.id.clone(), generation: self.generation(), assignments };
        context.append(vec![record], Completion { reply: None, change });
    }

    /// The assignment is durable, or failed. It is void if the group has moved on.
    #[must_use]
    pub(super) fn assigned(
        &mut self,
        generation: Generation,
        mut assignments: BTreeMap<String, Bytes>,
        result: Result<(), WriteError>,
        context: &mut StepContext,
    ) -> Option<LogRecord> {
        if self.state != State::CompletingRebalance || self.generation() != generation {
            return None;
        }
        if let Err(error) = result {
            self.void_assignments(context, error.into());
            return self.prepare_rebalance(context);
        }
        for id in self.member_ids() {
            self.set_assignment(&id, assignments.remove(&id).unwrap_or_default());
            if let Some(token) = self.take_sync(&id) {
                let response = self.synced(&id);
                context.reply(token, response);
                // Its session did not run while it waited for us.
                self.restart_session(&id, context);
            }
        }
        self.transition_to(State::Stable, context.now.wall_ms);
        None
    }

    fn synced(&self, id: &str) -> Response {
        Response::Sync(SyncResponse {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self.member(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        })
    }

    fn forget_pending_sync(&mut self, id: &str, context: &mut StepContext) {
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            context.timers.cancel(&TimerKey::Sync(self.id.clone()));
        }
    }

    fn heartbeat(&self, request: &HeartbeatRequest, context: &mut StepContext) -> Result<(), GroupError> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        self.restart_session(&request.member_id, context);
        match self.state {
            State::Empty => Err(GroupError::UnknownMemberId),
            State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            // Clients may start their heartbeats before they have their assignment.
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }
}
