//! TCP sockets in the ring.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};

use super::address::{RawAddress, len_of};
use super::fd::{Descriptor, check, own};
use super::payload::{Header, Parts, Payload};
use super::reactor::Reactor;
use crate::effects::{ListenOptions, Listener, Net, Stream};

/// The network as a shard sees it.
#[derive(Debug, Clone)]
pub struct UringNet {
    pub(super) reactor: Rc<Reactor>,
}

pub(super) fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is involved.
    own(unsafe { libc::socket(family, kind, 0) })
}

pub(super) fn set_option(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = len_of::<libc::c_int>();
    // SAFETY: the value is an int that lives across the call, and `len` is its size.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), len) })?;
    Ok(())
}

/// No delay for small packets, and a probe for peers that vanish. Accepted connections inherit both.
fn set_connection_options(socket: &impl AsRawFd) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE)
}

fn bind(socket: &OwnedFd, address: SocketAddr, options: ListenOptions) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    if options.reuse_port {
        set_option(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT)?;
    }
    if options.v6_only {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)?;
    }
    set_connection_options(socket)?;
    let raw = RawAddress::new(address);
    let (name, len) = raw.filled();
    // SAFETY: `name` points to `len` bytes that live across the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), name, len) })?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::listen(socket.as_raw_fd(), options.backlog) })?;
    Ok(())
}

impl Net for UringNet {
    type Listener = UringListener;
    type Stream = UringStream;

    fn listen(&self, address: SocketAddr, options: ListenOptions) -> io::Result<UringListener> {
        let bound = socket(address).and_then(|socket| bind(&socket, address, options).map(|()| socket));
        let socket = bound
            .map_err(|error| Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        let local = RawAddress::of_socket(socket.as_raw_fd())?;
        Ok(UringListener {
            reactor: Rc::clone(&self.reactor),
            socket: Rc::new(Descriptor::new(socket)),
            local,
        })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<UringStream> {
        let socket = socket(address)?;
        set_connection_options(&socket)?;
        let socket = Rc::new(Descriptor::new(socket));
        let payload =
            Payload::Connect { socket: Rc::clone(&socket), address: Box::new(RawAddress::new(address)) };
        let outcome = self.reactor.submit(payload).await;
        outcome.result?;
        let local = RawAddress::of_socket(socket.as_raw_fd())?;
        Ok(UringStream::new(&self.reactor, socket, local, address))
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct UringListener {
    reactor: Rc<Reactor>,
    socket: Rc<Descriptor>,
    local: SocketAddr,
}

impl Listener for UringListener {
    type Stream = UringStream;

    async fn accept(&self) -> io::Result<UringStream> {
        let payload =
            Payload::Accept { socket: Rc::clone(&self.socket), address: Box::new(RawAddress::empty()) };
        let outcome = self.reactor.submit(payload).await;
        let fd = outcome.result?;
        let socket = own(i32::try_from(fd).expect("descriptors are ints"))?;
        let Payload::Accept { address, .. } = outcome.payload else {
            unreachable!("an operation keeps its kind")
        };
        let local = RawAddress::of_socket(socket.as_raw_fd())?;
        Ok(UringStream::new(&self.reactor, Rc::new(Descriptor::new(socket)), local, address.get()?))
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// A connection.
#[derive(Debug, Clone)]
pub struct UringStream {
    pub(super) connection: Rc<Connection>,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) reactor: Rc<Reactor>,
    pub(super) socket: Rc<Descriptor>,
    local: SocketAddr,
    peer: SocketAddr,
    /// The last receive has emptied the socket: the next one need not try before it waits.
    drained: Cell<bool>,
}

impl UringStream {
    fn new(reactor: &Rc<Reactor>, socket: Rc<Descriptor>, local: SocketAddr, peer: SocketAddr) -> Self {
        let connection =
            Connection { reactor: Rc::clone(reactor), socket, local, peer, drained: Cell::new(false) };
        Self { connection: Rc::new(connection) }
    }

    /// Waits until the socket is ready for one of `events`.
    pub(super) async fn ready(&self, events: libc::c_short) -> io::Result<()> {
        let events = u32::try_from(events).expect("poll's flags are positive");
        let payload = Payload::Poll { fd: Rc::clone(&self.connection.socket), events };
        self.connection.reactor.submit(payload).await.result.map(drop)
    }
}

impl Stream for UringStream {
    async fn recv(&self, mut buffer: BytesMut) -> (io::Result<usize>, BytesMut) {
        let connection = &self.connection;
        if buffer.spare_capacity_mut().is_empty() {
            return (Err(Error::new(ErrorKind::InvalidInput, "no room to receive into")), buffer);
        }
        let mut poll_first = connection.drained.get();
        loop {
            let socket = Rc::clone(&connection.socket);
            let outcome = connection.reactor.submit(Payload::Recv { socket, buffer, poll_first }).await;
            let Payload::Recv { buffer: back, .. } = outcome.payload else {
                unreachable!("an operation keeps its kind")
            };
            buffer = back;
            match outcome.result {
                Ok(count) => {
                    connection.drained.set(!io_uring::cqueue::sock_nonempty(outcome.flags));
                    let len = buffer.len() + count;
                    // SAFETY: the kernel has written `count` bytes behind the former end, within the capacity.
                    unsafe { buffer.set_len(len) };
                    return (Ok(count), buffer);
                }
                Err(error) if super::file::is_transient(&error) => poll_first = true,
                Err(error) => return (Err(error), buffer),
            }
        }
    }

    async fn send_while<F: Future<Output = ()>>(
        &self,
        parts: Vec<Bytes>,
        mut patience: impl FnMut() -> F,
    ) -> io::Result<usize> {
        let connection = &self.connection;
        let total: usize = parts.iter().map(Bytes::len).sum();
        let mut sent = 0;
        let mut payload = Payload::Send {
            socket: Rc::clone(&connection.socket),
            slices: parts,
            done: 0,
            parts: Parts::default(),
            header: Box::new(Header::default()),
        };
        while sent < total {
            if let Payload::Send { done, .. } = &mut payload {
                *done = sent;
            }
            let outcome = connection.reactor.submit(payload).await;
            payload = outcome.payload;
            match outcome.result {
                Ok(count) => sent += count,
                Err(error) if super::file::is_transient(&error) => {
                    // A poll lends nothing to the kernel, so that giving it up says exactly what has been sent.
                    let (mut ready, mut over) = (pin!(self.ready(libc::POLLOUT)), pin!(patience()));
                    let first = poll_fn(|cx| match ready.as_mut().poll(cx) {
                        Poll::Ready(ready) => Poll::Ready(Some(ready)),
                        Poll::Pending => over.as_mut().poll(cx).map(|()| None),
                    });
                    match first.await {
                        Some(ready) => ready?,
                        None => break,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    async fn writable(&self) -> io::Result<()> {
        self.ready(libc::POLLOUT).await
    }

    fn shutdown(&self) {
        // SAFETY: no memory is involved. It fails only if the connection is gone, which is what is wanted.
        let _gone = unsafe { libc::shutdown(self.connection.socket.as_raw_fd(), libc::SHUT_RDWR) };
    }

    fn shutdown_send(&self) {
        // SAFETY: no memory is involved. It fails only if the connection is gone.
        let _gone = unsafe { libc::shutdown(self.connection.socket.as_raw_fd(), libc::SHUT_WR) };
    }

    fn local_addr(&self) -> SocketAddr {
        self.connection.local
    }

    fn peer_addr(&self) -> SocketAddr {
        self.connection.peer
    }
}
