//! What the log says of changes.

use crate::metadata::{MetadataImage, MetadataRecord, is_internal};

/// Tells the operator of a change that somebody asked for. Broker settings without their values: some will be secret.
pub(super) fn report(before: &MetadataImage, record: &MetadataRecord) {
    match record {
        MetadataRecord::Topic { name, id } => tracing::info!(topic = name, id = %id, "topic created"),
        MetadataRecord::Partition { topic_id, partition, .. } => {
            if let Some(topic) = before.topic_by_id(*topic_id) {
                tracing::info!(topic = &*topic.name, partition = partition.0, "partition added");
            }
        }
        MetadataRecord::RemoveTopic { topic_id } => {
            let name = before.topic_by_id(*topic_id).map(|topic| &*topic.name);
            tracing::info!(topic = name, id = %topic_id, "topic deleted");
        }
        MetadataRecord::TopicConfig { topic, key, value } => {
            tracing::info!(topic, key, value, "topic setting changed");
            let compacts =
                key == "cleanup.policy" && value.as_ref().is_some_and(|value| value.contains("compact"));
            if compacts && !is_internal(topic) {
                tracing::warn!(
                    topic,
                    "cleanup.policy has compact, but this version compacts nothing: without delete the topic only grows"
                );
            }
        }
        MetadataRecord::BrokerConfig { node, key, .. } => {
            tracing::info!(broker = node.map(|node| node.0), key, "broker setting changed");
        }
        MetadataRecord::ProducerIds { .. } => {}
    }
}
