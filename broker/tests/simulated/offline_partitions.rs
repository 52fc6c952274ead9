//! Proves that a partition that cannot be served is seen by everyone who asks, and harms no other.

use net::protocol::describe_log_dirs::DescribeLogDirsRequest;
use net::protocol::describe_topic_partitions::{DescribeTopicPartitionsRequest, TopicRequest};
use net::protocol::find_coordinator::FindCoordinatorRequest;
use net::protocol::metadata::{MetadataRequest, MetadataRequestTopic};
use runtime::sim::SimWorld;

use crate::groups::find;
use crate::harness::{Broker, Client, in_world};
use crate::metadata::delete;
use crate::records::{create_topic, produce};

/// What is said about a partition: error, leader, replicas in sync, offline replicas.
type Said = (i16, i32, Vec<i32>, Vec<i32>);

async fn told(client: &mut Client, topic: &str) -> Vec<Said> {
    let topics = [MetadataRequestTopic { name: Some(topic), ..MetadataRequestTopic::default() }];
    let request = MetadataRequest { topics: Some((&topics[..]).into()), ..MetadataRequest::default() };
    let response = client.call(9, &request).await.expect("an answer");
    let partitions = response.topics[0].partitions.iter();
    let told: Vec<Said> = partitions
        .map(|it| (it.error_code, it.leader_id, it.isr_nodes.clone(), it.offline_replicas.clone()))
        .collect();
    let topics = [TopicRequest { name: topic }];
    let request = DescribeTopicPartitionsRequest {
        topics: (&topics[..]).into(),
        response_partition_limit: 100,
        ..DescribeTopicPartitionsRequest::default()
    };
    let response = client.call(0, &request).await.expect("an answer");
    let partitions = response.topics[0].partitions.iter();
    let described: Vec<Said> = partitions
        .map(|it| (it.error_code, it.leader_id, it.isr_nodes.clone(), it.offline_replicas.clone()))
        .collect();
    assert_eq!(told, described, "both say the same");
    told
}

/// A broker with topic "t" whose partition 1 has records; it has stopped.
async fn stopped(world: &SimWorld, groups: bool) {
    let broker = Broker::start(world.node("broker"), 2, &[("offsets.topic.num.partitions", "1")]).await;
    let mut client = Client::connect(&world.node("client"), broker.address).await;
    create_topic(&mut client, "t", 3).await;
    if groups {
        assert_eq!(find(&mut client, 4, "group").await, 0);
    }
    for _ in 0..4 {
        assert_eq!(produce(&mut client, "t", &[1], -1, "value").await.expect("an answer")[0].0, 0);
    }
    broker.stop().await;
    world.kill("broker");
}

#[test]
fn a_partition_whose_files_are_gone_has_no_leader() {
    in_world(95, async |world| {
        stopped(&world, false).await;
        world.disk("broker").set_content("/data/t-1/partition.metadata", b"damaged".to_vec());
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        let whole = (0, 1, vec![1], vec![]);
        let offline = (5, -1, vec![], vec![1]);
        assert_eq!(told(&mut client, "t").await, [whole.clone(), offline, whole.clone()]);
        assert_eq!(produce(&mut client, "t", &[0, 1], -1, "v").await, Some(vec![(0, 0), (56, -1)]));
        let response = client.call(4, &DescribeLogDirsRequest::default()).await.expect("an answer");
        let listed: Vec<_> = response.results[0].topics[0].partitions.iter().collect();
        assert_eq!(listed.iter().map(|it| it.offset_lag).collect::<Vec<_>>(), [0, -1, 0]);
        assert!(listed[1].partition_size > 0, "{listed:?}");
        let found = broker.shard.replicas.offline().some(10);
        assert_eq!((found.len(), found[0].is_readable), (1, false));
        delete(&mut client, "t").await;
        create_topic(&mut client, "t", 3).await;
        assert_eq!(told(&mut client, "t").await, vec![whole; 3], "its name is free again");
        assert!(broker.shard.replicas.offline().is_empty());
        broker.stop().await;
    });
}

#[test]
fn a_damaged_log_can_be_read_and_has_no_replica_in_sync() {
    in_world(96, async |world| {
        stopped(&world, false).await;
        world.disk("broker").set_content("/data/t-1/00000000000000000000.log", vec![0; 4096]);
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        let whole = (0, 1, vec![1], vec![]);
        assert_eq!(told(&mut client, "t").await, [whole.clone(), (0, 1, vec![], vec![1]), whole]);
        broker.stop().await;
    });
}

#[test]
fn groups_of_a_damaged_partition_have_no_coordinator() {
    in_world(97, async |world| {
        stopped(&world, true).await;
        world
            .disk("broker")
            .set_content("/data/__consumer_offsets-0/partition.metadata", b"damaged".to_vec());
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        let keys = ["group"];
        let request = FindCoordinatorRequest {
            coordinator_keys: (&keys[..]).into(),
            ..FindCoordinatorRequest::default()
        };
        let response = client.call(4, &request).await.expect("an answer");
        let found = &response.coordinators[0];
        assert_eq!((found.error_code, found.node_id), (15, -1), "COORDINATOR_NOT_AVAILABLE");
        let message = found.error_message.as_deref().unwrap_or_default();
        assert!(message.contains("__consumer_offsets-0 is offline"), "{message}");
        broker.stop().await;
    });
}
