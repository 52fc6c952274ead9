use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::io::OpenOptions;
use glommio::net::TcpListener;
use glommio::{LocalExecutorBuilder, Placement};

use crate::client;
use crate::measure::{PAGE, Scratch, WRITES, offset, process_cpu, report};

const SPINS: [(&str, u64); 2] = [("glommio, no spin", 0), ("glommio, 50us", 50)];

fn builder(spin: u64) -> LocalExecutorBuilder {
    let builder = LocalExecutorBuilder::new(Placement::Fixed(0));
    if spin == 0 { builder } else { builder.spin_before_park(Duration::from_micros(spin)) }
}

pub fn echo() {
    for (name, spin) in SPINS {
        let executor = builder(spin).spawn(move || async move {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = client::start(name, listener.local_addr().unwrap());
            let mut stream = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut buffer = vec![0; 4096];
            loop {
                let count = stream.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break;
                }
                stream.write_all(&buffer[..count]).await.unwrap();
            }
            client.join().unwrap();
        });
        executor.unwrap().join().unwrap();
    }
}

pub fn write() {
    for (name, spin) in SPINS {
        let executor = builder(spin).spawn(move || async move {
            let scratch = Scratch::new("glommio");
            let file = OpenOptions::new().read(true).write(true).dma_open(&scratch.0).await.unwrap();
            let mut times = Vec::with_capacity(WRITES);
            let before = process_cpu();
            for n in 0..WRITES {
                let mut buffer = file.alloc_dma_buffer(PAGE);
                buffer.as_bytes_mut().fill(7);
                let started = Instant::now();
                // It has no durable write: fdatasync follows.
                file.write_at(buffer, offset(n)).await.unwrap();
                file.fdatasync().await.unwrap();
                times.push(started.elapsed());
            }
            report(name, times, process_cpu() - before);
            file.close().await.unwrap();
        });
        executor.unwrap().join().unwrap();
    }
}
