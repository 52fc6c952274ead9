//! InitProducerId: an identity for an idempotent producer.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use runtime::Effects;

use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::controller::Controller;
use crate::metadata::decide::AllocateProducerIds;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=5;

/// Answers one request. Transactional producers are refused: there is no transaction coordinator yet.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: InitProducerIdRequest<'_>,
) -> InitProducerIdResponse {
    let failed = |code: ErrorCode| InitProducerIdResponse {
        error_code: code.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return failed(ErrorCode::InvalidRequest);
    }
    if let Some(transactional_id) = request.transactional_id {
        let code = if transactional_id.is_empty() {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::UnsupportedVersion
        };
        return failed(code);
    }
    let next_block = async || {
        let take = |shard: Rc<ShardServices<E>>, controller: Rc<Controller<E>>| async move {
            controller.change(&shard, AllocateProducerIds, false, None).await
        };
        shard.call_controller(take).await
    };
    match shard.producer_ids.allocate(next_block).await {
        Ok(id) => InitProducerIdResponse { producer_id: id.0, producer_epoch: 0, ..Default::default() },
        Err(error) => {
            tracing::warn!(%error, "no producer id");
            failed(error.code)
        }
    }
}
