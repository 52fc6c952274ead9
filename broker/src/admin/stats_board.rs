//! Where shards leave their statistics for the admin threads.

use std::sync::{Mutex, PoisonError, TryLockError};

use super::shard_stats::{ShardStats, StatsSource};

/// One slot per shard. A shard publishes a copy now and then and never waits: it skips its turn while an admin thread
/// reads the slot.
#[derive(Debug)]
pub struct StatsBoard {
    slots: Vec<Mutex<ShardStats>>,
}

impl StatsBoard {
    /// A board for this many shards.
    #[must_use]
    pub fn new(shards: usize) -> StatsBoard {
        let slot = |shard| Mutex::new(ShardStats { shard, ..ShardStats::default() });
        StatsBoard { slots: (0..shards).map(slot).collect() }
    }

    /// Replaces what shard `stats.shard` published before. Says whether it did; a shard that is not on the board, or whose
    /// slot is being read, is skipped.
    pub fn publish(&self, stats: ShardStats) -> bool {
        let Some(slot) = self.slots.get(stats.shard) else { return false };
        let mut slot = match slot.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        *slot = stats;
        true
    }
}

impl StatsSource for StatsBoard {
    fn snapshot(&self) -> Vec<ShardStats> {
        let read = |slot: &Mutex<ShardStats>| slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.slots.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_publication_counts() {
        let board = StatsBoard::new(2);
        let stats = |shard, connections| ShardStats { shard, connections, ..ShardStats::default() };
        assert!(board.publish(stats(1, 3)));
        assert!(board.publish(stats(1, 4)));
        assert!(!board.publish(stats(2, 5)));
        let seen: Vec<_> = board.snapshot().iter().map(|stats| (stats.shard, stats.connections)).collect();
        assert_eq!(seen, [(0, 0), (1, 4)]);
    }

    #[test]
    fn a_shard_does_not_wait_for_a_reader() {
        let board = StatsBoard::new(1);
        let reader = board.slots[0].lock().unwrap();
        assert!(!board.publish(ShardStats::default()));
        drop(reader);
        assert!(board.publish(ShardStats::default()));
    }
}
