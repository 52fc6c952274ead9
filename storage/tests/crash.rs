//! Proves that nothing acknowledged is lost or changed, whenever the power is cut, the process is killed or the
//! disk fails, and that damage to durable data is never silently dropped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use model::Offset;
use runtime::Effects;
use runtime::sim::{Fault, FaultKind, OpKind, SimEffects, SimWorld};
use storage::{AppendError, Log, LogConfig, LogManagerOptions, ReadError, StorageError};
use support::{Broker, append, append_durably, batch, idempotent, listen, pause, read_all, start};

const LOG: &str = "/data/topic-0/00000000000000000000.log";

fn options() -> LogManagerOptions {
    LogManagerOptions { producer_id_expiration_ms: u64::MAX, ..LogManagerOptions::default() }
}

fn small() -> LogConfig {
    LogConfig { segment_bytes: 20 << 10, index_interval_bytes: 1024, ..LogConfig::default() }
}

/// What was sent and what of it was acknowledged.
#[derive(Default)]
struct Sent {
    batches: Vec<(i64, Bytes)>,
    acknowledged_end: i64,
}

/// Appends batches of several sizes to two logs; notes what becomes durable.
async fn work(broker: &Broker, sent: &[RefCell<Sent>; 2], rounds: u64) {
    let logs = [broker.log(0, &small()).await, broker.log(1, &small()).await];
    for round in 0..rounds {
        for (log, sent) in logs.iter().zip(sent) {
            for i in 0..=round % 3 {
                let size = usize::try_from((round * 131 + i * 977) % 5000).unwrap();
                let bytes = batch(round * 10 + i, 2, size, 1_000);
                let info = append(log, &bytes).unwrap();
                sent.borrow_mut().batches.push((info.first_offset.0, bytes));
            }
        }
        for (log, sent) in logs.iter().zip(sent) {
            log.flush().await.unwrap();
            log.update_high_watermark(log.durable_end());
            sent.borrow_mut().acknowledged_end = log.durable_end().0;
            log.check_invariants();
        }
        if round % 4 == 3 {
            pause(&broker.effects, 1_600).await;
        }
    }
}

/// After a restart: all that was acknowledged is there; what else is there was sent.
async fn verify(broker: &Broker, sent: &[RefCell<Sent>; 2], what: &str) {
    for (partition, sent) in (0i32..).zip(sent) {
        let log = broker.log(partition, &small()).await;
        assert!(log.offline().is_none(), "{what}: {:?}", log.offline());
        log.check_invariants();
        let end = log.log_end_offset().0;
        let acknowledged = sent.borrow().acknowledged_end;
        assert!(end >= acknowledged, "{what}: {end} of {acknowledged} acknowledged");
        sent.borrow_mut().batches.retain(|&(offset, _)| offset < end);
        let found = read_all(&log, Offset(0), 1 << 20).await.unwrap();
        assert_eq!(found, sent.borrow().batches, "{what}");
        // The log goes on.
        let bytes = batch(999, 1, 10, 1_000);
        let info = append(&log, &bytes).unwrap();
        sent.borrow_mut().batches.push((info.first_offset.0, bytes));
        log.flush().await.unwrap();
        sent.borrow_mut().acknowledged_end = log.durable_end().0;
    }
}

#[test]
fn a_power_cut_at_every_disk_operation_loses_nothing_acknowledged() {
    let rounds = 9;
    let operations = {
        let world = SimWorld::new(0);
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), options()).await.unwrap();
            work(&broker, &Default::default(), rounds).await;
            broker.stop().await;
        });
        let operations = world.disk("a").changes(OpKind::Any);
        world.end();
        operations
    };
    assert!(operations > 100, "{operations}");
    for at in 1..=operations + 5 {
        let world = SimWorld::new(at);
        let sent: [RefCell<Sent>; 2] = Default::default();
        // The second life is cut too, within its recovery; the third has to hold everything.
        for life in 0..3u64 {
            let node = world.node("a");
            match life {
                0 => world.disk("a").crash_at(OpKind::Any, at),
                1 => world.disk("a").crash_at(OpKind::Any, 1 + at % 7),
                _ => {}
            }
            let whole = world.run_on(&node, async {
                let broker = start(node.clone(), options()).await.unwrap();
                if life == 0 {
                    work(&broker, &sent, rounds).await;
                    broker.stop().await;
                } else {
                    verify(&broker, &sent, &format!("cut at {at}, life {life}")).await;
                }
            });
            assert!(life != 0 || whole.is_none() || at > operations / 2, "the power is cut");
            assert!(life != 2 || whole.is_some());
            if world.is_up("a") {
                world.kill("a");
            }
        }
        world.end();
    }
}

#[test]
fn a_power_cut_within_retention_moves_the_start_and_loses_nothing_else() {
    let config =
        LogConfig { retention_bytes: Some(8_000), file_delete_delay_ms: 0, segment_bytes: 6_000, ..small() };
    for at in 1.. {
        let world = SimWorld::new(at);
        let acknowledged = RefCell::new((0, 0));
        let node = world.node("a");
        world.disk("a").crash_at(OpKind::Any, at);
        let whole = world.run_on(&node, async {
            let broker = start(node.clone(), options()).await.unwrap();
            let log = broker.log(0, &config).await;
            for i in 0..24 {
                append_durably(&log, &batch(i, 1, 1_500, 1_000)).await;
                acknowledged.borrow_mut().1 = log.durable_end().0;
                if i % 5 == 4 {
                    broker.manager.apply_retention().await.unwrap();
                    log.check_invariants();
                    // The last pass lets everything go.
                    log.set_config(LogConfig {
                        retention_bytes: Some(if i > 14 { 0 } else { 8_000 }),
                        ..config.clone()
                    });
                    acknowledged.borrow_mut().0 = log.log_start_offset().0;
                }
            }
        });
        if world.is_up("a") {
            world.kill("a");
        }
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), options()).await.unwrap();
            let log = broker.log(0, &config).await;
            assert!(log.offline().is_none(), "cut at {at}: {:?}", log.offline());
            log.check_invariants();
            let (start, end) = *acknowledged.borrow();
            assert!(log.log_end_offset().0 >= end, "cut at {at}: {log:?}, {end} acknowledged");
            assert!(log.log_start_offset().0 >= start, "cut at {at}: {log:?}, starts at {start}");
            let found = read_all(&log, log.log_start_offset(), 1 << 20).await.unwrap();
            assert_eq!(
                found.len(),
                usize::try_from(log.log_end_offset().0 - log.log_start_offset().0).unwrap()
            );
            append_durably(&log, &batch(1, 1, 1, 1_000)).await;
        });
        world.end();
        if whole.is_some() {
            assert!(at > 50, "{at}");
            return;
        }
    }
}

#[test]
fn kills_lose_nothing_acknowledged() {
    for seed in 0..40 {
        let world = SimWorld::new(seed);
        let sent: [RefCell<Sent>; 2] = Default::default();
        let node = world.node("a");
        let task = {
            let node = node.clone();
            async move {
                let broker = start(node.clone(), options()).await.unwrap();
                work(&broker, &sent, 4 + seed % 9).await;
                (broker.dir.was_clean(), sent)
            }
        };
        let (_, sent) = world.block_on(task);
        world.kill("a");
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), options()).await.unwrap();
            assert!(!broker.dir.was_clean());
            verify(&broker, &sent, &format!("seed {seed}")).await;
        });
        world.end();
    }
}

/// A log of five batches, as a killed broker left it, with its content.
fn killed_log(world: &SimWorld) -> (Vec<(i64, Bytes)>, Vec<u8>) {
    let node = world.node("a");
    let mut expected = Vec::new();
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions { prewrite: false, ..options() }).await.unwrap();
        let log = broker.log(0, &LogConfig::default()).await;
        for i in 0..5 {
            let sent = batch(i, 2, 40, 1_000);
            let info = append_durably(&log, &sent).await;
            expected.push((info.first_offset.0, sent));
        }
    });
    world.kill("a");
    let size: usize = expected.iter().map(|(_, batch)| batch.len()).sum();
    let content = world.disk("a").read(LOG).unwrap();
    (expected, content[..size].to_vec())
}

async fn reopen(node: &SimEffects) -> (Broker, Rc<Log<SimEffects>>) {
    let broker = start(node.clone(), options()).await.unwrap();
    let log = broker.log(0, &LogConfig::default()).await;
    (broker, log)
}

#[test]
fn a_tail_torn_at_every_byte_is_cut_at_the_last_whole_batch() {
    let world = SimWorld::new(1);
    let (expected, content) = killed_log(&world);
    let mut ends = vec![0];
    expected.iter().for_each(|(_, batch)| ends.push(ends.last().unwrap() + batch.len()));
    for cut in 0..=content.len() {
        for garbage in [0, 0xff] {
            let mut torn = content[..cut].to_vec();
            torn.resize(content.len() + 777, garbage);
            world.disk("a").set_content(LOG, torn);
            let node = world.node("a");
            world.block_on(async {
                let (_broker, log) = reopen(&node).await;
                assert!(log.offline().is_none());
                let whole = ends.iter().filter(|&&end| end > 0 && end <= cut).count();
                let found = read_all(&log, Offset(0), 1 << 20).await.unwrap();
                // A cut within trailing bytes that happen to be the fill is no cut.
                assert!(found.len() >= whole && found == expected[..found.len()], "cut at {cut}");
                assert!(found.len() <= whole + 1);
                append_durably(&log, &batch(9, 1, 1, 1_000)).await;
            });
            world.kill("a");
        }
    }
    world.end();
}

#[test]
fn damage_below_the_recovery_point_is_found_by_the_reader() {
    let world = SimWorld::new(2);
    let (expected, content) = killed_log(&world);
    let size = expected[0].1.len();
    let node = world.node("a");
    // Idle for a while, so that the recovery point is at the end.
    world.block_on(async {
        let (_broker, log) = reopen(&node).await;
        pause(&node, 5_000).await;
        assert_eq!(log.log_end_offset(), Offset(10));
    });
    world.kill("a");
    // The leader epoch (bytes 12 to 15 of a batch) is outside the checksum: its damage cannot be told.
    for position in (61..content.len()).step_by(13).filter(|position| !(12..16).contains(&(position % size)))
    {
        assert!(world.disk("a").corrupt(LOG, position));
        let node = world.node("a");
        world.block_on(async {
            let (_broker, log) = reopen(&node).await;
            // Either it is noticed at the start, or when the batch is read; the log is never shorter.
            assert_eq!(world.disk("a").read(LOG).unwrap().len(), content.len());
            let read = read_all(&log, Offset(0), 1 << 20).await;
            let noticed = matches!(read, Err(ReadError::Corrupt(_))) || log.offline().is_some();
            assert!(noticed, "position {position}");
        });
        world.kill("a");
        world.disk("a").set_content(LOG, content.clone());
    }
    world.end();
}

#[test]
fn an_invalid_batch_far_before_a_valid_one_takes_the_log_offline() {
    for (batches, offline) in [(600, true), (60, false)] {
        let world = SimWorld::new(3);
        let node = world.node("a");
        world.block_on(async {
            let broker =
                start(node.clone(), LogManagerOptions { idle_ms: 1 << 40, ..options() }).await.unwrap();
            let log = broker.log(0, &LogConfig::default()).await;
            for i in 0..batches {
                append(&log, &batch(i, 1, 4_000, 1_000)).unwrap();
            }
            log.flush().await.unwrap();
        });
        world.kill("a");
        let before = world.disk("a").read(LOG).unwrap();
        assert!(world.disk("a").corrupt(LOG, 20_000));
        let node = world.node("a");
        world.block_on(async {
            let (broker, log) = reopen(&node).await;
            assert_eq!(log.offline().is_some(), offline, "{:?}", log.offline());
            if offline {
                assert!(matches!(
                    log.offline(),
                    Some(StorageError::Corrupt { position: 16_000..20_001, .. })
                ));
                assert_eq!(world.disk("a").read(LOG).unwrap().len(), before.len(), "nothing is cut off");
                let refused = append(&log, &batch(1, 1, 1, 1_000));
                assert!(matches!(refused, Err(AppendError::Storage(StorageError::Corrupt { .. }))));
                assert!(
                    !read_all(&log, Offset(0), 1 << 20).await.unwrap().is_empty(),
                    "what is good can be read"
                );
            }
            broker.manager.close().await.unwrap();
        });
        world.end();
    }
}

#[test]
fn a_failed_write_or_sync_fails_the_directory_and_acknowledges_nothing_more() {
    for (op, path) in [(OpKind::Write, ".log"), (OpKind::Sync, "topic-0")] {
        let world = SimWorld::new(4);
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), options()).await.unwrap();
            let log = broker.log(0, &small()).await;
            let heard = listen(&log);
            let skip = if op == OpKind::Sync { 0 } else { 6 };
            world.disk("a").inject(Fault::new(op, FaultKind::Eio).on(path).after(skip, 1));
            let mut durable = Vec::new();
            let refused = loop {
                let bytes = batch(u64::try_from(durable.len()).unwrap(), 1, 3_000, 1_000);
                match append(&log, &bytes) {
                    Err(error) => break error,
                    Ok(info) => {
                        let Ok(()) = log.flush().await else { continue };
                        durable.push((info.first_offset.0, bytes));
                    }
                }
            };
            assert!(matches!(refused, AppendError::Storage(StorageError::DirectoryFailed(_))), "{refused}");
            assert!(broker.dir.is_failed() && heard.failed.borrow().is_some());
            assert_eq!(log.durable_end().0, i64::try_from(durable.len()).unwrap());
            let found = read_all(&log, Offset(0), 1 << 20).await.unwrap();
            assert_eq!(found[..durable.len()], durable, "durable data stays readable");
            assert!(broker.manager.close().await.is_err());
            assert!(broker.dir.mark_clean(&node).await.is_err(), "never marked clean");
        });
        world.end();
    }
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_room() {
    let world = SimWorld::new(5);
    let node = world.node("a");
    let sent: [RefCell<Sent>; 2] = Default::default();
    world.block_on(async {
        let options = LogManagerOptions { disk_reserve_bytes: 0, ..options() };
        let broker = start(node.clone(), options).await.unwrap();
        work(&broker, &sent, 3).await;
        let log = broker.log(0, &small()).await;
        let used: usize =
            world.disk("a").files().iter().filter_map(|f| world.disk("a").read(f)).map(|c| c.len()).sum();
        world.disk("a").set_capacity(Some(u64::try_from(used).unwrap() + 8_000));
        let refused = loop {
            let bytes = batch(77, 1, 3_000, 1_000);
            match append(&log, &bytes) {
                Err(error) => break error,
                Ok(info) => sent[0].borrow_mut().batches.push((info.first_offset.0, bytes)),
            }
            pause(&node, 5).await;
        };
        assert!(matches!(refused, AppendError::DiskFull { .. }), "{refused}");
        assert!(!broker.dir.is_failed());
        assert!(log.durable_end() < log.log_end_offset(), "what did not fit is not acknowledged");
        let acknowledged = sent[0].borrow().acknowledged_end;
        assert!(
            read_all(&log, Offset(0), 1 << 20).await.unwrap().len()
                > usize::try_from(acknowledged / 4).unwrap()
        );
        world.disk("a").set_capacity(None);
        pause(&node, 3_000).await;
        assert_eq!(log.durable_end(), log.log_end_offset(), "resubmitted when there is room");
        append_durably(&log, &batch(78, 1, 10, 1_000)).await;
        sent[0].borrow_mut().batches.push((log.log_end_offset().0 - 1, batch(78, 1, 10, 1_000)));
        sent[0].borrow_mut().acknowledged_end = log.log_end_offset().0;
    });
    world.crash("a");
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        verify(&broker, &sent, "after a full disk").await;
    });
    world.end();
}

#[test]
fn retention_makes_room_on_a_full_disk() {
    let world = SimWorld::new(7);
    let node = world.node("a");
    world.block_on(async {
        let options = LogManagerOptions { disk_reserve_bytes: 0, ..options() };
        let broker = start(node.clone(), options).await.unwrap();
        let config = LogConfig { file_delete_delay_ms: 0, segment_bytes: 512 << 10, ..LogConfig::default() };
        let log = broker.log(0, &config).await;
        for i in 0..30 {
            append_durably(&log, &batch(i, 1, 100_000, 1_000)).await;
        }
        // Full segments are sealed meanwhile.
        pause(&node, 3_000).await;
        let used: usize =
            world.disk("a").files().iter().filter_map(|f| world.disk("a").read(f)).map(|c| c.len()).sum();
        world.disk("a").set_capacity(Some(u64::try_from(used).unwrap() + 2_000));
        while append(&log, &batch(77, 1, 100_000, 1_000)).is_ok() {
            pause(&node, 5).await;
        }
        assert!(log.durable_end() < log.log_end_offset());
        log.set_config(LogConfig { retention_bytes: Some(1 << 20), ..config });
        let manager = Rc::clone(&broker.manager);
        node.spawn(async move {
            let _tried_again_with_the_next_pass = manager.apply_retention().await;
        });
        pause(&node, 10_000).await;
        assert!(log.log_start_offset() > Offset(0), "{log:?}");
        assert_eq!(log.durable_end(), log.log_end_offset(), "there is room again");
        append_durably(&log, &batch(78, 1, 10, 1_000)).await;
    });
    world.end();
}

#[test]
fn a_log_that_cannot_be_written_holds_up_no_deletion_of_another() {
    let world = SimWorld::new(8);
    let node = world.node("a");
    world.block_on(async {
        // One log at a time is looked after.
        let options = LogManagerOptions { active_open_max: 4, checkpoint_ms: 1_000, ..options() };
        let broker = start(node.clone(), options).await.unwrap();
        let logs = [broker.log(0, &small()).await, broker.log(1, &small()).await];
        append_durably(&logs[0], &batch(1, 1, 100, 1_000)).await;
        world
            .disk("a")
            .inject(Fault::new(OpKind::Write, FaultKind::NoSpace).on("topic-0/00000000000000000000.log"));
        append(&logs[0], &batch(2, 1, 100, 1_000)).unwrap();
        pause(&node, 3_000).await;
        // Refused while the last look at the disk has found it full.
        while append(&logs[1], &batch(3, 1, 100, 1_000)).is_err() {
            pause(&node, 100).await;
        }
        logs[1].flush().await.unwrap();
        pause(&node, 3_000).await;
        let manager = Rc::clone(&broker.manager);
        let deleted = Rc::new(RefCell::new(None));
        let outcome = Rc::clone(&deleted);
        node.spawn(async move {
            *outcome.borrow_mut() = Some(manager.delete_log(&support::tp(1)).await);
        });
        pause(&node, 10_000).await;
        assert!(matches!(*deleted.borrow(), Some(Ok(()))), "{:?}", deleted.borrow());
    });
    world.end();
}

#[test]
fn a_stop_does_not_wait_for_room_on_the_disk() {
    let world = SimWorld::new(9);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let log = broker.log(0, &small()).await;
        append_durably(&log, &batch(1, 1, 100, 1_000)).await;
        world.disk("a").inject(Fault::new(OpKind::Write, FaultKind::NoSpace).on(LOG));
        append(&log, &batch(2, 1, 100, 1_000)).unwrap();
        let closed = Rc::new(RefCell::new(None));
        let (outcome, manager) = (Rc::clone(&closed), Rc::clone(&broker.manager));
        node.spawn(async move {
            *outcome.borrow_mut() = Some(manager.close().await);
        });
        pause(&node, 60_000).await;
        assert!(matches!(*closed.borrow(), Some(Err(_))), "not clean, but over: {:?}", closed.borrow());
    });
    world.end();
}

#[test]
fn side_files_may_be_missing_damaged_or_oversized() {
    let endings = ["index", "timeindex", "snapshot", "batches", "checkpoint"];
    for ending in endings {
        for damage in 0..4 {
            let world = SimWorld::new(6);
            let sent: [RefCell<Sent>; 2] = Default::default();
            let node = world.node("a");
            world.block_on(async {
                let broker = start(node.clone(), options()).await.unwrap();
                work(&broker, &sent, 9).await;
                let log = broker.log(0, &small()).await;
                let bytes = idempotent(5, 0, 1);
                let info = append_durably(&log, &bytes).await;
                sent[0].borrow_mut().batches.push((info.first_offset.0, bytes));
                broker.stop().await;
            });
            world.kill("a");
            let disk = world.disk("a");
            for path in disk.files().iter().filter(|path| path.to_string_lossy().ends_with(ending)) {
                let mut content = disk.read(path).unwrap();
                match damage {
                    0 => content.clear(),
                    1 => content.iter_mut().for_each(|byte| *byte ^= 0x55),
                    2 => content.extend_from_slice(&[0; 5_000]),
                    _ => content.truncate(content.len() / 2),
                }
                disk.set_content(path, content);
            }
            let node = world.node("a");
            world.block_on(async {
                let broker = start(node.clone(), options()).await.unwrap();
                let log = broker.log(0, &small()).await;
                let again = append(&log, &idempotent(5, 0, 1));
                assert!(again.is_ok_and(|info| info.duplicate), "{ending} {damage}: producers are rebuilt");
                verify(&broker, &sent, &format!("{ending} {damage}")).await;
                broker.stop().await;
            });
            world.end();
        }
    }
}
