//! Why a partition does not do what is asked of it.

use model::{LeaderEpoch, NodeId};
use replication::ReplicationError;
use storage::StorageError;

/// Who leads a partition, as far as this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentLeader {
    /// The leader, if there is one.
    pub node: Option<NodeId>,
    /// Its epoch.
    pub epoch: LeaderEpoch,
}

/// Why a partition does not do what is asked of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PartitionError {
    /// No such partition is known, or it has just been deleted.
    #[error("the partition is not known here")]
    Unknown,
    /// Another node leads, or this one in another epoch than when the wait began, or nobody.
    #[error("this node does not lead in epoch {}", .0.epoch)]
    NotLeader(CurrentLeader),
    /// The client knows an older leader epoch (KIP-320).
    #[error("the leader epoch is {} by now", .0.epoch)]
    FencedEpoch(CurrentLeader),
    /// The client knows a newer leader epoch (KIP-320).
    #[error("the leader epoch is only {} here", .0.epoch)]
    UnknownEpoch(CurrentLeader),
    /// Its log could not be opened, is damaged, or has failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its replica was told what cannot be.
    #[error("the partition's state is contradictory: {0}")]
    Contradiction(#[from] ReplicationError),
    /// The wait has taken longer than the client allowed.
    #[error("the acknowledgement took too long")]
    TimedOut,
}

impl PartitionError {
    /// Whom to ask instead, where that is the matter.
    #[must_use]
    pub const fn current_leader(&self) -> Option<CurrentLeader> {
        match self {
            Self::NotLeader(leader) | Self::FencedEpoch(leader) | Self::UnknownEpoch(leader) => Some(*leader),
            Self::Unknown | Self::Storage(_) | Self::Contradiction(_) | Self::TimedOut => None,
        }
    }
}
