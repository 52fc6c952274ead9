//! Memory of a shard for requests on their way in: a large one is charged before its bytes are received, and a
//! connection without a grant is not read. What small requests take is bounded by the number of connections.

use runtime::sync::{Permit, Semaphore};

/// Requests up to this size are not charged: every connection has room for one.
pub const FREE_BYTES: usize = 64 << 10;

/// The budget of one shard.
#[derive(Debug)]
pub struct RequestMemory {
    /// For requests of which the size has arrived; first come, first served.
    arriving: Part,
    /// For requests that are only expected, by connections that have sent large ones before.
    expected: Part,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub struct RequestGrant {
    _permit: Permit,
    bytes: usize,
}

impl RequestGrant {
    /// How much was granted.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl RequestMemory {
    /// A budget of about `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { arriving: Part::new(bytes / 4 * 3), expected: Part::new(bytes / 4) }
    }

    /// Bytes that are granted.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.arriving.used_bytes() + self.expected.used_bytes()
    }

    /// Waits for `bytes`. A request larger than the whole budget gets all of it, and so is alone. Whoever waits must
    /// hold no such grant, or two could wait for each other.
    pub async fn acquire(&self, bytes: usize) -> RequestGrant {
        let permit = self.arriving.units.acquire(self.arriving.units_for(bytes)).await;
        RequestGrant { _permit: permit, bytes }
    }

    /// Room for a request that may come, if there is some.
    #[must_use]
    pub fn try_expect(&self, bytes: usize) -> Option<RequestGrant> {
        let permit = self.expected.units.try_acquire(self.expected.units_for(bytes))?;
        Some(RequestGrant { _permit: permit, bytes })
    }
}

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
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn expected_requests_hold_up_nobody_and_the_largest_is_alone() {
        let memory = RequestMemory::new(4 << 20);
        let expected: Vec<_> = std::iter::from_fn(|| memory.try_expect(100_000)).collect();
        assert_eq!(expected.len(), 10);
        let mut context = Context::from_waker(Waker::noop());
        let mut first = pin!(memory.acquire(100_000));
        let Poll::Ready(first) = first.as_mut().poll(&mut context) else { panic!("there is room") };
        let mut huge = pin!(memory.acquire(100 << 20));
        assert!(huge.as_mut().poll(&mut context).is_pending());
        drop(first);
        let Poll::Ready(huge) = huge.as_mut().poll(&mut context) else { panic!("it is alone") };
        let mut behind = pin!(memory.acquire(1));
        assert!(behind.as_mut().poll(&mut context).is_pending());
        drop((huge, expected));
        assert_eq!(memory.used_bytes(), 0);
    }
}
