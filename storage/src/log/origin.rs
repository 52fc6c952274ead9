//! Who appends, and what that decides.
//!
//! | rule | client | coordinator | metadata | replication |
//! |---|---|---|---|---|
//! | every record is looked at, and must keep the topic's rules for times and keys | yes | | | |
//! | one batch of data, not of control records | yes | | | |
//! | a batch that is in the log already is only named, and sequences have no gaps | yes | | | |
//! | refused while the disk has less room than the reserve | yes | | | |
//! | refused from an epoch before the last of its producer or of the transaction's coordinator | yes | yes | | |
//! | within `max.message.bytes` and a segment, as many records as offsets | yes | yes | yes | |
//! | gets its offsets, and the epoch of the leader | yes | yes | yes | |
//! | keeps offsets and epochs, which go on behind those in the log | | | | yes |
//!
//! The checksums of all are verified. What is replicated, see [`Log::append_as_follower`](crate::Log::append_as_follower), was
//! acknowledged perhaps: whatever its leader has taken, the follower takes.

/// Who appends (Kafka's `AppendOrigin`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer.
    Client,
    /// A coordinator of this broker: of groups, of transactions.
    Coordinator,
    /// The metadata's log (Kafka's `RAFT_LEADER`).
    Metadata,
    /// A follower, with what its leader has.
    Replication,
}

impl AppendOrigin {
    /// Whether batches come from outside: each is checked record by record, comes alone, and may be a repetition.
    pub(crate) const fn is_client(self) -> bool {
        matches!(self, Self::Client)
    }

    /// Whether batches get their offsets here.
    pub(crate) const fn is_leader(self) -> bool {
        !matches!(self, Self::Replication)
    }

    /// Whether the last of the room on the disk is not for it.
    pub(crate) const fn stops_at_reserve(self) -> bool {
        match self {
            Self::Client => true,
            Self::Coordinator | Self::Metadata | Self::Replication => false,
        }
    }

    /// Whether a newer epoch of a producer or of its coordinator keeps it from writing in an older one.
    pub(crate) const fn is_fenced_by_epoch(self) -> bool {
        match self {
            Self::Client | Self::Coordinator => true,
            Self::Metadata | Self::Replication => false,
        }
    }
}
