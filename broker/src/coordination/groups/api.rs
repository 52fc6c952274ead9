//! What goes into a [`super::GroupCoordinator`] and what comes out of it.

use bytes::Bytes;
use model::Uuid;

use super::records::LogRecord;

/// Names a request; its reply carries the same token. Chosen by the shell, unique while a reply is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestToken(pub u64);

/// Names a group of records to append; rises by one with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppendToken(pub u64);

/// The two times of a step: timeouts run on the monotonic one, timestamps in records are wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds on a clock that never jumps.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

/// Something that happened to the coordinator.
#[derive(Debug, Clone)]
pub enum Input {
    /// A client asks for something.
    Request {
        /// Where the reply belongs.
        token: RequestToken,
        /// What is asked.
        request: Request,
    },
    /// Time passed: the deadline of [`super::GroupCoordinator::next_deadline`] may be over.
    Tick,
    /// Records are durable (the high watermark passed them), or never will be. Successes come in append order.
    Appended {
        /// Which records.
        token: AppendToken,
        /// How it went.
        result: Result<(), AppendError>,
    },
    /// A topic is gone; offsets committed for it are forgotten, but not those of a new one of its name.
    TopicDeleted {
        /// Its name.
        topic: String,
        /// Its id.
        topic_id: Uuid,
    },
    /// All records of the log were replayed: requests are served from now on.
    LoadDone,
    /// The partition is led elsewhere from now on: everyone who waits is sent away.
    Resign,
}

/// Something for the shell to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Answers a request.
    Reply {
        /// Which request.
        token: RequestToken,
        /// The answer.
        response: Response,
    },
    /// Appends records to the log as one batch, then reports with [`Input::Appended`].
    Append {
        /// Which records.
        token: AppendToken,
        /// In log order.
        records: Vec<LogRecord>,
    },
}

/// Why records could not be made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// Not now: too few replicas, no space, a timeout.
    Unavailable,
    /// This broker does not lead the partition any more, or its disk failed.
    NotLeader,
    /// The records exceed the largest batch of the topic.
    TooLarge,
}

/// Kafka's group errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupError {
    /// The group is led elsewhere.
    NotCoordinator,
    /// Try again later.
    CoordinatorNotAvailable,
    /// The log is still being replayed.
    CoordinatorLoadInProgress,
    /// An empty group id where one is needed.
    InvalidGroupId,
    /// The session timeout is outside the configured bounds.
    InvalidSessionTimeout,
    /// No room for another member.
    GroupMaxSizeReached,
    /// The member speaks none of the group's protocols.
    InconsistentGroupProtocol,
    /// No such member.
    UnknownMemberId,
    /// Join again with the member id of the reply (KIP-394).
    MemberIdRequired,
    /// Another process took over this static member (KIP-345).
    FencedInstanceId,
    /// The generation is not the current one.
    IllegalGeneration,
    /// The group rebalances: join again.
    RebalanceInProgress,
    /// The commit's metadata is longer than allowed.
    OffsetMetadataTooLarge,
    /// No such group.
    GroupIdNotFound,
    /// The group still has members.
    NonEmptyGroup,
    /// Members of the group consume the topic.
    GroupSubscribedToTopic,
    /// None of the above.
    UnknownServerError,
}

impl From<AppendError> for GroupError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Unavailable => Self::CoordinatorNotAvailable,
            AppendError::NotLeader => Self::NotCoordinator,
            AppendError::TooLarge => Self::UnknownServerError,
        }
    }
}

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

/// A partition protocol that a member speaks, and what it says in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// Such as `range`.
    pub name: String,
    /// Opaque to the coordinator, except for the topics in a consumer's subscription.
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Debug, Clone, Default)]
pub struct JoinRequest {
    /// The group.
    pub group_id: String,
    /// Empty for a member that has no id yet.
    pub member_id: String,
    /// The static member (KIP-345).
    pub group_instance_id: Option<String>,
    /// From the request header.
    pub client_id: String,
    /// The peer's address, as Kafka prints it: `/127.0.0.1`.
    pub client_host: String,
    /// Such as `consumer` or `connect`.
    pub protocol_type: String,
    /// In order of preference.
    pub protocols: Vec<Protocol>,
    /// How long the member may be silent.
    pub session_timeout_ms: i32,
    /// How long the member may take to join again; version 0 means the session timeout.
    pub rebalance_timeout_ms: i32,
    /// Versions 4 and up: a member without an id gets one first and joins again (KIP-394).
    pub requires_known_member_id: bool,
    /// Versions 9 and up: a static leader may be told to keep the assignment (KIP-814).
    pub supports_skip_assignment: bool,
    /// Why the member joins, for the log.
    pub reason: Option<String>,
    /// Random bits for a new member's id.
    pub random: [u8; 16],
}

/// The reply to JoinGroup.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinResponse {
    /// What is wrong.
    pub error: Option<GroupError>,
    /// The generation joined, -1 if none.
    pub generation_id: i32,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The protocol that all members speak.
    pub protocol_name: Option<String>,
    /// The member that computes the assignment, empty if none.
    pub leader: String,
    /// Whether the leader keeps the present assignment.
    pub skip_assignment: bool,
    /// The member's id.
    pub member_id: String,
    /// All members, told to the leader only.
    pub members: Vec<JoinMember>,
}

impl JoinResponse {
    /// A refusal.
    pub(super) fn refused(member_id: &str, error: GroupError) -> Response {
        Response::Join(Self {
            error: Some(error),
            generation_id: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: Vec::new(),
        })
    }
}

/// A member as its group's leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinMember {
    /// Its id.
    pub member_id: String,
    /// Its static identity.
    pub group_instance_id: Option<String>,
    /// What it says in the chosen protocol.
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Debug, Clone, Default)]
pub struct SyncRequest {
    /// The group.
    pub group_id: String,
    /// The generation joined.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// The static member.
    pub group_instance_id: Option<String>,
    /// Must match the group's, if given.
    pub protocol_type: Option<String>,
    /// Must match the group's, if given.
    pub protocol_name: Option<String>,
    /// From the leader: each member's assignment.
    pub assignments: Vec<(String, Bytes)>,
}

/// The reply to SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncResponse {
    /// What is wrong.
    pub error: Option<GroupError>,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The group's protocol.
    pub protocol_name: Option<String>,
    /// The member's assignment.
    pub assignment: Bytes,
}

impl SyncResponse {
    /// A refusal.
    pub(super) fn refused(error: GroupError) -> Response {
        Response::Sync(Self { error: Some(error), ..Self::default() })
    }
}

/// Heartbeat.
#[derive(Debug, Clone, Default)]
pub struct HeartbeatRequest {
    /// The group.
    pub group_id: String,
    /// The generation joined.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// The static member.
    pub group_instance_id: Option<String>,
}

/// LeaveGroup.
#[derive(Debug, Clone, Default)]
pub struct LeaveRequest {
    /// The group.
    pub group_id: String,
    /// Who leaves; exactly one before version 3.
    pub members: Vec<LeavingMember>,
}

/// A member that leaves, or is sent away by an administrator (by instance id only).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeavingMember {
    /// Empty when an administrator names the static member only.
    pub member_id: String,
    /// The static member.
    pub group_instance_id: Option<String>,
    /// Why, for the log.
    pub reason: Option<String>,
}

/// The reply to LeaveGroup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaveResponse {
    /// What is wrong with the whole request.
    pub error: Option<GroupError>,
    /// One for each member asked.
    pub members: Vec<LeaveResult>,
}

/// How one member left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveResult {
    /// As asked.
    pub member_id: String,
    /// As asked.
    pub group_instance_id: Option<String>,
    /// What is wrong.
    pub error: Option<GroupError>,
}

/// OffsetCommit.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// The group; may be empty.
    pub group_id: String,
    /// -1 for a consumer that does not use membership.
    pub generation_id: i32,
    /// Empty for a consumer that does not use membership.
    pub member_id: String,
    /// The static member.
    pub group_instance_id: Option<String>,
    /// How long to keep the offsets; versions 2 to 4 only.
    pub retention_time_ms: Option<i64>,
    /// Versions 9 and up say GROUP_ID_NOT_FOUND where older ones say ILLEGAL_GENERATION.
    pub group_not_found_known: bool,
    /// What to commit; topics that do not exist were taken out before.
    pub topics: Vec<CommitTopic>,
}

/// Offsets of one topic to commit.
#[derive(Debug, Clone, Default)]
pub struct CommitTopic {
    /// Its name.
    pub name: String,
    /// Its id, zero if unknown.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// The offset of one partition to commit.
#[derive(Debug, Clone, Default)]
pub struct CommitPartition {
    /// The partition.
    pub partition: i32,
    /// The next record to consume.
    pub offset: i64,
    /// Leader epoch of the last consumed record, -1 if unknown.
    pub leader_epoch: i32,
    /// The client's own note.
    pub metadata: Option<String>,
}

/// The reply to OffsetCommit, in the order asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CommitResponse {
    /// One for each topic.
    pub topics: Vec<CommitTopicResult>,
}

/// How the commits of one topic went.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitTopicResult {
    /// Its name.
    pub name: String,
    /// Its id as asked.
    pub topic_id: Uuid,
    /// Each partition and what is wrong with it.
    pub partitions: PartitionResults,
}

/// OffsetFetch of one group.
#[derive(Debug, Clone, Default)]
pub struct FetchOffsetsRequest {
    /// The group; may be empty.
    pub group_id: String,
    /// Wait for commits that are under way.
    pub require_stable: bool,
    /// `None` asks for everything.
    pub topics: Option<Vec<FetchTopic>>,
}

/// Partitions of one topic whose offsets are asked.
#[derive(Debug, Clone, Default)]
pub struct FetchTopic {
    /// Its name.
    pub name: String,
    /// Its id: offsets that were committed in another topic of the name do not count. Zero if it is not known.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// The reply to OffsetFetch of one group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FetchOffsetsResponse {
    /// What is wrong with the whole group.
    pub error: Option<GroupError>,
    /// In the order asked. When everything was asked, each topic once for each id under which offsets were committed.
    pub topics: Vec<FetchedTopic>,
}

/// Committed offsets of one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedTopic {
    /// Its name.
    pub name: String,
    /// The id asked, or the id under which the offsets were committed.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<FetchedOffset>,
}

/// The committed offset of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The partition.
    pub partition: i32,
    /// -1 if none is committed.
    pub offset: i64,
    /// -1 if unknown.
    pub leader_epoch: i32,
    /// The client's own note.
    pub metadata: String,
}

/// A group as DescribeGroups tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedGroup {
    /// As asked.
    pub group_id: String,
    /// What is wrong.
    pub error: Option<GroupError>,
    /// Kafka's name of the state; `Dead` for a group that does not exist.
    pub state: &'static str,
    /// Empty if none.
    pub protocol_type: String,
    /// Empty unless stable.
    pub protocol: String,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: String,
    /// Its static identity.
    pub group_instance_id: Option<String>,
    /// From its request header.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// What it says in the group's protocol; empty unless stable.
    pub metadata: Bytes,
    /// What it was assigned.
    pub assignment: Bytes,
}

/// ListGroups.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// Names of states in any case; empty for all.
    pub states: Vec<String>,
    /// Names of group types in any case; empty for all.
    pub types: Vec<String>,
}

/// A group as ListGroups tells it. The type of all of them is `classic`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its id.
    pub group_id: String,
    /// Empty if none.
    pub protocol_type: String,
    /// Kafka's name of the state.
    pub state: &'static str,
}

/// Each partition and what is wrong with it.
pub type PartitionResults = Vec<(i32, Option<GroupError>)>;

/// Each group and what is wrong with deleting it.
pub type DeleteResponse = Vec<(String, Option<GroupError>)>;

/// OffsetDelete.
#[derive(Debug, Clone, Default)]
pub struct OffsetDeleteRequest {
    /// The group.
    pub group_id: String,
    /// Topics and partitions; topics that do not exist were taken out before.
    pub topics: Vec<(String, Vec<i32>)>,
}

/// The reply to OffsetDelete.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OffsetDeleteResponse {
    /// What is wrong with the whole request.
    pub error: Option<GroupError>,
    /// Each partition and what is wrong with it.
    pub topics: Vec<(String, PartitionResults)>,
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
    pub(super) fn fail(self, error: GroupError) -> Self {
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

impl CommitRequest {
    /// The reply that refuses every partition.
    pub(super) fn refused(&self, error: GroupError) -> CommitResponse {
        let refuse = |topic: &CommitTopic| CommitTopicResult {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(|p| (p.partition, Some(error))).collect(),
        };
        CommitResponse { topics: self.topics.iter().map(refuse).collect() }
    }
}

impl DescribedGroup {
    /// A group of which there is nothing more to say.
    pub(super) fn without_members(id: &str, error: Option<GroupError>, state: &'static str) -> Self {
        Self {
            group_id: id.to_owned(),
            error,
            state,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }
}
