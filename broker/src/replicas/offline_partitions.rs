//! Partitions that this broker cannot serve as it should, for whoever tells clients and operators about them.
//!
//! Shared by all shards: the owner of a partition writes, rarely; whoever answers a question about metadata reads. Never
//! touched on the data path.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{PartitionId, TopicId, TopicPartition};

/// What is wrong with a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflinePartition {
    /// Its name.
    pub name: TopicPartition,
    /// Its log is open and can be read as far as it is good, but takes nothing more.
    pub is_readable: bool,
    /// Why, in words for its owner.
    pub reason: String,
}

/// What this broker can do with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// All.
    Online,
    /// Serve what can be read.
    ReadOnly,
    /// Nothing.
    Offline,
}

type Partitions = BTreeMap<(TopicId, PartitionId), OfflinePartition>;

/// The offline partitions of a broker.
#[derive(Debug, Default)]
pub struct OfflinePartitions {
    count: AtomicUsize,
    changes: AtomicU64,
    partitions: Mutex<Partitions>,
}

impl OfflinePartitions {
    /// Notes what is wrong with a partition; the last word counts.
    pub fn note(&self, topic_id: TopicId, partition: OfflinePartition) {
        self.change(|partitions| drop(partitions.insert((topic_id, partition.name.partition), partition)));
    }

    /// Forgets a partition: it is online, or gone.
    pub fn forget(&self, topic_id: TopicId, partition: PartitionId) {
        if !self.is_empty() {
            self.change(|partitions| drop(partitions.remove(&(topic_id, partition))));
        }
    }

    /// Whether there is none, as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Rises with every change, after it: what was learnt while it stood still holds.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// What is wrong with a partition, if anything is.
    #[must_use]
    pub fn find(&self, topic_id: TopicId, partition: PartitionId) -> Option<OfflinePartition> {
        if self.is_empty() {
            return None;
        }
        self.lock().get(&(topic_id, partition)).cloned()
    }

    /// What the broker can do with a partition.
    #[must_use]
    pub fn availability(&self, topic_id: TopicId, partition: PartitionId) -> Availability {
        if self.is_empty() {
            return Availability::Online;
        }
        match self.lock().get(&(topic_id, partition)) {
            None => Availability::Online,
            Some(found) if found.is_readable => Availability::ReadOnly,
            Some(_) => Availability::Offline,
        }
    }

    /// Some of them, at most `max`.
    #[must_use]
    pub fn some(&self, max: usize) -> Vec<OfflinePartition> {
        if self.is_empty() { Vec::new() } else { self.lock().values().take(max).cloned().collect() }
    }

    fn change(&self, change: impl FnOnce(&mut Partitions)) {
        let mut partitions = self.lock();
        change(&mut partitions);
        self.count.store(partitions.len(), Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Partitions> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
