//! The group coordinator: who is in a consumer group, and which offsets it has committed.
//!
//! [`GroupCoordinator`] is the [`CoordinatorMachine`](super::runner::CoordinatorMachine) for one partition of
//! `__consumer_offsets`. It lives on the shard that leads the partition.
//!
//! Invariant:
//! - replaying the appended records gives the committed offsets and the groups that the live machine has.

mod api;
mod commit;
mod completion;
mod config;
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
mod step_context;
mod sync;
mod timers;

#[cfg(test)]
mod tests;

pub use api::{
    Action, CommitPartition, CommitRequest, CommitResponse, CommitTopic, CommitTopicResult, DeleteResponse,
    DescribedGroup, DescribedMember, FetchOffsetsRequest, FetchOffsetsResponse, FetchTopic, FetchedOffset,
    FetchedTopic, GroupError, GroupNotice, HeartbeatRequest, Input, JoinMember, JoinRequest, JoinResponse,
    LeaveRequest, LeaveResponse, LeaveResult, LeavingMember, ListRequest, ListedGroup, OffsetDeleteRequest,
    OffsetDeleteResponse, PartitionResults, Protocol, RemovedTopics, Request, Response, SyncRequest,
    SyncResponse,
};
pub use config::GroupConfig;
pub use group_coordinator::GroupCoordinator;
pub use partitioner::partition_for_group;
