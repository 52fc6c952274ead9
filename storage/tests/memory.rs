//! Proves that a start gets along with a small budget of memory, however much there is to recover.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use model::Offset;
use runtime::Effects;
use runtime::buffer::BufferPool;
use runtime::sim::{Fault, FaultKind, OpKind, SimWorld};
use storage::{
    LogConfig, LogManagerOptions, ReadError, ReadLimits, ReadMemory, ReadPart, SealedRead, StorageError,
};
use support::{append, append_durably, batch, pause, read_all, start, topic_id, tp};

/// Kills a broker with `partitions` logs of so many batches and opens them all at once with `budget_bytes` of memory.
fn check(partitions: i32, batches: u64, batch_bytes: usize, budget_bytes: usize) {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        // Never idle: everything lies above the recovery point.
        let options = LogManagerOptions { idle_ms: 1 << 40, prewrite: false, ..LogManagerOptions::default() };
        let broker = start(node.clone(), options).await.unwrap();
        for partition in 0..partitions {
            let config = LogConfig { max_message_bytes: 8 << 20, ..LogConfig::default() };
            let log = broker.log(partition, &config).await;
            for i in 0..batches {
                append(&log, &batch(i, 1, batch_bytes, 1_000)).unwrap();
            }
            log.flush().await.unwrap();
        }
    });
    world.kill("a");
    let node = world.node("a").with_buffers(budget_bytes);
    world.block_on(async {
        let options =
            LogManagerOptions { append_bytes_max: budget_bytes / 2, ..LogManagerOptions::default() };
        let broker = start(node.clone(), options).await.unwrap();
        let opened = Rc::new(Cell::new(0));
        for partition in 0..partitions {
            let (manager, opened) = (Rc::clone(&broker.manager), Rc::clone(&opened));
            node.spawn(async move {
                let log = manager.open_log(tp(partition), topic_id(), LogConfig::default()).await;
                let log = log.expect("there is memory for every log");
                assert!(log.offline().is_none() && log.log_end_offset().0 == i64::try_from(batches).unwrap());
                log.check_invariants();
                opened.set(opened.get() + 1);
            });
        }
        while opened.get() < partitions {
            pause(&node, 100).await;
        }
        assert_eq!(node.buffers().used_bytes(), 0);
        // And they go on.
        for partition in 0..partitions {
            let log = broker.log(partition, &LogConfig::default()).await;
            append_durably(&log, &batch(99, 1, 10, 1_000)).await;
            let found = read_all(&log, Offset(0), 64 << 10).await.unwrap();
            assert_eq!(found.len(), usize::try_from(batches).unwrap() + 1);
        }
    });
    world.end();
}

#[test]
fn many_long_recoveries_share_a_small_budget() {
    check(20, 15, 100_000, 12 << 20);
    check(3, 15, 100_000, 2 << 20);
}

#[test]
fn the_last_pages_of_many_logs_need_no_budget() {
    check(600, 1, 100, 2 << 20);
}

#[test]
fn batches_larger_than_a_window_are_recovered_too() {
    check(4, 2, 3 << 20, 12 << 20);
}

#[test]
fn a_segment_that_was_at_rest_when_it_was_sealed_keeps_nothing() {
    let world = SimWorld::new(2);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &LogConfig { segment_ms: 1_000, ..LogConfig::default() }).await;
        for i in 0..3 {
            append_durably(&log, &batch(i, 1, 100, 10_000 * i64::try_from(i).unwrap())).await;
            pause(&node, 20_000).await;
        }
        assert_eq!(log.segment_count(), 3);
        log.check_invariants();
    });
    world.end();
}

/// Grants up to `bytes_max`, and notes what it was asked for.
struct Grants<'a> {
    pool: &'a BufferPool,
    bytes_max: usize,
    asked: RefCell<Vec<usize>>,
}

impl ReadMemory for Grants<'_> {
    async fn reserve(&self, bytes: usize) -> bool {
        assert_eq!(self.pool.used_bytes(), 0, "whoever waits for memory holds none");
        self.asked.borrow_mut().push(bytes);
        bytes <= self.bytes_max
    }
}

#[test]
fn a_read_asks_for_its_buffer_before_it_takes_it() {
    for sealed_read in [SealedRead::Direct, SealedRead::Sendfile] {
        let world = SimWorld::new(1);
        world.block_on(async {
            let node = world.node("a");
            let options =
                LogManagerOptions { sealed_read, read_cache_bytes: 0, ..LogManagerOptions::default() };
            let broker = start(node.clone(), options).await.unwrap();
            let config = LogConfig { max_message_bytes: 8 << 20, ..LogConfig::default() };
            let log = broker.log(0, &config).await;
            for i in 0..3 {
                append_durably(&log, &batch(i, 1, 3 << 20, 1_000)).await;
            }
            while node.buffers().used_bytes() > 0 {
                pause(&node, 1_000).await;
            }
            let read = async |max_bytes, bytes_max| {
                let grants = Grants { pool: node.buffers(), bytes_max, asked: RefCell::default() };
                let limits = ReadLimits { max_bytes, min_one: true, up_to: log.durable_end() };
                let read = log.read_within(Offset(1), limits, log.reads_ranges(), &grants).await;
                let held = read.map(|read| {
                    let parts = read.parts.iter().map(|part| match part {
                        ReadPart::Memory(part) => part.held_bytes,
                        ReadPart::File { .. } => 0,
                    });
                    (parts.sum::<usize>(), node.buffers().used_bytes())
                });
                (held, grants.asked.take())
            };
            let (held, asked) = read(4 << 20, usize::MAX).await;
            let last = asked.last().copied().unwrap();
            assert_eq!(held.unwrap(), (last, last), "asked for {asked:?}");
            // The batch is larger than what was wanted: a second buffer is asked for when the first is gone.
            let (held, asked) = read(64 << 10, usize::MAX).await;
            assert!(asked.len() > 1 && asked.is_sorted(), "{asked:?}");
            assert_eq!(held.unwrap().0, asked[asked.len() - 1]);
            let (held, asked) = read(64 << 10, 1 << 20).await;
            assert!(matches!(held, Err(ReadError::Storage(StorageError::OverBudget))), "{asked:?}");
            assert_eq!(node.buffers().used_bytes(), 0);
        });
        world.end();
    }
}

#[test]
fn batches_for_many_logs_wait_for_room_and_take_no_more() {
    const APPEND_BYTES: usize = 2 << 20;
    let world = SimWorld::new(1);
    let slow = Fault::new(OpKind::Write, FaultKind::Slow(Duration::from_millis(5)));
    world.disk("a").inject(slow);
    // A quarter above what appends may take: others have their parts of it.
    let node = world.node("a").with_buffers(APPEND_BYTES + APPEND_BYTES / 4);
    world.block_on(async {
        let options = LogManagerOptions { append_bytes_max: APPEND_BYTES, ..LogManagerOptions::default() };
        let broker = start(node.clone(), options).await.unwrap();
        let mut logs = Vec::new();
        for partition in 0..1_000 {
            logs.push(broker.log(partition, &LogConfig::default()).await);
        }
        for round in 0..3 {
            // One request with a batch for each of them, in order.
            let bytes = batch(round, 1, 100, 1_000);
            let turn = broker.manager.append_turn().await;
            let mut rest = &logs[..];
            while !rest.is_empty() {
                let admitted = turn.admitted(rest.iter().map(|_| bytes.len())).await;
                for log in &rest[..admitted] {
                    append(log, &bytes).expect("there is room");
                    let used = broker.manager.stats().chunk_bytes;
                    // What is remembered of each batch grows in steps, and is counted behind them.
                    assert!(used <= (APPEND_BYTES + APPEND_BYTES / 16) as u64, "{used} bytes");
                }
                rest = &rest[admitted..];
            }
        }
        for log in &logs {
            log.flush().await.unwrap();
            assert_eq!(log.log_end_offset(), Offset(3));
        }
    });
    world.end();
}
