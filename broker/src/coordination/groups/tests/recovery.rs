//! What a coordinator knows after a restart, and the bytes it knows it from.

use bytes::Bytes;

use super::world::{EPOCH_MS, Join, World, commit};
use crate::coordination::groups::{
    GroupConfig, GroupCoordinator, GroupError, GroupNotice, Request, Response,
};
use crate::coordination::runner::{CoordinatorMachine, LogRecord};

fn restarted(w: &World) -> World {
    World::loaded(GroupConfig::default(), w.log.clone(), w.now_ms)
}

#[test]
fn members_go_on_after_a_restart() {
    let mut w = World::new();
    let (ids, generation) = w.stable_with(vec![Join::instance("", "a"), Join::instance("", "b")]);
    w.commit(&ids[0], generation, 7);
    let before = w.ask(Request::Describe(vec!["g".into()]));
    let mut w = restarted(&w);
    assert_eq!(w.ask(Request::Describe(vec!["g".into()])), before);
    assert_eq!(w.heartbeat(&ids[0], generation), None);
    assert_eq!(w.commit(&ids[0], generation, 8), None);
    assert_eq!(w.offsets(), [("t".into(), 0, 8)]);
    let sync = w.send_sync(&ids[1], generation, &[]);
    assert_eq!(w.synced(sync).assignment, format!("for {}", ids[1]));
    let back = w.send_join(Join::instance("", "a"));
    assert_eq!(w.joined(back).generation_id, generation);
    w.advance(10_000);
    assert_eq!(w.heartbeat(&ids[1], generation), Some(GroupError::UnknownMemberId), "sessions run again");
}

#[test]
fn a_lowered_size_limit_rebalances_after_a_restart() {
    let mut w = World::new();
    let (ids, generation) = w.stable(3);
    let config = GroupConfig { group_size_max: 2, ..GroupConfig::default() };
    let mut w = World::loaded(config, w.log.clone(), w.now_ms);
    assert_eq!(w.state(), "PreparingRebalance");
    let tokens: Vec<_> = ids.iter().map(|id| w.send_join(Join::new(id))).collect();
    assert_eq!(w.joined(tokens[2]).error, Some(GroupError::GroupMaxSizeReached));
    assert_eq!(w.joined(tokens[0]).generation_id, generation + 1);
}

#[test]
fn records_have_kafkas_bytes() {
    let mut w = World::new();
    let mut request = commit("", -1, "t", 258);
    request.topics[0].partitions[0].metadata = Some("m".into());
    w.send_commit(request);
    w.removed_topics_pass(GroupNotice::TopicDeleted { topic: "t".into(), topic_id: model::Uuid([9; 16]) });
    // Key: type 1, group, topic, partition. Value: version 4, offset, leader epoch, compact string, time, no tags.
    let key = Bytes::from_static(&[0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 0]);
    let mut value = vec![0, 4, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 5, 2, b'm'];
    value.extend_from_slice(&EPOCH_MS.to_be_bytes());
    value.push(0);
    let expect =
        [LogRecord { key: key.clone(), value: Some(Bytes::from(value)) }, LogRecord { key, value: None }];
    assert_eq!(w.log, expect);

    let mut w = World::new();
    w.send_join(Join::old());
    // Key: type 2, group. Value: version 3, "", generation 0, no protocol, no leader, time, no members.
    let mut value = vec![0, 3, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    value.extend_from_slice(&EPOCH_MS.to_be_bytes());
    value.extend_from_slice(&[0; 4]);
    let key = Bytes::from_static(&[0, 2, 0, 1, b'g']);
    assert_eq!(w.log, [LogRecord { key, value: Some(Bytes::from(value)) }]);
}

#[test]
fn bytes_of_all_kinds_replay_without_panic() {
    let mut w = World::new();
    let (ids, generation) = w.stable_with(vec![Join::instance("", "a"), Join::instance("", "b")]);
    w.commit(&ids[0], generation, 7);
    for record in &w.log {
        let value = record.value.as_deref().unwrap_or_default();
        for end in 0..record.key.len() {
            let mut coordinator = GroupCoordinator::new(GroupConfig::default());
            assert!(coordinator.replay(&record.key[..end], Some(value)).is_err(), "key of {end} bytes");
        }
        for end in 0..value.len() {
            let mut coordinator = GroupCoordinator::new(GroupConfig::default());
            assert!(coordinator.replay(&record.key, Some(&value[..end])).is_err(), "value of {end} bytes");
        }
        for at in 0..value.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = value.to_vec();
                bad[at] = byte;
                let mut coordinator = GroupCoordinator::new(GroupConfig::default());
                // Good or bad: no panic, and no group that contradicts itself.
                let _ = coordinator.replay(&record.key, Some(&bad));
                coordinator.check_invariants();
            }
        }
    }
    let mut coordinator = GroupCoordinator::new(GroupConfig::default());
    assert_eq!(coordinator.replay(&[0, 99, 1, 2, 3], Some(&[1])), Ok(()), "a type of the future is skipped");
    assert_eq!(coordinator.count(), 0);
}

#[test]
fn a_group_record_of_old_brokers_loads() {
    // Version 0: no rebalance timeout, no instance id, no time. Protocol type "consumer", generation 3.
    let string =
        |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    let bytes = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let value = [
        vec![0, 0],
        string("consumer"),
        vec![0, 0, 0, 3],
        string("range"),
        string("m"),
        vec![0, 0, 0, 1],
        string("m"),
        string("client"),
        string("/host"),
        10_000_i32.to_be_bytes().to_vec(),
        bytes(&super::world::subscription(&["t"])),
        bytes(b"assigned"),
    ]
    .concat();
    let record = LogRecord { key: Bytes::from_static(&[0, 2, 0, 1, b'g']), value: Some(Bytes::from(value)) };
    let mut w = World::loaded(GroupConfig::default(), vec![record], 0);
    assert_eq!(w.heartbeat("m", 3), None);
    match w.ask(Request::Describe(vec!["g".into()])) {
        Response::Describe(groups) => assert_eq!(groups[0].members[0].assignment, "assigned"),
        other => panic!("{other:?}"),
    }
}
