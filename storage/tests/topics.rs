//! Proves that names, directories and checkpoints of partitions stay in line, whenever a creation or a deletion is cut
//! off.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::rc::Rc;

use model::{Offset, TopicId};
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
