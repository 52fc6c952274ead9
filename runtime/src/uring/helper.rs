//! The one thread of the process that may block: it opens, creates, renames, unlinks and prewrites files.
//!
//! Jobs run one after the other in the order in which they came. The queue is bounded: who finds it full waits.
//! A job runs to its end even if the future that waits for it is dropped.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};

/// Jobs that wait; closing descriptors may exceed it, since a destructor cannot wait.
const JOBS_MAX: usize = 256;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Helper {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    waiting: VecDeque<Waker>,
}

/// Locks although a job may have panicked: the queue is never left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn helper() -> &'static Helper {
    static HELPER: OnceLock<&'static Helper> = OnceLock::new();
    HELPER.get_or_init(|| {
        let helper: &'static Helper = Box::leak(Box::default());
        std::thread::Builder::new()
            .name("helper".to_owned())
            .spawn(|| helper.work())
            .expect("a process that cannot start one thread cannot do anything");
        helper
    })
}

impl Helper {
    fn work(&self) -> ! {
        loop {
            let mut queue = lock(&self.queue);
            let job = loop {
                match queue.jobs.pop_front() {
                    Some(job) => break job,
                    None => queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            let waiting = queue.waiting.pop_front();
            drop(queue);
            if let Some(waker) = waiting {
                waker.wake();
            }
            // A panic of a job reaches the one who waits, as an error, because the job's answer is dropped.
            let _reported = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        }
    }

    fn push(&self, queue: &mut Queue, job: Job) {
        queue.jobs.push_back(job);
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
            self.set(Err(io::Error::other("a job of the helper thread panicked")));
        }
    }
}

/// Runs `job` on the helper thread and waits for its result.
pub(crate) async fn run<T: Send + 'static>(
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
        let helper = helper();
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

/// Closes a descriptor on the helper thread.
pub(crate) fn close(fd: OwnedFd) {
    let helper = helper();
    helper.push(&mut lock(&helper.queue), Box::new(move || drop(fd)));
}

/// Jobs that wait.
pub(crate) fn queue_len() -> usize {
    lock(&helper().queue).jobs.len()
}
