//! Proves that a fetch tells what is wrong with a partition at once when it is new to the client, and then waits like any
//! other: a client that goes on asking must not be answered as fast as it can ask.

use std::time::Duration;

use model::Uuid;
use net::protocol::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use net::protocol::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use runtime::sim::SimEffects;
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, produce};

/// How long the fetches of these tests may wait.
const MAX_WAIT_MS: i32 = 5_000;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const INVALID_REQUEST: i16 = 42;
const UNKNOWN_TOPIC_ID: i16 = 100;
const INCONSISTENT_TOPIC_ID: i16 = 103;

/// A consumer of one connection.
struct Consumer {
    client: Client,
    clients: SimEffects,
    version: i16,
    session_id: i32,
    session_epoch: i32,
}

/// A partition, and the offset that is asked for.
type Wish<'a> = (&'a str, Uuid, i32, i64);

impl Consumer {
    async fn new(clients: &SimEffects, broker: &Broker, version: i16) -> Self {
        let client = Client::connect(clients, broker.address).await;
        Self { client, clients: clients.clone(), version, session_id: 0, session_epoch: 0 }
    }

    /// Fetches within the session, or without one; yields whether that has taken all the time there is, and what was said
    /// of the partitions: topic (by its id's first byte, or its name), partition, code.
    async fn fetch(&mut self, wishes: &[Wish<'_>]) -> (bool, Vec<(i32, i16)>) {
        let before = self.clients.clock().now();
        let response = self.ask(wishes).await;
        let waited = self.clients.clock().now().since(before);
        let told = response.responses.iter().flat_map(|topic| &topic.partitions);
        let told = told.map(|data| (data.partition_index, data.error_code)).collect();
        (waited >= Duration::from_millis(u64::try_from(MAX_WAIT_MS).expect("positive")), told)
    }

    async fn ask(&mut self, wishes: &[Wish<'_>]) -> FetchResponse {
        let partitions: Vec<[FetchPartition; 1]> = wishes
            .iter()
            .map(|(_, _, partition, fetch_offset)| {
                [FetchPartition {
                    partition: *partition,
                    fetch_offset: *fetch_offset,
                    current_leader_epoch: -1,
                    last_fetched_epoch: -1,
                    log_start_offset: -1,
                    partition_max_bytes: 1 << 20,
                    ..FetchPartition::default()
                }]
            })
            .collect();
        let by_id = self.version >= 13;
        let topics: Vec<FetchTopic<'_>> = wishes
            .iter()
            .zip(&partitions)
            .map(|((topic, topic_id, ..), partitions)| FetchTopic {
                topic: if by_id { "" } else { topic },
                topic_id: if by_id { *topic_id } else { Uuid::ZERO },
                partitions: partitions[..].into(),
            })
            .collect();
        let request = FetchRequest {
            max_wait_ms: MAX_WAIT_MS,
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_id: self.session_id,
            session_epoch: self.session_epoch,
            topics: topics[..].into(),
            ..FetchRequest::default()
        };
        let response = self.client.call(self.version, &request).await.expect("an answer");
        self.session_id = response.session_id;
        self.session_epoch = if response.session_id == 0 { 0 } else { self.session_epoch + 1 };
        response
    }
}

pub(crate) async fn delete_topic(client: &mut Client, name: &str) {
    let topics = [DeleteTopicState { name: Some(name), topic_id: Uuid::ZERO }];
    let request = DeleteTopicsRequest {
        topics: topics[..].into(),
        timeout_ms: 10_000,
        ..DeleteTopicsRequest::default()
    };
    let response = client.call(6, &request).await.expect("an answer");
    assert_eq!(response.responses[0].error_code, 0);
}

fn id_of(broker: &Broker, topic: &str) -> Uuid {
    broker.shard.image().topic(topic).expect("created").id
}

#[test]
fn a_topic_that_goes_and_comes_back_is_told_once_each() {
    for (version, recreated) in [(12, 0), (17, INCONSISTENT_TOPIC_ID)] {
        in_world(80, async |world| {
            let broker = Broker::start(world.node("broker"), 2, &[]).await;
            let clients = world.node("client");
            let mut admin = Client::connect(&clients, broker.address).await;
            create_topic(&mut admin, "stays", 1).await;
            create_topic(&mut admin, "goes", 2).await;
            let goes = id_of(&broker, "goes");
            let wishes = [("stays", id_of(&broker, "stays"), 0, 0), ("goes", goes, 1, 0)];
            let mut consumer = Consumer::new(&clients, &broker, version).await;
            assert_eq!(consumer.fetch(&wishes).await, (true, vec![(0, 0), (1, 0)]));
            delete_topic(&mut admin, "goes").await;
            let gone = vec![(1, UNKNOWN_TOPIC_OR_PARTITION)];
            assert_eq!(consumer.fetch(&[]).await, (false, gone.clone()), "version {version}");
            assert_eq!(consumer.fetch(&[]).await, (true, gone.clone()), "it is known");
            assert_eq!(consumer.fetch(&wishes[1..]).await, (true, gone), "asking again changes nothing");
            produce(&mut admin, "stays", &[0], -1, "v").await.expect("an answer");
            let told = vec![(0, 0), (1, UNKNOWN_TOPIC_OR_PARTITION)];
            assert_eq!(consumer.fetch(&[]).await, (false, told), "records are not held up");
            assert!(consumer.fetch(&[("stays", wishes[0].1, 0, 1)]).await.0);
            create_topic(&mut admin, "goes", 2).await;
            let told = vec![(1, recreated)];
            assert_eq!(consumer.fetch(&[]).await, (recreated == 0, told.clone()), "version {version}");
            let told = if recreated == 0 { Vec::new() } else { told };
            assert_eq!(consumer.fetch(&[]).await, (true, told), "version {version}");
        });
    }
}

#[test]
fn a_partition_that_goes_while_a_fetch_waits_is_told_at_once() {
    for (version, in_session) in [(12, true), (12, false), (17, true), (17, false)] {
        in_world(81, async |world| {
            let broker = Broker::start(world.node("broker"), 2, &[]).await;
            let clients = world.node("client");
            let mut admin = Client::connect(&clients, broker.address).await;
            create_topic(&mut admin, "stays", 1).await;
            create_topic(&mut admin, "goes", 1).await;
            let wishes = ["stays", "goes"].map(|topic| (topic, id_of(&broker, topic), 0, 0));
            let mut consumer = Consumer::new(&clients, &broker, version).await;
            if in_session {
                assert!(consumer.fetch(&wishes).await.0);
            } else {
                consumer.session_epoch = -1;
            }
            let deleting = clients.clone();
            clients.spawn(async move {
                deleting.clock().sleep_until(deleting.clock().now() + Duration::from_secs(1)).await;
                delete_topic(&mut admin, "goes").await;
            });
            let (waited, told) = consumer.fetch(if in_session { &[] } else { &wishes }).await;
            let gone = Some(&(0, UNKNOWN_TOPIC_OR_PARTITION));
            assert!(!waited && told.last() == gone, "{version} {in_session} {told:?}");
        });
    }
}

/// Without a session nobody knows what the client has been told.
#[test]
fn an_unknown_partition_among_others_waits_with_them() {
    in_world(82, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let clients = world.node("client");
        let mut admin = Client::connect(&clients, broker.address).await;
        create_topic(&mut admin, "t", 1).await;
        let good = ("t", id_of(&broker, "t"), 0, 0);
        let rows = [
            (12, ("nobody", Uuid::ZERO, 0, 0), UNKNOWN_TOPIC_OR_PARTITION),
            (12, ("t", Uuid::ZERO, 7, 0), UNKNOWN_TOPIC_OR_PARTITION),
            (17, ("", Uuid::from_random([7; 16]), 0, 0), UNKNOWN_TOPIC_ID),
            (17, ("", good.1, 7, 0), UNKNOWN_TOPIC_OR_PARTITION),
        ];
        for (version, bad, code) in rows {
            for epoch in [-1, 0] {
                let mut consumer = Consumer::new(&clients, &broker, version).await;
                consumer.session_epoch = epoch;
                let told = vec![(0, 0), (bad.2, code)];
                assert_eq!(consumer.fetch(&[good, bad]).await, (true, told), "{bad:?}");
                let mut consumer = Consumer::new(&clients, &broker, version).await;
                consumer.session_epoch = epoch;
                assert_eq!(consumer.fetch(&[bad]).await, (false, vec![(bad.2, code)]), "{bad:?} alone");
                if epoch == 0 {
                    assert_eq!(consumer.fetch(&[]).await, (true, vec![(bad.2, code)]), "{bad:?} is known");
                }
            }
        }
    });
}

#[test]
fn an_offset_out_of_range_is_told_once_and_never_keeps_the_broker_busy() {
    in_world(83, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let clients = world.node("client");
        let mut admin = Client::connect(&clients, broker.address).await;
        create_topic(&mut admin, "t", 2).await;
        let id = id_of(&broker, "t");
        produce(&mut admin, "t", &[0], -1, "v").await.expect("an answer");
        let mut consumer = Consumer::new(&clients, &broker, 12).await;
        let told = vec![(0, OFFSET_OUT_OF_RANGE), (1, 0)];
        assert_eq!(consumer.fetch(&[("t", id, 0, 9), ("t", id, 1, 0)]).await, (false, told));
        let told = vec![(0, OFFSET_OUT_OF_RANGE)];
        assert_eq!(consumer.fetch(&[]).await, (true, told.clone()), "it is known");
        assert_eq!(consumer.fetch(&[("t", id, 0, 8)]).await, (false, told), "another offset");
        assert_eq!(consumer.fetch(&[("t", id, 0, 0)]).await, (false, vec![(0, 0)]), "there are records");
    });
}

#[test]
fn a_fetch_of_too_many_partitions_is_refused_before_they_are_looked_at() {
    in_world(84, async |world| {
        let settings = [("millrace.memory.per.shard.bytes", "16777216")];
        let broker = Broker::start(world.node("broker"), 1, &settings).await;
        let mut consumer = Consumer::new(&world.node("client"), &broker, 12).await;
        let many = |count| (0..count).map(|partition| ("t", Uuid::ZERO, partition, 0)).collect::<Vec<_>>();
        let response = consumer.ask(&many(4_000)).await;
        assert_eq!((response.error_code, response.responses.len()), (0, 1));
        assert_eq!(response.session_id, 0, "a session of so many would take too much memory");
        let response = consumer.ask(&many(8_000)).await;
        assert_eq!((response.error_code, response.responses.len()), (INVALID_REQUEST, 0));
    });
}
