//! Proves that no single flipped bit in a small file of a data directory loses records, brings deleted ones back, has wrong
//! bytes served or deletes what is not old; and that none but that of an identity hinders a start. Neither does one in a
//! batch's base offset, which is outside of its checksum.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use model::{LeaderEpoch, Offset};
use runtime::sim::{SimEffects, SimWorld};
use runtime::{Clock, Effects};
use storage::{AppendOrigin, Log, LogConfig, LogManagerOptions, ReadError, StorageError};
use support::{Broker, batch, pause, read_all, start, topic_id, tp};

const DAY_MS: i64 = 24 * 3_600_000;

/// Records of one batch each, in segments of four. All are old but the second of each segment, from the second segment on.
const RECORDS: i64 = 14;
const PER_SEGMENT: i64 = 4;
/// Where DeleteRecords has moved the start.
const START: i64 = 2;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 4_400,
        segment_ms: 1 << 40,
        index_interval_bytes: 600,
        file_delete_delay_ms: 0,
        timestamp_after_max_ms: i64::MAX,
        retention_ms: None,
        ..LogConfig::default()
    }
}

fn timestamp(now: i64, offset: i64) -> i64 {
    let days = if offset > PER_SEGMENT && offset % PER_SEGMENT == 1 { 3 } else { 10 };
    now - days * DAY_MS + offset * 1_000
}

/// Each epoch has five records.
fn epoch(offset: i64) -> LeaderEpoch {
    LeaderEpoch(i32::try_from(offset / 5).unwrap())
}

fn check_epochs(log: &Log<SimEffects>, what: &str) {
    for offset in (4..RECORDS).step_by(5).chain([RECORDS - 1]) {
        let end = (epoch(offset), Offset(offset + 1));
        assert_eq!(log.end_offset_for_epoch(epoch(offset)), end, "{what}");
    }
}

/// A directory as a broker has left it.
struct Left {
    files: Vec<(PathBuf, Vec<u8>)>,
    records: Vec<(i64, Bytes)>,
    times: Vec<i64>,
}

fn leave(clean: bool) -> Left {
    let world = SimWorld::new(1);
    let node = world.node("a");
    let (records, times) = world.block_on(async {
        let broker = start(node.clone(), options()).await.unwrap();
        let log = broker.log(0, &config()).await;
        let now = node.clock().unix_ms();
        let (mut records, mut times) = (Vec::new(), Vec::new());
        for offset in 0..RECORDS {
            times.push(timestamp(now, offset));
            let bytes = batch(u64::try_from(offset).unwrap(), 1, 1_000, times[times.len() - 1]);
            let appended = log.append(&bytes, AppendOrigin::Client, epoch(offset), now);
            appended.unwrap();
            log.flush().await.unwrap();
            log.update_high_watermark(log.durable_end());
            records.push((offset, bytes));
        }
        log.advance_log_start(Offset(START)).await.unwrap();
        assert_eq!(log.segment_count(), 4);
        // Checkpointed, all of it.
        pause(&node, 5_000).await;
        if clean {
            broker.stop().await;
        }
        (records, times)
    });
    world.kill("a");
    let disk = world.disk("a");
    let files = disk.files().into_iter().map(|path| (path.clone(), disk.read(&path).unwrap())).collect();
    world.end();
    Left { files, records, times }
}

fn options() -> LogManagerOptions {
    // Pieces of the journal have checksums, and tests of their own.
    LogManagerOptions { journal_bytes: 0, ..LogManagerOptions::default() }
}

async fn open(node: &SimEffects) -> Result<(Broker, Rc<Log<SimEffects>>), StorageError> {
    let broker = start(node.clone(), options()).await?;
    let log = broker.manager.open_log(tp(0), topic_id(), config()).await?;
    Ok((broker, log))
}

/// Starts on the directory with one bit flipped and runs `check`.
fn with_flip(left: &Left, file: usize, bit: usize, check: impl AsyncFnOnce(SimEffects, &str)) {
    let world = SimWorld::new(2);
    let disk = world.disk("a");
    for (path, content) in &left.files {
        disk.set_content(path, content.clone());
    }
    let (path, content) = &left.files[file];
    let mut flipped = content.clone();
    flipped[bit / 8] ^= 1 << (bit % 8);
    disk.set_content(path, flipped);
    let what = format!("{} bit {bit}", path.display());
    world.block_on(check(world.node("a"), &what));
    world.end();
}

/// All that was not deleted can be read and found by time.
async fn check_whole(left: &Left, log: &Rc<Log<SimEffects>>, what: &str) {
    assert!(log.offline().is_none(), "{what}: {:?}", log.offline());
    assert_eq!((log.log_start_offset().0, log.log_end_offset().0), (START, RECORDS), "{what}");
    let from = usize::try_from(START).unwrap();
    // Small reads, each by way of the index.
    for (offset, bytes) in &left.records[from..] {
        let found = read_all(log, Offset(*offset), 1).await.unwrap();
        assert_eq!(found.first(), Some(&(*offset, bytes.clone())), "{what}");
    }
    let remaining = || (START..).zip(&left.times[from..]);
    for (_, time) in remaining() {
        let first = remaining().find(|(_, other)| *other >= time).unwrap();
        let found = log.offset_for_timestamp(*time, Offset(RECORDS)).await.unwrap().expect(what);
        assert_eq!((found.offset.0, &found.timestamp), first, "{what}");
    }
    check_epochs(log, what);
    let largest = remaining().max_by_key(|(_, time)| *time).unwrap();
    let found = log.max_timestamp_offset().await.unwrap().expect(what);
    assert_eq!((found.offset.0, &found.timestamp), largest, "{what}");
}

/// Retention removes the segment in which all is old, and no other.
async fn check_retention(log: &Rc<Log<SimEffects>>, what: &str) {
    log.update_high_watermark(log.durable_end());
    log.set_config(LogConfig { retention_ms: Some(7 * 24 * 3_600_000), ..config() });
    log.apply_retention().await.unwrap();
    assert_eq!(log.log_start_offset().0, PER_SEGMENT, "{what}");
    log.check_invariants();
}

#[test]
fn no_flipped_bit_of_a_side_file_costs_a_record_or_brings_one_back() {
    for clean in [true, false] {
        let left = leave(clean);
        let side_files = (0..left.files.len()).filter(|&file| {
            let name = left.files[file].0.to_string_lossy();
            let is_identity = name.ends_with("partition.metadata") || name.ends_with("meta.properties");
            !name.ends_with(".log") && !is_identity
        });
        for file in side_files {
            // A snapshot has a checksum over all of it.
            let step = if left.files[file].0.ends_with(".snapshot") { 7 } else { 1 };
            for bit in (0..left.files[file].1.len() * 8).step_by(step) {
                with_flip(&left, file, bit, async |node, what| {
                    let (_broker, log) = open(&node).await.unwrap();
                    check_whole(&left, &log, what).await;
                    check_retention(&log, what).await;
                });
                // A look-up would have found what is wrong.
                with_flip(&left, file, bit, async |node, what| {
                    let (_broker, log) = open(&node).await.unwrap();
                    check_retention(&log, what).await;
                });
            }
        }
    }
}

#[test]
fn epochs_that_are_gone_are_found_in_the_log() {
    for clean in [true, false] {
        let left = leave(clean);
        let world = SimWorld::new(2);
        let kept = left.files.iter().filter(|(path, _)| !path.ends_with("leader-epoch-checkpoint"));
        for (path, content) in kept.clone() {
            world.disk("a").set_content(path, content.clone());
        }
        assert_eq!(kept.count() + 1, left.files.len());
        world.block_on(async {
            let (broker, log) = open(&world.node("a")).await.unwrap();
            check_whole(&left, &log, "first start").await;
            broker.stop().await;
            let (_broker, log) = open(&world.node("a")).await.unwrap();
            check_whole(&left, &log, "second start").await;
        });
        world.end();
    }
}

#[test]
fn an_identity_with_a_flipped_bit_is_refused_and_its_records_stay() {
    let left = leave(true);
    let file = left.files.iter().position(|(path, _)| path.ends_with("partition.metadata")).unwrap();
    for bit in 0..left.files[file].1.len() * 8 {
        with_flip(&left, file, bit, async |node, what| {
            let refused = open(&node).await.err().expect(what);
            assert!(matches!(refused, StorageError::Mismatch { .. }), "{what}: {refused}");
        });
    }
}

#[test]
fn a_flipped_bit_of_a_base_offset_is_not_served() {
    let left = leave(true);
    for file in (0..left.files.len()).filter(|&file| left.files[file].0.to_string_lossy().ends_with(".log")) {
        let content = &left.files[file].1;
        let mut at = 0;
        let mut starts = Vec::new();
        for batch in model::batches(content).map(Result::unwrap) {
            starts.push((batch.base_offset().0, at));
            at += batch.size();
        }
        for (offset, at) in starts.into_iter().filter(|(offset, _)| *offset >= START) {
            for bit in at * 8..at * 8 + 64 {
                with_flip(&left, file, bit, async |node, what| {
                    let (_broker, log) = open(&node).await.unwrap();
                    let mut damaged = log.offline().is_some();
                    for (other, bytes) in &left.records[usize::try_from(START).unwrap()..] {
                        match log.read(Offset(*other), 1, true, Offset(RECORDS)).await {
                            Ok(read) if read.parts.is_empty() => damaged = true,
                            Ok(read) => {
                                let storage::ReadPart::Memory(part) = &read.parts[0] else { unreachable!() };
                                let found = model::RecordBatch::parse(&part.bytes).unwrap();
                                assert_eq!(found.base_offset().0, *other, "{what}");
                                assert_eq!(support::original(&found), *bytes, "{what}");
                            }
                            Err(ReadError::Corrupt(_) | ReadError::OffsetOutOfRange { .. }) => damaged = true,
                            Err(error) => panic!("{what}: {error}"),
                        }
                    }
                    assert!(damaged, "{what}: offset {offset} is told");
                });
            }
        }
    }
}
