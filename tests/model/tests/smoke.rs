//! The rule holds in some walks, and what is left out of it is found; `millrace-test-model` walks further and
//! leaves out everything in turn.

use model_tests::{Ablation, Options, walks};
use replication::Mutant;

#[test]
fn acknowledged_records_are_in_the_log_of_every_later_leader() {
    let outcome = walks(Options { seed: 1, walks: 400, ablation: None });
    assert_eq!(outcome.violation, None);
    assert!(outcome.acknowledged > 400 && outcome.elections > 400, "{outcome:?}");
}

#[test]
fn a_walk_can_be_replayed_from_its_seed() {
    let options = Options { seed: 1, walks: 2_000, ablation: Some(Ablation::Planted(Mutant::NoRecord)) };
    let (first, second) = (walks(options), walks(options));
    assert!(first.violation.is_some(), "no record of former in-sync replicas, and nothing is lost");
    assert_eq!(first.violation, second.violation);
}
