//! Proves that topics and settings survive restarts, and that what was deleted stays so.

use std::time::Duration;

use net::protocol::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use net::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use net::protocol::init_producer_id::InitProducerIdRequest;
use net::protocol::metadata::MetadataRequest;

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, fetch, produce, values};

async fn topics(client: &mut Client) -> Vec<(String, usize)> {
    let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let response = client.call(12, &request).await.expect("an answer");
    let topics = response.topics.into_iter();
    topics.map(|topic| (topic.name.unwrap_or_default(), topic.partitions.len())).collect()
}

pub(crate) async fn delete(client: &mut Client, name: &str) {
    let topics = [DeleteTopicState { name: Some(name), ..DeleteTopicState::default() }];
    let request = DeleteTopicsRequest { topics: (&topics[..]).into(), ..DeleteTopicsRequest::default() };
    let response = client.call(6, &request).await.expect("an answer");
    assert_eq!(response.responses[0].error_code, 0, "{response:?}");
}

async fn set_retention(client: &mut Client, topic: &str, value: &str) -> i16 {
    let configs = [AlterableConfig { name: "retention.ms", config_operation: 0, value: Some(value) }];
    let resources =
        [AlterConfigsResource { resource_type: 2, resource_name: topic, configs: (&configs[..]).into() }];
    let request = IncrementalAlterConfigsRequest { resources: (&resources[..]).into(), validate_only: false };
    let response = client.call(1, &request).await.expect("an answer");
    response.responses[0].error_code
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
                assert_eq!(set_retention(&mut client, &name, "12345678").await, 0);
                assert_eq!(set_retention(&mut client, &name, "a week").await, 40);
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
