//! A view of a record batch of format version 2 (KIP-98): its 61-byte header, checked; its records,
//! opaque. The header's layout:
//!
//! | bytes | field | | bytes | field |
//! |---|---|---|---|---|
//! | 0-7 | baseOffset | | 27-34 | baseTimestamp |
//! | 8-11 | batchLength (bytes after this field) | | 35-42 | maxTimestamp |
//! | 12-15 | partitionLeaderEpoch | | 43-50 | producerId |
//! | 16 | magic = 2 | | 51-52 | producerEpoch |
//! | 17-20 | crc (CRC-32C of bytes 21 to the end) | | 53-56 | baseSequence |
//! | 21-22 | attributes | | 57-60 | record count |
//! | 23-26 | lastOffsetDelta | | 61- | records |

use crate::{Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, RecordIter, Sequence};

/// Where the timestamps of a batch come from (`message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer's clock.
    #[default]
    CreateTime,
    /// The broker's clock at the append; the batch's maxTimestamp stands for every record.
    LogAppendTime,
}

/// Why bytes are not a record batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Fewer bytes than the batch claims, or than a header has.
    #[error("batch of {needed} bytes is cut off after {available}")]
    Truncated {
        /// Bytes that the batch should have.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// A `batchLength` that no batch can have.
    #[error("batch length {0} is not possible")]
    Length(i32),
    /// A message format other than version 2.
    #[error("message format {0} is not supported, only 2")]
    Magic(i8),
    /// The checksum does not match the bytes.
    #[error("crc {stored:#010x} stored, {computed:#010x} computed")]
    Crc {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A header whose numbers contradict each other.
    #[error("{0}")]
    Inconsistent(&'static str),
}

/// One record batch, borrowed: the header is readable, the records are opaque bytes.
///
/// Invariant: `bytes` is exactly one batch: at least [`RecordBatch::HEADER_SIZE`] long, of magic 2, and as
/// long as its `batchLength` says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecordBatch<'a> {
    bytes: &'a [u8],
}

impl<'a> RecordBatch<'a> {
    /// Bytes of the header.
    pub const HEADER_SIZE: usize = 61;
    /// Bytes before `batchLength` starts to count.
    pub const LOG_OVERHEAD: usize = 12;
    /// The first byte that the checksum covers.
    pub const CRC_START: usize = 21;

    /// The size in bytes of the batch that starts at `bytes`, by its length field alone.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] if the length field is not there; [`BatchError::Length`] if it is absurd.
    pub fn peek_size(bytes: &[u8]) -> Result<usize, BatchError> {
        let Some(field) = bytes.get(8..12) else {
            return Err(BatchError::Truncated { needed: Self::LOG_OVERHEAD, available: bytes.len() });
        };
        let length = i32::from_be_bytes(array(field));
        match usize::try_from(length) {
            Ok(length) if length + Self::LOG_OVERHEAD >= Self::HEADER_SIZE => Ok(length + Self::LOG_OVERHEAD),
            _ => Err(BatchError::Length(length)),
        }
    }

    /// The batch at the start of `bytes`, which may go on behind it. Neither the checksum nor the
    /// header's consistency is looked at.
    ///
    /// # Errors
    /// [`BatchError`] if the bytes are cut off, or not of message format 2.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        if let Some(&magic) = bytes.get(16)
            && magic != 2
        {
            return Err(BatchError::Magic(i8::from_be_bytes([magic])));
        }
        let size = Self::peek_size(bytes)?;
        match bytes.get(..size) {
            Some(bytes) => Ok(Self { bytes }),
            None => Err(BatchError::Truncated { needed: size, available: bytes.len() }),
        }
    }

    /// Compares the checksum with the bytes.
    ///
    /// # Errors
    /// [`BatchError::Crc`] with both values.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let stored = self.crc();
        let computed = crc32c::crc32c(&self.bytes[Self::CRC_START..]);
        if stored == computed { Ok(()) } else { Err(BatchError::Crc { stored, computed }) }
    }

    /// The whole batch.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the whole batch.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The offset of the first record.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(i64::from_be_bytes(self.field(0)))
    }

    /// The epoch of the leader that appended the batch.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(i32::from_be_bytes(self.field(12)))
    }

    /// The stored checksum.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.field(17))
    }

    /// The attribute bits.
    #[must_use]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.field(21))
    }

    /// The codec; `None` for a value that Kafka does not define.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_attributes(self.attributes())
    }

    /// Where the timestamps come from.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes() & 0x08 == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & 0x10 != 0
    }

    /// Whether the batch holds control records, which clients never write.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & 0x20 != 0
    }

    /// Whether baseTimestamp holds a delete horizon (KIP-534).
    #[must_use]
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes() & 0x40 != 0
    }

    /// The distance from the first to the last offset.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field(23))
    }

    /// The offset of the last record (of the place of the last record, if compaction removed it).
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset().0.saturating_add(i64::from(self.last_offset_delta())))
    }

    /// The offset behind the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// The timestamp to which the records' deltas are added, in ms since 1970.
    #[must_use]
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(27))
    }

    /// The largest timestamp, in ms since 1970.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(35))
    }

    /// The idempotent producer, or [`ProducerId::NONE`].
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId(i64::from_be_bytes(self.field(43)))
    }

    /// The producer's epoch.
    #[must_use]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(i16::from_be_bytes(self.field(51)))
    }

    /// The sequence of the first record.
    #[must_use]
    pub fn base_sequence(&self) -> Sequence {
        Sequence(i32::from_be_bytes(self.field(53)))
    }

    /// The sequence of the last record, or [`Sequence::NONE`].
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        match self.base_sequence() {
            Sequence::NONE => Sequence::NONE,
            base => base.plus(self.last_offset_delta()),
        }
    }

    /// How many records the header counts.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.field(57))
    }

    /// The bytes of the records, compressed as [`RecordBatch::compression`] says.
    #[must_use]
    pub fn records(&self) -> &'a [u8] {
        &self.bytes[Self::HEADER_SIZE..]
    }

    /// The records of an uncompressed batch, one by one.
    #[must_use]
    pub fn iter(&self) -> RecordIter<'a> {
        RecordIter::new(self.records(), self.record_count(), self.base_offset(), self.base_timestamp())
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        array(&self.bytes[at..at + N])
    }
}

impl std::fmt::Debug for RecordBatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordBatch({}..={}, {} bytes)", self.base_offset(), self.last_offset(), self.size())
    }
}

impl<'a> IntoIterator for RecordBatch<'a> {
    type Item = <RecordIter<'a> as Iterator>::Item;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The batches in `bytes`, one behind the other; ends after the first error.
pub fn batches(bytes: &[u8]) -> impl Iterator<Item = Result<RecordBatch<'_>, BatchError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let batch = RecordBatch::parse(rest);
        rest = match &batch {
            Ok(batch) => &rest[batch.size()..],
            Err(_) => &[],
        };
        Some(batch)
    })
}

fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    slice.try_into().expect("the caller cut the slice to N bytes")
}
