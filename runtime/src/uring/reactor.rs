//! The reactor of one shard: operations under way, timers, and the wake-up from other threads.
//!
//! Invariants: a slot owns what its operation uses until the kernel's last completion for it; a future holds only
//! the slot's key, and dropping it asks the kernel to cancel and leaves the slot as an orphan; nothing of another
//! module runs while a cell of the reactor is borrowed.

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use io_uring::opcode;

use super::clock;
use super::fd::{Descriptor, own};
use super::payload::Payload;
use super::ring::Ring;
use super::slots::{Key, Slots};
use super::timers::Timers;
use crate::executor::{Driver, Unpark};
use crate::time::Monotonic;

/// User data of entries whose completion interests nobody.
const IGNORED: u64 = 0;

/// How long a shard that ends waits for the kernel to finish its operations.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// The machine behind the futures of one shard.
pub(crate) struct Reactor {
    ring: RefCell<Ring>,
    pub(super) slots: RefCell<Slots>,
    pub(super) timers: RefCell<Timers>,
    eventfd: Arc<Descriptor>,
    completions: RefCell<Vec<(u64, i32, u32)>>,
    wake_key: Cell<Option<Key>>,
    pub(super) cqes: Cell<u64>,
    pub(super) wakes: Cell<u64>,
}

/// How an operation has ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: io::Result<usize>,
    pub(crate) flags: u32,
    pub(crate) payload: Payload,
}

impl Reactor {
    /// The reactor of the current thread.
    pub(crate) fn new(ring_entries: u32) -> io::Result<Rc<Self>> {
        let ring = Ring::new(ring_entries)?;
        // SAFETY: no memory is involved.
        let eventfd = own(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
        let reactor = Rc::new(Self {
            ring: RefCell::new(ring),
            slots: RefCell::default(),
            timers: RefCell::default(),
            eventfd: Arc::new(Descriptor::new(eventfd)),
            completions: RefCell::default(),
            wake_key: Cell::new(None),
            cqes: Cell::new(0),
            wakes: Cell::new(0),
        });
        reactor.listen_for_wakes();
        Ok(reactor)
    }

    /// What other threads use to end the sleep of this one.
    pub(crate) fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Unparker(Arc::clone(&self.eventfd)))
    }

    fn listen_for_wakes(&self) {
        let payload = Payload::Wake { eventfd: Arc::clone(&self.eventfd), counter: Box::new(0) };
        self.wake_key.set(Some(self.start(payload)));
    }

    fn start(&self, payload: Payload) -> Key {
        let (key, entry) = self.slots.borrow_mut().insert(payload);
        // SAFETY: the entry names only what its slot owns, and the slot keeps it until the last completion.
        unsafe { self.ring.borrow_mut().push(entry) };
        key
    }

    /// Starts an operation. It reaches the kernel when the executor's turn ends.
    pub(crate) fn submit(self: &Rc<Self>, payload: Payload) -> Operation {
        let key = self.start(payload);
        Operation { reactor: Rc::clone(self), key: Some(key) }
    }

    /// Has the ring itself hold a file, see [`crate::Effects::hold_open`].
    pub(super) fn hold_open(&self, file: &fs::File) -> io::Result<()> {
        self.ring.borrow().hold_open(file)
    }

    fn cancel(&self, key: Key) {
        let entry = opcode::AsyncCancel::new(key.user_data()).build().user_data(IGNORED);
        // SAFETY: the entry names no memory and no descriptor.
        unsafe { self.ring.borrow_mut().push(entry) };
    }

    /// Takes completions and fires timers.
    fn dispatch(&self) {
        let mut completions = self.completions.take();
        self.ring.borrow_mut().reap(&mut completions);
        self.cqes.set(self.cqes.get() + completions.len() as u64);
        for (user_data, result, flags) in completions.drain(..) {
            let Some(key) = Key::from_user_data(user_data) else { continue };
            let more = io_uring::cqueue::more(flags);
            let finished = self.slots.borrow_mut().complete(key, result, flags, more);
            // Woken and dropped here, when nothing is borrowed.
            if let Some(waker) = finished.waker {
                waker.wake();
            }
            drop(finished.orphan);
            if self.wake_key.get() == Some(key) {
                self.wakes.set(self.wakes.get() + 1);
                drop(self.slots.borrow_mut().take(key));
                self.listen_for_wakes();
            }
        }
        *self.completions.borrow_mut() = completions;
        self.fire_timers();
    }

    fn fire_timers(&self) {
        if self.timers.borrow().first().is_none() {
            return;
        }
        let now = clock::now();
        loop {
            let due = self.timers.borrow_mut().pop_due(now);
            match due {
                Some(waker) => waker.wake(),
                None => return,
            }
        }
    }

    fn enter(&self, wait: Option<Option<Duration>>) {
        let entered = match wait {
            None => self.ring.borrow_mut().turn(),
            Some(limit) => self.ring.borrow_mut().wait(limit),
        };
        if let Err(error) = entered {
            // The ring itself is broken: no operation of this shard will ever complete.
            panic!("io_uring_enter failed: {error}");
        }
        self.dispatch();
    }

    /// Cancels everything and waits until the kernel is done with our memory.
    pub(crate) fn drain(&self) {
        let wake = self.wake_key.take();
        let keys = self.slots.borrow().pending();
        for key in keys {
            self.cancel(key);
        }
        let deadline = clock::now() + DRAIN_LIMIT;
        while self.slots.borrow().in_flight() > 0 && clock::now() < deadline {
            self.enter(Some(Some(Duration::from_millis(100))));
        }
        if let Some(key) = wake {
            drop(self.slots.borrow_mut().take(key));
        }
    }

    pub(super) fn ring_counters(&self) -> (u64, u64) {
        let ring = self.ring.borrow();
        (ring.sqes, ring.enters)
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // The kernel may still use what slots in flight own: better lost than freed.
        if self.slots.get_mut().in_flight() > 0 {
            std::mem::forget(self.slots.take());
        }
    }
}

/// The executor's view of a reactor.
pub(crate) struct ReactorDriver {
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) spin: Duration,
}

impl Driver for ReactorDriver {
    fn turn(&mut self) {
        self.reactor.enter(None);
    }

    fn park(&mut self) {
        let first = self.reactor.timers.borrow().first();
        let limit = first.map(|deadline| deadline.since(clock::now()));
        self.reactor.enter(Some(limit));
    }

    fn spin(&self) -> Duration {
        self.spin
    }
}

struct Unparker(Arc<Descriptor>);

impl Unpark for Unparker {
    fn unpark(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the buffer is eight readable bytes. It fails only if the counter is full, and then the
        // other side is awake.
        let _ignored = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// An operation under way; its output is how it ended and what it owned.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Operation {
    reactor: Rc<Reactor>,
    key: Option<Key>,
}

impl Future for Operation {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let key = self.key.expect("polled after it was ready");
        let Some((result, flags, payload)) = self.reactor.slots.borrow_mut().poll(key, context.waker())
        else {
            return Poll::Pending;
        };
        self.key = None;
        let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        Poll::Ready(Outcome { result, flags, payload })
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let abandoned = self.reactor.slots.borrow_mut().abandon(key);
        if abandoned.in_flight {
            self.reactor.cancel(key);
        }
        drop(abandoned.finished);
    }
}

/// Waits until `deadline`.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    reactor: Rc<Reactor>,
    deadline: Monotonic,
    key: Option<super::timers::TimerKey>,
}

impl Sleep {
    pub(crate) fn new(reactor: &Rc<Reactor>, deadline: Monotonic) -> Self {
        Self { reactor: Rc::clone(reactor), deadline, key: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if clock::now() >= self.deadline {
            return Poll::Ready(());
        }
        let reactor = Rc::clone(&self.reactor);
        let mut timers = reactor.timers.borrow_mut();
        match self.key {
            Some(key) => timers.renew(key, context.waker()),
            None => self.key = Some(timers.insert(self.deadline, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.reactor.timers.borrow_mut().remove(key);
        }
    }
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reactor({} operations in flight)", self.slots.borrow().in_flight())
    }
}
