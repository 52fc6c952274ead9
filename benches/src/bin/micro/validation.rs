//! What it costs to look at the records of a batch before it is appended, per codec, beside believing its header.

use std::io::Write;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use model::{Compression, Offset, RecordBatch, RecordBatchBuilder};
use runtime::{ShardOptions, UringEffects, run_shards};
use storage::RecordChecker;

use crate::batch::TIMESTAMP;
use crate::stopwatch::{ROUNDS, Results};

/// Batches per round.
const CHECKS: u32 = 200;

/// Bytes of records in a batch, unpacked.
const BATCH_BYTES: usize = 64 << 10;

type Pack = fn(&[u8]) -> anyhow::Result<Vec<u8>>;

pub(crate) fn run() -> anyhow::Result<Results> {
    let (send, receive) = mpsc::channel();
    let shards = run_shards(vec![ShardOptions::default()], move |_, effects| {
        let send = send.clone();
        async move {
            // The receiver waits for as long as the shard runs.
            let _ = send.send(measure(effects).await);
        }
    })?;
    let outcome = receive.recv().context("the shard ended early");
    shards.join();
    outcome?
}

async fn measure(effects: UringEffects) -> anyhow::Result<Results> {
    let mut results = Results::default();
    let (look, believe) = (RecordChecker::new(effects.clone(), false), RecordChecker::new(effects, true));
    let codecs: [(&str, Compression, Pack); 6] = [
        ("none", Compression::None, |plain| Ok(plain.to_vec())),
        ("gzip", Compression::Gzip, gzip),
        ("snappy", Compression::Snappy, |plain| Ok(snap::raw::Encoder::new().compress_vec(plain)?)),
        ("snappy-java", Compression::Snappy, snappy_java),
        ("lz4", Compression::Lz4, lz4),
        ("zstd", Compression::Zstd, |plain| Ok(zstd::stream::encode_all(plain, 3)?)),
    ];
    for record_bytes in [1000, 100] {
        for (name, codec, pack) in codecs {
            let batch = batch(record_bytes, codec, pack)?;
            let name = format!("records of {record_bytes} B, {name}, {} bytes", batch.len());
            check(&look, &batch, &format!("{name}: looked at"), &mut results).await;
            check(&believe, &batch, &format!("{name}: believed"), &mut results).await;
        }
    }
    Ok(results)
}

async fn check(checker: &RecordChecker<UringEffects>, batch: &Bytes, name: &str, results: &mut Results) {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CHECKS {
            std::hint::black_box(checker.check(batch.clone()).await);
        }
        rounds.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(CHECKS));
    }
    results.add(name, rounds);
}

/// A batch of text that packs about as well as events in JSON do.
fn batch(record_bytes: usize, codec: Compression, pack: Pack) -> anyhow::Result<Bytes> {
    let mut state = 1u64;
    let mut value = || {
        let mut text = Vec::with_capacity(record_bytes + 40);
        while text.len() < record_bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write!(text, "{{\"id\":{},\"name\":\"user-{}\"}},", state >> 44, (state >> 33) & 0xff)?;
        }
        text.truncate(record_bytes);
        anyhow::Ok(text)
    };
    let mut builder = RecordBatchBuilder::new(Offset(0));
    while builder.size() < BATCH_BYTES {
        builder = builder.record(TIMESTAMP, Some(b"key-0001"), Some(&value()?));
    }
    let plain = builder.build();
    let (header, records) = plain.split_at(RecordBatch::HEADER_SIZE);
    let mut bytes = [header, &pack(records)?].concat();
    let length = i32::try_from(bytes.len() - RecordBatch::LOG_OVERHEAD)?;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&codec.bits().to_be_bytes());
    let batch = RecordBatch::parse(&bytes)?;
    if let Err(model::BatchError::Crc { computed, .. }) = batch.verify_crc() {
        bytes[17..21].copy_from_slice(&computed.to_be_bytes());
    }
    Ok(bytes.into())
}

fn gzip(plain: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(plain)?;
    Ok(writer.finish()?)
}

fn lz4(plain: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::new());
    writer.write_all(plain)?;
    Ok(writer.finish()?)
}

/// Blocks of 32 KiB, as Java clients write them.
fn snappy_java(plain: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for part in plain.chunks(32 << 10) {
        let block = snap::raw::Encoder::new().compress_vec(part)?;
        out.extend_from_slice(&u32::try_from(block.len())?.to_be_bytes());
        out.extend_from_slice(&block);
    }
    Ok(out)
}
