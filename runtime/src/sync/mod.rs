//! Waiting for other tasks of the same shard: no atomics, no locks, nothing here is `Send`.

pub mod notify;
pub mod oneshot;
pub mod semaphore;
pub(crate) mod waiters;

pub use notify::Notify;
pub use semaphore::{Permit, Semaphore};
