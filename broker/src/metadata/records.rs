//! The records of the metadata log, in KRaft's schemas, and the changes that they mean to us.

use anyhow::Context;
use bytes::Bytes;
use model::{LeaderEpoch, NodeId, Offset, PartitionId, RecordBatch, RecordBatchBuilder, TopicId};
use net::protocol::records::config_record::ConfigRecord;
use net::protocol::records::partition_record::PartitionRecord;
use net::protocol::records::producer_ids_record::ProducerIdsRecord;
use net::protocol::records::remove_topic_record::RemoveTopicRecord;
use net::protocol::records::topic_record::TopicRecord;
use net::protocol::{self, EncodeError, encode_metadata};

use super::image::PartitionImage;

/// One change of the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataRecord {
    /// A topic came into being.
    Topic {
        /// Its name.
        name: String,
        /// Its id.
        id: TopicId,
    },
    /// A partition came into being or changed.
    Partition {
        /// The topic.
        topic_id: TopicId,
        /// The partition's index.
        partition: PartitionId,
        /// What it is now.
        image: PartitionImage,
    },
    /// A topic is gone.
    RemoveTopic {
        /// The topic.
        topic_id: TopicId,
    },
    /// A topic's own config was set, or removed.
    TopicConfig {
        /// The topic's name.
        topic: String,
        /// The config's name.
        key: String,
        /// The value; `None` removes it.
        value: Option<String>,
    },
    /// A broker's dynamic config was set, or removed.
    BrokerConfig {
        /// The broker; `None` means all.
        node: Option<NodeId>,
        /// The config's name.
        key: String,
        /// The value; `None` removes it.
        value: Option<String>,
    },
    /// Producer ids below `next` are taken.
    ProducerIds {
        /// The first free id.
        next: i64,
    },
}

/// Kafka's `ConfigResource.Type`.
const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;

impl MetadataRecord {
    fn encode(&self) -> Result<Bytes, EncodeError> {
        match self {
            Self::Topic { name, id } => {
                encode_metadata(&TopicRecord { name: name.clone(), topic_id: *id }, 0)
            }
            Self::Partition { topic_id, partition, image } => {
                let record = PartitionRecord {
                    partition_id: partition.0,
                    topic_id: *topic_id,
                    replicas: image.replicas.iter().map(|node| node.0).collect(),
                    isr: image.isr.iter().map(|node| node.0).collect(),
                    leader: image.leader.0,
                    leader_epoch: image.leader_epoch.0,
                    partition_epoch: image.partition_epoch,
                    ..PartitionRecord::default()
                };
                encode_metadata(&record, 0)
            }
            Self::RemoveTopic { topic_id } => encode_metadata(&RemoveTopicRecord { topic_id: *topic_id }, 0),
            Self::TopicConfig { topic, key, value } => config(RESOURCE_TOPIC, topic, key, value.as_deref()),
            Self::BrokerConfig { node, key, value } => {
                let name = node.map(|node| node.to_string()).unwrap_or_default();
                config(RESOURCE_BROKER, &name, key, value.as_deref())
            }
            Self::ProducerIds { next } => {
                let record = ProducerIdsRecord { next_producer_id: *next, ..ProducerIdsRecord::default() };
                encode_metadata(&record, 0)
            }
        }
    }

    /// What a record of the log means; `None` for the kinds that this version has no use for.
    fn decode(value: &[u8]) -> anyhow::Result<Option<Self>> {
        use protocol::records::MetadataRecord as Wire;
        Ok(match Wire::decode(value)? {
            Wire::Topic(record) => Some(Self::Topic { name: record.name, id: record.topic_id }),
            Wire::Partition(record) => {
                let nodes = |ids: Vec<i32>| ids.into_iter().map(NodeId).collect();
                Some(Self::Partition {
                    topic_id: record.topic_id,
                    partition: PartitionId(record.partition_id),
                    image: PartitionImage {
                        replicas: nodes(record.replicas),
                        isr: nodes(record.isr),
                        leader: NodeId(record.leader),
                        leader_epoch: LeaderEpoch(record.leader_epoch),
                        partition_epoch: record.partition_epoch,
                    },
                })
            }
            Wire::RemoveTopic(record) => Some(Self::RemoveTopic { topic_id: record.topic_id }),
            Wire::Config(record) => match record.resource_type {
                RESOURCE_TOPIC => Some(Self::TopicConfig {
                    topic: record.resource_name,
                    key: record.name,
                    value: record.value,
                }),
                RESOURCE_BROKER => {
                    let node = match record.resource_name.as_str() {
                        "" => None,
                        name => Some(NodeId(name.parse().context("broker id of a config record")?)),
                    };
                    Some(Self::BrokerConfig { node, key: record.name, value: record.value })
                }
                _ => None,
            },
            Wire::ProducerIds(record) => Some(Self::ProducerIds { next: record.next_producer_id }),
            _ => None,
        })
    }
}

fn config(resource_type: i8, name: &str, key: &str, value: Option<&str>) -> Result<Bytes, EncodeError> {
    let record = ConfigRecord {
        resource_type,
        resource_name: name.to_owned(),
        name: key.to_owned(),
        value: value.map(str::to_owned),
    };
    encode_metadata(&record, 0)
}

/// One batch with all of `records`, to be appended to the metadata log.
///
/// # Errors
/// A text that is too long for its field.
pub(crate) fn encode_batch(records: &[MetadataRecord], timestamp: i64) -> Result<Bytes, EncodeError> {
    let mut builder = RecordBatchBuilder::new(Offset::ZERO);
    for record in records {
        builder = builder.record(timestamp, None, Some(&record.encode()?));
    }
    Ok(builder.build())
}

/// Passes every record of a batch to `apply`.
///
/// # Errors
/// A record that cannot be read.
pub(super) fn decode_batch(
    batch: &RecordBatch<'_>,
    mut apply: impl FnMut(MetadataRecord),
) -> anyhow::Result<()> {
    for record in batch.iter() {
        let record = record?;
        let Some(value) = record.value else { continue };
        if let Some(change) = MetadataRecord::decode(value)? {
            apply(change);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Uuid;

    #[test]
    fn every_change_reads_back() {
        let id = Uuid([7; 16]);
        let partition = PartitionImage {
            replicas: vec![NodeId(1)],
            isr: vec![NodeId(1)],
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(3),
            partition_epoch: 4,
        };
        let changes = vec![
            MetadataRecord::Topic { name: "t".into(), id },
            MetadataRecord::Partition { topic_id: id, partition: PartitionId(0), image: partition },
            MetadataRecord::TopicConfig { topic: "t".into(), key: "a".into(), value: Some("b".into()) },
            MetadataRecord::TopicConfig { topic: "t".into(), key: "a".into(), value: None },
            MetadataRecord::BrokerConfig { node: None, key: "a".into(), value: Some("b".into()) },
            MetadataRecord::BrokerConfig { node: Some(NodeId(1)), key: "a".into(), value: None },
            MetadataRecord::ProducerIds { next: 1_000 },
            MetadataRecord::RemoveTopic { topic_id: id },
        ];
        let bytes = encode_batch(&changes, 5).expect("encodes");
        let batch = RecordBatch::parse(&bytes).expect("a batch");
        let mut read = Vec::new();
        decode_batch(&batch, |change| read.push(change)).expect("decodes");
        assert_eq!(read, changes);
    }
}
