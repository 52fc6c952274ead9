//! How far replicas are, and what that means for the high watermark.

use std::collections::{BTreeMap, BTreeSet};

use model::{BrokerEpoch, NodeId, Offset};

use crate::mutant::{Mutant, planted};
use crate::{Durability, Millis, ReplicaConfig};

/// How far one replica is.
///
/// Invariant: `durable_end <= log_end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The incarnation that said so.
    pub broker_epoch: BrokerEpoch,
    /// One past the last record in its log.
    pub log_end: Offset,
    /// One past the last record on its stable storage; `None` until its view of this epoch is there, too: before that a
    /// recovery behind a blackout could prefer another log to it.
    pub durable_end: Option<Offset>,
    /// When it last had all that the leader had.
    pub caught_up_at: Millis,
}

/// What decides how far acks=all may be answered: the durability rule's R1.
#[derive(Debug)]
pub(crate) struct Replication<'a> {
    /// Every replica heard in this epoch, the leader among them.
    pub(crate) progress: &'a BTreeMap<NodeId, Progress>,
    /// The committed ISR.
    pub(crate) isr: &'a BTreeSet<NodeId>,
    /// Its members and all that may have been let in meanwhile: each may be elected.
    pub(crate) maximal_isr: &'a BTreeSet<NodeId>,
    /// How far the leader's own log is durable, or handed to the kernel.
    pub(crate) leader_durable_end: Offset,
    pub(crate) config: ReplicaConfig,
}

impl Replication<'_> {
    /// How far acks=all may be answered; `None` while the ISR is smaller than `min.insync.replicas`, or not heard.
    pub(crate) fn high_watermark_bound(&self) -> Option<Offset> {
        if self.isr.len() < self.config.min_insync_replicas() && !planted(Mutant::NotFrozen) {
            return None;
        }
        let members = if planted(Mutant::ForgetsProposedIsr) { self.isr } else { self.maximal_isr };
        let in_memory = members.iter().map(|node| self.log_end(*node)).min()?;
        let durable = self.durable_bound()?;
        Some(match () {
            () if planted(Mutant::AckBeforeDurable) => in_memory,
            () if planted(Mutant::AckBeforeReplicated) => durable,
            () => in_memory.min(durable),
        })
    }

    /// Whether all below `end` is durable as often as an acknowledgement promises, inside the committed ISR.
    pub(crate) fn is_durable(&self, end: Offset) -> bool {
        match self.config.durability {
            Durability::Kafka => self.isr.iter().all(|node| self.log_end(*node) >= end),
            Durability::AllFsync | Durability::QuorumFsync => {
                self.holders(self.isr, end) >= self.config.copies(self.isr.len())
            }
        }
    }

    /// How far the log is durable on as many replicas as the mode asks for.
    fn durable_bound(&self) -> Option<Offset> {
        let counted = if planted(Mutant::CountsProposedDurable) { self.maximal_isr } else { self.isr };
        match self.config.durability {
            Durability::Kafka => Some(self.leader_durable_end),
            Durability::AllFsync => {
                self.maximal_isr.iter().map(|node| self.durable_end(*node)).min().flatten()
            }
            Durability::QuorumFsync => {
                let too_few = usize::from(planted(Mutant::CountsOneTooFew));
                let wanted = self.config.copies(self.isr.len()) - too_few;
                counted
                    .iter()
                    .filter_map(|node| self.durable_end(*node))
                    .filter(|end| self.holders(counted, *end) >= wanted)
                    .max()
            }
        }
    }

    fn holders(&self, among: &BTreeSet<NodeId>, end: Offset) -> usize {
        among.iter().filter(|node| self.durable_end(**node).is_some_and(|durable| durable >= end)).count()
    }

    /// A replica that was not heard in this epoch stands at 0.
    fn log_end(&self, node: NodeId) -> Offset {
        self.progress.get(&node).map_or(Offset::ZERO, |progress| progress.log_end)
    }

    fn durable_end(&self, node: NodeId) -> Option<Offset> {
        self.progress.get(&node)?.durable_end
    }
}
