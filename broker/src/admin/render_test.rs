//! Proves that /metrics is well-formed Prometheus text and says what the statistics say.

use std::time::Duration;

use super::super::grammar;
use super::super::latency_histogram::LatencyHistogram;
use super::super::shard_stats::{ApiStats, TopicStats};
use super::*;

fn shard(shard: usize) -> ShardStats {
    let mut stats = ShardStats { shard, connections: 7, ..ShardStats::default() };
    let mut latency = LatencyHistogram::default();
    latency.record(Duration::from_micros(100));
    latency.record(Duration::from_millis(3));
    stats.requests.push(ApiStats { api: "Produce", latency });
    for bytes in [1, 4096, 1 << 39] {
        stats.storage.commit_write_bytes.record(bytes);
        stats.storage.commit_write_ns.record(bytes);
        stats.storage.commit_group_logs.record(bytes);
    }
    stats.executor.stall_max = Duration::from_millis(2);
    stats.topics.push(TopicStats { topic: "a\"b\\c\nd".to_owned(), partitions: 1, log_bytes: 10 });
    stats
}

#[test]
fn the_text_is_well_formed() {
    let process = ProcessStats { resident_bytes: Some(1), open_descriptors: Some(2), log_lines_dropped: 3 };
    for shards in [vec![], vec![ShardStats::default()], vec![shard(0), shard(1)]] {
        let text = render_metrics("0.1\"0", true, process, &shards);
        assert_eq!(grammar::check(&text), Ok(()), "{text}");
    }
}

#[test]
fn the_samples_are_there() {
    let text = render_metrics("0.1.0", false, ProcessStats::default(), &[shard(0), shard(1)]);
    for line in [
        "millrace_build_info{version=\"0.1.0\"} 1",
        "millrace_ready 0",
        "millrace_shards 2",
        "millrace_connections{shard=\"1\"} 7",
        "millrace_request_seconds_bucket{shard=\"0\",api=\"Produce\",le=\"0.000064\"} 0",
        "millrace_request_seconds_bucket{shard=\"0\",api=\"Produce\",le=\"0.000128\"} 1",
        "millrace_request_seconds_bucket{shard=\"0\",api=\"Produce\",le=\"0.004096\"} 2",
        "millrace_request_seconds_count{shard=\"0\",api=\"Produce\"} 2",
        "millrace_request_seconds_sum{shard=\"0\",api=\"Produce\"} 0.0031",
        "millrace_commit_write_bytes_bucket{shard=\"0\",le=\"4095\"} 1",
        "millrace_commit_write_bytes_bucket{shard=\"0\",le=\"8191\"} 2",
        "millrace_commit_write_bytes_bucket{shard=\"0\",le=\"67108863\"} 2",
        "millrace_commit_write_bytes_bucket{shard=\"0\",le=\"+Inf\"} 3",
        "millrace_stall_seconds_max{shard=\"0\"} 0.002",
        "millrace_topic_log_bytes{topic=\"a\\\"b\\\\c\\nd\"} 20",
        "millrace_topic_partitions{topic=\"a\\\"b\\\\c\\nd\"} 2",
        "millrace_topics_omitted 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn topics_are_bounded_and_the_largest_stay() {
    let mut stats = ShardStats::default();
    for index in 0..TOPICS_MAX + 3 {
        let log_bytes = u64::try_from(index).unwrap();
        stats.topics.push(TopicStats { topic: format!("t{index}"), partitions: 1, log_bytes });
    }
    let text = render_metrics("0.1.0", true, ProcessStats::default(), &[stats]);
    assert_eq!(grammar::check(&text), Ok(()));
    assert!(text.contains("millrace_topics_omitted 3\n"));
    assert_eq!(text.matches("millrace_topic_log_bytes{").count(), TOPICS_MAX);
    assert!(!text.contains("{topic=\"t2\"}") && text.contains("{topic=\"t3\"}"));
}
