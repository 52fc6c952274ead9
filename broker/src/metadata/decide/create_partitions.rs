//! More partitions of a topic.

use net::protocol::ErrorCode;

use super::super::error::ControllerError;
use super::super::image::{MetadataImage, TopicImage};
use super::super::topic_name::is_internal;
use super::placement::{check_factor, check_replicas, partition_record, place};
use super::{Command, Decision, Facts, PARTITIONS_MAX, PARTITIONS_PER_REQUEST_MAX, required_topic};

/// Raises a topic's number of partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatePartitions {
    /// The topic.
    pub name: String,
    /// How many it shall have.
    pub count: i32,
    /// The replicas of each new one; placed by the broker if absent.
    pub assignments: Option<Vec<Vec<i32>>>,
}

impl Command for CreatePartitions {
    type Outcome = ();

    fn decide(self, image: &MetadataImage, facts: &Facts) -> Result<Decision<()>, ControllerError> {
        let Self { name, count, assignments } = self;
        if is_internal(&name) {
            // Groups are found by hashing over the number of partitions: all of them would vanish.
            return Err(ControllerError::new(
                ErrorCode::InvalidRequest,
                format!("The number of partitions of the internal topic '{name}' is fixed."),
            ));
        }
        let topic = required_topic(image, &name)?;
        let (have, want) = (topic.partitions.len(), wanted(topic, count)?);
        let factor = topic.partitions.first().map_or(1, |first| first.replicas.len());
        let replicas = match assignments {
            None => {
                check_factor(&facts.brokers, factor)?;
                (have..want).map(|index| place(&facts.brokers, topic.id, index, factor)).collect()
            }
            Some(named) if named.len() != want - have => {
                return Err(ControllerError::new(
                    ErrorCode::InvalidReplicaAssignment,
                    format!(
                        "Attempted to add {} additional partition(s), but only {} assignment(s) were specified.",
                        want - have,
                        named.len()
                    ),
                ));
            }
            Some(named) => {
                let check = |nodes: &Vec<i32>| check_replicas(&facts.brokers, nodes, Some(factor));
                named.iter().map(check).collect::<Result<Vec<_>, _>>()?
            }
        };
        let records = (have..want).zip(replicas);
        let records = records.map(|(index, replicas)| partition_record(topic.id, index, replicas)).collect();
        Ok(Decision { records, outcome: () })
    }
}

/// The number of partitions that the topic is to have, which is more than it has.
fn wanted(topic: &TopicImage, count: i32) -> Result<usize, ControllerError> {
    let (have, want, name) = (topic.partitions.len(), usize::try_from(count).unwrap_or(0), &topic.name);
    if want <= have || want > PARTITIONS_MAX {
        let message = if want == have {
            format!("Topic already has {have} partition(s).")
        } else if want > have {
            format!("The topic {name} would have {want} partitions, more than {PARTITIONS_MAX}.")
        } else {
            format!("The topic {name} currently has {have} partition(s); {count} would not be an increase.")
        };
        return Err(ControllerError::new(ErrorCode::InvalidPartitions, message));
    }
    if want - have > PARTITIONS_PER_REQUEST_MAX {
        let message = "Unable to perform excessively large batch operation.";
        return Err(ControllerError::new(ErrorCode::PolicyViolation, message));
    }
    Ok(want)
}

#[cfg(test)]
mod tests {
    use model::{NodeId, PartitionId};

    use super::super::test_image::{applied, counted, facts};
    use super::*;

    fn command(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitions {
        let assignments = assignments.map(|named| named.iter().map(|nodes| nodes.to_vec()).collect());
        CreatePartitions { name: name.to_owned(), count, assignments }
    }

    #[test]
    fn what_is_refused() {
        let image =
            applied(&MetadataImage::default(), 2, &[counted("t", 3, 2), counted("__consumer_offsets", 3, 1)]);
        type Assignments = Option<&'static [&'static [i32]]>;
        let refused: [(&str, i32, Assignments, ErrorCode, &str); 9] = [
            (
                "__consumer_offsets",
                9,
                None,
                ErrorCode::InvalidRequest,
                "The number of partitions of the internal topic '__consumer_offsets' is fixed.",
            ),
            ("x", 4, None, ErrorCode::UnknownTopicOrPartition, "The topic 'x' does not exist."),
            ("t", 3, None, ErrorCode::InvalidPartitions, "Topic already has 3 partition(s)."),
            (
                "t",
                -1,
                None,
                ErrorCode::InvalidPartitions,
                "The topic t currently has 3 partition(s); -1 would not be an increase.",
            ),
            (
                "t",
                100_001,
                None,
                ErrorCode::InvalidPartitions,
                "The topic t would have 100001 partitions, more than 100000.",
            ),
            (
                "t",
                10_004,
                None,
                ErrorCode::PolicyViolation,
                "Unable to perform excessively large batch operation.",
            ),
            (
                "t",
                5,
                Some(&[&[1, 2]]),
                ErrorCode::InvalidReplicaAssignment,
                "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
            ),
            (
                "t",
                4,
                Some(&[&[1, 3]]),
                ErrorCode::InvalidReplicaAssignment,
                "The manual partition assignment includes broker 3, but no such broker is registered.",
            ),
            (
                "t",
                4,
                Some(&[&[1]]),
                ErrorCode::InvalidReplicaAssignment,
                "The manual partition assignment includes a partition with 1 replica(s), but this is not consistent with previous partitions, which have 2 replica(s).",
            ),
        ];
        for (name, count, assignments, code, message) in refused {
            let error = command(name, count, assignments).decide(&image, &facts(2)).expect_err(message);
            assert_eq!(error, ControllerError::new(code, message));
        }
    }

    #[test]
    fn brokers_that_are_gone_are_missed() {
        let image = applied(&MetadataImage::default(), 3, &[counted("t", 1, 3)]);
        let error = command("t", 2, None).decide(&image, &facts(2)).expect_err("two brokers are left");
        assert_eq!(error.code, ErrorCode::InvalidReplicationFactor);
    }

    #[test]
    fn new_partitions_have_as_many_replicas_as_the_first() {
        let image = applied(&MetadataImage::default(), 3, &[counted("t", 1, 2)]);
        let placed = command("t", 3, None).decide(&image, &facts(3)).expect("fits");
        let image = image.with(&placed.records);
        let named = command("t", 4, Some(&[&[3, 1]])).decide(&image, &facts(3)).expect("fits");
        let image = image.with(&named.records);
        image.check_invariants();
        let topic = image.topic("t").expect("it is there");
        assert!(topic.partitions.iter().all(|partition| partition.replicas.len() == 2));
        let last = topic.partition(PartitionId(3)).expect("four partitions");
        assert_eq!(last.replicas, [NodeId(3), NodeId(1)]);
    }
}
