//! The controller: the one writer of the metadata. Lives on shard 0.
//!
//! A change is decided against the newest image, written to the metadata log, and applied and published only
//! when it is on stable storage. Changes go one after the other.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::lock::Mutex;
use model::{LeaderEpoch, NodeId, Offset, PartitionId, TopicId};
use net::protocol::ErrorCode;
use runtime::{Clock, Effects};
use storage::AppendOrigin;

use super::image::{ImageBuilder, MetadataImage, PartitionImage};
use super::records::{self, MetadataRecord};
use super::{CLUSTER_METADATA, validate_topic_name};
use crate::config::validate_topic_configs;
use crate::partition::Partition;
use crate::shard::Shard;

/// A refused change: Kafka's error and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ControllerError {
    /// Kafka's error.
    pub code: ErrorCode,
    /// What is wrong, naming the value.
    pub message: String,
}

impl ControllerError {
    /// An error with its explanation.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// How many partitions a new topic gets, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicAssignment {
    /// So many partitions (-1: the default) with so many replicas (-1: the default), placed by the broker.
    Count {
        /// Partitions.
        partitions: i32,
        /// Replicas of each.
        replication_factor: i16,
    },
    /// The replicas of each partition, by index.
    Manual(BTreeMap<i32, Vec<i32>>),
}

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// Partitions and replicas.
    pub assignment: TopicAssignment,
    /// Configs of its own; a null value is refused.
    pub configs: Vec<(String, Option<String>)>,
}

/// Partitions that one topic may have.
const PARTITIONS_MAX: usize = 100_000;

/// Producer ids that a shard takes at a time (Kafka's block size).
pub const PRODUCER_ID_BLOCK: i64 = 1_000;

/// Records that go into one batch of the metadata log.
const BATCH_RECORDS_MAX: usize = 1_000;

/// Decides and records every change of the metadata.
pub struct Controller<E: Effects> {
    log: Rc<Partition<E>>,
    state: Mutex<Arc<MetadataImage>>,
}

impl<E: Effects> Controller<E> {
    /// Replays the metadata log.
    ///
    /// # Errors
    /// A record that cannot be read, or a log that cannot.
    pub async fn load(log: Rc<Partition<E>>) -> anyhow::Result<Self> {
        let mut builder = ImageBuilder::default();
        let mut failed = None;
        let mut apply = |batch: model::RecordBatch<'_>| {
            if batch.is_control() || failed.is_some() {
                return;
            }
            if let Err(error) = builder.apply_batch(&batch) {
                failed = Some(error.context(format!("metadata log at offset {}", batch.base_offset())));
            }
        };
        log.log.replay(log.log.log_start_offset(), &mut apply).await?;
        match failed {
            Some(error) => Err(error),
            None => Ok(Self { log, state: Mutex::new(Arc::new(builder.build())) }),
        }
    }

    /// The newest image.
    pub async fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&*self.state.lock().await)
    }

    /// The log, for the coordinators of shutdown.
    #[must_use]
    pub fn partition(&self) -> &Rc<Partition<E>> {
        &self.log
    }

    /// Creates topics, each on its own merits; yields the ids in the order of `topics`. With `validate_only` nothing is
    /// created and the ids are zero.
    pub async fn create_topics(
        &self,
        shard: &Rc<Shard<E>>,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Vec<Result<CreatedTopic, ControllerError>> {
        let mut state = self.state.lock().await;
        let mut records = Vec::new();
        let mut created = Vec::new();
        let mut names = std::collections::BTreeSet::new();
        for topic in topics {
            let plan = plan_topic(shard, &state, &topic).and_then(|plan| {
                if names.insert(topic.name.clone()) {
                    Ok(plan)
                } else {
                    Err(ControllerError::new(
                        ErrorCode::TopicAlreadyExists,
                        format!("Topic '{}' already exists.", topic.name),
                    ))
                }
            });
            created.push(plan.map(|(outcome, planned)| {
                records.extend(planned);
                outcome
            }));
        }
        if validate_only {
            return created;
        }
        let changed = created.iter().flatten().map(|topic| topic.id).collect();
        if let Err(error) = self.commit(shard, &mut state, records, changed).await {
            return created.into_iter().map(|topic| topic.and(Err(error.clone()))).collect();
        }
        created
    }

    /// Deletes topics by id.
    ///
    /// # Errors
    /// The whole change failed to be recorded.
    pub async fn delete_topics(
        &self,
        shard: &Rc<Shard<E>>,
        ids: Vec<TopicId>,
    ) -> Result<(), ControllerError> {
        let mut state = self.state.lock().await;
        let ids: Vec<_> = ids.into_iter().filter(|id| state.topic_by_id(*id).is_some()).collect();
        let records = ids.iter().map(|id| MetadataRecord::RemoveTopic { topic_id: *id }).collect();
        self.commit(shard, &mut state, records, ids).await
    }

    /// Raises a topic's number of partitions to `count`.
    ///
    /// # Errors
    /// The topic is unknown, or `count` or `assignments` do not fit it.
    pub async fn create_partitions(
        &self,
        shard: &Rc<Shard<E>>,
        name: &str,
        count: i32,
        assignments: Option<Vec<Vec<i32>>>,
        validate_only: bool,
    ) -> Result<(), ControllerError> {
        if super::is_internal(name) {
            // Groups are found by hashing over the number of partitions: all of them would vanish.
            return Err(ControllerError::new(
                ErrorCode::InvalidRequest,
                format!("The number of partitions of the internal topic '{name}' is fixed."),
            ));
        }
        let mut state = self.state.lock().await;
        let Some(topic) = state.topic(name).cloned() else {
            return Err(ControllerError::new(
                ErrorCode::UnknownTopicOrPartition,
                format!("The topic '{name}' does not exist."),
            ));
        };
        let (have, want) = (topic.partitions.len(), usize::try_from(count).unwrap_or(0));
        if want <= have || want > PARTITIONS_MAX {
            let message = if want == have {
                format!("Topic already has {have} partition(s).")
            } else if want > have {
                format!("The topic {name} would have {want} partitions, more than {PARTITIONS_MAX}.")
            } else {
                format!(
                    "The topic {name} currently has {have} partition(s); {count} would not be an increase."
                )
            };
            return Err(ControllerError::new(ErrorCode::InvalidPartitions, message));
        }
        if let Some(assignments) = assignments {
            if assignments.len() != want - have {
                return Err(ControllerError::new(
                    ErrorCode::InvalidReplicaAssignment,
                    format!(
                        "Attempted to add {} additional partition(s), but only {} assignment(s) were specified.",
                        want - have,
                        assignments.len()
                    ),
                ));
            }
            for replicas in &assignments {
                check_replicas(shard.identity.node_id, replicas)?;
            }
        }
        if validate_only {
            return Ok(());
        }
        let records =
            (have..want).map(|index| partition_record(topic.id, index, shard.identity.node_id)).collect();
        self.commit(shard, &mut state, records, vec![topic.id]).await
    }

    /// Replaces a topic's own configs by what `alter` makes of them.
    ///
    /// # Errors
    /// The topic is unknown, or what `alter` says.
    pub async fn alter_topic_configs(
        &self,
        shard: &Rc<Shard<E>>,
        name: &str,
        alter: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ControllerError>,
        validate_only: bool,
    ) -> Result<(), ControllerError> {
        let mut state = self.state.lock().await;
        let Some(topic) = state.topic(name).cloned() else {
            return Err(ControllerError::new(
                ErrorCode::UnknownTopicOrPartition,
                format!("The topic '{name}' does not exist."),
            ));
        };
        let altered = alter(&topic.configs)?;
        if validate_only {
            return Ok(());
        }
        let records = difference(&topic.configs, &altered)
            .map(|(key, value)| MetadataRecord::TopicConfig { topic: name.to_owned(), key, value })
            .collect();
        self.commit(shard, &mut state, records, vec![topic.id]).await
    }

    /// Replaces the dynamic configs of a broker (or, with `None`, of all brokers) by what `alter` makes of them.
    ///
    /// # Errors
    /// What `alter` says.
    pub async fn alter_broker_configs(
        &self,
        shard: &Rc<Shard<E>>,
        node: Option<NodeId>,
        alter: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ControllerError>,
        validate_only: bool,
    ) -> Result<(), ControllerError> {
        let mut state = self.state.lock().await;
        let before = state.broker_configs(node);
        let altered = alter(&before)?;
        if validate_only {
            return Ok(());
        }
        let records = difference(&before, &altered)
            .map(|(key, value)| MetadataRecord::BrokerConfig { node, key, value })
            .collect();
        self.commit(shard, &mut state, records, Vec::new()).await
    }

    /// Takes a block of [`PRODUCER_ID_BLOCK`] producer ids out of the pool; yields the first.
    ///
    /// # Errors
    /// The change failed to be recorded.
    pub async fn allocate_producer_ids(&self, shard: &Rc<Shard<E>>) -> Result<i64, ControllerError> {
        let mut state = self.state.lock().await;
        let first = state.next_producer_id();
        let records = vec![MetadataRecord::ProducerIds { next: first + PRODUCER_ID_BLOCK }];
        self.commit(shard, &mut state, records, Vec::new()).await?;
        Ok(first)
    }

    async fn commit(
        &self,
        shard: &Rc<Shard<E>>,
        state: &mut Arc<MetadataImage>,
        records: Vec<MetadataRecord>,
        changed: Vec<TopicId>,
    ) -> Result<(), ControllerError> {
        if records.is_empty() {
            return Ok(());
        }
        let now = shard.effects.clock().unix_ms();
        let mut end = Offset::ZERO;
        for records in records.chunks(BATCH_RECORDS_MAX) {
            let batch = records::encode_batch(records, now)
                .map_err(|error| ControllerError::new(ErrorCode::InvalidRequest, error.to_string()))?;
            let appended = self.log.log.append(&batch, AppendOrigin::Internal, self.log.leader_epoch(), now);
            let info = appended.map_err(|error| {
                let message = format!("The metadata log refused the change: {error}");
                ControllerError::new(ErrorCode::KafkaStorageError, message)
            })?;
            self.log.appended();
            end = info.last_offset.plus(1);
        }
        self.log.committed(end).await.map_err(|code| {
            ControllerError::new(code, "The metadata log could not be written; see the broker's log.")
        })?;
        let mut builder = ImageBuilder::from_image(state);
        for record in &records {
            builder.apply(record);
        }
        *state = Arc::new(builder.build());
        let image = Arc::clone(state);
        shard
            .call_all(move |shard| {
                let (image, changed) = (Arc::clone(&image), changed.clone());
                async move { shard.apply_image(image, changed).await }
            })
            .await;
        Ok(())
    }
}

/// A topic that was created, or would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; zero when only validated.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: usize,
    /// Replicas of each.
    pub replication_factor: i16,
}

type Plan = (CreatedTopic, Vec<MetadataRecord>);

fn plan_topic<E: Effects>(
    shard: &Shard<E>,
    image: &MetadataImage,
    topic: &NewTopic,
) -> Result<Plan, ControllerError> {
    validate_topic_name(&topic.name)
        .map_err(|message| ControllerError::new(ErrorCode::InvalidTopicException, message))?;
    if topic.name == CLUSTER_METADATA {
        let message = format!("Creation of internal topic {CLUSTER_METADATA} is prohibited.");
        return Err(ControllerError::new(ErrorCode::InvalidRequest, message));
    }
    if image.topic(&topic.name).is_some() {
        let message = format!("Topic '{}' already exists.", topic.name);
        return Err(ControllerError::new(ErrorCode::TopicAlreadyExists, message));
    }
    if let Some(other) = colliding(image, &topic.name) {
        let message = format!("Topic '{}' collides with existing topic: {other}", topic.name);
        return Err(ControllerError::new(ErrorCode::InvalidTopicException, message));
    }
    let node = shard.identity.node_id;
    let partitions = plan_partitions(shard, node, &topic.assignment)?;
    let id = shard.random_uuid();
    let mut records = vec![MetadataRecord::Topic { name: topic.name.clone(), id }];
    records.extend(plan_configs(topic)?.into_iter().map(|(key, value)| MetadataRecord::TopicConfig {
        topic: topic.name.clone(),
        key,
        value: Some(value),
    }));
    records.extend((0..partitions).map(|index| partition_record(id, index, node)));
    Ok((CreatedTopic { id, partitions, replication_factor: 1 }, records))
}

/// The topic's own settings, good ones; of a key that stands there twice the last value.
fn plan_configs(topic: &NewTopic) -> Result<BTreeMap<String, String>, ControllerError> {
    let refuse = |message| ControllerError::new(ErrorCode::InvalidConfig, message);
    let mut configs = BTreeMap::new();
    for (key, value) in &topic.configs {
        let Some(value) = value else {
            return Err(refuse(format!("Null value not supported for topic configs: {key}")));
        };
        configs.insert(key.clone(), value.clone());
    }
    validate_topic_configs(&configs).map_err(|error| refuse(error.to_string()))?;
    Ok(configs)
}

fn plan_partitions<E: Effects>(
    shard: &Shard<E>,
    node: NodeId,
    assignment: &TopicAssignment,
) -> Result<usize, ControllerError> {
    match assignment {
        TopicAssignment::Count { partitions, replication_factor } => {
            let count = if *partitions == -1 { shard.config().num_partitions() } else { *partitions };
            let count = usize::try_from(count).ok().filter(|count| (1..=PARTITIONS_MAX).contains(count));
            let Some(count) = count else {
                return Err(ControllerError::new(
                    ErrorCode::InvalidPartitions,
                    format!(
                        "Number of partitions was set to an invalid value: {partitions}; 1 to {PARTITIONS_MAX} are possible."
                    ),
                ));
            };
            match replication_factor {
                -1 | 1 => Ok(count),
                factor if *factor < 1 => Err(ControllerError::new(
                    ErrorCode::InvalidReplicationFactor,
                    format!(
                        "Replication factor must be larger than 0, or -1 to use the default value: {factor}"
                    ),
                )),
                factor => Err(ControllerError::new(
                    ErrorCode::InvalidReplicationFactor,
                    format!(
                        "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be reached because only 1 broker(s) are registered."
                    ),
                )),
            }
        }
        TopicAssignment::Manual(replicas) => {
            for (expected, (index, replicas)) in replicas.iter().enumerate() {
                if usize::try_from(*index) != Ok(expected) {
                    return Err(ControllerError::new(
                        ErrorCode::InvalidReplicaAssignment,
                        "partitions should be a consecutive 0-based integer sequence",
                    ));
                }
                check_replicas(node, replicas)?;
            }
            Ok(replicas.len())
        }
    }
}

fn check_replicas(node: NodeId, replicas: &[i32]) -> Result<(), ControllerError> {
    let refuse = |message: String| Err(ControllerError::new(ErrorCode::InvalidReplicaAssignment, message));
    match replicas {
        [] => refuse("The manual partition assignment includes an empty replica list.".into()),
        [one] if *one == node.0 => Ok(()),
        [one] => refuse(format!(
            "The manual partition assignment includes broker {one}, but no such broker is registered."
        )),
        _ => refuse(format!(
            "The manual partition assignment {replicas:?} names more brokers than the one that is registered."
        )),
    }
}

fn partition_record(topic_id: TopicId, index: usize, node: NodeId) -> MetadataRecord {
    MetadataRecord::Partition {
        topic_id,
        partition: PartitionId(i32::try_from(index).unwrap_or(i32::MAX)),
        image: PartitionImage {
            replicas: vec![node],
            isr: vec![node],
            leader: node,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
        },
    }
}

/// A topic whose name differs from `name` only in '.' and '_', which metrics cannot tell apart.
fn colliding(image: &MetadataImage, name: &str) -> Option<Arc<str>> {
    if !name.contains(['.', '_']) {
        return None;
    }
    let plain = name.replace('.', "_");
    image.topics().map(|topic| &topic.name).find(|other| other.replace('.', "_") == plain).cloned()
}

fn difference(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> impl Iterator<Item = (String, Option<String>)> {
    let removed = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), None));
    let set = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), Some(value.clone())));
    removed.chain(set).collect::<Vec<_>>().into_iter()
}
