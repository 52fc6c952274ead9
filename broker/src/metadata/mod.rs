//! What the cluster knows about itself: topics, partitions, configs and producer ids.
//!
//! Pure: the immutable [`MetadataImage`] that every shard has, the records that change it, and what a command makes of it
//! ([`decide`]). The controller on shard 0 proposes the records to the metadata log and publishes the images.

mod alike_names;
pub mod decide;
mod delta;
mod error;
mod image;
mod records;
mod removed_topics;
mod topic_name;

pub use decide::{CreatedTopic, NewTopic, TopicAssignment};
pub use delta::MetadataDelta;
pub use error::ControllerError;
pub use image::{ImageBuilder, MetadataImage, PartitionImage, TopicImage};
pub use records::MetadataRecord;
pub(crate) use records::encode_batch;
pub use topic_name::{CLUSTER_METADATA, INTERNAL_TOPICS, is_internal, is_reserved, validate_topic_name};
