//! How a log becomes a coordinator, and what becomes of requests meanwhile.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use model::{Offset, RecordBatchBuilder};
use runtime::Clock;
use runtime::sim::{SimEffects, SimWorld};

use super::counter::{Ask, Counter, Told};
use super::fake_log::{FakeLog, damage, passing};
use crate::coordination::runner::{CoordinatorRunner, LoadError, Refusal};

type Runner = Rc<CoordinatorRunner<SimEffects, FakeLog, Counter>>;

/// What the end of a load was told as: `None` while it goes on.
type Ended = Rc<RefCell<Option<Result<(), String>>>>;

pub(super) fn start(world: &SimWorld, log: &FakeLog) -> (Runner, Ended) {
    let ended = Ended::default();
    let told = Rc::clone(&ended);
    let load_ended = move |result: Result<(), LoadError>| {
        *told.borrow_mut() = Some(result.map_err(|error| error.to_string()));
    };
    let runner = CoordinatorRunner::start(world.node("n"), log.clone(), 1_000, None, load_ended);
    (runner, ended)
}

pub(super) async fn pause(world: &SimWorld, ms: u64) {
    let clock = world.clock();
    clock.sleep_until(clock.now() + Duration::from_millis(ms)).await;
}

fn number(offset: i64, number: i64) -> Vec<u8> {
    let value = number.to_be_bytes();
    RecordBatchBuilder::new(Offset(offset)).record(0, Some(b"n"), Some(&value)).build().to_vec()
}

#[test]
fn the_whole_log_counts_and_requests_are_refused_until_then() {
    let world = SimWorld::new(1);
    world.block_on(async {
        let log = FakeLog::new();
        log.write(number(0, 4));
        log.write(number(1, 5));
        log.commit();
        log.stall_reads(true);
        let (runner, ended) = start(&world, &log);
        pause(&world, 1).await;
        assert!(runner.is_loading());
        assert_eq!(runner.ask(Ask::Sum).await, Ok(Told::Refused(Refusal::Loading)));
        // Kept until the log is known.
        runner.notify(20_000);
        log.stall_reads(false);
        pause(&world, 1).await;
        assert_eq!(*ended.borrow(), Some(Ok(())));
        assert_eq!((runner.is_loading(), runner.count()), (false, 1));
        assert_eq!(runner.ask(Ask::Sum).await, Ok(Told::Sum(21_009)));
    });
}

#[test]
fn what_passes_is_tried_again_from_the_start() {
    let world = SimWorld::new(2);
    world.block_on(async {
        let log = FakeLog::new();
        log.write(number(0, 4));
        // All batches were seen before it failed: they must not count twice.
        log.fail_reads([passing(), passing()]);
        let (runner, ended) = start(&world, &log);
        pause(&world, 50).await;
        assert_eq!((log.reads(), runner.is_loading()), (1, true));
        pause(&world, 200).await;
        assert_eq!((log.reads(), ended.borrow().clone()), (3, Some(Ok(()))));
        assert_eq!(runner.ask(Ask::Sum).await, Ok(Told::Sum(1_004)));
    });
}

#[test]
fn a_log_that_cannot_be_read_has_no_coordinator() {
    let world = SimWorld::new(3);
    world.block_on(async {
        let nonsense = RecordBatchBuilder::new(Offset(0)).record(0, Some(b"n"), Some(b"nine")).build();
        let broken = FakeLog::new();
        broken.write(nonsense.to_vec());
        let unreadable = FakeLog::new();
        unreadable.write(number(0, 4));
        unreadable.fail_reads([damage()]);
        for (log, why) in
            [(broken, "the batch at offset 0 cannot be understood: not a number"), (unreadable, "")]
        {
            let (runner, ended) = start(&world, &log);
            pause(&world, 1_000).await;
            let failed = ended.borrow().clone().expect("the load has ended").unwrap_err();
            assert!(failed.contains(why), "{failed}");
            assert_eq!(log.reads(), 1, "what does not pass is not tried again");
            assert_eq!((runner.is_loading(), runner.count()), (false, 0));
            assert_eq!(runner.ask(Ask::Sum).await, Ok(Told::Refused(Refusal::NotCoordinator)));
            runner.resign();
        }
    });
}

#[test]
fn who_resigns_during_the_load_never_serves() {
    let world = SimWorld::new(4);
    world.block_on(async {
        let log = FakeLog::new();
        log.write(number(0, 4));
        log.stall_reads(true);
        let (runner, ended) = start(&world, &log);
        pause(&world, 1).await;
        runner.resign();
        assert_eq!(runner.ask(Ask::Sum).await, Ok(Told::Refused(Refusal::NotCoordinator)));
        log.fail_reads([damage()]);
        log.stall_reads(false);
        pause(&world, 1).await;
        assert_eq!(*ended.borrow(), Some(Ok(())), "nobody cares for a log that is led elsewhere");
        assert_eq!(runner.ask(Ask::Add(1)).await, Ok(Told::Refused(Refusal::NotCoordinator)));
        assert_eq!(log.end(), 1);
    });
}

#[test]
fn control_records_are_left_out() {
    let world = SimWorld::new(5);
    world.block_on(async {
        let log = FakeLog::new();
        log.write(number(0, 4));
        let mut marker =
            RecordBatchBuilder::new(Offset(1)).record(0, Some(b"c"), Some(b"x")).build().to_vec();
        // The attributes' bit of a control batch; nobody checks the checksum here.
        marker[22] |= 0x20;
        log.write(marker);
        let (runner, _) = start(&world, &log);
        pause(&world, 1).await;
        assert_eq!(runner.ask(Ask::Sum).await, Ok(Told::Sum(1_004)));
    });
}
