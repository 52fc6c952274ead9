//! DescribeGroups: state and members of classic groups.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use runtime::Effects;

use super::cluster::OPERATIONS_NOT_ASKED;
use super::groups::{ask_about, explain, group_error_code, in_order_of};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::coordination::groups::{self, DescribedMember, GroupError, Request, Response};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=6;

/// Below this version a group that does not exist is described as dead, without an error (KIP-1043).
const VERSION_GROUP_NOT_FOUND: i16 = 6;

/// The operations on a group: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
const GROUP_OPERATIONS: i32 = (1 << 3) | (1 << 6) | (1 << 8) | (1 << 10) | (1 << 11);

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: DescribeGroupsRequest<'_>,
) -> DescribeGroupsResponse {
    let operations =
        if request.include_authorized_operations { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    let mut groups = Vec::with_capacity(request.groups.len());
    let mut room_bytes = shard.request_memory.building_bytes_max();
    let mut asked = request.groups.iter();
    while asked.len() > 0 && room_bytes > 0 {
        let piece = || asked.clone().take(GROUPS_AT_ONCE);
        let replies = ask_about(shard, piece(), Request::Describe).await;
        let found = replies.into_iter().flat_map(Response::into_describe);
        let found = found.map(|group| described(group, context.api_version, operations));
        let found = in_order_of(piece(), found.map(|group| (group.group_id.clone(), group)));
        room_bytes = room_bytes.saturating_sub(found.iter().map(size_bytes).sum());
        groups.extend(found);
        asked.by_ref().take(GROUPS_AT_ONCE).for_each(drop);
    }
    // A group may be large, and named often.
    groups.extend(asked.map(|group_id| {
        DescribedGroup {
            error_code: ErrorCode::PolicyViolation.code(),
            error_message: (context.api_version >= VERSION_GROUP_NOT_FOUND)
                .then(|| "Too many groups in one request: ask for fewer at a time.".to_owned()),
            group_id: group_id.to_owned(),
            authorized_operations: OPERATIONS_NOT_ASKED,
            ..DescribedGroup::default()
        }
    }));
    DescribeGroupsResponse { throttle_time_ms: 0, groups }
}

/// Groups that are looked up at the same time.
const GROUPS_AT_ONCE: usize = 8;

/// About what a group takes, as built and as encoded.
fn size_bytes(group: &DescribedGroup) -> usize {
    let member = |member: &DescribedGroupMember| {
        let strings = member.member_id.len() + member.client_id.len() + member.client_host.len();
        512 + 2 * strings + member.member_metadata.len() + member.member_assignment.len()
    };
    512 + group.members.iter().map(member).sum::<usize>()
}

fn described(group: groups::DescribedGroup, version: i16, operations: i32) -> DescribedGroup {
    let told =
        |error: &GroupError| version >= VERSION_GROUP_NOT_FOUND || *error != GroupError::GroupIdNotFound;
    let error = group.error.filter(told);
    let member = |member: DescribedMember| DescribedGroupMember {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    };
    DescribedGroup {
        error_code: error.map_or(ErrorCode::None, group_error_code).code(),
        error_message: error
            .map(|error| explain(error, &group.group_id))
            .filter(|_| version >= VERSION_GROUP_NOT_FOUND),
        group_state: group.state.to_owned(),
        protocol_type: group.protocol_type,
        protocol_data: group.protocol,
        members: group.members.into_iter().map(member).collect(),
        authorized_operations: if error.is_none() { operations } else { OPERATIONS_NOT_ASKED },
        group_id: group.group_id,
    }
}
