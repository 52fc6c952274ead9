//! A blocking client at depth one, the same for all servers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::measure::{pin, process_cpu, report, thread_cpu};

pub const MESSAGE: usize = 64;
const WARM_UP: usize = 1000;
const ROUNDS: usize = 20_000;

/// Talks to an echo server on core 1 and reports; the CPU is that of the rest of the process.
pub fn start(name: &'static str, address: SocketAddr) -> JoinHandle<()> {
    std::thread::spawn(move || {
        pin(1);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut buffer = [7; MESSAGE];
        let mut times = Vec::with_capacity(ROUNDS);
        let mut before = Default::default();
        for round in 0..WARM_UP + ROUNDS {
            if round == WARM_UP {
                before = process_cpu() - thread_cpu();
            }
            let started = Instant::now();
            stream.write_all(&buffer).unwrap();
            stream.read_exact(&mut buffer).unwrap();
            if round >= WARM_UP {
                times.push(started.elapsed());
            }
        }
        let cpu = process_cpu() - thread_cpu() - before;
        report(name, times, cpu);
    })
}
