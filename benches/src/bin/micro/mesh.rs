//! Messages between two shards: a round trip of one, and how many a second go one way.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use anyhow::Context;
use runtime::{MeshPort, ShardOptions, mesh, run_shards};

use crate::stopwatch::{ROUNDS, Results};

/// Round trips per round.
const TRIPS: u32 = 5_000;
/// Messages per round, one way.
const MESSAGES: u32 = 200_000;
/// Room between two shards.
const CAPACITY: usize = 1_024;

pub(crate) fn run(results: &mut Results) -> anyhow::Result<()> {
    let (send, receive) = mpsc::channel();
    let ports: Vec<_> = mesh::<u32>(2, CAPACITY).into_iter().map(Some).collect();
    let ports = Arc::new(Mutex::new(ports));
    let shards = run_shards(vec![ShardOptions::default(); 2], move |shard, _effects| {
        let port = ports.lock().unwrap_or_else(PoisonError::into_inner)[shard].take();
        let port = port.expect("each shard takes its port once");
        let send = send.clone();
        async move {
            if shard == 0 {
                // The receiver waits for as long as the shards run.
                let _ = send.send(ask(&port).await);
            } else {
                answer(&port).await;
            }
        }
    })?;
    let outcome = receive.recv().context("a shard ended early");
    shards.join();
    let (trips, one_way) = outcome?;
    results.add("mesh round trip", trips);
    results.add("mesh message, one way", one_way);
    Ok(())
}

async fn ask(port: &MeshPort<u32>) -> (Vec<f64>, Vec<f64>) {
    let each = |start: Instant, count: u32| start.elapsed().as_secs_f64() * 1e9 / f64::from(count);
    let (mut trips, mut one_way) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for number in 0..TRIPS {
            port.send(1, number).await;
            port.recv().await;
        }
        trips.push(each(start, TRIPS));
        let start = Instant::now();
        for number in 0..MESSAGES {
            port.send(1, number).await;
        }
        // The other side says when it has them all.
        port.recv().await;
        one_way.push(each(start, MESSAGES));
    }
    (trips, one_way)
}

async fn answer(port: &MeshPort<u32>) {
    for _ in 0..ROUNDS {
        for _ in 0..TRIPS {
            let (_, number) = port.recv().await;
            port.send(0, number).await;
        }
        for _ in 0..MESSAGES {
            port.recv().await;
        }
        port.send(0, 0).await;
    }
}
