//! A byte of acknowledged data changes while the server is down: that must be noticed, at the start or by a
//! read, and never be returned as if nothing were wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Offset, RecordBatch};
use runtime::sim::SimWorld;
use storage::CommitMode;

use super::{Outcome, new_world, script};
use crate::invariants::{Broken, Content, offsets_dense};
use crate::oracle::Clients;
use crate::server::{DATA_DIR, NODE, PARTITIONS, Server};

/// A byte of an acknowledged batch that retention has not given up.
struct Damage {
    path: PathBuf,
    position: usize,
    /// Counted from the start of the batch.
    in_batch: usize,
    /// The batch.
    base_offset: Offset,
}

pub(super) fn run(seed: u64) -> Outcome {
    let world = new_world(seed);
    let clients = Clients::new(PARTITIONS, seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let lived = script(&world, &clients, seed, None).unwrap_or(Ok(()));
    lived.map_err(|broken| ("before the damage".to_owned(), broken))?;
    if rng.bool() {
        // Time enough for the idle logs to be checkpointed.
        world.run_for(Duration::from_millis(300));
    }
    world.kill(NODE);
    let Some(damage) = choose(&world, &clients, &mut rng) else { return Ok(()) };
    let Damage { path, position, in_batch, base_offset } = damage;
    let recovery_point = recovery_point(&world, &path);
    let byte =
        |world: &SimWorld| world.disk(NODE).read(&path).and_then(|content| content.get(position).copied());
    let good = byte(&world);
    assert!(world.disk(NODE).corrupt(&path, position), "the byte was just read");
    let node = world.node(NODE);
    let read = world.block_on(async {
        let server = Server::open(&node, &clients, CommitMode::Fsync).await?;
        for (log, oracle) in server.logs.iter().zip(&clients.oracles) {
            compare(&Content::read(log).await?, oracle)?;
        }
        Ok(())
    });
    let healed = byte(&world) == good;
    world.end();
    let at = format!("byte {in_batch} of batch {base_offset}, {position} of {}", path.display());
    match read {
        Err(Broken::Offline(_) | Broken::Unreadable(_) | Broken::Refused(_)) => Ok(()),
        // Behind the recovery point and close to the end, damage cannot be told from an unfinished write: cut there.
        Err(Broken::Cut(end)) if end == base_offset && base_offset >= recovery_point => Ok(()),
        Err(broken) => Err((at, broken)),
        // The checksum of a batch does not cover its leader epoch, as in Kafka.
        Ok(()) if (12..16).contains(&in_batch) => Ok(()),
        // The journal had the same bytes and has put them back.
        Ok(()) if healed => Ok(()),
        Ok(()) => Err((at, Broken::Wrong("the damage was not noticed".into()))),
    }
}

pub(super) fn compare(content: &Content, oracle: &crate::oracle::Oracle) -> Result<(), Broken> {
    let known = oracle.known();
    offsets_dense::check(content)?;
    for batch in content.batches() {
        let sent = known.sent.get(&batch.base_offset());
        if sent.is_none_or(|sent| sent.bytes[16..] != batch.bytes()[16..]) {
            return Err(Broken::Wrong(format!("{batch:?} is damaged and was returned")));
        }
    }
    if content.log_end < known.acked { Err(Broken::Cut(content.log_end)) } else { Ok(()) }
}

fn choose(world: &SimWorld, clients: &Clients, rng: &mut fastrand::Rng) -> Option<Damage> {
    let disk = world.disk(NODE);
    let mut places = Vec::new();
    for path in disk.files() {
        let is_log = path.extension().is_some_and(|ending| ending == "log");
        let Some(number) = partition_of(&path).filter(|_| is_log) else { continue };
        let known = clients.oracles[number].known();
        let content = disk.read(&path)?;
        let mut at = 0;
        while let Ok(batch) = RecordBatch::parse(&content[at..]) {
            if batch.base_offset() >= known.log_start && batch.last_offset() < known.acked {
                places.push((path.clone(), at, batch.size(), batch.base_offset()));
            }
            at += batch.size();
        }
    }
    let (path, at, size, base_offset) = rng.choice(places)?;
    let in_batch = if rng.bool() { rng.usize(0..size) } else { rng.usize(0..RecordBatch::HEADER_SIZE) };
    Some(Damage { path, position: at + in_batch, in_batch, base_offset })
}

/// What the server had on record as durable when it was killed. (Lines of `TOPIC PARTITION OFFSET` behind two
/// numbers.)
fn recovery_point(world: &SimWorld, log: &Path) -> Offset {
    let file = Path::new(DATA_DIR).join("recovery-point-offset-checkpoint");
    let content = world.disk(NODE).read(file).unwrap_or_default();
    let number = partition_of(log).expect("a partition's file");
    let wanted = format!("orders {number} ");
    let text = String::from_utf8_lossy(&content).into_owned();
    let offset = text.lines().find_map(|line| line.strip_prefix(&wanted)?.trim().parse().ok());
    Offset(offset.unwrap_or(0))
}

fn partition_of(file: &Path) -> Option<usize> {
    file.parent()?.file_name()?.to_str()?.strip_prefix("orders-")?.parse().ok()
}
