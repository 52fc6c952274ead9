//! One walk over the records of a batch, in whatever pieces they come: their count, sizes and offsets against the
//! header, and the fields in them against their sizes. Allocates nothing, whatever the bytes claim.
//!
//! Layout of a record; lengths, counts and deltas are zigzag varints:
//! `length, attributes (1 byte), timestamp delta, offset delta, key length, key, value length, value, header count,
//! (key length, key, value length, value) of each header`. A length of -1 is null, which a header's key cannot be.

/// Hears of each record, in order.
pub(crate) trait Visit {
    /// A record whose fields have been read. Its offset counts from the batch's; as clients send it, it is the index.
    fn record(&mut self, offset_delta: i32, timestamp: i64, has_key: bool);
}

/// Why bytes are not the records that the header of their batch announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {index} of the batch: {problem}")]
pub(crate) struct Malformed {
    /// The record, counted from 0.
    pub(crate) index: i32,
    /// What is wrong with it.
    pub(crate) problem: &'static str,
}

/// A walk that may pause anywhere between two bytes.
///
/// Invariant: `left` counts the bytes of the current record that are neither read nor in `skip`; between records it is 0.
#[derive(Debug, Clone)]
pub(crate) struct Walk<V> {
    count: i32,
    index: i32,
    base_timestamp: i64,
    /// Offsets may leave some out: compaction has removed records.
    gaps: bool,
    field: Field,
    /// The bytes seen of a varint that the last piece cut in two.
    partial: Partial,
    left: u32,
    /// Bytes to pass over before the next field.
    skip: u32,
    headers: u32,
    offset_delta: i32,
    timestamp: i64,
    has_key: bool,
    pub(crate) visit: V,
}

/// What comes next in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Length,
    Attributes,
    Timestamp,
    Offset,
    KeyLength,
    ValueLength,
    HeaderCount,
    HeaderKeyLength,
    HeaderValueLength,
}

#[derive(Debug, Clone, Copy, Default)]
struct Partial {
    value: u64,
    shift: u32,
}

type Walked<T> = Result<T, &'static str>;

impl<V: Visit> Walk<V> {
    /// A walk over `count` records, whose timestamps are relative to `base_timestamp`.
    pub(crate) const fn new(count: i32, base_timestamp: i64, visit: V) -> Self {
        Self {
            count,
            index: 0,
            base_timestamp,
            gaps: false,
            field: Field::Length,
            partial: Partial { value: 0, shift: 0 },
            left: 0,
            skip: 0,
            headers: 0,
            offset_delta: 0,
            timestamp: 0,
            has_key: false,
            visit,
        }
    }

    /// Takes offsets as compaction leaves them.
    pub(crate) const fn allow_gaps(&mut self) {
        self.gaps = true;
    }

    /// Goes on over the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.advance(bytes).map_err(|problem| Malformed { index: self.index, problem })
    }

    /// Ends the walk: there are no more bytes.
    pub(crate) fn finish(self) -> Result<V, Malformed> {
        let between = self.field == Field::Length && self.skip == 0 && self.partial.shift == 0;
        if between && self.index == self.count {
            return Ok(self.visit);
        }
        let problem =
            if between { "the batch has fewer records than its header says" } else { "it is cut off" };
        Err(Malformed { index: self.index, problem })
    }

    fn advance(&mut self, mut bytes: &[u8]) -> Walked<()> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                self.skip -= u32::try_from(skipped).unwrap_or(u32::MAX);
                bytes = &bytes[skipped..];
                continue;
            }
            if self.field == Field::Length {
                if self.index == self.count {
                    return Err("bytes are left over behind the records that the header counts");
                }
                if self.partial.shift == 0
                    && let Some(rest) = self.whole_record(bytes)?
                {
                    bytes = rest;
                    continue;
                }
            }
            self.next_field(&mut bytes)?;
        }
        Ok(())
    }

    /// Reads a record of which all bytes are there; `None` if some are not.
    fn whole_record<'a>(&mut self, bytes: &'a [u8]) -> Walked<Option<&'a [u8]>> {
        let mut rest = bytes;
        let Some(length) = int(&mut rest)? else { return Ok(None) };
        let length = usize::try_from(length).map_err(|_| NEGATIVE_LENGTH)?;
        let Some((mut body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        body = body.get(1..).ok_or(BEYOND)?;
        let timestamp = self.base_timestamp.wrapping_add(long(&mut body)?.ok_or(BEYOND)?);
        let offset_delta = int(&mut body)?.ok_or(BEYOND)?;
        if offset_delta != self.index && !self.gaps {
            return Err(OFFSET);
        }
        let has_key = pass_nullable(&mut body)?;
        pass_nullable(&mut body)?;
        let headers = int(&mut body)?.ok_or(BEYOND)?;
        if usize::try_from(headers).map_err(|_| HEADER_COUNT)? > body.len() {
            return Err(HEADER_COUNT);
        }
        for _ in 0..headers {
            if !pass_nullable(&mut body)? {
                return Err(NULL_HEADER_KEY);
            }
            pass_nullable(&mut body)?;
        }
        if !body.is_empty() {
            return Err(LEFT_OVER);
        }
        self.visit.record(offset_delta, timestamp, has_key);
        self.index += 1;
        Ok(Some(rest))
    }

    /// Reads on in a record that comes in pieces.
    fn next_field(&mut self, bytes: &mut &[u8]) -> Walked<()> {
        if self.field == Field::Attributes {
            *bytes = &bytes[1..];
            self.left = self.left.checked_sub(1).ok_or(BEYOND)?;
            self.field = Field::Timestamp;
            return Ok(());
        }
        let before = bytes.len();
        let bits = if self.field == Field::Timestamp { 64 } else { 32 };
        let value = self.partial.varint(bytes, bits)?;
        if self.field != Field::Length {
            let read = u32::try_from(before - bytes.len()).unwrap_or(u32::MAX);
            self.left = self.left.checked_sub(read).ok_or(BEYOND)?;
        }
        match value {
            Some(value) => self.take(value),
            // The next byte of the field would be the next record's.
            None if self.field != Field::Length && self.left == 0 => Err(BEYOND),
            None => Ok(()),
        }
    }

    /// Takes the value of the current field and says what comes next.
    fn take(&mut self, value: i64) -> Walked<()> {
        self.field = match self.field {
            Field::Length => {
                self.left = u32::try_from(value).map_err(|_| NEGATIVE_LENGTH)?;
                Field::Attributes
            }
            // Has no varint; see `next_field`.
            Field::Attributes => Field::Timestamp,
            Field::Timestamp => {
                self.timestamp = self.base_timestamp.wrapping_add(value);
                Field::Offset
            }
            Field::Offset => {
                self.offset_delta = i32::try_from(value).map_err(|_| OFFSET)?;
                if self.offset_delta != self.index && !self.gaps {
                    return Err(OFFSET);
                }
                Field::KeyLength
            }
            Field::KeyLength => {
                self.has_key = self.skip_nullable(value)?;
                Field::ValueLength
            }
            Field::ValueLength => {
                self.skip_nullable(value)?;
                Field::HeaderCount
            }
            Field::HeaderCount => {
                self.headers = u32::try_from(value).map_err(|_| HEADER_COUNT)?;
                if self.headers > self.left {
                    return Err(HEADER_COUNT);
                }
                Field::HeaderKeyLength
            }
            Field::HeaderKeyLength => {
                if !self.skip_nullable(value)? {
                    return Err(NULL_HEADER_KEY);
                }
                Field::HeaderValueLength
            }
            Field::HeaderValueLength => {
                self.skip_nullable(value)?;
                self.headers -= 1;
                Field::HeaderKeyLength
            }
        };
        if self.field == Field::HeaderKeyLength && self.headers == 0 {
            return self.end_record();
        }
        // Every other field has at least a byte.
        if self.left == 0 { Err(BEYOND) } else { Ok(()) }
    }

    fn end_record(&mut self) -> Walked<()> {
        if self.left != 0 {
            return Err(LEFT_OVER);
        }
        self.visit.record(self.offset_delta, self.timestamp, self.has_key);
        self.index += 1;
        self.field = Field::Length;
        Ok(())
    }

    /// Has the bytes of a field of this length skipped; says whether there is one.
    fn skip_nullable(&mut self, length: i64) -> Walked<bool> {
        if length == -1 {
            return Ok(false);
        }
        self.skip = u32::try_from(length).map_err(|_| NEGATIVE_LENGTH)?;
        self.left = self.left.checked_sub(self.skip).ok_or(BEYOND)?;
        Ok(true)
    }
}

impl Partial {
    /// Reads on in a varint; `None` if the bytes end before it does.
    fn varint(&mut self, bytes: &mut &[u8], bits: u32) -> Walked<Option<i64>> {
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            let part = u64::from(byte & 0x7f);
            // The last byte may have so many bits as are left; nothing may follow it.
            let room = bits - self.shift;
            if room < 7 && u64::from(byte) >> room != 0 {
                return Err("a number is too long");
            }
            self.value |= part << self.shift;
            self.shift += 7;
            if byte & 0x80 == 0 {
                let value = std::mem::take(self).value;
                return Ok(Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed()));
            }
        }
        Ok(None)
    }
}

/// A varint of 64 bits at the start of `bytes`; `None` if it is cut off.
fn long(bytes: &mut &[u8]) -> Walked<Option<i64>> {
    varint(bytes, 64)
}

/// A varint of 32 bits at the start of `bytes`; `None` if it is cut off.
fn int(bytes: &mut &[u8]) -> Walked<Option<i32>> {
    Ok(varint(bytes, 32)?.map(|value| i32::try_from(value).expect("32 bits, checked")))
}

fn varint(bytes: &mut &[u8], bits: u32) -> Walked<Option<i64>> {
    // Most are of one byte.
    if let Some((&byte, rest)) = bytes.split_first()
        && byte & 0x80 == 0
    {
        *bytes = rest;
        return Ok(Some(i64::from(byte >> 1) ^ -i64::from(byte & 1)));
    }
    Partial::default().varint(bytes, bits)
}

/// Passes over a field behind its length; says whether there is one.
fn pass_nullable(body: &mut &[u8]) -> Walked<bool> {
    let length = int(body)?.ok_or(BEYOND)?;
    if length == -1 {
        return Ok(false);
    }
    let length = usize::try_from(length).map_err(|_| NEGATIVE_LENGTH)?;
    *body = body.get(length..).ok_or(BEYOND)?;
    Ok(true)
}

const BEYOND: &str = "a field runs beyond the record's size";
const LEFT_OVER: &str = "bytes are left over in it";
const NEGATIVE_LENGTH: &str = "a length is negative";
const OFFSET: &str = "its offset does not follow the one before";
const HEADER_COUNT: &str = "it cannot have so many headers";
const NULL_HEADER_KEY: &str = "a header has no key";

#[cfg(test)]
#[path = "walk_test.rs"]
mod tests;
