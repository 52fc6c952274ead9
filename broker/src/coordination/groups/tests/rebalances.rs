//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup of dynamic members, rule by rule.

use super::world::{Join, World};
use crate::coordination::groups::{
    GroupConfig, GroupCoordinator, GroupError, HeartbeatRequest, Input, Request, Response,
};
use crate::coordination::runner::{CoordinatorMachine, Refusal, WriteError};

#[test]
fn a_group_forms() {
    let mut w = World::new();
    let (a, b) = (w.member_id(), w.member_id());
    assert!(a.starts_with("client-") && a.len() == "client-".len() + 36 && a != b, "{a}");
    let (ja, jb) = (w.send_join(Join::new(&a)), w.send_join(Join::new(&b)));
    assert!(w.is_waiting(ja) && w.is_waiting(jb), "the first rebalance is delayed");
    // B joined during the first wait, so there is another.
    w.advance(5_999);
    assert!(w.is_waiting(ja));
    w.advance(1);
    let (ra, rb) = (w.joined(ja), w.joined(jb));
    assert_eq!((ra.error, ra.generation_id, ra.skip_assignment), (None, 1, false));
    assert_eq!((ra.protocol_type.as_deref(), ra.protocol_name.as_deref()), (Some("consumer"), Some("range")));
    assert_eq!((&ra.leader, &rb.leader), (&a, &a), "who joined first leads");
    assert_eq!(ra.members.len(), 2);
    assert_eq!(rb.members, [], "only the leader gets the members");

    let sb = w.send_sync(&b, 1, &[]);
    assert!(w.is_waiting(sb), "the leader has not spoken");
    assert_eq!(w.heartbeat(&b, 1), None, "alive while it waits");
    w.hold_appends();
    let sa = w.send_sync(&a, 1, &[&a, &b]);
    assert!(w.is_waiting(sa) && w.is_waiting(sb), "the assignment is not durable");
    w.release(Ok(()));
    assert_eq!(w.synced(sa).assignment, format!("for {a}"));
    assert_eq!(w.synced(sb).assignment, format!("for {b}"));
    assert_eq!(w.state(), "Stable");
    let again = w.send_sync(&b, 1, &[]);
    assert_eq!(w.synced(again).assignment, format!("for {b}"));
}

#[test]
fn the_initial_delay_is_bounded_by_the_rebalance_timeout() {
    let mut w = World::new();
    let mut first = Join::new(&w.member_id());
    first.0.rebalance_timeout_ms = 7_000;
    let first = w.send_join(first);
    for _ in 0..7 {
        w.advance(999);
        let mut next = Join::old();
        next.0.rebalance_timeout_ms = 7_000;
        w.send_join(next);
    }
    assert!(w.is_waiting(first));
    w.advance(7);
    assert_eq!(w.joined(first).members.len(), 8, "7 s after the first join");
}

#[test]
fn joins_that_are_refused() {
    let config = GroupConfig { group_size_max: 1, ..GroupConfig::default() };
    let join = |change: fn(&mut Join)| {
        let mut join = Join::new("");
        change(&mut join);
        join
    };
    for (what, join, expect) in [
        ("empty group id", join(|j| j.0.group_id.clear()), GroupError::InvalidGroupId),
        ("short session", join(|j| j.0.session_timeout_ms = 5_999), GroupError::InvalidSessionTimeout),
        ("long session", join(|j| j.0.session_timeout_ms = 1_800_001), GroupError::InvalidSessionTimeout),
        ("unknown id, unknown group", join(|j| j.0.member_id = "x".into()), GroupError::UnknownMemberId),
        ("no protocol type", join(|j| j.0.protocol_type.clear()), GroupError::InconsistentGroupProtocol),
        ("no protocols", join(|j| j.0.protocols.clear()), GroupError::InconsistentGroupProtocol),
    ] {
        let mut w = World::with(config.clone());
        let member = join.0.member_id.clone();
        let token = w.send_join(join);
        let reply = w.joined(token);
        assert_eq!((reply.error, reply.generation_id, reply.member_id), (Some(expect), -1, member), "{what}");
    }
    for (what, join, expect) in [
        ("unknown id", join(|j| j.0.member_id = "x".into()), GroupError::GroupMaxSizeReached),
        ("no room", join(|_| {}), GroupError::GroupMaxSizeReached),
    ] {
        let mut w = World::with(config.clone());
        w.stable(1);
        let token = w.send_join(join);
        assert_eq!(w.joined(token).error, Some(expect), "{what}");
    }
    for (what, join, expect) in [
        ("unknown id", join(|j| j.0.member_id = "x".into()), GroupError::UnknownMemberId),
        ("other type", join(|j| j.0.protocol_type = "connect".into()), GroupError::InconsistentGroupProtocol),
        ("nothing in common", join(|_| {}).protocols(&["other"]), GroupError::InconsistentGroupProtocol),
    ] {
        let mut w = World::new();
        w.stable(1);
        let token = w.send_join(join);
        assert_eq!(w.joined(token).error, Some(expect), "{what}");
        assert_eq!(w.state(), "Stable", "{what}");
    }
}

#[test]
fn a_full_group_takes_no_more_members_into_a_rebalance() {
    let mut w = World::with(GroupConfig { group_size_max: 2, ..GroupConfig::default() });
    let tokens: Vec<_> = (0..3).map(|_| w.send_join(Join::old())).collect();
    assert_eq!(w.joined(tokens[2]).error, Some(GroupError::GroupMaxSizeReached));
    w.advance(6_000);
    assert_eq!(w.joined(tokens[0]).members.len(), 2);
}

#[test]
fn old_clients_join_without_an_id() {
    let mut w = World::new();
    let token = w.send_join(Join::old());
    w.advance(3_000);
    assert_eq!(w.joined(token).error, None);
}

#[test]
fn an_id_that_is_not_used_expires_with_the_session() {
    let mut w = World::new();
    let id = w.member_id();
    w.advance(10_000);
    let late = w.send_join(Join::new(&id));
    assert_eq!(w.joined(late).error, Some(GroupError::UnknownMemberId));
}

#[test]
fn a_rebalance_waits_for_ids_that_were_given_out() {
    let mut w = World::new();
    let (ids, generation) = w.stable(1);
    let pending = w.member_id();
    let rejoin = w.send_join(Join::new(&ids[0]));
    assert!(w.is_waiting(rejoin), "the leader asked for a rebalance, but somebody is about to join");
    w.advance(9_999);
    assert!(w.is_waiting(rejoin));
    w.advance(1);
    assert_eq!(w.joined(rejoin).generation_id, generation + 1, "{pending} did not come in its session time");
}

#[test]
fn who_joins_again_in_a_stable_group() {
    let mut w = World::new();
    let (ids, generation) = w.stable(2);
    let follower = w.send_join(Join::new(&ids[1]));
    let reply = w.joined(follower);
    assert_eq!((reply.error, reply.generation_id, reply.members.len()), (None, generation, 0));
    assert_eq!(w.state(), "Stable", "a follower that says nothing new changes nothing");

    let changed = w.send_join(Join::new(&ids[1]).topics(&["t", "u"]));
    assert_eq!(w.state(), "PreparingRebalance", "a follower with another subscription does");
    assert_eq!(w.heartbeat(&ids[0], generation), Some(GroupError::RebalanceInProgress));
    let leader = w.send_join(Join::new(&ids[0]));
    assert_eq!(w.joined(changed).generation_id, generation + 1, "all have joined: no delay");
    assert_eq!(w.joined(leader).members.len(), 2);
    w.send_sync(&ids[0], generation + 1, &[]);
    w.send_join(Join::new(&ids[0]));
    assert_eq!(w.state(), "PreparingRebalance", "a leader that joins again wants a rebalance");
}

#[test]
fn who_joins_again_while_the_leader_computes() {
    let mut w = World::new();
    let ids = [w.member_id(), w.member_id()];
    let tokens = ids.clone().map(|id| w.send_join(Join::new(&id)));
    w.advance(6_000);
    let leader = w.joined(tokens[0]).leader;
    for id in &ids {
        let again = w.send_join(Join::new(id));
        let reply = w.joined(again);
        assert_eq!((reply.error, reply.generation_id), (None, 1), "it may have missed the reply");
        assert_eq!(reply.members.len(), if *id == leader { 2 } else { 0 });
    }
    let follower = if leader == ids[0] { &ids[1] } else { &ids[0] };
    let waiting = w.send_sync(follower, 1, &[]);
    w.send_join(Join::new(&leader).topics(&["other"]));
    assert_eq!(w.synced(waiting).error, Some(GroupError::RebalanceInProgress));
    assert_eq!(w.state(), "PreparingRebalance");
}

#[test]
fn a_request_that_is_sent_twice_waits_once() {
    let mut w = World::new();
    let id = w.member_id();
    let first = w.send_join(Join::new(&id));
    let second = w.send_join(Join::new(&id));
    assert_eq!(w.joined(first).error, Some(GroupError::RebalanceInProgress));
    w.advance(3_000);
    assert_eq!(w.joined(second).error, None);
    let third = w.send_join(Join::old());
    let again = w.send_join(Join::new(&id));
    w.advance(0);
    let follower = w.joined(third).member_id;
    assert_eq!(w.joined(again).generation_id, 2);
    let first = w.send_sync(&follower, 2, &[]);
    let second = w.send_sync(&follower, 2, &[]);
    assert_eq!(w.synced(first).error, Some(GroupError::RebalanceInProgress));
    w.send_sync(&id, 2, &[&follower]);
    assert_eq!(w.synced(second).assignment, format!("for {follower}"));
}

#[test]
fn the_protocol_is_what_all_speak_and_most_prefer() {
    let rows: [(&[&[&str]], &str); 4] = [
        (&[&["a", "b"], &["b", "a"], &["b", "a"]], "b"),
        (&[&["a", "b"], &["b"]], "b"),
        (&[&["b", "a"], &["a", "b"]], "a"),
        (&[&["c", "a", "a"], &["a"]], "a"),
    ];
    for (members, expect) in rows {
        let mut w = World::new();
        let tokens: Vec<_> =
            members.iter().map(|protocols| w.send_join(Join::old().protocols(protocols))).collect();
        w.advance(6_000);
        for token in tokens {
            assert_eq!(w.joined(token).protocol_name.as_deref(), Some(expect), "{members:?}");
        }
    }
}

#[test]
fn syncs_that_are_refused() {
    let mut w = World::new();
    let (ids, generation) = w.stable(1);
    type Row = (&'static str, fn(&mut crate::coordination::groups::SyncRequest), Option<GroupError>);
    let rows: [Row; 8] = [
        ("good", |_| {}, None),
        ("empty group id", |s| s.group_id.clear(), Some(GroupError::InvalidGroupId)),
        ("unknown group", |s| s.group_id = "x".into(), Some(GroupError::UnknownMemberId)),
        ("unknown member", |s| s.member_id = "x".into(), Some(GroupError::UnknownMemberId)),
        ("unknown instance", |s| s.group_instance_id = Some("x".into()), Some(GroupError::UnknownMemberId)),
        ("old generation", |s| s.generation_id -= 1, Some(GroupError::IllegalGeneration)),
        ("type", |s| s.protocol_type = Some("x".into()), Some(GroupError::InconsistentGroupProtocol)),
        ("name", |s| s.protocol_name = Some("x".into()), Some(GroupError::InconsistentGroupProtocol)),
    ];
    for (what, change, expect) in rows {
        let mut sync = crate::coordination::groups::SyncRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: ids[0].clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            ..Default::default()
        };
        change(&mut sync);
        match w.ask(Request::Sync(sync)) {
            Response::Sync(reply) => assert_eq!(reply.error, expect, "{what}"),
            other => panic!("{other:?}"),
        }
    }
    w.send_join(Join::old());
    let token = w.send_sync(&ids[0], generation, &[]);
    assert_eq!(w.synced(token).error, Some(GroupError::RebalanceInProgress));
}

#[test]
fn heartbeats() {
    let mut w = World::new();
    let (ids, generation) = w.stable(1);
    assert_eq!(w.heartbeat(&ids[0], generation), None);
    assert_eq!(w.heartbeat(&ids[0], generation - 1), Some(GroupError::IllegalGeneration));
    assert_eq!(w.heartbeat("x", generation), Some(GroupError::UnknownMemberId));
    for _ in 0..10 {
        w.advance(9_999);
        assert_eq!(w.heartbeat(&ids[0], generation), None);
    }
    w.advance(10_000);
    assert_eq!(w.heartbeat(&ids[0], generation), Some(GroupError::UnknownMemberId));
    assert_eq!(w.state(), "Empty");
}

#[test]
fn a_silent_member_is_removed_and_the_others_rebalance() {
    let mut w = World::new();
    let (ids, generation) = w.stable(3);
    w.advance(5_000);
    for id in &ids[1..] {
        assert_eq!(w.heartbeat(id, generation), None);
    }
    w.advance(5_000);
    assert_eq!(w.heartbeat(&ids[1], generation), Some(GroupError::RebalanceInProgress));
    let tokens: Vec<_> = ids[1..].iter().map(|id| w.send_join(Join::new(id))).collect();
    let replies: Vec<_> = tokens.iter().map(|token| w.joined(*token)).collect();
    assert_eq!(replies[0].generation_id, generation + 1);
    assert_eq!(replies.iter().map(|reply| reply.members.len()).sum::<usize>(), 2, "one new leader");
}

#[test]
fn members_that_do_not_join_in_time_are_removed() {
    let mut w = World::new();
    let (ids, generation) = w.stable(2);
    let newcomer = w.send_join(Join::old());
    let rejoin = w.send_join(Join::new(&ids[0]));
    for _ in 0..12 {
        w.advance(4_999);
        assert_eq!(w.heartbeat(&ids[1], generation), Some(GroupError::RebalanceInProgress));
    }
    w.advance(12);
    assert_eq!(w.joined(rejoin).members.len(), 2);
    assert_eq!(w.joined(newcomer).generation_id, generation + 1);
    assert_eq!(w.heartbeat(&ids[1], generation), Some(GroupError::UnknownMemberId));
}

#[test]
fn members_that_do_not_sync_in_time_are_removed() {
    let mut w = World::new();
    let mut joins = Vec::new();
    for _ in 0..2 {
        let mut join = Join::new(&w.member_id());
        join.0.session_timeout_ms = 200_000;
        joins.push(join);
    }
    let tokens: Vec<_> = joins.into_iter().map(|join| w.send_join(join)).collect();
    w.advance(6_000);
    let (first, second) = (w.joined(tokens[0]), w.joined(tokens[1]));
    let follower = if first.leader == first.member_id { &second } else { &first };
    let sync = w.send_sync(&follower.member_id, 1, &[]);
    w.advance(59_999);
    assert!(w.is_waiting(sync));
    w.advance(1);
    assert_eq!(w.synced(sync).error, Some(GroupError::RebalanceInProgress), "the leader is gone");
    assert_eq!(w.heartbeat(&first.leader, 1), Some(GroupError::UnknownMemberId));
}

#[test]
fn a_new_member_that_never_hears_back_expires() {
    let mut w = World::new();
    let mut member = Join::new(&w.member_id());
    member.0.rebalance_timeout_ms = 900_000;
    member.0.session_timeout_ms = 900_000;
    let (ids, generation) = w.stable_with(vec![member]);
    let ghost = w.send_join(Join::old());
    w.advance(299_999);
    assert!(w.is_waiting(ghost));
    w.advance(1);
    assert_eq!(w.joined(ghost).error, Some(GroupError::UnknownMemberId));
    assert_eq!(w.heartbeat(&ids[0], generation), Some(GroupError::RebalanceInProgress));
}

#[test]
fn members_leave() {
    let mut w = World::new();
    let (ids, generation) = w.stable(2);
    let token = w.send_leave(&[("x", None), (&ids[0], Some("i")), (&ids[1], None)]);
    let results: Vec<_> = w.left(token).members.into_iter().map(|member| member.error).collect();
    assert_eq!(results, [Some(GroupError::UnknownMemberId), Some(GroupError::UnknownMemberId), None]);
    assert_eq!(w.heartbeat(&ids[0], generation), Some(GroupError::RebalanceInProgress));
    assert_eq!(w.heartbeat(&ids[1], generation), Some(GroupError::UnknownMemberId));

    w.hold_appends();
    let last = w.send_leave(&[(&ids[0], None)]);
    assert!(w.is_waiting(last), "the empty generation is not durable");
    w.release(Ok(()));
    assert_eq!(w.left(last).members[0].error, None);
    assert_eq!(w.state(), "Empty");
    let nobody = w.send_leave(&[]);
    assert_eq!(w.left(nobody).error, None);
}

#[test]
fn leaving_answers_what_the_member_waits_for() {
    let mut w = World::new();
    let (ids, generation) = w.stable(2);
    let pending = w.member_id();
    let join = w.send_join(Join::new(&ids[0]));
    w.send_leave(&[(&ids[0], None)]);
    assert_eq!(w.joined(join).error, Some(GroupError::UnknownMemberId));
    let join = w.send_join(Join::new(&ids[1]));
    assert!(w.is_waiting(join), "{pending} may come");
    let left = w.send_leave(&[(&pending, None)]);
    assert_eq!(w.left(left).members[0].error, None, "even a member that never joined can leave");
    assert_eq!(w.joined(join).generation_id, generation + 1);
    let newcomer = w.send_join(Join::old());
    w.send_join(Join::new(&ids[1]));
    let newcomer = w.joined(newcomer).member_id;
    let sync = w.send_sync(&newcomer, generation + 2, &[]);
    w.send_leave(&[(&newcomer, None)]);
    assert_eq!(w.synced(sync).error, Some(GroupError::UnknownMemberId));
}

#[test]
fn leave_of_an_unknown_group() {
    let mut w = World::new();
    let token = w.send_leave(&[("a", None), ("b", Some("i"))]);
    let reply = w.left(token);
    assert_eq!((reply.error, reply.members.len()), (None, 2));
    assert!(reply.members.iter().all(|member| member.error == Some(GroupError::UnknownMemberId)));
}

#[test]
fn an_assignment_that_cannot_be_written_is_void() {
    for (failure, expect) in [
        (WriteError::Unavailable, GroupError::CoordinatorNotAvailable),
        (WriteError::NotLeader, GroupError::NotCoordinator),
        (WriteError::TooLarge, GroupError::UnknownServerError),
    ] {
        let mut w = World::new();
        let (ids, _) = w.stable(1);
        w.send_join(Join::new(&ids[0]));
        w.hold_appends();
        let sync = w.send_sync(&ids[0], 2, &[&ids[0]]);
        w.release(Err(failure));
        assert_eq!(w.synced(sync).error, Some(expect));
        assert_eq!(w.state(), "PreparingRebalance");
    }
}

#[test]
fn an_assignment_of_a_past_generation_is_void() {
    let mut w = World::new();
    let (ids, _) = w.stable(1);
    w.send_join(Join::new(&ids[0]));
    w.hold_appends();
    let sync = w.send_sync(&ids[0], 2, &[&ids[0]]);
    let newcomer = w.send_join(Join::old());
    assert_eq!(w.synced(sync).error, Some(GroupError::RebalanceInProgress));
    w.release(Ok(()));
    assert_eq!(w.state(), "PreparingRebalance");
    w.send_join(Join::new(&ids[0]));
    assert_eq!(w.joined(newcomer).generation_id, 3);
}

#[test]
fn an_assignment_of_a_group_that_was_deleted_is_void() {
    let mut w = World::new();
    let first = w.send_join(Join::old());
    w.advance(3_000);
    let first = w.joined(first).member_id;
    w.hold_appends();
    w.send_sync(&first, 1, &[&first]);
    w.send_leave(&[(&first, None)]);
    w.send(Request::Delete(vec!["g".into()]));
    let second = w.send_join(Join::old());
    w.advance(3_000);
    assert_eq!(w.joined(second).generation_id, 1);
    w.release(Ok(()));
    assert_eq!(w.state(), "CompletingRebalance");
}

#[test]
fn a_group_that_cannot_be_written_is_gone() {
    let mut w = World::new();
    w.hold_appends();
    let (a, b) = (w.send_join(Join::old()), w.send_join(Join::old()));
    w.release(Err(WriteError::Unavailable));
    for token in [a, b] {
        assert_eq!(w.joined(token).error, Some(GroupError::CoordinatorNotAvailable));
    }
    assert_eq!(w.state(), "Dead");
    assert_eq!(w.coordinator.count(), 0);
}

#[test]
fn who_resigns_sends_everyone_away() {
    let mut w = World::new();
    let (ids, generation) = w.stable(2);
    let join = w.send_join(Join::old());
    w.hold_appends();
    let commit = w.send_commit(super::world::commit(&ids[0], generation, "t", 1));
    w.input(Input::Resign);
    assert_eq!(w.joined(join).error, Some(GroupError::NotCoordinator));
    assert_eq!(w.committed(commit).topics[0].partitions[0].1, Some(GroupError::NotCoordinator));
    w.release(Ok(()));
    assert_eq!((w.open_requests(), w.coordinator.next_deadline()), (0, None));
}

#[test]
fn what_is_told_without_the_log() {
    let join = Request::Join(Join::new("").0);
    let heartbeat = Request::Heartbeat(HeartbeatRequest::default());
    let told = GroupCoordinator::answer_while_loading(&heartbeat);
    assert_eq!(told, Some(Response::Heartbeat(None)), "a restart must not look like a rebalance");
    assert_eq!(GroupCoordinator::answer_while_loading(&join), None);
    for (refusal, error) in [
        (Refusal::Loading, GroupError::CoordinatorLoadInProgress),
        (Refusal::NotCoordinator, GroupError::NotCoordinator),
    ] {
        assert_eq!(GroupCoordinator::refuse(&join, refusal).into_join().error, Some(error));
        let told = GroupCoordinator::refuse(&heartbeat, refusal);
        assert_eq!(told, Response::Heartbeat(Some(error)));
    }
}
