//! AlterConfigs: replaces all settings of topics and brokers. What is not named goes back to its default; clients that
//! know IncrementalAlterConfigs use that.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::alter_configs::{AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse};
use runtime::Effects;

use super::config_changes::alter;
use super::named_twice::times_named;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::config::{AlterOp, Alteration};
use crate::metadata::decide::ConfigChange;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=2;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: AlterConfigsRequest<'_>,
) -> AlterConfigsResponse {
    let times = times_named(request.resources.iter().map(|asked| (asked.resource_type, asked.resource_name)));
    let mut responses = Vec::with_capacity(request.resources.len());
    for asked in request.resources.iter() {
        let named = (asked.resource_type, asked.resource_name);
        let set = asked.configs.iter().map(|config| Alteration {
            name: config.name.to_owned(),
            op: AlterOp::Set,
            value: config.value.map(str::to_owned),
        });
        let change = ConfigChange::Replace(set.collect());
        let error = alter(shard, named, times[&named], change, request.validate_only).await.err();
        responses.push(AlterConfigsResourceResponse {
            error_code: error.as_ref().map_or(0, |error| error.code.code()),
            error_message: error.map(|error| error.message),
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.to_owned(),
        });
    }
    AlterConfigsResponse { throttle_time_ms: 0, responses }
}
