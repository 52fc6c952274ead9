//! What the group APIs share: finding a group's coordinator, and the topic that it lives in.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use futures_util::future::join_all;
use model::{PartitionId, TopicId};
use net::protocol::ErrorCode;
use runtime::Effects;

use crate::api::services::ShardServices;
use crate::coordination::directory::GROUP_TOPIC;
use crate::coordination::groups::{GroupError, Request, Response, partition_for_group};
use crate::mesh::fan_out::ByShard;
use crate::metadata::{ControllerError, NewTopic, TopicAssignment};

/// Asks the coordinator of a group.
pub(super) async fn ask<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    group_id: &str,
    request: Request,
) -> Response {
    let Some((topic_id, partition)) = locate(shard, group_id) else {
        return request.refused(GroupError::NotCoordinator);
    };
    let target = shard.owner(topic_id, partition);
    shard.call(target, move |shard| shard.coordinators.groups.ask((topic_id, partition), request)).await
}

/// Asks the coordinators of many groups, with one message for each shard. `request` makes the request for the
/// groups of one coordinator; the replies come in no particular order.
pub(super) async fn ask_about<E: Effects>(
    shard: &Rc<ShardServices<E>>,
    group_ids: impl Iterator<Item = &str>,
    request: fn(Vec<String>) -> Request,
) -> Vec<Response> {
    let mut asked = ByShard::default();
    let mut nowhere = Vec::new();
    for group_id in group_ids {
        match locate(shard, group_id) {
            Some(partition) => {
                asked.push(shard.owner(partition.0, partition.1), (partition, group_id.to_owned()));
            }
            None => nowhere.push(group_id.to_owned()),
        }
    }
    let calls = asked.into_iter().map(|(target, groups)| {
        shard.call(target, move |shard| {
            let mut by_coordinator: BTreeMap<(TopicId, PartitionId), Vec<String>> = BTreeMap::new();
            for (partition, group_id) in groups {
                by_coordinator.entry(partition).or_default().push(group_id);
            }
            let ask = |(partition, ids)| shard.coordinators.groups.ask(partition, request(ids));
            join_all(by_coordinator.into_iter().map(ask).collect::<Vec<_>>())
        })
    });
    let mut replies: Vec<Response> = join_all(calls).await.into_iter().flatten().collect();
    if !nowhere.is_empty() {
        replies.push(request(nowhere).refused(GroupError::NotCoordinator));
    }
    replies
}

/// What to tell of a partition until its coordinator has answered: what is wrong already, or [`PENDING`].
pub(super) fn pending<T>(found: Result<T, ErrorCode>) -> i16 {
    found.map_or_else(ErrorCode::code, |_| PENDING)
}

/// Writes the coordinator's answers, which come in the order asked, where they are still missing.
pub(super) fn fill_in<'a>(
    codes: impl Iterator<Item = &'a mut i16>,
    answers: impl Iterator<Item = (i32, Option<GroupError>)>,
) {
    for (code, (_, error)) in codes.filter(|code| **code == PENDING).zip(answers) {
        *code = code_of(error);
    }
}

/// Stands for the coordinator's answer; no code of Kafka's.
const PENDING: i16 = i16::MIN;

/// Puts what [`ask_about`] found into the order in which the groups were asked for.
pub(super) fn in_order_of<'a, T>(
    group_ids: impl Iterator<Item = &'a str>,
    found: impl Iterator<Item = (String, T)>,
) -> Vec<T> {
    let places: HashMap<&str, usize> = group_ids.enumerate().map(|(place, id)| (id, place)).collect();
    let mut found: Vec<(Option<usize>, T)> =
        found.map(|(id, found)| (places.get(id.as_str()).copied(), found)).collect();
    // A stable sort: the replies about a group that was named twice stay as the coordinator gave them.
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, found)| found).collect()
}

/// The partition of `__consumer_offsets` that has a group. `None` while there is no such topic.
pub(super) fn locate<E: Effects>(shard: &ShardServices<E>, group_id: &str) -> Option<(TopicId, PartitionId)> {
    let image = shard.image();
    let topic = image.topic(GROUP_TOPIC)?;
    let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    partition_for_group(group_id, count).map(|partition| (topic.id, PartitionId(partition)))
}

/// Creates `__consumer_offsets` if it is not there yet.
///
/// # Errors
/// The controller refused.
pub(super) async fn ensure_group_topic<E: Effects>(
    shard: &Rc<ShardServices<E>>,
) -> Result<(), ControllerError> {
    if shard.image().topic(GROUP_TOPIC).is_some() {
        return Ok(());
    }
    let config = shard.config();
    let setting = |key: &str, value: String| (key.to_owned(), Some(value));
    let topic = NewTopic {
        name: GROUP_TOPIC.to_owned(),
        assignment: TopicAssignment::Count {
            partitions: config.offsets_topic_partitions(),
            replication_factor: 1,
        },
        configs: vec![
            setting("cleanup.policy", "compact".to_owned()),
            setting("compression.type", "producer".to_owned()),
            setting("segment.bytes", config.offsets_topic_segment_bytes().to_string()),
        ],
    };
    let created = shard
        .call_controller(move |shard, controller| async move {
            controller.create_topics(&shard, vec![topic], false, None).await
        })
        .await;
    match created.into_iter().next() {
        Some(Err(error)) if error.code != ErrorCode::TopicAlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The code for an optional error.
pub(super) fn code_of(error: Option<GroupError>) -> i16 {
    error.map_or(ErrorCode::None, group_error_code).code()
}

/// The code for a coordinator's error.
pub(super) const fn group_error_code(error: GroupError) -> ErrorCode {
    match error {
        GroupError::NotCoordinator => ErrorCode::NotCoordinator,
        GroupError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupError::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
        GroupError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::UnknownMemberId => ErrorCode::UnknownMemberId,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::FencedInstanceId => ErrorCode::FencedInstanceId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
        GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupError::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::UnknownServerError => ErrorCode::UnknownServerError,
    }
}

/// What to tell people about an error of one group, where the protocol has room for it.
pub(super) fn explain(error: GroupError, group_id: &str) -> String {
    match error {
        GroupError::GroupIdNotFound => format!("Group {group_id} not found."),
        GroupError::NonEmptyGroup => "The group is not empty.".to_owned(),
        other => group_error_code(other).name().to_owned(),
    }
}
