//! The whole broker in the simulator: what clients see, on any number of shards, across restarts, power cuts and faults.

mod harness;
mod metadata;
mod power_cut;
mod records;
