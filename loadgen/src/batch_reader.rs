//! Walks the record batches of a Fetch response and, if asked, checks them and yields their records.

use anyhow::{Context, Result, bail, ensure};

use crate::batch::{ATTRIBUTES_AT, BATCH_LENGTH_AT, CRC_AT, CRC_FROM, HEADER_LEN, MAGIC_AT};
use crate::codec::Compression;
use crate::wire::Cursor;

/// What lies in the header of one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    /// Offset of the first record.
    pub(crate) base_offset: i64,
    /// Offset of the last record.
    pub(crate) last_offset: i64,
    /// Records in it.
    pub(crate) record_count: u32,
    attributes: i16,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Splits the first whole batch off `bytes`; `None` when only a part of one is left.
    pub(crate) fn split(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>> {
        if bytes.len() < HEADER_LEN {
            return Ok(None);
        }
        let batch_length = Cursor::new(&bytes[BATCH_LENGTH_AT..]).i32()?;
        let total = usize::try_from(batch_length).context("negative batch length")? + 12;
        ensure!(total >= HEADER_LEN, "batch length {batch_length} is below the header's");
        let Some((whole, rest)) = bytes.split_at_checked(total) else {
            return Ok(None);
        };
        ensure!(whole[MAGIC_AT] == 2, "batch of magic {}", whole[MAGIC_AT]);
        let base_offset = Cursor::new(whole).i64()?;
        let mut cursor = Cursor::new(&whole[ATTRIBUTES_AT..]);
        let attributes = cursor.i16()?;
        let last_offset = base_offset + i64::from(cursor.i32()?);
        let record_count = Cursor::new(&whole[57..]).u32()?;
        Ok(Some((Self { base_offset, last_offset, record_count, attributes, bytes: whole }, rest)))
    }

    /// Bytes of the batch on the wire.
    pub(crate) fn wire_len(&self) -> usize {
        self.bytes.len()
    }

    /// Transaction markers and the like carry no records of ours.
    pub(crate) fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Compares the batch's checksum.
    pub(crate) fn crc_is_valid(&self) -> bool {
        let mut cursor = Cursor::new(&self.bytes[CRC_AT..]);
        cursor.u32().is_ok_and(|crc| crc == crc32c::crc32c(&self.bytes[CRC_FROM..]))
    }

    /// Calls `each` with the offset and value of every record.
    pub(crate) fn for_each_record(
        &self,
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(i64, &[u8]),
    ) -> Result<()> {
        let packed = &self.bytes[HEADER_LEN..];
        let plain = match Compression::of_attributes(self.attributes)? {
            Compression::None => packed,
            codec => {
                codec.decompress(packed, scratch)?;
                scratch.as_slice()
            }
        };
        let mut cursor = Cursor::new(plain);
        for _ in 0..self.record_count {
            let len = usize::try_from(cursor.varint()?).context("negative record length")?;
            let mut record = Cursor::new(cursor.take(len)?);
            record.i8()?;
            record.skip_varlong()?;
            let offset = self.base_offset + i64::from(record.varint()?);
            nullable(&mut record)?;
            each(offset, nullable(&mut record)?);
        }
        if !cursor.rest().is_empty() {
            bail!("{} bytes after the last record of a batch", cursor.rest().len());
        }
        Ok(())
    }
}

fn nullable<'a>(record: &mut Cursor<'a>) -> Result<&'a [u8]> {
    match usize::try_from(record.varint()?) {
        Ok(len) => record.take(len),
        Err(_) => Ok(&[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchShape, BatchTemplate, Keys, ProducerIdentity, Stamp};
    use crate::record::{StreamKey, parse};

    fn batch() -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(3);
        let template =
            BatchTemplate::new(&BatchShape { records: 4, value_len: 90, keys: Keys::Sequential }, &mut rng);
        let mut bytes = template.bytes().to_vec();
        let stamp = Stamp {
            stream: StreamKey { run: 1, producer: 0, partition: 0 },
            first_sequence: 20,
            sent_ns: 1,
            identity: ProducerIdentity::NONE,
        };
        template.stamp(&mut bytes, &stamp, &mut rng);
        bytes[..8].copy_from_slice(&500i64.to_be_bytes());
        bytes
    }

    #[test]
    fn batches_are_walked_and_a_partial_one_is_left() {
        let whole = batch();
        let mut stream = whole.repeat(2);
        stream.extend_from_slice(&whole[..whole.len() - 1]);
        let (first, rest) = Batch::split(&stream).unwrap().unwrap();
        assert_eq!((first.base_offset, first.last_offset, first.record_count), (500, 503, 4));
        let (_, rest) = Batch::split(rest).unwrap().unwrap();
        assert!(Batch::split(rest).unwrap().is_none());
    }

    #[test]
    fn records_come_with_offset_and_value() {
        let bytes = batch();
        let (batch, _) = Batch::split(&bytes).unwrap().unwrap();
        assert!(batch.crc_is_valid() && !batch.is_control());
        let mut seen = Vec::new();
        let mut scratch = Vec::new();
        batch
            .for_each_record(&mut scratch, |offset, value| {
                seen.push((offset, parse(value).unwrap().sequence));
            })
            .unwrap();
        assert_eq!(seen, [(500, 20), (501, 21), (502, 22), (503, 23)]);
    }

    #[test]
    fn a_flipped_bit_fails_the_checksum() {
        let mut bytes = batch();
        bytes[200] ^= 1;
        assert!(!Batch::split(&bytes).unwrap().unwrap().0.crc_is_valid());
    }

    #[test]
    fn hostile_headers_are_errors() {
        for (at, value) in [(BATCH_LENGTH_AT, 0xff), (BATCH_LENGTH_AT + 3, 0), (MAGIC_AT, 1)] {
            let mut bytes = batch();
            bytes[at] = value;
            if at == BATCH_LENGTH_AT + 3 {
                bytes[at - 1] = 0;
            }
            assert!(Batch::split(&bytes).is_err(), "byte {at} = {value}");
        }
    }
}
