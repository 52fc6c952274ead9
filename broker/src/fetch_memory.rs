//! Memory of a shard that records on their way to clients keep alive. A client that does not read its responses keeps
//! what stands in them, so a response gets only a part of what is left: however many clients stop reading, appends and other
//! reads keep their memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The budget of one shard, for the records that it hands out. Clones share it.
#[derive(Debug, Clone)]
pub struct FetchMemory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    budget_bytes: usize,
    /// Given back by whichever shard sends the response.
    used_bytes: AtomicUsize,
}

/// Records that are charged until their last use.
struct Charged {
    records: Bytes,
    shared: Arc<Shared>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.records
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.shared.used_bytes.fetch_sub(self.records.len(), Ordering::Relaxed);
    }
}

impl FetchMemory {
    /// A budget of `budget_bytes`.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        Self { shared: Arc::new(Shared { budget_bytes, used_bytes: AtomicUsize::new(0) }) }
    }

    /// Bytes of records that are on their way.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.shared.used_bytes.load(Ordering::Relaxed)
    }

    /// How many bytes one response may take now.
    #[must_use]
    pub fn allowance_bytes(&self) -> usize {
        let free = self.shared.budget_bytes.saturating_sub(self.used_bytes());
        (free / RESPONSES).max(ALLOWANCE_BYTES_MIN)
    }

    /// Charges records until the last of their clones and slices is dropped. Small ones are free.
    #[must_use]
    pub fn charge(&self, records: Bytes) -> Bytes {
        if records.len() < CHARGED_FROM_BYTES {
            return records;
        }
        self.shared.used_bytes.fetch_add(records.len(), Ordering::Relaxed);
        Bytes::from_owner(Charged { records, shared: Arc::clone(&self.shared) })
    }
}

/// A response gets this part of what is free.
const RESPONSES: usize = 8;

/// What a response may take in any case.
const ALLOWANCE_BYTES_MIN: usize = 64 << 10;

/// Below this the charge would cost more than it counts.
const CHARGED_FROM_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_get_less_while_others_are_kept() {
        let memory = FetchMemory::new(32 << 20);
        assert_eq!(memory.allowance_bytes(), 4 << 20);
        let mut kept = Vec::new();
        for _ in 0..200 {
            kept.push(memory.charge(Bytes::from(vec![0; memory.allowance_bytes()])));
        }
        assert_eq!(memory.allowance_bytes(), ALLOWANCE_BYTES_MIN);
        assert!(memory.used_bytes() <= (32 << 20) + 200 * ALLOWANCE_BYTES_MIN);
        let slices: Vec<Bytes> = kept.iter().map(|records| records.slice(..1)).collect();
        drop(kept);
        assert!(memory.used_bytes() >= 32 << 20, "a slice keeps the whole");
        drop(slices);
        assert_eq!(memory.used_bytes(), 0);
    }
}
