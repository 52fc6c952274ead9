//! Why a replica refuses an input, or the controller a request.

use model::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};

/// An input that cannot be true, or comes too late. The replica is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicationError {
    /// Only a leader takes this input.
    #[error("node {node} does not lead the partition")]
    NotLeader {
        /// This node.
        node: NodeId,
    },
    /// Only a follower takes this input.
    #[error("node {node} does not follow in the partition")]
    NotFollower {
        /// This node.
        node: NodeId,
    },
    /// The input belongs to another epoch than the replica's.
    #[error("epoch {given} is not the current epoch {current}")]
    WrongEpoch {
        /// The input's.
        given: LeaderEpoch,
        /// The replica's.
        current: LeaderEpoch,
    },
    /// A record of the controller's that is older than the known one, or another one of the same age.
    #[error("record {given} of the partition does not follow {current}")]
    StaleRecord {
        /// The input's partition epoch.
        given: PartitionEpoch,
        /// The known one.
        current: PartitionEpoch,
    },
    /// Progress of an incarnation that is gone.
    #[error("node {node}: broker epoch {given} is older than {current}")]
    StaleBrokerEpoch {
        /// Whose.
        node: NodeId,
        /// The input's.
        given: BrokerEpoch,
        /// The known one.
        current: BrokerEpoch,
    },
    /// Progress of a node that has no replica.
    #[error("node {node} has no replica of the partition")]
    NotReplica {
        /// Who.
        node: NodeId,
    },
    /// The log does not agree with the leader's yet.
    #[error("node {node} has not reconciled its log with the leader's in epoch {epoch}")]
    NotReconciled {
        /// This node.
        node: NodeId,
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// A cut that was asked for is not durable yet.
    #[error("the log is still being cut to {to}")]
    BeingCut {
        /// Where to.
        to: Offset,
    },
    /// An end that may only rise would fall.
    #[error("node {node}: the {which} would go back from {from} to {to}")]
    WentBack {
        /// Whose.
        node: NodeId,
        /// Which end.
        which: &'static str,
        /// Where it stands.
        from: Offset,
        /// Where it would go.
        to: Offset,
    },
    /// More would be durable than there is.
    #[error("node {node}: durable to {durable_end}, but the log ends at {log_end}")]
    DurableBeyondLogEnd {
        /// Whose.
        node: NodeId,
        /// The claim.
        durable_end: Offset,
        /// The log.
        log_end: Offset,
    },
    /// A follower would have more than its leader.
    #[error("node {node} ends at {log_end}, behind the leader's end {leader_end}")]
    AheadOfLeader {
        /// Who.
        node: NodeId,
        /// Its end.
        log_end: Offset,
        /// The leader's.
        leader_end: Offset,
    },
    /// The log would lose records that may have been acknowledged.
    #[error("truncation to {log_end} would cut below the high watermark {high_watermark}")]
    TruncatesAcknowledged {
        /// The wanted end.
        log_end: Offset,
        /// What must stay.
        high_watermark: Offset,
    },
    /// A cut that nobody asked for, or to another place.
    #[error("the log was cut to {log_end}, which was not asked for")]
    NotAskedToCut {
        /// Where to.
        log_end: Offset,
    },
    /// An ISR without its leader.
    #[error("the leader {node} is not in its own ISR")]
    LeaderNotInIsr {
        /// This node.
        node: NodeId,
    },
    /// A replica that lacks acknowledged records cannot join the ISR.
    #[error("node {node} ends at {log_end}, below {wanted}, where the ISR begins")]
    NotCaughtUp {
        /// Who wants to join.
        node: NodeId,
        /// How far it is.
        log_end: Offset,
        /// How far it must be: the high watermark, or the start of the epoch.
        wanted: Offset,
    },
    /// A leader whose own view is not on its disk lets nobody join.
    #[error("the leader's view {view} is not that of epoch {epoch} yet")]
    ViewNotWritten {
        /// The view on its disk.
        view: LeaderEpoch,
        /// The epoch.
        epoch: LeaderEpoch,
    },
}

/// Why the controller refuses what a leader asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Another leads, or this one in another epoch (`FENCED_LEADER_EPOCH`).
    #[error("node {node} does not lead in epoch {given}; the epoch is {current}")]
    FencedLeader {
        /// Who asks.
        node: NodeId,
        /// The epoch in which it believes to lead.
        given: LeaderEpoch,
        /// The epoch on record.
        current: LeaderEpoch,
    },
    /// The leader has not heard of the newest change (`INVALID_UPDATE_VERSION`).
    #[error("partition epoch {given} is not the current one, {current}")]
    WrongPartitionEpoch {
        /// The leader's.
        given: PartitionEpoch,
        /// The one on record.
        current: PartitionEpoch,
    },
    /// A member is fenced, of another incarnation, or no replica (`INELIGIBLE_REPLICA`).
    #[error("node {node} may not be in the ISR, or lead")]
    Ineligible {
        /// Who.
        node: NodeId,
    },
    /// An ISR without its leader (`INVALID_REQUEST`).
    #[error("the leader {node} is not in the ISR that it asks for")]
    LeaderNotInIsr {
        /// Who asks.
        node: NodeId,
    },
}
