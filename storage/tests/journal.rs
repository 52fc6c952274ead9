//! Proves that the journal acknowledges for several logs at once, keeps what it has acknowledged until the segments have it,
//! and gives it to nobody else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use model::{Offset, TopicId};
use runtime::sim::{Fault, FaultKind, OpKind, SimEffects, SimWorld};
use runtime::{Disk, Effects};
use storage::{AppendError, CommitMode, Log, LogConfig, LogManagerOptions, SealedRead, StorageError};
use support::{Broker, DIR, append, append_durably, batch, pause, read_all, start, tp};

const LOGS: i32 = 3;

/// Idle logs are left alone, so that the journal alone has what it has.
fn options(journal_bytes: u64) -> LogManagerOptions {
    LogManagerOptions {
        journal_bytes,
        idle_ms: 30_000,
        checkpoint_ms: 60_000,
        ..LogManagerOptions::default()
    }
}

/// What was sent to each log, by first offset.
type Sent = Vec<Vec<(i64, Bytes)>>;

/// Opens logs and appends to all of them at once, often enough for them to be prewritten and the journal to be made.
async fn warm_up(broker: &Broker) -> (Vec<Rc<Log<SimEffects>>>, Sent) {
    let mut logs = Vec::new();
    for number in 0..LOGS {
        logs.push(broker.log(number, &LogConfig::default()).await);
    }
    let mut sent = vec![Vec::new(); logs.len()];
    for (log, sent) in logs.iter().zip(&mut sent) {
        for i in 0..10 {
            let bytes = batch(i, 1, 100, 1_000);
            sent.push((append_durably(log, &bytes).await.first_offset.0, bytes));
        }
    }
    append_together(&logs, &mut sent, 1).await;
    pause(&broker.effects, 200).await;
    // The first group finds the journal made, and begins it.
    append_together(&logs, &mut sent, 1).await;
    (logs, sent)
}

async fn append_together(logs: &[Rc<Log<SimEffects>>], sent: &mut [Vec<(i64, Bytes)>], rounds: u64) {
    for round in 0..rounds {
        for (log, sent) in logs.iter().zip(sent.iter_mut()) {
            let bytes = batch(1_000 + round, 2, 150, 1_000);
            sent.push((append(log, &bytes).unwrap().first_offset.0, bytes));
        }
        for log in logs {
            log.flush().await.unwrap();
            log.check_invariants();
        }
    }
}

async fn verify(broker: &Broker, sent: &Sent) {
    for (number, sent) in (0..LOGS).zip(sent) {
        let log = broker.log(number, &LogConfig::default()).await;
        assert!(log.offline().is_none(), "{:?}", log.offline());
        assert_eq!(&read_all(&log, Offset(0), 1 << 20).await.unwrap(), sent, "log {number}");
    }
}

fn journals(world: &SimWorld) -> usize {
    let files = world.disk("a").files();
    files.iter().filter(|path| path.to_string_lossy().contains("/journal-")).count()
}

#[test]
fn what_only_the_journal_has_survives_a_power_cut() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    let sent = world.block_on(async {
        let broker = start(node.clone(), options(1 << 20)).await.unwrap();
        let (logs, mut sent) = warm_up(&broker).await;
        let before = broker.manager.stats();
        append_together(&logs, &mut sent, 20).await;
        let after = broker.manager.stats();
        assert_eq!(after.journal_entries - before.journal_entries, 20, "one write for all logs");
        assert_eq!(after.bytes_written, before.bytes_written, "and none of theirs");
        assert_eq!(after.durable_lag_bytes, 0);
        sent
    });
    world.crash("a");
    assert_eq!(journals(&world), 1);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options(1 << 20)).await.unwrap();
        assert_eq!(journals(&world), 0, "replayed and removed");
        verify(&broker, &sent).await;
        broker.stop().await;
    });
    world.end();
}

#[test]
fn halves_are_used_again_when_the_segments_have_what_is_in_them() {
    let world = SimWorld::new(2);
    let node = world.node("a");
    let sent = world.block_on(async {
        let broker = start(node.clone(), options(64 << 10)).await.unwrap();
        let (logs, mut sent) = warm_up(&broker).await;
        append_together(&logs, &mut sent, 200).await;
        let stats = broker.manager.stats();
        assert!(stats.journal_bytes > 4 * (64 << 10), "both halves, more than once: {}", stats.journal_bytes);
        sent
    });
    world.crash("a");
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options(64 << 10)).await.unwrap();
        verify(&broker, &sent).await;
        broker.stop().await;
        assert_eq!(journals(&world), 0);
    });
    world.end();
}

#[test]
fn a_clean_stop_leaves_everything_in_the_segments() {
    let world = SimWorld::new(3);
    let node = world.node("a");
    let sent = world.block_on(async {
        let broker = start(node.clone(), options(1 << 20)).await.unwrap();
        let (logs, mut sent) = warm_up(&broker).await;
        append_together(&logs, &mut sent, 20).await;
        assert_eq!(journals(&world), 1);
        broker.stop().await;
        sent
    });
    assert_eq!(journals(&world), 0);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options(1 << 20)).await.unwrap();
        assert!(broker.dir.was_clean());
        verify(&broker, &sent).await;
    });
    world.end();
}

#[test]
fn a_topic_created_again_gets_nothing_of_the_old_one() {
    let world = SimWorld::new(4);
    let node = world.node("a");
    let new_id = TopicId::from_random([7; 16]);
    let mut sent = world.block_on(async {
        let broker = start(node.clone(), options(1 << 20)).await.unwrap();
        let (logs, mut sent) = warm_up(&broker).await;
        append_together(&logs, &mut sent, 5).await;
        broker.manager.delete_log(&tp(0)).await.unwrap();
        let again = broker.manager.open_log(tp(0), new_id, LogConfig::default()).await.unwrap();
        assert_eq!(again.log_end_offset(), Offset(0));
        sent
    });
    world.kill("a");
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options(1 << 20)).await.unwrap();
        let again = broker.manager.open_log(tp(0), new_id, LogConfig::default()).await.unwrap();
        assert_eq!((again.log_end_offset(), again.offline().is_none()), (Offset(0), true));
        sent[0].clear();
        verify(&broker, &sent).await;
        broker.stop().await;
    });
    world.end();
}

#[test]
fn what_the_journal_has_does_not_hold_up_appends_that_need_its_memory() {
    let world = SimWorld::new(5);
    let node = world.node("a");
    world.block_on(async {
        let options = LogManagerOptions { append_bytes_max: 96 << 10, ..options(1 << 20) };
        let broker = start(node.clone(), options).await.unwrap();
        let (logs, mut sent) = warm_up(&broker).await;
        for _ in 0..300 {
            broker.manager.admitted(2_000).await;
            append_together(&logs, &mut sent, 1).await;
        }
        assert!(broker.manager.stats().journal_entries > 100);
        verify(&broker, &sent).await;
        broker.stop().await;
    });
    world.end();
}

#[test]
fn a_journal_that_cannot_be_written_fails_the_directory() {
    let world = SimWorld::new(6);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options(1 << 20)).await.unwrap();
        let (logs, sent) = warm_up(&broker).await;
        world.disk("a").inject(Fault::new(OpKind::Write, FaultKind::Eio).on("/journal-"));
        for log in &logs {
            append(log, &batch(1, 1, 100, 1_000)).unwrap();
        }
        for (log, sent) in logs.iter().zip(&sent) {
            let refused = log.flush().await;
            assert!(matches!(refused, Err(StorageError::DirectoryFailed(_))), "{refused:?}");
            let read = read_all(log, Offset(0), 1 << 20).await.unwrap();
            assert_eq!(read[..sent.len()], sent[..], "what was acknowledged can be read");
        }
        assert!(broker.dir.is_failed());
    });
    world.end();
}

#[test]
fn a_small_disk_does_without_a_journal() {
    let world = SimWorld::new(7);
    let node = world.node("a");
    world.block_on(async {
        world.disk("a").set_capacity(Some(1 << 20));
        let options = LogManagerOptions { disk_reserve_bytes: 64 << 10, ..options(64 << 20) };
        let broker = start(node.clone(), options).await.unwrap();
        let (logs, mut sent) = warm_up(&broker).await;
        append_together(&logs, &mut sent, 20).await;
        let journal =
            world.disk("a").files().into_iter().find(|path| path.to_string_lossy().contains("/journal-"));
        let size = journal.map_or(0, |path| world.disk("a").read(path).unwrap().len());
        assert!(size <= 128 << 10, "{size}");
        verify(&broker, &sent).await;
        broker.stop().await;
    });
    world.end();
}

#[test]
fn an_append_without_memory_is_refused_while_the_journal_has_something_of_the_log() {
    let world = SimWorld::new(8);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options(1 << 20)).await.unwrap();
        let (logs, mut sent) = warm_up(&broker).await;
        append_together(&logs, &mut sent, 1).await;
        let mut taken = Vec::new();
        for size in [1 << 20, 4 << 10] {
            taken.extend(std::iter::from_fn(|| node.buffers().chunk(size).ok()));
        }
        let refused = append(&logs[0], &batch(1, 1, 32 << 10, 1_000));
        assert!(matches!(refused, Err(AppendError::OverBudget)), "{refused:?}");
        drop(taken);
        append_together(&logs, &mut sent, 1).await;
        verify(&broker, &sent).await;
        broker.stop().await;
    });
    world.end();
}

#[test]
fn a_change_of_durability_does_not_take_back_what_was_durable() {
    for seed in 0..10 {
        let world = SimWorld::new(seed);
        let node = world.node("a");
        let sent = world.block_on(async {
            let broker = start(node.clone(), options(64 << 10)).await.unwrap();
            let (logs, mut sent) = warm_up(&broker).await;
            append_together(&logs, &mut sent, 20).await;
            logs[0].set_config(LogConfig { commit_mode: CommitMode::Kafka, ..LogConfig::default() });
            let relaxed = append(&logs[0], &batch(1, 1, 100, 1_000)).unwrap();
            logs[0].flush().await.unwrap();
            assert_eq!(logs[0].durable_end(), relaxed.last_offset.plus(1));
            // Until the journal has other things in place of what it had of the log.
            for _ in 0..300 {
                append_together(&logs[1..], &mut sent[1..], 1).await;
            }
            sent
        });
        world.crash("a");
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), options(64 << 10)).await.unwrap();
            for (number, sent) in (0..LOGS).zip(&sent) {
                let log = broker.log(number, &LogConfig::default()).await;
                assert!(log.offline().is_none(), "{:?}", log.offline());
                let found = read_all(&log, Offset(0), 1 << 20).await.unwrap();
                assert!(
                    found.starts_with(sent),
                    "seed {seed}, log {number}: {} of {}",
                    found.len(),
                    sent.len()
                );
            }
            broker.stop().await;
        });
        world.end();
    }
}

#[test]
fn a_prewrite_that_met_a_full_disk_does_not_count_as_room() {
    let world = SimWorld::new(9);
    let node = world.node("a");
    let options = LogManagerOptions { disk_reserve_bytes: 0, ..options(1 << 20) };
    let (mut sent, acknowledged) = world.block_on(async {
        let broker = start(node.clone(), options.clone()).await.unwrap();
        let (logs, mut sent) = warm_up(&broker).await;
        let space = node.disk().space(Path::new(DIR)).await.unwrap();
        world.disk("a").set_capacity(Some(space.total - space.available + 8_192));
        for i in 0..25 {
            for (log, sent) in logs.iter().zip(&mut sent) {
                let bytes = batch(i, 1, 4_000, 1_000);
                // Refused as soon as a segment has met the full disk.
                sent.extend(append(log, &bytes).ok().map(|info| (info.first_offset.0, bytes)));
            }
            pause(&broker.effects, 10).await;
        }
        let ends: Vec<Offset> = logs.iter().map(|log| log.durable_end()).collect();
        (sent, ends)
    });
    world.kill("a");
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options).await.unwrap();
        for (number, end) in (0..LOGS).zip(acknowledged) {
            let log = broker.log(number, &LogConfig::default()).await;
            assert!(log.log_end_offset() >= end);
            sent[usize::try_from(number).unwrap()].retain(|(first, _)| *first < log.log_end_offset().0);
        }
        verify(&broker, &sent).await;
    });
    world.end();
}

#[test]
fn a_read_hands_out_no_file_range_that_only_the_journal_has() {
    let world = SimWorld::new(10);
    let node = world.node("a");
    world.block_on(async {
        let options = LogManagerOptions {
            sealed_read: SealedRead::Sendfile,
            append_bytes_max: 128 << 10,
            ..options(1 << 20)
        };
        let broker = start(node.clone(), options).await.unwrap();
        let (helpers, mut sent) = warm_up(&broker).await;
        // The segment ends where its first prewrite does.
        let config = LogConfig { segment_bytes: 64 << 10, ..LogConfig::default() };
        let log = broker.log(LOGS, &config).await;
        let kilobyte = batch(1, 1, 1024 + 948 - batch(1, 1, 948, 1_000).len(), 1_000);
        assert_eq!(kilobyte.len(), 1024);
        for _ in 0..40 {
            append_durably(&log, &kilobyte).await;
        }
        broker.manager.admitted(64 << 10).await;
        for _ in 0..24 {
            append(&log, &kilobyte).unwrap();
            append_together(&helpers, &mut sent, 1).await;
            log.flush().await.unwrap();
        }
        world.disk("a").inject(Fault::new(OpKind::Write, FaultKind::Slow(Duration::from_secs(1))).on(".log"));
        append(&log, &kilobyte).unwrap();
        pause(&broker.effects, 10).await;
        assert_eq!((log.durable_end(), log.segment_count()), (Offset(64), 2));
        let read = log.read(Offset(0), 1 << 20, true, log.durable_end()).await.unwrap();
        assert_eq!(broker.manager.stats().reads_file, 1);
        assert!(read.size_bytes <= 40 << 10, "{}", read.size_bytes);
        broker.stop().await;
    });
    world.end();
}

#[test]
fn a_segment_that_the_journal_goes_on_with_must_be_there() {
    let segment = Path::new(DIR).join("topic-0/00000000000000000000.log");
    for is_cut in [false, true] {
        let world = SimWorld::new(11);
        let node = world.node("a");
        let mut sent = world.block_on(async {
            let broker = start(node.clone(), options(1 << 20)).await.unwrap();
            let (logs, mut sent) = warm_up(&broker).await;
            append_together(&logs, &mut sent, 5).await;
            sent
        });
        world.kill("a");
        let node = world.node("a");
        world.block_on(async {
            if is_cut {
                world.disk("a").set_content(&segment, vec![0; 100]);
            } else {
                node.disk().remove_file(&segment).await.unwrap();
            }
            for _ in 0..2 {
                let refused = start(node.clone(), options(1 << 20)).await.err();
                assert!(
                    matches!(&refused, Some(StorageError::Mismatch { path, .. }) if *path == segment),
                    "{refused:?}"
                );
            }
            let dir = segment.parent().unwrap();
            node.disk().rename(dir, &Path::new(DIR).join("lost+found")).await.unwrap();
            let broker = start(node.clone(), options(1 << 20)).await.unwrap();
            sent[0].clear();
            verify(&broker, &sent).await;
            broker.stop().await;
        });
        world.end();
    }
}

#[test]
fn a_partition_that_comes_back_gets_nothing_of_the_old_one() {
    let world = SimWorld::new(12);
    let node = world.node("a");
    let again = world.block_on(async {
        let broker = start(node.clone(), options(1 << 20)).await.unwrap();
        let (logs, mut sent) = warm_up(&broker).await;
        append_together(&logs, &mut sent, 5).await;
        broker.manager.delete_log(&tp(0)).await.unwrap();
        let log = broker.log(0, &LogConfig::default()).await;
        let mut again = Vec::new();
        for i in 0..60 {
            let bytes = batch(i, 1, 50, 1_000);
            again.push((append_durably(&log, &bytes).await.first_offset.0, bytes));
        }
        again
    });
    world.kill("a");
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options(1 << 20)).await.unwrap();
        let log = broker.log(0, &LogConfig::default()).await;
        assert!(log.offline().is_none(), "{:?}", log.offline());
        assert_eq!(read_all(&log, Offset(0), 1 << 20).await.unwrap(), again);
    });
    world.end();
}

#[test]
fn a_start_that_cannot_read_an_identity_loses_nothing_of_what_the_journal_has() {
    const IDENTITY: &str = "/data/topic-1/partition.metadata";
    for gone in [false, true] {
        let world = SimWorld::new(30);
        let node = world.node("a");
        let sent = world.block_on(async {
            let broker = start(node.clone(), options(1 << 20)).await.unwrap();
            let (logs, mut sent) = warm_up(&broker).await;
            append_together(&logs, &mut sent, 5).await;
            assert!(broker.manager.stats().journal_entries >= 5);
            sent
        });
        world.kill("a");
        let good = world.disk("a").read(IDENTITY).unwrap();
        if gone {
            let node = world.node("a");
            world.block_on(async { node.disk().remove_file(Path::new(IDENTITY)).await.unwrap() });
            world.kill("a");
        } else {
            assert!(world.disk("a").corrupt(IDENTITY, 30));
        }
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), options(1 << 20)).await.unwrap();
            let refused =
                broker.manager.open_log(tp(1), support::topic_id(), LogConfig::default()).await.unwrap_err();
            assert!(matches!(refused, StorageError::Mismatch { .. }), "{refused}");
        });
        world.kill("a");
        world.disk("a").set_content(IDENTITY, good);
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), options(1 << 20)).await.unwrap();
            verify(&broker, &sent).await;
        });
        world.end();
    }
}
