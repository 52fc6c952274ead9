//! Runs the tasks of all nodes on one thread, first woken, first polled.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::state::Boot;

pub(super) type TaskId = u64;

/// The future that a run waits for.
pub(super) const MAIN: TaskId = 0;

#[derive(Default)]
struct ReadyQueue(Mutex<VecDeque<TaskId>>);

struct TaskWaker {
    id: TaskId,
    queued: AtomicBool,
    ready: Arc<ReadyQueue>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.id);
        }
    }
}

struct Task {
    owner: Boot,
    waker: Arc<TaskWaker>,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// The tasks of a world.
pub(super) struct Executor {
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    id_next: Cell<TaskId>,
    ready: Arc<ReadyQueue>,
}

impl Executor {
    pub(super) fn new() -> Self {
        Self { tasks: RefCell::default(), id_next: Cell::new(MAIN + 1), ready: Arc::default() }
    }

    pub(super) fn spawn(&self, owner: Boot, task: impl Future<Output = ()> + 'static) {
        let id = self.id_next.get();
        self.id_next.set(id + 1);
        let waker = self.task_waker(id);
        waker.wake_by_ref();
        self.tasks.borrow_mut().insert(id, Task { owner, waker, future: Box::pin(task) });
    }

    /// A waker of the main future, woken once.
    pub(super) fn main_waker(&self) -> MainWaker {
        let waker = self.task_waker(MAIN);
        waker.wake_by_ref();
        MainWaker(waker)
    }

    /// The next task to poll.
    pub(super) fn next(&self) -> Option<TaskId> {
        self.ready.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(super) fn poll(&self, id: TaskId) {
        // Taken out while it runs, so that it may spawn.
        let Some(mut task) = self.tasks.borrow_mut().remove(&id) else { return };
        task.waker.queued.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.waker));
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.borrow_mut().insert(id, task);
        }
    }

    /// Drops the tasks whose owner is not `alive`. Their destructors may spawn, to no effect.
    pub(super) fn drop_dead(&self, alive: impl Fn(Boot) -> bool) {
        let dead: Vec<TaskId> = {
            let tasks = self.tasks.borrow();
            tasks.iter().filter(|(_, task)| !alive(task.owner)).map(|(id, _)| *id).collect()
        };
        for id in dead {
            let task = self.tasks.borrow_mut().remove(&id);
            drop(task);
        }
    }

    /// Drops every task, to break the circle of tasks that hold the world.
    pub(super) fn drop_all(&self) {
        self.drop_dead(|_| false);
    }

    fn task_waker(&self, id: TaskId) -> Arc<TaskWaker> {
        Arc::new(TaskWaker { id, queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) })
    }
}

/// Wakes the main future.
pub(super) struct MainWaker(Arc<TaskWaker>);

impl MainWaker {
    pub(super) fn poll<F: Future>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        self.0.queued.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.0));
        future.poll(&mut Context::from_waker(&waker))
    }
}
