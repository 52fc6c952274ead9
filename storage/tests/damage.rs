//! Proves that a restart tells durable data that is gone from what an unfinished write leaves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;

use bytes::Bytes;
use model::{Offset, RecordBatchBuilder};
use runtime::sim::{Fault, FaultKind, OpKind, SimWorld};
use runtime::{Disk, Effects};
use storage::{CommitMode, LogConfig, LogManagerOptions, StorageError};
use support::{append, append_durably, batch, pause, read_all, start, topic_id, tp};

const PARTITION: &str = "/data/topic-0";

fn log_file(base: u64) -> String {
    format!("{PARTITION}/{base:020}.log")
}

/// A log of eight records in segments of four, checkpointed, its start at 2; the broker is gone.
fn stopped_log(world: &SimWorld, clean: bool) {
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let config = LogConfig { segment_bytes: 5_000, retention_ms: None, ..LogConfig::default() };
        let log = broker.log(0, &config).await;
        for i in 0..8 {
            append_durably(&log, &batch(i, 1, 1_100, 1_000)).await;
        }
        assert_eq!(log.segment_count(), 2);
        log.advance_log_start(Offset(2)).await.unwrap();
        pause(&node, 5_000).await;
        if clean {
            broker.stop().await;
        }
    });
    world.kill("a");
}

fn remove(world: &SimWorld, which: impl Fn(&str) -> bool) {
    let node = world.node("a");
    world.block_on(async {
        for file in world.disk("a").files().iter().filter(|file| file.to_str().is_some_and(&which)) {
            node.disk().remove_file(file).await.unwrap();
        }
    });
    world.kill("a");
}

/// Opens the log and says why it takes no appends.
fn refusal(world: &SimWorld) -> String {
    let node = world.node("a");
    let refusal = world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        match broker.manager.open_log(tp(0), topic_id(), LogConfig::default()).await {
            Err(error @ StorageError::Missing { .. }) => error.to_string(),
            Err(error) => panic!("{error}"),
            Ok(log) => {
                assert!(append(&log, &batch(0, 1, 1, 1_000)).is_err() || log.offline().is_none());
                log.offline().map(|error| error.to_string()).unwrap_or_default()
            }
        }
    });
    world.kill("a");
    refusal
}

#[test]
fn lost_files_with_durable_data_take_the_log_offline() {
    let all: &[u64] = &[0, 4];
    // Files that are emptied, files that are removed, what the refusal says.
    let cases: [(&[u64], &[u64], &str); 5] = [
        (&[4], &[], "everything below offset 8 was durable"),
        (all, &[], "the next segment starts at offset 4"),
        (&[], &[4], "everything below offset 8 was durable"),
        (&[], all, "00000000000000000002.log is missing"),
        (&[0], &[4], "everything below offset 8 was durable"),
    ];
    for clean in [false, true] {
        for (emptied, removed, expected) in cases {
            let world = SimWorld::new(1);
            stopped_log(&world, clean);
            let disk = world.disk("a");
            // Only what lies behind the newest snapshot is looked at.
            remove(&world, |name| name.ends_with(".snapshot"));
            let kept: Vec<_> = [0, 4].map(|base| disk.read(log_file(base)).unwrap()).into();
            emptied.iter().for_each(|&base| disk.set_content(log_file(base), Vec::new()));
            remove(&world, |name| removed.iter().any(|&base| name == log_file(base)));
            for _ in 0..2 {
                let said = refusal(&world);
                assert!(said.contains(expected), "{emptied:?} {removed:?}: {said:?}");
            }
            // When the files are back, all is there.
            for (base, content) in [0, 4].into_iter().zip(kept) {
                disk.set_content(log_file(base), content);
            }
            let node = world.node("a");
            world.block_on(async {
                let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
                let log = broker.log(0, &LogConfig::default()).await;
                assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(2), Offset(8)));
                assert_eq!(read_all(&log, Offset(2), 1 << 20).await.unwrap().len(), 6);
            });
            world.end();
        }
    }
}

#[test]
fn a_lost_directory_or_identity_takes_the_log_offline() {
    for whole in [false, true] {
        let world = SimWorld::new(2);
        stopped_log(&world, true);
        let identity = format!("{PARTITION}/partition.metadata");
        if whole {
            let node = world.node("a");
            world.block_on(async { node.disk().remove_dir_all(Path::new(PARTITION)).await.unwrap() });
            world.kill("a");
        } else {
            remove(&world, |name| name == identity);
        }
        for _ in 0..2 {
            let said = refusal(&world);
            let missing = if whole { PARTITION } else { &identity };
            assert!(said.starts_with(&format!("{missing} is missing")), "{said}");
        }
        // The way out without a copy: the topic is deleted and created again.
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            broker.manager.delete_unopened(&tp(0), topic_id(), |_| true).await.unwrap();
            let log = broker.log(0, &LogConfig::default()).await;
            append_durably(&log, &batch(0, 1, 1, 1_000)).await;
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(0), Offset(1)));
        });
        world.end();
    }
}

/// A batch of exactly `size` bytes at `offset`.
fn sized(offset: i64, size: usize) -> Bytes {
    let build = |value: usize| {
        let value = vec![b'x'; value];
        RecordBatchBuilder::new(Offset(offset)).record(1_000, None, Some(&value)).build()
    };
    // The lengths of value and record take more bytes the larger they are.
    let value = (size.saturating_sub(100)..size).find(|&value| build(value).len() == size);
    build(value.expect("there is a value for the size"))
}

/// Opens a log whose only file holds batches of these sizes and then zeros, with the page at 8192 torn. Yields the end
/// of the log, or `None` if it is offline.
fn torn(sizes: &[usize]) -> Option<i64> {
    let world = SimWorld::new(3);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        broker.log(0, &LogConfig::default()).await;
    });
    world.kill("a");
    let batches = (0..).zip(sizes).map(|(offset, &size)| sized(offset, size));
    let mut content = batches.collect::<Vec<_>>().concat();
    content.resize(content.len().next_multiple_of(4096) + 8192, 0);
    content[8192..12_288].fill(0);
    world.disk("a").set_content(log_file(0), content);
    let node = world.node("a");
    let end = world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &LogConfig::default()).await;
        log.offline().is_none().then(|| log.log_end_offset().0)
    });
    world.end();
    end
}

#[test]
fn whole_batches_behind_the_end_of_a_torn_write_are_no_proof_of_damage() {
    const GROUP: usize = 1 << 20;
    for (sizes, end) in [
        // A group that ends just below the limit, and batches that came later in its last page.
        (vec![200, GROUP - 10, 80, 80, 80], Some(1)),
        (vec![200, GROUP / 2, GROUP / 2 - 10, 3_000, 80], Some(1)),
        // One large batch, and batches that came later in its last page.
        (vec![200, 3 * GROUP, 80, 80], Some(1)),
        (vec![4 * GROUP + 300, 80, 80, 80], Some(0)),
        // Good batches in more than one page are beyond any write.
        (vec![200, GROUP - 10, 80, 4_100, 4_100], None),
        (vec![200, 3 * GROUP, 80, 4_000, 80], None),
        (vec![200, 3 * GROUP, 4_100], None),
    ] {
        assert_eq!(torn(&sizes), end, "{sizes:?}");
    }
}

#[test]
fn retention_by_size_counts_what_is_durable() {
    let world = SimWorld::new(4);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let config = LogConfig {
            segment_bytes: 5_000,
            retention_ms: None,
            retention_bytes: Some(9_000),
            ..LogConfig::default()
        };
        let log = broker.log(0, &config).await;
        for i in 0..8 {
            append_durably(&log, &batch(i, 1, 1_100, 1_000)).await;
        }
        pause(&node, 3_000).await;
        let slow = FaultKind::Slow(std::time::Duration::from_secs(60));
        world.disk("a").inject(Fault::new(OpKind::Write, slow).on(".log"));
        for i in 8..30 {
            append(&log, &batch(i, 1, 1_100, 1_000)).unwrap();
        }
        log.apply_retention().await.unwrap();
        assert_eq!(log.log_start_offset(), Offset(0), "what is not durable may be lost");
        log.flush().await.unwrap();
        log.update_high_watermark(log.durable_end());
        log.apply_retention().await.unwrap();
        assert!(log.log_start_offset() > Offset(8));
    });
    world.end();
}

fn kafka_mode() -> LogConfig {
    LogConfig { commit_mode: CommitMode::Kafka, segment_bytes: 5_000, ..LogConfig::default() }
}

#[test]
fn the_recovery_point_passes_nothing_that_is_only_in_the_page_cache() {
    for seed in 0..20 {
        let world = SimWorld::new(seed);
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let log = broker.log(0, &kafka_mode()).await;
            for i in 0..10 {
                append_durably(&log, &batch(i, 1, 1_100, 1_000)).await;
            }
            // Idle, so that the recovery point is at the end.
            pause(&node, 5_000).await;
            append_durably(&log, &batch(10, 1, 1_100, 1_000)).await;
        });
        world.crash("a");
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            // As a topic that waits for its disk, so that anything missing below the recovery point is noticed.
            let log = broker.log(0, &LogConfig::default()).await;
            assert!(log.offline().is_none(), "seed {seed}: {:?}", log.offline());
            let found = read_all(&log, Offset(0), 1 << 20).await.unwrap();
            assert!(found.len() >= 10, "seed {seed}: {}", found.len());
        });
        world.end();
    }
}

#[test]
fn what_is_acknowledged_after_the_mode_has_changed_is_durable_with_all_before() {
    for seed in 0..20 {
        let world = SimWorld::new(seed);
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let log = broker.log(0, &kafka_mode()).await;
            for i in 0..6 {
                append(&log, &batch(i, 1, 1_100, 1_000)).unwrap();
            }
            log.flush().await.unwrap();
            log.set_config(LogConfig { commit_mode: CommitMode::Fsync, ..kafka_mode() });
            append_durably(&log, &batch(6, 1, 1_100, 1_000)).await;
        });
        world.crash("a");
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let log = broker.log(0, &LogConfig::default()).await;
            assert!(log.offline().is_none(), "seed {seed}: {:?}", log.offline());
            let found = read_all(&log, Offset(0), 1 << 20).await.unwrap();
            assert_eq!(found.len(), 7, "seed {seed}");
        });
        world.end();
    }
}

#[test]
fn damage_below_the_recovery_point_costs_nothing_behind_it() {
    for side_file in [".snapshot", ".index"] {
        let world = SimWorld::new(1);
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let log = broker.log(0, &kafka_mode()).await;
            for i in 0..20 {
                append_durably(&log, &batch(i, 1, 1_100, 1_000)).await;
            }
            // Idle, so that all of it is durable and the recovery point at the end.
            pause(&node, 5_000).await;
            broker.stop().await;
        });
        let files: Vec<_> = world.disk("a").files();
        for path in files.iter().filter(|path| path.to_string_lossy().ends_with(side_file)) {
            world.disk("a").set_content(path, b"damaged".to_vec());
        }
        let logs =
            || world.disk("a").files().iter().filter(|path| path.to_string_lossy().ends_with(".log")).count();
        let before = logs();
        assert!(before > 4);
        assert!(world.disk("a").corrupt(log_file(0), 2_000));
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let log = broker.log(0, &kafka_mode()).await;
            assert_eq!(logs(), before, "{side_file}: {log:?}, {:?}", log.offline());
        });
        world.end();
    }
}
