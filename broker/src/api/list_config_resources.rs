//! ListConfigResources: what has settings of its own (KIP-1142).

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use runtime::Effects;

use crate::api::request::RequestContext;
use crate::api::services::ShardServices;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=1;

/// Before this version only client metrics were listed.
const VERSION_TYPES: i16 = 1;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// Answers one request.
#[expect(clippy::unused_async, reason = "handlers are called alike")]
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: ListConfigResourcesRequest<'_>,
) -> ListConfigResourcesResponse {
    let all = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    if request.resource_types.iter().any(|asked| !all.contains(&asked)) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return ListConfigResourcesResponse { error_code, ..ListConfigResourcesResponse::default() };
    }
    let is_asked = |kind: i8| match request.resource_types.is_empty() {
        true => context.api_version >= VERSION_TYPES || kind == CLIENT_METRICS,
        false => request.resource_types.iter().any(|asked| asked == kind),
    };
    let resource = |resource_type, resource_name| ConfigResource { resource_name, resource_type };
    let mut config_resources = Vec::new();
    for kind in [BROKER, BROKER_LOGGER].into_iter().filter(|kind| is_asked(*kind)) {
        config_resources.push(resource(kind, shard.identity.node_id.0.to_string()));
    }
    if is_asked(TOPIC) {
        let image = shard.image();
        config_resources.extend(image.topics().map(|topic| resource(TOPIC, topic.name.to_string())));
    }
    ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() }
}
