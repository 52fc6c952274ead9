//! The controller: the one writer of the metadata. Lives on shard 0.
//!
//! A change is decided against the newest image, written to the metadata log, and applied and published only
//! when it is on stable storage. Changes go one after the other.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::{Either, join_all, select};
use futures_util::lock::{Mutex, MutexGuard};
use model::{LeaderEpoch, NodeId, PartitionId, TopicId};
use net::protocol::ErrorCode;
use runtime::sync::{Notify, Permit, Semaphore};
use runtime::{Clock, Effects, Monotonic, yield_now};
use storage::AppendOrigin;

use super::image::{ImageBuilder, MetadataImage, PartitionImage};
use super::records::{self, MetadataRecord};
use super::{CLUSTER_METADATA, validate_topic_name};
use crate::config::validate_topic_configs;
use crate::node::shard::Shard;
use crate::replicas::partition::Partition;

/// A refused change: Kafka's error and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ControllerError {
    /// Kafka's error.
    pub code: ErrorCode,
    /// What is wrong, naming the value; may be empty.
    pub message: String,
}

impl ControllerError {
    /// An error with its explanation.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The time that a client allowed is over.
    pub fn timed_out() -> Self {
        Self::new(ErrorCode::RequestTimedOut, "")
    }

    /// What the client is told; Kafka has no message for some codes.
    pub fn into_message(self) -> Option<String> {
        Some(self.message).filter(|message| !message.is_empty())
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

/// Partitions that one request may create (Kafka's limit).
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// Changes that are recorded while shards still follow earlier ones; more wait.
const CHANGES_MAX: usize = 32;

/// Decides and records every change of the metadata.
pub struct Controller<E: Effects> {
    log: Rc<Partition<E>>,
    state: Mutex<Arc<MetadataImage>>,
    /// Changes that are under way, until all shards have followed.
    changes: Semaphore,
    /// Names of removed topics that a shard may still have logs of: they are not free yet.
    going: RefCell<BTreeSet<Arc<str>>>,
    gone: Notify,
}

/// The right to make the next change.
struct Turn<'a> {
    state: MutexGuard<'a, Arc<MetadataImage>>,
    _change: Permit,
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
            None => Ok(Self {
                log,
                state: Mutex::new(Arc::new(builder.build())),
                changes: Semaphore::new(CHANGES_MAX),
                going: RefCell::default(),
                gone: Notify::new(),
            }),
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

    /// Waits for the right to make a change and for names that new topics need, at most until `deadline`: then nothing
    /// will have been done.
    async fn turn(
        &self,
        shard: &Rc<Shard<E>>,
        deadline: Option<Monotonic>,
        names: &[&str],
    ) -> Result<Turn<'_>, ControllerError> {
        let turn = pin!(async {
            loop {
                let change = self.changes.acquire(1).await;
                let turn = Turn { state: self.state.lock().await, _change: change };
                if !names.iter().any(|name| self.going.borrow().contains(*name)) {
                    return turn;
                }
                drop(turn);
                self.gone.notified().await;
            }
        });
        let Some(deadline) = deadline else { return Ok(turn.await) };
        match select(turn, pin!(shard.effects.clock().sleep_until(deadline))).await {
            Either::Left((turn, _)) => Ok(turn),
            Either::Right(_) => Err(ControllerError::timed_out()),
        }
    }

    /// Creates topics, each on its own merits; yields the ids in the order of `topics`. With `validate_only` nothing is
    /// created and the ids are zero. Begins until `deadline` or never.
    pub async fn create_topics(
        &self,
        shard: &Rc<Shard<E>>,
        topics: Vec<NewTopic>,
        validate_only: bool,
        deadline: Option<Monotonic>,
    ) -> Vec<Result<CreatedTopic, ControllerError>> {
        let refused = |error: ControllerError| topics.iter().map(|_| Err(error.clone())).collect();
        if let Err(error) = check_total(shard, &topics) {
            return refused(error);
        }
        let wanted: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let turn = match self.turn(shard, deadline, &wanted).await {
            Ok(turn) => turn,
            Err(error) => return refused(error),
        };
        let mut records = Vec::new();
        let mut created = Vec::new();
        let mut names = BTreeSet::new();
        let mut alike = AlikeNames::default();
        for (place, topic) in topics.into_iter().enumerate() {
            if place % PLANNED_AT_ONCE == PLANNED_AT_ONCE - 1 {
                yield_now().await;
            }
            let plan = plan_topic(shard, &turn.state, &mut alike, &topic).and_then(|plan| {
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
        if let Err(error) = self.commit(shard, turn, records, changed).await {
            return created.into_iter().map(|topic| topic.and(Err(error.clone()))).collect();
        }
        created
    }

    /// Deletes topics by id. Begins until `deadline` or never.
    ///
    /// # Errors
    /// The whole change failed to be recorded.
    pub async fn delete_topics(
        &self,
        shard: &Rc<Shard<E>>,
        ids: Vec<TopicId>,
        deadline: Monotonic,
    ) -> Result<(), ControllerError> {
        let turn = self.turn(shard, Some(deadline), &[]).await?;
        let ids: Vec<_> = ids.into_iter().filter(|id| turn.state.topic_by_id(*id).is_some()).collect();
        let records = ids.iter().map(|id| MetadataRecord::RemoveTopic { topic_id: *id }).collect();
        self.commit(shard, turn, records, ids).await
    }

    /// Raises a topic's number of partitions to `count`. Begins until `deadline` or never.
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
        deadline: Monotonic,
    ) -> Result<(), ControllerError> {
        if super::is_internal(name) {
            // Groups are found by hashing over the number of partitions: all of them would vanish.
            return Err(ControllerError::new(
                ErrorCode::InvalidRequest,
                format!("The number of partitions of the internal topic '{name}' is fixed."),
            ));
        }
        let turn = self.turn(shard, Some(deadline), &[]).await?;
        let Some(topic) = turn.state.topic(name).cloned() else {
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
        if want - have > PARTITIONS_PER_REQUEST_MAX {
            let message = "Unable to perform excessively large batch operation.";
            return Err(ControllerError::new(ErrorCode::PolicyViolation, message));
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
        self.commit(shard, turn, records, vec![topic.id]).await
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
        let turn = self.turn(shard, None, &[]).await?;
        let Some(topic) = turn.state.topic(name).cloned() else {
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
        self.commit(shard, turn, records, vec![topic.id]).await
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
        let turn = self.turn(shard, None, &[]).await?;
        let before = turn.state.broker_configs(node);
        let altered = alter(&before)?;
        if validate_only {
            return Ok(());
        }
        let records = difference(&before, &altered)
            .map(|(key, value)| MetadataRecord::BrokerConfig { node, key, value })
            .collect();
        self.commit(shard, turn, records, Vec::new()).await
    }

    /// Takes a block of [`PRODUCER_ID_BLOCK`] producer ids out of the pool; yields the first.
    ///
    /// # Errors
    /// The change failed to be recorded.
    pub async fn allocate_producer_ids(&self, shard: &Rc<Shard<E>>) -> Result<i64, ControllerError> {
        let turn = self.turn(shard, None, &[]).await?;
        let first = turn.state.next_producer_id();
        let records = vec![MetadataRecord::ProducerIds { next: first + PRODUCER_ID_BLOCK }];
        self.commit(shard, turn, records, Vec::new()).await?;
        Ok(first)
    }

    /// Records a change and publishes it; completes when all shards have followed, which others do not wait for.
    async fn commit(
        &self,
        shard: &Rc<Shard<E>>,
        turn: Turn<'_>,
        records: Vec<MetadataRecord>,
        changed: Vec<TopicId>,
    ) -> Result<(), ControllerError> {
        if records.is_empty() {
            return Ok(());
        }
        let now = shard.effects.clock().unix_ms();
        // One batch, however large: a change is there as a whole or not at all.
        let batch = records::encode_batch(&records, now)
            .map_err(|error| ControllerError::new(ErrorCode::InvalidRequest, error.to_string()))?;
        let appended = self.log.log.append(&batch, AppendOrigin::Metadata, self.log.leader_epoch(), now);
        let info = appended.map_err(|error| {
            let message = format!("The metadata log refused the change: {error}");
            ControllerError::new(ErrorCode::KafkaStorageError, message)
        })?;
        self.log.appended();
        self.log.committed(info.last_offset.plus(1)).await.map_err(|code| {
            ControllerError::new(code, "The metadata log could not be written; see the broker's log.")
        })?;
        let Turn { mut state, _change } = turn;
        let removed = changed.iter().filter_map(|id| state.topic_by_id(*id));
        let mut removed: BTreeSet<Arc<str>> = removed.map(|topic| Arc::clone(&topic.name)).collect();
        let mut builder = ImageBuilder::from_image(&state);
        for record in &records {
            report(&state, record);
            builder.apply(record);
        }
        *state = Arc::new(builder.build());
        removed.retain(|name| state.topic(name).is_none());
        self.going.borrow_mut().extend(removed.iter().cloned());
        let followed = publish(shard, &state, &changed).await;
        drop(state);
        join_all(followed).await;
        if !removed.is_empty() {
            self.going.borrow_mut().retain(|name| !removed.contains(name));
            self.gone.notify_all();
        }
        Ok(())
    }
}

/// Tells the operator of a change that somebody asked for. Broker settings without their values: some will be secret.
fn report(before: &MetadataImage, record: &MetadataRecord) {
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
            if compacts && !super::is_internal(topic) {
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

/// Hands an image to all shards, which take it over in the order of these calls; yields what completes when each has
/// followed.
async fn publish<E: Effects>(
    shard: &Rc<Shard<E>>,
    image: &Arc<MetadataImage>,
    changed: &[TopicId],
) -> Vec<impl Future<Output = ()> + use<E>> {
    let mut followed = Vec::with_capacity(shard.identity.shards);
    for target in 0..shard.identity.shards {
        let (image, changed) = (Arc::clone(image), changed.to_vec());
        followed.push(if target == shard.index {
            Either::Left(shard.apply_image(image, changed))
        } else {
            Either::Right(shard.send_call(target, move |shard| shard.apply_image(image, changed)).await)
        });
    }
    followed
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
    alike: &mut AlikeNames,
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
    if let Some(other) = alike.colliding(image, &topic.name) {
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

/// Refuses a request that would create too many partitions in all.
fn check_total<E: Effects>(shard: &Shard<E>, topics: &[NewTopic]) -> Result<(), ControllerError> {
    let partitions = |topic: &NewTopic| match &topic.assignment {
        TopicAssignment::Count { partitions: -1, .. } => shard.config().num_partitions(),
        TopicAssignment::Count { partitions, .. } => *partitions,
        TopicAssignment::Manual(replicas) => i32::try_from(replicas.len()).unwrap_or(i32::MAX),
    };
    let total: usize =
        topics.iter().map(|topic| usize::try_from(partitions(topic)).unwrap_or(0).max(1)).sum();
    if total > PARTITIONS_PER_REQUEST_MAX {
        let message = "Excessively large number of partitions per request.";
        return Err(ControllerError::new(ErrorCode::PolicyViolation, message));
    }
    Ok(())
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

/// Existing names by what they look like in a metric, where dots are underscores. Made when the first name asks for it.
#[derive(Default)]
struct AlikeNames(Option<BTreeMap<String, Arc<str>>>);

impl AlikeNames {
    /// The topic whose name differs in dots and underscores only.
    fn colliding(&mut self, image: &MetadataImage, name: &str) -> Option<Arc<str>> {
        if !name.contains(['.', '_']) {
            return None;
        }
        let plain = |name: &str| name.replace('.', "_");
        let names = || image.topics().map(|topic| (plain(&topic.name), Arc::clone(&topic.name))).collect();
        self.0.get_or_insert_with(names).get(&plain(name)).cloned()
    }
}

/// New topics between two yields.
const PLANNED_AT_ONCE: usize = 64;

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
