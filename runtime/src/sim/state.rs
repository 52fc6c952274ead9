//! What a world is made of beside its tasks: the generator, the time, the events to come, nodes,
//! operations under way, connections. Shared by all handles behind one lock that nobody ever waits for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::disk_model::DiskModel;
use super::fault::FaultKind;
use super::net_model::NetModel;
use super::op::{Answer, Op, Pending};
use super::trace::{FNV_BASIS, Trace, fnv};

/// The state, shared. Tasks run without the lock.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State::new(seed))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held is a failed test; its other handles may still be dropped.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One life of a node: from its start to its crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Boot {
    pub(super) node: usize,
    pub(super) life: u64,
}

pub(super) struct Node {
    pub(super) name: String,
    pub(super) life: u64,
    pub(super) alive: bool,
    /// Wall clock minus virtual time, in ms.
    pub(super) wall_offset_ms: i64,
    pub(super) disk: DiskModel,
}

/// What happens at a moment.
#[derive(Debug, Clone, Copy)]
enum Event {
    Disk(u64),
    Timer(u64),
    Deliver { connection: usize, end: usize },
}

/// The place of an event in time; the second number is random, so that events of one moment come in any order.
pub(super) type EventKey = (u64, u32, u64);

/// A disk operation as its future sees it.
enum Slot {
    Flying { pending: Pending, fault: Option<FaultKind>, waker: Option<Waker>, wanted: bool },
    Done(Answer),
}

pub(super) struct State {
    pub(super) rng: fastrand::Rng,
    pub(super) now_ns: u64,
    /// Virtual time that one run may take.
    pub(super) time_max_ns: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) net: NetModel,
    pub(super) trace: Trace,
    events: BTreeMap<EventKey, Event>,
    number_next: u64,
    ops: BTreeMap<u64, Slot>,
    timers: BTreeMap<u64, Waker>,
}

impl State {
    fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            // Not zero, so that code which takes 0 for "never" shows.
            now_ns: 1_000_000_000,
            time_max_ns: 3_600_000_000_000,
            nodes: Vec::new(),
            net: NetModel::default(),
            trace: Trace::new(),
            events: BTreeMap::new(),
            number_next: 0,
            ops: BTreeMap::new(),
            timers: BTreeMap::new(),
        }
    }

    /// The running life of the node called `name`; starts the node if it is down or new.
    pub(super) fn boot(&mut self, name: &str) -> Boot {
        let node = self.node_index(name);
        let state = &mut self.nodes[node];
        if !state.alive {
            state.alive = true;
            state.life += 1;
            state.disk.forget_unnamed();
            state.disk.crash_at = None;
            let life = state.life;
            self.note(|| format!("{name} starts, life {life}"));
        }
        Boot { node, life: self.nodes[node].life }
    }

    pub(super) fn node_index(&mut self, name: &str) -> usize {
        self.nodes.iter().position(|node| node.name == name).unwrap_or_else(|| {
            self.nodes.push(Node {
                name: name.to_owned(),
                life: 0,
                alive: false,
                wall_offset_ms: 1_760_000_000_000,
                disk: DiskModel::default(),
            });
            self.nodes.len() - 1
        })
    }

    pub(super) fn is_alive(&self, boot: Boot) -> bool {
        self.nodes[boot.node].alive && self.nodes[boot.node].life == boot.life
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let line = format!("{} {}", self.now_ns, line());
        self.trace.push(line);
    }

    /// Ends a node's life: with the power, or only its process.
    pub(super) fn stop(&mut self, node: usize, power_cut: bool) {
        if !self.nodes[node].alive {
            return;
        }
        let how = if power_cut { "loses power" } else { "is killed" };
        self.note(|| format!("node {node} {how}"));
        self.nodes[node].alive = false;
        let mut flying = Vec::new();
        let ids: Vec<u64> = self.ops.keys().copied().collect();
        for id in ids {
            let of_node = match &self.ops[&id] {
                Slot::Flying { pending, .. } => pending.boot.node == node,
                Slot::Done(_) => false,
            };
            if of_node
                && let Some(Slot::Flying { pending, .. }) = self.ops.remove(&id)
                && pending.op.changes()
            {
                flying.push(pending);
            }
        }
        let disk = &mut self.nodes[node].disk;
        if power_cut {
            disk.power_cut(flying, &mut self.rng);
        } else {
            disk.process_killed(flying, &mut self.rng);
        }
        self.net_node_stopped(node, power_cut);
    }

    /// Hands an operation to a node's disk; `None` if the node is down, then nothing will ever answer.
    pub(super) fn submit(&mut self, pending: Pending) -> Option<u64> {
        if !self.is_alive(pending.boot) {
            return None;
        }
        let node = pending.boot.node;
        let disk = &mut self.nodes[node].disk;
        let fault = disk.fault(pending.op.kind(), pending.path(), &mut self.rng);
        let mut latency = disk.latency.draw(&mut self.rng);
        if let Some(FaultKind::Slow(extra)) = fault {
            latency = latency.saturating_add(u64::try_from(extra.as_nanos()).unwrap_or(u64::MAX));
        }
        self.note(|| format!("n{node} {} {}", pending.path.display(), pending.op.describe()));
        let id = self.number();
        self.ops.insert(id, Slot::Flying { pending, fault, waker: None, wanted: true });
        self.at(self.now_ns.saturating_add(latency), Event::Disk(id));
        Some(id)
    }

    /// The answer to an operation, or a promise to wake.
    pub(super) fn poll_op(&mut self, id: u64, on: &Waker) -> Option<Answer> {
        match self.ops.get_mut(&id) {
            Some(Slot::Flying { waker, .. }) => {
                *waker = Some(on.clone());
                None
            }
            Some(Slot::Done(_)) => match self.ops.remove(&id) {
                Some(Slot::Done(answer)) => Some(answer),
                _ => unreachable!("the slot was just seen to be done"),
            },
            None => None,
        }
    }

    /// Nobody waits for an operation any more; it goes on.
    pub(super) fn abandon_op(&mut self, id: u64) {
        match self.ops.get_mut(&id) {
            Some(Slot::Flying { wanted, waker, .. }) => (*wanted, *waker) = (false, None),
            Some(Slot::Done(_)) => drop(self.ops.remove(&id)),
            None => {}
        }
    }

    /// Sets or renews a timer.
    pub(super) fn set_timer(&mut self, timer: &mut Option<EventKey>, deadline_ns: u64, on: &Waker) {
        let key = *timer.get_or_insert_with(|| {
            let id = self.number();
            self.at(deadline_ns, Event::Timer(id))
        });
        if let Some(Event::Timer(id)) = self.events.get(&key) {
            self.timers.insert(*id, on.clone());
        }
    }

    pub(super) fn clear_timer(&mut self, timer: EventKey) {
        if let Some(Event::Timer(id)) = self.events.remove(&timer) {
            self.timers.remove(&id);
        }
    }

    pub(super) fn deliver_at(&mut self, time_ns: u64, connection: usize, end: usize) {
        self.at(time_ns, Event::Deliver { connection, end });
    }

    /// Lets the next event happen; false if there is none.
    pub(super) fn step(&mut self) -> bool {
        let Some(((time, ..), event)) = self.events.pop_first() else { return false };
        self.now_ns = self.now_ns.max(time);
        match event {
            Event::Timer(id) => {
                if let Some(waker) = self.timers.remove(&id) {
                    waker.wake();
                }
            }
            Event::Disk(id) => self.complete(id),
            Event::Deliver { connection, end } => self.net_deliver(connection, end),
        }
        true
    }

    fn complete(&mut self, id: u64) {
        // Operations of a stopped node were taken away with it.
        let Some(Slot::Flying { pending, .. }) = self.ops.get(&id) else { return };
        let (node, kind, changes) = (pending.boot.node, pending.op.kind(), pending.op.changes());
        if changes && self.nodes[node].disk.count_change(kind) {
            self.stop(node, true);
            return;
        }
        let Some(Slot::Flying { pending, fault, waker, wanted }) = self.ops.remove(&id) else { return };
        let line = format!("n{node} {} {}", pending.path.display(), pending.op.describe());
        let hash = match &pending.op {
            Op::Write { content: super::op::WriteContent::Early(bytes), .. } => fnv(FNV_BASIS, bytes),
            _ => 0,
        };
        let answer = self.nodes[node].disk.complete(pending, fault, &mut self.rng);
        let error = answer.error().map(ToString::to_string);
        self.note(|| format!("{line} {hash:x} done {}", error.as_deref().unwrap_or("ok")));
        if wanted {
            self.ops.insert(id, Slot::Done(answer));
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn number(&mut self) -> u64 {
        self.number_next += 1;
        self.number_next
    }

    fn at(&mut self, time_ns: u64, event: Event) -> EventKey {
        let key = (time_ns, self.rng.u32(..), self.number());
        self.events.insert(key, event);
        key
    }
}
