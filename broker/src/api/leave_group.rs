//! LeaveGroup: members leave, or are removed by an administrator.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};
use runtime::Effects;

use super::groups::{ask, code_of};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::coordination::groups::{LeaveRequest, LeaveResult, LeavingMember, Request};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=5;

/// From this version on a request names several members.
const VERSION_BATCH: i16 = 3;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: LeaveGroupRequest<'_>,
) -> LeaveGroupResponse {
    let is_batch = context.api_version >= VERSION_BATCH;
    let members = if is_batch {
        let members = request.members.iter();
        members
            .map(|member| LeavingMember {
                member_id: member.member_id.to_owned(),
                group_instance_id: member.group_instance_id.map(str::to_owned),
                reason: member.reason.map(str::to_owned),
            })
            .collect()
    } else {
        vec![LeavingMember { member_id: request.member_id.to_owned(), ..LeavingMember::default() }]
    };
    let leave = LeaveRequest { group_id: request.group_id.to_owned(), members };
    let left = ask(shard, request.group_id, Request::Leave(leave)).await.into_leave();
    let result = |left: LeaveResult| MemberResponse {
        member_id: left.member_id,
        group_instance_id: left.group_instance_id,
        error_code: code_of(left.error),
    };
    if is_batch {
        LeaveGroupResponse {
            throttle_time_ms: 0,
            error_code: code_of(left.error),
            members: left.members.into_iter().map(result).collect(),
        }
    } else {
        let only = left.members.first().and_then(|member| member.error);
        LeaveGroupResponse { error_code: code_of(left.error.or(only)), ..LeaveGroupResponse::default() }
    }
}
