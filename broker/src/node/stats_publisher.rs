//! Copies a shard's counters to the board that the admin listener reads, once a second.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use runtime::executor::ExecutorStats;
use runtime::{Clock, Effects};

use crate::admin::{ApiStats, ErrorStats, OfflineStats, ShardStats, StatsBoard, TopicStats};
use crate::api::services::ShardServices;

/// How old published statistics may get.
const INTERVAL: Duration = Duration::from_secs(1);

/// Topics that are named one by one; the logs of the others are counted in the shard's totals only.
const TOPICS_MAX: usize = 1_000;

/// Offline partitions that are named with their reason.
const OFFLINE_NAMED_MAX: usize = 10;

/// Publishes until the broker stops.
pub(super) async fn publish<E: Effects>(
    shard: Rc<ShardServices<E>>,
    read_cache_bytes: u64,
    board: Arc<StatsBoard>,
    executor: impl Fn() -> ExecutorStats,
) {
    while !shard.stopping() {
        board.publish(snapshot(&shard, read_cache_bytes, executor()));
        let clock = shard.effects.clock();
        clock.sleep_until(clock.now() + INTERVAL).await;
    }
}

fn snapshot<E: Effects>(
    shard: &ShardServices<E>,
    read_cache_bytes: u64,
    executor: ExecutorStats,
) -> ShardStats {
    let stats = &shard.stats;
    let requests =
        stats.latencies().into_iter().map(|(key, latency)| ApiStats { api: key.name(), latency }).collect();
    let errors = stats.errors().into_iter();
    let errors = errors.map(|(key, code, count)| ErrorStats { api: key.name(), error: code.name(), count });
    ShardStats {
        shard: shard.index,
        requests,
        errors: errors.collect(),
        received_bytes: stats.received_bytes.get(),
        sent_bytes: stats.sent_bytes.get(),
        produced_bytes: stats.produced_bytes.get(),
        produced_batches: stats.produced_batches.get(),
        produced_records: stats.produced_records.get(),
        fetched_bytes: stats.fetched_bytes.get(),
        connections: stats.connections.get(),
        connections_accepted: stats.accepted.get(),
        connections_rejected: stats.rejected.get(),
        mesh_messages: shard.calls.sent(),
        memory_used_bytes: memory_used_bytes(shard) as u64,
        memory_budget_bytes: shard.config().memory_per_shard_bytes() as u64 + read_cache_bytes,
        storage: shard.logs.stats(),
        executor,
        topics: topics(shard),
        groups: shard.coordinators.groups.count() as u64,
        connections_refused: stats.refused.get(),
        offline: offline(shard),
    }
}

/// The broker's offline partitions, which one shard tells.
fn offline<E: Effects>(shard: &ShardServices<E>) -> OfflineStats {
    if shard.index != 0 {
        return OfflineStats::default();
    }
    let offline = shard.replicas.offline();
    let some = offline.some(OFFLINE_NAMED_MAX);
    let some = some.into_iter().map(|partition| format!("{}: {}", partition.name, partition.reason));
    OfflineStats { count: offline.count() as u64, some: some.collect() }
}

/// What the shard has, with what it keeps to use it again.
fn memory_used_bytes<E: Effects>(shard: &ShardServices<E>) -> usize {
    shard.effects.buffers().mapped_bytes()
        + shard.fetch_memory.copied_bytes()
        + shard.request_memory.used_bytes()
        + shard.sessions.borrow().bytes()
}

fn topics<E: Effects>(shard: &ShardServices<E>) -> Vec<TopicStats> {
    let mut topics: BTreeMap<Arc<str>, TopicStats> = BTreeMap::new();
    shard.replicas.for_each(|partition| {
        let name = &partition.name.topic;
        if topics.len() == TOPICS_MAX && !topics.contains_key(name) {
            return;
        }
        let topic = topics.entry(Arc::clone(name)).or_default();
        topic.partitions += 1;
        topic.log_bytes += partition.log.size_bytes();
    });
    topics.into_iter().map(|(name, stats)| TopicStats { topic: name.to_string(), ..stats }).collect()
}
