//! Opens compressed batches, for `dump-log` and for finding a record by its time. Never on the produce
//! and fetch paths.

use std::borrow::Cow;
use std::io::{self, Read};

use model::{Compression, RecordBatch};

/// The most that a batch may unpack to: what a batch of the largest size could reasonably hold.
pub(crate) const UNPACKED_BYTES_MAX: usize = 256 << 20;

/// What snappy-java writes at the start of its streams.
const SNAPPY_JAVA_MAGIC: &[u8] = b"\x82SNAPPY\0";
const SNAPPY_JAVA_HEADER: usize = 16;

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
    let bytes = batch.records();
    match batch.compression() {
        None => Err(bad("unknown compression codec")),
        Some(Compression::None) => Ok(bytes.to_vec()),
        Some(Compression::Gzip) => limited(flate2::read::MultiGzDecoder::new(bytes), max),
        Some(Compression::Snappy) => snappy(bytes, max),
        Some(Compression::Lz4) => limited(lz4_flex::frame::FrameDecoder::new(bytes), max),
        Some(Compression::Zstd) => limited(zstd::stream::read::Decoder::new(bytes)?, max),
    }
}

fn limited(reader: impl Read, max: usize) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX);
    reader.take(limit.saturating_add(1)).read_to_end(&mut out)?;
    if out.len() > max { Err(bad("unpacks to more than the limit")) } else { Ok(out) }
}

/// A raw block, or snappy-java's stream of blocks, each behind its length.
fn snappy(bytes: &[u8], max: usize) -> io::Result<Vec<u8>> {
    if !bytes.starts_with(SNAPPY_JAVA_MAGIC) {
        return snappy_block(bytes, max);
    }
    let mut rest = bytes.get(SNAPPY_JAVA_HEADER..).ok_or_else(|| bad("snappy header is cut off"))?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(|| bad("snappy block is cut off"))?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (block, behind) =
            behind.split_at_checked(length).ok_or_else(|| bad("snappy block is cut off"))?;
        out.extend_from_slice(&snappy_block(block, max - out.len())?);
        rest = behind;
    }
    Ok(out)
}

fn snappy_block(block: &[u8], max: usize) -> io::Result<Vec<u8>> {
    let length = snap::raw::decompress_len(block).map_err(io::Error::other)?;
    if length > max {
        return Err(bad("unpacks to more than the limit"));
    }
    snap::raw::Decoder::new().decompress_vec(block).map_err(io::Error::other)
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
