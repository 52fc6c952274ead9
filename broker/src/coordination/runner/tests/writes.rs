//! Appends: answered when they are committed, undone when they are not.

use runtime::sim::SimWorld;

use super::counter::{Ask, Told};
use super::fake_log::FakeLog;
use super::loads::{pause, start};
use crate::coordination::runner::{Refusal, WriteError};

#[test]
fn an_append_is_answered_when_it_is_committed() {
    let world = SimWorld::new(1);
    world.block_on(async {
        let log = FakeLog::new();
        let (runner, _) = start(&world, &log);
        pause(&world, 1).await;
        let (first, second) = (runner.ask(Ask::Add(3)), runner.ask(Ask::Add(4)));
        pause(&world, 1_000).await;
        assert_eq!(runner.ask(Ask::Sum).await, Ok(Told::Sum(1_000)), "nothing is durable yet");
        log.commit();
        assert_eq!(first.await, Ok(Told::Sum(1_003)));
        assert_eq!(second.await, Ok(Told::Sum(1_007)));
        let third = runner.ask(Ask::Add(5));
        log.commit();
        assert_eq!(third.await, Ok(Told::Sum(1_012)));
    });
}

#[test]
fn an_append_that_is_refused_fails_alone() {
    let world = SimWorld::new(2);
    world.block_on(async {
        let log = FakeLog::new();
        let (runner, _) = start(&world, &log);
        pause(&world, 1).await;
        log.answer_appends([None, Some(WriteError::TooLarge), None]);
        let asked = [3, 4, 5].map(|number| runner.ask(Ask::Add(number)));
        log.commit();
        let mut told = Vec::new();
        for answer in asked {
            told.push(answer.await.unwrap());
        }
        assert_eq!(told, [Told::Sum(1_003), Told::Failed(WriteError::TooLarge), Told::Sum(1_008)]);
        assert_eq!(log.end(), 2);
    });
}

#[test]
fn what_makes_sense_together_only_fails_from_the_first_refusal_on() {
    let world = SimWorld::new(3);
    world.block_on(async {
        let log = FakeLog::new();
        let (runner, _) = start(&world, &log);
        pause(&world, 1).await;
        log.answer_appends([None, Some(WriteError::Unavailable)]);
        let told = runner.ask(Ask::AddAll(vec![1, 2, 4, 8]));
        assert_eq!(log.end(), 1, "nothing is appended behind what was refused");
        log.commit();
        assert_eq!(told.await, Ok(Told::Failed(WriteError::Unavailable)));
        let told = runner.ask(Ask::AddAll(vec![2, 4]));
        log.commit();
        assert_eq!(told.await, Ok(Told::Sum(1_007)));
    });
}

#[test]
fn a_high_watermark_that_is_lost_undoes_all_that_waits_for_it() {
    let world = SimWorld::new(4);
    world.block_on(async {
        let log = FakeLog::new();
        let (runner, _) = start(&world, &log);
        pause(&world, 1).await;
        let first = runner.ask(Ask::Add(1));
        log.commit();
        assert_eq!(first.await, Ok(Told::Sum(1_001)));
        let (second, third) = (runner.ask(Ask::Add(2)), runner.ask(Ask::Add(4)));
        log.depose();
        assert_eq!(second.await, Ok(Told::Failed(WriteError::NotLeader)));
        assert_eq!(third.await, Ok(Told::Failed(WriteError::NotLeader)));
        assert_eq!(runner.ask(Ask::Sum).await, Ok(Told::Sum(1_001)));
    });
}

#[test]
fn nothing_is_appended_in_another_epoch_than_that_of_the_election() {
    let world = SimWorld::new(5);
    world.block_on(async {
        let log = FakeLog::new();
        let (runner, _) = start(&world, &log);
        pause(&world, 1).await;
        // Led anew, and this coordinator has not heard of it.
        log.set_epoch(2);
        assert_eq!(runner.ask(Ask::Add(1)).await, Ok(Told::Failed(WriteError::StaleEpoch)));
        assert_eq!(log.end(), 0);
    });
}

#[test]
fn who_waits_is_answered_when_the_coordinator_resigns() {
    let world = SimWorld::new(6);
    world.block_on(async {
        let log = FakeLog::new();
        let (runner, _) = start(&world, &log);
        pause(&world, 1).await;
        let (add, alarm) = (runner.ask(Ask::Add(1)), runner.ask(Ask::Alarm(10)));
        runner.resign();
        let refused = Ok(Told::Refused(Refusal::NotCoordinator));
        assert_eq!((add.await, alarm.await), (refused.clone(), refused.clone()));
        // Neither its own append nor its own time reach it any more.
        log.commit();
        pause(&world, 100).await;
        assert_eq!(runner.ask(Ask::Sum).await, refused);
    });
}

#[test]
fn time_runs_to_the_earliest_deadline() {
    let world = SimWorld::new(7);
    world.block_on(async {
        let log = FakeLog::new();
        let (runner, _) = start(&world, &log);
        pause(&world, 1).await;
        let mut late = runner.ask(Ask::Alarm(500));
        pause(&world, 1).await;
        // The timer sleeps for the later one already.
        let early = runner.ask(Ask::Alarm(10));
        pause(&world, 11).await;
        assert_eq!(early.await, Ok(Told::Rang));
        assert!(futures_util::FutureExt::now_or_never(&mut late).is_none());
        pause(&world, 500).await;
        assert_eq!(late.await, Ok(Told::Rang));
    });
}
