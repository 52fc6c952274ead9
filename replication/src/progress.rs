//! How far replicas are, and what that means for the high watermark.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, Offset};

use crate::{Durability, Millis, ReplicaConfig};

/// How far one replica is.
///
/// Invariant: `durable_end <= log_end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// One past the last record in its log.
    pub log_end: Offset,
    /// One past the last record on its stable storage.
    pub durable_end: Offset,
    /// When it last had all that the leader had.
    pub caught_up_at: Millis,
}

/// The replicas that the leader knows of, itself included. A replica never heard of stands at 0.
pub(crate) type Replicas = BTreeMap<NodeId, Progress>;

/// How far acks=all may be answered, by the rule of the durability contract; `None` while the ISR is
/// smaller than `min.insync.replicas`.
///
/// `maximal_isr` are the members of the ISR and of the one asked for: each may be elected, so each must have the
/// records in memory. Only members of `isr` itself count towards durability.
pub(crate) fn high_watermark_bound(
    replicas: &Replicas,
    leader: NodeId,
    isr: &BTreeSet<NodeId>,
    maximal_isr: &BTreeSet<NodeId>,
    config: ReplicaConfig,
) -> Option<Offset> {
    if isr.len() < config.min_insync_replicas() && !seeded_bug(Mutant::NotFrozen) {
        return None;
    }
    let members = if seeded_bug(Mutant::ForgetsProposedIsr) { isr } else { maximal_isr };
    let in_memory = members.iter().map(|node| progress(replicas, *node).log_end).min()?;
    let durable = durable_bound(replicas, leader, isr, maximal_isr, config)?;
    Some(match () {
        () if seeded_bug(Mutant::AckBeforeDurable) => in_memory,
        () if seeded_bug(Mutant::AckBeforeReplicated) => durable,
        () => in_memory.min(durable),
    })
}

/// How far the log is durable on as many replicas as the mode asks for.
pub(crate) fn durable_bound(
    replicas: &Replicas,
    leader: NodeId,
    isr: &BTreeSet<NodeId>,
    maximal_isr: &BTreeSet<NodeId>,
    config: ReplicaConfig,
) -> Option<Offset> {
    let durable_end = |node: &NodeId| progress(replicas, *node).durable_end;
    match config.durability {
        Durability::Kafka => Some(durable_end(&leader)),
        Durability::AllFsync => maximal_isr.iter().map(durable_end).min(),
        Durability::QuorumFsync => {
            let wanted = config.min_insync_replicas() - usize::from(seeded_bug(Mutant::CountsOneTooFew));
            let holders = |end: Offset| isr.iter().filter(|node| durable_end(node) >= end).count();
            isr.iter().map(durable_end).filter(|end| holders(*end) >= wanted).max()
        }
    }
}

fn progress(replicas: &Replicas, node: NodeId) -> Progress {
    replicas.get(&node).copied().unwrap_or_default()
}

/// Bugs that the tests plant, to see that the invariants catch them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    AckBeforeDurable,
    AckBeforeReplicated,
    CountsOneTooFew,
    NotFrozen,
    ForgetsProposedIsr,
    GoesBack,
    IgnoresEpoch,
    ForgetsShrink,
    CutsAcknowledged,
}

#[cfg(test)]
thread_local! {
    pub(crate) static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether a test has planted this bug; never outside tests.
pub(crate) fn seeded_bug(mutant: Mutant) -> bool {
    #[cfg(test)]
    return PLANTED.get() == Some(mutant);
    #[cfg(not(test))]
    {
        let _ = mutant;
        false
    }
}
