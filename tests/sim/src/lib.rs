//! Storage on the simulated disk: seeded workloads, power cuts at every operation, kills, bit rot, full
//! disks, each followed by a restart that has to honour every acknowledgement.
//!
//! A scenario is a function of a seed: it returns what was broken, or nothing. The smoke tests run a few
//! seeds of each; the binary runs many, and one again by its number.
#![forbid(unsafe_code)]

mod invariants;
mod oracle;
mod scenarios;
mod server;
mod workload;

pub use scenarios::{MUTANTS, Mutant, SCENARIOS, Scenario, counters};
