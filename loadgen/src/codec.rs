//! The five compression codecs of record batches, as Kafka frames them.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};

use crate::wire::Cursor;

/// How the records of a batch are compressed; the discriminant is the batch attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compression {
    /// Not at all.
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy in the block framing of snappy-java.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

impl Compression {
    /// The codec that a batch's attributes name.
    pub(crate) fn of_attributes(attributes: i16) -> Result<Self> {
        Ok(match attributes & 7 {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            other => bail!("unknown compression codec {other}"),
        })
    }

    /// Appends `plain`, compressed, to `out`.
    pub(crate) fn compress(self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::None => out.extend_from_slice(plain),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
                encoder.write_all(plain)?;
                encoder.finish()?;
            }
            Self::Snappy => snappy_compress(plain, out)?,
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
                encoder.write_all(plain)?;
                encoder.finish()?;
            }
            Self::Zstd => out.extend_from_slice(&zstd::bulk::compress(plain, 3)?),
        }
        Ok(())
    }

    /// Decompresses `packed` into `out`, at most [`PLAIN_BYTES_MAX`].
    pub(crate) fn decompress(self, packed: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        match self {
            Self::None => out.extend_from_slice(packed),
            Self::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(packed), out)?,
            Self::Snappy => snappy_decompress(packed, out)?,
            Self::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(packed), out)?,
            Self::Zstd => read_bounded(zstd::stream::read::Decoder::new(packed)?, out)?,
        }
        Ok(())
    }
}

fn read_bounded(reader: impl Read, out: &mut Vec<u8>) -> Result<()> {
    let limit = u64::try_from(PLAIN_BYTES_MAX)?;
    reader.take(limit + 1).read_to_end(out).context("decompressing")?;
    if out.len() > PLAIN_BYTES_MAX {
        bail!("batch decompresses to more than {PLAIN_BYTES_MAX} bytes");
    }
    Ok(())
}

fn snappy_compress(plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(&SNAPPY_MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(SNAPPY_BLOCK) {
        let packed = encoder.compress_vec(block)?;
        out.extend_from_slice(&u32::try_from(packed.len())?.to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(())
}

/// Reads snappy-java's framing, or one bare block as librdkafka writes it.
fn snappy_decompress(packed: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let Some(framed) = packed.strip_prefix(&SNAPPY_MAGIC) else {
        return snappy_block(packed, out);
    };
    let mut cursor = Cursor::new(framed);
    cursor.take(8)?;
    while !cursor.rest().is_empty() {
        let len = usize::try_from(cursor.u32()?)?;
        snappy_block(cursor.take(len)?, out)?;
    }
    Ok(())
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let plain_len = snap::raw::decompress_len(block)?;
    let at = out.len();
    if at + plain_len > PLAIN_BYTES_MAX {
        bail!("batch decompresses to more than {PLAIN_BYTES_MAX} bytes");
    }
    out.resize(at + plain_len, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[at..])?;
    Ok(())
}

/// The largest decompressed batch accepted.
const PLAIN_BYTES_MAX: usize = 256 * 1024 * 1024;
const SNAPPY_BLOCK: usize = 32 * 1024;
const SNAPPY_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    #[test]
    fn every_codec_round_trips_and_is_named_by_its_attribute() {
        let mut rng = fastrand::Rng::with_seed(1);
        for len in [0, 1, 1_000, 100_000] {
            let plain: Vec<u8> = (0..len).map(|_| rng.alphanumeric() as u8).collect();
            for codec in ALL {
                let (mut packed, mut back) = (Vec::new(), Vec::new());
                codec.compress(&plain, &mut packed).unwrap();
                codec.decompress(&packed, &mut back).unwrap();
                assert_eq!(back, plain, "{codec:?} {len}");
                assert_eq!(Compression::of_attributes(codec as i16).unwrap(), codec);
            }
        }
        assert!(Compression::of_attributes(5).is_err());
    }

    #[test]
    fn broken_input_is_an_error() {
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let mut packed = Vec::new();
            codec.compress(&[7; 5_000], &mut packed).unwrap();
            packed.truncate(packed.len() / 2);
            assert!(codec.decompress(&packed, &mut Vec::new()).is_err(), "{codec:?}");
        }
    }
}
