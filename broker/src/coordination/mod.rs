//! Coordinators: the pure state machines, what runs them, and which of them run on which shard.

pub mod directory;
pub mod elected;
pub mod groups;
pub mod runner;
