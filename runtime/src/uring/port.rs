//! Whether a listening port is this process's alone, asked before the shards share it.

use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::address::RawAddress;
use super::fd::check;
use super::net::{set_option, socket};

/// Waits for up to `patience` until nobody listens on `address`; blocks the thread.
///
/// Shards share a port by SO_REUSEPORT, and so would another broker's, each getting some of the clients. A socket
/// that shares with nobody finds the other broker out. It never listens, so no client can connect to it. A short wait is
/// due because the kernel closes the listeners of a killed process only when it tears down that process's rings,
/// behind the end of the process itself.
///
/// # Errors
/// Somebody else has the port, or the address is not of this machine.
pub fn wait_for_port(address: SocketAddr, patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match bind_alone(address) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(RETRY_PAUSE);
            }
            Err(error) => {
                return Err(Error::new(error.kind(), format!("cannot listen on {address}: {error}")));
            }
        }
    }
}

fn bind_alone(address: SocketAddr) -> io::Result<()> {
    let socket = socket(address)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    let raw = RawAddress::new(address);
    let (name, len) = raw.filled();
    // SAFETY: `name` points to `len` bytes that live across the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), name, len) }).map(drop)
}

/// Short against the teardown of a ring, which takes milliseconds.
const RETRY_PAUSE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_listener_that_closes_in_time_is_waited_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let refused = wait_for_port(address, Duration::ZERO).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        assert!(refused.to_string().contains(&address.to_string()), "{refused}");
        let waiting = std::thread::spawn(move || wait_for_port(address, Duration::from_secs(60)));
        drop(listener);
        waiting.join().unwrap().unwrap();
    }
}
