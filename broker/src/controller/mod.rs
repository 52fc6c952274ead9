//! What acts for the metadata: the controller has commands decided, proposes the records to the metadata log and publishes
//! what is committed. Lives on shard 0, the one writer.
//!
//! A change is decided on the image that all changes before it will make, whether they are committed or not; so many are
//! under way at a time. They are published in the order of the log. When a proposal fails, everything that was decided
//! behind it fails with it.

mod in_flight;
mod metadata_log;
pub mod producer_ids;
mod report;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::{Either, LocalBoxFuture, select};
use futures_util::lock::{Mutex, MutexGuard};
use model::{NodeId, TopicId, Uuid};
use runtime::sync::{Notify, Permit, Semaphore, oneshot};
use runtime::{Clock, Effects, Monotonic, yield_now};

pub use metadata_log::{LogProgress, MetadataLog};

use crate::config::BrokerConfig;
use crate::metadata::decide::{Command, CreatedTopic, Facts, NewTopic, TopicCreation, check_total};
use crate::metadata::{ControllerError, MetadataDelta, MetadataImage, MetadataRecord};
use in_flight::{InFlight, Proposed};

/// What the controller needs of the node that it runs on.
pub trait ControllerHost<E: Effects>: Clone + 'static {
    /// The clock and the source of ids.
    fn effects(&self) -> &E;

    /// The broker that it is.
    fn node_id(&self) -> NodeId;

    /// The broker's settings, with the dynamic ones of the image that was published last.
    fn config(&self) -> Arc<BrokerConfig>;

    /// Hands an image and what is new in it to all shards, which take it over in the order of these calls. The future that
    /// it yields completes when all of them have followed.
    fn publish(
        &self,
        image: &Arc<MetadataImage>,
        delta: &Arc<MetadataDelta>,
    ) -> impl Future<Output = LocalBoxFuture<'static, ()>>;
}

/// Decides, proposes and publishes every change of the metadata.
pub struct Controller<E: Effects> {
    log: MetadataLog<E>,
    in_flight: RefCell<InFlight<Waiting>>,
    /// Whoever has it decides next.
    deciding: Mutex<()>,
    /// Changes that are under way, until all shards have followed.
    changes: Semaphore,
    /// Names of removed topics that a shard may still have logs of: they are not free yet.
    going: RefCell<BTreeSet<Arc<str>>>,
    gone: Notify,
    is_publishing: Cell<bool>,
}

/// Changes that are under way while shards still follow earlier ones; more wait.
const CHANGES_MAX: usize = 32;

/// New topics between two yields.
const CREATED_AT_ONCE: usize = 64;

/// The right to decide on the next change.
struct Turn<'a> {
    /// With all changes before this one.
    image: Arc<MetadataImage>,
    deciding: MutexGuard<'a, ()>,
    change: Permit,
}

/// Who hears what became of a proposal.
struct Waiting {
    answer: oneshot::Sender<Result<(), ControllerError>>,
    /// Names that are free when all shards have followed.
    removed: Vec<Arc<str>>,
    _change: Permit,
}

impl<E: Effects> Controller<E> {
    /// Replays the metadata log.
    ///
    /// # Errors
    /// A record that cannot be read, or a log that cannot.
    pub async fn load(log: MetadataLog<E>) -> anyhow::Result<Rc<Self>> {
        let image = log.replay().await?;
        Ok(Rc::new(Self {
            log,
            in_flight: RefCell::new(InFlight::new(image)),
            deciding: Mutex::new(()),
            changes: Semaphore::new(CHANGES_MAX),
            going: RefCell::default(),
            gone: Notify::new(),
            is_publishing: Cell::new(false),
        }))
    }

    /// The newest committed image.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(self.in_flight.borrow().committed())
    }

    /// How far the metadata log is.
    #[must_use]
    pub fn log_progress(&self) -> LogProgress {
        self.log.progress()
    }

    /// Creates topics, each on its own merits; yields what became of them in their order. With `validate_only` nothing is
    /// created. Begins until `deadline` or never.
    pub async fn create_topics<H: ControllerHost<E>>(
        self: &Rc<Self>,
        host: &H,
        topics: Vec<NewTopic>,
        validate_only: bool,
        deadline: Option<Monotonic>,
    ) -> Vec<Result<CreatedTopic, ControllerError>> {
        let count = topics.len();
        let refused = |error: ControllerError| vec![Err(error); count];
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let turn = match self.turn(host, deadline, &names).await {
            Ok(turn) => turn,
            Err(error) => return refused(error),
        };
        let facts = self.facts(host, &turn.image);
        if let Err(error) = check_total(&facts, &topics) {
            return refused(error);
        }
        let image = Arc::clone(&turn.image);
        let mut creation = TopicCreation::new(&image, &facts);
        let mut created = Vec::with_capacity(count);
        for topic in topics {
            created.push(creation.create(topic, random_id(host)));
            if created.len() % CREATED_AT_ONCE == 0 {
                yield_now().await;
            }
        }
        let records = if validate_only { Vec::new() } else { creation.into_records() };
        match self.commit(host, turn, records).await {
            Ok(()) => created,
            Err(error) => refused(error),
        }
    }

    /// Makes a change; with `validate_only` just says whether it could be made. Begins until `deadline` or never.
    ///
    /// # Errors
    /// The command does not fit the metadata, or it, or a change before it, failed to be recorded.
    pub async fn change<H: ControllerHost<E>, C: Command>(
        self: &Rc<Self>,
        host: &H,
        command: C,
        validate_only: bool,
        deadline: Option<Monotonic>,
    ) -> Result<C::Outcome, ControllerError> {
        let turn = self.turn(host, deadline, &[]).await?;
        let (outcome, records) = match command.decide(&turn.image, &self.facts(host, &turn.image)) {
            Ok(decision) if validate_only => (Ok(decision.outcome), Vec::new()),
            Ok(decision) => (Ok(decision.outcome), decision.records),
            Err(refusal) => (Err(refusal), Vec::new()),
        };
        self.commit(host, turn, records).await?;
        outcome
    }

    /// Waits for the right to make a change and for names that new topics need, at most until `deadline`: then nothing
    /// will have been done.
    async fn turn<H: ControllerHost<E>>(
        &self,
        host: &H,
        deadline: Option<Monotonic>,
        names: &[&str],
    ) -> Result<Turn<'_>, ControllerError> {
        let turn = pin!(async {
            loop {
                let change = self.changes.acquire(1).await;
                let deciding = self.deciding.lock().await;
                if !names.iter().any(|name| self.going.borrow().contains(*name)) {
                    let image = Arc::clone(self.in_flight.borrow().newest());
                    return Turn { image, deciding, change };
                }
                drop((change, deciding));
                self.gone.notified().await;
            }
        });
        let Some(deadline) = deadline else { return Ok(turn.await) };
        match select(turn, pin!(host.effects().clock().sleep_until(deadline))).await {
            Either::Left((turn, _)) => Ok(turn),
            Either::Right(_) => Err(ControllerError::timed_out()),
        }
    }

    /// What decisions on an image go by. This broker is the only one.
    fn facts<H: ControllerHost<E>>(&self, host: &H, image: &MetadataImage) -> Facts {
        let mut config = host.config();
        let in_flight = self.in_flight.borrow();
        let scopes = [None, Some(host.node_id())];
        if scopes
            .iter()
            .any(|node| image.broker_configs(*node) != in_flight.committed().broker_configs(*node))
        {
            let [all, own] = scopes.map(|node| image.broker_configs(node));
            config = BrokerConfig::with_dynamic(&config, &all, &own).map_or(config, Arc::new);
        }
        Facts { brokers: BTreeSet::from([host.node_id()]), config }
    }

    /// Proposes a change; completes when it is committed and all shards have followed, which others do not wait for.
    /// Without records, what was decided counts when the changes that it was decided on are committed.
    async fn commit<H: ControllerHost<E>>(
        self: &Rc<Self>,
        host: &H,
        turn: Turn<'_>,
        records: Vec<MetadataRecord>,
    ) -> Result<(), ControllerError> {
        let answer = {
            let mut in_flight = self.in_flight.borrow_mut();
            if !Arc::ptr_eq(&turn.image, in_flight.newest()) {
                // While this was decided, what it was decided on has failed.
                return Err(metadata_log::failed());
            }
            let (image, end) = match (records.is_empty(), in_flight.newest_end()) {
                (true, None) => return Ok(()),
                (true, Some(end)) => (Arc::clone(&turn.image), end),
                (false, _) => {
                    let end = self.log.propose(&records, host.effects().clock().unix_ms())?;
                    (Arc::new(turn.image.with(&records)), end)
                }
            };
            let removed = removed_names(&turn.image, &records);
            self.going.borrow_mut().extend(removed.iter().cloned());
            let (sender, answer) = oneshot::channel();
            let waiting = Waiting { answer: sender, removed, _change: turn.change };
            in_flight.push(Proposed { end, image, records, waiting });
            answer
        };
        if !self.is_publishing.replace(true) {
            host.effects().spawn(Rc::clone(self).publish_committed(host.clone()));
        }
        drop(turn.deciding);
        answer.await.expect("a proposal is answered when it is committed, or fails")
    }

    /// Publishes changes as they are committed, until none is under way.
    async fn publish_committed<H: ControllerHost<E>>(self: Rc<Self>, host: H) {
        while let Some(end) = self.next_end() {
            if let Err(error) = self.log.committed(end).await {
                let failed = self.in_flight.borrow_mut().discard();
                failed.into_iter().for_each(|change| self.answer(change.waiting, Err(error.clone())));
                continue;
            }
            let before = self.image();
            let Some(change) = self.in_flight.borrow_mut().commit_next() else { continue };
            if change.records.is_empty() {
                self.answer(change.waiting, Ok(()));
                continue;
            }
            change.records.iter().for_each(|record| report::report(&before, record));
            let delta = Arc::new(MetadataDelta::of(&before, &change.records));
            let followed = host.publish(&change.image, &delta).await;
            let controller = Rc::clone(&self);
            host.effects().spawn(async move {
                followed.await;
                controller.answer(change.waiting, Ok(()));
            });
        }
        self.is_publishing.set(false);
    }

    fn next_end(&self) -> Option<model::Offset> {
        self.in_flight.borrow().next_end()
    }

    fn answer(&self, waiting: Waiting, outcome: Result<(), ControllerError>) {
        if !waiting.removed.is_empty() {
            let mut going = self.going.borrow_mut();
            for name in &waiting.removed {
                going.remove(name);
            }
            drop(going);
            self.gone.notify_all();
        }
        // A caller that has gone away no longer wants it.
        let _gone = waiting.answer.send(outcome);
    }
}

fn random_id<E: Effects>(host: &impl ControllerHost<E>) -> TopicId {
    let bits = (u128::from(host.effects().random()) << 64) | u128::from(host.effects().random());
    Uuid::from_random(bits.to_be_bytes())
}

/// The names that these records set free.
fn removed_names(before: &MetadataImage, records: &[MetadataRecord]) -> Vec<Arc<str>> {
    let removed = records.iter().filter_map(|record| match record {
        MetadataRecord::RemoveTopic { topic_id } => before.topic_by_id(*topic_id),
        _ => None,
    });
    removed.map(|topic| Arc::clone(&topic.name)).collect()
}
