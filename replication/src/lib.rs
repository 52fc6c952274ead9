//! Replication as pure state machines: `step(input, now) -> actions`.
//!
//! This crate sees no clock, file, socket, thread, hash order or wire type; a `clippy.toml` beside it
//! forbids the common ways in. No other crate computes a high watermark.
#![forbid(unsafe_code)]

mod error;
mod input;
mod partition_replica;
mod progress;
mod time;

#[cfg(test)]
mod partition_replica_test;

pub use error::ReplicationError;
pub use input::{Acks, Action, Durability, Input, ReplicaConfig, Role};
pub use partition_replica::PartitionReplica;
pub use progress::Progress;
pub use time::Millis;
