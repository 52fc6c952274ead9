//! What a shard tells the admin listener about itself.

use std::sync::Arc;

use runtime::executor::ExecutorStats;
use storage::StorageStats;

use super::latency_histogram::LatencyHistogram;

/// A copy of one shard's statistics.
#[derive(Debug, Clone, Default)]
pub struct ShardStats {
    /// The shard's number.
    pub shard: usize,
    /// Every API that was used.
    pub requests: Vec<ApiStats>,
    /// Every error that was told.
    pub errors: Vec<ErrorStats>,
    /// Bytes received from clients.
    pub received_bytes: u64,
    /// Bytes sent to clients.
    pub sent_bytes: u64,
    /// Bytes of record batches appended for clients.
    pub produced_bytes: u64,
    /// Record batches appended for clients.
    pub produced_batches: u64,
    /// Records appended for clients.
    pub produced_records: u64,
    /// Bytes of record batches read for clients.
    pub fetched_bytes: u64,
    /// Connections open now.
    pub connections: u64,
    /// Connections accepted so far.
    pub connections_accepted: u64,
    /// Connections that the broker closed because of what was sent.
    pub connections_rejected: u64,
    /// Jobs and results sent to other shards.
    pub mesh_messages: u64,
    /// Bytes held of the shard's memory budget.
    pub memory_used_bytes: u64,
    /// The shard's memory budget.
    pub memory_budget_bytes: u64,
    /// The shard's logs.
    pub storage: StorageStats,
    /// The shard's executor.
    pub executor: ExecutorStats,
    /// The topics that have partitions here.
    pub topics: Vec<TopicStats>,
    /// Topics of the cluster that are not told here or elsewhere, because there are too many.
    pub topics_omitted: u64,
    /// Some of the partitions here, by topic and number.
    pub partitions: Vec<PartitionStats>,
    /// The most partitions that are told, over all shards.
    pub partitions_max: usize,
    /// Groups whose coordinator is here.
    pub groups: u64,
    /// Connections that found no room, or that the system could not give us.
    pub connections_refused: u64,
    /// The broker's offline partitions; told by the first shard only.
    pub offline: OfflineStats,
}

/// Partitions that are not served as they should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfflineStats {
    /// How many.
    pub count: u64,
    /// Some of them, each with the reason.
    pub some: Vec<String>,
}

/// Requests of one API.
#[derive(Debug, Clone, Default)]
pub struct ApiStats {
    /// Kafka's name of the API.
    pub api: &'static str,
    /// From the arrival of a request to its answer; the count is the number of requests.
    pub latency: LatencyHistogram,
}

/// One error in the answers of one API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorStats {
    /// Kafka's name of the API.
    pub api: &'static str,
    /// Kafka's name of the error.
    pub error: &'static str,
    /// How often it was told: a response may tell one for each of its partitions.
    pub count: u64,
}

/// What a shard holds of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicStats {
    /// The topic's name.
    pub topic: String,
    /// Its partitions on this shard.
    pub partitions: u64,
    /// The logical bytes of their logs.
    pub log_bytes: u64,
    /// Bytes of record batches appended to them for clients.
    pub produced_bytes: u64,
    /// Bytes of record batches read from them for clients.
    pub fetched_bytes: u64,
}

/// Where the log of one partition begins and ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionStats {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The log start offset.
    pub log_start: i64,
    /// The high watermark.
    pub high_watermark: i64,
    /// The log end.
    pub log_end: i64,
}

/// Where the admin listener gets statistics from. Called on an admin thread; must not wait for a shard.
pub trait StatsSource: Send + Sync {
    /// The newest statistics of every shard.
    fn snapshot(&self) -> Vec<ShardStats>;
}
