//! Builds one outgoing message: a growing buffer for everything but records, and holes where record bytes go.

use bytes::{BufMut, Bytes, BytesMut};

use super::encode::Encode;
use super::error::EncodeError;
use super::error_counts::ErrorCounts;
use super::record_parts::{Records, RecordsPart};

/// A run of bytes of a finished message, to be sent in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Record bytes elsewhere; see [`RecordsPart::External`].
    External {
        /// What the sender knows them by.
        token: u64,
        /// How many bytes there are.
        length: u32,
    },
}

impl Segment {
    /// How many bytes go on the wire.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::External { length, .. } => *length as usize,
        }
    }

    /// Whether the segment has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The buffer of one message of a known version.
///
/// The first error sticks and comes out of [`Writer::finish`], so that encoders are plain sequences of `put`.
#[derive(Debug)]
pub struct Writer {
    buffer: BytesMut,
    /// Record parts, each with its place in `buffer`; places never decrease.
    holes: Vec<(usize, RecordsPart)>,
    holes_bytes: usize,
    version: i16,
    flexible: bool,
    error_codes: ErrorCounts,
    error: Option<EncodeError>,
}

/// Where a struct's count of tagged fields stands, so that each field can be counted as it is written.
#[derive(Debug)]
pub struct TagCount(usize);

impl Writer {
    /// Writes a message of `version` behind whatever `buffer` holds already.
    #[must_use]
    pub const fn new(buffer: BytesMut, version: i16, flexible: bool) -> Self {
        Self {
            buffer,
            holes: Vec::new(),
            holes_bytes: 0,
            version,
            flexible,
            error_codes: ErrorCounts::new(),
            error: None,
        }
    }

    /// The version that is written.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// Whether this version has compact lengths and tagged fields.
    #[must_use]
    pub const fn flexible(&self) -> bool {
        self.flexible
    }

    /// Changes to the rules of another version, as between a header and its body.
    pub(super) const fn set_version(&mut self, version: i16, flexible: bool) {
        self.version = version;
        self.flexible = flexible;
    }

    /// Writes a field of whatever type it has.
    #[inline]
    pub fn put<T: Encode + ?Sized>(&mut self, value: &T) {
        value.write(self);
    }

    /// Writes the result code of a response or of a part of it, and counts it.
    #[inline]
    pub fn put_error_code(&mut self, code: i16) {
        self.put(&code);
        if code != 0 {
            self.error_codes.add(code);
        }
    }

    /// Takes what [`Writer::put_error_code`] has counted.
    pub(super) fn take_error_codes(&mut self) -> ErrorCounts {
        std::mem::take(&mut self.error_codes)
    }

    /// Writes bytes as they are.
    #[inline]
    pub fn put_raw(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Notes that `field` holds a value that this version cannot express.
    #[cold]
    pub fn not_in_version(&mut self, field: &'static str) {
        let version = self.version;
        self.fail(EncodeError::NotInVersion { field, version });
    }

    /// Starts the tagged fields of a struct; nothing is written in a version that has none.
    #[inline]
    pub fn begin_tags(&mut self) -> TagCount {
        let place = self.buffer.len();
        if self.flexible {
            self.buffer.put_u8(0);
        }
        TagCount(place)
    }

    /// Writes one tagged field. The schemas define far fewer than 127 in a struct, so that the count is one byte.
    pub fn tag<T: Encode + ?Sized>(&mut self, count: &TagCount, tag: u8, value: &T) {
        self.buffer[count.0] += 1;
        self.buffer.put_u8(tag);
        // Nearly every content is shorter than 128 bytes; a longer one is moved by the few bytes its size needs.
        let place = self.buffer.len();
        self.buffer.put_u8(0);
        value.write(self);
        let size = self.buffer.len() - place - 1;
        if let Ok(size) = u8::try_from(size)
            && size < 0x80
        {
            self.buffer[place] = size;
            return;
        }
        let content = self.buffer.split_off(place + 1);
        self.buffer.truncate(place);
        self.put_length(size);
        self.buffer.unsplit(content);
    }

    /// The whole message: the buffer, cut where record parts go.
    ///
    /// # Errors
    /// The first error that any `put` met.
    pub fn finish(mut self) -> Result<Vec<Segment>, EncodeError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut segments = Vec::with_capacity(2 * self.holes.len() + 1);
        let mut sent = 0;
        for (place, part) in self.holes {
            if place > sent {
                segments.push(Segment::Bytes(self.buffer.split_to(place - sent).freeze()));
                sent = place;
            }
            segments.push(match part {
                RecordsPart::Memory(bytes) => Segment::Bytes(bytes),
                RecordsPart::External { token, length } => Segment::External { token, length },
            });
        }
        if !self.buffer.is_empty() {
            segments.push(Segment::Bytes(self.buffer.freeze()));
        }
        Ok(segments)
    }

    /// Fills in the frame size in the four bytes kept for it at the start of the buffer.
    pub(super) fn patch_frame_size(&mut self) {
        let size = self.buffer.len() - FRAME_SIZE_BYTES + self.holes_bytes;
        match i32::try_from(size) {
            Ok(size) => self.buffer[..FRAME_SIZE_BYTES].copy_from_slice(&size.to_be_bytes()),
            Err(_) => self.fail(EncodeError::TooLong { length: size }),
        }
    }

    /// Writes the length of a string, or null.
    #[inline]
    pub(super) fn put_string_length(&mut self, length: Option<usize>) {
        if let Some(length) = length
            && length > STRING_BYTES_MAX
        {
            return self.fail(EncodeError::TooLong { length });
        }
        match (self.flexible, length) {
            (true, length) => self.put_varint_length(length),
            (false, Some(length)) => self.buffer.put_u16(u16::try_from(length).unwrap_or(u16::MAX)),
            (false, None) => self.buffer.put_i16(-1),
        }
    }

    /// Writes the length of a byte string, record set or array, or null.
    #[inline]
    pub(super) fn put_long_length(&mut self, length: Option<usize>) {
        let short = match length.map(i32::try_from) {
            None => -1,
            Some(Ok(short)) if short < i32::MAX => short,
            Some(_) => return self.fail(EncodeError::TooLong { length: length.unwrap_or(0) }),
        };
        if self.flexible { self.put_varint_length(length) } else { self.buffer.put_i32(short) }
    }

    /// Leaves a hole for each part of `records`, behind their common length.
    pub(super) fn put_records(&mut self, records: Option<&Records>) {
        self.put_long_length(records.map(Records::len));
        let Some(records) = records else { return };
        for part in records.parts() {
            self.holes_bytes += part.len();
            self.holes.push((self.buffer.len(), part.clone()));
        }
    }

    fn put_varint_length(&mut self, length: Option<usize>) {
        self.put_length(length.map_or(0, |length| length + 1));
    }

    /// Writes an unsigned varint; lengths have been checked to fit 32 bits.
    pub(super) fn put_length(&mut self, mut value: usize) {
        loop {
            let [low, ..] = (value & 0x7f).to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.buffer.put_u8(low);
            }
            self.buffer.put_u8(low | 0x80);
        }
    }

    #[cold]
    fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }
}

/// The four bytes before every message that say how long it is.
pub(super) const FRAME_SIZE_BYTES: usize = 4;

/// Strings are limited to what the oldest length prefix can say, in every version, as in Kafka.
const STRING_BYTES_MAX: usize = i16::MAX as usize;
