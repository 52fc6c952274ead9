//! Committed offsets of all groups of a coordinator, with the changes that are not durable yet.

use crate::coordination::runner::AppendToken;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use model::Uuid;

/// An offset that a group committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommittedOffset {
    /// The next record to consume.
    pub(super) offset: i64,
    /// -1 if unknown.
    pub(super) leader_epoch: i32,
    pub(super) metadata: String,
    pub(super) commit_timestamp_ms: i64,
    /// Only from clients that set a retention time.
    pub(super) expire_timestamp_ms: Option<i64>,
    /// Zero if the client named the topic only.
    pub(super) topic_id: Uuid,
}

impl CommittedOffset {
    /// Whether it was committed in that topic, as far as both ids are known.
    pub(super) fn is_in(&self, topic_id: Uuid) -> bool {
        topic_id.is_zero() || self.topic_id.is_zero() || self.topic_id == topic_id
    }
}

/// The offset of one partition: the durable one, and those that follow as their records become durable.
#[derive(Debug, Default)]
struct Slot {
    durable: Option<CommittedOffset>,
    /// In append order; `None` is a deletion.
    staged: VecDeque<(AppendToken, Option<CommittedOffset>)>,
}

impl Slot {
    /// What holds when everything staged becomes durable.
    fn latest(&self) -> Option<&CommittedOffset> {
        self.staged.back().map_or(self.durable.as_ref(), |(_, value)| value.as_ref())
    }
}

type Partitions = BTreeMap<i32, Slot>;
type Topics = BTreeMap<String, Partitions>;

/// Offsets by group, topic and partition.
///
/// Invariant: no slot, topic or group is kept that has neither a durable nor a staged value.
#[derive(Debug, Default)]
pub(super) struct OffsetStore {
    groups: BTreeMap<String, Topics>,
}

impl OffsetStore {
    /// Sets or deletes an offset whose record is durable, as replay does.
    pub(super) fn replay(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        value: Option<CommittedOffset>,
    ) {
        self.slot(group, topic, partition).durable = value;
        self.drop_if_empty(group, topic, partition);
    }

    /// Notes a change whose record is being written.
    pub(super) fn stage(
        &mut self,
        (group, topic, partition): (&str, &str, i32),
        token: AppendToken,
        value: Option<CommittedOffset>,
    ) {
        self.slot(group, topic, partition).staged.push_back((token, value));
    }

    /// Makes a staged change durable, or drops it.
    pub(super) fn settle(
        &mut self,
        (group, topic, partition): (&str, &str, i32),
        token: AppendToken,
        durable: bool,
    ) {
        let slot = self.slot(group, topic, partition);
        while let Some(at) = slot.staged.iter().position(|(staged, _)| *staged == token) {
            if let Some((_, value)) = slot.staged.remove(at)
                && durable
            {
                slot.durable = value;
            }
        }
        self.drop_if_empty(group, topic, partition);
    }

    /// The durable offset, unless it was committed in another topic of that name. Ids that are not known match any.
    pub(super) fn durable(
        &self,
        group: &str,
        (topic, topic_id): (&str, Uuid),
        partition: i32,
    ) -> Option<&CommittedOffset> {
        let durable = self.groups.get(group)?.get(topic)?.get(&partition)?.durable.as_ref()?;
        durable.is_in(topic_id).then_some(durable)
    }

    /// All durable offsets of a group.
    pub(super) fn durable_of(&self, group: &str) -> impl Iterator<Item = (&str, i32, &CommittedOffset)> {
        self.slots(group)
            .filter_map(|(topic, partition, slot)| Some((topic, partition, slot.durable.as_ref()?)))
    }

    /// All offsets of a group that hold once everything staged is durable.
    pub(super) fn latest_of(&self, group: &str) -> impl Iterator<Item = (&str, i32, &CommittedOffset)> {
        self.slots(group).filter_map(|(topic, partition, slot)| Some((topic, partition, slot.latest()?)))
    }

    /// The groups from `first` on, in order.
    pub(super) fn groups_from(&self, first: &str) -> impl Iterator<Item = &str> {
        let groups = self.groups.range::<str, _>((Bound::Included(first), Bound::Unbounded));
        groups.map(|(group, _)| group.as_str())
    }

    /// Every offset of a group behind `after`, in order; `None` for those that a change which is under way deletes.
    pub(super) fn latest_behind<'a>(
        &'a self,
        group: &str,
        after: Option<(&'a str, i32)>,
    ) -> impl Iterator<Item = (&'a str, i32, Option<&'a CommittedOffset>)> {
        let first = after.map_or(Bound::Unbounded, |(topic, _)| Bound::Included(topic));
        let topics = self.groups.get(group).map(|topics| topics.range::<str, _>((first, Bound::Unbounded)));
        let slots = topics.into_iter().flatten().flat_map(move |(topic, slots)| {
            let behind = match after {
                Some((last, partition)) if last == topic => Bound::Excluded(partition),
                _ => Bound::Unbounded,
            };
            slots.range((behind, Bound::Unbounded)).map(move |(id, slot)| (topic.as_str(), *id, slot))
        });
        slots.map(|(topic, partition, slot)| (topic, partition, slot.latest()))
    }

    /// Whether an offset holds once everything staged is durable.
    pub(super) fn has_latest(&self, group: &str, topic: &str, partition: i32) -> bool {
        let slot = || self.groups.get(group)?.get(topic)?.get(&partition);
        slot().is_some_and(|slot| slot.latest().is_some())
    }

    /// The last append that a group's offsets wait for.
    pub(super) fn last_staged(&self, group: &str) -> Option<AppendToken> {
        self.slots(group).filter_map(|(_, _, slot)| slot.staged.back()).map(|(token, _)| *token).max()
    }

    /// Drops everything that is not durable.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
    }

    fn slots(&self, group: &str) -> impl Iterator<Item = (&str, i32, &Slot)> {
        let topics = self.groups.get(group).into_iter().flatten();
        topics.flat_map(|(topic, slots)| slots.iter().map(move |(id, slot)| (topic.as_str(), *id, slot)))
    }

    fn slot(&mut self, group: &str, topic: &str, partition: i32) -> &mut Slot {
        let topics = self.groups.entry(group.to_owned()).or_default();
        topics.entry(topic.to_owned()).or_default().entry(partition).or_default()
    }

    fn drop_if_empty(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(topics) = self.groups.get_mut(group) else { return };
        let Some(slots) = topics.get_mut(topic) else { return };
        if slots.get(&partition).is_some_and(|slot| slot.durable.is_none() && slot.staged.is_empty()) {
            slots.remove(&partition);
        }
        if slots.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.groups.remove(group);
        }
    }
}
