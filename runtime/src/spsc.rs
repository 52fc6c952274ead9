//! A bounded queue between two threads: one sends, one receives, nobody waits for the other.
//!
//! Invariant: slots from `head` to `tail` are full and belong to the receiver, the others are empty and belong to
//! the sender. Positions grow without end and are reduced to a slot by a mask.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use crate::atomic::{AtomicUsize, Ordering, UnsafeCell};

struct Ring<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// The next position to receive from; moved by the receiver only.
    head: CachePadded<AtomicUsize>,
    /// The next position to send to; moved by the sender only.
    tail: CachePadded<AtomicUsize>,
}

// SAFETY: a slot is touched only by the side that owns it, and handed over by a release store of the position.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: it owns values that may be sent.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[position & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let tail = self.tail.load(Ordering::Relaxed);
        let mut head = self.head.load(Ordering::Relaxed);
        while head != tail {
            self.slot(head).with_mut(|slot| {
                // SAFETY: both sides are gone, so the reference is the only one.
                let slot = unsafe { &mut *slot };
                // SAFETY: slots from head to tail are full.
                unsafe { slot.assume_init_drop() };
            });
            head = head.wrapping_add(1);
        }
    }
}

/// The sending side.
pub(crate) struct Sender<T> {
    ring: Arc<Ring<T>>,
    /// Our own position, and what we last saw of the receiver's.
    tail: Cell<usize>,
    head_seen: Cell<usize>,
}

/// The receiving side.
pub(crate) struct Receiver<T> {
    ring: Arc<Ring<T>>,
    head: Cell<usize>,
    tail_seen: Cell<usize>,
}

/// A queue of at least `capacity` values (rounded up to a power of two).
pub(crate) fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let slots = (0..capacity.max(1).next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit()));
    let ring = Arc::new(Ring {
        slots: slots.collect(),
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
    });
    let sender = Sender { ring: Arc::clone(&ring), tail: Cell::new(0), head_seen: Cell::new(0) };
    (sender, Receiver { ring, head: Cell::new(0), tail_seen: Cell::new(0) })
}

impl<T> Sender<T> {
    /// Sends a value, or gives it back if the queue is full.
    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        if self.is_full() {
            return Err(value);
        }
        let tail = self.tail.get();
        self.ring.slot(tail).with_mut(|slot| {
            // SAFETY: the slot is empty and ours: the receiver has moved its position past it.
            unsafe { (*slot).write(value) };
        });
        self.tail.set(tail.wrapping_add(1));
        self.ring.tail.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Whether no value fits.
    pub(crate) fn is_full(&self) -> bool {
        let capacity = self.ring.slots.len();
        let tail = self.tail.get();
        if tail.wrapping_sub(self.head_seen.get()) < capacity {
            return false;
        }
        self.head_seen.set(self.ring.head.load(Ordering::Acquire));
        tail.wrapping_sub(self.head_seen.get()) >= capacity
    }
}

impl<T> Receiver<T> {
    /// Takes the oldest value.
    pub(crate) fn pop(&self) -> Option<T> {
        let head = self.head.get();
        if head == self.tail_seen.get() {
            self.tail_seen.set(self.ring.tail.load(Ordering::Acquire));
            if head == self.tail_seen.get() {
                return None;
            }
        }
        let value = self.ring.slot(head).with_mut(|slot| {
            // SAFETY: the slot is ours: the sender has moved its position past it.
            let slot = unsafe { &*slot };
            // SAFETY: the sender has filled it, and moving our position on keeps us from reading it twice.
            unsafe { slot.assume_init_read() }
        });
        self.head.set(head.wrapping_add(1));
        self.ring.head.store(head.wrapping_add(1), Ordering::Release);
        Some(value)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_in_order_and_the_bound_holds() {
        let (sender, receiver) = channel(3);
        for round in 0..10 {
            for value in 0..4 {
                assert_eq!(sender.push(round * 10 + value), Ok(()));
            }
            assert_eq!(sender.push(99), Err(99));
            for value in 0..4 {
                assert_eq!(receiver.pop(), Some(round * 10 + value));
            }
            assert_eq!(receiver.pop(), None);
        }
    }

    #[test]
    fn values_left_behind_are_dropped_once() {
        let value = Arc::new(());
        let (sender, receiver) = channel(4);
        for _ in 0..3 {
            assert!(sender.push(Arc::clone(&value)).is_ok());
        }
        drop(receiver.pop());
        drop((sender, receiver));
        assert_eq!(Arc::strong_count(&value), 1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// Every value arrives, in order, with its content, also when the queue is full in between.
    #[test]
    fn loom_values_cross_in_order() {
        loom::model(|| {
            let (sender, receiver) = channel(2);
            let thread = loom::thread::spawn(move || {
                let mut refused = 0;
                for value in 0..3 {
                    refused += usize::from(sender.push(Box::new(value)).is_err());
                }
                refused
            });
            let mut last = -1;
            let mut count = 0;
            for _ in 0..2 {
                if let Some(value) = receiver.pop() {
                    assert!(*value > last);
                    last = *value;
                    count += 1;
                }
            }
            let refused = thread.join().unwrap();
            while let Some(value) = receiver.pop() {
                assert!(*value > last);
                last = *value;
                count += 1;
            }
            assert_eq!(count + refused, 3);
        });
    }
}
