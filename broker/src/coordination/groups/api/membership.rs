//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup: who is in a group.

use bytes::Bytes;

use super::error::GroupError;
use super::request::Response;

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
    pub(in crate::coordination::groups) fn refused(member_id: &str, error: GroupError) -> Response {
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
    pub(in crate::coordination::groups) fn refused(error: GroupError) -> Response {
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
