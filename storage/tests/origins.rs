//! Proves who may append what, row by row.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::rc::Rc;

use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, RecordBatch, RecordBatchBuilder, Sequence};
use runtime::sim::{SimEffects, SimWorld};
use storage::{AppendError, AppendOrigin, Log, LogConfig, LogManagerOptions};
use support::{batch, pause, start};

fn of_producer(epoch: i16, sequence: i32) -> Vec<u8> {
    let producer = (ProducerId(7), ProducerEpoch(epoch), Sequence(sequence));
    let builder = RecordBatchBuilder::new(Offset(0)).producer(producer.0, producer.1, producer.2);
    builder.record(1_000, None, Some(b"v")).build().to_vec()
}

/// A batch whose checksum is right and whose records are not.
fn garbage() -> Vec<u8> {
    let mut bytes = batch(1, 1, 10, 1_000).to_vec();
    bytes[61] = 0x7e;
    let crc = crc32c::crc32c(&bytes[RecordBatch::CRC_START..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn outcome(log: &Rc<Log<SimEffects>>, bytes: &[u8], origin: AppendOrigin) -> &'static str {
    let end = log.log_end_offset();
    let appended = log.append(bytes, origin, LeaderEpoch(0), 1_000_000);
    let is_stored = appended.as_ref().is_ok_and(|info| !info.duplicate);
    assert_eq!(log.log_end_offset() > end, is_stored);
    match appended {
        Ok(info) if info.duplicate => "duplicate",
        Ok(_) => "stored",
        Err(AppendError::Corrupt(_)) => "corrupt",
        Err(AppendError::InvalidRecord { .. }) => "invalid",
        Err(AppendError::RecordsRefused(_)) => "refused",
        Err(AppendError::TooLarge { .. }) => "large",
        Err(AppendError::LargerThanSegment { .. }) => "larger",
        Err(AppendError::OutOfOrderSequence { .. }) => "gap",
        Err(AppendError::InvalidProducerEpoch { .. }) => "fenced",
        Err(AppendError::DiskFull { .. }) => "full",
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn each_origin_has_its_rules() {
    let control = RecordBatchBuilder::new(Offset(0)).attributes(0x20).record(1, None, Some(b"v")).build();
    let mut flipped = batch(1, 1, 10, 1_000).to_vec();
    flipped[70] ^= 1;
    let two = [batch(1, 2, 10, 1_000), batch(2, 1, 10, 1_000)].concat();
    let rows: [(&str, Vec<u8>, [&str; 3]); 12] = [
        ("good", batch(1, 1, 10, 1_000).to_vec(), ["stored", "stored", "stored"]),
        ("bad checksum", flipped, ["corrupt", "corrupt", "corrupt"]),
        ("nothing", vec![], ["invalid", "invalid", "invalid"]),
        ("garbage in records", garbage(), ["invalid", "stored", "stored"]),
        ("of the future", batch(1, 1, 10, 1 << 50).to_vec(), ["refused", "stored", "stored"]),
        ("two batches", two, ["invalid", "stored", "stored"]),
        ("control records", control.to_vec(), ["invalid", "stored", "stored"]),
        ("above max.message.bytes", batch(1, 1, 5_000, 1_000).to_vec(), ["large", "large", "large"]),
        ("larger than a segment", batch(1, 1, 3_950, 1_000).to_vec(), ["larger", "larger", "larger"]),
        ("again", of_producer(3, 0), ["duplicate", "stored", "stored"]),
        ("a gap", of_producer(3, 9), ["gap", "stored", "stored"]),
        ("an old epoch", of_producer(2, 1), ["fenced", "fenced", "stored"]),
    ];
    let config = LogConfig { max_message_bytes: 4_500, segment_bytes: 4_000, ..LogConfig::default() };
    let origins = [AppendOrigin::Client, AppendOrigin::Coordinator, AppendOrigin::Metadata];
    let world = SimWorld::new(1);
    let node = world.node("a");
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let mut number = 0;
        for (what, bytes, expected) in &rows {
            for (origin, expected) in origins.into_iter().zip(*expected) {
                number += 1;
                let log = broker.log(number, &config).await;
                log.append(&of_producer(3, 0), AppendOrigin::Client, LeaderEpoch(0), 1_000_000).unwrap();
                assert_eq!(outcome(&log, bytes, origin), expected, "{what}, {origin:?}");
                log.check_invariants();
            }
        }
    });
    world.end();
}

#[test]
fn the_reserve_is_for_the_brokers_own() {
    let world = SimWorld::new(2);
    let node = world.node("a");
    world.block_on(async {
        let options = LogManagerOptions { disk_reserve_bytes: 1 << 20, ..LogManagerOptions::default() };
        let broker = start(node.clone(), options).await.unwrap();
        let log = broker.log(0, &LogConfig::default()).await;
        world.disk("a").set_capacity(Some(1 << 20));
        pause(&node, 5_000).await;
        for (origin, expected) in [
            (AppendOrigin::Client, "full"),
            (AppendOrigin::Coordinator, "stored"),
            (AppendOrigin::Metadata, "stored"),
        ] {
            assert_eq!(outcome(&log, &batch(1, 1, 10, 1_000), origin), expected, "{origin:?}");
        }
    });
    world.end();
}
