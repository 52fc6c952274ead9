//! Images and facts for the tests of decisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{NodeId, Uuid};

use super::{Facts, NewTopic, TopicAssignment, TopicCreation};
use crate::config::BrokerConfig;
use crate::metadata::MetadataImage;

/// A cluster of so many brokers, from 1 on, with default settings.
pub(super) fn facts(brokers: i32) -> Facts {
    let config = BrokerConfig::from_static(BTreeMap::new()).expect("defaults are valid");
    Facts { brokers: (1..=brokers).map(NodeId).collect(), config: Arc::new(config) }
}

/// A topic whose partitions the broker places.
pub(super) fn counted(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        assignment: TopicAssignment::Count { partitions, replication_factor },
        configs: Vec::new(),
    }
}

/// The image with these topics created, on so many brokers.
pub(super) fn applied(image: &MetadataImage, brokers: i32, topics: &[NewTopic]) -> MetadataImage {
    let facts = facts(brokers);
    let mut creation = TopicCreation::new(image, &facts);
    for (number, topic) in (1..).zip(topics) {
        creation.create(topic.clone(), Uuid([number; 16])).expect("the test's topics are good");
    }
    image.with(&creation.into_records())
}
