//! Virtual time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::state::{Boot, EventKey, Shared};
use crate::effects::Clock;
use crate::time::Monotonic;

/// The clock of a node, or of the world.
#[derive(Clone)]
pub struct SimClock {
    shared: Shared,
    boot: Option<Boot>,
}

impl SimClock {
    pub(super) const fn new(shared: Shared, boot: Option<Boot>) -> Self {
        Self { shared, boot }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Monotonic {
        Monotonic(self.shared.lock().now_ns)
    }

    fn unix_ms(&self) -> i64 {
        let state = self.shared.lock();
        let offset = self.boot.map_or(0, |boot| state.nodes[boot.node].wall_offset_ms);
        offset.saturating_add_unsigned(state.now_ns / 1_000_000)
    }

    fn sleep_until(&self, deadline: Monotonic) -> impl Future<Output = ()> + 'static {
        Sleep { shared: self.shared.clone(), deadline_ns: deadline.0, timer: None }
    }
}

struct Sleep {
    shared: Shared,
    deadline_ns: u64,
    timer: Option<EventKey>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        if state.now_ns >= this.deadline_ns {
            return Poll::Ready(());
        }
        state.set_timer(&mut this.timer, this.deadline_ns, cx.waker());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.shared.lock().clear_timer(timer);
        }
    }
}
