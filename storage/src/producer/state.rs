//! What a log knows of its idempotent producers (KIP-98): the epoch and the last five batches of each, to
//! tell duplicates from new batches from gaps. The rules are those of Kafka's `ProducerStateManager`,
//! `ProducerStateEntry` and `ProducerAppendInfo`.

use model::{Offset, ProducerEpoch, ProducerId, RecordBatch, Sequence};

use crate::AppendError;
use crate::producer::table::ProducerTable;
use crate::producer::transactions::{EndMarker, TransactionChange};

/// Batches remembered per producer; a producer may have as many requests in flight.
pub(crate) const BATCHES_MAX: usize = 5;

/// Producers that are compared to find one that may be forgotten.
const CANDIDATES: usize = 64;

/// Chunks of the table that are looked through for producers to forget, at a time.
const SWEEP_CHUNKS: usize = 16;

/// One batch that a producer has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchMetadata {
    pub(crate) last_sequence: Sequence,
    pub(crate) last_offset: Offset,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: i64,
}

impl BatchMetadata {
    const NONE: Self =
        Self { last_sequence: Sequence::NONE, last_offset: Offset(-1), offset_delta: 0, timestamp: -1 };

    /// Wraps as Kafka does, whatever a batch of a log or a snapshot claims.
    fn first_sequence(&self) -> Sequence {
        let (last, delta) = (self.last_sequence.0, self.offset_delta);
        let first = last.wrapping_sub(delta);
        if last < delta { Sequence(first.wrapping_add(i32::MAX).wrapping_add(1)) } else { Sequence(first) }
    }

    pub(crate) fn first_offset(&self) -> Offset {
        self.last_offset.plus(-i64::from(self.offset_delta))
    }

    /// Whether a producer may have written `next` right behind this one.
    fn leads_to(&self, next: &Self) -> bool {
        is_next(self.last_sequence, next.first_sequence()) && self.last_offset < next.first_offset()
    }
}

/// Whether `first` goes on behind `last`; sequences wrap to 0.
fn is_next(last: Sequence, first: Sequence) -> bool {
    i64::from(first.0) == i64::from(last.0) + 1 || (first.0 == 0 && last.0 == i32::MAX)
}

/// The last batches of a producer, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecentBatches {
    batches: [BatchMetadata; BATCHES_MAX],
    len: usize,
}

impl RecentBatches {
    const NONE: Self = Self { batches: [BatchMetadata::NONE; BATCHES_MAX], len: 0 };

    fn push(&mut self, batch: BatchMetadata) {
        if self.len == BATCHES_MAX {
            self.batches.rotate_left(1);
        } else {
            self.len += 1;
        }
        self.batches[self.len - 1] = batch;
    }

    pub(crate) fn as_slice(&self) -> &[BatchMetadata] {
        &self.batches[..self.len]
    }
}

/// What is known of one producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    pub(crate) epoch: ProducerEpoch,
    pub(crate) batches: RecentBatches,
    /// Of its last batch; what a client says.
    pub(crate) last_timestamp: i64,
    /// When the broker has last heard of it.
    pub(crate) last_append_ms: i64,
    pub(crate) coordinator_epoch: i32,
    pub(crate) current_txn_first_offset: Option<Offset>,
}

impl ProducerEntry {
    pub(crate) const fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            batches: RecentBatches::NONE,
            last_timestamp: -1,
            last_append_ms: -1,
            coordinator_epoch: -1,
            current_txn_first_offset: None,
        }
    }

    fn check_epoch(&self, batch: &RecordBatch<'_>) -> Result<(), AppendError> {
        let (producer_id, incoming, current) = (batch.producer_id(), batch.producer_epoch(), self.epoch);
        if incoming < current {
            return Err(AppendError::InvalidProducerEpoch { producer_id, incoming, current });
        }
        let coordinator = EndMarker::of(batch).and_then(|marker| marker.coordinator_epoch);
        match coordinator {
            Some(incoming) if incoming < self.coordinator_epoch => {
                let current = self.coordinator_epoch;
                Err(AppendError::CoordinatorFenced { producer_id, incoming, current })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn newest(&self) -> BatchMetadata {
        self.batches.as_slice().last().copied().unwrap_or(BatchMetadata::NONE)
    }

    /// Adds its newest batch.
    pub(crate) fn push(&mut self, batch: BatchMetadata) {
        self.batches.push(batch);
    }

    /// Puts `older` batches before the only one that is known, if it goes on behind them.
    pub(crate) fn put_before(&mut self, older: &[BatchMetadata]) {
        let all = [older, self.batches.as_slice()].concat();
        if self.batches.len == 1 && all.windows(2).all(|pair| pair[0].leads_to(&pair[1])) {
            self.batches = RecentBatches::NONE;
            all.into_iter().for_each(|batch| self.batches.push(batch));
        }
    }

    /// Whether it has not written for so long, and has no transaction open. It is the broker's clock that counts, since
    /// what clients send may be of any time; Kafka goes by the records.
    pub(crate) fn is_expired(&self, now_ms: i64, expiration_ms: u64) -> bool {
        let expiration_ms = i64::try_from(expiration_ms).unwrap_or(i64::MAX);
        self.current_txn_first_offset.is_none()
            && now_ms.saturating_sub(self.last_append_ms.max(self.last_timestamp)) >= expiration_ms
    }
}

/// The producers of one log. Copies are cheap, see [`ProducerTable`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProducerState {
    pub(crate) producers: ProducerTable<ProducerEntry>,
    /// The chunk in which the next producer to be forgotten is looked for.
    hand: usize,
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
        let Some(entry) = self.producers.get(producer_id) else { return Ok(None) };
        let (epoch, first) = (batch.producer_epoch(), batch.base_sequence());
        if epoch == entry.epoch {
            let same = |known: &&BatchMetadata| {
                known.first_sequence() == first && known.last_sequence == batch.last_sequence()
            };
            if let Some(known) = entry.batches.as_slice().iter().find(same) {
                return Ok(Some(*known));
            }
        }
        entry.check_epoch(batch)?;
        let current = entry.newest().last_sequence;
        let in_order = if epoch == entry.epoch { is_next(current, first) } else { first.0 == 0 };
        if in_order {
            Ok(None)
        } else {
            Err(AppendError::OutOfOrderSequence { producer_id, incoming: first, current, offset })
        }
    }

    /// Refuses a batch of an epoch before the last one that its producer has written in, and the end of a transaction by a
    /// coordinator before the last one.
    pub(crate) fn check_epoch(&self, batch: &RecordBatch<'_>) -> Result<(), AppendError> {
        self.producers.get(batch.producer_id()).map_or(Ok(()), |entry| entry.check_epoch(batch))
    }

    /// Notes a batch that is in the log, with its final offsets and the largest timestamp that it has there; says what becomes
    /// of a transaction.
    pub(crate) fn record(
        &mut self,
        batch: &RecordBatch<'_>,
        base_offset: Offset,
        timestamp: i64,
        now_ms: i64,
    ) -> TransactionChange {
        let producer_id = batch.producer_id();
        let marker = EndMarker::of(batch);
        if !producer_id.is_some() || (batch.is_control() && marker.is_none()) {
            return TransactionChange::None;
        }
        let epoch = batch.producer_epoch();
        let entry = self.producers.get_or_insert_with(producer_id, || ProducerEntry::new(epoch));
        if entry.epoch != epoch {
            entry.batches = RecentBatches::NONE;
            entry.epoch = epoch;
        }
        entry.last_timestamp = timestamp;
        entry.last_append_ms = now_ms;
        if let Some(marker) = marker {
            entry.coordinator_epoch = marker.coordinator_epoch.unwrap_or(entry.coordinator_epoch);
            let open = entry.current_txn_first_offset.take();
            let marker = base_offset.plus(i64::from(batch.last_offset_delta()));
            return open.map_or(TransactionChange::None, |first| TransactionChange::Ended { first, marker });
        }
        entry.push(BatchMetadata {
            last_sequence: batch.last_sequence(),
            last_offset: base_offset.plus(i64::from(batch.last_offset_delta())),
            offset_delta: batch.last_offset_delta(),
            timestamp,
        });
        if batch.is_transactional() && entry.current_txn_first_offset.is_none() {
            entry.current_txn_first_offset = Some(base_offset);
            return TransactionChange::Begun(base_offset);
        }
        TransactionChange::None
    }

    /// Where the open transactions began.
    pub(crate) fn open_transactions(&self) -> impl Iterator<Item = Offset> + '_ {
        self.producers.iter().filter_map(|(_, entry)| entry.current_txn_first_offset)
    }

    /// How many producers are known.
    pub(crate) const fn len(&self) -> usize {
        self.producers.len()
    }

    /// Forgets expired producers from `from` on, some at a time; yields where to go on.
    pub(crate) fn expire_some(
        &mut self,
        from: ProducerId,
        now_ms: i64,
        expiration_ms: u64,
    ) -> Option<ProducerId> {
        self.producers.retain_from(from, SWEEP_CHUNKS, |entry| !entry.is_expired(now_ms, expiration_ms))
    }

    /// Forgets a producer that has been silent for long, other than `but`: of few the one that has written least lately, of
    /// many the same among some of them. Those with an open transaction stay.
    pub(crate) fn forget_silent(&mut self, but: ProducerId) {
        let (mut seen, mut silent) = (0, None);
        for chunk in self.producers.chunks_from(self.hand) {
            let may_go = |(id, entry): &&(ProducerId, ProducerEntry)| {
                *id != but && entry.current_txn_first_offset.is_none()
            };
            let candidates = chunk.iter().filter(may_go).map(|(id, entry)| (entry.newest().last_offset, *id));
            silent = silent.into_iter().chain(candidates).min();
            seen += chunk.len();
            if seen >= CANDIDATES {
                break;
            }
        }
        self.hand = self.hand.wrapping_add(1);
        if let Some((_, id)) = silent {
            self.producers.remove(id);
        }
    }

    /// A line per producer, for people.
    pub(crate) fn describe(&self) -> impl Iterator<Item = String> + '_ {
        self.producers.iter().map(|(id, entry)| {
            let last = entry.batches.as_slice().last().map(|last| {
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

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        self.producers.check_invariants();
        for (_, entry) in self.producers.iter() {
            assert!(entry.batches.as_slice().is_sorted_by_key(|batch| batch.last_offset));
        }
    }
}

#[cfg(test)]
#[path = "producer_state_test.rs"]
mod producer_state_test;
