use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use crate::client;
use crate::measure::{PAGE, Scratch, WRITES, offset, pin, process_cpu, report};

pub fn echo() {
    pin(0);
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client::start("tokio", listener.local_addr().unwrap());
        let (mut stream, _) = listener.accept().await.unwrap();
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
}

/// A page of memory at a page's address.
#[repr(align(4096))]
struct Page([u8; PAGE]);

/// Direct, durable writes on its pool of threads, which is where tokio does all work with files.
pub fn write() {
    pin(0);
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let scratch = Scratch::new("tokio");
        let flags = libc::O_DIRECT | libc::O_DSYNC;
        let file = std::fs::OpenOptions::new().write(true).custom_flags(flags).open(&scratch.0).unwrap();
        let shared = Arc::new((file, Page([7; PAGE])));
        let mut times = Vec::with_capacity(WRITES);
        let before = process_cpu();
        for n in 0..WRITES {
            let shared = Arc::clone(&shared);
            let started = Instant::now();
            let job = move || shared.0.write_all_at(&shared.1.0, offset(n));
            tokio::task::spawn_blocking(job).await.unwrap().unwrap();
            times.push(started.elapsed());
        }
        report("tokio", times, process_cpu() - before);
    });
}
