//! The scenarios: what happens to the server, and what may come of it.

use std::time::Duration;

use model::RecordBatch;
use runtime::Effects;
use runtime::sim::{Fault, FaultKind, OpKind, SimWorld};
use storage::CommitMode;

use crate::invariants::{Broken, Content, check_restart, offsets_dense};
use crate::oracle::Clients;
use crate::server::{DATA_DIR, NODE, PARTITIONS, Server};
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
pub const SCENARIOS: [Scenario; 5] = [
    Scenario { name: "power-cut-everywhere", run: |seed| named(power_cut_everywhere(seed, None)) },
    Scenario { name: "many-lives", run: |seed| named(many_lives(seed)) },
    Scenario { name: "bit-rot", run: |seed| named(bit_rot(seed)) },
    Scenario { name: "full-disk", run: |seed| named(full_disk(seed)) },
    Scenario { name: "write-error", run: |seed| named(write_error(seed)) },
];

/// A bug that is planted to see that the scenarios catch it: a promise of the disk that is not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Acknowledges what the kernel has taken, not what is durable.
    AckBeforeDurable,
    /// Writes to logs without waiting for the device.
    UnsyncedWrites,
    /// Does not sync the directory of a new segment.
    UnsyncedDirectory,
    /// Renames a deleted partition without making that durable.
    UnsyncedDeletion,
}

/// All mutants.
pub const MUTANTS: [Mutant; 4] =
    [Mutant::AckBeforeDurable, Mutant::UnsyncedWrites, Mutant::UnsyncedDirectory, Mutant::UnsyncedDeletion];

impl Mutant {
    /// Runs the power cuts of one seed with the bug planted; `Err` is what caught it.
    ///
    /// # Errors
    /// What was broken.
    pub fn run(self, seed: u64) -> Result<(), String> {
        named(power_cut_everywhere(seed, Some(self)))
    }

    fn commit_mode(mutant: Option<Self>) -> CommitMode {
        if mutant == Some(Self::AckBeforeDurable) { CommitMode::Kafka } else { CommitMode::Fsync }
    }

    fn plant(self, world: &SimWorld) {
        let lie = |op, path: &str| world.disk(NODE).inject(Fault::new(op, FaultKind::Lie).on(path));
        match self {
            Self::AckBeforeDurable => {}
            Self::UnsyncedWrites => lie(OpKind::Write, ".log"),
            Self::UnsyncedDirectory => lie(OpKind::Sync, "/orders-"),
            Self::UnsyncedDeletion => lie(OpKind::Meta, "/short-lived-"),
        }
    }
}

/// A failure of the scenario, with the point at which it happened.
type Outcome = Result<(), (String, Broken)>;

fn named(outcome: Outcome) -> Result<(), String> {
    outcome.map_err(|(at, broken)| format!("{at}: {broken}"))
}

/// Counts the operations of a script on a healthy disk, then cuts the power in the midst of each of them.
fn power_cut_everywhere(seed: u64, mutant: Option<Mutant>) -> Outcome {
    let operations = {
        let world = new_world(seed);
        let clients = Clients::new(PARTITIONS);
        script(&world, &clients, seed, mutant)
            .unwrap_or(Ok(()))
            .map_err(|broken| ("dry run".into(), broken))?;
        world.end();
        world.disk(NODE).changes(OpKind::Any)
    };
    // A different phase per seed, so that many seeds meet every operation of every kind.
    for nth in 1..=operations {
        let world = new_world(seed);
        let clients = Clients::new(PARTITIONS);
        let _ = world.node(NODE);
        world.disk(NODE).crash_at(OpKind::Any, nth);
        let at = |stage: &str| format!("power cut at operation {nth} of {operations}, {stage}");
        if let Some(Err(broken)) = script(&world, &clients, seed, mutant) {
            return Err((at("before it"), broken));
        }
        world.disk(NODE).clear_faults();
        world.crash(NODE);
        restart(&world, &clients, nth % 3 == 0).map_err(|broken| (at("after the restart"), broken))?;
        world.end();
    }
    Ok(())
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
        let ending = if seed % 2 == 0 { Ending::Flushed } else { Ending::Closed };
        work(&server, clients, seed, STEPS, ending, commit_mode).await
    })
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

/// One directory lives through power cuts, kills and clean stops.
fn many_lives(seed: u64) -> Outcome {
    let world = new_world(seed);
    let clients = Clients::new(PARTITIONS);
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

/// A byte of acknowledged data changes while the server is down: that must be noticed, at the start or by the read.
fn bit_rot(seed: u64) -> Outcome {
    let fail = |at: &str| {
        let at = at.to_owned();
        move |broken| (at, broken)
    };
    let world = new_world(seed);
    let clients = Clients::new(PARTITIONS);
    let mut rng = fastrand::Rng::with_seed(seed);
    script(&world, &clients, seed, None).unwrap_or(Ok(())).map_err(fail("before the damage"))?;
    world.kill(NODE);
    let Some((path, position, in_batch)) = some_acknowledged_byte(&world, &clients, &mut rng) else {
        return Ok(());
    };
    assert!(world.disk(NODE).corrupt(&path, position), "the byte was just read");
    let node = world.node(NODE);
    let read = world.block_on(async {
        let server = Server::open(&node, &clients, CommitMode::Fsync).await?;
        for (log, oracle) in server.logs.iter().zip(&clients.oracles) {
            let content = Content::read(log).await?;
            if content.log_end < oracle.known().acked {
                let (end, acked) = (content.log_end, oracle.known().acked);
                return Err(Broken::Lost(format!("silently cut from {acked} to {end}")));
            }
            offsets_dense::check(&content)?;
            for batch in content.batches() {
                let known = oracle.known();
                let sent = known.sent.get(&batch.base_offset());
                if sent.is_none_or(|sent| sent.bytes[16..] != batch.bytes()[16..]) {
                    return Err(Broken::Wrong(format!("{batch:?} is damaged and was returned")));
                }
            }
        }
        Ok(())
    });
    world.end();
    let at = format!("byte {in_batch} of a batch, {position} of {}", path.display());
    match read {
        Err(Broken::Offline(_) | Broken::Unreadable(_) | Broken::Refused(_)) => Ok(()),
        Err(broken) => Err((at, broken)),
        // The checksum of a batch does not cover its leader epoch, as in Kafka.
        Ok(()) if (12..16).contains(&in_batch) => Ok(()),
        Ok(()) => Err((at, Broken::Wrong("the damage was not noticed".into()))),
    }
}

/// A byte of an acknowledged batch that retention has not given up: the file, the position in it and in the batch.
fn some_acknowledged_byte(
    world: &SimWorld,
    clients: &Clients,
    rng: &mut fastrand::Rng,
) -> Option<(std::path::PathBuf, usize, usize)> {
    let disk = world.disk(NODE);
    let mut places = Vec::new();
    for path in disk.files() {
        let dir = path.parent()?.file_name()?.to_string_lossy().into_owned();
        let number = dir.strip_prefix("orders-").and_then(|number| number.parse::<usize>().ok());
        let (Some(number), true) = (number, path.extension().is_some_and(|ending| ending == "log")) else {
            continue;
        };
        let known = clients.oracles[number].known();
        let content = disk.read(&path)?;
        let mut at = 0;
        while let Ok(batch) = RecordBatch::parse(&content[at..]) {
            let first = batch.base_offset();
            if first >= known.log_start && batch.last_offset() < known.acked && batch.size() > 0 {
                places.push((path.clone(), at, batch.size()));
            }
            at += batch.size();
        }
    }
    let (path, at, size) = rng.choice(places)?;
    let in_batch = if rng.bool() { rng.usize(0..size) } else { rng.usize(0..RecordBatch::HEADER_SIZE) };
    Some((path, at + in_batch, in_batch))
}

/// The disk fills up while clients write, and has room again later.
fn full_disk(seed: u64) -> Outcome {
    let world = new_world(seed);
    let clients = Clients::new(PARTITIONS);
    let node = world.node(NODE);
    let mut rng = fastrand::Rng::with_seed(seed);
    world.disk(NODE).set_capacity(Some(rng.u64(150_000..400_000)));
    let view = world.disk(NODE);
    let more = world.clock();
    let after = Duration::from_millis(rng.u64(10..2_000));
    node.spawn(async move {
        use runtime::Clock;
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

/// A write or a sync fails: nothing is acknowledged any more, and nothing acknowledged is lost.
fn write_error(seed: u64) -> Outcome {
    let world = new_world(seed);
    let clients = Clients::new(PARTITIONS);
    let node = world.node(NODE);
    let mut rng = fastrand::Rng::with_seed(seed);
    let op = if rng.bool() { OpKind::Write } else { OpKind::Sync };
    let path = [".log", "orders-0", "/data"][rng.usize(0..3)];
    world.disk(NODE).inject(Fault::new(op, FaultKind::Eio).on(path).after(rng.u64(0..60), 1));
    let lived = world.run_on(&node, async {
        let server = Server::open(&node, &clients, CommitMode::Fsync).await?;
        let worked = work(&server, &clients, seed, STEPS, Ending::Flushed, CommitMode::Fsync).await;
        // What was acknowledged is still there to be read.
        for (log, oracle) in server.logs.iter().zip(&clients.oracles) {
            let read = Content::read(log).await?;
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

fn new_world(seed: u64) -> SimWorld {
    let world = SimWorld::new(seed);
    // Scripts take a few seconds; what takes longer waits for something that never comes.
    world.set_time_max(Duration::from_secs(20));
    world
}

/// Things done in one script.
const STEPS: usize = 60;
