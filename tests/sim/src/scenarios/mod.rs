//! The scenarios, one per file: what happens to the server, and what may come of it.

mod bit_rot;
mod full_disk;
mod journal_rot;
mod many_lives;
mod mutant;
mod power_cut;
mod write_error;

use std::time::Duration;

use runtime::sim::{OpKind, SimWorld};
use storage::{CommitMode, StorageStats};

pub use mutant::{MUTANTS, Mutant};

use crate::invariants::{Broken, check_restart};
use crate::oracle::Clients;
use crate::server::{NODE, PARTITIONS, Server};
use crate::workload::{Ending, work};

/// A test as a function of its seed.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// Runs it.
    ///
    /// # Errors
    /// What was broken.
    pub run: fn(u64) -> Result<(), String>,
}

/// All scenarios.
pub const SCENARIOS: [Scenario; 6] = [
    Scenario { name: "power-cut-everywhere", run: |seed| named(power_cut::everywhere(seed, None)) },
    Scenario { name: "many-lives", run: |seed| named(many_lives::run(seed)) },
    Scenario { name: "bit-rot", run: |seed| named(bit_rot::run(seed)) },
    Scenario { name: "journal-rot", run: |seed| named(journal_rot::run(seed)) },
    Scenario { name: "full-disk", run: |seed| named(full_disk::run(seed)) },
    Scenario { name: "write-error", run: |seed| named(write_error::run(seed)) },
];

/// A failure of the scenario, with the point at which it happened.
type Outcome = Result<(), (String, Broken)>;

fn named(outcome: Outcome) -> Result<(), String> {
    outcome.map_err(|(at, broken)| format!("{at}: {broken}"))
}

/// One life of the server; `None` if the power went off.
fn script(
    world: &SimWorld,
    clients: &Clients,
    seed: u64,
    mutant: Option<Mutant>,
) -> Option<Result<(), Broken>> {
    let node = world.node(NODE);
    if let Some(mutant) = mutant {
        mutant.plant(world);
    }
    let commit_mode = Mutant::commit_mode(mutant);
    world.run_on(&node, async {
        let server = Server::open(&node, clients, commit_mode).await?;
        let ending = if seed.is_multiple_of(2) { Ending::Flushed } else { Ending::Closed };
        work(&server, clients, seed, STEPS, ending, commit_mode).await
    })
}

/// What storage has to do in the script of a seed: the counters at its end.
///
/// # Errors
/// What was broken.
pub fn counters(seed: u64) -> Result<StorageStats, String> {
    let world = new_world(seed);
    let clients = Clients::new(PARTITIONS, seed);
    let node = world.node(NODE);
    let counted = world.block_on(async {
        let server = Server::open(&node, &clients, CommitMode::Fsync).await?;
        work(&server, &clients, seed, STEPS, Ending::Flushed, CommitMode::Fsync).await?;
        Ok(server.manager.stats())
    });
    world.end();
    counted.map_err(|broken: Broken| broken.to_string())
}

/// Starts the server and checks it; with `stumbling` the power goes off a few times during the start.
fn restart(world: &SimWorld, clients: &Clients, stumbling: bool) -> Result<(), Broken> {
    for attempt in 0.. {
        let node = world.node(NODE);
        if stumbling && attempt < 3 {
            world.disk(NODE).crash_at(OpKind::Any, [1, 4, 9][attempt]);
        }
        let checked = world.run_on(&node, async {
            let server = Server::open(&node, clients, CommitMode::Fsync).await?;
            check_restart(&server, clients).await
        });
        match checked {
            Some(checked) => return checked,
            None => continue,
        }
    }
    unreachable!("only the first attempts are cut off")
}

fn new_world(seed: u64) -> SimWorld {
    let world = SimWorld::new(seed);
    // Scripts take a few seconds; what takes longer waits for something that never comes.
    world.set_time_max(Duration::from_secs(20));
    world
}

/// Things done in one script.
const STEPS: usize = 80;
