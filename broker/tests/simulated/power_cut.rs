//! Proves that what was acknowledged is there after a power cut at a random moment, in order and once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, fetch, produce, values};

/// Partitions that are written to.
const PARTITIONS: i32 = 4;

/// Power cuts in one world.
const CUTS: u64 = 5;

/// What each partition has acknowledged: value by offset.
type Acked = Rc<RefCell<BTreeMap<(i32, i64), String>>>;

async fn write_for_ever(mut client: Client, id: usize, acked: Acked) {
    for n in 0.. {
        let partition = n % PARTITIONS;
        let value = format!("{id}-{n}");
        let Some(answers) = produce(&mut client, "t", &[partition], -1, &value).await else { return };
        if let [(0, offset)] = answers[..] {
            let before = acked.borrow_mut().insert((partition, offset), value.clone());
            assert_eq!(before, None, "offset {offset} of partition {partition} was given twice");
        }
    }
}

async fn check(client: &mut Client, acked: &Acked) {
    for partition in 0..PARTITIONS {
        let mut next = 0;
        let mut found = BTreeMap::new();
        loop {
            let response =
                fetch(client, "t", &[(partition, next)], 1, Duration::ZERO).await.expect("an answer");
            let (_, values) = values(&response).remove(0);
            let Some((last, _)) = values.last() else { break };
            let first_new = next;
            next = last + 1;
            for (offset, value) in values.into_iter().filter(|(offset, _)| *offset >= first_new) {
                assert!(found.insert(offset, value).is_none(), "offset {offset} twice");
            }
        }
        assert!(found.keys().copied().eq(0..next), "offsets are dense");
        for ((_, offset), value) in acked.borrow().range((partition, 0)..(partition + 1, 0)) {
            assert_eq!(found.get(offset), Some(value), "partition {partition} offset {offset}");
        }
        for (offset, value) in found {
            acked.borrow_mut().insert((partition, offset), value);
        }
    }
}

#[test]
fn acknowledged_records_survive_power_cuts() {
    for seed in 100..110 {
        in_world(seed, async |world| {
            let acked = Acked::default();
            for cut in 0..=CUTS {
                let shards = 1 + usize::try_from((seed + cut) % 3).expect("small");
                let broker = Broker::start(world.node("broker"), shards, &[]).await;
                let clients = world.node("client");
                let mut client = Client::connect(&clients, broker.address).await;
                if cut == 0 {
                    create_topic(&mut client, "t", PARTITIONS).await;
                }
                check(&mut client, &acked).await;
                for id in 0..3 {
                    let client = Client::connect(&clients, broker.address).await;
                    clients.spawn(write_for_ever(client, id, Rc::clone(&acked)));
                }
                let clock = world.clock();
                let life = Duration::from_micros(500 + clients.random() % 50_000);
                clock.sleep_until(clock.now() + life).await;
                world.crash("broker");
            }
            assert!(!acked.borrow().is_empty(), "seed {seed} wrote nothing");
        });
    }
}
