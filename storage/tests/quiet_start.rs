//! Proves that a start writes nothing for logs that were closed in order: with thousands of them that is most of its time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use model::Offset;
use runtime::sim::{OpKind, SimWorld};
use storage::{LogConfig, LogManagerOptions};
use support::{append_durably, batch, read_all, start};

#[test]
fn logs_that_were_closed_in_order_are_opened_without_a_write() {
    let world = SimWorld::new(1);
    let node = world.node("a");
    let config = LogConfig::default();
    world.block_on(async {
        // Without index entries, and with some.
        for (log, batches) in [(0, 1), (1, 40)] {
            for life in 0..3 {
                let broker = start(node.clone(), LogManagerOptions::default()).await.unwrap();
                let before = world.disk("a").changes(OpKind::Any);
                let log = broker.log(log, &config).await;
                if life > 0 {
                    // Its file is opened as if it might not be there.
                    let changes = world.disk("a").changes(OpKind::Any) - before;
                    assert!(changes <= 1, "{batches} life {life}: {changes}");
                }
                for number in 0..batches {
                    append_durably(&log, &batch(number, 1, 500, 1_000)).await;
                }
                let expected = usize::try_from(batches * (life + 1)).unwrap();
                assert_eq!(read_all(&log, Offset(0), 100_000).await.unwrap().len(), expected);
                broker.stop().await;
            }
        }
    });
    world.end();
}
