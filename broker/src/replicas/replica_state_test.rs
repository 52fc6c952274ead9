//! What a partition becomes by each thing that it hears, and what those are told who ask or wait.

use model::{LeaderEpoch, NodeId, Offset, PartitionEpoch};
use replication::{Acks, Input, Millis, ReplicaConfig};
use storage::StorageError;

use super::error::{CurrentLeader, PartitionError};
use super::replica_state::{
    RecoveredLog, ReplicaState, Stepped, Transition, has_replica, record_of, replica_config,
};
use crate::config::{BrokerConfig, TopicConfig};
use crate::metadata::PartitionImage;

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const NOW: Millis = Millis(0);

fn image(leader: NodeId, leader_epoch: i32, partition_epoch: i32) -> PartitionImage {
    PartitionImage {
        replicas: vec![ME, OTHER],
        isr: vec![ME, OTHER],
        leader,
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch,
    }
}

fn apply(state: &mut ReplicaState, image: &PartitionImage) -> Transition {
    let config = ReplicaConfig::default();
    state.apply_record(record_of(image, config), config, NOW).transition
}

/// A replica with ten records, of which nothing is known but its log.
fn recovered() -> ReplicaState {
    let log = RecoveredLog { log_end: Offset(10), durable_end: Offset(10), high_watermark: Offset(10) };
    ReplicaState::recovered(ME, log, ReplicaConfig::default())
}

fn leading(leader_epoch: i32, partition_epoch: i32) -> ReplicaState {
    let mut state = recovered();
    assert_eq!(apply(&mut state, &image(ME, leader_epoch, partition_epoch)), Transition::Elected);
    state
}

/// What somebody is told who knows of this epoch: "ok", or which error, with the epoch that it names.
fn told(state: &ReplicaState, known: i32) -> (&'static str, i32) {
    match state.check_leads(LeaderEpoch(known)) {
        Ok(()) => ("ok", -1),
        Err(PartitionError::NotLeader(current)) => ("not leader", current.epoch.0),
        Err(PartitionError::FencedEpoch(current)) => ("fenced", current.epoch.0),
        Err(PartitionError::UnknownEpoch(current)) => ("unknown", current.epoch.0),
        Err(PartitionError::Contradiction(_)) => ("contradiction", -1),
        Err(PartitionError::Unknown) => ("gone", -1),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn an_image_makes_a_leader_or_a_follower_of_a_newer_epoch_only() {
    let nobody = NodeId(-1);
    let rows = [
        // leader, leader epoch, partition epoch; what follows, who leads in which epoch.
        (ME, 5, 7, Transition::None, (Some(ME), 5)),
        (ME, 6, 8, Transition::Elected, (Some(ME), 6)),
        (OTHER, 6, 8, Transition::Deposed, (Some(OTHER), 6)),
        (nobody, 6, 8, Transition::Deposed, (None, 6)),
        (OTHER, 4, 6, Transition::None, (Some(ME), 5)),
        (OTHER, 4, 8, Transition::None, (Some(ME), 5)),
        (OTHER, 5, 8, Transition::None, (Some(ME), 5)),
        (OTHER, 6, 6, Transition::None, (Some(ME), 5)),
    ];
    for (leader, leader_epoch, partition_epoch, expect, led) in rows {
        let mut state = leading(5, 7);
        let given = image(leader, leader_epoch, partition_epoch);
        assert_eq!(apply(&mut state, &given), expect, "{given:?}");
        let current = CurrentLeader { node: led.0, epoch: LeaderEpoch(led.1) };
        assert_eq!(state.current_leader(), current, "{given:?}");
        assert_eq!(state.leads(), led.0 == Some(ME), "{given:?}");
    }
}

#[test]
fn a_follower_is_fenced_by_each_new_leader_and_can_be_elected() {
    let mut state = recovered();
    assert_eq!(apply(&mut state, &image(OTHER, 1, 1)), Transition::Fenced);
    assert_eq!(told(&state, -1), ("not leader", 1));
    assert_eq!(apply(&mut state, &image(NodeId(-1), 2, 2)), Transition::Fenced);
    assert_eq!(apply(&mut state, &image(ME, 3, 3)), Transition::Elected);
    assert_eq!(told(&state, -1), ("ok", -1));
    let mut without_replica = image(OTHER, 4, 4);
    (without_replica.replicas, without_replica.isr) = (vec![OTHER], vec![OTHER]);
    assert!(!has_replica(&without_replica, ME) && has_replica(&without_replica, OTHER));
    assert_eq!(apply(&mut state, &without_replica), Transition::Deposed);
    assert_eq!(told(&state, -1), ("not leader", 4));
}

#[test]
fn who_asks_is_told_of_another_epoch_before_another_leader() {
    let (leader, mut follower) = (leading(5, 7), recovered());
    apply(&mut follower, &image(OTHER, 5, 7));
    for (known, of_leader, of_follower) in [
        (-1, ("ok", -1), ("not leader", 5)),
        (4, ("fenced", 5), ("fenced", 5)),
        (5, ("ok", -1), ("not leader", 5)),
        (6, ("unknown", 5), ("unknown", 5)),
    ] {
        assert_eq!((told(&leader, known), told(&follower, known)), (of_leader, of_follower), "{known}");
    }
}

#[test]
fn a_record_that_cannot_be_carried_out_takes_the_partition_offline_until_a_newer_one_can() {
    let mut state = leading(5, 7);
    let mut bad = image(ME, 6, 8);
    bad.isr = vec![OTHER];
    assert_eq!(apply(&mut state, &bad), Transition::Deposed);
    assert_eq!(told(&state, -1), ("contradiction", -1));
    assert!(matches!(state.fence(), PartitionError::Contradiction(_)));
    // Its own log goes on meanwhile.
    let durable = Input::Durable { durable_end: Offset(10) };
    assert_eq!(state.step(durable, NOW).transition, Transition::None);
    assert_eq!(apply(&mut state, &image(ME, 5, 9)), Transition::Elected, "the epoch in which it led before");
    assert_eq!(told(&state, 5), ("ok", -1));
}

#[test]
fn progress_that_cannot_be_takes_the_partition_offline_for_good() {
    for bad in [Input::Appended { log_end: Offset(9) }, Input::Durable { durable_end: Offset(11) }] {
        let mut state = leading(5, 7);
        assert_eq!(state.step(bad, NOW).transition, Transition::Deposed);
        assert_eq!(told(&state, -1), ("contradiction", -1));
        let after = state.step(Input::Appended { log_end: Offset(20) }, NOW);
        assert_eq!(after, Stepped { actions: Vec::new(), transition: Transition::None });
        assert_eq!(apply(&mut state, &image(ME, 6, 8)), Transition::None);
        assert_eq!(told(&state, -1), ("contradiction", -1));
    }
}

#[test]
fn a_failed_log_is_read_and_acknowledges_nothing() {
    let mut state = leading(5, 7);
    assert_eq!(state.log_failed(StorageError::Closed).transition, Transition::Fenced);
    assert_eq!(told(&state, -1), ("ok", -1));
    assert!(matches!(state.check_acknowledges(), Err(PartitionError::Storage(StorageError::Closed))));
    assert!(matches!(state.fence(), PartitionError::Storage(StorageError::Closed)));
    assert_eq!(apply(&mut state, &image(OTHER, 6, 8)), Transition::Deposed);
    assert_eq!(told(&state, -1), ("not leader", 6));
}

#[test]
fn what_is_gone_stays_gone() {
    let mut state = leading(5, 7);
    assert_eq!(state.gone().transition, Transition::Deposed);
    assert_eq!(apply(&mut state, &image(ME, 6, 8)), Transition::None);
    state.log_failed(StorageError::Closed);
    assert_eq!(told(&state, -1), ("gone", -1));
}

#[test]
fn nothing_is_acknowledged_that_another_replica_has_to_have() {
    let mut state = leading(5, 7);
    state.step(Input::Appended { log_end: Offset(11) }, NOW);
    state.step(Input::Durable { durable_end: Offset(11) }, NOW);
    assert_eq!(state.high_watermark(), Offset(10));
    assert_eq!((state.acked_offset(Acks::Leader), state.acked_offset(Acks::All)), (Offset(11), Offset(10)));
}

#[test]
fn a_record_of_the_same_age_changes_nothing() {
    let (state, config) = (leading(5, 7), ReplicaConfig::default());
    assert!(state.is_current(PartitionEpoch(7), config));
    assert!(!state.is_current(PartitionEpoch(8), config));
    assert!(!state.is_current(PartitionEpoch(7), ReplicaConfig::new(2, config.durability)));
}

#[test]
fn at_most_as_many_replicas_are_asked_for_as_there_are() {
    let settings = [("log.dirs".to_owned(), "/data".to_owned())];
    let broker = BrokerConfig::from_static(settings.into()).expect("valid");
    let own = [("min.insync.replicas".to_owned(), "2".to_owned())].into();
    let config = TopicConfig::resolve(&broker, &own);
    for (replicas, asked) in [(1, 1), (2, 2), (3, 2)] {
        assert_eq!(replica_config(&config, replicas).min_insync_replicas(), asked, "{replicas}");
    }
}
