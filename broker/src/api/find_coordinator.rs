//! FindCoordinator: which broker coordinates a group. On one node: this one.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use runtime::Effects;

use super::cluster::advertised;
use super::groups::{ensure_group_topic, locate};
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::coordination::directory::GROUP_TOPIC;
use crate::metadata::ControllerError;

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
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: FindCoordinatorRequest<'_>,
) -> FindCoordinatorResponse {
    let there_is_one = availability(shard, context.api_version, request.key_type).await;
    let is_batch = context.api_version >= VERSION_BATCH;
    let (here_host, here_port) = advertised(shard, context);
    let find = |key: &str| {
        let found = there_is_one.clone().and_then(|()| check_led(shard, request.key_type, key));
        let (code, problem) = match found {
            Ok(()) => (ErrorCode::None, String::new()),
            Err(error) => (error.code, error.message),
        };
        let is_found = code == ErrorCode::None;
        // As in Kafka, success has a message, too: in the old form its name, in the new one nothing.
        let message = if is_found && !is_batch { code.name().to_owned() } else { problem };
        Coordinator {
            key: key.to_owned(),
            node_id: if is_found { shard.identity.node_id.0 } else { -1 },
            host: if is_found { here_host.clone() } else { String::new() },
            port: if is_found { here_port } else { -1 },
            error_code: code.code(),
            error_message: Some(message),
        }
    };
    if !is_batch {
        let found = find(request.key);
        return FindCoordinatorResponse {
            error_code: found.error_code,
            error_message: found.error_message,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..FindCoordinatorResponse::default()
        };
    }
    FindCoordinatorResponse {
        coordinators: request.coordinator_keys.iter().map(find).collect(),
        ..FindCoordinatorResponse::default()
    }
}

/// Refuses groups whose partition is offline or led by nobody here, as Kafka does: clients wait for it, and can tell why.
fn check_led<E: Effects>(shard: &ShardServices<E>, key_type: i8, key: &str) -> Result<(), ControllerError> {
    let located = if key_type == GROUP { locate(shard, key) } else { None };
    let Some((topic_id, id)) = located else { return Ok(()) };
    let refuse = |message| Err(ControllerError::new(ErrorCode::CoordinatorNotAvailable, message));
    if let Some(offline) = shard.replicas.offline().find(topic_id, id) {
        return refuse(format!("{} is offline: {}", offline.name, offline.reason));
    }
    let image = shard.image();
    match image.topic_by_id(topic_id).and_then(|topic| topic.partition(id)) {
        Some(partition) if partition.leader != shard.identity.node_id => {
            refuse(format!("Partition {id} of {GROUP_TOPIC} is led by no broker that can be reached."))
        }
        _ => Ok(()),
    }
}

async fn availability<E: Effects>(
    shard: &Rc<ShardServices<E>>,
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
