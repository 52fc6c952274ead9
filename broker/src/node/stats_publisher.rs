//! Copies a shard's counters to the board that the admin listener reads, once a second.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::TopicId;
use runtime::executor::ExecutorStats;
use runtime::{Clock, Effects};

use crate::admin::{
    ApiStats, ErrorStats, OfflineStats, PartitionStats, ShardStats, StatsBoard, TOPICS_MAX, TopicStats,
};
use crate::api::services::ShardServices;

/// How old published statistics may get.
const INTERVAL: Duration = Duration::from_secs(1);

/// Offline partitions that are named with their reason.
const OFFLINE_NAMED_MAX: usize = 10;

/// Publishes until the broker stops.
pub async fn publish<E: Effects>(
    shard: Rc<ShardServices<E>>,
    read_cache_bytes: u64,
    board: Arc<StatsBoard>,
    executor: impl Fn() -> ExecutorStats,
) {
    let mut traffic = TrafficTotals::default();
    while !shard.stopping() {
        traffic.gather(&shard);
        board.publish(snapshot(&shard, read_cache_bytes, executor(), &traffic));
        let clock = shard.effects.clock();
        clock.sleep_until(clock.now() + INTERVAL).await;
    }
}

fn snapshot<E: Effects>(
    shard: &ShardServices<E>,
    read_cache_bytes: u64,
    executor: ExecutorStats,
    traffic: &TrafficTotals,
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
        topics: topics(shard, traffic),
        topics_omitted: shard.image().topics().skip(TOPICS_MAX).count() as u64,
        partitions: partitions(shard),
        partitions_max: shard.config().metrics_partitions_max(),
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

/// What is here of the first topics by name, which are the same on all shards.
fn topics<E: Effects>(shard: &ShardServices<E>, traffic: &TrafficTotals) -> Vec<TopicStats> {
    let mut topics: BTreeMap<Arc<str>, TopicStats> = BTreeMap::new();
    let image = shard.image();
    let end = image.topics().nth(TOPICS_MAX).map(|topic| &topic.name);
    let is_told = |name: &Arc<str>| end.is_none_or(|end| name < end);
    for (id, (produced, fetched)) in &traffic.by_topic {
        if let Some(topic) = image.topic_by_id(*id).filter(|topic| is_told(&topic.name)) {
            let topic = topics.entry(Arc::clone(&topic.name)).or_default();
            (topic.produced_bytes, topic.fetched_bytes) = (*produced, *fetched);
        }
    }
    shard.replicas.for_each(|partition| {
        if is_told(&partition.name.topic) {
            let topic = topics.entry(Arc::clone(&partition.name.topic)).or_default();
            topic.partitions += 1;
            topic.log_bytes += partition.log.size_bytes();
        }
    });
    topics.into_iter().map(|(name, stats)| TopicStats { topic: name.to_string(), ..stats }).collect()
}

/// The first partitions of topics that are not internal, by topic and number, if any are asked for.
fn partitions<E: Effects>(shard: &ShardServices<E>) -> Vec<PartitionStats> {
    let most = shard.config().metrics_partitions_max();
    if most == 0 {
        return Vec::new();
    }
    let image = shard.image();
    let mut told = Vec::new();
    shard.replicas.for_each(|partition| {
        if image.topic_by_id(partition.topic_id).is_some_and(|topic| !topic.internal) {
            told.push(PartitionStats {
                topic: Arc::clone(&partition.name.topic),
                partition: partition.name.partition.0,
                log_start: partition.log.log_start_offset().0,
                high_watermark: partition.high_watermark().0,
                log_end: partition.log.log_end_offset().0,
            });
        }
    });
    told.sort_unstable();
    told.truncate(most);
    told
}

/// Bytes produced to and fetched from the topics of a shard since its start.
#[derive(Default)]
struct TrafficTotals {
    by_topic: HashMap<TopicId, (u64, u64)>,
}

impl TrafficTotals {
    /// Adds what has passed since the last call; forgets topics that are gone.
    fn gather<E: Effects>(&mut self, shard: &ShardServices<E>) {
        shard.replicas.for_each(|partition| {
            let produced = partition.produced_bytes.take();
            if produced > 0 {
                self.by_topic.entry(partition.topic_id).or_default().0 += produced;
            }
        });
        for (topic, fetched) in shard.stats.take_fetched() {
            self.by_topic.entry(topic).or_default().1 += fetched;
        }
        let image = shard.image();
        self.by_topic.retain(|id, _| image.topic_by_id(*id).is_some());
    }
}
