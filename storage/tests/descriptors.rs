//! Proves that more logs than there are descriptors can be written, read and closed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use model::Offset;
use runtime::Effects;
use runtime::sim::SimWorld;
use storage::{LogConfig, LogManagerOptions};
use support::{append_durably, batch, pause, read_all, start};

const LOGS: i32 = 120;
const DESCRIPTORS: usize = 70;

/// A start opens many logs at once, and each a few files.
#[test]
fn a_log_that_finds_no_descriptor_waits_for_one() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    let config = LogConfig::default();
    world.block_on(async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &config).await;
        append_durably(&log, &batch(0, 1, 100, 1_000)).await;
        broker.stop().await;
        drop((broker, log));

        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        world.disk("a").set_descriptors(Some(world.disk("a").open_files()));
        let disk = world.disk("a");
        let waits = node.clone();
        node.spawn(async move {
            pause(&waits, 200).await;
            disk.set_descriptors(None);
        });
        let log = broker.log(0, &config).await;
        assert!(log.offline().is_none());
        assert_eq!(read_all(&log, Offset(0), 100_000).await.unwrap().len(), 1);
        broker.stop().await;
    });
    world.end();
}

#[test]
fn files_that_nobody_needs_are_closed() {
    for journal_bytes in [0, 1 << 20] {
        let world = SimWorld::new(1);
        let node = world.node("a");
        let options = LogManagerOptions {
            active_open_max: 20,
            sealed_open_max: 10,
            journal_bytes,
            ..Default::default()
        };
        world.block_on(async {
            let broker = start(node.clone(), options.clone()).await.unwrap();
            let config = LogConfig { segment_bytes: 10_000, retention_ms: None, ..LogConfig::default() };
            let mut logs = Vec::new();
            for index in 0..LOGS {
                logs.push(broker.log(index, &config).await);
            }
            world.disk("a").set_descriptors(Some(DESCRIPTORS));
            // The last round seals segments.
            for (round, bytes) in [(0, 100), (1, 100), (2, 100), (3, 9_800)] {
                for log in &logs {
                    let offset = append_durably(log, &batch(round, 1, bytes, 1_000)).await.first_offset;
                    assert_eq!(offset, Offset(i64::try_from(round).unwrap()));
                }
                pause(&node, if round == 1 { 20_000 } else { 1 }).await;
            }
            broker.stop().await;
            drop((broker, logs));

            let broker = start(node.clone(), options).await.unwrap();
            for index in 0..LOGS {
                let log = broker.log(index, &config).await;
                assert_eq!(read_all(&log, Offset(0), 100_000).await.unwrap().len(), 4, "{index}");
            }
            assert!(world.disk("a").open_files() <= 45, "{} files are open", world.disk("a").open_files());
            broker.stop().await;
        });
        world.end();
    }
}
