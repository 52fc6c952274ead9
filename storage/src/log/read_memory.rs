//! Leave to take memory for what is read. Whoever reads for a client says how much there is, and waits for it; storage knows
//! how much a read takes, and when.

/// Grants memory to one read.
pub trait ReadMemory {
    /// Grants `bytes` for the read's buffer, instead of what was granted before. The read holds no buffer when it calls this.
    /// False: not now; the read ends with [`StorageError::OverBudget`](crate::StorageError::OverBudget).
    fn reserve(&self, bytes: usize) -> impl Future<Output = bool>;
}

/// For reads of the broker's own, which are few: nothing but the shard's pool bounds them.
#[derive(Debug, Clone, Copy)]
pub struct Unmetered;

impl ReadMemory for Unmetered {
    async fn reserve(&self, _bytes: usize) -> bool {
        true
    }
}
