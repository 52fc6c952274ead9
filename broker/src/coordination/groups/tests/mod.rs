//! Scenarios and properties of the group coordinator.

mod admin;
mod offsets;
mod properties;
mod rebalances;
mod recovery;
mod static_members;
mod world;
