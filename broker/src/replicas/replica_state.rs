//! What this node is to a partition that it hosts. Pure: who leads, follows and acknowledges is decided by
//! [`PartitionReplica`]; here stands what that means for those who ask and wait.
//!
//! | hears | becomes | who waits |
//! |---|---|---|
//! | a record of a new epoch that this node leads | leader | is fenced; then it is elected, again if it led before |
//! | a record of a new epoch that it does not lead, or has no replica in | follower | is fenced |
//! | an older record | what it was | waits on |
//! | a record that cannot be carried out | offline, until a newer one can be | is fenced |
//! | progress of its own log that cannot be | offline, until the next start | is fenced |
//! | that its log has failed | what it was, but acknowledges nothing | is told |
//! | that its topic is gone | gone | is told |

use std::collections::{BTreeMap, BTreeSet};

use model::{DirectoryId, LeaderEpoch, NodeId, Offset, PartitionEpoch};
use replication::{
    Acks, Action, DurableSet, Input, Millis, PartitionRecord, PartitionReplica, ReplicaConfig,
    ReplicationError, Role,
};
use storage::StorageError;

use super::{CurrentLeader, PartitionError};
use crate::config::TopicConfig;
use crate::metadata::PartitionImage;

/// A partition's replica on this node, and what keeps it from serving.
pub(super) struct ReplicaState {
    replica: PartitionReplica,
    fault: Option<Fault>,
}

/// What keeps a partition from serving; a later one of this list replaces an earlier one.
#[derive(Debug, Clone)]
enum Fault {
    /// The newest record cannot be carried out.
    Record(ReplicationError),
    /// The log takes nothing more, and what it has can be read.
    LogFailed(StorageError),
    /// The log told what cannot be.
    Progress(ReplicationError),
    /// The topic has been deleted.
    Gone,
}

impl Fault {
    const fn rank(&self) -> u8 {
        match self {
            Self::Record(_) => 0,
            Self::LogFailed(_) => 1,
            Self::Progress(_) => 2,
            Self::Gone => 3,
        }
    }
}

/// What a step means for those who wait, and for what runs on top of a leadership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    /// Nothing.
    None,
    /// They are fenced: there is another leader, or another epoch.
    Fenced,
    /// The same, and this node has ceased to lead.
    Deposed,
    /// The same, and this node leads in a new epoch.
    Elected,
}

/// What follows from a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stepped {
    pub(super) actions: Vec<Action>,
    pub(super) transition: Transition,
}

impl Stepped {
    const NOTHING: Self = Self { actions: Vec::new(), transition: Transition::None };
}

/// How far a log was recovered.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecoveredLog {
    pub(super) log_end: Offset,
    pub(super) durable_end: Offset,
    /// As it was last written down.
    pub(super) high_watermark: Offset,
}

impl ReplicaState {
    /// A replica of which nothing but its log is known yet: it follows nobody.
    ///
    /// # Panics
    /// If the log is durable beyond its end.
    pub(super) fn recovered(node: NodeId, log: RecoveredLog, config: ReplicaConfig) -> Self {
        let RecoveredLog { log_end, durable_end, high_watermark } = log;
        let replica = PartitionReplica::recovered(
            node,
            log_end,
            durable_end,
            LeaderEpoch::NONE,
            high_watermark,
            config,
        );
        let replica = replica.expect("a log is durable at most to its end");
        Self { replica, fault: None }
    }

    /// Takes over the controller's record of an image.
    pub(super) fn apply_record(
        &mut self,
        record: PartitionRecord,
        config: ReplicaConfig,
        now: Millis,
    ) -> Stepped {
        if matches!(self.fault, Some(Fault::Progress(_) | Fault::Gone)) {
            return Stepped::NOTHING;
        }
        let before = self.standing();
        let actions = match self.replica.step(Input::Image { record, config }, now) {
            Ok(actions) => actions,
            // What is known is newer.
            Err(ReplicationError::StaleRecord { .. }) => return Stepped::NOTHING,
            Err(error) => return self.fail(Fault::Record(error)),
        };
        if matches!(self.fault, Some(Fault::Record(_))) {
            self.fault = None;
        }
        Stepped { actions, transition: transition(before, self.standing()) }
    }

    /// Takes in progress of the node's own log.
    pub(super) fn step(&mut self, input: Input, now: Millis) -> Stepped {
        if matches!(self.fault, Some(Fault::Progress(_) | Fault::Gone)) {
            return Stepped::NOTHING;
        }
        match self.replica.step(input, now) {
            Ok(actions) => Stepped { actions, transition: Transition::None },
            Err(error) => self.fail(Fault::Progress(error)),
        }
    }

    /// The log has failed: nothing more is acknowledged.
    pub(super) fn log_failed(&mut self, error: StorageError) -> Stepped {
        self.fail(Fault::LogFailed(error))
    }

    /// The topic is gone.
    pub(super) fn gone(&mut self) -> Stepped {
        self.fail(Fault::Gone)
    }

    fn fail(&mut self, fault: Fault) -> Stepped {
        let before = self.standing();
        if self.fault.as_ref().is_none_or(|known| known.rank() <= fault.rank()) {
            self.fault = Some(fault);
        }
        let transition = match transition(before, self.standing()) {
            Transition::None => Transition::Fenced,
            transition => transition,
        };
        Stepped { actions: Vec::new(), transition }
    }

    /// Whether a record with these settings would change nothing.
    pub(super) fn is_current(&self, partition_epoch: PartitionEpoch, config: ReplicaConfig) -> bool {
        self.fault.is_none()
            && self.replica.record().partition_epoch == partition_epoch
            && self.replica.config() == config
    }

    /// Checks that this node leads, for somebody who knows of the leader epoch `known` ([`LeaderEpoch::NONE`] if of none).
    ///
    /// # Errors
    /// [`PartitionError`] if the partition cannot be read, the epoch is another one (KIP-320), or another node leads.
    pub(super) fn check_leads(&self, known: LeaderEpoch) -> Result<(), PartitionError> {
        self.check_serves()?;
        let current = self.current_leader();
        match known {
            LeaderEpoch(..0) => {}
            known if known < current.epoch => return Err(PartitionError::FencedEpoch(current)),
            known if known > current.epoch => return Err(PartitionError::UnknownEpoch(current)),
            _ => {}
        }
        if self.replica.role() == Role::Leader { Ok(()) } else { Err(PartitionError::NotLeader(current)) }
    }

    /// Checks that appends may still be acknowledged.
    ///
    /// # Errors
    /// [`PartitionError`] if not.
    pub(super) fn check_acknowledges(&self) -> Result<(), PartitionError> {
        if let Some(Fault::LogFailed(error)) = &self.fault {
            return Err(error.clone().into());
        }
        self.check_leads(LeaderEpoch::NONE)
    }

    fn check_serves(&self) -> Result<(), PartitionError> {
        match &self.fault {
            None | Some(Fault::LogFailed(_)) => Ok(()),
            Some(Fault::Record(error) | Fault::Progress(error)) => Err((*error).into()),
            Some(Fault::Gone) => Err(PartitionError::Unknown),
        }
    }

    /// What those are told who waited when there was a transition.
    pub(super) fn fence(&self) -> PartitionError {
        self.check_acknowledges().err().unwrap_or(PartitionError::NotLeader(self.current_leader()))
    }

    /// What this replica was told that cannot be, if that is why it is offline.
    pub(super) const fn contradiction(&self) -> Option<ReplicationError> {
        match self.fault {
            Some(Fault::Record(error) | Fault::Progress(error)) => Some(error),
            None | Some(Fault::LogFailed(_) | Fault::Gone) => None,
        }
    }

    /// Who leads.
    pub(super) fn current_leader(&self) -> CurrentLeader {
        CurrentLeader { node: self.replica.record().leader, epoch: self.replica.epoch() }
    }

    /// Whether this node leads.
    pub(super) fn leads(&self) -> bool {
        self.check_serves().is_ok() && self.replica.role() == Role::Leader
    }

    /// The offset below which consumers see records.
    pub(super) const fn high_watermark(&self) -> Offset {
        self.replica.high_watermark()
    }

    /// The offset below which appends are acknowledged.
    pub(super) const fn acked_offset(&self, acks: Acks) -> Offset {
        self.replica.acked_offset(acks)
    }

    /// The leader epoch.
    pub(super) const fn epoch(&self) -> LeaderEpoch {
        self.replica.epoch()
    }

    fn standing(&self) -> (bool, LeaderEpoch) {
        (self.leads(), self.epoch())
    }
}

/// What it means that (whether this node leads, the epoch) has changed.
fn transition(before: (bool, LeaderEpoch), after: (bool, LeaderEpoch)) -> Transition {
    match (before, after) {
        _ if before == after => Transition::None,
        (_, (true, _)) => Transition::Elected,
        ((true, _), (false, _)) => Transition::Deposed,
        ((false, _), (false, _)) => Transition::Fenced,
    }
}

/// Whether a node has a replica of a partition.
pub(super) fn has_replica(image: &PartitionImage, node: NodeId) -> bool {
    image.replicas.contains(&node)
}

/// The controller's record of a partition. An image says nothing about directories and durable copies where both are what
/// the ISR makes of them.
pub(super) fn record_of(image: &PartitionImage, config: ReplicaConfig) -> PartitionRecord {
    let replicas: BTreeMap<_, _> = image.replicas.iter().map(|node| (*node, DirectoryId::ZERO)).collect();
    let isr: BTreeSet<NodeId> = image.isr.iter().copied().collect();
    let durable =
        DurableSet { among: replicas.values().copied().collect(), copies: config.copies(isr.len()).max(1) };
    PartitionRecord {
        replicas,
        isr,
        elr: BTreeSet::new(),
        leader: Some(image.leader).filter(|leader| *leader != PartitionImage::NO_LEADER),
        leader_epoch: image.leader_epoch,
        partition_epoch: PartitionEpoch(image.partition_epoch),
        durable,
    }
}

/// What the topic's settings say about the replicas of a partition. Kafka counts at most as many in-sync replicas as a
/// partition has replicas.
pub(super) fn replica_config(config: &TopicConfig, replicas: usize) -> ReplicaConfig {
    let min_insync_replicas = usize::try_from(config.min_insync_replicas()).unwrap_or(usize::MAX);
    ReplicaConfig::new(min_insync_replicas.min(replicas), config.durability())
}
