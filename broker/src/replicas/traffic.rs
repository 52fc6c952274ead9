//! What clients produce to and fetch from a partition.

use std::cell::Cell;

/// Bytes since they were last taken. Who publishes them keeps the totals, which so outlive a log that is opened again.
#[derive(Debug, Default)]
pub struct Traffic {
    produced_bytes: Cell<u64>,
    fetched_bytes: Cell<u64>,
}

impl Traffic {
    /// Counts an appended batch.
    pub fn add_produced(&self, bytes: usize) {
        self.produced_bytes.set(self.produced_bytes.get() + bytes as u64);
    }

    /// Counts records that were read.
    pub fn add_fetched(&self, bytes: usize) {
        self.fetched_bytes.set(self.fetched_bytes.get() + bytes as u64);
    }

    /// Bytes produced and fetched since the last call.
    pub fn take(&self) -> (u64, u64) {
        (self.produced_bytes.take(), self.fetched_bytes.take())
    }
}
