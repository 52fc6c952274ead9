//! Proves that a log which was deleted reads nothing of, and makes nothing in, the log that has its name now.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use model::{Offset, TopicId};
use runtime::sim::{Fault, FaultKind, OpKind, SimEffects, SimWorld};
use runtime::{Clock, Effects};
use storage::{Log, LogConfig, LogManagerOptions, ReadError, SealedRead, StorageError};
use support::{Broker, DIR, append_durably, batch, pause, start, tp};

fn config() -> LogConfig {
    LogConfig { segment_bytes: 60_000, retention_ms: None, ..LogConfig::default() }
}

/// A log of several segments at rest: nothing in memory, no file of the active segment open.
async fn at_rest(node: &SimEffects, broker: &Broker) -> Rc<Log<SimEffects>> {
    let log = broker.log(0, &config()).await;
    for i in 0..100 {
        append_durably(&log, &batch(i, 1, 3_000, 1_000)).await;
    }
    pause(node, 60_000).await;
    log
}

/// Deletes the log and makes another of its name.
async fn replace(broker: &Broker) -> Rc<Log<SimEffects>> {
    broker.manager.delete_log(&tp(0)).await.unwrap();
    let other = TopicId::from_random([7; 16]);
    let new = broker.manager.open_log(tp(0), other, config()).await.unwrap();
    for i in 0..10 {
        append_durably(&new, &batch(1_000 + i, 1, 3_000, 1_000)).await;
    }
    new
}

fn check(world: &SimWorld, read: Result<usize, ReadError>, at: &str) {
    assert!(matches!(read, Err(ReadError::Storage(StorageError::Closed))), "{at}: {read:?}");
    let mut files = world.disk("a").files();
    files.retain(|file| {
        file.starts_with(format!("{DIR}/topic-0")) && file.extension().is_some_and(|it| it == "log")
    });
    assert_eq!(files.len(), 1, "{at}: {files:?}");
}

/// A fetch that found no memory tries again for up to 200 ms, and the topic may be deleted and made again meanwhile.
#[test]
fn a_deleted_log_does_not_read_the_next_of_its_name() {
    for sealed_read in [SealedRead::Direct, SealedRead::Sendfile] {
        let world = SimWorld::new(1);
        let node = world.node("a");
        world.block_on(async {
            let options = LogManagerOptions { sealed_read, ..LogManagerOptions::default() };
            let broker = start(node.clone(), options).await.unwrap();
            let old = at_rest(&node, &broker).await;
            let end = old.log_end_offset();
            let new = replace(&broker).await;
            for from in [Offset(0), Offset(end.0 - 1)] {
                let read = old.read(from, 1 << 20, true, end).await.map(|read| read.size_bytes);
                check(&world, read, &format!("{sealed_read:?} from {from}"));
            }
            drop((old, new));
            broker.stop().await;
        });
        world.end();
    }
}

/// The same, with a read that was about to open its file.
#[test]
fn a_file_opened_meanwhile_is_not_read() {
    for slow_ms in [1, 5, 20, 100, 1_000] {
        for last in [false, true] {
            let world = SimWorld::new(1);
            let node = world.node("a");
            world.block_on(async {
                let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
                let old = at_rest(&node, &broker).await;
                let end = old.log_end_offset();
                let from = if last { Offset(end.0 - 1) } else { Offset(0) };
                let slow = FaultKind::Slow(Duration::from_millis(slow_ms));
                world.disk("a").inject(Fault::new(OpKind::Meta, slow).on(".log").after(0, 1));
                let reader = Rc::clone(&old);
                let before = node.clock().now();
                let read = Rc::new(RefCell::new(None));
                let outcome = Rc::clone(&read);
                node.spawn(async move {
                    let read = reader.read(from, 1 << 20, true, end).await.map(|read| read.size_bytes);
                    *outcome.borrow_mut() = Some(read);
                });
                let new = replace(&broker).await;
                while read.borrow().is_none() {
                    pause(&node, 1).await;
                }
                let read = read.take().unwrap();
                let at = format!("{slow_ms} ms, from {from}, {:?}", node.clock().now().since(before));
                let files = world.disk("a").files();
                // What it opened before was its own: of five batches in the last segment, or of the whole first one.
                let own = if last { 3_071 } else { 58_330 };
                assert!(read.as_ref().is_err() || *read.as_ref().unwrap() == own, "{at}: {read:?}");
                let logs = files
                    .iter()
                    .filter(|file| file.starts_with(format!("{DIR}/topic-0")))
                    .filter(|file| file.extension().is_some_and(|it| it == "log"));
                assert_eq!(logs.count(), 1, "{at}: {files:?}");
                drop((old, new));
                broker.stop().await;
            });
            world.end();
        }
    }
}
