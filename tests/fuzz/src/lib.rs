//! Fuzzes every parser of outside bytes with mutations of valid input from a seeded generator: no nightly compiler, and
//! a failure names the seed that repeats it.
//!
//! `cargo run -p millrace-test-fuzz -- [TARGET] [--seed N] [--cases N]` runs for as long as it is told, fewer cases of a
//! target whose cases cost more;
//! `tests/smoke.rs` runs a fixed number of cases of every target.
//!
//! **To add a target**: add a file to `targets/`
//! with one `pub fn case(mutator: &mut Mutator)`, which makes one valid input, mutates it and feeds it to the parser, and
//! name it in [`TARGETS`]. A case fails by panicking: by an assertion of its own or inside the parser.
#![forbid(unsafe_code)]

pub mod mutator;
mod targets;

pub use mutator::Mutator;

/// One parser under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What the command line calls it.
    pub name: &'static str,
    /// Runs one case.
    pub case: fn(&mut Mutator),
    /// How many cases of a simple target take as long as one of this.
    pub cost: u64,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "request", case: targets::request::case, cost: 1 },
    Target { name: "response", case: targets::response::case, cost: 1 },
    Target { name: "record", case: targets::record::case, cost: 1 },
    Target { name: "record_batch", case: targets::record_batch::case, cost: 1 },
    Target { name: "connection", case: targets::connection::case, cost: 1 },
    Target { name: "log_directory", case: targets::log_directory::case, cost: 20 },
    Target { name: "journal", case: targets::journal::case, cost: 50 },
    Target { name: "append", case: targets::append::case, cost: 10 },
    Target { name: "record_walk", case: targets::record_walk::case, cost: 10 },
    Target { name: "dump_log", case: targets::dump_log::case, cost: 5 },
    Target { name: "config", case: targets::config::case, cost: 100 },
    Target { name: "metadata_log", case: targets::metadata_log::case, cost: 1 },
    Target { name: "coordinator", case: targets::coordinator::case, cost: 5 },
];

/// Runs `cases` cases of a target, from `seed` on.
///
/// # Panics
/// When a case fails; the message before it says how to repeat it.
pub fn run(target: &Target, seed: u64, cases: u64) {
    for seed in (0..cases).map(|case| seed.wrapping_add(case)) {
        let _named = NameOnPanic { target: target.name, seed };
        (target.case)(&mut Mutator::new(seed));
    }
}

/// Says which case is running when it panics.
struct NameOnPanic {
    target: &'static str,
    seed: u64,
}

impl Drop for NameOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { target, seed } = self;
            eprintln!("repeat with: cargo run -p millrace-test-fuzz -- {target} --seed {seed} --cases 1");
        }
    }
}
