//! Proves that a clean stop answers what it has appended and appends nothing that it cannot answer, whatever clients have
//! on its way: so that what is sent again after the restart stands in the log once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use model::{Offset, RecordBatchBuilder};
use runtime::{Clock, Effects};

use crate::harness::{Broker, Client, in_world};
use crate::records::{create_topic, fetch, produced, send_produce, values};

/// Producers, each with a partition of its own.
const PRODUCERS: i32 = 4;

/// Requests that a producer has on its way.
const IN_FLIGHT_MAX: usize = 5;

/// Restarts in one world.
const STOPS: u64 = 3;

/// What each partition has acknowledged, by offset.
type Acked = Rc<RefCell<BTreeMap<(i32, i64), String>>>;

/// Sends, without waiting for answers, until the broker ends the connection; then closes its side.
async fn pour(mut client: Client, partition: i32, name: String, acked: Acked) {
    let (mut sent, mut answered) = (0, 0);
    loop {
        while sent - answered < IN_FLIGHT_MAX {
            let value = format!("{name}-{sent}");
            let batch = RecordBatchBuilder::new(Offset(0)).record(1, None, Some(value.as_bytes())).build();
            if send_produce(&mut client, "t", &[partition], -1, &batch).await.is_none() {
                break;
            }
            sent += 1;
        }
        let Some(answer) = produced(&mut client).await else { return };
        if let [(0, offset)] = answer[..] {
            acked.borrow_mut().insert((partition, offset), format!("{name}-{answered}"));
        }
        answered += 1;
    }
}

async fn check(client: &mut Client, acked: &Acked) {
    for partition in 0..PRODUCERS {
        let mut found = BTreeMap::new();
        loop {
            let next = i64::try_from(found.len()).expect("few");
            let response =
                fetch(client, "t", &[(partition, next)], 1, Duration::ZERO).await.expect("an answer");
            let (_, values) = values(&response).remove(0);
            if values.is_empty() {
                break;
            }
            found.extend(values);
        }
        let acked = acked.borrow();
        let acked =
            acked.range((partition, 0)..(partition + 1, 0)).map(|((_, offset), value)| (*offset, value));
        let wrong: Vec<_> =
            found.iter().filter(|(_, value)| !acked.clone().any(|(_, known)| known == *value)).collect();
        assert!(
            wrong.is_empty(),
            "partition {partition} has records that were never acknowledged: {wrong:?}"
        );
        assert!(acked.eq(found.iter().map(|(offset, value)| (*offset, value))), "partition {partition}");
    }
}

#[test]
fn what_a_clean_stop_does_not_answer_is_not_appended() {
    for seed in 300..320 {
        in_world(seed, async |world| {
            let acked = Acked::default();
            for stop in 0..=STOPS {
                let shards = 1 + usize::try_from((seed + stop) % 3).expect("small");
                let broker = Broker::start(world.node("broker"), shards, &[]).await;
                let clients = world.node("client");
                let mut client = Client::connect(&clients, broker.address).await;
                if stop == 0 {
                    create_topic(&mut client, "t", PRODUCERS).await;
                }
                check(&mut client, &acked).await;
                client.end();
                let mut pouring = Vec::new();
                for partition in 0..PRODUCERS {
                    let client = Client::connect(&clients, broker.address).await;
                    let (done, waiting) = runtime::sync::oneshot::channel();
                    let (name, acked) = (format!("{stop}-{partition}"), Rc::clone(&acked));
                    clients.spawn(async move {
                        pour(client, partition, name, acked).await;
                        let _gone = done.send(());
                    });
                    pouring.push(waiting);
                }
                let clock = world.clock();
                clock.sleep_until(clock.now() + Duration::from_micros(500 + clients.random() % 20_000)).await;
                broker.stop().await;
                for waiting in pouring {
                    waiting.await.expect("the client sees the end of its connection");
                }
            }
            assert!(acked.borrow().len() > 50, "seed {seed} wrote next to nothing");
        });
    }
}
