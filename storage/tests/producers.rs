//! Proves that the last five batches of every producer outlive whatever a log does: stops, crashes behind a checkpoint, rolls;
//! that snapshots leave nothing behind; that producers are forgotten when their time is up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::rc::Rc;
use std::time::Duration;

use model::Offset;
use runtime::sim::{SimEffects, SimWorld};
use runtime::{Clock, Effects};
use storage::{AppendError, AppendOrigin, Log, LogConfig, LogManagerOptions};

use support::{Broker, append, append_durably, batch, idempotent, pause, read_all, start};

/// Producers with as many batches as their number.
const PRODUCERS: i32 = 9;

fn options() -> LogManagerOptions {
    LogManagerOptions { producer_id_expiration_ms: u64::MAX, ..LogManagerOptions::default() }
}

fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 2 << 10,
        retention_bytes: Some(6 << 10),
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    }
}

async fn opened(world: &SimWorld) -> (SimEffects, Broker, Rc<Log<SimEffects>>) {
    let node = world.node("a");
    let broker = start(node.clone(), options()).await.unwrap();
    let log = broker.log(0, &small()).await;
    (node, broker, log)
}

/// Appends batch `sequence` of all producers that have so many.
async fn round(log: &Rc<Log<SimEffects>>, sequence: i32) {
    for producer in sequence + 1..=PRODUCERS {
        append(log, &idempotent(producer.into(), sequence, 1)).unwrap();
    }
    log.flush().await.unwrap();
    log.update_high_watermark(log.durable_end());
}

/// Sends the last five batches of every producer again, and the one before them.
fn check(log: &Rc<Log<SimEffects>>, what: &str) {
    let end = log.log_end_offset();
    for producer in 1..=PRODUCERS {
        for sequence in (producer - 5).max(0)..producer {
            let again = append(log, &idempotent(producer.into(), sequence, 1));
            assert!(
                again.as_ref().is_ok_and(|info| info.duplicate),
                "{what}: {sequence} of {producer}: {again:?}"
            );
        }
        let gap = append(log, &idempotent(producer.into(), producer + 1, 1));
        assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { .. })), "{what}: {gap:?}");
    }
    assert_eq!(log.log_end_offset(), end, "{what}: nothing was appended");
}

fn offsets(world: &SimWorld, ending: &str) -> Vec<String> {
    let files = world.disk("a").files();
    let names = files.iter().filter_map(|path| Some(path.to_str()?.strip_suffix(ending)?.to_owned()));
    names.collect()
}

/// Each file of batches has its snapshot, and no snapshot stays that is not at a segment's start or the newest.
fn check_files(world: &SimWorld, what: &str) {
    let [batches, snapshots, segments] =
        [".batches", ".snapshot", ".log"].map(|ending| offsets(world, ending));
    assert!(!batches.is_empty(), "{what}");
    assert_eq!(batches, snapshots, "{what}");
    let inside = snapshots.iter().filter(|offset| !segments.contains(offset)).count();
    assert!(inside <= 2, "{what}: {snapshots:?} of {segments:?}");
}

#[test]
fn the_last_five_batches_outlive_stops_and_crashes() {
    for crash in [false, true] {
        // The last checkpoint comes before this round; what is behind it is replayed.
        for checkpoint in 0..=PRODUCERS {
            let world = SimWorld::new(u64::try_from(checkpoint).unwrap());
            world.block_on(async {
                let (node, broker, log) = opened(&world).await;
                for sequence in 0..PRODUCERS {
                    if sequence == checkpoint {
                        pause(&node, 3_000).await;
                    }
                    round(&log, sequence).await;
                }
                if !crash {
                    broker.stop().await;
                }
            });
            if crash {
                world.crash("a");
            } else {
                world.kill("a");
            }
            let what = format!("crash {crash}, checkpoint {checkpoint}");
            world.block_on(async {
                let (node, broker, log) = opened(&world).await;
                check(&log, &what);
                // And the next start as well, whatever this one has written.
                pause(&node, 3_000).await;
                broker.stop().await;
            });
            world.kill("a");
            world.block_on(async {
                let (_, _, log) = opened(&world).await;
                check(&log, &format!("{what}, again"));
            });
            world.end();
        }
    }
}

#[test]
fn files_of_batches_go_with_their_snapshots() {
    let world = SimWorld::new(3);
    for life in 0..4 {
        world.block_on(async {
            let (node, broker, log) = opened(&world).await;
            for sequence in life * 30..(life + 1) * 30 {
                append_durably(&log, &idempotent(1, 3 * sequence, 3)).await;
                if sequence % 10 == 0 {
                    pause(&node, 3_000).await;
                    broker.manager.apply_retention().await.unwrap();
                }
            }
            pause(&node, 60_000).await;
            check_files(&world, &format!("life {life}"));
            assert!(log.log_start_offset() > Offset(0) || life == 0, "retention has removed something");
            if life % 2 == 0 {
                broker.stop().await;
            }
        });
        world.crash("a");
    }
    // One whose snapshot is gone.
    world.disk("a").set_content("/data/topic-0/00000000000000000007.batches", vec![1, 2, 3]);
    world.block_on(async {
        let (_, broker, log) = opened(&world).await;
        assert!(log.offline().is_none());
        broker.stop().await;
        check_files(&world, "in the end");
    });
    world.end();
}

/// What Kafka leaves: snapshots only, and perhaps files of ours from before.
#[test]
fn without_files_of_batches_a_log_opens_with_one_batch_of_each() {
    for stale in [false, true] {
        let world = SimWorld::new(4);
        world.block_on(async {
            let (_, broker, log) = opened(&world).await;
            for sequence in 0..7 {
                append_durably(&log, &idempotent(1, sequence, 1)).await;
            }
            broker.stop().await;
        });
        world.kill("a");
        let node = world.node("a");
        world.block_on(async {
            for path in world.disk("a").files() {
                if path.to_string_lossy().ends_with(".batches") {
                    runtime::Disk::remove_file(node.disk(), &path).await.unwrap();
                }
            }
        });
        if stale {
            world.disk("a").set_content("/data/topic-0/00000000000000000007.batches", vec![0; 100]);
        }
        world.kill("a");
        world.block_on(async {
            let (_, _, log) = opened(&world).await;
            assert!(append(&log, &idempotent(1, 6, 1)).unwrap().duplicate);
            assert!(append(&log, &idempotent(1, 5, 1)).is_err());
            assert!(!append(&log, &idempotent(1, 7, 1)).unwrap().duplicate);
        });
        world.end();
    }
}

#[test]
fn producers_expire_in_logs_at_rest_and_at_a_start() {
    let world = SimWorld::new(5);
    world.set_time_max(Duration::from_secs(100_000));
    let options = LogManagerOptions {
        producer_id_expiration_ms: 3_600_000,
        producer_expiry_check_ms: 60_000,
        ..LogManagerOptions::default()
    };
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options.clone()).await.unwrap();
        let log = broker.log(0, &LogConfig::default()).await;
        let now = || node.clock().unix_ms();
        for producer in 0..1000 {
            // Their records are old, but they are not.
            log.append(&idempotent(producer, 0, 1), AppendOrigin::Client, model::LeaderEpoch(0), now())
                .unwrap();
        }
        log.flush().await.unwrap();
        pause(&node, 3_500_000).await;
        assert_eq!(broker.manager.stats().producers, 1000);
        log.append(&idempotent(7, 1, 1), AppendOrigin::Client, model::LeaderEpoch(0), now()).unwrap();
        pause(&node, 200_000).await;
        assert_eq!(broker.manager.stats().producers, 1, "the others have not written for an hour");
        broker.stop().await;
    });
    for (after_ms, left) in [(1_000_000, 1), (2_600_000, 0)] {
        world.run_for(Duration::from_millis(after_ms));
        world.kill("a");
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), options.clone()).await.unwrap();
            let log = broker.log(0, &LogConfig::default()).await;
            assert_eq!(broker.manager.stats().producers, left, "after {after_ms} ms");
            drop(log);
            broker.stop().await;
        });
    }
    world.end();
}

#[test]
fn a_deleted_log_gives_back_its_producers() {
    let world = SimWorld::new(6);
    let node = world.node("a");
    world.block_on(async {
        let options = LogManagerOptions { producers_max: 100, ..options() };
        let broker = start(node.clone(), options).await.unwrap();
        let log = broker.log(0, &LogConfig::default()).await;
        for producer in 0..500 {
            append(&log, &idempotent(producer, 0, 1)).unwrap();
        }
        assert_eq!(broker.manager.stats().producers, 100);
        assert!(append(&log, &idempotent(499, 0, 1)).unwrap().duplicate);
        assert!(!append(&log, &idempotent(0, 0, 1)).unwrap().duplicate, "forgotten");
        log.flush().await.unwrap();
        drop(log);
        broker.manager.delete_log(&support::tp(0)).await.unwrap();
        pause(&node, 5_000).await;
        assert_eq!(broker.manager.stats().producers, 0);
        let log = broker.log(0, &LogConfig::default()).await;
        append_durably(&log, &batch(1, 1, 1, 1_000)).await;
        assert_eq!(read_all(&log, Offset(0), 1 << 20).await.unwrap().len(), 1);
    });
    world.end();
}
