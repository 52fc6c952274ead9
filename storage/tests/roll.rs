//! Proves that the first write to a new segment does not wait for the segment's name to be durable, and that nothing in it is
//! acknowledged before the name is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use model::Offset;
use runtime::sim::{Fault, FaultKind, OpKind, SimWorld};
use storage::{LogConfig, LogManagerOptions};
use support::{append, append_durably, batch, pause, read_all, start};

#[test]
fn a_new_file_is_written_while_its_name_becomes_durable() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    let config = LogConfig { segment_bytes: 1_000, ..LogConfig::default() };
    world.run_on(&node, async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &config).await;
        append_durably(&log, &batch(0, 1, 800, 1_000)).await;
        let slow = Fault::new(OpKind::Sync, FaultKind::Slow(Duration::from_secs(3_600)));
        world.disk("a").inject(slow.on("/data/topic-0").after(0, 1));
        append(&log, &batch(1, 1, 800, 1_000)).unwrap();
        pause(&node, 1_000).await;
        assert_eq!(log.segment_count(), 2);
        let written = world.disk("a").read("/data/topic-0/00000000000000000001.log").unwrap();
        assert!(written.len() > 800, "the new file is written");
        assert_eq!(log.durable_end(), Offset(1), "and a power cut may take it away");
    });
    world.crash("a");
    let node = world.node("a");
    world.run_on(&node, async {
        let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
        let log = broker.log(0, &config).await;
        assert!(log.offline().is_none());
        assert!(!read_all(&log, Offset(0), 10_000).await.unwrap().is_empty());
        append_durably(&log, &batch(2, 1, 800, 1_000)).await;
        broker.stop().await;
    });
    world.end();
}
