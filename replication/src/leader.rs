//! What a replica does as the leader: hears followers, decides the high watermark and what the ISR should be.

use std::collections::BTreeSet;

use model::{LeaderEpoch, NodeId, Offset};

use crate::mutant::{Mutant, planted};
use crate::progress::Replication;
use crate::{Action, IsrProposal, PartitionReplica, Progress, ReplicationError, Settle};

impl PartitionReplica {
    pub(crate) fn follower_progress(
        &mut self,
        node: NodeId,
        epoch: LeaderEpoch,
        mut to: Progress,
    ) -> Result<(), ReplicationError> {
        self.want_leader()?;
        if !planted(Mutant::IgnoresEpoch) {
            self.want_epoch(epoch)?;
        }
        if node == self.node || !self.record.replicas.contains_key(&node) {
            return Err(ReplicationError::NotReplica { node });
        }
        if let Some(durable_end) = to.durable_end
            && durable_end > to.log_end
        {
            return Err(ReplicationError::DurableBeyondLogEnd { node, durable_end, log_end: to.log_end });
        }
        if to.log_end > self.log_end {
            let (log_end, leader_end) = (to.log_end, self.log_end);
            return Err(ReplicationError::AheadOfLeader { node, log_end, leader_end });
        }
        let from = self.progress(node);
        if let Some(from) = from {
            check_follows(node, from, to)?;
        }
        if to.log_end < self.log_end {
            to.caught_up_at = from.map_or_else(Default::default, |from| from.caught_up_at);
        }
        self.progress.insert(node, to);
        Ok(())
    }

    pub(crate) fn propose_isr(
        &mut self,
        isr: BTreeSet<NodeId>,
        actions: &mut Vec<Action>,
    ) -> Result<(), ReplicationError> {
        self.want_leader()?;
        if !isr.contains(&self.node) {
            return Err(ReplicationError::LeaderNotInIsr { node: self.node });
        }
        for node in isr.difference(&self.record.isr) {
            self.check_may_join(*node)?;
        }
        actions.push(Action::AlterIsr(self.proposal_of(&isr)));
        // Not replaced: an earlier request may still be under way, and be granted.
        self.asked.extend(&isr);
        self.proposal = Some(isr);
        Ok(())
    }

    /// The request for an ISR, each member with the incarnation that it last told itself. Who was asked in and has
    /// come back with less is left out.
    pub(crate) fn proposal_of(&self, isr: &BTreeSet<NodeId>) -> IsrProposal {
        let may_be_in =
            |node: &&NodeId| self.record.isr.contains(node) || self.check_may_join(**node).is_ok();
        let said = |node: NodeId| {
            let progress = self.progress(node).filter(|_| node != self.node);
            progress.map(|progress| progress.broker_epoch)
        };
        IsrProposal {
            leader_epoch: self.epoch(),
            partition_epoch: self.record.partition_epoch,
            isr: isr.iter().filter(may_be_in).map(|node| (*node, said(*node))).collect(),
        }
    }

    /// A replica joins when it has all that may be acknowledged: a new leader's high watermark may lag
    /// behind that, the start of its epoch does not.
    fn check_may_join(&self, node: NodeId) -> Result<(), ReplicationError> {
        let (view, epoch) = (self.view, self.epoch());
        if self.reported_durable_end().is_none() {
            return Err(ReplicationError::ViewNotWritten { view, epoch });
        }
        let progress = self.progress(node).ok_or(ReplicationError::NotReplica { node })?;
        let wanted = if planted(Mutant::JoinsAtHighWatermark) {
            self.high_watermark
        } else {
            self.high_watermark.max(self.started_at())
        };
        if progress.log_end < wanted {
            return Err(ReplicationError::NotCaughtUp { node, log_end: progress.log_end, wanted });
        }
        Ok(())
    }

    /// Raises the high watermark as far as the rule allows.
    pub(crate) fn advance(&mut self) {
        let bound = self.replication(&self.maximal_isr()).high_watermark_bound();
        if let Some(bound) = bound
            && (bound > self.high_watermark || planted(Mutant::GoesBack))
        {
            self.high_watermark = bound;
        }
    }

    /// What to tell the controller, once per record, when former in-sync replicas are not needed any more: the
    /// present ones have enough durable copies of all that was acknowledged, and of what the epoch started with.
    pub(crate) fn due_settle(&mut self) -> Option<Settle> {
        let is_waiting = self.settled.is_some() || self.proposal.is_some();
        if is_waiting || self.is_under_min_isr() || self.record.is_settled(self.config) {
            return None;
        }
        let end = self.high_watermark.max(self.started_at());
        if !self.replication(&self.maximal_isr()).is_durable(end) && !planted(Mutant::SettlesTooEarly) {
            return None;
        }
        self.settled = Some(Settle {
            leader_epoch: self.epoch(),
            partition_epoch: self.record.partition_epoch,
            copies: self.config.copies(self.record.isr.len()),
        });
        self.settled
    }

    fn started_at(&self) -> Offset {
        self.epoch_start.expect("a leader knows where its epoch starts, since it starts with it")
    }

    fn replication<'a>(&'a self, maximal_isr: &'a BTreeSet<NodeId>) -> Replication<'a> {
        Replication {
            progress: &self.progress,
            isr: &self.record.isr,
            maximal_isr,
            leader_durable_end: self.durable_end,
            config: self.config,
        }
    }
}

/// Within one incarnation and epoch a follower's log only grows; another incarnation may have lost its end.
fn check_follows(node: NodeId, from: Progress, to: Progress) -> Result<(), ReplicationError> {
    if to.broker_epoch > from.broker_epoch {
        return Ok(());
    }
    if to.broker_epoch < from.broker_epoch {
        let (given, current) = (to.broker_epoch, from.broker_epoch);
        return Err(ReplicationError::StaleBrokerEpoch { node, given, current });
    }
    let durable = |progress: Progress| progress.durable_end.unwrap_or(Offset(-1));
    for (which, from, to) in
        [("log end", from.log_end, to.log_end), ("durable end", durable(from), durable(to))]
    {
        if to < from {
            return Err(ReplicationError::WentBack { node, which, from, to });
        }
    }
    Ok(())
}
