//! Memory of a shard that records on their way to clients keep alive. It is taken before they are read, first come first
//! served, and given back with the last use of what was read. A client that does not read its response keeps what stands in
//! it, and with a slice the whole append chunk or read buffer that it lies in: so a slice is charged with all that it
//! keeps, and a copy with itself. What a response may take is a part of the whole, unless a single batch is larger.
//!
//! Invariant: whoever waits for memory holds none, here or on another shard; so whoever has some gives it back without
//! waiting for more.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::{Either, select};
use runtime::budget::{Budget, BudgetGrant, BudgetWatch};
use runtime::{Clock, Monotonic};
use storage::{MemoryPart, ReadMemory};

/// How long to wait for memory that is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    None,
    /// Until then.
    Until(Monotonic),
}

impl Patience {
    /// Whether it is over.
    pub(crate) fn is_over(self, now: Monotonic) -> bool {
        match self {
            Self::None => true,
            Self::Until(end) => now >= end,
        }
    }
}

/// The budget of one shard, for the records that it hands out.
#[derive(Debug, Clone)]
pub struct FetchMemory {
    budget: Budget,
    /// Bytes of copies, which lie outside the shard's pool.
    copied_bytes: Arc<AtomicUsize>,
}

/// Records that are charged until their last use.
struct Charged {
    records: Bytes,
    /// Where they are counted, if they are a copy.
    copied_bytes: Option<Arc<AtomicUsize>>,
    _grant: BudgetGrant,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.records
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        if let Some(copied) = &self.copied_bytes {
            copied.fetch_sub(self.records.len(), Ordering::Relaxed);
        }
    }
}

impl FetchMemory {
    /// A budget of `budget_bytes`.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        Self { budget: Budget::new(budget_bytes), copied_bytes: Arc::default() }
    }

    /// Bytes that are reserved for reads, or that records on their way keep alive.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.budget.used()
    }

    /// Those of them that lie outside the shard's pool.
    #[must_use]
    pub fn copied_bytes(&self) -> usize {
        self.copied_bytes.load(Ordering::Relaxed)
    }

    /// How many bytes of records one response may have, unless the first batch is larger.
    #[must_use]
    pub fn allowance_bytes(&self) -> usize {
        (self.budget.bytes_max() / RESPONSES).max(ALLOWANCE_BYTES_MIN)
    }

    /// Says whether somebody waits for this memory, on any shard.
    #[must_use]
    pub fn watch(&self) -> BudgetWatch {
        self.budget.watch()
    }

    /// Memory for one read, none of it taken yet.
    #[must_use]
    pub fn reservation<'a, C: Clock>(&'a self, clock: &'a C, patience: Patience) -> Reservation<'a, C> {
        Reservation { memory: self, clock, patience, grant: RefCell::default() }
    }
}

/// What one read has taken so far, given back when dropped.
#[derive(Debug)]
pub struct Reservation<'a, C: Clock> {
    memory: &'a FetchMemory,
    clock: &'a C,
    patience: Patience,
    grant: RefCell<Option<BudgetGrant>>,
}

impl<C: Clock> ReadMemory for Reservation<'_, C> {
    /// Takes `bytes` instead of what it had.
    async fn reserve(&self, bytes: usize) -> bool {
        let budget = &self.memory.budget;
        let grown = self.grant.borrow_mut().as_mut().is_some_and(|grant| budget.try_grow(grant, bytes));
        if grown {
            return true;
        }
        drop(self.grant.take());
        let free = budget.try_take(bytes);
        let grant = match (free, self.patience) {
            (None, Patience::Until(end)) => {
                match select(pin!(budget.take(bytes)), pin!(self.clock.sleep_until(end))).await {
                    Either::Left((grant, _)) => Some(grant),
                    Either::Right(_) => None,
                }
            }
            (free, _) => free,
        };
        *self.grant.borrow_mut() = grant;
        self.grant.borrow().is_some()
    }
}

impl<C: Clock> Reservation<'_, C> {
    /// Whether it has what was last asked for.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.grant.borrow().is_some()
    }

    /// Charges records until the last of their clones and slices is dropped.
    ///
    /// # Errors
    /// How much has to be reserved first.
    pub fn charge(&self, parts: &[MemoryPart]) -> Result<Vec<Bytes>, usize> {
        let budget = &self.memory.budget;
        let frugal = budget.used() > budget.bytes_max() / 2;
        let copied = |part: &MemoryPart| {
            let length = part.bytes.len();
            length < COPIED_BELOW_BYTES || frugal && length <= part.held_bytes / FRUGAL_SHARES
        };
        let cost = |part: &MemoryPart| if copied(part) { part.bytes.len() } else { part.held_bytes };
        let total = parts.iter().map(cost).sum();
        if self.covers(total) {
            return Ok(self.charge_each(parts, copied));
        }
        let length = parts.iter().map(|part| part.bytes.len()).sum();
        if self.covers(length) { Ok(self.charge_each(parts, |_| true)) } else { Err(length) }
    }

    /// Whether so much is reserved, or could be at once.
    fn covers(&self, bytes: usize) -> bool {
        let mut grant = self.grant.borrow_mut();
        match &mut *grant {
            Some(grant) => self.memory.budget.try_grow(grant, bytes),
            None => {
                *grant = self.memory.budget.try_take(bytes);
                grant.is_some()
            }
        }
    }

    fn charge_each(&self, parts: &[MemoryPart], copied: impl Fn(&MemoryPart) -> bool) -> Vec<Bytes> {
        let mut grant = self.grant.take();
        let charged = parts.iter().map(|part| {
            let (records, bytes, copied_bytes) = if copied(part) {
                let length = part.bytes.len();
                self.memory.copied_bytes.fetch_add(length, Ordering::Relaxed);
                (Bytes::copy_from_slice(&part.bytes), length, Some(Arc::clone(&self.memory.copied_bytes)))
            } else {
                (part.bytes.clone(), part.held_bytes, None)
            };
            let grant = grant.as_mut().expect("all of it is covered").split(bytes);
            Bytes::from_owner(Charged { records, copied_bytes, _grant: grant })
        });
        charged.collect()
    }
}

/// A response gets this part of what there is.
const RESPONSES: usize = 8;

/// What a response may have in any case.
const ALLOWANCE_BYTES_MIN: usize = 64 << 10;

/// A copy of less than this costs no more than counting would.
const COPIED_BELOW_BYTES: usize = 4 << 10;

/// When half of the memory is taken, what fills less than this part of what it keeps is copied.
const FRUGAL_SHARES: usize = 4;

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use runtime::Effects;
    use runtime::sim::SimWorld;

    use super::*;

    const MEBI: usize = 1 << 20;

    fn part(length: usize, held_bytes: usize) -> MemoryPart {
        MemoryPart { bytes: Bytes::from(vec![7; length]), held_bytes }
    }

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn what_is_kept_is_charged_and_copies_too() {
        let world = SimWorld::new(1);
        let clock = world.node("a").clock().clone();
        let memory = FetchMemory::new(8 * MEBI);
        let charge = |length, held| memory.reservation(&clock, Patience::None).charge(&[part(length, held)]);
        for (length, charged, copied) in [(100, 100, 100), (4096, MEBI, 0), (MEBI, MEBI, 0)] {
            let kept = charge(length, MEBI).unwrap();
            assert_eq!((memory.used_bytes(), memory.copied_bytes()), (charged, copied), "{length} bytes");
            let slice = kept[0].slice(..1);
            drop(kept);
            assert_eq!(memory.used_bytes(), charged, "a slice keeps the whole");
            drop(slice);
            assert_eq!((memory.used_bytes(), memory.copied_bytes()), (0, 0));
        }
        let mut kept: Vec<_> = (0..5).map(|_| charge(5_000, MEBI).unwrap()).collect();
        kept.push(charge(5_000, MEBI).unwrap());
        assert_eq!(memory.used_bytes(), 5 * MEBI + 5_000, "a copy, as half of it is taken");
        kept.push(charge(900_000, MEBI).unwrap());
        kept.push(charge(900_000, MEBI).unwrap());
        assert_eq!(memory.copied_bytes(), 5_000);
        kept.push(charge(900_000, MEBI).unwrap());
        assert_eq!(memory.copied_bytes(), 905_000, "a copy, as a chunk does not fit");
        assert_eq!(charge(900_000, MEBI).unwrap_err(), 900_000);
        assert!(memory.used_bytes() <= 8 * MEBI);
        drop(kept);
        assert_eq!((memory.used_bytes(), memory.copied_bytes()), (0, 0));
    }

    #[test]
    fn reads_wait_in_line_and_hold_nothing_meanwhile() {
        let world = SimWorld::new(2);
        world.block_on(async {
            let node = world.node("a");
            let clock = node.clock();
            let memory = FetchMemory::new(4 * MEBI);
            let first = memory.reservation(clock, Patience::None);
            assert!(first.reserve(3 * MEBI).await);
            let late = Patience::Until(clock.now() + Duration::from_secs(100));
            let second = memory.reservation(clock, late);
            assert!(second.reserve(MEBI).await);
            let mut growing = Box::pin(second.reserve(2 * MEBI));
            assert!(poll(growing.as_mut()).is_none());
            assert_eq!(memory.used_bytes(), 3 * MEBI, "it has given back what it had");
            assert!(!memory.reservation(clock, Patience::None).reserve(1).await, "others wait already");
            let late = clock.now() + Duration::from_secs(1);
            let third = memory.reservation(clock, Patience::Until(late));
            assert!(!third.reserve(MEBI).await && clock.now() >= late);
            let kept = first.charge(&[part(MEBI, MEBI)]).unwrap();
            assert!(poll(growing.as_mut()).is_some(), "what the first did not need is free");
            drop(growing);
            drop((first, second));
            assert_eq!(memory.used_bytes(), MEBI);
            let huge = memory.reservation(clock, Patience::None);
            assert!(!huge.reserve(9 * MEBI).await);
            drop(kept);
            assert!(huge.reserve(9 * MEBI).await, "it is alone");
            assert_eq!(huge.charge(&[part(9 * MEBI, 9 * MEBI)]).unwrap().len(), 1);
        });
        world.end();
    }
}
