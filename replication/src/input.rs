//! What a partition replica is told, and what it tells.

use std::collections::{BTreeMap, BTreeSet};

use model::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};

use crate::{PartitionRecord, ReplicaConfig};

/// What a replica is in its partition.
///
/// | from | by | to |
/// |---|---|---|
/// | any | [`Input::Image`] with a new epoch that this node leads | `Leader` |
/// | any | [`Input::Image`] with a new epoch that it does not lead | `Reconciling` |
/// | `Reconciling` | [`Input::Attached`] where nothing is to be cut, else the [`Input::Truncated`] behind it | `Follower` |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes appends and decides the high watermark.
    Leader,
    /// Has a log that may disagree with the leader's of this epoch; neither appends nor believes high watermarks.
    Reconciling {
        /// With whom, if there is a leader.
        leader: Option<NodeId>,
    },
    /// Copies from the leader.
    Follower {
        /// Whom it copies from.
        leader: NodeId,
    },
}

/// Where a follower's log has to go on, as its leader finds from both epoch histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachAt {
    /// At this offset, behind the last record that both have; what the follower has above is cut.
    End(Offset),
    /// At the leader's first record, with an empty log: the follower's ends below it.
    LogStart(Offset),
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The local log has grown to `log_end`.
    Appended {
        /// One past the last record.
        log_end: Offset,
    },
    /// The local log is on stable storage up to `durable_end`. ([`crate::Durability::Kafka`]: handed to the kernel.)
    Durable {
        /// One past the last durable record.
        durable_end: Offset,
    },
    /// The view of [`Action::WriteView`] is on stable storage.
    ViewWritten {
        /// The view.
        view: LeaderEpoch,
    },
    /// A metadata image with this record of the partition has been applied. A broker feeds none that is older than
    /// its own registration: it would act on a leadership that its former incarnation had.
    Image {
        /// The controller's record.
        record: PartitionRecord,
        /// The topic's settings, of the same image.
        config: ReplicaConfig,
    },
    /// The leader has compared the logs.
    Attached {
        /// The leader's epoch.
        epoch: LeaderEpoch,
        /// Where its epoch starts.
        epoch_start: Offset,
        /// Where this log has to go on.
        at: AttachAt,
    },
    /// The cut of [`Action::Truncate`] or [`Action::Reset`] is on stable storage.
    Truncated {
        /// One past the last record that is left.
        log_end: Offset,
    },
    /// The leader has told this follower its high watermark.
    LeaderHighWatermark {
        /// The leader's epoch.
        epoch: LeaderEpoch,
        /// Its high watermark.
        high_watermark: Offset,
    },
    /// A follower says how far it is, in this epoch.
    FollowerProgress {
        /// The follower.
        node: NodeId,
        /// Its incarnation, as it says itself.
        broker_epoch: BrokerEpoch,
        /// The leader epoch that it follows.
        epoch: LeaderEpoch,
        /// The end of its log.
        log_end: Offset,
        /// How far its log is on stable storage; `None` until its view is.
        durable_end: Option<Offset>,
    },
    /// The broker wants this ISR. Until a newer record arrives, all that were ever asked in count as members.
    ProposeIsr {
        /// The wanted members.
        isr: BTreeSet<NodeId>,
    },
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Records below are acknowledged to acks=all and shown to consumers.
    HighWatermarkAdvanced(Offset),
    /// Records below are acknowledged to acks=1.
    LeaderAckAdvanced(Offset),
    /// Put this view on stable storage, then say [`Input::ViewWritten`].
    WriteView(LeaderEpoch),
    /// Cut the log to this end, durably, then say [`Input::Truncated`].
    Truncate(Offset),
    /// Replace the log by an empty one that starts here, durably, then say [`Input::Truncated`].
    Reset(Offset),
    /// Ask the controller for this ISR.
    AlterIsr(IsrProposal),
    /// Tell the controller that it may forget former in-sync replicas.
    Settle(Settle),
}

/// A leader's wish for an ISR (AlterPartition).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrProposal {
    /// The epoch in which it leads.
    pub leader_epoch: LeaderEpoch,
    /// The newest record that it knows.
    pub partition_epoch: PartitionEpoch,
    /// The members, each with the incarnation that it told the leader itself (KIP-903); `None` for members of the
    /// present ISR that were not heard in this epoch, and the leader.
    pub isr: BTreeMap<NodeId, Option<BrokerEpoch>>,
}

/// Everything acknowledged so far is durable `copies` times inside the ISR of this record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settle {
    /// The epoch in which the sender leads.
    pub leader_epoch: LeaderEpoch,
    /// The newest record that it knows.
    pub partition_epoch: PartitionEpoch,
    /// How many copies it has seen.
    pub copies: usize,
}
