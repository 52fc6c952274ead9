//! The table of operations under way.

use std::task::Waker;

use io_uring::squeue;

use super::fd::own;
use super::payload::Payload;

/// Where an operation stands, and which of those that stood there it is. Generations start at one, so no key
/// is zero in the kernel's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    pub(crate) fn user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_user_data(data: u64) -> Option<Self> {
        let generation = u32::try_from(data >> 32).expect("32 bits are left");
        let index = u32::try_from(data & u64::from(u32::MAX)).expect("32 bits are left");
        (generation != 0).then_some(Self { index, generation })
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    /// The kernel works; a future waits.
    Waiting {
        payload: Payload,
        waker: Option<Waker>,
    },
    /// The kernel works; nobody waits.
    Orphan {
        payload: Payload,
    },
    /// The kernel is done; the future has not looked yet.
    Done {
        result: i32,
        flags: u32,
        payload: Payload,
    },
}

/// All operations of a shard.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    in_flight: usize,
}

/// What a completion has set free, to be used when the table is not borrowed.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    pub(crate) waker: Option<Waker>,
    pub(crate) orphan: Option<Payload>,
}

/// What a future has left behind.
#[derive(Debug, Default)]
pub(crate) struct Abandoned {
    pub(crate) in_flight: bool,
    pub(crate) finished: Option<Payload>,
}

impl Slots {
    /// Takes over a payload and returns the queue entry that starts its operation.
    pub(crate) fn insert(&mut self, mut payload: Payload) -> (Key, squeue::Entry) {
        let entry = payload.entry();
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 1, state: State::Free });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 operations fit into memory")
        });
        let slot = &mut self.slots[index as usize];
        slot.state = State::Waiting { payload, waker: None };
        self.in_flight += 1;
        let key = Key { index, generation: slot.generation };
        (key, entry.user_data(key.user_data()))
    }

    fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)
    }

    fn release(&mut self, key: Key) -> State {
        let slot = &mut self.slots[key.index as usize];
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        self.free.push(key.index);
        std::mem::replace(&mut slot.state, State::Free)
    }

    /// Notes a completion.
    pub(crate) fn complete(&mut self, key: Key, result: i32, flags: u32, more: bool) -> Finished {
        let Some(slot) = self.slot(key) else { return Finished::default() };
        if more {
            return Finished::default();
        }
        match std::mem::replace(&mut slot.state, State::Free) {
            State::Waiting { payload, waker } => {
                slot.state = State::Done { result, flags, payload };
                self.in_flight -= 1;
                Finished { waker, orphan: None }
            }
            State::Orphan { payload } => {
                self.in_flight -= 1;
                self.release(key);
                close_accepted(&payload, result);
                Finished { waker: None, orphan: Some(payload) }
            }
            other => {
                slot.state = other;
                Finished::default()
            }
        }
    }

    /// What has become of an operation; if it is under way, `waker` is woken when it ends.
    pub(crate) fn poll(&mut self, key: Key, waker: &Waker) -> Option<(i32, u32, Payload)> {
        let slot = self.slot(key)?;
        if let State::Waiting { waker: kept, .. } = &mut slot.state {
            match kept {
                Some(kept) => kept.clone_from(waker),
                None => *kept = Some(waker.clone()),
            }
            return None;
        }
        self.take(key)
    }

    /// Takes out an operation that has ended.
    pub(crate) fn take(&mut self, key: Key) -> Option<(i32, u32, Payload)> {
        let slot = self.slot(key)?;
        if !matches!(slot.state, State::Done { .. }) {
            return None;
        }
        match self.release(key) {
            State::Done { result, flags, payload } => Some((result, flags, payload)),
            _ => None,
        }
    }

    /// The future of an operation is gone.
    pub(crate) fn abandon(&mut self, key: Key) -> Abandoned {
        let Some(slot) = self.slot(key) else { return Abandoned::default() };
        match std::mem::replace(&mut slot.state, State::Free) {
            State::Waiting { payload, .. } => {
                slot.state = State::Orphan { payload };
                Abandoned { in_flight: true, finished: None }
            }
            State::Done { result, payload, .. } => {
                self.release(key);
                close_accepted(&payload, result);
                Abandoned { in_flight: false, finished: Some(payload) }
            }
            other => {
                slot.state = other;
                Abandoned::default()
            }
        }
    }

    /// Operations that the kernel has not finished.
    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The keys of all operations that the kernel has not finished.
    pub(crate) fn pending(&self) -> Vec<Key> {
        let in_flight = |slot: &Slot| matches!(slot.state, State::Waiting { .. } | State::Orphan { .. });
        let slots = self.slots.iter().zip(0..).filter(|(slot, _)| in_flight(slot));
        slots.map(|(slot, index)| Key { index, generation: slot.generation }).collect()
    }
}

/// A connection that was accepted for nobody is closed.
fn close_accepted(payload: &Payload, result: i32) {
    if matches!(payload, Payload::Accept { .. }) {
        drop(own(result));
    }
}
