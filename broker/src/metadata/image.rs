//! The immutable picture of the metadata that every shard holds. Images share what is the same in them.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasherDefault;
use std::ops::Bound;
use std::sync::Arc;

use model::{LeaderEpoch, NodeId, PartitionId, RecordBatch, TopicId};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync, VectorSync};

use super::alike_names::AlikeNames;
use super::records::{self, MetadataRecord};
use super::removed_topics::RemovedTopics;
use super::topic_name::is_internal;

/// One partition as the metadata has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionImage {
    /// The replicas, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// The replicas in sync.
    pub isr: Vec<NodeId>,
    /// The leader; -1 if there is none.
    pub leader: NodeId,
    /// Rises with every change of the leader.
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change of the record.
    pub partition_epoch: i32,
}

impl PartitionImage {
    /// Kafka's value for a partition that nobody leads.
    pub const NO_LEADER: NodeId = NodeId(-1);

    fn check_invariants(&self) {
        let is_replica = |node: &NodeId| self.replicas.contains(node);
        let distinct: BTreeSet<_> = self.replicas.iter().collect();
        assert!(!self.replicas.is_empty(), "no replicas: {self:?}");
        assert_eq!(distinct.len(), self.replicas.len(), "a replica twice: {self:?}");
        assert!(self.isr.iter().all(is_replica), "in sync without being a replica: {self:?}");
        assert!(
            self.leader == Self::NO_LEADER || self.isr.contains(&self.leader),
            "the leader is not in sync: {self:?}"
        );
    }
}

/// One topic as the metadata has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicImage {
    /// The name.
    pub name: Arc<str>,
    /// The identity.
    pub id: TopicId,
    /// Whether the broker itself writes it.
    pub internal: bool,
    /// The partitions, by index.
    pub partitions: VectorSync<PartitionImage>,
    /// The configs set on the topic itself.
    pub configs: BTreeMap<String, String>,
}

impl TopicImage {
    /// The partition of that index.
    #[must_use]
    pub fn partition(&self, partition: PartitionId) -> Option<&PartitionImage> {
        usize::try_from(partition.0).ok().and_then(|index| self.partitions.get(index))
    }

    /// The indexes of all partitions.
    pub fn partition_ids(&self) -> impl Iterator<Item = PartitionId> {
        (0..i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)).map(PartitionId)
    }
}

/// All metadata at one moment. Lives on every shard, as one shared snapshot.
///
/// Invariant: names and ids lead to the same topics; a topic has partitions, and is not one that was removed; the replicas
/// of a partition are distinct, and those in sync, with the leader, are among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataImage {
    topics: RedBlackTreeMapSync<Arc<str>, Arc<TopicImage>>,
    names: HashTrieMapSync<TopicId, Arc<str>, BuildHasherDefault<DefaultHasher>>,
    alike: AlikeNames,
    removed: RemovedTopics,
    broker_configs: BTreeMap<Option<NodeId>, Arc<BTreeMap<String, String>>>,
    next_producer_id: i64,
}

impl MetadataImage {
    /// All topics, in order of name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    /// The topics from that name on, in order of name.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.range::<str, _>((Bound::Included(name), Bound::Unbounded)).map(|(_, topic)| topic)
    }

    /// The topic of that name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    /// The topic of that id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// A topic whose name differs from this one in dots and underscores only.
    #[must_use]
    pub fn topic_alike(&self, name: &str) -> Option<&Arc<str>> {
        self.alike.other_than(name)
    }

    /// Whether the log says that this topic was removed. Only the last ones are known.
    #[must_use]
    pub fn was_removed(&self, id: TopicId) -> bool {
        self.removed.contains(id)
    }

    /// Dynamic configs of a broker, or of all brokers (`None`).
    #[must_use]
    pub fn broker_configs(&self, node: Option<NodeId>) -> BTreeMap<String, String> {
        self.broker_configs.get(&node).map(|configs| BTreeMap::clone(configs)).unwrap_or_default()
    }

    /// Brokers with dynamic configs, present or past; `None` means all.
    pub fn configured_brokers(&self) -> impl Iterator<Item = Option<NodeId>> {
        self.broker_configs.keys().copied()
    }

    /// The first producer id that no block has taken.
    #[must_use]
    pub const fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Partitions of all topics together.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }

    /// The image after these records.
    #[must_use]
    pub fn with(&self, records: &[MetadataRecord]) -> Self {
        let mut builder = ImageBuilder::from_image(self);
        for record in records {
            builder.apply(record);
        }
        builder.build()
    }

    /// Checks the invariant, for tests: it looks at everything.
    ///
    /// # Panics
    /// It does not hold.
    pub fn check_invariants(&self) {
        assert_eq!(self.names.size(), self.topics.size(), "an id for each name");
        self.alike.check_invariants(self.topics.keys());
        self.removed.check_invariants();
        for (name, topic) in &self.topics {
            assert_eq!(name, &topic.name, "a topic under another name");
            assert_eq!(self.names.get(&topic.id), Some(name), "the id leads elsewhere");
            assert!(!self.was_removed(topic.id), "{name} was removed");
            assert_eq!(topic.internal, is_internal(name), "{name}");
            assert!(!topic.partitions.is_empty(), "{name} has no partitions");
            topic.partitions.iter().for_each(PartitionImage::check_invariants);
        }
        assert!(self.next_producer_id >= 0);
    }
}

/// Applies metadata records to an image, in the order of the log.
#[derive(Debug, Default)]
pub struct ImageBuilder {
    image: MetadataImage,
}

impl ImageBuilder {
    /// Goes on from `image`.
    #[must_use]
    pub fn from_image(image: &MetadataImage) -> Self {
        Self { image: image.clone() }
    }

    /// The image with everything applied.
    #[must_use]
    pub fn build(self) -> MetadataImage {
        self.image
    }

    /// Applies every record of a batch of the metadata log, up to one that cannot be read.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn apply_batch(&mut self, batch: &RecordBatch<'_>) -> anyhow::Result<()> {
        records::decode_batch(batch, |record| self.apply(&record))
    }

    /// Applies one record. A record that refers to a topic which is not there is skipped, as in
    /// a log whose topic was removed later.
    pub fn apply(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::Topic { name, id } => {
                let name: Arc<str> = Arc::from(name.as_str());
                let internal = is_internal(&name);
                let topic = TopicImage {
                    name: Arc::clone(&name),
                    id: *id,
                    internal,
                    partitions: VectorSync::new_sync(),
                    configs: BTreeMap::new(),
                };
                self.image.names.insert_mut(*id, Arc::clone(&name));
                self.image.alike.insert(&name);
                self.image.topics.insert_mut(name, Arc::new(topic));
            }
            MetadataRecord::Partition { topic_id, partition, image } => {
                let Some(topic) = self.topic_by_id(*topic_id) else { return };
                let Ok(index) = usize::try_from(partition.0) else { return };
                // Partitions are written in order; one with a gap before it would be a damaged log.
                if index == topic.partitions.len() {
                    topic.partitions.push_back_mut(image.clone());
                } else {
                    topic.partitions.set_mut(index, image.clone());
                }
            }
            MetadataRecord::RemoveTopic { topic_id } => {
                if let Some(name) = self.image.names.get(topic_id).cloned() {
                    self.image.names.remove_mut(topic_id);
                    self.image.topics.remove_mut(&name);
                    self.image.alike.remove(&name);
                }
                self.image.removed.insert(*topic_id);
            }
            MetadataRecord::TopicConfig { topic, key, value } => {
                if let Some(topic) = self.image.topics.get_mut(topic.as_str()) {
                    set(&mut Arc::make_mut(topic).configs, key, value.as_deref());
                }
            }
            MetadataRecord::BrokerConfig { node, key, value } => {
                let configs = self.image.broker_configs.entry(*node).or_default();
                set(Arc::make_mut(configs), key, value.as_deref());
            }
            MetadataRecord::ProducerIds { next } => {
                self.image.next_producer_id = self.image.next_producer_id.max(*next);
            }
        }
    }

    fn topic_by_id(&mut self, id: TopicId) -> Option<&mut TopicImage> {
        let name = self.image.names.get(&id)?;
        self.image.topics.get_mut(name).map(Arc::make_mut)
    }
}

fn set(configs: &mut BTreeMap<String, String>, key: &str, value: Option<&str>) {
    match value {
        Some(value) => configs.insert(key.to_owned(), value.to_owned()),
        None => configs.remove(key),
    };
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use model::Uuid;

    use super::*;

    fn id(topic: u32) -> TopicId {
        Uuid(u128::from(topic).to_be_bytes())
    }

    fn partition(topic: u32, leader_epoch: i32) -> MetadataRecord {
        let image = PartitionImage {
            replicas: vec![NodeId(1)],
            isr: vec![NodeId(1)],
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(leader_epoch),
            partition_epoch: 0,
        };
        MetadataRecord::Partition { topic_id: id(topic), partition: PartitionId(0), image }
    }

    fn image_of(topics: u32) -> MetadataImage {
        let records = (0..topics).flat_map(|topic| {
            [MetadataRecord::Topic { name: format!("topic_{topic}"), id: id(topic) }, partition(topic, 0)]
        });
        MetadataImage::default().with(&records.collect::<Vec<_>>())
    }

    /// The least time that a change of one partition takes.
    fn time_of_a_change(image: &MetadataImage) -> Duration {
        let change = |epoch| {
            let began = Instant::now();
            let changed = image.with(&[partition(7, epoch)]);
            (began.elapsed(), changed)
        };
        let times = (0..200).map(change).map(|(time, changed)| {
            assert_eq!(changed.topics.size(), image.topics.size());
            time
        });
        times.min().unwrap_or_default()
    }

    #[test]
    fn a_change_costs_about_as_much_among_many_topics_as_among_few() {
        let (few, many) = (image_of(100), image_of(10_000));
        let (few, many) = (time_of_a_change(&few), time_of_a_change(&many));
        assert!(many < few * 10, "100 topics: {few:?}, 10,000 topics: {many:?}");
    }

    #[test]
    fn an_image_stays_as_it_was() {
        let before = image_of(10);
        let after = before.with(&[partition(7, 5), MetadataRecord::RemoveTopic { topic_id: id(3) }]);
        before.check_invariants();
        after.check_invariants();
        assert_eq!(before, image_of(10));
        assert_eq!(after.topics().count(), 9);
        assert_eq!(after.topics_from("topic_4").next().map(|topic| topic.id), Some(id(4)));
        let untouched = |image: &MetadataImage| image.topic_by_id(id(5)).map(Arc::as_ptr);
        assert_eq!(untouched(&before), untouched(&after), "shared");
    }
}
