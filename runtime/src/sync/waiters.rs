//! Tasks in a queue, first come first served, that may leave it at any time.

use std::collections::VecDeque;
use std::task::Waker;

/// The queue. Tickets grow, so the place of one is found by binary search.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    next: u64,
    queue: VecDeque<(u64, Waker)>,
}

impl Waiters {
    /// Joins at the end.
    pub(crate) fn join(&mut self, waker: &Waker) -> u64 {
        self.next += 1;
        self.queue.push_back((self.next, waker.clone()));
        self.next
    }

    /// Renews the waker of one that waits; false if it does not wait any more.
    pub(crate) fn renew(&mut self, ticket: u64, waker: &Waker) -> bool {
        let Ok(place) = self.place(ticket) else { return false };
        self.queue[place].1.clone_from(waker);
        true
    }

    /// Leaves; false if it was not there any more.
    pub(crate) fn leave(&mut self, ticket: u64) -> bool {
        let place = self.place(ticket);
        place.is_ok_and(|place| self.queue.remove(place).is_some())
    }

    /// Takes out the first.
    pub(crate) fn pop(&mut self) -> Option<Waker> {
        self.queue.pop_front().map(|(_, waker)| waker)
    }

    /// The first, which stays.
    pub(crate) fn first(&self) -> Option<(u64, &Waker)> {
        self.queue.front().map(|(ticket, waker)| (*ticket, waker))
    }

    /// Takes out all.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        std::mem::take(&mut self.queue).into_iter().map(|(_, waker)| waker)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn place(&self, ticket: u64) -> Result<usize, usize> {
        self.queue.binary_search_by_key(&ticket, |(ticket, _)| *ticket)
    }
}
