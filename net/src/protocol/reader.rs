//! A cursor over the bytes of one message: every primitive of Kafka's wire format, each bounded by what is left.
//!
//! Invariant: no method reads past the end, allocates, or panics, whatever the bytes are.

use model::Uuid;

use super::decode::Decode;
use super::error::DecodeError;
use super::repaired_text::RepairedText;

/// Strings are limited to what the oldest length prefix can say, in every version, as in Kafka.
const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// A cursor over one message of a known version.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    version: i16,
    flexible: bool,
    /// Elements of all arrays so far, and how many there may be.
    elements: u32,
    elements_max: u32,
    /// Where strings that are not UTF-8 are repaired; without it they are errors.
    repaired: Option<&'a RepairedText>,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` as a message of `version`; `flexible` says whether lengths are compact and tagged fields exist.
    #[must_use]
    pub const fn new(bytes: &'a [u8], version: i16, flexible: bool) -> Self {
        Self { bytes, version, flexible, elements: 0, elements_max: u32::MAX, repaired: None }
    }

    /// Refuses a message whose arrays have more than `elements_max` elements together.
    #[must_use]
    pub(super) const fn limited(self, elements_max: u32) -> Self {
        Self { elements_max, ..self }
    }

    /// Elements of all arrays so far.
    #[must_use]
    pub(super) const fn elements(&self) -> u32 {
        self.elements
    }

    /// Reads strings that are not UTF-8 as `repaired` has them.
    #[must_use]
    pub(super) const fn repairing(self, repaired: &'a RepairedText) -> Self {
        Self { repaired: Some(repaired), ..self }
    }

    /// The version that the message is read as.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// Whether this version has compact lengths and tagged fields.
    #[must_use]
    pub const fn flexible(&self) -> bool {
        self.flexible
    }

    /// What has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next field, of whatever type the caller's struct wants.
    ///
    /// # Errors
    /// When the bytes are not a valid field of that type.
    #[inline]
    pub fn get<T: Decode<'a>>(&mut self) -> Result<T, DecodeError> {
        T::read(self)
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// `Truncated` when fewer are left.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, tail)) = self.bytes.split_at_checked(count) else {
            return Err(DecodeError::Truncated { needed: count, remaining: self.bytes.len() });
        };
        self.bytes = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array, for the fixed-width numbers.
    ///
    /// # Errors
    /// `Truncated` when fewer are left.
    #[inline]
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((head, tail)) = self.bytes.split_first_chunk::<N>() else {
            return Err(DecodeError::Truncated { needed: N, remaining: self.bytes.len() });
        };
        self.bytes = tail;
        Ok(*head)
    }

    /// An unsigned base-128 number of at most 32 bits.
    ///
    /// # Errors
    /// `Truncated`, or `VarintOverflow` beyond 32 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take_array()?;
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::VarintOverflow);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintOverflow)
    }

    /// A string or null.
    #[inline]
    pub(super) fn text(&mut self) -> Result<Option<&'a str>, DecodeError> {
        let Some(bytes) = self.text_bytes()? else { return Ok(None) };
        match (std::str::from_utf8(bytes), self.repaired) {
            (Ok(text), _) => Ok(Some(text)),
            (Err(_), None) => Err(DecodeError::InvalidUtf8),
            (Err(_), Some(repaired)) => repaired.text(bytes).map(Some),
        }
    }

    /// The bytes of a string, or null.
    #[inline]
    pub(super) fn text_bytes(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let Some(length) = self.string_length()? else { return Ok(None) };
        self.take(length).map(Some)
    }

    /// The length of a string; `None` is null.
    #[inline]
    fn string_length(&mut self) -> Result<Option<usize>, DecodeError> {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            let length: i16 = self.get()?;
            prefixed_length(i32::from(length))?
        };
        match length {
            Some(length) if length > STRING_BYTES_MAX => Err(invalid_length(length)),
            length => Ok(length),
        }
    }

    /// The length of a byte string, record set or array; `None` is null.
    #[inline]
    pub(super) fn long_length(&mut self) -> Result<Option<usize>, DecodeError> {
        if self.flexible { self.compact_length() } else { prefixed_length(self.get()?) }
    }

    /// The length of an array, checked against the bytes left: an element takes at least one byte.
    #[inline]
    pub(super) fn array_length(&mut self) -> Result<Option<u32>, DecodeError> {
        let Some(length) = self.long_length()? else { return Ok(None) };
        let claimed = u32::try_from(length).map_err(|_| invalid_length(length))?;
        if length > self.bytes.len() {
            return Err(DecodeError::ArrayTooLong { claimed, remaining: self.bytes.len() });
        }
        self.elements = self.elements.saturating_add(claimed);
        if self.elements > self.elements_max {
            return Err(DecodeError::TooManyElements { claimed: self.elements, max: self.elements_max });
        }
        Ok(Some(claimed))
    }

    /// Reads the tagged fields of a struct, or nothing in a version that has none. `known` is called with each tag
    /// and a reader over the field's content and says whether it knows the tag; other fields are skipped.
    ///
    /// # Errors
    /// When a field is malformed, or a known field does not fill its announced size.
    #[inline]
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        if !self.flexible {
            return Ok(());
        }
        // Each field takes at least two bytes, so a false count ends at the end of the bytes.
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let size = self.varint()?;
            let content = self.take(size as usize)?;
            let mut field = Reader { bytes: content, ..*self };
            if known(tag, &mut field)? && !field.bytes.is_empty() {
                return Err(DecodeError::TaggedFieldSize { tag, surplus: field.bytes.len() });
            }
            self.elements = field.elements;
        }
        Ok(())
    }

    /// Skips the tagged fields of a struct that has no known ones.
    ///
    /// # Errors
    /// When they are truncated.
    #[inline]
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.tagged_fields(|_, _| Ok(false))
    }

    /// Ends the message.
    ///
    /// # Errors
    /// `TrailingBytes` when something is left.
    pub const fn finish(self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes(self.bytes.len())) }
    }

    #[inline]
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok(self.varint()?.checked_sub(1).map(|length| length as usize))
    }

    /// The 16 bytes of a UUID.
    #[inline]
    pub(super) fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(self.take_array()?))
    }
}

/// A length as the classic encodings have it: -1 is null, anything else below zero is wrong.
#[inline]
fn prefixed_length(length: i32) -> Result<Option<usize>, DecodeError> {
    match usize::try_from(length) {
        Ok(length) => Ok(Some(length)),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(DecodeError::InvalidLength(i64::from(length))),
    }
}

fn invalid_length(length: usize) -> DecodeError {
    DecodeError::InvalidLength(i64::try_from(length).unwrap_or(i64::MAX))
}
