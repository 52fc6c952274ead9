//! What every record's value ends with: who wrote it, where, as which number, when, and a checksum of the whole value.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | magic `MRL1` |
//! | 4 | producer: the writing connection's number |
//! | 8 | run id |
//! | 4 | partition |
//! | 8 | sequence within (run, producer, partition), from 0 |
//! | 8 | intended send time, nanoseconds of the Unix epoch |
//! | 4 | CRC-32C of everything before it in the value |
//!
//! All big-endian. The filler comes first, so its checksum is computed once and only the trailer per record.

/// Bytes of the trailer; the smallest record value.
pub(crate) const TRAILER_LEN: usize = 40;

const MAGIC: [u8; 4] = *b"MRL1";
const CRC_AT: usize = 36;

/// The stream that a record belongs to: sequences are dense within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StreamKey {
    /// Random number of one run of loadgen.
    pub(crate) run: u64,
    /// The connection that wrote it.
    pub(crate) producer: u32,
    /// The partition it was written to.
    pub(crate) partition: u32,
}

/// What the trailer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordId {
    /// Whose record it is.
    pub(crate) stream: StreamKey,
    /// Its number in the stream.
    pub(crate) sequence: u64,
    /// When it should have been sent.
    pub(crate) sent_ns: u64,
}

/// Why a value is not one of ours, or not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordFault {
    /// Too short or without the magic: written by someone else.
    Foreign,
    /// The checksum of the value differs.
    Corrupt,
}

/// Writes `id` into the last [`TRAILER_LEN`] bytes; `filler_crc` is the CRC-32C of what precedes them.
pub(crate) fn stamp(trailer: &mut [u8; TRAILER_LEN], id: &RecordId, filler_crc: u32) {
    trailer[0..4].copy_from_slice(&MAGIC);
    trailer[4..8].copy_from_slice(&id.stream.producer.to_be_bytes());
    trailer[8..16].copy_from_slice(&id.stream.run.to_be_bytes());
    trailer[16..20].copy_from_slice(&id.stream.partition.to_be_bytes());
    trailer[20..28].copy_from_slice(&id.sequence.to_be_bytes());
    trailer[28..36].copy_from_slice(&id.sent_ns.to_be_bytes());
    let crc = crc32c::crc32c_append(filler_crc, &trailer[..CRC_AT]);
    trailer[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
}

/// Reads the trailer and checks the checksum of the whole value.
pub(crate) fn parse(value: &[u8]) -> Result<RecordId, RecordFault> {
    let (body, crc) = value.split_last_chunk::<4>().ok_or(RecordFault::Foreign)?;
    let trailer = value.last_chunk::<TRAILER_LEN>().ok_or(RecordFault::Foreign)?;
    if trailer[0..4] != MAGIC {
        return Err(RecordFault::Foreign);
    }
    if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
        return Err(RecordFault::Corrupt);
    }
    Ok(RecordId {
        stream: StreamKey {
            producer: u32_at(trailer, 4),
            run: u64_at(trailer, 8),
            partition: u32_at(trailer, 16),
        },
        sequence: u64_at(trailer, 20),
        sent_ns: u64_at(trailer, 28),
    })
}

fn u32_at(trailer: &[u8; TRAILER_LEN], at: usize) -> u32 {
    u32::from_be_bytes([trailer[at], trailer[at + 1], trailer[at + 2], trailer[at + 3]])
}

fn u64_at(trailer: &[u8; TRAILER_LEN], at: usize) -> u64 {
    (u64::from(u32_at(trailer, at)) << 32) | u64::from(u32_at(trailer, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<u8>, RecordId) {
        let id = RecordId {
            stream: StreamKey { run: 0x1122_3344_5566_7788, producer: 3, partition: 9 },
            sequence: u64::MAX - 1,
            sent_ns: 42,
        };
        let mut value = vec![0xab; 100 + TRAILER_LEN];
        let filler_crc = crc32c::crc32c(&value[..100]);
        stamp(value.last_chunk_mut().unwrap(), &id, filler_crc);
        (value, id)
    }

    #[test]
    fn a_stamped_value_parses_back() {
        let (value, id) = sample();
        assert_eq!(parse(&value), Ok(id));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let (value, _) = sample();
        for bit in 0..value.len() * 8 {
            let mut bad = value.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn short_or_strange_values_are_foreign() {
        for value in [&b""[..], &b"abc"[..], &[0u8; TRAILER_LEN - 1][..], &[0u8; 200][..]] {
            assert_eq!(parse(value), Err(RecordFault::Foreign));
        }
    }
}
