//! Proves that memory for large requests goes to those that arrive: neither what clients announce nor how slowly they send keeps
//! others waiting for long, and many that have a part each all come to their end.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use model::{Offset, RecordBatchBuilder};
use net::protocol::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use net::protocol::{Segment, encode_request};
use runtime::sim::SimEffects;
use runtime::{Clock, Effects, Monotonic};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, produce, produced, send_produce};

const MIB: usize = 1 << 20;

/// 6 MiB for requests that arrive.
const SETTINGS: [(&str, &str); 2] =
    [("millrace.memory.per.shard.bytes", "67108864"), ("socket.request.max.bytes", "104857600")];

/// A Produce of one record of so many bytes to partition 0 of `t`.
fn large_produce(bytes: usize) -> Vec<u8> {
    let value = vec![b'x'; bytes];
    let batch = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(&value)).build();
    let data = [PartitionProduceData { index: 0, records: Some(&batch) }];
    let topics =
        [TopicProduceData { name: "t", partition_data: data[..].into(), ..TopicProduceData::default() }];
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        topic_data: topics[..].into(),
    };
    let mut frame = Vec::new();
    for segment in encode_request(9, 1, Some("test"), &request).expect("encodes") {
        let Segment::Bytes(bytes) = segment else { panic!("requests hold their records") };
        frame.extend_from_slice(&bytes);
    }
    frame
}

/// Begins a request of 100 MB of which so many bytes come, if the broker takes them.
async fn begin_huge(node: &SimEffects, address: SocketAddr, arrived: usize) -> Client {
    let mut client = Client::connect(node, address).await;
    let mut bytes = 100_000_000_u32.to_be_bytes().to_vec();
    bytes.resize(arrived, 0);
    client.send_raw(&bytes).await;
    client
}

async fn pause(node: &SimEffects, pause: Duration) {
    node.clock().sleep_until(node.clock().now() + pause).await;
}

fn since(node: &SimEffects, began: Monotonic) -> Duration {
    node.clock().now().since(began)
}

#[test]
fn what_is_announced_takes_nothing() {
    in_world(90, async |world| {
        let node = world.node("a");
        let broker = Broker::start(node.clone(), 1, &SETTINGS).await;
        let mut client = Client::connect(&node, broker.address).await;
        create_topic(&mut client, "t", 1).await;
        let mut trickling = Vec::new();
        for _ in 0..100 {
            trickling.push(begin_huge(&node, broker.address, 60_000).await);
        }
        let value = "x".repeat(900_000);
        for round in 0..10 {
            for client in &mut trickling {
                client.send_raw(&[0]).await.expect("the broker is there");
            }
            let began = node.clock().now();
            assert_eq!(produce(&mut client, "t", &[0], -1, &value).await, Some(vec![(0, round)]));
            assert!(since(&node, began) < Duration::from_millis(900), "{:?}", since(&node, began));
            pause(&node, Duration::from_secs(1)).await;
        }
        assert!(broker.shard.request_memory.used_bytes() <= MIB, "expected, of the one that sends");
        for client in &mut trickling {
            client.send_raw(&[0]).await.expect("nobody waits, so nobody is ended");
        }
    });
}

#[test]
fn requests_that_arrive_too_slowly_give_way() {
    // They stop, or go on sending.
    for trickle in [0, 20_000, 150_000] {
        in_world(91, async |world| {
            let node = world.node("a");
            let broker = Broker::start(node.clone(), 1, &SETTINGS).await;
            let mut client = Client::connect(&node, broker.address).await;
            create_topic(&mut client, "t", 1).await;
            for _ in 0..40 {
                let (node, address) = (node.clone(), broker.address);
                node.clone().spawn(async move {
                    let mut client = begin_huge(&node, address, 900_000).await;
                    while trickle > 0 && client.send_raw(&vec![0; trickle]).await.is_some() {
                        pause(&node, Duration::from_secs(1)).await;
                    }
                    let _ended = client.frame().await;
                });
            }
            pause(&node, Duration::from_millis(500)).await;
            let used = broker.shard.request_memory.used_bytes();
            assert!((4 * MIB..=6 * MIB + 100 * MIB).contains(&used), "{used}");
            let began = node.clock().now();
            let small = produce(&mut client, "t", &[0], -1, "small").await;
            assert_eq!((small, since(&node, began) < Duration::from_millis(100)), (Some(vec![(0, 0)]), true));
            let value = "x".repeat(900_000);
            for offset in 1..5 {
                assert_eq!(produce(&mut client, "t", &[0], -1, &value).await, Some(vec![(0, offset)]));
            }
            assert!(since(&node, began) < Duration::from_secs(10), "{trickle}: {:?}", since(&node, began));
        });
    }
}

#[test]
fn requests_that_hold_a_part_each_all_arrive() {
    in_world(92, async |world| {
        let node = world.node("a");
        let settings = [SETTINGS[0], SETTINGS[1], ("message.max.bytes", "20000000")];
        let broker = Broker::start(node.clone(), 1, &settings).await;
        let mut client = Client::connect(&node, broker.address).await;
        create_topic(&mut client, "t", 1).await;
        // Twelve times 3 MiB, in turns of 100 kB.
        let frame = large_produce(3 * MIB);
        let mut clients = Vec::new();
        for _ in 0..12 {
            clients.push(Client::connect(&node, broker.address).await);
        }
        let sending = clients.into_iter().map(|mut client| {
            let (node, frame) = (node.clone(), &frame);
            async move {
                for piece in frame.chunks(100_000) {
                    client.send_raw(piece).await.expect("nobody is ended");
                    pause(&node, Duration::from_millis(1)).await;
                }
                produced(&mut client).await.expect("an answer")[0].0
            }
        });
        let watched = async {
            loop {
                let used = broker.shard.request_memory.arriving_bytes();
                assert!(used <= 6 * MIB + 4 * MIB, "{used}: the budget and one request");
                pause(&node, Duration::from_millis(1)).await;
            }
        };
        let all = std::pin::pin!(join_all(sending));
        let codes = match select(all, std::pin::pin!(watched)).await {
            Either::Left((codes, _)) => codes,
            Either::Right((never, _)) => never,
        };
        assert_eq!(codes, [0; 12]);
        pause(&node, Duration::from_secs(1)).await;
        assert_eq!(broker.shard.request_memory.arriving_bytes(), 0);
    });
}

/// One connection may have many small requests on their way to another shard, where they wait for the disk.
#[test]
fn small_requests_on_their_way_to_another_shard_are_charged() {
    in_world(93, async |world| {
        let node = world.node("a");
        let broker = Broker::start(node.clone(), 2, &SETTINGS).await;
        let mut client = Client::connect(&node, broker.address).await;
        create_topic(&mut client, "t", 2).await;
        let batch = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(&[b'x'; 60_000])).build();
        let mut charged = Vec::new();
        for partition in [0, 1] {
            for _ in 0..40 {
                send_produce(&mut client, "t", &[partition], -1, &batch).await.expect("sent");
            }
            let mut used_max = 0;
            let answered = async {
                for _ in 0..40 {
                    assert_eq!(produced(&mut client).await.expect("an answer")[0].0, 0);
                }
            };
            let watched = async {
                loop {
                    let used =
                        broker.shard.call_all(|shard| async move { shard.request_memory.used_bytes() }).await;
                    used_max = used.into_iter().sum::<usize>().max(used_max);
                    pause(&node, Duration::from_micros(20)).await;
                }
            };
            match select(std::pin::pin!(answered), std::pin::pin!(watched)).await {
                Either::Left(((), _)) => {}
                Either::Right((never, _)) => never,
            }
            charged.push(used_max);
        }
        charged.sort_unstable();
        assert_eq!(charged[0], 0, "one partition lives where the connection does");
        assert!((60_000..=2 * MIB).contains(&charged[1]), "{charged:?}");
    });
}
