//! What the broker believes of a batch's time is what its records say, whatever their header says, and it is the same
//! live, after a restart, after a kill and when the indexes are built again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod support;

use std::path::Path;
use std::rc::Rc;

use model::{LeaderEpoch, Offset, RecordBatchBuilder};
use model::{ProducerEpoch, ProducerId, RecordBatch, Sequence, TimestampType};
use runtime::sim::{SimEffects, SimWorld};
use runtime::{Clock, Disk, Effects};
use storage::{AppendOrigin, Log, LogConfig, LogManagerOptions};
use support::{append, append_durably, batch, pause, start};

const T: i64 = 1_000_000;

/// Two records, a second apart, under a header that claims this to be the largest timestamp.
fn lying(claim: i64) -> Vec<u8> {
    let honest = RecordBatchBuilder::new(Offset(0)).record(T, None, Some(b"a")).record(T + 1_000, None, None);
    let mut bytes = honest.build().to_vec();
    bytes[35..43].copy_from_slice(&claim.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[RecordBatch::CRC_START..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// How the log comes back.
#[derive(Debug, Clone, Copy)]
enum Life {
    Kept,
    Stopped,
    Killed,
    WithoutIndexes,
}

async fn check(log: &Rc<Log<SimEffects>>, what: (i64, Life)) {
    let end = log.log_end_offset();
    for (timestamp, expect) in [(T, Some(0)), (T + 1, Some(1)), (T + 1_000, Some(1)), (T + 1_001, None)] {
        let found = log.offset_for_timestamp(timestamp, end).await.unwrap();
        assert_eq!(found.map(|found| found.offset.0), expect, "{timestamp}, {what:?}");
    }
    let largest = log.max_timestamp_offset().await.unwrap().unwrap();
    assert_eq!((largest.offset, largest.timestamp), (Offset(1), T + 1_000), "{what:?}");
}

#[test]
fn a_header_that_lies_about_its_time_misleads_nobody() {
    for claim in [T, -1, T - 5_000, T + 3_600_000] {
        for life in [Life::Kept, Life::Stopped, Life::Killed, Life::WithoutIndexes] {
            let world = SimWorld::new(3);
            let config = LogConfig { segment_bytes: 500, ..LogConfig::default() };
            world.block_on({
                let (node, config) = (world.node("a"), config.clone());
                async move {
                    let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
                    let log = broker.log(0, &config).await;
                    append_durably(&log, &lying(claim)).await;
                    // Older ones behind it, of which the first closes the segment.
                    append_durably(&log, &batch(0, 1, 400, T - 60_000)).await;
                    append_durably(&log, &batch(1, 1, 400, T - 50_000)).await;
                    pause(&node, 60_000).await;
                    match life {
                        Life::Kept => check(&log, (claim, life)).await,
                        Life::Killed => {}
                        Life::Stopped | Life::WithoutIndexes => broker.stop().await,
                    }
                    if matches!(life, Life::WithoutIndexes) {
                        for file in ["00000000000000000000.index", "00000000000000000000.timeindex"] {
                            node.disk().remove_file(&Path::new("/data/topic-0").join(file)).await.unwrap();
                        }
                    }
                }
            });
            world.kill("a");
            let node = world.node("a");
            world.block_on(async move {
                let broker = start(node, LogManagerOptions::default()).await.unwrap();
                check(&broker.log(0, &config).await, (claim, life)).await;
            });
            world.end();
        }
    }
}

#[test]
fn retention_goes_by_the_records() {
    let hour = 3_600_000;
    for (claim, shift, kept) in [(T, hour, true), (T + 9 * hour, 0, false)] {
        let world = SimWorld::new(4);
        let node = world.node("a");
        world.block_on(async move {
            let now = node.clock().unix_ms();
            let options = LogManagerOptions { retention_check_ms: 1_000, ..LogManagerOptions::default() };
            let broker = start(node.clone(), options).await.unwrap();
            let config = LogConfig {
                segment_bytes: 500,
                retention_ms: Some(u64::try_from(hour).unwrap()),
                timestamp_after_max_ms: i64::MAX,
                ..LogConfig::default()
            };
            let log = broker.log(0, &config).await;
            // Two hours old, and the second record newer by `shift + hour`.
            let start = now - 2 * hour;
            let honest = RecordBatchBuilder::new(Offset(0)).record(start, None, None).record(
                start + shift + hour / 2,
                None,
                None,
            );
            let mut bytes = honest.build().to_vec();
            bytes[35..43].copy_from_slice(&(start + claim - T).to_be_bytes());
            let crc = crc32c::crc32c(&bytes[RecordBatch::CRC_START..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            append_durably(&log, &bytes).await;
            append_durably(&log, &batch(0, 1, 400, now)).await;
            append_durably(&log, &batch(1, 1, 400, now)).await;
            pause(&node, 10_000).await;
            assert_eq!(log.log_start_offset() == Offset(0), kept, "the header claims {claim}");
        });
        world.end();
    }
}

#[test]
fn a_producer_is_known_by_the_time_of_the_append_where_that_counts() {
    let world = SimWorld::new(5);
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    let sent = RecordBatchBuilder::new(Offset(0))
        .producer(ProducerId(1), ProducerEpoch(0), Sequence(0))
        .record(5, None, Some(b"long ago"))
        .build();
    for life in 0..2 {
        let (node, config, sent) = (world.node("a"), config.clone(), sent.clone());
        world.block_on(async move {
            let broker = start(node, LogManagerOptions::default()).await.unwrap();
            let log = broker.log(0, &config).await;
            if life == 0 {
                log.append(&sent, AppendOrigin::Client, LeaderEpoch(0), 777).unwrap();
                log.flush().await.unwrap();
            }
            let again = append(&log, &sent).unwrap();
            assert!(again.duplicate);
            assert_eq!((again.max_timestamp, again.log_append_time), (777, Some(777)), "life {life}");
        });
        world.kill("a");
    }
    world.end();
}
