//! LeaveGroup.

use super::api::{GroupError, LeaveRequest, LeaveResponse, LeaveResult, LeavingMember, Response};
use super::completion::Change;
use super::group::{ClassicGroup, State};
use super::group_coordinator::GroupCoordinator;
use super::step_context::StepContext;
use crate::coordination::runner::RequestToken;

impl GroupCoordinator {
    /// Members leave, or are sent away by an administrator.
    pub(super) fn leave(&mut self, token: RequestToken, request: LeaveRequest) {
        let context = &mut self.context;
        if request.group_id.is_empty() {
            let error = Some(GroupError::InvalidGroupId);
            return context.reply(token, Response::Leave(LeaveResponse { error, members: Vec::new() }));
        }
        let Some(group) = self.groups.get_mut(&request.group_id) else {
            let unknown = |member| result_of(member, Err(GroupError::UnknownMemberId));
            let members = request.members.into_iter().map(unknown).collect();
            return context.reply(token, Response::Leave(LeaveResponse { error: None, members }));
        };
        let members: Vec<LeaveResult> = request
            .members
            .into_iter()
            .map(|member| {
                let result = group.leave(&member, context);
                result_of(member, result)
            })
            .collect();
        let somebody_left = members.iter().any(|member| member.error.is_none());
        let record = match group.state {
            State::Stable | State::CompletingRebalance if somebody_left => group.prepare_rebalance(context),
            State::PreparingRebalance if somebody_left => group.complete_join_if_all_joined(context),
            _ => None,
        };
        let response = Response::Leave(LeaveResponse { error: None, members });
        context.append_then_reply(record.into_iter().collect(), Change::None, token, response);
    }
}

impl ClassicGroup {
    fn leave(&mut self, member: &LeavingMember, context: &mut StepContext) -> Result<(), GroupError> {
        let instance_id = member.group_instance_id.as_deref();
        let id = if member.member_id.is_empty() {
            let static_id = instance_id.and_then(|instance_id| self.static_member_id(instance_id));
            static_id.cloned().ok_or(GroupError::UnknownMemberId)?
        } else {
            member.member_id.clone()
        };
        if !self.pending_join.contains(&id) {
            self.validate_member(&id, instance_id)?;
        }
        self.remove_member(&id, member.reason.as_deref().unwrap_or("it left"), context);
        Ok(())
    }
}

fn result_of(member: LeavingMember, result: Result<(), GroupError>) -> LeaveResult {
    LeaveResult {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error: result.err(),
    }
}
