//! Offsets in topics that were removed while nobody could take note of it: before a kill, or during a load.

use model::Uuid;

use super::api::{Action, Now};
use super::group_coordinator::GroupCoordinator;
use super::offset_cursor::{LOOKED_AT_MAX, OffsetCursor};

impl GroupCoordinator {
    /// Goes on with a pass over all offsets that forgets those whose topic, by name and id, `is_removed`. The id is zero
    /// where a record does not tell. Yields what is to be done, as [`GroupCoordinator::step`], and where to go on.
    #[must_use]
    pub fn forget_removed_topics(
        &mut self,
        from: &OffsetCursor,
        is_removed: impl Fn(&str, Uuid) -> bool,
        now: Now,
    ) -> (Vec<Action>, Option<OffsetCursor>) {
        self.fx.now = now;
        let (mut doomed, mut next) = (Vec::new(), None);
        let offsets = self.offsets.groups_from(&from.group).flat_map(|group| {
            let behind = self.offsets.latest_behind(group, from.after_in(group));
            behind.map(move |(topic, partition, committed)| (group, topic, partition, committed.topic_id))
        });
        for (looked_at, (group, topic, partition, topic_id)) in offsets.enumerate() {
            if is_removed(topic, topic_id) {
                doomed.push((group.to_owned(), topic.to_owned(), partition));
            }
            if looked_at + 1 == LOOKED_AT_MAX {
                next = Some(OffsetCursor::behind(group, topic, partition));
                break;
            }
        }
        if !doomed.is_empty() {
            self.append_deletions(Vec::new(), doomed);
        }
        (self.fx.take_actions(), next)
    }
}
