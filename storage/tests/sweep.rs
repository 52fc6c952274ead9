//! Proves that a power cut behind every single operation of the disk leaves the state before or after it: no start is
//! refused, no partition is offline, what was acknowledged is there and nothing else. What is swept over: the first start,
//! creations side by side, appends to journal and segments, rolls, sealing, checkpoints, DeleteRecords, retention, a
//! deletion and a creation of the same name, the clean stop, the start behind it, and the recovery from a cut itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use model::{Offset, TopicId};
use runtime::sim::{OpKind, SimEffects, SimWorld};
use storage::{CommitMode, Log, LogConfig, LogManagerOptions, StorageError};
use support::{Broker, append, batch, pause, read_all, start, tp};

/// Each draws other latencies, another order of what is under way, and other sectors and names that survive.
const SEEDS: u64 = 3;

/// Deleted and created again under its name.
const RECREATED: i32 = 2;
/// Does not wait for the disk: records may be lost, and nothing else.
const UNSYNCED: i32 = 3;
const PARTITIONS: i32 = 4;

/// What the broker has told of a partition, and what it was asked for.
#[derive(Default)]
struct Told {
    /// The topic; what the metadata says.
    topic: Option<TopicId>,
    sent: BTreeMap<i64, Bytes>,
    acknowledged_end: i64,
    /// Where DeleteRecords or retention have moved the start: told, and at most.
    start: i64,
    start_max: i64,
}

type World = RefCell<BTreeMap<i32, Told>>;

fn config(partition: i32) -> LogConfig {
    LogConfig {
        segment_bytes: 8_000,
        index_interval_bytes: 1_000,
        file_delete_delay_ms: 0,
        retention_ms: None,
        commit_mode: if partition == UNSYNCED { CommitMode::Kafka } else { CommitMode::Fsync },
        ..LogConfig::default()
    }
}

fn options() -> LogManagerOptions {
    LogManagerOptions { journal_bytes: 128 << 10, ..LogManagerOptions::default() }
}

fn id(number: u8) -> TopicId {
    TopicId::from_random([number; 16])
}

/// Opens a partition as a broker does.
async fn open(broker: &Broker, partition: i32, topic: TopicId) -> Rc<Log<SimEffects>> {
    let open = || broker.manager.open_log(tp(partition), topic, config(partition));
    match open().await {
        Err(StorageError::OtherTopic { .. }) => {
            broker.manager.set_aside(&tp(partition)).await.unwrap();
            open().await.unwrap()
        }
        opened => opened.unwrap(),
    }
}

async fn create(broker: &Broker, told: &World, partition: i32, topic: TopicId) -> Rc<Log<SimEffects>> {
    told.borrow_mut().insert(partition, Told { topic: Some(topic), ..Told::default() });
    open(broker, partition, topic).await
}

async fn write(log: &Rc<Log<SimEffects>>, told: &World, sizes: &[usize]) {
    let partition = log.topic_partition().partition.0;
    for &size in sizes {
        let bytes = batch(u64::try_from(log.log_end_offset().0).unwrap(), 1, size, 1_000);
        told.borrow_mut().get_mut(&partition).unwrap().sent.insert(log.log_end_offset().0, bytes.clone());
        append(log, &bytes).unwrap();
    }
    log.flush().await.unwrap();
    log.update_high_watermark(log.durable_end());
    if partition != UNSYNCED {
        told.borrow_mut().get_mut(&partition).unwrap().acknowledged_end = log.durable_end().0;
    }
    log.check_invariants();
}

async fn delete_records(log: &Rc<Log<SimEffects>>, told: &World, to: i64) {
    let partition = log.topic_partition().partition.0;
    told.borrow_mut().get_mut(&partition).unwrap().start_max = to;
    log.advance_log_start(Offset(to)).await.unwrap();
    told.borrow_mut().get_mut(&partition).unwrap().start = to;
}

/// All that is swept over.
async fn live(node: &SimEffects, told: &World) {
    let broker = start(node.clone(), options()).await.unwrap();
    let created = (0..PARTITIONS).map(|partition| create(&broker, told, partition, id(1)));
    let logs = futures_util::future::join_all(created).await;
    for sizes in [[100, 50], [3_000, 20], [3_000, 3_000]] {
        // Small ones of several logs at a time, so that the journal has them.
        futures_util::future::join_all(logs.iter().map(|log| write(log, told, &sizes))).await;
    }
    delete_records(&logs[0], told, 3).await;
    // What is full is sealed, and what is idle checkpointed.
    pause(node, 2_500).await;
    futures_util::future::join_all(logs.iter().map(|log| write(log, told, &[90]))).await;
    retain(&logs[1], told).await;
    told.borrow_mut().get_mut(&RECREATED).unwrap().topic = None;
    broker.manager.delete_log(&tp(RECREATED)).await.unwrap();
    let recreated = create(&broker, told, RECREATED, id(2)).await;
    write(&recreated, told, &[40, 400]).await;
    broker.stop().await;
    drop(logs);
    let broker = start(node.clone(), options()).await.unwrap();
    for partition in 0..PARTITIONS {
        let topic = told.borrow()[&partition].topic.unwrap();
        let log = open(&broker, partition, topic).await;
        write(&log, told, &[30]).await;
    }
    broker.stop().await;
}

/// Lets retention by size remove what is not in the last segment.
async fn retain(log: &Rc<Log<SimEffects>>, told: &World) {
    let partition = log.topic_partition().partition.0;
    told.borrow_mut().get_mut(&partition).unwrap().start_max = log.log_end_offset().0;
    log.set_config(LogConfig { retention_bytes: Some(1_000), ..config(partition) });
    log.apply_retention().await.unwrap();
    assert!(log.log_start_offset() > Offset(0));
    told.borrow_mut().get_mut(&partition).unwrap().start = log.log_start_offset().0;
}

/// Opens everything that the metadata knows and compares it with what was told.
async fn verify(node: &SimEffects, told: &World, what: &str) {
    let broker = start(node.clone(), options()).await.unwrap();
    let partitions: Vec<i32> = told.borrow().keys().copied().collect();
    for partition in partitions {
        let topic = told.borrow()[&partition].topic;
        let Some(topic) = topic else { continue };
        let what = format!("{what}, partition {partition}");
        let log = open(&broker, partition, topic).await;
        assert!(log.offline().is_none(), "{what}: {:?}", log.offline());
        log.check_invariants();
        let (from, end) = (log.log_start_offset().0, log.log_end_offset().0);
        let expected = {
            let mut told = told.borrow_mut();
            let told = told.get_mut(&partition).unwrap();
            assert!(end >= told.acknowledged_end, "{what}: {end} of {}", told.acknowledged_end);
            // Without waiting for the disk the end may come back before the start that was told.
            let least = told.start.min(end);
            assert!((least..=told.start_max.max(least)).contains(&from), "{what}: starts at {from}");
            told.sent.retain(|&offset, _| offset < end);
            told.sent.range(from..).map(|(&offset, bytes)| (offset, bytes.clone())).collect::<Vec<_>>()
        };
        assert_eq!(read_all(&log, Offset(from), 1 << 20).await.unwrap(), expected, "{what}");
        write(&log, told, &[25]).await;
    }
    broker.stop().await;
}

#[test]
fn a_power_cut_behind_every_operation_leaves_the_state_before_or_after_it() {
    let (mut cuts, mut recovery_at) = (0, 0);
    for seed in 0..SEEDS {
        for at in 1.. {
            let world = SimWorld::new(seed);
            let told = World::default();
            let node = world.node("a");
            world.disk("a").crash_at(OpKind::Any, at);
            let whole = world.run_on(&node, live(&node, &told)).is_some();
            if world.is_up("a") {
                world.kill("a");
            }
            let what = format!("seed {seed}, cut at {at}");
            // All operations of the recoveries have their turn, each of a recovery from another cut.
            recovery_at += 1;
            let node = world.node("a");
            world.disk("a").crash_at(OpKind::Any, recovery_at);
            let recovered = world.run_on(&node, verify(&node, &told, &what)).is_some();
            if recovered {
                recovery_at = 0;
                world.kill("a");
            }
            let node = world.node("a");
            world.block_on(verify(&node, &told, &format!("{what}, then at {recovery_at}")));
            world.end();
            cuts += 1;
            if whole {
                assert!(at > 200, "{at} operations");
                break;
            }
        }
    }
    println!("{cuts} cuts");
}
