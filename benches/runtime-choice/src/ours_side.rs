use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use runtime::{
    Disk, WriteMode, DurableWrite, Effects, File, ListenOptions, Listener, Net, OpenOptions, ShardOptions,
    Stream, run_shards,
};

use crate::client;
use crate::measure::{PAGE, Scratch, WRITES, offset, process_cpu, report};

const SPINS: [(&str, u64); 2] = [("ours, no spin", 0), ("ours, spin 50us", 50)];

fn options(spin: u64) -> Vec<ShardOptions> {
    vec![ShardOptions { core: Some(0), spin: Duration::from_micros(spin), ..ShardOptions::default() }]
}

pub fn echo() {
    for (name, spin) in SPINS {
        let shards = run_shards(options(spin), move |_, effects| async move {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener =
                effects.net().listen(any, ListenOptions { reuse_port: true, backlog: 16, v6_only: false }).unwrap();
            let client = client::start(name, listener.local_addr());
            let stream = listener.accept().await.unwrap();
            loop {
                let (count, buffer) = stream.recv(BytesMut::with_capacity(4096)).await;
                if count.unwrap() == 0 {
                    break;
                }
                stream.send(vec![buffer.freeze()]).await.unwrap();
            }
            client.join().unwrap();
        });
        shards.unwrap().join();
    }
}

pub fn write() {
    let ways = [("ours, dsync", DurableWrite::Dsync), ("ours, fdatasync", DurableWrite::WriteThenSync)];
    for (name, durable_write) in ways {
        let options =
            options(0).into_iter().map(|options| ShardOptions { durable_write, ..options }).collect();
        let shards = run_shards(options, move |_, effects| async move {
            let scratch = Scratch::new("ours");
            let options = OpenOptions { write: true, create: false, direct: true };
            let file = effects.disk().open(&scratch.0, options).await.unwrap();
            let mut chunk = effects.buffers().chunk(PAGE).unwrap();
            chunk.append(&[7; PAGE]);
            let mut times = Vec::with_capacity(WRITES);
            let before = process_cpu();
            for n in 0..WRITES {
                let started = Instant::now();
                file.write_at(vec![chunk.pages(0..PAGE)], offset(n), WriteMode::Durable).await.unwrap();
                times.push(started.elapsed());
            }
            report(name, times, process_cpu() - before);
        });
        shards.unwrap().join();
    }
}
