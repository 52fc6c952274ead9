//! Messages between shards: a bounded queue for every ordered pair, and a wake only for those who wait.
//!
//! Invariants: messages of one shard to another arrive in the order in which they were sent; nothing is dropped
//! while the receiving port lives. Waiting goes through wakers alone, so it works on any executor.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use crossbeam::utils::CachePadded;

use crate::spsc;
use crate::sync::waiters::Waiters;
use crate::waker_cell::WakerCell;

/// What one shard holds of the mesh; moves to its shard once and stays there.
pub struct MeshPort<T> {
    shard: usize,
    outgoing: Vec<Outgoing<T>>,
    incoming: Vec<Incoming<T>>,
    /// Woken when a message for this shard arrives.
    arrived: Arc<CachePadded<WakerCell>>,
    /// The shard to be asked first next time, so that no sender starves the others.
    next: Cell<usize>,
}

struct Outgoing<T> {
    queue: spsc::Sender<T>,
    /// The receiver's [`MeshPort::arrived`].
    arrived: Arc<CachePadded<WakerCell>>,
    /// Woken when the receiver has made room.
    room: Arc<CachePadded<WakerCell>>,
    /// Our tasks that wait for room. The first of them stands in `room`.
    waiting: RefCell<Waiters>,
}

struct Incoming<T> {
    queue: spsc::Receiver<T>,
    room: Arc<CachePadded<WakerCell>>,
}

/// A mesh of `shards` ports, in the order of their shards; every pair has room for `capacity` messages
/// (rounded up to a power of two) in each direction, and so has each shard to itself.
#[must_use]
pub fn mesh<T: Send>(shards: usize, capacity: usize) -> Vec<MeshPort<T>> {
    let mut ports: Vec<MeshPort<T>> = (0..shards)
        .map(|shard| MeshPort {
            shard,
            outgoing: Vec::with_capacity(shards),
            incoming: Vec::with_capacity(shards),
            arrived: Arc::new(CachePadded::new(WakerCell::new())),
            next: Cell::new(0),
        })
        .collect();
    for from in 0..shards {
        for to in 0..shards {
            let (sender, receiver) = spsc::channel(capacity);
            let room = Arc::new(CachePadded::new(WakerCell::new()));
            let arrived = Arc::clone(&ports[to].arrived);
            ports[to].incoming.push(Incoming { queue: receiver, room: Arc::clone(&room) });
            let outgoing = Outgoing { queue: sender, arrived, room, waiting: RefCell::default() };
            ports[from].outgoing.push(outgoing);
        }
    }
    ports
}

impl<T: Send> MeshPort<T> {
    /// The shard that this port belongs to.
    #[must_use]
    pub const fn shard(&self) -> usize {
        self.shard
    }

    /// Ports in the mesh.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.outgoing.len()
    }

    /// Sends a message if there is room and nobody waits for some.
    ///
    /// # Errors
    /// Gives the message back.
    ///
    /// # Panics
    /// If there is no shard `to`.
    pub fn try_send(&self, to: usize, message: T) -> Result<(), T> {
        let outgoing = &self.outgoing[to];
        if !outgoing.waiting.borrow().is_empty() {
            return Err(message);
        }
        outgoing.push(message)
    }

    /// Sends a message as soon as there is room and all that came earlier have been sent.
    ///
    /// # Panics
    /// If there is no shard `to`.
    pub async fn send(&self, to: usize, message: T) {
        let outgoing = &self.outgoing[to];
        let Err(message) = self.try_send(to, message) else { return };
        let mut message = Some(message);
        let mut place = Place { outgoing, ticket: None };
        poll_fn(|context| {
            let ticket =
                *place.ticket.get_or_insert_with(|| outgoing.waiting.borrow_mut().join(context.waker()));
            let first = outgoing.waiting.borrow().first().map(|(first, _)| first);
            if first != Some(ticket) {
                outgoing.waiting.borrow_mut().renew(ticket, context.waker());
                return Poll::Pending;
            }
            // Registered before the attempt, so that room made meanwhile is not missed.
            outgoing.room.register(context.waker());
            match message.take().map(|message| outgoing.push(message)) {
                Some(Err(refused)) => {
                    message = Some(refused);
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
    }

    /// The next message and the shard that it comes from. One task at a time may wait.
    pub async fn recv(&self) -> (usize, T) {
        poll_fn(|context| {
            if let Some(message) = self.try_recv() {
                return Poll::Ready(message);
            }
            self.arrived.register(context.waker());
            self.try_recv().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// The next message, if there is one; takes from all shards in turn.
    pub fn try_recv(&self) -> Option<(usize, T)> {
        let shards = self.incoming.len();
        for step in 0..shards {
            let from = (self.next.get() + step) % shards;
            if let Some(message) = self.incoming[from].queue.pop() {
                self.next.set(from + 1);
                self.incoming[from].room.wake();
                return Some((from, message));
            }
        }
        None
    }
}

impl<T> Outgoing<T> {
    fn push(&self, message: T) -> Result<(), T> {
        self.queue.push(message)?;
        self.arrived.wake();
        Ok(())
    }
}

impl<T> fmt::Debug for MeshPort<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MeshPort({} of {})", self.shard, self.outgoing.len())
    }
}

/// A place in the queue for room; given up, and the next one told, when dropped.
struct Place<'a, T> {
    outgoing: &'a Outgoing<T>,
    ticket: Option<u64>,
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let mut waiting = self.outgoing.waiting.borrow_mut();
            waiting.leave(ticket);
            if let Some((_, waker)) = waiting.first() {
                waker.wake_by_ref();
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "mesh_test.rs"]
mod tests;
