//! DescribeConfigs: the settings of topics and brokers, and where they come from.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use runtime::Effects;

use super::config_resources::{Resource, resource};
use super::loggers;
use crate::config::{ConfigEntry, describe_broker, describe_broker_defaults, describe_topic};
use crate::metadata::ControllerError;
use crate::request::RequestContext;
use crate::shard::Shard;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 1..=4;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<Shard<E>>,
    _context: &RequestContext,
    request: DescribeConfigsRequest<'_>,
) -> DescribeConfigsResponse {
    let results = request
        .resources
        .iter()
        .map(|asked| {
            let mut result = DescribeConfigsResult {
                resource_type: asked.resource_type,
                resource_name: asked.resource_name.to_owned(),
                ..DescribeConfigsResult::default()
            };
            let convert =
                |entry| converted(entry, request.include_synonyms, request.include_documentation);
            match describe(shard, &asked, convert) {
                Ok(configs) => result.configs = configs,
                Err(error) => {
                    result.error_code = error.code.code();
                    result.error_message = Some(error.message);
                }
            }
            result
        })
        .collect();
    DescribeConfigsResponse { throttle_time_ms: 0, results }
}

fn describe<E: Effects>(
    shard: &Shard<E>,
    asked: &DescribeConfigsResource<'_>,
    convert: impl FnMut(ConfigEntry) -> DescribeConfigsResourceResult,
) -> Result<Vec<DescribeConfigsResourceResult>, ControllerError> {
    let keys: Option<Vec<&str>> = asked.configuration_keys.map(|keys| keys.iter().collect());
    let keys = keys.as_deref();
    let image = shard.image();
    let config = shard.config();
    let entries = match resource(asked.resource_type, asked.resource_name, shard.identity.node_id)? {
        Resource::Topic(name) => match image.topic(&name) {
            Some(topic) => describe_topic(&config, &topic.configs, keys),
            None => {
                let message = format!("The topic '{name}' does not exist.");
                return Err(ControllerError::new(ErrorCode::UnknownTopicOrPartition, message));
            }
        },
        Resource::ThisBroker => describe_broker(&config, keys),
        Resource::AllBrokers => describe_broker_defaults(&image.broker_configs(None), keys),
        Resource::Loggers => return Ok(loggers::describe(&shard.identity.loggers, keys)),
        Resource::Unconfigured => Vec::new(),
    };
    Ok(entries.into_iter().map(convert).collect())
}

fn converted(entry: ConfigEntry, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
    let synonym = |synonym: crate::config::ConfigSynonym| DescribeConfigsSynonym {
        name: synonym.name.to_owned(),
        value: synonym.value,
        source: synonym.source.wire_id(),
    };
    DescribeConfigsResourceResult {
        name: entry.name.to_owned(),
        value: entry.value,
        read_only: entry.read_only,
        config_source: entry.source.wire_id(),
        is_sensitive: entry.sensitive,
        synonyms: if synonyms { entry.synonyms.into_iter().map(synonym).collect() } else { Vec::new() },
        config_type: entry.value_type.wire_id(),
        documentation: documentation.then_some(entry.documentation),
    }
}
