//! What a change of the metadata changes, so that whoever follows it looks at nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{NodeId, PartitionId, TopicId};

use super::image::{MetadataImage, TopicImage};
use super::records::MetadataRecord;

/// The difference between two images, by identity; what is there now, the later one says.
///
/// Invariant: what is removed is not changed as well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataDelta {
    partitions: BTreeMap<TopicId, BTreeSet<PartitionId>>,
    topic_configs: BTreeSet<TopicId>,
    removed: BTreeMap<TopicId, Arc<TopicImage>>,
    broker_configs: BTreeSet<Option<NodeId>>,
}

impl MetadataDelta {
    /// What these records change in an image.
    #[must_use]
    pub fn of(before: &MetadataImage, records: &[MetadataRecord]) -> Self {
        let mut delta = Self::default();
        let mut created: BTreeMap<&str, TopicId> = BTreeMap::new();
        for record in records {
            match record {
                MetadataRecord::Topic { name, id } => drop(created.insert(name, *id)),
                MetadataRecord::Partition { topic_id, partition, .. } => {
                    delta.partitions.entry(*topic_id).or_default().insert(*partition);
                }
                MetadataRecord::RemoveTopic { topic_id } => {
                    delta.partitions.remove(topic_id);
                    delta.topic_configs.remove(topic_id);
                    if let Some(topic) = before.topic_by_id(*topic_id) {
                        delta.removed.insert(*topic_id, Arc::clone(topic));
                    }
                }
                MetadataRecord::TopicConfig { topic, .. } => {
                    let known = || before.topic(topic).map(|topic| topic.id);
                    delta.topic_configs.extend(created.get(topic.as_str()).copied().or_else(known));
                }
                MetadataRecord::BrokerConfig { node, .. } => drop(delta.broker_configs.insert(*node)),
                MetadataRecord::ProducerIds { .. } => {}
            }
        }
        delta
    }

    /// What an image has beyond an empty one, for whoever has none yet.
    #[must_use]
    pub fn everything(image: &MetadataImage) -> Self {
        Self {
            partitions: image.topics().map(|topic| (topic.id, topic.partition_ids().collect())).collect(),
            topic_configs: image.topics().map(|topic| topic.id).collect(),
            removed: BTreeMap::new(),
            broker_configs: image.configured_brokers().collect(),
        }
    }

    /// Partitions that came into being or changed.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicId, PartitionId)> {
        self.partitions.iter().flat_map(|(topic, ids)| ids.iter().map(|id| (*topic, *id)))
    }

    /// Topics whose own configs changed.
    pub fn topic_configs(&self) -> impl Iterator<Item = TopicId> {
        self.topic_configs.iter().copied()
    }

    /// Topics that are gone, as they were.
    pub fn removed_topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.removed.values()
    }

    /// Brokers whose dynamic configs changed; `None` means all.
    pub fn broker_configs(&self) -> impl Iterator<Item = Option<NodeId>> {
        self.broker_configs.iter().copied()
    }

    /// Checks that it says all that differs between two images, for tests.
    ///
    /// # Panics
    /// It does not.
    #[cfg(test)]
    pub(super) fn check_covers(&self, before: &MetadataImage, after: &MetadataImage) {
        for topic in after.topics() {
            let known = before.topic_by_id(topic.id);
            assert!(!self.removed.contains_key(&topic.id), "{} is there", topic.name);
            for id in topic.partition_ids() {
                let is_same = known.and_then(|known| known.partition(id)) == topic.partition(id);
                let is_named = self.partitions.get(&topic.id).is_some_and(|ids| ids.contains(&id));
                assert!(is_same || is_named, "{}-{id} has changed: {self:?}", topic.name);
            }
            let had = known.map(|known| known.configs.clone()).unwrap_or_default();
            let is_named = self.topic_configs.contains(&topic.id);
            assert!(had == topic.configs || is_named, "{} has other configs: {self:?}", topic.name);
        }
        for topic in before.topics().filter(|topic| after.topic_by_id(topic.id).is_none()) {
            assert!(self.removed.contains_key(&topic.id), "{} is gone: {self:?}", topic.name);
        }
        for node in before.configured_brokers().chain(after.configured_brokers()) {
            let is_same = before.broker_configs(node) == after.broker_configs(node);
            assert!(is_same || self.broker_configs.contains(&node), "configs of {node:?}: {self:?}");
        }
        let changed: BTreeSet<_> = self.partitions.keys().chain(&self.topic_configs).collect();
        assert!(self.removed.keys().all(|id| !changed.contains(id)), "removed and changed: {self:?}");
    }
}

#[cfg(test)]
mod tests {
    use model::{LeaderEpoch, Uuid};

    use super::super::image::PartitionImage;
    use super::*;

    const A: TopicId = Uuid([1; 16]);
    const B: TopicId = Uuid([2; 16]);

    fn partition(topic_id: TopicId, index: i32) -> MetadataRecord {
        let image = PartitionImage {
            replicas: vec![NodeId(1)],
            isr: vec![NodeId(1)],
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
        };
        MetadataRecord::Partition { topic_id, partition: PartitionId(index), image }
    }

    fn topic(name: &str, id: TopicId) -> MetadataRecord {
        MetadataRecord::Topic { name: name.into(), id }
    }

    fn config(topic: &str) -> MetadataRecord {
        MetadataRecord::TopicConfig {
            topic: topic.into(),
            key: "retention.ms".into(),
            value: Some("5".into()),
        }
    }

    #[test]
    fn it_names_what_records_change_and_nothing_else() {
        let before = MetadataImage::default().with(&[topic("a", A), partition(A, 0), partition(A, 1)]);
        let delta =
            MetadataDelta::of(&before, &[partition(A, 1), topic("b", B), config("b"), partition(B, 0)]);
        let partitions: Vec<_> = delta.partitions().collect();
        assert_eq!(partitions, [(A, PartitionId(1)), (B, PartitionId(0))]);
        assert_eq!(delta.topic_configs().collect::<Vec<_>>(), [B]);
        assert_eq!(delta.removed_topics().count() + delta.broker_configs().count(), 0);
        let delta = MetadataDelta::of(&before, &[MetadataRecord::ProducerIds { next: 5 }]);
        assert_eq!(delta, MetadataDelta::default());
    }

    #[test]
    fn what_is_removed_is_named_as_it_was() {
        let before = MetadataImage::default().with(&[topic("a", A), partition(A, 0)]);
        let removed = |topic_id| MetadataRecord::RemoveTopic { topic_id };
        let delta = MetadataDelta::of(&before, &[config("a"), partition(A, 0), removed(A)]);
        let names: Vec<_> = delta.removed_topics().map(|topic| &*topic.name).collect();
        assert_eq!((names, delta.partitions().count()), (vec!["a"], 0));
        assert_eq!(delta.topic_configs().count(), 0);
        let unseen = MetadataDelta::of(&before, &[topic("b", B), partition(B, 0), removed(B)]);
        assert_eq!(unseen, MetadataDelta::default());
    }

    #[test]
    fn everything_is_what_an_image_has() {
        let records = [
            topic("a", A),
            config("a"),
            partition(A, 0),
            MetadataRecord::BrokerConfig { node: None, key: "k".into(), value: Some("v".into()) },
        ];
        let image = MetadataImage::default().with(&records);
        MetadataDelta::everything(&image).check_covers(&MetadataImage::default(), &image);
        assert_eq!(MetadataDelta::everything(&image), MetadataDelta::of(&MetadataImage::default(), &records));
    }
}
