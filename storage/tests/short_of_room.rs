//! Proves that retention runs when it is needed: room is short, its settings have changed, records were deleted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::rc::Rc;

use model::Offset;
use runtime::sim::{SimEffects, SimWorld};
use storage::{Log, LogConfig, LogManagerOptions};
use support::{Broker, append, append_durably, batch, pause, start};

const SEGMENTS: usize = 6;

/// Retention's own turn never comes.
fn options() -> LogManagerOptions {
    LogManagerOptions {
        retention_check_ms: 1 << 40,
        disk_reserve_bytes: 1 << 20,
        ..LogManagerOptions::default()
    }
}

fn config() -> LogConfig {
    // A minute until the files of a deleted segment go.
    LogConfig { segment_bytes: 512 << 10, retention_ms: None, ..LogConfig::default() }
}

/// A log of some sealed segments.
async fn fill(node: &SimEffects) -> (Broker, Rc<Log<SimEffects>>) {
    let broker = start(node.clone(), options()).await.unwrap();
    let log = broker.log(0, &config()).await;
    let mut number = 0;
    while log.segment_count() < SEGMENTS {
        append_durably(&log, &batch(number, 1, 100_000, 1_000)).await;
        number += 1;
    }
    // Sealed and checkpointed.
    pause(node, 5_000).await;
    (broker, log)
}

fn used(world: &SimWorld) -> u64 {
    let disk = world.disk("a");
    disk.files().iter().filter_map(|file| disk.read(file)).map(|content| content.len() as u64).sum()
}

#[test]
fn retention_runs_when_room_gets_short_and_gives_it_back_at_once() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let (broker, log) = fill(&node).await;
        // As if all of them had expired meanwhile: what was set before is not looked at in time.
        log.set_config(LogConfig { retention_bytes: Some(10 << 20), ..config() });
        pause(&node, 1_000).await;
        assert_eq!(log.segment_count(), SEGMENTS);
        log.set_config(LogConfig { retention_bytes: Some(10 << 20), ..config() });
        for number in 0..90 {
            append_durably(&log, &batch(number, 1, 100_000, 1_000)).await;
        }
        pause(&node, 5_000).await;
        assert_eq!(log.log_start_offset(), Offset(0), "its turn has not come");
        world.disk("a").set_capacity(Some(used(&world) + (1 << 20)));
        pause(&node, 5_000).await;
        assert!(log.log_start_offset() > Offset(0));
        assert!(!broker.manager.stats().disk_full, "the files are gone, and so is the shortage");
        append_durably(&log, &batch(1, 1, 1_000, 1_000)).await;
    });
    world.end();
}

#[test]
fn a_short_disk_says_so_in_the_counters_and_refuses_appends() {
    let world = SimWorld::new(2);
    let node = world.node("a");
    world.block_on(async {
        let (broker, log) = fill(&node).await;
        world.disk("a").set_capacity(Some(used(&world) + (1 << 19)));
        pause(&node, 3_000).await;
        let stats = broker.manager.stats();
        assert!(stats.disk_full && stats.disk_available_bytes < stats.disk_reserve_bytes, "{stats:?}");
        assert!(append(&log, &batch(1, 1, 1_000, 1_000)).is_err());
        // The way out: less is kept.
        log.set_config(LogConfig { retention_bytes: Some(0), ..config() });
        pause(&node, 5_000).await;
        assert!(!broker.manager.stats().disk_full);
        append_durably(&log, &batch(1, 1, 1_000, 1_000)).await;
    });
    world.end();
}

#[test]
fn retention_runs_when_its_settings_change_and_behind_a_deletion_of_records() {
    let world = SimWorld::new(3);
    let node = world.node("a");
    world.block_on(async {
        let (_broker, log) = fill(&node).await;
        log.advance_log_start(Offset(11)).await.unwrap();
        pause(&node, 1_000).await;
        let left = log.segment_count();
        assert!(left < SEGMENTS && log.log_start_offset() == Offset(11), "{log:?}");
        log.set_config(LogConfig { retention_bytes: Some(1), ..config() });
        pause(&node, 1_000).await;
        assert!(log.segment_count() < left);
        log.check_invariants();
    });
    world.end();
}
