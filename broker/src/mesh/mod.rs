//! How shards ask one another: calls, answers, who owns what.

pub mod calls;
pub mod placement;
