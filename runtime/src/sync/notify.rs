//! One task tells others that something has happened.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::waiters::Waiters;

/// Wakes tasks that wait for something. A `notify_one` while nobody waits is remembered (once) for the next
/// that comes, so that nothing is missed between looking and waiting.
#[derive(Debug, Default)]
pub struct Notify {
    stored: Cell<bool>,
    waiters: RefCell<Waiters>,
}

impl Notify {
    /// Nobody waits, nothing is stored.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the wait of the task that has waited longest, or of the next that will.
    pub fn notify_one(&self) {
        let waker = self.waiters.borrow_mut().pop();
        match waker {
            Some(waker) => waker.wake(),
            None => self.stored.set(true),
        }
    }

    /// Ends the wait of all tasks that wait now; is not remembered.
    pub fn notify_all(&self) {
        let waiting = self.waiters.borrow_mut().take();
        waiting.for_each(std::task::Waker::wake);
    }

    /// Waits for a notification. It counts as waiting from its first poll on; a notification that reaches a
    /// future which is dropped before it saw it goes to the next.
    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, state: State::New }
    }
}

/// The future of [`Notify::notified`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Notified<'a> {
    notify: &'a Notify,
    state: State,
}

#[derive(Debug)]
enum State {
    New,
    Waiting(u64),
    Done,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.state {
            State::New if self.notify.stored.replace(false) => {}
            State::New => {
                self.state = State::Waiting(self.notify.waiters.borrow_mut().join(context.waker()));
                return Poll::Pending;
            }
            State::Waiting(ticket) => {
                if self.notify.waiters.borrow_mut().renew(ticket, context.waker()) {
                    return Poll::Pending;
                }
            }
            State::Done => {}
        }
        self.state = State::Done;
        Poll::Ready(())
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if let State::Waiting(ticket) = self.state {
            let waited = self.notify.waiters.borrow_mut().leave(ticket);
            if !waited {
                self.notify.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn ready(future: &mut Notified<'_>) -> bool {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn one_notification_ends_one_wait() {
        let notify = Notify::new();
        let (mut first, mut second) = (notify.notified(), notify.notified());
        assert!(!ready(&mut first) && !ready(&mut second));
        notify.notify_one();
        assert!(!ready(&mut second) && ready(&mut first));
        notify.notify_all();
        assert!(ready(&mut second));
        assert!(!ready(&mut notify.notified()), "notify_all must not be remembered");
    }

    #[test]
    fn a_notification_is_remembered_once() {
        let notify = Notify::new();
        notify.notify_one();
        notify.notify_one();
        assert!(ready(&mut notify.notified()));
        assert!(!ready(&mut notify.notified()));
    }

    #[test]
    fn a_dropped_wait_hands_its_notification_on() {
        let notify = Notify::new();
        let (mut first, mut second) = (notify.notified(), notify.notified());
        assert!(!ready(&mut first) && !ready(&mut second));
        notify.notify_one();
        drop(first);
        assert!(ready(&mut second));
    }
}
