//! The topics that requests name: by name, or in newer versions by id.

use std::sync::Arc;

use model::{PartitionId, TopicId};
use net::protocol::ErrorCode;

use crate::metadata::{MetadataImage, TopicImage};

/// Finds the topic that a request names.
///
/// # Errors
/// `UnknownTopicId` or `UnknownTopicOrPartition`, as it was named.
pub(super) fn named_topic<'a>(
    image: &'a MetadataImage,
    by_id: bool,
    (name, id): (&str, TopicId),
) -> Result<&'a Arc<TopicImage>, ErrorCode> {
    if by_id {
        image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId)
    } else {
        image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)
    }
}

/// Finds a partition of a topic that was looked for.
///
/// # Errors
/// What is wrong with the topic, or `UnknownTopicOrPartition`.
pub(super) fn named_partition(
    topic: Result<&Arc<TopicImage>, ErrorCode>,
    index: i32,
) -> Result<(TopicId, PartitionId), ErrorCode> {
    let (topic, id) = (topic?, PartitionId(index));
    topic.partition(id).map(|_| (topic.id, id)).ok_or(ErrorCode::UnknownTopicOrPartition)
}
