//! The power goes off in the midst of every single operation of a script.

use runtime::sim::OpKind;

use super::{Mutant, Outcome, new_world, restart, script};
use crate::oracle::Clients;
use crate::server::{NODE, PARTITIONS};

/// Counts the operations of a script on a healthy disk, then cuts the power in the midst of each of them.
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
    for nth in 1..=operations {
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
