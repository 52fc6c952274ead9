//! How shards ask one another: calls, answers, who owns what.

pub mod calls;
#[cfg(test)]
mod calls_test;
pub mod placement;
