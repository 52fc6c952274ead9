//! LeaveGroup.

use super::api::{
    GroupError, LeaveRequest, LeaveResponse, LeaveResult, LeavingMember, RequestToken, Response,
};
use super::completion::Effect;
use super::effects::Effects;
use super::group::{ClassicGroup, State};
use super::group_coordinator::GroupCoordinator;

impl GroupCoordinator {
    /// Members leave, or are sent away by an administrator.
    pub(super) fn leave(&mut self, token: RequestToken, request: LeaveRequest) {
        let fx = &mut self.fx;
        if request.group_id.is_empty() {
            let error = Some(GroupError::InvalidGroupId);
            return fx.reply(token, Response::Leave(LeaveResponse { error, members: Vec::new() }));
        }
        let Some(group) = self.groups.get_mut(&request.group_id) else {
            let unknown = |member| result_of(member, Err(GroupError::UnknownMemberId));
            let members = request.members.into_iter().map(unknown).collect();
            return fx.reply(token, Response::Leave(LeaveResponse { error: None, members }));
        };
        let members: Vec<LeaveResult> = request
            .members
            .into_iter()
            .map(|member| {
                let result = group.leave(&member, fx);
                result_of(member, result)
            })
            .collect();
        let somebody_left = members.iter().any(|member| member.error.is_none());
        let record = match group.state {
            State::Stable | State::CompletingRebalance if somebody_left => group.prepare_rebalance(fx),
            State::PreparingRebalance if somebody_left => group.complete_join_if_all_joined(fx),
            _ => None,
        };
        let response = Response::Leave(LeaveResponse { error: None, members });
        fx.append_then_reply(record.into_iter().collect(), Effect::None, token, response);
    }
}

impl ClassicGroup {
    fn leave(&mut self, member: &LeavingMember, fx: &mut Effects) -> Result<(), GroupError> {
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
        self.remove_member(&id, member.reason.as_deref().unwrap_or("it left"), fx);
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
