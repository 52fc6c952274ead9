//! The world that a test holds: it starts and stops nodes, lets time pass, and looks behind the scenes.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::clock::SimClock;
use super::effects::SimEffects;
use super::executor::{Executor, MAIN};
use super::fault::{Fault, Latency, OpKind};
use super::state::{Boot, Shared};
use super::trace::Trace;
use crate::effects::Clock;

/// A world of nodes, all of it derived from one seed. Clones are the same world.
#[derive(Clone)]
pub struct SimWorld {
    seed: u64,
    pub(super) shared: Shared,
    pub(super) executor: Rc<Executor>,
}

impl SimWorld {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, shared: Shared::new(seed), executor: Rc::new(Executor::new()) }
    }

    /// The seed that this world came from.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The effects of the node called `name`: its first shard's. Starts the node if it is new or down; its disk
    /// is as the last life left it.
    #[must_use]
    pub fn node(&self, name: &str) -> SimEffects {
        let boot = self.shared.lock().boot(name);
        SimEffects::new(self.clone(), boot)
    }

    /// Whether the node is up.
    #[must_use]
    pub fn is_up(&self, name: &str) -> bool {
        let mut state = self.shared.lock();
        let node = state.node_index(name);
        state.nodes[node].alive
    }

    /// Cuts a node's power: its tasks are gone; of its unsynced sectors and names, each survives or not.
    pub fn crash(&self, name: &str) {
        self.stop(name, true);
    }

    /// Kills a node's process: its tasks are gone; what the kernel was handed survives.
    pub fn kill(&self, name: &str) {
        self.stop(name, false);
    }

    /// Runs the world until `future` is ready.
    ///
    /// # Panics
    /// If nothing can ever wake it, after too much virtual time ([`SimWorld::set_time_max`]), or after a million polls
    /// in one moment; the message has the seed and the last effects.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.run(None, future).unwrap_or_else(|| unreachable!("only a run on a node can be cut off"))
    }

    /// As [`SimWorld::block_on`], for a future that is part of a node: `None` if the node stops before it is ready.
    pub fn run_on<F: Future>(&self, node: &SimEffects, future: F) -> Option<F::Output> {
        self.run(Some(node.boot()), future)
    }

    /// Runs the world until `future` is ready; another name of [`SimWorld::block_on`].
    pub fn run_until<F: Future>(&self, future: F) -> F::Output {
        self.block_on(future)
    }

    /// Lets time pass.
    pub fn run_for(&self, time: Duration) {
        let clock = self.clock();
        self.block_on(clock.sleep_until(clock.now() + time));
    }

    /// A clock that belongs to no node.
    #[must_use]
    pub fn clock(&self) -> SimClock {
        SimClock::new(self.shared.clone(), None)
    }

    /// Moves a node's wall clock by so many milliseconds; its monotonic clock does not notice.
    pub fn jump_wall_clock(&self, name: &str, by_ms: i64) {
        let mut state = self.shared.lock();
        let node = state.node_index(name);
        state.nodes[node].wall_offset_ms += by_ms;
    }

    /// Stops everything sent from node `from` to node `to`; it arrives after [`SimWorld::heal`].
    pub fn partition(&self, from: &str, to: &str) {
        let mut state = self.shared.lock();
        let link = (state.node_index(from), state.node_index(to));
        state.net.blocked.insert(link);
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        self.shared.lock().net_heal();
    }

    /// Resets all connections between two nodes.
    pub fn reset_connections(&self, a: &str, b: &str) {
        let mut state = self.shared.lock();
        let nodes = (state.node_index(a), state.node_index(b));
        state.net_reset(nodes.0, nodes.1);
    }

    /// The virtual time that one run may take; an hour unless set.
    pub fn set_time_max(&self, time: Duration) {
        self.shared.lock().time_max_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    }

    /// How long a packet takes, uniform between the two.
    pub fn set_net_delay(&self, delay: Latency) {
        self.shared.lock().net.delay = delay;
    }

    /// What has happened so far.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.shared.lock().trace.clone()
    }

    /// A node's disk, from behind.
    #[must_use]
    pub fn disk(&self, name: &str) -> DiskView {
        let node = self.shared.lock().node_index(name);
        DiskView { shared: self.shared.clone(), node }
    }

    /// Drops all tasks. Tasks hold their world, so a world whose tasks never end leaks without this.
    pub fn end(&self) {
        self.executor.drop_all();
    }

    fn stop(&self, name: &str, power_cut: bool) {
        {
            let mut state = self.shared.lock();
            let node = state.node_index(name);
            state.stop(node, power_cut);
        }
        self.drop_dead();
    }

    fn drop_dead(&self) {
        self.executor.drop_dead(|boot| self.shared.lock().is_alive(boot));
    }

    fn run<F: Future>(&self, owner: Option<Boot>, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let main = self.executor.main_waker();
        let start = self.shared.lock().now_ns;
        let is_cut_off = || owner.is_some_and(|boot| !self.shared.lock().is_alive(boot));
        let mut polls = 0u64;
        loop {
            while let Some(id) = self.executor.next() {
                if is_cut_off() {
                    return None;
                }
                if id != MAIN {
                    self.executor.poll(id);
                } else if let Poll::Ready(output) = main.poll(future.as_mut()) {
                    return Some(output);
                }
                polls += 1;
                assert!(polls < POLLS_MAX, "{}", self.report("tasks run on without waiting"));
            }
            polls = 0;
            let (moved, time_left) = {
                let mut state = self.shared.lock();
                (state.step(), state.now_ns - start < state.time_max_ns)
            };
            self.drop_dead();
            if is_cut_off() {
                return None;
            }
            assert!(moved, "{}", self.report("everything waits and nothing is to come"));
            assert!(time_left, "{}", self.report("too much time has passed"));
        }
    }

    fn report(&self, what: &str) -> String {
        format!("seed {}: {what}; {}", self.seed, self.trace())
    }
}

/// A node's disk as a test sees it: beside the node's own operations, at once, without latency.
#[derive(Clone)]
pub struct DiskView {
    shared: Shared,
    node: usize,
}

impl DiskView {
    /// A file's content as a reader would see it now.
    #[must_use]
    pub fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.with(|disk| disk.file(path.as_ref()).map(|file| file.content().to_vec()))
    }

    /// A file's content as far as no power cut can take it away; its name may still go.
    #[must_use]
    pub fn read_stable(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.with(|disk| disk.file(path.as_ref()).map(|file| file.stable().to_vec()))
    }

    /// All files, in order of path.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.with(|disk| disk.files())
    }

    /// Changes the byte at `offset`, durably. Whether there is such a byte.
    #[must_use]
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: usize) -> bool {
        self.with(|disk| match disk.file(path.as_ref()) {
            Some(file) if offset < file.len() => {
                file.corrupt(offset);
                true
            }
            _ => false,
        })
    }

    /// Puts a file there, durably, with the directories above it. Handles that are open keep the old file.
    pub fn set_content(&self, path: impl AsRef<Path>, content: Vec<u8>) {
        self.with(|disk| disk.place_file(path.as_ref(), content));
    }

    /// Makes operations fail by a rule.
    pub fn inject(&self, fault: Fault) {
        self.with(|disk| disk.faults.push(fault));
    }

    /// Takes all rules away.
    pub fn clear_faults(&self) {
        self.with(|disk| disk.faults.clear());
    }

    /// Bytes that fit on the disk; `None` for as much as one likes.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.with(|disk| disk.capacity = bytes);
    }

    /// Files that are open.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.with(|disk| disk.open_files())
    }

    /// How many files can be open at a time; `None` for as many as one likes.
    pub fn set_descriptors(&self, most: Option<usize>) {
        self.with(|disk| disk.descriptors = most);
    }

    /// How long operations take.
    pub fn set_latency(&self, latency: Latency) {
        self.with(|disk| disk.latency = latency);
    }

    /// Cuts the node's power in the midst of the `nth` changing operation of this kind from now on (1 is the
    /// next). The operation and all others under way are torn.
    ///
    /// # Panics
    /// If `nth` is 0.
    pub fn crash_at(&self, kind: OpKind, nth: u64) {
        assert!(nth > 0, "operations are counted from 1");
        self.with(|disk| disk.crash_at = Some((kind, nth)));
    }

    /// How many changing operations of this kind have completed so far.
    #[must_use]
    pub fn changes(&self, kind: OpKind) -> u64 {
        self.with(|disk| match kind {
            OpKind::Write => disk.changes.writes,
            OpKind::Sync => disk.changes.syncs,
            OpKind::Read => 0,
            OpKind::Meta => disk.changes.all - disk.changes.writes - disk.changes.syncs,
            OpKind::Any => disk.changes.all,
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut super::disk_model::DiskModel) -> T) -> T {
        act(&mut self.shared.lock().nodes[self.node].disk)
    }
}

/// Polls without an event between them.
const POLLS_MAX: u64 = 1_000_000;
