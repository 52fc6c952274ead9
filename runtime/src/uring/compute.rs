//! Threads for what only computes, and longer than a shard may be held. They touch no file: what may block is the helper's.
//!
//! Jobs start in the order in which they came. Who hands one in waits for it, so there are no more than there are tasks that
//! wait; a job runs to its end even if nobody waits any more.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Pool {
    jobs: Mutex<VecDeque<Job>>,
    arrived: Condvar,
}

/// What a job leaves for the task that waits for it.
enum Answer<T> {
    Waiting(Option<Waker>),
    Done(T),
    /// The job panicked.
    Lost,
}

/// The job's end of an answer.
struct Reply<T>(Arc<Mutex<Answer<T>>>);

impl<T> Reply<T> {
    fn set(&self, answer: Answer<T>) {
        if let Answer::Waiting(Some(waker)) = std::mem::replace(&mut *lock(&self.0), answer) {
            waker.wake();
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if matches!(*lock(&self.0), Answer::Waiting(_)) {
            self.set(Answer::Lost);
        }
    }
}

/// Computes `job` beside the shards and waits for its result; an error if it panicked.
pub(crate) async fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let answer = Arc::new(Mutex::new(Answer::Waiting(None)));
    let reply = Reply(Arc::clone(&answer));
    pool().push(Box::new(move || {
        let result = job();
        reply.set(Answer::Done(result));
    }));
    poll_fn(|context| {
        let mut answer = lock(&answer);
        match std::mem::replace(&mut *answer, Answer::Waiting(Some(context.waker().clone()))) {
            Answer::Done(result) => Poll::Ready(Ok(result)),
            Answer::Lost => Poll::Ready(Err(io::Error::other("a job that computes panicked"))),
            Answer::Waiting(_) => Poll::Pending,
        }
    })
    .await
}

/// Starts the threads, which may run where the caller may: before it is kept on one core.
pub(crate) fn start() {
    pool();
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<&'static Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let pool: &'static Pool = Box::leak(Box::default());
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for number in 0..cores.div_ceil(CORES_PER_THREAD) {
            std::thread::Builder::new()
                .name(format!("compute-{number}"))
                .spawn(|| pool.work())
                .expect("a process that cannot start a thread cannot do anything");
        }
        pool
    })
}

impl Pool {
    fn push(&self, job: Job) {
        lock(&self.jobs).push_back(job);
        self.arrived.notify_one();
    }

    fn work(&self) -> ! {
        loop {
            let mut jobs = lock(&self.jobs);
            let job = loop {
                match jobs.pop_front() {
                    Some(job) => break job,
                    None => jobs = self.arrived.wait(jobs).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(jobs);
            // A panic of a job reaches the one who waits, because the job's reply is dropped.
            let _reported = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        }
    }
}

/// Locks although a job may have panicked: nothing is ever left half changed.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread for so many cores: the shards should have most of them.
const CORES_PER_THREAD: usize = 4;
