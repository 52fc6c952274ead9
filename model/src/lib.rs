//! The nouns of Millrace, without any I/O: offsets, epochs, identifiers, topic partitions and the
//! header of a record batch.
//!
//! Every other crate may use this one; it uses nothing of ours. Names are Kafka's.
#![forbid(unsafe_code)]

mod compression;
mod ids;
mod record;
mod record_batch;
mod record_batch_builder;
mod topic_partition;
mod uuid;

pub use compression::Compression;
pub use ids::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionId, ProducerEpoch, ProducerId,
    Sequence,
};
pub use record::{Record, RecordError, RecordHeader, RecordIter};
pub use record_batch::{BatchError, RecordBatch, TimestampType, batches};
pub use record_batch_builder::RecordBatchBuilder;
pub use topic_partition::{TopicId, TopicPartition};
pub use uuid::{DirectoryId, Uuid};
