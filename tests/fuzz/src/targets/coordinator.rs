//! Records of `__consumer_offsets`, replayed: whatever the log holds, the coordinator takes up its work afterwards.

use broker::coordination::groups::{GroupConfig, GroupCoordinator, GroupNotice, Input};
use broker::coordination::runner::{CoordinatorMachine, Now};

use crate::Mutator;

pub(crate) fn case(mutator: &mut Mutator) {
    let mut coordinator = GroupCoordinator::new(GroupConfig::default());
    for _ in 0..=mutator.below(8) {
        let (key_schema, _, mut key) = super::sample(mutator, &["coordinator-key"]);
        let (_, version, value) = loop {
            let sample = super::sample(mutator, &["coordinator-value"]);
            if sample.0.key == key_schema.key {
                break sample;
            }
        };
        key.splice(0..0, key_schema.key.unwrap_or(0).to_be_bytes());
        let mut value = [&version.to_be_bytes()[..], &value].concat();
        if mutator.below(2) == 0 {
            mutator.mutate(&mut key);
            mutator.mutate(&mut value);
        }
        let value = (mutator.below(5) != 0).then_some(&value[..]);
        // Either answer is right; only a panic is wrong.
        let _ = coordinator.replay(&key, value);
    }
    let groups = coordinator.count();
    let mut now = Now { monotonic_ms: 0, wall_ms: 1_700_000_000_000 };
    let _ = coordinator.step(Input::LoadDone, now);
    assert!(coordinator.count() <= groups, "loading makes no groups");
    let deleted = GroupNotice::TopicDeleted { topic: "t".to_owned(), topic_id: model::Uuid::ZERO };
    let _ = coordinator.step(Input::Notice(deleted), now);
    for _ in 0..20 {
        let Some(deadline) = coordinator.next_deadline() else { break };
        now.monotonic_ms = now.monotonic_ms.max(deadline);
        let _ = coordinator.step(Input::Tick, now);
    }
    let _ = coordinator.step(Input::Resign, now);
}
