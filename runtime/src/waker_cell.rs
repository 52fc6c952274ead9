//! One waker that other threads may use: the lock-free meeting point of one waiting task and those who wake it.
//!
//! Protocol: the owner registers, then looks for work; others publish work, then wake. All of them change the
//! same atomic, so either the owner's look comes after the work, or the wake finds the registered waker.

use std::task::Waker;

use crate::atomic::{AtomicUsize, Ordering, UnsafeCell};

/// Nobody touches the cell.
const IDLE: usize = 0;
/// The owner exchanges the waker.
const REGISTERING: usize = 1;
/// One of the others takes the waker out.
const WAKING: usize = 2;

/// A cell for one waker. One task registers (one thread at a time), any number of threads wake.
#[derive(Debug)]
pub(crate) struct WakerCell {
    state: AtomicUsize,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: the waker is touched only by the one who moved `state` away from IDLE; see `register` and `wake`.
unsafe impl Sync for WakerCell {}
// SAFETY: a waker may be sent, and so may the cell.
unsafe impl Send for WakerCell {}

impl WakerCell {
    pub(crate) fn new() -> Self {
        Self { state: AtomicUsize::new(IDLE), waker: UnsafeCell::new(None) }
    }

    /// Leaves `waker` for the next wake. The caller looks for work once more after this. Must not be called by
    /// two threads at the same time; if it were, the second is woken at once instead.
    pub(crate) fn register(&self, waker: &Waker) {
        let taken = self.state.compare_exchange(IDLE, REGISTERING, Ordering::AcqRel, Ordering::Acquire);
        if taken.is_err() {
            // A wake is under way: it may be the one that is waited for.
            waker.wake_by_ref();
            return;
        }
        let before = self.waker.with_mut(|slot| {
            // SAFETY: `state` was moved from IDLE to REGISTERING by us; everybody else keeps out until it is moved on.
            let slot = unsafe { &mut *slot };
            match slot {
                Some(kept) if kept.will_wake(waker) => None,
                _ => slot.replace(waker.clone()),
            }
        });
        let left = self.state.compare_exchange(REGISTERING, IDLE, Ordering::AcqRel, Ordering::Acquire);
        if left.is_err() {
            // Somebody wanted to wake meanwhile, saw us at work and left it to us.
            let waker = self.take();
            self.state.swap(IDLE, Ordering::AcqRel);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        drop(before);
    }

    /// Wakes the registered task, if there is one.
    pub(crate) fn wake(&self) {
        if self.state.fetch_or(WAKING, Ordering::AcqRel) != IDLE {
            // The one who registers sees the mark; another who wakes does our work.
            return;
        }
        let waker = self.take();
        self.state.fetch_and(!WAKING, Ordering::AcqRel);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the waker out; only for the one who holds the cell.
    fn take(&self) -> Option<Waker> {
        // SAFETY: the callers have moved `state` away from IDLE and are the only ones to touch the waker.
        self.waker.with_mut(|slot| unsafe { &mut *slot }.take())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize as Counter;
    use std::task::Wake;

    struct Count(Counter);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_is_used_once() {
        let count = Arc::new(Count(Counter::new(0)));
        let cell = WakerCell::new();
        cell.wake();
        cell.register(&Waker::from(Arc::clone(&count)));
        cell.wake();
        cell.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::atomic::AtomicBool;
    use loom::sync::Arc;

    struct Flag(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Flag {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// Work that is published before a wake is seen after registering, or the waker is used; with two who wake.
    #[test]
    fn loom_no_wake_is_lost() {
        loom::model(|| {
            let cell = Arc::new(WakerCell::new());
            let work: [Arc<AtomicBool>; 2] = std::array::from_fn(|_| Arc::new(AtomicBool::new(false)));
            let others = work.clone().map(|work| {
                let cell = Arc::clone(&cell);
                loom::thread::spawn(move || {
                    work.store(true, Ordering::Relaxed);
                    cell.wake();
                })
            });
            let flag = std::sync::Arc::new(Flag(std::sync::atomic::AtomicBool::new(false)));
            cell.register(&Waker::from(std::sync::Arc::clone(&flag)));
            let seen = work.iter().all(|work| work.load(Ordering::Relaxed));
            for other in others {
                other.join().unwrap();
            }
            assert!(seen || flag.0.load(Ordering::SeqCst), "work was slept over");
        });
    }
}
