//! Several logs through several lives of a broker, at random: appends, flushes, retention, deletions, cuts, changes between the
//! commit modes, slow disks, kills and power cuts. Proves that what was acknowledged is found again, in order, once, and
//! that a log that does not wait for the disk is at least a prefix of what was sent.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use model::{Offset, TopicId};
use runtime::sim::{Fault, FaultKind, OpKind, SimEffects, SimWorld};
use runtime::{Clock, Effects};
use storage::{CommitMode, CutCommitted, Log, LogConfig, LogEvent, LogManagerOptions, LogSubscriber};
use support::{Broker, append, batch, pause, read_all, start, tp};

/// Seeds of one run; each is a world of its own.
const SEEDS: u64 = 50;

/// Lives of the broker in a world.
const LIVES: u32 = 4;

const LOGS: usize = 5;

/// What is known of one log.
struct Known {
    id: TopicId,
    /// Base offsets and batches that were appended.
    sent: Vec<(i64, Bytes)>,
    fsync: bool,
    /// Since which offset the log waits for the disk.
    fsync_from: i64,
    /// Everything below was acknowledged.
    acknowledged: i64,
    deleting: bool,
    /// The log is being cut: it may lose what was acknowledged at or behind the cut.
    cutting: bool,
    listener: Option<Rc<Listener>>,
}

type Shared = Rc<RefCell<Known>>;

impl Known {
    fn new() -> Shared {
        Rc::new(RefCell::new(Self {
            id: support::topic_id(),
            sent: Vec::new(),
            fsync: true,
            fsync_from: 0,
            acknowledged: 0,
            deleting: false,
            cutting: false,
            listener: None,
        }))
    }

    fn config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: 40 << 10,
            file_delete_delay_ms: 5,
            retention_bytes: Some(100_000),
            commit_mode: if self.fsync { CommitMode::Fsync } else { CommitMode::Kafka },
            ..LogConfig::default()
        }
    }

    /// What a log that is there from `start` to `end` must hold; what is not there is forgotten.
    fn expected(&mut self, start: i64, end: i64, at: &str) -> Vec<(i64, Bytes)> {
        if self.deleting && end == 0 {
            self.sent.clear();
        } else {
            assert!(end >= self.acknowledged, "{at}: ends at {end}, acknowledged were {}", self.acknowledged);
        }
        self.sent.retain(|(base, _)| *base < end);
        (self.acknowledged, self.deleting, self.cutting) = (end, false, false);
        self.fsync_from = if self.fsync { 0 } else { end };
        self.sent.iter().filter(|(base, _)| *base >= start).cloned().collect()
    }

    fn replaced(&mut self, id: Option<TopicId>) {
        self.sent.clear();
        (self.acknowledged, self.fsync_from, self.deleting) = (0, 0, false);
        self.id = id.unwrap_or(self.id);
    }
}

/// Hears of acknowledgements.
struct Listener(Weak<RefCell<Known>>);

impl LogSubscriber for Listener {
    fn notify(&self, event: LogEvent<'_>) {
        let LogEvent::DurableEndAdvanced(end) = event else { return };
        let Some(known) = self.0.upgrade() else { return };
        let mut known = known.borrow_mut();
        if known.fsync && end.0 > known.fsync_from && !known.deleting && !known.cutting {
            assert!(known.acknowledged <= end.0, "acknowledgements go forward");
            known.acknowledged = end.0;
        }
    }
}

async fn open(broker: &Broker, index: usize, known: &Shared) -> Rc<Log<SimEffects>> {
    let (id, config) = (known.borrow().id, known.borrow().config());
    let log = broker.manager.open_log(partition(index), id, config).await.unwrap();
    let mut listening = known.borrow_mut();
    log.subscribe(listening.listener.get_or_insert_with(|| Rc::new(Listener(Rc::downgrade(known)))));
    log
}

fn partition(index: usize) -> model::TopicPartition {
    tp(i32::try_from(index).unwrap())
}

/// Does `steps` things at random.
async fn work(broker: &Broker, all: &[Shared], rng: &mut fastrand::Rng, steps: u32, modes_change: bool) {
    let mut logs = Vec::new();
    for (index, known) in all.iter().enumerate() {
        logs.push(open(broker, index, known).await);
    }
    let node = broker.effects.clone();
    for step in 0..steps {
        match rng.u32(0..100) {
            0..70 => write(broker, &logs, all, rng, step).await,
            70..75 => {
                for log in &logs {
                    log.update_high_watermark(log.durable_end());
                    log.check_invariants();
                }
                logs[rng.usize(0..LOGS)].apply_retention().await.unwrap();
            }
            75..80 => {
                let index = rng.usize(0..LOGS);
                all[index].borrow_mut().deleting = true;
                broker.manager.delete_log(&partition(index)).await.unwrap();
                let id = rng.bool().then(|| TopicId::from_random([rng.u8(..); 16]));
                all[index].borrow_mut().replaced(id);
                logs[index] = open(broker, index, &all[index]).await;
            }
            80..84 if modes_change => {
                let index = rng.usize(0..LOGS);
                let config = {
                    let mut known = all[index].borrow_mut();
                    known.fsync = !known.fsync;
                    known.fsync_from = logs[index].log_end_offset().0;
                    known.config()
                };
                logs[index].set_config(config);
            }
            84..87 => pause(&node, rng.u64(1..2500)).await,
            87..92 => read(&logs, rng).await,
            92..95 => {
                let index = rng.usize(0..LOGS);
                cut(&logs[index], &all[index], rng).await;
            }
            _ => pause(&node, rng.u64(0..3)).await,
        }
    }
}

/// Appends to most logs, then waits for all, for one, or hardly.
async fn write(
    broker: &Broker,
    logs: &[Rc<Log<SimEffects>>],
    all: &[Shared],
    rng: &mut fastrand::Rng,
    step: u32,
) {
    for (log, known) in logs.iter().zip(all) {
        if rng.u32(0..3) == 0 {
            continue;
        }
        let size = match rng.u32(0..40) {
            0 => 20_000,
            1..4 => 5_000,
            _ => rng.usize(20..900),
        };
        let bytes = batch(u64::from(step), 1, size, 1_000);
        broker.manager.admitted(bytes.len()).await;
        if let Ok(info) = append(log, &bytes) {
            known.borrow_mut().sent.push((info.first_offset.0, bytes));
        }
    }
    match rng.u32(0..4) {
        0 => {
            for log in logs {
                log.flush().await.unwrap();
            }
        }
        1 => {
            let clock = broker.effects.clock();
            clock.sleep_until(clock.now() + Duration::from_micros(rng.u64(0..600))).await;
        }
        _ => logs[rng.usize(0..LOGS)].flush().await.unwrap(),
    }
}

/// Cuts a log somewhere, or has it start behind its end.
async fn cut(log: &Rc<Log<SimEffects>>, known: &Shared, rng: &mut fastrand::Rng) {
    let (start, end) = (log.log_start_offset().0, log.log_end_offset().0);
    let reset = rng.u32(0..5) == 0;
    let to = if reset { end + rng.i64(1..1_000) } else { rng.i64(start..=end) };
    {
        let mut known = known.borrow_mut();
        known.cutting = true;
        known.acknowledged = if reset { 0 } else { known.acknowledged.min(to) };
    }
    if reset {
        log.reset_to(Offset(to), CutCommitted::Allow).await.unwrap();
    } else {
        assert_eq!(log.truncate_to(Offset(to), CutCommitted::Allow).await.unwrap(), Offset(to));
    }
    log.check_invariants();
    let mut known = known.borrow_mut();
    known.sent.retain(|(base, _)| *base < to && !reset);
    known.cutting = false;
    known.fsync_from = known.fsync_from.min(to);
    known.acknowledged = if reset { to } else { known.acknowledged.min(to) };
}

/// Reads somewhere in each log, also what waits to be sealed.
async fn read(logs: &[Rc<Log<SimEffects>>], rng: &mut fastrand::Rng) {
    for log in logs {
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        let from = Offset(rng.i64(start.0..=end.0));
        let read = log.read(from, 1_000, true, end).await.unwrap();
        assert!(read.size_bytes > 0 || from == end, "{from} of {log:?}");
        if rng.u32(0..4) == 0 {
            log.offset_for_timestamp(1_000, end).await.unwrap();
        }
    }
}

/// Compares the logs with what is known of them.
async fn verify(broker: &Broker, all: &[Shared], at: &str) {
    for (index, known) in all.iter().enumerate() {
        let log = open(broker, index, known).await;
        assert!(log.offline().is_none(), "{at} log {index}: {:?}", log.offline());
        log.check_invariants();
        let (start, end) = (log.log_start_offset().0, log.log_end_offset().0);
        let expected = known.borrow_mut().expected(start, end, &format!("{at} log {index}"));
        let found = read_all(&log, Offset(start), 1 << 20).await.unwrap();
        assert!(found == expected, "{at} log {index}: {start}..{end}, {} of {}", found.len(), expected.len());
    }
}

fn options(rng: &mut fastrand::Rng) -> LogManagerOptions {
    LogManagerOptions {
        journal_bytes: [32 << 10, 64 << 10, 256 << 10, 1 << 20][rng.usize(0..4)],
        append_bytes_max: [96 << 10, 256 << 10, 16 << 20][rng.usize(0..3)],
        read_cache_bytes: [0, 64 << 20][rng.usize(0..2)],
        sealed_open_max: [1, 256][rng.usize(0..2)],
        idle_ms: [100, 1_000, 30_000][rng.usize(0..3)],
        checkpoint_ms: [300, 30_000][rng.usize(0..2)],
        active_open_max: [1, 3, 4_096][rng.usize(0..3)],
        unlink_pause: Duration::from_millis(1),
        ..LogManagerOptions::default()
    }
}

/// Makes some operations slow, so that others overtake them.
fn slow(world: &SimWorld, rng: &mut fastrand::Rng) {
    for (kind, on, micros_max) in [(OpKind::Write, "/journal-", 3_000), (OpKind::Any, ".log", 5_000)] {
        if rng.bool() {
            let time = Duration::from_micros(rng.u64(100..micros_max));
            let fault = Fault::new(kind, FaultKind::Slow(time)).on(on).after(0, 500);
            world.disk("a").inject(fault.with_probability(0.3));
        }
    }
}

#[test]
fn what_was_acknowledged_lives_on() {
    let mut journal_entries = 0;
    for seed in 0..SEEDS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let world = SimWorld::new(seed);
        let all: Vec<Shared> = (0..LOGS).map(|_| Known::new()).collect();
        for life in 0..LIVES {
            let last = life + 1 == LIVES;
            let node = world.node("a");
            let options = options(&mut rng);
            slow(&world, &mut rng);
            let crash_at = rng.u64(100..4_000);
            if !last && rng.bool() {
                world.disk("a").crash_at(OpKind::Any, crash_at);
            }
            let (steps, stops) = (rng.u32(20..400), last || rng.u32(0..4) == 0);
            let mut inner = rng.fork();
            let entries = Cell::new(0);
            world.run_on(&node, async {
                let broker = start(node.clone(), options).await.unwrap();
                verify(&broker, &all, &format!("seed {seed} life {life}")).await;
                if !last {
                    work(&broker, &all, &mut inner, steps, seed % 3 == 0).await;
                    entries.set(broker.manager.stats().journal_entries);
                }
                if stops {
                    broker.stop().await;
                }
            });
            journal_entries += entries.get();
            if world.is_up("a") {
                if rng.bool() {
                    world.kill("a");
                } else {
                    world.crash("a");
                }
            }
        }
        world.end();
    }
    assert!(journal_entries > 1_000, "the journal was used");
}
