//! A static member (KIP-345) that comes back with its instance id but without a member id.

use super::api::{GroupError, JoinRequest, JoinResponse, Response, SyncResponse};
use super::completion::{Change, Completion, StaticRejoin};
use super::group::{ClassicGroup, State};
use super::records::stable_group;
use super::step_context::StepContext;
use crate::coordination::runner::{LogRecord, RequestToken, WriteError};

impl ClassicGroup {
    /// Gives the member a new id and fences the old one. In a stable group whose protocol stays the same that is
    /// all: the assignment is kept and nobody else notices.
    pub(super) fn rejoin_static(
        &mut self,
        token: RequestToken,
        request: JoinRequest,
        old_id: &str,
        new_id: String,
        context: &mut StepContext,
    ) -> Option<LogRecord> {
        let old = self.member(old_id).expect("the index of static members names members");
        let old_protocols = old.protocols.clone();
        let old_timeouts_ms = (old.session_timeout_ms, old.rebalance_timeout_ms);
        let old_leader = self.leader.clone();
        let (join, sync) = self.replace_static_member(old_id, &new_id);
        context.reply_to(join, || JoinResponse::refused(old_id, GroupError::FencedInstanceId));
        context.reply_to(sync, || SyncResponse::refused(GroupError::FencedInstanceId));
        context.cancel_session(&self.id, old_id);

        let timeouts_ms = (request.session_timeout_ms, request.rebalance_timeout_ms.max(0));
        self.update_member(&new_id, request.protocols, timeouts_ms, Some(token));
        self.restart_session(&new_id, context);
        match self.state {
            State::Stable if self.select_protocol() == self.protocol => {
                let assignments =
                    self.members().map(|(id, member)| (id.clone(), member.assignment.clone())).collect();
                let change = Change::Rejoined(Box::new(StaticRejoin {
                    group: self.id.clone(),
                    generation: self.generation(),
                    old_member_id: old_id.to_owned(),
                    new_member_id: new_id,
                    old_leader,
                    old_protocols,
                    old_timeouts_ms,
                    supports_skip_assignment: request.supports_skip_assignment,
                }));
                context.append(vec![stable_group(self, &assignments)], Completion { reply: None, change });
                None
            }
            // The leader may be computing an assignment for the old id: it has to start over.
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(context),
            State::PreparingRebalance => self.complete_join_if_all_joined(context),
            // An empty group has no static members.
            State::Empty => None,
        }
    }

    /// The record of a return is durable, or failed. If the group has moved on meanwhile, the member's request
    /// waits for the rebalance like any other.
    pub(super) fn rejoined(
        &mut self,
        rejoin: StaticRejoin,
        result: Result<(), WriteError>,
        context: &mut StepContext,
    ) {
        if self.state != State::Stable || self.generation() != rejoin.generation {
            return;
        }
        let new_id = rejoin.new_member_id;
        let Some(token) = self.take_join(&new_id) else { return };
        if let Err(error) = result {
            context.reply(token, JoinResponse::refused("", error.into()));
            context.cancel_session(&self.id, &new_id);
            self.update_member(&new_id, rejoin.old_protocols, rejoin.old_timeouts_ms, None);
            self.replace_static_member(&new_id, &rejoin.old_member_id);
            self.restart_session(&rejoin.old_member_id, context);
            return;
        }
        let mut response = self.join_response(&new_id);
        if rejoin.supports_skip_assignment {
            response.skip_assignment = self.is_leader(&new_id);
        } else {
            // An older client that finds itself the leader would compute an assignment, which nobody wants. So it
            // is told of the leader before it came back.
            response.leader = rejoin.old_leader.unwrap_or_default();
            response.members = Vec::new();
        }
        context.reply(token, Response::Join(response));
    }
}
