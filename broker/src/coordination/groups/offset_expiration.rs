//! Offsets that nobody used for `offsets.retention.minutes` are deleted, and groups that have nothing left.

use std::ops::Bound;

use super::group::{ClassicGroup, State};
use super::group_coordinator::GroupCoordinator;
use super::offset_cursor::{LOOKED_AT_MAX, OffsetCursor, PASS_PAUSE_MS};
use super::offset_store::CommittedOffset;
use super::timers::TimerKey;

impl GroupCoordinator {
    /// Runs until the coordinator resigns.
    pub(super) fn schedule_offset_expiration(&mut self) {
        let interval_ms = self.context.config.offsets_retention_check_interval_ms;
        self.context.schedule(TimerKey::OffsetExpiration, interval_ms);
    }

    /// Goes on with a pass over all groups, or starts one.
    pub(super) fn on_expiration_timer(&mut self) {
        let from = self.expiration.take().unwrap_or_default();
        self.expiration = self.expire_offsets(&from);
        if self.expiration.is_some() {
            self.context.schedule(TimerKey::OffsetExpiration, PASS_PAUSE_MS);
        } else {
            self.schedule_offset_expiration();
        }
    }

    /// Deletes what has expired, as far as one step goes; yields where to go on.
    fn expire_offsets(&mut self, from: &OffsetCursor) -> Option<OffsetCursor> {
        let (now_ms, retention_ms) = (self.context.now.wall_ms, self.context.config.offsets_retention_ms);
        let (mut doomed, mut unused, mut looked_at, mut next) = (Vec::new(), Vec::new(), 0, None);
        'groups: for (id, group) in
            self.groups.range::<str, _>((Bound::Included(&*from.group), Bound::Unbounded))
        {
            let after = from.after_in(id);
            // A change that is under way is newer than any retention.
            let is_changing = after.is_none() && self.offsets.last_staged(id).is_some();
            for (topic, partition, committed) in
                self.offsets.latest_behind(id, after).filter(|_| !is_changing)
            {
                if committed.is_some_and(|offset| group.is_expired(topic, offset, now_ms, retention_ms)) {
                    doomed.push((id.clone(), topic.to_owned(), partition));
                }
                looked_at += 1;
                if looked_at == LOOKED_AT_MAX {
                    next = Some(OffsetCursor::behind(id, topic, partition));
                    break 'groups;
                }
            }
            if !is_changing && group.state == State::Empty && group.pending_join.is_empty() {
                unused.push(id.clone());
            }
            looked_at += 1;
            if looked_at == LOOKED_AT_MAX {
                next = Some(OffsetCursor::behind_group(id));
                break;
            }
        }
        let has_doomed = !doomed.is_empty();
        if has_doomed {
            self.append_deletions(false, Vec::new(), doomed);
        }
        unused.retain(|id| self.offsets.latest_of(id).next().is_none());
        self.delete_groups(has_doomed, &unused);
        next
    }

    /// Writes the end of groups that have no offsets; not if they keep them because the append before (`continues`) fails.
    fn delete_groups(&mut self, continues: bool, ids: &[String]) {
        let groups: Vec<ClassicGroup> = ids.iter().filter_map(|id| self.groups.remove(id)).collect();
        for group in &groups {
            group.cancel_timers(&mut self.context);
        }
        if !groups.is_empty() {
            self.append_deletions(continues, groups, Vec::new());
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
