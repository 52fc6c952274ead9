//! The machine under a shard: pinned thread, executor, io_uring, timers, aligned buffers, the mesh
//! between shards, the stall detector; the effect traits and their simulated forms.
//!
//! Invariants: all `unsafe` of the project is in this crate; only `uring`, `signal`, `probe`, `descriptors` and `new_files` call the kernel;
//! nothing above the effect traits knows which form of them it runs on.
//!
//! Two checks beside the tests. The lock-free parts on a model checker, and everything under AddressSanitizer:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p millrace-runtime --lib --release loom
//! RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
//!     cargo test -p millrace-runtime --lib --target x86_64-unknown-linux-gnu
//! ```

mod atomic;
pub mod budget;
pub mod buffer;
mod descriptors;
pub mod effects;
pub mod executor;
pub mod injector;
pub mod mesh;
mod new_files;
pub mod probe;
pub mod shards;
pub mod signal;
#[cfg(feature = "sim")]
pub mod sim;
mod sleep;
mod spinner;
mod spsc;
pub mod stats;
pub mod sync;
pub mod time;
pub mod uring;
mod waker_cell;

pub use descriptors::raise_descriptor_limit;
pub use effects::{
    Clock, DirEntry, Disk, DiskSpace, Effects, File, ListenOptions, Listener, Net, NewDir, OpenOptions,
    Stream, WriteMode,
};
pub use executor::{Executor, yield_now};
pub use injector::{Injector, InjectorPort, injector};
pub use mesh::{MeshPort, mesh};
pub use new_files::keep_new_files_private;
pub use shards::{RunningShards, ShardOptions, run_shards};
pub use stats::RuntimeStats;
pub use time::Monotonic;
pub use uring::{DurableWrite, UringEffects, wait_for_port};
