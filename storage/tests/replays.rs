//! Proves that a replay meets every batch or fails, and that it waits for memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use model::Offset;
use runtime::sim::SimWorld;
use runtime::{Clock, Effects};
use storage::{LogConfig, LogManagerOptions, ReadError, StorageError};
use support::{append_durably, batch, pause, start};

const FIRST: &str = "/data/topic-0/00000000000000000000.log";
const LAST: &str = "/data/topic-0/00000000000000000004.log";

/// Eight records in two segments, checkpointed; the broker has stopped in order.
fn stopped_log(world: &SimWorld) {
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &config(false)).await;
        for i in 0..8 {
            append_durably(&log, &batch(i, 1, 1_100, 1_000)).await;
        }
        assert_eq!(log.segment_count(), 2);
        pause(&node, 5_000).await;
        broker.stop().await;
    });
    world.kill("a");
}

fn config(compact: bool) -> LogConfig {
    LogConfig { segment_bytes: 5_000, compact, ..LogConfig::default() }
}

#[test]
fn damage_in_a_sealed_segment_fails_the_replay() {
    let world = SimWorld::new(1);
    stopped_log(&world);
    let disk = world.disk("a");
    let good = disk.read(FIRST).unwrap();
    let batch_bytes = good.len() / 4;
    // What lies outside the checksum, and some of what does not: of the first batch, a middle one and the last one.
    let places = [0, 1, 2].into_iter().flat_map(|batch| {
        let at = [0, 1, 3][batch] * batch_bytes;
        (at * 8..(at + 12) * 8).chain([at * 8 + 130, at * 8 + 139, at * 8 + 200, at * 8 + 900])
    });
    for compact in [false, true] {
        for bit in places.clone() {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            disk.set_content(FIRST, bytes);
            let node = world.node("a");
            world.block_on(async {
                let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
                let log = broker.log(0, &config(compact)).await;
                let mut met = 0;
                let replayed = log.replay(Offset(0), |batch| met += batch.record_count()).await;
                assert!(
                    matches!(replayed, Err(ReadError::Corrupt(_))),
                    "bit {bit}, compact: {compact}: {met} records and {replayed:?}"
                );
                assert!(met < 8);
            });
            world.kill("a");
        }
    }
    disk.set_content(FIRST, good);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &config(false)).await;
        for (from, expected) in [(0, 8), (3, 5), (4, 4), (8, 0)] {
            let mut met = 0;
            log.replay(Offset(from), |batch| met += batch.record_count()).await.unwrap();
            assert_eq!(met, expected, "from {from}");
        }
    });
    world.end();
}

#[test]
fn a_batch_that_claims_a_later_offset_does_not_end_the_log() {
    let world = SimWorld::new(2);
    stopped_log(&world);
    let disk = world.disk("a");
    let good = disk.read(LAST).unwrap();
    // Without these the whole log is looked at.
    for file in disk.files().iter().filter(|file| file.to_string_lossy().ends_with(".snapshot")) {
        disk.set_content(file, Vec::new());
    }
    for compact in [false, true] {
        for bit in [5, 33, 61] {
            let mut bytes = good.clone();
            bytes[good.len() / 4 + bit / 8] ^= 0x80 >> (bit % 8);
            disk.set_content(LAST, bytes);
            let node = world.node("a");
            world.block_on(async {
                let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
                let log = broker.log(0, &config(compact)).await;
                let offline = log.offline();
                assert!(matches!(offline, Some(StorageError::Corrupt { .. })), "bit {bit}: {offline:?}");
            });
            world.kill("a");
            assert_eq!(disk.read(LAST).map(|bytes| bytes.len()), Some(good.len()), "nothing is cut off");
        }
    }
    world.end();
}

#[test]
fn a_replay_waits_for_memory() {
    let world = SimWorld::new(3);
    stopped_log(&world);
    let node = world.node("a").with_buffers(16 << 20);
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &config(false)).await;
        let all = node.buffers().buffer(node.buffers().budget_bytes() - node.buffers().used_bytes());
        let held = all.expect("all that is left");
        let clock = node.clock().clone();
        node.spawn(async move {
            clock.sleep_until(clock.now() + Duration::from_secs(3)).await;
            drop(held);
        });
        let mut met = 0;
        log.replay(Offset(0), |batch| met += batch.record_count()).await.unwrap();
        assert_eq!(met, 8);
    });
    world.end();
}
