//! The controller: the one writer of the metadata. Lives on shard 0.
//!
//! A change is decided (`decide`) against the newest image, written to the metadata log, and applied and published only
//! when it is on stable storage. Changes go one after the other.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::{Either, join_all, select};
use futures_util::lock::{Mutex, MutexGuard};
use model::TopicId;
use net::protocol::ErrorCode;
use runtime::sync::{Notify, Permit, Semaphore};
use runtime::{Clock, Effects, Monotonic, yield_now};
use storage::AppendOrigin;

use super::decide::{Command, CreatedTopic, Facts, NewTopic, TopicCreation, check_total};
use super::error::ControllerError;
use super::image::{ImageBuilder, MetadataImage};
use super::records::{self, MetadataRecord};
use super::topic_name::is_internal;
use crate::node::shard::Shard;
use crate::replicas::partition::Partition;

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

    /// Creates topics, each on its own merits; yields what became of them in their order. With `validate_only` nothing is
    /// created. Begins until `deadline` or never.
    pub async fn create_topics(
        &self,
        shard: &Rc<Shard<E>>,
        topics: Vec<NewTopic>,
        validate_only: bool,
        deadline: Option<Monotonic>,
    ) -> Vec<Result<CreatedTopic, ControllerError>> {
        let count = topics.len();
        let refused = |error: ControllerError| vec![Err(error); count];
        if let Err(error) = check_total(&facts(shard), &topics) {
            return refused(error);
        }
        let wanted: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let turn = match self.turn(shard, deadline, &wanted).await {
            Ok(turn) => turn,
            Err(error) => return refused(error),
        };
        let (records, created) = {
            let facts = facts(shard);
            let mut creation = TopicCreation::new(&turn.state, &facts);
            let mut created = Vec::with_capacity(count);
            for topic in topics {
                created.push(creation.create(topic, shard.random_uuid()));
                if created.len() % CREATED_AT_ONCE == 0 {
                    yield_now().await;
                }
            }
            (creation.into_records(), created)
        };
        if validate_only {
            return created;
        }
        if let Err(error) = self.commit(shard, turn, records).await {
            return created.into_iter().map(|topic| topic.and(Err(error.clone()))).collect();
        }
        created
    }

    /// Makes a change; with `validate_only` just says whether it could be made. Begins until `deadline` or never.
    ///
    /// # Errors
    /// The command does not fit the metadata, or the change failed to be recorded.
    pub async fn change<C: Command>(
        &self,
        shard: &Rc<Shard<E>>,
        command: C,
        validate_only: bool,
        deadline: Option<Monotonic>,
    ) -> Result<C::Outcome, ControllerError> {
        let turn = self.turn(shard, deadline, &[]).await?;
        let decision = command.decide(&turn.state, &facts(shard))?;
        if !validate_only {
            self.commit(shard, turn, decision.records).await?;
        }
        Ok(decision.outcome)
    }

    /// Records a change and publishes it; completes when all shards have followed, which others do not wait for.
    async fn commit(
        &self,
        shard: &Rc<Shard<E>>,
        turn: Turn<'_>,
        records: Vec<MetadataRecord>,
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
        let removed = removed_names(&state, &records);
        let changed = changed_topics(&state, &records);
        records.iter().for_each(|record| report(&state, record));
        *state = Arc::new(state.with(&records));
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

/// What decisions go by. This broker is the only one.
fn facts<E: Effects>(shard: &Shard<E>) -> Facts {
    Facts { brokers: BTreeSet::from([shard.identity.node_id]), config: shard.config() }
}

/// The names that these records set free.
fn removed_names(before: &MetadataImage, records: &[MetadataRecord]) -> BTreeSet<Arc<str>> {
    let removed = records.iter().filter_map(|record| match record {
        MetadataRecord::RemoveTopic { topic_id } => before.topic_by_id(*topic_id),
        _ => None,
    });
    removed.map(|topic| Arc::clone(&topic.name)).collect()
}

/// The topics that these records are about.
fn changed_topics(before: &MetadataImage, records: &[MetadataRecord]) -> Vec<TopicId> {
    let changed = records.iter().filter_map(|record| match record {
        MetadataRecord::Topic { id, .. } => Some(*id),
        MetadataRecord::Partition { topic_id, .. } | MetadataRecord::RemoveTopic { topic_id } => {
            Some(*topic_id)
        }
        MetadataRecord::TopicConfig { topic, .. } => before.topic(topic).map(|topic| topic.id),
        MetadataRecord::BrokerConfig { .. } | MetadataRecord::ProducerIds { .. } => None,
    });
    changed.collect::<BTreeSet<_>>().into_iter().collect()
}

/// New topics between two yields.
const CREATED_AT_ONCE: usize = 64;
