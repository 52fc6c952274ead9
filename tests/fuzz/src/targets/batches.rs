//! Record batches of every codec, damaged under a right checksum.

use std::io::Write;

use model::{Offset, ProducerEpoch, ProducerId, RecordBatch, RecordBatchBuilder, Sequence};

use super::data_directory::TIMESTAMP;
use crate::Mutator;

/// A batch with damage to header, packed or plain records; its length field and checksum are mostly made to fit.
pub(super) fn damaged_batch(mutator: &mut Mutator) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(Offset(0));
    if mutator.below(3) == 0 {
        builder = builder.producer(ProducerId(1), ProducerEpoch(0), Sequence(0));
    }
    for _ in 0..=mutator.below(4) {
        let value = vec![b'v'; mutator.below(200)];
        builder = builder.record_with_headers(TIMESTAMP, Some(b"key"), Some(&value), &[("h", None)]);
    }
    let mut header = builder.build().to_vec();
    let mut records = header.split_off(RecordBatch::HEADER_SIZE);
    if mutator.below(2) == 0 {
        mutator.mutate(&mut records);
    }
    let codec = mutator.below(5);
    let mut records = packed(codec, &records);
    if mutator.below(2) == 0 {
        mutator.mutate(&mut records);
    }
    header[22] |= u8::try_from(codec).expect("below 5");
    if mutator.below(2) == 0 {
        let place = mutator.below(header.len());
        header[place] = *mutator.pick(&[0, 1, 0x7f, 0x80, 0xff]);
    }
    if mutator.below(8) == 0 {
        // As many records as the offsets say, but more than there are.
        let count = *mutator.pick(&[1, 2, i32::MAX - 1, i32::MAX]);
        header[57..61].copy_from_slice(&count.to_be_bytes());
        header[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    }
    let mut batch = [header, records].concat();
    if mutator.below(8) != 0 {
        let length = i32::try_from(batch.len() - RecordBatch::LOG_OVERHEAD).expect("small");
        batch[8..12].copy_from_slice(&length.to_be_bytes());
    }
    let crc = crc32c::crc32c(&batch[RecordBatch::CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Packs as producers do, by the codec's number in Kafka.
fn packed(codec: usize, plain: &[u8]) -> Vec<u8> {
    match codec {
        1 => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(plain).and_then(|()| gzip.finish()).expect(IN_MEMORY)
        }
        2 => snap::raw::Encoder::new().compress_vec(plain).expect(IN_MEMORY),
        3 => {
            let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
            lz4.write_all(plain).expect(IN_MEMORY);
            lz4.finish().expect(IN_MEMORY)
        }
        4 => zstd::encode_all(plain, 1).expect(IN_MEMORY),
        _ => plain.to_vec(),
    }
}

const IN_MEMORY: &str = "writing to memory cannot fail";
