//! The way into a shard for threads that are no shards: the admin server, signals.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use crossbeam::queue::ArrayQueue;

use crate::waker_cell::WakerCell;

struct Shared<T> {
    queue: ArrayQueue<T>,
    arrived: WakerCell,
    senders: AtomicUsize,
}

/// The sending end; clones send to the same shard, from any thread.
pub struct Injector<T> {
    shared: Arc<Shared<T>>,
}

/// The receiving end, held by the shard.
pub struct InjectorPort<T> {
    shared: Arc<Shared<T>>,
}

/// A queue of `capacity` messages into a shard.
#[must_use]
pub fn injector<T: Send>(capacity: usize) -> (Injector<T>, InjectorPort<T>) {
    let queue = ArrayQueue::new(capacity.max(1));
    let shared = Arc::new(Shared { queue, arrived: WakerCell::new(), senders: AtomicUsize::new(1) });
    (Injector { shared: Arc::clone(&shared) }, InjectorPort { shared })
}

impl<T: Send> Injector<T> {
    /// Sends a message; never waits.
    ///
    /// # Errors
    /// Gives the message back if the queue is full.
    pub fn try_send(&self, message: T) -> Result<(), T> {
        self.shared.queue.push(message)?;
        self.shared.arrived.wake();
        Ok(())
    }
}

impl<T> Clone for Injector<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Injector<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.arrived.wake();
        }
    }
}

impl<T: Send> InjectorPort<T> {
    /// The next message; `None` when all senders are gone and nothing is left. One task at a time may wait.
    pub async fn recv(&self) -> Option<T> {
        poll_fn(|context| {
            if let Some(message) = self.try_recv() {
                return Poll::Ready(Some(message));
            }
            self.shared.arrived.register(context.waker());
            let over = self.shared.senders.load(Ordering::Acquire) == 0;
            match self.try_recv() {
                Some(message) => Poll::Ready(Some(message)),
                None if over => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// The next message, if there is one.
    #[must_use]
    pub fn try_recv(&self) -> Option<T> {
        self.shared.queue.pop()
    }
}

impl<T> fmt::Debug for Injector<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Injector({} waiting)", self.shared.queue.len())
    }
}

impl<T> fmt::Debug for InjectorPort<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InjectorPort({} waiting)", self.shared.queue.len())
    }
}
