//! Proves that no request can have more built for it than there is memory for, whatever its API: it is refused while it is
//! read, and what is allowed is answered in pieces, between which others go on.

use std::pin::pin;
use std::rc::Rc;

use broker::api::dispatch::{Handled, dispatch};
use broker::api::request::RequestContext;
use broker::api::session::Session;
use bytes::Bytes;
use futures_util::future::{Either, select};
use net::protocol::alter_configs::{self, AlterConfigsRequest};
use net::protocol::api_versions::ApiVersionsRequest;
use net::protocol::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use net::protocol::create_topics::{CreatableTopic, CreateTopicsRequest};
use net::protocol::delete_groups::DeleteGroupsRequest;
use net::protocol::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use net::protocol::delete_topics::DeleteTopicsRequest;
use net::protocol::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use net::protocol::describe_groups::DescribeGroupsRequest;
use net::protocol::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use net::protocol::describe_topic_partitions::{DescribeTopicPartitionsRequest, TopicRequest};
use net::protocol::fetch::{FetchPartition, FetchRequest, FetchTopic};
use net::protocol::find_coordinator::FindCoordinatorRequest;
use net::protocol::incremental_alter_configs::{self, IncrementalAlterConfigsRequest};
use net::protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use net::protocol::leave_group::{LeaveGroupRequest, MemberIdentity};
use net::protocol::list_groups::ListGroupsRequest;
use net::protocol::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use net::protocol::metadata::{MetadataRequest, MetadataRequestTopic};
use net::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use net::protocol::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use net::protocol::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use net::protocol::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use net::protocol::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use net::protocol::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use net::protocol::{
    Decode, Encode, ErrorCode, Request, RequestHeader, Response, Segment, decode_response_frame,
    encode_request,
};
use runtime::sim::SimEffects;
use runtime::yield_now;

use crate::groups::find;
use crate::harness::{Broker, Client, in_world};
use crate::records::create_topic;

/// A broker, and where its clients are.
struct Place {
    node: SimEffects,
    broker: Broker,
}

impl Place {
    /// Sends a request that asks for too much, and sees the connection end; others are served.
    async fn refuses<'a, R>(&self, version: i16, request: &R)
    where
        R: Request<'a> + Encode,
        R::Response: Response + for<'b> Decode<'b>,
    {
        let mut greedy = Client::connect(&self.node, self.broker.address).await;
        let answer = greedy.call(version, request).await;
        assert!(answer.is_none(), "{:?}", R::API_KEY);
        assert_eq!(self.broker.shard.request_memory.used_bytes(), 0, "{:?}", R::API_KEY);
    }

    /// The answer of a handler, and how often other tasks of the shard had their turn meanwhile.
    async fn answers<'a, R>(&self, version: i16, request: &R) -> (R::Response, usize)
    where
        R: Request<'a> + Encode,
        R::Response: Response + for<'b> Decode<'b>,
    {
        let shard = &self.broker.shard;
        let frame = flat(encode_request(version, 1, None, request).expect("encodes"));
        let (header, body) = RequestHeader::decode(&frame[4..]).expect("a request");
        let session = Session::new(1, "PLAINTEXT".into(), self.broker.address, self.broker.address);
        let context = RequestContext::new(&Rc::new(session), &header);
        let body = Bytes::copy_from_slice(body);
        let used_bytes = shard.request_memory.used_bytes();
        let mut turns = 0;
        let others = async {
            loop {
                turns += 1;
                yield_now().await;
            }
        };
        let handled = pin!(dispatch(shard, &context, &body));
        let reply = match select(handled, pin!(others)).await {
            Either::Left((Ok(Handled::Replied(reply)), _)) => flat(reply.into_parts().0),
            Either::Left(_) => panic!("no answer"),
            Either::Right((never, _)) => never,
        };
        assert_eq!(shard.request_memory.used_bytes(), used_bytes, "all is given back");
        let (_, answer) = decode_response_frame(version, &reply[4..]).expect("well-formed");
        (answer, turns)
    }
}

fn flat(segments: Vec<Segment>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in segments {
        let Segment::Bytes(segment) = segment else { panic!("in memory") };
        bytes.extend_from_slice(&segment);
    }
    bytes
}

async fn place(node: SimEffects) -> Place {
    let broker = Broker::start(node.clone(), 1, &[("auto.create.topics.enable", "false")]).await;
    let mut client = Client::connect(&node, broker.address).await;
    create_topic(&mut client, "t", 2).await;
    assert_eq!(find(&mut client, 4, "g").await, 0);
    Place { node, broker }
}

/// More than any API but Fetch may name.
const MANY: usize = 100_001;

#[test]
fn too_many_partitions_are_refused_while_they_are_read() {
    in_world(100, async |world| {
        let place = place(world.node("a")).await;
        let data = vec![PartitionProduceData { index: 0, records: None }; MANY];
        let topics =
            [TopicProduceData { name: "t", partition_data: data[..].into(), ..TopicProduceData::default() }];
        let topic_data = topics[..].into();
        place
            .refuses(9, &ProduceRequest { transactional_id: None, acks: 1, timeout_ms: 1, topic_data })
            .await;
        let partitions = vec![FetchPartition::default(); 400_001];
        let topics = [FetchTopic { topic: "t", partitions: partitions[..].into(), ..FetchTopic::default() }];
        place.refuses(12, &FetchRequest { topics: topics[..].into(), ..FetchRequest::default() }).await;
        let partitions = vec![ListOffsetsPartition::default(); MANY];
        let topics = [ListOffsetsTopic { name: "t", partitions: partitions[..].into() }];
        place
            .refuses(7, &ListOffsetsRequest { topics: topics[..].into(), ..ListOffsetsRequest::default() })
            .await;
        let partitions = vec![OffsetForLeaderPartition::default(); MANY];
        let topics = [OffsetForLeaderTopic { topic: "t", partitions: partitions[..].into() }];
        let request = OffsetForLeaderEpochRequest {
            topics: topics[..].into(),
            ..OffsetForLeaderEpochRequest::default()
        };
        place.refuses(4, &request).await;
        let partitions = vec![DeleteRecordsPartition::default(); MANY];
        let topics = [DeleteRecordsTopic { name: "t", partitions: partitions[..].into() }];
        place.refuses(2, &DeleteRecordsRequest { topics: topics[..].into(), timeout_ms: 1 }).await;
        let partitions = vec![0; MANY];
        let topics = [DescribableLogDirTopic { topic: "t", partitions: partitions[..].into() }];
        place.refuses(4, &DescribeLogDirsRequest { topics: Some(topics[..].into()) }).await;
        let topics = [OffsetFetchRequestTopic { name: "t", partition_indexes: partitions[..].into() }];
        let request = OffsetFetchRequest {
            group_id: "g",
            topics: Some(topics[..].into()),
            ..OffsetFetchRequest::default()
        };
        place.refuses(7, &request).await;
        let partitions = vec![OffsetCommitRequestPartition::default(); MANY];
        let topics = [OffsetCommitRequestTopic {
            name: "t",
            partitions: partitions[..].into(),
            ..OffsetCommitRequestTopic::default()
        }];
        let request = OffsetCommitRequest {
            group_id: "g",
            topics: topics[..].into(),
            ..OffsetCommitRequest::default()
        };
        place.refuses(8, &request).await;
        let partitions = vec![OffsetDeleteRequestPartition::default(); MANY];
        let topics = [OffsetDeleteRequestTopic { name: "t", partitions: partitions[..].into() }];
        place.refuses(0, &OffsetDeleteRequest { group_id: "g", topics: topics[..].into() }).await;
    });
}

#[test]
fn too_many_topics_are_refused_while_they_are_read() {
    in_world(101, async |world| {
        let place = place(world.node("a")).await;
        let topics = vec![MetadataRequestTopic { name: Some("t"), ..MetadataRequestTopic::default() }; MANY];
        place
            .refuses(9, &MetadataRequest { topics: Some(topics[..].into()), ..MetadataRequest::default() })
            .await;
        let topics = vec![TopicRequest { name: "t" }; MANY];
        let request = DescribeTopicPartitionsRequest {
            topics: topics[..].into(),
            ..DescribeTopicPartitionsRequest::default()
        };
        place.refuses(0, &request).await;
        let names = vec!["x"; MANY];
        let request = DeleteTopicsRequest { topic_names: names[..].into(), ..DeleteTopicsRequest::default() };
        place.refuses(5, &request).await;
        let topics = vec![CreatableTopic { name: "x", ..CreatableTopic::default() }; MANY];
        let request = CreateTopicsRequest { topics: topics[..].into(), timeout_ms: 1, validate_only: true };
        place.refuses(7, &request).await;
        let topics = vec![CreatePartitionsTopic { name: "x", ..CreatePartitionsTopic::default() }; MANY];
        let request =
            CreatePartitionsRequest { topics: topics[..].into(), ..CreatePartitionsRequest::default() };
        place.refuses(3, &request).await;
        let resources =
            vec![DescribeConfigsResource { resource_name: "t", ..DescribeConfigsResource::default() }; MANY];
        let request =
            DescribeConfigsRequest { resources: resources[..].into(), ..DescribeConfigsRequest::default() };
        place.refuses(4, &request).await;
        let resources = vec![alter_configs::AlterConfigsResource::default(); MANY];
        place.refuses(2, &AlterConfigsRequest { resources: resources[..].into(), validate_only: true }).await;
        let resources = vec![incremental_alter_configs::AlterConfigsResource::default(); MANY];
        let request = IncrementalAlterConfigsRequest { resources: resources[..].into(), validate_only: true };
        place.refuses(1, &request).await;
    });
}

#[test]
fn too_many_groups_and_members_are_refused_while_they_are_read() {
    in_world(102, async |world| {
        let place = place(world.node("a")).await;
        let names = vec!["g"; MANY];
        let coordinator_keys = names[..].into();
        place
            .refuses(4, &FindCoordinatorRequest { coordinator_keys, ..FindCoordinatorRequest::default() })
            .await;
        let groups =
            vec![OffsetFetchRequestGroup { group_id: "g", ..OffsetFetchRequestGroup::default() }; MANY];
        place
            .refuses(8, &OffsetFetchRequest { groups: groups[..].into(), ..OffsetFetchRequest::default() })
            .await;
        let request = DescribeGroupsRequest { groups: names[..].into(), ..DescribeGroupsRequest::default() };
        place.refuses(5, &request).await;
        place.refuses(2, &DeleteGroupsRequest { groups_names: names[..].into() }).await;
        let request = ListGroupsRequest { states_filter: names[..].into(), ..ListGroupsRequest::default() };
        place.refuses(4, &request).await;
        let members = vec![MemberIdentity::default(); MANY];
        let request =
            LeaveGroupRequest { group_id: "g", members: members[..].into(), ..LeaveGroupRequest::default() };
        place.refuses(4, &request).await;
        let assignments = vec![SyncGroupRequestAssignment::default(); MANY];
        let request = SyncGroupRequest {
            group_id: "g",
            assignments: assignments[..].into(),
            ..SyncGroupRequest::default()
        };
        place.refuses(4, &request).await;
        let protocols = vec![JoinGroupRequestProtocol::default(); MANY];
        let request = JoinGroupRequest {
            group_id: "g",
            protocols: protocols[..].into(),
            ..JoinGroupRequest::default()
        };
        place.refuses(5, &request).await;
        // Few, but large.
        let large = "x".repeat(32_000);
        let names = vec![large.as_str(); 300];
        let request = DescribeGroupsRequest { groups: names[..].into(), ..DescribeGroupsRequest::default() };
        place.refuses(5, &request).await;
    });
}

#[test]
fn large_requests_are_answered_in_pieces() {
    in_world(103, async |world| {
        let place = place(world.node("a")).await;
        let ask = |partition_index| ListOffsetsPartition {
            partition_index,
            timestamp: -1,
            ..ListOffsetsPartition::default()
        };
        let partitions: Vec<_> = (0..20_000).map(ask).collect();
        let topics = [ListOffsetsTopic { name: "t", partitions: partitions[..].into() }];
        let request = ListOffsetsRequest { topics: topics[..].into(), ..ListOffsetsRequest::default() };
        let (answer, turns) = place.answers(7, &request).await;
        let codes: Vec<_> =
            answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
        assert_eq!((codes.len(), &codes[..3]), (20_000, &[0, 0, 3][..]));
        assert!(turns > 100, "{turns}");

        let names: Vec<String> = (0..20_000).map(|name| format!("name-{name}")).collect();
        let topic = |name| MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() };
        let topics: Vec<_> = names.iter().map(|name| topic(name.as_str())).collect();
        let request = MetadataRequest { topics: Some(topics[..].into()), ..MetadataRequest::default() };
        let (answer, turns) = place.answers(9, &request).await;
        assert_eq!(answer.topics.len(), 20_000);
        assert!(turns >= 20, "{turns}");

        let topics: Vec<_> = names[..1_200]
            .iter()
            .map(|name| CreatableTopic {
                name,
                num_partitions: 1,
                replication_factor: 1,
                ..CreatableTopic::default()
            })
            .collect();
        let request =
            CreateTopicsRequest { topics: topics[..].into(), timeout_ms: 60_000, validate_only: true };
        let (answer, turns) = place.answers(7, &request).await;
        let told = answer.topics.iter().filter(|topic| topic.configs.is_some());
        assert_eq!((answer.topics.len(), told.count()), (1_200, 1_000));
        assert!(turns > 30, "{turns}");
    });
}

#[test]
fn what_is_named_often_is_answered_as_long_as_there_is_room() {
    in_world(104, async |world| {
        let place = place(world.node("a")).await;
        let resource =
            DescribeConfigsResource { resource_type: 2, resource_name: "t", configuration_keys: None };
        let resources = vec![resource; 3_000];
        let request = DescribeConfigsRequest {
            resources: resources[..].into(),
            include_synonyms: true,
            include_documentation: true,
        };
        let (answer, turns) = place.answers(4, &request).await;
        let full = answer.results.iter().filter(|result| !result.configs.is_empty()).count();
        assert!((100..3_000).contains(&full), "{full}");
        let refused = answer.results.last().expect("answered");
        assert_eq!(refused.error_code, ErrorCode::PolicyViolation.code());
        assert!(turns > full * 30 / 1_000, "{turns}");

        // A group with much to tell.
        let mut client = Client::connect(&place.node, place.broker.address).await;
        let metadata = vec![7; 400_000];
        let protocols = [JoinGroupRequestProtocol { name: "range", metadata: &metadata }];
        let request = JoinGroupRequest {
            group_id: "g",
            session_timeout_ms: 60_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer",
            protocols: protocols[..].into(),
            ..JoinGroupRequest::default()
        };
        let joined = client.call(3, &request).await.expect("an answer");
        assert_eq!(joined.error_code, 0, "{:?}", joined.error_code);
        let member = joined.member_id;
        let assignments = [SyncGroupRequestAssignment { member_id: &member, assignment: &metadata }];
        let request = SyncGroupRequest {
            group_id: "g",
            generation_id: joined.generation_id,
            member_id: &member,
            assignments: assignments[..].into(),
            ..SyncGroupRequest::default()
        };
        assert_eq!(client.call(3, &request).await.expect("an answer").error_code, 0);
        let names = vec!["g"; 1_000];
        let request = DescribeGroupsRequest { groups: names[..].into(), ..DescribeGroupsRequest::default() };
        let (answer, _) = place.answers(5, &request).await;
        let full = answer.groups.iter().filter(|group| !group.members.is_empty()).count();
        assert!((20..=28).contains(&full), "{full}");
        assert_eq!(answer.groups.last().expect("answered").error_code, ErrorCode::PolicyViolation.code());
    });
}

#[test]
fn what_a_client_runs_is_noted() {
    in_world(111, async |world| {
        let place = place(world.node("a")).await;
        let request = ApiVersionsRequest {
            client_software_name: "franz-go",
            client_software_version: "1.18",
            ..ApiVersionsRequest::default()
        };
        let frame = flat(encode_request(3, 1, Some("me"), &request).expect("encodes"));
        let (header, body) = RequestHeader::decode(&frame[4..]).expect("a request");
        let session = Rc::new(Session::new(1, "OUT".into(), place.broker.address, place.broker.address));
        let context = RequestContext::new(&session, &header);
        let handled = dispatch(&place.broker.shard, &context, &Bytes::copy_from_slice(body)).await;
        assert!(matches!(handled, Ok(Handled::Replied(_))));
        assert_eq!(session.to_string(), "User:ANONYMOUS on OUT as \"me\" with franz-go 1.18");
    });
}
