//! Proves that what the shards have counted for clients reaches /metrics, topic by topic and, if asked for, partition by
//! partition.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use broker::admin::{ShardStats, StatsBoard, StatsSource};
use broker::node::stats_publisher::publish;
use model::{Offset, RecordBatchBuilder};
use net::protocol::delete_topics::DeleteTopicsRequest;
use runtime::executor::ExecutorStats;
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, fetch, produced, send_produce};

/// What is published by now.
async fn published(broker: &Broker, board: &StatsBoard) -> ShardStats {
    let clock = broker.shard.effects.clock();
    clock.sleep_until(clock.now() + Duration::from_secs(2)).await;
    board.snapshot().remove(0)
}

#[test]
fn topics_and_partitions_are_told_with_what_clients_did_to_them() {
    in_world(113, async |world| {
        let settings = [("millrace.metrics.partitions.max", "3")];
        let broker = Broker::start(world.node("broker"), 1, &settings).await;
        let board = Arc::new(StatsBoard::new(1));
        let publishing = publish(Rc::clone(&broker.shard), 0, Arc::clone(&board), ExecutorStats::default);
        broker.shard.effects.spawn(publishing);
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "b", 2).await;
        create_topic(&mut client, "a", 2).await;
        let batch = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(b"value")).build();
        for partitions in [&[0, 1][..], &[1]] {
            send_produce(&mut client, "b", partitions, -1, &batch).await.expect("sent");
            produced(&mut client).await.expect("appended");
        }
        fetch(&mut client, "b", &[(1, 0)], 1, Duration::ZERO).await.expect("an answer");

        let stats = published(&broker, &board).await;
        let size = batch.len() as u64;
        let topics: Vec<_> = stats
            .topics
            .iter()
            .map(|topic| (&*topic.topic, topic.produced_bytes / size, topic.fetched_bytes / size))
            .collect();
        assert_eq!(topics, [("a", 0, 0), ("b", 3, 2)]);
        let partitions: Vec<_> = stats
            .partitions
            .iter()
            .map(|one| (&*one.topic, one.partition, one.log_start, one.high_watermark, one.log_end))
            .collect();
        assert_eq!(partitions, [("a", 0, 0, 0, 0), ("a", 1, 0, 0, 0), ("b", 0, 0, 1, 1)], "the first three");
        assert_eq!(stats.partitions_max, 3);

        send_produce(&mut client, "b", &[0], -1, &batch).await.expect("sent");
        produced(&mut client).await.expect("appended");
        let stats = published(&broker, &board).await;
        assert_eq!(stats.topics[1].produced_bytes, 4 * size, "it goes on where it was");

        fetch(&mut client, "b", &[(1, 0)], 1_000_000, Duration::from_millis(500)).await.expect("an answer");
        let stats = published(&broker, &board).await;
        assert_eq!(stats.topics[1].fetched_bytes, 4 * size, "what was read again and again is answered once");

        let names = ["b"];
        let request = DeleteTopicsRequest {
            topic_names: names[..].into(),
            timeout_ms: 5_000,
            ..DeleteTopicsRequest::default()
        };
        client.call(5, &request).await.expect("an answer");
        create_topic(&mut client, "b", 1).await;
        let stats = published(&broker, &board).await;
        assert_eq!(stats.topics[1].produced_bytes, 0, "another topic of this name");
        broker.stop().await;
    });
}
