//! The threads of the process beside its shards: they open, create, rename, unlink and prewrite files, and compute.
//!
//! Jobs go into lanes, each with threads of its own, so that what an acknowledgement waits for never stands behind what
//! takes long. Within a lane jobs begin in the order in which they came; several run at the same time, since a slow disk
//! makes each of them wait and file systems commit what waits together. A lane starts a thread when a job finds none free,
//! up to its limit. Queues are bounded: who finds one full waits. A job runs to its end even if the future that waits for it
//! is dropped.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::fd::{cores, unpin};

/// Jobs that wait in a lane; closing descriptors may exceed it, since a destructor cannot wait.
const JOBS_MAX: usize = 256;

/// What kind of work a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What an acknowledgement, a reader or a start waits for: files are opened, directories synced and listed.
    Urgent,
    /// What a request for a change, a start or a stop waits for: directories are created, names changed, small files replaced,
    /// files cut.
    Change,
    /// What nobody waits for: zeros, removals, closing.
    Bulk,
    /// What only computes, and longer than a shard may be held.
    Compute,
}

/// How many threads a lane may have.
#[derive(Debug, Clone, Copy)]
enum Threads {
    Fixed(usize),
    /// One for so many cores of the process, since the shards should have most of them.
    PerCores(usize),
}

/// The lanes, in the order of [`Lane`].
static LANES: [Helper; 4] = [
    Helper::new("urgent", Threads::Fixed(16)),
    Helper::new("change", Threads::Fixed(8)),
    Helper::new("bulk", Threads::Fixed(2)),
    Helper::new("compute", Threads::PerCores(4)),
];

type Job = Box<dyn FnOnce() + Send>;

struct Helper {
    name: &'static str,
    threads_max: Threads,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

struct Queue {
    jobs: VecDeque<Job>,
    waiting: VecDeque<Waker>,
    threads: usize,
    /// Threads that wait for a job.
    idle: usize,
}

/// Locks although a job may have panicked: the queue is never left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Helper {
    const fn new(name: &'static str, threads_max: Threads) -> Self {
        let queue = Queue { jobs: VecDeque::new(), waiting: VecDeque::new(), threads: 0, idle: 0 };
        Self { name, threads_max, queue: Mutex::new(queue), arrived: Condvar::new() }
    }

    fn threads_max(&self) -> usize {
        match self.threads_max {
            Threads::Fixed(threads) => threads,
            Threads::PerCores(each) => cores().div_ceil(each),
        }
    }

    fn of(lane: Lane) -> &'static Self {
        &LANES[lane as usize]
    }

    fn work(&self) -> ! {
        // It was started by a shard, which stays on its core.
        unpin();
        loop {
            let mut queue = lock(&self.queue);
            let job = loop {
                match queue.jobs.pop_front() {
                    Some(job) => break job,
                    None => {
                        queue.idle += 1;
                        queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                        queue.idle -= 1;
                    }
                }
            };
            // All of them: some may belong to tasks that do not wait any more.
            let waiting = std::mem::take(&mut queue.waiting);
            drop(queue);
            waiting.into_iter().for_each(Waker::wake);
            // A panic of a job reaches the one who waits, as an error, because the job's answer is dropped.
            let _reported = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        }
    }

    fn push(&'static self, queue: &mut Queue, job: Job) {
        queue.jobs.push_back(job);
        if queue.jobs.len() > queue.idle && queue.threads < self.threads_max() {
            let started = std::thread::Builder::new().name(self.name.to_owned()).spawn(|| self.work());
            // Where no further thread can be had, those that are there do the work.
            assert!(started.is_ok() || queue.threads > 0, "cannot start a thread: {:?}", started.err());
            queue.threads += usize::from(started.is_ok());
        }
        self.arrived.notify_one();
    }
}

/// Where a job leaves its result.
struct Answer<T> {
    state: Mutex<State<T>>,
}

enum State<T> {
    Waiting(Option<Waker>),
    Done(io::Result<T>),
}

/// The job's end of an [`Answer`]; if it is dropped without a result, the waiting side gets an error.
struct Reply<T>(Arc<Answer<T>>);

impl<T> Reply<T> {
    fn set(&self, result: io::Result<T>) {
        let before = std::mem::replace(&mut *lock(&self.0.state), State::Done(result));
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if matches!(*lock(&self.0.state), State::Waiting(_)) {
            self.set(Err(io::Error::other("a job of a helper thread panicked")));
        }
    }
}

/// Runs `job` on a thread of the lane and waits for its result.
pub(crate) async fn run<T: Send + 'static>(
    lane: Lane,
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let answer = Arc::new(Answer { state: Mutex::new(State::Waiting(None)) });
    let reply = Reply(Arc::clone(&answer));
    let mut job: Option<Job> = Some(Box::new(move || {
        let result = job();
        // The reply moves in here and is dropped after it was used, or by the unwinding of a panic.
        reply.set(result);
    }));
    poll_fn(|context| {
        let helper = Helper::of(lane);
        let mut queue = lock(&helper.queue);
        if queue.jobs.len() >= JOBS_MAX {
            queue.waiting.push_back(context.waker().clone());
            return Poll::Pending;
        }
        if let Some(job) = job.take() {
            helper.push(&mut queue, job);
        }
        Poll::Ready(())
    })
    .await;
    poll_fn(|context| {
        let mut state = lock(&answer.state);
        match std::mem::replace(&mut *state, State::Waiting(Some(context.waker().clone()))) {
            State::Done(result) => Poll::Ready(result),
            State::Waiting(_) => Poll::Pending,
        }
    })
    .await
}

/// Closes a descriptor on a helper thread.
pub(crate) fn close(fd: OwnedFd) {
    let helper = Helper::of(Lane::Bulk);
    helper.push(&mut lock(&helper.queue), Box::new(move || drop(fd)));
}

/// Jobs that wait.
pub(crate) fn queue_len() -> usize {
    LANES.iter().map(|helper| lock(&helper.queue).jobs.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::task::Context;

    /// A job that ends when the sender is dropped, begun.
    fn block(lane: Lane) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let mut job = Box::pin(run(lane, move || {
            begun.send(()).map_err(io::Error::other)?;
            let _ended = released.recv();
            Ok(())
        }));
        let _pending = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        begins.recv().expect("the job begins although nobody waits for its end");
        release
    }

    /// With a lane stuck, the others go on; and one stuck job does not hold the others of its lane.
    #[test]
    fn lanes_and_jobs_do_not_wait_for_each_other() {
        let stuck: Vec<_> = [Lane::Bulk, Lane::Bulk, Lane::Compute, Lane::Urgent].map(block).into();
        for lane in [Lane::Urgent, Lane::Change] {
            drop(block(lane));
        }
        drop(stuck);
    }

    /// A thread that a pinned one has started runs wherever the process may.
    #[test]
    fn helpers_are_not_pinned() {
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let before = super::super::fd::affinity().expect("can be asked");
            super::super::fd::pin_to_core(0).expect("there is a core");
            let helper = Helper::of(Lane::Change);
            let mut job = Box::pin(run(Lane::Change, move || {
                send.send((before, super::super::fd::affinity()?)).map_err(io::Error::other)
            }));
            let _pending = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(lock(&helper.queue).threads > 0);
        });
        let (before, after) = receive.recv().expect("the job runs");
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
    }
}
