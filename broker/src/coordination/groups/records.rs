//! The coordinator's records in Kafka's bytes: the only file here that knows how they are encoded.

use std::collections::BTreeMap;

use bytes::Bytes;
use net::protocol::records::GroupRecord;
use net::protocol::records::consumer_protocol_subscription::ConsumerProtocolSubscription;
use net::protocol::records::group_metadata::{GroupMetadataKey, GroupMetadataValue, MemberMetadata};
use net::protocol::records::offset_commit::{OffsetCommitKey, OffsetCommitValue};
use net::protocol::{DecodeError, Reader, RecordKey, RecordValue};

use super::api::Protocol;
use super::group::{ClassicGroup, State};
use super::member::Member;
use super::offset_store::CommittedOffset;
use crate::coordination::runner::LogRecord;

/// What a record of the log says, in our own words.
pub(super) enum Replayed {
    /// An offset was committed, or forgotten.
    Offset {
        /// Whose, of which topic and partition.
        group: String,
        topic: String,
        partition: i32,
        offset: Option<CommittedOffset>,
    },
    /// The group is as given, or gone.
    Group { id: String, group: Option<Box<ClassicGroup>> },
    /// Something that this coordinator has no use for, such as a member of a KIP-848 group.
    Other,
}

/// The record of a group that has just become empty or was just created.
pub(super) fn empty_group(group: &ClassicGroup) -> LogRecord {
    stable_group(group, &BTreeMap::new())
}

/// The record of a group and its members with the assignments given; members without one get an empty one.
pub(super) fn stable_group(group: &ClassicGroup, assignments: &BTreeMap<String, Bytes>) -> LogRecord {
    let protocol = group.protocol.as_deref().unwrap_or_default();
    let member = |(id, member): (&String, &Member)| MemberMetadata {
        member_id: id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.metadata(protocol),
        assignment: assignments.get(id).cloned().unwrap_or_default(),
    };
    let value = GroupMetadataValue {
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: group.generation,
        protocol: group.protocol.clone(),
        leader: group.leader.clone(),
        current_state_timestamp: group.state_since_ms.unwrap_or(-1),
        members: group.members().map(member).collect(),
    };
    let value = value.encode(GROUP_METADATA_VERSION).expect(FIELDS_CAME_OFF_THE_WIRE);
    LogRecord { key: group_key(&group.id), value: Some(value) }
}

/// Deletes a group.
pub(super) fn group_tombstone(id: &str) -> LogRecord {
    LogRecord { key: group_key(id), value: None }
}

/// A committed offset.
pub(super) fn offset_commit(
    group: &str,
    topic: &str,
    partition: i32,
    committed: &CommittedOffset,
) -> LogRecord {
    let value = OffsetCommitValue {
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata.clone(),
        commit_timestamp: committed.commit_timestamp_ms,
        expire_timestamp: committed.expire_timestamp_ms.unwrap_or(-1),
        topic_id: committed.topic_id,
    };
    // Only version 1 has the expiry that old clients may ask for.
    let version = if committed.expire_timestamp_ms.is_some() { 1 } else { OFFSET_COMMIT_VERSION };
    let value = value.encode(version).expect(FIELDS_CAME_OFF_THE_WIRE);
    LogRecord { key: offset_key(group, topic, partition), value: Some(value) }
}

/// Deletes a committed offset.
pub(super) fn offset_tombstone(group: &str, topic: &str, partition: i32) -> LogRecord {
    LogRecord { key: offset_key(group, topic, partition), value: None }
}

/// Reads a record of the log.
pub(super) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Replayed, DecodeError> {
    let record = match GroupRecord::decode(key, value) {
        // Written by a newer broker. Kafka skips such records as well.
        Err(DecodeError::UnknownRecordType(_)) => return Ok(Replayed::Other),
        record => record?,
    };
    Ok(match record {
        GroupRecord::OffsetCommit(key, value) => replayed_offset(key.group, key.topic, key.partition, value),
        GroupRecord::LegacyOffsetCommit(key, value) => {
            let value = value.map(|value| OffsetCommitValue {
                offset: value.offset,
                metadata: value.metadata,
                commit_timestamp: value.commit_timestamp,
                ..OffsetCommitValue::default()
            });
            replayed_offset(key.group, key.topic, key.partition, value)
        }
        GroupRecord::GroupMetadata(key, value) => {
            let group = value.map(|value| Box::new(loaded_group(&key.group, value)));
            Replayed::Group { id: key.group, group }
        }
        _ => Replayed::Other,
    })
}

/// The topics in a consumer's subscription. Every version starts as version 0 does, so that one reads them all.
pub(super) fn subscribed_topics(metadata: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut reader = Reader::new(metadata, 0, false);
    let _version: i16 = reader.get()?;
    Ok(reader.get::<ConsumerProtocolSubscription>()?.topics)
}

fn replayed_offset(
    group: String,
    topic: String,
    partition: i32,
    value: Option<OffsetCommitValue>,
) -> Replayed {
    let offset = value.map(|value| CommittedOffset {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata,
        commit_timestamp_ms: value.commit_timestamp,
        expire_timestamp_ms: (value.expire_timestamp >= 0).then_some(value.expire_timestamp),
        topic_id: value.topic_id,
    });
    Replayed::Offset { group, topic, partition, offset }
}

fn loaded_group(id: &str, value: GroupMetadataValue) -> ClassicGroup {
    let mut group = ClassicGroup::new(id, None);
    group.generation = value.generation;
    group.protocol_type = (!value.protocol_type.is_empty()).then_some(value.protocol_type);
    group.protocol.clone_from(&value.protocol);
    group.state_since_ms = (value.current_state_timestamp != -1).then_some(value.current_state_timestamp);
    let state = if value.members.is_empty() { State::Empty } else { State::Stable };
    for loaded in value.members {
        // Versions before rebalance timeouts existed took the session timeout for both.
        let rebalance_timeout_ms =
            if loaded.rebalance_timeout == -1 { loaded.session_timeout } else { loaded.rebalance_timeout };
        let name = value.protocol.clone().unwrap_or_default();
        let member = Member {
            group_instance_id: loaded.group_instance_id,
            client_id: loaded.client_id,
            client_host: loaded.client_host,
            session_timeout_ms: loaded.session_timeout,
            rebalance_timeout_ms,
            assignment: loaded.assignment,
            ..Member::new(vec![Protocol { name, metadata: loaded.subscription }])
        };
        group.add(loaded.member_id, member, None);
    }
    // A leader that is not among the members would never compute an assignment.
    let leader = value.leader.filter(|leader| group.member(leader).is_some());
    group.leader = leader.or(group.leader.take());
    group.state = state;
    group.recompute_subscribed_topics();
    group
}

fn group_key(id: &str) -> Bytes {
    GroupMetadataKey { group: id.to_owned() }.encode().expect(FIELDS_CAME_OFF_THE_WIRE)
}

fn offset_key(group: &str, topic: &str, partition: i32) -> Bytes {
    let key = OffsetCommitKey { group: group.to_owned(), topic: topic.to_owned(), partition };
    key.encode().expect(FIELDS_CAME_OFF_THE_WIRE)
}

/// The highest version that is not flexible: what Kafka writes, so that older brokers can read it.
const GROUP_METADATA_VERSION: i16 = 3;
/// The first version with a topic id; what Kafka 4.4 writes.
const OFFSET_COMMIT_VERSION: i16 = 4;
const FIELDS_CAME_OFF_THE_WIRE: &str = "every string came in a request with the same length limits";
