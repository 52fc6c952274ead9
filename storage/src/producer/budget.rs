//! A bound for the producers that the logs of a shard remember together.
//!
//! Clients may take as many producer ids as they like. At the bound a new producer takes the place of one of its own
//! partition that has been silent for long, which costs that one the protection from duplicates and nothing else; a
//! partition with few of them is left alone.

use std::cell::Cell;
use std::rc::Rc;

use model::{Offset, ProducerId, RecordBatch};

use crate::AppendError;
use crate::producer::state::{BatchMetadata, ProducerEntry, ProducerState};
use crate::producer::transactions::Transactions;

/// What a producer costs in memory, about.
pub const PRODUCER_BYTES: usize = 192;

const _: () = assert!(size_of::<(ProducerId, ProducerEntry)>() <= PRODUCER_BYTES);

/// So many producers a partition remembers whatever other partitions do.
pub(crate) const PRODUCERS_MIN: usize = 64;

/// The producers of all logs of a shard, counted.
#[derive(Debug)]
pub(crate) struct ProducerBudget {
    max: usize,
    used: Cell<usize>,
}

impl ProducerBudget {
    pub(crate) fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { max, used: Cell::new(0) })
    }

    /// Producers remembered.
    pub(crate) fn used(&self) -> usize {
        self.used.get()
    }
}

/// The producers of a log, charged to the budget of its shard.
///
/// Invariant: `charged` is the number of producers in `state`, outside of the methods; `transactions` has those that are open
/// in `state`, whose producers are never forgotten.
#[derive(Debug)]
pub(crate) struct ChargedProducers {
    state: ProducerState,
    transactions: Transactions,
    charged: usize,
    budget: Rc<ProducerBudget>,
}

impl ChargedProducers {
    pub(crate) fn new(budget: &Rc<ProducerBudget>) -> Self {
        let (state, transactions) = (ProducerState::default(), Transactions::default());
        Self { state, transactions, charged: 0, budget: Rc::clone(budget) }
    }

    /// Takes over what a snapshot has, apart from what has expired and what is too much.
    pub(crate) fn load(&mut self, state: ProducerState, now_ms: i64, expiration_ms: u64) {
        self.state = state;
        let mut from = Some(ProducerId(i64::MIN));
        while let Some(id) = from {
            from = self.state.expire_some(id, now_ms, expiration_ms);
        }
        self.charge();
        while self.is_over() && self.forget_silent(ProducerId::NONE) {}
        self.transactions = Transactions::new(self.state.open_transactions());
    }

    /// See [`ProducerState::check`].
    pub(crate) fn check(
        &self,
        batch: &RecordBatch<'_>,
        offset: Offset,
    ) -> Result<Option<BatchMetadata>, AppendError> {
        self.state.check(batch, offset)
    }

    /// See [`ProducerState::check_epoch`].
    pub(crate) fn check_epoch(&self, batch: &RecordBatch<'_>) -> Result<(), AppendError> {
        self.state.check_epoch(batch)
    }

    /// See [`ProducerState::record`].
    pub(crate) fn record(
        &mut self,
        batch: &RecordBatch<'_>,
        base_offset: Offset,
        timestamp: i64,
        now_ms: i64,
    ) {
        self.transactions.apply(self.state.record(batch, base_offset, timestamp, now_ms));
        if self.charge() && self.is_over() {
            self.forget_silent(batch.producer_id());
        }
    }

    /// See [`Transactions::replicated_to`].
    pub(crate) fn replicated_to(&mut self, high_watermark: Offset) {
        self.transactions.replicated_to(high_watermark);
    }

    /// See [`Transactions::first_unstable`].
    pub(crate) fn first_unstable(&self) -> Option<Offset> {
        self.transactions.first_unstable()
    }

    /// See [`ProducerState::expire_some`].
    pub(crate) fn expire_some(
        &mut self,
        from: ProducerId,
        now_ms: i64,
        expiration_ms: u64,
    ) -> Option<ProducerId> {
        let next = self.state.expire_some(from, now_ms, expiration_ms);
        self.charge();
        next
    }

    /// The producers as they are now; costs little, whatever their number.
    pub(crate) fn freeze(&self) -> ProducerState {
        self.state.clone()
    }

    fn is_over(&self) -> bool {
        self.budget.used.get() > self.budget.max && self.charged > PRODUCERS_MIN
    }

    /// Whether one has gone.
    fn forget_silent(&mut self, but: ProducerId) -> bool {
        let before = self.charged;
        self.state.forget_silent(but);
        self.charge();
        self.charged < before
    }

    /// Brings the count in line; says whether it has changed.
    fn charge(&mut self) -> bool {
        let before = std::mem::replace(&mut self.charged, self.state.len());
        self.budget.used.set(self.budget.used.get() + self.charged - before);
        before != self.charged
    }
}

impl Drop for ChargedProducers {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get() - self.charged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ProducerEpoch, RecordBatchBuilder, Sequence};

    fn append(producers: &mut ChargedProducers, id: i64, offset: i64) {
        let builder = RecordBatchBuilder::new(Offset(offset)).record(1, None, None);
        let bytes = builder.producer(ProducerId(id), ProducerEpoch(0), Sequence(0)).build();
        producers.record(&RecordBatch::parse(&bytes).unwrap(), Offset(offset), 1, offset);
    }

    fn knows(producers: &ChargedProducers, id: i64) -> bool {
        producers.state.producers.get(ProducerId(id)).is_some()
    }

    #[test]
    fn at_the_bound_a_new_producer_takes_the_place_of_a_silent_one() {
        let budget = ProducerBudget::new(300);
        let mut hog = ChargedProducers::new(&budget);
        for offset in 0..10_000 {
            append(&mut hog, offset, offset);
            // One that goes on writing stays.
            append(&mut hog, 1_000_000, offset);
        }
        assert_eq!((budget.used(), hog.state.len()), (300, 300));
        assert!(knows(&hog, 1_000_000) && knows(&hog, 9_999) && !knows(&hog, 0));
        let mut small = ChargedProducers::new(&budget);
        for id in 0..100 {
            append(&mut small, id, id);
        }
        assert_eq!(small.state.len(), PRODUCERS_MIN, "few are kept whatever others do");
        assert!((36..100).all(|id| knows(&small, id)), "and of few the latest");
        drop(hog);
        assert_eq!(budget.used(), PRODUCERS_MIN);
    }

    #[test]
    fn a_snapshot_with_too_many_is_cut_down() {
        let budget = ProducerBudget::new(100);
        let mut many = ProducerState::default();
        for id in 0..1000 {
            let entry = ProducerEntry { last_append_ms: id, ..ProducerEntry::new(ProducerEpoch(0)) };
            many.producers.get_or_insert_with(ProducerId(id), || entry);
        }
        let mut producers = ChargedProducers::new(&budget);
        producers.load(many.clone(), 1_100, 1_000);
        assert_eq!((producers.state.len(), budget.used()), (100, 100));
        assert!(!knows(&producers, 100), "expired");
        producers.load(many, 1_990, 1_000);
        assert_eq!((producers.state.len(), budget.used()), (9, 9));
    }
}
