//! Which transactions of a log keep its records from being stable: those that are open, and those whose end is not below the
//! high watermark yet, and may still be undone (Kafka's `ongoingTxns` and `unreplicatedTxns`).

use std::collections::{BTreeMap, BTreeSet};

use model::{Offset, RecordBatch};

/// Ended transactions that are told apart while their ends are not below the high watermark. Of more, some end with a later
/// one, as far as readers are concerned.
const ENDED_MAX: usize = 1_000;

/// What a batch does to a transaction of its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionChange {
    None,
    /// The first batch of a transaction stands here.
    Begun(Offset),
    /// The transaction that began at `first` ends with the marker at `marker`.
    Ended {
        first: Offset,
        marker: Offset,
    },
}

/// The transactions of a log that are not stable.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// First offsets of those that are open.
    open: BTreeSet<Offset>,
    /// First offsets of those that have ended, and the offsets of the markers that end them.
    ended: BTreeMap<Offset, Offset>,
}

impl Transactions {
    /// Those that a snapshot of the producers knows.
    pub(crate) fn new(open: impl Iterator<Item = Offset>) -> Self {
        Self { open: open.collect(), ended: BTreeMap::new() }
    }

    pub(crate) fn apply(&mut self, change: TransactionChange) {
        match change {
            TransactionChange::None => {}
            TransactionChange::Begun(first) => {
                self.open.insert(first);
            }
            TransactionChange::Ended { first, marker } => {
                self.open.remove(&first);
                self.note_ended(first, marker);
            }
        }
    }

    fn note_ended(&mut self, first: Offset, marker: Offset) {
        if self.ended.len() < ENDED_MAX {
            self.ended.insert(first, marker);
        } else if let Some((oldest, end)) = self.ended.pop_first() {
            self.ended.insert(oldest.min(first), end.max(marker));
        }
    }

    /// Forgets those that ended below the high watermark.
    pub(crate) fn replicated_to(&mut self, high_watermark: Offset) {
        if !self.ended.is_empty() {
            self.ended.retain(|_, marker| *marker >= high_watermark);
        }
    }

    /// The first offset of all of them.
    pub(crate) fn first_unstable(&self) -> Option<Offset> {
        let (open, ended) = (self.open.first(), self.ended.keys().next());
        open.into_iter().chain(ended).min().copied()
    }
}

/// What a control batch says that ends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndMarker {
    /// Of the coordinator that wrote it; `None` if that cannot be read.
    pub(crate) coordinator_epoch: Option<i32>,
}

impl EndMarker {
    /// The marker in a producer's control batch; `None` if compaction has removed it, with all of its transaction.
    pub(crate) fn of(batch: &RecordBatch<'_>) -> Option<Self> {
        let is_marker = batch.is_control() && batch.producer_id().is_some() && batch.record_count() > 0;
        is_marker.then(|| {
            let record = batch.iter().next().and_then(Result::ok);
            // A version (2) comes first.
            let epoch = record.and_then(|record| record.value?.get(2..6)?.try_into().ok());
            Self { coordinator_epoch: epoch.map(i32::from_be_bytes) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(first: i64, marker: i64) -> TransactionChange {
        TransactionChange::Ended { first: Offset(first), marker: Offset(marker) }
    }

    #[test]
    fn the_first_of_all_counts_until_its_end_is_replicated() {
        use TransactionChange::Begun;
        let mut all = Transactions::new([Offset(4)].into_iter());
        // (change, high watermark, first unstable offset)
        for (step, (change, high_watermark, first)) in [
            (TransactionChange::None, 0, Some(4)),
            (Begun(Offset(6)), 7, Some(4)),
            (Begun(Offset(9)), 10, Some(4)),
            (ended(4, 10), 10, Some(4)),
            (TransactionChange::None, 11, Some(6)),
            (ended(9, 11), 12, Some(6)),
            (ended(6, 12), 12, Some(6)),
            (TransactionChange::None, 13, None),
            (ended(6, 13), 13, Some(6)),
            (TransactionChange::None, 14, None),
        ]
        .into_iter()
        .enumerate()
        {
            all.apply(change);
            all.replicated_to(Offset(high_watermark));
            assert_eq!(all.first_unstable(), first.map(Offset), "step {step}");
        }
    }

    #[test]
    fn of_many_ends_none_is_forgotten_early() {
        let mut all = Transactions::default();
        let many = i64::try_from(ENDED_MAX).unwrap() * 2;
        for number in 0..many {
            all.apply(ended(2 * number, 2 * number + 1));
        }
        assert_eq!(all.ended.len(), ENDED_MAX);
        for high_watermark in 0..2 * many {
            all.replicated_to(Offset(high_watermark));
            let exact = high_watermark / 2 * 2;
            assert!(all.first_unstable().is_some_and(|first| first <= Offset(exact)));
        }
        all.replicated_to(Offset(2 * many));
        assert_eq!(all.first_unstable(), None);
    }
}
