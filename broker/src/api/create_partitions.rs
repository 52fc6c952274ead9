//! CreatePartitions: raises the number of partitions of topics.

use std::ops::RangeInclusive;
use std::rc::Rc;

use net::protocol::ErrorCode;
use net::protocol::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use runtime::{Clock, Effects};

use super::named_twice::times_named;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::metadata::ControllerError;
use crate::metadata::decide::CreatePartitions;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 0..=3;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    _context: &RequestContext,
    request: CreatePartitionsRequest<'_>,
) -> CreatePartitionsResponse {
    let validate_only = request.validate_only;
    let started = shard.effects.clock().now();
    let remaining_ms = || {
        let spent_ms = shard.effects.clock().now().since(started).as_millis();
        request.timeout_ms.saturating_sub(i32::try_from(spent_ms).unwrap_or(i32::MAX))
    };
    let mut results = Vec::with_capacity(request.topics.len());
    let names = times_named(request.topics.iter().map(|topic| topic.name));
    for (name, _) in names.iter().filter(|(_, times)| **times > 1) {
        results.push(CreatePartitionsTopicResult {
            name: (*name).to_owned(),
            error_code: ErrorCode::InvalidRequest.code(),
            error_message: Some("Duplicate topic name.".to_owned()),
        });
    }
    for topic in request.topics.iter().filter(|topic| names[topic.name] == 1) {
        let (name, count) = (topic.name.to_owned(), topic.count);
        let assignments: Option<Vec<Vec<i32>>> = topic
            .assignments
            .map(|assignments| assignments.iter().map(|one| one.broker_ids.iter().collect()).collect());
        let outcome = shard
            .call_controller_within(remaining_ms(), move |shard, controller, deadline| async move {
                let command = CreatePartitions { name, count, assignments };
                controller.change(&shard, command, validate_only, Some(deadline)).await
            })
            .await;
        let error = outcome.unwrap_or_else(|| Err(ControllerError::timed_out())).err();
        results.push(CreatePartitionsTopicResult {
            name: topic.name.to_owned(),
            error_code: error.as_ref().map_or(0, |error| error.code.code()),
            error_message: error.and_then(ControllerError::into_message),
        });
    }
    CreatePartitionsResponse { throttle_time_ms: 0, results }
}
