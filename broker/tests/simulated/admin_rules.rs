//! Proves that topics, settings and metadata are administered as with Apache Kafka 4.3.1; what is expected was asked of
//! one.

use model::Uuid;
use net::protocol::alter_configs::{self, AlterConfigsRequest};
use net::protocol::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use net::protocol::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult,
    CreateTopicsRequest,
};
use net::protocol::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use net::protocol::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use net::protocol::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResult,
};
use net::protocol::describe_topic_partitions::{Cursor, DescribeTopicPartitionsRequest, TopicRequest};
use net::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use net::protocol::init_producer_id::InitProducerIdRequest;
use net::protocol::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use net::protocol::metadata::{MetadataRequest, MetadataRequestTopic};
use runtime::sim::SimWorld;

use crate::groups::find;
use crate::harness::{Broker, Client, in_world};
use crate::records::create_topic;

async fn start(world: &SimWorld) -> (Broker, Client) {
    let broker = Broker::start(world.node("broker"), 2, &[]).await;
    let client = Client::connect(&world.node("client"), broker.address).await;
    (broker, client)
}

async fn create(client: &mut Client, version: i16, topic: CreatableTopic<'_>) -> CreatableTopicResult {
    let topics = [topic];
    let request = CreateTopicsRequest { topics: topics[..].into(), ..CreateTopicsRequest::default() };
    client.call(version, &request).await.expect("an answer").topics.remove(0)
}

#[test]
fn every_version_may_leave_the_number_of_partitions_to_the_broker() {
    in_world(80, async |world| {
        let (_broker, mut client) = start(&world).await;
        for (version, name) in [(2, "t2"), (3, "t3"), (4, "t4"), (7, "t7")] {
            let topic = CreatableTopic {
                name,
                num_partitions: -1,
                replication_factor: -1,
                ..CreatableTopic::default()
            };
            assert_eq!(create(&mut client, version, topic).await.error_code, 0, "version {version}");
        }
    });
}

#[test]
fn what_is_named_twice_is_refused_by_itself() {
    in_world(81, async |world| {
        let (broker, mut client) = start(&world).await;
        for name in ["a", "b", "c"] {
            create_topic(&mut client, name, 1).await;
        }
        let more = ["a", "b", "a"].map(|name| CreatePartitionsTopic { name, count: 2, assignments: None });
        let request = CreatePartitionsRequest {
            topics: more[..].into(),
            timeout_ms: 10_000,
            ..CreatePartitionsRequest::default()
        };
        let response = client.call(3, &request).await.expect("an answer");
        let answers = response.results.iter().map(|result| (result.name.as_str(), result.error_code));
        assert_eq!(answers.collect::<Vec<_>>(), [("a", 42), ("b", 0)]);

        let configs = [AlterableConfig { name: "retention.ms", config_operation: 0, value: Some("5") }];
        let changes = ["a", "b", "a"].map(|resource_name| AlterConfigsResource {
            resource_type: 2,
            resource_name,
            configs: configs[..].into(),
        });
        let request = IncrementalAlterConfigsRequest { resources: changes[..].into(), validate_only: false };
        let response = client.call(1, &request).await.expect("an answer");
        let codes = response.responses.iter().map(|result| result.error_code);
        assert_eq!(codes.collect::<Vec<_>>(), [42, 0, 42]);

        let partitions = [0, 0].map(|partition_index| ListOffsetsPartition {
            partition_index,
            timestamp: -1,
            current_leader_epoch: -1,
        });
        let topics = [("a", 2), ("b", 1)]
            .map(|(name, count)| ListOffsetsTopic { name, partitions: partitions[..count].into() });
        let request = ListOffsetsRequest { topics: topics[..].into(), ..ListOffsetsRequest::default() };
        let response = client.call(7, &request).await.expect("an answer");
        let codes: Vec<_> =
            response.topics.iter().map(|topic| topic.partitions.last().map(|last| last.error_code)).collect();
        assert_eq!(codes, [Some(42), Some(0)]);

        let asked = ["a", "a", "missing", "missing"]
            .map(|name| MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() });
        let request = MetadataRequest {
            topics: Some(asked[..].into()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let response = client.call(9, &request).await.expect("an answer");
        let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, 3]);

        let id = broker.shard.image().topic("c").expect("created").id;
        let by_name = |name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() };
        let by_id = DeleteTopicState { name: None, topic_id: id };
        let asked = [by_name("a"), by_name("b"), by_name("c"), by_name("a"), by_id];
        let request = DeleteTopicsRequest {
            topics: asked[..].into(),
            timeout_ms: 10_000,
            ..DeleteTopicsRequest::default()
        };
        let response = client.call(6, &request).await.expect("an answer");
        let answers = response
            .responses
            .iter()
            .map(|result| (result.name.as_deref().expect("known"), result.error_code));
        assert_eq!(answers.collect::<Vec<_>>(), [("c", 42), ("a", 42), ("b", 0), ("c", 42)]);
        assert!(broker.shard.image().topic("a").is_some() && broker.shard.image().topic("c").is_some());
    });
}

#[test]
fn assignments_name_each_partition_once() {
    in_world(82, async |world| {
        let (_broker, mut client) = start(&world).await;
        let replicas = [1];
        for (indexes, code) in [([0, 0], 39), ([1, 2], 39), ([0, 1], 0)] {
            let assignments = indexes.map(|partition_index| CreatableReplicaAssignment {
                partition_index,
                broker_ids: replicas[..].into(),
            });
            let topic = CreatableTopic {
                name: "t",
                num_partitions: -1,
                replication_factor: -1,
                assignments: assignments[..].into(),
                ..CreatableTopic::default()
            };
            assert_eq!(create(&mut client, 7, topic).await.error_code, code, "{indexes:?}");
        }
    });
}

#[test]
fn internal_topics_are_made_by_the_broker_only() {
    in_world(83, async |world| {
        let (_broker, mut client) = start(&world).await;
        let topic = || CreatableTopic {
            name: "__consumer_offsets",
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        assert_eq!(create(&mut client, 7, topic()).await.error_code, 42);
        assert_eq!(find(&mut client, 4, "g").await, 0);
        assert_eq!(create(&mut client, 7, topic()).await.error_code, 36, "TOPIC_ALREADY_EXISTS");
        let more = [CreatePartitionsTopic { name: "__consumer_offsets", count: 99, assignments: None }];
        let request = CreatePartitionsRequest {
            topics: more[..].into(),
            timeout_ms: 10_000,
            ..CreatePartitionsRequest::default()
        };
        let response = client.call(3, &request).await.expect("an answer");
        assert_eq!(response.results[0].error_code, 42);
    });
}

#[test]
fn settings_of_new_topics_are_judged_together() {
    in_world(84, async |world| {
        let (_broker, mut client) = start(&world).await;
        let rows = [
            (&[("min.compaction.lag.ms", Some("10")), ("max.compaction.lag.ms", Some("5"))][..], 40),
            (&[("remote.storage.enable", Some("true"))], 40),
            (&[("remote.storage.enable", Some("false")), ("retention.ms", None)], 40),
            (
                &[
                    ("remote.storage.enable", Some("false")),
                    ("retention.ms", Some("1")),
                    ("retention.ms", Some("2")),
                ],
                0,
            ),
        ];
        for (configs, code) in rows {
            let own: Vec<_> =
                configs.iter().map(|(name, value)| CreatableTopicConfig { name, value: *value }).collect();
            let topic = CreatableTopic {
                name: "t",
                num_partitions: 1,
                replication_factor: 1,
                configs: own[..].into(),
                ..CreatableTopic::default()
            };
            assert_eq!(create(&mut client, 7, topic).await.error_code, code, "{configs:?}");
        }
        let described = describe(&mut client, 2, "t", Some(&["retention.ms"])).await;
        assert_eq!(described.configs[0].value.as_deref(), Some("2"));
    });
}

async fn describe(client: &mut Client, kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
    let resources = [DescribeConfigsResource {
        resource_type: kind,
        resource_name: name,
        configuration_keys: keys.map(Into::into),
    }];
    let request =
        DescribeConfigsRequest { resources: resources[..].into(), ..DescribeConfigsRequest::default() };
    client.call(4, &request).await.expect("an answer").results.remove(0)
}

#[test]
fn settings_are_described_for_every_kind_of_resource() {
    in_world(85, async |world| {
        let (_broker, mut client) = start(&world).await;
        create_topic(&mut client, "t", 1).await;
        let none = describe(&mut client, 2, "t", Some(&[])).await.configs.len();
        let all = describe(&mut client, 2, "t", None).await.configs.len();
        assert!(none == all && all > 20, "an empty list of keys means all: {none} of {all}");
        let id = describe(&mut client, 4, "1", Some(&["broker.id"])).await;
        assert_eq!(id.configs[0].value.as_deref(), Some("1"));
        // (16) subscriptions to metrics and (32) groups have no settings here yet; (8) loggers have another test.
        let rows = [
            (2, "a b", 17),
            (2, "", 17),
            (2, "nope", 3),
            (8, "2", 42),
            (8, "", 42),
            (16, "s", 0),
            (16, "", 42),
            (32, "g", 0),
            (32, "", 42),
            (0, "", 42),
            (64, "x", 42),
        ];
        for (kind, name, code) in rows {
            let described = describe(&mut client, kind, name, None).await;
            assert_eq!((described.error_code, described.configs.len()), (code, 0), "{kind} '{name}'");
        }
    });
}

#[test]
fn log_levels_are_described_and_changed() {
    in_world(96, async |world| {
        let (_broker, mut client) = start(&world).await;
        let level = async |client: &mut Client, name: &str| {
            let described = describe(client, 8, "1", Some(&[name])).await.configs.remove(0);
            (described.value.unwrap_or_default(), described.config_source, described.read_only)
        };
        assert_eq!(level(&mut client, "root").await, ("WARN".to_owned(), 6, false));
        assert_eq!(level(&mut client, "storage").await, ("INFO".to_owned(), 6, false));
        for (name, op, value, code) in [
            ("storage", 0, Some("DEBUG"), 0),
            ("storage", 0, Some("debug"), 40),
            ("kafka.server", 0, Some("DEBUG"), 40),
            ("storage", 0, None, 42),
            ("storage", 2, Some("DEBUG"), 42),
            ("root", 1, None, 42),
            ("root", 0, Some("ERROR"), 0),
            ("net", 1, None, 0),
        ] {
            assert_eq!(alter(&mut client, (8, "1"), (name, op, value)).await, code, "{name} {op} {value:?}");
        }
        assert_eq!(alter(&mut client, (8, "2"), ("net", 0, Some("INFO"))).await, 42);
        assert_eq!(level(&mut client, "storage").await.0, "DEBUG");
        assert_eq!(level(&mut client, "net").await.0, "ERROR");
        assert_eq!(describe(&mut client, 8, "1", None).await.configs.len(), 6);
    });
}

#[test]
fn refused_changes_have_kafkas_codes() {
    in_world(86, async |world| {
        let (_broker, mut client) = start(&world).await;
        create_topic(&mut client, "t", 1).await;
        let rows = [
            (2, "t", "nonsense", 1, None, 0),
            (2, "t", "nonsense", 0, Some("1"), 40),
            (2, "t", "retention.ms", 0, None, 42),
            (2, "t", "retention.ms", 2, Some("1"), 40),
            (2, "t", "remote.storage.enable", 0, Some("true"), 40),
            (2, "a b", "retention.ms", 0, Some("1"), 17),
            (2, "", "retention.ms", 0, Some("1"), 42),
            (2, "nope", "retention.ms", 0, Some("1"), 3),
            (4, "1", "log.retention.ms", 0, Some("x"), 42),
            (4, "", "log.retention.ms", 0, Some("x"), 42),
            (4, "", "nonsense", 1, None, 0),
            (4, "1", "num.partitions", 0, Some("5"), 42),
            (64, "g", "retention.ms", 0, Some("5"), 42),
        ];
        for (resource_type, resource_name, name, config_operation, value, code) in rows {
            let change = (name, config_operation, value);
            let found = alter(&mut client, (resource_type, resource_name), change).await;
            assert_eq!(found, code, "{resource_type} {resource_name} {change:?}");
        }
    });
}

/// Changes one setting; yields the code.
async fn alter(
    client: &mut Client,
    (resource_type, resource_name): (i8, &str),
    (name, config_operation, value): (&str, i8, Option<&str>),
) -> i16 {
    let configs = [AlterableConfig { name, config_operation, value }];
    let resources = [AlterConfigsResource { resource_type, resource_name, configs: configs[..].into() }];
    let request = IncrementalAlterConfigsRequest { resources: resources[..].into(), validate_only: false };
    client.call(1, &request).await.expect("an answer").responses[0].error_code
}

/// Asks for exactly these settings; yields the code.
async fn replace(
    client: &mut Client,
    (resource_type, resource_name): (i8, &str),
    configs: &[(&str, Option<&str>)],
    validate_only: bool,
) -> i16 {
    let configs: Vec<_> =
        configs.iter().map(|(name, value)| alter_configs::AlterableConfig { name, value: *value }).collect();
    let resources =
        [alter_configs::AlterConfigsResource { resource_type, resource_name, configs: configs[..].into() }];
    let request = AlterConfigsRequest { resources: resources[..].into(), validate_only };
    client.call(2, &request).await.expect("an answer").responses[0].error_code
}

/// The settings that the topic has of its own.
async fn own(client: &mut Client, topic: &str) -> Vec<(String, String)> {
    const DYNAMIC_TOPIC_CONFIG: i8 = 1;
    let described = describe(client, 2, topic, None).await.configs.into_iter();
    let own = described.filter(|config| config.config_source == DYNAMIC_TOPIC_CONFIG);
    own.map(|config| (config.name, config.value.unwrap_or_default())).collect()
}

#[test]
fn alter_configs_replaces_all_settings() {
    in_world(87, async |world| {
        let (_broker, mut client) = start(&world).await;
        create_topic(&mut client, "t", 1).await;
        let topic = (2, "t");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            replace(&mut client, topic, &[("retention.ms", Some("5")), ("segment.ms", Some("6"))], false)
                .await,
            0
        );
        assert_eq!(own(&mut client, "t").await, [pair("retention.ms", "5"), pair("segment.ms", "6")]);
        // Neither a trial nor a refused change leaves a trace.
        assert_eq!(replace(&mut client, topic, &[], true).await, 0);
        for (configs, code) in [
            (&[("nonsense", Some("1"))][..], 40),
            (&[("retention.ms", Some("x"))], 40),
            (&[("retention.ms", None)], 42),
            (&[("retention.ms", Some("1")), ("retention.ms", Some("2"))], 42),
        ] {
            assert_eq!(replace(&mut client, topic, configs, false).await, code, "{configs:?}");
        }
        assert_eq!(own(&mut client, "t").await, [pair("retention.ms", "5"), pair("segment.ms", "6")]);
        assert_eq!(replace(&mut client, topic, &[("retention.ms", Some("7"))], false).await, 0);
        assert_eq!(own(&mut client, "t").await, [pair("retention.ms", "7")]);
        assert_eq!(replace(&mut client, topic, &[], false).await, 0);
        assert_eq!(own(&mut client, "t").await, []);

        for (kind, name, code) in [(2, "nope", 3), (2, "a b", 17), (2, "", 42), (8, "1", 42), (64, "g", 42)] {
            assert_eq!(replace(&mut client, (kind, name), &[], false).await, code, "{kind} '{name}'");
        }
        for (value, code) in [("x", 42), ("5", 0)] {
            let configs = [("log.retention.ms", Some(value))];
            assert_eq!(replace(&mut client, (4, ""), &configs, false).await, code);
        }
        let inherited = describe(&mut client, 2, "t", Some(&["retention.ms"])).await;
        assert_eq!(inherited.configs[0].value.as_deref(), Some("5"));
        assert_eq!(replace(&mut client, (4, ""), &[], false).await, 0);
        let inherited = describe(&mut client, 2, "t", Some(&["retention.ms"])).await;
        assert_eq!(inherited.configs[0].value.as_deref(), Some("604800000"));

        let twice = [alter_configs::AlterConfigsResource {
            resource_type: 2,
            resource_name: "t",
            ..alter_configs::AlterConfigsResource::default()
        }; 2];
        let request = AlterConfigsRequest { resources: twice[..].into(), validate_only: false };
        let response = client.call(2, &request).await.expect("an answer");
        assert_eq!(response.responses.iter().map(|one| one.error_code).collect::<Vec<_>>(), [42, 42]);
    });
}

#[test]
fn records_are_deleted_only_where_the_policy_says_delete() {
    in_world(93, async |world| {
        let (broker, mut client) = start(&world).await;
        for (name, policy, expected) in
            [("c", "compact", 44), ("d", "delete", 0), ("cd", "compact,delete", 0)]
        {
            let configs = [CreatableTopicConfig { name: "cleanup.policy", value: Some(policy) }];
            let topic = CreatableTopic {
                name,
                num_partitions: 1,
                replication_factor: 1,
                configs: configs[..].into(),
                ..CreatableTopic::default()
            };
            assert_eq!(create(&mut client, 7, topic).await.error_code, 0, "{name}");
            let partitions = [DeleteRecordsPartition { partition_index: 0, offset: -1 }];
            let topics = [DeleteRecordsTopic { name, partitions: partitions[..].into() }];
            let request = DeleteRecordsRequest { topics: topics[..].into(), timeout_ms: 1_000 };
            let response = client.call(2, &request).await.expect("an answer");
            assert_eq!(response.topics[0].partitions[0].error_code, expected, "{name}");
        }
        broker.stop().await;
    });
}

#[test]
fn metadata_of_odd_names() {
    in_world(88, async |world| {
        let (_broker, mut client) = start(&world).await;
        create_topic(&mut client, "a.b", 1).await;
        // Created on first use, unless it cannot be. The version, and the name: the code, and whether it is internal.
        let rows = [
            ("new", 0, false),
            ("a_b", 3, false),
            ("a b", 17, false),
            ("", 17, false),
            ("__cluster_metadata", 3, false),
            ("__share_group_state", 3, true),
            ("__transaction_state", 3, true),
        ];
        for (name, code, internal) in rows {
            let asked = [MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() }];
            let request = MetadataRequest { topics: Some(asked[..].into()), ..MetadataRequest::default() };
            let response = client.call(9, &request).await.expect("an answer");
            let topic = &response.topics[0];
            assert_eq!((topic.error_code, topic.is_internal), (code, internal), "{name}");
        }
        for name in ["__cluster_metadata", "__share_group_state"] {
            let topic =
                CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..Default::default() };
            assert_eq!(create(&mut client, 7, topic).await.error_code, 42, "{name}");
        }
        for (version, name, topic_id, code) in [
            (10, Some("a.b"), Uuid([1; 16]), 42),
            (10, None, Uuid([1; 16]), 42),
            (11, None, Uuid::ZERO, 42),
            (11, Some("a.b"), Uuid::ZERO, 0),
            (12, None, Uuid([1; 16]), 100),
        ] {
            let asked = [MetadataRequestTopic { name, topic_id }];
            let request = MetadataRequest { topics: Some(asked[..].into()), ..MetadataRequest::default() };
            let response = client.call(version, &request).await.expect("an answer");
            assert_eq!(response.topics[0].error_code, code, "version {version}, {name:?}");
        }
    });
}

#[test]
fn cursors_name_a_partition_that_was_asked_for() {
    in_world(89, async |world| {
        let (_broker, mut client) = start(&world).await;
        create_topic(&mut client, "a", 2).await;
        create_topic(&mut client, "b", 1).await;
        let asked = ["a", "b"].map(|name| TopicRequest { name });
        for (topic_name, partition_index, codes) in [
            ("a", 1, &[0, 0][..]),
            ("a", 9, &[0, 0]),
            ("b", 0, &[0]),
            ("a", -1, &[42, 42]),
            ("z", 0, &[42, 42]),
            ("", 0, &[42, 42]),
        ] {
            let request = DescribeTopicPartitionsRequest {
                topics: asked[..].into(),
                response_partition_limit: 10,
                cursor: Some(Cursor { topic_name, partition_index }),
            };
            let response = client.call(0, &request).await.expect("an answer");
            let found: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
            assert_eq!(found, codes, "{topic_name} {partition_index}");
        }
    });
}

#[test]
fn producers_have_both_id_and_epoch_or_neither() {
    in_world(90, async |world| {
        let (_broker, mut client) = start(&world).await;
        for (producer_id, producer_epoch, code) in [(5, -1, 42), (-1, 5, 42), (-1, -1, 0), (5, 5, 0)] {
            let request = InitProducerIdRequest { producer_id, producer_epoch, ..Default::default() };
            let response = client.call(4, &request).await.expect("an answer");
            assert_eq!(response.error_code, code, "{producer_id} {producer_epoch}");
        }
    });
}
