//! Proves that what is appended is read back, from memory and from files, before and after a restart.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::rc::Rc;

use model::Offset;
use runtime::Effects;
use runtime::sim::SimWorld;
use storage::{AppendError, LogConfig, LogManagerOptions, SealedRead};
use support::{append, append_durably, batch, idempotent, listen, read_all, start};

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 64 << 10, ..LogConfig::default() }
}

#[test]
fn what_is_appended_is_read_back_across_chunks_segments_and_restarts() {
    for sealed_read in [SealedRead::Direct, SealedRead::Sendfile] {
        for max_bytes in [1, 5_000, 1 << 20] {
            let world = SimWorld::new(1);
            let options = LogManagerOptions { sealed_read, ..LogManagerOptions::default() };
            let mut expected = Vec::new();
            for life in 0..3u64 {
                let node = world.node("a");
                world.block_on(async {
                    let broker = start(node.clone(), options.clone()).await.unwrap();
                    assert_eq!(broker.dir.was_clean(), life > 0);
                    let log = broker.log(0, &small_segments()).await;
                    let heard = listen(&log);
                    for i in 0..60 {
                        let sent = batch(life * 100 + i, 3, (usize::try_from(i).unwrap() * 97) % 3000, 1_000);
                        let info = append_durably(&log, &sent).await;
                        expected.push((info.first_offset.0, sent));
                    }
                    assert_eq!(heard.durable.get(), log.log_end_offset().0);
                    assert!(log.segment_count() > 2, "the log rolls");
                    assert_eq!(read_all(&log, Offset(0), max_bytes).await.unwrap(), expected);
                    broker.stop().await;
                });
            }
            world.end();
        }
    }
}

#[test]
fn evicted_ranges_are_read_from_the_active_file() {
    let world = SimWorld::new(2);
    let options = LogManagerOptions { append_bytes_max: 64 << 10, ..LogManagerOptions::default() };
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options).await.unwrap();
        let log = broker.log(0, &LogConfig::default()).await;
        let mut expected = Vec::new();
        for i in 0..100 {
            let sent = batch(i, 2, 2_000, 1_000);
            broker.manager.admitted(sent.len()).await;
            let info = append_durably(&log, &sent).await;
            expected.push((info.first_offset.0, sent));
        }
        assert!(broker.manager.stats().chunk_bytes <= 80 << 10, "{:?}", broker.manager.stats());
        assert_eq!(read_all(&log, Offset(0), 10_000).await.unwrap(), expected);
        assert!(broker.manager.stats().reads_file > 0);
    });
    world.end();
}

/// A large append that waits for memory is not overtaken by a small one that would fit, and none waits for ever.
#[test]
fn appends_are_admitted_in_order() {
    let world = SimWorld::new(2);
    let options = LogManagerOptions { append_bytes_max: 64 << 10, ..LogManagerOptions::default() };
    let node = world.node("a");
    world.block_on(async {
        let broker = Rc::new(start(node.clone(), options).await.unwrap());
        let log = broker.log(0, &LogConfig::default()).await;
        let sizes = [30_000, 30_000, 30_000, 10, 30_000, 10, 500_000, 10];
        for (number, size) in (0..).zip(sizes) {
            let (broker, log) = (Rc::clone(&broker), Rc::clone(&log));
            node.spawn(async move {
                let sent = batch(number, 1, size, 1_000);
                broker.manager.admitted(sent.len()).await;
                assert_eq!(append(&log, &sent).unwrap().first_offset, Offset(i64::try_from(number).unwrap()));
            });
        }
        while log.durable_end() < Offset(8) {
            support::pause(&node, 10).await;
        }
    });
    world.end();
}

/// Deleting a log that is being written hurts no other log, and the name is free again.
#[test]
fn a_log_is_deleted_while_it_is_written() {
    for seed in 0..100 {
        let world = SimWorld::new(seed);
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let other = broker.log(1, &LogConfig::default()).await;
            for round in 0..5 {
                let log = broker.log(0, &small_segments()).await;
                for number in 0..seed % 30 {
                    append(&log, &batch(number, 1, 10_000, 1_000)).unwrap();
                }
                if seed % 3 > 0 {
                    support::pause(&node, seed % 7).await;
                }
                broker.manager.delete_log(&support::tp(0)).await.unwrap();
                append_durably(&other, &batch(round, 1, 100, 1_000)).await;
            }
            assert_eq!(broker.log(0, &LogConfig::default()).await.log_end_offset(), Offset(0));
            broker.stop().await;
        });
        world.end();
    }
}

/// An append that would begin a segment and finds no memory leaves the log as it is, so what came before is written.
#[test]
fn a_segment_that_finds_no_memory_holds_up_nothing() {
    let world = SimWorld::new(3);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &small_segments()).await;
        append(&log, &batch(0, 1, 60_000, 1_000)).unwrap();
        let mut hoard = Vec::new();
        for size in [64 << 20, 1 << 20, 4 << 10] {
            hoard.extend(std::iter::from_fn(|| node.buffers().buffer(size).ok()));
        }
        let refused = append(&log, &batch(1, 1, 60_000, 1_000));
        assert!(matches!(refused, Err(AppendError::OverBudget)), "{refused:?}");
        assert_eq!(log.segment_count(), 1);
        log.flush().await.unwrap();
        drop(hoard);
        append_durably(&log, &batch(1, 1, 60_000, 1_000)).await;
        broker.stop().await;
    });
    world.end();
}

/// What is sealed can leave memory without a rest: else segment by segment would take it away for good.
#[test]
fn sealed_segments_keep_nothing_in_memory() {
    let world = SimWorld::new(4);
    let options = LogManagerOptions { append_bytes_max: 64 << 10, ..LogManagerOptions::default() };
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options).await.unwrap();
        let log = broker.log(0, &LogConfig { segment_bytes: 10_000, ..LogConfig::default() }).await;
        for number in 0..100 {
            let sent = batch(number, 1, 9_000, 1_000);
            broker.manager.admitted(sent.len()).await;
            append_durably(&log, &sent).await;
        }
        assert!(log.segment_count() > 64 / 4, "more segments than pages in the budget");
        assert_eq!(read_all(&log, Offset(0), 10_000).await.unwrap().len(), 100);
        broker.stop().await;
    });
    world.end();
}

#[test]
fn reads_keep_their_limits() {
    let world = SimWorld::new(3);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &LogConfig::default()).await;
        for i in 0..4 {
            append_durably(&log, &batch(i, 2, 100, 1_000)).await;
        }
        let size = usize::try_from(log.size_bytes() / 4).unwrap();
        // (from, max_bytes, min_one, up_to) -> bytes, in memory and, after the chunks are gone, on disk.
        let rows = [
            (0, 10 * size, false, 8, 4 * size),
            (3, 10 * size, false, 8, 3 * size),
            (0, 2 * size, false, 8, 2 * size),
            (0, 2 * size + 1, false, 8, 2 * size),
            (0, size - 1, false, 8, 0),
            (0, 1, true, 8, size),
            (0, 10 * size, true, 5, 2 * size),
            (0, 10 * size, true, 0, 0),
            (8, 10 * size, true, 8, 0),
        ];
        for life in 0..2 {
            for (row, &(from, max_bytes, min_one, up_to, expect)) in rows.iter().enumerate() {
                let read = log.read(Offset(from), max_bytes, min_one, Offset(up_to)).await.unwrap();
                assert_eq!(read.size_bytes, expect, "row {row}, life {life}");
            }
            support::pause(&node, 60_000).await;
        }
        assert_eq!(broker.manager.stats().chunk_bytes, 0);
        assert!(log.read(Offset(9), 1, true, Offset(9)).await.is_err());
    });
    world.end();
}

#[test]
fn idle_logs_are_cut_to_size_and_go_on() {
    let world = SimWorld::new(4);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &LogConfig::default()).await;
        for i in 0..5 {
            for _ in 0..8 {
                append_durably(&log, &batch(i, 2, 100, 1_000)).await;
            }
            support::pause(&node, 100).await;
            assert!(world.disk("a").read("/data/topic-0/00000000000000000000.log").unwrap().len() > 64 << 10);
            support::pause(&node, [500, 3_000, 30_000][usize::try_from(i % 3).unwrap()]).await;
        }
        support::pause(&node, 3_000).await;
        let file = world.disk("a").read("/data/topic-0/00000000000000000000.log").unwrap();
        assert_eq!(u64::try_from(file.len()).unwrap(), log.size_bytes());
        assert_eq!(read_all(&log, Offset(0), 100).await.unwrap().len(), 40);
        broker.stop().await;
    });
    world.end();
}

#[test]
fn producer_state_survives_stop_and_kill() {
    for kill in [false, true] {
        for pause_ms in [0, 5_000] {
            let options =
                LogManagerOptions { producer_id_expiration_ms: u64::MAX, ..LogManagerOptions::default() };
            let world = SimWorld::new(5);
            for life in 0..3 {
                let node = world.node("a");
                world.block_on(async {
                    let broker = start(node.clone(), options.clone()).await.unwrap();
                    let log = broker.log(0, &small_segments()).await;
                    if life > 0 {
                        let again = append(&log, &idempotent(42, life * 2 - 1, 1)).unwrap();
                        assert!(again.duplicate, "life {life}");
                        assert!(append(&log, &idempotent(42, life * 2 + 5, 1)).is_err());
                    }
                    append_durably(&log, &idempotent(42, life * 2, 1)).await;
                    append_durably(&log, &idempotent(42, life * 2 + 1, 1)).await;
                    support::pause(&node, pause_ms).await;
                    if !kill {
                        broker.stop().await;
                    }
                    assert_eq!(log.log_end_offset(), Offset(i64::from(life) * 2 + 2));
                });
                world.kill("a");
            }
            world.end();
        }
    }
}
