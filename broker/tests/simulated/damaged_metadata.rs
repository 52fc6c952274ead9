//! Proves that a damaged metadata log refuses the start, and never loses a topic in silence.

use std::path::PathBuf;

use runtime::sim::SimWorld;

use crate::harness::{Broker, Client, in_world};
use crate::records::create_topic;

const LOG: &str = "/data/__cluster_metadata-0/00000000000000000000.log";

const TOPICS: [&str; 3] = ["a", "b", "c"];

/// The topics that a broker knows that starts over `files`; `None` if it refuses to start.
async fn known(world: &SimWorld, files: &[(PathBuf, Vec<u8>)]) -> Option<Vec<(String, usize)>> {
    let node = world.node("broker");
    for (path, content) in files {
        world.disk("broker").set_content(path, content.clone());
    }
    let broker = Broker::try_start(node, 1, &[], usize::MAX).await?;
    let image = broker.shard.image();
    broker.stop().await;
    Some(image.topics().map(|topic| (topic.name.to_string(), topic.partitions.len())).collect())
}

#[test]
fn no_flipped_bit_loses_a_topic_without_a_word() {
    let files: Vec<(PathBuf, Vec<u8>)> = in_world(80, async |world| {
        let broker = Broker::start(world.node("broker"), 1, &[]).await;
        let mut client = Client::connect(&world.node("client"), broker.address).await;
        for topic in TOPICS {
            create_topic(&mut client, topic, 2).await;
        }
        broker.stop().await;
        world.kill("broker");
        let disk = world.disk("broker");
        let content = |path: PathBuf| (path.clone(), disk.read(path).expect("it was listed"));
        disk.files().into_iter().map(content).collect()
    });
    let log = files.iter().position(|(path, _)| *path == *LOG).expect("there is a metadata log");
    let expected: Vec<_> = TOPICS.map(|name| (name.to_owned(), 2)).into();
    let mut refused = 0;
    for bit in (0..files[log].1.len() * 8).step_by(5) {
        let mut damaged = files.clone();
        damaged[log].1[bit / 8] ^= 1 << (bit % 8);
        match in_world(81, async |world| known(&world, &damaged).await) {
            None => refused += 1,
            Some(known) => assert_eq!(known, expected, "bit {bit}"),
        }
    }
    assert!(refused > 100, "{refused}");
}
