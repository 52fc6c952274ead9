//! IncrementalAlterConfigs: changes single settings of topics and brokers (KIP-339).

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use runtime::Effects;

use super::config_changes::alter;
use super::named_twice::times_named;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::config::{AlterOp, Alteration};
use crate::metadata::ControllerError;
use crate::metadata::decide::ConfigChange;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=1;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: IncrementalAlterConfigsRequest<'_>,
) -> IncrementalAlterConfigsResponse {
    let times = times_named(request.resources.iter().map(|asked| (asked.resource_type, asked.resource_name)));
    let mut responses = Vec::with_capacity(request.resources.len());
    for asked in request.resources.iter() {
        let named = (asked.resource_type, asked.resource_name);
        let outcome = match alterations(&asked) {
            Ok(changes) => {
                alter(shard, named, times[&named], ConfigChange::Incremental(changes), request.validate_only)
                    .await
            }
            Err(error) => Err(error),
        };
        let error = outcome.err();
        responses.push(AlterConfigsResourceResponse {
            error_code: error.as_ref().map_or(0, |error| error.code.code()),
            error_message: error.map(|error| error.message),
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.to_owned(),
        });
    }
    IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses }
}

fn alterations(asked: &AlterConfigsResource<'_>) -> Result<Vec<Alteration>, ControllerError> {
    let convert = |config: AlterableConfig<'_>| {
        let op = AlterOp::from_wire(config.config_operation).ok_or_else(|| {
            let message = format!("Unknown operation {} on config {}", config.config_operation, config.name);
            ControllerError::new(ErrorCode::InvalidRequest, message)
        })?;
        Ok(Alteration { name: config.name.to_owned(), op, value: config.value.map(str::to_owned) })
    };
    asked.configs.iter().map(convert).collect()
}
