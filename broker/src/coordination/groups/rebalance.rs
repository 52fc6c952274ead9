//! How a classic group gets from one generation to the next.
//!
//! A step that leaves the group without members ends in a record that says so; it is returned, because the caller
//! knows whether a reply has to wait for it.

use super::api::{GroupError, JoinResponse, SyncResponse};
use super::group::{ClassicGroup, InitialDelay, State};
use super::member::Member;
use super::records::empty_group;
use super::step_context::StepContext;
use super::timers::TimerKey;
use crate::coordination::runner::LogRecord;

impl ClassicGroup {
    /// Starts a rebalance, or lets the running one finish if this was what it waited for.
    #[must_use]
    pub(super) fn prepare_or_complete(&mut self, context: &mut StepContext) -> Option<LogRecord> {
        if self.can_rebalance() {
            self.prepare_rebalance(context)
        } else {
            self.complete_join_if_all_joined(context)
        }
    }

    /// Asks all members to join again.
    #[must_use]
    pub(super) fn prepare_rebalance(&mut self, context: &mut StepContext) -> Option<LogRecord> {
        if self.state == State::CompletingRebalance {
            self.void_assignments(context, GroupError::RebalanceInProgress);
        }
        self.pending_sync.clear();
        context.timers.cancel(&TimerKey::Sync(self.id.clone()));

        let is_initial = self.state == State::Empty;
        self.transition_to(State::PreparingRebalance, context.now.wall_ms);
        if is_initial {
            // A group that starts gets more time, so that its first generation has most of its members.
            let delay_ms = context.config.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.wait_initially(context, InitialDelay { delay_ms, remaining_ms });
            None
        } else if self.has_all_members_joined() {
            self.complete_join(context)
        } else {
            context.schedule(TimerKey::Join(self.id.clone()), self.rebalance_timeout_ms());
            None
        }
    }

    /// Lets the running rebalance finish if everybody has joined and it is not a group's first.
    #[must_use]
    pub(super) fn complete_join_if_all_joined(&mut self, context: &mut StepContext) -> Option<LogRecord> {
        let is_initial = self.previous_state == State::Empty;
        if self.state != State::PreparingRebalance || is_initial || !self.has_all_members_joined() {
            return None;
        }
        self.complete_join(context)
    }

    /// The time to join is over.
    #[must_use]
    pub(super) fn on_join_timer(&mut self, context: &mut StepContext) -> Option<LogRecord> {
        if self.state != State::PreparingRebalance {
            return None;
        }
        if let Some(InitialDelay { delay_ms, remaining_ms }) = self.initial_delay.take()
            && self.new_member_added
            && remaining_ms != 0
        {
            self.new_member_added = false;
            let longer = InitialDelay {
                delay_ms: context.config.initial_rebalance_delay_ms.min(remaining_ms),
                remaining_ms: remaining_ms.saturating_sub(delay_ms),
            };
            self.wait_initially(context, longer);
            return None;
        }
        self.complete_join(context)
    }

    /// The time to ask for assignments is over: members that did not are gone.
    #[must_use]
    pub(super) fn on_sync_timer(&mut self, context: &mut StepContext) -> Option<LogRecord> {
        let expects_sync = matches!(self.state, State::CompletingRebalance | State::Stable);
        if !expects_sync || self.pending_sync.is_empty() {
            return None;
        }
        for member_id in std::mem::take(&mut self.pending_sync) {
            self.remove_member(&member_id, "it did not ask for its assignment in time", context);
        }
        self.prepare_rebalance(context)
    }

    /// A member, pending or not, was silent for too long.
    #[must_use]
    pub(super) fn on_session_timer(
        &mut self,
        member_id: &str,
        context: &mut StepContext,
    ) -> Option<LogRecord> {
        if self.pending_join.remove(member_id) {
            return self.complete_join_if_only_that_was_missing(context);
        }
        if self.member(member_id).is_none_or(Member::has_satisfied_heartbeat) {
            return None;
        }
        self.remove_member(member_id, "its session timed out", context);
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(context),
            State::PreparingRebalance => self.complete_join_if_only_that_was_missing(context),
            State::Empty => None,
        }
    }

    /// Removes a member, says why, and answers whatever it waits for.
    pub(super) fn remove_member(&mut self, member_id: &str, why: &str, context: &mut StepContext) {
        context.cancel_session(&self.id, member_id);
        let Some(removed) = self.remove(member_id) else { return };
        // A reason is a client's text.
        let why: String = why.chars().take(REASON_CHARS_MAX).collect();
        tracing::info!(group = %self.id, member = %member_id, ?why, "member removed from its group");
        context.reply_to(removed.awaiting_join, || JoinResponse::refused("", GroupError::UnknownMemberId));
        context.reply_to(removed.awaiting_sync, || SyncResponse::refused(GroupError::UnknownMemberId));
    }

    /// Answers everyone who waits, for a group that ends here.
    pub(super) fn send_everyone_away(&mut self, error: GroupError, context: &mut StepContext) {
        for member_id in self.member_ids() {
            let (join, sync) = (self.take_join(&member_id), self.take_sync(&member_id));
            context.reply_to(join, || JoinResponse::refused(&member_id, error));
            context.reply_to(sync, || SyncResponse::refused(error));
        }
    }

    /// Ends all timers of the group.
    pub(super) fn cancel_timers(&self, context: &mut StepContext) {
        context.timers.cancel(&TimerKey::Join(self.id.clone()));
        context.timers.cancel(&TimerKey::Sync(self.id.clone()));
        for member_id in self.members().map(|(id, _)| id).chain(&self.pending_join) {
            context.cancel_session(&self.id, member_id);
        }
    }

    /// Takes back all assignments and refuses everyone who waits for one.
    pub(super) fn void_assignments(&mut self, context: &mut StepContext, error: GroupError) {
        for member_id in self.member_ids() {
            self.set_assignment(&member_id, bytes::Bytes::new());
            if let Some(token) = self.take_sync(&member_id) {
                context.reply(token, SyncResponse::refused(error));
                self.restart_session(&member_id, context);
            }
        }
    }

    /// Starts a member's session anew.
    pub(super) fn restart_session(&self, member_id: &str, context: &mut StepContext) {
        if let Some(member) = self.member(member_id) {
            context.schedule_session(&self.id, member_id, member.session_timeout_ms);
        }
    }

    fn wait_initially(&mut self, context: &mut StepContext, delay: InitialDelay) {
        context.schedule(TimerKey::Join(self.id.clone()), delay.delay_ms);
        self.initial_delay = Some(delay);
    }

    /// Unlike after a join, the departure of the last missing member completes a group's first rebalance as well.
    fn complete_join_if_only_that_was_missing(&mut self, context: &mut StepContext) -> Option<LogRecord> {
        let complete = self.state == State::PreparingRebalance && self.has_all_members_joined();
        if complete { self.complete_join(context) } else { None }
    }

    /// Forms the next generation of those who joined, and of static members, who may be away for a while.
    fn complete_join(&mut self, context: &mut StepContext) -> Option<LogRecord> {
        context.timers.cancel(&TimerKey::Join(self.id.clone()));
        let is_gone = |member: &Member| member.awaiting_join.is_none() && member.group_instance_id.is_none();
        let gone: Vec<String> =
            self.members().filter(|(_, member)| is_gone(member)).map(|(id, _)| id.clone()).collect();
        for member_id in gone {
            self.remove_member(&member_id, "it did not join the rebalance in time", context);
        }
        if self.member_count() > 0 && !self.elect_joined_leader() {
            // Static members only, none of which has joined: nobody could compute an assignment. Their sessions
            // run out, or one of them joins.
            context.schedule(TimerKey::Join(self.id.clone()), self.rebalance_timeout_ms());
            return None;
        }
        self.init_next_generation(context.now.wall_ms);
        let (group, generation, members) = (&self.id, self.generation, self.member_count());
        tracing::info!(group = %group, generation, members, "group rebalanced");
        if self.state == State::Empty {
            return Some(empty_group(self));
        }
        for member_id in self.member_ids() {
            if let Some(token) = self.take_join(&member_id) {
                context.reply(token, self.joined(&member_id));
            }
            self.restart_session(&member_id, context);
            self.set_is_new(&member_id, false);
            self.pending_sync.insert(member_id);
        }
        context.schedule(TimerKey::Sync(self.id.clone()), self.rebalance_timeout_ms());
        None
    }
}

/// What is logged of the reason that a client gives, as long as Kafka's clients send it (KIP-800).
const REASON_CHARS_MAX: usize = 255;
