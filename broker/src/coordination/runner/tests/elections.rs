//! Which coordinator of a partition serves, from one election to the next.

use std::rc::Rc;
use std::sync::Arc;

use model::PartitionId;
use runtime::Clock;
use runtime::sim::{SimEffects, SimWorld};

use super::counter::{Ask, Counter, Told};
use super::fake_log::{FakeLog, damage};
use super::loads::pause;
use crate::coordination::elected::ElectedCoordinators;
use crate::coordination::runner::{CoordinatorLog, Refusal};
use crate::replicas::offline_partitions::{Availability, OfflinePartition, OfflinePartitions};

type Elected = Rc<ElectedCoordinators<SimEffects, FakeLog, Counter>>;

fn none_elected(world: &SimWorld) -> (Elected, Arc<OfflinePartitions>) {
    let offline = Arc::new(OfflinePartitions::default());
    let known = Arc::clone(&offline);
    let may_lead = move |(topic_id, id): (model::TopicId, PartitionId)| {
        known.availability(topic_id, id) != Availability::Offline
    };
    (ElectedCoordinators::new(world.node("n"), Arc::clone(&offline), Box::new(may_lead)), offline)
}

fn partition(log: &FakeLog) -> (model::TopicId, PartitionId) {
    (log.topic_id(), log.name().partition)
}

#[test]
fn the_next_epoch_loads_anew_and_an_earlier_one_changes_nothing() {
    let world = SimWorld::new(1);
    world.block_on(async {
        let (elected, _) = none_elected(&world);
        let log = FakeLog::new();
        elected.elected(log.clone(), 1_000, None);
        pause(&world, 1).await;
        let first = elected.ask(partition(&log), Ask::Add(3));
        log.commit();
        assert_eq!(first.await, Told::Sum(1_003));
        // Another leader adds one, then this shard leads again, with other settings.
        let waits = elected.ask(partition(&log), Ask::Alarm(60_000));
        elected.resign(partition(&log));
        assert_eq!(waits.await, Told::Refused(Refusal::NotCoordinator));
        let later = log.clone();
        later.append(&[super::counter::record(20)], log.leader_epoch(), 0).unwrap();
        later.set_epoch(3);
        elected.elected(later.clone(), 5_000, None);
        assert_eq!(
            elected.ask(partition(&log), Ask::Sum).await,
            Told::Sum(5_023),
            "the request waits for the load"
        );

        let late = FakeLog::new();
        late.set_epoch(2);
        elected.elected(late, 0, None);
        assert_eq!(elected.ask(partition(&log), Ask::Sum).await, Told::Sum(5_023));
        // The same epoch on another opening of the log.
        let reopened = FakeLog::new();
        reopened.set_epoch(3);
        elected.elected(reopened, 7_000, Some(1));
        assert_eq!(elected.ask(partition(&log), Ask::Sum).await, Told::Sum(7_001));
        assert_eq!(elected.count(), 0, "its log is empty");
    });
}

#[test]
fn a_request_waits_a_while_for_a_coordinator_and_is_then_refused() {
    let world = SimWorld::new(2);
    world.block_on(async {
        let (elected, offline) = none_elected(&world);
        let log = FakeLog::new();
        log.stall_reads(true);
        let start = world.clock().now();
        assert_eq!(elected.ask(partition(&log), Ask::Sum).await, Told::Refused(Refusal::Loading));
        assert_eq!(world.clock().now().since(start).as_millis(), 2_000, "it may be opened any moment");
        let name = log.name().clone();
        offline.note(log.topic_id(), OfflinePartition { name, is_readable: false, reason: "gone".into() });
        let refused = Told::Refused(Refusal::NotCoordinator);
        assert_eq!(elected.ask(partition(&log), Ask::Sum).await, refused, "nobody opens it");
        offline.forget(log.topic_id(), PartitionId(0));

        elected.elected(log.clone(), 0, None);
        pause(&world, 1).await;
        assert_eq!(elected.ask(partition(&log), Ask::Ping).await, Told::Pong);
        assert_eq!(elected.ask_all(&Ask::Sum).await, [Told::Refused(Refusal::Loading)]);
        let asked = elected.ask(partition(&log), Ask::Sum);
        elected.stop();
        assert_eq!(asked.await, refused);
        elected.elected(log.clone(), 0, None);
        assert_eq!(elected.ask(partition(&log), Ask::Sum).await, refused, "nobody is elected after the end");
    });
}

#[test]
fn a_partition_whose_coordinator_cannot_load_is_noted() {
    let world = SimWorld::new(3);
    world.block_on(async {
        let (elected, offline) = none_elected(&world);
        let log = FakeLog::new();
        log.fail_reads([damage()]);
        elected.elected(log.clone(), 0, None);
        assert_eq!(elected.ask(partition(&log), Ask::Sum).await, Told::Refused(Refusal::NotCoordinator));
        assert_eq!(offline.availability(log.topic_id(), PartitionId(0)), Availability::ReadOnly);
        let reason = offline.find(log.topic_id(), PartitionId(0)).unwrap().reason;
        assert!(reason.starts_with("its numbers cannot be loaded: "), "{reason}");
    });
}
