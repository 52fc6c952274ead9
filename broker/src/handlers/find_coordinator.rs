//! FindCoordinator: which broker coordinates a group. On one node: this one.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use runtime::Effects;

use super::cluster::advertised;
use super::groups::ensure_group_topic;
use crate::request::RequestContext;
use crate::shard::Shard;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=6;

/// From this version on a request asks for many keys.
const VERSION_BATCH: i16 = 4;

/// The kinds of coordinators.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<Shard<E>>,
    context: &RequestContext,
    request: FindCoordinatorRequest<'_>,
) -> FindCoordinatorResponse {
    let code = availability(shard, request.key_type).await;
    let (node_id, (host, port)) = if code == ErrorCode::None {
        (shard.identity.node_id.0, advertised(shard, context))
    } else {
        (-1, (String::new(), -1))
    };
    let error_message = (code != ErrorCode::None).then(|| code.name().to_owned());
    if context.api_version < VERSION_BATCH {
        return FindCoordinatorResponse {
            error_code: code.code(),
            error_message,
            node_id,
            host,
            port,
            ..FindCoordinatorResponse::default()
        };
    }
    let coordinator = |key: &str| Coordinator {
        key: key.to_owned(),
        node_id,
        host: host.clone(),
        port,
        error_code: code.code(),
        error_message: error_message.clone(),
    };
    FindCoordinatorResponse {
        coordinators: request.coordinator_keys.iter().map(coordinator).collect(),
        ..FindCoordinatorResponse::default()
    }
}

async fn availability<E: Effects>(shard: &Rc<Shard<E>>, key_type: i8) -> ErrorCode {
    match key_type {
        GROUP => match ensure_group_topic(shard).await {
            Ok(()) => ErrorCode::None,
            Err(error) => {
                tracing::error!(%error, "__consumer_offsets could not be created");
                ErrorCode::CoordinatorNotAvailable
            }
        },
        // A retriable code would keep the client asking for a coordinator that this version does not have.
        TRANSACTION => ErrorCode::UnsupportedVersion,
        _ => ErrorCode::InvalidRequest,
    }
}
