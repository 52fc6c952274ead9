//! DescribeLogDirs: how much each partition takes on disk (KIP-113), and how much room is left (KIP-827).

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

use net::protocol::ErrorCode;
use net::protocol::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use runtime::{Disk, Effects};

use crate::api::request::RequestContext;
use crate::api::services::ShardServices;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 1..=5;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: DescribeLogDirsRequest<'_>,
) -> DescribeLogDirsResponse {
    let asked: Option<HashSet<(&str, i32)>> = request.topics.map(|topics| {
        let named =
            topics.iter().flat_map(|topic| topic.partitions.iter().map(move |index| (topic.topic, index)));
        named.collect()
    });
    let wanted =
        |topic: &str, partition: i32| asked.as_ref().is_none_or(|asked| asked.contains(&(topic, partition)));
    let sizes = shard
        .call_all(|shard| async move {
            let mut sizes = Vec::new();
            shard.replicas.for_each(|partition| {
                let name = &partition.name;
                sizes.push((Arc::clone(&name.topic), name.partition.0, partition.log.size_bytes()));
            });
            sizes
        })
        .await;
    let mut topics: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for (topic, partition, size) in
        sizes.into_iter().flatten().filter(|(topic, index, _)| wanted(topic, *index))
    {
        topics.entry(topic).or_default().push(DescribeLogDirsPartition {
            partition_index: partition,
            partition_size: i64::try_from(size).unwrap_or(i64::MAX),
            offset_lag: 0,
            is_future_key: false,
        });
    }
    for (topic, offline) in offline_partitions(shard, &wanted).await {
        let told = topics.entry(topic).or_default();
        // A log may be open and its partition offline all the same.
        if told.iter().all(|open| open.partition_index != offline.partition_index) {
            told.push(offline);
        }
    }
    let directory = shard.logs.dir();
    let space = shard.effects.disk().space(directory.path()).await;
    let bytes = |value: Option<u64>| value.map_or(-1, |value| i64::try_from(value).unwrap_or(i64::MAX));
    let failed = if directory.is_failed() { ErrorCode::KafkaStorageError } else { ErrorCode::None };
    let result = DescribeLogDirsResult {
        error_code: failed.code(),
        log_dir: shard.effects.disk().display(directory.path()).display().to_string(),
        topics: topics
            .into_iter()
            .map(|(name, mut partitions)| {
                partitions.sort_by_key(|partition| partition.partition_index);
                DescribeLogDirsTopic { name: name.to_string(), partitions }
            })
            .collect(),
        total_bytes: bytes(space.as_ref().ok().map(|space| space.total)),
        usable_bytes: bytes(space.as_ref().ok().map(|space| space.available)),
        is_cordoned: false,
    };
    DescribeLogDirsResponse { throttle_time_ms: 0, error_code: 0, results: vec![result] }
}

/// The partitions whose logs are not open, with what their files take and, as in Kafka, without a lag.
async fn offline_partitions<E: Effects>(
    shard: &ShardServices<E>,
    wanted: impl Fn(&str, i32) -> bool,
) -> Vec<(Arc<str>, DescribeLogDirsPartition)> {
    let offline = shard.replicas.offline().some(usize::MAX);
    let closed = offline.into_iter().filter(|offline| !offline.is_readable);
    let mut found = Vec::new();
    for name in closed.map(|offline| offline.name).filter(|name| wanted(&name.topic, name.partition.0)) {
        let path = shard.logs.dir().path().join(name.dir_name());
        // What cannot be looked at has no size that could be told.
        let files = shard.effects.disk().list_dir(&path).await.unwrap_or_default();
        let bytes: u64 =
            files.iter().filter(|file| file.name.ends_with(".log")).map(|file| file.length).sum();
        let described = DescribeLogDirsPartition {
            partition_index: name.partition.0,
            partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
            offset_lag: -1,
            is_future_key: false,
        };
        found.push((name.topic, described));
    }
    found
}
