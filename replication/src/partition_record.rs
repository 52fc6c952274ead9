//! What the controller has on record about a partition, and how it may change.
//!
//! Lives with the controller; every broker has a copy in its metadata image. The functions are pure: they decide
//! against the record, and whoever calls them writes the outcome to the metadata log before anybody hears of it.
//!
//! Beside Kafka's fields there is [`DurableSet`]: among which log directories, and how many times, every acknowledged
//! record is durable. It outlives shrinks of the ISR, so that a recovery behind a blackout knows whom to wait for.

use std::collections::{BTreeMap, BTreeSet};

use model::{BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, Offset, PartitionEpoch};

use crate::mutant::{Mutant, planted};
use crate::{IsrProposal, RecordError, ReplicaConfig, Settle};

/// Where every acknowledged record is on stable storage: on at least `copies` of the directories `among`.
///
/// Invariant: `1 <= copies`. Any `among.len() - copies + 1` of the directories include one that has a given
/// acknowledged record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableSet {
    /// D: the directories.
    pub among: BTreeSet<DirectoryId>,
    /// q: on how many of them, at least.
    pub copies: usize,
}

impl DurableSet {
    /// How many of the directories have to report before the best report is known to hold all that was acknowledged.
    #[must_use]
    pub fn reports_needed(&self) -> usize {
        let early = usize::from(planted(Mutant::RecoversTooEarly));
        (self.among.len() + 1).saturating_sub(self.copies + early).max(1)
    }
}

/// A broker, as the controller knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerState {
    /// Its incarnation.
    pub epoch: BrokerEpoch,
    /// Whether it may neither lead nor join an ISR.
    pub is_fenced: bool,
}

/// All registered brokers.
pub type Brokers = BTreeMap<NodeId, BrokerState>;

/// What a replica says behind a blackout, when it has applied the epoch in which there is no leader: from then on it
/// obeys no older leader (the first phase of Paxos).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Who says it.
    pub node: NodeId,
    /// Where its log lies.
    pub directory: DirectoryId,
    /// The epoch that it has applied.
    pub epoch: LeaderEpoch,
    /// Its view, see [`crate::PartitionReplica::view`].
    pub view: LeaderEpoch,
    /// The end of its log on stable storage.
    pub log_end: Offset,
}

/// The controller's record of a partition.
///
/// Invariants:
/// - the ISR, the ELR and the leader are replicas; ISR and ELR have no member in common;
/// - a leader is in the ISR;
/// - both epochs only rise, the partition epoch with every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRecord {
    /// The replicas and their log directories.
    pub replicas: BTreeMap<NodeId, DirectoryId>,
    /// The in-sync replicas.
    pub isr: BTreeSet<NodeId>,
    /// The eligible leader replicas (KIP-966): they left an ISR that could acknowledge nothing without them.
    pub elr: BTreeSet<NodeId>,
    /// The leader, if there is one.
    pub leader: Option<NodeId>,
    /// Rises with every election.
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change.
    pub partition_epoch: PartitionEpoch,
    /// Where everything acknowledged is durable.
    pub durable: DurableSet,
}

impl PartitionRecord {
    /// The record of a new partition, led by `leader`, in which all replicas are in sync: they are all empty.
    #[must_use]
    pub fn new(replicas: BTreeMap<NodeId, DirectoryId>, leader: NodeId, config: ReplicaConfig) -> Self {
        let durable =
            DurableSet { among: replicas.values().copied().collect(), copies: config.copies(replicas.len()) };
        Self {
            isr: replicas.keys().copied().collect(),
            elr: BTreeSet::new(),
            leader: Some(leader),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            durable,
            replicas,
        }
    }

    /// The record of a partition whose only replica leads in `leader_epoch`.
    #[must_use]
    pub fn sole(
        node: NodeId,
        directory: DirectoryId,
        leader_epoch: LeaderEpoch,
        config: ReplicaConfig,
    ) -> Self {
        Self { leader_epoch, ..Self::new(BTreeMap::from([(node, directory)]), node, config) }
    }

    /// What a replica has before the first image: no replicas, and epochs below all others.
    pub(crate) fn unknown() -> Self {
        Self {
            replicas: BTreeMap::new(),
            isr: BTreeSet::new(),
            elr: BTreeSet::new(),
            leader: None,
            leader_epoch: LeaderEpoch::NONE,
            partition_epoch: PartitionEpoch(-1),
            durable: DurableSet { among: BTreeSet::new(), copies: 1 },
        }
    }

    /// Whether the record of durable copies says no more and no less than the present ISR does.
    #[must_use]
    pub fn is_settled(&self, config: ReplicaConfig) -> bool {
        self.durable.copies == config.copies(self.isr.len())
            && self.durable.among == self.directories(&self.isr)
    }

    /// Takes a leader's proposal for the ISR (AlterPartition, KIP-497 and KIP-903). Proposing the present ISR is allowed:
    /// the new partition epoch voids whatever the leader has asked for before.
    ///
    /// # Errors
    /// [`RecordError`] if the leader or its knowledge is outdated, or a member is not eligible.
    pub fn alter_isr(
        &mut self,
        from: NodeId,
        proposal: &IsrProposal,
        brokers: &Brokers,
        config: ReplicaConfig,
    ) -> Result<(), RecordError> {
        self.check_leader(from, proposal.leader_epoch, proposal.partition_epoch)?;
        if !proposal.isr.contains_key(&from) {
            return Err(RecordError::LeaderNotInIsr { node: from });
        }
        for (&node, &said) in &proposal.isr {
            let is_eligible = self.replicas.contains_key(&node)
                && brokers.get(&node).is_some_and(|broker| {
                    let is_same = said.is_none_or(|said| said == broker.epoch);
                    !broker.is_fenced && (is_same || planted(Mutant::IgnoresBrokerEpoch))
                })
                && (said.is_some() || self.isr.contains(&node));
            if !is_eligible {
                return Err(RecordError::Ineligible { node });
            }
        }
        self.set_isr(proposal.isr.keys().copied().collect(), config);
        Ok(())
    }

    /// Forgets former in-sync replicas: the leader has seen everything acknowledged so far durable `copies` times
    /// inside the ISR.
    ///
    /// # Errors
    /// [`RecordError`] if the leader or its knowledge is outdated.
    pub fn settle(&mut self, from: NodeId, settle: Settle) -> Result<(), RecordError> {
        self.check_leader(from, settle.leader_epoch, settle.partition_epoch)?;
        self.durable = DurableSet { among: self.directories(&self.isr), copies: settle.copies };
        self.changed();
        Ok(())
    }

    /// Takes over changed settings. Fewer copies are on record before the leader hears of it; more, when it has
    /// seen to them.
    pub fn configure(&mut self, config: ReplicaConfig) {
        self.record_isr(&self.isr.clone(), config);
        if self.isr.len() >= config.min_insync_replicas() {
            // From here on the ISR acknowledges without them.
            self.elr.clear();
        }
        self.changed();
    }

    /// Takes in a new incarnation of a broker, whose log lies in `directory`. One that did not stop cleanly has
    /// lost what was only in memory, so it leaves ISR and ELR; in any case what it led gets a new epoch, since its
    /// log may be shorter than it was in the old one.
    pub fn register(
        &mut self,
        node: NodeId,
        directory: DirectoryId,
        is_clean: bool,
        brokers: &Brokers,
        config: ReplicaConfig,
    ) {
        let Some(before) = self.replicas.get(&node).copied() else { return };
        if planted(Mutant::IgnoresDirectory) {
            if self.durable.among.remove(&before) {
                self.durable.among.insert(directory);
            }
            self.replicas.insert(node, directory);
        } else if before != directory {
            self.replicas.insert(node, directory);
            self.changed();
        }
        let was_leader = self.leader == Some(node);
        let keeps_memory = (is_clean && before == directory)
            || planted(Mutant::KeepsUnclean)
            || (planted(Mutant::NoBump) && was_leader);
        if !keeps_memory {
            self.remove_from_isr(node, config);
            self.elr.remove(&node);
        }
        if was_leader && !planted(Mutant::NoBump) {
            self.elect(brokers, config);
        }
    }

    /// Takes a broker that is not heard of, or wants to stop, out of the ISR, and elects another leader where it led.
    pub fn fence(&mut self, node: NodeId, brokers: &Brokers, config: ReplicaConfig) {
        self.remove_from_isr(node, config);
        if self.leader == Some(node) {
            self.elect(brokers, config);
        }
    }

    /// Elects a leader if there is none and a broker that has just come (back) may lead.
    pub fn unfence(&mut self, brokers: &Brokers, config: ReplicaConfig) {
        if self.leader.is_none() && self.electable(brokers).is_some() {
            self.elect(brokers, config);
        }
    }

    /// Moves the leadership to another member of the ISR.
    ///
    /// # Errors
    /// [`RecordError::Ineligible`].
    pub fn move_leader(&mut self, to: NodeId, brokers: &Brokers) -> Result<(), RecordError> {
        if self.leader.is_none() || !self.isr.contains(&to) || is_fenced(brokers, to) {
            return Err(RecordError::Ineligible { node: to });
        }
        self.set_leader(Some(to));
        Ok(())
    }

    /// Adds replicas, which copy the log and join the ISR later.
    pub fn add_replicas(&mut self, added: &BTreeMap<NodeId, DirectoryId>) {
        for (node, directory) in added {
            self.replicas.entry(*node).or_insert(*directory);
        }
        self.changed();
    }

    /// Elects the best of those that report, behind a blackout in which no member of ISR or ELR was left, if
    /// enough have reported to be sure that one of them has everything that was acknowledged. The best is the one
    /// with the highest view, then the longest log.
    ///
    /// Returns whether there is a leader now.
    pub fn recover(&mut self, reports: &[RecoveryReport], config: ReplicaConfig) -> bool {
        if self.leader.is_some() {
            return false;
        }
        let valid: BTreeMap<DirectoryId, &RecoveryReport> = reports
            .iter()
            .filter(|report| {
                report.epoch == self.leader_epoch
                    && self.durable.among.contains(&report.directory)
                    && self.replicas.get(&report.node) == Some(&report.directory)
            })
            .map(|report| (report.directory, report))
            .collect();
        if valid.len() < self.durable.reports_needed() {
            return false;
        }
        let Some(best) = valid.values().max_by_key(|report| (report.view, report.log_end)) else {
            return false;
        };
        self.set_isr(BTreeSet::from([best.node]), config);
        self.elr.clear();
        self.set_leader(Some(best.node));
        true
    }

    /// Checks the invariants.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check_invariants(&self) {
        let is_replica = |node: &NodeId| self.replicas.contains_key(node);
        assert!(
            self.isr.iter().chain(&self.elr).all(is_replica),
            "in sync without being a replica: {self:?}"
        );
        assert!(self.isr.is_disjoint(&self.elr), "in both ISR and ELR: {self:?}");
        assert!(
            self.leader.is_none_or(|leader| self.isr.contains(&leader)),
            "a leader out of sync: {self:?}"
        );
        assert!(self.durable.copies >= 1, "no copy asked for: {self:?}");
    }

    fn check_leader(
        &self,
        from: NodeId,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
    ) -> Result<(), RecordError> {
        if self.leader != Some(from) || self.leader_epoch != leader_epoch {
            return Err(RecordError::FencedLeader {
                node: from,
                given: leader_epoch,
                current: self.leader_epoch,
            });
        }
        if self.partition_epoch != partition_epoch {
            let (given, current) = (partition_epoch, self.partition_epoch);
            return Err(RecordError::WrongPartitionEpoch { given, current });
        }
        Ok(())
    }

    /// Elects from the ISR, or from the ELR if the ISR is empty; otherwise there is no leader until one of them is
    /// back, or enough others have reported. The epoch rises in any case.
    fn elect(&mut self, brokers: &Brokers, config: ReplicaConfig) {
        let elected = self.electable(brokers);
        if let Some(node) = elected
            && !self.isr.contains(&node)
        {
            let mut others = self.elr.clone();
            others.remove(&node);
            self.elr.remove(&node);
            self.set_isr(BTreeSet::from([node]), config);
            if self.isr.len() < config.min_insync_replicas() {
                self.elr = others;
            }
        }
        self.set_leader(elected);
    }

    fn electable(&self, brokers: &Brokers) -> Option<NodeId> {
        let pool = if self.isr.is_empty() { &self.elr } else { &self.isr };
        pool.iter().copied().find(|node| !is_fenced(brokers, *node))
    }

    fn set_leader(&mut self, leader: Option<NodeId>) {
        self.leader = leader;
        self.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        self.changed();
    }

    fn remove_from_isr(&mut self, node: NodeId, config: ReplicaConfig) {
        if self.isr.contains(&node) {
            let mut isr = self.isr.clone();
            isr.remove(&node);
            self.set_isr(isr, config);
        }
    }

    fn set_isr(&mut self, isr: BTreeSet<NodeId>, config: ReplicaConfig) {
        if isr.len() >= config.min_insync_replicas() {
            self.elr.clear();
        } else {
            self.elr.extend(&self.isr);
            self.elr.retain(|node| !isr.contains(node));
        }
        self.record_isr(&isr, config);
        self.isr = isr;
        self.changed();
    }

    /// Puts on record that what is acknowledged from now on may be durable in `isr` alone. An ISR without members
    /// acknowledges nothing.
    fn record_isr(&mut self, isr: &BTreeSet<NodeId>, config: ReplicaConfig) {
        if isr.is_empty() {
            return;
        }
        let members = self.directories(isr);
        let copies = config.copies(isr.len());
        if planted(Mutant::NoRecord) {
            self.durable = DurableSet { among: members, copies };
            return;
        }
        if planted(Mutant::NoUnion) {
            // Follows growth only while settled.
            let was_settled = self.durable.among == self.directories(&self.isr);
            if was_settled && !members.is_subset(&self.durable.among) {
                self.durable.among = members;
            }
        } else {
            self.durable.among.extend(members);
        }
        if !planted(Mutant::ForgetsFewerCopies) {
            self.durable.copies = self.durable.copies.min(copies);
        }
    }

    fn directories(&self, nodes: &BTreeSet<NodeId>) -> BTreeSet<DirectoryId> {
        nodes.iter().filter_map(|node| self.replicas.get(node).copied()).collect()
    }

    fn changed(&mut self) {
        self.partition_epoch = PartitionEpoch(self.partition_epoch.0 + 1);
    }
}

fn is_fenced(brokers: &Brokers, node: NodeId) -> bool {
    brokers.get(&node).is_none_or(|broker| broker.is_fenced)
}
