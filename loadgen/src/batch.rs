//! Record batches (magic 2) made from a template: built once, patched per send.
//!
//! All records of a template have the same size, so each field that changes lies at a fixed place. A stamp writes keys,
//! record trailers, timestamps and producer fields, then the batch checksum; nothing is encoded anew.

use crate::record::{self, RecordId, StreamKey, TRAILER_LEN};
use crate::wire;

/// What the records of a batch look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchShape {
    /// Records per batch.
    pub(crate) records: usize,
    /// Bytes of a record's value, at least [`TRAILER_LEN`].
    pub(crate) value_len: usize,
    /// How record keys are chosen.
    pub(crate) keys: Keys,
}

/// How record keys are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Null keys.
    None,
    /// The record's sequence number.
    Sequential,
    /// Uniform among this many.
    Random(u64),
}

/// The template of one batch and where its records change.
#[derive(Debug, Clone)]
pub(crate) struct BatchTemplate {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    keys: Keys,
}

/// The changing places of one record.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key_at: Option<usize>,
    trailer_at: usize,
    filler_crc: u32,
}

/// What one send writes into a template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// Whose records these are.
    pub(crate) stream: StreamKey,
    /// Sequence of the first record in the stream.
    pub(crate) first_sequence: u64,
    /// When the batch should have been sent.
    pub(crate) sent_ns: u64,
    /// Identity of an idempotent producer, or [`ProducerIdentity::NONE`].
    pub(crate) identity: ProducerIdentity,
}

/// Producer id and epoch handed out by the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerIdentity {
    /// Producer id, -1 without idempotence.
    pub(crate) id: i64,
    /// Producer epoch, -1 without idempotence.
    pub(crate) epoch: i16,
}

impl ProducerIdentity {
    /// Without idempotence.
    pub(crate) const NONE: Self = Self { id: -1, epoch: -1 };

    /// The base sequence of a batch: it wraps after `i32::MAX`, and is -1 without idempotence.
    fn base_sequence(self, first_sequence: u64) -> i32 {
        if self.id < 0 {
            return -1;
        }
        i32::try_from(first_sequence % (1 << 31)).expect("reduced below 2^31")
    }
}

impl BatchTemplate {
    /// Builds the template; the filler comes from `rng`, different for each record.
    pub(crate) fn new(shape: &BatchShape, rng: &mut fastrand::Rng) -> Self {
        let mut bytes = vec![0; HEADER_LEN];
        let mut slots = Vec::with_capacity(shape.records);
        let key_len = if shape.keys == Keys::None { None } else { Some(KEY_LEN) };
        for index in 0..shape.records {
            slots.push(put_record(&mut bytes, index, key_len, shape.value_len.max(TRAILER_LEN), rng));
        }
        let mut template = Self { bytes, slots, keys: shape.keys };
        template.put_header();
        template
    }

    /// How many records of `shape` fit into `batch_bytes`, at least one.
    pub(crate) fn records_for(batch_bytes: usize, value_len: usize, keys: Keys) -> usize {
        let key = if keys == Keys::None { 0 } else { KEY_LEN };
        let per_record = value_len.max(TRAILER_LEN) + key + RECORD_OVERHEAD;
        (batch_bytes.saturating_sub(HEADER_LEN) / per_record).max(1)
    }

    /// The unstamped bytes, to be copied into a request.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Records per batch.
    pub(crate) fn records(&self) -> u64 {
        u64::from(wire::len_u32(self.slots.len()))
    }

    /// Patches `batch`, a copy of [`Self::bytes`], into a batch that can be sent.
    pub(crate) fn stamp(&self, batch: &mut [u8], stamp: &Stamp, rng: &mut fastrand::Rng) {
        self.stamp_records(batch, stamp, rng);
        stamp_header(batch, stamp);
        seal(batch);
    }

    /// The records section alone, patched; for compression.
    pub(crate) fn stamp_records(&self, batch: &mut [u8], stamp: &Stamp, rng: &mut fastrand::Rng) {
        let mut id =
            RecordId { stream: stamp.stream, sequence: stamp.first_sequence, sent_ns: stamp.sent_ns };
        for slot in &self.slots {
            if let Some(at) = slot.key_at {
                let key = match self.keys {
                    Keys::None | Keys::Sequential => id.sequence,
                    Keys::Random(many) => rng.u64(0..many.max(1)),
                };
                put_key(&mut batch[at..at + KEY_LEN], key);
            }
            let trailer = batch[slot.trailer_at..].first_chunk_mut::<TRAILER_LEN>();
            record::stamp(trailer.expect("slots lie inside the template"), &id, slot.filler_crc);
            id.sequence += 1;
        }
    }

    fn put_header(&mut self) {
        let batch_length = wire::len_i32(self.bytes.len() - 12);
        let count = wire::len_i32(self.slots.len());
        self.bytes[BATCH_LENGTH_AT..BATCH_LENGTH_AT + 4].copy_from_slice(&batch_length.to_be_bytes());
        self.bytes[12..16].copy_from_slice(&(-1i32).to_be_bytes());
        self.bytes[MAGIC_AT] = 2;
        self.bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        self.bytes[57..61].copy_from_slice(&count.to_be_bytes());
    }
}

/// Writes timestamps and producer fields.
pub(crate) fn stamp_header(batch: &mut [u8], stamp: &Stamp) {
    let timestamp_ms = i64::try_from(stamp.sent_ns / 1_000_000).expect("milliseconds fit i64");
    batch[27..35].copy_from_slice(&timestamp_ms.to_be_bytes());
    batch[35..43].copy_from_slice(&timestamp_ms.to_be_bytes());
    batch[43..51].copy_from_slice(&stamp.identity.id.to_be_bytes());
    batch[51..53].copy_from_slice(&stamp.identity.epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&stamp.identity.base_sequence(stamp.first_sequence).to_be_bytes());
}

/// Writes the checksum, last of all.
pub(crate) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
}

fn put_record(
    bytes: &mut Vec<u8>,
    index: usize,
    key_len: Option<usize>,
    value_len: usize,
    rng: &mut fastrand::Rng,
) -> Slot {
    let mut body = vec![0, 0];
    wire::put_varint(&mut body, wire::len_u32(index));
    let key_at = match key_len {
        None => {
            body.push(1); // Length -1: a null key.
            None
        }
        Some(len) => {
            wire::put_varint(&mut body, wire::len_u32(len));
            let at = body.len();
            body.resize(at + len, b'0');
            Some(at)
        }
    };
    wire::put_varint(&mut body, wire::len_u32(value_len));
    let filler_at = body.len();
    body.extend((filler_at..filler_at + value_len - TRAILER_LEN).map(|_| FILLER[rng.usize(..FILLER.len())]));
    let filler_crc = crc32c::crc32c(&body[filler_at..]);
    let trailer_at = body.len();
    body.resize(trailer_at + TRAILER_LEN, 0);
    body.push(0); // No headers.
    wire::put_varint(bytes, wire::len_u32(body.len()));
    let base = bytes.len();
    bytes.extend_from_slice(&body);
    Slot { key_at: key_at.map(|at| base + at), trailer_at: base + trailer_at, filler_crc }
}

/// `key-` and twelve decimal digits.
fn put_key(out: &mut [u8], mut number: u64) {
    out[..4].copy_from_slice(b"key-");
    for digit in out[4..].iter_mut().rev() {
        *digit = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
    }
}

/// Bytes of a batch before its records.
pub(crate) const HEADER_LEN: usize = 61;
/// Where the batch length lies.
pub(crate) const BATCH_LENGTH_AT: usize = 8;
/// Where the magic byte lies.
pub(crate) const MAGIC_AT: usize = 16;
/// Where the checksum lies.
pub(crate) const CRC_AT: usize = 17;
/// Where the checksummed part begins.
pub(crate) const CRC_FROM: usize = 21;
/// Where the attributes lie.
pub(crate) const ATTRIBUTES_AT: usize = 21;

const KEY_LEN: usize = 16;
/// Length, attributes, timestamp and offset delta, key and value length, headers: an upper bound.
const RECORD_OVERHEAD: usize = 12;
/// 64 symbols: such filler compresses to about three quarters, as text with some entropy does.
const FILLER: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::records::RecordBatchDecoder;

    use super::*;

    fn stamped(shape: &BatchShape, identity: ProducerIdentity) -> (BatchTemplate, Vec<u8>, Stamp) {
        let mut rng = fastrand::Rng::with_seed(7);
        let template = BatchTemplate::new(shape, &mut rng);
        let stamp = Stamp {
            stream: StreamKey { run: 1, producer: 2, partition: 3 },
            first_sequence: 1_000,
            sent_ns: 1_700_000_000_123_456_789,
            identity,
        };
        let mut batch = template.bytes().to_vec();
        template.stamp(&mut batch, &stamp, &mut rng);
        (template, batch, stamp)
    }

    /// The independent decoder checks the CRC and every length.
    #[test]
    fn an_independent_decoder_reads_stamped_batches() {
        let idempotent = ProducerIdentity { id: 77, epoch: 4 };
        for (records, value_len, keys, identity) in [
            (1, 40, Keys::None, ProducerIdentity::NONE),
            (64, 1_000, Keys::None, ProducerIdentity::NONE),
            (200, 100, Keys::Sequential, idempotent),
            (3, 5_000, Keys::Random(10), idempotent),
        ] {
            let (_, batch, stamp) = stamped(&BatchShape { records, value_len, keys }, identity);
            let set = RecordBatchDecoder::decode(&mut Bytes::from(batch)).unwrap();
            assert_eq!(set.records.len(), records);
            for (record, index) in set.records.iter().zip(0u64..) {
                let value = record.value.as_ref().unwrap();
                let id = record::parse(value).unwrap();
                assert_eq!(value.len(), value_len);
                assert_eq!((id.stream, id.sequence), (stamp.stream, 1_000 + index));
                assert_eq!(id.sent_ns, stamp.sent_ns);
                assert_eq!(record.timestamp, 1_700_000_000_123);
                assert_eq!((record.producer_id, record.producer_epoch), (identity.id, identity.epoch));
                assert_eq!(record.offset, i64::try_from(index).unwrap());
                match keys {
                    Keys::None => assert_eq!(record.key, None),
                    Keys::Sequential => {
                        let expect = format!("key-{:012}", 1_000 + index);
                        assert_eq!(record.key.as_deref(), Some(expect.as_bytes()));
                    }
                    Keys::Random(many) => {
                        let text = String::from_utf8(record.key.as_ref().unwrap().to_vec()).unwrap();
                        assert!(text[4..].parse::<u64>().unwrap() < many);
                    }
                }
            }
        }
    }

    #[test]
    fn a_template_can_be_stamped_again() {
        let shape = BatchShape { records: 5, value_len: 64, keys: Keys::Sequential };
        let (template, mut batch, mut stamp) = stamped(&shape, ProducerIdentity::NONE);
        stamp.first_sequence = 5;
        stamp.stream.partition = 8;
        template.stamp(&mut batch, &stamp, &mut fastrand::Rng::with_seed(1));
        let set = RecordBatchDecoder::decode(&mut Bytes::from(batch)).unwrap();
        let last = record::parse(set.records[4].value.as_ref().unwrap()).unwrap();
        assert_eq!((last.sequence, last.stream.partition), (9, 8));
    }

    #[test]
    fn batches_fill_but_never_exceed_the_size_asked_for() {
        for (batch_bytes, value_len, keys) in
            [(65_536, 1_000, Keys::None), (16_384, 100, Keys::Sequential), (200, 40, Keys::Random(5))]
        {
            let records = BatchTemplate::records_for(batch_bytes, value_len, keys);
            let template =
                BatchTemplate::new(&BatchShape { records, value_len, keys }, &mut fastrand::Rng::new());
            let len = template.bytes().len();
            assert!((batch_bytes * 9 / 10..=batch_bytes).contains(&len), "{len} of {batch_bytes}");
        }
        assert_eq!(BatchTemplate::records_for(10, 1_000, Keys::None), 1);
    }

    #[test]
    fn base_sequences_wrap_as_kafka_expects() {
        let identity = ProducerIdentity { id: 1, epoch: 0 };
        let rows = [(0, 0), (i32::MAX as u64, i32::MAX), (i32::MAX as u64 + 1, 0), (1 << 33, 0)];
        for (sequence, expect) in rows {
            assert_eq!(identity.base_sequence(sequence), expect);
        }
        assert_eq!(ProducerIdentity::NONE.base_sequence(5), -1);
    }
}
