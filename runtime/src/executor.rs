//! A single-threaded executor: a slab of tasks, a FIFO run queue, wakers that may be used on any thread.
//!
//! Invariants: a future is polled and dropped by the thread that made the [`Executor`] and by no other, since
//! wakers hold only the task's key; a task stands in at most one queue at a time; a wake from another thread
//! costs a system call only while the owner sleeps ([`SleepFlag`]).
//!
//! It knows nothing of io_uring: [`run`] drives it with any [`Driver`], the simulator steps it itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crossbeam::queue::SegQueue;

use crate::sleep::SleepFlag;
use crate::spinner::Spinner;

/// Polls of one turn, after which the driver has its turn even if more tasks are ready.
const POLLS_PER_TURN: usize = 256;

/// Ends the sleep of an executor's thread; called from other threads, only while it sleeps.
pub trait Unpark: Send + Sync + 'static {
    /// Makes the current or next [`Driver::park`] return.
    fn unpark(&self);
}

/// What connects an executor with the outside: the kernel, or nothing but time.
pub trait Driver {
    /// Hands over what tasks have asked for and wakes those whose wishes are fulfilled. Never blocks.
    fn turn(&mut self);
    /// As [`Driver::turn`], but waits for something to happen: a completion, a timer, [`Unpark::unpark`].
    fn park(&mut self);
    /// How long to look for work before parking.
    fn spin(&self) -> Duration {
        Duration::ZERO
    }
}

/// Counters of one executor, all since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExecutorStats {
    /// Tasks that are alive.
    pub tasks: usize,
    /// Polls of tasks.
    pub polls: u64,
    /// Polls that took longer than the threshold.
    pub stalls: u64,
    /// The longest of those.
    pub stall_max: Duration,
    /// The type name of the task that stalled last.
    pub stall_site: &'static str,
    /// Rounds of looking for work before parking.
    pub spins: u64,
    /// Times the thread went to sleep.
    pub parks: u64,
}

/// A handle to the executor; clones are the same executor. Stays on its thread.
#[derive(Clone)]
pub struct Executor {
    local: Rc<Local>,
}

struct Local {
    shared: Arc<Shared>,
    tasks: RefCell<Tasks>,
    ready: RefCell<VecDeque<Arc<Task>>>,
    stats: Cell<ExecutorStats>,
    stall_threshold: Duration,
}

/// The part that other threads reach through wakers.
struct Shared {
    inbox: SegQueue<Arc<Task>>,
    sleep: SleepFlag,
    unpark: Arc<dyn Unpark>,
    /// The executor is gone: nobody will empty the inbox any more, whose tasks keep this structure alive.
    closed: AtomicBool,
}

impl Shared {
    /// Takes a task that was woken on another thread.
    fn push(&self, task: Arc<Task>) {
        self.inbox.push(task);
        // Includes a full fence: either this sees `closed`, or who closes sees the task.
        if self.sleep.must_wake() {
            self.unpark.unpark();
        }
        if self.closed.load(Ordering::SeqCst) {
            self.empty();
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        self.empty();
    }

    fn empty(&self) {
        while self.inbox.pop().is_some() {}
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[derive(Default)]
struct Tasks {
    slots: Vec<Slot>,
    free: Vec<usize>,
    alive: usize,
}

struct Slot {
    generation: u64,
    /// Absent while the slot is free and while the task is being polled.
    running: Option<Running>,
}

struct Running {
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: Waker,
    site: &'static str,
}

/// What a waker knows of a task: where it stands, not what it is.
struct Task {
    slot: usize,
    generation: u64,
    scheduled: AtomicBool,
    shared: Arc<Shared>,
}

thread_local! {
    /// The executor that is at work on this thread: wakes of its tasks take the short way.
    static CURRENT: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.scheduled.swap(true, Ordering::AcqRel) {
            return;
        }
        let here = CURRENT.try_with(|current| match &*current.borrow() {
            Some(local) if Arc::ptr_eq(&local.shared, &self.shared) => {
                local.ready.borrow_mut().push_back(Arc::clone(self));
                true
            }
            _ => false,
        });
        if !here.unwrap_or(false) {
            self.shared.push(Arc::clone(self));
        }
    }
}

impl Executor {
    /// An executor of the current thread; polls longer than `stall_threshold` are counted.
    #[must_use]
    pub fn new(unpark: Arc<dyn Unpark>, stall_threshold: Duration) -> Self {
        let shared = Arc::new(Shared {
            inbox: SegQueue::new(),
            sleep: SleepFlag::new(),
            unpark,
            closed: AtomicBool::new(false),
        });
        Self {
            local: Rc::new(Local {
                shared,
                tasks: RefCell::default(),
                ready: RefCell::default(),
                stats: Cell::default(),
                stall_threshold,
            }),
        }
    }

    /// Starts a task. It is polled for the first time by [`Executor::run_ready`], behind those that are ready.
    pub fn spawn<F: Future<Output = ()> + 'static>(&self, future: F) {
        self.spawn_boxed(Box::pin(future), std::any::type_name::<F>());
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()>>>, site: &'static str) {
        let mut tasks = self.local.tasks.borrow_mut();
        let slot = tasks.free.pop().unwrap_or_else(|| {
            tasks.slots.push(Slot { generation: 0, running: None });
            tasks.slots.len() - 1
        });
        let task = Arc::new(Task {
            slot,
            generation: tasks.slots[slot].generation,
            scheduled: AtomicBool::new(true),
            shared: Arc::clone(&self.local.shared),
        });
        let waker = Waker::from(Arc::clone(&task));
        tasks.slots[slot].running = Some(Running { future, waker, site });
        tasks.alive += 1;
        self.local.ready.borrow_mut().push_back(task);
    }

    /// Polls ready tasks, first woken first, until none is left or their turn is over; returns how many.
    pub fn run_ready(&self) -> usize {
        let _entered = self.enter();
        self.take_inbox();
        let mut polls = 0;
        let mut started = None;
        while polls < POLLS_PER_TURN {
            let Some(task) = self.local.ready.borrow_mut().pop_front() else { break };
            let started = started.get_or_insert_with(Instant::now);
            if let Some(site) = self.poll(&task) {
                polls += 1;
                // The end of one poll is the beginning of the next: one look at the clock for each.
                let now = Instant::now();
                self.count_poll(now - *started, site);
                *started = now;
            }
        }
        polls
    }

    /// Polls one task; `None` if it has ended before.
    fn poll(&self, task: &Task) -> Option<&'static str> {
        // Cleared before the poll, so that a wake during it puts the task into the queue again; a swap, so that
        // the poll sees what was written before a wake that found the flag set.
        task.scheduled.swap(false, Ordering::AcqRel);
        let mut running = {
            let mut tasks = self.local.tasks.borrow_mut();
            let slot = &mut tasks.slots[task.slot];
            if slot.generation != task.generation {
                return None;
            }
            slot.running.take()?
        };
        let site = running.site;
        let poll = running.future.as_mut().poll(&mut Context::from_waker(&running.waker));
        if poll.is_pending() {
            let mut tasks = self.local.tasks.borrow_mut();
            let slot = &mut tasks.slots[task.slot];
            if slot.generation == task.generation {
                slot.running = Some(running);
                return Some(site);
            }
        } else {
            self.release(task.slot);
        }
        // Outside of the borrow: what the future owns may spawn tasks when it is dropped.
        drop(running);
        Some(site)
    }

    fn release(&self, slot: usize) {
        let mut tasks = self.local.tasks.borrow_mut();
        tasks.slots[slot].generation += 1;
        tasks.free.push(slot);
        tasks.alive -= 1;
    }

    fn take_inbox(&self) {
        if self.local.shared.inbox.is_empty() {
            return;
        }
        let mut ready = self.local.ready.borrow_mut();
        while let Some(task) = self.local.shared.inbox.pop() {
            ready.push_back(task);
        }
    }

    /// Whether a task waits to be polled.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.local.ready.borrow().is_empty() || !self.local.shared.inbox.is_empty()
    }

    /// Drops all tasks. Tasks that are spawned by their destructors are dropped as well.
    pub fn clear(&self) {
        let _entered = self.enter();
        loop {
            let next = {
                let mut tasks = self.local.tasks.borrow_mut();
                let slot = tasks.slots.iter().position(|slot| slot.running.is_some());
                slot.and_then(|slot| Some((slot, tasks.slots[slot].running.take()?)))
            };
            let Some((slot, running)) = next else { break };
            self.release(slot);
            drop(running);
        }
        self.take_inbox();
        self.local.ready.borrow_mut().clear();
    }

    /// Makes wakes on this thread take the short way while the guard lives.
    fn enter(&self) -> Entered {
        Entered { before: CURRENT.replace(Some(Rc::clone(&self.local))) }
    }

    fn count_poll(&self, took: Duration, site: &'static str) {
        self.update_stats(|stats| {
            stats.polls += 1;
            if took > self.local.stall_threshold {
                stats.stalls += 1;
                stats.stall_max = stats.stall_max.max(took);
                stats.stall_site = site;
            }
        });
    }

    fn update_stats(&self, update: impl FnOnce(&mut ExecutorStats)) {
        let mut stats = self.local.stats.get();
        update(&mut stats);
        self.local.stats.set(stats);
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> ExecutorStats {
        ExecutorStats { tasks: self.local.tasks.borrow().alive, ..self.local.stats.get() }
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

struct Entered {
    before: Option<Rc<Local>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// Runs `executor` until `main` has ended, then drops its other tasks.
pub fn run<T: 'static>(
    executor: &Executor,
    driver: &mut impl Driver,
    main: impl Future<Output = T> + 'static,
) -> T {
    let _entered = executor.enter();
    let result = Rc::new(Cell::new(None));
    let output = Rc::clone(&result);
    executor.spawn(async move { output.set(Some(main.await)) });
    let mut spinner = Spinner::default();
    loop {
        executor.run_ready();
        if let Some(value) = result.take() {
            executor.clear();
            return value;
        }
        if executor.has_ready() || !driver.spin().is_zero() {
            driver.turn();
        }
        if !executor.has_ready() && !spin(executor, driver, &mut spinner) {
            park(executor, driver, &mut spinner);
        }
    }
}

/// Looks for work for a while; whether there is some.
fn spin(executor: &Executor, driver: &mut impl Driver, spinner: &mut Spinner) -> bool {
    let limit_max = driver.spin();
    let limit = spinner.limit(limit_max);
    if limit.is_zero() {
        return false;
    }
    executor.update_stats(|stats| stats.spins += 1);
    let started = Instant::now();
    while started.elapsed() < limit {
        // Several looks for each one at the clock, which costs as much.
        for _ in 0..LOOKS {
            std::hint::spin_loop();
            driver.turn();
            if executor.has_ready() {
                spinner.found(limit_max);
                return true;
            }
        }
    }
    spinner.missed();
    false
}

fn park(executor: &Executor, driver: &mut impl Driver, spinner: &mut Spinner) {
    let shared = &executor.local.shared;
    shared.sleep.announce();
    if shared.inbox.is_empty() {
        executor.update_stats(|stats| stats.parks += 1);
        let started = Instant::now();
        driver.park();
        spinner.slept(started.elapsed(), driver.spin());
    }
    shared.sleep.clear();
}

/// Looks for work between two looks at the clock.
const LOOKS: usize = 8;

/// Gives the other ready tasks a turn.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
#[path = "executor_test.rs"]
mod tests;
