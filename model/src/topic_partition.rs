//! A partition's name: its topic and its index.

use std::fmt;
use std::sync::Arc;

use crate::{PartitionId, Uuid};

/// A topic's identity (KIP-516): survives nothing but the topic itself; a topic deleted and created
/// again has another.
pub type TopicId = Uuid;

/// Names one partition of one topic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The index within the topic.
    pub partition: PartitionId,
}

impl TopicPartition {
    /// Names partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: PartitionId) -> Self {
        Self { topic: topic.into(), partition }
    }

    /// The name of the partition's directory: `TOPIC-N`.
    #[must_use]
    pub fn dir_name(&self) -> String {
        self.to_string()
    }

    /// Parses a directory name `TOPIC-N`; `None` if it is not one.
    #[must_use]
    pub fn from_dir_name(name: &str) -> Option<Self> {
        let (topic, partition) = name.rsplit_once('-')?;
        let partition: i32 = partition.parse().ok()?;
        if topic.is_empty() || partition < 0 || format!("{topic}-{partition}") != name {
            return None;
        }
        Some(Self::new(topic, PartitionId(partition)))
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_round_trip() {
        for (topic, partition) in [("a", 0), ("a-b", 12), ("__consumer_offsets", 49), ("1-2", 3)] {
            let name = TopicPartition::new(topic, PartitionId(partition));
            assert_eq!(TopicPartition::from_dir_name(&name.dir_name()), Some(name));
        }
        for bad in ["", "a", "a-", "-1", "a-x", "a-01", "a-0.deleted"] {
            assert_eq!(TopicPartition::from_dir_name(bad), None, "{bad:?}");
        }
    }
}
