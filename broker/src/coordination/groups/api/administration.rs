//! DescribeGroups, ListGroups and DeleteGroups.

use bytes::Bytes;

use super::error::GroupError;

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

/// Each group and what is wrong with deleting it.
pub type DeleteResponse = Vec<(String, Option<GroupError>)>;

impl DescribedGroup {
    /// A group of which there is nothing more to say.
    pub(in crate::coordination::groups) fn without_members(
        id: &str,
        error: Option<GroupError>,
        state: &'static str,
    ) -> Self {
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
