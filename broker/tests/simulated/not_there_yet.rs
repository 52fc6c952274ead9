//! Proves that clients which ask for what this version does not have are told so by an answer that ends them, rather than by
//! one that they repeat for ever: librdkafka gives up looking for a transaction coordinator only if it lacks the right to one,
//! and a group coordinator only if that itself refuses.

use net::protocol::api_versions::ApiVersionsRequest;
use net::protocol::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use net::protocol::find_coordinator::FindCoordinatorRequest;
use net::protocol::{ApiKey, ErrorCode};

use crate::harness::{Broker, Client, in_world};

#[test]
fn transactions_and_new_groups_are_refused_for_good() {
    in_world(95, async |world| {
        let broker = Broker::start(world.node("broker"), 1, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        for version in 1..=6 {
            let keys = ["t"];
            let request = FindCoordinatorRequest {
                key: if version < 4 { "t" } else { "" },
                key_type: 1,
                coordinator_keys: if version < 4 { (&[][..]).into() } else { keys[..].into() },
            };
            let answer = client.call(version, &request).await.expect("an answer");
            let (code, message) = match answer.coordinators.first() {
                Some(coordinator) => (coordinator.error_code, &coordinator.error_message),
                None => (answer.error_code, &answer.error_message),
            };
            let expect = if version <= 2 {
                ErrorCode::TransactionalIdAuthorizationFailed
            } else {
                ErrorCode::UnsupportedVersion
            };
            assert_eq!(code, expect.code(), "version {version}");
            assert_eq!(message.as_deref(), Some("This version has no transactions."), "version {version}");
        }
        let request = ApiVersionsRequest {
            client_software_name: "test",
            client_software_version: "1",
            ..ApiVersionsRequest::default()
        };
        let offered = client.call(3, &request).await.expect("an answer").api_keys;
        assert!(offered.iter().any(|api| api.api_key == ApiKey::ConsumerGroupHeartbeat.code()));
        for version in 0..=1 {
            let request =
                ConsumerGroupHeartbeatRequest { group_id: "g", ..ConsumerGroupHeartbeatRequest::default() };
            let answer = client.call(version, &request).await.expect("an answer");
            assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion.code());
            assert!(answer.error_message.is_some_and(|message| message.contains("group.protocol=classic")));
        }
    });
}
