//! The partitions that a shard hosts, what this node is to each, and everybody who waits for them.

mod acks;
mod error;
pub mod fetch_waits;
mod log_changes;
pub mod offline_partitions;
mod opening;
mod partition;
mod reopening;
mod replica_manager;
mod replica_state;
#[cfg(test)]
mod replica_state_test;

pub use acks::AckWait;
pub use error::{CurrentLeader, PartitionError};
pub use fetch_waits::FetchWait;
pub use partition::Partition;
pub use replica_manager::{LeadershipSubscriber, Owns, ReplicaManager};
