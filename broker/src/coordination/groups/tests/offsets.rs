//! OffsetCommit, OffsetFetch, OffsetDelete and the expiration of offsets.

use model::Uuid;

use super::world::{EPOCH_MS, Join, World, commit, fetch_one};
use crate::coordination::groups::offset_store::CommittedOffset;
use crate::coordination::groups::records::offset_commit;
use crate::coordination::groups::{
    Action, CommitRequest, FetchOffsetsRequest, FetchTopic, GroupConfig, GroupError, GroupNotice, Input,
    OffsetDeleteRequest, RemovedTopics, Request, Response,
};
use crate::coordination::runner::{CoordinatorMachine, WriteError};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

#[test]
fn who_may_commit() {
    type Change = fn(&mut CommitRequest);
    let rows: [(&str, Change, Option<GroupError>); 9] = [
        ("the member", |_| {}, None),
        ("no metadata", |c| c.topics[0].partitions[0].metadata = None, None),
        (
            "simple consumer",
            |c| (c.generation_id, c.member_id) = (-1, String::new()),
            Some(GroupError::UnknownMemberId),
        ),
        ("unknown", |c| c.member_id = "x".into(), Some(GroupError::UnknownMemberId)),
        ("instance", |c| c.group_instance_id = Some("x".into()), Some(GroupError::UnknownMemberId)),
        ("old generation", |c| c.generation_id -= 1, Some(GroupError::IllegalGeneration)),
        ("no generation", |c| c.generation_id = -1, Some(GroupError::IllegalGeneration)),
        ("no group", |c| c.group_id = "x".into(), Some(GroupError::GroupIdNotFound)),
        (
            "no group, old client",
            |c| (c.group_id, c.group_not_found_known) = ("x".into(), false),
            Some(GroupError::IllegalGeneration),
        ),
    ];
    for (what, change, expect) in rows {
        let mut w = World::new();
        let (ids, generation) = w.stable(1);
        let mut request = commit(&ids[0], generation, "t", 7);
        change(&mut request);
        let token = w.send_commit(request);
        assert_eq!(w.committed(token).topics[0].partitions[0].1, expect, "{what}");
        assert_eq!(w.offsets().len(), usize::from(expect.is_none()), "{what}");
    }
}

#[test]
fn members_commit_in_a_rebalance_until_they_have_joined() {
    let mut w = World::new();
    let (ids, generation) = w.stable(1);
    let newcomer = w.send_join(Join::old());
    assert_eq!(w.commit(&ids[0], generation, 1), None, "before it joins again");
    w.send_join(Join::new(&ids[0]));
    assert_eq!(w.joined(newcomer).generation_id, generation + 1);
    assert_eq!(w.commit(&ids[0], generation + 1, 2), Some(GroupError::RebalanceInProgress));
    assert_eq!(w.commit(&ids[0], generation, 2), Some(GroupError::IllegalGeneration));
}

#[test]
fn commits_keep_a_session_alive() {
    let mut w = World::new();
    let (ids, generation) = w.stable(1);
    for offset in 0..5 {
        w.advance(9_999);
        assert_eq!(w.commit(&ids[0], generation, offset), None);
    }
}

#[test]
fn a_consumer_without_membership() {
    let mut w = World::new();
    assert_eq!(w.commit("", -1, 7), None);
    assert_eq!(w.state(), "Empty");
    assert_eq!(w.commit("x", 1, 8), Some(GroupError::UnknownMemberId));
    assert_eq!(w.offsets(), [("t".into(), 0, 7)]);
    let (_, generation) = w.stable(1);
    assert_eq!(generation, 1, "the group can get members later");
    assert_eq!(w.commit("", -1, 9), Some(GroupError::UnknownMemberId));
}

#[test]
fn what_was_committed_is_fetched() {
    let mut w = World::new();
    let mut request = commit("", -1, "t", 7);
    request.topics[0].topic_id = Uuid([9; 16]);
    w.send_commit(request);
    match w.ask(fetch_one(false)) {
        Response::FetchOffsets(reply) => {
            let found = &reply.topics[0].partitions[0];
            assert_eq!((found.offset, found.leader_epoch, found.metadata.as_str()), (7, 5, "note"));
        }
        other => panic!("{other:?}"),
    }
    match w.ask(super::world::fetch_all()) {
        Response::FetchOffsets(reply) => assert_eq!(reply.topics[0].topic_id, Uuid([9; 16])),
        other => panic!("{other:?}"),
    }
    let mut w = World::new();
    match w.ask(fetch_one(true)) {
        Response::FetchOffsets(reply) => {
            let found = &reply.topics[0].partitions[0];
            assert_eq!((found.offset, found.leader_epoch, found.metadata.as_str()), (-1, -1, ""), "never 0");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn metadata_is_limited() {
    for (metadata, expect) in [
        ("x".repeat(4_096), None),
        ("x".repeat(4_097), Some(GroupError::OffsetMetadataTooLarge)),
        ("ö".repeat(4_096), None),
        ("\u{1F600}".repeat(2_048), None),
        ("\u{1F600}".repeat(2_049), Some(GroupError::OffsetMetadataTooLarge)),
    ] {
        let mut w = World::new();
        let mut request = commit("", -1, "t", 7);
        request.topics[0].partitions[0].metadata = Some(metadata);
        let token = w.send_commit(request);
        assert_eq!(w.committed(token).topics[0].partitions[0].1, expect);
    }
}

#[test]
fn offsets_show_when_they_are_durable() {
    let mut w = World::new();
    w.commit("", -1, 1);
    w.hold_appends();
    let first = w.send_commit(commit("", -1, "t", 2));
    let second = w.send_commit(commit("", -1, "t", 3));
    let stable = w.send(fetch_one(true));
    assert!(w.is_waiting(first) && w.is_waiting(stable));
    assert_eq!(w.offsets(), [("t".into(), 0, 1)]);
    w.release_first(Ok(()));
    assert_eq!(w.committed(first).topics[0].partitions[0].1, None);
    assert_eq!(w.offsets(), [("t".into(), 0, 2)]);
    assert!(w.is_waiting(second) && w.is_waiting(stable));
    w.release(Err(WriteError::Unavailable));
    assert_eq!(w.committed(second).topics[0].partitions[0].1, Some(GroupError::CoordinatorNotAvailable));
    assert_eq!(w.offsets(), [("t".into(), 0, 2)]);
    match w.reply(stable) {
        Response::FetchOffsets(reply) => assert_eq!(reply.topics[0].partitions[0].offset, 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failed_commit_leaves_no_group() {
    let mut w = World::new();
    w.hold_appends();
    w.send_commit(commit("", -1, "t", 2));
    w.release(Err(WriteError::NotLeader));
    assert_eq!((w.state(), w.offsets().len()), ("Dead", 0));
}

fn offset_delete(w: &mut World, topics: &[&str]) -> (Option<GroupError>, Vec<Option<GroupError>>) {
    let topics = topics.iter().map(|topic| ((*topic).to_owned(), vec![0])).collect();
    match w.ask(Request::OffsetDelete(OffsetDeleteRequest { group_id: "g".into(), topics })) {
        Response::OffsetDelete(reply) => {
            let results = reply.topics.into_iter().flat_map(|(_, results)| results);
            (reply.error, results.map(|(_, error)| error).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn offsets_that_nobody_uses_are_deleted() {
    let mut w = World::new();
    assert_eq!(offset_delete(&mut w, &["t"]), (Some(GroupError::GroupIdNotFound), vec![]));
    let (ids, generation) = w.stable(1);
    for topic in ["t", "u"] {
        w.send_commit(commit(&ids[0], generation, topic, 7));
    }
    let subscribed = Some(GroupError::GroupSubscribedToTopic);
    assert_eq!(offset_delete(&mut w, &["t", "u", "v"]), (None, vec![subscribed, None, None]));
    assert_eq!(w.offsets(), [("t".into(), 0, 7)]);
    w.send_leave(&[(&ids[0], None)]);
    assert_eq!(offset_delete(&mut w, &["t"]), (None, vec![None]));
    assert_eq!(w.offsets(), []);

    let mut connect = Join::new(&w.member_id());
    connect.0.protocol_type = "connect".into();
    w.stable_with(vec![connect]);
    assert_eq!(offset_delete(&mut w, &["t"]), (Some(GroupError::NonEmptyGroup), vec![]));
}

#[test]
fn unreadable_subscriptions_count_as_all_topics() {
    let mut w = World::new();
    let mut join = Join::new(&w.member_id());
    join.0.protocols[0].metadata = bytes::Bytes::from_static(&[0, 1, 0x7f, 0xff, 0xff, 0xff]);
    let (ids, generation) = w.stable_with(vec![join]);
    w.commit(&ids[0], generation, 7);
    assert_eq!(offset_delete(&mut w, &["t"]), (None, vec![Some(GroupError::GroupSubscribedToTopic)]));
}

#[test]
fn offsets_expire_after_the_group_has_been_empty_for_the_retention() {
    let mut w = World::new();
    let (ids, generation) = w.stable(1);
    w.commit(&ids[0], generation, 7);
    w.advance(9_000);
    w.send_leave(&[(&ids[0], None)]);
    w.advance(7 * DAY_MS - 1_000_000);
    assert_eq!(w.offsets().len(), 1);
    w.advance(2_000_000);
    assert_eq!((w.offsets().len(), w.state(), w.coordinator.count()), (0, "Dead", 0));
    assert!(w.log.iter().rev().take(2).all(|record| record.value.is_none()), "two tombstones");
}

#[test]
fn an_expired_group_goes_only_if_its_offsets_do() {
    let mut w = World::new();
    w.commit("", -1, 7);
    let mut appends = Vec::new();
    while appends.is_empty() {
        w.now_ms = w.coordinator.next_deadline().expect("offsets are looked at again and again");
        for action in w.coordinator.step(Input::Tick, w.now()) {
            let Action::Append { records, continues, .. } = action else { panic!("{action:?}") };
            appends.push((records.len(), continues));
        }
    }
    assert_eq!(appends, [(1, false), (1, true)], "the end of the group fails with that of its offset");
}

#[test]
fn offsets_of_a_consumer_without_membership_expire_after_the_commit() {
    let mut w = World::new();
    w.commit("", -1, 7);
    w.advance(6 * DAY_MS);
    w.commit("", -1, 8);
    w.advance(6 * DAY_MS);
    assert_eq!(w.offsets(), [("t".into(), 0, 8)]);
    w.advance(2 * DAY_MS);
    assert_eq!(w.state(), "Dead");
}

#[test]
fn offsets_in_use_never_expire() {
    let mut w = World::new();
    let mut join = Join::new(&w.member_id());
    join.0.session_timeout_ms = 1_800_000;
    let (ids, generation) = w.stable_with(vec![join]);
    for topic in ["t", "u"] {
        w.send_commit(commit(&ids[0], generation, topic, 7));
    }
    for _ in 0..8 * 48 {
        w.advance(1_799_000);
        assert_eq!(w.heartbeat(&ids[0], generation), None);
    }
    assert_eq!(w.offsets(), [("t".into(), 0, 7)], "u is not consumed any more");
}

#[test]
fn a_client_that_sets_a_retention_time_gets_it() {
    let mut w = World::new();
    let mut request = commit("", -1, "t", 7);
    request.retention_time_ms = Some(60_000);
    w.send_commit(request);
    w.advance(600_000);
    assert_eq!(w.state(), "Dead");
}

#[test]
fn groups_that_never_committed_are_forgotten() {
    let mut w = World::new();
    let (ids, _) = w.stable(1);
    w.send_leave(&[(&ids[0], None)]);
    assert_eq!(w.state(), "Empty");
    w.advance(600_000);
    assert_eq!(w.state(), "Dead");
}

#[test]
fn large_expirations_are_written_in_pieces() {
    let mut w = World::new();
    let mut request = commit("", -1, "t", 7);
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..2_500)
        .map(|partition| crate::coordination::groups::CommitPartition { partition, ..one.clone() })
        .collect();
    w.send_commit(request);
    w.hold_appends();
    w.advance(8 * DAY_MS);
    let sizes: Vec<usize> = w.held.iter().map(|(_, records)| records.len()).collect();
    assert_eq!(sizes, [1_000, 1_000, 500, 1]);
    w.release(Ok(()));
    assert_eq!((w.offsets().len(), w.coordinator.count()), (0, 0));
}

#[test]
fn a_step_of_an_expiration_is_small_however_many_groups_there_are() {
    let mut w = World::new();
    for group in 0..3_000 {
        let mut request = commit("", -1, "t", 7);
        request.group_id = format!("g{group}");
        w.send_commit(request);
    }
    w.hold_appends();
    let due = w.coordinator.next_deadline().expect("expirations are looked for");
    w.now_ms = due + 8 * DAY_MS;
    let mut steps = 0;
    while w.coordinator.next_deadline().is_some_and(|deadline| deadline <= w.now_ms) {
        let before = w.held.len();
        w.input(Input::Tick);
        let sizes: Vec<usize> = w.held[before..].iter().map(|(_, records)| records.len()).collect();
        assert!(sizes.len() <= 2 && sizes.iter().all(|size| *size <= 1_000), "{sizes:?}");
        w.now_ms += 1;
        steps += 1;
    }
    assert_eq!(steps, 7, "a group and an offset count as two");
    w.release(Ok(()));
    assert_eq!(w.coordinator.count(), 0);
}

#[test]
fn offsets_that_are_under_way_do_not_hold_up_a_fetch_of_earlier_ones() {
    let mut w = World::new();
    w.hold_appends();
    let first = w.send_commit(commit("", -1, "t", 2));
    let stable = w.send(fetch_one(true));
    // In a busy group something always is under way.
    let second = w.send_commit(commit("", -1, "t", 3));
    let later = w.send(fetch_one(true));
    w.release_first(Ok(()));
    assert!(!w.is_waiting(first) && w.is_waiting(second) && w.is_waiting(later));
    let fetched = w.reply(stable).into_fetch_offsets();
    assert_eq!(fetched.topics[0].partitions[0].offset, 2);
    w.release(Ok(()));
    assert_eq!(w.reply(later).into_fetch_offsets().topics[0].partitions[0].offset, 3);
}

#[test]
fn offsets_of_a_deleted_topic_are_forgotten() {
    let mut w = World::new();
    for (topic, id) in [("t", 1), ("u", 1)] {
        let mut request = commit("", -1, topic, 7);
        request.topics[0].topic_id = Uuid([id; 16]);
        w.send_commit(request);
    }
    w.removed_topics_pass(deleted("t", 2));
    assert_eq!(w.offsets().len(), 2, "a new topic of the name keeps its offsets");
    w.removed_topics_pass(deleted("t", 1));
    assert_eq!(w.offsets(), [("u".into(), 0, 7)]);
}

fn deleted(topic: &str, id: u8) -> GroupNotice {
    GroupNotice::TopicDeleted { topic: topic.into(), topic_id: Uuid([id; 16]) }
}

/// A coordinator with an offset of each of so many groups, in topic `t` or, every third, `u`.
fn with_groups(count: usize) -> World {
    let committed = CommittedOffset {
        offset: 7,
        leader_epoch: -1,
        metadata: String::new(),
        commit_timestamp_ms: EPOCH_MS,
        expire_timestamp_ms: None,
        topic_id: Uuid([1; 16]),
    };
    let topic = |group: usize| if group.is_multiple_of(3) { "u" } else { "t" };
    let record = |group| offset_commit(&format!("{group:05}"), topic(group), 0, &committed);
    World::loaded(GroupConfig::default(), (0..count).map(record).collect(), 0)
}

#[test]
fn a_deleted_topic_costs_each_step_a_bounded_number_of_offsets() {
    let mut w = with_groups(4_500);
    w.hold_appends();
    // Deleted together: they share a pass, and nothing is looked at before its first step.
    w.input(Input::Notice(deleted("v", 1)));
    w.input(Input::Notice(deleted("t", 1)));
    assert_eq!(w.held.len(), 0);
    let mut steps = Vec::new();
    while w.coordinator.is_forgetting() {
        let before = w.held.len();
        w.advance(1);
        steps.push(w.held[before..].iter().map(|(_, records)| records.len()).collect::<Vec<_>>());
    }
    // Two of three offsets are in the topic.
    assert_eq!(steps, [[666], [667], [667], [666], [334]], "a step looks at 1,000 offsets");
    w.release(Ok(()));
    let mut w = World::loaded(GroupConfig::default(), w.log.clone(), w.now_ms);
    assert_eq!(w.removed_topics_pass(deleted("u", 1)), 2, "the others are gone");
}

#[test]
fn a_topic_deleted_during_a_pass_has_one_of_its_own() {
    let mut w = with_groups(1_500);
    w.input(Input::Notice(deleted("t", 1)));
    w.advance(1);
    assert!(w.coordinator.is_forgetting(), "500 are left");
    // Its first offset has been passed.
    assert_eq!(w.removed_topics_pass(deleted("u", 1)), 2, "the rest of one pass, and another over 500");
    assert_eq!(w.log.len(), 3_000, "every offset has its tombstone");
}

#[test]
fn offsets_are_those_of_the_topic_asked_for() {
    let (old, new) = (Uuid([1; 16]), Uuid([2; 16]));
    for (committed, asked, expect) in [
        (old, old, 7),
        (old, new, -1),
        (old, Uuid::ZERO, 7),
        (Uuid::ZERO, new, 7),
        (Uuid::ZERO, Uuid::ZERO, 7),
    ] {
        let mut w = World::new();
        let mut request = commit("", -1, "t", 7);
        request.topics[0].topic_id = committed;
        w.send_commit(request);
        let topic = FetchTopic { name: "t".into(), topic_id: asked, partitions: vec![0] };
        let fetch =
            FetchOffsetsRequest { group_id: "g".into(), require_stable: true, topics: Some(vec![topic]) };
        let fetched = w.ask(Request::FetchOffsets(fetch)).into_fetch_offsets();
        assert_eq!(fetched.topics[0].partitions[0].offset, expect, "{committed:?} {asked:?}");
    }
}

#[test]
fn offsets_of_removed_topics_are_forgotten_after_a_load() {
    let mut w = World::new();
    for (group, count, id) in [("a", 2_100, 1), ("b", 1, 2), ("g", 3, 1), ("h", 1_500, 2)] {
        let mut request = commit("", -1, "t", 7);
        request.group_id = group.into();
        request.topics[0].topic_id = Uuid([id; 16]);
        let one = request.topics[0].partitions[0].clone();
        request.topics[0].partitions = (0..count)
            .map(|partition| crate::coordination::groups::CommitPartition { partition, ..one.clone() })
            .collect();
        w.send_commit(request);
    }
    let mut w = World::loaded(GroupConfig::default(), w.log.clone(), w.now_ms);
    w.hold_appends();
    let removed =
        GroupNotice::RemovedBefore(RemovedTopics::new(|name, id| name == "t" && id == Uuid([1; 16])));
    assert_eq!(w.removed_topics_pass(removed), 4);
    let sizes: Vec<usize> = w.held.iter().map(|(_, records)| records.len()).collect();
    assert_eq!(sizes, [1_000, 1_000, 103], "no step writes more");
    w.release(Ok(()));
    assert_eq!(w.offsets(), []);
    let mut w = World::loaded(GroupConfig::default(), w.log.clone(), w.now_ms);
    let removed = GroupNotice::RemovedBefore(RemovedTopics::new(|_, id| id == Uuid([1; 16])));
    assert_eq!(w.removed_topics_pass(removed), 2, "1,501 are left");
    assert_eq!(w.held.len(), 0);
}

#[test]
fn wall_clock_jumps_do_not_end_sessions() {
    let mut w = World::with(GroupConfig::default());
    let (ids, generation) = w.stable(1);
    let jumped =
        crate::coordination::runner::Now { monotonic_ms: w.now_ms + 1, wall_ms: EPOCH_MS + 100 * 86_400_000 };
    assert_eq!(w.coordinator.step(Input::Tick, jumped), []);
    assert_eq!(w.heartbeat(&ids[0], generation), None);
}
