//! The durability rule of docs/DURABILITY.md, judged on the real state machines.
//!
//! A [`World`] has one partition, three brokers with a disk each, and a controller. It steps
//! `replication::PartitionReplica` and `replication::PartitionRecord` through power cuts, lost disks, fences, late
//! and doubled messages, changes of settings and of the replicas, in random order from one seed. Whatever was acknowledged
//! has to be in the log of every later leader; and once everybody is back, records have to be acknowledged again.
#![forbid(unsafe_code)]

mod ablation;
mod broker;
mod heal;
mod step;
mod walk;
mod world;

pub use ablation::{ABLATIONS, Ablation};
pub use step::Step;
pub use walk::{Broken, Options, Outcome, replay, walks};
pub use world::World;
