//! The few wire primitives that the hot path needs, bounds-checked, without allocation.

use anyhow::{Result, bail};

/// A reading position in bytes from the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Starts at the front of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((head, tail)) = self.rest.split_at_checked(len) else {
            bail!("truncated message: {len} bytes wanted, {} left", self.rest.len());
        };
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else {
            bail!("truncated message: {N} bytes wanted, {} left", self.rest.len());
        };
        self.rest = tail;
        Ok(*head)
    }

    /// INT8.
    pub(crate) fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// INT16.
    pub(crate) fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// INT32.
    pub(crate) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// INT64.
    pub(crate) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// UINT32.
    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// UNSIGNED_VARINT.
    pub(crate) fn uvarint(&mut self) -> Result<u32> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| anyhow::anyhow!("varint over 32 bits"));
            }
        }
        bail!("varint longer than 5 bytes")
    }

    /// VARINT (zigzag) of a record field.
    pub(crate) fn varint(&mut self) -> Result<i32> {
        Ok(unzigzag(self.uvarint()?))
    }

    /// VARLONG of a record field, skipped.
    pub(crate) fn skip_varlong(&mut self) -> Result<()> {
        for _ in 0..10 {
            let [byte] = self.array()?;
            if byte & 0x80 == 0 {
                return Ok(());
            }
        }
        bail!("varlong longer than 10 bytes")
    }

    /// Length of a COMPACT_ARRAY; null counts as empty.
    pub(crate) fn compact_len(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.uvarint()?)?.saturating_sub(1))
    }

    /// COMPACT_NULLABLE_STRING or COMPACT_NULLABLE_BYTES; null counts as empty.
    pub(crate) fn compact_bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.compact_len()?;
        self.take(len)
    }

    /// Tagged fields, all skipped.
    pub(crate) fn skip_tags(&mut self) -> Result<()> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let len = usize::try_from(self.uvarint()?)?;
            self.take(len)?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_wrap, reason = "zigzag decoding is defined on the bits")]
fn unzigzag(value: u32) -> i32 {
    ((value >> 1) as i32) ^ -((value & 1) as i32)
}

/// Appends an UNSIGNED_VARINT.
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f).to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a non-negative number as zigzag VARINT.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: u32) {
    put_uvarint(out, value << 1);
}

/// Appends a COMPACT_STRING.
pub(crate) fn put_compact_string(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, len_u32(text.len()) + 1);
    out.extend_from_slice(text.as_bytes());
}

/// A length that fits the wire by construction.
pub(crate) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("requests are built far below 4 GiB")
}

/// A length that fits the wire by construction, as the signed type the protocol uses.
pub(crate) fn len_i32(len: usize) -> i32 {
    i32::try_from(len).expect("requests are built far below 2 GiB")
}

/// Begins a request with a flexible header (v2); the size is filled in by [`finish_request`].
pub(crate) fn begin_request(out: &mut Vec<u8>, api_key: i16, version: i16, correlation: i32) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&api_key.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&correlation.to_be_bytes());
    out.extend_from_slice(&i16::try_from(CLIENT_ID.len()).expect("short constant").to_be_bytes());
    out.extend_from_slice(CLIENT_ID.as_bytes());
    out.push(0);
    start
}

/// Writes the size of the request that began at `start`.
pub(crate) fn finish_request(out: &mut [u8], start: usize) {
    let size = len_i32(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// The client id in every request header.
pub(crate) const CLIENT_ID: &str = "loadgen";
/// Where a request's correlation id lies, from its size field on.
pub(crate) const CORRELATION_AT: usize = 8;
/// The largest frame accepted from a peer.
pub(crate) const FRAME_BYTES_MAX: usize = 512 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u32::MAX] {
            let mut out = Vec::new();
            put_uvarint(&mut out, value);
            let mut cursor = Cursor::new(&out);
            assert_eq!(cursor.uvarint().unwrap(), value);
            assert!(cursor.rest().is_empty());
        }
        for (bytes, expect) in [(&[0x01u8][..], -1), (&[0x02], 1), (&[0x80, 0x01], 64), (&[0x03], -2)] {
            assert_eq!(Cursor::new(bytes).varint().unwrap(), expect);
        }
    }

    #[test]
    fn hostile_bytes_are_errors() {
        assert!(Cursor::new(&[0xff; 9]).uvarint().is_err());
        assert!(Cursor::new(&[0xff; 5]).uvarint().is_err());
        assert!(Cursor::new(&[0x80; 11]).skip_varlong().is_err());
        assert!(Cursor::new(&[0xfe, 0xff, 0xff, 0xff, 0x0f]).compact_bytes().is_err());
        assert!(Cursor::new(&[1, 0, 5]).skip_tags().is_err());
        assert!(Cursor::new(&[0]).i16().is_err());
    }
}
