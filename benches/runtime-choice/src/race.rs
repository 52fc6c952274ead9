//! The owner drops the handles of finished tasks while another thread drops the last wakers of the same tasks, in the
//! same order. All of it is safe code: whatever goes wrong is the runtime's fault. A plain build counts panics or
//! crashes; AddressSanitizer names the place.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

const LENGTH: Duration = Duration::from_secs(5);
const BATCH: usize = 256;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Counts panics instead of printing them.
fn count_panics() {
    std::panic::set_hook(Box::new(|_| {
        PANICS.fetch_add(1, Ordering::Relaxed);
    }));
}

type Job = (Vec<Waker>, Arc<AtomicBool>);

/// The other thread: says that it is ready, then drops the wakers one by one.
fn start_foreign_thread() -> Sender<Job> {
    let (sender, jobs) = channel::<Job>();
    std::thread::spawn(move || {
        while let Ok((wakers, ready)) = jobs.recv() {
            ready.store(true, Ordering::Release);
            drop(wakers);
        }
    });
    sender
}

/// A task that leaves its waker behind and ends.
fn task(wakers: &Rc<RefCell<Vec<Waker>>>) -> impl Future<Output = ()> + 'static {
    let wakers = Rc::clone(wakers);
    poll_fn(move |context| {
        wakers.borrow_mut().push(context.waker().clone());
        Poll::Ready(())
    })
}

/// Runs batches until `end`; `spawn` starts a task and returns its handle.
async fn race<H, Y: Future<Output = ()>>(
    end: Instant,
    spawn: impl Fn(Rc<RefCell<Vec<Waker>>>) -> H,
    yield_now: impl Fn() -> Y,
) {
    let jobs = start_foreign_thread();
    let mut tasks = 0;
    while Instant::now() < end {
        let wakers = Rc::new(RefCell::new(Vec::with_capacity(BATCH)));
        let handles: Vec<H> = (0..BATCH).map(|_| spawn(Rc::clone(&wakers))).collect();
        while wakers.borrow().len() < BATCH {
            yield_now().await;
        }
        let ready = Arc::new(AtomicBool::new(false));
        jobs.send((wakers.take(), Arc::clone(&ready))).unwrap();
        while !ready.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        drop(handles);
        yield_now().await;
        tasks += BATCH;
    }
    TASKS.fetch_add(tasks as u64, Ordering::Relaxed);
}

static TASKS: AtomicU64 = AtomicU64::new(0);

fn report(name: &str) {
    let (tasks, panics) = (TASKS.load(Ordering::Relaxed), PANICS.load(Ordering::Relaxed));
    println!("{name:<8} {tasks} tasks survived, {panics} panics in {} s", LENGTH.as_secs());
}

pub fn glommio() {
    count_panics();
    let end = Instant::now() + LENGTH;
    while Instant::now() < end {
        let executor =
            glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound).spawn(move || async move {
                race(
                    end,
                    |wakers| glommio::spawn_local(task(&wakers)).detach(),
                    futures_lite::future::yield_now,
                )
                .await;
            });
        // A panic on the executor ends it; the next one goes on.
        let _panicked = executor.unwrap().join();
    }
    report("glommio");
}

pub fn compio() {
    count_panics();
    compio::runtime::Runtime::new().unwrap().block_on(async {
        let end = Instant::now() + LENGTH;
        race(end, |wakers| compio::runtime::spawn(task(&wakers)), futures_lite::future::yield_now).await;
    });
    report("compio");
}

pub fn ours() {
    use runtime::{Effects, ShardOptions, run_shards};
    count_panics();
    let shards = run_shards(vec![ShardOptions::default()], |_, effects| async move {
        let end = Instant::now() + LENGTH;
        race(end, |wakers| effects.spawn(task(&wakers)), runtime::yield_now).await;
    });
    shards.unwrap().join();
    report("ours");
}
