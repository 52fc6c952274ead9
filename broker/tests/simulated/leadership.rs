//! Proves that a broker leads only what the metadata says it leads, from the moment at which an image says so: everybody who
//! asks or waits is sent to look for the leader, and epochs that do not fit are told as Kafka does. The images are made by
//! hand, since there is no second broker yet.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::metadata::{ImageBuilder, MetadataDelta, MetadataRecord, PartitionImage};
use bytes::Bytes;
use model::{
    LeaderEpoch, NodeId, Offset, PartitionId, RecordBatch, RecordBatchBuilder, TopicPartition, Uuid,
};
use net::protocol::create_topics::{CreatableTopic, CreateTopicsRequest};
use net::protocol::fetch::{FetchPartition, FetchRequest, FetchTopic, LeaderIdAndEpoch};
use net::protocol::find_coordinator::FindCoordinatorRequest;
use net::protocol::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use net::protocol::metadata::MetadataRequest;
use net::protocol::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use net::protocol::records::partition_record::PartitionRecord;
use net::protocol::{ErrorCode, encode_metadata};
use runtime::Clock;
use runtime::sim::{Fault, FaultKind, OpKind, SimEffects, SimWorld};
use storage::{AppendOrigin, LogConfig, LogDir, LogDirOptions, LogManager, LogManagerOptions};

use crate::groups::find;
use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, fetch, produce, produced, send_fetch, send_produce, values};

const ME: i32 = 1;
const OTHER: i32 = 2;

/// A partition as a controller of several brokers would have it: leader, leader epoch, partition epoch.
#[derive(Clone, Copy)]
struct Led(i32, i32, i32);

fn record(topic_id: Uuid, replicas: &[i32], isr: &[i32], led: Led) -> Bytes {
    let record = PartitionRecord {
        partition_id: 0,
        topic_id,
        replicas: replicas.to_vec(),
        isr: isr.to_vec(),
        leader: led.0,
        leader_epoch: led.1,
        partition_epoch: led.2,
        ..PartitionRecord::default()
    };
    encode_metadata(&record, 0).expect("encodes")
}

fn batch(record: &Bytes) -> Bytes {
    RecordBatchBuilder::new(Offset(0)).record(0, None, Some(record)).build()
}

/// As [`record`], of a partition that this broker alone has.
fn record_of(topic_id: Uuid, partition: i32, leader_epoch: i32) -> MetadataRecord {
    let image = PartitionImage {
        replicas: vec![NodeId(ME)],
        isr: vec![NodeId(ME)],
        leader: NodeId(ME),
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch: leader_epoch,
    };
    MetadataRecord::Partition { topic_id, partition: PartitionId(partition), image }
}

/// Appends to the metadata log of a broker that does not run.
async fn append_to_metadata(effects: &SimEffects, records: &[Bytes]) {
    let options = LogDirOptions { node_id: NodeId(ME), cluster_id: None, lock: None };
    let dir = LogDir::open(effects, Path::new("/data"), options).await.expect("opens");
    let logs = LogManager::open(effects.clone(), dir, LogManagerOptions::default()).await.expect("opens");
    let name = TopicPartition::new("__cluster_metadata", PartitionId(0));
    let id = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let log = logs.open_log(name, id, LogConfig::default()).await.expect("opens");
    for record in records {
        log.append(&batch(record), AppendOrigin::Metadata, LeaderEpoch(0), 0).expect("appended");
    }
    log.flush().await.expect("durable");
    logs.close().await.expect("closes");
}

struct World {
    world: SimWorld,
    broker: Broker,
    client: Client,
    topic_id: Uuid,
}

impl World {
    /// A broker on one shard with a topic "t" of one partition that has one record.
    async fn new(world: SimWorld) -> Self {
        let broker = Broker::start(world.node("broker"), 1, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 1).await;
        assert_eq!(produce(&mut client, "t", &[0], -1, "first").await, Some(vec![(0, 0)]));
        let topic_id = broker.shard.image().topic("t").expect("created").id;
        Self { world, broker, client, topic_id }
    }

    /// Publishes an image in which the partition is led so. Does not wait for logs to follow.
    fn publish(&self, isr: &[i32], led: Led) {
        self.publish_record(&record(self.topic_id, &[ME, OTHER], isr, led));
    }

    fn publish_record(&self, record: &Bytes) {
        let (shard, bytes) = (&self.broker.shard, batch(record));
        let mut image = ImageBuilder::from_image(&shard.image());
        image.apply_batch(&RecordBatch::parse(&bytes).expect("a batch")).expect("applies");
        let image = image.build();
        let delta = MetadataDelta::everything(&image);
        drop(shard.apply_image(Arc::new(image), &delta));
    }

    /// Begins to create a topic of one partition, and waits until an image has it.
    async fn begin_to_create(&self, name: &str) -> Uuid {
        let mut admin = Client::connect(&self.world.node("client"), self.broker.address).await;
        let topics =
            [CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() }];
        let request =
            CreateTopicsRequest { topics: topics[..].into(), timeout_ms: 60_000, validate_only: false };
        admin.send(7, &request).await.expect("sent");
        loop {
            if let Some(topic) = self.broker.shard.image().topic(name) {
                return topic.id;
            }
            self.pause(Duration::from_millis(10)).await;
        }
    }

    async fn pause(&self, time: Duration) {
        let clock = self.world.clock();
        clock.sleep_until(clock.now() + time).await;
    }

    fn is_hosted(&self, topic_id: Uuid) -> bool {
        self.broker.shard.replicas.hosted(topic_id, PartitionId(0)).is_some()
    }

    /// The error of a fetch by somebody who knows of this leader epoch, and the leader that it names.
    async fn fetched(&mut self, epoch: i32) -> (i16, LeaderIdAndEpoch) {
        let partitions = [FetchPartition {
            current_leader_epoch: epoch,
            last_fetched_epoch: -1,
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        }];
        let topics = [FetchTopic { topic: "t", partitions: partitions[..].into(), ..FetchTopic::default() }];
        let request = FetchRequest {
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: topics[..].into(),
            ..FetchRequest::default()
        };
        let mut response = self.client.call(12, &request).await.expect("an answer");
        let answer = response.responses.remove(0).partitions.remove(0);
        (answer.error_code, answer.current_leader)
    }

    async fn listed(&mut self, epoch: i32) -> i16 {
        let partitions = [ListOffsetsPartition {
            current_leader_epoch: epoch,
            timestamp: -1,
            ..ListOffsetsPartition::default()
        }];
        let topics = [ListOffsetsTopic { name: "t", partitions: partitions[..].into() }];
        let request = ListOffsetsRequest { topics: topics[..].into(), ..ListOffsetsRequest::default() };
        self.client.call(4, &request).await.expect("an answer").topics[0].partitions[0].error_code
    }

    async fn epoch_end(&mut self, epoch: i32) -> i16 {
        let partitions = [OffsetForLeaderPartition {
            current_leader_epoch: epoch,
            leader_epoch: 0,
            ..OffsetForLeaderPartition::default()
        }];
        let topics = [OffsetForLeaderTopic { topic: "t", partitions: partitions[..].into() }];
        let request = OffsetForLeaderEpochRequest {
            topics: topics[..].into(),
            ..OffsetForLeaderEpochRequest::default()
        };
        self.client.call(4, &request).await.expect("an answer").topics[0].partitions[0].error_code
    }

    async fn produced(&mut self) -> i16 {
        produce(&mut self.client, "t", &[0], 1, "more").await.expect("an answer")[0].0
    }
}

const OK: i16 = ErrorCode::None.code();
const NOT_LEADER: i16 = ErrorCode::NotLeaderOrFollower.code();
const FENCED: i16 = ErrorCode::FencedLeaderEpoch.code();
const UNKNOWN: i16 = ErrorCode::UnknownLeaderEpoch.code();
const STORAGE: i16 = ErrorCode::KafkaStorageError.code();

#[test]
fn who_does_not_lead_any_more_sends_everybody_away_and_leads_again_when_told() {
    in_world(120, async |world| {
        let mut it = World::new(world).await;
        it.publish(&[ME, OTHER], Led(OTHER, 1, 1));
        let other = LeaderIdAndEpoch { leader_id: OTHER, leader_epoch: 1 };
        assert_eq!(it.produced().await, NOT_LEADER);
        assert_eq!(it.fetched(-1).await, (NOT_LEADER, other));
        assert_eq!((it.listed(-1).await, it.epoch_end(-1).await), (NOT_LEADER, NOT_LEADER));
        // An image that comes late, in which this node still led.
        it.publish(&[ME, OTHER], Led(ME, 0, 0));
        assert_eq!(it.produced().await, NOT_LEADER);
        it.publish(&[ME], Led(ME, 2, 2));
        let partition = it.broker.shard.replicas.hosted(it.topic_id, PartitionId(0)).expect("hosted");
        assert_eq!(
            partition.log.latest_epoch(),
            Some(LeaderEpoch(2)),
            "its start is known before its first record"
        );
        assert_eq!(it.produced().await, OK);
        it.broker.stop().await;
    });
}

#[test]
fn epochs_that_do_not_fit_are_told_before_anything_else() {
    in_world(121, async |world| {
        let mut it = World::new(world).await;
        for (leader, fits) in [(ME, OK), (OTHER, NOT_LEADER)] {
            let epoch = it.broker.shard.replicas.hosted(it.topic_id, PartitionId(0)).expect("hosted");
            let epoch = epoch.leader_epoch().0 + 1;
            it.publish(&[ME, OTHER], Led(leader, epoch, epoch));
            for (known, expect) in [(epoch - 1, FENCED), (epoch, fits), (epoch + 1, UNKNOWN)] {
                assert_eq!(it.fetched(known).await.0, expect, "{leader} {known}");
                assert_eq!(it.listed(known).await, expect, "{leader} {known}");
                assert_eq!(it.epoch_end(known).await, expect, "{leader} {known}");
            }
        }
        it.broker.stop().await;
    });
}

/// Waits that began before a new epoch end with it, whoever leads, while the disk takes the write in its own time.
#[test]
fn whoever_waits_is_fenced_by_a_new_epoch_at_once() {
    for leader in [ME, OTHER] {
        in_world(122, async |world| {
            let it = World::new(world).await;
            let clients = it.world.node("client");
            let mut producers = Vec::new();
            let slow = FaultKind::Slow(Duration::from_secs(10));
            it.world.disk("broker").inject(Fault::new(OpKind::Write, slow));
            it.world.disk("broker").inject(Fault::new(OpKind::Sync, slow));
            for acks in [1, -1] {
                let mut producer = Client::connect(&clients, it.broker.address).await;
                let waiting = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(b"slow")).build();
                send_produce(&mut producer, "t", &[0], acks, &waiting).await.expect("sent");
                producers.push(producer);
            }
            let mut consumer = Client::connect(&clients, it.broker.address).await;
            send_fetch(&mut consumer, "t", &[(0, 1)], 1, Duration::from_secs(9)).await.expect("sent");
            let clock = it.world.clock();
            clock.sleep_until(clock.now() + Duration::from_secs(1)).await;
            let before = clock.now();
            it.publish(&[ME, OTHER], Led(leader, 1, 1));
            for producer in &mut producers {
                assert_eq!(produced(producer).await.expect("an answer")[0].0, NOT_LEADER, "{leader}");
            }
            assert!(clock.now().since(before) < Duration::from_millis(100), "{leader}");
            if leader == OTHER {
                let response: net::protocol::fetch::FetchResponse =
                    consumer.response(12).await.expect("an answer");
                assert_eq!(response.responses[0].partitions[0].error_code, NOT_LEADER);
                assert!(clock.now().since(before) < Duration::from_millis(100));
            }
            it.world.disk("broker").clear_faults();
            it.broker.stop().await;
        });
    }
}

/// A role that waited for logs to be created would be taken seconds too late.
#[test]
fn roles_change_before_logs_that_are_still_being_created() {
    in_world(123, async |world| {
        let mut it = World::new(world).await;
        let slow = FaultKind::Slow(Duration::from_secs(5));
        it.world.disk("broker").inject(Fault::new(OpKind::Meta, slow).on("/slow-"));
        let slow = it.begin_to_create("slow").await;
        let clock = it.world.clock();
        let before = clock.now();
        it.publish(&[ME, OTHER], Led(OTHER, 1, 1));
        assert_eq!(it.produced().await, NOT_LEADER);
        assert!(clock.now().since(before) < Duration::from_millis(100));
        // What is being created takes the role that it has by then.
        it.publish_record(&record(slow, &[ME, OTHER], &[ME, OTHER], Led(OTHER, 1, 1)));
        assert!(!it.is_hosted(slow));
        it.world.disk("broker").clear_faults();
        it.pause(Duration::from_secs(20)).await;
        assert!(it.is_hosted(slow));
        assert_eq!(produce(&mut it.client, "slow", &[0], 1, "v").await, Some(vec![(NOT_LEADER, -1)]));
        it.broker.stop().await;
    });
}

#[test]
fn what_could_not_be_opened_is_forgotten_when_its_replica_goes_elsewhere() {
    in_world(127, async |world| {
        let mut it = World::new(world).await;
        it.world.disk("broker").inject(Fault::new(OpKind::Write, FaultKind::NoSpace).on("/full-0/"));
        let full = it.begin_to_create("full").await;
        it.pause(Duration::from_secs(20)).await;
        assert_eq!(it.broker.shard.replicas.offline().count(), 1);
        assert_eq!(produce(&mut it.client, "full", &[0], 1, "v").await, Some(vec![(STORAGE, -1)]));
        it.publish_record(&record(full, &[OTHER], &[OTHER], Led(OTHER, 1, 1)));
        assert_eq!(produce(&mut it.client, "full", &[0], 1, "v").await, Some(vec![(NOT_LEADER, -1)]));
        it.pause(Duration::from_secs(1)).await;
        assert!(it.broker.shard.replicas.offline().is_empty());
        it.world.disk("broker").clear_faults();
        it.pause(Duration::from_secs(20)).await;
        assert!(!it.is_hosted(full), "nobody tries it again");
        it.broker.stop().await;
    });
}

#[test]
fn a_record_that_contradicts_itself_takes_the_partition_offline_and_nothing_else() {
    in_world(124, async |world| {
        let mut it = World::new(world).await;
        create_topic(&mut it.client, "other", 1).await;
        it.publish(&[OTHER], Led(ME, 1, 1));
        assert_eq!(it.produced().await, STORAGE);
        assert_eq!(it.fetched(-1).await.0, STORAGE);
        let found = it.broker.shard.replicas.offline().some(10);
        assert_eq!((found.len(), found[0].is_readable), (1, false), "{found:?}");
        assert!(found[0].reason.contains("not in its own ISR"), "{found:?}");
        assert_eq!(produce(&mut it.client, "other", &[0], -1, "v").await, Some(vec![(0, 0)]));
        it.publish(&[ME], Led(ME, 2, 2));
        assert!(it.broker.shard.replicas.offline().is_empty());
        assert_eq!(it.produced().await, OK);
        it.broker.stop().await;
    });
}

/// The image has new epochs for all partitions, but the delta names one.
#[test]
fn only_partitions_that_the_delta_names_are_looked_at() {
    in_world(12, async |world| {
        let broker = Broker::start(world.node("broker"), 1, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        create_topic(&mut client, "t", 2).await;
        create_topic(&mut client, "u", 1).await;
        let (shard, image) = (&broker.shard, broker.shard.image());
        let id = |name| image.topic(name).expect("created").id;
        let changed = record_of(id("t"), 1, 5);
        let delta = MetadataDelta::of(&image, std::slice::from_ref(&changed));
        let after = image.with(&[record_of(id("t"), 0, 5), changed, record_of(id("u"), 0, 5)]);
        shard.apply_image(Arc::new(after), &delta).await;
        let epoch = |name, partition| {
            let hosted = shard.replicas.hosted(id(name), PartitionId(partition)).expect("hosted");
            hosted.leader_epoch().0
        };
        assert_eq!([epoch("t", 0), epoch("t", 1), epoch("u", 0)], [0, 5, 0]);
        broker.stop().await;
    });
}

#[test]
fn a_start_opens_what_has_a_replica_here_and_leads_what_it_is_to_lead() {
    in_world(125, async |world| {
        let it = World::new(world).await;
        let World { world, broker, mut client, topic_id: t } = it;
        create_topic(&mut client, "elsewhere", 1).await;
        create_topic(&mut client, "followed", 1).await;
        let image = broker.shard.image();
        let [elsewhere, followed] =
            ["elsewhere", "followed"].map(|name| image.topic(name).expect("created").id);
        broker.stop().await;
        world.kill("broker");
        let records = [
            record(t, &[ME], &[ME], Led(ME, 3, 3)),
            record(elsewhere, &[OTHER], &[OTHER], Led(OTHER, 1, 1)),
            record(followed, &[OTHER, ME], &[OTHER, ME], Led(OTHER, 1, 1)),
        ];
        append_to_metadata(&world.node("broker"), &records).await;
        world.kill("broker");
        let broker = Broker::start(world.node("broker"), 1, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        assert_eq!(produce(&mut client, "t", &[0], -1, "second").await, Some(vec![(0, 1)]));
        let read = fetch(&mut client, "t", &[(0, 0)], 1, Duration::ZERO).await.expect("an answer");
        assert_eq!(values(&read), [(0, vec![(0, "first".to_owned()), (1, "second".to_owned())])]);
        for topic in ["elsewhere", "followed"] {
            assert_eq!(
                produce(&mut client, topic, &[0], -1, "v").await,
                Some(vec![(NOT_LEADER, -1)]),
                "{topic}"
            );
        }
        let hosted =
            [t, elsewhere, followed].map(|id| broker.shard.replicas.hosted(id, PartitionId(0)).is_some());
        assert_eq!(hosted, [true, false, true]);
        assert!(broker.shard.replicas.offline().is_empty());
        let response = client
            .call(9, &MetadataRequest { topics: None, ..MetadataRequest::default() })
            .await
            .expect("an answer");
        let leaders: Vec<_> =
            response.topics.iter().map(|topic| (topic.name.clone(), topic.partitions[0].leader_id)).collect();
        let expect = [("elsewhere", -1), ("followed", -1), ("t", ME)];
        assert_eq!(leaders, expect.map(|(name, leader)| (Some(name.to_owned()), leader)), "no such broker");
        broker.stop().await;
    });
}

#[test]
fn a_coordinator_goes_with_the_leadership_and_comes_back_with_it() {
    in_world(126, async |world| {
        let broker = Broker::start(world.node("broker"), 1, &[("offsets.topic.num.partitions", "1")]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        assert_eq!(find(&mut client, 4, "group").await, OK);
        let topic_id = broker.shard.image().topic("__consumer_offsets").expect("created").id;
        let mut it = World { world, broker, client, topic_id };
        it.publish(&[ME, OTHER], Led(OTHER, 1, 1));
        assert_eq!(coordinator(&mut it.client).await, (ErrorCode::CoordinatorNotAvailable.code(), -1));
        assert_eq!(heartbeat(&mut it.client).await, ErrorCode::NotCoordinator.code());
        it.publish(&[ME], Led(ME, 2, 2));
        assert_eq!(coordinator(&mut it.client).await, (OK, ME));
        assert_eq!(heartbeat(&mut it.client).await, ErrorCode::UnknownMemberId.code());
        it.broker.stop().await;
    });
}

/// The group's coordinator.
async fn coordinator(client: &mut Client) -> (i16, i32) {
    let keys = ["group"];
    let request = FindCoordinatorRequest { coordinator_keys: keys[..].into(), ..Default::default() };
    let response = client.call(4, &request).await.expect("an answer");
    (response.coordinators[0].error_code, response.coordinators[0].node_id)
}

async fn heartbeat(client: &mut Client) -> i16 {
    let request = net::protocol::heartbeat::HeartbeatRequest {
        group_id: "group",
        generation_id: 1,
        member_id: "nobody",
        ..Default::default()
    };
    client.call(3, &request).await.expect("an answer").error_code
}
