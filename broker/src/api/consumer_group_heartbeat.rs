//! ConsumerGroupHeartbeat: the groups of KIP-848, which this version does not have. It is offered all the same, as by an Apache
//! Kafka that has them switched off: a client that finds the API missing may look for another coordinator for ever (librdkafka
//! does), while this answer ends it at once.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use runtime::Effects;

use crate::api::request::RequestContext;
use crate::api::services::ShardServices;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=1;

/// Answers one request.
#[expect(clippy::unused_async, reason = "as all handlers")]
pub async fn handle<E: Effects>(
    _shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    _request: ConsumerGroupHeartbeatRequest<'_>,
) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        error_message: Some("This version has classic groups only: use group.protocol=classic.".to_owned()),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}
