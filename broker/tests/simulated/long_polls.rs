//! Proves that a fetch which waits costs the shards few messages, wakes for records on any of them, and leaves nothing behind.

use std::time::Duration;

use net::protocol::fetch::FetchResponse;
use runtime::sim::{SimEffects, SimWorld};
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, fetch, produce, send_fetch, values};

const WAIT: Duration = Duration::from_secs(5);

/// Messages from shard to shard so far.
async fn messages(broker: &Broker) -> u64 {
    broker.shard.call_all(|shard| async move { shard.calls.sent() }).await.into_iter().sum()
}

/// Messages of what happens between two calls of this.
struct Count {
    before: u64,
    own: u64,
}

impl Count {
    async fn start(broker: &Broker) -> Self {
        let (first, before) = (messages(broker).await, messages(broker).await);
        Self { before, own: before - first }
    }

    async fn end(self, broker: &Broker) -> u64 {
        messages(broker).await - self.before - self.own
    }
}

/// Connections that wait on any shard.
async fn waiting(broker: &Broker) -> usize {
    let shards = broker.shard.placement.shards();
    let waiting = broker.shard.call_all(move |shard| async move {
        let connections = (0..shards).flat_map(|origin| (0..50).map(move |id| (origin, id)));
        connections.filter(|who| shard.replicas.fetch_waits.get(*who).is_some()).count()
    });
    waiting.await.into_iter().sum()
}

async fn pause(clients: &SimEffects, ms: u64) {
    let clock = clients.clock();
    clock.sleep_until(clock.now() + Duration::from_millis(ms)).await;
}

/// A broker of two shards, each with one partition of topic `t`, and a client.
async fn two_shards(world: &SimWorld) -> (Broker, SimEffects, Client) {
    let broker = Broker::start(world.node("broker"), 2, &[("connections.max.idle.ms", "20000")]).await;
    let clients = world.node("clients");
    let mut client = Client::connect(&clients, broker.address).await;
    create_topic(&mut client, "t", 2).await;
    (broker, clients, client)
}

fn counts(response: &FetchResponse) -> Vec<usize> {
    values(response).iter().map(|(_, values)| values.len()).collect()
}

#[test]
fn a_long_poll_at_one_owner_is_one_call() {
    in_world(121, async |world| {
        let (broker, _, mut client) = two_shards(&world).await;
        let count = Count::start(&broker).await;
        for partition in 0..2 {
            let response = fetch(&mut client, "t", &[(partition, 0)], 1, WAIT).await.unwrap();
            assert_eq!(counts(&response), [0]);
        }
        assert_eq!(count.end(&broker).await, 2, "one partition is here, the other one call away");
        assert_eq!(waiting(&broker).await, 0);
        broker.stop().await;
    });
}

#[test]
fn records_wake_a_long_poll_where_it_waits() {
    in_world(122, async |world| {
        let (broker, clients, mut client) = two_shards(&world).await;
        let mut producer = Client::connect(&clients, broker.address).await;
        for (partition, offset) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let (count, before) = (Count::start(&broker).await, clients.clock().now());
            send_fetch(&mut client, "t", &[(partition, offset)], 1, WAIT).await.unwrap();
            pause(&clients, 100).await;
            assert_eq!(waiting(&broker).await, 1);
            produce(&mut producer, "t", &[partition], 1, "x").await.unwrap();
            let response: FetchResponse = client.response(12).await.unwrap();
            assert_eq!(counts(&response), [1]);
            assert!(clients.clock().now().since(before) < Duration::from_secs(1));
            // The look at what waits, a call for the fetch and one for the produce.
            let sent = count.end(&broker).await;
            assert!(sent <= 2 + 2 + 2, "{sent}");
            assert_eq!(waiting(&broker).await, 0);
        }
        broker.stop().await;
    });
}

#[test]
fn a_long_poll_at_several_owners_counts_what_all_have() {
    in_world(123, async |world| {
        let (broker, clients, mut client) = two_shards(&world).await;
        let mut producer = Client::connect(&clients, broker.address).await;
        let value = "x".repeat(1_000);
        send_fetch(&mut client, "t", &[(0, 0), (1, 0)], 2_500, WAIT).await.unwrap();
        pause(&clients, 100).await;
        assert_eq!(waiting(&broker).await, 2);
        for partition in [0, 1] {
            produce(&mut producer, "t", &[partition], 1, &value).await.unwrap();
            pause(&clients, 100).await;
            assert_eq!(waiting(&broker).await, 2, "too little still");
        }
        produce(&mut producer, "t", &[1], 1, &value).await.unwrap();
        let response: FetchResponse = client.response(12).await.unwrap();
        assert_eq!(counts(&response), [1, 2]);
        assert_eq!(waiting(&broker).await, 0);

        let (count, before) = (Count::start(&broker).await, clients.clock().now());
        let response = fetch(&mut client, "t", &[(0, 1), (1, 2)], 1, WAIT).await.unwrap();
        assert_eq!(
            (counts(&response), clients.clock().now().since(before).as_millis() / 100),
            (vec![0, 0], 50)
        );
        assert_eq!(count.end(&broker).await, 4, "one call to look, and one to wait");
        assert_eq!(waiting(&broker).await, 0);
        broker.stop().await;
    });
}

#[test]
fn a_connection_that_ends_does_not_go_on_waiting() {
    in_world(124, async |world| {
        let (broker, clients, _client) = two_shards(&world).await;
        for partitions in [&[(0, 0)][..], &[(1, 0)], &[(0, 0), (1, 0)]] {
            let mut client = Client::connect(&clients, broker.address).await;
            send_fetch(&mut client, "t", partitions, 1, Duration::from_secs(100_000)).await.unwrap();
            pause(&clients, 100).await;
            assert_eq!(waiting(&broker).await, partitions.len());
            assert!(client.frame().await.is_none(), "it is ended, as it says nothing");
            assert_eq!(waiting(&broker).await, 0, "{partitions:?}");
        }
        let mut client = Client::connect(&clients, broker.address).await;
        send_fetch(&mut client, "t", &[(0, 0)], 1, Duration::from_secs(100_000)).await.unwrap();
        let mut other = Client::connect(&clients, broker.address).await;
        send_fetch(&mut other, "t", &[(1, 0)], 1, Duration::from_secs(100_000)).await.unwrap();
        pause(&clients, 100).await;
        let before = clients.clock().now();
        // A stop has those that wait be answered.
        broker.stop().await;
        assert!(clients.clock().now().since(before) < Duration::from_secs(2));
        for mut client in [client, other] {
            let response: FetchResponse = client.response(12).await.expect("an answer");
            assert_eq!(counts(&response), [0]);
        }
    });
}
