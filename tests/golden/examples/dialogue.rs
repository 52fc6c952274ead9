//! Talks to a Kafka broker in every version of the APIs below and prints all request and response bodies as a fixture.
//! Run by `tests/golden/record dialogue`: HOST:PORT is its argument, a fresh broker with automatic topic creation
//! should listen there.

use std::io::{Read, Write};
use std::net::TcpStream;

use millrace_test_golden::bytes_of;
use net::protocol::*;

struct Dialogue {
    stream: TcpStream,
    correlation_id: i32,
}

impl Dialogue {
    /// Sends the request and prints both bodies; returns the response's.
    fn ask<'a, R: Request<'a> + Encode>(&mut self, version: i16, request: &R) -> Vec<u8> {
        self.correlation_id += 1;
        let segments =
            encode_request(version, self.correlation_id, Some("golden"), request).expect("encodes");
        let frame: Vec<u8> = segments.iter().flat_map(bytes_of).copied().collect();
        self.stream.write_all(&frame).expect("the broker reads");
        let (_, body) = RequestHeader::decode(&frame[4..]).expect("our own header");
        print("request", R::API_KEY, version, body);
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).expect("the broker answers");
        let mut response = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut response).expect("a whole response");
        assert_eq!(response[..4], self.correlation_id.to_be_bytes());
        let header = 4 + usize::from(R::API_KEY.response_header_version(version) == 1);
        print("response", R::API_KEY, version, &response[header..]);
        response[header..].to_vec()
    }

    /// Asks in each of these versions.
    fn ask_all<'a, R: Request<'a> + Encode>(&mut self, versions: std::ops::RangeInclusive<i16>, request: &R) {
        for version in versions {
            self.ask(version, request);
        }
    }
}

fn print(kind: &str, key: ApiKey, version: i16, body: &[u8]) {
    let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{}{}", key.name(), if kind == "request" { "Request" } else { "Response" });
    println!("{kind} {} {name} {version} .{hex}", key.code());
}

fn main() {
    let address = std::env::args().nth(1).expect("HOST:PORT");
    let stream = TcpStream::connect(address).expect("a broker listens");
    let mut broker = Dialogue { stream, correlation_id: 0 };
    cluster(&mut broker);
    let topic_id = topics(&mut broker);
    records(&mut broker, topic_id);
    groups(&mut broker, topic_id);
    transactions(&mut broker);
}

fn cluster(broker: &mut Dialogue) {
    let software = api_versions::ApiVersionsRequest {
        client_software_name: "golden",
        client_software_version: "1",
        ..Default::default()
    };
    broker.ask_all(0..=2, &api_versions::ApiVersionsRequest::default());
    broker.ask_all(3..=4, &software);
    broker.ask_all(0..=2, &describe_cluster::DescribeClusterRequest::default());
    broker.ask_all(
        0..=2,
        &describe_quorum::DescribeQuorumRequest {
            topics: Array::Slice(&[describe_quorum::TopicData {
                topic_name: "__cluster_metadata",
                partitions: Array::Slice(&[describe_quorum::PartitionData { partition_index: 0 }]),
            }]),
        },
    );
    broker.ask_all(0..=1, &list_config_resources::ListConfigResourcesRequest::default());
    broker.ask_all(0..=1, &describe_client_quotas::DescribeClientQuotasRequest::default());
    broker.ask_all(0..=0, &describe_user_scram_credentials::DescribeUserScramCredentialsRequest::default());
    let broker_config = describe_configs::DescribeConfigsResource {
        resource_type: 4,
        resource_name: "1",
        configuration_keys: Some(Array::Slice(&["num.partitions", "log.retention.hours"])),
    };
    let configs = Array::Slice(std::slice::from_ref(&broker_config));
    let describe = describe_configs::DescribeConfigsRequest { resources: configs, ..Default::default() };
    broker.ask_all(1..=4, &describe);
}

fn topics(broker: &mut Dialogue) -> model::Uuid {
    let topic = create_topics::CreatableTopic {
        name: "golden",
        num_partitions: 2,
        replication_factor: 1,
        configs: Array::Slice(&[create_topics::CreatableTopicConfig {
            name: "retention.ms",
            value: Some("-1"),
        }]),
        ..Default::default()
    };
    let topics = Array::Slice(std::slice::from_ref(&topic));
    let create = create_topics::CreateTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    let check = create_topics::CreateTopicsRequest { validate_only: true, ..create };
    broker.ask_all(2..=7, &check);
    broker.ask(7, &create);
    broker.ask_all(2..=7, &create);
    let wanted = [metadata::MetadataRequestTopic { name: Some("golden"), ..Default::default() }];
    let metadata = metadata::MetadataRequest { topics: Some(Array::Slice(&wanted)), ..Default::default() };
    broker.ask_all(0..=13, &metadata);
    broker.ask_all(1..=13, &metadata::MetadataRequest { topics: None, ..Default::default() });
    let answer = broker.ask(13, &metadata);
    let answer: metadata::MetadataResponse = decode_message(13, &answer).expect("a metadata response");
    let names = [describe_topic_partitions::TopicRequest { name: "golden" }];
    let pages = describe_topic_partitions::DescribeTopicPartitionsRequest {
        topics: Array::Slice(&names),
        response_partition_limit: 1,
        cursor: None,
    };
    broker.ask(0, &pages);
    let missing = delete_topics::DeleteTopicsRequest {
        topics: Array::Slice(&[delete_topics::DeleteTopicState { name: Some("none"), ..Default::default() }]),
        topic_names: Array::default(),
        timeout_ms: 1000,
    };
    broker.ask(6, &missing);
    let partitions = create_partitions::CreatePartitionsRequest {
        topics: Array::Slice(&[create_partitions::CreatePartitionsTopic {
            name: "golden",
            count: 1,
            assignments: None,
        }]),
        timeout_ms: 1000,
        validate_only: true,
    };
    broker.ask_all(0..=3, &partitions);
    let dirs =
        describe_log_dirs::DescribableLogDirTopic { topic: "golden", partitions: Array::Slice(&[0, 1]) };
    let dirs = Some(Array::Slice(std::slice::from_ref(&dirs)));
    broker.ask_all(1..=5, &describe_log_dirs::DescribeLogDirsRequest { topics: dirs });
    answer.topics[0].topic_id
}

fn records(broker: &mut Dialogue, topic_id: model::Uuid) {
    let batch =
        model::RecordBatchBuilder::new(model::Offset(0)).record(1_700_000_000_000, Some(b"k"), Some(b"v"));
    let batch = batch.build();
    let partition = produce::PartitionProduceData { index: 0, records: Some(&batch) };
    let partitions = Array::Slice(std::slice::from_ref(&partition));
    let topic = produce::TopicProduceData { name: "golden", topic_id, partition_data: partitions };
    let topic_data = Array::Slice(std::slice::from_ref(&topic));
    let request = produce::ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data, ..Default::default() };
    broker.ask_all(3..=13, &request);

    let partition =
        fetch::FetchPartition { fetch_offset: 9, partition_max_bytes: 1000, ..Default::default() };
    let partitions = Array::Slice(std::slice::from_ref(&partition));
    let topic = fetch::FetchTopic { topic: "golden", topic_id, partitions };
    let topics = Array::Slice(std::slice::from_ref(&topic));
    broker.ask_all(4..=18, &fetch::FetchRequest { max_wait_ms: 1, topics, ..Default::default() });

    let at = |timestamp| list_offsets::ListOffsetsPartition { timestamp, ..Default::default() };
    let partitions = [at(-1), at(-2), at(1_600_000_000_000)];
    for partition in &partitions {
        let partitions = Array::Slice(std::slice::from_ref(partition));
        let topic = list_offsets::ListOffsetsTopic { name: "golden", partitions };
        let topics = Array::Slice(std::slice::from_ref(&topic));
        broker.ask_all(1..=11, &list_offsets::ListOffsetsRequest { topics, ..Default::default() });
    }

    let partition =
        offset_for_leader_epoch::OffsetForLeaderPartition { leader_epoch: 0, ..Default::default() };
    let partitions = Array::Slice(std::slice::from_ref(&partition));
    let topic = offset_for_leader_epoch::OffsetForLeaderTopic { topic: "golden", partitions };
    let topics = Array::Slice(std::slice::from_ref(&topic));
    let epochs = offset_for_leader_epoch::OffsetForLeaderEpochRequest { topics, ..Default::default() };
    broker.ask_all(2..=4, &epochs);
}

fn groups(broker: &mut Dialogue, topic_id: model::Uuid) {
    let one = find_coordinator::FindCoordinatorRequest { key: "group", ..Default::default() };
    let many = find_coordinator::FindCoordinatorRequest {
        coordinator_keys: Array::Slice(&["group", "other"]),
        ..Default::default()
    };
    // The first question creates the log of the offsets; until it has a leader the others are refused.
    while broker.ask(6, &many).windows(9).all(|window| window != b"127.0.0.1") {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    broker.ask_all(0..=3, &one);
    broker.ask_all(4..=6, &many);

    let partition = offset_commit::OffsetCommitRequestPartition {
        committed_offset: 5,
        committed_metadata: Some("note"),
        ..Default::default()
    };
    let partitions = Array::Slice(std::slice::from_ref(&partition));
    let topic = offset_commit::OffsetCommitRequestTopic { name: "golden", topic_id, partitions };
    let topics = Array::Slice(std::slice::from_ref(&topic));
    let commit = offset_commit::OffsetCommitRequest { group_id: "group", topics, ..Default::default() };
    broker.ask_all(2..=10, &commit);

    let topic =
        offset_fetch::OffsetFetchRequestTopic { name: "golden", partition_indexes: Array::Slice(&[0, 1]) };
    let topics = Some(Array::Slice(std::slice::from_ref(&topic)));
    let classic = offset_fetch::OffsetFetchRequest { group_id: "group", topics, ..Default::default() };
    broker.ask_all(1..=7, &classic);
    let topic = offset_fetch::OffsetFetchRequestTopics {
        name: "golden",
        topic_id,
        partition_indexes: Array::Slice(&[0, 1]),
    };
    let topics = Some(Array::Slice(std::slice::from_ref(&topic)));
    let group = offset_fetch::OffsetFetchRequestGroup { group_id: "group", topics, ..Default::default() };
    let groups = Array::Slice(std::slice::from_ref(&group));
    broker.ask_all(8..=10, &offset_fetch::OffsetFetchRequest { groups, ..Default::default() });

    broker.ask_all(0..=5, &list_groups::ListGroupsRequest::default());
    let names = Array::Slice(&["group", "none"]);
    broker.ask_all(0..=6, &describe_groups::DescribeGroupsRequest { groups: names, ..Default::default() });
    broker.ask_all(
        0..=9,
        &join_group::JoinGroupRequest {
            group_id: "joined",
            session_timeout_ms: 10_000,
            member_id: "unknown",
            protocol_type: "consumer",
            protocols: Array::Slice(&[join_group::JoinGroupRequestProtocol { name: "range", metadata: b"" }]),
            ..Default::default()
        },
    );
    let group_ids = Array::Slice(&["modern"]);
    let heartbeat = consumer_group_heartbeat::ConsumerGroupHeartbeatRequest {
        group_id: "modern",
        member_id: "AAAAAAAAAAAAAAAAAAAAAQ",
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(Array::Slice(&["golden"])),
        topic_partitions: Some(Array::default()),
        ..Default::default()
    };
    broker.ask_all(0..=1, &heartbeat);
    let describe = consumer_group_describe::ConsumerGroupDescribeRequest { group_ids, ..Default::default() };
    broker.ask_all(0..=1, &describe);
    broker.ask(0, &delete_groups::DeleteGroupsRequest { groups_names: Array::Slice(&["none"]) });
}

fn transactions(broker: &mut Dialogue) {
    let init = init_producer_id::InitProducerIdRequest { transaction_timeout_ms: 1000, ..Default::default() };
    broker.ask_all(0..=5, &init);
    let topic = describe_producers::TopicRequest { name: "golden", partition_indexes: Array::Slice(&[0]) };
    let topics = Array::Slice(std::slice::from_ref(&topic));
    broker.ask(0, &describe_producers::DescribeProducersRequest { topics });
    broker.ask_all(0..=2, &list_transactions::ListTransactionsRequest::default());
    let transactional_ids = Array::Slice(&["none"]);
    broker.ask(0, &describe_transactions::DescribeTransactionsRequest { transactional_ids });
}
