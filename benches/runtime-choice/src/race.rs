//! A task ends and its handle is dropped while another thread clones, wakes and drops its waker. All of it is
//! safe code: whatever goes wrong is the runtime's fault. Run it under AddressSanitizer for the exact place.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

const LENGTH: Duration = Duration::from_secs(5);

type Job = (Waker, Arc<AtomicBool>);

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Counts panics instead of printing them.
fn count_panics() {
    std::panic::set_hook(Box::new(|_| {
        PANICS.fetch_add(1, Ordering::Relaxed);
    }));
}

fn foreign_thread(jobs: Receiver<Job>) {
    while let Ok((waker, done)) = jobs.recv() {
        let clone = waker.clone();
        done.store(true, Ordering::Release);
        waker.wake();
        drop(clone);
    }
}

fn start_foreign_thread() -> Sender<Job> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || foreign_thread(receiver));
    sender
}

/// A task that gives its waker away and ends when it is told to.
async fn task(jobs: Sender<Job>) {
    let done = Arc::new(AtomicBool::new(false));
    let mut sent = false;
    poll_fn(|context| {
        if !std::mem::replace(&mut sent, true) {
            jobs.send((context.waker().clone(), Arc::clone(&done))).unwrap();
        }
        if done.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn report(name: &str, rounds: u64) {
    let panics = PANICS.load(Ordering::Relaxed);
    println!("{name:<8} {rounds} tasks, {panics} panics in {} s", LENGTH.as_secs());
}

pub fn glommio() {
    count_panics();
    let end = Instant::now() + LENGTH;
    let mut rounds = 0;
    let mut runs = 0;
    while Instant::now() < end {
        runs += 1;
        let counted = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&counted);
        let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound).spawn(move || async move {
            let jobs = start_foreign_thread();
            while Instant::now() < end {
                let handle = glommio::spawn_local(task(jobs.clone())).detach();
                handle.await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        // A panic on the executor ends it; the next one goes on.
        let _panicked = executor.unwrap().join();
        rounds += counted.load(Ordering::Relaxed);
    }
    println!("glommio  {runs} executors were needed");
    report("glommio", rounds);
}

pub fn compio() {
    count_panics();
    let rounds = compio::runtime::Runtime::new().unwrap().block_on(async {
        let (jobs, end) = (start_foreign_thread(), Instant::now() + LENGTH);
        let mut rounds = 0;
        while Instant::now() < end {
            let _ended = compio::runtime::spawn(task(jobs.clone())).await;
            rounds += 1;
        }
        rounds
    });
    report("compio", rounds);
}

pub fn ours() {
    use runtime::{Effects, ShardOptions, run_shards, sync::oneshot};
    count_panics();
    let shards = run_shards(vec![ShardOptions::default()], |_, effects| async move {
        let (jobs, end) = (start_foreign_thread(), Instant::now() + LENGTH);
        let mut rounds = 0;
        while Instant::now() < end {
            let (sender, receiver) = oneshot::channel();
            let task = task(jobs.clone());
            effects.spawn(async move {
                task.await;
                let _gone = sender.send(());
            });
            receiver.await.unwrap();
            rounds += 1;
        }
        report("ours", rounds);
    });
    shards.unwrap().join();
}
