//! Static members (KIP-345, KIP-814).

use super::world::{Join, World};
use crate::coordination::groups::{GroupError, HeartbeatRequest, Request, Response};
use crate::coordination::runner::WriteError;

fn static_pair(w: &mut World) -> (Vec<String>, i32) {
    w.stable_with(vec![Join::instance("", "a"), Join::instance("", "b")])
}

fn is_a(id: &&String) -> bool {
    id.starts_with("a-")
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let mut w = World::new();
    let (ids, generation) = static_pair(&mut w);
    for who in ["a", "b"] {
        let old = ids.iter().find(|id| id.starts_with(who)).unwrap();
        w.hold_appends();
        let token = w.send_join(Join::instance("", who));
        assert!(w.is_waiting(token), "its new id is not durable");
        w.release(Ok(()));
        let reply = w.joined(token);
        assert_eq!((reply.error, reply.generation_id), (None, generation));
        assert_ne!(reply.member_id, *old);
        let leads = reply.leader == reply.member_id;
        assert_eq!(reply.skip_assignment, leads);
        assert_eq!(reply.members.len(), if leads { 2 } else { 0 });
        assert_eq!(w.state(), "Stable");
        let sync = w.send_sync(&reply.member_id, generation, &[]);
        assert_eq!(w.synced(sync).assignment, format!("for {old}"), "the old assignment");
        assert_eq!(w.heartbeat(old, generation), Some(GroupError::UnknownMemberId));
    }
}

#[test]
fn an_old_client_that_comes_back_as_leader_is_told_of_its_old_self() {
    let mut w = World::new();
    let (ids, generation) = static_pair(&mut w);
    let instance = &ids[0][..1];
    let mut join = Join::instance("", instance);
    join.0.supports_skip_assignment = false;
    let token = w.send_join(join);
    let reply = w.joined(token);
    assert_eq!((reply.error, reply.generation_id, reply.skip_assignment), (None, generation, false));
    assert_eq!((&reply.leader, reply.members.len()), (&ids[0], 0));
}

#[test]
fn the_older_process_is_fenced() {
    let mut w = World::new();
    let (ids, generation) = static_pair(&mut w);
    let old = ids.iter().find(is_a).unwrap().clone();
    w.send_join(Join::instance("", "a"));
    let heartbeat = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: old.clone(),
        group_instance_id: Some("a".into()),
    };
    let reply = w.ask(Request::Heartbeat(heartbeat));
    assert_eq!(reply, Response::Heartbeat(Some(GroupError::FencedInstanceId)));
    let join = w.send_join(Join::instance(&old, "a"));
    assert_eq!(w.joined(join).error, Some(GroupError::FencedInstanceId));
    let leave = w.send_leave(&[(&old, Some("a"))]);
    assert_eq!(w.left(leave).members[0].error, Some(GroupError::FencedInstanceId));
    let mut commit = super::world::commit(&old, generation, "t", 1);
    commit.group_instance_id = Some("a".into());
    let commit = w.send_commit(commit);
    assert_eq!(w.committed(commit).topics[0].partitions[0].1, Some(GroupError::FencedInstanceId));
}

#[test]
fn requests_that_wait_under_the_old_id_are_fenced() {
    let mut w = World::new();
    let first = w.send_join(Join::instance("", "a"));
    let second = w.send_join(Join::instance("", "a"));
    assert_eq!(w.joined(first).error, Some(GroupError::FencedInstanceId));
    w.advance(3_000);
    let id = w.joined(second).member_id;
    let follower = w.send_join(Join::instance("", "b"));
    let rejoin = w.send_join(Join::instance(&id, "a"));
    let follower = w.joined(follower).member_id;
    assert_eq!(w.joined(rejoin).generation_id, 2);
    let sync = w.send_sync(&follower, 2, &[]);
    w.send_join(Join::instance("", "b"));
    assert_eq!(w.synced(sync).error, Some(GroupError::FencedInstanceId));
    assert_eq!(w.state(), "PreparingRebalance", "the leader may be computing for the old id");
}

#[test]
fn a_return_that_changes_the_protocol_rebalances() {
    let mut w = World::new();
    let joins = vec![
        Join::instance("", "a").protocols(&["range", "other"]),
        Join::instance("", "b").protocols(&["range", "other"]),
    ];
    w.stable_with(joins);
    w.send_join(Join::instance("", "a").protocols(&["other"]));
    assert_eq!(w.state(), "PreparingRebalance");
}

#[test]
fn a_return_that_cannot_be_written_is_undone() {
    let mut w = World::new();
    let (ids, generation) = static_pair(&mut w);
    let old = ids.iter().find(is_a).unwrap().clone();
    w.hold_appends();
    let token = w.send_join(Join::instance("", "a"));
    w.release(Err(WriteError::Unavailable));
    assert_eq!(w.joined(token).error, Some(GroupError::CoordinatorNotAvailable));
    assert_eq!(w.heartbeat(&old, generation), None);
}

#[test]
fn a_return_into_a_group_that_moves_on_waits_for_the_rebalance() {
    for result in [Ok(()), Err(WriteError::Unavailable)] {
        let mut w = World::new();
        let (ids, generation) = static_pair(&mut w);
        w.hold_appends();
        let back = w.send_join(Join::instance("", "a"));
        let other = ids.iter().find(|id| !is_a(id)).unwrap().clone();
        let other = w.send_join(Join::instance(&other, "b").topics(&["u"]));
        w.release(result);
        assert_eq!(w.joined(back).generation_id, generation + 1);
        assert_eq!(w.joined(other).generation_id, generation + 1);
    }
}

#[test]
fn static_members_outlive_a_rebalance_but_not_their_session() {
    let mut w = World::new();
    let (ids, generation) = static_pair(&mut w);
    let (leader, away) = (ids[0].clone(), ids[1].clone());
    let rejoin = w.send_join(Join::instance(&leader, &leader[..1]));
    for _ in 0..12 {
        w.advance(5_000);
        w.heartbeat(&away, generation);
    }
    assert_eq!(w.joined(rejoin).members.len(), 2, "kept although it did not join");
    w.send_sync(&leader, generation + 1, &[&leader, &away]);
    w.advance(9_999);
    assert_eq!(w.heartbeat(&leader, generation + 1), None);
    w.advance(1);
    assert_eq!(w.heartbeat(&leader, generation + 1), Some(GroupError::RebalanceInProgress));
}

#[test]
fn an_absent_leader_is_replaced_by_one_who_joined() {
    let mut w = World::new();
    let (ids, generation) = static_pair(&mut w);
    let rejoin = w.send_join(Join::instance(&ids[1], &ids[1][..1]).topics(&["u"]));
    for _ in 0..12 {
        w.advance(5_000);
        w.heartbeat(&ids[0], generation);
    }
    let reply = w.joined(rejoin);
    assert_eq!((reply.leader, reply.members.len()), (ids[1].clone(), 2));
}

#[test]
fn an_administrator_removes_static_members_by_instance() {
    let mut w = World::new();
    static_pair(&mut w);
    let token = w.send_leave(&[("", Some("a")), ("", Some("x")), ("", None)]);
    let results: Vec<_> = w.left(token).members.into_iter().map(|member| member.error).collect();
    assert_eq!(results, [None, Some(GroupError::UnknownMemberId), Some(GroupError::UnknownMemberId)]);
    assert_eq!(w.state(), "PreparingRebalance");
}
