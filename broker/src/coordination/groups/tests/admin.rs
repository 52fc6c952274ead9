//! DescribeGroups, ListGroups and DeleteGroups.

use super::world::{Join, World, commit};
use crate::coordination::groups::{
    Action, CommitPartition, GroupError, Input, ListRequest, Request, Response,
};
use crate::coordination::runner::{CoordinatorMachine, RequestToken, WriteError};

fn list(w: &mut World, states: &[&str], types: &[&str]) -> Vec<(String, String, &'static str)> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    match w.ask(Request::List(ListRequest { states: owned(states), types: owned(types) })) {
        Response::List(Ok(groups)) => {
            groups.into_iter().map(|group| (group.group_id, group.protocol_type, group.state)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn delete(w: &mut World, ids: &[&str]) -> Vec<Option<GroupError>> {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    match w.ask(Request::Delete(ids)) {
        Response::Delete(results) => results.into_iter().map(|(_, error)| error).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn groups_are_described() {
    let mut w = World::new();
    let (ids, generation) = w.stable(1);
    let describe = |w: &mut World| match w.ask(Request::Describe(vec!["g".into(), "x".into()])) {
        Response::Describe(groups) => groups,
        other => panic!("{other:?}"),
    };
    let groups = describe(&mut w);
    assert_eq!((groups[1].error, groups[1].state), (Some(GroupError::GroupIdNotFound), "Dead"));
    let group = &groups[0];
    assert_eq!(
        (group.state, group.protocol_type.as_str(), group.protocol.as_str()),
        ("Stable", "consumer", "range")
    );
    let member = &group.members[0];
    assert_eq!((&member.member_id, member.client_id.as_str()), (&ids[0], "client"));
    assert_eq!(member.client_host, "/127.0.0.1");
    assert_eq!(member.assignment, format!("for {}", ids[0]));
    assert_eq!(member.metadata, super::world::subscription(&["t"]));

    w.send_join(Join::old());
    let group = &describe(&mut w)[0];
    assert_eq!(
        (group.state, group.protocol.as_str()),
        ("PreparingRebalance", ""),
        "generation {generation} is over"
    );
    assert!(group.members[0].metadata.is_empty());
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut w = World::new();
    w.stable(1);
    let mut simple = commit("", -1, "t", 1);
    simple.group_id = "simple".into();
    w.send_commit(simple);
    let (g, simple) = (("g".into(), "consumer".into(), "Stable"), ("simple".into(), String::new(), "Empty"));
    assert_eq!(list(&mut w, &[], &[]), [g.clone(), simple.clone()]);
    assert_eq!(list(&mut w, &["stable"], &[]), vec![g.clone()]);
    assert_eq!(list(&mut w, &["STABLE", " empty "], &["Classic"]), [g, simple]);
    assert_eq!(list(&mut w, &["Dead"], &[]), []);
    assert_eq!(list(&mut w, &[], &["consumer"]), []);
    assert_eq!(list(&mut w, &[], &["nonsense"]), []);
}

#[test]
fn groups_without_members_are_deleted() {
    let mut w = World::new();
    let (ids, generation) = w.stable(1);
    w.commit(&ids[0], generation, 7);
    assert_eq!(
        delete(&mut w, &["g", "x"]),
        [Some(GroupError::NonEmptyGroup), Some(GroupError::GroupIdNotFound)]
    );
    w.send_leave(&[(&ids[0], None)]);
    assert_eq!(delete(&mut w, &["g", "g"]), [None, Some(GroupError::GroupIdNotFound)]);
    assert_eq!((w.state(), w.offsets().len(), w.coordinator.count()), ("Dead", 0, 0));
    let mut again =
        World::loaded(crate::coordination::groups::GroupConfig::default(), w.log.clone(), w.now_ms);
    assert_eq!((again.state(), again.offsets().len()), ("Dead", 0));
}

#[test]
fn a_deletion_that_cannot_be_written_is_undone() {
    let mut w = World::new();
    w.commit("", -1, 7);
    w.hold_appends();
    let token = w.send(Request::Delete(vec!["g".into()]));
    assert!(w.is_waiting(token));
    w.release(Err(WriteError::Unavailable));
    let expect = vec![("g".to_owned(), Some(GroupError::CoordinatorNotAvailable))];
    assert_eq!(w.reply(token), Response::Delete(expect));
    assert_eq!((w.state(), w.offsets()), ("Empty", vec![("t".into(), 0, 7)]));
}

#[test]
fn a_deletion_takes_commits_that_are_under_way_with_it() {
    let mut w = World::new();
    w.commit("", -1, 7);
    w.hold_appends();
    w.send_commit(commit("", -1, "u", 7));
    w.send(Request::Delete(vec!["g".into()]));
    w.release(Ok(()));
    assert_eq!((w.state(), w.offsets().len()), ("Dead", 0));
}

#[test]
fn a_group_that_is_created_during_its_deletion_stays() {
    let mut w = World::new();
    w.commit("", -1, 7);
    w.hold_appends();
    w.send(Request::Delete(vec!["g".into()]));
    w.send_join(Join::old());
    w.release(Ok(()));
    assert_eq!((w.state(), w.offsets().len()), ("PreparingRebalance", 0));
}

/// A coordinator with a group of that name that has so many offsets.
fn with_offsets(group: &str, count: i32) -> World {
    let mut w = World::new();
    for first in (0..count).step_by(100) {
        let mut request = commit("", -1, "t", 7);
        request.group_id = group.into();
        let one = request.topics[0].partitions[0].clone();
        let all =
            (first..count.min(first + 100)).map(|partition| CommitPartition { partition, ..one.clone() });
        request.topics[0].partitions = all.collect();
        w.send_commit(request);
    }
    w
}

#[test]
fn a_group_that_takes_several_appends_goes_as_a_whole() {
    let long = "g".repeat(20_000);
    for (group, sizes) in [("g", &[1_000, 1_000, 501][..]), (&long, &[13; 192][..])] {
        let mut w = with_offsets(group, 2_500);
        let request = Request::Delete(vec![group.to_owned(), "other".into()]);
        let actions = w.coordinator.step(Input::Request { token: RequestToken(0), request }, w.now());
        let mut appends = Vec::new();
        for action in actions {
            let Action::Append { records, continues, .. } = action else { panic!("{action:?}") };
            let bytes: usize = records.iter().map(|record| record.key.len()).sum();
            assert!(bytes <= 300_000, "far below the largest batch: {bytes}");
            appends.push((records.len(), continues));
        }
        assert_eq!(appends.iter().map(|(_, continues)| *continues).collect::<Vec<_>>()[..2], [false, true]);
        assert!(
            appends[1..].iter().all(|(_, continues)| *continues),
            "lest the group goes and leaves offsets"
        );
        let lengths: Vec<usize> = appends.iter().map(|(length, _)| *length).collect();
        assert_eq!(lengths[..sizes.len()], *sizes);
        assert_eq!(lengths.iter().sum::<usize>(), 2_501);
    }
}

#[test]
fn groups_that_are_deleted_together_fail_together() {
    let mut w = with_offsets("a", 1);
    let mut request = commit("", -1, "t", 7);
    request.group_id = "b".into();
    w.send_commit(request);
    let request = Request::Delete(vec!["a".into(), "b".into()]);
    let actions = w.coordinator.step(Input::Request { token: RequestToken(0), request }, w.now());
    let continues: Vec<bool> =
        actions.iter().map(|action| matches!(action, Action::Append { continues: true, .. })).collect();
    assert_eq!(continues, [false, true], "one reply stands for both");
}
