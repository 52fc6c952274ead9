//! Proves that changes of the metadata that many clients ask for at once are decided one after the other, share the writes
//! of the metadata log, and fail together when that cannot be written.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use net::protocol::ErrorCode;
use runtime::sim::{Fault, FaultKind, Latency, OpKind, SimWorld};

use crate::harness::{Broker, Client, in_world};
use crate::metadata::{create, set_retention, topics};

/// What clients on connections of their own hear who ask for these topics at once.
async fn create_at_once(world: &SimWorld, address: SocketAddr, names: &[String]) -> Vec<ErrorCode> {
    let creating = names.iter().map(async |name| {
        let mut client = Client::connect(&world.node("client"), address).await;
        create(&mut client, &[(name, 1)], 60_000).await[0]
    });
    join_all(creating).await
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("t{number:03}")).collect()
}

#[test]
fn of_many_that_create_one_topic_one_does() {
    for seed in 0..5 {
        in_world(seed, async |world| {
            let broker = Broker::start(world.node("broker"), 3, &[]).await;
            let mut codes = create_at_once(&world, broker.address, &vec!["t".to_owned(); 10]).await;
            codes.sort_by_key(|code| code.code());
            let mut expected = vec![ErrorCode::TopicAlreadyExists; 10];
            expected[0] = ErrorCode::None;
            assert_eq!(codes, expected, "seed {seed}");
            let mut client = Client::connect(&world.node("client"), broker.address).await;
            assert_eq!(topics(&mut client).await, [("t".to_owned(), 1)]);
            broker.stop().await;
        });
    }
}

#[test]
fn changes_that_come_together_share_writes() {
    in_world(5, async |world| {
        let broker = Broker::start(world.node("broker"), 2, &[]).await;
        let names = numbered(100);
        assert_eq!(create_at_once(&world, broker.address, &names).await, [ErrorCode::None; 100]);
        broker.shard.image().check_invariants();
        let disk = world.disk("broker");
        let millisecond = Duration::from_millis(1);
        disk.set_latency(Latency { min: millisecond, max: 2 * millisecond });
        let before = disk.changes(OpKind::Write);
        let changing = names.iter().map(async |name| {
            let mut client = Client::connect(&world.node("client"), broker.address).await;
            set_retention(&mut client, name, "5").await
        });
        assert_eq!(join_all(changing).await, [ErrorCode::None; 100]);
        let writes = disk.changes(OpKind::Write) - before;
        assert!((1..=20).contains(&writes), "{writes} writes for 100 changes");
        for shard in broker.shard.call_all(async |shard| shard.image()).await {
            shard.check_invariants();
            assert!(shard.topics().all(|topic| topic.configs.len() == 1));
        }
        broker.stop().await;
    });
}

/// The second client is refused because of what the first one's change will make, which does not come.
#[test]
fn nobody_is_refused_for_what_does_not_come() {
    in_world(7, async |world| {
        let broker = Broker::start(world.node("broker"), 1, &[]).await;
        let disk = world.disk("broker");
        for path in ["__cluster_metadata", "journal"] {
            disk.inject(Fault::new(OpKind::Write, FaultKind::Eio).on(path));
        }
        let millisecond = Duration::from_millis(1);
        disk.set_latency(Latency { min: 500 * millisecond, max: 600 * millisecond });
        let codes = create_at_once(&world, broker.address, &vec!["t".to_owned(); 3]).await;
        assert_eq!(codes, [ErrorCode::KafkaStorageError; 3]);
    });
}

/// The disk fails at some write of the metadata. Who was told of success finds the topic after a restart; the others
/// hear of the failure, and see nothing of what was to be.
#[test]
fn what_is_decided_behind_a_failed_write_fails_with_it() {
    let mut failures = 0;
    for skip in 0..12 {
        in_world(6, async |world| {
            let broker = Broker::start(world.node("broker"), 2, &[]).await;
            let disk = world.disk("broker");
            for path in ["__cluster_metadata", "journal"] {
                disk.inject(Fault::new(OpKind::Write, FaultKind::Eio).on(path).after(skip, 1));
            }
            let mut names = numbered(40);
            names.push("t000".to_owned());
            let codes = create_at_once(&world, broker.address, &names).await;
            let image = broker.shard.image();
            image.check_invariants();
            let known: Vec<&str> = image.topics().map(|topic| &*topic.name).collect();
            let told = |code| names.iter().zip(&codes).filter(move |(_, told)| **told == code);
            let created: Vec<&str> = told(ErrorCode::None).map(|(name, _)| name.as_str()).collect();
            assert_eq!(known, created, "skip {skip}");
            let failed = told(ErrorCode::KafkaStorageError).count();
            let others = codes.len() - created.len() - failed;
            assert!(others <= 1, "skip {skip}: {codes:?}");
            if created.is_empty() {
                assert_eq!(others, 0, "nobody hears of a topic that does not come: {codes:?}");
            }
            failures += failed;
            // Nothing more is taken, and what was created stays.
            if failed > 0 {
                let after = create_at_once(&world, broker.address, &["later".to_owned()]).await;
                assert_eq!(after, [ErrorCode::KafkaStorageError]);
            }
            world.crash("broker");
            disk.clear_faults();
            let broker = Broker::start(world.node("broker"), 2, &[]).await;
            let image = broker.shard.image();
            assert!(created.iter().all(|name| image.topic(name).is_some()), "skip {skip}");
            broker.stop().await;
        });
    }
    assert!(failures > 50, "{failures}");
}
