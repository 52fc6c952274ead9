//! FindCoordinator: which broker coordinates a group. On one node: this one.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use runtime::Effects;

use super::cluster::advertised;
use super::groups::ensure_group_topic;
use crate::metadata::ControllerError;
use crate::request::RequestContext;
use crate::shard::Shard;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=6;

/// From this version on a request asks for many keys.
const VERSION_BATCH: i16 = 4;

/// Up to this version requests may come from librdkafka, which asks for a coordinator again and again unless it lacks the right
/// to one; it shows the message, too. Later versions come from Java and franz-go, which end at any code that is not retriable,
/// and show the code only.
const VERSION_LIBRDKAFKA: i16 = 2;

/// The kinds of coordinators.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<Shard<E>>,
    context: &RequestContext,
    request: FindCoordinatorRequest<'_>,
) -> FindCoordinatorResponse {
    let (code, problem) = match availability(shard, context.api_version, request.key_type).await {
        Ok(()) => (ErrorCode::None, String::new()),
        Err(error) => (error.code, error.message),
    };
    let (node_id, (host, port)) = if code == ErrorCode::None {
        (shard.identity.node_id.0, advertised(shard, context))
    } else {
        (-1, (String::new(), -1))
    };
    let is_batch = context.api_version >= VERSION_BATCH;
    // As in Kafka, success has a message, too: in the old form its name, in the new one nothing.
    let has_name = code == ErrorCode::None && !is_batch;
    let error_message = Some(if has_name { code.name().to_owned() } else { problem });
    if !is_batch {
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

async fn availability<E: Effects>(
    shard: &Rc<Shard<E>>,
    version: i16,
    key_type: i8,
) -> Result<(), ControllerError> {
    match key_type {
        GROUP => ensure_group_topic(shard).await.map_err(|error| {
            tracing::error!(%error, "__consumer_offsets could not be created");
            ControllerError::new(ErrorCode::CoordinatorNotAvailable, error.message)
        }),
        TRANSACTION => {
            let code = if version <= VERSION_LIBRDKAFKA {
                ErrorCode::TransactionalIdAuthorizationFailed
            } else {
                ErrorCode::UnsupportedVersion
            };
            Err(ControllerError::new(code, "This version has no transactions."))
        }
        other => Err(ControllerError::new(
            ErrorCode::InvalidRequest,
            format!("There is no coordinator of key type {other}."),
        )),
    }
}
