//! A byte of the journal changes while the server is down: unless it lies in the last entry, which could as well be an
//! unfinished write, nothing acknowledged may go missing without a word.

use std::path::PathBuf;

use runtime::sim::SimWorld;
use storage::CommitMode;

use super::bit_rot::compare;
use super::{Outcome, new_world, script};
use crate::invariants::{Broken, Content};
use crate::oracle::Clients;
use crate::server::{NODE, PARTITIONS, Server};

const MAGIC: &[u8] = b"MILLJRN1";
const PAGE: usize = 4096;

pub(super) fn run(seed: u64) -> Outcome {
    let world = new_world(seed);
    let clients = Clients::new(PARTITIONS, seed);
    let lived = script(&world, &clients, seed, None).unwrap_or(Ok(()));
    lived.map_err(|broken| ("before the damage".to_owned(), broken))?;
    world.kill(NODE);
    let mut rng = fastrand::Rng::with_seed(seed);
    let Some((path, position)) = rng.choice(places(&world, &mut rng.clone())) else { return Ok(()) };
    assert!(world.disk(NODE).corrupt(&path, position), "the byte was just read");
    let node = world.node(NODE);
    let read = world.block_on(async {
        let server = Server::open(&node, &clients, CommitMode::Fsync).await?;
        for (log, oracle) in server.logs.iter().zip(&clients.oracles) {
            compare(&Content::read(log).await?, oracle)?;
        }
        Ok(())
    });
    world.end();
    match read {
        Ok(()) | Err(Broken::Refused(_)) => Ok(()),
        Err(broken) => Err((format!("byte {position} of {}", path.display()), broken)),
    }
}

/// A byte of each entry that a later one, of its generation or the first of the next, knew to be durable.
fn places(world: &SimWorld, rng: &mut fastrand::Rng) -> Vec<(PathBuf, usize)> {
    let disk = world.disk(NODE);
    let mut places = Vec::new();
    for path in disk.files().into_iter().filter(|path| path.to_string_lossy().contains("/journal-")) {
        let content = disk.read(&path).unwrap_or_default();
        let entries: Vec<&[u8]> = content.chunks(PAGE).filter(|page| page.starts_with(MAGIC)).collect();
        let number = |page: &[u8], at: usize| u64::from_be_bytes(page[at..at + 8].try_into().expect("eight"));
        for (at, page) in content.chunks(PAGE).enumerate().filter(|(_, page)| page.starts_with(MAGIC)) {
            let id = |page| (number(page, 24), number(page, 32));
            let small =
                |page: &[u8], at: usize| u32::from_be_bytes(page[at..at + 4].try_into().expect("four"));
            let knew = |other, number: u64| match id(other).1.checked_sub(number + 1) {
                None => false,
                Some(back) => back >= 32 || small(other, 20) & (1 << back) == 0,
            };
            let (generation, number) = id(page);
            let known = entries.iter().any(|other| {
                (id(other).0 == generation && knew(other, number)) || id(other) == (generation + 1, 0)
            });
            let length = small(page, 12);
            if known {
                places.push((path.clone(), at * PAGE + rng.usize(0..length as usize)));
            }
        }
    }
    places
}
