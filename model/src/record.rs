//! The records inside an uncompressed batch. Used for our own internal logs and for inspection;
//! the produce and fetch paths never come here.

use bytes::Buf;

use crate::Offset;

/// One record of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The record's place in the log.
    pub offset: Offset,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in the order in which they stand.
    pub headers: Vec<RecordHeader<'a>>,
}

/// A named value that travels with a record (KIP-82). Names may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// The name.
    pub key: &'a str,
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
}

/// Bytes that are not the records which the batch's header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed record: {0}")]
pub struct RecordError(pub &'static str);

/// Walks over the records of an uncompressed batch; ends after the first error.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    remaining: i32,
    base_offset: Offset,
    base_timestamp: i64,
}

impl<'a> RecordIter<'a> {
    /// Over `count` records in `records`, the uncompressed bytes behind a batch's header.
    #[must_use]
    pub const fn new(records: &'a [u8], count: i32, base_offset: Offset, base_timestamp: i64) -> Self {
        Self { rest: records, remaining: count, base_offset, base_timestamp }
    }

    fn record(&mut self) -> Result<Record<'a>, RecordError> {
        let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| RecordError("negative length"))?;
        let (mut body, rest) = self.rest.split_at_checked(length).ok_or(RecordError("cut off"))?;
        self.rest = rest;
        let body = &mut body;
        take(body, 1)?;
        let timestamp = self.base_timestamp.wrapping_add(varlong(body)?);
        let offset = Offset(self.base_offset.0.wrapping_add(i64::from(varint(body)?)));
        let key = nullable(body)?;
        let value = nullable(body)?;
        let count = varint(body)?;
        if count < 0 || usize::try_from(count).is_ok_and(|count| count > body.len()) {
            return Err(RecordError("impossible header count"));
        }
        let mut headers = Vec::new();
        for _ in 0..count {
            let key = nullable(body)?.ok_or(RecordError("null header key"))?;
            let key = std::str::from_utf8(key).map_err(|_| RecordError("header key is not UTF-8"))?;
            headers.push(RecordHeader { key, value: nullable(body)? });
        }
        if !body.is_empty() {
            return Err(RecordError("bytes left over in a record"));
        }
        Ok(Record { offset, timestamp, key, value, headers })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining <= 0 {
            if !self.rest.is_empty() && self.remaining == 0 {
                self.rest = &[];
                return Some(Err(RecordError("bytes left over behind the last record")));
            }
            return None;
        }
        self.remaining -= 1;
        let record = self.record();
        if record.is_err() {
            self.remaining = -1;
        }
        Some(record)
    }
}

fn take<'a>(body: &mut &'a [u8], count: usize) -> Result<&'a [u8], RecordError> {
    let (head, rest) = body.split_at_checked(count).ok_or(RecordError("cut off"))?;
    *body = rest;
    Ok(head)
}

fn nullable<'a>(body: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordError> {
    match varint(body)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| RecordError("negative length"))?;
            take(body, length).map(Some)
        }
    }
}

fn varint(body: &mut &[u8]) -> Result<i32, RecordError> {
    i32::try_from(varlong(body)?).map_err(|_| RecordError("varint out of range"))
}

fn varlong(body: &mut &[u8]) -> Result<i64, RecordError> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = take(body, 1)?.get_u8();
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err(RecordError("varint too long"))
}

/// Appends the zigzag form of `value`.
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or(0));
}

/// Appends a nullable byte string in the form that records use.
pub(crate) fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varlong(out, -1),
        Some(bytes) => {
            put_varlong(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
            out.extend_from_slice(bytes);
        }
    }
}
