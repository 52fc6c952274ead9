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
use super::pace::Pace;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::config::{ConfigEntry, describe_broker, describe_broker_defaults, describe_topic};
use crate::metadata::ControllerError;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 1..=4;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: DescribeConfigsRequest<'_>,
) -> DescribeConfigsResponse {
    let mut results = Vec::with_capacity(request.resources.len());
    let mut pace = Pace::default();
    let mut room_bytes = shard.request_memory.building_bytes_max();
    for asked in request.resources.iter() {
        let mut result = DescribeConfigsResult {
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.to_owned(),
            ..DescribeConfigsResult::default()
        };
        let convert = |entry| converted(entry, request.include_synonyms, request.include_documentation);
        let described = if room_bytes > 0 { describe(shard, &asked, convert) } else { Err(too_many()) };
        match described {
            Ok(configs) => {
                room_bytes = room_bytes.saturating_sub(configs.iter().map(size_bytes).sum());
                result.configs = configs;
            }
            Err(error) => {
                result.error_code = error.code.code();
                result.error_message = Some(error.message);
            }
        }
        pace.worked(1 + result.configs.len()).await;
        results.push(result);
    }
    DescribeConfigsResponse { throttle_time_ms: 0, results }
}

/// What an answer within the memory for one has no room for.
fn too_many() -> ControllerError {
    ControllerError::new(
        ErrorCode::PolicyViolation,
        "Too many resources in one request: ask for fewer at a time.",
    )
}

/// About what a setting takes, as built and as encoded.
fn size_bytes(config: &DescribeConfigsResourceResult) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let synonyms = config.synonyms.iter().map(|synonym| 64 + synonym.name.len() + text(&synonym.value));
    256 + 2
        * (config.name.len() + text(&config.value) + text(&config.documentation) + synonyms.sum::<usize>())
}

fn describe<E: Effects>(
    shard: &ShardServices<E>,
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
        Resource::Loggers => return Ok(loggers::describe(&shard.loggers, keys)),
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
