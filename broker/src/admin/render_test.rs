//! Proves that /metrics is well-formed Prometheus text and says what the statistics say.

use std::time::Duration;

use super::super::grammar;
use super::super::latency_histogram::LatencyHistogram;
use super::super::shard_stats::{ApiStats, ErrorStats, PartitionStats, TopicStats};
use super::*;

fn shard(shard: usize) -> ShardStats {
    let mut stats = ShardStats { shard, connections: 7, ..ShardStats::default() };
    let mut latency = LatencyHistogram::default();
    latency.record(Duration::from_micros(100));
    latency.record(Duration::from_millis(3));
    stats.requests.push(ApiStats { api: "Produce", latency });
    stats.errors.push(ErrorStats { api: "Fetch", error: "OFFSET_OUT_OF_RANGE", count: 4 });
    for bytes in [1, 4096, 1 << 39] {
        stats.storage.commit_write_bytes.record(bytes);
        stats.storage.commit_write_ns.record(bytes);
        stats.storage.commit_group_logs.record(bytes);
    }
    stats.offline.count = 3;
    stats.executor.stall_max = Duration::from_millis(2);
    stats.topics.push(TopicStats {
        topic: "a\"b\\c\nd".to_owned(),
        partitions: 1,
        log_bytes: 10,
        produced_bytes: 4,
        fetched_bytes: 5,
    });
    stats.partitions_max = 3;
    let number = i32::try_from(shard).unwrap();
    stats.partitions = [number, number + 2].map(partition).into();
    stats
}

fn partition(partition: i32) -> PartitionStats {
    PartitionStats { topic: "t".into(), partition, log_start: 1, high_watermark: 2, log_end: 3 }
}

#[test]
fn the_text_is_well_formed() {
    let process = whole_process();
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
        "millrace_offline_partitions 6",
        "millrace_shards 2",
        "millrace_connections{shard=\"1\"} 7",
        "millrace_request_seconds_bucket{api=\"Produce\",le=\"0.000064\"} 0",
        "millrace_request_seconds_bucket{api=\"Produce\",le=\"0.000128\"} 2",
        "millrace_request_seconds_bucket{api=\"Produce\",le=\"0.004096\"} 4",
        "millrace_request_seconds_count{api=\"Produce\"} 4",
        "millrace_request_seconds_sum{api=\"Produce\"} 0.0062",
        "millrace_request_errors_total{api=\"Fetch\",error=\"OFFSET_OUT_OF_RANGE\"} 8",
        "millrace_commit_write_bytes_bucket{le=\"4095\"} 2",
        "millrace_commit_write_bytes_bucket{le=\"8191\"} 4",
        "millrace_commit_write_bytes_bucket{le=\"67108863\"} 4",
        "millrace_commit_write_bytes_bucket{le=\"+Inf\"} 6",
        "millrace_stall_seconds_max{shard=\"0\"} 0.002",
        "millrace_topic_log_bytes{topic=\"a\\\"b\\\\c\\nd\"} 20",
        "millrace_topic_partitions{topic=\"a\\\"b\\\\c\\nd\"} 2",
        "millrace_topic_produced_bytes_total{topic=\"a\\\"b\\\\c\\nd\"} 8",
        "millrace_topic_fetched_bytes_total{topic=\"a\\\"b\\\\c\\nd\"} 10",
        "millrace_topics_omitted 0",
        "millrace_partition_log_start_offset{topic=\"t\",partition=\"0\"} 1",
        "millrace_partition_high_watermark{topic=\"t\",partition=\"1\"} 2",
        "millrace_partition_log_end_offset{topic=\"t\",partition=\"2\"} 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("partition=\"3\""), "three partitions are asked for");
}

#[test]
fn topics_are_bounded_and_the_first_stay() {
    let mut stats = ShardStats { topics_omitted: 3, ..ShardStats::default() };
    for index in (0..TOPICS_MAX + 3).rev() {
        stats.topics.push(TopicStats { topic: format!("t{index:04}"), ..TopicStats::default() });
    }
    let text = render_metrics("0.1.0", true, ProcessStats::default(), &[stats]);
    assert_eq!(grammar::check(&text), Ok(()));
    assert!(text.contains("millrace_topics_omitted 3\n"));
    assert_eq!(text.matches("millrace_topic_log_bytes{").count(), TOPICS_MAX);
    assert!(!text.contains("{topic=\"t1000\"}") && text.contains("{topic=\"t0999\"}"));
}

fn whole_process() -> ProcessStats {
    ProcessStats {
        resident_bytes: Some(1),
        open_descriptors: Some(2),
        cpu_seconds: Some(0.5),
        start_time_seconds: Some(1.7e9),
        log_lines_dropped: 3,
    }
}

/// Every family that can be there, as a line of the table in docs/METRICS.md.
fn families() -> Vec<String> {
    let text = render_metrics("0.1.0", true, whole_process(), &[shard(0)]);
    let mut rows = Vec::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').unwrap().1;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let sample = text.lines().find(|line| line.starts_with(name)).unwrap();
            let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
            let labels =
                labels.split("\",").filter_map(|label| label.split_once('=').map(|(label, _)| label));
            let labels: Vec<&str> = labels.filter(|label| *label != "le").collect();
            rows.push(format!("| `{name}` | {kind} | {} | {help} |", labels.join(", ")));
        }
    }
    rows
}

#[test]
fn the_page_lists_every_metric() {
    let page = include_str!("../../../docs/METRICS.md");
    let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let families = families();
    assert_eq!(listed, families, "the table should be:\n{}\n", families.join("\n"));
}

#[test]
fn alerts_and_dashboard_name_only_what_there_is() {
    let families = families();
    let names: Vec<&str> = families.iter().map(|row| row.split('`').nth(1).unwrap()).collect();
    for (file, text) in [
        ("alerts.yml", include_str!("../../../docs/monitoring/alerts.yml")),
        ("dashboard.json", include_str!("../../../docs/monitoring/dashboard.json")),
    ] {
        let mut named = 0;
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("millrace_") || word.starts_with("process_")) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            let known = names.contains(&word) || family.is_some_and(|family| names.contains(&family));
            assert!(known, "{file} names {word}");
            named += 1;
        }
        assert!(named > 8, "{file} names {named} metrics");
    }
}

#[test]
fn series_hardly_grow_with_shards() {
    let series = |shards: usize| {
        let shards: Vec<ShardStats> = (0..shards).map(shard).collect();
        let text = render_metrics("0.1.0", true, whole_process(), &shards);
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    let per_shard = series(2) - series(1);
    assert!(per_shard <= 50, "{per_shard} series for each shard");
}
