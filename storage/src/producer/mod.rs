//! What is remembered of the producers of a partition, and its snapshots.

pub(crate) mod budget;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod table;
pub(crate) mod transactions;
