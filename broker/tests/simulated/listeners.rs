//! Proves that each client is told addresses that it can reach: those of the listener that it has connected to.

use std::net::SocketAddr;

use net::protocol::describe_cluster::DescribeClusterRequest;
use net::protocol::find_coordinator::FindCoordinatorRequest;
use net::protocol::metadata::MetadataRequest;
use runtime::sim::SimWorld;

use crate::harness::{Broker, Client, in_world};

/// Every address that the broker tells a client that has connected to `address`.
async fn told(world: &SimWorld, address: SocketAddr) -> Vec<(String, i32)> {
    let mut client = Client::connect(&world.node("client"), address).await;
    let mut told = Vec::new();
    for version in [1, 9] {
        let metadata = client.call(version, &MetadataRequest::default()).await.expect("an answer");
        told.extend(metadata.brokers.into_iter().map(|broker| (broker.host, broker.port)));
    }
    for version in [3, 4] {
        let keys = ["g"];
        let request = FindCoordinatorRequest {
            key: if version < 4 { keys[0] } else { "" },
            coordinator_keys: if version < 4 { (&[][..]).into() } else { (&keys[..]).into() },
            ..FindCoordinatorRequest::default()
        };
        let found = client.call(version, &request).await.expect("an answer");
        match found.coordinators.into_iter().next() {
            Some(coordinator) => told.push((coordinator.host, coordinator.port)),
            None => told.push((found.host, found.port)),
        }
    }
    let request = DescribeClusterRequest { endpoint_type: 1, ..DescribeClusterRequest::default() };
    let cluster = client.call(1, &request).await.expect("an answer");
    told.extend(cluster.brokers.into_iter().map(|broker| (broker.host, broker.port)));
    told
}

#[test]
fn a_client_is_told_what_is_advertised_for_its_listener() {
    in_world(97, async |world| {
        let settings = [
            ("listeners", "IN://:9092,OUT://:9093,BARE://:9094"),
            ("advertised.listeners", "OUT://broker.example:19093,IN://10.1.1.1:19092"),
            ("listener.security.protocol.map", "IN:PLAINTEXT,OUT:PLAINTEXT,BARE:PLAINTEXT"),
        ];
        let broker = Broker::start(world.node("broker"), 2, &settings).await;
        let bare = broker.address.ip().to_string();
        for (port, host, expected) in
            [(9092, "10.1.1.1", 19092), (9093, "broker.example", 19093), (9094, &bare, 9094)]
        {
            let told = told(&world, SocketAddr::new(broker.address.ip(), port)).await;
            assert_eq!(told, vec![(host.to_owned(), expected); 5], "port {port}");
        }
    });
}
