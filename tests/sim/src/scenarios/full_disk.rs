//! The disk fills up while clients write, and has room again later.

use std::time::Duration;

use runtime::{Clock, Effects};
use storage::CommitMode;

use super::{Outcome, STEPS, new_world, restart};
use crate::oracle::Clients;
use crate::server::{NODE, PARTITIONS, Server};
use crate::workload::{Ending, work};

/// The disk fills up while clients write, and has room again later.
pub(super) fn run(seed: u64) -> Outcome {
    let world = new_world(seed);
    let clients = Clients::new(PARTITIONS, seed);
    let node = world.node(NODE);
    let mut rng = fastrand::Rng::with_seed(seed);
    world.disk(NODE).set_capacity(Some(rng.u64(150_000..400_000)));
    let view = world.disk(NODE);
    let more = world.clock();
    let after = Duration::from_millis(rng.u64(10..2_000));
    node.spawn(async move {
        more.sleep_until(more.now() + after).await;
        view.set_capacity(None);
    });
    let lived = world.run_on(&node, async {
        let server = Server::open(&node, &clients, CommitMode::Fsync).await?;
        work(&server, &clients, seed, STEPS, Ending::Flushed, CommitMode::Fsync).await
    });
    lived.unwrap_or(Ok(())).map_err(|broken| ("while the disk is full".into(), broken))?;
    world.disk(NODE).set_capacity(None);
    if rng.bool() {
        world.crash(NODE)
    } else {
        world.kill(NODE)
    }
    restart(&world, &clients, false).map_err(|broken| ("after the restart".to_owned(), broken))?;
    world.end();
    Ok(())
}
