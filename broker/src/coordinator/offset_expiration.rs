//! Offsets that nobody used for `offsets.retention.minutes` are deleted, and groups that have nothing left.

use super::commit::RECORDS_PER_APPEND_MAX;
use super::group::{ClassicGroup, State};
use super::group_coordinator::GroupCoordinator;
use super::offset_store::CommittedOffset;
use super::timers::TimerKey;

impl GroupCoordinator {
    /// Runs until the coordinator resigns.
    pub(super) fn schedule_offset_expiration(&mut self) {
        let interval_ms = self.fx.config.offsets_retention_check_interval_ms;
        self.fx.schedule(TimerKey::OffsetExpiration, interval_ms);
    }

    /// Deletes what has expired.
    pub(super) fn expire_offsets(&mut self) {
        let (now_ms, retention_ms) = (self.fx.now.wall_ms, self.fx.config.offsets_retention_ms);
        let mut doomed = Vec::new();
        let mut done = Vec::new();
        for group in self.groups.values() {
            // A change that is under way is newer than any retention.
            if self.offsets.last_staged(&group.id).is_some() {
                continue;
            }
            let mut is_all_expired = true;
            for (topic, partition, committed) in self.offsets.latest_of(&group.id) {
                if group.is_expired(topic, committed, now_ms, retention_ms) {
                    doomed.push((group.id.clone(), topic.to_owned(), partition));
                } else {
                    is_all_expired = false;
                }
            }
            if is_all_expired && group.state == State::Empty && group.pending_join.is_empty() {
                done.push(group.id.clone());
            }
        }
        for chunk in doomed.chunks(RECORDS_PER_APPEND_MAX) {
            self.append_deletions(Vec::new(), chunk.to_vec());
        }
        for id in done {
            self.delete_group(&id);
        }
    }
}

impl ClassicGroup {
    /// Kafka's rule: the retention counts from when the group became empty, or for a topic that a stable consumer
    /// group does not consume, or a group without membership, from the commit. Offsets in use never expire.
    fn is_expired(&self, topic: &str, committed: &CommittedOffset, now_ms: i64, retention_ms: i64) -> bool {
        let committed_ms = committed.commit_timestamp_ms;
        let since_ms = match (&self.protocol_type, self.state) {
            (None, _) => committed_ms,
            (Some(_), State::Empty) => self.state_since_ms.unwrap_or(committed_ms),
            (Some(_), State::Stable) if self.uses_consumer_protocol() && self.subscribed_topics.is_some() => {
                committed_ms
            }
            _ => return false,
        };
        if self.is_subscribed_to(topic) {
            return false;
        }
        match committed.expire_timestamp_ms {
            Some(expire_ms) => now_ms >= expire_ms,
            None => now_ms.saturating_sub(since_ms) >= retention_ms,
        }
    }
}
