//! SyncGroup: a member gets its assignment, the leader brings everyone's.

use std::ops::RangeInclusive;
use std::rc::Rc;

use bytes::Bytes;
use net::protocol::ErrorCode;
use net::protocol::sync_group::{SyncGroupRequest, SyncGroupResponse};
use runtime::Effects;

use super::groups::{ask, code_of};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::coordination::groups::{Request, SyncRequest};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=5;

/// From this version on members say which protocol they joined with (KIP-559).
const VERSION_PROTOCOL: i16 = 5;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: SyncGroupRequest<'_>,
) -> SyncGroupResponse {
    let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if context.api_version >= VERSION_PROTOCOL && !names_protocol {
        let error_code = ErrorCode::InconsistentGroupProtocol.code();
        return SyncGroupResponse { error_code, ..SyncGroupResponse::default() };
    }
    let sync = SyncRequest {
        group_id: request.group_id.to_owned(),
        generation_id: request.generation_id,
        member_id: request.member_id.to_owned(),
        group_instance_id: request.group_instance_id.map(str::to_owned),
        protocol_type: request.protocol_type.map(str::to_owned),
        protocol_name: request.protocol_name.map(str::to_owned),
        assignments: request
            .assignments
            .iter()
            .map(|assigned| (assigned.member_id.to_owned(), Bytes::copy_from_slice(assigned.assignment)))
            .collect(),
    };
    let synced = ask(shard, request.group_id, Request::Sync(sync)).await.into_sync();
    SyncGroupResponse {
        throttle_time_ms: 0,
        error_code: code_of(synced.error),
        protocol_type: synced.protocol_type,
        protocol_name: synced.protocol_name,
        assignment: synced.assignment,
    }
}
