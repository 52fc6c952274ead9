//! The simulated network: listeners, connections, and bytes on their way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::Waker;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::fault::Latency;
use super::state::{Boot, State};

/// A network between all nodes of a world.
pub(super) struct NetModel {
    pub(super) delay: Latency,
    /// Pairs of nodes (from, to) between which nothing arrives.
    pub(super) blocked: BTreeSet<(usize, usize)>,
    listeners: BTreeMap<u64, ListenerModel>,
    connections: Vec<Connection>,
    listener_next: u64,
    port_next: u16,
}

struct ListenerModel {
    boot: Boot,
    port: u16,
    reuse_port: bool,
    backlog: usize,
    waiting: VecDeque<usize>,
    waker: Option<Waker>,
}

/// Two ends; what end `e` sends lies in `ends[e].outgoing`.
struct Connection {
    ends: [End; 2],
}

struct End {
    boot: Boot,
    addr: SocketAddr,
    /// On their way to the other end, with the time of their arrival.
    outgoing: VecDeque<(u64, Segment)>,
    outgoing_bytes: usize,
    /// Arrived and not yet received.
    arrived: BytesMut,
    /// The other end has closed its side, and all it sent has arrived.
    eof: bool,
    /// We send no more.
    finished: bool,
    /// We have closed.
    closed: bool,
    reset: bool,
    recv_waker: Option<Waker>,
    send_waker: Option<Waker>,
}

enum Segment {
    Data(Bytes),
    Fin,
    Reset,
}

impl End {
    fn new(boot: Boot, addr: SocketAddr) -> Self {
        Self {
            boot,
            addr,
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            arrived: BytesMut::new(),
            eof: false,
            finished: false,
            closed: false,
            reset: false,
            recv_waker: None,
            send_waker: None,
        }
    }

    fn wake(&mut self) {
        for waker in [self.recv_waker.take(), self.send_waker.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn reset(&mut self) {
        self.reset = true;
        self.outgoing.clear();
        self.outgoing_bytes = 0;
        // Not every system hands out what had arrived before.
        self.arrived.clear();
        self.wake();
    }
}

impl Default for NetModel {
    fn default() -> Self {
        Self {
            delay: Latency { min: Duration::from_micros(10), max: Duration::from_micros(300) },
            blocked: BTreeSet::new(),
            listeners: BTreeMap::new(),
            connections: Vec::new(),
            listener_next: 0,
            port_next: 40_000,
        }
    }
}

/// What a connection attempt met.
pub(super) enum Knock {
    Connected(usize),
    Refused,
    /// No answer; ask again later.
    Silence,
}

impl State {
    pub(super) fn net_listen(
        &mut self,
        boot: Boot,
        address: SocketAddr,
        reuse_port: bool,
        backlog: i32,
    ) -> io::Result<(u64, SocketAddr)> {
        let mut address = address;
        if address.port() == 0 {
            address.set_port(self.net_port());
        }
        let port = address.port();
        let taken = self
            .net
            .listeners
            .values()
            .any(|other| other.boot == boot && other.port == port && !(other.reuse_port && reuse_port));
        if taken {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{address} is in use")));
        }
        let id = self.net.listener_next;
        self.net.listener_next += 1;
        let backlog = usize::try_from(backlog).unwrap_or(0).max(1);
        let listener =
            ListenerModel { boot, port, reuse_port, backlog, waiting: VecDeque::new(), waker: None };
        self.net.listeners.insert(id, listener);
        Ok((id, address))
    }

    pub(super) fn net_unlisten(&mut self, listener: u64) {
        if let Some(listener) = self.net.listeners.remove(&listener) {
            for connection in listener.waiting {
                self.net_abort(connection, 1);
            }
        }
    }

    /// Tries to open a connection from `boot`.
    pub(super) fn net_knock(&mut self, boot: Boot, address: SocketAddr) -> Knock {
        let Some(node) = self.net_target(boot, address) else { return Knock::Refused };
        let is_cut =
            self.net.blocked.contains(&(boot.node, node)) || self.net.blocked.contains(&(node, boot.node));
        if is_cut || !self.nodes[node].alive {
            return Knock::Silence;
        }
        let listening: Vec<u64> = self
            .net
            .listeners
            .iter()
            .filter(|(_, listener)| listener.boot.node == node && listener.port == address.port())
            .map(|(id, _)| *id)
            .collect();
        if listening.is_empty() {
            return Knock::Refused;
        }
        let chosen = listening[self.rng.usize(0..listening.len())];
        let local = SocketAddr::new(node_ip(boot.node), self.net_port());
        let connection = self.net.connections.len();
        let listener = self.net.listeners.get_mut(&chosen).expect("chosen from the listeners");
        if listener.waiting.len() >= listener.backlog {
            return Knock::Silence;
        }
        let ends = [End::new(boot, local), End::new(listener.boot, address)];
        listener.waiting.push_back(connection);
        let waker = listener.waker.take();
        self.net.connections.push(Connection { ends });
        if let Some(waker) = waker {
            waker.wake();
        }
        self.note(|| format!("n{} connects to n{node} as {connection}", boot.node));
        Knock::Connected(connection)
    }

    pub(super) fn net_accept(&mut self, listener: u64, on: &Waker) -> Option<usize> {
        let listener = self.net.listeners.get_mut(&listener)?;
        let connection = listener.waiting.pop_front();
        if connection.is_none() {
            listener.waker = Some(on.clone());
        }
        connection
    }

    pub(super) fn net_addr(&self, connection: usize, end: usize) -> SocketAddr {
        self.net.connections[connection].ends[end].addr
    }

    /// Takes arrived bytes, a random part of them; 0 at the end of the stream, `None` to wait.
    pub(super) fn net_recv(
        &mut self,
        connection: usize,
        end: usize,
        buffer: &mut BytesMut,
        on: &Waker,
    ) -> Option<io::Result<usize>> {
        let room = buffer.capacity() - buffer.len();
        if room == 0 {
            return Some(Err(io::Error::from(io::ErrorKind::InvalidInput)));
        }
        let this = &mut self.net.connections[connection].ends[end];
        if this.arrived.is_empty() {
            if this.reset {
                return Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
            }
            if this.eof || this.closed {
                return Some(Ok(0));
            }
            this.recv_waker = Some(on.clone());
            return None;
        }
        let most = this.arrived.len().min(room);
        let count = if self.rng.bool() { most } else { self.rng.usize(1..=most) };
        buffer.extend_from_slice(&this.arrived[..count]);
        this.arrived.advance(count);
        let other = &mut self.net.connections[connection].ends[1 - end];
        if let Some(waker) = other.send_waker.take() {
            waker.wake();
        }
        self.note(|| format!("connection {connection} end {end} receives {count}"));
        Some(Ok(count))
    }

    /// Hands over as much of `part` as the window takes and returns the number of bytes; `None` to wait.
    pub(super) fn net_send(
        &mut self,
        connection: usize,
        end: usize,
        part: &mut Bytes,
        on: &Waker,
    ) -> Option<io::Result<usize>> {
        let [mine, theirs] = self.net_ends(connection, end);
        if mine.reset {
            return Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
        }
        if mine.closed || mine.finished {
            return Some(Err(io::Error::from(io::ErrorKind::BrokenPipe)));
        }
        let room = WINDOW_BYTES.saturating_sub(mine.outgoing_bytes + theirs.arrived.len());
        if room == 0 {
            mine.send_waker = Some(on.clone());
            return None;
        }
        let count = part.len().min(room);
        let data = part.split_to(count);
        mine.outgoing_bytes += count;
        self.note(|| format!("connection {connection} end {end} sends {count}"));
        self.net_transmit(connection, end, Segment::Data(data));
        Some(Ok(count))
    }

    /// Ends one direction: the other end reads what was sent, then the end of the stream.
    pub(super) fn net_finish(&mut self, connection: usize, end: usize) {
        let [mine, _] = self.net_ends(connection, end);
        let boot = mine.boot;
        if mine.closed || mine.reset || std::mem::replace(&mut mine.finished, true) {
            return;
        }
        if self.is_alive(boot) {
            self.net_transmit(connection, end, Segment::Fin);
        }
    }

    /// Whether an end takes more, or fails a send at once.
    pub(super) fn net_writable(&mut self, connection: usize, end: usize, on: &Waker) -> bool {
        let [mine, theirs] = self.net_ends(connection, end);
        let full = mine.outgoing_bytes + theirs.arrived.len() >= WINDOW_BYTES;
        if full && !mine.reset && !mine.closed {
            mine.send_waker = Some(on.clone());
            return false;
        }
        true
    }

    /// Closes an end: the other reads what was sent, then the end of the stream.
    pub(super) fn net_close(&mut self, connection: usize, end: usize) {
        let [mine, _] = self.net_ends(connection, end);
        let boot = mine.boot;
        if mine.closed || mine.reset {
            return;
        }
        mine.closed = true;
        mine.wake();
        // A node that lost power says no farewell.
        if self.is_alive(boot) {
            self.net_transmit(connection, end, Segment::Fin);
        }
    }

    /// An end is let go of: as [`State::net_close`], but what it leaves unread resets the connection.
    pub(super) fn net_drop(&mut self, connection: usize, end: usize) {
        let [mine, _] = self.net_ends(connection, end);
        let (boot, unread) = (mine.boot, !mine.arrived.is_empty() && !mine.reset);
        if unread && self.is_alive(boot) {
            self.net_ends(connection, end)[0].closed = true;
            self.net_transmit(connection, end, Segment::Reset);
        } else {
            self.net_close(connection, end);
        }
    }

    pub(super) fn net_deliver(&mut self, connection: usize, end: usize) {
        let [mine, theirs] = self.net_ends(connection, end);
        let (from, to) = (mine.boot, theirs.boot);
        if self.net.blocked.contains(&(from.node, to.node)) || !self.nodes[to.node].alive {
            return;
        }
        if !self.is_alive(to) {
            // The receiver has been started anew and knows nothing of this connection.
            self.net_ends(connection, end)[0].reset();
            return;
        }
        let now = self.now_ns;
        let [mine, theirs] = self.net_ends(connection, end);
        while mine.outgoing.front().is_some_and(|(arrival, _)| *arrival <= now) {
            match mine.outgoing.pop_front() {
                Some((_, Segment::Data(data))) => {
                    mine.outgoing_bytes -= data.len();
                    if theirs.closed {
                        // Nobody will read this.
                        mine.reset();
                    } else {
                        theirs.arrived.extend_from_slice(&data);
                    }
                }
                Some((_, Segment::Fin)) => theirs.eof = true,
                Some((_, Segment::Reset)) => theirs.reset(),
                None => {}
            }
        }
        theirs.wake();
    }

    /// Lets through what partitions have held up.
    pub(super) fn net_heal(&mut self) {
        self.net.blocked.clear();
        for connection in 0..self.net.connections.len() {
            for end in 0..2 {
                if !self.net.connections[connection].ends[end].outgoing.is_empty() {
                    let arrival = self.now_ns + self.net.delay.draw(&mut self.rng);
                    self.deliver_at(arrival, connection, end);
                }
            }
        }
    }

    pub(super) fn net_reset(&mut self, a: usize, b: usize) {
        for connection in &mut self.net.connections {
            let nodes = [connection.ends[0].boot.node, connection.ends[1].boot.node];
            if nodes == [a, b] || nodes == [b, a] {
                connection.ends.iter_mut().for_each(End::reset);
            }
        }
    }

    /// A node has stopped. After a kill its kernel closes or resets the connections; after a power cut nobody says
    /// anything.
    pub(super) fn net_node_stopped(&mut self, node: usize, power_cut: bool) {
        self.net.listeners.retain(|_, listener| listener.boot.node != node);
        for connection in 0..self.net.connections.len() {
            for end in 0..2 {
                let this = &mut self.net.connections[connection].ends[end];
                if this.boot.node != node || this.closed {
                    continue;
                }
                this.closed = true;
                if power_cut {
                    this.outgoing.clear();
                } else {
                    self.net_abort(connection, end);
                }
            }
        }
    }

    fn net_abort(&mut self, connection: usize, end: usize) {
        let farewell = if self.rng.bool() { Segment::Fin } else { Segment::Reset };
        self.net_transmit(connection, end, farewell);
    }

    fn net_transmit(&mut self, connection: usize, end: usize, segment: Segment) {
        let delay = self.net.delay.draw(&mut self.rng);
        let now = self.now_ns;
        let [mine, _] = self.net_ends(connection, end);
        // One connection keeps its order.
        let behind = mine.outgoing.back().map_or(0, |(arrival, _)| *arrival);
        let arrival = (now + delay).max(behind);
        mine.outgoing.push_back((arrival, segment));
        self.deliver_at(arrival, connection, end);
    }

    /// The end itself and the other one.
    fn net_ends(&mut self, connection: usize, end: usize) -> [&mut End; 2] {
        let [first, second] = &mut self.net.connections[connection].ends;
        if end == 0 { [first, second] } else { [second, first] }
    }

    /// The node that an address leads to: its own address, or for the loopback this node, if it listens there, or
    /// else whichever node does.
    fn net_target(&self, boot: Boot, address: SocketAddr) -> Option<usize> {
        let named = (0..self.nodes.len()).find(|&node| node_ip(node) == address.ip());
        if named.is_some() {
            return named;
        }
        let mut listening =
            self.net.listeners.values().filter(|it| it.port == address.port()).map(|it| it.boot.node);
        let nodes: Vec<usize> = listening.by_ref().collect();
        if nodes.contains(&boot.node) { Some(boot.node) } else { nodes.first().copied() }
    }

    fn net_port(&mut self) -> u16 {
        let port = self.net.port_next;
        self.net.port_next = port.checked_add(1).unwrap_or(40_000);
        port
    }
}

/// A node's address: 10.0.x.y, counted from 10.0.0.1 in the order in which nodes were first named.
pub(super) fn node_ip(node: usize) -> IpAddr {
    let number = u16::try_from(node + 1).unwrap_or(u16::MAX);
    let [high, low] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}

/// Bytes that a connection holds in one direction before its sender waits.
const WINDOW_BYTES: usize = 256 << 10;
