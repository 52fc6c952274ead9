//! The simulated network as the code under test sees it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::clock::SimClock;
use super::net_model::{Knock, node_ip};
use super::state::{Boot, Shared};
use crate::effects::{Clock, ListenOptions, Listener, Net, Stream};

/// A node's access to the network. A node is reached by its own address ([`SimNet::ip`]) or, where only
/// one node listens on a port, by the loopback's.
#[derive(Clone)]
pub struct SimNet {
    shared: Shared,
    boot: Boot,
}

impl SimNet {
    pub(super) const fn new(shared: Shared, boot: Boot) -> Self {
        Self { shared, boot }
    }

    /// The node's address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        node_ip(self.boot.node)
    }

    fn stream(&self, connection: usize, end: usize) -> SimStream {
        SimStream { handle: Rc::new(Handle { shared: self.shared.clone(), connection, end }) }
    }
}

impl Net for SimNet {
    type Listener = SimListener;
    type Stream = SimStream;

    fn listen(&self, address: SocketAddr, options: ListenOptions) -> io::Result<SimListener> {
        let mut state = self.shared.lock();
        let (id, address) = state.net_listen(self.boot, address, options.reuse_port, options.backlog)?;
        Ok(SimListener { net: self.clone(), id, address })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<SimStream> {
        let clock = SimClock::new(self.shared.clone(), Some(self.boot));
        let give_up = clock.now() + CONNECT_TIME_MAX;
        loop {
            let delay = {
                let mut state = self.shared.lock();
                let delay = state.net.delay;
                delay.draw(&mut state.rng)
            };
            clock.sleep_until(clock.now() + Duration::from_nanos(delay)).await;
            let knock = self.shared.lock().net_knock(self.boot, address);
            match knock {
                Knock::Connected(connection) => return Ok(self.stream(connection, 0)),
                Knock::Refused => return Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                Knock::Silence if clock.now() >= give_up => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut));
                }
                Knock::Silence => clock.sleep_until(clock.now() + CONNECT_RETRY).await,
            }
        }
    }
}

/// A listening socket.
pub struct SimListener {
    net: SimNet,
    id: u64,
    address: SocketAddr,
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&self) -> io::Result<SimStream> {
        let accept = poll_fn(|cx| {
            let connection = self.net.shared.lock().net_accept(self.id, cx.waker());
            connection.map_or(Poll::Pending, Poll::Ready)
        });
        Ok(self.net.stream(accept.await, 1))
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.net.shared.lock().net_unlisten(self.id);
    }
}

/// One end of a connection; closed when its last clone is dropped.
#[derive(Clone)]
pub struct SimStream {
    handle: Rc<Handle>,
}

struct Handle {
    shared: Shared,
    connection: usize,
    end: usize,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().net_drop(self.connection, self.end);
    }
}

impl Stream for SimStream {
    async fn recv(&self, mut buffer: BytesMut) -> (io::Result<usize>, BytesMut) {
        let Handle { shared, connection, end } = &*self.handle;
        let result = poll_fn(|cx| {
            let taken = shared.lock().net_recv(*connection, *end, &mut buffer, cx.waker());
            taken.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        (result, buffer)
    }

    async fn send_while<F: Future<Output = ()>>(
        &self,
        parts: Vec<Bytes>,
        mut patience: impl FnMut() -> F,
    ) -> io::Result<usize> {
        let Handle { shared, connection, end } = &*self.handle;
        let mut total = 0;
        for mut part in parts {
            while !part.is_empty() {
                let mut over = pin!(patience());
                let sent = poll_fn(|cx| {
                    if let Some(sent) = shared.lock().net_send(*connection, *end, &mut part, cx.waker()) {
                        return Poll::Ready(Some(sent));
                    }
                    over.as_mut().poll(cx).map(|()| None)
                });
                match sent.await {
                    Some(sent) => total += sent?,
                    None => return Ok(total),
                }
            }
        }
        Ok(total)
    }

    async fn writable(&self) -> io::Result<()> {
        let Handle { shared, connection, end } = &*self.handle;
        poll_fn(|cx| {
            let writable = shared.lock().net_writable(*connection, *end, cx.waker());
            if writable { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    fn shutdown(&self) {
        self.handle.shared.lock().net_close(self.handle.connection, self.handle.end);
    }

    fn shutdown_send(&self) {
        self.handle.shared.lock().net_finish(self.handle.connection, self.handle.end);
    }

    fn local_addr(&self) -> SocketAddr {
        self.handle.shared.lock().net_addr(self.handle.connection, self.handle.end)
    }

    fn peer_addr(&self) -> SocketAddr {
        self.handle.shared.lock().net_addr(self.handle.connection, 1 - self.handle.end)
    }
}

/// How long a connection attempt without an answer lasts.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(60);
/// Between two attempts.
const CONNECT_RETRY: Duration = Duration::from_secs(1);
