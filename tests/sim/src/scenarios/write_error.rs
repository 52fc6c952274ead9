//! A write or a sync fails: nothing is acknowledged any more, and nothing acknowledged is lost.

use runtime::sim::{Fault, FaultKind, OpKind};
use storage::CommitMode;

use super::{Outcome, STEPS, new_world, restart};
use crate::invariants::{Broken, Content};
use crate::oracle::Clients;
use crate::server::{DATA_DIR, NODE, PARTITIONS, Server};
use crate::workload::{Ending, work};

/// A write or a sync fails: nothing is acknowledged any more, and nothing acknowledged is lost.
pub(super) fn run(seed: u64) -> Outcome {
    let world = new_world(seed);
    let clients = Clients::new(PARTITIONS, seed);
    let node = world.node(NODE);
    let mut rng = fastrand::Rng::with_seed(seed);
    let op = if rng.bool() { OpKind::Write } else { OpKind::Sync };
    let path = [".log", "orders-0", "/data"][rng.usize(0..3)];
    world.disk(NODE).inject(Fault::new(op, FaultKind::Eio).on(path).after(rng.u64(0..60), 1));
    let lived = world.run_on(&node, async {
        let server = Server::open(&node, &clients, CommitMode::Fsync).await?;
        let worked = work(&server, &clients, seed, STEPS, Ending::Flushed, CommitMode::Fsync).await;
        // What was acknowledged is still there to be read.
        let logs = server.logs.iter().zip(&clients.oracles);
        // One that was being cut is refused until the next start.
        for (log, oracle) in logs.filter(|(_, oracle)| !oracle.known().cutting) {
            let read = Content::read_of_failed(log).await?;
            let end = read.batches().last().map_or(read.log_start, |batch| batch.next_offset());
            if end < oracle.known().acked {
                return Err(Broken::Lost(format!(
                    "acknowledged to {}, readable to {end}",
                    oracle.known().acked
                )));
            }
        }
        worked
    });
    match lived {
        Some(Err(Broken::Stuck(_) | Broken::Refused(_) | Broken::Offline(_)) | Ok(())) | None => {}
        Some(Err(broken)) => return Err((format!("{op:?} error on {path}"), broken)),
    }
    world.disk(NODE).clear_faults();
    if rng.bool() {
        world.crash(NODE)
    } else {
        world.kill(NODE)
    }
    let at = format!("after a restart after a {op:?} error on {path} under {DATA_DIR}");
    restart(&world, &clients, false).map_err(|broken| (at, broken))?;
    world.end();
    Ok(())
}
