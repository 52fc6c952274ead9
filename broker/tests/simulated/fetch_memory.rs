//! Proves that records on their way to clients stay within their share of memory, however many clients ask at once and
//! whether they read what they are sent or not, and that everybody who reads is served.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use broker::api::services::ShardServices;
use futures_util::future::join_all;
use model::{Offset, RecordBatchBuilder};
use net::protocol::fetch::FetchResponse;
use runtime::sim::{SimEffects, SimWorld};
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, produced, send_fetch, send_produce, values};

/// Bytes of one batch: more than the network holds, and two with their buffers fill the share of records on their way.
const BATCH_BYTES: usize = 400_000;

const SETTINGS: &[(&str, &str)] =
    &[("millrace.memory.per.shard.bytes", "16777216"), ("message.max.bytes", "10000000")];

/// What a shard may have on its way to clients.
const SHARE_BYTES: usize = 2 << 20;

/// What it keeps of reads for the next reader, in this harness.
const CACHE_BYTES: usize = 1 << 20;

/// Fills a topic of `partitions` partitions with batches of `bytes` bytes and starts the broker again, so that nothing is
/// in memory.
async fn cold_broker(world: &SimWorld, shards: usize, partitions: i32, batches: i64, bytes: usize) -> Broker {
    let node = world.node("broker");
    let broker = Broker::start(node.clone(), shards, SETTINGS).await;
    let mut client = Client::connect(&world.node("client"), broker.address).await;
    create_topic(&mut client, "t", partitions).await;
    let value = "x".repeat(bytes);
    let batch = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(value.as_bytes())).build();
    for offset in 0..batches {
        for partition in 0..partitions {
            send_produce(&mut client, "t", &[partition], -1, &batch).await.expect("sent");
            assert_eq!(produced(&mut client).await, Some(vec![(0, offset)]));
        }
    }
    broker.stop().await;
    Broker::start(node, shards, SETTINGS).await
}

/// The most that any shard has in buffers and copies, beside what it has now; looked at every now and then while the broker
/// runs.
async fn watch(broker: &Broker, clients: &SimEffects) -> Rc<Cell<usize>> {
    let peak = Rc::new(Cell::new(0));
    let (shard, seen, effects) = (Rc::clone(&broker.shard), Rc::clone(&peak), clients.clone());
    let before = shard.call_all(|shard| async move { held_bytes(&shard) }).await;
    clients.spawn(async move {
        while Rc::strong_count(&seen) > 1 {
            let held = shard.call_all(|shard| async move { held_bytes(&shard) }).await;
            let more = held.iter().zip(&before).map(|(held, before)| held.saturating_sub(*before));
            seen.set(seen.get().max(more.max().unwrap_or(0)));
            effects.clock().sleep_until(effects.clock().now() + Duration::from_millis(1)).await;
        }
    });
    peak
}

fn held_bytes(shard: &ShardServices<SimEffects>) -> usize {
    let (buffers, copies) = (shard.effects.buffers().used_bytes(), shard.fetch_memory.copied_bytes());
    assert!(copies <= shard.fetch_memory.used_bytes());
    buffers + copies
}

/// Asks for one batch of each of `partitions`, from `offset` on.
async fn ask(client: &mut Client, partitions: &[i32], offset: i64) {
    let wishes: Vec<_> = partitions.iter().map(|partition| (*partition, offset)).collect();
    send_fetch(client, "t", &wishes, 1, Duration::from_millis(500)).await.expect("the broker is there");
}

/// The first offsets that a client is sent, of every partition with records.
async fn first_offsets(client: &mut Client) -> Vec<i64> {
    let response: FetchResponse = client.response(12).await.expect("an answer");
    values(&response).iter().filter_map(|(_, values)| values.first().map(|(offset, _)| *offset)).collect()
}

#[test]
fn many_cold_fetches_take_turns() {
    for shards in [1, 2] {
        in_world(90, async |world| {
            let broker = cold_broker(&world, shards, 1, 20, BATCH_BYTES).await;
            let clients = world.node("client");
            let peak = watch(&broker, &clients).await;
            let served = (0..100_i64).map(|reader| {
                let (clients, address) = (clients.clone(), broker.address);
                async move {
                    let mut client = Client::connect(&clients, address).await;
                    ask(&mut client, &[0], reader % 20).await;
                    assert_eq!(first_offsets(&mut client).await, [reader % 20]);
                }
            });
            join_all(served).await;
            assert!(
                (SHARE_BYTES..=SHARE_BYTES + CACHE_BYTES).contains(&peak.get()),
                "{} bytes at most",
                peak.get()
            );
        });
    }
}

#[test]
fn those_who_read_are_served_beside_those_who_do_not() {
    in_world(91, async |world| {
        let broker = cold_broker(&world, 1, 1, 20, BATCH_BYTES).await;
        let clients = world.node("client");
        let peak = watch(&broker, &clients).await;
        let mut stopped = Vec::new();
        for reader in 0..60_i64 {
            let mut client = Client::connect(&clients, broker.address).await;
            ask(&mut client, &[0], reader % 10).await;
            stopped.push(client);
        }
        let before = clients.clock().now();
        for offset in 0..20 {
            let mut client = Client::connect(&clients, broker.address).await;
            ask(&mut client, &[0], offset).await;
            assert_eq!(first_offsets(&mut client).await, [offset]);
        }
        let waited = clients.clock().now().since(before);
        assert!(waited < Duration::from_secs(10), "they waited for {waited:?}");
        assert!(peak.get() <= SHARE_BYTES + CACHE_BYTES, "{} bytes at most", peak.get());
        for (client, reader) in stopped.iter_mut().zip(0..) {
            assert_eq!(first_offsets(client).await, [reader % 10], "reader {reader}");
        }
        assert_eq!(broker.shard.fetch_memory.used_bytes(), 0);
    });
}

/// Fetches that need memory of several shards must not wait for one with that of another in their hands.
#[test]
fn fetches_over_shards_do_not_wait_for_each_other() {
    in_world(92, async |world| {
        let broker = cold_broker(&world, 3, 6, 4, BATCH_BYTES).await;
        let clients = world.node("client");
        let before = clients.clock().now();
        let served = (0..60).map(|reader| {
            let (clients, address) = (clients.clone(), broker.address);
            async move {
                let mut client = Client::connect(&clients, address).await;
                let mut order = [0, 1, 2, 3, 4, 5];
                order.rotate_left(reader % 6);
                for _ in 0..3 {
                    ask(&mut client, &order, 0).await;
                    let read = first_offsets(&mut client).await;
                    assert!(!read.is_empty() && read.iter().all(|offset| *offset == 0), "{read:?}");
                }
            }
        });
        join_all(served).await;
        let waited = clients.clock().now().since(before);
        assert!(waited < Duration::from_secs(8), "nobody's patience was used up: {waited:?}");
    });
}

#[test]
fn a_batch_larger_than_the_share_is_read_when_nothing_else_is() {
    in_world(93, async |world| {
        let broker = cold_broker(&world, 1, 1, 2, 3 << 20).await;
        let clients = world.node("client");
        let served = (0..6_i64).map(|reader| {
            let (clients, address) = (clients.clone(), broker.address);
            async move {
                let mut client = Client::connect(&clients, address).await;
                ask(&mut client, &[0], reader % 2).await;
                assert_eq!(first_offsets(&mut client).await, [reader % 2]);
            }
        });
        join_all(served).await;
        assert_eq!(broker.shard.fetch_memory.used_bytes(), 0);
    });
}

/// What a client has not read may be deleted meanwhile; it must not get anything else instead.
#[test]
fn a_response_that_cannot_be_finished_ends_the_connection() {
    in_world(94, async |world| {
        let broker = cold_broker(&world, 1, 1, 10, BATCH_BYTES).await;
        let clients = world.node("client");
        let mut stopped = Client::connect(&clients, broker.address).await;
        ask(&mut stopped, &[0], 0).await;
        // Longer than memory is kept for it.
        for _ in 0..3 {
            clients.clock().sleep_until(clients.clock().now() + Duration::from_secs(1)).await;
        }
        let mut admin = Client::connect(&clients, broker.address).await;
        crate::fetch_sessions::delete_topic(&mut admin, "t").await;
        assert!(stopped.frame().await.is_none(), "half a response must not look like a whole one");
    });
}
