//! Which brokers get the replicas of new partitions, and whether those that a client names will do.

use std::collections::BTreeSet;

use model::{LeaderEpoch, NodeId, PartitionId, TopicId};
use net::protocol::ErrorCode;

use super::super::error::ControllerError;
use super::super::image::PartitionImage;
use super::super::records::MetadataRecord;

/// Checks that there are enough brokers for so many replicas.
///
/// # Errors
/// There are not.
pub(super) fn check_factor(brokers: &BTreeSet<NodeId>, factor: usize) -> Result<(), ControllerError> {
    if factor <= brokers.len() {
        return Ok(());
    }
    let message = format!(
        "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be reached because only {} broker(s) are registered.",
        brokers.len()
    );
    Err(ControllerError::new(ErrorCode::InvalidReplicationFactor, message))
}

/// The replicas of a partition, the preferred leader first. Leaders go around all brokers; topics start at different
/// ones. The caller has checked the factor.
pub(super) fn place(
    brokers: &BTreeSet<NodeId>,
    topic_id: TopicId,
    partition: usize,
    factor: usize,
) -> Vec<NodeId> {
    let start = topic_id.0.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31) + usize::from(*byte));
    let first = start.wrapping_add(partition) % brokers.len().max(1);
    brokers.iter().cycle().skip(first).take(factor).copied().collect()
}

/// Checks the replicas that a client names for one partition. All partitions of a topic have equally many: `factor`, or
/// whatever the first one has.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check_replicas(
    brokers: &BTreeSet<NodeId>,
    replicas: &[i32],
    factor: Option<usize>,
) -> Result<Vec<NodeId>, ControllerError> {
    let refuse = |message: String| Err(ControllerError::new(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".into());
    }
    let mut seen = BTreeSet::new();
    for node in replicas {
        if !brokers.contains(&NodeId(*node)) {
            return refuse(format!(
                "The manual partition assignment includes broker {node}, but no such broker is registered."
            ));
        }
        if !seen.insert(node) {
            return refuse(format!(
                "The manual partition assignment includes the broker {node} more than once."
            ));
        }
    }
    match factor {
        Some(factor) if factor != replicas.len() => refuse(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous partitions, which have {factor} replica(s).",
            replicas.len()
        )),
        _ => Ok(replicas.iter().copied().map(NodeId).collect()),
    }
}

/// The record of a new partition: all replicas are in sync, the first leads.
pub(super) fn partition_record(topic_id: TopicId, index: usize, replicas: Vec<NodeId>) -> MetadataRecord {
    MetadataRecord::Partition {
        topic_id,
        partition: PartitionId(i32::try_from(index).unwrap_or(i32::MAX)),
        image: PartitionImage {
            isr: replicas.clone(),
            leader: replicas.first().copied().unwrap_or(PartitionImage::NO_LEADER),
            replicas,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::Uuid;

    use super::*;

    fn brokers(count: i32) -> BTreeSet<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    #[test]
    fn leaders_go_around_and_replicas_differ() {
        for seed in 0..16 {
            let id = Uuid([seed; 16]);
            let mut led: BTreeMap<NodeId, usize> = BTreeMap::new();
            for partition in 0..12 {
                let replicas = place(&brokers(4), id, partition, 3);
                let distinct: BTreeSet<_> = replicas.iter().collect();
                assert_eq!((replicas.len(), distinct.len()), (3, 3), "{replicas:?}");
                *led.entry(replicas[0]).or_default() += 1;
            }
            assert_eq!(led.into_values().collect::<Vec<_>>(), [3; 4]);
        }
        assert_eq!(place(&brokers(1), Uuid([9; 16]), 5, 1), [NodeId(1)]);
    }

    #[test]
    fn named_replicas_are_registered_distinct_and_equally_many() {
        let three = brokers(3);
        assert_eq!(check_replicas(&three, &[2, 1], Some(2)), Ok(vec![NodeId(2), NodeId(1)]));
        assert_eq!(check_replicas(&three, &[3], None), Ok(vec![NodeId(3)]));
        for (replicas, factor, message) in [
            (&[][..], None, "includes an empty replica list."),
            (&[1, 4], None, "includes broker 4, but no such broker is registered."),
            (&[1, 2, 1], None, "includes the broker 1 more than once."),
            (
                &[1, 2],
                Some(3),
                "includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 3 replica(s).",
            ),
        ] {
            let error = check_replicas(&three, replicas, factor).expect_err(message);
            assert_eq!(error.code, ErrorCode::InvalidReplicaAssignment);
            assert_eq!(error.message, format!("The manual partition assignment {message}"));
        }
    }
}
