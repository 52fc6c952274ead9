//! OffsetCommit, OffsetFetch and OffsetDelete.

use std::collections::BTreeMap;

use model::Uuid;

use super::api::{
    CommitRequest, CommitResponse, CommitTopicResult, FetchOffsetsRequest, FetchOffsetsResponse, FetchTopic,
    FetchedOffset, FetchedTopic, GroupError, OffsetDeleteRequest, OffsetDeleteResponse, Response,
};
use super::completion::Change;
use super::group::{ClassicGroup, State};
use super::group_coordinator::GroupCoordinator;
use super::offset_store::{CommittedOffset, OffsetStore};
use super::records;
use crate::coordination::runner::{AppendToken, RequestToken};

impl GroupCoordinator {
    /// A member, or a consumer without membership, says how far it came.
    pub(super) fn commit(&mut self, token: RequestToken, request: CommitRequest) {
        let group = self.groups.get(&request.group_id);
        if let Err(error) = validate_commit(group, &request) {
            return self.context.reply(token, Response::Commit(request.refused(error)));
        }
        if let Some(group) = group
            && matches!(group.state, State::Stable | State::PreparingRebalance)
        {
            group.restart_session(&request.member_id, &mut self.context);
        }
        let now_ms = self.context.now.wall_ms;
        let expire_timestamp_ms = request.retention_time_ms.map(|retention| now_ms.saturating_add(retention));
        let append = self.context.next_append();
        let (mut log, mut changed, mut topics) = (Vec::new(), Vec::new(), Vec::new());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for commit in topic.partitions {
                let metadata = commit.metadata.unwrap_or_default();
                if is_longer_than(&metadata, self.context.config.offset_metadata_max) {
                    partitions.push((commit.partition, Some(GroupError::OffsetMetadataTooLarge)));
                    continue;
                }
                partitions.push((commit.partition, None));
                let committed = CommittedOffset {
                    offset: commit.offset,
                    leader_epoch: commit.leader_epoch,
                    metadata,
                    commit_timestamp_ms: now_ms,
                    expire_timestamp_ms,
                    topic_id: topic.topic_id,
                };
                log.push(records::offset_commit(
                    &request.group_id,
                    &topic.name,
                    commit.partition,
                    &committed,
                ));
                let key = (request.group_id.as_str(), topic.name.as_str(), commit.partition);
                self.offsets.stage(key, append, Some(committed));
                changed.push((topic.name.clone(), commit.partition));
            }
            topics.push(CommitTopicResult { name: topic.name, topic_id: topic.topic_id, partitions });
        }
        let response = Response::Commit(CommitResponse { topics });
        let change = Change::Offsets { group: request.group_id, changed };
        self.context.append_then_reply(log, change, token, response);
    }

    /// A consumer asks where to go on. One that wants stable offsets waits for commits that are under way.
    pub(super) fn fetch_offsets(&mut self, token: RequestToken, request: FetchOffsetsRequest) {
        if request.require_stable
            && let Some(staged) = self.offsets.last_staged(&request.group_id)
        {
            self.waiting_fetches.entry(staged).or_default().push((token, request));
            return;
        }
        self.context.reply(token, Response::FetchOffsets(fetched(&self.offsets, request)));
    }

    /// An administrator forgets offsets that nobody uses.
    pub(super) fn delete_offsets(&mut self, token: RequestToken, request: OffsetDeleteRequest) {
        let refused =
            |error| Response::OffsetDelete(OffsetDeleteResponse { error: Some(error), topics: Vec::new() });
        if request.group_id.is_empty() {
            return self.context.reply(token, refused(GroupError::InvalidGroupId));
        }
        let Some(group) = self.groups.get(&request.group_id) else {
            return self.context.reply(token, refused(GroupError::GroupIdNotFound));
        };
        if group.state != State::Empty && !group.uses_consumer_protocol() {
            return self.context.reply(token, refused(GroupError::NonEmptyGroup));
        }
        let append = self.context.next_append();
        let (mut log, mut changed, mut topics) = (Vec::new(), Vec::new(), Vec::new());
        for (topic, asked) in request.topics {
            let error = group.is_subscribed_to(&topic).then_some(GroupError::GroupSubscribedToTopic);
            for &partition in asked.iter().filter(|_| error.is_none()) {
                if self.offsets.has_latest(&group.id, &topic, partition) {
                    log.push(records::offset_tombstone(&group.id, &topic, partition));
                    self.offsets.stage((&group.id, &topic, partition), append, None);
                    changed.push((topic.clone(), partition));
                }
            }
            topics.push((topic, asked.into_iter().map(|partition| (partition, error)).collect()));
        }
        let response = Response::OffsetDelete(OffsetDeleteResponse { error: None, topics });
        let change = Change::Offsets { group: request.group_id, changed };
        self.context.append_then_reply(log, change, token, response);
    }

    /// Answers the fetches that waited for an append.
    pub(super) fn answer_waiting_fetches(&mut self, settled: AppendToken) {
        for (token, request) in self.waiting_fetches.remove(&settled).unwrap_or_default() {
            // Only for what was under way when it asked: in a busy group something always is.
            self.context.reply(token, Response::FetchOffsets(fetched(&self.offsets, request)));
        }
    }
}

/// Who may commit: a member in its generation, or anybody while the group has no members.
fn validate_commit(group: Option<&ClassicGroup>, request: &CommitRequest) -> Result<(), GroupError> {
    let has_generation = request.generation_id >= 0;
    let Some(group) = group else {
        return match (has_generation, request.group_not_found_known) {
            (false, _) => Ok(()),
            (true, true) => Err(GroupError::GroupIdNotFound),
            (true, false) => Err(GroupError::IllegalGeneration),
        };
    };
    let is_empty = group.state == State::Empty;
    if !has_generation && is_empty {
        return Ok(());
    }
    if has_generation || !request.member_id.is_empty() || request.group_instance_id.is_some() {
        group.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != group.generation {
            return Err(GroupError::IllegalGeneration);
        }
    } else if !is_empty {
        return Err(GroupError::UnknownMemberId);
    }
    if group.state == State::CompletingRebalance {
        // The member knows the generation but not its assignment: it must not commit for partitions it may lose.
        return Err(GroupError::RebalanceInProgress);
    }
    Ok(())
}

fn fetched(offsets: &OffsetStore, request: FetchOffsetsRequest) -> FetchOffsetsResponse {
    let found = |partition, committed: Option<&CommittedOffset>| FetchedOffset {
        partition,
        offset: committed.map_or(-1, |committed| committed.offset),
        leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: committed.map(|committed| committed.metadata.clone()).unwrap_or_default(),
    };
    let group = &request.group_id;
    let topics = if let Some(asked) = request.topics {
        let topic = |asked: FetchTopic| FetchedTopic {
            partitions: asked
                .partitions
                .iter()
                .map(|&partition| {
                    found(partition, offsets.durable(group, (&asked.name, asked.topic_id), partition))
                })
                .collect(),
            name: asked.name,
            topic_id: asked.topic_id,
        };
        asked.into_iter().map(topic).collect()
    } else {
        let mut all: BTreeMap<(&str, Uuid), FetchedTopic> = BTreeMap::new();
        for (topic, partition, committed) in offsets.durable_of(group) {
            let entry = all.entry((topic, committed.topic_id)).or_insert_with(|| FetchedTopic {
                name: topic.to_owned(),
                topic_id: committed.topic_id,
                partitions: Vec::new(),
            });
            entry.partitions.push(found(partition, Some(committed)));
        }
        all.into_values().collect()
    };
    FetchOffsetsResponse { error: None, topics }
}

/// Whether a text has more than `limit` UTF-16 units, which never outnumber its bytes.
fn is_longer_than(text: &str, limit: usize) -> bool {
    text.len() > limit && text.encode_utf16().count() > limit
}
