//! The producers of a log as of an offset, on disk: in two files, since Kafka's has room for one batch of each producer only.
//!
//! Without the others a producer that sends its last requests again, after a restart that has cut off their answers, would
//! be told that they are out of order; Java's then takes a new id and sends them once more. The second file completes the
//! first. It is written before it; what of it does not fit a producer of the first is passed over.
//!
//! `OFFSET.snapshot`, big-endian, is Kafka's:
//!
//! | bytes | field |
//! |---|---|
//! | 0-1 | version = 1 |
//! | 2-5 | CRC-32C of bytes 6 to the end |
//! | 6-9 | number of entries, of 46 bytes each: |
//! | +0 | producer id (8) |
//! | +8 | epoch (2) |
//! | +10 | last sequence (4) |
//! | +14 | last offset (8) |
//! | +22 | distance from the first to the last offset (4) |
//! | +26 | timestamp (8) |
//! | +34 | coordinator epoch (4) |
//! | +38 | first offset of the open transaction or -1 (8) |
//!
//! `OFFSET.batches` is ours and has the same head; its entries:
//!
//! | bytes | field |
//! |---|---|
//! | +0 | producer id (8) |
//! | +8 | epoch (2) |
//! | +10 | when the broker has last heard of it, by its own clock, in milliseconds since 1970 (8) |
//! | +18 | number of batches, at most 4, oldest first, of 24 bytes each: those before the one in the snapshot (2) |
//! | +20 | last sequence (4) |
//! | +24 | last offset (8) |
//! | +32 | distance from the first to the last offset (4) |
//! | +36 | timestamp (8) |

use model::{Offset, ProducerEpoch, ProducerId, Sequence};

use crate::producer::state::{BATCHES_MAX, BatchMetadata, ProducerEntry, ProducerState};

/// What the second file's name ends with.
pub(crate) const BATCHES_ENDING: &str = "batches";

const VERSION: i16 = 1;
const HEAD_SIZE: usize = 10;
const ENTRY_SIZE: usize = 46;
const BATCHES_ENTRY_SIZE: usize = 20;
const BATCH_SIZE: usize = 24;

/// Chunks of the producers' table that are written between two looks at other work of the shard.
const CHUNKS_AT_ONCE: usize = 16;

/// The bytes of the two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotFiles {
    pub(crate) snapshot: Vec<u8>,
    /// None if no producer is known.
    pub(crate) batches: Option<Vec<u8>>,
}

/// Encodes the producers, with pauses for other tasks.
pub(crate) async fn encode(state: &ProducerState) -> SnapshotFiles {
    let mut encoder = Encoder::new(state.len());
    for (number, chunk) in state.producers.chunks().enumerate() {
        if number % CHUNKS_AT_ONCE == CHUNKS_AT_ONCE - 1 {
            runtime::yield_now().await;
        }
        chunk.iter().for_each(|(id, entry)| encoder.add(*id, entry));
    }
    encoder.finish()
}

struct Encoder {
    snapshot: Vec<u8>,
    batches: Vec<u8>,
}

impl Encoder {
    fn new(producers: usize) -> Self {
        let count = u32::try_from(producers).unwrap_or(u32::MAX);
        let mut head = Vec::with_capacity(HEAD_SIZE + producers * ENTRY_SIZE);
        head.extend_from_slice(&VERSION.to_be_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&count.to_be_bytes());
        Self { batches: head.clone(), snapshot: head }
    }

    fn add(&mut self, id: ProducerId, entry: &ProducerEntry) {
        let (newest, out) = (entry.newest(), &mut self.snapshot);
        out.extend_from_slice(&id.0.to_be_bytes());
        out.extend_from_slice(&entry.epoch.0.to_be_bytes());
        out.extend_from_slice(&newest.last_sequence.0.to_be_bytes());
        out.extend_from_slice(&newest.last_offset.0.to_be_bytes());
        out.extend_from_slice(&newest.offset_delta.to_be_bytes());
        out.extend_from_slice(&entry.last_timestamp.to_be_bytes());
        out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        let txn = entry.current_txn_first_offset.map_or(-1, |offset| offset.0);
        out.extend_from_slice(&txn.to_be_bytes());
        let out = &mut self.batches;
        let older = entry.batches.as_slice().split_last().map_or(&[][..], |(_, older)| older);
        out.extend_from_slice(&id.0.to_be_bytes());
        out.extend_from_slice(&entry.epoch.0.to_be_bytes());
        out.extend_from_slice(&entry.last_append_ms.to_be_bytes());
        out.extend_from_slice(&i16::try_from(older.len()).unwrap_or(0).to_be_bytes());
        for batch in older {
            out.extend_from_slice(&batch.last_sequence.0.to_be_bytes());
            out.extend_from_slice(&batch.last_offset.0.to_be_bytes());
            out.extend_from_slice(&batch.offset_delta.to_be_bytes());
            out.extend_from_slice(&batch.timestamp.to_be_bytes());
        }
    }

    fn finish(self) -> SnapshotFiles {
        let seal = |mut bytes: Vec<u8>| {
            let crc = crc32c::crc32c(&bytes[6..]);
            bytes[2..6].copy_from_slice(&crc.to_be_bytes());
            bytes
        };
        let batches = (self.batches.len() > HEAD_SIZE).then(|| seal(self.batches));
        SnapshotFiles { snapshot: seal(self.snapshot), batches }
    }
}

/// The producers in a snapshot, completed from the second file if there is a good one; `None` if the first is not good.
pub(crate) fn decode(snapshot: &[u8], batches: Option<&[u8]>) -> Option<ProducerState> {
    let (count, entries) = open(snapshot)?;
    if entries.len() != count.checked_mul(ENTRY_SIZE)? {
        return None;
    }
    let mut state = ProducerState::default();
    for bytes in entries.chunks_exact(ENTRY_SIZE) {
        let (id, entry) = decode_entry(bytes);
        *state.producers.get_or_insert_with(id, || entry) = entry;
    }
    for (id, recent) in batches.and_then(decode_batches).unwrap_or_default() {
        if state.producers.get(id).is_some_and(|entry| entry.epoch == recent.epoch) {
            let entry = state.producers.get_or_insert_with(id, || ProducerEntry::new(recent.epoch));
            entry.put_before(&recent.older);
            entry.last_append_ms = recent.last_append_ms;
        }
    }
    Some(state)
}

/// What the second file says of a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recent {
    pub(crate) epoch: ProducerEpoch,
    pub(crate) last_append_ms: i64,
    pub(crate) older: Vec<BatchMetadata>,
}

/// The entries of the second file; `None` if it is not a good one.
pub(crate) fn decode_batches(bytes: &[u8]) -> Option<Vec<(ProducerId, Recent)>> {
    let (count, mut rest) = open(bytes)?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (entry, behind) = rest.split_at_checked(BATCHES_ENTRY_SIZE)?;
        let number = usize::try_from(i16::from_be_bytes([entry[18], entry[19]])).ok()?;
        if number >= BATCHES_MAX {
            return None;
        }
        let (batches, behind) = behind.split_at_checked(number * BATCH_SIZE)?;
        let batch = |bytes: &[u8]| BatchMetadata {
            last_sequence: Sequence(int(bytes, 0)),
            last_offset: Offset(long(bytes, 4)),
            offset_delta: int(bytes, 12),
            timestamp: long(bytes, 16),
        };
        let recent = Recent {
            epoch: ProducerEpoch(i16::from_be_bytes([entry[8], entry[9]])),
            last_append_ms: long(entry, 10),
            older: batches.chunks_exact(BATCH_SIZE).map(batch).collect(),
        };
        entries.push((ProducerId(long(entry, 0)), recent));
        rest = behind;
    }
    (entries.len() == count).then_some(entries)
}

/// Checks the head of a file; yields the number of entries and their bytes.
fn open(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, entries) = bytes.split_at_checked(HEAD_SIZE)?;
    let version = i16::from_be_bytes([head[0], head[1]]);
    let crc = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
    let count = usize::try_from(u32::from_be_bytes([head[6], head[7], head[8], head[9]])).ok()?;
    (version == VERSION && crc == crc32c::crc32c(&bytes[6..])).then_some((count, entries))
}

fn decode_entry(bytes: &[u8]) -> (ProducerId, ProducerEntry) {
    let mut entry = ProducerEntry::new(ProducerEpoch(i16::from_be_bytes([bytes[8], bytes[9]])));
    let (last_sequence, last_offset) = (Sequence(int(bytes, 10)), Offset(long(bytes, 14)));
    entry.last_timestamp = long(bytes, 26);
    entry.coordinator_epoch = int(bytes, 34);
    entry.current_txn_first_offset = (long(bytes, 38) >= 0).then(|| Offset(long(bytes, 38)));
    if last_offset.0 >= 0 {
        let (offset_delta, timestamp) = (int(bytes, 22), entry.last_timestamp);
        entry.push(BatchMetadata { last_sequence, last_offset, offset_delta, timestamp });
    }
    (ProducerId(long(bytes, 0)), entry)
}

fn long(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn int(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
#[path = "producer_snapshot_test.rs"]
mod tests;
