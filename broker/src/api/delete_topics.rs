//! DeleteTopics: removes topics and their logs, by name or id.

use std::ops::RangeInclusive;
use std::rc::Rc;

use model::TopicId;
use net::protocol::ErrorCode;
use net::protocol::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use runtime::Effects;

use super::named_twice::times_named;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::metadata::ControllerError;
use crate::metadata::decide::DeleteTopics;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 1..=6;

/// From this version on topics may be named by id.
const VERSION_TOPIC_IDS: i16 = 6;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: DeleteTopicsRequest<'_>,
) -> DeleteTopicsResponse {
    let image = shard.image();
    let enabled = shard.config().delete_topic_enable();
    let asked: Vec<(Option<&str>, TopicId)> = if context.api_version >= VERSION_TOPIC_IDS {
        request.topics.iter().map(|topic| (topic.name, topic.topic_id)).collect()
    } else {
        request.topic_names.iter().map(|name| (Some(name), TopicId::ZERO)).collect()
    };
    let asked = times_named(asked);
    let mut responses: Vec<DeletableTopicResult> = asked
        .into_iter()
        .map(|((name, id), times)| {
            let refused = |code: ErrorCode, message: &str| DeletableTopicResult {
                name: name.map(str::to_owned),
                topic_id: id,
                error_code: code.code(),
                error_message: Some(message.to_owned()),
            };
            let topic = match (name, id.is_zero()) {
                (Some(name), true) => image.topic(name),
                (None, false) => image.topic_by_id(id),
                _ => return refused(ErrorCode::InvalidRequest, "Give either the name of a topic or its id."),
            };
            match topic {
                _ if times > 1 && name.is_some() => {
                    refused(ErrorCode::InvalidRequest, "Duplicate topic name.")
                }
                _ if times > 1 => refused(ErrorCode::InvalidRequest, "Duplicate topic id."),
                _ if !enabled => refused(ErrorCode::TopicDeletionDisabled, "Topic deletion is disabled."),
                None if id.is_zero() => refused(
                    ErrorCode::UnknownTopicOrPartition,
                    "This server does not host this topic-partition.",
                ),
                None => refused(ErrorCode::UnknownTopicId, "This server does not host this topic ID."),
                Some(topic) => DeletableTopicResult {
                    name: Some(topic.name.to_string()),
                    topic_id: topic.id,
                    error_code: 0,
                    error_message: None,
                },
            }
        })
        .collect();
    refuse_named_both_ways(&mut responses);
    let ids: Vec<TopicId> =
        responses.iter().filter(|result| result.error_code == 0).map(|result| result.topic_id).collect();
    if !ids.is_empty() {
        let outcome = shard
            .call_controller_within(request.timeout_ms, move |shard, controller, deadline| async move {
                controller.change(&shard, DeleteTopics { ids }, false, Some(deadline)).await
            })
            .await;
        if let Err(error) = outcome.unwrap_or_else(|| Err(ControllerError::timed_out())) {
            for result in responses.iter_mut().filter(|result| result.error_code == 0) {
                result.error_code = error.code.code();
                result.error_message = error.clone().into_message();
            }
        }
    }
    DeleteTopicsResponse { throttle_time_ms: 0, responses }
}

/// A topic whose name stands in the request as well as its id is not deleted.
fn refuse_named_both_ways(responses: &mut [DeletableTopicResult]) {
    let good = |result: &&mut DeletableTopicResult| result.error_code == 0;
    let times = times_named(responses.iter_mut().filter(good).map(|result| result.topic_id));
    for result in responses.iter_mut().filter(good).filter(|result| times[&result.topic_id] > 1) {
        result.error_code = ErrorCode::InvalidRequest.code();
        result.error_message =
            Some("The provided topic name maps to an ID that was already supplied.".to_owned());
    }
}
