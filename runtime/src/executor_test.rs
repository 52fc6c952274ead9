use std::sync::atomic::AtomicUsize;
use std::sync::{Condvar, Mutex};
use std::task::Poll;

use super::*;

/// A driver without an outside: parking waits for another thread.
#[derive(Default)]
struct Parker {
    unparked: Mutex<bool>,
    condition: Condvar,
    unparks: AtomicUsize,
}

impl Unpark for Parker {
    fn unpark(&self) {
        self.unparks.fetch_add(1, Ordering::Relaxed);
        *self.unparked.lock().unwrap() = true;
        self.condition.notify_one();
    }
}

struct Nothing(Arc<Parker>);

impl Driver for Nothing {
    fn turn(&mut self) {}

    fn park(&mut self) {
        let mut unparked = self.0.unparked.lock().unwrap();
        while !*unparked {
            unparked = self.0.condition.wait(unparked).unwrap();
        }
        *unparked = false;
    }
}

fn machine() -> (Executor, Nothing) {
    let parker = Arc::new(Parker::default());
    (Executor::new(Arc::clone(&parker) as Arc<dyn Unpark>, Duration::from_millis(1)), Nothing(parker))
}

/// Tasks run in the order in which they were spawned or woken.
#[test]
fn tasks_run_in_fifo_order() {
    let (executor, mut driver) = machine();
    let order = Rc::new(RefCell::new(Vec::new()));
    for name in ["a", "b"] {
        let order = Rc::clone(&order);
        executor.spawn(async move {
            order.borrow_mut().push(name);
            yield_now().await;
            order.borrow_mut().push(name);
        });
    }
    run(&executor, &mut driver, async {
        for _ in 0..4 {
            yield_now().await;
        }
    });
    assert_eq!(*order.borrow(), ["a", "b", "a", "b"]);
    assert_eq!(executor.stats().tasks, 0);
}

/// A slot is used again, and a waker of its former task does not wake the new one.
#[test]
fn a_stale_waker_wakes_nobody() {
    let (executor, mut driver) = machine();
    let stale = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&stale);
    executor.spawn(std::future::poll_fn(move |context| {
        *kept.borrow_mut() = Some(context.waker().clone());
        Poll::Ready(())
    }));
    executor.run_ready();
    let polls = Rc::new(Cell::new(0));
    let counter = Rc::clone(&polls);
    executor.spawn(std::future::poll_fn(move |_| {
        counter.set(counter.get() + 1);
        Poll::Pending
    }));
    executor.run_ready();
    stale.borrow_mut().take().unwrap().wake();
    run(&executor, &mut driver, yield_now());
    assert_eq!(polls.get(), 1);
}

/// Futures are dropped on their thread, whoever holds the last waker.
#[test]
fn a_future_dies_on_its_own_thread() {
    struct Watch(Arc<Mutex<Vec<std::thread::ThreadId>>>);
    impl Drop for Watch {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(std::thread::current().id());
        }
    }
    let deaths = Arc::new(Mutex::new(Vec::new()));
    let (executor, mut driver) = machine();
    let waker = Rc::new(RefCell::new(None));
    let (kept, watch) = (Rc::clone(&waker), Watch(Arc::clone(&deaths)));
    executor.spawn(std::future::poll_fn(move |context| {
        let _held = &watch;
        *kept.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }));
    run(&executor, &mut driver, yield_now());
    let waker = waker.borrow_mut().take().unwrap();
    std::thread::spawn(move || waker.wake()).join().unwrap();
    assert_eq!(*deaths.lock().unwrap(), [std::thread::current().id()]);
}

/// The race that other executors lose: a task ends while other threads clone, wake and drop its waker.
#[test]
fn wakers_race_with_the_end_of_their_task() {
    const ROUNDS: usize = 2000;
    let (executor, mut driver) = machine();
    let (sender, receiver) = std::sync::mpsc::channel::<(Waker, Arc<AtomicBool>)>();
    let receiver = Arc::new(Mutex::new(receiver));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let receiver = Arc::clone(&receiver);
            std::thread::spawn(move || {
                loop {
                    let next = receiver.lock().unwrap().recv();
                    let Ok((waker, done)) = next else { break };
                    let second = waker.clone();
                    second.wake_by_ref();
                    done.store(true, Ordering::Release);
                    waker.wake();
                    drop(second);
                }
            })
        })
        .collect();
    let spawner = executor.clone();
    run(&executor, &mut driver, async move {
        for _ in 0..ROUNDS {
            let finished = Rc::new(Cell::new(false));
            let (sender, ended) = (sender.clone(), Rc::clone(&finished));
            spawner.spawn(async move {
                let done = Arc::new(AtomicBool::new(false));
                let mut sent = false;
                std::future::poll_fn(|context| {
                    if !std::mem::replace(&mut sent, true) {
                        sender.send((context.waker().clone(), Arc::clone(&done))).unwrap();
                    }
                    if done.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                ended.set(true);
            });
            while !finished.get() {
                yield_now().await;
            }
        }
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A thread that sleeps is woken by a wake from elsewhere.
#[test]
fn another_thread_ends_the_sleep() {
    let (executor, mut driver) = machine();
    let mut thread = None;
    let done = Arc::new(AtomicBool::new(false));
    for _ in 0..100 {
        done.store(false, Ordering::Relaxed);
        let done = Arc::clone(&done);
        let mut started = false;
        let handle = run(&executor, &mut driver, async move {
            std::future::poll_fn(|context| {
                if !std::mem::replace(&mut started, true) {
                    let (waker, done) = (context.waker().clone(), Arc::clone(&done));
                    thread = Some(std::thread::spawn(move || {
                        done.store(true, Ordering::Release);
                        waker.wake();
                    }));
                }
                if done.load(Ordering::Acquire) { Poll::Ready(thread.take()) } else { Poll::Pending }
            })
            .await
        });
        handle.unwrap().join().unwrap();
        thread = None;
    }
}

/// A poll that takes too long is counted, with the name of its task.
#[test]
fn stalls_are_counted() {
    let executor = Executor::new(Arc::new(Parker::default()), Duration::ZERO);
    executor.spawn(async {});
    executor.run_ready();
    let stats = executor.stats();
    assert_eq!((stats.polls, stats.stalls), (1, 1));
    assert!(stats.stall_site.contains("stalls_are_counted"), "{}", stats.stall_site);
}
