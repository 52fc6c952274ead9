//! Proves that a power cut behind any operation of the disk in a broker's first start, or while it creates topics, is one
//! that the next start gets over: it is not refused, all topics are there or none of a request's, and every partition serves.

use std::cell::Cell;
use std::time::Duration;

use runtime::sim::{OpKind, SimEffects, SimWorld};

use crate::harness::{Broker, Client};
use crate::metadata::topics;
use crate::records::{create_topic, fetch, produce, values};

/// Each draws another order of what is under way, and other sectors and names that survive.
const SEEDS: u64 = 2;

const PARTITIONS: i32 = 3;

/// How far the client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Told {
    #[default]
    Nothing,
    Created,
    Stored,
}

async fn first_life(world: &SimWorld, node: &SimEffects, told: &Cell<Told>) {
    let broker = Broker::start(node.clone(), 2, &[]).await;
    let mut client = Client::connect(&world.node("client"), broker.address).await;
    create_topic(&mut client, "t", PARTITIONS).await;
    told.set(Told::Created);
    for partition in 0..PARTITIONS {
        assert_eq!(produce(&mut client, "t", &[partition], -1, "first").await, Some(vec![(0, 0)]));
    }
    told.set(Told::Stored);
    broker.stop().await;
}

async fn second_life(world: &SimWorld, node: &SimEffects, told: Told, what: &str) {
    let broker = Broker::start(node.clone(), 2, &[]).await;
    let mut client = Client::connect(&world.node("client"), broker.address).await;
    let exists = !topics(&mut client).await.is_empty();
    assert!(exists || told == Told::Nothing, "{what}: the topic is gone");
    if !exists {
        create_topic(&mut client, "t", PARTITIONS).await;
    }
    for partition in 0..PARTITIONS {
        let answer = produce(&mut client, "t", &[partition], -1, "second").await.expect("an answer");
        let [(0, offset)] = answer[..] else { panic!("{what}, partition {partition}: {answer:?}") };
        let response =
            fetch(&mut client, "t", &[(partition, 0)], 1, Duration::ZERO).await.expect("an answer");
        let found = values(&response).remove(0).1;
        let mut expected = vec![(0, "first".to_owned()), (offset, "second".to_owned())];
        expected.retain(|(at, value)| value == "second" || *at < offset);
        assert_eq!(found, expected, "{what}, partition {partition}");
        assert!(
            offset == 1 || told < Told::Stored,
            "{what}, partition {partition}: an acknowledged record is gone"
        );
    }
    broker.stop().await;
}

#[test]
fn a_power_cut_behind_any_operation_of_the_first_start_and_of_a_creation_is_got_over() {
    for seed in 0..SEEDS {
        for at in 1.. {
            let world = SimWorld::new(seed);
            let told = Cell::default();
            let node = world.node("broker");
            world.disk("broker").crash_at(OpKind::Any, at);
            let whole = world.run_on(&node, first_life(&world, &node, &told)).is_some();
            if world.is_up("broker") {
                world.kill("broker");
            }
            let node = world.node("broker");
            world.block_on(second_life(&world, &node, told.get(), &format!("seed {seed}, cut at {at}")));
            world.end();
            if whole {
                assert!(at > 50, "{at} operations");
                break;
            }
        }
    }
}
