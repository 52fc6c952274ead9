//! OffsetCommit, OffsetFetch and OffsetDelete: how far groups have come.

use model::Uuid;

use super::error::GroupError;

/// OffsetCommit.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// The group; may be empty.
    pub group_id: String,
    /// -1 for a consumer that does not use membership.
    pub generation_id: i32,
    /// Empty for a consumer that does not use membership.
    pub member_id: String,
    /// The static member.
    pub group_instance_id: Option<String>,
    /// How long to keep the offsets; versions 2 to 4 only.
    pub retention_time_ms: Option<i64>,
    /// Versions 9 and up say GROUP_ID_NOT_FOUND where older ones say ILLEGAL_GENERATION.
    pub group_not_found_known: bool,
    /// What to commit; topics that do not exist were taken out before.
    pub topics: Vec<CommitTopic>,
}

/// Offsets of one topic to commit.
#[derive(Debug, Clone, Default)]
pub struct CommitTopic {
    /// Its name.
    pub name: String,
    /// Its id, zero if unknown.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// The offset of one partition to commit.
#[derive(Debug, Clone, Default)]
pub struct CommitPartition {
    /// The partition.
    pub partition: i32,
    /// The next record to consume.
    pub offset: i64,
    /// Leader epoch of the last consumed record, -1 if unknown.
    pub leader_epoch: i32,
    /// The client's own note.
    pub metadata: Option<String>,
}

/// The reply to OffsetCommit, in the order asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CommitResponse {
    /// One for each topic.
    pub topics: Vec<CommitTopicResult>,
}

/// How the commits of one topic went.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitTopicResult {
    /// Its name.
    pub name: String,
    /// Its id as asked.
    pub topic_id: Uuid,
    /// Each partition and what is wrong with it.
    pub partitions: PartitionResults,
}

/// OffsetFetch of one group.
#[derive(Debug, Clone, Default)]
pub struct FetchOffsetsRequest {
    /// The group; may be empty.
    pub group_id: String,
    /// Wait for commits that are under way.
    pub require_stable: bool,
    /// `None` asks for everything.
    pub topics: Option<Vec<FetchTopic>>,
}

/// Partitions of one topic whose offsets are asked.
#[derive(Debug, Clone, Default)]
pub struct FetchTopic {
    /// Its name.
    pub name: String,
    /// Its id: offsets that were committed in another topic of the name do not count. Zero if it is not known.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// The reply to OffsetFetch of one group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FetchOffsetsResponse {
    /// What is wrong with the whole group.
    pub error: Option<GroupError>,
    /// In the order asked. When everything was asked, each topic once for each id under which offsets were committed.
    pub topics: Vec<FetchedTopic>,
}

/// Committed offsets of one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedTopic {
    /// Its name.
    pub name: String,
    /// The id asked, or the id under which the offsets were committed.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<FetchedOffset>,
}

/// The committed offset of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The partition.
    pub partition: i32,
    /// -1 if none is committed.
    pub offset: i64,
    /// -1 if unknown.
    pub leader_epoch: i32,
    /// The client's own note.
    pub metadata: String,
}

/// Each partition and what is wrong with it.
pub type PartitionResults = Vec<(i32, Option<GroupError>)>;

/// OffsetDelete.
#[derive(Debug, Clone, Default)]
pub struct OffsetDeleteRequest {
    /// The group.
    pub group_id: String,
    /// Topics and partitions; topics that do not exist were taken out before.
    pub topics: Vec<(String, Vec<i32>)>,
}

/// The reply to OffsetDelete.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OffsetDeleteResponse {
    /// What is wrong with the whole request.
    pub error: Option<GroupError>,
    /// Each partition and what is wrong with it.
    pub topics: Vec<(String, PartitionResults)>,
}

impl CommitRequest {
    /// The reply that refuses every partition.
    pub(in crate::coordination::groups) fn refused(&self, error: GroupError) -> CommitResponse {
        let refuse = |topic: &CommitTopic| CommitTopicResult {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(|p| (p.partition, Some(error))).collect(),
        };
        CommitResponse { topics: self.topics.iter().map(refuse).collect() }
    }
}
