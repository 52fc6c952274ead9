//! Memory of a shard that records on their way to clients keep alive. A client that does not read its responses keeps
//! what stands in them, and with a slice the whole append chunk or read buffer that it lies in. So a slice is charged with
//! all that it keeps, and a response gets only a part of what is left. When nothing is left, records are copied, so that
//! they keep just themselves, and only clients that have read all before get some: however many clients stop reading,
//! appends and other reads keep their memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use storage::MemoryPart;

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
    charge_bytes: usize,
    shared: Arc<Shared>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.records
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.shared.used_bytes.fetch_sub(self.charge_bytes, Ordering::Relaxed);
    }
}

impl FetchMemory {
    /// A budget of `budget_bytes`.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        Self { shared: Arc::new(Shared { budget_bytes, used_bytes: AtomicUsize::new(0) }) }
    }

    /// Bytes that records on their way keep alive.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.shared.used_bytes.load(Ordering::Relaxed)
    }

    /// How many bytes one response may take now; of a client with unread responses before this one, maybe none.
    #[must_use]
    pub fn allowance_bytes(&self, behind_unsent: bool) -> usize {
        let free = self.shared.budget_bytes.saturating_sub(self.used_bytes());
        if free == 0 && behind_unsent { 0 } else { (free / RESPONSES).max(ALLOWANCE_BYTES_MIN) }
    }

    /// Charges records until the last of their clones and slices is dropped.
    #[must_use]
    pub fn charge(&self, part: MemoryPart) -> Bytes {
        let MemoryPart { bytes, held_bytes } = part;
        let spent = self.used_bytes() >= self.shared.budget_bytes;
        let (records, charge_bytes) = if bytes.len() < COPIED_BELOW_BYTES || spent {
            (Bytes::copy_from_slice(&bytes), bytes.len())
        } else {
            (bytes, held_bytes)
        };
        self.shared.used_bytes.fetch_add(charge_bytes, Ordering::Relaxed);
        Bytes::from_owner(Charged { records, charge_bytes, shared: Arc::clone(&self.shared) })
    }
}

/// A response gets this part of what is free.
const RESPONSES: usize = 8;

/// What a response may take in any case, unless others stand before it.
const ALLOWANCE_BYTES_MIN: usize = 64 << 10;

/// A copy of less than this costs no more than counting would.
const COPIED_BELOW_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(length: usize, held_bytes: usize) -> MemoryPart {
        MemoryPart { bytes: Bytes::from(vec![0; length]), held_bytes }
    }

    #[test]
    fn responses_get_less_while_others_are_kept() {
        let memory = FetchMemory::new(32 << 20);
        assert_eq!(memory.allowance_bytes(false), 4 << 20);
        let mut kept = Vec::new();
        for _ in 0..200 {
            let bytes = memory.allowance_bytes(false);
            kept.push(memory.charge(part(bytes, bytes)));
        }
        assert_eq!((memory.allowance_bytes(false), memory.allowance_bytes(true)), (ALLOWANCE_BYTES_MIN, 0));
        assert!(memory.used_bytes() <= (32 << 20) + 200 * ALLOWANCE_BYTES_MIN);
        let slices: Vec<Bytes> = kept.iter().map(|records| records.slice(..1)).collect();
        drop(kept);
        assert!(memory.used_bytes() >= 32 << 20, "a slice keeps the whole");
        drop(slices);
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn what_a_slice_keeps_is_bounded() {
        let memory = FetchMemory::new(8 << 20);
        for (length, charged) in [(100, 100), (4096, 1 << 20), (1 << 20, 1 << 20)] {
            let kept = memory.charge(part(length, 1 << 20));
            assert_eq!((memory.used_bytes(), kept.len()), (charged, length));
        }
        let mut kept: Vec<Bytes> = (0..8).map(|_| memory.charge(part(5_000, 1 << 20))).collect();
        kept.push(memory.charge(part(5_000, 1 << 20)));
        assert_eq!(memory.used_bytes(), (8 << 20) + 5_000, "a copy when all is spent");
        drop(kept);
        assert_eq!(memory.used_bytes(), 0);
    }
}
