//! Metadata: the brokers and where partitions live; creates missing topics if that is switched on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

use net::protocol::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use net::protocol::{Array, ErrorCode, encode_response};
use runtime::Effects;

use super::cluster::{CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS, advertised};
use super::metadata_answers::{AnswerSource, AnswerVariant};
use super::pace::Pace;
use super::partition_state::PartitionState;
use super::reply::Reply;
use crate::api::request::{CloseReason, RequestContext};
use crate::api::services::ShardServices;
use crate::metadata::{
    MetadataImage, NewTopic, TopicAssignment, TopicImage, is_internal, is_reserved, validate_topic_name,
};

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=13;

/// From this version on an empty list of topics means none, and a null one all.
const VERSION_NULLABLE: i16 = 1;

/// Below this version the broker always may create topics.
const VERSION_AUTO_CREATE: i16 = 4;

/// From this version on topics may be named by id. The two before have the field, but cannot answer a null name.
const VERSION_TOPIC_IDS: i16 = 12;

/// One request creates so many topics. A client that wants more asks again, as it does until they are there.
const CREATED_MAX: usize = 1_000;

/// Answers one request.
///
/// # Errors
/// The answer cannot be expressed in the request's version.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: MetadataRequest<'_>,
) -> Result<Reply<E>, CloseReason> {
    let asked = match request.topics {
        Some(topics) if context.api_version >= VERSION_NULLABLE || !topics.is_empty() => topics,
        _ => return all_topics(shard, context, &request).await,
    };
    if context.api_version < VERSION_TOPIC_IDS
        && asked.iter().any(|topic| topic.name.is_none() || !topic.topic_id.is_zero())
    {
        return Reply::encode(context, &refused(&asked));
    }
    let may_create = context.api_version < VERSION_AUTO_CREATE || request.allow_auto_topic_creation;
    let missing: Vec<String> = {
        let image = shard.image();
        let names = asked.iter().filter(|topic| topic.topic_id.is_zero()).filter_map(|topic| topic.name);
        names.filter(|name| image.topic(name).is_none()).map(str::to_owned).collect()
    };
    let mut refused_names = BTreeMap::new();
    if !missing.is_empty() && may_create && shard.config().auto_create_topics() {
        refused_names = create_missing(shard, missing).await;
    }
    let image = shard.image();
    let operations = request.include_topic_authorized_operations;
    let (mut named, mut topics, mut pace) = (BTreeSet::new(), Vec::new(), Pace::default());
    for topic in asked.iter().filter(|topic| named.insert((topic.topic_id, topic.name))) {
        let topic = describe_asked(shard, &image, topic, &refused_names, operations);
        pace.worked(1 + topic.partitions.len()).await;
        topics.push(topic);
    }
    let variant = variant(shard, context, &request);
    Reply::encode(context, &response(shard, &variant, topics))
}

/// Answers with all topics, as they were described before if nothing has changed.
async fn all_topics<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: &MetadataRequest<'_>,
) -> Result<Reply<E>, CloseReason> {
    let source = || AnswerSource {
        image: shard.image(),
        offline_changes: shard.replicas.offline().changes(),
        is_read_only: shard.logs.dir().is_failed(),
    };
    let variant = variant(shard, context, request);
    let make = async |image: &MetadataImage| {
        let (mut topics, mut pace) = (Vec::new(), Pace::default());
        for topic in image.topics() {
            pace.worked(1 + topic.partitions.len()).await;
            topics.push(describe(shard, topic, variant.topic_operations));
        }
        let response = response(shard, &variant, topics);
        Ok::<_, CloseReason>(encode_response(context.api_version, context.correlation_id, &response)?)
    };
    let answer = shard.metadata_answers.answer(&variant, source, make).await?;
    Ok(Reply::repeated(context, &answer))
}

fn variant<E: Effects>(
    shard: &ShardServices<E>,
    context: &RequestContext,
    request: &MetadataRequest<'_>,
) -> AnswerVariant {
    AnswerVariant {
        version: context.api_version,
        address: advertised(shard, context),
        topic_operations: request.include_topic_authorized_operations,
        cluster_operations: request.include_cluster_authorized_operations && context.api_version <= 10,
    }
}

/// The answer with these topics.
fn response<E: Effects>(
    shard: &ShardServices<E>,
    variant: &AnswerVariant,
    topics: Vec<MetadataResponseTopic>,
) -> MetadataResponse {
    let (host, port) = variant.address.clone();
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: shard.identity.node_id.0,
            host,
            port,
            rack: shard.config().rack().map(str::to_owned),
        }],
        cluster_id: Some(shard.identity.cluster_id.clone()),
        controller_id: shard.identity.node_id.0,
        topics,
        cluster_authorized_operations: if variant.cluster_operations {
            CLUSTER_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        },
        ..MetadataResponse::default()
    }
}

fn refused(topics: &Array<'_, MetadataRequestTopic<'_>>) -> MetadataResponse {
    let refused = |topic: MetadataRequestTopic<'_>| MetadataResponseTopic {
        topic_id: topic.topic_id,
        ..unknown(Some(topic.name.unwrap_or_default().to_owned()), ErrorCode::InvalidRequest)
    };
    MetadataResponse { topics: topics.iter().map(refused).collect(), ..MetadataResponse::default() }
}

/// Creates the topics that clients asked for; yields the names that were refused, with the reason.
async fn create_missing<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    names: Vec<String>,
) -> BTreeMap<String, ErrorCode> {
    let may_be = |name: &String| validate_topic_name(name).is_ok() && !is_reserved(name);
    let valid: Vec<String> = names.into_iter().filter(may_be).take(CREATED_MAX).collect();
    let mut refused = BTreeMap::new();
    if valid.is_empty() {
        return refused;
    }
    let outcomes = shard
        .call_controller(move |shard, controller| async move {
            let topics = valid
                .iter()
                .map(|name| NewTopic {
                    name: name.clone(),
                    assignment: TopicAssignment::Count { partitions: -1, replication_factor: -1 },
                    configs: Vec::new(),
                })
                .collect();
            let outcomes = controller.create_topics(&shard, topics, false, None).await;
            valid.into_iter().zip(outcomes).collect::<Vec<_>>()
        })
        .await;
    for (name, outcome) in outcomes {
        match outcome {
            Ok(_) => {}
            // A name too much like another's stays unknown, as in Kafka.
            Err(error)
                if matches!(error.code, ErrorCode::TopicAlreadyExists | ErrorCode::InvalidTopicException) => {
            }
            Err(error) => drop(refused.insert(name, error.code)),
        }
    }
    refused
}

fn describe_asked<E: Effects>(
    shard: &ShardServices<E>,
    image: &MetadataImage,
    asked: MetadataRequestTopic<'_>,
    refused: &BTreeMap<String, ErrorCode>,
    operations: bool,
) -> MetadataResponseTopic {
    match (asked.topic_id.is_zero(), asked.name) {
        (false, _) => match image.topic_by_id(asked.topic_id) {
            Some(topic) => describe(shard, topic, operations),
            None => {
                MetadataResponseTopic { topic_id: asked.topic_id, ..unknown(None, ErrorCode::UnknownTopicId) }
            }
        },
        (true, Some(name)) => by_name(shard, image, name, refused, operations),
        (true, None) => unknown(None, ErrorCode::InvalidRequest),
    }
}

fn by_name<E: Effects>(
    shard: &ShardServices<E>,
    image: &MetadataImage,
    name: &str,
    refused: &BTreeMap<String, ErrorCode>,
    operations: bool,
) -> MetadataResponseTopic {
    if let Some(topic) = image.topic(name) {
        return describe(shard, topic, operations);
    }
    let code = match refused.get(name) {
        Some(code) => *code,
        None if validate_topic_name(name).is_err() => ErrorCode::InvalidTopicException,
        None => ErrorCode::UnknownTopicOrPartition,
    };
    unknown(Some(name.to_owned()), code)
}

fn unknown(name: Option<String>, code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: code.code(),
        is_internal: name.as_deref().is_some_and(is_internal),
        // A null name exists from version 12 on only.
        name,
        topic_authorized_operations: OPERATIONS_NOT_ASKED,
        ..MetadataResponseTopic::default()
    }
}

fn describe<E: Effects>(
    shard: &ShardServices<E>,
    topic: &Arc<TopicImage>,
    operations: bool,
) -> MetadataResponseTopic {
    let partitions = topic
        .partition_ids()
        .zip(&topic.partitions)
        .map(|(id, image)| {
            let nodes = |nodes: &[model::NodeId]| nodes.iter().map(|node| node.0).collect();
            let state = PartitionState::of(shard, topic.id, id, image);
            MetadataResponsePartition {
                error_code: state.error_code().code(),
                partition_index: id.0,
                leader_id: state.leader_id,
                leader_epoch: image.leader_epoch.0,
                replica_nodes: nodes(&image.replicas),
                isr_nodes: state.in_sync,
                offline_replicas: state.offline,
            }
        })
        .collect();
    MetadataResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: topic.internal,
        partitions,
        topic_authorized_operations: if operations { TOPIC_OPERATIONS } else { OPERATIONS_NOT_ASKED },
        ..MetadataResponseTopic::default()
    }
}
