//! What a partition replica is told, and what it tells.

use std::collections::BTreeSet;

use model::{LeaderEpoch, NodeId, Offset};

/// What the acknowledgement of a record promises (`durability`, per topic).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// In memory on every in-sync replica and on stable storage on at least `min.insync.replicas` of them.
    #[default]
    QuorumFsync,
    /// On stable storage on every in-sync replica.
    AllFsync,
    /// As Kafka: in memory on every in-sync replica; on the leader at least handed to the kernel. The leader's
    /// [`Input::Durable`] then means "the write has completed", not "it is on stable storage".
    Kafka,
}

/// The topic's settings that a replica depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// `min.insync.replicas`, at least 1.
    min_insync_replicas: usize,
    /// What an acknowledgement promises.
    pub durability: Durability,
}

impl ReplicaConfig {
    /// The settings; `min_insync_replicas` below 1 counts as 1.
    #[must_use]
    pub fn new(min_insync_replicas: usize, durability: Durability) -> Self {
        Self { min_insync_replicas: min_insync_replicas.max(1), durability }
    }

    /// `min.insync.replicas`.
    #[must_use]
    pub const fn min_insync_replicas(&self) -> usize {
        self.min_insync_replicas
    }
}

impl Default for ReplicaConfig {
    fn default() -> Self {
        Self::new(1, Durability::default())
    }
}

/// How many replicas a producer wants its records on before the answer. (acks=0 waits for nothing.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// acks=1.
    Leader,
    /// acks=all.
    All,
}

/// What a replica is in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes appends and decides the high watermark.
    Leader,
    /// Copies from the leader, if one is known.
    Follower {
        /// Whom it copies from.
        leader: Option<NodeId>,
    },
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The local log has grown to `log_end`.
    Appended {
        /// One past the last record.
        log_end: Offset,
    },
    /// The local log is on stable storage up to `durable_end`. ([`Durability::Kafka`]: handed to the kernel.)
    Durable {
        /// One past the last durable record.
        durable_end: Offset,
    },
    /// The local log has been cut to `log_end`, to agree with the leader's.
    Truncated {
        /// One past the last record that is left.
        log_end: Offset,
    },
    /// A follower says how far it is, in this epoch.
    FollowerProgress {
        /// The follower.
        node: NodeId,
        /// The leader epoch that it follows.
        epoch: LeaderEpoch,
        /// The end of its log.
        log_end: Offset,
        /// How far its log is on stable storage.
        durable_end: Offset,
    },
    /// The leader has asked the controller for this ISR. Until the answer the old and the new one both count.
    IsrProposed {
        /// The wanted members.
        isr: BTreeSet<NodeId>,
    },
    /// The controller has decided on this ISR.
    IsrChanged {
        /// The members.
        isr: BTreeSet<NodeId>,
    },
    /// The controller has made this replica the leader.
    BecomeLeader {
        /// A new, higher epoch.
        epoch: LeaderEpoch,
        /// The members, this node among them.
        isr: BTreeSet<NodeId>,
    },
    /// The controller has made another replica the leader, or none.
    BecomeFollower {
        /// A new, higher epoch.
        epoch: LeaderEpoch,
        /// The leader.
        leader: Option<NodeId>,
    },
    /// The leader has told this follower its high watermark.
    LeaderHighWatermark {
        /// The leader's epoch.
        epoch: LeaderEpoch,
        /// Its high watermark.
        high_watermark: Offset,
    },
    /// The topic's settings have changed.
    ConfigChanged(ReplicaConfig),
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Records below are acknowledged to acks=all and shown to consumers.
    HighWatermarkAdvanced(Offset),
    /// Records below are acknowledged to acks=1.
    LeaderAckAdvanced(Offset),
    /// The high watermark is durable often enough inside the present ISR: the controller may forget the ISR before
    /// the last shrink.
    IsrSettled,
}
