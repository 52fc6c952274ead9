//! Record batches: reading the header, and the checksum, which grows with the batch.

use bytes::Bytes;
use model::{Offset, RecordBatch, RecordBatchBuilder};

use crate::stopwatch::Results;

pub(crate) fn run(results: &mut Results) {
    let bytes = batch(16 << 10);
    results.measure("batch header parse", || {
        let batch = RecordBatch::parse(&bytes).expect("a valid batch");
        (batch.base_offset(), batch.last_offset(), batch.max_timestamp(), batch.record_count())
    });
    for size in [1 << 10, 16 << 10, 256 << 10, 1 << 20] {
        let bytes = batch(size);
        results.measure(&format!("batch parse and CRC, {} KiB", size >> 10), || {
            RecordBatch::parse(&bytes).and_then(|batch| batch.verify_crc()).expect("a valid batch");
        });
    }
    results.measure("batch records iteration, 16 KiB of 1 KiB", || {
        let batch = RecordBatch::parse(&bytes).expect("a valid batch");
        batch.iter().filter(Result::is_ok).count()
    });
}

/// A batch of 1 KiB records, about `size` bytes in all.
pub(crate) fn batch(size: usize) -> Bytes {
    let value = [0x5a; 1_000];
    let mut builder = RecordBatchBuilder::new(Offset(0));
    for _ in 0..size >> 10 {
        builder = builder.record(TIMESTAMP, None, Some(&value));
    }
    builder.build()
}

/// The time of every record.
pub(crate) const TIMESTAMP: i64 = 1_000_000;
