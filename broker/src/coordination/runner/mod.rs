//! Runs coordinators of any kind: [`CoordinatorMachine`] says what one is, [`CoordinatorRunner`] loads it from its
//! partition's log and gives it requests and time, and [`CoordinatorLog`] is what it needs of the partition.
//!
//! A runner belongs to one election: it appends in that leader epoch only, and the next election has another runner, which
//! loads anew. Its states are [`CoordinatorState`].

mod coordinator_log;
mod coordinator_machine;
mod coordinator_runner;
mod coordinator_state;
mod load;

#[cfg(test)]
mod tests;

pub use coordinator_log::CoordinatorLog;
pub use coordinator_machine::{
    Action, AppendToken, CoordinatorMachine, Input, LogRecord, Now, Refusal, RequestToken, WriteError,
};
pub use coordinator_runner::CoordinatorRunner;
pub use coordinator_state::CoordinatorState;
pub use load::LoadError;
