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
use crate::coordinator::{self, DescribedMember, GroupError, Request, Response};
use crate::request::RequestContext;
use crate::shard::Shard;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=6;

/// Below this version a group that does not exist is described as dead, without an error (KIP-1043).
const VERSION_GROUP_NOT_FOUND: i16 = 6;

/// The operations on a group: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
const GROUP_OPERATIONS: i32 = (1 << 3) | (1 << 6) | (1 << 8) | (1 << 10) | (1 << 11);

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<Shard<E>>,
    context: &RequestContext,
    request: DescribeGroupsRequest<'_>,
) -> DescribeGroupsResponse {
    let replies = ask_about(shard, request.groups.iter(), Request::Describe).await;
    let operations =
        if request.include_authorized_operations { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    let groups = replies.into_iter().flat_map(Response::into_describe);
    let groups = groups.map(|group| described(group, context.api_version, operations));
    let groups = in_order_of(request.groups.iter(), groups.map(|group| (group.group_id.clone(), group)));
    DescribeGroupsResponse { throttle_time_ms: 0, groups }
}

fn described(group: coordinator::DescribedGroup, version: i16, operations: i32) -> DescribedGroup {
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
