//! CreateTopics: new topics, each on its own merits.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use runtime::Effects;

use super::named_twice::times_named;
use super::pace::Pace;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::config::describe_topic;
use crate::metadata::{ControllerError, CreatedTopic, MetadataImage, NewTopic, TopicAssignment, is_reserved};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 2..=7;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: CreateTopicsRequest<'_>,
) -> CreateTopicsResponse {
    let image = shard.image();
    let names = times_named(request.topics.iter().map(|topic| topic.name));
    let asked: BTreeMap<&str, _> = request.topics.iter().map(|topic| (topic.name, topic)).collect();
    let mut planned = Vec::with_capacity(names.len());
    let mut pace = Pace::default();
    for (topic, count) in asked.values().zip(names.values()) {
        pace.worked(1 + topic.assignments.len() + topic.configs.len()).await;
        planned.push(match count {
            1 => new_topic(&image, topic),
            _ => Err(refused(ErrorCode::InvalidRequest, "Duplicate topic name.")),
        });
    }
    let wanted: Vec<NewTopic> = planned.iter().flatten().cloned().collect();
    let wanted_count = wanted.len();
    let validate_only = request.validate_only;
    let outcomes = shard
        .call_controller_within(request.timeout_ms, move |shard, controller, deadline| async move {
            controller.create_topics(&shard, wanted, validate_only, Some(deadline)).await
        })
        .await;
    let timed_out = || vec![Err(ControllerError::timed_out()); wanted_count];
    let mut outcomes = outcomes.unwrap_or_else(timed_out).into_iter();
    let mut topics = Vec::with_capacity(names.len());
    for (name, planned) in names.keys().zip(planned) {
        let outcome = planned.and_then(|topic| {
            let created = outcomes.next().expect("one outcome for each topic that was passed on")?;
            Ok((topic, created))
        });
        let with_configs = topics.len() < CONFIGS_TOLD_MAX;
        topics.push(result(shard, name, outcome, with_configs));
        pace.worked(if with_configs { CONFIGS_WORK } else { 1 }).await;
    }
    CreateTopicsResponse { throttle_time_ms: 0, topics }
}

/// The settings of so many new topics are told; those of more can be asked for.
const CONFIGS_TOLD_MAX: usize = 1_000;

/// To resolve all settings of a topic is so much [`Pace`].
const CONFIGS_WORK: usize = 40;

fn refused(code: ErrorCode, message: impl Into<String>) -> ControllerError {
    ControllerError::new(code, message)
}

fn new_topic(image: &MetadataImage, topic: &CreatableTopic<'_>) -> Result<NewTopic, ControllerError> {
    if is_reserved(topic.name) {
        if image.topic(topic.name).is_some() {
            let message = format!("Topic '{}' already exists.", topic.name);
            return Err(refused(ErrorCode::TopicAlreadyExists, message));
        }
        let message = format!("Topic '{}' is internal; the broker creates it when it is needed.", topic.name);
        return Err(refused(ErrorCode::InvalidRequest, message));
    }
    let manual = !topic.assignments.is_empty();
    if manual && (topic.num_partitions != -1 || topic.replication_factor != -1) {
        return Err(refused(
            ErrorCode::InvalidRequest,
            "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be used at the same time.",
        ));
    }
    let assignment = if manual {
        let mut assignments = BTreeMap::new();
        for one in topic.assignments.iter() {
            if assignments.insert(one.partition_index, one.broker_ids.iter().collect()).is_some() {
                let index = one.partition_index;
                let message = format!("Found multiple manual partition assignments for partition {index}");
                return Err(refused(ErrorCode::InvalidReplicaAssignment, message));
            }
        }
        TopicAssignment::Manual(assignments)
    } else {
        TopicAssignment::Count {
            partitions: topic.num_partitions,
            replication_factor: topic.replication_factor,
        }
    };
    let configs = topic.configs.iter();
    Ok(NewTopic {
        name: topic.name.to_owned(),
        assignment,
        configs: configs.map(|config| (config.name.to_owned(), config.value.map(str::to_owned))).collect(),
    })
}

fn result<E: Effects>(
    shard: &ShardServices<E>,
    name: &str,
    outcome: Result<(NewTopic, CreatedTopic), ControllerError>,
    with_configs: bool,
) -> CreatableTopicResult {
    match outcome {
        Ok((topic, created)) => CreatableTopicResult {
            name: name.to_owned(),
            topic_id: created.id,
            num_partitions: i32::try_from(created.partitions).unwrap_or(i32::MAX),
            replication_factor: created.replication_factor,
            configs: with_configs.then(|| configs(shard, topic)),
            ..CreatableTopicResult::default()
        },
        Err(error) => CreatableTopicResult {
            name: name.to_owned(),
            error_code: error.code.code(),
            error_message: error.into_message(),
            num_partitions: -1,
            replication_factor: -1,
            configs: None,
            ..CreatableTopicResult::default()
        },
    }
}

fn configs<E: Effects>(shard: &ShardServices<E>, topic: NewTopic) -> Vec<CreatableTopicConfigs> {
    let own = topic.configs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let described = describe_topic(&shard.config(), &own, None);
    described
        .into_iter()
        .map(|entry| CreatableTopicConfigs {
            name: entry.name.to_owned(),
            value: entry.value,
            read_only: entry.read_only,
            config_source: entry.source.wire_id(),
            is_sensitive: entry.sensitive,
        })
        .collect()
}
