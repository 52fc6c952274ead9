//! Turns statistics into Prometheus text. A pure function: the same statistics give the same text.

use std::collections::BTreeMap;

use storage::Histogram;

use super::exposition::{Exposition, Kind, Labels};
use super::latency_histogram::LatencyHistogram;
use super::process::ProcessStats;
use super::shard_stats::{PartitionStats, ShardStats, TopicStats};

/// Topics beyond this many, the last ones by name, are left out of /metrics; `millrace_topics_omitted` counts them.
pub const TOPICS_MAX: usize = 1000;

/// All metrics of the process.
#[must_use]
pub fn render_metrics(version: &str, ready: bool, process: ProcessStats, shards: &[ShardStats]) -> String {
    let mut out = Exposition::default();
    out.family("millrace_build_info", Kind::Gauge, "The version that is running.");
    out.sample("millrace_build_info", &[("version", &version)], 1);
    out.family("millrace_ready", Kind::Gauge, "Whether the broker serves clients.");
    out.sample("millrace_ready", &[], u8::from(ready));
    out.family("millrace_shards", Kind::Gauge, "Shards of this broker.");
    out.sample("millrace_shards", &[], shards.len());
    whole(&mut out, shards);
    if let Some(seconds) = process.cpu_seconds {
        out.family("process_cpu_seconds_total", Kind::Counter, "Processor time, of user and system.");
        out.sample("process_cpu_seconds_total", &[], seconds);
    }
    if let Some(seconds) = process.start_time_seconds {
        out.family("process_start_time_seconds", Kind::Gauge, "When the process started, since 1970.");
        out.sample("process_start_time_seconds", &[], seconds);
    }
    if let Some(bytes) = process.resident_bytes {
        out.family("process_resident_memory_bytes", Kind::Gauge, "Resident memory of the process.");
        out.sample("process_resident_memory_bytes", &[], bytes);
    }
    if let Some(count) = process.open_descriptors {
        out.family("process_open_fds", Kind::Gauge, "Open descriptors of the process.");
        out.sample("process_open_fds", &[], count);
    }
    out.family(
        "millrace_log_lines_dropped_total",
        Kind::Counter,
        "Log lines that standard error did not take.",
    );
    out.sample("millrace_log_lines_dropped_total", &[], process.log_lines_dropped);
    requests(&mut out, shards);
    errors(&mut out, shards);
    for metric in PER_SHARD {
        out.family(metric.name, metric.kind, metric.help);
        for stats in shards {
            out.sample(metric.name, &[("shard", &stats.shard)], (metric.value)(stats));
        }
    }
    stall_maximum(&mut out, shards);
    commits(&mut out, shards);
    topics(&mut out, shards);
    partitions(&mut out, shards);
    out.finish()
}

/// What the broker has as a whole.
fn whole(out: &mut Exposition, shards: &[ShardStats]) {
    let offline: u64 = shards.iter().map(|stats| stats.offline.count).sum();
    let most = |value: fn(&ShardStats) -> u64| shards.iter().map(value).max().unwrap_or(0);
    for (name, help, value) in [
        ("millrace_offline_partitions", "Partitions that cannot be served as they should be.", offline),
        (
            "millrace_disk_available_bytes",
            "Room on the disk of the data directory.",
            most(|s| s.storage.disk_available_bytes),
        ),
        (
            "millrace_disk_total_bytes",
            "Size of the disk of the data directory.",
            most(|s| s.storage.disk_total_bytes),
        ),
        (
            "millrace_disk_reserve_bytes",
            "Room below which nothing can be produced.",
            most(|s| s.storage.disk_reserve_bytes),
        ),
    ] {
        out.family(name, Kind::Gauge, help);
        out.sample(name, &[], value);
    }
}

/// A number that every shard has one of.
struct PerShard {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&ShardStats) -> u64,
}

const fn counter(name: &'static str, help: &'static str, value: fn(&ShardStats) -> u64) -> PerShard {
    PerShard { name, kind: Kind::Counter, help, value }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&ShardStats) -> u64) -> PerShard {
    PerShard { name, kind: Kind::Gauge, help, value }
}

#[rustfmt::skip]
static PER_SHARD: &[PerShard] = &[
    counter("millrace_received_bytes_total", "Bytes received from clients.", |s| s.received_bytes),
    counter("millrace_sent_bytes_total", "Bytes sent to clients.", |s| s.sent_bytes),
    counter("millrace_produced_bytes_total", "Bytes of record batches appended for clients.", |s| s.produced_bytes),
    counter("millrace_produced_batches_total", "Record batches appended for clients.", |s| s.produced_batches),
    counter("millrace_produced_records_total", "Records appended for clients.", |s| s.produced_records),
    counter("millrace_fetched_bytes_total", "Bytes of record batches read for clients.", |s| s.fetched_bytes),
    gauge("millrace_connections", "Connections open now.", |s| s.connections),
    counter("millrace_connections_accepted_total", "Connections accepted.", |s| s.connections_accepted),
    counter("millrace_connections_rejected_total", "Connections closed because of what was sent.", |s| s.connections_rejected),
    counter("millrace_connections_refused_total", "Connections that found no room, or no descriptor.", |s| s.connections_refused),
    gauge("millrace_groups", "Groups that have their coordinator here.", |s| s.groups),
    counter("millrace_mesh_messages_total", "Jobs and results sent to other shards.", |s| s.mesh_messages),
    gauge("millrace_memory_used_bytes", "Bytes held of the shard's memory budget.", |s| s.memory_used_bytes),
    gauge("millrace_memory_budget_bytes", "The shard's memory budget.", |s| s.memory_budget_bytes),
    gauge("millrace_logs", "Open logs.", |s| s.storage.logs),
    gauge("millrace_segments", "Segments of all logs.", |s| s.storage.segments),
    gauge("millrace_log_bytes", "Logical bytes of all logs.", |s| s.storage.log_bytes),
    counter("millrace_appended_batches_total", "Batches appended, internal topics included.", |s| s.storage.batches_appended),
    counter("millrace_appended_bytes_total", "Bytes appended, internal topics included.", |s| s.storage.bytes_appended),
    counter("millrace_written_bytes_total", "Bytes written to disk by commits, padding included.", |s| s.storage.bytes_written),
    counter("millrace_journal_entries_total", "Entries written to the journal.", |s| s.storage.journal_entries),
    counter("millrace_journal_bytes_total", "Bytes written to the journal, padding included.", |s| s.storage.journal_bytes),
    counter("millrace_prewritten_bytes_total", "Zeros written ahead of the log's end.", |s| s.storage.bytes_prewritten),
    gauge("millrace_durable_lag_bytes", "Appended bytes that are not on stable storage yet.", |s| s.storage.durable_lag_bytes),
    gauge("millrace_writes_in_flight", "Writes that the disk has not finished.", |s| s.storage.writes_in_flight),
    gauge("millrace_producers", "Producer ids remembered, over all partitions.", |s| s.storage.producers),
    gauge("millrace_append_chunk_bytes", "Bytes of append chunks, pending and cached.", |s| s.storage.chunk_bytes),
    counter("millrace_segments_rolled_total", "Segments closed.", |s| s.storage.segments_rolled),
    counter("millrace_segments_deleted_total", "Segments removed by retention.", |s| s.storage.segments_deleted),
    counter("millrace_checkpoints_total", "Checkpoints of logs.", |s| s.storage.checkpoints),
    gauge("millrace_read_cache_bytes", "Memory that keeps what fetches read from disk.", |s| s.storage.read_cache_bytes),
    counter("millrace_reads_memory_total", "Reads answered from append chunks.", |s| s.storage.reads_memory),
    counter("millrace_reads_cached_total", "Reads answered with what earlier reads found in files.", |s| s.storage.reads_cached),
    counter("millrace_reads_file_total", "Reads answered from files.", |s| s.storage.reads_file),
    counter("millrace_reads_corrupt_total", "Damaged batches met by reads.", |s| s.storage.reads_corrupt),
    gauge("millrace_disk_full", "Whether appends are refused for lack of disk space.", |s| u64::from(s.storage.disk_full)),
    gauge("millrace_log_dir_failed", "Whether the data directory has failed.", |s| u64::from(s.storage.failed)),
    gauge("millrace_tasks", "Tasks of the shard that are alive.", |s| u64::try_from(s.executor.tasks).unwrap_or(u64::MAX)),
    counter("millrace_polls_total", "Polls of tasks.", |s| s.executor.polls),
    counter("millrace_parks_total", "Times the shard's thread went to sleep.", |s| s.executor.parks),
    counter("millrace_spins_total", "Rounds of looking for work before sleeping.", |s| s.executor.spins),
    counter("millrace_stalls_total", "Polls of tasks that held the shard for too long.", |s| s.executor.stalls),
];

fn requests(out: &mut Exposition, shards: &[ShardStats]) {
    let name = "millrace_request_seconds";
    out.family(name, Kind::Histogram, "From the arrival of a request to its answer.");
    let mut by_api: BTreeMap<&str, LatencyHistogram> = BTreeMap::new();
    for api in shards.iter().flat_map(|stats| &stats.requests) {
        by_api.entry(api.api).or_default().merge(&api.latency);
    }
    for (api, latency) in &by_api {
        let buckets = latency.cumulative().map(|(micros, total)| (seconds(micros, 1e6), total));
        out.histogram(name, &[("api", api)], buckets, latency.count(), latency.sum().as_secs_f64());
    }
}

fn errors(out: &mut Exposition, shards: &[ShardStats]) {
    let name = "millrace_request_errors_total";
    out.family(
        name,
        Kind::Counter,
        "Error codes in answers, one for each partition or group that they are told for.",
    );
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for error in shards.iter().flat_map(|stats| &stats.errors) {
        *counts.entry((error.api, error.error)).or_default() += error.count;
    }
    for ((api, error), count) in &counts {
        out.sample(name, &[("api", api), ("error", error)], count);
    }
}

fn stall_maximum(out: &mut Exposition, shards: &[ShardStats]) {
    let name = "millrace_stall_seconds_max";
    out.family(name, Kind::Gauge, "The longest stall so far.");
    for stats in shards {
        out.sample(name, &[("shard", &stats.shard)], stats.executor.stall_max.as_secs_f64());
    }
}

/// A histogram that storage keeps in powers of two.
struct Doubling {
    name: &'static str,
    help: &'static str,
    /// Powers of two that are shown as bounds; others only count towards the next.
    powers: std::ops::RangeInclusive<usize>,
    /// What the unit counted is divided by to give the unit shown.
    divisor: f64,
    histogram: fn(&ShardStats) -> &Histogram,
}

#[rustfmt::skip]
static COMMITS: &[Doubling] = &[
    Doubling { name: "millrace_commit_group_logs", help: "Logs in one commit group.", powers: 1..=14, divisor: 1.0, histogram: |s| &s.storage.commit_group_logs },
    Doubling { name: "millrace_commit_write_bytes", help: "Bytes of one write.", powers: 12..=26, divisor: 1.0, histogram: |s| &s.storage.commit_write_bytes },
    Doubling { name: "millrace_commit_write_seconds", help: "Duration of one durable write.", powers: 14..=34, divisor: 1e9, histogram: |s| &s.storage.commit_write_ns },
];

fn commits(out: &mut Exposition, shards: &[ShardStats]) {
    for metric in COMMITS {
        out.family(metric.name, Kind::Histogram, metric.help);
        let mut histogram = Histogram::default();
        shards.iter().for_each(|stats| histogram.merge((metric.histogram)(stats)));
        // Bucket `i` ends below two to the power of `i`.
        let buckets = metric.powers.clone().map(|power| {
            let total = histogram.buckets.iter().take(power + 1).sum();
            (seconds((1_u64 << power) - 1, metric.divisor), total)
        });
        let sum = seconds(histogram.sum, metric.divisor);
        out.histogram(metric.name, &[], buckets, histogram.count, sum);
    }
}

/// A number that every topic has one of.
struct PerTopic {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&TopicStats) -> u64,
}

#[rustfmt::skip]
static PER_TOPIC: &[PerTopic] = &[
    PerTopic { name: "millrace_topic_partitions", kind: Kind::Gauge, help: "Partitions of a topic.", value: |t| t.partitions },
    PerTopic { name: "millrace_topic_log_bytes", kind: Kind::Gauge, help: "Logical bytes of a topic's logs.", value: |t| t.log_bytes },
    PerTopic { name: "millrace_topic_produced_bytes_total", kind: Kind::Counter, help: "Bytes of record batches appended to a topic for clients.", value: |t| t.produced_bytes },
    PerTopic { name: "millrace_topic_fetched_bytes_total", kind: Kind::Counter, help: "Bytes of record batches read from a topic for clients.", value: |t| t.fetched_bytes },
];

fn topics(out: &mut Exposition, shards: &[ShardStats]) {
    let mut totals: BTreeMap<&str, TopicStats> = BTreeMap::new();
    for topic in shards.iter().flat_map(|stats| &stats.topics) {
        let total = totals.entry(&topic.topic).or_default();
        total.partitions += topic.partitions;
        total.log_bytes += topic.log_bytes;
        total.produced_bytes += topic.produced_bytes;
        total.fetched_bytes += topic.fetched_bytes;
    }
    // Shards may have seen different images.
    let shown: Vec<_> = totals.into_iter().take(TOPICS_MAX).collect();
    let omitted = shards.iter().map(|stats| stats.topics_omitted).max().unwrap_or_default();
    for metric in PER_TOPIC {
        out.family(metric.name, metric.kind, metric.help);
        for (topic, total) in &shown {
            out.sample(metric.name, &[("topic", topic)], (metric.value)(total));
        }
    }
    out.family("millrace_topics_omitted", Kind::Gauge, "Topics left out here because there are too many.");
    out.sample("millrace_topics_omitted", &[], omitted);
}

/// An offset that every partition has one of.
struct PerPartition {
    name: &'static str,
    help: &'static str,
    value: fn(&PartitionStats) -> i64,
}

#[rustfmt::skip]
static PER_PARTITION: &[PerPartition] = &[
    PerPartition { name: "millrace_partition_log_start_offset", help: "Log start offset of a partition.", value: |p| p.log_start },
    PerPartition { name: "millrace_partition_high_watermark", help: "High watermark of a partition.", value: |p| p.high_watermark },
    PerPartition { name: "millrace_partition_log_end_offset", help: "Log end of a partition.", value: |p| p.log_end },
];

/// Where the logs of the first partitions begin and end, if that is asked for.
fn partitions(out: &mut Exposition, shards: &[ShardStats]) {
    let most = shards.iter().map(|stats| stats.partitions_max).max().unwrap_or(0);
    let mut told: Vec<_> = shards.iter().flat_map(|stats| &stats.partitions).collect();
    told.sort_unstable();
    told.truncate(most);
    for metric in PER_PARTITION {
        out.family(metric.name, Kind::Gauge, metric.help);
        for one in &told {
            let labels: Labels<'_> = &[("topic", &one.topic), ("partition", &one.partition)];
            out.sample(metric.name, labels, (metric.value)(one));
        }
    }
}

/// Prometheus counts in floating point; above 2^53 the last digits go, which no dashboard shows.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn seconds(units: u64, divisor: f64) -> f64 {
    units as f64 / divisor
}

#[cfg(test)]
#[path = "render_test.rs"]
mod render_test;
