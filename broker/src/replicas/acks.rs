//! Produce requests that wait for the acknowledgement of what they have appended.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use model::Offset;
use replication::Acks;
use runtime::Monotonic;
use runtime::sync::Notify;

use super::PartitionError;

/// The acknowledgements that one produce request waits for on one shard.
pub struct AckWait {
    remaining: Cell<usize>,
    failures: RefCell<Vec<(usize, PartitionError)>>,
    deadline: Monotonic,
    done: Notify,
}

impl AckWait {
    /// For a request that gives up at `deadline`.
    #[must_use]
    pub fn new(deadline: Monotonic) -> Rc<Self> {
        Rc::new(Self { remaining: Cell::new(0), failures: RefCell::default(), deadline, done: Notify::new() })
    }

    /// Completes when every partition has answered; yields the slots that failed.
    pub async fn wait(&self) -> Vec<(usize, PartitionError)> {
        while self.remaining.get() > 0 {
            self.done.notified().await;
        }
        self.failures.take()
    }

    /// Notes that `slot` has failed without a wait.
    pub(super) fn fail(&self, slot: usize, error: PartitionError) {
        self.failures.borrow_mut().push((slot, error));
    }

    fn answer(&self, slot: usize, outcome: Result<(), PartitionError>) {
        if let Err(error) = outcome {
            self.fail(slot, error);
        }
        self.remaining.set(self.remaining.get() - 1);
        if self.remaining.get() == 0 {
            self.done.notify_one();
        }
    }
}

struct AckWaiter {
    /// The high watermark or durable end that satisfies it.
    offset: Offset,
    slot: usize,
    wait: Rc<AckWait>,
}

/// Who waits for acknowledgements of one partition, in order of offsets.
#[derive(Default)]
pub(super) struct AckWaiters {
    leader: RefCell<VecDeque<AckWaiter>>,
    all: RefCell<VecDeque<AckWaiter>>,
}

impl AckWaiters {
    /// Has `slot` of `wait` answered when everything below `offset` is acknowledged.
    pub(super) fn add(&self, acks: Acks, offset: Offset, slot: usize, wait: &Rc<AckWait>) {
        wait.remaining.set(wait.remaining.get() + 1);
        let mut line = self.line(acks).borrow_mut();
        // Nearly always at the end; a retried batch waits for an offset further ahead in the line.
        let place = line.partition_point(|waiter| waiter.offset <= offset);
        line.insert(place, AckWaiter { offset, slot, wait: Rc::clone(wait) });
    }

    /// Answers who waits for less than `reached`.
    pub(super) fn release(&self, acks: Acks, reached: Offset) {
        let line = self.line(acks);
        loop {
            // The borrow ends before the answer, which may run other code.
            let next = line.borrow_mut().pop_front_if(|waiter| waiter.offset <= reached);
            let Some(waiter) = next else { return };
            waiter.wait.answer(waiter.slot, Ok(()));
        }
    }

    /// Answers those whose time is up.
    pub(super) fn expire(&self, now: Monotonic) {
        for line in [&self.leader, &self.all] {
            if line.borrow().is_empty() {
                continue;
            }
            let (expired, kept) =
                line.take().into_iter().partition::<VecDeque<_>, _>(|waiter| waiter.wait.deadline <= now);
            *line.borrow_mut() = kept;
            for waiter in expired {
                waiter.wait.answer(waiter.slot, Err(PartitionError::TimedOut));
            }
        }
    }

    /// Tells everyone that there will be no acknowledgement.
    pub(super) fn fail(&self, error: &PartitionError) {
        for line in [&self.leader, &self.all] {
            for waiter in line.take() {
                waiter.wait.answer(waiter.slot, Err(error.clone()));
            }
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.leader.borrow().is_empty() && self.all.borrow().is_empty()
    }

    const fn line(&self, acks: Acks) -> &RefCell<VecDeque<AckWaiter>> {
        match acks {
            Acks::Leader => &self.leader,
            Acks::All => &self.all,
        }
    }
}
