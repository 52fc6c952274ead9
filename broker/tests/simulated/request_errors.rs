//! Proves that every error code that a client is told is counted, whatever API tells it and however the request ends.

use std::time::Duration;

use net::protocol::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use net::protocol::heartbeat::HeartbeatRequest;
use net::protocol::metadata::{MetadataRequest, MetadataRequestTopic};
use net::protocol::{ApiKey, ErrorCode};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, fetch, produce};

/// ApiVersions of a version that does not exist, with a correlation id and without a client id.
const API_VERSIONS_99: &[u8] = &[0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0];

#[test]
fn what_clients_are_told_is_counted() {
    in_world(110, async |world| {
        let broker = Broker::start(world.node("broker"), 1, &[("auto.create.topics.enable", "false")]).await;
        let client = &mut Client::connect(&world.node("client"), broker.address).await;
        create_topic(client, "t", 2).await;
        produce(client, "t", &[0, 1], -1, "x").await.expect("an answer");
        fetch(client, "t", &[(0, 0), (1, 0)], 1, Duration::ZERO).await.expect("an answer");
        assert_eq!(broker.shard.stats.errors(), [], "nothing has failed");

        produce(client, "t", &[0, 7, 8], -1, "x").await.expect("an answer");
        fetch(client, "t", &[(0, 99), (1, 99), (7, 0)], 1, Duration::ZERO).await.expect("an answer");
        let topics = [MetadataRequestTopic { name: Some("none"), ..MetadataRequestTopic::default() }];
        let request = MetadataRequest { topics: Some(topics[..].into()), ..MetadataRequest::default() };
        client.call(9, &request).await.expect("an answer");
        let request = HeartbeatRequest { group_id: "g", member_id: "m", ..HeartbeatRequest::default() };
        client.call(4, &request).await.expect("an answer");
        let request = ApiVersionsRequest { client_software_name: "-", ..ApiVersionsRequest::default() };
        client.call(3, &request).await.expect("an answer");
        client.send_raw(API_VERSIONS_99).await.expect("sent");
        client.response::<ApiVersionsResponse>(0).await.expect("an answer");
        // The end of the connection is all that acks=0 has to tell.
        assert!(produce(client, "t", &[8], 0, "x").await.is_none());

        assert_eq!(
            broker.shard.stats.errors(),
            [
                (ApiKey::Produce, ErrorCode::UnknownTopicOrPartition, 3),
                (ApiKey::Fetch, ErrorCode::OffsetOutOfRange, 2),
                (ApiKey::Fetch, ErrorCode::UnknownTopicOrPartition, 1),
                (ApiKey::Metadata, ErrorCode::UnknownTopicOrPartition, 1),
                (ApiKey::Heartbeat, ErrorCode::NotCoordinator, 1),
                (ApiKey::ApiVersions, ErrorCode::UnsupportedVersion, 1),
                (ApiKey::ApiVersions, ErrorCode::InvalidRequest, 1),
            ]
        );
    });
}
