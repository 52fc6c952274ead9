//! Proves that classic groups form, commit and go on across restarts and power cuts, in every version of their APIs.

use std::time::Duration;

use net::protocol::delete_groups::DeleteGroupsRequest;
use net::protocol::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use net::protocol::describe_groups::DescribeGroupsRequest;
use net::protocol::find_coordinator::FindCoordinatorRequest;
use net::protocol::heartbeat::HeartbeatRequest;
use net::protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use net::protocol::leave_group::{LeaveGroupRequest, MemberIdentity};
use net::protocol::list_groups::ListGroupsRequest;
use net::protocol::metadata::MetadataRequest;
use net::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use net::protocol::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use net::protocol::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use net::protocol::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use runtime::sim::{Fault, FaultKind, OpKind};
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};
use crate::records::create_topic;

const SETTINGS: [(&str, &str); 2] =
    [("group.initial.rebalance.delay.ms", "100"), ("offsets.topic.num.partitions", "7")];

/// COORDINATOR_LOAD_IN_PROGRESS.
const LOADING: i16 = 14;

pub(crate) async fn find(client: &mut Client, version: i16, group: &str) -> i16 {
    let keys = [group];
    let request = FindCoordinatorRequest {
        key: if version < 4 { group } else { "" },
        coordinator_keys: if version < 4 { (&[][..]).into() } else { (&keys[..]).into() },
        ..FindCoordinatorRequest::default()
    };
    let response = client.call(version, &request).await.expect("an answer");
    let node = response.coordinators.first().map_or(response.node_id, |coordinator| coordinator.node_id);
    assert_eq!(node, 1, "version {version}: {response:?}");
    response.coordinators.first().map_or(response.error_code, |coordinator| coordinator.error_code)
}

async fn send_join(client: &mut Client, version: i16, group: &str, member: &str) -> JoinGroupResponse {
    // A consumer's subscription to topic "t".
    let metadata = [0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];
    let protocols = [JoinGroupRequestProtocol { name: "range", metadata: &metadata }];
    let request = JoinGroupRequest {
        group_id: group,
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: if version == 0 { -1 } else { 20_000 },
        member_id: member,
        protocol_type: "consumer",
        protocols: (&protocols[..]).into(),
        ..JoinGroupRequest::default()
    };
    client.call(version, &request).await.expect("an answer")
}

/// Joins a group of one and gets the assignment; returns member id and generation.
async fn join(client: &mut Client, version: i16, group: &str) -> (String, i32) {
    let mut joined = send_join(client, version, group, "").await;
    assert_eq!(joined.error_code == 79, version >= 4, "version {version}: {joined:?}");
    if joined.error_code == 79 {
        let member = joined.member_id;
        joined = send_join(client, version, group, &member).await;
    }
    assert_eq!((joined.error_code, joined.protocol_name.as_deref()), (0, Some("range")), "version {version}");
    assert_eq!((&joined.leader, joined.members.len()), (&joined.member_id, 1), "version {version}");
    let version = version.min(5);
    let assignments =
        [SyncGroupRequestAssignment { member_id: &joined.member_id, assignment: b"everything" }];
    let request = SyncGroupRequest {
        group_id: group,
        generation_id: joined.generation_id,
        member_id: &joined.member_id,
        protocol_type: (version >= 5).then_some("consumer"),
        protocol_name: (version >= 5).then_some("range"),
        assignments: (&assignments[..]).into(),
        ..SyncGroupRequest::default()
    };
    let synced = client.call(version, &request).await.expect("an answer");
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"everything"[..]), "version {version}");
    (joined.member_id, joined.generation_id)
}

async fn heartbeat(client: &mut Client, version: i16, group: &str, member: &(String, i32)) -> i16 {
    let request = HeartbeatRequest {
        group_id: group,
        generation_id: member.1,
        member_id: &member.0,
        ..HeartbeatRequest::default()
    };
    client.call(version, &request).await.expect("an answer").error_code
}

async fn commit(client: &mut Client, version: i16, group: &str, member: &(String, i32), offset: i64) -> i16 {
    let topic_id = if version >= 10 { topic_id(client).await } else { model::Uuid::ZERO };
    let partitions = [4, 3].map(|partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_metadata: Some("note"),
        ..OffsetCommitRequestPartition::default()
    });
    let name = if version >= 10 { "" } else { "t" };
    let topics = [OffsetCommitRequestTopic { name, topic_id, partitions: (&partitions[..]).into() }];
    let request = OffsetCommitRequest {
        group_id: group,
        generation_id_or_member_epoch: member.1,
        member_id: &member.0,
        topics: (&topics[..]).into(),
        ..OffsetCommitRequest::default()
    };
    let response = client.call(version, &request).await.expect("an answer");
    let codes: Vec<i16> =
        response.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes[0], 3, "the topic has no partition 4");
    codes[1]
}

/// The committed offset of partition 3 of topic "t"; asked for by name, or among all.
async fn committed(client: &mut Client, version: i16, group: &str, all: bool) -> i64 {
    let topic_id = if version >= 10 { topic_id(client).await } else { model::Uuid::ZERO };
    let index = [3];
    let old = [OffsetFetchRequestTopic { name: "t", partition_indexes: (&index[..]).into() }];
    let name = if version >= 10 { "" } else { "t" };
    let new = [OffsetFetchRequestTopics { name, topic_id, partition_indexes: (&index[..]).into() }];
    let groups = [OffsetFetchRequestGroup {
        group_id: group,
        topics: (!all).then_some((&new[..]).into()),
        ..OffsetFetchRequestGroup::default()
    }];
    let request = OffsetFetchRequest {
        group_id: if version < 8 { group } else { "" },
        topics: if version < 8 { (!all).then_some((&old[..]).into()) } else { Some((&[][..]).into()) },
        groups: if version < 8 { (&[][..]).into() } else { (&groups[..]).into() },
        require_stable: version >= 7,
    };
    let mut response = client.call(version, &request).await.expect("an answer");
    while response.groups.first().map_or(response.error_code, |group| group.error_code) == LOADING {
        response = client.call(version, &request).await.expect("an answer");
    }
    if version < 8 {
        assert_eq!(response.error_code, 0, "version {version}");
        response.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset)
    } else {
        assert_eq!(response.groups[0].error_code, 0, "version {version}");
        let topic = response.groups[0].topics.first();
        assert!(topic.is_none_or(|topic| topic.topic_id == topic_id), "version {version}");
        topic.map_or(-1, |topic| topic.partitions[0].committed_offset)
    }
}

async fn topic_id(client: &mut Client) -> model::Uuid {
    let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let response = client.call(12, &request).await.expect("an answer");
    let topic = response.topics.into_iter().find(|topic| topic.name.as_deref() == Some("t"));
    topic.expect("the topic exists").topic_id
}

async fn describe(client: &mut Client, version: i16, group: &str) -> (i16, String, usize) {
    let groups = [group];
    let request =
        DescribeGroupsRequest { groups: (&groups[..]).into(), include_authorized_operations: version >= 3 };
    let mut response = client.call(version, &request).await.expect("an answer");
    let group = response.groups.remove(0);
    assert_eq!(group.authorized_operations == i32::MIN, version < 3 || group.error_code != 0);
    (group.error_code, group.group_state, group.members.len())
}

async fn leave(client: &mut Client, version: i16, group: &str, member: &(String, i32)) -> i16 {
    let members = [MemberIdentity { member_id: &member.0, ..MemberIdentity::default() }];
    let request = LeaveGroupRequest {
        group_id: group,
        member_id: if version < 3 { &member.0 } else { "" },
        members: if version < 3 { (&[][..]).into() } else { (&members[..]).into() },
    };
    let response = client.call(version, &request).await.expect("an answer");
    response.members.first().map_or(response.error_code, |member| member.error_code)
}

async fn list(client: &mut Client, version: i16) -> Vec<String> {
    let response = client.call(version, &ListGroupsRequest::default()).await.expect("an answer");
    assert_eq!(response.error_code, 0, "version {version}");
    let mut groups: Vec<String> = response.groups.into_iter().map(|group| group.group_id).collect();
    groups.sort();
    groups
}

async fn delete(client: &mut Client, version: i16, group: &str) -> i16 {
    let groups = [group];
    let request = DeleteGroupsRequest { groups_names: (&groups[..]).into() };
    client.call(version, &request).await.expect("an answer").results[0].error_code
}

#[test]
fn every_version_of_every_group_api() {
    in_world(21, async |world| {
        let broker = Broker::start(world.node("broker"), 3, &SETTINGS).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 4).await;
        for version in 0..=6 {
            assert_eq!(find(&mut client, version, "group").await, 0, "version {version}");
        }
        for version in 0..=10 {
            let c = &mut client;
            let group = format!("group-{version}");
            let member = join(c, version.min(9), &group).await;
            let offset = i64::from(version) + 100;
            assert_eq!(heartbeat(c, version.min(4), &group, &member).await, 0, "version {version}");
            assert_eq!(commit(c, version.max(2), &group, &member, offset).await, 0, "version {version}");
            for all in [false, true] {
                let version = version.max(if all { 2 } else { 1 });
                assert_eq!(committed(c, version, &group, all).await, offset, "version {version}");
            }
            let described = describe(c, version.min(6), &group).await;
            assert_eq!(described, (0, "Stable".into(), 1), "version {version}");
            assert_eq!(list(c, version.min(5)).await, vec![group.clone()], "version {version}");
            assert_eq!(delete(c, version.min(3), &group).await, 68, "version {version}: not empty");
            assert_eq!(leave(c, version.min(5), &group, &member).await, 0, "version {version}");
            assert_eq!(
                leave(c, version.min(5), &group, &member).await,
                25,
                "version {version}: not a member"
            );
            assert_eq!(describe(c, version.min(6), &group).await, (0, "Empty".into(), 0));
            let partitions = [OffsetDeleteRequestPartition { partition_index: 3 }];
            let topics = [
                OffsetDeleteRequestTopic { name: "t", partitions: (&partitions[..]).into() },
                OffsetDeleteRequestTopic { name: "nowhere", partitions: (&partitions[..]).into() },
            ];
            let request = OffsetDeleteRequest { group_id: &group, topics: (&topics[..]).into() };
            let deleted = c.call(0, &request).await.expect("an answer");
            let mut codes: Vec<_> = deleted
                .topics
                .iter()
                .map(|topic| (topic.name.as_str(), topic.partitions[0].error_code))
                .collect();
            codes.sort_unstable();
            assert_eq!(codes, [("nowhere", 3), ("t", 0)]);
            assert_eq!(committed(c, 9, &group, false).await, -1);
            assert_eq!(delete(c, version.min(3), &group).await, 0, "version {version}");
            let gone = if version < 6 { 0 } else { 69 };
            assert_eq!(describe(c, version.min(6), &group).await, (gone, "Dead".into(), 0));
        }
        broker.stop().await;
    });
}

#[test]
fn groups_go_on_after_any_end() {
    for (seed, clean) in [(22, true), (23, false), (24, false), (25, false)] {
        in_world(seed, async |world| {
            let mut member = None;
            // A restart may bring another number of shards.
            for (round, shards) in [2, 1, 3].into_iter().enumerate() {
                let broker = Broker::start(world.node("broker"), shards, &SETTINGS).await;
                let mut client = Client::connect(&world.node("client"), broker.address).await;
                if round == 0 {
                    create_topic(&mut client, "t", 4).await;
                    assert_eq!(find(&mut client, 4, "group").await, 0);
                    member = Some(join(&mut client, 9, "group").await);
                }
                let member = member.as_ref().expect("joined in the first round");
                // A coordinator that still loads takes any heartbeat, but refuses commits with a retriable code.
                let mut code = LOADING;
                let offset = i64::try_from(round).expect("small");
                while code == LOADING {
                    assert_eq!(heartbeat(&mut client, 4, "group", member).await, 0, "round {round}");
                    if round > 0 {
                        assert_eq!(committed(&mut client, 9, "group", false).await, offset - 1);
                    }
                    code = commit(&mut client, 9, "group", member, offset).await;
                    pause(&world.node("client"), 10).await;
                }
                assert_eq!(code, 0, "round {round}");
                // Was told to be durable: so it is there in the next round.
                if clean {
                    broker.stop().await;
                    world.kill("broker");
                } else {
                    world.crash("broker");
                }
            }
        });
    }
}

async fn pause(effects: &runtime::sim::SimEffects, ms: u64) {
    let clock = effects.clock();
    clock.sleep_until(clock.now() + Duration::from_millis(ms)).await;
}

#[test]
fn a_group_shares_its_work_and_notices_a_lost_member() {
    in_world(26, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &SETTINGS).await;
        let mut first = Client::connect(&world.node("client"), broker.address).await;
        let mut second = Client::connect(&world.node("client"), broker.address).await;
        assert_eq!(find(&mut first, 4, "group").await, 0);
        let lone = join(&mut first, 9, "group").await;
        let id = send_join(&mut second, 9, "group", "").await.member_id;
        let (both, again) = futures_util::future::join(send_join(&mut second, 9, "group", &id), async {
            while heartbeat(&mut first, 4, "group", &lone).await != 27 {
                pause(&world.node("client"), 100).await;
            }
            send_join(&mut first, 9, "group", &lone.0).await
        })
        .await;
        assert_eq!((both.error_code, both.generation_id), (0, lone.1 + 1));
        assert_eq!((again.error_code, again.members.len()), (0, 2), "the first one still leads");
        // Only the second member goes on.
        let member = (id, both.generation_id);
        let mut code = 0;
        for _ in 0..20 {
            pause(&world.node("client"), 1_000).await;
            code = heartbeat(&mut second, 4, "group", &member).await;
            if code != 0 {
                break;
            }
        }
        assert_eq!(code, 27, "the first member's session ran out");
        let alone = send_join(&mut second, 9, "group", &member.0).await;
        assert_eq!((alone.error_code, alone.members.len()), (0, 1));
        broker.stop().await;
    });
}

#[test]
fn offsets_go_with_their_topic() {
    in_world(27, async |world| {
        let broker = Broker::start(world.node("broker"), 3, &SETTINGS).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 4).await;
        assert_eq!(find(&mut client, 4, "group").await, 0);
        let nobody = (String::new(), -1);
        assert_eq!(commit(&mut client, 9, "group", &nobody, 5).await, 0);
        assert_eq!(committed(&mut client, 9, "group", false).await, 5);
        let topics = [DeleteTopicState { name: Some("t"), ..DeleteTopicState::default() }];
        let request = DeleteTopicsRequest {
            topics: (&topics[..]).into(),
            timeout_ms: 60_000,
            ..DeleteTopicsRequest::default()
        };
        client.call(6, &request).await.expect("an answer");
        assert_eq!(commit(&mut client, 9, "group", &nobody, 6).await, 3, "no such topic");
        create_topic(&mut client, "t", 4).await;
        assert_eq!(committed(&mut client, 9, "group", false).await, -1);
        broker.stop().await;
    });
}

/// Deletes topic "t" and does not wait for the answer.
async fn send_delete_topic(client: &mut Client) {
    let topics = [DeleteTopicState { name: Some("t"), ..DeleteTopicState::default() }];
    let request = DeleteTopicsRequest {
        topics: (&topics[..]).into(),
        timeout_ms: 60_000,
        ..DeleteTopicsRequest::default()
    };
    client.send(6, &request).await.expect("sent");
}

async fn has_topic(client: &mut Client) -> bool {
    let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let response = client.call(12, &request).await.expect("an answer");
    response.topics.into_iter().any(|topic| topic.name.as_deref() == Some("t"))
}

/// Asserts that a new topic "t" has no committed offset, however one asks.
async fn assert_none_committed(client: &mut Client, what: &str) {
    create_topic(client, "t", 4).await;
    for (version, all) in [(7, false), (9, false), (10, false), (7, true), (9, true), (10, true)] {
        let offset = committed(client, version, "group", all).await;
        assert_eq!(offset, -1, "{what}, version {version}, all: {all}");
    }
}

#[test]
fn a_kill_while_a_topic_is_deleted_leaves_no_offsets() {
    let mut cut = 0;
    for micros in (0..6_000).step_by(100) {
        in_world(30 + micros, async |world| {
            let broker = Broker::start(world.node("broker"), 2, &SETTINGS).await;
            let mut client = Client::connect(&world.node("client"), broker.address).await;
            create_topic(&mut client, "t", 4).await;
            assert_eq!(find(&mut client, 4, "group").await, 0);
            assert_eq!(commit(&mut client, 9, "group", &(String::new(), -1), 5).await, 0);
            send_delete_topic(&mut client).await;
            let clock = world.clock();
            clock.sleep_until(clock.now() + Duration::from_micros(micros)).await;
            world.crash("broker");
            let broker = Broker::start(world.node("broker"), 2, &SETTINGS).await;
            let mut client = Client::connect(&world.node("client"), broker.address).await;
            if has_topic(&mut client).await {
                assert_eq!(committed(&mut client, 9, "group", false).await, 5);
                return;
            }
            cut += 1;
            assert_none_committed(&mut client, &format!("killed after {micros} us")).await;
            broker.stop().await;
        });
    }
    assert!(cut > 5, "some kills came after the deletion");
}

#[test]
fn a_topic_that_is_deleted_while_its_groups_load_leaves_no_offsets() {
    in_world(29, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &SETTINGS).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 4).await;
        assert_eq!(find(&mut client, 4, "group").await, 0);
        assert_eq!(commit(&mut client, 9, "group", &(String::new(), -1), 5).await, 0);
        world.crash("broker");
        let slow = Fault::new(OpKind::Read, FaultKind::Slow(Duration::from_secs(1)));
        world.disk("broker").inject(slow.on("__consumer_offsets"));
        let broker = Broker::start(world.node("broker"), 2, &SETTINGS).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        send_delete_topic(&mut client).await;
        let _: DeleteTopicsResponse = client.response(6).await.expect("an answer");
        assert_none_committed(&mut client, "deleted while loading").await;
        broker.stop().await;
    });
}

#[test]
fn a_group_that_is_named_twice_is_deleted_once() {
    in_world(20, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &SETTINGS).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 4).await;
        for group in ["a", "b"] {
            assert_eq!(find(&mut client, 4, group).await, 0);
            assert_eq!(commit(&mut client, 9, group, &(String::new(), -1), 5).await, 0);
        }
        let groups = ["a", "b", "a", "nope", "nope"];
        let request = DeleteGroupsRequest { groups_names: (&groups[..]).into() };
        let response = client.call(2, &request).await.expect("an answer");
        let results = response.results.iter().map(|result| (result.group_id.as_str(), result.error_code));
        assert_eq!(results.collect::<Vec<_>>(), [("a", 0), ("b", 0), ("nope", 69)], "as Apache Kafka 4.3.1");
        broker.stop().await;
    });
}

#[test]
fn nobody_is_sent_away_while_the_first_groups_topic_is_made() {
    for seed in 60..70 {
        in_world(seed, async |world| {
            let settings =
                [("group.initial.rebalance.delay.ms", "0"), ("offsets.topic.num.partitions", "50")];
            let broker = Broker::start(world.node("broker"), 2, &settings).await;
            let mut first = Client::connect(&world.node("client"), broker.address).await;
            let mut second = Client::connect(&world.node("client"), broker.address).await;
            let (code, ()) = futures_util::future::join(find(&mut first, 4, "a"), async {
                // Only this shard's image has to have the topic for an answer.
                while find(&mut second, 4, "b").await != 0 {}
                let code = send_join(&mut second, 3, "b", "").await.error_code;
                assert_eq!(code, 0, "neither NOT_COORDINATOR nor COORDINATOR_LOAD_IN_PROGRESS");
            })
            .await;
            assert_eq!(code, 0);
            broker.stop().await;
        });
    }
}

#[test]
fn a_shutdown_does_not_wait_for_members_that_wait() {
    in_world(28, async |world| {
        let settings = [("group.initial.rebalance.delay.ms", "100000")];
        let broker = Broker::start(world.node("broker"), 2, &settings).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        assert_eq!(find(&mut client, 4, "group").await, 0);
        let clock = world.node("client").clock().clone();
        let before = clock.now();
        let (joined, ()) = futures_util::future::join(send_join(&mut client, 3, "group", ""), async {
            pause(&world.node("client"), 1_000).await;
            broker.stop().await;
        })
        .await;
        assert_eq!(joined.error_code, 16, "look for another coordinator");
        assert!(clock.now().since(before) < Duration::from_secs(3));
    });
}
