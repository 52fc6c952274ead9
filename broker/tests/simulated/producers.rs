//! Proves that DescribeProducers tells what partitions remember of their producers, and no more than there is room for.

use model::{Offset, ProducerEpoch, ProducerId, RecordBatchBuilder, Sequence};
use net::protocol::ErrorCode;
use net::protocol::describe_producers::{DescribeProducersRequest, TopicRequest};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, produced, send_produce};

fn batch_of(producer: i64, sequence: i32) -> Vec<u8> {
    RecordBatchBuilder::new(Offset(0))
        .producer(ProducerId(producer), ProducerEpoch(3), Sequence(sequence))
        .record(1_000 + i64::from(sequence), None, Some(b"v"))
        .build()
        .to_vec()
}

/// Produces batches of a producer to partition 0 of `t`, one by one.
async fn write(client: &mut Client, producer: i64, sequences: std::ops::Range<i32>) {
    for sequence in sequences {
        send_produce(client, "t", &[0], -1, &batch_of(producer, sequence)).await.expect("is sent");
        assert_eq!(produced(client).await.expect("an answer")[0].0, 0);
    }
}

/// Error code and number of producers of each partition.
async fn told(client: &mut Client, topic: &str, partitions: &[i32]) -> Vec<(i16, usize)> {
    let topics = [TopicRequest { name: topic, partition_indexes: partitions.into() }];
    let request = DescribeProducersRequest { topics: topics[..].into() };
    let response = client.call(0, &request).await.expect("an answer");
    let partitions = response.topics[0].partitions.iter();
    partitions.map(|it| (it.error_code, it.active_producers.len())).collect()
}

#[test]
fn producers_are_told_with_their_last_batch() {
    in_world(98, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 2).await;
        write(&mut client, 11, 0..3).await;
        write(&mut client, 7, 0..1).await;
        let topics = [TopicRequest { name: "t", partition_indexes: [0, 1][..].into() }];
        let request = DescribeProducersRequest { topics: topics[..].into() };
        let response = client.call(0, &request).await.expect("an answer");
        let partitions = &response.topics[0].partitions;
        let producers = partitions[0].active_producers.iter();
        let producers: Vec<_> = producers
            .map(|it| (it.producer_id, it.producer_epoch, it.last_sequence, it.last_timestamp))
            .collect();
        assert_eq!(producers, [(7, 3, 0, 1_000), (11, 3, 2, 1_002)]);
        let first = &partitions[0].active_producers[0];
        assert_eq!((first.coordinator_epoch, first.current_txn_start_offset), (-1, -1));
        assert!(partitions[1].active_producers.is_empty());

        let unknown = (ErrorCode::UnknownTopicOrPartition.code(), 0);
        assert_eq!(told(&mut client, "t", &[0, 2]).await, [(0, 2), unknown]);
        assert_eq!(told(&mut client, "gone", &[0]).await, [unknown]);
        let invalid = (ErrorCode::InvalidTopicException.code(), 0);
        assert_eq!(told(&mut client, "no/name", &[0, 1]).await, [invalid, invalid]);
        broker.stop().await;
    });
}

#[test]
fn an_answer_has_room_for_so_many() {
    // 4 MiB of memory: room for what is built of 8,192 producers at most.
    in_world(99, async |world| {
        let settings =
            [("millrace.memory.per.shard.bytes", "16777216"), ("socket.request.max.bytes", "1048576")];
        let broker = Broker::start(world.node("broker"), 1, &settings).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 1).await;
        for producer in 0..100 {
            write(&mut client, producer, 0..1).await;
        }
        let room = broker.shard.request_memory.building_bytes_max() / 128;
        let found = told(&mut client, "t", &[0; 1_000]).await;
        let whole = found.iter().take_while(|it| **it == (0, 100)).count();
        assert_eq!(whole, room / 100, "of {room}");
        assert_eq!(found[whole..].to_vec(), vec![(ErrorCode::PolicyViolation.code(), 0); 1_000 - whole]);
        broker.stop().await;
    });
}
