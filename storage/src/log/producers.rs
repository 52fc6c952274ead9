//! What a log tells of its producers.

use model::{Offset, ProducerEpoch, ProducerId, Sequence};
use runtime::Effects;

use crate::log::Log;

/// A producer that a log remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub id: ProducerId,
    /// The epoch that it has written in last.
    pub epoch: ProducerEpoch,
    /// The sequence of its last record, or -1.
    pub last_sequence: Sequence,
    /// The largest timestamp of its last batch, or -1.
    pub last_timestamp: i64,
    /// The epoch of the coordinator that ended its last transaction, or -1.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins, if it has one.
    pub transaction_start: Option<Offset>,
}

impl<E: Effects> Log<E> {
    /// The producers that the log remembers, in order of their ids, at most `max`.
    pub fn active_producers(&self, max: usize) -> Vec<ActiveProducer> {
        let known = self.state.borrow().producers.freeze();
        let told = known.producers.iter().take(max).map(|(id, entry)| ActiveProducer {
            id: *id,
            epoch: entry.epoch,
            last_sequence: entry.newest().last_sequence,
            last_timestamp: entry.last_timestamp,
            coordinator_epoch: entry.coordinator_epoch,
            transaction_start: entry.current_txn_first_offset,
        });
        told.collect()
    }
}
