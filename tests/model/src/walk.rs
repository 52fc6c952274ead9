//! Random walks from one seed, and the shortest form of one that fails.

use replication::{Durability, ReplicaConfig};

use crate::step::Step;
use crate::world::NODES;
use crate::{Ablation, World};

/// Steps of a walk.
const STEPS: usize = 140;
/// Draws for one step before the walk ends for want of a possible one.
const DRAWS_MAX: usize = 200;

/// How to walk.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The first walk's seed; each further walk has the next.
    pub seed: u64,
    /// How many walks.
    pub walks: u64,
    /// What is left out of the rule.
    pub ablation: Option<Ablation>,
}

/// What broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// An acknowledged record is gone, or a state machine contradicts itself.
    Safety(String),
    /// All faults are over, and still records are not acknowledged.
    Progress(String),
}

/// What was found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Walks done.
    pub walks: u64,
    /// Steps done.
    pub steps: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Leaders elected.
    pub elections: u64,
    /// What broke, with the shortest list of steps that breaks it, and the seed.
    pub violation: Option<(Broken, Vec<Step>, u64)>,
}

/// Walks until something breaks or all is walked.
#[must_use]
pub fn walks(options: Options) -> Outcome {
    let mut outcome = Outcome::default();
    for seed in options.seed..options.seed + options.walks {
        let mut path = Vec::new();
        let result = walk(seed, options.ablation, &mut path, &mut outcome);
        outcome.walks += 1;
        // An ablation has to be found by what it loses.
        let counts = |broken: &Broken| options.ablation.is_none() || matches!(broken, Broken::Safety(_));
        if let Err(broken) = result
            && counts(&broken)
        {
            let (broken, path) = shorten(seed, options.ablation, broken, path);
            outcome.violation = Some((broken, path, seed));
            break;
        }
    }
    outcome
}

/// Does the steps again, and heals.
///
/// # Errors
/// What breaks.
pub fn replay(seed: u64, ablation: Option<Ablation>, path: &[Step]) -> Result<World, Broken> {
    let mut world = new_world(&mut fastrand::Rng::with_seed(seed), ablation);
    for step in path {
        world.do_step(*step).map_err(Broken::Safety)?;
    }
    world.heal()?;
    Ok(world)
}

fn new_world(rng: &mut fastrand::Rng, ablation: Option<Ablation>) -> World {
    let replicas = if rng.u8(..8) == 0 { 1 } else { NODES };
    World::new(replicas, ReplicaConfig::new(rng.usize(1..=2), Durability::QuorumFsync), ablation)
}

fn walk(
    seed: u64,
    ablation: Option<Ablation>,
    path: &mut Vec<Step>,
    outcome: &mut Outcome,
) -> Result<(), Broken> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut world = new_world(&mut rng, ablation);
    let weights = weights(&mut rng);
    let result = (|| {
        for _ in 0..STEPS {
            let mut draws = 0;
            loop {
                let step = draw(&mut rng, &weights);
                path.push(step);
                if world.do_step(step).map_err(Broken::Safety)? {
                    break;
                }
                path.pop();
                draws += 1;
                if draws == DRAWS_MAX {
                    return Ok(());
                }
            }
        }
        world.heal()
    })();
    outcome.steps += path.len() as u64;
    outcome.acknowledged += world.acknowledged.len() as u64;
    outcome.elections += u64::from(world.elections);
    result
}

/// What makes progress, and how often it is drawn next to the rest.
const PROGRESS: [(Draw, u32); 13] = [
    (|rng| Step::Append(node(rng)), 20),
    (|rng| Step::Flush(node(rng)), 20),
    (|rng| Step::FinishView(node(rng)), 24),
    (|rng| Step::FinishCut(node(rng)), 12),
    (|rng| Step::Image(node(rng)), 30),
    (|rng| Step::Attach(node(rng)), 20),
    (|rng| Step::Copy(node(rng)), 24),
    (|rng| Step::Report(node(rng)), 24),
    (|rng| Step::Deliver(rng.usize(..8), false), 26),
    (|rng| Step::Unfence(node(rng)), 8),
    (|rng| Step::Start(node(rng)), 10),
    (|rng| Step::Recover(rng.usize(1..1 << NODES)), 9),
    (|rng| Step::Ask(node(rng)), 4),
];

/// What disturbs it.
const FAULTS: [(Draw, u32); 11] = [
    (|rng| Step::Propose(node(rng), node(rng)), 8),
    (|rng| Step::Deliver(rng.usize(..8), true), 4),
    (|rng| Step::Lose(rng.usize(..8)), 2),
    (|rng| Step::Fence(node(rng)), 4),
    (|rng| Step::Move(node(rng)), 3),
    (|rng| Step::Cut(node(rng)), 3),
    (|_| Step::CutAll, 1),
    (|rng| Step::Stop(node(rng)), 1),
    (|rng| Step::LoseDisk(node(rng)), 1),
    (|rng| Step::Configure(rng.usize(1..=3), rng.u8(..4) == 0), 1),
    (|_| Step::Spread, 1),
];

type Draw = fn(&mut fastrand::Rng) -> Step;

fn node(rng: &mut fastrand::Rng) -> usize {
    rng.usize(..NODES)
}

/// The draws of one walk and their weights. Each walk makes some steps rarer or more frequent, and leaves out some faults:
/// what needs many of one kind and none of another is found sooner that way.
fn weights(rng: &mut fastrand::Rng) -> Vec<(Draw, u32)> {
    let progress = PROGRESS.map(|(draw, weight)| (draw, weight * [2, 4, 4, 8][rng.usize(..4)]));
    let faults = FAULTS.map(|(draw, weight)| (draw, weight * [0, 0, 1, 4, 4, 8][rng.usize(..6)]));
    progress.into_iter().chain(faults).collect()
}

fn draw(rng: &mut fastrand::Rng, weights: &[(Draw, u32)]) -> Step {
    let mut at = rng.u32(..weights.iter().map(|(_, weight)| weight).sum::<u32>());
    let drawn = weights.iter().find(|(_, weight)| {
        let is_here = at < *weight;
        at = at.saturating_sub(*weight);
        is_here
    });
    drawn.expect("it is below the sum of all weights").0(rng)
}

/// Leaves out steps for as long as the rest still breaks something.
fn shorten(
    seed: u64,
    ablation: Option<Ablation>,
    mut broken: Broken,
    mut path: Vec<Step>,
) -> (Broken, Vec<Step>) {
    let mut at = 0;
    while at < path.len() {
        let mut shorter = path.clone();
        shorter.remove(at);
        match replay(seed, ablation, &shorter) {
            Err(now) if is_same_kind(&now, &broken) => (broken, path, at) = (now, shorter, 0),
            Err(_) | Ok(_) => at += 1,
        }
    }
    (broken, path)
}

const fn is_same_kind(one: &Broken, other: &Broken) -> bool {
    matches!(
        (one, other),
        (Broken::Safety(_), Broken::Safety(_)) | (Broken::Progress(_), Broken::Progress(_))
    )
}
