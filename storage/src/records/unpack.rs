//! Compressed records, unpacked piece by piece into memory that does not depend on what the bytes claim to unpack to.

use std::io::{self, Cursor, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use model::Compression;
use zstd::stream::read::Decoder as ZstdDecoder;

/// Bytes at most of one piece of a stream; a block of snappy is one piece.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// The largest window of a zstd frame: what level 22 asks for.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Bytes that a decoder may take beside a window or a block: its own tables.
const DECODER_BYTES: usize = 256 << 10;

/// A block of lz4 has at most so many bytes; a decoder keeps one as it came and one unpacked.
const LZ4_BLOCK_BYTES_MAX: usize = 4 << 20;

/// What snappy-java writes at the start of its streams, and Kafka's clients with it; others write one raw block.
const SNAPPY_JAVA_MAGIC: &[u8] = b"\x82SNAPPY\0";
const SNAPPY_JAVA_HEADER: usize = 16;

/// A copy of 64 bytes takes 3: snappy cannot unpack to more than so many times its size.
const SNAPPY_RATIO_MAX: usize = 22;

/// Records being unpacked.
pub(crate) enum Unpack {
    Gzip(Box<MultiGzDecoder<Cursor<Bytes>>>),
    Snappy(Snappy),
    Lz4(Box<FrameDecoder<Cursor<Bytes>>>),
    Zstd(ZstdDecoder<'static, Cursor<Bytes>>),
}

impl Unpack {
    /// Starts to unpack; `None` for records that are not compressed.
    pub(crate) fn new(codec: Compression, bytes: Bytes) -> io::Result<Option<Self>> {
        Ok(Some(match codec {
            Compression::None => return Ok(None),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Cursor::new(bytes)))),
            Compression::Snappy => Self::Snappy(Snappy::new(bytes)?),
            Compression::Lz4 if !is_one_lz4_frame(&bytes) => {
                return Err(bad("the lz4 frame does not end where the records do"));
            }
            Compression::Lz4 => Self::Lz4(Box::new(FrameDecoder::new(Cursor::new(bytes)))),
            Compression::Zstd => {
                let mut decoder = ZstdDecoder::with_buffer(Cursor::new(bytes))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Self::Zstd(decoder)
            }
        }))
    }

    /// Bytes of memory that unpacking these bytes may take, apart from a piece, in all.
    pub(crate) fn memory_bytes(codec: Compression, bytes: &[u8]) -> usize {
        match codec {
            Compression::None => 0,
            Compression::Gzip => DECODER_BYTES,
            Compression::Snappy => bytes.len().saturating_mul(SNAPPY_RATIO_MAX),
            Compression::Lz4 => DECODER_BYTES + 3 * LZ4_BLOCK_BYTES_MAX,
            Compression::Zstd => DECODER_BYTES.saturating_add(zstd_window(bytes)),
        }
    }

    /// The next piece; empty at the end.
    pub(crate) fn piece<'a>(&'a mut self, scratch: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let read = match self {
            Self::Gzip(decoder) => decoder.read(scratch)?,
            Self::Snappy(snappy) => return snappy.block(),
            Self::Zstd(decoder) => decoder.read(scratch)?,
            Self::Lz4(decoder) => decoder.read(scratch)?,
        };
        Ok(&scratch[..read])
    }
}

/// Whether the bytes are one frame, from its header to its end mark. The decoder takes less for a frame, and readers that
/// do not would stop here.
fn is_one_lz4_frame(bytes: &[u8]) -> bool {
    let Some(&flags) = bytes.get(4).filter(|_| bytes.starts_with(&0x184d_2204_u32.to_le_bytes())) else {
        return false;
    };
    let has = |bit: u8, size: usize| if flags & bit == 0 { 0 } else { size };
    let (content_size, dictionary, content_checksum) = (has(0x08, 8), has(0x01, 4), has(0x04, 4));
    let block_checksum = has(0x10, 4);
    let mut at = 4 + 2 + content_size + dictionary + 1;
    while let Some(size) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        at += 4;
        match u32::from_le_bytes(*size) & 0x7fff_ffff {
            0 => return at + content_checksum == bytes.len(),
            size => at += usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len()) + block_checksum,
        }
    }
    false
}

/// The memory that the first frame asks for (RFC 8878, 3.1.1.1); the most of all if that cannot be told.
fn zstd_window(bytes: &[u8]) -> usize {
    let most = 1 << ZSTD_WINDOW_LOG_MAX;
    let (Some(&descriptor), Some(&window)) = (bytes.get(4), bytes.get(5)) else { return most };
    if !bytes.starts_with(&0xfd2f_b528_u32.to_le_bytes()) {
        return most;
    }
    let single_segment = descriptor & 0x20 != 0;
    if single_segment {
        let content = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten();
        return content.and_then(|content| usize::try_from(content).ok()).unwrap_or(most).min(most);
    }
    let (exponent, mantissa) = (u32::from(window >> 3), usize::from(window & 7));
    1usize.checked_shl(10 + exponent).map_or(most, |base| base.saturating_add(base / 8 * mantissa)).min(most)
}

/// One raw block, or snappy-java's stream of blocks, each behind its length.
pub(crate) struct Snappy {
    rest: Bytes,
    framed: bool,
    decoder: snap::raw::Decoder,
    unpacked: Vec<u8>,
}

impl Snappy {
    fn new(mut bytes: Bytes) -> io::Result<Self> {
        let framed = bytes.starts_with(SNAPPY_JAVA_MAGIC);
        if framed {
            if bytes.len() < SNAPPY_JAVA_HEADER {
                return Err(bad("the snappy header is cut off"));
            }
            drop(bytes.split_to(SNAPPY_JAVA_HEADER));
        } else if bytes.is_empty() {
            return Err(bad("there is no snappy block"));
        }
        Ok(Self { rest: bytes, framed, decoder: snap::raw::Decoder::new(), unpacked: Vec::new() })
    }

    fn block(&mut self) -> io::Result<&[u8]> {
        loop {
            if self.rest.is_empty() {
                return Ok(&[]);
            }
            let block = if self.framed { self.next_block()? } else { std::mem::take(&mut self.rest) };
            let length = snap::raw::decompress_len(&block).map_err(io::Error::other)?;
            if length > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
                return Err(bad("a snappy block claims more than it can hold"));
            }
            if self.unpacked.len() < length {
                self.unpacked.resize(length, 0);
            }
            let written =
                self.decoder.decompress(&block, &mut self.unpacked[..length]).map_err(io::Error::other)?;
            // An empty piece would be the end.
            if written > 0 {
                return Ok(&self.unpacked[..written]);
            }
        }
    }

    fn next_block(&mut self) -> io::Result<Bytes> {
        let length = self.rest.first_chunk::<4>().ok_or_else(|| bad("a snappy block is cut off"))?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        drop(self.rest.split_to(4));
        if length > self.rest.len() {
            return Err(bad("a snappy block is cut off"));
        }
        Ok(self.rest.split_to(length))
    }
}

fn bad(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
