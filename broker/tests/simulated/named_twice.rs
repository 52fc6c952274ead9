//! Proves that a request which names a partition twice has the effect that it has in Apache Kafka; each row was asked of one.

use model::{Offset, RecordBatchBuilder, batches};
use net::protocol::RecordsPart;
use net::protocol::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use net::protocol::fetch::{FetchPartition, FetchRequest, FetchTopic};
use net::protocol::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use net::protocol::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use net::protocol::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use crate::harness::{Broker, Client, in_world};
use crate::records::create_topic;

fn batch(records: usize) -> Vec<u8> {
    let builder = RecordBatchBuilder::new(Offset(0));
    (0..records).fold(builder, |builder, _| builder.record(1, None, Some(b"v"))).build().to_vec()
}

/// Produces batches of so many records (0: no batch at all) to partitions; yields topic, partition, code and base offset.
async fn produce(client: &mut Client, topics: &[(&str, &[(i32, usize)])]) -> Vec<(String, i32, i16, i64)> {
    let records: Vec<Vec<u8>> =
        (0..4).map(|count| if count == 0 { vec![0; 3] } else { batch(count) }).collect();
    let data: Vec<Vec<PartitionProduceData<'_>>> = topics
        .iter()
        .map(|(_, partitions)| {
            let data = partitions.iter().map(|(index, count)| PartitionProduceData {
                index: *index,
                records: Some(&records[*count]),
            });
            data.collect()
        })
        .collect();
    let topics: Vec<TopicProduceData<'_>> = topics
        .iter()
        .zip(&data)
        .map(|((name, _), data)| TopicProduceData {
            name,
            partition_data: data[..].into(),
            ..TopicProduceData::default()
        })
        .collect();
    let request =
        ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 1000, topic_data: topics[..].into() };
    let response = client.call(9, &request).await.expect("an answer");
    let mut answers = Vec::new();
    for topic in response.responses {
        for partition in topic.partition_responses {
            answers.push((topic.name.clone(), partition.index, partition.error_code, partition.base_offset));
        }
    }
    answers
}

/// The log start and the offsets of the batches of partition 0 of `t`, which is asked for twice.
async fn batch_ends(client: &mut Client) -> (i64, Vec<i64>) {
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let partitions = [FetchPartition { fetch_offset: 1_000_000, ..partition }, partition];
    let topics = [FetchTopic { topic: "t", partitions: partitions[..].into(), ..FetchTopic::default() }];
    let request = FetchRequest {
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: topics[..].into(),
        ..FetchRequest::default()
    };
    let response = client.call(12, &request).await.expect("an answer");
    let [partition] = &response.responses[0].partitions[..] else { panic!("once: {response:?}") };
    let mut ends = Vec::new();
    for part in partition.records.as_ref().expect("records").parts() {
        let RecordsPart::Memory(bytes) = part else { panic!("decoded from memory") };
        ends.extend(batches(bytes).map(|batch| batch.expect("whole").last_offset().0));
    }
    (partition.log_start_offset, ends)
}

#[test]
fn of_several_batches_for_a_partition_the_last_is_taken() {
    in_world(80, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 2).await;
        let t = |partition, code, offset| ("t".to_owned(), partition, code, offset);
        let answers = produce(&mut client, &[("t", &[(0, 1), (1, 1), (0, 2)])]).await;
        assert_eq!(answers, [t(1, 0, 0), t(0, 0, 0)]);
        let answers = produce(&mut client, &[("t", &[(0, 1)]), ("t", &[(0, 3)])]).await;
        assert_eq!(answers, [t(0, 0, 2)]);
        let answers = produce(&mut client, &[("t", &[(0, 0), (0, 1)])]).await;
        assert_eq!(answers, [t(0, 0, 5)], "the bad one before it is not looked at");
        let answers = produce(&mut client, &[("t", &[(0, 1), (0, 0)])]).await;
        assert_eq!(answers, [t(0, 87, -1)], "the good one before it is not looked at");
        let unknown = ("u".to_owned(), 0, 3, -1);
        let answers = produce(&mut client, &[("t", &[(9, 1), (9, 1)]), ("u", &[(0, 1), (0, 1)])]).await;
        assert_eq!(answers, [t(9, 3, -1), unknown]);
        assert_eq!(batch_ends(&mut client).await, (0, vec![1, 4, 5]));
    });
}

#[test]
fn questions_about_a_partition_are_merged_refused_or_answered_each() {
    in_world(81, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 2).await;
        produce(&mut client, &[("t", &[(0, 3)])]).await;

        let ask = |partition_index| ListOffsetsPartition {
            partition_index,
            timestamp: -1,
            current_leader_epoch: -1,
        };
        let (one, two) = ([ask(0), ask(1)], [ask(0)]);
        let topics = [&one[..], &two[..]]
            .map(|partitions| ListOffsetsTopic { name: "t", partitions: partitions.into() });
        let request = ListOffsetsRequest { topics: topics[..].into(), ..ListOffsetsRequest::default() };
        let answer = client.call(7, &request).await.expect("an answer");
        let answers = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let answers: Vec<_> = answers.map(|one| (one.partition_index, one.error_code, one.offset)).collect();
        assert_eq!(answers, [(1, 0, 0), (0, 42, -1)]);

        let partitions = [0, 0]
            .map(|partition| OffsetForLeaderPartition { partition, ..OffsetForLeaderPartition::default() });
        let topics = [OffsetForLeaderTopic { topic: "t", partitions: partitions[..].into() }];
        let request = OffsetForLeaderEpochRequest {
            topics: topics[..].into(),
            ..OffsetForLeaderEpochRequest::default()
        };
        let answer = client.call(4, &request).await.expect("an answer");
        let ends: Vec<_> =
            answer.topics[0].partitions.iter().map(|one| (one.error_code, one.end_offset)).collect();
        assert_eq!(ends, [(0, 3), (0, 3)]);

        let partitions = [(0, 3), (1, 0), (0, 1)]
            .map(|(partition_index, offset)| DeleteRecordsPartition { partition_index, offset });
        let topics = [DeleteRecordsTopic { name: "t", partitions: partitions[..].into() }];
        let request = DeleteRecordsRequest { topics: topics[..].into(), timeout_ms: 1000 };
        let answer = client.call(2, &request).await.expect("an answer");
        let starts: Vec<_> = answer.topics[0]
            .partitions
            .iter()
            .map(|one| (one.partition_index, one.error_code, one.low_watermark))
            .collect();
        assert_eq!(starts, [(1, 0, 0), (0, 0, 1)], "not 3, which stood there first");
    });
}
