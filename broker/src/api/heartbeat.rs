//! Heartbeat: a member of a classic group is alive, and learns of rebalances.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use runtime::Effects;

use super::groups::{ask, code_of};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::coordination::groups::{self, Request};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=4;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: HeartbeatRequest<'_>,
) -> HeartbeatResponse {
    let heartbeat = groups::HeartbeatRequest {
        group_id: request.group_id.to_owned(),
        generation_id: request.generation_id,
        member_id: request.member_id.to_owned(),
        group_instance_id: request.group_instance_id.map(str::to_owned),
    };
    let error = ask(shard, request.group_id, Request::Heartbeat(heartbeat)).await.into_heartbeat();
    HeartbeatResponse { throttle_time_ms: 0, error_code: code_of(error) }
}
