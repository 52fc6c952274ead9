//! The seeded simulated forms of the effect traits: a world of nodes with disks and a network, in one
//! thread, under virtual time.
//!
//! Everything that happens is drawn from one generator, so a seed replays exactly; [`SimWorld::trace`] is the
//! proof. Time stands still while tasks run and jumps to the next event when all of them wait.
//! [`SimWorld::crash`] is a power cut: what was not synced survives sector by sector, or not.
//! [`SimWorld::kill`] ends only the process: what the kernel was handed survives.

mod clock;
mod disk;
mod disk_model;
mod effects;
mod executor;
mod fault;
mod inode;
mod net;
mod net_model;
mod op;
mod state;
mod trace;
mod world;

#[cfg(test)]
mod disk_test;
#[cfg(test)]
mod net_test;
#[cfg(test)]
mod world_test;

pub use clock::SimClock;
pub use disk::{SimDisk, SimFile};
pub use effects::SimEffects;
pub use fault::{Fault, FaultKind, Latency, OpKind};
pub use inode::SECTOR_SIZE;
pub use net::{SimListener, SimNet, SimStream};
pub use trace::Trace;
pub use world::{DiskView, SimWorld};
