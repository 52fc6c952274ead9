//! Proves that Produce accepts and refuses what Apache Kafka 4.3.1 does, with its codes; each row was asked of one,
//! or of 4.4.0. Where Kafka accepts what consumers break on, or has no code for it, Millrace says INVALID_RECORD.

use model::{BatchError, Offset, RecordBatch, RecordBatchBuilder};
use net::protocol::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use net::protocol::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use net::protocol::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};
use crate::records::{produced, send_produce};

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
        let two = record(now).record(now, Some(b"k"), Some(b"v")).build().to_vec();
        let counted = |delta: i32, count: i32| {
            patched(&patched(&two, 23, &delta.to_be_bytes()), 57, &count.to_be_bytes())
        };
        // Length, attributes, timestamp, offset: the second record's offset is the byte four places behind its start.
        let second = RecordBatch::HEADER_SIZE + (two.len() - RecordBatch::HEADER_SIZE) / 2;
        let transactional = patched(&good, 22, &[0x10]);
        // Topic, transactional id, records, code, and the index of the record that is to blame.
        let rows = [
            ("plain", None, good.clone(), 0, None),
            ("plain", None, patched(&good, 35, &(now - 5000).to_be_bytes()), 0, None),
            ("plain", None, patched(&good, 22, &[0x08]), 0, None),
            ("stamped", None, patched(&good, 22, &[0x08]), 32, Some(0)),
            ("plain", None, record(late).build().to_vec(), 32, Some(0)),
            ("plain", None, record(now).record(late, None, None).build().to_vec(), 32, Some(1)),
            (
                "plain",
                None,
                patched(record(now).record(late, None, None).build().as_ref(), 35, &now.to_be_bytes()),
                32,
                Some(1),
            ),
            ("stamped", None, record(now).record(late, None, None).build().to_vec(), 0, None),
            ("plain", None, patched(&good, RecordBatch::HEADER_SIZE, &[0xa5; 8]), 87, None),
            ("plain", None, counted(2, 3), 87, None),
            ("plain", None, counted(0, 1), 87, None),
            ("plain", None, counted(i32::MAX - 1, i32::MAX), 87, None),
            ("plain", None, counted(i32::MAX - 1, 2), 87, None),
            ("plain", None, patched(&two, second + 3, &[0]), 87, None),
            ("plain", None, two.clone(), 0, None),
            ("plain", None, patched(&good, good.len() - 1, &[2]), 87, None),
            ("plain", None, patched(&good, 22, &[1]), 87, None),
            ("plain", None, patched(&good, 22, &[2]), 87, None),
            ("plain", None, patched(&good, 22, &[3]), 87, None),
            ("plain", None, patched(&good, 22, &[4]), 87, None),
            ("plain", None, patched(&good, 22, &[5]), 76, None),
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
        let now = clients.clock().unix_ms() - 10_000;
        let batch =
            RecordBatchBuilder::new(Offset(0)).record(now, None, None).record(now + 1_000, None, None);
        let batch = batch.build();
        for claim in [now, -1, now + 5_000] {
            let sent = patched(&batch, 35, &claim.to_be_bytes());
            assert_eq!(produce(&mut client, "t", None, &sent).await.error_code, 0);
        }
        for (timestamp, offset) in [(now, 0), (now + 1, 1), (now + 1_000, 1), (now + 1_001, -1)] {
            let partitions =
                [ListOffsetsPartition { partition_index: 0, timestamp, current_leader_epoch: -1 }];
            let topics = [ListOffsetsTopic { name: "t", partitions: partitions[..].into() }];
            let request = ListOffsetsRequest { topics: topics[..].into(), ..ListOffsetsRequest::default() };
            let response = client.call(7, &request).await.expect("an answer");
            let found = &response.topics[0].partitions[0];
            assert_eq!((found.error_code, found.offset), (0, offset), "{timestamp}");
        }
    });
}

#[test]
fn all_records_that_break_a_rule_are_named() {
    in_world(62, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let clients = world.node("client");
        let mut client = Client::connect(&clients, broker.address).await;
        create(&mut client, "t", "cleanup.policy", "compact").await;
        let now = clients.clock().unix_ms();
        let key = |present: bool| present.then_some(&b"k"[..]);
        let batch = |late: i64| {
            [true, false, true, false]
                .into_iter()
                .fold(RecordBatchBuilder::new(Offset(0)), |batch, keyed| batch.record(now, key(keyed), None))
                .record(now + late, Some(b"k"), None)
                .build()
        };
        for (late, code, expected) in [(0, 87, &[1, 3][..]), (100_000_000, 32, &[1, 3, 4])] {
            let answer = produce(&mut client, "t", None, &batch(late)).await;
            let indexes: Vec<_> = answer.record_errors.iter().map(|error| error.batch_index).collect();
            assert_eq!((answer.error_code, &indexes[..]), (code, expected), "{answer:?}");
            assert!(answer.record_errors.iter().all(|error| error.batch_index_error_message.is_some()));
        }
    });
}

#[test]
fn a_batch_that_takes_long_to_check_keeps_its_place() {
    in_world(63, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let clients = world.node("client");
        let mut client = Client::connect(&clients, broker.address).await;
        create(&mut client, "t", "max.message.bytes", "10000000").await;
        let now = clients.clock().unix_ms();
        let large = RecordBatchBuilder::new(Offset(0)).record(now, None, Some(&vec![7; 3 << 20])).build();
        let small = RecordBatchBuilder::new(Offset(0)).record(now, None, Some(b"small")).build();
        for batch in [&large, &small, &large, &small] {
            send_produce(&mut client, "t", &[0], -1, batch).await.expect("sent");
        }
        for expected in 0..4 {
            assert_eq!(produced(&mut client).await.expect("an answer"), [(0, expected)]);
        }
    });
}

#[test]
fn headers_are_believed_where_the_setting_says_so() {
    in_world(64, async |world| {
        let settings = [("millrace.produce.validation", "header")];
        let broker = Broker::start(world.node("broker"), 1, &settings).await;
        let clients = world.node("client");
        let mut client = Client::connect(&clients, broker.address).await;
        create(&mut client, "t", "message.timestamp.type", "CreateTime").await;
        let now = clients.clock().unix_ms();
        let good = RecordBatchBuilder::new(Offset(0)).record(now, None, Some(b"v")).build();
        let garbage = patched(&good, RecordBatch::HEADER_SIZE, &[0xa5; 8]);
        assert_eq!(produce(&mut client, "t", None, &garbage).await.error_code, 0);
        let late = patched(&good, 35, &(now + 100_000_000).to_be_bytes());
        assert_eq!(produce(&mut client, "t", None, &late).await.error_code, 32);
    });
}
