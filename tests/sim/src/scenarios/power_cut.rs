//! The power goes off in the midst of an operation of a script: one run for every fourth of them, others for each seed.
//! (`storage/tests/sweep.rs` takes all of a shorter script.)

use runtime::sim::OpKind;

use super::{Mutant, Outcome, new_world, restart, script};
use crate::oracle::Clients;
use crate::server::{NODE, PARTITIONS};

/// Four seeds in a row take all residues.
const STRIDE: u64 = 4;

/// Counts the operations of a script on a healthy disk, then cuts the power in the midst of every fourth.
pub(super) fn everywhere(seed: u64, mutant: Option<Mutant>) -> Outcome {
    let operations = {
        let world = new_world(seed);
        let clients = Clients::new(PARTITIONS, seed);
        script(&world, &clients, seed, mutant)
            .unwrap_or(Ok(()))
            .map_err(|broken| ("dry run".into(), broken))?;
        world.end();
        world.disk(NODE).changes(OpKind::Any)
    };
    for nth in (1 + seed % STRIDE..=operations).step_by(usize::try_from(STRIDE).expect("small")) {
        let world = new_world(seed);
        let clients = Clients::new(PARTITIONS, seed);
        let _ = world.node(NODE);
        world.disk(NODE).crash_at(OpKind::Any, nth);
        let at = |stage: &str| format!("power cut at operation {nth} of {operations}, {stage}");
        if let Some(Err(broken)) = script(&world, &clients, seed, mutant) {
            return Err((at("before it"), broken));
        }
        world.disk(NODE).clear_faults();
        world.crash(NODE);
        restart(&world, &clients, nth.is_multiple_of(3))
            .map_err(|broken| (at("after the restart"), broken))?;
        world.end();
    }
    Ok(())
}
