//! What one connection has of its shard's memory for requests on their way in.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use net::Exchange;
use runtime::sync::Permit;
use runtime::{Clock, Effects, Monotonic};

use crate::api::request_memory::{FREE_BYTES, RequestGrant};
use crate::api::services::ShardServices;
use crate::api::session::Session;
use crate::clients::connections::Connections;
use crate::clients::slow_arrivals::PATIENCE;

/// The memory of a connection's requests, until they are answered or have gone to other shards.
pub(crate) struct InboundMemory<E: Effects> {
    shard: Rc<ShardServices<E>>,
    connections: Rc<Connections>,
    session: Rc<Session>,
    /// Memory for the request that is arriving or expected, if it is large.
    grant: RefCell<Option<RequestGrant>>,
    /// While a large request has memory and all of it has not arrived: since when, less the time of its waits.
    arriving: Cell<Option<Monotonic>>,
    /// Small requests on their way to other shards.
    in_transit_bytes: Cell<usize>,
}

/// What a connection would receive next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NextReceive {
    /// The size of the request that has begun to arrive.
    announced: Option<usize>,
    /// How much there should be room for.
    wanted: usize,
    /// What has arrived of it.
    arrived: usize,
}

impl NextReceive {
    pub(crate) fn of(exchange: &Exchange) -> Self {
        Self {
            announced: exchange.next_request_bytes(),
            wanted: exchange.wanted(),
            arrived: exchange.buffered_bytes(),
        }
    }
}

impl<E: Effects> InboundMemory<E> {
    pub(crate) fn new(
        shard: Rc<ShardServices<E>>,
        connections: Rc<Connections>,
        session: Rc<Session>,
    ) -> Rc<Self> {
        Rc::new(Self {
            shard,
            connections,
            session,
            grant: RefCell::default(),
            arriving: Cell::new(None),
            in_transit_bytes: Cell::new(0),
        })
    }

    /// Since when a large request has been arriving, less the time that it waited for memory.
    pub(crate) fn arriving_since(&self) -> Option<Monotonic> {
        self.arriving.get()
    }

    /// The next request is there and needs no more than it has.
    pub(crate) fn stop_growing(&self) {
        if let Some(grant) = &mut *self.grant.borrow_mut() {
            grant.arrived();
        }
    }

    /// Hands over what a request of so many bytes has, when it starts.
    pub(crate) fn arrived(&self, bytes: usize) -> Option<RequestGrant> {
        let mut grant = if bytes > FREE_BYTES { self.grant.take() } else { None };
        if let Some(grant) = &mut grant {
            grant.arrived();
        }
        self.arriving.set(None);
        grant
    }

    /// Gives back what was for a request that will not come.
    pub(crate) fn release(&self) {
        drop(self.grant.take());
    }

    /// Gets memory for what is received next; yields the room that it may take. Until more has arrived than every
    /// connection has room for anyway, an announced size alone gets none.
    pub(crate) async fn make_room(&self, next: NextReceive) -> usize {
        let NextReceive { announced, wanted, arrived } = next;
        let granted = self.grant.borrow().as_ref().map_or(0, RequestGrant::bytes);
        match announced {
            Some(bytes) if bytes > FREE_BYTES => {
                if arrived < FREE_BYTES && granted < arrived + wanted {
                    return FREE_BYTES - arrived;
                }
                self.grow(arrived + wanted).await;
            }
            None if wanted > FREE_BYTES => {
                let mut grant = self.grant.borrow_mut();
                if grant.is_none() {
                    *grant = self.shard.request_memory.try_expect(wanted);
                }
                if grant.is_none() {
                    return FREE_BYTES;
                }
            }
            _ => {}
        }
        usize::MAX
    }

    /// Waits for memory, at the expense of connections whose request arrives too slowly.
    async fn grow(&self, to_bytes: usize) {
        let clock = self.shard.effects.clock();
        let began = clock.now();
        let grant = self.grant.take();
        let mut grant = grant.unwrap_or_else(|| self.shard.request_memory.begin());
        let more_bytes = to_bytes.saturating_sub(grant.bytes());
        let mut counted = began;
        {
            let mut growing = pin!(grant.grow(to_bytes));
            while !self.session.is_ending() {
                let (ending, patience) =
                    (pin!(self.session.end_begun()), pin!(clock.sleep_until(counted + PATIENCE)));
                if let Either::Left(_) = select(growing.as_mut(), select(ending, patience)).await {
                    break;
                }
                let now = clock.now();
                self.leave_out(now.since(counted));
                counted = now;
                self.connections.make_way(self.session.connection_id, now, now.since(began), more_bytes);
            }
        }
        self.leave_out(clock.now().since(counted));
        if self.arriving.get().is_none() {
            self.arriving.set(Some(clock.now()));
        }
        *self.grant.borrow_mut() = Some(grant);
    }

    /// Does not count the time of a wait for memory when the request is judged.
    fn leave_out(&self, waited: Duration) {
        self.arriving.set(self.arriving.get().map(|since| since + waited));
    }

    /// Charges a small request that is on its way to another shard, unless it has the room that every connection has.
    pub(crate) async fn in_transit(self: &Rc<Self>, bytes: usize) -> InTransit<E> {
        let total = self.in_transit_bytes.get() + bytes;
        self.in_transit_bytes.set(total);
        let is_charged = total > FREE_BYTES;
        let charged = if is_charged { Some(self.shard.request_memory.in_transit(bytes).await) } else { None };
        InTransit { memory: Rc::clone(self), bytes, _charged: charged }
    }
}

/// A small request on its way to another shard.
pub(crate) struct InTransit<E: Effects> {
    memory: Rc<InboundMemory<E>>,
    bytes: usize,
    _charged: Option<Permit>,
}

impl<E: Effects> Drop for InTransit<E> {
    fn drop(&mut self) {
        let in_transit = &self.memory.in_transit_bytes;
        in_transit.set(in_transit.get() - self.bytes);
    }
}
