//! What goes into a [`super::GroupCoordinator`] and what comes out of it, by theme.

mod administration;
mod error;
mod membership;
mod notice;
mod offsets;
mod request;

pub use administration::{DeleteResponse, DescribedGroup, DescribedMember, ListRequest, ListedGroup};
pub use error::GroupError;
pub use membership::{
    HeartbeatRequest, JoinMember, JoinRequest, JoinResponse, LeaveRequest, LeaveResponse, LeaveResult,
    LeavingMember, Protocol, SyncRequest, SyncResponse,
};
pub use notice::{GroupNotice, RemovedTopics};
pub use offsets::{
    CommitPartition, CommitRequest, CommitResponse, CommitTopic, CommitTopicResult, FetchOffsetsRequest,
    FetchOffsetsResponse, FetchTopic, FetchedOffset, FetchedTopic, OffsetDeleteRequest, OffsetDeleteResponse,
    PartitionResults,
};
pub use request::{Request, Response};

use crate::coordination::runner;

/// Something that happened to the coordinator.
pub type Input = runner::Input<Request, GroupNotice>;

/// Something for the runner to do.
pub type Action = runner::Action<Response>;
