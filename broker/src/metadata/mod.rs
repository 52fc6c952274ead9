//! What the cluster knows about itself: topics, partitions, configs and producer ids.
//!
//! The controller on shard 0 is the only writer. It has [`decide`] say what a command asks for, appends the KRaft records to
//! the metadata log, applies them to an immutable [`MetadataImage`] and publishes that to every shard.

mod alike_names;
mod controller;
pub mod decide;
mod error;
mod image;
pub mod producer_ids;
mod records;
mod removed_topics;
pub mod reopening;
pub mod topic_changes;
mod topic_name;

pub use controller::Controller;
pub use decide::{CreatedTopic, NewTopic, TopicAssignment};
pub use error::ControllerError;
pub use image::{ImageBuilder, MetadataImage, PartitionImage, TopicImage};
pub use topic_name::{CLUSTER_METADATA, INTERNAL_TOPICS, is_internal, is_reserved, validate_topic_name};
