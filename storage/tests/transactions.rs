//! Proves where `read_committed` consumers have to stop, for batches as a Kafka with transactions has left them; live, in a
//! follower, and after a recovery.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::rc::Rc;

use fastrand::Rng;
use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, RecordBatchBuilder, Sequence};
use runtime::sim::{SimEffects, SimWorld};
use runtime::{Clock, Effects};
use storage::{AppendError, AppendOrigin, CutCommitted, Log, LogConfig, LogManagerOptions};
use support::{Broker, batch, pause, start};

type SimLog = Rc<Log<SimEffects>>;

/// A batch of `records` in a producer's transaction.
fn data(producer: i64, sequence: i32, base: i64, records: usize) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(Offset(base)).attributes(0x10).leader_epoch(LeaderEpoch(0));
    for _ in 0..records {
        builder = builder.record(1_000, None, Some(b"v"));
    }
    builder.producer(ProducerId(producer), ProducerEpoch(0), Sequence(sequence)).build().to_vec()
}

/// What ends a transaction: a key of version and type, a value of version and the coordinator's epoch.
fn marker_of(producer: i64, commit: bool, coordinator: i32, base: i64) -> Vec<u8> {
    let key = [0i16.to_be_bytes(), i16::from(commit).to_be_bytes()].concat();
    let value = [&0i16.to_be_bytes()[..], &coordinator.to_be_bytes()].concat();
    let builder = RecordBatchBuilder::new(Offset(base)).attributes(0x30).leader_epoch(LeaderEpoch(0));
    let builder = builder.producer(ProducerId(producer), ProducerEpoch(0), Sequence(-1));
    builder.record(1_000, Some(&key), Some(&value)).build().to_vec()
}

fn marker(producer: i64, base: i64) -> Vec<u8> {
    marker_of(producer, base % 2 == 0, 0, base)
}

fn plain(base: i64) -> Vec<u8> {
    RecordBatchBuilder::new(Offset(base)).record(1_000, None, Some(b"v")).build().to_vec()
}

async fn opened(world: &SimWorld) -> (SimEffects, Broker, SimLog) {
    let node = world.node("a");
    let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
    let config = LogConfig { segment_bytes: 2_000, ..LogConfig::default() };
    let log = broker.log(0, &config).await;
    (node, broker, log)
}

fn follow(log: &SimLog, bytes: &[u8], now_ms: i64) {
    log.append_as_follower(bytes, LeaderEpoch(0), now_ms).unwrap();
    log.check_invariants();
}

#[test]
fn readers_of_committed_records_stop_at_the_first_open_transaction() {
    // (batch at the end of the log, high watermark then, last stable offset)
    let rows: Vec<(Vec<u8>, i64, i64)> = vec![
        (plain(0), 1, 1),
        (data(1, 0, 1, 2), 1, 1),
        (data(1, 2, 3, 1), 4, 1),
        (data(2, 0, 4, 1), 5, 1),
        (plain(5), 6, 1),
        // The end of the first is not replicated yet.
        (marker(1, 6), 6, 1),
        (plain(7), 7, 4),
        (data(1, 3, 8, 1), 9, 4),
        (marker(2, 9), 10, 8),
        // One without records changes nothing.
        (marker(3, 10), 10, 8),
        (marker(1, 11), 12, 12),
    ];
    let world = SimWorld::new(1);
    world.block_on(async {
        let (node, _broker, log) = opened(&world).await;
        for (bytes, high_watermark, stable) in rows {
            follow(&log, &bytes, node.clock().unix_ms());
            log.update_high_watermark(Offset(high_watermark));
            assert_eq!(log.last_stable_offset(), Offset(stable), "at {high_watermark}");
        }
    });
    world.end();
}

/// What is known of the transactions of a log, by looking at all of it.
#[derive(Default)]
struct Told {
    /// First offset, offset of the marker.
    all: Vec<(i64, Option<i64>)>,
    open: [Option<usize>; 4],
}

impl Told {
    fn stable(&self, high_watermark: i64) -> i64 {
        let unstable = self.all.iter().filter(|(_, end)| end.is_none_or(|end| end >= high_watermark));
        unstable.map(|(first, _)| *first).min().unwrap_or(high_watermark).min(high_watermark)
    }
}

#[test]
fn a_recovered_log_knows_its_open_transactions() {
    for seed in 0..40 {
        let (world, mut rng, mut told) = (SimWorld::new(seed), Rng::with_seed(seed), Told::default());
        let (mut end, mut sequences) = (0i64, [0i32; 4]);
        for _life in 0..6 {
            world.block_on(async {
                let (node, broker, log) = opened(&world).await;
                log.update_high_watermark(log.log_end_offset());
                assert_eq!(log.log_end_offset(), Offset(end), "seed {seed}");
                assert_eq!(log.last_stable_offset(), Offset(told.stable(end)), "seed {seed}, recovered");
                for _ in 0..rng.u8(..20) {
                    let id = rng.usize(..4);
                    let producer = i64::try_from(id).unwrap();
                    let now_ms = node.clock().unix_ms();
                    match rng.u8(..6) {
                        0..3 => {
                            follow(&log, &data(producer, sequences[id], end, 1), now_ms);
                            sequences[id] += 1;
                            if told.open[id].is_none() {
                                told.open[id] = Some(told.all.len());
                                told.all.push((end, None));
                            }
                        }
                        3 => {
                            follow(&log, &marker(producer, end), now_ms);
                            if let Some(open) = told.open[id].take() {
                                told.all[open].1 = Some(end);
                            }
                        }
                        _ => follow(&log, &plain(end), now_ms),
                    }
                    end += 1;
                    let high_watermark = log.high_watermark().0 + rng.i64(0..3);
                    log.update_high_watermark(Offset(high_watermark));
                    let expected = told.stable(high_watermark.min(end));
                    assert_eq!(log.last_stable_offset(), Offset(expected), "seed {seed}");
                }
                log.flush().await.unwrap();
                pause(&node, if rng.bool() { 3_000 } else { 0 }).await;
                if rng.bool() {
                    broker.stop().await;
                }
            });
            world.crash("a");
        }
        world.end();
    }
}

#[test]
fn records_that_are_deleted_hold_nothing_back() {
    let world = SimWorld::new(2);
    world.block_on(async {
        let (_node, _broker, log) = opened(&world).await;
        for base in 0..4 {
            follow(&log, &data(1, base, base.into(), 1), 1_000);
        }
        log.flush().await.unwrap();
        log.update_high_watermark(Offset(4));
        assert_eq!(log.last_stable_offset(), Offset(0));
        log.advance_log_start(Offset(2)).await.unwrap();
        assert_eq!(log.last_stable_offset(), Offset(2));
    });
    world.end();
}

#[test]
fn a_coordinator_that_was_replaced_ends_no_transaction() {
    let world = SimWorld::new(3);
    for life in 0..3 {
        world.block_on(async {
            let (node, _broker, log) = opened(&world).await;
            let now_ms = node.clock().unix_ms();
            let append = |bytes: &[u8]| log.append(bytes, AppendOrigin::Coordinator, LeaderEpoch(0), now_ms);
            if life == 0 {
                append(&data(1, 0, 0, 1)).unwrap();
                append(&marker_of(1, true, 7, 0)).unwrap();
            }
            let fenced = append(&marker_of(1, false, 6, 0));
            let is_fenced =
                matches!(fenced, Err(AppendError::CoordinatorFenced { incoming: 6, current: 7, .. }));
            assert!(is_fenced, "{fenced:?}");
            append(&marker_of(1, true, 7, 0)).unwrap();
            append(&batch(1, 1, 1, 1_000)).unwrap();
            log.flush().await.unwrap();
            pause(&node, if life == 1 { 3_000 } else { 0 }).await;
        });
        world.crash("a");
    }
    world.end();
}

/// What compaction leaves of a transaction that is gone: a marker without records.
#[test]
fn an_empty_control_batch_says_nothing() {
    let world = SimWorld::new(4);
    world.block_on(async {
        let (node, _broker, log) = opened(&world).await;
        let now_ms = node.clock().unix_ms();
        follow(&log, &data(1, 0, 0, 1), now_ms);
        let full = marker(1, 1);
        let mut empty = full[..model::RecordBatch::HEADER_SIZE].to_vec();
        let length = i32::try_from(empty.len() - model::RecordBatch::LOG_OVERHEAD).unwrap();
        empty[8..12].copy_from_slice(&length.to_be_bytes());
        empty[57..61].copy_from_slice(&0i32.to_be_bytes());
        let crc = crc32c::crc32c(&empty[model::RecordBatch::CRC_START..]);
        empty[17..21].copy_from_slice(&crc.to_be_bytes());
        follow(&log, &empty, now_ms);
        log.update_high_watermark(Offset(2));
        assert_eq!(log.last_stable_offset(), Offset(0));
    });
    world.end();
}

#[test]
fn a_cut_undoes_what_it_takes_of_a_transaction() {
    let world = SimWorld::new(9);
    world.block_on(async {
        let (_node, _broker, log) = opened(&world).await;
        for bytes in [plain(0), data(1, 0, 1, 2), marker(1, 3), data(2, 0, 4, 1), plain(5)] {
            follow(&log, &bytes, 1_000);
        }
        log.update_high_watermark(Offset(6));
        assert_eq!(log.last_stable_offset(), Offset(4));
        log.truncate_to(Offset(4), CutCommitted::Allow).await.unwrap();
        assert_eq!(log.last_stable_offset(), Offset(4), "the second has not begun");
        log.truncate_to(Offset(3), CutCommitted::Allow).await.unwrap();
        assert_eq!(log.last_stable_offset(), Offset(1), "the first has not ended");
        follow(&log, &marker(1, 3), 1_000);
        log.update_high_watermark(Offset(4));
        assert_eq!(log.last_stable_offset(), Offset(4));
        log.reset_to(Offset(50), CutCommitted::Allow).await.unwrap();
        assert_eq!((log.last_stable_offset(), log.high_watermark()), (Offset(50), Offset(50)));
    });
    world.end();
}
