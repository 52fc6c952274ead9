//! Offsets in topics that were removed are forgotten in passes over all offsets, a bounded number of them in each step.

use std::collections::BTreeMap;

use model::Uuid;

use super::api::{GroupNotice, RemovedTopics};
use super::group_coordinator::GroupCoordinator;
use super::offset_cursor::{LOOKED_AT_MAX, OffsetCursor, PASS_PAUSE_MS};
use super::offset_store::CommittedOffset;
use super::timers::TimerKey;

/// The present pass, and what comes after it. All topics that are removed during a pass share the next one.
#[derive(Debug, Default)]
pub(super) struct RemovedTopicsPass {
    /// How far the present pass has come, if there is one.
    at: Option<OffsetCursor>,
    sought: Sought,
    next: Sought,
}

/// Removed topics. Bounded by the topics that there were.
#[derive(Debug, Default)]
struct Sought {
    /// By name, with their ids.
    deleted: BTreeMap<String, Vec<Uuid>>,
    before: Option<RemovedTopics>,
}

impl Sought {
    fn add(&mut self, notice: GroupNotice) {
        match notice {
            GroupNotice::TopicDeleted { topic, topic_id } => {
                self.deleted.entry(topic).or_default().push(topic_id);
            }
            GroupNotice::RemovedBefore(topics) => self.before = Some(topics),
        }
    }

    fn is_empty(&self) -> bool {
        self.deleted.is_empty() && self.before.is_none()
    }

    /// Whether an offset was committed in one of them.
    fn contains(&self, topic: &str, offset: &CommittedOffset) -> bool {
        self.deleted.get(topic).is_some_and(|ids| ids.iter().any(|id| offset.is_in(*id)))
            || self.before.as_ref().is_some_and(|before| before.contains(topic, offset.topic_id))
    }
}

impl GroupCoordinator {
    /// Topics are gone, and with them the offsets in them: not in this step, since many may go at the same time.
    pub(super) fn topics_removed(&mut self, notice: GroupNotice) {
        self.removed_topics.next.add(notice);
        if self.removed_topics.at.is_none() {
            self.context.schedule(TimerKey::RemovedTopics, PASS_PAUSE_MS);
        }
    }

    /// Goes on with the present pass, or starts the next.
    pub(super) fn on_removed_topics_timer(&mut self) {
        let pass = &mut self.removed_topics;
        let from = pass.at.take().unwrap_or_else(|| {
            pass.sought = std::mem::take(&mut pass.next);
            OffsetCursor::default()
        });
        self.removed_topics.at = self.forget_removed(&from);
        if self.is_forgetting() {
            self.context.schedule(TimerKey::RemovedTopics, PASS_PAUSE_MS);
        } else {
            self.removed_topics.sought = Sought::default();
        }
    }

    /// Whether a pass is under way or due.
    pub(super) fn is_forgetting(&self) -> bool {
        self.removed_topics.at.is_some() || !self.removed_topics.next.is_empty()
    }

    /// Forgets what is sought, as far as one step goes; yields where to go on.
    fn forget_removed(&mut self, from: &OffsetCursor) -> Option<OffsetCursor> {
        let sought = &self.removed_topics.sought;
        let (mut doomed, mut next) = (Vec::new(), None);
        let offsets = self.offsets.groups_from(&from.group).flat_map(|group| {
            let behind = self.offsets.latest_behind(group, from.after_in(group));
            behind.map(move |(topic, partition, committed)| (group, topic, partition, committed))
        });
        for (looked_at, (group, topic, partition, committed)) in offsets.enumerate() {
            if committed.is_some_and(|offset| sought.contains(topic, offset)) {
                doomed.push((group.to_owned(), topic.to_owned(), partition));
            }
            if looked_at + 1 == LOOKED_AT_MAX {
                next = Some(OffsetCursor::behind(group, topic, partition));
                break;
            }
        }
        if !doomed.is_empty() {
            self.append_deletions(false, Vec::new(), doomed);
        }
        next
    }
}
