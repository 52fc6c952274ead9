//! Proves retention, rolling by time, hot settings, look-up by timestamp, epochs, deletion of records and of
//! partitions.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use model::{Compression, LeaderEpoch, Offset, RecordBatch, RecordBatchBuilder, TimestampType};
use runtime::sim::{Fault, FaultKind, OpKind, SimEffects, SimWorld};
use runtime::{Clock, Effects, File};
use storage::{AppendOrigin, Log, LogConfig, LogManagerOptions, ReadError, ReadPart, SealedRead};
use support::{Broker, append_durably, batch, builder, listen, pause, read_all, start, tp};

fn run<Fut: Future<Output = ()>>(test: impl FnOnce(SimWorld, SimEffects, Broker) -> Fut) {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        test(world.clone(), node.clone(), broker).await;
    });
    world.end();
}

fn names(world: &SimWorld, part: &str) -> Vec<String> {
    let files = world.disk("a").files();
    files.iter().map(|path| path.display().to_string()).filter(|name| name.contains(part)).collect()
}

#[test]
fn retention_by_size_keeps_whole_segments_below_the_high_watermark() {
    run(|world, node, broker| async move {
        let config = LogConfig { segment_bytes: 10_000, file_delete_delay_ms: 5_000, ..LogConfig::default() };
        let log = broker.log(0, &config).await;
        let heard = listen(&log);
        for i in 0..50 {
            log.append(&batch(i, 1, 1_900, 1_000), AppendOrigin::Client, LeaderEpoch(0), 1_000_000).unwrap();
        }
        log.flush().await.unwrap();
        assert_eq!(log.segment_count(), 10);
        log.set_config(LogConfig { retention_bytes: Some(35_000), retention_ms: None, ..config.clone() });
        broker.manager.apply_retention().await.unwrap();
        assert_eq!(log.segment_count(), 10, "nothing is below the high watermark");
        log.update_high_watermark(Offset(17));
        broker.manager.apply_retention().await.unwrap();
        log.check_invariants();
        assert_eq!((log.log_start_offset(), heard.start.get()), (Offset(15), 15));
        log.update_high_watermark(Offset(50));
        broker.manager.apply_retention().await.unwrap();
        assert!(log.size_bytes() >= 35_000 && log.size_bytes() < 45_000, "{}", log.size_bytes());
        let start = log.log_start_offset();
        assert!(matches!(
            log.read(Offset(0), 1, true, Offset(50)).await,
            Err(ReadError::OffsetOutOfRange { .. })
        ));
        assert_eq!(read_all(&log, start, 1 << 20).await.unwrap()[0].0, start.0);
        assert!(!names(&world, ".deleted").is_empty(), "renamed first");
        pause(&node, 20_000).await;
        assert_eq!(names(&world, ".deleted"), [""; 0], "unlinked later");
        broker.stop().await;
        world.crash("a");
    });
}

#[test]
fn what_is_large_is_given_back_bit_by_bit() {
    run(|world, node, broker| async move {
        let config =
            LogConfig { file_delete_delay_ms: 1_000, max_message_bytes: 8 << 20, ..LogConfig::default() };
        let log = broker.log(0, &config).await;
        for i in 0..10 {
            append_durably(&log, &batch(i, 1, 4 << 20, 1_000)).await;
        }
        drop(log);
        broker.manager.delete_log(&tp(0)).await.unwrap();
        let size = || {
            let disk = world.disk("a");
            let files = disk.files().into_iter().filter(|path| path.to_string_lossy().contains("-delete"));
            files.map(|path| disk.read(&path).map_or(0, |content| content.len())).sum::<usize>()
        };
        let mut before = size();
        assert!(before > 40 << 20);
        let mut steps = 0;
        while before > 0 {
            pause(&node, 5).await;
            let now = size();
            assert!(before - now < 17 << 20, "{before} to {now}");
            steps += usize::from(now < before);
            before = now;
        }
        assert!(steps >= 3, "{steps}");
    });
}

#[test]
fn a_file_that_cannot_be_shrunk_is_removed_all_the_same() {
    run(|world, node, broker| async move {
        let config = LogConfig {
            segment_bytes: 5_000,
            retention_bytes: Some(0),
            file_delete_delay_ms: 0,
            ..LogConfig::default()
        };
        let log = broker.log(0, &config).await;
        for i in 0..10 {
            append_durably(&log, &batch(i, 1, 2_000, 1_000)).await;
        }
        pause(&node, 3_000).await;
        // As when no descriptors are left: a name could still be removed.
        world.disk("a").inject(Fault::new(OpKind::Meta, FaultKind::Eio).on(".log.deleted").after(0, 1));
        broker.manager.apply_retention().await.unwrap();
        pause(&node, 5_000).await;
        assert_eq!(names(&world, ".deleted"), [""; 0]);
    });
}

#[test]
fn a_stop_does_not_wait_for_what_is_to_be_removed() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let options =
            LogManagerOptions { unlink_pause: Duration::from_secs(3_600), ..LogManagerOptions::default() };
        let broker = start(node.clone(), options).await.unwrap();
        let config = LogConfig { file_delete_delay_ms: 0, ..LogConfig::default() };
        append_durably(&broker.log(0, &config).await, &batch(1, 1, 100, 1_000)).await;
        broker.manager.delete_log(&tp(0)).await.unwrap();
        pause(&node, 1_000).await;
        let before = node.clock().now();
        broker.stop().await;
        let took = node.clock().now().since(before);
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
    world.end();
}

/// A log with a sealed segment of 40 MiB, which retention takes.
async fn large_and_at_rest(node: &SimEffects, broker: &Broker) -> Rc<Log<SimEffects>> {
    let config = LogConfig {
        segment_bytes: 40 << 20,
        max_message_bytes: 8 << 20,
        retention_bytes: Some(0),
        file_delete_delay_ms: 1_000,
        ..LogConfig::default()
    };
    let log = broker.log(0, &config).await;
    for i in 0..12 {
        broker.manager.admitted(4 << 20).await;
        append_durably(&log, &batch(i, 1, 4 << 20, 1_000)).await;
    }
    pause(node, 20_000).await;
    log
}

#[test]
fn what_is_handed_out_of_a_file_can_be_read_although_that_is_removed() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let options = LogManagerOptions {
            sealed_read: SealedRead::Sendfile,
            append_bytes_max: 8 << 20,
            ..LogManagerOptions::default()
        };
        let broker = start(node.clone(), options).await.unwrap();
        let log = large_and_at_rest(&node, &broker).await;
        let read = log.read(Offset(0), 36 << 20, true, log.durable_end()).await.unwrap();
        let [ReadPart::File { file, position, length }] = &read.parts[..] else {
            panic!("a range of a file")
        };
        broker.manager.apply_retention().await.unwrap();
        pause(&node, 10_000).await;
        let pool = runtime::buffer::BufferPool::new(128 << 20);
        let wanted = usize::try_from(*length).unwrap();
        let (found, _) = file.read_at(pool.buffer(wanted).unwrap(), *position, wanted).await;
        assert_eq!(found.unwrap(), wanted);
    });
    world.end();
}

#[test]
fn a_read_that_meets_a_removed_file_does_not_speak_of_damage() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let options = LogManagerOptions { append_bytes_max: 8 << 20, ..LogManagerOptions::default() };
        let broker = start(node.clone(), options).await.unwrap();
        let log = large_and_at_rest(&node, &broker).await;
        // The index and the file are open.
        log.read(Offset(7), 1 << 20, true, log.durable_end()).await.unwrap();
        world.disk("a").inject(
            Fault::new(OpKind::Read, FaultKind::Slow(Duration::from_secs(10))).on(".log").after(0, 1),
        );
        let (reader, outcome) = (Rc::clone(&log), Rc::new(RefCell::new(None)));
        let slot = Rc::clone(&outcome);
        node.spawn(async move {
            let read = reader.read(Offset(7), 1 << 20, true, reader.durable_end()).await;
            *slot.borrow_mut() = Some(read.map(|read| read.size_bytes));
        });
        pause(&node, 10).await;
        broker.manager.apply_retention().await.unwrap();
        pause(&node, 20_000).await;
        let outcome = outcome.take().unwrap();
        assert!(
            matches!(outcome, Ok(_) | Err(ReadError::OffsetOutOfRange { .. })),
            "a consumer takes that for damage: {outcome:?}"
        );
    });
    world.end();
}

#[test]
fn a_retention_pass_that_fails_keeps_no_memory() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let options = LogManagerOptions { append_bytes_max: 256 << 10, ..LogManagerOptions::default() };
        let broker = start(node.clone(), options).await.unwrap();
        let config = LogConfig {
            segment_bytes: 32 << 10,
            retention_bytes: Some(1),
            file_delete_delay_ms: 0,
            ..LogConfig::default()
        };
        let log = broker.log(0, &config).await;
        for round in 0..3 {
            let admitted = Rc::new(Cell::new(0));
            let (count, manager, writer) =
                (Rc::clone(&admitted), Rc::clone(&broker.manager), Rc::clone(&log));
            node.spawn(async move {
                for i in 0..100 {
                    manager.admitted(10_000).await;
                    append_durably(&writer, &batch(i, 1, 10_000, 1_000)).await;
                    count.set(count.get() + 1);
                }
            });
            // All full segments are sealed by then.
            pause(&node, 5_000).await;
            let chunks = broker.manager.stats().chunk_bytes;
            assert_eq!(admitted.get(), 100, "round {round}: no room beside {chunks} bytes of chunks");
            let start = log.log_start_offset();
            let first = format!("/{start:020}.log");
            world.disk("a").inject(Fault::new(OpKind::Meta, FaultKind::Eio).on(&first).after(0, 1));
            let failed = broker.manager.apply_retention().await;
            assert!(failed.is_err() && log.log_start_offset() > start, "{failed:?}");
        }
        drop(log);
        broker.manager.delete_log(&tp(0)).await.unwrap();
        assert_eq!(broker.manager.stats().chunk_bytes, 0);
    });
    world.end();
}

#[test]
fn a_deletion_that_fails_keeps_no_memory() {
    run(|world, _, broker| async move {
        let log = broker.log(0, &LogConfig::default()).await;
        append_durably(&log, &batch(1, 1, 10_000, 1_000)).await;
        drop(log);
        world.disk("a").inject(Fault::new(OpKind::Meta, FaultKind::Eio).on("topic-0").after(0, 1));
        broker.manager.delete_log(&tp(0)).await.unwrap_err();
        assert_eq!(broker.manager.stats().chunk_bytes, 0);
    });
}

#[test]
fn retention_by_time_rolls_and_empties_the_log() {
    run(|_, node, broker| async move {
        let config = LogConfig { retention_ms: Some(60_000), segment_bytes: 10_000, ..LogConfig::default() };
        let log = broker.log(0, &config).await;
        let now = node.clock().unix_ms();
        for i in 0..20 {
            let sent = batch(i, 1, 1_900, now);
            log.append(&sent, AppendOrigin::Client, LeaderEpoch(0), now).unwrap();
        }
        log.flush().await.unwrap();
        log.update_high_watermark(log.durable_end());
        broker.manager.apply_retention().await.unwrap();
        assert_eq!(log.log_start_offset(), Offset(0));
        pause(&node, 61_000).await;
        log.set_config(LogConfig { retention_ms: None, ..config.clone() });
        broker.manager.apply_retention().await.unwrap();
        assert_eq!(log.log_start_offset(), Offset(0), "without retention.ms nothing goes");
        log.set_config(config.clone());
        broker.manager.apply_retention().await.unwrap();
        log.check_invariants();
        assert_eq!((log.log_start_offset(), log.segment_count(), log.size_bytes()), (Offset(20), 1, 0));
        let info = append_durably(&log, &batch(99, 1, 10, 1_000)).await;
        assert_eq!(info.first_offset, Offset(20), "offsets go on");
        broker.stop().await;
        let again = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = again.log(0, &config).await;
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(20), Offset(21)));
    });
}

#[test]
fn an_emptied_log_keeps_its_end_over_a_power_cut() {
    let world = SimWorld::new(9);
    let config = LogConfig { retention_ms: Some(1_000), ..LogConfig::default() };
    for life in 0..3 {
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let log = broker.log(0, &config).await;
            assert_eq!(log.log_end_offset(), Offset(life), "life {life}");
            assert_eq!(log.log_start_offset(), Offset(life), "life {life}");
            append_durably(&log, &batch(1, 1, 1_900, 1_000)).await;
            broker.manager.apply_retention().await.unwrap();
            assert_eq!(log.log_start_offset(), Offset(life + 1));
        });
        world.crash("a");
    }
    world.end();
}

#[test]
fn segments_roll_by_the_records_time() {
    run(|_, _, broker| async move {
        let config = LogConfig { segment_ms: 1_000, retention_ms: None, ..LogConfig::default() };
        let log = broker.log(0, &config).await;
        for (timestamp, segments) in
            [(10_000, 1), (10_500, 1), (11_000, 1), (11_001, 2), (11_500, 2), (12_100, 3)]
        {
            append_durably(&log, &batch(0, 1, 10, timestamp)).await;
            assert_eq!(log.segment_count(), segments, "{timestamp}");
        }
    });
}

#[test]
fn a_sealed_file_ends_with_its_records_whatever_was_prewritten() {
    // Whole pages, where there seems to be nothing to cut, and a part of one.
    for batch_bytes in [4_096, 4_000] {
        for is_closed in [false, true] {
            run(|world, node, broker| async move {
                let config = LogConfig { segment_ms: 1_000, retention_ms: None, ..LogConfig::default() };
                let log = broker.log(0, &config).await;
                let whole = |value_bytes| batch(0, 1, value_bytes, 10_000);
                let value_bytes = (1..).find(|bytes| whole(*bytes).len() == batch_bytes).unwrap();
                let first = "00000000000000000000.log";
                for n in 0..8 {
                    if n == 7 {
                        let slow = FaultKind::Slow(Duration::from_millis(500));
                        world.disk("a").inject(Fault::new(OpKind::Write, slow).on(first));
                    }
                    append_durably(&log, &whole(value_bytes)).await;
                }
                // A prewrite is under way.
                if is_closed {
                    broker.stop().await;
                } else {
                    append_durably(&log, &batch(0, 1, 10, 20_000)).await;
                    assert_eq!(log.segment_count(), 2);
                }
                pause(&node, 2_000).await;
                let file = world.disk("a").read(names(&world, first).remove(0)).unwrap();
                assert_eq!(file.len(), 8 * batch_bytes, "closed: {is_closed}");
            });
        }
    }
}

#[test]
fn records_are_found_by_timestamp() {
    run(|_, node, broker| async move {
        let config = LogConfig { segment_bytes: 5_000, index_interval_bytes: 200, ..LogConfig::default() };
        let log = broker.log(0, &config).await;
        // Records 1000, 1010, 1020 ... two per batch.
        for i in 0..50i64 {
            let sent =
                builder(0, 1, 300, 1_000 + i * 20).record(1_010 + i * 20, None, Some(b"second")).build();
            append_durably(&log, &sent).await;
        }
        assert!(log.segment_count() > 3);
        let end = log.log_end_offset();
        for life in 0..2 {
            for (timestamp, expect) in [
                (0, Some(0)),
                (1_000, Some(0)),
                (1_001, Some(1)),
                (1_500, Some(50)),
                (1_985, Some(99)),
                (1_990, Some(99)),
                (1_991, None),
            ] {
                let found = log.offset_for_timestamp(timestamp, end).await.unwrap();
                assert_eq!(found.map(|found| found.offset.0), expect, "{timestamp}, life {life}");
            }
            assert_eq!(log.offset_for_timestamp(1_990, Offset(99)).await.unwrap(), None, "not visible yet");
            let max = log.max_timestamp_offset().await.unwrap().unwrap();
            assert_eq!((max.offset, max.timestamp), (Offset(99), 1_990));
            pause(&node, 60_000).await;
        }
    });
}

/// A batch of these records, compressed.
fn zstd(records: RecordBatchBuilder) -> Vec<u8> {
    let plain = records.build();
    let (header, records) = plain.split_at(RecordBatch::HEADER_SIZE);
    let mut bytes = [header, &zstd::stream::encode_all(records, 1).unwrap()].concat();
    let length = i32::try_from(bytes.len() - RecordBatch::LOG_OVERHEAD).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&Compression::Zstd.bits().to_be_bytes());
    let crc = crc32c::crc32c(&bytes[RecordBatch::CRC_START..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn records_are_found_by_timestamp_in_compressed_batches_in_bounded_memory() {
    run(|_, _, broker| async move {
        let of = |value: &[u8]| {
            RecordBatchBuilder::new(Offset(0)).record(1_000, None, None).record(2_000, None, Some(value))
        };
        // The last one cannot be unpacked; no client could have sent it.
        let mut broken = of(b"v").build().to_vec();
        broken[22] = 4;
        let crc = crc32c::crc32c(&broken[RecordBatch::CRC_START..]);
        broken[17..21].copy_from_slice(&crc.to_be_bytes());
        for (partition, batch, origin, found) in [
            (0, zstd(of(&[0; 100])), AppendOrigin::Client, 1),
            (1, zstd(of(&vec![0; 40 << 20])), AppendOrigin::Client, 1),
            (2, broken, AppendOrigin::Coordinator, 0),
        ] {
            let log = broker.log(partition, &LogConfig::default()).await;
            log.append(&batch, origin, LeaderEpoch(0), 1_000_000).unwrap();
            log.flush().await.unwrap();
            let found_there = log.offset_for_timestamp(1_500, log.log_end_offset()).await.unwrap().unwrap();
            assert_eq!(found_there.offset, Offset(found), "{partition}");
        }
    });
}

#[test]
fn log_append_time_replaces_the_producers_time() {
    run(|_, _, broker| async move {
        let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
        let log = broker.log(0, &config).await;
        let info = log.append(&batch(0, 2, 10, 5), AppendOrigin::Client, LeaderEpoch(0), 777).unwrap();
        assert_eq!((info.log_append_time, info.max_timestamp), (Some(777), 777));
        log.flush().await.unwrap();
        let mut seen = Vec::new();
        log.replay(Offset(0), |batch| {
            batch.verify_crc().unwrap();
            seen.push((batch.timestamp_type(), batch.max_timestamp()));
        })
        .await
        .unwrap();
        assert_eq!(seen, [(TimestampType::LogAppendTime, 777)]);
        assert_eq!(log.offset_for_timestamp(777, Offset(2)).await.unwrap().unwrap().offset, Offset(0));
    });
}

#[test]
fn epochs_survive_a_kill() {
    let world = SimWorld::new(4);
    for life in 0..3 {
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let log = broker.log(0, &LogConfig::default()).await;
            for epoch in 0..life {
                let expect = (LeaderEpoch(epoch), Offset(i64::from(epoch) * 3 + 3));
                assert_eq!(log.end_offset_for_epoch(LeaderEpoch(epoch)), expect, "life {life}");
            }
            log.assign_epoch(LeaderEpoch(life));
            log.append(&batch(0, 3, 10, 1), AppendOrigin::Client, LeaderEpoch(life), 1).unwrap();
            log.flush().await.unwrap();
            pause(&node, if life == 1 { 5_000 } else { 0 }).await;
        });
        world.kill("a");
    }
    world.end();
}

#[test]
fn deleted_records_stay_deleted() {
    let world = SimWorld::new(5);
    let node = world.node("a");
    let config = LogConfig { segment_bytes: 5_000, ..LogConfig::default() };
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &config).await;
        for i in 0..10 {
            append_durably(&log, &batch(i, 2, 1_000, 1_000)).await;
        }
        assert!(log.advance_log_start(Offset(21)).await.is_err(), "not above the high watermark");
        assert_eq!(log.advance_log_start(Offset(11)).await.unwrap(), Offset(11));
        assert_eq!(log.advance_log_start(Offset(3)).await.unwrap(), Offset(11), "never back");
    });
    world.crash("a");
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &config).await;
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(11), Offset(20)));
        let before = log.segment_count();
        broker.manager.apply_retention().await.unwrap();
        assert!(log.segment_count() < before, "segments below the start go");
        assert_eq!(read_all(&log, Offset(11), 1 << 20).await.unwrap()[0].0, 10, "whole batches");
    });
    world.end();
}

#[test]
fn a_deleted_partition_is_gone_and_may_come_again() {
    for cut in [false, true] {
        let world = SimWorld::new(6);
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            let log = broker.log(0, &LogConfig::default()).await;
            append_durably(&log, &batch(0, 2, 1_000, 1_000)).await;
            pause(&node, 5_000).await;
            broker.manager.delete_log(&tp(0)).await.unwrap();
            assert!(support::append(&log, &batch(0, 1, 1, 1)).is_err());
            assert!(broker.dir.partitions(&node).await.unwrap().is_empty());
            let log = broker.log(0, &LogConfig::default()).await;
            assert_eq!((log.log_end_offset(), broker.manager.stats().durable_lag_bytes), (Offset(0), 0));
            append_durably(&log, &batch(0, 1, 1_000, 1_000)).await;
            pause(&node, 70_000).await;
        });
        if cut {
            world.crash("a")
        } else {
            world.kill("a")
        }
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            assert_eq!(broker.dir.partitions(&node).await.unwrap().len(), 1);
            assert_eq!(broker.log(0, &LogConfig::default()).await.log_end_offset(), Offset(1));
            assert_eq!(names(&world, "-delete"), [""; 0]);
        });
        world.end();
    }
}

#[test]
fn an_idle_partition_costs_no_chunk_and_no_disk_beyond_its_data() {
    run(|world, node, broker| async move {
        for partition in 0..20 {
            let log = broker.log(partition, &LogConfig::default()).await;
            if partition < 10 {
                append_durably(&log, &batch(0, 1, 100, 1_000)).await;
            }
        }
        pause(&node, 60_000).await;
        assert_eq!((broker.manager.stats().chunk_bytes, node.buffers().used_bytes()), (0, 0));
        let written: usize =
            names(&world, ".log").iter().map(|name| world.disk("a").read(name).unwrap().len()).sum();
        assert_eq!(u64::try_from(written).unwrap(), broker.manager.stats().log_bytes);
    });
}
