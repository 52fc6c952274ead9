//! The admin HTTP listener: /metrics for Prometheus, /health/live and /health/ready.
//!
//! It runs on threads of its own and never waits for a shard. Admin reads statistics, it never changes them. It is
//! meant for the loopback interface or a trusted network: it has no authentication.

mod exposition;
mod health;
mod latency_histogram;
mod process;
mod render;
mod request_head;
mod server;
mod shard_stats;
mod stats_board;

pub use latency_histogram::LatencyHistogram;
pub use render::{TOPICS_MAX, render_metrics};
pub use server::{AdminServer, Readiness};
pub use shard_stats::{
    ApiStats, ErrorStats, OfflineStats, PartitionStats, ShardStats, StatsSource, TopicStats,
};
pub use stats_board::StatsBoard;

#[cfg(test)]
mod grammar;
