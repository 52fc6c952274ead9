//! Proves that a string which is not UTF-8 is read as by Apache Kafka, with U+FFFD, and does not end the connection.

use net::protocol::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use net::protocol::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use net::protocol::fetch::{FetchRequest, FetchResponse};
use net::protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use net::protocol::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use net::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use net::protocol::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use net::protocol::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use net::protocol::{Decode, Encode, Request, Response, Segment, encode_request};

use crate::groups::find;
use crate::harness::{Broker, Client, in_world};
use crate::records::create_topic;

/// Sends a request in which each `~` stands for a byte that is no character, the client's name included.
async fn call<'a, R>(client: &mut Client, version: i16, request: &R) -> R::Response
where
    R: Request<'a> + Encode,
    R::Response: Response + for<'b> Decode<'b>,
{
    let mut frame = Vec::new();
    for segment in encode_request(version, 1, Some("na~me"), request).expect("encodes") {
        let Segment::Bytes(bytes) = segment else { panic!("requests hold their records") };
        frame.extend(bytes.iter().map(|byte| if *byte == b'~' { 0xff } else { *byte }));
    }
    client.send_raw(&frame).await.expect("sent");
    client.response(version).await.expect("an answer")
}

#[test]
fn strings_that_are_no_utf8_do_not_end_the_connection() {
    in_world(70, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 1).await;
        let client = &mut client;

        let request = ApiVersionsRequest {
            client_software_name: "so~ft",
            client_software_version: "1",
            ..ApiVersionsRequest::default()
        };
        let refused: ApiVersionsResponse = call(client, 3, &request).await;
        assert_eq!(refused.error_code, 42);

        let topics = ["t~", "t"]
            .map(|name| MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() });
        let request = MetadataRequest { topics: Some(topics[..].into()), ..MetadataRequest::default() };
        let metadata: MetadataResponse = call(client, 9, &request).await;
        let answers = metadata.topics.iter().map(|topic| (topic.name.as_deref(), topic.error_code));
        assert_eq!(answers.collect::<Vec<_>>(), [(Some("t\u{fffd}"), 17), (Some("t"), 0)]);

        let topics = [CreatableTopic {
            name: "n~w",
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        }];
        let request =
            CreateTopicsRequest { topics: topics[..].into(), timeout_ms: 1000, validate_only: false };
        let created: CreateTopicsResponse = call(client, 7, &request).await;
        assert_eq!((created.topics[0].name.as_str(), created.topics[0].error_code), ("n\u{fffd}w", 17));

        let data = [PartitionProduceData { index: 0, records: Some(b"x") }];
        let topics =
            [TopicProduceData { name: "t~", partition_data: data[..].into(), ..TopicProduceData::default() }];
        let request = ProduceRequest {
            transactional_id: None,
            acks: 1,
            timeout_ms: 1000,
            topic_data: topics[..].into(),
        };
        let produced: ProduceResponse = call(client, 9, &request).await;
        assert_eq!(produced.responses[0].name, "t\u{fffd}");
        assert_eq!(produced.responses[0].partition_responses[0].error_code, 3);

        let request = FetchRequest { rack_id: "ra~ck", max_bytes: 1000, ..FetchRequest::default() };
        let fetched: FetchResponse = call(client, 12, &request).await;
        assert_eq!(fetched.error_code, 0);
    });
}

#[test]
fn groups_and_what_they_commit_keep_their_repaired_names() {
    in_world(71, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 1).await;
        assert_eq!(find(&mut client, 4, "gr").await, 0);
        let client = &mut client;

        let partitions = [OffsetCommitRequestPartition {
            partition_index: 0,
            committed_offset: 7,
            committed_metadata: Some("caf~"),
            ..OffsetCommitRequestPartition::default()
        }];
        let topics = [OffsetCommitRequestTopic {
            name: "t",
            partitions: partitions[..].into(),
            ..OffsetCommitRequestTopic::default()
        }];
        let request = OffsetCommitRequest {
            group_id: "gr~p",
            topics: topics[..].into(),
            ..OffsetCommitRequest::default()
        };
        // The coordinator may still be loading.
        loop {
            let committed: OffsetCommitResponse = call(client, 8, &request).await;
            match committed.topics[0].partitions[0].error_code {
                14 => {}
                code => break assert_eq!(code, 0),
            }
        }

        let partitions = [0];
        let topics = [OffsetFetchRequestTopics {
            name: "t",
            partition_indexes: partitions[..].into(),
            ..OffsetFetchRequestTopics::default()
        }];
        let groups = [OffsetFetchRequestGroup {
            group_id: "gr~p",
            topics: Some(topics[..].into()),
            ..OffsetFetchRequestGroup::default()
        }];
        let request = OffsetFetchRequest { groups: groups[..].into(), ..OffsetFetchRequest::default() };
        let fetched: OffsetFetchResponse = call(client, 8, &request).await;
        let group = &fetched.groups[0];
        assert_eq!((group.group_id.as_str(), group.error_code), ("gr\u{fffd}p", 0));
        let found = &group.topics[0].partitions[0];
        assert_eq!((found.committed_offset, found.metadata.as_deref()), (7, Some("caf\u{fffd}")));

        // The client's name becomes part of the member's.
        let protocols = [JoinGroupRequestProtocol { name: "ra~nge", metadata: b"" }];
        let request = JoinGroupRequest {
            group_id: "joined",
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "consumer",
            protocols: protocols[..].into(),
            ..JoinGroupRequest::default()
        };
        loop {
            let joined: JoinGroupResponse = call(client, 5, &request).await;
            if joined.error_code != 14 {
                assert!(joined.member_id.starts_with("na\u{fffd}me-"), "{joined:?}");
                break;
            }
        }
    });
}
