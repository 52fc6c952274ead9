//! Proves that every offered API answers in every version it offers, whether things go well or not.

use net::protocol::alter_configs::{self, AlterConfigsRequest};
use net::protocol::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use net::protocol::create_topics::{CreatableTopic, CreateTopicsRequest};
use net::protocol::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use net::protocol::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use net::protocol::describe_cluster::DescribeClusterRequest;
use net::protocol::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use net::protocol::describe_log_dirs::DescribeLogDirsRequest;
use net::protocol::describe_topic_partitions::{DescribeTopicPartitionsRequest, TopicRequest};
use net::protocol::fetch::{FetchPartition, FetchRequest, FetchTopic};
use net::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use net::protocol::init_producer_id::InitProducerIdRequest;
use net::protocol::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use net::protocol::metadata::{MetadataRequest, MetadataRequestTopic};
use net::protocol::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use net::protocol::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use net::protocol::{ApiKey, Decode, Encode, Request, Response};

use broker::api::offered;
use model::{Offset, RecordBatchBuilder, Uuid};

use crate::harness::{Broker, Client, in_world};
use crate::records::create_topic;

/// Sends `request` in every offered version and hands the answers to `check`.
pub(crate) async fn in_every_version<'a, R>(
    client: &mut Client,
    request: impl Fn(i16) -> R,
    check: impl Fn(i16, R::Response),
) where
    R: Request<'a> + Encode,
    R::Response: Response + for<'b> Decode<'b>,
{
    let (_, versions) = offered().into_iter().find(|(key, _)| *key == R::API_KEY).expect("offered");
    for version in versions {
        if R::API_KEY == ApiKey::Produce && version < 3 {
            continue;
        }
        let response = client.call(version, &request(version)).await;
        check(version, response.unwrap_or_else(|| panic!("{:?} {version} got no answer", R::API_KEY)));
    }
}

/// The code for a topic that is not there.
fn missing(version: i16, by_id_from: i16) -> i16 {
    if version >= by_id_from { 100 } else { 3 }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one request after the other, a table in prose")]
fn records_and_offsets() {
    in_world(20, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 1).await;
        let id = broker.shard.image().topic("t").expect("created").id;
        let batch = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(b"v")).build();
        let bad = RecordBatchBuilder::new(Offset(0)).attributes(0x20).record(1, None, Some(b"v")).build();
        let data = [&batch, &bad].map(|records| [PartitionProduceData { index: 0, records: Some(records) }]);
        for (records, expected) in data.iter().zip([0, 87]) {
            let topics = [("t", id), ("missing", Uuid([9; 16]))];
            let by_name = topics.map(|(name, _)| TopicProduceData {
                name,
                partition_data: records[..].into(),
                ..TopicProduceData::default()
            });
            let by_id = topics.map(|(_, topic_id)| TopicProduceData {
                topic_id,
                partition_data: records[..].into(),
                ..TopicProduceData::default()
            });
            let request = |version| ProduceRequest {
                transactional_id: None,
                acks: -1,
                timeout_ms: 1000,
                topic_data: if version >= 13 { by_id[..].into() } else { by_name[..].into() },
            };
            in_every_version(&mut client, request, |version, response| {
                let codes = response.responses.iter().map(|topic| topic.partition_responses[0].error_code);
                assert_eq!(codes.collect::<Vec<_>>(), [expected, missing(version, 13)], "version {version}");
            })
            .await;
        }

        let partitions = [FetchPartition { partition_max_bytes: 1000, ..FetchPartition::default() }];
        let fenced = [FetchPartition { current_leader_epoch: 7, ..partitions[0] }];
        for (partitions, expected) in [(&partitions, 0), (&fenced, 75)] {
            let topics = [("t", id), ("missing", Uuid([9; 16]))];
            let by_name = topics.map(|(topic, _)| FetchTopic {
                topic,
                partitions: partitions[..].into(),
                ..FetchTopic::default()
            });
            let by_id = topics.map(|(_, topic_id)| FetchTopic {
                topic_id,
                partitions: partitions[..].into(),
                ..FetchTopic::default()
            });
            let request = |version| FetchRequest {
                max_bytes: 1000,
                session_epoch: -1,
                topics: if version >= 13 { by_id[..].into() } else { by_name[..].into() },
                ..FetchRequest::default()
            };
            in_every_version(&mut client, request, |version, response| {
                let codes = response.responses.iter().map(|topic| topic.partitions[0].error_code);
                // The epoch stands in requests from version 9 on.
                let expected = if version >= 9 { expected } else { 0 };
                assert_eq!(codes.collect::<Vec<_>>(), [expected, missing(version, 13)], "version {version}");
            })
            .await;
        }

        for timestamp in [-1, -2, 0, 1, i64::MAX] {
            let partitions = [ListOffsetsPartition { timestamp, ..ListOffsetsPartition::default() }];
            let topics =
                ["t", "missing"].map(|name| ListOffsetsTopic { name, partitions: partitions[..].into() });
            let request =
                |_| ListOffsetsRequest { topics: topics[..].into(), ..ListOffsetsRequest::default() };
            in_every_version(&mut client, request, |version, response| {
                let codes = response.topics.iter().map(|topic| topic.partitions[0].error_code);
                assert_eq!(codes.collect::<Vec<_>>(), [0, 3], "version {version}");
            })
            .await;
        }

        let partitions = [OffsetForLeaderPartition::default()];
        let topics = [OffsetForLeaderTopic { topic: "t", partitions: partitions[..].into() }];
        let request = |_| OffsetForLeaderEpochRequest { topics: topics[..].into(), replica_id: -1 };
        in_every_version(&mut client, request, |version, response| {
            let answer = &response.topics[0].partitions[0];
            assert_eq!((answer.error_code, answer.leader_epoch), (0, 0), "version {version}");
            assert!(answer.end_offset > 0, "version {version}");
        })
        .await;
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one request after the other, a table in prose")]
fn topics_and_settings() {
    in_world(21, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        let names: Vec<String> = (0..10).map(|n| format!("t{n}")).collect();
        let topic = |name| {
            [CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() }]
        };
        let topics: Vec<_> = names.iter().map(|name| topic(name)).collect();
        let at = |version: i16| usize::try_from(version).expect("not negative");
        let request = |version: i16| CreateTopicsRequest {
            topics: topics[at(version)][..].into(),
            ..CreateTopicsRequest::default()
        };
        in_every_version(&mut client, request, |_, response| assert_eq!(response.topics[0].error_code, 0))
            .await;
        in_every_version(&mut client, request, |_, response| assert_eq!(response.topics[0].error_code, 36))
            .await;

        let asked = [MetadataRequestTopic { name: Some("t2"), ..MetadataRequestTopic::default() }];
        let request = |version| MetadataRequest {
            topics: Some(asked[..].into()),
            allow_auto_topic_creation: true,
            include_topic_authorized_operations: version >= 8,
            ..MetadataRequest::default()
        };
        in_every_version(&mut client, request, |_, response| assert_eq!(response.topics[0].error_code, 0))
            .await;

        let more = [CreatePartitionsTopic { name: "t3", count: 0, assignments: None }];
        let request =
            |_| CreatePartitionsRequest { topics: more[..].into(), timeout_ms: 60_000, validate_only: false };
        in_every_version(&mut client, request, |_, response| assert_eq!(response.results[0].error_code, 37))
            .await;

        let resources =
            [(2, "t2", 0), (4, "1", 0), (4, "", 0), (4, "77", 42), (2, "missing", 3), (99, "x", 42)];
        let asked = resources.map(|(resource_type, resource_name, _)| DescribeConfigsResource {
            resource_type,
            resource_name,
            configuration_keys: None,
        });
        let request = |version| DescribeConfigsRequest {
            resources: asked[..].into(),
            include_synonyms: true,
            include_documentation: version >= 3,
        };
        in_every_version(&mut client, request, |version, response| {
            let codes: Vec<_> = response.results.iter().map(|result| result.error_code).collect();
            assert_eq!(codes, resources.map(|(_, _, code)| code), "version {version}");
            assert!(response.results[0].configs.len() > 20);
        })
        .await;

        let configs = [AlterableConfig { name: "retention.ms", config_operation: 0, value: Some("5") }];
        let change =
            [AlterConfigsResource { resource_type: 2, resource_name: "t2", configs: configs[..].into() }];
        let request =
            |_| IncrementalAlterConfigsRequest { resources: change[..].into(), validate_only: false };
        in_every_version(&mut client, request, |_, response| assert_eq!(response.responses[0].error_code, 0))
            .await;

        let configs = [alter_configs::AlterableConfig { name: "segment.ms", value: Some("5") }];
        let change = [alter_configs::AlterConfigsResource {
            resource_type: 2,
            resource_name: "t2",
            configs: configs[..].into(),
        }];
        let request = |_| AlterConfigsRequest { resources: change[..].into(), validate_only: false };
        in_every_version(&mut client, request, |_, response| assert_eq!(response.responses[0].error_code, 0))
            .await;

        let partitions = [DeleteRecordsPartition { partition_index: 0, offset: 1 }];
        let asked = [DeleteRecordsTopic { name: "t2", partitions: partitions[..].into() }];
        let request = |_| DeleteRecordsRequest { topics: asked[..].into(), timeout_ms: 1 };
        in_every_version(&mut client, request, |_, response| {
            assert_eq!(response.topics[0].partitions[0].error_code, 1);
        })
        .await;

        let asked = [TopicRequest { name: "t2" }, TopicRequest { name: "missing" }];
        let request = |_| DescribeTopicPartitionsRequest {
            topics: asked[..].into(),
            response_partition_limit: 10,
            cursor: None,
        };
        in_every_version(&mut client, request, |_, response| {
            let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
            assert_eq!(codes, [3, 0]);
        })
        .await;

        let request = |_| DescribeLogDirsRequest::default();
        in_every_version(&mut client, request, |_, response| assert_eq!(response.results.len(), 1)).await;
        let request = |_| DescribeClusterRequest { endpoint_type: 1, ..DescribeClusterRequest::default() };
        in_every_version(&mut client, request, |_, response| assert_eq!(response.brokers.len(), 1)).await;
        let request = |_| InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..Default::default() };
        in_every_version(&mut client, request, |_, response| assert_eq!(response.error_code, 0)).await;

        let states: Vec<_> =
            names.iter().map(|name| [DeleteTopicState { name: Some(name), ..Default::default() }]).collect();
        let old: Vec<_> = names.iter().map(|name| [name.as_str()]).collect();
        let request = |version: i16| {
            let index = at(version) + usize::from(version < 2);
            let timeout_ms = 60_000;
            if version >= 6 {
                DeleteTopicsRequest { topics: states[index][..].into(), timeout_ms, ..Default::default() }
            } else {
                DeleteTopicsRequest { topic_names: old[index][..].into(), timeout_ms, ..Default::default() }
            }
        };
        in_every_version(&mut client, request, |version, response| {
            let expected = if version == 2 { 3 } else { 0 };
            assert_eq!(response.responses[0].error_code, expected, "version {version}");
        })
        .await;
    });
}
