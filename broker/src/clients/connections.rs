//! The client connections of one shard: how many there may be, which are ended, and their end when the broker stops.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use runtime::sync::Notify;
use runtime::{Clock, Effects, Monotonic};

use crate::api::services::ShardServices;
use crate::api::session::Session;
use crate::clients::closing_lines::ClosingLines;
use crate::clients::connection::Connection;
use crate::clients::connection_end::DISCARD_TIME_MAX;
use crate::clients::slow_arrivals::{Arrival, too_slow};
use crate::clients::transport::Transport;

/// What the connections of a shard have in common, whatever their transport. For what is seldom done.
pub(crate) trait OpenConnection {
    /// What is known of the client.
    fn session(&self) -> &Session;
    /// When it last received or sent something.
    fn last_active(&self) -> Monotonic;
    /// Whether no request is being worked on, and has not been for so long that its client has its answer.
    fn is_idle(&self, now: Monotonic) -> bool;
    /// The large request that holds memory while it arrives.
    fn arrival(&self, now: Monotonic) -> Option<Arrival>;
    /// Takes no more requests, answers those that were taken, then ends the connection; what still arrives is discarded.
    fn drain(&self);
    /// Whether it sends no more.
    fn is_drained(&self) -> bool;
    /// Ends the connection at once.
    fn abort(&self);
}

/// The connections of one shard.
pub struct Connections {
    /// What all shards' connections may have.
    descriptors: usize,
    next_id: Cell<u64>,
    open: RefCell<HashMap<u64, Rc<dyn OpenConnection>>>,
    /// No more are accepted, and the log says so.
    full: Cell<bool>,
    /// What is logged of connections that are closed.
    pub(crate) closing_lines: ClosingLines,
    /// No more are accepted, since the broker stops.
    pub(crate) stopping: Notify,
    /// Open connections that may still send an answer.
    answering: Cell<usize>,
    changed: Notify,
    /// The broker has been taken down; shards may end.
    pub ended: Notify,
}

impl Connections {
    /// No connections yet; they may have so many descriptors on all shards together.
    #[must_use]
    pub fn new(descriptors: usize) -> Self {
        Self {
            descriptors,
            next_id: Cell::new(1),
            open: RefCell::default(),
            full: Cell::new(false),
            closing_lines: ClosingLines::default(),
            stopping: Notify::new(),
            answering: Cell::new(0),
            changed: Notify::new(),
            ended: Notify::new(),
        }
    }

    /// Stops accepting and taking requests, on a shard that is stopping; waits a while until those that were taken are
    /// answered.
    pub(crate) async fn drain<E: Effects>(&self, shard: &ShardServices<E>) {
        self.stopping.notify_all();
        let now = shard.effects.clock().now();
        for connection in self.all() {
            if connection.is_idle(now) {
                connection.abort();
            } else {
                connection.drain();
            }
        }
        self.wait_until(shard, DRAIN, || self.answering.get() == 0).await;
        for connection in self.all() {
            if !connection.is_drained() {
                connection.abort();
            }
        }
    }

    /// Waits until the clients have closed their side, those that do so soon.
    pub(crate) async fn wait_until_closed<E: Effects>(&self, shard: &ShardServices<E>) {
        self.wait_until(shard, DISCARD_TIME_MAX, || self.open.borrow().is_empty()).await;
    }

    async fn wait_until<E: Effects>(
        &self,
        shard: &ShardServices<E>,
        time_max: Duration,
        is_reached: impl Fn() -> bool,
    ) {
        let deadline = shard.effects.clock().now() + time_max;
        while !is_reached() {
            let sleep = std::pin::pin!(shard.effects.clock().sleep_until(deadline));
            let changed = std::pin::pin!(self.changed.notified());
            if let Either::Left(_) = select(sleep, changed).await {
                break;
            }
        }
    }

    fn all(&self) -> Vec<Rc<dyn OpenConnection>> {
        self.open.borrow().values().map(Rc::clone).collect()
    }

    /// A connection has sent its last answer.
    pub fn note_answered(&self) {
        self.answering.set(self.answering.get() - 1);
        self.changed.notify_all();
    }

    /// Open connections of this shard.
    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    /// Ends connections whose large request arrives too slowly, for the one that has been waiting for memory for `waited`.
    pub fn make_way(&self, waiting: u64, now: Monotonic, waited: Duration, wanted_bytes: usize) {
        let open = self.open.borrow();
        let arrivals = open.iter().filter(|(id, _)| **id != waiting);
        let arrivals = arrivals.filter_map(|(_, connection)| connection.arrival(now)).collect();
        for id in too_slow(arrivals, waited, wanted_bytes) {
            let connection = &open[&id];
            let session = connection.session();
            tracing::warn!(peer = %session.peer_addr, client = %session, "a large request arrived too slowly while others wait for its memory");
            connection.abort();
        }
    }

    /// Whether there is room for no other connection on this shard. Says so in the log when that begins.
    pub(crate) fn is_full<E: Effects>(&self, shard: &ShardServices<E>) -> bool {
        let (configured, descriptors) = (shard.config().max_connections(), self.descriptors);
        let shard_max = configured.min(descriptors).div_ceil(shard.placement.shards());
        let open = self.count();
        let is_full = open >= shard_max;
        if is_full && !self.full.replace(true) {
            if configured <= descriptors {
                tracing::warn!(open, "max.connections is reached: further connections are closed at once");
            } else {
                tracing::warn!(
                    open,
                    descriptors,
                    "connections use half of the descriptors that the process may have, the other half is for logs: further connections are closed at once; raise `ulimit -n`"
                );
            }
        }
        // Not at every connection that takes the place of another.
        if open < shard_max - shard_max / 10 {
            self.full.set(false);
        }
        is_full
    }

    /// Serves a connection that a listener has accepted between two addresses, ours first.
    pub fn add<E: Effects, T: Transport<E>>(
        self: &Rc<Self>,
        shard: &Rc<ShardServices<E>>,
        transport: T,
        listener: &Arc<str>,
        [local_addr, peer_addr]: [SocketAddr; 2],
    ) {
        self.answering.set(self.answering.get() + 1);
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let session = Session::new(id, Arc::clone(listener), local_addr, peer_addr);
        let connection = Connection::new(Rc::clone(shard), Rc::clone(self), transport, session);
        self.open.borrow_mut().insert(id, Rc::clone(&connection) as Rc<dyn OpenConnection>);
        shard.stats.connected();
        let (shard, connections) = (Rc::clone(shard), Rc::clone(self));
        let effects = shard.effects.clone();
        effects.spawn(async move {
            connection.serve().await;
            shard.replicas.fetch_waits.forget((shard.index, id));
            connections.open.borrow_mut().remove(&id);
            connections.changed.notify_all();
            shard.stats.disconnected();
        });
    }
}

/// Ends connections without traffic, until the broker stops.
pub async fn close_idle<E: Effects>(shard: Rc<ShardServices<E>>, connections: Rc<Connections>) {
    while !shard.stopping() {
        let now = shard.effects.clock().now();
        if let Some(idle_max) = shard.config().connection_idle_max() {
            for connection in connections.all() {
                // Whatever it waits for: a client that is gone, or does not read, must not keep what it holds.
                if now.since(connection.last_active()) > idle_max {
                    connection.abort();
                }
            }
        }
        shard.effects.clock().sleep_until(now + IDLE_CHECK).await;
    }
}

/// How long a shutdown waits for requests that are being worked on.
const DRAIN: Duration = Duration::from_secs(2);

/// How often idle connections are looked for.
const IDLE_CHECK: Duration = Duration::from_secs(10);
