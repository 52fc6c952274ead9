//! Proves that Fetch answers odd requests as Apache Kafka 4.3.1 does; each row was asked of one.

use std::time::Duration;

use net::protocol::RecordsPart;
use net::protocol::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, produce};

fn partition(fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        fetch_offset,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    }
}

fn request() -> FetchRequest<'static> {
    FetchRequest { replica_id: -1, max_bytes: 1 << 20, session_epoch: -1, ..FetchRequest::default() }
}

async fn fetch(
    client: &mut Client,
    partitions: &[FetchPartition],
    request: FetchRequest<'_>,
) -> FetchResponse {
    let topics = [FetchTopic { topic: "t", partitions: partitions.into(), ..FetchTopic::default() }];
    client.call(12, &FetchRequest { topics: topics[..].into(), ..request }).await.expect("an answer")
}

fn only(response: &FetchResponse) -> &PartitionData {
    assert_eq!(response.responses.len(), 1, "{response:?}");
    assert_eq!(response.responses[0].partitions.len(), 1, "{response:?}");
    &response.responses[0].partitions[0]
}

/// The first offset in the records.
fn first(data: &PartitionData) -> Option<i64> {
    let records = data.records.as_ref()?;
    let [RecordsPart::Memory(bytes), ..] = records.parts() else { return None };
    Some(model::RecordBatch::parse(bytes).expect("a batch").base_offset().0)
}

#[test]
fn odd_fetches_are_answered_as_by_kafka() {
    in_world(70, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 1).await;
        for offset in 0..3 {
            assert_eq!(produce(&mut client, "t", &[0], -1, "v").await, Some(vec![(0, offset)]));
        }
        for (epoch, id) in [(-2, 0), (-2, 7), (5, 0)] {
            let asked = FetchRequest { session_epoch: epoch, session_id: id, ..request() };
            let response = fetch(&mut client, &[partition(0)], asked).await;
            assert_eq!((response.error_code, response.responses.len()), (70, 0), "epoch {epoch} of {id}");
        }
        for (replica_id, code) in [(5, 6), (1, 6), (-2, 0)] {
            let response =
                fetch(&mut client, &[partition(0)], FetchRequest { replica_id, ..request() }).await;
            assert_eq!(only(&response).error_code, code, "replica {replica_id}");
        }
        for (level, aborted) in [(0, None), (1, Some(0))] {
            let asked = FetchRequest { isolation_level: level, ..request() };
            let response = fetch(&mut client, &[partition(0)], asked).await;
            assert_eq!(only(&response).aborted_transactions.as_ref().map(Vec::len), aborted, "level {level}");
        }
        for offsets in [[2, 1], [1, 2]] {
            let response = fetch(&mut client, &offsets.map(partition), request()).await;
            assert_eq!(first(only(&response)), Some(offsets[1]), "the last of {offsets:?}");
        }
        let ahead = FetchPartition { last_fetched_epoch: 9, ..partition(1) };
        assert_eq!(only(&fetch(&mut client, &[ahead], request()).await).error_code, 1);
        let behind = FetchPartition { last_fetched_epoch: 0, ..partition(9) };
        let response = fetch(&mut client, &[behind], request()).await;
        assert_eq!((only(&response).error_code, only(&response).diverging_epoch.end_offset), (0, 3));
    });
}

#[test]
fn more_than_may_be_sent_is_not_waited_for() {
    in_world(71, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let clients = world.node("client");
        let mut client = Client::connect(&clients, broker.address).await;
        create_topic(&mut client, "t", 1).await;
        let value = "x".repeat(2000);
        assert_eq!(produce(&mut client, "t", &[0], -1, &value).await, Some(vec![(0, 0)]));
        let before = clients.clock().now();
        let asked = FetchRequest { min_bytes: 1 << 20, max_bytes: 1000, max_wait_ms: 30_000, ..request() };
        let response = fetch(&mut client, &[partition(0)], asked).await;
        assert_eq!(first(only(&response)), Some(0));
        assert!(clients.clock().now().since(before) < Duration::from_secs(1));
    });
}

/// Batches of each partition in a response, in the order of the answers.
fn batch_counts(response: &FetchResponse) -> Vec<usize> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let indexed = partitions.zip(0..).map(|(data, index)| {
        assert_eq!((data.partition_index, data.error_code), (index, 0), "{data:?}");
        let parts = data.records.iter().flat_map(|records| records.parts());
        let batches = parts.map(|part| match part {
            RecordsPart::Memory(bytes) => model::batches(bytes).filter_map(Result::ok).count(),
            RecordsPart::External { .. } => unreachable!("decoded from a frame"),
        });
        batches.sum()
    });
    indexed.collect()
}

#[test]
fn limits_hold_over_partitions_in_memory_and_on_disk() {
    in_world(72, async |world| {
        let (node, clients) = (world.node("broker"), world.node("client"));
        let broker = Broker::start(node.clone(), 1, &[]).await;
        let mut client = Client::connect(&clients, broker.address).await;
        create_topic(&mut client, "t", 6).await;
        let value = "x".repeat(1000);
        for offset in 0..10 {
            let produced = produce(&mut client, "t", &[0, 1, 2, 3, 4, 5], -1, &value).await;
            assert_eq!(produced, Some(vec![(0, offset); 6]));
        }
        let batch = model::RecordBatchBuilder::new(model::Offset(0)).record(1, None, Some(value.as_bytes()));
        let batch = i32::try_from(batch.build().len()).expect("small");
        let check = async |client: &mut Client, skipped: usize, each: i32, all: i32, expect: [usize; 6]| {
            let partitions: Vec<_> = (0..6)
                .map(|index| FetchPartition {
                    partition: index,
                    partition_max_bytes: each,
                    ..partition(if usize::try_from(index).is_ok_and(|index| index < skipped) {
                        10
                    } else {
                        0
                    })
                })
                .collect();
            let response = fetch(client, &partitions, FetchRequest { max_bytes: all, ..request() }).await;
            assert_eq!(batch_counts(&response), expect, "{each} of {all} bytes behind {skipped}");
        };
        let rows = [
            (0, 2 * batch, 100 * batch, [2, 2, 2, 2, 2, 2]),
            (0, 10 * batch, 5 * batch, [5, 0, 0, 0, 0, 0]),
            (0, 3 * batch, 7 * batch, [3, 3, 1, 0, 0, 0]),
            (0, batch / 2, 3 * batch, [1, 0, 0, 0, 0, 0]),
            (2, 3 * batch, 7 * batch, [0, 0, 3, 3, 1, 0]),
            (5, 3 * batch, batch / 2, [0, 0, 0, 0, 0, 1]),
            (6, 3 * batch, 7 * batch, [0, 0, 0, 0, 0, 0]),
        ];
        for (skipped, each, all, expect) in rows {
            check(&mut client, skipped, each, all, expect).await;
        }
        broker.stop().await;
        let broker = Broker::start(node, 1, &[]).await;
        let mut client = Client::connect(&clients, broker.address).await;
        for (skipped, each, all, expect) in rows {
            check(&mut client, skipped, each, all, expect).await;
        }
    });
}

#[test]
fn a_session_from_before_a_restart_is_not_somebody_elses() {
    in_world(73, async |world| {
        let (node, clients) = (world.node("broker"), world.node("client"));
        let begin = async |client: &mut Client| {
            let response =
                fetch(client, &[partition(0)], FetchRequest { session_epoch: 0, ..request() }).await;
            assert_ne!(response.session_id, 0);
            response.session_id
        };
        let go_on = async |client: &mut Client, session_id| {
            let request = FetchRequest { session_id, session_epoch: 1, ..request() };
            client.call(12, &request).await.expect("an answer").error_code
        };
        let broker = Broker::start(node.clone(), 1, &[]).await;
        let mut client = Client::connect(&clients, broker.address).await;
        create_topic(&mut client, "t", 1).await;
        let before = begin(&mut client).await;
        broker.stop().await;
        let broker = Broker::start(node, 1, &[]).await;
        let mut other = Client::connect(&clients, broker.address).await;
        let after = begin(&mut other).await;
        let mut client = Client::connect(&clients, broker.address).await;
        assert_eq!(go_on(&mut client, before).await, 70, "FETCH_SESSION_ID_NOT_FOUND");
        assert_eq!(go_on(&mut other, after).await, 0);
    });
}

#[test]
fn what_is_there_is_not_waited_for() {
    in_world(74, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let clients = world.node("client");
        let mut client = Client::connect(&clients, broker.address).await;
        create_topic(&mut client, "t", 1).await;
        let value = "x".repeat(3000);
        for offset in 0..20 {
            assert_eq!(produce(&mut client, "t", &[0], -1, &value).await, Some(vec![(0, offset)]));
        }
        // Whole batches fill less than the limit, which is what a consumer waits for that has set both alike.
        for (max_bytes, min_bytes, waits) in
            [(10_000, 10_000, false), (10_000, 11_000, true), (1 << 20, 1 << 20, true)]
        {
            let before = clients.clock().now();
            let asked = FetchRequest { min_bytes, max_wait_ms: 30_000, ..request() };
            let limited = FetchPartition { partition_max_bytes: max_bytes, ..partition(0) };
            let response = fetch(&mut client, &[limited], asked).await;
            assert_eq!(first(only(&response)), Some(0));
            let waited = clients.clock().now().since(before) >= Duration::from_secs(30);
            assert_eq!(waited, waits, "at most {max_bytes}, at least {min_bytes}");
        }
    });
}
