//! One directory lives through power cuts, kills and clean stops.

use std::time::Duration;

use runtime::sim::OpKind;
use storage::CommitMode;

use super::{Outcome, new_world, restart};
use crate::invariants::check_restart;
use crate::oracle::Clients;
use crate::server::{NODE, PARTITIONS, Server};
use crate::workload::{Ending, work};

/// One directory lives through power cuts, kills and clean stops.
pub(super) fn run(seed: u64) -> Outcome {
    let world = new_world(seed);
    let clients = Clients::new(PARTITIONS, seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    for life in 0..6 {
        let node = world.node(NODE);
        let stop = rng.u8(0..4);
        if stop == 0 {
            world.disk(NODE).crash_at(OpKind::Any, rng.u64(1..400));
        }
        let ending = if stop == 1 { Ending::Closed } else { Ending::Flushed };
        let at = || format!("life {life}, which ends with stop {stop}");
        let (script_seed, steps) = (rng.u64(..), rng.usize(1..80));
        let lived = world.run_on(&node, async {
            let server = Server::open(&node, &clients, CommitMode::Fsync).await?;
            check_restart(&server, &clients).await?;
            work(&server, &clients, script_seed, steps, ending, CommitMode::Fsync).await
        });
        if let Some(Err(broken)) = lived {
            return Err((at(), broken));
        }
        world.jump_wall_clock(NODE, rng.i64(-5_000..5_000));
        if stop == 2 {
            // Retention, checkpoints and cuts to length are caught wherever they are.
            world.run_for(Duration::from_micros(rng.u64(0..50_000)));
        }
        if stop < 3 { world.crash(NODE) } else { world.kill(NODE) }
    }
    restart(&world, &clients, false).map_err(|broken| ("the last start".into(), broken))?;
    world.end();
    Ok(())
}
