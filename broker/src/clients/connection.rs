//! One client connection: receives frames, starts requests in order, sends responses in order.
//!
//! Two tasks share the connection's state: the reader receives and starts requests (and runs those that must not
//! overlap with others), the writer sends responses whose turn has come.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use net::protocol::{ApiKey, RequestHeader, Segment};
use net::{ExchangeLimits, FrameError, StartedRequest, Turn};
use runtime::sync::Notify;
use runtime::{Clock, Effects, Monotonic};

use crate::api::dispatch::{Handled, dispatch, finish};
use crate::api::reply::{ExternalPart, Reply};
use crate::api::request::{CloseReason, RequestContext};
use crate::api::services::ShardServices;
use crate::api::session::Session;
use crate::clients::connection_end::{DISCARD_TIME_MAX, discard};
use crate::clients::connections::{Connections, OpenConnection};
use crate::clients::inbound_memory::{InboundMemory, NextReceive};
use crate::clients::outgoing::Outgoing;
use crate::clients::response_sender::ResponseSender;
use crate::clients::slow_arrivals::Arrival;
use crate::clients::transport::Transport;

/// One connection. Lives on the shard that accepted it.
pub(crate) struct Connection<E: Effects, T: Transport<E>> {
    shard: Rc<ShardServices<E>>,
    connections: Rc<Connections>,
    transport: T,
    session: Rc<Session>,
    exchange: RefCell<net::Exchange>,
    /// Records and file parts of responses that have not been sent, by the token in their segments.
    external: RefCell<HashMap<u64, ExternalPart<E>>>,
    next_token: Cell<u64>,
    /// A request was completed or a response sent: the reader may go on.
    progress: Notify,
    /// A response may be ready: the writer may go on.
    ready: Notify,
    /// The reader starts no more requests.
    closing: Cell<bool>,
    /// The writer sends no more.
    closed: Cell<bool>,
    /// Both directions are shut; what is being worked on cannot be answered any more.
    aborted: Cell<bool>,
    last_active: Cell<Monotonic>,
    memory: Rc<InboundMemory<E>>,
}

impl<E: Effects, T: Transport<E>> Connection<E, T> {
    /// A new connection with the broker's limits.
    pub(crate) fn new(
        shard: Rc<ShardServices<E>>,
        connections: Rc<Connections>,
        transport: T,
        session: Session,
    ) -> Rc<Self> {
        let limits = ExchangeLimits {
            request_bytes_max: shard.config().socket_request_bytes_max(),
            ..ExchangeLimits::default()
        };
        let now = shard.effects.clock().now();
        let session = Rc::new(session);
        let memory = InboundMemory::new(Rc::clone(&shard), Rc::clone(&connections), Rc::clone(&session));
        Rc::new(Self {
            shard,
            connections,
            transport,
            session,
            exchange: RefCell::new(net::Exchange::new(limits)),
            external: RefCell::default(),
            next_token: Cell::new(0),
            progress: Notify::new(),
            ready: Notify::new(),
            closing: Cell::new(false),
            closed: Cell::new(false),
            aborted: Cell::new(false),
            last_active: Cell::new(now),
            memory,
        })
    }

    /// Serves the connection until either side closes it.
    pub(crate) async fn serve(self: Rc<Self>) {
        let writer = Rc::clone(&self);
        self.shard.effects.spawn(async move { writer.write().await });
        if let Err(reason) = self.read().await {
            self.note_closing(&reason);
        }
        // Responses to what came before still go out; the writer then ends the connection.
        self.closing.set(true);
        self.ready.notify_one();
        while !self.closed.get() {
            self.progress.notified().await;
        }
        self.memory.release();
        if !self.aborted.get() {
            discard(self.shard.effects.clock(), &self.transport).await;
        }
    }

    async fn read(self: &Rc<Self>) -> Result<(), ReadEnd> {
        while !self.closed.get() && !self.session.is_ending() {
            let request = self.exchange.borrow_mut().next_request()?;
            if let Some(request) = request {
                self.start(request).await?;
                continue;
            }
            if !self.exchange.borrow().wants_read() {
                // It needs no more memory than it has. While it waits for its turn it may still have to give way.
                self.memory.stop_growing();
                self.progress.notified().await;
                continue;
            }
            let next = NextReceive::of(&self.exchange.borrow());
            let room_max = self.memory.make_room(next).await;
            if self.session.is_ending() {
                // Perhaps without the memory.
                break;
            }
            let buffer = self.exchange.borrow_mut().take_buffer(room_max);
            let (received, buffer) = self.transport.recv(buffer).await;
            self.exchange.borrow_mut().received(buffer);
            match received {
                Ok(0) | Err(_) => return Ok(()),
                Ok(bytes) => {
                    self.last_active.set(self.shard.effects.clock().now());
                    self.shard.stats.received(bytes);
                }
            }
        }
        Ok(())
    }

    /// Starts a request and, unless it is a Produce, runs it to its end. A request that cannot be answered
    /// completes without a response, so that those before it still go out.
    async fn start(self: &Rc<Self>, request: StartedRequest) -> Result<(), CloseReason> {
        let StartedRequest { turn, frame } = request;
        let bytes = frame.len();
        let grant = self.memory.arrived(bytes);
        let started = self.shard.effects.clock().now();
        let (context, body) = match RequestHeader::decode(&frame) {
            Ok((header, body)) => (RequestContext::new(&self.session, &header), frame.slice_ref(body)),
            Err(error) => {
                self.exchange.borrow_mut().complete(turn, Vec::new());
                return Err(error.into());
            }
        };
        if context.api_key == ApiKey::Fetch {
            self.all_sent().await;
        }
        match dispatch(&self.shard, &context, &body).await {
            Ok(Handled::Replied(reply)) => self.complete(turn, context.api_key, started, Some(reply)),
            Ok(Handled::Started(request)) => {
                // What is appended here has been copied; what goes to other shards is kept by the message.
                let grant = grant.filter(|_| request.in_transit);
                let small = if request.in_transit && grant.is_none() {
                    Some(self.memory.in_transit(bytes).await)
                } else {
                    None
                };
                let connection = Rc::clone(self);
                self.shard.effects.spawn(async move {
                    let outcome = finish(&connection.shard, &context, request).await;
                    drop((grant, small));
                    match outcome {
                        Ok(reply) => connection.complete(turn, context.api_key, started, reply),
                        Err(reason) => connection.fail(turn, &reason),
                    }
                });
            }
            Err(reason) => {
                self.exchange.borrow_mut().complete(turn, Vec::new());
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Waits until the client has been sent all responses so far: records of one response at most are kept for it, as in
    /// Kafka.
    async fn all_sent(&self) {
        while self.exchange.borrow().out_bytes() > 0 && !self.closed.get() {
            self.progress.notified().await;
        }
    }

    fn complete(&self, turn: Turn, key: ApiKey, started: Monotonic, reply: Option<Reply<E>>) {
        let now = self.shard.effects.clock().now();
        self.shard.stats.answered(key, now.since(started));
        let segments = reply.map_or_else(Vec::new, |reply| self.adopt(reply));
        self.exchange.borrow_mut().complete(turn, segments);
        self.ready.notify_one();
        self.progress.notify_one();
    }

    /// Gives the external parts of a reply tokens of this connection.
    fn adopt(&self, reply: Reply<E>) -> Vec<Segment> {
        let (mut segments, external) = reply.into_parts();
        if external.is_empty() {
            return segments;
        }
        let base = self.next_token.get();
        self.next_token.set(base + external.len() as u64);
        self.external.borrow_mut().extend((base..).zip(external));
        for segment in &mut segments {
            if let Segment::External { token, .. } = segment {
                *token += base;
            }
        }
        segments
    }

    /// Counts a connection that is closed for what it sent, and logs it unless there are too many.
    fn note_closing(&self, reason: &dyn std::fmt::Display) {
        self.shard.stats.rejected_connection();
        let now = self.shard.effects.clock().now();
        if let Some(left_out) = self.connections.closing_lines.next(now) {
            tracing::info!(peer = %self.session.peer_addr, client = %self.session, %reason, left_out, "closing connection");
        }
    }

    fn fail(&self, turn: Turn, reason: &CloseReason) {
        self.note_closing(reason);
        self.exchange.borrow_mut().complete(turn, Vec::new());
        self.drain();
    }

    async fn write(self: Rc<Self>) {
        loop {
            let segments = self.ready_segments();
            if segments.is_empty() {
                if (self.closing.get() || self.session.is_ending()) && self.exchange.borrow().in_flight() == 0
                {
                    break;
                }
                self.ready.notified().await;
                continue;
            }
            if self.send(segments).await.is_err() {
                self.abort();
                break;
            }
        }
        self.transport.end_sending().await;
        self.closed.set(true);
        self.progress.notify_one();
        self.connections.note_answered();
    }

    /// Everything whose turn has come, up to a bound.
    fn ready_segments(&self) -> Vec<Segment> {
        let mut exchange = self.exchange.borrow_mut();
        let mut ready = Vec::new();
        while ready.len() < SEND_SEGMENTS_MAX
            && let Some(segments) = exchange.next_ready()
        {
            ready.extend(segments);
        }
        ready
    }

    /// Sends responses that follow one another.
    async fn send(&self, segments: Vec<Segment>) -> std::io::Result<()> {
        let total = segments.iter().map(Segment::len).sum();
        let line = segments.into_iter().map(|segment| {
            Outgoing::new(segment, |token| {
                self.external.borrow_mut().remove(&token).expect("adopted with the reply")
            })
        });
        let line = line.collect();
        let progressed = || self.last_active.set(self.shard.effects.clock().now());
        let sender = ResponseSender { shard: &self.shard, transport: &self.transport, progressed };
        sender.send(line).await?;
        self.shard.stats.sent(total);
        self.exchange.borrow_mut().sent(total);
        self.progress.notify_one();
        Ok(())
    }
}

impl<E: Effects, T: Transport<E>> OpenConnection for Connection<E, T> {
    fn last_active(&self) -> Monotonic {
        self.last_active.get()
    }

    fn session(&self) -> &Session {
        &self.session
    }

    fn is_idle(&self, now: Monotonic) -> bool {
        self.exchange.borrow().is_idle() && now.since(self.last_active.get()) > DISCARD_TIME_MAX
    }

    fn arrival(&self, now: Monotonic) -> Option<Arrival> {
        let since = self.memory.arriving_since().filter(|_| !self.aborted.get())?;
        let bytes = self.exchange.borrow().buffered_bytes();
        Some(Arrival { connection_id: self.session.connection_id, bytes, received_for: now.since(since) })
    }

    fn drain(&self) {
        self.session.begin_end();
        self.ready.notify_one();
        self.progress.notify_one();
    }

    fn abort(&self) {
        self.transport.abort();
        self.aborted.set(true);
        self.drain();
    }

    fn is_drained(&self) -> bool {
        self.closed.get()
    }
}

/// Responses are gathered into one send until there are so many pieces.
const SEND_SEGMENTS_MAX: usize = 512;

/// Why the reader stopped before the client closed.
#[derive(Debug, thiserror::Error)]
enum ReadEnd {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Request(#[from] CloseReason),
}
