//! The records of a stored batch as a whole, unpacked, for `dump-log` and for coordinators that load their logs.

use std::borrow::Cow;
use std::io;

use bytes::Bytes;
use model::{Compression, RecordBatch};

use crate::records::{PIECE_BYTES, UNPACKED_BYTES_MAX, Unpack};

/// The records of a batch, unpacked if they are compressed. Takes as long as it takes: not for what clients wait for.
///
/// # Errors
/// The codec is unknown, or the bytes are not what it writes, or too many.
pub fn unpacked_records<'a>(batch: &RecordBatch<'a>) -> io::Result<Cow<'a, [u8]>> {
    match batch.compression() {
        Some(Compression::None) => Ok(Cow::Borrowed(batch.records())),
        _ => records(batch, UNPACKED_BYTES_MAX).map(Cow::Owned),
    }
}

/// The records of a batch, unpacked; at most `max` bytes.
pub(crate) fn records(batch: &RecordBatch<'_>, max: usize) -> io::Result<Vec<u8>> {
    let codec = batch.compression().ok_or_else(|| bad("unknown compression codec"))?;
    let bytes = batch.records();
    let Some(mut unpack) = Unpack::new(codec, Bytes::copy_from_slice(bytes))? else {
        return Ok(bytes.to_vec());
    };
    let (mut out, mut scratch) = (Vec::new(), vec![0; PIECE_BYTES]);
    loop {
        let piece = unpack.piece(&mut scratch)?;
        if piece.is_empty() {
            return Ok(out);
        }
        if out.len() + piece.len() > max {
            return Err(bad("unpacks to more than the limit"));
        }
        out.extend_from_slice(piece);
    }
}

fn bad(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Offset, RecordBatchBuilder};
    use std::io::Write as _;

    /// A batch whose records are packed by `pack`.
    fn packed(codec: Compression, pack: impl Fn(&[u8]) -> Vec<u8>) -> (Vec<u8>, Vec<u8>) {
        let plain = RecordBatchBuilder::new(Offset(0)).record(5, None, Some(&[7; 3000])).build();
        let records = plain[RecordBatch::HEADER_SIZE..].to_vec();
        let mut bytes = plain[..RecordBatch::HEADER_SIZE].to_vec();
        bytes.extend_from_slice(&pack(&records));
        let length = i32::try_from(bytes.len() - RecordBatch::LOG_OVERHEAD).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[21..23].copy_from_slice(&codec.bits().to_be_bytes());
        (bytes, records)
    }

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

    fn snappy_java(plain: &[u8]) -> Vec<u8> {
        let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        for part in plain.chunks(1000) {
            let block = snap::raw::Encoder::new().compress_vec(part).unwrap();
            out.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes());
            out.extend_from_slice(&block);
        }
        out
    }

    #[test]
    fn every_codec_unpacks_within_its_limit_and_survives_damage() {
        type Pack = fn(&[u8]) -> Vec<u8>;
        let codecs: [(Compression, Pack); 6] = [
            (Compression::None, |plain| plain.to_vec()),
            (Compression::Gzip, gzip),
            (Compression::Snappy, |plain| snap::raw::Encoder::new().compress_vec(plain).unwrap()),
            (Compression::Snappy, snappy_java),
            (Compression::Lz4, lz4),
            (Compression::Zstd, |plain| zstd::stream::encode_all(plain, 1).unwrap()),
        ];
        for (codec, pack) in codecs {
            let (bytes, plain) = packed(codec, pack);
            let batch = RecordBatch::parse(&bytes).unwrap();
            assert_eq!(records(&batch, plain.len()).unwrap(), plain, "{codec:?}");
            assert!(codec == Compression::None || records(&batch, plain.len() - 1).is_err(), "{codec:?}");
            for at in RecordBatch::HEADER_SIZE..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x41;
                let unpacked = records(&RecordBatch::parse(&damaged).unwrap(), 1 << 20);
                assert!(unpacked.is_ok_and(|out| out.len() <= 1 << 20) || codec != Compression::None);
            }
        }
    }
}
