//! New topics, each on its own merits.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, TopicId};
use net::protocol::ErrorCode;

use super::super::error::ControllerError;
use super::super::image::MetadataImage;
use super::super::records::MetadataRecord;
use super::super::topic_name::{CLUSTER_METADATA, validate_topic_name};
use super::placement::{check_factor, check_replicas, partition_record, place};
use super::{Facts, PARTITIONS_MAX, PARTITIONS_PER_REQUEST_MAX};
use crate::config::validate_topic_configs;

/// How many partitions a new topic gets, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicAssignment {
    /// So many partitions (-1: the default) with so many replicas (-1: the default), placed by the broker.
    Count {
        /// Partitions.
        partitions: i32,
        /// Replicas of each.
        replication_factor: i16,
    },
    /// The replicas of each partition, by index.
    Manual(BTreeMap<i32, Vec<i32>>),
}

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// Partitions and replicas.
    pub assignment: TopicAssignment,
    /// Configs of its own; a null value is refused.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic that was created, or would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: usize,
    /// Replicas of each.
    pub replication_factor: i16,
}

/// Replicas of a partition whose topic leaves their number to the broker.
const DEFAULT_REPLICATION_FACTOR: i16 = 1;

/// Refuses a request that would create too many partitions in all.
///
/// # Errors
/// It would.
pub fn check_total(facts: &Facts, topics: &[NewTopic]) -> Result<(), ControllerError> {
    let partitions = |topic: &NewTopic| match &topic.assignment {
        TopicAssignment::Count { partitions: -1, .. } => facts.config.num_partitions(),
        TopicAssignment::Count { partitions, .. } => *partitions,
        TopicAssignment::Manual(replicas) => i32::try_from(replicas.len()).unwrap_or(i32::MAX),
    };
    let total: usize =
        topics.iter().map(|topic| usize::try_from(partitions(topic)).unwrap_or(0).max(1)).sum();
    if total > PARTITIONS_PER_REQUEST_MAX {
        let message = "Excessively large number of partitions per request.";
        return Err(ControllerError::new(ErrorCode::PolicyViolation, message));
    }
    Ok(())
}

/// Decides on the topics of one request, one at a time, so that whoever has many can pause in between.
pub struct TopicCreation<'a> {
    image: &'a MetadataImage,
    facts: &'a Facts,
    names: BTreeSet<String>,
    records: Vec<MetadataRecord>,
}

impl<'a> TopicCreation<'a> {
    /// A request on the image that has all changes before it.
    #[must_use]
    pub fn new(image: &'a MetadataImage, facts: &'a Facts) -> Self {
        Self { image, facts, names: BTreeSet::new(), records: Vec::new() }
    }

    /// Creates a topic with this id.
    ///
    /// # Errors
    /// What is wrong with it; the others are not touched by that.
    pub fn create(&mut self, topic: NewTopic, id: TopicId) -> Result<CreatedTopic, ControllerError> {
        self.check_name(&topic.name)?;
        let replicas = replicas(self.facts, id, &topic.assignment)?;
        let configs = own_configs(&topic.configs)?;
        let replication_factor = replicas
            .first()
            .map_or(DEFAULT_REPLICATION_FACTOR, |first| i16::try_from(first.len()).unwrap_or(i16::MAX));
        let created = CreatedTopic { id, partitions: replicas.len(), replication_factor };
        self.records.push(MetadataRecord::Topic { name: topic.name.clone(), id });
        self.records.extend(configs.into_iter().map(|(key, value)| MetadataRecord::TopicConfig {
            topic: topic.name.clone(),
            key,
            value: Some(value),
        }));
        let partitions = replicas.into_iter().enumerate();
        self.records.extend(partitions.map(|(index, replicas)| partition_record(id, index, replicas)));
        self.names.insert(topic.name);
        Ok(created)
    }

    /// The records of all topics that were created, as one change.
    #[must_use]
    pub fn into_records(self) -> Vec<MetadataRecord> {
        self.records
    }

    fn check_name(&self, name: &str) -> Result<(), ControllerError> {
        let invalid = |message| Err(ControllerError::new(ErrorCode::InvalidTopicException, message));
        if let Err(message) = validate_topic_name(name) {
            return invalid(message);
        }
        if name == CLUSTER_METADATA {
            let message = format!("Creation of internal topic {CLUSTER_METADATA} is prohibited.");
            return Err(ControllerError::new(ErrorCode::InvalidRequest, message));
        }
        if self.image.topic(name).is_some() || self.names.contains(name) {
            let message = format!("Topic '{name}' already exists.");
            return Err(ControllerError::new(ErrorCode::TopicAlreadyExists, message));
        }
        // As in Kafka, topics of one request do not collide with each other.
        match self.image.topic_alike(name) {
            Some(other) => invalid(format!("Topic '{name}' collides with existing topic: {other}")),
            None => Ok(()),
        }
    }
}

/// The replicas of each partition.
fn replicas(
    facts: &Facts,
    id: TopicId,
    assignment: &TopicAssignment,
) -> Result<Vec<Vec<NodeId>>, ControllerError> {
    match assignment {
        TopicAssignment::Count { partitions, replication_factor } => {
            let count = partition_count(facts, *partitions)?;
            let factor = replica_count(facts, *replication_factor)?;
            Ok((0..count).map(|index| place(&facts.brokers, id, index, factor)).collect())
        }
        TopicAssignment::Manual(named) if named.is_empty() => {
            let message = "The manual partition assignment includes no partitions.";
            Err(ControllerError::new(ErrorCode::InvalidReplicaAssignment, message))
        }
        TopicAssignment::Manual(named) => {
            let mut replicas: Vec<Vec<NodeId>> = Vec::with_capacity(named.len());
            for (expected, (index, nodes)) in named.iter().enumerate() {
                if usize::try_from(*index) != Ok(expected) {
                    return Err(ControllerError::new(
                        ErrorCode::InvalidReplicaAssignment,
                        "partitions should be a consecutive 0-based integer sequence",
                    ));
                }
                let factor = replicas.first().map(Vec::len);
                replicas.push(check_replicas(&facts.brokers, nodes, factor)?);
            }
            Ok(replicas)
        }
    }
}

fn partition_count(facts: &Facts, asked: i32) -> Result<usize, ControllerError> {
    let count = if asked == -1 { facts.config.num_partitions() } else { asked };
    let count = usize::try_from(count).ok().filter(|count| (1..=PARTITIONS_MAX).contains(count));
    count.ok_or_else(|| {
        let message = format!(
            "Number of partitions was set to an invalid value: {asked}; 1 to {PARTITIONS_MAX} are possible."
        );
        ControllerError::new(ErrorCode::InvalidPartitions, message)
    })
}

fn replica_count(facts: &Facts, asked: i16) -> Result<usize, ControllerError> {
    let factor = if asked == -1 { DEFAULT_REPLICATION_FACTOR } else { asked };
    let Some(factor) = usize::try_from(factor).ok().filter(|factor| *factor > 0) else {
        let message =
            format!("Replication factor must be larger than 0, or -1 to use the default value: {asked}");
        return Err(ControllerError::new(ErrorCode::InvalidReplicationFactor, message));
    };
    check_factor(&facts.brokers, factor)?;
    Ok(factor)
}

/// The topic's own settings, good ones; of a key that stands there twice the last value.
fn own_configs(given: &[(String, Option<String>)]) -> Result<BTreeMap<String, String>, ControllerError> {
    let refuse = |message| ControllerError::new(ErrorCode::InvalidConfig, message);
    let mut configs = BTreeMap::new();
    for (key, value) in given {
        let Some(value) = value else {
            return Err(refuse(format!("Null value not supported for topic configs: {key}")));
        };
        configs.insert(key.clone(), value.clone());
    }
    validate_topic_configs(&configs).map_err(|error| refuse(error.to_string()))?;
    Ok(configs)
}

#[cfg(test)]
mod tests {
    use model::{PartitionId, Uuid};

    use super::super::test_image::{applied, counted, facts};
    use super::*;

    fn manual(replicas: &[(i32, &[i32])]) -> NewTopic {
        let replicas = replicas.iter().map(|(index, nodes)| (*index, nodes.to_vec())).collect();
        NewTopic { assignment: TopicAssignment::Manual(replicas), ..counted("t", 1, 1) }
    }

    fn with_configs(configs: &[(&str, Option<&str>)]) -> NewTopic {
        let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)));
        NewTopic { configs: configs.collect(), ..counted("t", 1, 1) }
    }

    #[track_caller]
    fn check(image: &MetadataImage, brokers: i32, topic: NewTopic, code: ErrorCode, message: &str) {
        let facts = facts(brokers);
        let mut creation = TopicCreation::new(image, &facts);
        let refused = creation.create(topic, Uuid([1; 16]));
        assert_eq!(refused, Err(ControllerError::new(code, message)));
        assert_eq!(creation.into_records(), [], "what is refused leaves nothing");
    }

    #[test]
    fn names_that_cannot_be_created() {
        let image = applied(&MetadataImage::default(), 1, &[counted("a.b", 1, 1)]);
        for (name, code, message) in [
            ("a.b", ErrorCode::TopicAlreadyExists, "Topic 'a.b' already exists."),
            ("a_b", ErrorCode::InvalidTopicException, "Topic 'a_b' collides with existing topic: a.b"),
            ("", ErrorCode::InvalidTopicException, "Topic name is invalid: the empty string is not allowed"),
            (
                CLUSTER_METADATA,
                ErrorCode::InvalidRequest,
                "Creation of internal topic __cluster_metadata is prohibited.",
            ),
        ] {
            check(&image, 1, counted(name, 1, 1), code, message);
        }
    }

    #[test]
    fn one_request_names_a_topic_once() {
        let (image, facts) = (MetadataImage::default(), facts(1));
        let mut creation = TopicCreation::new(&image, &facts);
        assert!(creation.create(counted("a", 0, 1), Uuid([1; 16])).is_err(), "a refused name stays free");
        assert!(creation.create(counted("a", 1, 1), Uuid([2; 16])).is_ok());
        let again = creation.create(counted("a", 1, 1), Uuid([3; 16])).map_err(|error| error.code);
        assert_eq!(again, Err(ErrorCode::TopicAlreadyExists));
    }

    #[test]
    fn numbers_of_partitions_and_replicas() {
        let image = MetadataImage::default();
        for partitions in [0, -2, 100_001] {
            let message = format!(
                "Number of partitions was set to an invalid value: {partitions}; 1 to 100000 are possible."
            );
            check(&image, 3, counted("t", partitions, 1), ErrorCode::InvalidPartitions, &message);
        }
        for factor in [0, -2] {
            let message =
                format!("Replication factor must be larger than 0, or -1 to use the default value: {factor}");
            check(&image, 3, counted("t", 1, factor), ErrorCode::InvalidReplicationFactor, &message);
        }
        for (brokers, factor) in [(1, 2), (3, 4)] {
            let message = format!(
                "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be reached because only {brokers} broker(s) are registered."
            );
            let topic = counted("t", 1, i16::try_from(factor).expect("small"));
            check(&image, brokers, topic, ErrorCode::InvalidReplicationFactor, &message);
        }
    }

    #[test]
    fn assignments_are_consecutive() {
        let image = MetadataImage::default();
        let message = "partitions should be a consecutive 0-based integer sequence";
        check(&image, 1, manual(&[(1, &[1]), (2, &[1])]), ErrorCode::InvalidReplicaAssignment, message);
        let message = "The manual partition assignment includes broker 2, but no such broker is registered.";
        check(&image, 1, manual(&[(0, &[2])]), ErrorCode::InvalidReplicaAssignment, message);
    }

    #[test]
    fn configs_are_good_and_have_values() {
        let image = MetadataImage::default();
        let message = "Null value not supported for topic configs: retention.ms";
        check(&image, 1, with_configs(&[("retention.ms", None)]), ErrorCode::InvalidConfig, message);
        let facts = facts(1);
        let mut creation = TopicCreation::new(&image, &facts);
        let refused = creation.create(with_configs(&[("retention.ms", Some("a week"))]), Uuid([1; 16]));
        assert_eq!(refused.map_err(|error| error.code), Err(ErrorCode::InvalidConfig));
    }

    #[test]
    fn a_created_topic_is_as_asked() {
        let (image, facts) = (MetadataImage::default(), facts(3));
        let mut creation = TopicCreation::new(&image, &facts);
        let placed = creation.create(counted("placed", 5, 3), Uuid([1; 16]));
        assert_eq!(placed, Ok(CreatedTopic { id: Uuid([1; 16]), partitions: 5, replication_factor: 3 }));
        let defaults = creation.create(counted("defaults", -1, -1), Uuid([2; 16]));
        assert_eq!(defaults, Ok(CreatedTopic { id: Uuid([2; 16]), partitions: 1, replication_factor: 1 }));
        let named = creation.create(manual(&[(0, &[3, 1]), (1, &[2, 3])]), Uuid([3; 16]));
        assert_eq!(named, Ok(CreatedTopic { id: Uuid([3; 16]), partitions: 2, replication_factor: 2 }));
        let image = image.with(&creation.into_records());
        image.check_invariants();
        let topic = image.topic("t").expect("created");
        let partition = topic.partition(PartitionId(1)).expect("two partitions");
        assert_eq!((&partition.replicas[..], partition.leader), (&[NodeId(2), NodeId(3)][..], NodeId(2)));
        assert_eq!(image.topic("placed").map(|topic| topic.partitions.len()), Some(5));
    }

    #[test]
    fn a_request_creates_only_so_many_partitions() {
        let facts = facts(1);
        assert_eq!(check_total(&facts, &[counted("a", 9_999, 1), counted("b", -1, 1)]), Ok(()));
        let message = "Excessively large number of partitions per request.";
        let refused = Err(ControllerError::new(ErrorCode::PolicyViolation, message));
        assert_eq!(check_total(&facts, &[counted("a", 10_000, 1), counted("b", 0, 1)]), refused);
        assert_eq!(check_total(&facts, &[counted("a", 10_001, 1)]), refused);
    }
}
