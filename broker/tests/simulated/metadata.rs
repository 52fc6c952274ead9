//! Proves that topics and settings survive restarts, and that what was deleted stays so.

use std::time::Duration;

use model::PartitionId;
use net::protocol::ErrorCode;
use net::protocol::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use net::protocol::create_topics::{CreatableTopic, CreateTopicsRequest};
use net::protocol::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use net::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use net::protocol::init_producer_id::InitProducerIdRequest;
use net::protocol::metadata::MetadataRequest;
use runtime::sim::{Fault, FaultKind, OpKind};
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, fetch, produce, values};

pub(crate) fn named(code: i16) -> ErrorCode {
    ErrorCode::try_from(code).expect("a code of Kafka's")
}

pub(crate) async fn topics(client: &mut Client) -> Vec<(String, usize)> {
    let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let response = client.call(12, &request).await.expect("an answer");
    let topics = response.topics.into_iter();
    topics.map(|topic| (topic.name.unwrap_or_default(), topic.partitions.len())).collect()
}

pub(crate) async fn delete(client: &mut Client, name: &str) {
    let topics = [DeleteTopicState { name: Some(name), ..DeleteTopicState::default() }];
    let request = DeleteTopicsRequest {
        topics: (&topics[..]).into(),
        timeout_ms: 60_000,
        ..DeleteTopicsRequest::default()
    };
    let response = client.call(6, &request).await.expect("an answer");
    assert_eq!(response.responses[0].error_code, 0, "{response:?}");
}

pub(crate) async fn set_retention(client: &mut Client, topic: &str, value: &str) -> ErrorCode {
    let configs = [AlterableConfig { name: "retention.ms", config_operation: 0, value: Some(value) }];
    let resources =
        [AlterConfigsResource { resource_type: 2, resource_name: topic, configs: (&configs[..]).into() }];
    let request = IncrementalAlterConfigsRequest { resources: (&resources[..]).into(), validate_only: false };
    let response = client.call(1, &request).await.expect("an answer");
    named(response.responses[0].error_code)
}

#[test]
fn settings_of_an_older_image_are_not_remembered() {
    in_world(14, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        let mut number = 0;
        // One that this shard has no part of, and so has not resolved the settings of.
        let older = loop {
            let name = format!("t{number}");
            create_topic(&mut client, &name, 1).await;
            let topic = broker.shard.image().topic(&name).cloned().expect("it was created");
            if broker.shard.owner(topic.id, PartitionId(0)) == 1 {
                break topic;
            }
            number += 1;
        };
        assert_eq!(set_retention(&mut client, &older.name, "12345").await, ErrorCode::None);
        let newest = broker.shard.image().topic_by_id(older.id).cloned().expect("it is there");
        let retention = |topic| broker.shard.replicas.topic_config(topic).to_log_config().retention_ms;
        assert_ne!(retention(&older), Some(12_345));
        assert_eq!(retention(&newest), Some(12_345), "though somebody has asked about the older one");
        broker.stop().await;
    });
}

#[test]
fn topics_and_settings_survive_any_end() {
    for (seed, clean) in [(10, true), (11, false), (12, false)] {
        in_world(seed, async |world| {
            // A restart may bring another number of shards.
            for (round, shards) in [3, 1, 4].into_iter().enumerate() {
                let broker = Broker::start(world.node("broker"), shards, &[]).await;
                let mut client = Client::connect(&world.node("client"), broker.address).await;
                let expected: Vec<_> = (0..round).map(|n| (format!("kept-{n}"), n + 1)).collect();
                assert_eq!(topics(&mut client).await, expected, "round {round}");
                for (name, _) in &expected {
                    let response = fetch(&mut client, name, &[(0, 0)], 1, Duration::ZERO).await;
                    let found = values(&response.expect("an answer"));
                    assert_eq!(found, [(0, vec![(0, "v".to_owned())])], "{name}");
                }
                let name = format!("kept-{round}");
                create_topic(&mut client, &name, i32::try_from(round + 1).expect("small")).await;
                create_topic(&mut client, "gone", 2).await;
                assert_eq!(produce(&mut client, &name, &[0], -1, "v").await, Some(vec![(0, 0)]));
                assert_eq!(set_retention(&mut client, &name, "1234567890123456").await, ErrorCode::None);
                assert_eq!(set_retention(&mut client, &name, "a week").await, ErrorCode::InvalidConfig);
                assert_eq!(produce(&mut client, "gone", &[0], -1, "v").await, Some(vec![(0, 0)]));
                delete(&mut client, "gone").await;
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

#[test]
fn producer_ids_are_never_given_twice() {
    in_world(13, async |world| {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let broker = Broker::start(world.node("broker"), 2, &[]).await;
            for _ in 0..20 {
                let mut client = Client::connect(&world.node("client"), broker.address).await;
                let response = client.call(4, &InitProducerIdRequest::default()).await.expect("an answer");
                assert_eq!(response.error_code, 0);
                assert!(seen.insert(response.producer_id), "{} twice", response.producer_id);
            }
            world.crash("broker");
        }
    });
}

/// Creates topics with so many partitions each; yields the error codes.
pub(crate) async fn create(client: &mut Client, topics: &[(&str, i32)], timeout_ms: i32) -> Vec<ErrorCode> {
    let topics: Vec<_> = topics
        .iter()
        .map(|(name, num_partitions)| CreatableTopic {
            name,
            num_partitions: *num_partitions,
            replication_factor: 1,
            ..CreatableTopic::default()
        })
        .collect();
    let request = CreateTopicsRequest { topics: (&topics[..]).into(), timeout_ms, validate_only: false };
    let response = client.call(7, &request).await.expect("an answer");
    response.topics.iter().map(|topic| named(topic.error_code)).collect()
}

async fn create_partitions(client: &mut Client, name: &str, count: i32, timeout_ms: i32) -> ErrorCode {
    let topics = [CreatePartitionsTopic { name, count, assignments: None }];
    let request = CreatePartitionsRequest { topics: (&topics[..]).into(), timeout_ms, validate_only: false };
    named(client.call(3, &request).await.expect("an answer").results[0].error_code)
}

#[test]
fn requests_for_too_many_partitions_are_refused_as_a_whole() {
    in_world(16, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        let too_many = create(&mut client, &[("a", 5_000), ("b", 5_000), ("c", 1)], 1_000).await;
        assert_eq!(too_many, [ErrorCode::PolicyViolation; 3]);
        assert_eq!(create(&mut client, &[("a", 10_001)], 1_000).await, [ErrorCode::PolicyViolation]);
        assert_eq!(
            create(&mut client, &[("a", 2), ("b", 0)], 1_000).await,
            [ErrorCode::None, ErrorCode::InvalidPartitions],
            "each on its own merits"
        );
        assert_eq!(create_partitions(&mut client, "a", 10_003, 1_000).await, ErrorCode::PolicyViolation);
        assert_eq!(topics(&mut client).await, [("a".to_owned(), 2)]);
        broker.stop().await;
    });
}

#[test]
fn a_change_outlives_the_time_its_client_waits() {
    in_world(17, async |world| {
        let broker = Broker::start(world.node("broker"), 3, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        let mut other = Client::connect(&world.node("client"), broker.address).await;
        for timeout_ms in [0, -1] {
            assert_eq!(create(&mut client, &[("t", 3)], timeout_ms).await, [ErrorCode::RequestTimedOut]);
            assert_eq!(topics(&mut client).await, [], "nothing began");
        }
        let slow = Fault::new(OpKind::Meta, FaultKind::Slow(Duration::from_secs(2)));
        world.disk("broker").inject(slow.on("/t-"));
        assert_eq!(create(&mut client, &[("t", 3)], 100).await, [ErrorCode::RequestTimedOut]);
        assert_eq!(topics(&mut client).await, [("t".to_owned(), 3)], "it goes on");
        // Others do not wait for it.
        let clock = world.node("client").clock().clone();
        let before = clock.now();
        let response = other.call(4, &InitProducerIdRequest::default()).await.expect("an answer");
        assert_eq!(response.error_code, 0);
        assert!(clock.now().since(before) < Duration::from_secs(1));
        assert_eq!(create_partitions(&mut client, "t", 5, 100).await, ErrorCode::RequestTimedOut);
        assert_eq!(create_partitions(&mut client, "t", 6, 100_000).await, ErrorCode::None);
        for partition in 0..6 {
            let produced = produce(&mut client, "t", &[partition], -1, "v").await;
            assert_eq!(produced, Some(vec![(0, 0)]), "partition {partition}");
        }
        broker.stop().await;
    });
}

#[test]
fn a_topic_may_go_and_come_again_while_it_is_being_created() {
    for seed in 40..50 {
        in_world(seed, async |world| {
            let broker = Broker::start(world.node("broker"), 3, &[]).await;
            let mut client = Client::connect(&world.node("client"), broker.address).await;
            let slow = Fault::new(OpKind::Meta, FaultKind::Slow(Duration::from_millis(50)));
            world.disk("broker").inject(slow.on("/t-"));
            for _ in 0..3 {
                let timeout_ms = 1 + i32::try_from(world.node("client").random() % 400).expect("small");
                assert_ne!(
                    create(&mut client, &[("t", 5)], timeout_ms).await,
                    [ErrorCode::TopicAlreadyExists],
                    "it was deleted"
                );
                let topics = [DeleteTopicState { name: Some("t"), ..DeleteTopicState::default() }];
                let request = DeleteTopicsRequest {
                    topics: (&topics[..]).into(),
                    timeout_ms: 60,
                    ..DeleteTopicsRequest::default()
                };
                let response = client.call(6, &request).await.expect("an answer");
                let code = named(response.responses[0].error_code);
                let expected =
                    [ErrorCode::None, ErrorCode::UnknownTopicOrPartition, ErrorCode::RequestTimedOut];
                assert!(expected.contains(&code), "{response:?}");
            }
            assert_eq!(create(&mut client, &[("t", 5)], 100_000).await, [ErrorCode::None]);
            for partition in 0..5 {
                let produced = produce(&mut client, "t", &[partition], -1, "v").await;
                assert_eq!(produced, Some(vec![(0, 0)]), "seed {seed} partition {partition}");
            }
            world.crash("broker");
            world.disk("broker").clear_faults();
            let broker = Broker::start(world.node("broker"), 3, &[]).await;
            let mut client = Client::connect(&world.node("client"), broker.address).await;
            let response = fetch(&mut client, "t", &[(0, 0), (4, 0)], 1, Duration::ZERO).await;
            let found = values(&response.expect("an answer"));
            assert_eq!(found, [(0, vec![(0, "v".to_owned())]), (4, vec![(0, "v".to_owned())])]);
            broker.stop().await;
        });
    }
}

/// A large topic takes many records. They are one batch, which a power cut leaves as a whole or not at all.
#[test]
fn a_change_is_one_batch() {
    in_world(80, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "big", 1_100).await;
        let log = "/data/__cluster_metadata-0/00000000000000000000.log";
        let content = world.disk("broker").read_stable(log).expect("the metadata log");
        let batches = model::batches(&content).map_while(Result::ok);
        let sizes: Vec<_> =
            batches.map(|batch| batch.record_count()).filter(|records| *records > 100).collect();
        assert_eq!(sizes, [1_101], "the topic and its partitions");
    });
}
