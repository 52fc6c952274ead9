//! A fixed number of cases of every target, the same on every machine.

use millrace_test_fuzz::{TARGETS, run};

fn smoke(name: &str, cases: u64) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    run(target, 1, cases);
}

#[test]
fn request() {
    smoke("request", 20_000);
}

#[test]
fn response() {
    smoke("response", 10_000);
}

#[test]
fn record() {
    smoke("record", 20_000);
}

#[test]
fn record_batch() {
    smoke("record_batch", 20_000);
}

#[test]
fn connection() {
    smoke("connection", 5_000);
}

#[test]
fn log_directory() {
    smoke("log_directory", 1_500);
}

#[test]
fn journal() {
    smoke("journal", 400);
}

#[test]
fn append() {
    smoke("append", 4_000);
}

#[test]
fn record_walk() {
    smoke("record_walk", 3_000);
}

#[test]
fn dump_log() {
    smoke("dump_log", 3_000);
}

#[test]
fn config() {
    smoke("config", 300);
}

#[test]
fn metadata_log() {
    smoke("metadata_log", 5_000);
}

#[test]
fn coordinator() {
    smoke("coordinator", 3_000);
}
