//! What `storage` needs to know of a topic's settings.

use replication::Durability;
use storage::{CommitMode, LogConfig};

use super::topic_config::TopicConfig;

impl TopicConfig {
    /// The part of these settings that a log acts on.
    #[must_use]
    pub fn to_log_config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            segment_jitter_ms: self.segment_jitter_ms,
            segment_index_bytes: self.segment_index_bytes,
            index_interval_bytes: self.index_interval_bytes,
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
            delete_retention: self.cleanup_delete,
            compact: self.cleanup_compact,
            file_delete_delay_ms: self.file_delete_delay_ms,
            max_message_bytes: self.max_message_bytes,
            timestamp_type: self.timestamp_type,
            timestamp_before_max_ms: self.timestamp_before_max_ms,
            timestamp_after_max_ms: self.timestamp_after_max_ms,
            commit_mode: match self.durability {
                Durability::QuorumFsync | Durability::AllFsync => CommitMode::Fsync,
                Durability::Kafka => CommitMode::Kafka,
            },
        }
    }
}
