//! A number of permits that tasks take and give back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;

use super::waiters::Waiters;

/// A counted resource, handed out first come first served. Clones share it.
#[derive(Debug, Clone)]
pub struct Semaphore {
    state: Rc<State>,
}

#[derive(Debug)]
struct State {
    free: Cell<usize>,
    waiters: RefCell<Waiters>,
}

impl Semaphore {
    /// All `permits` are free.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self { state: Rc::new(State { free: Cell::new(permits), waiters: RefCell::default() }) }
    }

    /// Permits that are free.
    #[must_use]
    pub fn available(&self) -> usize {
        self.state.free.get()
    }

    /// Takes `count` permits if they are free and nobody waits.
    #[must_use]
    pub fn try_acquire(&self, count: usize) -> Option<Permit> {
        if !self.state.waiters.borrow().is_empty() {
            return None;
        }
        self.take(count)
    }

    /// Takes `count` permits when they are free and all that came earlier have theirs. The count must not
    /// exceed what there is in all.
    pub async fn acquire(&self, count: usize) -> Permit {
        let mut place = Place { state: &self.state, ticket: None };
        std::future::poll_fn(|context| {
            let mut waiters = self.state.waiters.borrow_mut();
            let first = waiters.first().map(|(ticket, _)| ticket);
            if first == place.ticket
                && let Some(permit) = self.take(count)
            {
                return Poll::Ready(permit);
            }
            match place.ticket {
                Some(ticket) => drop(waiters.renew(ticket, context.waker())),
                None => place.ticket = Some(waiters.join(context.waker())),
            }
            Poll::Pending
        })
        .await
    }

    fn take(&self, count: usize) -> Option<Permit> {
        let left = self.state.free.get().checked_sub(count)?;
        self.state.free.set(left);
        Some(Permit { state: Rc::clone(&self.state), count })
    }
}

impl State {
    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiters.borrow().first() {
            waker.wake_by_ref();
        }
    }
}

/// A place in the queue, given up when dropped.
struct Place<'a> {
    state: &'a State,
    ticket: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.state.waiters.borrow_mut().leave(ticket);
            self.state.wake_first();
        }
    }
}

/// Permits that are given back when this is dropped.
#[derive(Debug)]
pub struct Permit {
    state: Rc<State>,
    count: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.state.free.set(self.state.free.get() + self.count);
        self.state.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn a_large_wish_is_not_overtaken() {
        let semaphore = Semaphore::new(3);
        let held = semaphore.try_acquire(2).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut large = pin!(semaphore.acquire(3));
        assert!(large.as_mut().poll(&mut context).is_pending());
        assert!(semaphore.try_acquire(1).is_none(), "must wait behind the large one");
        drop(held);
        let Poll::Ready(permit) = large.as_mut().poll(&mut context) else { panic!("all permits are free") };
        assert_eq!(semaphore.available(), 0);
        drop(permit);
        assert_eq!(semaphore.available(), 3);
    }

    #[test]
    fn one_that_gives_up_leaves_the_queue() {
        let semaphore = Semaphore::new(1);
        let held = semaphore.try_acquire(1);
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut waiting = pin!(semaphore.acquire(1));
            assert!(waiting.as_mut().poll(&mut context).is_pending());
        }
        drop(held);
        assert!(semaphore.try_acquire(1).is_some());
    }
}
