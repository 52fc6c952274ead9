//! JoinGroup.

use std::fmt::Write as _;

use super::api::{GroupError, JoinRequest, JoinResponse};
use super::completion::{Change, Completion};
use super::group::{ClassicGroup, State};
use super::group_coordinator::GroupCoordinator;
use super::member::Member;
use super::records::empty_group;
use super::step_context::StepContext;
use crate::coordination::runner::{LogRecord, RequestToken};

impl GroupCoordinator {
    /// A member joins, for the first time or again.
    pub(super) fn join(&mut self, token: RequestToken, request: JoinRequest) {
        let context = &mut self.context;
        let refused = |error| JoinResponse::refused(&request.member_id, error);
        let timeouts = context.config.min_session_timeout_ms..=context.config.max_session_timeout_ms;
        if request.group_id.is_empty() {
            return context.reply(token, refused(GroupError::InvalidGroupId));
        }
        if !timeouts.contains(&request.session_timeout_ms) {
            return context.reply(token, refused(GroupError::InvalidSessionTimeout));
        }
        if !self.groups.contains_key(&request.group_id) {
            if !request.member_id.is_empty() {
                return context.reply(token, refused(GroupError::UnknownMemberId));
            }
            self.create_group(&request.group_id);
        }
        let Some(group) = self.groups.get_mut(&request.group_id) else { return };
        let context = &mut self.context;
        let record = if !group.accepts(&request.member_id, context.config.group_size_max) {
            context.reply(token, JoinResponse::refused("", GroupError::GroupMaxSizeReached));
            group.remove_member(&request.member_id, "the group is full", context);
            group.complete_join_if_all_joined(context)
        } else if !group.supports_protocols(&request.protocol_type, &request.protocols) {
            context.reply(
                token,
                JoinResponse::refused(&request.member_id, GroupError::InconsistentGroupProtocol),
            );
            None
        } else if request.member_id.is_empty() {
            group.join_new(token, request, context)
        } else {
            group.join_known(token, request, context)
        };
        if let Some(record) = record {
            context.append(vec![record], Completion::NOTHING);
        }
    }

    /// A group that nobody knew. Its record makes it known after a restart as well.
    fn create_group(&mut self, group_id: &str) {
        let mut group = ClassicGroup::new(group_id, Some(self.context.now.wall_ms));
        let change = Change::Created { group: group_id.to_owned() };
        let token = self.context.append(vec![empty_group(&group)], Completion { reply: None, change });
        group.created_by = Some(token);
        self.groups.insert(group_id.to_owned(), group);
    }
}

impl ClassicGroup {
    /// Whether there is room for a member. One that is in already has a place, unless the limit was lowered and
    /// others have joined the running rebalance before it.
    fn accepts(&self, member_id: &str, group_size_max: usize) -> bool {
        let member = self.member(member_id);
        match self.state {
            State::Empty => self.pending_join.len() < PENDING_MEMBERS_MAX || !member_id.is_empty(),
            State::PreparingRebalance => {
                let has_joined = member.is_some_and(|member| member.awaiting_join.is_some());
                has_joined
                    || (self.awaiting_join_count() < group_size_max && self.has_pending_room(member_id))
            }
            State::CompletingRebalance | State::Stable => {
                member.is_some() || (self.member_count() < group_size_max && self.has_pending_room(member_id))
            }
        }
    }

    fn has_pending_room(&self, member_id: &str) -> bool {
        !member_id.is_empty() || self.pending_join.len() < PENDING_MEMBERS_MAX
    }

    /// A member without an id.
    fn join_new(
        &mut self,
        token: RequestToken,
        request: JoinRequest,
        context: &mut StepContext,
    ) -> Option<LogRecord> {
        let instance_id = request.group_instance_id.as_deref();
        let new_id = new_member_id(instance_id.unwrap_or(&request.client_id), request.random);
        if let Some(old_id) = instance_id.and_then(|id| self.static_member_id(id)).cloned() {
            return self.rejoin_static(token, request, &old_id, new_id, context);
        }
        if instance_id.is_some() || !request.requires_known_member_id {
            return self.add_and_rebalance(token, request, new_id, context);
        }
        // A client that loses its connection while its first JoinGroup waits would join again as somebody else, and
        // the group would fill with ghosts. So it gets an id first (KIP-394).
        context.schedule_session(&self.id, &new_id, request.session_timeout_ms);
        context.reply(token, JoinResponse::refused(&new_id, GroupError::MemberIdRequired));
        self.pending_join.insert(new_id);
        None
    }

    /// A member with an id.
    fn join_known(
        &mut self,
        token: RequestToken,
        request: JoinRequest,
        context: &mut StepContext,
    ) -> Option<LogRecord> {
        let id = request.member_id.clone();
        if self.pending_join.contains(&id) && request.group_instance_id.is_none() {
            return self.add_and_rebalance(token, request, id, context);
        }
        if let Err(error) = self.validate_member(&id, request.group_instance_id.as_deref()) {
            context.reply(token, JoinResponse::refused(&id, error));
            return None;
        }
        let is_unchanged = self.member(&id).is_some_and(|member| member.protocols == request.protocols);
        let answer_at_once = match self.state {
            // It may have missed the reply of this generation.
            State::CompletingRebalance => is_unchanged,
            // A leader that joins again wants a rebalance, because it saw a change of topics.
            State::Stable => is_unchanged && !self.is_leader(&id),
            State::PreparingRebalance => false,
            State::Empty => {
                context.reply(token, JoinResponse::refused(&id, GroupError::UnknownMemberId));
                return None;
            }
        };
        if answer_at_once {
            context.reply(token, self.joined(&id));
            return None;
        }
        let timeouts_ms = (request.session_timeout_ms, request.rebalance_timeout_ms.max(0));
        let superseded = self.update_member(&id, request.protocols, timeouts_ms, Some(token));
        context.supersede_join(superseded, &id);
        self.prepare_or_complete(context)
    }

    /// Adds a member and starts, or goes on with, a rebalance.
    fn add_and_rebalance(
        &mut self,
        token: RequestToken,
        request: JoinRequest,
        id: String,
        context: &mut StepContext,
    ) -> Option<LogRecord> {
        if self.state == State::PreparingRebalance && self.previous_state == State::Empty {
            self.new_member_added = true;
        }
        if self.member_count() == 0 {
            self.protocol_type = Some(request.protocol_type);
        }
        let member = Member {
            group_instance_id: request.group_instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms.max(0),
            is_new: true,
            ..Member::new(request.protocols)
        };
        // Until it knows its generation the client sends no heartbeats, and we do not notice that it went away
        // while its request waits. So it has a long but limited time.
        context.schedule_session(&self.id, &id, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.add(id, member, Some(token));
        self.prepare_or_complete(context)
    }
}

/// Kafka's member ids: what the client calls itself, a dash, a random UUID.
fn new_member_id(prefix: &str, mut random: [u8; 16]) -> String {
    random[6] = (random[6] & 0x0f) | 0x40;
    random[8] = (random[8] & 0x3f) | 0x80;
    let mut id: String = prefix.chars().take(MEMBER_ID_PREFIX_CHARS_MAX).collect();
    for (at, byte) in random.iter().enumerate() {
        if matches!(at, 0 | 4 | 6 | 8 | 10) {
            id.push('-');
        }
        write!(id, "{byte:02x}").expect("a string takes what is written");
    }
    id
}

/// Kafka's limit for new members, and like there not a setting.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1_000;
/// At most so many ids of a group are given out and not used; more are refused with GROUP_MAX_SIZE_REACHED.
const PENDING_MEMBERS_MAX: usize = 10_000;
/// A longer client id is cut, so that the member id fits the length limit of strings in records.
const MEMBER_ID_PREFIX_CHARS_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_ids_are_prefix_and_uuid_v4() {
        assert_eq!(new_member_id("c", [0xff; 16]), "c-ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(new_member_id(&"x".repeat(40_000), [0; 16]).len(), 255 + 37);
    }
}
