//! How shards ask one another: calls, answers, who owns what, and one request for many partitions.

pub mod calls;
#[cfg(test)]
mod calls_test;
pub mod fan_out;
pub mod placement;
