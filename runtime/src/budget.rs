//! A number of bytes that the tasks of one shard take, first come first served, and any thread gives back.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use crate::sync::waiters::Waiters;
use crate::waker_cell::WakerCell;

/// The bytes and those who wait for some. Clones share both; stays on its shard.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
    line: Rc<RefCell<Waiters>>,
}

#[derive(Debug)]
struct Shared {
    bytes_max: usize,
    used: AtomicUsize,
    /// Tasks in the line.
    waiting: AtomicUsize,
    /// The first in the line.
    first: WakerCell,
}

impl Shared {
    /// What is more than the whole budget gets all of it, and so is alone.
    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| (used == 0 || used + bytes <= self.bytes_max).then_some(used + bytes);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::AcqRel);
            self.first.wake();
        }
    }
}

impl Budget {
    /// All of `bytes_max` are free.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let shared = Shared {
            bytes_max,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            first: WakerCell::new(),
        };
        Self { shared: Arc::new(shared), line: Rc::default() }
    }

    /// All bytes there are.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.shared.bytes_max
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.shared.used.load(Ordering::Relaxed)
    }

    /// A view for other threads.
    #[must_use]
    pub fn watch(&self) -> BudgetWatch {
        BudgetWatch { shared: Arc::clone(&self.shared) }
    }

    /// Takes bytes if they are free and nobody waits.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> Option<BudgetGrant> {
        if !self.line.borrow().is_empty() {
            return None;
        }
        self.shared.take(bytes).then(|| BudgetGrant { shared: Arc::clone(&self.shared), bytes })
    }

    /// Has `grant` grow if so much is free and nobody waits; says whether it has.
    pub fn try_grow(&self, grant: &mut BudgetGrant, bytes: usize) -> bool {
        let Some(missing) = bytes.checked_sub(grant.bytes).filter(|missing| *missing > 0) else {
            return true;
        };
        let Some(mut more) = self.try_take(missing) else { return false };
        grant.bytes += std::mem::take(&mut more.bytes);
        true
    }

    /// Takes bytes when they are free and all that came earlier have theirs. More than there are in all are granted when
    /// nothing else is taken. Whoever waits must hold none, or two could wait for each other.
    pub async fn take(&self, bytes: usize) -> BudgetGrant {
        let mut place = Place { budget: self, ticket: None };
        std::future::poll_fn(|context| {
            let mut line = self.line.borrow_mut();
            if line.first().map(|(ticket, _)| ticket) == place.ticket {
                // What is given back after this look finds the waker.
                self.shared.first.register(context.waker());
                if self.shared.take(bytes) {
                    return Poll::Ready(BudgetGrant { shared: Arc::clone(&self.shared), bytes });
                }
            }
            match place.ticket {
                Some(ticket) => drop(line.renew(ticket, context.waker())),
                None => {
                    place.ticket = Some(line.join(context.waker()));
                    self.shared.waiting.fetch_add(1, Ordering::Relaxed);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// A place in the line, given up when dropped: the next one moves up.
struct Place<'a> {
    budget: &'a Budget,
    ticket: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        self.budget.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut line = self.budget.line.borrow_mut();
        line.leave(ticket);
        if let Some((_, next)) = line.first() {
            next.wake_by_ref();
        }
    }
}

/// Bytes of a budget, given back when dropped, on any thread.
#[derive(Debug)]
pub struct BudgetGrant {
    shared: Arc<Shared>,
    bytes: usize,
}

impl BudgetGrant {
    /// How many.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Splits off `bytes` of them, or all if there are fewer.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { shared: Arc::clone(&self.shared), bytes }
    }
}

impl Drop for BudgetGrant {
    fn drop(&mut self) {
        self.shared.give_back(self.bytes);
    }
}

/// What other threads may know of a budget.
#[derive(Debug, Clone)]
pub struct BudgetWatch {
    shared: Arc<Shared>,
}

impl BudgetWatch {
    /// Whether somebody waits for bytes.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) > 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::atomic::AtomicUsize as Counter;
    use std::task::{Context, Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Count(Counter);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(taking: Pin<&mut impl Future<Output = BudgetGrant>>) -> Option<BudgetGrant> {
        match taking.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(grant) => Some(grant),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_large_wish_is_not_overtaken_and_what_is_too_large_is_alone() {
        let budget = Budget::new(10);
        let held = budget.try_take(4).unwrap();
        let (mut large, mut small) = (pin!(budget.take(8)), pin!(budget.take(1)));
        assert!(poll(large.as_mut()).is_none() && poll(small.as_mut()).is_none());
        assert!(budget.watch().is_wanted() && budget.try_take(1).is_none());
        drop(held);
        assert!(poll(small.as_mut()).is_none(), "it is the second");
        let large = poll(large.as_mut()).unwrap();
        let small = poll(small.as_mut()).unwrap();
        assert_eq!((budget.used(), budget.watch().is_wanted()), (9, false));
        let mut huge = pin!(budget.take(50));
        assert!(poll(huge.as_mut()).is_none());
        drop((large, small));
        let huge = poll(huge.as_mut()).unwrap();
        assert!(budget.used() == 50 && budget.try_take(1).is_none());
        drop(huge);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_that_gives_up_makes_way_for_the_next() {
        let budget = Budget::new(10);
        let held = budget.try_take(5).unwrap();
        let woken = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut next = pin!(budget.take(5));
        {
            let mut large = pin!(budget.take(10));
            assert!(poll(large.as_mut()).is_none());
            assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(poll(next.as_mut()).is_some());
        drop(held);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_another_thread_gives_back_wakes_the_first() {
        let budget = Budget::new(10);
        let mut held = budget.try_take(6).unwrap();
        assert!(budget.try_grow(&mut held, 10) && !budget.try_grow(&mut held, 11));
        let part = held.split(4);
        let woken = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut taking = pin!(budget.take(4));
        assert!(taking.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        std::thread::spawn(move || drop(part)).join().unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(taking).map(|grant| grant.bytes()), Some(4));
        drop(held);
        assert_eq!(budget.used(), 0);
    }
}
