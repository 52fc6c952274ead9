//! Replication as pure state machines: `step(input, now) -> actions`.
//!
//! [`PartitionReplica`] is one replica of one partition on its broker; [`PartitionRecord`] is what the controller has on
//! record about the partition, with the changes that it may make. Together they are the durability rule
//! (docs/DURABILITY.md); tests/model steps both through crashes, lost disks and late messages.
//!
//! This crate sees no clock, file, socket, thread, hash order or wire type; a `clippy.toml` beside it
//! forbids the common ways in. No other crate computes a high watermark.
#![forbid(unsafe_code)]

mod config;
mod error;
mod follower;
mod input;
mod leader;
#[cfg_attr(not(any(test, feature = "mutants")), expect(unreachable_pub, reason = "tests see it"))]
mod mutant;
mod partition_record;
mod partition_replica;
mod progress;
mod time;

#[cfg(test)]
mod partition_record_test;
#[cfg(test)]
mod partition_replica_test;

pub use config::{Acks, Durability, ReplicaConfig};
pub use error::{RecordError, ReplicationError};
pub use input::{Action, AttachAt, Input, IsrProposal, Role, Settle};
#[cfg(any(test, feature = "mutants"))]
pub use mutant::{Mutant, plant};
pub use partition_record::{BrokerState, Brokers, DurableSet, PartitionRecord, RecoveryReport};
pub use partition_replica::PartitionReplica;
pub use progress::Progress;
pub use time::Millis;
