//! Calls between shards that have nothing but a list of what was called on them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use runtime::mesh::mesh;
use runtime::sim::{SimEffects, SimWorld};
use runtime::{Clock, Effects};

use super::calls::{Callee, Calls};

struct Shard {
    effects: SimEffects,
    index: usize,
    calls: Calls<Self>,
    called: RefCell<Vec<u32>>,
}

impl Callee for Shard {
    fn calls(&self) -> &Calls<Self> {
        &self.calls
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.effects.spawn(task);
    }
}

/// Shards that serve each other's calls; a ring holds two jobs.
fn shards(world: &SimWorld, count: usize) -> Vec<Rc<Shard>> {
    let node = world.node("n");
    let ports = mesh(count, 2).into_iter().enumerate();
    let shards = ports.map(|(index, port)| {
        let (effects, calls) = (node.shard(), Calls::new(index, port));
        Rc::new(Shard { effects, index, calls, called: RefCell::default() })
    });
    let shards: Vec<_> = shards.collect();
    for shard in &shards {
        shard.effects.spawn(Calls::serve(Rc::clone(shard)));
    }
    shards
}

#[test]
fn a_call_runs_where_it_is_sent_and_its_result_comes_back() {
    let world = SimWorld::new(1);
    world.block_on(async {
        let shards = shards(&world, 3);
        for target in 0..3 {
            let index = Calls::call(&shards[1], target, async |shard: Rc<Shard>| shard.index).await;
            assert_eq!(index, target);
        }
        assert_eq!(Calls::call_all(&shards[2], async |shard: Rc<Shard>| shard.index).await, [0, 1, 2]);
        assert_eq!(
            shards[2].calls.sent(),
            3,
            "two calls and the result of one; a shard sends itself nothing"
        );
    });
    world.end();
}

#[test]
fn jobs_begin_in_the_order_in_which_they_were_sent_whatever_their_results_take() {
    let world = SimWorld::new(2);
    world.block_on(async {
        let shards = shards(&world, 2);
        let mut results = Vec::new();
        for number in 0..10 {
            let start = move |shard: Rc<Shard>| {
                shard.called.borrow_mut().push(number);
                async move {
                    let clock = shard.effects.clock().clone();
                    clock.sleep_until(clock.now() + Duration::from_millis(u64::from(10 - number))).await;
                    number
                }
            };
            results.push(Calls::send_call(&shards[0], 1, start).await);
        }
        for (number, result) in (0..).zip(results) {
            assert_eq!(result.await, number);
        }
        assert_eq!(*shards[1].called.borrow(), (0..10).collect::<Vec<_>>());
    });
    world.end();
}

#[test]
fn a_caller_that_goes_away_is_not_waited_for() {
    let world = SimWorld::new(3);
    world.block_on(async {
        let shards = shards(&world, 2);
        let clock = shards[0].effects.clock().clone();
        let slow = |shard: Rc<Shard>| async move {
            let clock = shard.effects.clock().clone();
            clock.sleep_until(clock.now() + Duration::from_secs(1)).await;
            shard.called.borrow_mut().push(1);
        };
        let call = Box::pin(Calls::call(&shards[0], 1, slow));
        let pause = Box::pin(clock.sleep_until(clock.now() + Duration::from_millis(1)));
        assert!(matches!(select(call, pause).await, Either::Right(_)));
        clock.sleep_until(clock.now() + Duration::from_secs(2)).await;
        assert_eq!(*shards[1].called.borrow(), [1], "what was called has happened");
        assert_eq!(Calls::call(&shards[0], 1, async |shard: Rc<Shard>| shard.index).await, 1);
    });
    world.end();
}
