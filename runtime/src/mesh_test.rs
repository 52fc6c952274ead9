use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Mutex;

use super::*;
use crate::effects::Effects;
use crate::injector::injector;
use crate::shards::{ShardOptions, run_shards};
use crate::sync::oneshot;

/// Hands each shard its part of something that was made for all.
fn parts<T: Send + 'static>(all: Vec<T>) -> impl Fn(usize) -> T + Clone + Send {
    let all = Arc::new(Mutex::new(all.into_iter().map(Some).collect::<Vec<_>>()));
    move |shard| {
        let mut all = all.lock().expect("no shard panics here");
        all[shard].take().expect("every shard takes its part once")
    }
}

fn options(shards: usize) -> Vec<ShardOptions> {
    vec![ShardOptions { ring_entries: 8, ..ShardOptions::default() }; shards]
}

/// Two shards throw a ball, on queues that hold one message and with threads that sleep in between.
#[test]
fn messages_cross_between_threads() {
    const ROUNDS: u64 = 5000;
    for spin in [0, 50] {
        let port = parts(mesh::<u64>(2, 1));
        let spin = std::time::Duration::from_micros(spin);
        let options = options(2).into_iter().map(|options| ShardOptions { spin, ..options }).collect();
        let shards = run_shards(options, move |shard, _| {
            let port = port(shard);
            async move {
                for round in 0..ROUNDS {
                    if shard == 0 {
                        port.send(1, round).await;
                    }
                    assert_eq!(port.recv().await, (1 - shard, round));
                    if shard == 1 {
                        port.send(0, round).await;
                    }
                }
            }
        });
        shards.unwrap().join();
    }
}

/// Everyone sends to everyone, itself included, from several tasks; each stream of messages arrives in order.
#[test]
fn a_flood_arrives_complete_and_in_order() {
    const SHARDS: usize = 3;
    const COUNT: u64 = 3000;
    let port = parts(mesh::<u64>(SHARDS, 4));
    let shards = run_shards(options(SHARDS), move |shard, effects| {
        let port = Rc::new(port(shard));
        async move {
            let mut senders = Vec::new();
            for to in 0..SHARDS {
                let port = Rc::clone(&port);
                let (done, is_done) = oneshot::channel();
                senders.push(is_done);
                effects.spawn(async move {
                    for number in 0..COUNT {
                        port.send(to, number).await;
                    }
                    done.send(()).unwrap();
                });
            }
            let mut next = [0; SHARDS];
            while next.iter().any(|next| *next < COUNT) {
                let (from, number) = port.recv().await;
                assert_eq!(number, next[from]);
                next[from] += 1;
            }
            // Others still need what our tasks send: those end with this future.
            for sender in senders {
                sender.await.unwrap();
            }
        }
    });
    shards.unwrap().join();
}

/// Tasks that wait for room are served in the order in which they came; one that gives up is passed over.
#[test]
fn those_who_wait_for_room_keep_their_order() {
    let port = parts(mesh::<&str>(1, 1));
    let shards = run_shards(options(1), move |shard, effects| {
        let port = Rc::new(port(shard));
        async move {
            port.try_send(0, "a").unwrap();
            for name in ["b", "gives up", "c"] {
                let port = Rc::clone(&port);
                effects.spawn(async move {
                    let mut send = Box::pin(port.send(0, name));
                    let mut polls = 0;
                    poll_fn(|context| {
                        polls += 1;
                        let over =
                            send.as_mut().poll(context).is_ready() || (polls > 1 && name == "gives up");
                        if name == "gives up" {
                            context.waker().wake_by_ref();
                        }
                        if over { Poll::Ready(()) } else { Poll::Pending }
                    })
                    .await;
                });
            }
            for _ in 0..3 {
                crate::yield_now().await;
            }
            assert_eq!(port.try_send(0, "d"), Err("d"), "must not overtake those who wait");
            for expected in ["a", "b", "c"] {
                assert_eq!(port.recv().await, (0, expected));
            }
        }
    });
    shards.unwrap().join();
}

/// A foreign thread reaches a shard that sleeps, and the shard notices when all senders are gone.
#[test]
fn foreign_threads_inject_messages() {
    let (sender, port) = injector::<u32>(2);
    let port = parts(vec![port]);
    let shards = run_shards(options(1), move |shard, _| {
        let port = port(shard);
        async move {
            for expected in 0..1000 {
                assert_eq!(port.recv().await, Some(expected));
            }
            assert_eq!(port.recv().await, None);
        }
    });
    for number in 0..1000 {
        let mut message = number;
        while let Err(refused) = sender.clone().try_send(message) {
            message = refused;
            std::thread::yield_now();
        }
    }
    drop(sender);
    shards.unwrap().join();
}

/// Local channels work within a shard.
#[test]
fn tasks_of_a_shard_answer_each_other() {
    let shards = run_shards(options(1), |_, effects| async move {
        let (sender, receiver) = oneshot::channel();
        let seen = Rc::new(RefCell::new(0));
        effects.spawn(async move { sender.send(7).unwrap() });
        *seen.borrow_mut() = receiver.await.unwrap();
        assert_eq!(*seen.borrow(), 7);
    });
    shards.unwrap().join();
}
