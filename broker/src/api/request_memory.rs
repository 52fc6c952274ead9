//! Memory of a shard for requests on their way in. A large one is charged before room for its bytes is made, piece by
//! piece as it arrives: what a client announces takes nothing. A connection that does not get the next piece is not read.
//!
//! Many that hold a part each could keep each other waiting for ever. So the request that has been arriving for longest always
//! gets its next piece, beyond the budget if need be; as there is one such request at a time, what all hold together is at most
//! the budget and one largest request. All others share the budget, and whoever would then hold least is served first.
//!
//! What small requests take is bounded by the number of connections.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::task::{Poll, Waker};

use runtime::sync::{Permit, Semaphore};

/// Requests up to this size are not charged: every connection has room for one.
pub const FREE_BYTES: usize = 64 << 10;

/// The budgets of one shard.
#[derive(Debug)]
pub struct RequestMemory {
    arriving: Rc<Arriving>,
    /// For requests that are only expected, by connections that have sent large ones before.
    expected: Part,
    /// For small requests on their way to other shards, of connections that send many at a time.
    in_transit: Part,
    /// For what is built to answer requests that name many things.
    building: Part,
}

impl RequestMemory {
    /// A budget of about `bytes`; the largest request has `request_bytes_max`.
    #[must_use]
    pub fn new(bytes: usize, request_bytes_max: usize) -> Self {
        Self {
            arriving: Rc::new(Arriving {
                bytes_max: bytes / 8 * 3,
                request_bytes_max,
                queue: RefCell::default(),
            }),
            expected: Part::new(bytes / 4),
            in_transit: Part::new(bytes / 8),
            building: Part::new(bytes / 4),
        }
    }

    /// Bytes that are granted.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        let parts = [&self.expected, &self.in_transit, &self.building];
        self.arriving_bytes() + parts.iter().map(|part| part.used_bytes()).sum::<usize>()
    }

    /// Bytes that large requests hold while they arrive and while they are worked on.
    #[must_use]
    pub fn arriving_bytes(&self) -> usize {
        self.arriving.queue.borrow().used_bytes
    }

    /// Nothing yet, for a request that begins to arrive; it [grows](RequestGrant::grow).
    #[must_use]
    pub fn begin(&self) -> RequestGrant {
        RequestGrant { arriving: Rc::clone(&self.arriving), bytes: 0, ticket: None, expected: None }
    }

    /// Room for a request that may come, if there is some.
    #[must_use]
    pub fn try_expect(&self, bytes: usize) -> Option<RequestGrant> {
        let mut grant = self.begin();
        grant.expected = Some((self.expected.try_acquire(bytes)?, bytes));
        Some(grant)
    }

    /// Waits for room for a request that has arrived and is on its way to another shard.
    pub async fn in_transit(&self, bytes: usize) -> Permit {
        self.in_transit.acquire(bytes).await
    }

    /// The most that may be built for one answer.
    #[must_use]
    pub fn building_bytes_max(&self) -> usize {
        self.building.units_max * UNIT_BYTES
    }

    /// Waits for room for what an answer needs, at most [`RequestMemory::building_bytes_max`]. Whoever waits must hold no such
    /// room, or two could wait for each other.
    pub async fn building(&self, bytes: usize) -> Permit {
        self.building.acquire(bytes).await
    }
}

/// Large requests that arrive, and those that are being worked on.
#[derive(Debug)]
struct Arriving {
    bytes_max: usize,
    request_bytes_max: usize,
    queue: RefCell<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    used_bytes: usize,
    next_ticket: u64,
    /// Requests that are still arriving, oldest first.
    tickets: BTreeSet<u64>,
    /// Those that wait, by what they would then hold.
    waiting: BTreeMap<(usize, u64), Waiting>,
}

#[derive(Debug)]
struct Waiting {
    more_bytes: usize,
    waker: Waker,
}

impl Arriving {
    /// Whether the request with this ticket may have `more_bytes` now.
    fn has_room(&self, queue: &Queue, ticket: u64, more_bytes: usize) -> bool {
        let is_oldest = queue.tickets.first() == Some(&ticket);
        let extra_bytes = if is_oldest { self.request_bytes_max } else { 0 };
        queue.used_bytes + more_bytes <= self.bytes_max + extra_bytes
    }

    /// Wakes those for which there is room now.
    fn wake(&self) {
        let queue = self.queue.borrow();
        let mut free_bytes = self.bytes_max.saturating_sub(queue.used_bytes);
        for ((_, ticket), waiting) in &queue.waiting {
            if waiting.more_bytes <= free_bytes || queue.tickets.first() == Some(ticket) {
                free_bytes = free_bytes.saturating_sub(waiting.more_bytes);
                waiting.waker.wake_by_ref();
            }
        }
    }
}

/// What one request was granted, given back when dropped.
#[derive(Debug)]
pub struct RequestGrant {
    arriving: Rc<Arriving>,
    bytes: usize,
    /// Its age among those that arrive.
    ticket: Option<u64>,
    expected: Option<(Permit, usize)>,
}

impl RequestGrant {
    /// How much was granted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.expected.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    /// Waits until it is at least `to_bytes`. What was granted before stays granted meanwhile.
    pub async fn grow(&mut self, to_bytes: usize) {
        let Some(more_bytes) = to_bytes.checked_sub(self.bytes()).filter(|more| *more > 0) else { return };
        let arriving = Rc::clone(&self.arriving);
        let ticket = *self.ticket.get_or_insert_with(|| {
            let mut queue = arriving.queue.borrow_mut();
            queue.next_ticket += 1;
            let ticket = queue.next_ticket;
            queue.tickets.insert(ticket);
            ticket
        });
        let place = Place { arriving: &arriving, key: (to_bytes, ticket) };
        std::future::poll_fn(|context| {
            let mut queue = arriving.queue.borrow_mut();
            if arriving.has_room(&queue, ticket, more_bytes) {
                queue.used_bytes += more_bytes;
                return Poll::Ready(());
            }
            let waiting = Waiting { more_bytes, waker: context.waker().clone() };
            queue.waiting.insert(place.key, waiting);
            Poll::Pending
        })
        .await;
        self.bytes += more_bytes;
    }

    /// The whole request is there: it keeps what it has, and the next oldest gets its right.
    pub fn arrived(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.arriving.queue.borrow_mut().tickets.remove(&ticket);
            self.arriving.wake();
        }
    }
}

impl Drop for RequestGrant {
    fn drop(&mut self) {
        let mut queue = self.arriving.queue.borrow_mut();
        queue.used_bytes -= self.bytes;
        if let Some(ticket) = self.ticket {
            queue.tickets.remove(&ticket);
        }
        drop(queue);
        if self.bytes > 0 || self.ticket.is_some() {
            self.arriving.wake();
        }
    }
}

/// A place among those that wait, given up when dropped.
struct Place<'a> {
    arriving: &'a Arriving,
    key: (usize, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.arriving.queue.borrow_mut().waiting.remove(&self.key);
    }
}

/// A part of the budget, first come, first served.
#[derive(Debug)]
struct Part {
    units: Semaphore,
    units_max: usize,
}

impl Part {
    fn new(bytes: usize) -> Self {
        let units_max = (bytes / UNIT_BYTES).max(1);
        Self { units: Semaphore::new(units_max), units_max }
    }

    async fn acquire(&self, bytes: usize) -> Permit {
        self.units.acquire(self.units_for(bytes)).await
    }

    fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        self.units.try_acquire(self.units_for(bytes))
    }

    fn units_for(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT_BYTES).min(self.units_max)
    }

    fn used_bytes(&self) -> usize {
        (self.units_max - self.units.available()) * UNIT_BYTES
    }
}

const UNIT_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::Context;

    use super::*;

    const MIB: usize = 1 << 20;

    /// Three MiB for requests that arrive, at most four MiB each.
    fn memory() -> RequestMemory {
        RequestMemory::new(8 * MIB, 4 * MIB)
    }

    fn is_ready(future: Pin<&mut impl Future>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn expected_requests_hold_up_nobody() {
        let memory = memory();
        let expected: Vec<_> = std::iter::from_fn(|| memory.try_expect(100_000)).collect();
        assert_eq!(expected.len(), 20);
        let mut grant = memory.begin();
        assert!(is_ready(pin!(grant.grow(4 * MIB))));
        drop((grant, expected));
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn what_was_expected_counts_when_it_arrives() {
        let memory = memory();
        let mut grant = memory.try_expect(100_000).expect("there is room");
        assert!(is_ready(pin!(grant.grow(100_000))));
        assert_eq!(grant.ticket, None, "nothing more was needed");
        assert!(is_ready(pin!(grant.grow(150_000))));
        assert_eq!((grant.bytes(), grant.bytes), (150_000, 50_000));
    }

    #[test]
    fn the_oldest_goes_on_beyond_the_budget_and_the_next_when_it_has_arrived() {
        let memory = memory();
        let mut grants: Vec<_> = (0..3).map(|_| memory.begin()).collect();
        for grant in &mut grants {
            assert!(is_ready(pin!(grant.grow(MIB))));
        }
        let [first, second, third] = &mut grants[..] else { panic!("three") };
        let mut third_grows = pin!(third.grow(2 * MIB));
        {
            let mut second_grows = pin!(second.grow(2 * MIB));
            assert!(!is_ready(second_grows.as_mut()) && !is_ready(third_grows.as_mut()));
            for to in 2..=4 {
                assert!(is_ready(pin!(first.grow(to * MIB))), "it is the oldest");
            }
            assert_eq!(memory.used_bytes(), 6 * MIB, "the budget and most of a largest request");
            first.arrived();
            assert!(!is_ready(third_grows.as_mut()));
            assert!(is_ready(second_grows.as_mut()), "now this one is");
        }
        assert!(!is_ready(pin!(second.grow(4 * MIB))), "what was granted so counts until it is given back");
        *first = memory.begin();
        assert!(is_ready(pin!(second.grow(4 * MIB))));
    }

    #[test]
    fn whoever_would_hold_least_is_served_first() {
        let memory = memory();
        let (mut first, mut large, mut small) = (memory.begin(), memory.begin(), memory.begin());
        assert!(is_ready(pin!(first.grow(2 * MIB))));
        assert!(is_ready(pin!(large.grow(MIB))));
        let mut large_grows = pin!(large.grow(3 * MIB));
        assert!(!is_ready(large_grows.as_mut()));
        {
            let mut small_grows = pin!(small.grow(MIB / 2));
            assert!(!is_ready(small_grows.as_mut()), "all is granted");
        }
        assert_eq!(memory.arriving.queue.borrow().waiting.len(), 1, "its wait was given up");
        first.arrived();
        drop(first);
        assert!(is_ready(pin!(small.grow(MIB / 2))));
        assert!(is_ready(large_grows.as_mut()), "the oldest by now");
    }

    #[test]
    fn the_largest_request_fits_the_smallest_budget() {
        let memory = RequestMemory::new(MIB, 100 * MIB);
        let mut grant = memory.begin();
        assert!(is_ready(pin!(grant.grow(100 * MIB))));
        grant.arrived();
        let mut next = memory.begin();
        assert!(!is_ready(pin!(next.grow(MIB))), "the budget is overdrawn once");
        drop(grant);
        assert!(is_ready(pin!(next.grow(MIB))));
    }
}
