//! What a shard counts.

use crate::executor::ExecutorStats;

/// Counters of one shard, all since its start unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuntimeStats {
    /// Tasks, polls, stalls, spins and parks.
    pub executor: ExecutorStats,
    /// Entries handed to the kernel.
    pub sqes: u64,
    /// Completions taken.
    pub cqes: u64,
    /// Calls of io_uring_enter.
    pub enters: u64,
    /// Wake-ups by other threads.
    pub wakes: u64,
    /// Operations that the kernel has now.
    pub operations: usize,
    /// Jobs that wait for a helper thread now, of all shards.
    pub helper_queue: usize,
    /// Aligned memory handed out now.
    pub buffers_used_bytes: usize,
    /// Aligned memory that may be handed out.
    pub buffers_budget_bytes: usize,
}
