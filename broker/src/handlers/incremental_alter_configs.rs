//! IncrementalAlterConfigs: changes single settings of topics and brokers (KIP-339).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use runtime::Effects;

use super::config_resources::{Resource, refused, resource};
use super::times_named;
use crate::config::{AlterOp, Alteration, BrokerScope, alter_broker, alter_topic};
use crate::metadata::ControllerError;
use crate::request::RequestContext;
use crate::shard::Shard;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=1;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<Shard<E>>,
    _context: &RequestContext,
    request: IncrementalAlterConfigsRequest<'_>,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    let name = |asked: &AlterConfigsResource<'_>| (asked.resource_type, asked.resource_name.to_owned());
    let times = times_named(request.resources.iter().map(|asked| name(&asked)));
    for asked in request.resources.iter() {
        let outcome = if times[&name(&asked)] > 1 {
            Err(ControllerError::new(ErrorCode::InvalidRequest, "Each resource must appear at most once."))
        } else {
            match alterations(&asked) {
                Ok(changes) => {
                    let change = Change::Incremental(changes);
                    alter(shard, asked.resource_type, asked.resource_name, change, request.validate_only).await
                }
                Err(error) => Err(error),
            }
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
    let convert = |config: net::protocol::incremental_alter_configs::AlterableConfig<'_>| {
        let op = AlterOp::from_wire(config.config_operation).ok_or_else(|| {
            let message = format!("Unknown operation {} on config {}", config.config_operation, config.name);
            ControllerError::new(ErrorCode::InvalidRequest, message)
        })?;
        Ok(Alteration { name: config.name.to_owned(), op, value: config.value.map(str::to_owned) })
    };
    asked.configs.iter().map(convert).collect()
}

/// How a resource's own settings change.
#[derive(Debug, Clone)]
pub enum Change {
    /// One by one.
    Incremental(Vec<Alteration>),
    /// All at once: what is not named goes back to its default (AlterConfigs).
    Replace(Vec<Alteration>),
}

impl Change {
    fn apply(
        &self,
        current: &BTreeMap<String, String>,
        alter: impl FnOnce(&BTreeMap<String, String>, &[Alteration]) -> Result<BTreeMap<String, String>, crate::config::ConfigError>,
    ) -> Result<BTreeMap<String, String>, ControllerError> {
        let result = match self {
            Self::Incremental(changes) => alter(current, changes),
            Self::Replace(changes) => alter(&BTreeMap::new(), changes),
        };
        result.map_err(|error| refused(&error))
    }
}

/// Changes the settings of one resource.
///
/// # Errors
/// What is wrong with the resource or the values.
pub async fn alter<E: Effects>(
    shard: &Rc<Shard<E>>,
    kind: i8,
    name: &str,
    change: Change,
    validate_only: bool,
) -> Result<(), ControllerError> {
    let resource = resource(kind, name, shard.identity.node_id)?;
    shard
        .call_controller(move |shard, controller| async move {
            let config = shard.config();
            let broker = |scope: BrokerScope| {
                let (config, change) = (&config, &change);
                move |current: &BTreeMap<String, String>| {
                    change.apply(current, |current, changes| alter_broker(config, scope, current, changes))
                }
            };
            let node = shard.identity.node_id;
            match resource {
                Resource::Topic(name) => {
                    let alter = |current: &BTreeMap<String, String>| {
                        change.apply(current, |current, changes| alter_topic(&config, current, changes))
                    };
                    controller.alter_topic_configs(&shard, &name, alter, validate_only).await
                }
                Resource::ThisBroker => {
                    let alter = broker(BrokerScope::ThisBroker);
                    controller.alter_broker_configs(&shard, Some(node), alter, validate_only).await
                }
                Resource::AllBrokers => {
                    let alter = broker(BrokerScope::AllBrokers);
                    controller.alter_broker_configs(&shard, None, alter, validate_only).await
                }
            }
        })
        .await
}
