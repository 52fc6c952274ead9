//! OffsetFetch: where groups go on.

use std::ops::RangeInclusive;
use std::rc::Rc;

use futures_util::future::join_all;
use model::TopicId;
use net::protocol::ErrorCode;
use net::protocol::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use runtime::Effects;

use super::groups::{ask, code_of};
use super::named_topic::named_topic;
use crate::api::request::RequestContext;
use crate::api::services::ShardServices;
use crate::coordination::groups::{
    FetchOffsetsRequest, FetchOffsetsResponse, FetchTopic, FetchedOffset, FetchedTopic, Request,
};
use crate::metadata::MetadataImage;

/// All stable versions of Kafka 4.4.
pub const VERSIONS: RangeInclusive<i16> = 1..=10;

/// From this version on a response has an error of its own, and a null list of topics asks for all.
const VERSION_GROUP_ERROR: i16 = 2;
/// From this version on a request asks for several groups.
const VERSION_BATCH: i16 = 8;
/// From this version on topics are named by id (KIP-848).
const VERSION_TOPIC_IDS: i16 = 10;

/// Answers one request.
pub async fn handle<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    context: &RequestContext,
    request: OffsetFetchRequest<'_>,
) -> OffsetFetchResponse {
    if context.api_version < VERSION_BATCH {
        return one_group(shard, context.api_version, &request).await;
    }
    let by_id = context.api_version >= VERSION_TOPIC_IDS;
    let mut groups = Vec::with_capacity(request.groups.len());
    let mut room_bytes = shard.request_memory.building_bytes_max();
    let mut asked = request.groups.iter();
    while asked.len() > 0 && room_bytes > 0 {
        let piece = asked.by_ref().take(GROUPS_AT_ONCE);
        let found = join_all(piece.map(|group| async move {
            many_groups_entry(shard, by_id, request.require_stable, &group).await
        }));
        let found = found.await;
        room_bytes = room_bytes.saturating_sub(found.iter().map(size_bytes).sum());
        groups.extend(found);
    }
    // A group that is asked for all of its offsets may have many, and may be named often.
    groups.extend(asked.map(|group| OffsetFetchResponseGroup {
        group_id: group.group_id.to_owned(),
        error_code: ErrorCode::PolicyViolation.code(),
        ..OffsetFetchResponseGroup::default()
    }));
    OffsetFetchResponse { groups, ..OffsetFetchResponse::default() }
}

/// Groups that are looked up at the same time.
const GROUPS_AT_ONCE: usize = 16;

/// About what a group takes, as built and as encoded.
fn size_bytes(group: &OffsetFetchResponseGroup) -> usize {
    let partition =
        |found: &OffsetFetchResponsePartitions| 128 + 2 * found.metadata.as_ref().map_or(0, String::len);
    let topic = |topic: &OffsetFetchResponseTopics| {
        128 + 2 * topic.name.len() + topic.partitions.iter().map(partition).sum::<usize>()
    };
    128 + group.topics.iter().map(topic).sum::<usize>()
}

/// The old form: one group, topics by name.
async fn one_group<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    version: i16,
    request: &OffsetFetchRequest<'_>,
) -> OffsetFetchResponse {
    let image = shard.image();
    let asked = request.topics.map(|topics| {
        let topic = |topic: net::protocol::offset_fetch::OffsetFetchRequestTopic<'_>| FetchTopic {
            name: topic.name.to_owned(),
            topic_id: id_of(&image, topic.name),
            partitions: topic.partition_indexes.iter().collect(),
        };
        topics.iter().map(topic).collect::<Vec<_>>()
    });
    let mut fetched = fetch(shard, request.group_id, request.require_stable, asked.clone()).await;
    if asked.is_none() {
        fetched.topics = current_topics(&image, fetched.topics, false);
    }
    let mut partition_error = 0;
    if version < VERSION_GROUP_ERROR
        && let Some(error) = fetched.error.take()
    {
        // The only place for the error are the partitions.
        partition_error = code_of(Some(error));
        fetched.topics = asked.unwrap_or_default().into_iter().map(unknown_topic).collect();
    }
    let topics = fetched.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|found| OffsetFetchResponsePartition {
                partition_index: found.partition,
                committed_offset: found.offset,
                committed_leader_epoch: found.leader_epoch,
                metadata: Some(found.metadata),
                error_code: partition_error,
            })
            .collect(),
    });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code: code_of(fetched.error),
        ..OffsetFetchResponse::default()
    }
}

async fn many_groups_entry<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    by_id: bool,
    require_stable: bool,
    group: &OffsetFetchRequestGroup<'_>,
) -> OffsetFetchResponseGroup {
    let image = shard.image();
    let mut unknown = Vec::new();
    let asked = group.topics.map(|topics| {
        let mut known = Vec::new();
        for topic in topics.iter() {
            let partitions: Vec<i32> = topic.partition_indexes.iter().collect();
            match named_topic(&image, by_id, (topic.name, topic.topic_id)) {
                Ok(found) => {
                    known.push(FetchTopic { name: found.name.to_string(), topic_id: found.id, partitions });
                }
                // Offsets without an id may be known by a name that no topic has now.
                Err(_) if !by_id => {
                    let (name, topic_id) = (topic.name.to_owned(), TopicId::ZERO);
                    known.push(FetchTopic { name, topic_id, partitions });
                }
                Err(_) => {
                    let (name, topic_id) = (String::new(), topic.topic_id);
                    unknown.push(FetchTopic { name, topic_id, partitions });
                }
            }
        }
        known
    });
    let wants_all = asked.is_none();
    let mut fetched = fetch(shard, group.group_id, require_stable, asked).await;
    let found_nothing = fetched.error.is_some();
    if wants_all {
        fetched.topics = current_topics(&image, fetched.topics, by_id);
    }
    let mut topics: Vec<_> = fetched.topics.into_iter().map(|topic| response_topic(topic, 0)).collect();
    if !found_nothing {
        let code = ErrorCode::UnknownTopicId.code();
        topics.extend(unknown.into_iter().map(|topic| response_topic(unknown_topic(topic), code)));
    }
    OffsetFetchResponseGroup {
        group_id: group.group_id.to_owned(),
        topics,
        error_code: code_of(fetched.error),
    }
}

/// The id of the topic that has a name now; zero if none has.
fn id_of(image: &MetadataImage, name: &str) -> TopicId {
    image.topic(name).map(|topic| topic.id).unwrap_or_default()
}

/// Leaves out the offsets of removed topics, whose name may belong to another by now. A client that knows topics by id
/// has no use for those without one either.
fn current_topics(image: &MetadataImage, topics: Vec<FetchedTopic>, by_id: bool) -> Vec<FetchedTopic> {
    let mut current: Vec<FetchedTopic> = Vec::with_capacity(topics.len());
    for mut topic in topics {
        let committed_in = topic.topic_id;
        topic.topic_id = id_of(image, &topic.name);
        let is_other = !committed_in.is_zero() && !topic.topic_id.is_zero() && committed_in != topic.topic_id;
        if is_other || image.was_removed(committed_in) || (by_id && topic.topic_id.is_zero()) {
            continue;
        }
        match current.last_mut().filter(|last| last.name == topic.name) {
            Some(last) => last.partitions.append(&mut topic.partitions),
            None => current.push(topic),
        }
    }
    current
}

async fn fetch<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    group_id: &str,
    require_stable: bool,
    topics: Option<Vec<FetchTopic>>,
) -> FetchOffsetsResponse {
    let request = FetchOffsetsRequest { group_id: group_id.to_owned(), require_stable, topics };
    ask(shard, group_id, Request::FetchOffsets(request)).await.into_fetch_offsets()
}

/// A topic without committed offsets.
fn unknown_topic(topic: FetchTopic) -> FetchedTopic {
    let nothing =
        |partition| FetchedOffset { partition, offset: -1, leader_epoch: -1, metadata: String::new() };
    FetchedTopic {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic.partitions.into_iter().map(nothing).collect(),
    }
}

fn response_topic(topic: FetchedTopic, error_code: i16) -> OffsetFetchResponseTopics {
    OffsetFetchResponseTopics {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .into_iter()
            .map(|found| OffsetFetchResponsePartitions {
                partition_index: found.partition,
                committed_offset: found.offset,
                committed_leader_epoch: found.leader_epoch,
                metadata: Some(found.metadata),
                error_code,
            })
            .collect(),
    }
}
