//! A node from its start to its stop: what it may use, its process, its shards.

pub mod process;
mod publishing;
pub mod shard;
pub mod start;
pub mod stats_publisher;
pub mod stop;
