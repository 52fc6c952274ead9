//! One replica of one partition: its role, how far everybody is, and the high watermark.
//!
//! Lives on the partition's shard. The broker feeds it what happens to the log and what the controller has decided,
//! and acts on what it returns. What only a leader does stands in `leader.rs`, what only the others do in `follower.rs`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use model::{BrokerEpoch, LeaderEpoch, NodeId, Offset};

use crate::mutant::{Mutant, planted};
use crate::{
    Acks, Action, Input, Millis, PartitionRecord, Progress, RecoveryReport, ReplicaConfig, ReplicationError,
    Role, Settle,
};

/// A partition's replica on this node.
///
/// With m = `min.insync.replicas` and q = [`ReplicaConfig::copies`] of the ISR, the high watermark of a leader is
/// `min( min over the maximal ISR of log_end, q-th largest durable_end in the ISR )`, frozen while |ISR| < m.
///
/// Invariants:
/// - the local log is durable at most to its end, and the high watermark is at most the local `log_end`;
/// - within an epoch the high watermark never goes back, and when it advances the rule above holds for it;
/// - the leader is in its ISR;
/// - `view <= epoch`, and `view` never falls;
/// - no view is written while a cut is not durable, and none before the log is durable up to the epoch's start;
/// - whoever may have been let into the ISR since the newest record counts as a member for what must be in memory.
#[derive(Debug, Clone)]
pub struct PartitionReplica {
    pub(crate) node: NodeId,
    pub(crate) role: Role,
    pub(crate) record: PartitionRecord,
    pub(crate) config: ReplicaConfig,
    /// The end of the local log.
    pub(crate) log_end: Offset,
    /// How far it is durable, or handed to the kernel.
    pub(crate) durable_end: Offset,
    pub(crate) view: LeaderEpoch,
    /// The view that has been asked for.
    pub(crate) view_asked: LeaderEpoch,
    /// Where the epoch starts; a follower is told so.
    pub(crate) epoch_start: Option<Offset>,
    /// The end to which the log is being cut.
    pub(crate) cutting: Option<Offset>,
    /// Every replica heard of in this epoch, and this one if it leads.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    /// Everybody that the controller has been asked to let in since the newest record.
    pub(crate) asked: BTreeSet<NodeId>,
    /// The ISR asked for last, until a newer record comes.
    pub(crate) proposal: Option<BTreeSet<NodeId>>,
    /// What the controller has been told since the newest record.
    pub(crate) settled: Option<Settle>,
    pub(crate) high_watermark: Offset,
}

impl PartitionReplica {
    /// The leader of a partition that has no other replica, with a log just recovered. All that is durable
    /// counts as acknowledged: there is no other copy that could say more or less.
    ///
    /// # Errors
    /// [`ReplicationError::DurableBeyondLogEnd`]; [`ReplicationError::NotLeader`] if the record has another leader, or
    /// more replicas.
    pub fn sole(
        node: NodeId,
        record: PartitionRecord,
        log_end: Offset,
        durable_end: Offset,
        config: ReplicaConfig,
    ) -> Result<Self, ReplicationError> {
        if record.replicas.len() != 1 {
            return Err(ReplicationError::NotLeader { node });
        }
        let mut replica =
            Self::recovered(node, log_end, durable_end, LeaderEpoch::NONE, durable_end, config)?;
        replica.step(Input::Image { record, config }, Millis(0))?;
        replica.want_leader()?;
        Ok(replica)
    }

    /// A replica that knows of no leader yet, with a log just recovered, the view on its disk
    /// ([`LeaderEpoch::NONE`] if there is none) and the high watermark that was last written down. That may lie behind
    /// the log's end after a power cut: on this disk there may be less than what was acknowledged.
    ///
    /// # Errors
    /// [`ReplicationError::DurableBeyondLogEnd`].
    pub fn recovered(
        node: NodeId,
        log_end: Offset,
        durable_end: Offset,
        view: LeaderEpoch,
        high_watermark: Offset,
        config: ReplicaConfig,
    ) -> Result<Self, ReplicationError> {
        if durable_end > log_end {
            return Err(ReplicationError::DurableBeyondLogEnd { node, durable_end, log_end });
        }
        Ok(Self {
            node,
            role: Role::Reconciling { leader: None },
            record: PartitionRecord::unknown(),
            config,
            log_end,
            durable_end,
            view,
            view_asked: view,
            epoch_start: None,
            cutting: None,
            progress: BTreeMap::new(),
            asked: BTreeSet::new(),
            proposal: None,
            settled: None,
            high_watermark: high_watermark.min(log_end),
        })
    }

    /// Takes in what happened at `now`.
    ///
    /// # Errors
    /// [`ReplicationError`] for an input that cannot be true or comes too late; the replica is unchanged.
    pub fn step(&mut self, input: Input, now: Millis) -> Result<Vec<Action>, ReplicationError> {
        let acked = self.acked_offset(Acks::Leader);
        let high_watermark = self.high_watermark;
        let mut actions = Vec::new();
        self.apply(input, now, &mut actions)?;
        if let Some(view) = self.due_view() {
            self.view_asked = view;
            actions.push(Action::WriteView(view));
        }
        if self.role == Role::Leader {
            self.note_own_progress(now);
            self.advance();
            actions.extend(self.due_settle().map(Action::Settle));
            if self.acked_offset(Acks::Leader) > acked {
                actions.push(Action::LeaderAckAdvanced(self.acked_offset(Acks::Leader)));
            }
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
    pub const fn acked_offset(&self, acks: Acks) -> Offset {
        match acks {
            Acks::Leader => self.durable_end,
            Acks::All => self.high_watermark,
        }
    }

    /// Whether acks=all must be refused (`NOT_ENOUGH_REPLICAS`).
    #[must_use]
    pub fn is_under_min_isr(&self) -> bool {
        self.isr().len() < self.config.min_insync_replicas()
    }

    /// What this replica is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The leader epoch.
    #[must_use]
    pub const fn epoch(&self) -> LeaderEpoch {
        self.record.leader_epoch
    }

    /// The highest leader epoch for which this replica's stable log is known to hold everything up to the epoch's start:
    /// what a recovery election goes by. Not the epoch of the last record, which says nothing about what a
    /// later leader inherited and acknowledged without writing anything itself.
    #[must_use]
    pub const fn view(&self) -> LeaderEpoch {
        self.view
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> ReplicaConfig {
        self.config
    }

    /// The end of the local log.
    #[must_use]
    pub const fn log_end(&self) -> Offset {
        self.log_end
    }

    /// How far the local log is durable.
    #[must_use]
    pub const fn durable_end(&self) -> Offset {
        self.durable_end
    }

    /// How far a follower tells its leader to be durable: not at all before its view is on its disk.
    #[must_use]
    pub fn reported_durable_end(&self) -> Option<Offset> {
        let may_report =
            self.view == self.epoch() || self.is_sole_replica() || planted(Mutant::ReportsBeforeView);
        may_report.then_some(self.durable_end)
    }

    /// The in-sync replicas, as the controller decided; empty where this node does not lead.
    #[must_use]
    pub fn isr(&self) -> &BTreeSet<NodeId> {
        match self.role {
            Role::Leader => &self.record.isr,
            Role::Reconciling { .. } | Role::Follower { .. } => const { &BTreeSet::new() },
        }
    }

    /// The newest record of the controller.
    #[must_use]
    pub const fn record(&self) -> &PartitionRecord {
        &self.record
    }

    /// How far a replica is, as the leader knows.
    #[must_use]
    pub fn progress(&self, node: NodeId) -> Option<Progress> {
        self.progress.get(&node).copied()
    }

    /// Where the epoch starts in the log, once that is known.
    #[must_use]
    pub const fn epoch_start(&self) -> Option<Offset> {
        self.epoch_start
    }

    /// What this replica says when no member of ISR and ELR is left; `None` while it has a leader.
    #[must_use]
    pub fn recovery_report(&self) -> Option<RecoveryReport> {
        if self.role != (Role::Reconciling { leader: None }) {
            return None;
        }
        let directory = *self.record.replicas.get(&self.node)?;
        let (node, epoch) = (self.node, self.epoch());
        Some(RecoveryReport { node, directory, epoch, view: self.view, log_end: self.durable_end })
    }

    /// What the controller has been asked or told and has not answered by a newer record: to be sent again
    /// after a while, and to a new controller. Doing so twice does no harm. If it is refused for good, because a
    /// member is gone, propose another ISR: until a newer record comes the refused one counts, too, since
    /// a copy of the request may still be granted.
    #[must_use]
    pub fn unanswered(&self) -> Option<Action> {
        let proposal = self.proposal.as_ref().map(|isr| Action::AlterIsr(self.proposal_of(isr)));
        proposal.or_else(|| self.settled.map(Action::Settle))
    }

    /// Checks the invariants that can be seen in the state alone.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check_invariants(&self) {
        for (node, progress) in &self.progress {
            assert!(
                progress.durable_end.is_none_or(|durable| durable <= progress.log_end),
                "node {node} is durable beyond its log: {self:?}"
            );
        }
        assert!(self.durable_end <= self.log_end, "durable beyond the log: {self:?}");
        assert!(self.high_watermark <= self.log_end, "acknowledged beyond the log: {self:?}");
        assert!(self.view <= self.epoch().max(self.view_asked), "a view of the future: {self:?}");
        if self.role == Role::Leader {
            assert!(self.record.isr.contains(&self.node), "leader not in its ISR: {self:?}");
            assert!(self.epoch_start.is_some(), "a leader without a start: {self:?}");
        } else {
            assert!(self.progress.is_empty() && self.proposal.is_none(), "a follower leads: {self:?}");
        }
    }

    fn apply(
        &mut self,
        input: Input,
        now: Millis,
        actions: &mut Vec<Action>,
    ) -> Result<(), ReplicationError> {
        match input {
            Input::Appended { log_end } => self.appended(log_end),
            Input::Durable { durable_end } => self.durable(durable_end),
            Input::ViewWritten { view } => {
                self.view = self.view.max(view);
                Ok(())
            }
            Input::Image { record, config } => self.image(record, config),
            Input::Attached { epoch, epoch_start, at } => self.attached(epoch, epoch_start, at, actions),
            Input::Truncated { log_end } => self.truncated(log_end),
            Input::LeaderHighWatermark { epoch, high_watermark } => {
                self.leader_high_watermark(epoch, high_watermark)
            }
            Input::FollowerProgress { node, broker_epoch, epoch, log_end, durable_end } => {
                let to = Progress { broker_epoch, log_end, durable_end, caught_up_at: now };
                self.follower_progress(node, epoch, to)
            }
            Input::ProposeIsr { isr } => self.propose_isr(isr, actions),
        }
    }

    fn appended(&mut self, log_end: Offset) -> Result<(), ReplicationError> {
        if let Role::Reconciling { .. } = self.role {
            return Err(ReplicationError::NotReconciled { node: self.node, epoch: self.epoch() });
        }
        self.check_rises("log end", self.log_end, log_end)?;
        self.log_end = log_end;
        Ok(())
    }

    fn durable(&mut self, durable_end: Offset) -> Result<(), ReplicationError> {
        let (node, log_end) = (self.node, self.log_end);
        if durable_end > log_end {
            return Err(ReplicationError::DurableBeyondLogEnd { node, durable_end, log_end });
        }
        self.check_rises("durable end", self.durable_end, durable_end)?;
        self.durable_end = durable_end;
        Ok(())
    }

    pub(crate) fn check_rises(
        &self,
        which: &'static str,
        from: Offset,
        to: Offset,
    ) -> Result<(), ReplicationError> {
        if to < from {
            return Err(ReplicationError::WentBack { node: self.node, which, from, to });
        }
        Ok(())
    }

    fn image(&mut self, record: PartitionRecord, config: ReplicaConfig) -> Result<(), ReplicationError> {
        let (given, current) = (record.partition_epoch, self.record.partition_epoch);
        let is_same = given == current && record == self.record;
        // With other replicas about, what an acknowledgement promises changes together with the record of it.
        let is_recorded = self.config.copies(record.isr.len()) == config.copies(record.isr.len());
        let follows = given > current || (is_same && (is_recorded || self.is_sole_replica()));
        let is_new_epoch = record.leader_epoch > self.record.leader_epoch;
        let same_leader =
            record.leader_epoch == self.record.leader_epoch && record.leader == self.record.leader;
        if !follows || !(is_new_epoch || same_leader) {
            return Err(ReplicationError::StaleRecord { given, current });
        }
        let leads = record.leader == Some(self.node);
        if leads && !record.isr.contains(&self.node) {
            return Err(ReplicationError::LeaderNotInIsr { node: self.node });
        }
        let leader = record.leader;
        (self.record, self.config) = (record, config);
        if given > current {
            self.asked.clear();
            self.proposal = None;
            self.settled = None;
        }
        if is_new_epoch {
            // What the others had under another leader says nothing about what they have now.
            self.progress.clear();
            self.role = if leads { Role::Leader } else { Role::Reconciling { leader } };
            self.epoch_start = leads.then_some(self.log_end);
        }
        Ok(())
    }

    /// The view to write next: once the stable log has everything that the epoch starts with.
    fn due_view(&self) -> Option<LeaderEpoch> {
        let epoch = self.epoch();
        let is_durable = self.epoch_start.is_some_and(|start| self.durable_end >= start);
        let is_cut = self.cutting.is_none() || planted(Mutant::ViewBeforeCut);
        let is_due = is_durable && is_cut && self.view_asked < epoch && !self.is_sole_replica();
        is_due.then_some(epoch)
    }

    /// The members of the ISR, and all that may have become members since.
    pub(crate) fn maximal_isr(&self) -> Cow<'_, BTreeSet<NodeId>> {
        if self.asked.is_subset(&self.record.isr) {
            Cow::Borrowed(&self.record.isr)
        } else {
            Cow::Owned(self.record.isr.union(&self.asked).copied().collect())
        }
    }

    /// A partition with one replica has no other log to compare a view with.
    pub(crate) fn is_sole_replica(&self) -> bool {
        self.record.replicas.len() == 1
    }

    pub(crate) fn want_leader(&self) -> Result<(), ReplicationError> {
        match self.role {
            Role::Leader => Ok(()),
            Role::Reconciling { .. } | Role::Follower { .. } => {
                Err(ReplicationError::NotLeader { node: self.node })
            }
        }
    }

    pub(crate) fn want_epoch(&self, given: LeaderEpoch) -> Result<(), ReplicationError> {
        let current = self.epoch();
        if given == current { Ok(()) } else { Err(ReplicationError::WrongEpoch { given, current }) }
    }

    /// What the leader knows of itself.
    fn note_own_progress(&mut self, now: Millis) {
        let (log_end, durable_end) = (self.log_end, self.reported_durable_end());
        let own = Progress { broker_epoch: BrokerEpoch(-1), log_end, durable_end, caught_up_at: now };
        self.progress.insert(self.node, own);
    }
}
