//! Proves that reading a full segment that waits to be sealed leaves it as its writer needs it: its file can still be cut,
//! and its indexes are written whole, however few files may be open.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::rc::Rc;
use std::time::Duration;

use model::Offset;
use runtime::sim::{Fault, FaultKind, OpKind, SimEffects, SimWorld};
use runtime::{Clock, Effects};
use storage::{Log, LogConfig, LogManagerOptions};
use support::{Broker, append, append_durably, batch, pause, read_all, start, tp};

/// Bytes of a batch: several of them fill a segment.
const BATCH: usize = 3_000;

/// Batches of one segment.
const PER_SEGMENT: i64 = 10;

/// The timestamp of the batch of this number, and of its one record.
const fn time(number: i64) -> i64 {
    1_000 + number * 60_000
}

fn options(sealed_open_max: usize) -> LogManagerOptions {
    LogManagerOptions {
        active_open_max: 1,
        sealed_open_max,
        append_bytes_max: 128 << 10,
        read_cache_bytes: 0,
        journal_bytes: 0,
        ..LogManagerOptions::default()
    }
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 31_000, retention_ms: None, ..LogConfig::default() }
}

async fn fill(log: &Rc<Log<SimEffects>>, from: i64, batches: i64) {
    for number in from..from + batches {
        let seed = u64::try_from(number).unwrap();
        append(log, &batch(seed, 1, BATCH, time(number))).unwrap();
    }
    log.flush().await.unwrap();
    log.update_high_watermark(log.durable_end());
    log.check_invariants();
}

/// Drops cached chunks of full segments, and has the files of logs at rest closed.
async fn crowd_out(broker: &Broker) {
    let other = broker.log(1, &config()).await;
    append_durably(&other, &batch(1, 1, 100, time(0))).await;
    broker.manager.admitted(64 << 10).await;
    broker.manager.admitted(64 << 10).await;
}

/// Reads of full segments while the sealing of an earlier one takes long.
async fn read_while_unsealed(world: &SimWorld, broker: &Broker) {
    let slow = Fault::new(OpKind::Any, FaultKind::Slow(Duration::from_secs(5)));
    world.disk("a").inject(slow.on("topic-0/00000000000000000000.index").after(0, 1));
    let log = broker.log(0, &config()).await;
    fill(&log, 0, 4 * PER_SEGMENT).await;
    assert_eq!(log.segment_count(), 4);
    crowd_out(broker).await;
    for base in [1, 2, 1, 0] {
        let found = log.read(Offset(base * PER_SEGMENT), 10_000, true, log.log_end_offset()).await.unwrap();
        assert!(found.size_bytes > 0);
    }
    assert!(broker.manager.stats().reads_file >= 3, "the segments are not in memory");
    // Sealing goes on.
    pause(&broker.effects, 20_000).await;
    log.check_invariants();
    assert!(!broker.dir.is_failed(), "{:?}", broker.dir.failure());
    fill(&log, 4 * PER_SEGMENT, 1).await;
}

/// The timestamp of the last entry of a time index.
fn last_time(world: &SimWorld, segment: i64) -> i64 {
    let name = format!("/data/{}/{:020}.timeindex", tp(0).dir_name(), segment * PER_SEGMENT);
    let bytes = world.disk("a").read(name).unwrap();
    bytes.rchunks_exact(12).next().map_or(-1, |last| i64::from_be_bytes(last[..8].try_into().unwrap()))
}

#[test]
fn a_segment_read_before_it_is_sealed_is_sealed_whole() {
    // With all of them kept open, and with each closed by the next.
    for sealed_open_max in [100, 1] {
        let world = SimWorld::new(1);
        let node = world.node("a");
        let options = options(sealed_open_max);
        world.block_on(async {
            let broker = start(node.clone(), options.clone()).await.unwrap();
            read_while_unsealed(&world, &broker).await;
            broker.stop().await;
            drop(broker);
            let broker = start(node.clone(), options).await.unwrap();
            let log = broker.log(0, &config()).await;
            let found = read_all(&log, Offset(0), 20_000).await.unwrap();
            assert_eq!(found.len(), 41);
            check_times(&log).await;
            broker.stop().await;
        });
        for segment in 0..4 {
            assert_eq!(last_time(&world, segment), time((segment + 1) * PER_SEGMENT - 1), "{segment}");
        }
        world.end();
    }
}

async fn check_times(log: &Rc<Log<SimEffects>>) {
    for offset in 0..log.log_end_offset().0 {
        let found = log.offset_for_timestamp(time(offset), log.log_end_offset()).await.unwrap();
        assert_eq!(found.map(|found| found.offset), Some(Offset(offset)));
    }
}

/// A former version, or a crash of the machine, may have left indexes that end before their segment does.
#[test]
fn indexes_that_end_too_early_are_completed_from_the_data() {
    for (index_entries, time_entries) in [(0, 0), (1, 1), (3, 3), (9, 0)] {
        let world = SimWorld::new(1);
        let node = world.node("a");
        let config = LogConfig { index_interval_bytes: 1_000, ..config() };
        world.block_on(async {
            let broker = start(node.clone(), options(1)).await.unwrap();
            let log = broker.log(0, &config).await;
            fill(&log, 0, 2 * PER_SEGMENT).await;
            broker.stop().await;
        });
        for (ending, length) in [("index", index_entries * 8), ("timeindex", time_entries * 12)] {
            let name = format!("/data/{}/{:020}.{ending}", tp(0).dir_name(), 0);
            let bytes = world.disk("a").read(&name).unwrap();
            assert!(bytes.len() >= length);
            world.disk("a").set_content(&name, bytes[..length].to_vec());
        }
        world.block_on(async {
            let broker = start(node.clone(), options(1)).await.unwrap();
            // All but the last record of the first segment are too old.
            let age = u64::try_from(node.clock().unix_ms() - time(PER_SEGMENT - 1)).unwrap();
            let config = LogConfig { retention_ms: Some(age + 30_000), ..config };
            let log = broker.log(0, &config).await;
            log.update_high_watermark(log.durable_end());
            log.apply_retention().await.unwrap();
            assert_eq!(log.log_start_offset(), Offset(0), "{index_entries} {time_entries}");
            check_times(&log).await;
            broker.stop().await;
        });
        world.end();
    }
}
