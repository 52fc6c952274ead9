//! One replica of one partition: its role, how far everybody is, and the high watermark.
//!
//! Lives on the partition's shard. The broker feeds it what happens to the log and to the ISR, and acts on what
//! it returns.

use std::borrow::Cow;
use std::collections::BTreeSet;

use model::{LeaderEpoch, NodeId, Offset};

use crate::progress::{Mutant, Replicas, durable_bound, high_watermark_bound, seeded_bug};
use crate::{Acks, Action, Durability, Input, Millis, Progress, ReplicaConfig, ReplicationError, Role};

/// A partition's replica on this node.
///
/// With m = `min.insync.replicas` the high watermark of a leader is
/// `min( min over the maximal ISR of log_end, m-th largest durable_end in the ISR )`, frozen while |ISR| < m.
///
/// Invariants:
/// - `durable_end <= log_end` on every replica, and the high watermark is at most the local `log_end`;
/// - within an epoch the high watermark never goes back, and when it advances the rule above holds for it;
/// - the leader is in its ISR;
/// - after a shrink of the ISR the one before it stays on record until the high watermark is durable m times
///   inside the new one. Without that, a power cut of all nodes could elect a member of the new ISR that had
///   the records only in memory. The high watermark cannot advance meanwhile, since an advance proves the
///   very thing that is waited for.
#[derive(Debug, Clone)]
pub struct PartitionReplica {
    node: NodeId,
    role: Role,
    epoch: LeaderEpoch,
    config: ReplicaConfig,
    /// Every replica heard of in this epoch, and this one.
    replicas: Replicas,
    isr: BTreeSet<NodeId>,
    /// What the controller has been asked for.
    isr_proposed: Option<BTreeSet<NodeId>>,
    /// The ISR before a shrink that is not settled.
    isr_before_shrink: Option<BTreeSet<NodeId>>,
    high_watermark: Offset,
}

impl PartitionReplica {
    /// The leader of a partition that has no other replica, with a log just recovered. All that is durable
    /// counts as acknowledged: there is no other copy that could say more or less.
    ///
    /// # Errors
    /// [`ReplicationError::DurableBeyondLogEnd`].
    pub fn leader(
        node: NodeId,
        epoch: LeaderEpoch,
        log_end: Offset,
        durable_end: Offset,
        config: ReplicaConfig,
    ) -> Result<Self, ReplicationError> {
        if durable_end > log_end {
            return Err(ReplicationError::DurableBeyondLogEnd { node, durable_end, log_end });
        }
        let own = Progress { log_end, durable_end, caught_up_at: Millis(0) };
        Ok(Self {
            node,
            role: Role::Leader,
            epoch,
            config,
            replicas: Replicas::from([(node, own)]),
            isr: BTreeSet::from([node]),
            isr_proposed: None,
            isr_before_shrink: None,
            high_watermark: durable_end,
        })
    }

    /// A replica that does not know its leader yet, with a log just recovered and the high watermark that
    /// was last written down.
    ///
    /// # Errors
    /// [`ReplicationError::DurableBeyondLogEnd`]; [`ReplicationError::TruncatesAcknowledged`] if the log ends below
    /// the high watermark.
    pub fn follower(
        node: NodeId,
        epoch: LeaderEpoch,
        log_end: Offset,
        durable_end: Offset,
        high_watermark: Offset,
        config: ReplicaConfig,
    ) -> Result<Self, ReplicationError> {
        if log_end < high_watermark {
            return Err(ReplicationError::TruncatesAcknowledged { log_end, high_watermark });
        }
        let leader = Self::leader(node, epoch, log_end, durable_end, config)?;
        Ok(Self { role: Role::Follower { leader: None }, isr: BTreeSet::new(), high_watermark, ..leader })
    }

    /// Takes in what happened at `now`.
    ///
    /// # Errors
    /// [`ReplicationError`] for an input that cannot be true or comes too late; the replica is unchanged.
    pub fn step(&mut self, input: Input, now: Millis) -> Result<Vec<Action>, ReplicationError> {
        let acked = self.acked_offset(Acks::Leader);
        let high_watermark = self.high_watermark;
        let unsettled = self.isr_before_shrink.is_some();
        let epoch = self.epoch;
        self.apply(input, now)?;
        self.settle();
        self.advance();
        let mut actions = Vec::new();
        if self.epoch == epoch && unsettled && self.isr_before_shrink.is_none() {
            actions.push(Action::IsrSettled);
        }
        if self.role == Role::Leader && self.acked_offset(Acks::Leader) > acked {
            actions.push(Action::LeaderAckAdvanced(self.acked_offset(Acks::Leader)));
        }
        if self.high_watermark > high_watermark {
            actions.push(Action::HighWatermarkAdvanced(self.high_watermark));
        }
        Ok(actions)
    }

    /// Records below are acknowledged to acks=all and may be shown to consumers.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Records below may be answered to a producer that asked for `acks`.
    #[must_use]
    pub fn acked_offset(&self, acks: Acks) -> Offset {
        match acks {
            Acks::Leader => self.durable_end(),
            Acks::All => self.high_watermark,
        }
    }

    /// Whether acks=all must be refused (`NOT_ENOUGH_REPLICAS`).
    #[must_use]
    pub fn is_under_min_isr(&self) -> bool {
        self.isr.len() < self.config.min_insync_replicas()
    }

    /// What this replica is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The leader epoch.
    #[must_use]
    pub const fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> ReplicaConfig {
        self.config
    }

    /// The end of the local log.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        self.own().log_end
    }

    /// How far the local log is durable.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        self.own().durable_end
    }

    /// The in-sync replicas, as the controller decided; empty on a follower.
    #[must_use]
    pub const fn isr(&self) -> &BTreeSet<NodeId> {
        &self.isr
    }

    /// The ISR before a shrink that is not settled: the controller must keep it on record.
    #[must_use]
    pub const fn isr_before_shrink(&self) -> Option<&BTreeSet<NodeId>> {
        self.isr_before_shrink.as_ref()
    }

    /// How far a replica is, as the leader knows.
    #[must_use]
    pub fn progress(&self, node: NodeId) -> Option<Progress> {
        self.replicas.get(&node).copied()
    }

    /// Checks the invariants that can be seen in the state alone.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check_invariants(&self) {
        for (node, progress) in &self.replicas {
            assert!(
                progress.durable_end <= progress.log_end,
                "node {node} is durable beyond its log: {self:?}"
            );
        }
        assert!(self.high_watermark <= self.log_end(), "acknowledged beyond the log: {self:?}");
        match self.role {
            Role::Leader => assert!(self.isr.contains(&self.node), "leader not in its ISR: {self:?}"),
            Role::Follower { .. } => {
                assert!(
                    self.isr.is_empty() && self.isr_proposed.is_none(),
                    "a follower has an ISR: {self:?}"
                );
            }
        }
    }

    fn apply(&mut self, input: Input, now: Millis) -> Result<(), ReplicationError> {
        match input {
            Input::Appended { log_end } => self.appended(log_end, now),
            Input::Durable { durable_end } => self.durable(durable_end),
            Input::Truncated { log_end } => self.truncated(log_end),
            Input::FollowerProgress { node, epoch, log_end, durable_end } => {
                self.follower_progress(node, epoch, Progress { log_end, durable_end, caught_up_at: now })
            }
            Input::IsrProposed { isr } => self.isr_proposed(isr),
            Input::IsrChanged { isr } => self.isr_changed(isr),
            Input::BecomeLeader { epoch, isr } => self.become_leader(epoch, isr, now),
            Input::BecomeFollower { epoch, leader } => self.become_follower(epoch, leader),
            Input::LeaderHighWatermark { epoch, high_watermark } => {
                self.leader_high_watermark(epoch, high_watermark)
            }
            Input::ConfigChanged(config) => {
                self.config = config;
                Ok(())
            }
        }
    }

    fn appended(&mut self, log_end: Offset, now: Millis) -> Result<(), ReplicationError> {
        let node = self.node;
        let own = self.own_mut();
        if log_end < own.log_end {
            let (from, to) = (own.log_end, log_end);
            return Err(ReplicationError::WentBack { node, which: "log end", from, to });
        }
        own.log_end = log_end;
        own.caught_up_at = now;
        Ok(())
    }

    fn durable(&mut self, durable_end: Offset) -> Result<(), ReplicationError> {
        let node = self.node;
        let own = self.own_mut();
        if durable_end > own.log_end {
            return Err(ReplicationError::DurableBeyondLogEnd { node, durable_end, log_end: own.log_end });
        }
        if durable_end < own.durable_end {
            let (from, to) = (own.durable_end, durable_end);
            return Err(ReplicationError::WentBack { node, which: "durable end", from, to });
        }
        own.durable_end = durable_end;
        Ok(())
    }

    fn truncated(&mut self, log_end: Offset) -> Result<(), ReplicationError> {
        if self.role == Role::Leader {
            return Err(ReplicationError::LeaderTruncates { node: self.node });
        }
        let high_watermark = self.high_watermark;
        if log_end < high_watermark && !seeded_bug(Mutant::CutsAcknowledged) {
            return Err(ReplicationError::TruncatesAcknowledged { log_end, high_watermark });
        }
        let own = self.own_mut();
        own.log_end = own.log_end.min(log_end);
        own.durable_end = own.durable_end.min(log_end);
        Ok(())
    }

    fn follower_progress(
        &mut self,
        node: NodeId,
        epoch: LeaderEpoch,
        mut to: Progress,
    ) -> Result<(), ReplicationError> {
        self.want_leader()?;
        if epoch != self.epoch && !seeded_bug(Mutant::IgnoresEpoch) {
            return Err(ReplicationError::WrongEpoch { given: epoch, current: self.epoch });
        }
        if to.durable_end > to.log_end {
            let Progress { log_end, durable_end, .. } = to;
            return Err(ReplicationError::DurableBeyondLogEnd { node, durable_end, log_end });
        }
        let from = self.progress(node).unwrap_or_default();
        // A member that lost records must leave the ISR before it is believed to be further behind.
        if self.maximal_isr().contains(&node) || node == self.node {
            for (which, from, to) in
                [("log end", from.log_end, to.log_end), ("durable end", from.durable_end, to.durable_end)]
            {
                if to < from {
                    return Err(ReplicationError::WentBack { node, which, from, to });
                }
            }
        }
        if node == self.node {
            return Ok(());
        }
        if to.log_end < self.log_end() {
            to.caught_up_at = from.caught_up_at;
        }
        self.replicas.insert(node, to);
        Ok(())
    }

    fn isr_proposed(&mut self, isr: BTreeSet<NodeId>) -> Result<(), ReplicationError> {
        self.want_leader()?;
        self.want_in_isr(&isr)?;
        for node in isr.difference(&self.isr) {
            let log_end = self.progress(*node).unwrap_or_default().log_end;
            if log_end < self.high_watermark {
                let high_watermark = self.high_watermark;
                return Err(ReplicationError::NotCaughtUp { node: *node, log_end, high_watermark });
            }
        }
        self.isr_proposed = Some(isr);
        Ok(())
    }

    fn isr_changed(&mut self, isr: BTreeSet<NodeId>) -> Result<(), ReplicationError> {
        self.want_leader()?;
        self.want_in_isr(&isr)?;
        if !isr.is_superset(&self.isr) && self.isr_before_shrink.is_none() {
            self.isr_before_shrink = Some(self.isr.clone());
        }
        self.isr = isr;
        self.isr_proposed = None;
        Ok(())
    }

    fn become_leader(
        &mut self,
        epoch: LeaderEpoch,
        isr: BTreeSet<NodeId>,
        now: Millis,
    ) -> Result<(), ReplicationError> {
        self.want_newer(epoch)?;
        self.want_in_isr(&isr)?;
        let own = Progress { caught_up_at: now, ..self.own() };
        // What the others had under another leader says nothing about what they have now.
        self.replicas = Replicas::from([(self.node, own)]);
        self.role = Role::Leader;
        self.epoch = epoch;
        self.isr_proposed = None;
        // It is not known here which of the new members were members before: the controller's record decides.
        self.isr_before_shrink = None;
        self.isr = isr;
        Ok(())
    }

    fn become_follower(
        &mut self,
        epoch: LeaderEpoch,
        leader: Option<NodeId>,
    ) -> Result<(), ReplicationError> {
        self.want_newer(epoch)?;
        let own = self.own();
        self.replicas = Replicas::from([(self.node, own)]);
        self.role = Role::Follower { leader };
        self.epoch = epoch;
        self.isr = BTreeSet::new();
        self.isr_proposed = None;
        self.isr_before_shrink = None;
        Ok(())
    }

    fn leader_high_watermark(
        &mut self,
        epoch: LeaderEpoch,
        high_watermark: Offset,
    ) -> Result<(), ReplicationError> {
        if epoch != self.epoch {
            return Err(ReplicationError::WrongEpoch { given: epoch, current: self.epoch });
        }
        if let Role::Follower { .. } = self.role {
            self.high_watermark = self.high_watermark.max(high_watermark.min(self.log_end()));
        }
        Ok(())
    }

    /// Forgets the ISR before a shrink as soon as the present one holds what was acknowledged.
    fn settle(&mut self) {
        if self.isr_before_shrink.is_none() {
            return;
        }
        let durable = if self.is_under_min_isr() {
            None
        } else {
            durable_bound(&self.replicas, self.node, &self.isr, &self.maximal_isr(), self.config)
        };
        let is_settled = self.config.durability == Durability::Kafka
            || durable.is_some_and(|durable| durable >= self.high_watermark);
        if is_settled || seeded_bug(Mutant::ForgetsShrink) {
            self.isr_before_shrink = None;
        }
    }

    fn advance(&mut self) {
        if self.role != Role::Leader {
            return;
        }
        let maximal_isr = self.maximal_isr();
        let bound = high_watermark_bound(&self.replicas, self.node, &self.isr, &maximal_isr, self.config);
        if let Some(bound) = bound
            && (bound > self.high_watermark || seeded_bug(Mutant::GoesBack))
        {
            self.high_watermark = bound;
        }
    }

    /// The members of the ISR and of the one asked for.
    fn maximal_isr(&self) -> Cow<'_, BTreeSet<NodeId>> {
        match &self.isr_proposed {
            Some(proposed) => Cow::Owned(self.isr.union(proposed).copied().collect()),
            None => Cow::Borrowed(&self.isr),
        }
    }

    fn own(&self) -> Progress {
        *self.replicas.get(&self.node).expect("a replica knows itself, by construction")
    }

    fn own_mut(&mut self) -> &mut Progress {
        self.replicas.get_mut(&self.node).expect("a replica knows itself, by construction")
    }

    fn want_leader(&self) -> Result<(), ReplicationError> {
        match self.role {
            Role::Leader => Ok(()),
            Role::Follower { .. } => Err(ReplicationError::NotLeader { node: self.node }),
        }
    }

    fn want_in_isr(&self, isr: &BTreeSet<NodeId>) -> Result<(), ReplicationError> {
        if isr.contains(&self.node) {
            Ok(())
        } else {
            Err(ReplicationError::LeaderNotInIsr { node: self.node })
        }
    }

    fn want_newer(&self, epoch: LeaderEpoch) -> Result<(), ReplicationError> {
        if epoch > self.epoch {
            Ok(())
        } else {
            Err(ReplicationError::WrongEpoch { given: epoch, current: self.epoch })
        }
    }
}
