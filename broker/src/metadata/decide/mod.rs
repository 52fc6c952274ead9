//! What a command makes of the metadata: records to propose, or a refusal. Pure functions of the image and the
//! command; ids come in as arguments, and nothing here knows of a clock, a log or a shard.

mod configs;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod placement;
mod producer_ids;
#[cfg(test)]
mod properties_test;
#[cfg(test)]
mod test_image;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::NodeId;
use net::protocol::ErrorCode;

pub use configs::{AlterBrokerConfigs, AlterTopicConfigs, ConfigChange};
pub use create_partitions::CreatePartitions;
pub use create_topics::{CreatedTopic, NewTopic, TopicAssignment, TopicCreation, check_total};
pub use delete_topics::DeleteTopics;
pub use producer_ids::{AllocateProducerIds, PRODUCER_ID_BLOCK};

use super::error::ControllerError;
use super::image::{MetadataImage, TopicImage};
use super::records::MetadataRecord;
use crate::config::BrokerConfig;

/// What decisions go by besides the image.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The registered brokers.
    pub brokers: BTreeSet<NodeId>,
    /// The broker's settings, with the dynamic ones of the image.
    pub config: Arc<BrokerConfig>,
}

/// One change of the metadata that somebody asks for.
pub trait Command {
    /// What the client is told when the records are committed.
    type Outcome;

    /// Decides on the image that has all changes before this one.
    ///
    /// # Errors
    /// The command does not fit the image.
    fn decide(self, image: &MetadataImage, facts: &Facts)
    -> Result<Decision<Self::Outcome>, ControllerError>;
}

/// The records that a command asks for.
#[derive(Debug)]
pub struct Decision<T> {
    /// What to propose, as one change.
    pub records: Vec<MetadataRecord>,
    /// What the client is told when they are committed.
    pub outcome: T,
}

/// Partitions that one topic may have.
const PARTITIONS_MAX: usize = 100_000;

/// Partitions that one request may create (Kafka's limit).
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// The topic that a command is about.
fn required_topic<'a>(image: &'a MetadataImage, name: &str) -> Result<&'a Arc<TopicImage>, ControllerError> {
    image.topic(name).ok_or_else(|| {
        let message = format!("The topic '{name}' does not exist.");
        ControllerError::new(ErrorCode::UnknownTopicOrPartition, message)
    })
}
