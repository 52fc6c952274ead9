//! Proves that reads from kept memory are reads of the log, that repeated reads are kept, and how they are given up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::rc::Rc;

use model::{Offset, RecordBatch};
use runtime::Effects;
use runtime::sim::{Fault, FaultKind, OpKind, SimEffects, SimWorld};
use storage::{Log, LogConfig, LogManagerOptions, ReadPart};
use support::{Broker, append, batch, pause, read_all, start};

const CACHE: u64 = 8 << 20;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 700_000, retention_ms: None, ..LogConfig::default() }
}

/// A restarted broker, so that nothing is in append chunks, with one log of batches of many sizes.
async fn restarted(node: &SimEffects, batches: u64, cache: u64) -> (Broker, Rc<Log<SimEffects>>) {
    let options = LogManagerOptions { read_cache_bytes: cache, ..LogManagerOptions::default() };
    let broker = start(node.clone(), options.clone()).await.unwrap();
    let log = broker.log(0, &config()).await;
    for i in 0..batches {
        let records = 1 + usize::try_from(i % 5).unwrap();
        append(&log, &batch(i, records, [40, 3_000, 20_000][usize::try_from(i % 3).unwrap()], 1_000))
            .unwrap();
    }
    log.flush().await.unwrap();
    broker.stop().await;
    let broker = start(node.clone(), options).await.unwrap();
    let log = broker.log(0, &config()).await;
    log.update_high_watermark(log.durable_end());
    (broker, log)
}

fn run<Fut: Future<Output = ()>>(test: impl FnOnce(SimEffects) -> Fut) {
    let world = SimWorld::new(1);
    world.block_on(test(world.node("a")));
    world.end();
}

#[test]
fn what_is_kept_is_what_the_file_has() {
    run(|node| async move {
        let (broker, log) = restarted(&node, 300, CACHE).await;
        assert!(log.segment_count() > 3);
        let end = log.log_end_offset();
        let truth = read_all(&log, Offset(0), 1 << 20).await.unwrap();
        let mut rng = fastrand::Rng::with_seed(3);
        for round in 0..3_000 {
            let from = Offset(rng.i64(0..end.0));
            let up_to = if rng.bool() { end } else { Offset(rng.i64(from.0..=end.0)) };
            let max_bytes = [0, 100, 5_000, 70_000, 300_000, 1 << 20][rng.usize(0..6)];
            let min_one = rng.bool();
            let at = format!("round {round}: {from} to {up_to}, {max_bytes} bytes, {min_one}");
            let read = log.read(from, max_bytes, min_one, up_to).await.unwrap();
            let mut bytes = Vec::new();
            for part in read.parts {
                let ReadPart::Memory(part) = part else { panic!("{at}: reads are direct") };
                bytes.extend_from_slice(&part.bytes);
            }
            assert_eq!(bytes.len(), read.size_bytes, "{at}");
            let holds = truth.iter().rposition(|(base, _)| *base <= from.0).unwrap();
            let mut expected = truth[holds..].iter();
            let mut last = None;
            for found in model::batches(&bytes).map(Result::unwrap) {
                let (base, content) = expected.next().unwrap();
                assert_eq!(
                    (found.base_offset().0, support::original(&found)),
                    (*base, content.clone()),
                    "{at}"
                );
                last = Some(found.next_offset());
            }
            assert!(last.is_none_or(|last| last <= up_to), "{at}");
            assert_eq!(read.more, last.is_some_and(|last| last < up_to), "{at}");
            let first = RecordBatch::parse(&truth[holds].1).unwrap();
            let first_end = truth.get(holds + 1).map_or(end.0, |(next, _)| *next);
            let fits = min_one || first.size() <= max_bytes;
            assert_eq!(last.is_some(), fits && first_end <= up_to.0, "{at}");
            assert!(bytes.len() <= max_bytes || bytes.len() == first.size(), "{at}");
            assert!(broker.manager.stats().read_cache_bytes <= CACHE, "{at}");
        }
        let stats = broker.manager.stats();
        assert!(stats.reads_cached > 300 && stats.reads_file > 300, "{stats:?}");
        log.check_invariants();
    });
}

#[test]
fn the_second_reader_fills_the_cache_and_the_third_is_served_from_it() {
    run(|node| async move {
        let (broker, log) = restarted(&node, 200, CACHE).await;
        let read = || read_all(&log, Offset(0), 1 << 20);
        let first = read().await.unwrap();
        let stats = broker.manager.stats();
        assert_eq!(
            (stats.read_cache_bytes, stats.reads_cached),
            (0, 0),
            "one that catches up leaves nothing behind"
        );
        assert_eq!(read().await.unwrap(), first);
        let filled = broker.manager.stats();
        assert!(filled.read_cache_bytes > 300_000, "{filled:?}");
        assert_eq!(read().await.unwrap(), first);
        let served = broker.manager.stats();
        assert_eq!(served.reads_file, filled.reads_file);
        assert!(served.reads_cached > filled.reads_cached);
        pause(&node, 50_000).await;
        assert_eq!(read().await.unwrap(), first);
        pause(&node, 50_000).await;
        assert_eq!(broker.manager.stats().reads_file, filled.reads_file, "it was needed");
        assert_eq!(broker.manager.stats().read_cache_bytes, filled.read_cache_bytes);
        pause(&node, 60_000).await;
        assert_eq!(broker.manager.stats().read_cache_bytes, 0, "nobody needs it");
        assert_eq!(node.buffers().used_bytes(), 0);
        assert_eq!(read().await.unwrap(), first);
        assert_eq!(broker.manager.stats().read_cache_bytes, 0, "that was long ago");
        broker.stop().await;
    });
}

#[test]
fn what_is_deleted_is_not_kept() {
    run(|node| async move {
        let (broker, log) = restarted(&node, 300, 64 << 20).await;
        for _ in 0..2 {
            read_all(&log, Offset(0), 100_000).await.unwrap();
        }
        let before = broker.manager.stats().read_cache_bytes;
        log.advance_log_start(Offset(log.log_end_offset().0 / 2)).await.unwrap();
        broker.manager.apply_retention().await.unwrap();
        let half = broker.manager.stats().read_cache_bytes;
        assert!(half > 0 && half < before * 3 / 4, "{half} of {before}");
        drop(log);
        broker.manager.delete_log(&support::tp(0)).await.unwrap();
        assert_eq!(broker.manager.stats().read_cache_bytes, 0);
        assert_eq!(node.buffers().used_bytes(), 0);
    });
}

#[test]
fn without_a_cache_nothing_is_kept() {
    run(|node| async move {
        let (broker, log) = restarted(&node, 60, 0).await;
        for _ in 0..3 {
            read_all(&log, Offset(0), 100_000).await.unwrap();
        }
        let stats = broker.manager.stats();
        assert_eq!((stats.read_cache_bytes, stats.reads_cached), (0, 0));
        assert_eq!(node.buffers().used_bytes(), 0);
    });
}

#[test]
fn what_could_not_be_renamed_is_not_kept_either() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let (broker, log) = restarted(&node, 300, 64 << 20).await;
        for _ in 0..2 {
            read_all(&log, Offset(0), 100_000).await.unwrap();
        }
        world.disk("a").inject(Fault::new(OpKind::Meta, FaultKind::Eio).on(".log").after(1, 1));
        log.advance_log_start(log.log_end_offset()).await.unwrap();
        assert!(broker.manager.apply_retention().await.is_err());
        pause(&node, 200_000).await;
        let stats = broker.manager.stats();
        assert_eq!((stats.read_cache_bytes, node.buffers().used_bytes()), (0, 0));
    });
}
