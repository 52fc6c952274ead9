//! The partitions that a shard hosts, and everybody who waits for them.

pub mod fetch_waits;
pub mod offline_partitions;
pub mod partition;
