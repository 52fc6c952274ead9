//! A few seeds of every scenario find nothing, and every planted bug is found.

use sim_tests::{MUTANTS, SCENARIOS, counters};

fn run(name: &str, seeds: std::ops::Range<u64>) {
    let scenario = SCENARIOS.iter().find(|it| it.name == name).expect("the scenario exists");
    for seed in seeds {
        if let Err(broken) = (scenario.run)(seed) {
            panic!("{name} --seed {seed}: {broken}");
        }
    }
}

#[test]
fn acknowledged_records_survive_a_power_cut_at_every_operation() {
    run("power-cut-everywhere", 0..4);
}

#[test]
fn a_directory_survives_many_lives() {
    run("many-lives", 0..40);
}

#[test]
fn bit_rot_in_acknowledged_data_is_noticed() {
    run("bit-rot", 0..60);
}

#[test]
fn bit_rot_in_the_journal_is_noticed() {
    run("journal-rot", 0..200);
}

#[test]
fn a_full_disk_loses_nothing_and_is_left_behind() {
    run("full-disk", 0..30);
}

#[test]
fn a_failing_disk_loses_nothing_acknowledged() {
    run("write-error", 0..60);
}

#[test]
fn every_planted_bug_is_found() {
    for mutant in MUTANTS {
        assert!((0..10).any(|seed| mutant.run(seed).is_err()), "{mutant:?} was not found");
    }
}

#[test]
fn scripts_reach_every_part_of_storage() {
    let runs: Vec<_> = (0..8).map(|seed| counters(seed).expect("nothing fails")).collect();
    let reached = |count: fn(&storage::StorageStats) -> u64| runs.iter().map(count).sum::<u64>();
    for (what, count, min) in [
        ("segments rolled", reached(|it| it.segments_rolled), 10),
        ("segments deleted", reached(|it| it.segments_deleted), 4),
        ("checkpoints", reached(|it| it.checkpoints), 10),
        ("journal entries", reached(|it| it.journal_entries), 20),
        ("bytes prewritten", reached(|it| it.bytes_prewritten), 100_000),
        ("bytes written", reached(|it| it.bytes_written), reached(|it| it.bytes_appended)),
    ] {
        assert!(count >= min, "{what}: {count}");
    }
}
