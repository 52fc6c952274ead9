//! Proves that a log knows after a power cut, whenever that comes, in which leader epoch each of its batches was written.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use model::{LeaderEpoch, Offset};
use runtime::sim::{Fault, FaultKind, OpKind, SimEffects, SimWorld};
use storage::{AppendOrigin, Log, LogConfig, LogManagerOptions};
use support::{Broker, batch, pause, start};

/// Batches of one record, two in each segment, three in each epoch.
const BATCHES: i64 = 12;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 2_500, index_interval_bytes: 600, ..LogConfig::default() }
}

fn epoch(offset: i64) -> LeaderEpoch {
    LeaderEpoch(i32::try_from(offset / 3).unwrap())
}

async fn write(broker: &Broker) {
    let log = broker.log(0, &config()).await;
    for offset in 0..BATCHES {
        let bytes = batch(u64::try_from(offset).unwrap(), 1, 1_000, 1_000);
        log.append(&bytes, AppendOrigin::Client, epoch(offset), 1_000).unwrap();
        log.flush().await.unwrap();
        // Time to seal what is full, and to write checkpoints now and then.
        pause(&broker.effects, if offset % 4 == 3 { 700 } else { 20 }).await;
    }
}

fn check(log: &Log<SimEffects>, at: u64) {
    let end = log.log_end_offset().0;
    for last in (0..end).filter(|offset| *offset + 1 == end || epoch(*offset) != epoch(*offset + 1)) {
        let known = log.end_offset_for_epoch(epoch(last));
        assert_eq!(known, (epoch(last), Offset(last + 1)), "cut at {at}, the log ends at {end}");
    }
}

#[test]
fn epochs_are_known_wherever_the_power_is_cut() {
    let ended = Rc::new(Cell::new(false));
    let mut at = 0;
    while !ended.get() {
        at += 1;
        let world = SimWorld::new(at);
        let node = world.node("a");
        // Checkpoints of offsets are written meanwhile.
        let slow = Fault::new(OpKind::Any, FaultKind::Slow(Duration::from_millis(100)));
        world.disk("a").inject(slow.on("leader-epoch-checkpoint"));
        world.disk("a").crash_at(OpKind::Any, at);
        let whole = Rc::clone(&ended);
        world.run_on(&node, async {
            let options =
                LogManagerOptions { idle_ms: 60, checkpoint_ms: 500, ..LogManagerOptions::default() };
            let broker = start(node.clone(), options).await.unwrap();
            write(&broker).await;
            whole.set(true);
        });
        if world.is_up("a") {
            world.crash("a");
        }
        world.block_on(async {
            let broker = start(world.node("a"), LogManagerOptions::default()).await.unwrap();
            let log = broker.log(0, &config()).await;
            assert!(log.offline().is_none(), "cut at {at}: {:?}", log.offline());
            check(&log, at);
        });
        world.end();
    }
    assert!(at > 50, "{at} cuts");
}
