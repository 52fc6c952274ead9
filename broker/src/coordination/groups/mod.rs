//! The group coordinator: who is in a consumer group, and which offsets it has committed.
//!
//! [`GroupCoordinator`] is a pure state machine for one partition of `__consumer_offsets`: it takes inputs and a
//! time, and returns replies to send and records to append. It sees no clock, no file, no socket and no wire type.
//! It lives on the shard that owns the partition.
//!
//! Invariants:
//! - each request token gets exactly one reply;
//! - a reply that depends on a record goes out only after that record is durable ([`Input::Appended`]);
//! - replaying the appended records gives the committed offsets and the groups that the live machine has.

mod api;
mod commit;
mod completion;
mod config;
mod effects;
mod group;
mod group_admin;
mod group_coordinator;
mod join;
mod leave;
mod member;
mod offset_cursor;
mod offset_expiration;
mod offset_store;
mod partitioner;
mod rebalance;
mod records;
mod removed_topics;
mod static_rejoin;
mod sync;
mod timers;

#[cfg(test)]
mod tests;

pub use api::{
    Action, AppendError, AppendToken, CommitPartition, CommitRequest, CommitResponse, CommitTopic,
    CommitTopicResult, DeleteResponse, DescribedGroup, DescribedMember, FetchOffsetsRequest,
    FetchOffsetsResponse, FetchTopic, FetchedOffset, FetchedTopic, GroupError, HeartbeatRequest, Input,
    JoinMember, JoinRequest, JoinResponse, LeaveRequest, LeaveResponse, LeaveResult, LeavingMember,
    ListRequest, ListedGroup, Now, OffsetDeleteRequest, OffsetDeleteResponse, PartitionResults, Protocol,
    Request, RequestToken, Response, SyncRequest, SyncResponse,
};
pub use config::GroupConfig;
pub use group_coordinator::GroupCoordinator;
pub use offset_cursor::OffsetCursor;
pub use partitioner::partition_for_group;
pub use records::LogRecord;
