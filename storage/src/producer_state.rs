//! What a log knows of its idempotent producers (KIP-98): the epoch and the last five batches of each, to
//! tell duplicates from new batches from gaps. The rules are those of Kafka's `ProducerStateManager`,
//! `ProducerStateEntry` and `ProducerAppendInfo`.
//!
//! A snapshot (`OFFSET.snapshot`) holds the state as of that offset; big-endian:
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

use std::collections::{BTreeMap, VecDeque};

use model::{Offset, ProducerEpoch, ProducerId, RecordBatch, Sequence};

use crate::AppendError;

/// Batches remembered per producer; a producer may have as many requests in flight.
const BATCHES_MAX: usize = 5;

/// Bytes of an entry in a snapshot.
const ENTRY_SIZE: usize = 46;

/// One batch that a producer has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchMetadata {
    pub(crate) last_sequence: Sequence,
    pub(crate) last_offset: Offset,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: i64,
}

impl BatchMetadata {
    /// Wraps as Kafka does, whatever a batch of a log or a snapshot claims.
    fn first_sequence(&self) -> Sequence {
        let (last, delta) = (self.last_sequence.0, self.offset_delta);
        let first = last.wrapping_sub(delta);
        if last < delta { Sequence(first.wrapping_add(i32::MAX).wrapping_add(1)) } else { Sequence(first) }
    }

    pub(crate) fn first_offset(&self) -> Offset {
        self.last_offset.plus(-i64::from(self.offset_delta))
    }
}

/// What is known of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ProducerEntry {
    epoch: ProducerEpoch,
    batches: VecDeque<BatchMetadata>,
    last_timestamp: i64,
    coordinator_epoch: i32,
    current_txn_first_offset: Option<Offset>,
}

/// The producers of one log.
///
/// Invariant: no producer has more than [`BATCHES_MAX`] batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProducerState {
    producers: BTreeMap<ProducerId, ProducerEntry>,
}

impl ProducerState {
    /// Looks at a client's batch before it is appended at `offset`: `Some` if it was appended before.
    pub(crate) fn check(
        &self,
        batch: &RecordBatch<'_>,
        offset: Offset,
    ) -> Result<Option<BatchMetadata>, AppendError> {
        let producer_id = batch.producer_id();
        if !producer_id.is_some() {
            return Ok(None);
        }
        // A producer that is not known may start with any sequence: its state may have expired.
        let Some(entry) = self.producers.get(&producer_id) else { return Ok(None) };
        let (epoch, first) = (batch.producer_epoch(), batch.base_sequence());
        if epoch == entry.epoch {
            let same = |known: &&BatchMetadata| {
                known.first_sequence() == first && known.last_sequence == batch.last_sequence()
            };
            if let Some(known) = entry.batches.iter().find(same) {
                return Ok(Some(*known));
            }
        }
        if epoch < entry.epoch {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id,
                incoming: epoch,
                current: entry.epoch,
            });
        }
        let current = entry.batches.back().map_or(Sequence::NONE, |known| known.last_sequence);
        let in_order = if epoch == entry.epoch {
            i64::from(first.0) == i64::from(current.0) + 1 || (first.0 == 0 && current.0 == i32::MAX)
        } else {
            first.0 == 0
        };
        if in_order {
            Ok(None)
        } else {
            Err(AppendError::OutOfOrderSequence { producer_id, incoming: first, current, offset })
        }
    }

    /// Notes a batch that is in the log, with its final offsets.
    pub(crate) fn record(&mut self, batch: &RecordBatch<'_>, base_offset: Offset) {
        let producer_id = batch.producer_id();
        if !producer_id.is_some() {
            return;
        }
        let epoch = batch.producer_epoch();
        let entry = self.producers.entry(producer_id).or_insert_with(|| ProducerEntry {
            epoch,
            batches: VecDeque::new(),
            last_timestamp: -1,
            coordinator_epoch: -1,
            current_txn_first_offset: None,
        });
        if entry.epoch != epoch {
            entry.batches.clear();
            entry.epoch = epoch;
        }
        entry.last_timestamp = batch.max_timestamp();
        if batch.is_control() {
            entry.current_txn_first_offset = None;
            return;
        }
        if entry.batches.len() == BATCHES_MAX {
            entry.batches.pop_front();
        }
        entry.batches.push_back(BatchMetadata {
            last_sequence: batch.last_sequence(),
            last_offset: base_offset.plus(i64::from(batch.last_offset_delta())),
            offset_delta: batch.last_offset_delta(),
            timestamp: batch.max_timestamp(),
        });
        if batch.is_transactional() && entry.current_txn_first_offset.is_none() {
            entry.current_txn_first_offset = Some(base_offset);
        }
    }

    /// Forgets producers that have not written for `expiration_ms` and have no transaction open.
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: u64) {
        let expiration_ms = i64::try_from(expiration_ms).unwrap_or(i64::MAX);
        self.producers.retain(|_, entry| {
            entry.current_txn_first_offset.is_some()
                || now_ms.saturating_sub(entry.last_timestamp) < expiration_ms
        });
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// The bytes of a snapshot.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(10 + self.producers.len() * ENTRY_SIZE);
        out.extend_from_slice(&1i16.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&u32::try_from(self.producers.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (id, entry) in &self.producers {
            let last = entry.batches.back().copied().unwrap_or(BatchMetadata {
                last_sequence: Sequence::NONE,
                last_offset: Offset(-1),
                offset_delta: 0,
                timestamp: -1,
            });
            out.extend_from_slice(&id.0.to_be_bytes());
            out.extend_from_slice(&entry.epoch.0.to_be_bytes());
            out.extend_from_slice(&last.last_sequence.0.to_be_bytes());
            out.extend_from_slice(&last.last_offset.0.to_be_bytes());
            out.extend_from_slice(&last.offset_delta.to_be_bytes());
            out.extend_from_slice(&entry.last_timestamp.to_be_bytes());
            out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
            let txn = entry.current_txn_first_offset.map_or(-1, |offset| offset.0);
            out.extend_from_slice(&txn.to_be_bytes());
        }
        let crc = crc32c::crc32c(&out[6..]);
        out[2..6].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// A line per producer, for people.
    pub(crate) fn describe(&self) -> impl Iterator<Item = String> + '_ {
        self.producers.iter().map(|(id, entry)| {
            let last = entry.batches.back().map(|last| {
                format!(
                    " lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
                    last.last_sequence, last.last_offset, last.offset_delta, last.timestamp
                )
            });
            let txn =
                entry.current_txn_first_offset.map(|offset| format!(" currentTxnFirstOffset: {offset}"));
            format!(
                "producerId: {id} producerEpoch: {} coordinatorEpoch: {}{}{}",
                entry.epoch,
                entry.coordinator_epoch,
                txn.unwrap_or_default(),
                last.unwrap_or_default()
            )
        })
    }

    /// The state in a snapshot; `None` if the bytes are not one.
    pub(crate) fn from_snapshot(bytes: &[u8]) -> Option<Self> {
        let (head, entries) = bytes.split_at_checked(10)?;
        let version = i16::from_be_bytes([head[0], head[1]]);
        let crc = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
        let count = usize::try_from(u32::from_be_bytes([head[6], head[7], head[8], head[9]])).ok()?;
        if version != 1
            || crc != crc32c::crc32c(&bytes[6..])
            || entries.len() != count.checked_mul(ENTRY_SIZE)?
        {
            return None;
        }
        let mut state = Self::default();
        for entry in entries.chunks_exact(ENTRY_SIZE) {
            let (id, entry) = parse_entry(entry);
            state.producers.insert(id, entry);
        }
        Some(state)
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        for entry in self.producers.values() {
            assert!(entry.batches.len() <= BATCHES_MAX);
            assert!(entry.batches.iter().is_sorted_by_key(|batch| batch.last_offset));
        }
    }
}

fn parse_entry(bytes: &[u8]) -> (ProducerId, ProducerEntry) {
    let long = |at: usize| i64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
    let int = |at: usize| i32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
    let (last_sequence, last_offset) = (Sequence(int(10)), Offset(long(14)));
    let mut batches = VecDeque::new();
    if last_offset.0 >= 0 {
        batches.push_back(BatchMetadata {
            last_sequence,
            last_offset,
            offset_delta: int(22),
            timestamp: long(26),
        });
    }
    let entry = ProducerEntry {
        epoch: ProducerEpoch(i16::from_be_bytes([bytes[8], bytes[9]])),
        batches,
        last_timestamp: long(26),
        coordinator_epoch: int(34),
        current_txn_first_offset: (long(38) >= 0).then(|| Offset(long(38))),
    };
    (ProducerId(long(0)), entry)
}

#[cfg(test)]
#[path = "producer_state_test.rs"]
mod producer_state_test;
