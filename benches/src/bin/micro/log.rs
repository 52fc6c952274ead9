//! The log on a real disk: appends into memory, appends until they are durable, and reads found by the index.

use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use anyhow::Context;
use model::{LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition};
use runtime::{ShardOptions, UringEffects, run_shards};
use storage::{Log, LogConfig, LogDir, LogDirOptions, LogManager, LogManagerOptions, RecordChecker};

use crate::batch::{TIMESTAMP, batch};
use crate::stopwatch::{ROUNDS, Results};

/// Batches appended in memory before they are written.
const APPENDS: u32 = 500;
/// Batches made durable one after the other, per round.
const FLUSHES: u32 = 50;
/// Look-ups and reads per round.
const LOOKUPS: u32 = 500;

pub(crate) fn run(directory: &Path) -> anyhow::Result<Results> {
    let (send, receive) = mpsc::channel();
    let directory: Arc<Path> = Arc::from(directory);
    let shards = run_shards(vec![ShardOptions::default()], move |_, effects| {
        let (send, directory) = (send.clone(), Arc::clone(&directory));
        async move {
            // The receiver waits for as long as the shard runs.
            let _ = send.send(measure(effects, &directory).await);
        }
    })?;
    let outcome = receive.recv().context("the shard ended early");
    shards.join();
    outcome?
}

async fn measure(effects: UringEffects, directory: &Path) -> anyhow::Result<Results> {
    let dir = LogDir::open(&effects, directory, LogDirOptions::default()).await?;
    let manager = LogManager::open(effects.clone(), dir, LogManagerOptions::default()).await?;
    let config =
        LogConfig { segment_bytes: 16 << 20, timestamp_after_max_ms: i64::MAX, ..LogConfig::default() };
    let tp = TopicPartition::new("micro", PartitionId(0));
    let log = manager.open_log(tp, TopicId::from_random([7; 16]), config).await?;
    let mut results = Results::default();
    for size in [1 << 10, 16 << 10] {
        appends(&log, &manager, &effects, size, &mut results).await?;
    }
    reads(&log, &mut results).await?;
    manager.close().await?;
    Ok(results)
}

async fn appends(
    log: &Rc<Log<UringEffects>>,
    manager: &LogManager<UringEffects>,
    effects: &UringEffects,
    size: usize,
    results: &mut Results,
) -> anyhow::Result<()> {
    let batch = batch(size);
    let sent = RecordChecker::new(effects.clone(), false).check(batch.clone()).await;
    let append = || log.append_checked(&sent, LeaderEpoch(0), TIMESTAMP);
    let (mut in_memory, mut durable) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        manager.admitted(batch.len() * 2 * usize::try_from(APPENDS)?).await;
        let start = Instant::now();
        for _ in 0..APPENDS {
            append()?;
        }
        in_memory.push(nanoseconds_each(start, APPENDS));
        log.flush().await?;
        let start = Instant::now();
        for _ in 0..FLUSHES {
            append()?;
            log.flush().await?;
        }
        durable.push(nanoseconds_each(start, FLUSHES));
    }
    let kib = size >> 10;
    results.add(&format!("log append, in memory, {kib} KiB"), in_memory);
    results.add(&format!("log append until durable, {kib} KiB"), durable);
    Ok(())
}

/// Reads of one batch anywhere in the log: the segment, then the index, then the disk or memory; and searches by time.
async fn reads(log: &Rc<Log<UringEffects>>, results: &mut Results) -> anyhow::Result<()> {
    let end = log.log_end_offset().0;
    let (mut sealed, mut newest) = (Vec::new(), Vec::new());
    let mut state = 1i64;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..LOOKUPS {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let from = Offset((state >> 16).rem_euclid(end));
            log.read(from, 1, true, log.log_end_offset()).await?;
        }
        sealed.push(nanoseconds_each(start, LOOKUPS));
        let start = Instant::now();
        for _ in 0..LOOKUPS {
            log.read(Offset(end - 1), 1, true, log.log_end_offset()).await?;
        }
        newest.push(nanoseconds_each(start, LOOKUPS));
    }
    results.add("log look-up and read of one batch, any offset", sealed);
    results.add("log look-up and read of one batch, the newest", newest);
    Ok(())
}

fn nanoseconds_each(start: Instant, count: u32) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}
