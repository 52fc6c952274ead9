//! The machine under a shard: pinned thread, executor, io_uring, timers, aligned buffers, the mesh
//! between shards, the stall detector; the effect traits and their simulated forms.
//!
//! Invariant: all `unsafe` of the project is in this crate, and only `uring` calls the kernel.

mod atomic;
pub mod buffer;
pub mod effects;
pub mod executor;
pub mod injector;
pub mod mesh;
pub mod shards;
#[cfg(feature = "sim")]
pub mod sim;
mod sleep;
mod spsc;
pub mod stats;
pub mod sync;
pub mod time;
pub mod uring;
mod waker_cell;

pub use effects::{
    Clock, DirEntry, Disk, DiskSpace, Durability, Effects, File, ListenOptions, Listener, Net, OpenOptions,
    Stream,
};
pub use executor::{Executor, yield_now};
pub use injector::{Injector, InjectorPort, injector};
pub use mesh::{MeshPort, mesh};
pub use shards::{RunningShards, ShardOptions, run_shards};
pub use stats::RuntimeStats;
pub use time::Monotonic;
pub use uring::{DurableWrite, UringEffects};
