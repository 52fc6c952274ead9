//! Coordinators: the pure state machines, and which of them run on which shard.

pub mod directory;
pub mod groups;
