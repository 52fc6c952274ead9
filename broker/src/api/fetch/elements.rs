//! How many partitions the fetches of a shard may name at the same time. What is built for one of them has a size that the
//! client cannot change, so that counting them bounds memory before any is built.

use runtime::sync::{Permit, Semaphore};

/// The bound of one shard.
#[derive(Debug)]
pub struct FetchElements {
    room: Semaphore,
    elements_max: usize,
}

/// Room for the partitions of one fetch.
#[derive(Debug)]
pub struct ElementsGrant {
    _permit: Option<Permit>,
}

impl FetchElements {
    /// A bound for a shard that has `memory_bytes`.
    #[must_use]
    pub fn new(memory_bytes: usize) -> Self {
        let elements_max = (memory_bytes / MEMORY_SHARE / ELEMENT_BYTES).max(ELEMENTS_FLOOR);
        Self { room: Semaphore::new(elements_max), elements_max }
    }

    /// Waits for room; `None` if there are more than may ever be. Few are not counted: every connection has room for them.
    pub async fn admit(&self, elements: usize) -> Option<ElementsGrant> {
        if elements > self.elements_max {
            return None;
        }
        let permit = if elements > FREE_ELEMENTS { Some(self.room.acquire(elements).await) } else { None };
        Some(ElementsGrant { _permit: permit })
    }
}

/// The partitions that fetches name may take this part of a shard's memory.
const MEMORY_SHARE: usize = 16;

/// What one takes from the request to the response, in bytes.
const ELEMENT_BYTES: usize = 512;

/// A broker with little memory serves so many.
const ELEMENTS_FLOOR: usize = 10_000;

/// So many are not counted.
const FREE_ELEMENTS: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn few_never_wait_and_too_many_are_refused() {
        let elements = FetchElements::new(16 << 20);
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = |count| pin!(elements.admit(count)).poll(&mut context);
        assert!(matches!(poll(10_001), Poll::Ready(None)));
        let Poll::Ready(Some(held)) = poll(6_000) else { panic!("there is room") };
        assert!(poll(6_000).is_pending());
        assert!(matches!(poll(1_000), Poll::Ready(Some(_))));
        drop(held);
        assert!(matches!(poll(10_000), Poll::Ready(Some(_))));
    }
}
