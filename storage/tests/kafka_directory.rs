//! Proves that a directory written by Apache Kafka 4 opens, and that `dump-log` reads it and what we write,
//! and finds damage.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::{Path, PathBuf};

use model::{LeaderEpoch, Offset};
use runtime::sim::SimWorld;
use runtime::{Disk, Effects};
use storage::dump_log::{self, Options, Summary};
use storage::{LogConfig, LogManagerOptions};
use support::{append_durably, batch, start, start_in};

const MARKER: &str = "/data/.kafka_cleanshutdown";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4")
}

fn dump(path: &Path) -> (Summary, String) {
    let mut out = Vec::new();
    let options = Options { deep_iteration: true, print_data_log: true, quiet: false };
    let summary = dump_log::run(&[path.to_owned()], options, &mut out).unwrap();
    (summary, String::from_utf8(out).unwrap())
}

/// The fixture's files, by their path below it.
fn files(dir: &Path, below: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        if dir.join(&path).is_dir() {
            files(dir, &path, found);
        } else {
            found.push((path.clone(), std::fs::read(dir.join(&path)).unwrap()));
        }
    }
}

#[test]
fn a_directory_of_apache_kafka_opens_and_goes_on() {
    let world = SimWorld::new(1);
    let mut found = Vec::new();
    files(&fixture(), Path::new(""), &mut found);
    for (path, content) in found {
        world.disk("a").set_content(Path::new(support::DIR).join(path), content);
    }
    for life in 0..3 {
        let node = world.node("a");
        world.block_on(async {
            let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
            assert_eq!(broker.dir.was_clean(), life < 2);
            assert_eq!(
                world.disk("a").read(MARKER),
                None,
                "the marker goes as soon as the directory is in use"
            );
            assert_eq!(broker.dir.cluster_id(), "MkU3OEVBNTcwNTJENDM2Qg");
            let tp = broker.dir.partitions(&node).await.unwrap().remove(0);
            let topic_id = broker.dir.topic_id(&node, &tp).await.unwrap().unwrap();
            assert_eq!(&*tp.topic, "golden");
            let log = broker.manager.open_log(tp, topic_id, LogConfig::default()).await.unwrap();
            log.check_invariants();
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(0), Offset(120 + life)));
            assert_eq!(log.high_watermark(), Offset(120 + life));
            assert_eq!(log.end_offset_for_epoch(LeaderEpoch(0)), (LeaderEpoch(0), Offset(120 + life)));
            let mut records = 0;
            log.replay(Offset(0), |batch| records += i64::from(batch.record_count())).await.unwrap();
            assert_eq!(records, 120 + life);
            append_durably(&log, &batch(1, 1, 10, 1_000)).await;
            if life == 0 {
                broker.stop().await;
            } else {
                support::pause(&node, 3_000).await;
            }
        });
        world.kill("a");
        assert_eq!(world.disk("a").read(MARKER).is_some(), life == 0);
    }
    world.end();
}

#[test]
fn dump_log_reads_every_record_of_apache_kafka() {
    let (summary, text) = dump(&fixture());
    assert_eq!((summary.records, summary.problems), (120, vec![]), "{text}");
    assert_eq!(text.matches("payload: 40\n").count(), 3, "{text}");
    for codec in ["none", "zstd", "lz4"] {
        assert!(text.contains(&format!("compresscodec: {codec}")), "{codec}");
    }
}

#[test]
fn dump_log_survives_every_flipped_byte_and_says_where() {
    let source = fixture().join("golden-0/00000000000000000000.log");
    let good = std::fs::read(&source).unwrap();
    let dir = std::env::temp_dir().join(format!("millrace-dump-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("00000000000000000000.log");
    let batches = dump(&source).0.batches;
    for at in (0..good.len()).step_by(13) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&file, bad).unwrap();
        let (summary, _) = dump(&file);
        // At most the batch with the damage is lost; it cannot be seen in the leader epoch.
        assert!(summary.batches + 1 >= batches, "byte {at}");
        assert!(summary.batches == batches || !summary.problems.is_empty(), "byte {at}");
    }
    for cut in (0..good.len()).step_by(11) {
        std::fs::write(&file, &good[..cut]).unwrap();
        assert!(dump(&file).0.batches <= batches);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn another_nodes_directory_is_refused() {
    let world = SimWorld::new(2);
    let node = world.node("a");
    let meta = std::fs::read(fixture().join("meta.properties")).unwrap();
    let meta = String::from_utf8(meta).unwrap().replace("node.id=1", "node.id=2");
    world.disk("a").set_content("/data/meta.properties", meta.into_bytes());
    world.block_on(async {
        let refused = start_in(node.clone(), Path::new("/data"), LogManagerOptions::default(), None).await;
        let message = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("belongs to node 2, this is node 1"), "{message}");
    });
    world.end();
}

/// A lost meta.properties is not made anew over data: clients would take it for another cluster.
#[test]
fn data_without_its_identity_is_refused() {
    let world = SimWorld::new(3);
    let node = world.node("a");
    world.block_on(async {
        let start = async || {
            start_in(node.clone(), Path::new("/data"), LogManagerOptions::default(), None)
                .await
                .map_err(|error| error.to_string())
        };
        let broker = start().await.unwrap();
        let cluster_id = broker.dir.cluster_id().to_owned();
        broker.log(0, &LogConfig::default()).await;
        broker.manager.close().await.unwrap();
        drop(broker);
        let meta = Path::new("/data/meta.properties");
        let kept = node.disk().read_file(meta, 1 << 10).await.unwrap();
        node.disk().remove_file(meta).await.unwrap();
        let refusal = start().await.err().unwrap_or_default();
        for word in ["meta.properties", "topic-0", "node.id=1"] {
            assert!(refusal.contains(word), "{word} is not in {refusal}");
        }
        assert!(node.disk().read_file(meta, 1 << 10).await.is_err(), "nothing was written");
        node.disk().write_file(meta, kept).await.unwrap();
        assert_eq!(start().await.unwrap().dir.cluster_id(), cluster_id);
    });
    world.end();
}
