//! The flag that tells other threads whether a shard has to be woken.
//!
//! Invariant: work that was published before [`SleepFlag::must_wake`] is either seen by the sleeper's check
//! after [`SleepFlag::announce`], or `must_wake` returns true. Both sides write, fence, then read, so at least
//! one of them sees the other.

use crate::atomic::{AtomicBool, Ordering, fence};

/// Set while its owner sleeps or is about to.
#[derive(Debug)]
pub(crate) struct SleepFlag {
    sleeping: AtomicBool,
}

impl SleepFlag {
    pub(crate) fn new() -> Self {
        Self { sleeping: AtomicBool::new(false) }
    }

    /// Owner: says that it is about to sleep. It must look for work once more after this.
    pub(crate) fn announce(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Owner: is awake again.
    pub(crate) fn clear(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Other threads, after they have published work: whether they have to wake the owner. Of several that
    /// ask at the same time one is told so.
    pub(crate) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel)
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    /// Work published by another thread is never slept over: the sleeper sees it, or it is woken.
    #[test]
    fn loom_no_wake_is_lost() {
        loom::model(|| {
            let flag = Arc::new(SleepFlag::new());
            let work = Arc::new(AtomicBool::new(false));
            let woken = Arc::new(AtomicBool::new(false));
            let other = {
                let (flag, work, woken) = (Arc::clone(&flag), Arc::clone(&work), Arc::clone(&woken));
                loom::thread::spawn(move || {
                    work.store(true, Ordering::Relaxed);
                    if flag.must_wake() {
                        woken.store(true, Ordering::Relaxed);
                    }
                })
            };
            flag.announce();
            let seen = work.load(Ordering::Relaxed);
            other.join().unwrap();
            assert!(seen || woken.load(Ordering::Relaxed), "would sleep for ever");
        });
    }
}
