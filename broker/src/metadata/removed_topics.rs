//! Ids of topics that were removed. What they left behind, a directory or a committed offset, is known by them as theirs.

use model::TopicId;
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

/// The topics that were removed last, at most [`REMOVED_TOPICS_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RemovedTopics {
    ids: RedBlackTreeSetSync<TopicId>,
    /// The same by age, the oldest first.
    by_age: RedBlackTreeMapSync<u64, TopicId>,
}

/// So many are remembered. Normally a topic leaves nothing behind; what an older one left stays where it is, and is told of.
const REMOVED_TOPICS_MAX: usize = 10_000;

impl RemovedTopics {
    /// Notes a topic, and forgets the oldest if there are too many.
    pub(super) fn insert(&mut self, id: TopicId) {
        if self.ids.contains(&id) {
            return;
        }
        self.ids.insert_mut(id);
        let next = self.by_age.last().map_or(0, |(last, _)| last + 1);
        self.by_age.insert_mut(next, id);
        if self.ids.size() > REMOVED_TOPICS_MAX
            && let Some((age, oldest)) = self.by_age.first().map(|(age, id)| (*age, *id))
        {
            self.by_age.remove_mut(&age);
            self.ids.remove_mut(&oldest);
        }
    }

    /// Whether it was removed, as far as is known.
    pub(super) fn contains(&self, id: TopicId) -> bool {
        self.ids.contains(&id)
    }

    /// Checks that both collections have the same ids, and not too many.
    pub(super) fn check_invariants(&self) {
        assert!(self.ids.size() <= REMOVED_TOPICS_MAX);
        assert_eq!(self.ids.size(), self.by_age.size());
        assert!(self.by_age.values().all(|id| self.ids.contains(id)));
    }
}

#[cfg(test)]
mod tests {
    use model::Uuid;

    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let id = |number: usize| Uuid((number as u128).to_be_bytes());
        let mut removed = RemovedTopics::default();
        for number in 0..REMOVED_TOPICS_MAX + 2 {
            removed.insert(id(number));
            removed.insert(id(number));
        }
        removed.check_invariants();
        let known: Vec<_> = (0..4).map(|number| removed.contains(id(number))).collect();
        assert_eq!(known, [false, false, true, true]);
        assert!(removed.contains(id(REMOVED_TOPICS_MAX + 1)));
    }
}
