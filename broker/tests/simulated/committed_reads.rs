//! Proves that `read_committed` consumers stop at the first open transaction, in a directory that a Kafka with transactions
//! has left.

use model::{Offset, ProducerEpoch, ProducerId, RecordBatchBuilder, Sequence};
use net::protocol::fetch::{FetchPartition, FetchRequest, FetchTopic};
use net::protocol::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, values};

const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

fn batch(base: i64, attributes: i16, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(Offset(base)).attributes(attributes);
    if attributes & TRANSACTIONAL != 0 {
        let sequence = if attributes & CONTROL == 0 { 0 } else { -1 };
        builder = builder.producer(ProducerId(7), ProducerEpoch(0), Sequence(sequence));
    }
    builder.record(1_000, Some(key), Some(value)).build().to_vec()
}

/// What a fetch from the start yields: the last stable offset and the offsets of the records.
async fn fetched(client: &mut Client, isolation_level: i8) -> (i64, Vec<i64>) {
    let partitions = [FetchPartition {
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    }];
    let topics = [FetchTopic { topic: "t", partitions: partitions[..].into(), ..FetchTopic::default() }];
    let request = FetchRequest {
        replica_id: -1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        isolation_level,
        topics: topics[..].into(),
        ..FetchRequest::default()
    };
    let response = client.call(12, &request).await.expect("an answer");
    let stable = response.responses[0].partitions[0].last_stable_offset;
    let records = values(&response).into_iter().flat_map(|(_, records)| records);
    (stable, records.map(|(offset, _)| offset).collect())
}

async fn latest(client: &mut Client, isolation_level: i8) -> i64 {
    let partitions = [ListOffsetsPartition { partition_index: 0, timestamp: -1, current_leader_epoch: -1 }];
    let topics = [ListOffsetsTopic { name: "t", partitions: partitions[..].into() }];
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level,
        topics: topics[..].into(),
        ..ListOffsetsRequest::default()
    };
    client.call(7, &request).await.expect("an answer").topics[0].partitions[0].offset
}

#[test]
fn readers_of_committed_records_stop_at_the_first_open_transaction() {
    in_world(90, async |world| {
        let client = world.node("client");
        let broker = Broker::start(world.node("broker"), 1, &[]).await;
        create_topic(&mut Client::connect(&client, broker.address).await, "t", 1).await;
        broker.stop().await;
        let (version, commit, epoch) = (0i16.to_be_bytes(), 1i16.to_be_bytes(), 3i32.to_be_bytes());
        let marker = (&[version, commit].concat()[..], [&version[..], &epoch].concat());
        let mut log =
            [batch(0, 0, b"k", b"v"), batch(1, TRANSACTIONAL, b"k", b"v"), batch(2, 0, b"k", b"v")].concat();
        for (stable, committed) in [(1, vec![0]), (4, vec![0, 1, 2, 3])] {
            world.disk("broker").set_content("/data/t-0/00000000000000000000.log", log.clone());
            let broker = Broker::start(world.node("broker"), 1, &[]).await;
            let mut client = Client::connect(&client, broker.address).await;
            let all: Vec<i64> = (0..latest(&mut client, 0).await).collect();
            assert_eq!(fetched(&mut client, 0).await, (stable, all));
            assert_eq!(fetched(&mut client, 1).await, (stable, committed));
            assert_eq!(latest(&mut client, 1).await, stable);
            broker.stop().await;
            log.extend(batch(3, TRANSACTIONAL | CONTROL, marker.0, &marker.1));
        }
    });
}
