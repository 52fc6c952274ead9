//! The kernel's clocks.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::reactor::{Reactor, Sleep};
use crate::effects::Clock;
use crate::time::Monotonic;

/// The monotonic clock of the machine.
pub(crate) fn now() -> Monotonic {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for a write; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Monotonic(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The kernel's tick: what it takes for the time of a file that changes now. The same number twice means the same tick.
pub(crate) fn tick() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for a write; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The clock of a shard.
#[derive(Debug, Clone)]
pub struct UringClock {
    pub(super) reactor: Rc<Reactor>,
}

impl Clock for UringClock {
    fn now(&self) -> Monotonic {
        now()
    }

    fn unix_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn sleep_until(&self, deadline: Monotonic) -> impl Future<Output = ()> + 'static {
        Sleep::new(&self.reactor, deadline)
    }
}
