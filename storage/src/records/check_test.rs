//! Checks at once and aside say the same, of every codec; what is damaged, cut off or a bomb is refused in bounded memory.

use std::io::Write as _;

use super::*;
use crate::LogConfig;
use model::{Compression, Offset, RecordBatchBuilder};
use runtime::sim::{SimEffects, SimWorld};

type Pack = fn(&[u8]) -> Vec<u8>;

const CODECS: [(&str, Compression, Pack); 7] = [
    ("plain", Compression::None, |plain| plain.to_vec()),
    ("gzip", Compression::Gzip, gzip),
    ("snappy", Compression::Snappy, snappy),
    ("snappy-java", Compression::Snappy, snappy_java),
    ("lz4", Compression::Lz4, lz4),
    ("zstd", Compression::Zstd, |plain| zstd::stream::encode_all(plain, 1).unwrap()),
    ("zstd of known size", Compression::Zstd, |plain| zstd::bulk::compress(plain, 1).unwrap()),
];

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

fn lz4(plain: &[u8]) -> Vec<u8> {
    let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::new());
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).unwrap()
}

fn snappy_java(plain: &[u8]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for part in plain.chunks(1000) {
        let block = snappy(part);
        out.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&block);
    }
    out
}

/// `plain`, a batch, with these bytes for its records.
fn with_records(plain: &[u8], codec: Compression, records: &[u8]) -> Bytes {
    let mut bytes = plain[..RecordBatch::HEADER_SIZE].to_vec();
    bytes.extend_from_slice(records);
    let length = i32::try_from(bytes.len() - RecordBatch::LOG_OVERHEAD).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&codec.bits().to_be_bytes());
    let crc = crc32c::crc32c(&bytes[RecordBatch::CRC_START..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// A batch of `count` records with values of `size` bytes, a second apart; every third without a key.
fn plain_batch(count: i64, size: usize) -> Bytes {
    let value: Vec<u8> =
        (0u32..).map(|i| (i.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()[0]).take(size).collect();
    (0..count)
        .fold(RecordBatchBuilder::new(Offset(0)), |builder, i| {
            builder.record(TIME + i * 1000, (i % 3 != 0).then_some(b"key"), Some(&value))
        })
        .build()
}

fn packed(plain: &Bytes, codec: Compression, pack: Pack) -> Bytes {
    with_records(plain, codec, &pack(&plain[RecordBatch::HEADER_SIZE..]))
}

const TIME: i64 = 1_760_000_000_000;

/// Runs `body` with a checker on a simulated shard.
fn on_a_shard<T: 'static>(
    trust: bool,
    body: impl AsyncFnOnce(RecordChecker<SimEffects>) -> T + 'static,
) -> T {
    let world = SimWorld::new(7);
    let node = world.node("a");
    world.block_on(async move { body(RecordChecker::new(node, trust)).await })
}

#[test]
fn every_codec_is_checked_at_once_and_aside_alike() {
    on_a_shard(false, async |checker| {
        // The second unpacks to more than is tried at once, the third is larger than that.
        for (count, size) in [(10, 100), (30, 40_000), (4, 400_000)] {
            let plain = plain_batch(count, size);
            let expected = Facts { largest: TIME + (count - 1) * 1000, smallest: Some(TIME), null_key: true };
            for (name, codec, pack) in CODECS {
                let batch = packed(&plain, codec, pack);
                let checked = checker.check(batch.clone()).await;
                assert_eq!(checked.facts.clone().ok(), Some(expected), "{name}, {count} of {size}");
                assert_eq!(ClientBatch::check(batch).facts.ok(), Some(expected), "{name}, {count} of {size}");
                assert_eq!(checker.memory.available(), ASIDE_MEBIBYTES_MAX);
            }
        }
    });
}

#[test]
fn what_is_not_what_it_says_is_refused_whatever_the_codec() {
    on_a_shard(false, async |checker| {
        for (count, size) in [(10, 100), (30, 40_000)] {
            let plain = plain_batch(count, size);
            for (name, codec, pack) in CODECS {
                let good = pack(&plain[RecordBatch::HEADER_SIZE..]);
                let cut = with_records(&plain, codec, &good[..good.len() - 1]);
                let longer = with_records(&plain, codec, &[&good[..], b"xxxxx"].concat());
                let garbage = with_records(&plain, codec, &[0xa5; 200]);
                let nothing = with_records(&plain, codec, &[]);
                let fewer = packed(&plain_batch(count - 1, size), codec, pack);
                let mut fewer = fewer.to_vec();
                fewer[23..27].copy_from_slice(&i32::try_from(count - 1).unwrap().to_be_bytes());
                fewer[57..61].copy_from_slice(&i32::try_from(count).unwrap().to_be_bytes());
                let crc = crc32c::crc32c(&fewer[RecordBatch::CRC_START..]);
                fewer[17..21].copy_from_slice(&crc.to_be_bytes());
                let rows = [
                    ("cut", cut),
                    ("longer", longer),
                    ("garbage", garbage),
                    ("nothing", nothing),
                    ("fewer", fewer.into()),
                ];
                for (what, bytes) in rows {
                    let checked = checker.check(bytes).await;
                    let refused = matches!(checked.facts, Err(AppendError::InvalidRecord { .. }));
                    assert!(refused, "{name}, {what}: {:?}", checked.facts);
                }
            }
        }
    });
}

#[test]
fn claims_of_gigabytes_take_no_memory_and_bombs_end() {
    let plain = plain_batch(1, 10);
    let zeros = vec![0; 4 << 20];
    // A record of 2^31-1 bytes, nearly all of them its value.
    let record = [0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 0x80, 0xa8, 0xd6, 0xb9, 0x0e];
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    bomb.write_all(&record).unwrap();
    for _ in 0..=UNPACKED_BYTES_MAX / zeros.len() {
        bomb.write_all(&zeros).unwrap();
    }
    let huge_block = [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01", &[0x7f, 0xff, 0xff, 0xff, 1][..]].concat();
    // A window of 2^41 bytes.
    let huge_window = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 0x09, 0, 0, 0];
    let rows: [(Compression, &[u8], &str); 4] = [
        (Compression::Zstd, &bomb.finish().unwrap(), "unpack to more than"),
        (Compression::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 1], "claims more than it can hold"),
        (Compression::Snappy, &huge_block, "cut off"),
        (Compression::Zstd, &huge_window, "memory"),
    ];
    for (row, (codec, records, expect)) in rows.into_iter().enumerate() {
        let bytes = with_records(&plain, codec, records);
        on_a_shard(false, async move |checker| {
            let error = checker.check(bytes).await.facts.unwrap_err().to_string();
            assert!(error.contains(expect), "row {row}: {error}");
        });
    }
}

#[test]
fn memory_for_decoders_is_asked_for_by_what_they_may_take() {
    let window = |descriptor| [&[0x28, 0xb5, 0x2f, 0xfd, 0][..], &[descriptor, 0]].concat();
    let rows: [(Compression, Vec<u8>, usize); 9] = [
        (Compression::Gzip, vec![1; 1000], 1),
        (Compression::Snappy, vec![1; 1000], 1),
        (Compression::Snappy, vec![1; 1 << 20], 16),
        (Compression::Lz4, vec![1; 1000], 13),
        (Compression::Zstd, window(0x58), 3),
        (Compression::Zstd, window(0x88), 16),
        (Compression::Zstd, zstd::bulk::compress(&[7; 1000], 1).unwrap(), 1),
        (Compression::Zstd, vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0x50, 0, 1, 0, 0], 6),
        (Compression::Zstd, vec![0x28, 0xb5, 0x2f, 0xfd], 16),
    ];
    for (row, (codec, records, expect)) in rows.into_iter().enumerate() {
        let bytes = with_records(&plain_batch(1, 1), codec, &records);
        assert_eq!(mebibytes(&bytes), expect, "row {row}");
    }
}

#[test]
fn who_trusts_headers_looks_no_further() {
    on_a_shard(true, async |checker| {
        let garbage = with_records(&plain_batch(3, 10), Compression::Gzip, &[0xa5; 200]);
        let facts = checker.check(garbage.clone()).await.facts.unwrap();
        assert_eq!(facts, Facts { largest: TIME + 2000, smallest: Some(TIME), null_key: false });
        let mut flipped = garbage.to_vec();
        flipped[100] ^= 1;
        assert!(matches!(checker.check(flipped.into()).await.facts, Err(AppendError::Corrupt(_))));
    });
}

#[test]
fn all_offenders_are_named_up_to_a_bound() {
    let compact = LogConfig { compact: true, timestamp_after_max_ms: 5_000, ..LogConfig::default() };
    let past = LogConfig { timestamp_before_max_ms: 0, ..LogConfig::default() };
    let stamped = LogConfig { timestamp_type: model::TimestampType::LogAppendTime, ..LogConfig::default() };
    on_a_shard(false, async move |checker| {
        for (name, codec, pack) in CODECS {
            let sent = checker.check(packed(&plain_batch(9, 100), codec, pack)).await;
            let named = async |config: &LogConfig, now| {
                let rules = RecordRules::new(config, now);
                let (batch, facts) = sent.checked().unwrap();
                let offenders = checker.offenders(&sent, rules).await;
                assert_eq!(rules.allow(&facts, batch.timestamp_type()), offenders.is_empty(), "{name}");
                offenders
            };
            assert_eq!(named(&stamped, TIME).await, []);
            let indexes = |offenders: Vec<(i32, BrokenRule)>| -> Vec<(i32, bool)> {
                offenders.into_iter().map(|(index, rule)| (index, rule == BrokenRule::NoKey)).collect()
            };
            let expected = [(0, true), (3, true), (6, true), (7, false), (8, false)];
            assert_eq!(indexes(named(&compact, TIME).await), expected, "{name}");
            assert_eq!(indexes(named(&past, TIME + 2_000).await), [(0, false), (1, false)], "{name}");
        }
        let mut pretending = plain_batch(500, 0).to_vec();
        pretending[22] |= 8;
        let crc = crc32c::crc32c(&pretending[RecordBatch::CRC_START..]);
        pretending[17..21].copy_from_slice(&crc.to_be_bytes());
        let sent = checker.check(pretending.into()).await;
        let offenders = checker.offenders(&sent, RecordRules::new(&stamped, TIME)).await;
        assert_eq!(offenders.len(), 100);
        assert!(offenders.iter().all(|(_, rule)| *rule == BrokenRule::TimestampType));
    });
}
