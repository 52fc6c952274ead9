//! Proves that a log that was cut has nothing of what was cut off, whatever happens: a power cut behind every operation of
//! the disk while a log is cut or reset leaves it as it was or a beginning of it, with all that lies before the cut; once
//! the cut is told, never a byte behind it, though what is appended next lines up with what stood there. And that whoever
//! reads, waits or goes on with sequence numbers meanwhile gets nothing of what is gone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use model::{LeaderEpoch, Offset};
use runtime::sim::{Fault, FaultKind, OpKind, SimEffects, SimWorld};
use runtime::{Clock, Effects};
use storage::{
    AppendError, AppendOrigin, CommitMode, CutCommitted, Log, LogConfig, LogManagerOptions, ReadError,
    StorageError, TruncateError,
};
use support::{Broker, append, append_durably, batch, idempotent, pause, read_all, start, tp};

/// Bytes of a value: batches of it are of one size, so that new ones line up with old ones.
const VALUE_BYTES: usize = 300;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 4_000,
        index_interval_bytes: 500,
        file_delete_delay_ms: 0,
        retention_ms: None,
        ..LogConfig::default()
    }
}

fn options() -> LogManagerOptions {
    LogManagerOptions { journal_bytes: 128 << 10, ..LogManagerOptions::default() }
}

type SimLog = Rc<Log<SimEffects>>;

async fn open(broker: &Broker, partition: i32) -> SimLog {
    broker.log(partition, &config()).await
}

/// What is done to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    To(i64),
    Reset(i64),
}

impl Cut {
    async fn apply(self, log: &SimLog) -> Result<(), TruncateError> {
        match self {
            Self::To(offset) => {
                let end = log.truncate_to(Offset(offset), CutCommitted::Allow).await?;
                assert_eq!(end, Offset(offset));
            }
            Self::Reset(offset) => log.reset_to(Offset(offset), CutCommitted::Allow).await?,
        }
        log.check_invariants();
        Ok(())
    }

    /// The end of the log behind it.
    fn end(self) -> i64 {
        match self {
            Self::To(offset) | Self::Reset(offset) => offset,
        }
    }

    /// What of `old` stays.
    fn kept(self, old: &[(i64, Bytes)]) -> Vec<(i64, Bytes)> {
        match self {
            Self::To(offset) => old.iter().filter(|(base, _)| *base < offset).cloned().collect(),
            Self::Reset(_) => Vec::new(),
        }
    }
}

/// What has been told of the log that is cut, and of its neighbour, which shares the journal with it.
#[derive(Default)]
struct Told {
    old: Vec<(i64, Bytes)>,
    acknowledged_old: usize,
    begun: bool,
    done: bool,
    new: Vec<(i64, Bytes)>,
    acknowledged_new: usize,
    beside: Vec<(i64, Bytes)>,
    acknowledged_beside: usize,
}

/// Appends single records of one size to both logs.
async fn write(logs: &[SimLog; 2], told: &RefCell<Told>, seed: u64, count: u64) {
    for number in 0..count {
        let bytes = batch(seed + number % 10, 1, VALUE_BYTES, 1_000);
        for (at, log) in logs.iter().enumerate() {
            let sent = (log.log_end_offset().0, bytes.clone());
            let mut told = told.borrow_mut();
            let list = match at {
                1 => &mut told.beside,
                _ if told.done => &mut told.new,
                _ => &mut told.old,
            };
            list.push(sent);
            append(log, &bytes).unwrap();
        }
        // Both are in one entry of the journal.
        for log in logs {
            log.flush().await.unwrap();
        }
        let mut told = told.borrow_mut();
        (told.acknowledged_old, told.acknowledged_new) = (told.old.len(), told.new.len());
        told.acknowledged_beside = told.beside.len();
    }
}

/// All that is swept over: several segments, some sealed and checkpointed, the last records in the journal only; the cut;
/// appends that line up with what was cut off.
async fn live(node: &SimEffects, told: &RefCell<Told>, cut: Cut) {
    let broker = start(node.clone(), options()).await.unwrap();
    let logs = [open(&broker, 0).await, open(&broker, 1).await];
    write(&logs, told, 10, 24).await;
    pause(node, 1_500).await;
    logs[0].assign_epoch(LeaderEpoch(1));
    write(&logs, told, 30, 6).await;
    told.borrow_mut().begun = true;
    cut.apply(&logs[0]).await.unwrap();
    told.borrow_mut().done = true;
    write(&logs, told, 50, 3).await;
    pause(node, 1_500).await;
    write(&logs, told, 60, 3).await;
}

/// Compares what a start finds with what was told.
async fn verify(node: &SimEffects, told: &RefCell<Told>, cut: Cut, what: &str) -> SimLog {
    let broker = start(node.clone(), options()).await.unwrap();
    let logs = [open(&broker, 0).await, open(&broker, 1).await];
    for log in &logs {
        assert!(log.offline().is_none(), "{what}: {:?}", log.offline());
        log.check_invariants();
    }
    let found = read_all(&logs[0], logs[0].log_start_offset(), 1 << 20).await.unwrap();
    let beside = read_all(&logs[1], Offset(0), 1 << 20).await.unwrap();
    let told = told.borrow();
    let is_start = |all: &[(i64, Bytes)], least: usize, found: &[(i64, Bytes)]| {
        found.len() >= least && found.len() <= all.len() && found == &all[..found.len()]
    };
    assert!(is_start(&told.beside, told.acknowledged_beside, &beside), "{what}: the log beside it");
    let kept = cut.kept(&told.old);
    let cut_log = || {
        let cut_all = [&kept[..], &told.new].concat();
        let starts = !matches!(cut, Cut::Reset(offset) if logs[0].log_start_offset() != Offset(offset));
        starts
            && logs[0].log_end_offset().0 >= cut.end()
            && is_start(&cut_all, kept.len() + told.acknowledged_new, &found)
    };
    if told.done {
        assert!(cut_log(), "{what}: {} found", found.len());
    } else {
        let least = if told.begun { kept.len().min(told.acknowledged_old) } else { told.acknowledged_old };
        assert!(is_start(&told.old, least, &found) || cut_log(), "{what}: {} found", found.len());
    }
    let [log, _] = logs;
    log
}

/// Cuts the power behind every operation from the cut of the log on, and once more in the recovery.
fn sweep(cut: Cut, seed: u64) {
    let (mut recovery_at, mut whole) = (0, false);
    let first = {
        let world = SimWorld::new(seed);
        let (node, told) = (world.node("a"), RefCell::default());
        world.block_on(async {
            let broker = start(node.clone(), options()).await.unwrap();
            let logs = [open(&broker, 0).await, open(&broker, 1).await];
            write(&logs, &told, 10, 24).await;
            pause(&node, 1_500).await;
            logs[0].assign_epoch(LeaderEpoch(1));
            write(&logs, &told, 30, 6).await;
            assert!(logs[0].segment_count() > 2 && broker.manager.stats().journal_entries > 3);
        });
        world.disk("a").changes(OpKind::Any)
    };
    for at in first.. {
        let world = SimWorld::new(seed);
        let told = RefCell::default();
        let node = world.node("a");
        world.disk("a").crash_at(OpKind::Any, at);
        whole |= world.run_on(&node, live(&node, &told, cut)).is_some();
        if world.is_up("a") {
            if at % 2 == 0 { world.crash("a") } else { world.kill("a") }
        }
        recovery_at += 1;
        let what = format!("{cut:?}, seed {seed}, power cut at {at}");
        let node = world.node("a");
        world.disk("a").crash_at(OpKind::Any, recovery_at);
        if world.run_on(&node, verify(&node, &told, cut, &what)).is_some() {
            recovery_at = 0;
            world.kill("a");
        }
        let node = world.node("a");
        world.block_on(async {
            let log = verify(&node, &told, cut, &format!("{what}, then at {recovery_at}")).await;
            append_durably(&log, &batch(99, 1, VALUE_BYTES, 1_000)).await;
        });
        world.end();
        if whole {
            assert!(at > first + 10, "{at} operations");
            break;
        }
    }
}

/// In the last segment, in one before, where a segment starts, everything, nothing.
const CUTS: [Cut; 7] =
    [Cut::To(29), Cut::To(26), Cut::To(13), Cut::To(20), Cut::To(0), Cut::Reset(1_000), Cut::Reset(7)];

#[test]
fn a_power_cut_behind_every_operation_of_a_cut_leaves_the_log_before_or_behind_it() {
    for (seed, cut) in CUTS.into_iter().enumerate() {
        sweep(cut, u64::try_from(seed).unwrap());
    }
}

#[cfg(feature = "mutants")]
#[test]
fn every_step_of_a_cut_is_needed() {
    use storage::Mutant;
    for mutant in [Mutant::EndsNoLog, Mutant::KeepsRecoveryPoint, Mutant::CutsFileFirst] {
        storage::plant(Some(mutant));
        let caught = CUTS.into_iter().any(|cut| std::panic::catch_unwind(|| sweep(cut, 1)).is_err());
        storage::plant(None);
        assert!(caught, "{mutant:?} was not caught");
    }
    storage::plant(Some(Mutant::KeepsEpochs));
    let caught = std::panic::catch_unwind(epochs_behind_a_cut).is_err();
    storage::plant(None);
    assert!(caught, "KeepsEpochs was not caught");
}

async fn blink(node: &SimEffects) {
    let clock = node.clock();
    clock.sleep_until(clock.now() + Duration::from_micros(20)).await;
}

/// Runs `script` on a log with 30 records in several segments.
fn with_log<F: Future<Output = ()>>(script: impl FnOnce(SimEffects, Broker, SimLog) -> F) {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let log = open(&broker, 0).await;
        for number in 0..30 {
            append_durably(&log, &batch(number, 1, VALUE_BYTES, i64::try_from(number).unwrap() * 1_000))
                .await;
        }
        script(node.clone(), broker, log).await;
    });
    world.end();
}

fn epochs_behind_a_cut() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let log = open(&broker, 0).await;
        let write = async |epoch: i32, count: u64| {
            for number in 0..count {
                let bytes = batch(number, 1, VALUE_BYTES, 1_000);
                log.append(&bytes, AppendOrigin::Client, LeaderEpoch(epoch), 1_000).unwrap();
            }
            log.flush().await.unwrap();
        };
        write(3, 5).await;
        write(5, 5).await;
        pause(&node, 1_500).await;
        log.truncate_to(Offset(4), CutCommitted::Allow).await.unwrap();
        assert_eq!(log.latest_epoch(), Some(LeaderEpoch(3)));
        write(3, 10).await;
        // The recovery point passes where the other epoch began.
        pause(&node, 3_000).await;
    });
    world.crash("a");
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let log = open(&broker, 0).await;
        assert_eq!(log.latest_epoch(), Some(LeaderEpoch(3)));
        assert_eq!(log.end_offset_for_epoch(LeaderEpoch(3)), (LeaderEpoch(3), Offset(14)));
    });
    world.end();
}

#[test]
fn epochs_that_began_behind_a_cut_are_gone_for_good() {
    epochs_behind_a_cut();
}

#[test]
fn committed_records_are_cut_only_if_that_is_allowed() {
    with_log(async |_, _broker, log| {
        let refused = log.truncate_to(Offset(29), CutCommitted::Refuse).await;
        let Err(TruncateError::BelowHighWatermark { high_watermark: Offset(30), .. }) = refused else {
            panic!("{refused:?}");
        };
        let refused = log.reset_to(Offset(29), CutCommitted::Refuse).await;
        assert!(matches!(refused, Err(TruncateError::BelowHighWatermark { .. })), "{refused:?}");
        assert_eq!(log.truncate_to(Offset(30), CutCommitted::Refuse).await.unwrap(), Offset(30));
        assert_eq!(
            log.truncate_to(Offset(50), CutCommitted::Refuse).await.unwrap(),
            Offset(30),
            "it ends there"
        );
        assert_eq!(log.truncate_to(Offset(12), CutCommitted::Allow).await.unwrap(), Offset(12));
        assert_eq!((log.high_watermark(), log.durable_end()), (Offset(12), Offset(12)));
        log.advance_log_start(Offset(10)).await.unwrap();
        let refused = log.truncate_to(Offset(9), CutCommitted::Allow).await;
        assert!(matches!(refused, Err(TruncateError::BelowLogStart { .. })), "{refused:?}");
        log.check_invariants();
    });
}

/// What the journal still has of segments that retention has removed must not be looked for behind a reset.
#[test]
fn a_reset_below_what_retention_has_removed_lasts() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let logs = [open(&broker, 0).await, open(&broker, 1).await];
        let told = RefCell::default();
        write(&logs, &told, 1, 40).await;
        assert!(broker.manager.stats().journal_entries > 20);
        let log = &logs[0];
        log.update_high_watermark(Offset(40));
        log.advance_log_start(Offset(35)).await.unwrap();
        pause(&node, 1_000).await;
        log.apply_retention().await.unwrap();
        log.reset_to(Offset(5), CutCommitted::Allow).await.unwrap();
        assert_eq!(append_durably(log, &batch(1, 1, VALUE_BYTES, 1_000)).await.first_offset, Offset(5));
    });
    world.crash("a");
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let log = open(&broker, 0).await;
        assert!(log.offline().is_none(), "{:?}", log.offline());
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(5), Offset(6)));
        assert_eq!(open(&broker, 1).await.log_end_offset(), Offset(40));
    });
    world.end();
}

#[test]
fn a_batch_across_the_high_watermark_stays_as_a_whole() {
    with_log(async |_, _broker, log| {
        append(&log, &batch(1, 5, VALUE_BYTES, 1_000)).unwrap();
        log.flush().await.unwrap();
        log.update_high_watermark(Offset(32));
        let refused = log.truncate_to(Offset(33), CutCommitted::Refuse).await;
        assert!(matches!(refused, Err(TruncateError::BelowHighWatermark { .. })), "{refused:?}");
        assert_eq!(log.log_end_offset(), Offset(35));
        assert_eq!(append_durably(&log, &batch(1, 1, 10, 1_000)).await.first_offset, Offset(35));
    });
}

#[test]
fn a_batch_that_reaches_behind_the_cut_goes_as_a_whole() {
    with_log(async |_, _broker, log| {
        append_durably(&log, &batch(1, 5, VALUE_BYTES, 1_000)).await;
        assert_eq!(log.truncate_to(Offset(33), CutCommitted::Allow).await.unwrap(), Offset(30));
        assert_eq!(append_durably(&log, &batch(1, 1, 10, 1_000)).await.first_offset, Offset(30));
    });
}

#[test]
fn readers_get_nothing_of_what_was_cut_off() {
    with_log(async |node, _broker, log| {
        let old = read_all(&log, Offset(0), 1 << 20).await.unwrap();
        // Kept in the read cache, and read while the log is cut.
        for _ in 0..3 {
            pause(&node, 1_000).await;
            read_all(&log, Offset(0), 700).await.unwrap();
        }
        let reads = async || {
            let mut refused = 0;
            for _ in 0..400 {
                let end = log.log_end_offset();
                for from in [3, 15, 27] {
                    match log.read(Offset(from), 100, true, end).await {
                        Ok(read) => assert!(read.size_bytes > 0 || Offset(from) >= log.log_end_offset()),
                        Err(ReadError::OffsetOutOfRange { .. }) => {
                            assert!(log.log_end_offset() < Offset(from))
                        }
                        Err(ReadError::Storage(StorageError::Truncating)) => refused += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                blink(&node).await;
            }
            refused
        };
        let cut = async {
            pause(&node, 1).await;
            log.truncate_to(Offset(14), CutCommitted::Allow).await.unwrap();
            let refused = log.read(Offset(15), 100, true, Offset(30)).await;
            assert!(matches!(refused, Err(ReadError::OffsetOutOfRange { .. })));
            for number in 0..16 {
                append_durably(&log, &batch(100 + number, 1, VALUE_BYTES, 500)).await;
            }
        };
        join(join(reads(), reads()), cut).await;
        let found = read_all(&log, Offset(0), 1 << 20).await.unwrap();
        assert_eq!(found[..14], old[..14]);
        assert!((14..30).all(|at| found[at] != old[at] && found[at].0 == old[at].0));
        log.check_invariants();
    });
}

#[test]
fn a_time_that_was_cut_off_is_not_found() {
    with_log(async |_, _broker, log| {
        let find = async |time: i64| {
            let found = log.offset_for_timestamp(time, log.log_end_offset()).await.unwrap();
            found.map(|found| found.offset.0)
        };
        assert_eq!(find(20_000).await, Some(20));
        log.truncate_to(Offset(13), CutCommitted::Allow).await.unwrap();
        assert_eq!((find(12_000).await, find(12_001).await, find(20_000).await), (Some(12), None, None));
        assert_eq!(log.max_timestamp_offset().await.unwrap().unwrap().offset, Offset(12));
        for time in [12_500, 13_000, 90_000] {
            append_durably(&log, &batch(1, 1, VALUE_BYTES, time)).await;
        }
        assert_eq!((find(12_001).await, find(20_000).await), (Some(13), Some(15)));
    });
}

#[test]
fn producers_go_on_from_what_is_left() {
    let world = SimWorld::new(2);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let log = open(&broker, 0).await;
        for sequence in 0..40 {
            append_durably(&log, &idempotent(7, sequence, 1)).await;
            if sequence == 20 {
                append_durably(&log, &idempotent(8, 0, 1)).await;
                pause(&node, 1_500).await;
            }
        }
        log.truncate_to(Offset(18), CutCommitted::Allow).await.unwrap();
        let known = append(&log, &idempotent(7, 17, 1)).unwrap();
        assert!(known.duplicate && known.first_offset == Offset(17));
        let gone = append(&log, &idempotent(7, 39, 1));
        assert!(matches!(gone, Err(AppendError::OutOfOrderSequence { .. })), "{gone:?}");
        assert!(!append_durably(&log, &idempotent(7, 18, 1)).await.duplicate, "it was cut off, so it is new");
        assert!(!append_durably(&log, &idempotent(8, 0, 1)).await.duplicate);
        assert_eq!(log.log_end_offset(), Offset(20));
    });
    world.crash("a");
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let log = open(&broker, 0).await;
        assert!(append(&log, &idempotent(7, 18, 1)).unwrap().duplicate);
        assert!(append(&log, &idempotent(8, 0, 1)).unwrap().duplicate);
    });
    world.end();
}

#[test]
fn who_waits_for_what_is_cut_off_hears_that_it_will_not_be() {
    with_log(async |node, broker, log| {
        let cut = log.truncate_to(Offset(20), CutCommitted::Allow);
        let appends = async {
            let mut refused = 0;
            while log.offline().is_none() && log.log_end_offset() > Offset(20) {
                blink(&node).await;
            }
            for _ in 0..50 {
                match append(&log, &batch(1, 1, 10, 1_000)) {
                    Err(AppendError::Storage(StorageError::Truncating)) => refused += 1,
                    appended => drop(appended.unwrap()),
                }
                blink(&node).await;
            }
            assert!(refused > 0, "appends are refused meanwhile");
        };
        let (cut, ()) = join(cut, appends).await;
        assert_eq!(cut.unwrap(), Offset(20));
        log.flush().await.unwrap();
        log.check_invariants();
        pause(&node, 3_000).await;
        broker.stop().await;
    });
}

#[test]
fn a_cut_that_finds_no_room_is_ended_by_the_next_and_the_log_is_refused_until_then() {
    let world = SimWorld::new(3);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let log = open(&broker, 0).await;
        for number in 0..30 {
            append_durably(&log, &batch(number, 1, VALUE_BYTES, 1_000)).await;
        }
        pause(&node, 1_500).await;
        let full = Fault::new(OpKind::Meta, FaultKind::NoSpace).on(".timeindex");
        world.disk("a").inject(full);
        let failed = log.truncate_to(Offset(5), CutCommitted::Allow).await;
        let Err(TruncateError::Storage(error)) = failed else { panic!("{failed:?}") };
        assert!(error.is_disk_full(), "{error}");
        log.check_invariants();
        let read = log.read(Offset(0), 100, true, Offset(5)).await;
        assert!(matches!(read, Err(ReadError::Storage(StorageError::Truncating))));
        assert!(matches!(
            append(&log, &batch(1, 1, 10, 0)),
            Err(AppendError::Storage(StorageError::Truncating))
        ));
        world.disk("a").clear_faults();
        // There is room, as the broker sees soon.
        pause(&node, 1_500).await;
        assert_eq!(log.truncate_to(Offset(7), CutCommitted::Allow).await.unwrap(), Offset(5));
        assert_eq!(append_durably(&log, &batch(1, 1, 10, 0)).await.first_offset, Offset(5));
        broker.stop().await;
        let broker = start(node.clone(), options()).await.unwrap();
        assert_eq!(open(&broker, 0).await.log_end_offset(), Offset(6));
    });
    world.end();
}

#[test]
fn a_log_is_deleted_while_it_is_cut() {
    with_log(async |_, broker, log| {
        let (cut, deleted) =
            join(log.truncate_to(Offset(20), CutCommitted::Allow), broker.manager.delete_log(&tp(0))).await;
        deleted.unwrap();
        drop(cut);
        assert!(matches!(log.offline(), Some(StorageError::Closed)));
        let log = open(&broker, 0).await;
        assert_eq!(log.log_end_offset(), Offset(0));
        broker.stop().await;
    });
}

#[test]
fn without_waiting_for_the_disk_a_cut_is_as_durable() {
    let config = LogConfig { commit_mode: CommitMode::Kafka, ..config() };
    let world = SimWorld::new(4);
    let node = world.node("a");
    let old = world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let log = broker.log(0, &config).await;
        for number in 0..30 {
            append_durably(&log, &batch(number, 1, VALUE_BYTES, 1_000)).await;
        }
        log.truncate_to(Offset(25), CutCommitted::Allow).await.unwrap();
        read_all(&log, Offset(0), 1 << 20).await.unwrap()
    });
    world.crash("a");
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let log = broker.log(0, &config).await;
        let found = read_all(&log, Offset(0), 1 << 20).await.unwrap();
        assert!(found.len() <= 25 && found == old[..found.len()]);
    });
    world.end();
}
