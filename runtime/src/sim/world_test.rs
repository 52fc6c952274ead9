//! A seed replays exactly; time, tasks and lives of nodes behave as promised.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::{OpKind, SimWorld, Trace};
use crate::effects::{Clock, Disk, Effects, ListenOptions, Listener, Net, OpenOptions, Stream};

/// A bit of everything: two nodes, files, a connection, a crash.
fn busy_run(seed: u64) -> Trace {
    let world = SimWorld::new(seed);
    let server = world.node("server");
    let client = world.node("client");
    let address = std::net::SocketAddr::new(server.net().ip(), 9092);
    let shard = server.shard();
    server.spawn(async move {
        let listen = ListenOptions { reuse_port: false, backlog: 8, v6_only: false };
        let listener = shard.net().listen(address, listen).unwrap();
        let stream = listener.accept().await.unwrap();
        for round in 0u32.. {
            let (received, buffer) = stream.recv(bytes::BytesMut::with_capacity(100)).await;
            if received.unwrap_or(0) == 0 {
                break;
            }
            let path = format!("f{}", round % 3);
            shard.disk().write_file(Path::new(&path), buffer.to_vec()).await.unwrap();
        }
    });
    let writer = client.clone();
    client.spawn(async move {
        let stream = writer.net().connect(address).await.unwrap();
        for _ in 0..20 {
            let content = writer.random().to_le_bytes().repeat(20);
            if stream.send(vec![content.into()]).await.is_err() {
                break;
            }
            let pause = Duration::from_micros(writer.random() % 500);
            writer.clock().sleep_until(writer.clock().now() + pause).await;
        }
    });
    world.disk("server").crash_at(OpKind::Any, 9);
    world.run_for(Duration::from_secs(1));
    let trace = world.trace();
    world.end();
    trace
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for seed in 0..20 {
        let first = busy_run(seed);
        assert!(first.count > 30, "something happens: {first}");
        assert_eq!(first, busy_run(seed), "seed {seed}");
        assert_ne!(first.hash, busy_run(seed + 1000).hash, "seed {seed}");
    }
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    let world = SimWorld::new(3);
    let node = world.node("a");
    let woken = Rc::new(RefCell::new(Vec::new()));
    for ms in [30, 10, 20] {
        let (node, woken) = (node.clone(), Rc::clone(&woken));
        node.clone().spawn(async move {
            node.clock().sleep_until(node.clock().now() + Duration::from_millis(ms)).await;
            woken.borrow_mut().push(ms);
        });
    }
    world.run_for(Duration::from_millis(25));
    assert_eq!(*woken.borrow(), [10, 20]);
    world.run_for(Duration::from_millis(25));
    assert_eq!(*woken.borrow(), [10, 20, 30]);
}

#[test]
fn the_wall_clock_jumps_and_the_monotonic_does_not() {
    let world = SimWorld::new(3);
    let node = world.node("a");
    let before = (node.clock().unix_ms(), node.clock().now());
    world.jump_wall_clock("a", -5_000);
    assert_eq!((node.clock().unix_ms(), node.clock().now()), (before.0 - 5_000, before.1));
    world.run_for(Duration::from_secs(2));
    assert_eq!(node.clock().unix_ms(), before.0 - 3_000);
}

#[test]
fn a_stopped_node_loses_its_tasks_and_gets_no_answers() {
    struct Gone(Rc<Cell<u32>>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let world = SimWorld::new(3);
    let old = world.node("a");
    let gone = Rc::new(Cell::new(0));
    for _ in 0..2 {
        let (guard, clock) = (Gone(Rc::clone(&gone)), old.clock().clone());
        old.spawn(async move {
            clock.sleep_until(clock.now() + Duration::from_secs(1)).await;
            drop(guard);
        });
    }
    world.crash("a");
    assert_eq!((gone.get(), world.is_up("a")), (2, false));
    let new = world.node("a");
    assert!(world.is_up("a"));
    let options = OpenOptions { write: true, create: true, direct: false };
    // The old life's request is never answered, the new one's is.
    let stale = world.run_on(&old, old.disk().open(Path::new("f"), options));
    assert!(stale.is_none());
    assert!(world.run_on(&new, new.disk().open(Path::new("f"), options)).unwrap().is_ok());
}

#[test]
#[should_panic(expected = "seed 77: everything waits and nothing is to come")]
fn a_world_that_hangs_says_so_with_its_seed() {
    SimWorld::new(77).block_on(std::future::pending::<()>());
}
