//! What the controller grants and keeps on record, row by row.

use std::collections::{BTreeMap, BTreeSet};

use model::{BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, Offset, PartitionEpoch};

use crate::{
    BrokerState, Brokers, Durability, IsrProposal, PartitionRecord, RecordError, RecoveryReport,
    ReplicaConfig, Settle,
};

fn directory(node: i32) -> DirectoryId {
    model::Uuid([u8::try_from(node).unwrap() + 1; 16])
}

fn nodes(nodes: &[i32]) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

fn directories(nodes: &[i32]) -> BTreeSet<DirectoryId> {
    nodes.iter().copied().map(directory).collect()
}

fn config(m: usize) -> ReplicaConfig {
    ReplicaConfig::new(m, Durability::QuorumFsync)
}

/// Three replicas, all in sync, led by 0.
fn record(m: usize) -> PartitionRecord {
    PartitionRecord::new((0..3).map(|node| (NodeId(node), directory(node))).collect(), NodeId(0), config(m))
}

/// All brokers, in their tenth incarnation, but for the fenced ones.
fn brokers(fenced: &[i32]) -> Brokers {
    let state = |node| BrokerState { epoch: BrokerEpoch(10), is_fenced: fenced.contains(&node) };
    (0..3).map(|node| (NodeId(node), state(node))).collect()
}

fn proposal(record: &PartitionRecord, isr: &[(i32, Option<i64>)]) -> IsrProposal {
    IsrProposal {
        leader_epoch: record.leader_epoch,
        partition_epoch: record.partition_epoch,
        isr: isr.iter().map(|(node, epoch)| (NodeId(*node), epoch.map(BrokerEpoch))).collect(),
    }
}

#[test]
fn former_members_stay_on_record_until_the_isr_is_settled() {
    let mut record = record(1);
    assert_eq!(record.durable.copies, 2, "a majority, though min.insync.replicas is 1");
    record.fence(NodeId(2), &brokers(&[2]), config(1));
    record.fence(NodeId(1), &brokers(&[1, 2]), config(1));
    assert_eq!((&record.isr, record.leader), (&nodes(&[0]), Some(NodeId(0))));
    assert_eq!((&record.durable.among, record.durable.copies), (&directories(&[0, 1, 2]), 1));
    assert_eq!(record.durable.reports_needed(), 3);
    let (leader_epoch, partition_epoch) = (record.leader_epoch, record.partition_epoch);
    let settle = Settle { leader_epoch, partition_epoch, copies: 1 };
    assert_eq!(record.settle(NodeId(0), settle), Ok(()));
    assert_eq!((&record.durable.among, record.durable.reports_needed()), (&directories(&[0]), 1));
    assert!(record.is_settled(config(1)) && record.partition_epoch > partition_epoch);
    let again = record.settle(NodeId(0), settle);
    assert!(matches!(again, Err(RecordError::WrongPartitionEpoch { .. })), "it speaks of an older record");
    let other = Settle { partition_epoch: record.partition_epoch, ..settle };
    assert!(matches!(record.settle(NodeId(1), other), Err(RecordError::FencedLeader { .. })));
}

#[test]
fn only_those_join_that_are_what_they_were_when_they_said_so() {
    type Row = (&'static [(i32, Option<i64>)], &'static [i32], Result<(), RecordError>);
    let ineligible = |node| Err(RecordError::Ineligible { node: NodeId(node) });
    let rows: [Row; 6] = [
        (&[(0, None), (1, Some(10)), (2, Some(10))], &[], Ok(())),
        (&[(0, None), (1, Some(10))], &[], Ok(())),
        (&[(0, None), (1, Some(9))], &[], ineligible(1)),
        (&[(0, None), (1, None)], &[], ineligible(1)),
        (&[(0, None), (1, Some(10))], &[1], ineligible(1)),
        (&[(0, None), (7, Some(10))], &[], ineligible(7)),
    ];
    for (isr, fenced, expect) in rows {
        let mut record = record(1);
        for node in [1, 2] {
            record.fence(NodeId(node), &brokers(&[1, 2]), config(1));
        }
        let before = record.clone();
        let proposal = proposal(&record, isr);
        assert_eq!(record.alter_isr(NodeId(0), &proposal, &brokers(fenced), config(1)), expect, "{isr:?}");
        assert_eq!(record == before, expect.is_err(), "a refusal changes nothing");
        record.check_invariants();
    }
}

#[test]
fn asking_for_the_present_isr_voids_what_was_asked_before() {
    let mut record = record(1);
    record.fence(NodeId(1), &brokers(&[1]), config(1));
    let earlier = proposal(&record, &[(0, None), (1, Some(10)), (2, Some(10))]);
    let same = proposal(&record, &[(0, None), (2, Some(10))]);
    assert_eq!(record.alter_isr(NodeId(0), &same, &brokers(&[]), config(1)), Ok(()));
    let late = record.alter_isr(NodeId(0), &earlier, &brokers(&[]), config(1));
    assert!(matches!(late, Err(RecordError::WrongPartitionEpoch { .. })));
}

#[test]
fn a_new_incarnation_ends_the_old_ones_epoch_and_membership() {
    // Whether it stopped cleanly and came with the same disk, and who is in the ISR then.
    for (is_clean, disk, isr) in [(true, 0, &[0, 1, 2][..]), (false, 0, &[1, 2]), (true, 9, &[1, 2])] {
        let mut record = record(2);
        record.register(NodeId(0), directory(disk), is_clean, &brokers(&[0]), config(2));
        assert_eq!((&record.isr, record.leader), (&nodes(isr), Some(NodeId(1))), "{is_clean} {disk}");
        assert_eq!(record.leader_epoch, LeaderEpoch(1));
        assert_eq!(record.replicas[&NodeId(0)], directory(disk));
        assert_eq!(record.durable.among, directories(&[0, 1, 2]), "its old disk may hold what counts");
    }
    let mut record = record(2);
    record.register(NodeId(1), directory(1), true, &brokers(&[1]), config(2));
    assert_eq!((record.leader, record.leader_epoch), (Some(NodeId(0)), LeaderEpoch(0)), "it did not lead");
}

#[test]
fn members_that_leave_an_isr_that_could_not_go_on_may_lead_again() {
    let mut record = record(2);
    record.fence(NodeId(2), &brokers(&[2]), config(2));
    record.fence(NodeId(1), &brokers(&[1, 2]), config(2));
    assert_eq!((&record.isr, &record.elr), (&nodes(&[0]), &nodes(&[1])));
    record.fence(NodeId(0), &brokers(&[0, 1, 2]), config(2));
    assert_eq!((record.isr.len(), &record.elr, record.leader), (0, &nodes(&[0, 1]), None));
    record.unfence(&brokers(&[0, 1]), config(2));
    assert_eq!(record.leader, None, "2 has left an ISR that went on without it");
    record.unfence(&brokers(&[0, 2]), config(2));
    assert_eq!((record.leader, &record.isr, &record.elr), (Some(NodeId(1)), &nodes(&[1]), &nodes(&[0])));
    record.check_invariants();
}

#[test]
fn settings_count_from_the_moment_they_are_on_record() {
    let mut record = record(3);
    assert_eq!(record.durable.copies, 3);
    record.configure(config(1));
    assert_eq!((record.durable.copies, record.partition_epoch), (2, PartitionEpoch(1)), "fewer at once");
    record.configure(config(3));
    assert_eq!((record.durable.copies, record.partition_epoch), (2, PartitionEpoch(2)), "more when settled");
    record.fence(NodeId(2), &brokers(&[2]), config(3));
    assert_eq!(record.elr, nodes(&[2]));
    record.configure(config(2));
    assert!(record.elr.is_empty(), "from here on the ISR acknowledges without it");
}

#[test]
fn a_recovery_waits_for_enough_reports_and_takes_the_best() {
    let report = |node: i32, epoch: i32, view: i32, log_end: i64| RecoveryReport {
        node: NodeId(node),
        directory: directory(node),
        epoch: LeaderEpoch(epoch),
        view: LeaderEpoch(view),
        log_end: Offset(log_end),
    };
    let blackout = || {
        let mut record = record(2);
        for node in 0..3 {
            record.register(NodeId(node), directory(node), false, &brokers(&[0, 1, 2]), config(2));
        }
        assert_eq!((record.leader, record.isr.len(), record.elr.len()), (None, 0, 0));
        record
    };
    let epoch = blackout().leader_epoch.0;
    let mut foreign = report(1, epoch, 9, 99);
    foreign.directory = directory(7);
    type Row = (Vec<RecoveryReport>, Option<i32>);
    let rows: [Row; 7] = [
        (vec![report(0, epoch, 5, 10)], None),
        (vec![report(0, epoch, 5, 10), report(0, epoch, 5, 10)], None),
        (vec![report(0, epoch, 5, 10), report(1, epoch, 4, 50)], Some(0)),
        (vec![report(0, epoch, 5, 10), report(1, epoch, 5, 11)], Some(1)),
        (vec![report(0, epoch, 5, 10), report(1, epoch - 1, 6, 11)], None),
        (vec![report(0, epoch, 5, 10), foreign], None),
        (vec![report(0, epoch, 5, 10), report(1, epoch, 5, 9), report(2, epoch, 5, 12)], Some(2)),
    ];
    for (reports, winner) in rows {
        let mut record = blackout();
        assert_eq!(record.recover(&reports, config(2)), winner.is_some(), "{reports:?}");
        assert_eq!(record.leader, winner.map(NodeId), "{reports:?}");
        if let Some(winner) = winner {
            assert_eq!((&record.isr, record.leader_epoch), (&nodes(&[winner]), LeaderEpoch(epoch + 1)));
            assert_eq!(record.durable.among, directories(&[0, 1, 2]));
        }
        record.check_invariants();
    }
}

#[test]
fn leadership_moves_to_members_only() {
    let mut record = record(1);
    record.fence(NodeId(2), &brokers(&[2]), config(1));
    for to in [2, 7] {
        let refused = record.move_leader(NodeId(to), &brokers(&[2]));
        assert_eq!(refused, Err(RecordError::Ineligible { node: NodeId(to) }));
    }
    assert_eq!(record.move_leader(NodeId(1), &brokers(&[2])), Ok(()));
    assert_eq!((record.leader, record.leader_epoch), (Some(NodeId(1)), LeaderEpoch(1)));
    let added = BTreeMap::from([(NodeId(0), directory(9)), (NodeId(3), directory(3))]);
    record.add_replicas(&added);
    assert_eq!(record.replicas[&NodeId(0)], directory(0), "a replica stays where it is");
    assert_eq!(record.replicas.len(), 4);
}
