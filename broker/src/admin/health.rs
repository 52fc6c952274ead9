//! What /health/ready says. A pure function of the statistics.

use super::shard_stats::ShardStats;

/// Whether clients should be sent here, as a status of HTTP, and what keeps the broker from being whole, a line each.
pub(super) fn ready(serves: bool, shards: &[ShardStats]) -> (u16, String) {
    if !serves {
        return (503, "starting or stopping\n".to_owned());
    }
    if shards.iter().any(|stats| stats.storage.failed) {
        return (503, "the data directory has failed: nothing can be written, see the log\n".to_owned());
    }
    let mut body = "ready\n".to_owned();
    if shards.iter().any(|stats| stats.storage.disk_full) {
        body.push_str("degraded: the disk has too little room, nothing can be produced\n");
    }
    for stats in shards.iter().filter(|stats| stats.offline.count > 0) {
        body.push_str(&format!("degraded: offline partitions: {}\n", stats.offline.count));
        for partition in &stats.offline.some {
            body.push_str(&format!("offline: {}\n", partition.replace('\n', " ")));
        }
    }
    (200, body)
}

#[cfg(test)]
mod tests {
    use super::super::shard_stats::OfflineStats;
    use super::*;

    #[test]
    fn what_is_wrong_is_told() {
        let mut shards = vec![ShardStats::default(), ShardStats::default()];
        assert_eq!(ready(false, &shards).0, 503);
        assert_eq!(ready(true, &shards), (200, "ready\n".to_owned()));
        shards[0].offline = OfflineStats { count: 12, some: vec!["t-3: gone\nreally".to_owned()] };
        shards[1].storage.disk_full = true;
        let (status, body) = ready(true, &shards);
        assert_eq!(status, 200);
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines[0], "ready");
        assert_eq!(lines[2..], ["degraded: offline partitions: 12", "offline: t-3: gone really"]);
        shards[1].storage.failed = true;
        assert_eq!(ready(true, &shards).0, 503, "a start would have refused that directory");
        assert_eq!(ready(false, &shards).1, "starting or stopping\n");
    }
}
