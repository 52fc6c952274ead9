//! ApiVersions: what this broker offers.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use runtime::Effects;

use crate::api::request::RequestContext;
use crate::api::services::ShardServices;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=5;

/// From this version on the client says what it runs (KIP-511).
const VERSION_SOFTWARE: i16 = 3;

/// From this version on the client may say which cluster and node it means to talk to (KIP-1242).
const VERSION_IDENTITY: i16 = 5;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: ApiVersionsRequest<'_>,
) -> ApiVersionsResponse {
    let refused = |code: ErrorCode| ApiVersionsResponse { error_code: code.code(), ..Default::default() };
    if context.api_version >= VERSION_SOFTWARE {
        let [name, version] = [request.client_software_name, request.client_software_version];
        if !(is_software_name(name) && is_software_name(version)) {
            return refused(ErrorCode::InvalidRequest);
        }
        context.session.note_software(name, version);
    }
    if context.api_version >= VERSION_IDENTITY {
        let other_cluster = request.cluster_id.is_some_and(|id| id != shard.identity.cluster_id);
        let other_node = request.node_id >= 0 && request.node_id != shard.identity.node_id.0;
        if other_cluster || other_node {
            return refused(ErrorCode::RebootstrapRequired);
        }
    }
    let api_keys = super::offered()
        .into_iter()
        .map(|(key, versions)| ApiVersion {
            api_key: key.code(),
            min_version: *versions.start(),
            max_version: *versions.end(),
        })
        .collect();
    ApiVersionsResponse { api_keys, finalized_features_epoch: 0, ..Default::default() }
}

/// Kafka's pattern for names and versions of client software: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    match name.as_bytes() {
        [] => false,
        [one] => one.is_ascii_alphanumeric(),
        [first, middle @ .., last] => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && middle.iter().all(|byte| inner(*byte))
        }
    }
}
