//! What a step does to the outside, collected while it runs: replies, appends and timers.

use std::collections::BTreeMap;

use super::api::{Action, GroupError, JoinResponse, Response};
use super::completion::{Change, Completion};
use super::config::GroupConfig;
use super::timers::{TimerKey, Timers};
use crate::coordination::runner::{AppendToken, LogRecord, Now, RequestToken};

/// The settings, the time of the running step, and what it has decided so far.
#[derive(Debug)]
pub(super) struct StepContext {
    pub(super) config: GroupConfig,
    pub(super) now: Now,
    pub(super) timers: Timers,
    pub(super) under_way: BTreeMap<AppendToken, Completion>,
    appended: u64,
    actions: Vec<Action>,
}

impl StepContext {
    pub(super) fn new(config: GroupConfig) -> Self {
        Self {
            config,
            now: Now::default(),
            timers: Timers::default(),
            under_way: BTreeMap::new(),
            appended: 0,
            actions: Vec::new(),
        }
    }

    /// Hands out what the step decided.
    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(super) fn reply(&mut self, token: RequestToken, response: Response) {
        self.actions.push(Action::Reply { token, response });
    }

    /// Replies to a request that may not be there.
    pub(super) fn reply_to(&mut self, token: Option<RequestToken>, response: impl FnOnce() -> Response) {
        if let Some(token) = token {
            self.reply(token, response());
        }
    }

    /// Answers a request that the same member has sent again, which its client does when the connection broke.
    pub(super) fn supersede_join(&mut self, token: Option<RequestToken>, member_id: &str) {
        self.reply_to(token, || JoinResponse::refused(member_id, GroupError::RebalanceInProgress));
    }

    /// The token that the next append will have.
    pub(super) const fn next_append(&self) -> AppendToken {
        AppendToken(self.appended + 1)
    }

    /// Appends records, of which there must be some, and notes what follows.
    pub(super) fn append(&mut self, records: Vec<LogRecord>, completion: Completion) -> AppendToken {
        self.append_behind(false, records, completion)
    }

    /// The same; if it `continues` the append before it, it fails with that.
    pub(super) fn append_behind(
        &mut self,
        continues: bool,
        records: Vec<LogRecord>,
        completion: Completion,
    ) -> AppendToken {
        debug_assert!(!records.is_empty(), "an append has records");
        let token = self.next_append();
        self.appended += 1;
        self.under_way.insert(token, completion);
        self.actions.push(Action::Append { token, records, continues });
        token
    }

    /// Replies once the records are durable; at once if there are none.
    pub(super) fn append_then_reply(
        &mut self,
        records: Vec<LogRecord>,
        change: Change,
        token: RequestToken,
        response: Response,
    ) {
        if records.is_empty() {
            self.reply(token, response);
        } else {
            self.append(records, Completion { reply: Some((token, response)), change });
        }
    }

    /// Sets a timer to `delay_ms` from now.
    pub(super) fn schedule(&mut self, key: TimerKey, delay_ms: u64) {
        self.timers.set(key, self.now.monotonic_ms.saturating_add(delay_ms));
    }

    /// Starts a member's session anew.
    pub(super) fn schedule_session(&mut self, group: &str, member: &str, timeout_ms: i32) {
        let key = TimerKey::Session { group: group.to_owned(), member: member.to_owned() };
        self.schedule(key, u64::try_from(timeout_ms).unwrap_or(0));
    }

    /// Ends a member's session.
    pub(super) fn cancel_session(&mut self, group: &str, member: &str) {
        self.timers.cancel(&TimerKey::Session { group: group.to_owned(), member: member.to_owned() });
    }
}
