//! Proves that records come back as they were produced, from any shard, and that fetches wait as asked.

use std::time::Duration;

use model::{Offset, RecordBatch, RecordBatchBuilder, batches};
use net::protocol::api_versions::ApiVersionsRequest;
use net::protocol::create_topics::{CreatableTopic, CreateTopicsRequest};
use net::protocol::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use net::protocol::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use net::protocol::{ErrorCode, RecordsPart};
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, framed, in_world};

/// Creates a topic with `partitions` partitions.
pub(crate) async fn create_topic(client: &mut Client, name: &str, partitions: i32) {
    let topics = [CreatableTopic {
        name,
        num_partitions: partitions,
        replication_factor: 1,
        ..CreatableTopic::default()
    }];
    let request =
        CreateTopicsRequest { topics: (&topics[..]).into(), timeout_ms: 1000, validate_only: false };
    let response = client.call(7, &request).await.expect("an answer");
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
}

/// Produces one record to each of `partitions`, in one request; yields error code and base offset of each.
pub(crate) async fn produce(
    client: &mut Client,
    topic: &str,
    partitions: &[i32],
    acks: i16,
    value: &str,
) -> Option<Vec<(i16, i64)>> {
    let batch = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(value.as_bytes())).build();
    send_produce(client, topic, partitions, acks, &batch).await?;
    produced(client).await
}

pub(crate) async fn send_produce(
    client: &mut Client,
    topic: &str,
    partitions: &[i32],
    acks: i16,
    batch: &[u8],
) -> Option<()> {
    let data: Vec<_> =
        partitions.iter().map(|index| PartitionProduceData { index: *index, records: Some(batch) }).collect();
    let topics =
        [TopicProduceData { name: topic, partition_data: (&data[..]).into(), ..TopicProduceData::default() }];
    let request =
        ProduceRequest { transactional_id: None, acks, timeout_ms: 30_000, topic_data: (&topics[..]).into() };
    client.send(9, &request).await
}

pub(crate) async fn produced(client: &mut Client) -> Option<Vec<(i16, i64)>> {
    let response: ProduceResponse = client.response(9).await?;
    let partitions = response.responses.into_iter().flat_map(|topic| topic.partition_responses);
    Some(partitions.map(|partition| (partition.error_code, partition.base_offset)).collect())
}

/// Fetches from `offset` of each of `partitions`.
pub(crate) async fn fetch(
    client: &mut Client,
    topic: &str,
    partitions: &[(i32, i64)],
    min_bytes: i32,
    max_wait: Duration,
) -> Option<FetchResponse> {
    send_fetch(client, topic, partitions, min_bytes, max_wait).await?;
    client.response(12).await
}

pub(crate) async fn send_fetch(
    client: &mut Client,
    topic: &str,
    partitions: &[(i32, i64)],
    min_bytes: i32,
    max_wait: Duration,
) -> Option<()> {
    let partitions: Vec<_> = partitions
        .iter()
        .map(|(partition, offset)| FetchPartition {
            partition: *partition,
            current_leader_epoch: -1,
            fetch_offset: *offset,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: 50 << 20,
            ..FetchPartition::default()
        })
        .collect();
    let topics = [FetchTopic { topic, partitions: (&partitions[..]).into(), ..FetchTopic::default() }];
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: i32::try_from(max_wait.as_millis()).expect("short"),
        min_bytes,
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: (&topics[..]).into(),
        ..FetchRequest::default()
    };
    client.send(12, &request).await
}

/// The offsets and values in a response, partition by partition.
pub(crate) fn values(response: &FetchResponse) -> Vec<(i32, Vec<(i64, String)>)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|partition| {
            assert_eq!(partition.error_code, 0, "{partition:?}");
            let mut values = Vec::new();
            for part in partition.records.iter().flat_map(|records| records.parts()) {
                let RecordsPart::Memory(bytes) = part else { unreachable!("decoded from a frame") };
                for batch in batches(bytes) {
                    let batch: RecordBatch<'_> = batch.expect("whole batches");
                    batch.verify_crc().expect("an intact batch");
                    for record in batch.iter() {
                        let record = record.expect("a record");
                        let value = record.value.map(|value| String::from_utf8_lossy(value).into_owned());
                        values.push((record.offset.0, value.unwrap_or_default()));
                    }
                }
            }
            (partition.partition_index, values)
        })
        .collect()
}

#[test]
fn what_is_produced_is_fetched_on_any_number_of_shards() {
    for (seed, shards) in [(1, 1), (2, 2), (3, 5)] {
        in_world(seed, async |world| {
            let node = world.node("broker");
            let broker = Broker::start(node, shards, &[]).await;
            let mut client = Client::connect(&world.node("client"), broker.address).await;
            create_topic(&mut client, "t", 7).await;
            let all: Vec<i32> = (0..7).collect();
            for round in 0..20 {
                for acks in [-1, 1] {
                    let answers = produce(&mut client, "t", &all, acks, &format!("{round} {acks}")).await;
                    let base = round * 2 + i64::from(acks == 1);
                    assert_eq!(answers, Some(vec![(0, base); 7]));
                }
            }
            let from: Vec<_> = all.iter().map(|partition| (*partition, 38)).collect();
            let response = fetch(&mut client, "t", &from, 1, Duration::ZERO).await.expect("an answer");
            let expected = vec![(38, "19 -1".to_owned()), (39, "19 1".to_owned())];
            let mut found = values(&response);
            found.sort();
            assert_eq!(found, all.iter().map(|partition| (*partition, expected.clone())).collect::<Vec<_>>());
            broker.stop().await;
        });
    }
}

#[test]
fn pipelined_produces_keep_their_order() {
    in_world(4, async |world| {
        let broker = Broker::start(world.node("broker"), 3, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 3).await;
        for round in 0..50 {
            let value = round.to_string();
            let batch = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(value.as_bytes())).build();
            send_produce(&mut client, "t", &[0, 1, 2], -1, &batch).await.expect("sent");
        }
        for round in 0..50 {
            assert_eq!(produced(&mut client).await, Some(vec![(0, round); 3]));
        }
        let response =
            fetch(&mut client, "t", &[(0, 0), (1, 0), (2, 0)], 1, Duration::ZERO).await.expect("an answer");
        for (_, values) in values(&response) {
            let expected: Vec<_> = (0..50).map(|round| (round, round.to_string())).collect();
            assert_eq!(values, expected);
        }
    });
}

#[test]
fn a_fetch_waits_for_records_or_for_its_time() {
    in_world(5, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let clients = world.node("client");
        let mut consumer = Client::connect(&clients, broker.address).await;
        create_topic(&mut consumer, "t", 2).await;
        let before = clients.clock().now();
        let response = fetch(&mut consumer, "t", &[(0, 0), (1, 0)], 1, Duration::from_secs(3)).await;
        assert!(values(&response.expect("an answer")).iter().all(|(_, values)| values.is_empty()));
        let waited = clients.clock().now().since(before);
        assert!(waited >= Duration::from_secs(3) && waited < Duration::from_secs(4), "{waited:?}");

        let mut producer = Client::connect(&clients, broker.address).await;
        let effects = clients.clone();
        clients.spawn(async move {
            let clock = effects.clock();
            clock.sleep_until(clock.now() + Duration::from_secs(1)).await;
            assert_eq!(produce(&mut producer, "t", &[1], -1, "late").await, Some(vec![(0, 0)]));
        });
        let before = clients.clock().now();
        let response = fetch(&mut consumer, "t", &[(0, 0), (1, 0)], 1, Duration::from_secs(30)).await;
        let found = values(&response.expect("an answer"));
        assert!(found.contains(&(1, vec![(0, "late".to_owned())])), "{found:?}");
        assert!(clients.clock().now().since(before) < Duration::from_secs(2));
    });
}

#[test]
fn bad_requests_hurt_nobody_else() {
    in_world(6, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let clients = world.node("client");
        let mut good = Client::connect(&clients, broker.address).await;
        create_topic(&mut good, "t", 1).await;
        let cases: [Vec<u8>; 6] = [
            framed(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
            framed(&[0, 0]),
            framed(&[0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff]),
            vec![0xff; 64],
            vec![0x7f, 0xff, 0xff, 0xff],
            framed(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
        ];
        for bytes in cases {
            let mut bad = Client::connect(&clients, broker.address).await;
            bad.send_raw(&bytes).await;
            assert_eq!(bad.frame().await, None, "{bytes:02x?}");
        }
        let corrupt = {
            let batch = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(b"v")).build();
            let mut bytes = batch.to_vec();
            *bytes.last_mut().expect("not empty") ^= 1;
            bytes
        };
        send_produce(&mut good, "t", &[0], -1, &corrupt).await.expect("sent");
        assert_eq!(produced(&mut good).await, Some(vec![(ErrorCode::CorruptMessage.code(), -1)]));
        assert_eq!(produce(&mut good, "t", &[0, 9], -1, "v").await, Some(vec![(0, 0), (3, -1)]));
        assert_eq!(produce(&mut good, "unknown", &[0], 1, "v").await, Some(vec![(3, -1)]));
    });
}

/// Clients that ask for records and do not read them keep a bounded part of the memory; others are served.
#[test]
fn readers_that_stop_reading_keep_little() {
    in_world(12, async |world| {
        let node = world.node("a");
        let settings = [("millrace.memory.per.shard.bytes", "33554432")];
        let broker = Broker::start(node.clone(), 1, &settings).await;
        let mut client = Client::connect(&node, broker.address).await;
        create_topic(&mut client, "t", 1).await;
        let value = "x".repeat(60_000);
        for offset in 0..600 {
            assert_eq!(produce(&mut client, "t", &[0], -1, &value).await, Some(vec![(0, offset)]));
        }
        let mut stopped = Vec::new();
        for reader in 0..40 {
            let mut client = Client::connect(&node, broker.address).await;
            send_fetch(&mut client, "t", &[(0, reader * 10)], 1, Duration::ZERO)
                .await
                .expect("the broker is there");
            stopped.push(client);
        }
        node.clock().sleep_until(node.clock().now() + Duration::from_secs(1)).await;
        let used = broker.shard.fetch_memory.used_bytes();
        assert!(used <= 4 << 20, "{used} bytes are kept");
        node.clock().sleep_until(node.clock().now() + Duration::from_secs(5)).await;
        assert_eq!(broker.shard.fetch_memory.used_bytes(), 0, "whoever does not read keeps nothing for long");
        for offset in 600..700 {
            assert_eq!(produce(&mut client, "t", &[0], -1, &value).await, Some(vec![(0, offset)]));
        }
        let mut next = 0;
        while next < 700 {
            let response = fetch(&mut client, "t", &[(0, next)], 1, Duration::ZERO).await.expect("an answer");
            let [(0, read)] = &values(&response)[..] else { panic!("one partition") };
            assert_eq!(read.first().map(|(offset, _)| *offset), Some(next));
            next += i64::try_from(read.len()).expect("few");
        }
        // What they did not read is read again for them when they do.
        for (client, reader) in stopped.iter_mut().zip(0..) {
            let response: FetchResponse = client.response(12).await.expect("an answer");
            let [(0, read)] = &values(&response)[..] else { panic!("one partition") };
            assert!(read.len() > 5, "more than the network holds");
            let expected = (reader * 10..).zip(read).all(|(offset, read)| *read == (offset, value.clone()));
            assert!(expected, "reader {reader} got something else");
        }
        assert_eq!(broker.shard.fetch_memory.used_bytes(), 0);
    });
}

/// What a client asks for and does not read may be a small part of the memory that it lies in: a byte of each chunk.
#[test]
fn readers_that_stop_reading_keep_few_chunks() {
    for small in [100, 5_000, 40_000] {
        in_world(14, async |world| {
            let node = world.node("a");
            let settings = [("millrace.memory.per.shard.bytes", "33554432")];
            let broker = Broker::start(node.clone(), 1, &settings).await;
            let mut client = Client::connect(&node, broker.address).await;
            create_topic(&mut client, "t", 1).await;
            let (small, large) = ("s".repeat(small), "l".repeat(100_000));
            let mut stopped = Vec::new();
            for _ in 0..20 {
                stopped.push(Client::connect(&node, broker.address).await);
            }
            let mut end = 0;
            for round in 0..1_000 {
                for value in [&large, &small] {
                    let produced = produce(&mut client, "t", &[0], -1, value).await;
                    assert_eq!(produced, Some(vec![(0, end)]), "round {round}, {} bytes", small.len());
                    end += 1;
                }
                if round % 10 == 0 {
                    for reader in &mut stopped {
                        let at = end - if round == 0 { 2 } else { 1 };
                        send_fetch(reader, "t", &[(0, at)], 1, Duration::ZERO).await.expect("room to send");
                    }
                }
            }
            let used = broker.shard.fetch_memory.used_bytes();
            assert!(used < 16 << 20, "{used} bytes are kept");
        });
    }
}

/// A client that is gone may have asked to wait for ever, and one that does not read keeps what it was sent.
#[test]
fn idle_connections_are_ended_while_they_wait() {
    in_world(15, async |world| {
        let node = world.node("a");
        let broker = Broker::start(node.clone(), 2, &[("connections.max.idle.ms", "20000")]).await;
        let mut client = Client::connect(&node, broker.address).await;
        create_topic(&mut client, "t", 2).await;
        let value = "x".repeat(900_000);
        for offset in 0..12 {
            assert_eq!(produce(&mut client, "t", &[0, 1], -1, &value).await, Some(vec![(0, offset); 2]));
        }
        let mut waiting = Client::connect(&node, broker.address).await;
        let long = Duration::from_secs(1_000_000);
        send_fetch(&mut waiting, "t", &[(0, 12), (1, 12)], 1, long).await.expect("the broker is there");
        let mut unread = Client::connect(&node, broker.address).await;
        send_fetch(&mut unread, "t", &[(0, 0), (1, 0)], 1, long).await.expect("the broker is there");
        node.clock().sleep_until(node.clock().now() + Duration::from_secs(1)).await;
        let before = broker.node.call_all(|shard| async move { shard.connections.count() }).await;
        assert_eq!(before.iter().sum::<usize>(), 3);
        node.clock().sleep_until(node.clock().now() + Duration::from_secs(120)).await;
        let after = broker.node.call_all(|shard| async move { shard.connections.count() }).await;
        assert_eq!(after.iter().sum::<usize>(), 0, "all were idle for two minutes");
        assert_eq!(waiting.frame().await, None);
    });
}

/// Whether the broker serves a connection.
async fn is_served(client: &mut Client) -> bool {
    client.call(0, &ApiVersionsRequest::default()).await.is_some()
}

#[test]
fn connections_leave_descriptors_for_logs() {
    for (settings, descriptors) in [(&[("max.connections", "4")][..], usize::MAX), (&[][..], 8)] {
        in_world(13, async |world| {
            let node = world.node("a");
            let broker = Broker::start_for(world.node("broker"), 1, settings, descriptors).await;
            let mut served = Vec::new();
            for _ in 0..4 {
                let mut client = Client::connect(&node, broker.address).await;
                assert!(is_served(&mut client).await);
                served.push(client);
            }
            for _ in 0..3 {
                assert!(!is_served(&mut Client::connect(&node, broker.address).await).await);
            }
            served.pop().expect("four are served").end();
            node.clock().sleep_until(node.clock().now() + Duration::from_secs(1)).await;
            assert!(is_served(&mut Client::connect(&node, broker.address).await).await, "one has gone");
            broker.stop().await;
        });
    }
}
