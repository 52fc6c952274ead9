//! `millrace-test-fuzz [TARGET] [--seed N] [--cases N]`: runs one target, or all, one after the other.

#![forbid(unsafe_code)]

use std::time::{SystemTime, UNIX_EPOCH};

use millrace_test_fuzz::{TARGETS, run};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut name, mut seed, mut cases) = (None, None, 1_000_000);
    while let Some(argument) = arguments.next() {
        let mut number =
            || arguments.next().and_then(|text| text.parse().ok()).expect("a number after the option");
        match argument.as_str() {
            "--seed" => seed = Some(number()),
            "--cases" => cases = number(),
            _ => name = Some(argument),
        }
    }
    let seed = seed.unwrap_or_else(|| {
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.subsec_nanos());
        u64::from(nanoseconds) << 32
    });
    let wanted =
        |target: &&millrace_test_fuzz::Target| name.as_deref().is_none_or(|name| name == target.name);
    let targets: Vec<_> = TARGETS.iter().filter(wanted).collect();
    assert!(!targets.is_empty(), "no such target");
    for target in targets {
        let cases = cases.div_ceil(target.cost);
        println!("{}: {cases} cases from seed {seed}", target.name);
        run(target, seed, cases);
    }
}
