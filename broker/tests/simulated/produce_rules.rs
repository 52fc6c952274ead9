//! Proves that Produce accepts and refuses what Apache Kafka 4.3.1 does, with its codes; each row was asked of one.

use model::{BatchError, Offset, RecordBatch, RecordBatchBuilder};
use net::protocol::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use net::protocol::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use net::protocol::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};

async fn create(client: &mut Client, name: &str, key: &str, value: &str) {
    let configs = [CreatableTopicConfig { name: key, value: Some(value) }];
    let topics = [CreatableTopic {
        name,
        num_partitions: 1,
        replication_factor: 1,
        configs: configs[..].into(),
        ..CreatableTopic::default()
    }];
    let request = CreateTopicsRequest { topics: topics[..].into(), ..CreateTopicsRequest::default() };
    let response = client.call(7, &request).await.expect("an answer");
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
}

async fn produce(
    client: &mut Client,
    topic: &str,
    transactional_id: Option<&str>,
    records: &[u8],
) -> PartitionProduceResponse {
    let data = [PartitionProduceData { index: 0, records: Some(records) }];
    let topics =
        [TopicProduceData { name: topic, partition_data: data[..].into(), ..TopicProduceData::default() }];
    let request =
        ProduceRequest { transactional_id, acks: -1, timeout_ms: 1000, topic_data: topics[..].into() };
    let mut response = client.call(9, &request).await.expect("an answer");
    response.responses.remove(0).partition_responses.remove(0)
}

/// Overwrites bytes of a batch and makes the checksum right again.
fn patched(batch: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = batch.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    if let Err(BatchError::Crc { computed, .. }) = RecordBatch::parse(&bytes).expect("whole").verify_crc() {
        bytes[17..21].copy_from_slice(&computed.to_be_bytes());
    }
    bytes
}

#[test]
fn batches_are_accepted_and_refused_as_by_kafka() {
    in_world(60, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let clients = world.node("client");
        let mut client = Client::connect(&clients, broker.address).await;
        create(&mut client, "plain", "message.timestamp.type", "CreateTime").await;
        create(&mut client, "stamped", "message.timestamp.type", "LogAppendTime").await;
        create(&mut client, "compacted", "cleanup.policy", "compact").await;
        let now = clients.clock().unix_ms();
        let record = |time| RecordBatchBuilder::new(Offset(0)).record(time, Some(b"k"), Some(b"v"));
        let good = record(now).build().to_vec();
        let late = now + 100_000_000;
        let keyless = record(now).record(now, None, Some(b"v")).build().to_vec();
        let transactional = patched(&good, 22, &[0x10]);
        // Topic, transactional id, records, code, and the index of the record that is to blame.
        let rows = [
            ("plain", None, good.clone(), 0, None),
            ("plain", None, patched(&good, 35, &(now - 5000).to_be_bytes()), 0, None),
            ("plain", None, patched(&good, 22, &[0x08]), 0, None),
            ("stamped", None, patched(&good, 22, &[0x08]), 32, Some(0)),
            ("plain", None, record(late).build().to_vec(), 32, Some(0)),
            ("plain", None, record(now).record(late, None, None).build().to_vec(), 32, None),
            ("plain", None, [&good[..], &good[..30]].concat(), 0, None),
            ("plain", None, [&good[..], &good[..]].concat(), 87, None),
            ("plain", None, good[..30].to_vec(), 87, None),
            ("plain", None, patched(&good, 22, &[0x20]), 87, None),
            ("compacted", None, good.clone(), 0, None),
            ("compacted", None, keyless.clone(), 87, Some(1)),
            ("plain", None, keyless, 0, None),
            ("plain", None, transactional.clone(), 53, None),
            // There are no transactions yet; Kafka would find the partition missing in this one.
            ("plain", Some("id"), transactional, 48, None),
        ];
        for (row, (topic, id, records, code, blamed)) in rows.iter().enumerate() {
            let answer = produce(&mut client, topic, *id, records).await;
            assert_eq!(answer.error_code, *code, "row {row}: {answer:?}");
            let indexes: Vec<_> = answer.record_errors.iter().map(|error| error.batch_index).collect();
            assert_eq!(indexes, Vec::from_iter(*blamed), "row {row}: {answer:?}");
        }
    });
}

#[test]
fn a_batch_that_hides_its_time_is_found_by_it() {
    in_world(61, async |world| {
        let broker = Broker::start(world.node("broker"), 1, &[]).await;
        let clients = world.node("client");
        let mut client = Client::connect(&clients, broker.address).await;
        create(&mut client, "t", "message.timestamp.type", "CreateTime").await;
        let now = clients.clock().unix_ms();
        let batch = RecordBatchBuilder::new(Offset(0)).record(now, None, None).build();
        assert_eq!(produce(&mut client, "t", None, &patched(&batch, 35, &[0xff; 8])).await.error_code, 0);
        let partitions =
            [ListOffsetsPartition { partition_index: 0, timestamp: now, current_leader_epoch: -1 }];
        let topics = [ListOffsetsTopic { name: "t", partitions: partitions[..].into() }];
        let request = ListOffsetsRequest { topics: topics[..].into(), ..ListOffsetsRequest::default() };
        let response = client.call(7, &request).await.expect("an answer");
        let found = &response.topics[0].partitions[0];
        assert_eq!((found.error_code, found.offset, found.timestamp), (0, 0, now));
    });
}
