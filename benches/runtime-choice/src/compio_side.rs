use std::time::Instant;

use compio::BufResult;
use compio::buf::IoBuf;
use compio::fs::OpenOptions;
use compio::io::{AsyncRead, AsyncWriteAt, AsyncWriteExt};
use compio::net::TcpListener;
use compio::runtime::Runtime;

use crate::client;
use crate::measure::{PAGE, Scratch, WRITES, offset, pin, process_cpu, report};

pub fn echo() {
    pin(0);
    Runtime::new().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client::start("compio", listener.local_addr().unwrap());
        let (mut stream, _) = listener.accept().await.unwrap();
        loop {
            let BufResult(count, buffer) = stream.read(Vec::with_capacity(4096)).await;
            if count.unwrap() == 0 {
                break;
            }
            stream.write_all(buffer).await.unwrap();
        }
        client.join().unwrap();
    });
}

/// A page of memory at a page's address.
#[repr(align(4096))]
struct Page([u8; PAGE]);

struct Boxed(Box<Page>);

impl IoBuf for Boxed {
    fn as_init(&self) -> &[u8] {
        &self.0.0
    }
}

pub fn write() {
    pin(0);
    Runtime::new().unwrap().block_on(async {
        let scratch = Scratch::new("compio");
        let flags = libc::O_DIRECT | libc::O_DSYNC;
        let mut file = OpenOptions::new().write(true).custom_flags(flags).open(&scratch.0).await.unwrap();
        let mut page = Boxed(Box::new(Page([7; PAGE])));
        let mut times = Vec::with_capacity(WRITES);
        let before = process_cpu();
        for n in 0..WRITES {
            let started = Instant::now();
            let BufResult(count, back) = file.write_at(page, offset(n)).await;
            assert_eq!(count.unwrap(), PAGE);
            page = back;
            times.push(started.elapsed());
        }
        report("compio", times, process_cpu() - before);
    });
}
