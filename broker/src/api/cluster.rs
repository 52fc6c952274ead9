//! What several APIs say about the cluster.

use runtime::Effects;

use crate::api::request::RequestContext;
use crate::api::services::ShardServices;

/// The host and port under which this client should reach this broker: what `advertised.listeners` says for the listener
/// that it has connected to, or else the address that it has connected to.
#[must_use]
pub(super) fn advertised<E: Effects>(shard: &ShardServices<E>, context: &RequestContext) -> (String, i32) {
    match shard.config().advertised_for(&context.session.listener) {
        Some(listener) => (listener.host.clone(), i32::from(listener.port)),
        None => {
            // An IPv4 client of a dual-stack listener shows up as ::ffff:a.b.c.d.
            let address = context.session.local_addr.ip().to_canonical();
            (address.to_string(), i32::from(context.session.local_addr.port()))
        }
    }
}

/// Kafka's value for "authorized operations were not asked for".
pub(super) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// The operations on a topic that exist, as a bit field of `AclOperation` codes; without an authorizer all are allowed:
/// READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub(super) const TOPIC_OPERATIONS: i32 =
    (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 10) | (1 << 11);

/// The operations on the cluster: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
pub(super) const CLUSTER_OPERATIONS: i32 =
    (1 << 5) | (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12);
