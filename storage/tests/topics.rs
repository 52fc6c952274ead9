//! Proves that names, directories and checkpoints of partitions stay in line, whenever a creation or a deletion is cut
//! off.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::Cell;
use std::rc::Rc;

use model::{Offset, TopicId};
use runtime::Effects;
use runtime::sim::{OpKind, SimEffects, SimWorld};
use storage::{Log, LogConfig, LogManagerOptions, StorageError};
use support::{Broker, append_durably, batch, pause, read_all, start, topic_id, tp};

fn next_id() -> TopicId {
    TopicId::from_random([10; 16])
}

async fn open(broker: &Broker, topic_id: TopicId) -> Result<Rc<Log<SimEffects>>, StorageError> {
    broker.manager.open_log(tp(0), topic_id, LogConfig::default()).await
}

async fn write(log: &Rc<Log<SimEffects>>, records: u64) {
    for i in 0..records {
        append_durably(log, &batch(i, 1, 10, 1_000)).await;
    }
}

#[test]
fn a_new_topic_inherits_nothing_from_one_of_the_same_name() {
    // Records of the first topic, where its start is moved to, records of the second.
    for (before, log_start, after) in [(10, 10, 15), (10, 10, 5), (100, 0, 5)] {
        let world = SimWorld::new(1);
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let log = open(&broker, topic_id()).await.unwrap();
            write(&log, before).await;
            log.advance_log_start(Offset(log_start)).await.unwrap();
            pause(&node, 5_000).await;
            broker.manager.delete_log(&tp(0)).await.unwrap();
            write(&open(&broker, next_id()).await.unwrap(), after).await;
        });
        world.kill("a");
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let log = open(&broker, next_id()).await.unwrap();
            assert!(log.offline().is_none(), "{:?}", log.offline());
            assert_eq!(log.log_start_offset(), Offset(0));
            let found = read_all(&log, Offset(0), 1 << 20).await.unwrap();
            assert_eq!(u64::try_from(found.len()).unwrap(), after);
        });
        world.end();
    }
}

/// Partitions that are created at the same time.
const MANY: i32 = 20;

/// Creates partitions and writes to each as soon as it is open; `written` has a bit for each that did.
async fn create_many(node: &SimEffects, broker: &Rc<Broker>, written: &Rc<Cell<u32>>) {
    for partition in 0..MANY {
        let (broker, written) = (Rc::clone(broker), Rc::clone(written));
        node.spawn(async move {
            let log = broker.manager.open_log(tp(partition), topic_id(), LogConfig::default()).await.unwrap();
            append_durably(&log, &batch(1, 1, 10, 1_000)).await;
            written.set(written.get() | 1 << partition);
        });
    }
    while written.get() != (1 << MANY) - 1 {
        pause(node, 1).await;
    }
}

#[test]
fn partitions_that_are_created_together_share_syncs() {
    let world = SimWorld::new(6);
    let node = world.node("a");
    world.block_on(async {
        let broker = Rc::new(start(node.clone(), LogManagerOptions::default()).await.unwrap());
        let before = world.disk("a").changes(OpKind::Sync);
        create_many(&node, &broker, &Rc::default()).await;
        let syncs = world.disk("a").changes(OpKind::Sync) - before;
        // Each directory's own and its identity's, and a few of the directory above.
        assert!(syncs <= 2 * u64::from(MANY.unsigned_abs()) + 3, "{syncs} for {MANY} partitions");
    });
    world.end();
}

#[test]
fn partitions_that_are_created_together_are_there_after_a_power_cut() {
    for seed in 0..150 {
        let world = SimWorld::new(seed);
        let written = Rc::new(Cell::new(0));
        let node = world.node("a");
        world.disk("a").crash_at(OpKind::Any, 5 + seed);
        let cut = world.run_on(&node, async {
            let broker = Rc::new(start(node.clone(), LogManagerOptions::default()).await.unwrap());
            create_many(&node, &broker, &written).await;
        });
        if cut.is_some() {
            world.crash("a");
        }
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            for partition in 0..MANY {
                let log =
                    broker.manager.open_log(tp(partition), topic_id(), LogConfig::default()).await.unwrap();
                let found = read_all(&log, Offset(0), 1 << 20).await.unwrap();
                let is_written = written.get() & 1 << partition != 0;
                assert!(found.len() == 1 || !is_written, "seed {seed} partition {partition}: {found:?}");
            }
        });
        world.end();
    }
}

#[test]
fn new_topics_do_not_rewrite_the_checkpoints() {
    let world = SimWorld::new(2);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = open(&broker, topic_id()).await.unwrap();
        write(&log, 1).await;
        let before = world.disk("a").changes(OpKind::Write);
        for partition in 1..9 {
            broker.log(partition, &LogConfig::default()).await;
        }
        assert_eq!(world.disk("a").changes(OpKind::Write) - before, 8, "one identity each");
    });
    world.end();
}

fn directories(world: &SimWorld, ending: &str) -> usize {
    let files = world.disk("a").files();
    let parents = files.iter().filter_map(|file| file.parent()?.to_str().map(str::to_owned));
    parents.filter(|name| name.ends_with(ending)).collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn a_deletion_that_was_cut_off_is_finished_by_the_next_start() {
    let world = SimWorld::new(3);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        write(&open(&broker, topic_id()).await.unwrap(), 1).await;
        broker.manager.delete_log(&tp(0)).await.unwrap();
        broker.stop().await;
    });
    world.kill("a");
    assert_eq!(directories(&world, "-delete"), 1);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        pause(&node, 100).await;
        assert_eq!(directories(&world, "-delete"), 0);
        broker.stop().await;
    });
    world.end();
}

#[test]
fn the_directory_of_another_topic_is_refused_and_can_be_set_aside() {
    let world = SimWorld::new(4);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        write(&open(&broker, topic_id()).await.unwrap(), 10).await;
        broker.stop().await;
    });
    world.kill("a");
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        assert_eq!(broker.dir.partitions(&node).await.unwrap(), [tp(0)]);
        let refused = open(&broker, next_id()).await.unwrap_err();
        assert!(
            matches!(refused, StorageError::OtherTopic { found, expected, .. } if (found, expected) == (topic_id(), next_id())),
            "{refused}"
        );
        broker.manager.delete_unopened(&tp(0), next_id(), |_| true).await.unwrap();
        assert_eq!(directories(&world, "topic-0"), 1, "another topic's directory is not deleted");
        broker.manager.set_aside(&tp(0)).await.unwrap();
        let log = open(&broker, next_id()).await.unwrap();
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(0), Offset(0)));
        write(&log, 1).await;
        pause(&node, 70_000).await;
        assert_eq!(directories(&world, "-stray"), 1, "kept");
        assert_eq!(broker.dir.partitions(&node).await.unwrap(), [tp(0)]);
    });
    world.end();
}

#[test]
fn a_partition_that_could_not_be_opened_can_be_deleted() {
    for (damaged, deleted) in [(false, true), (true, false)] {
        let world = SimWorld::new(5);
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            write(&open(&broker, topic_id()).await.unwrap(), 10).await;
            broker.stop().await;
        });
        world.kill("a");
        if damaged {
            world.disk("a").set_content("/data/topic-0/partition.metadata", b"version: 7".to_vec());
        }
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            if damaged {
                let refused = open(&broker, topic_id()).await.unwrap_err();
                assert!(matches!(refused, StorageError::Mismatch { .. }), "{refused}");
            }
            broker.manager.delete_unopened(&tp(0), topic_id(), |_| true).await.unwrap();
            broker.manager.delete_unopened(&tp(0), topic_id(), |_| true).await.unwrap();
            pause(&node, 100).await;
            assert_eq!(directories(&world, "-stray"), usize::from(!deleted), "whose it is cannot be told");
            assert_eq!(directories(&world, "-delete") + directories(&world, "topic-0"), 0);
            let log = open(&broker, next_id()).await.unwrap();
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(0), Offset(0)));
        });
        world.end();
    }
}

/// What the metadata says of the topic: committed before storage does anything about it.
#[derive(Clone, Copy, Default)]
struct Metadata {
    topic: Option<TopicId>,
    acknowledged: i64,
}

/// Opens the topic as a broker does.
async fn align(broker: &Broker, topic: TopicId) -> Rc<Log<SimEffects>> {
    match open(broker, topic).await {
        Err(StorageError::OtherTopic { .. }) => {
            broker.manager.set_aside(&tp(0)).await.unwrap();
            open(broker, topic).await.unwrap()
        }
        opened => opened.unwrap(),
    }
}

async fn delete_and_create(broker: &Broker, metadata: &Cell<Metadata>) {
    metadata.set(Metadata { topic: Some(topic_id()), acknowledged: 0 });
    let log = align(broker, topic_id()).await;
    write(&log, 20).await;
    metadata.set(Metadata { acknowledged: 20, ..metadata.get() });
    pause(&broker.effects, 3_000).await;
    metadata.set(Metadata::default());
    broker.manager.delete_log(&tp(0)).await.unwrap();
    metadata.set(Metadata { topic: Some(next_id()), acknowledged: 0 });
    let log = align(broker, next_id()).await;
    for i in 0..5 {
        append_durably(&log, &batch(i, 1, 10, 1_000)).await;
        metadata.set(Metadata { acknowledged: log.durable_end().0, ..metadata.get() });
    }
}

#[test]
fn a_power_cut_at_every_operation_mixes_no_two_topics_of_a_name() {
    for at in 1.. {
        let world = SimWorld::new(at);
        let metadata = Cell::new(Metadata::default());
        let node = world.node("a");
        world.disk("a").crash_at(OpKind::Any, at);
        let whole = world.run_on(&node, async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            delete_and_create(&broker, &metadata).await;
        });
        if world.is_up("a") {
            world.kill("a");
        }
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let Metadata { topic, acknowledged } = metadata.get();
            // If there is none, it is created now.
            let log = align(&broker, topic.unwrap_or(next_id())).await;
            assert!(log.offline().is_none(), "cut at {at}: {:?}", log.offline());
            assert_eq!(log.log_start_offset(), Offset(0), "cut at {at}");
            let end = log.log_end_offset().0;
            let most = if topic == Some(topic_id()) {
                20
            } else if topic.is_some() {
                5
            } else {
                0
            };
            assert!((acknowledged..=most).contains(&end), "cut at {at}: {end}");
        });
        world.end();
        if whole.is_some() {
            assert!(at > 40, "{at}");
            return;
        }
    }
}
