//! Every request to the group coordinator, and its reply.

use super::administration::{DeleteResponse, DescribedGroup, ListRequest, ListedGroup};
use super::error::GroupError;
use super::membership::{
    HeartbeatRequest, JoinRequest, JoinResponse, LeaveRequest, LeaveResponse, SyncRequest, SyncResponse,
};
use super::offsets::{
    CommitRequest, CommitResponse, FetchOffsetsRequest, FetchOffsetsResponse, OffsetDeleteRequest,
    OffsetDeleteResponse,
};

/// A request to the coordinator.
#[derive(Debug, Clone)]
pub enum Request {
    /// JoinGroup.
    Join(JoinRequest),
    /// SyncGroup.
    Sync(SyncRequest),
    /// Heartbeat.
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup.
    Leave(LeaveRequest),
    /// OffsetCommit.
    Commit(CommitRequest),
    /// OffsetFetch of one group.
    FetchOffsets(FetchOffsetsRequest),
    /// DescribeGroups, the ids of this coordinator.
    Describe(Vec<String>),
    /// ListGroups.
    List(ListRequest),
    /// DeleteGroups, the ids of this coordinator.
    Delete(Vec<String>),
    /// OffsetDelete.
    OffsetDelete(OffsetDeleteRequest),
}

/// The reply to the [`Request`] of the same name.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// To JoinGroup.
    Join(JoinResponse),
    /// To SyncGroup.
    Sync(SyncResponse),
    /// To Heartbeat.
    Heartbeat(Option<GroupError>),
    /// To LeaveGroup.
    Leave(LeaveResponse),
    /// To OffsetCommit.
    Commit(CommitResponse),
    /// To OffsetFetch.
    FetchOffsets(FetchOffsetsResponse),
    /// To DescribeGroups, in the order asked.
    Describe(Vec<DescribedGroup>),
    /// To ListGroups.
    List(Result<Vec<ListedGroup>, GroupError>),
    /// To DeleteGroups, in the order asked.
    Delete(DeleteResponse),
    /// To OffsetDelete.
    OffsetDelete(OffsetDeleteResponse),
}

impl Request {
    /// The reply that refuses this request as a whole.
    #[must_use]
    pub fn refused(&self, error: GroupError) -> Response {
        match self {
            Self::Join(join) => JoinResponse::refused(&join.member_id, error),
            Self::Sync(_) => SyncResponse::refused(error),
            Self::Heartbeat(_) => Response::Heartbeat(Some(error)),
            Self::Leave(_) => Response::Leave(LeaveResponse { error: Some(error), members: Vec::new() }),
            Self::Commit(commit) => Response::Commit(commit.refused(error)),
            Self::FetchOffsets(_) => {
                Response::FetchOffsets(FetchOffsetsResponse { error: Some(error), topics: Vec::new() })
            }
            Self::Describe(ids) => {
                let refused = |id: &String| DescribedGroup::without_members(id, Some(error), "");
                Response::Describe(ids.iter().map(refused).collect())
            }
            Self::List(_) => Response::List(Err(error)),
            Self::Delete(ids) => Response::Delete(ids.iter().map(|id| (id.clone(), Some(error))).collect()),
            Self::OffsetDelete(_) => {
                Response::OffsetDelete(OffsetDeleteResponse { error: Some(error), topics: Vec::new() })
            }
        }
    }
}

macro_rules! response_of_kind {
    ($($name:ident: $kind:ident($type:ty) = $api:literal;)*) => {
        impl Response {
            $(
                #[doc = concat!("The reply to ", $api, ".")]
                ///
                /// # Panics
                /// If it answers something else, which a coordinator never does.
                pub fn $name(self) -> $type {
                    match self {
                        Self::$kind(response) => response,
                        other => panic!(concat!("a reply to ", $api, " expected, not {:?}"), other),
                    }
                }
            )*
        }
    };
}

response_of_kind! {
    into_join: Join(JoinResponse) = "JoinGroup";
    into_sync: Sync(SyncResponse) = "SyncGroup";
    into_heartbeat: Heartbeat(Option<GroupError>) = "Heartbeat";
    into_leave: Leave(LeaveResponse) = "LeaveGroup";
    into_commit: Commit(CommitResponse) = "OffsetCommit";
    into_fetch_offsets: FetchOffsets(FetchOffsetsResponse) = "OffsetFetch";
    into_describe: Describe(Vec<DescribedGroup>) = "DescribeGroups";
    into_list: List(Result<Vec<ListedGroup>, GroupError>) = "ListGroups";
    into_delete: Delete(DeleteResponse) = "DeleteGroups";
    into_offset_delete: OffsetDelete(OffsetDeleteResponse) = "OffsetDelete";
}

impl Response {
    /// Turns a success that was waiting for its records into the failure to write them.
    pub(in crate::coordination::groups) fn fail(self, error: GroupError) -> Self {
        match self {
            Self::Join(join) => JoinResponse::refused(&join.member_id, error),
            Self::Sync(_) => SyncResponse::refused(error),
            Self::Heartbeat(_) => Self::Heartbeat(Some(error)),
            Self::Leave(_) => Self::Leave(LeaveResponse { error: Some(error), members: Vec::new() }),
            Self::Commit(mut commit) => {
                let partitions = commit.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                partitions.for_each(|(_, result)| *result = Some(error));
                Self::Commit(commit)
            }
            Self::FetchOffsets(_) => {
                Self::FetchOffsets(FetchOffsetsResponse { error: Some(error), topics: Vec::new() })
            }
            Self::Describe(groups) => Self::Describe(groups),
            Self::List(_) => Self::List(Err(error)),
            Self::Delete(groups) => {
                Self::Delete(groups.into_iter().map(|(id, result)| (id, result.or(Some(error)))).collect())
            }
            Self::OffsetDelete(_) => {
                Self::OffsetDelete(OffsetDeleteResponse { error: Some(error), topics: Vec::new() })
            }
        }
    }
}
