//! Why a replica refuses an input.

use model::{LeaderEpoch, NodeId, Offset};

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
    /// The input belongs to another epoch than the replica's.
    #[error("epoch {given} is not the current epoch {current}")]
    WrongEpoch {
        /// The input's.
        given: LeaderEpoch,
        /// The replica's.
        current: LeaderEpoch,
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
    /// The log would lose records that may have been acknowledged.
    #[error("truncation to {log_end} would cut below the high watermark {high_watermark}")]
    TruncatesAcknowledged {
        /// The wanted end.
        log_end: Offset,
        /// What must stay.
        high_watermark: Offset,
    },
    /// Followers agree with the leader's log; a leader has nobody to agree with.
    #[error("node {node} leads the partition, its log is not truncated")]
    LeaderTruncates {
        /// This node.
        node: NodeId,
    },
    /// An ISR without its leader.
    #[error("the leader {node} is not in its own ISR")]
    LeaderNotInIsr {
        /// This node.
        node: NodeId,
    },
    /// A replica that lacks acknowledged records cannot join the ISR.
    #[error("node {node} ends at {log_end}, below the high watermark {high_watermark}")]
    NotCaughtUp {
        /// Who wants to join.
        node: NodeId,
        /// How far it is.
        log_end: Offset,
        /// How far it must be.
        high_watermark: Offset,
    },
}
