//! Runs one group coordinator: gives it the time and the log, and its replies to those who asked.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use model::{Offset, RecordBatch, RecordBatchBuilder, RecordIter, TopicId};
use runtime::sync::{Notify, oneshot};
use runtime::{Clock, Effects, Monotonic};
use storage::{AppendOrigin, ReadError};

use crate::config::BrokerConfig;
use crate::coordination::groups::{
    Action, AppendError, AppendToken, GroupConfig, GroupCoordinator, Input, LogRecord, Now, OffsetCursor,
    Request, RequestToken, Response,
};
use crate::metadata::TopicImage;
use crate::node::shard::Shard;
use crate::replicas::offline_partitions::OfflinePartition;
use crate::replicas::partition::Partition;

/// The coordinator of one partition of `__consumer_offsets`. Lives on the shard that owns the partition.
pub struct GroupService<E: Effects> {
    effects: E,
    shard: Weak<Shard<E>>,
    partition: Rc<Partition<E>>,
    config: Arc<BrokerConfig>,
    coordinator: RefCell<GroupCoordinator>,
    waiting: RefCell<BTreeMap<RequestToken, oneshot::Sender<Response>>>,
    requests: Cell<u64>,
    /// Appends in log order, each with the end that the high watermark must reach.
    appends: RefCell<VecDeque<(AppendToken, Offset)>>,
    /// A task waits for the first of `appends`.
    completing: Cell<bool>,
    /// The deadline that the timer task sleeps for.
    timer: Cell<Option<u64>>,
    timer_changed: Notify,
    resigned: Cell<bool>,
}

impl<E: Effects> GroupService<E> {
    /// Starts to load the partition's log. Until that is done, requests are refused as the
    /// protocol has it.
    pub fn start(shard: &Rc<Shard<E>>, partition: Rc<Partition<E>>) -> Rc<Self> {
        let service = Rc::new(Self {
            effects: shard.effects.clone(),
            shard: Rc::downgrade(shard),
            partition,
            config: shard.config(),
            coordinator: RefCell::new(GroupCoordinator::new(group_config(&shard.config()))),
            waiting: RefCell::default(),
            requests: Cell::new(0),
            appends: RefCell::default(),
            completing: Cell::new(false),
            timer: Cell::new(None),
            timer_changed: Notify::new(),
            resigned: Cell::new(false),
        });
        shard.effects.spawn(Rc::clone(&service).run());
        service
    }

    /// Whether the log is still being read.
    pub fn is_loading(&self) -> bool {
        self.coordinator.borrow().is_loading()
    }

    /// How many groups it has.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.coordinator.borrow().group_count()
    }

    /// Hands a request to the coordinator; the answer comes through the receiver.
    pub fn ask(self: &Rc<Self>, request: Request) -> oneshot::Receiver<Response> {
        let token = RequestToken(self.requests.get());
        self.requests.set(token.0 + 1);
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(token, sender);
        self.step(Input::Request { token, request });
        receiver
    }

    /// Forgets the offsets in a topic.
    pub fn topic_deleted(self: &Rc<Self>, topic: &TopicImage) {
        self.step(Input::TopicDeleted { topic: topic.name.to_string(), topic_id: topic.id });
    }

    /// Answers everyone who waits and ends.
    pub fn resign(self: &Rc<Self>) {
        self.resigned.set(true);
        self.step(Input::Resign);
        self.timer_changed.notify_one();
    }

    async fn run(self: Rc<Self>) {
        match self.load_at_last().await {
            Ok(()) if !self.resigned.get() => {
                self.step(Input::LoadDone);
                self.effects.spawn(Rc::clone(&self).forget_removed_topics());
            }
            Ok(()) => {}
            Err(error) => self.unavailable(&error),
        }
        if let Some(shard) = self.shard.upgrade() {
            shard.coordinators.loading_ended();
        }
        while !self.resigned.get() {
            let deadline = self.coordinator.borrow().next_deadline();
            self.timer.set(deadline);
            let at = deadline.map_or(Monotonic(u64::MAX), |ms| Monotonic(0) + Duration::from_millis(ms));
            let sleep = std::pin::pin!(self.effects.clock().sleep_until(at));
            let changed = std::pin::pin!(self.timer_changed.notified());
            if let Either::Left(_) = select(sleep, changed).await {
                self.step(Input::Tick);
            }
        }
    }

    /// Loads the log, again and again while what is in the way passes.
    async fn load_at_last(self: &Rc<Self>) -> Result<(), LoadError> {
        loop {
            match self.load().await {
                Err(LoadError::Read(error)) if error.is_passing() && !self.resigned.get() => {
                    let name = &self.partition.name;
                    tracing::warn!(partition = %name, %error, "groups cannot be loaded now, tried again soon");
                    let fresh = GroupCoordinator::new(group_config(&self.config));
                    *self.coordinator.borrow_mut() = fresh;
                    let clock = self.effects.clock();
                    clock.sleep_until(clock.now() + LOAD_PAUSE).await;
                }
                loaded => return loaded,
            }
        }
    }

    /// Gives up: what is known of the groups may be old, and no answer is better than an old offset.
    fn unavailable(self: &Rc<Self>, error: &LoadError) {
        let name = &self.partition.name;
        tracing::error!(partition = %name, %error, "the groups of this partition cannot be loaded: they have no coordinator");
        if let Some(shard) = self.shard.upgrade() {
            let (name, reason) = (name.clone(), format!("its groups cannot be loaded: {error}"));
            let offline = OfflinePartition { name, is_readable: true, reason };
            shard.identity.offline.note(self.partition.topic_id, offline);
        }
        self.resign();
    }

    /// Replays the log. All of it, or what was committed last would be unknown.
    async fn load(&self) -> Result<(), LoadError> {
        let mut bad = None;
        let log = &self.partition.log;
        let replayed = log.replay(log.log_start_offset(), |batch| {
            if bad.is_none() && !self.resigned.get() {
                bad = self.replay(&batch).err();
            }
        });
        replayed.await?;
        bad.map_or(Ok(()), Err)?;
        let groups = self.coordinator.borrow().group_count();
        if groups > 0 {
            tracing::info!(partition = %self.partition.name, groups, "groups loaded");
        }
        Ok(())
    }

    fn replay(&self, batch: &RecordBatch<'_>) -> Result<(), LoadError> {
        if batch.is_control() {
            return Ok(());
        }
        let bad = |error: &dyn Display| LoadError::Record(batch.base_offset(), error.to_string());
        let bytes = storage::unpacked_records(batch).map_err(|error| bad(&error))?;
        let (count, base) = (batch.record_count(), batch.base_offset());
        for record in RecordIter::new(&bytes, count, base, batch.base_timestamp()) {
            let record = record.map_err(|error| bad(&error))?;
            let key = record.key.unwrap_or_default();
            self.coordinator.borrow_mut().replay(key, record.value).map_err(|error| bad(&error))?;
        }
        Ok(())
    }

    /// Forgets offsets in topics that were removed when nobody could take note of it: a kill or the load came between.
    async fn forget_removed_topics(self: Rc<Self>) {
        let mut from = Some(OffsetCursor::default());
        while let Some(cursor) = from.take()
            && !self.resigned.get()
        {
            let Some(image) = self.shard.upgrade().map(|shard| shard.image()) else { return };
            // A topic that is not known may be too new for this shard, unless it comes from a record without an id: such
            // are old.
            let is_removed = |name: &str, id: TopicId| {
                image.was_removed(id) || (id.is_zero() && image.topic(name).is_none())
            };
            let now = self.now();
            let (actions, next) =
                self.coordinator.borrow_mut().forget_removed_topics(&cursor, is_removed, now);
            self.carry_out(actions);
            from = next;
            let clock = self.effects.clock();
            clock.sleep_until(clock.now() + PASS_PAUSE).await;
        }
    }

    fn now(&self) -> Now {
        let clock = self.effects.clock();
        Now { monotonic_ms: clock.now().as_millis(), wall_ms: clock.unix_ms() }
    }

    /// Gives the coordinator an input and carries out what follows.
    fn step(self: &Rc<Self>, input: Input) {
        let actions = self.coordinator.borrow_mut().step(input, self.now());
        self.carry_out(actions);
    }

    /// Carries out what a step decided, and what follows from that.
    fn carry_out(self: &Rc<Self>, actions: Vec<Action>) {
        let mut steps = VecDeque::from([actions]);
        while let Some(actions) = steps.pop_front() {
            for action in actions {
                match action {
                    Action::Reply { token, response } => {
                        if let Some(asker) = self.waiting.borrow_mut().remove(&token) {
                            // A connection that is gone does not want its answer.
                            let _ = asker.send(response);
                        }
                    }
                    Action::Append { token, records } => match self.append(&records) {
                        Ok(end) => self.appends.borrow_mut().push_back((token, end)),
                        Err(error) => {
                            let failed = Input::Appended { token, result: Err(error) };
                            steps.push_back(self.coordinator.borrow_mut().step(failed, self.now()));
                        }
                    },
                }
            }
        }
        self.complete_appends();
        let deadline = self.coordinator.borrow().next_deadline();
        if deadline.is_some_and(|deadline| self.timer.get().is_none_or(|timer| deadline < timer)) {
            self.timer_changed.notify_one();
        }
    }

    /// Appends records as one batch; yields the end that makes them durable.
    fn append(&self, records: &[LogRecord]) -> Result<Offset, AppendError> {
        let now = self.effects.clock().unix_ms();
        let log = &self.partition.log;
        let batch = records.iter().fold(RecordBatchBuilder::new(log.log_end_offset()), |batch, record| {
            batch.record(now, Some(&record.key), record.value.as_deref())
        });
        let epoch = self.partition.leader_epoch();
        match log.append(&batch.build(), AppendOrigin::Coordinator, epoch, now) {
            Ok(info) => {
                self.partition.appended();
                Ok(info.last_offset.plus(1))
            }
            Err(error) => {
                tracing::warn!(partition = %self.partition.name, %error, "group records could not be appended");
                Err(append_error(&error))
            }
        }
    }

    /// Makes sure that somebody waits for the appends that are under way.
    fn complete_appends(self: &Rc<Self>) {
        if self.appends.borrow().is_empty() || self.completing.replace(true) {
            return;
        }
        let service = Rc::clone(self);
        self.effects.spawn(async move {
            loop {
                let first = service.appends.borrow_mut().pop_front();
                let Some((token, end)) = first else { break };
                let result = service.partition.committed(end).await.map_err(|_| AppendError::NotLeader);
                service.step(Input::Appended { token, result });
            }
            service.completing.set(false);
        });
    }
}

/// Why the groups of a partition are not known.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the batch at offset {0} cannot be understood: {1}")]
    Record(Offset, String),
}

/// How long a load waits that met something that passes.
const LOAD_PAUSE: Duration = Duration::from_millis(100);

/// Between two steps of a pass over all offsets, for others on the shard.
const PASS_PAUSE: Duration = Duration::from_millis(1);

fn append_error(error: &storage::AppendError) -> AppendError {
    match error {
        storage::AppendError::TooLarge { .. } | storage::AppendError::LargerThanSegment { .. } => {
            AppendError::TooLarge
        }
        storage::AppendError::Storage(_) => AppendError::NotLeader,
        _ => AppendError::Unavailable,
    }
}

fn group_config(config: &BrokerConfig) -> GroupConfig {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let millis_i32 = |duration| i32::try_from(millis(duration)).unwrap_or(i32::MAX);
    GroupConfig {
        min_session_timeout_ms: millis_i32(config.group_session_timeout_min()),
        max_session_timeout_ms: millis_i32(config.group_session_timeout_max()),
        initial_rebalance_delay_ms: millis(config.group_initial_rebalance_delay()),
        group_size_max: config.group_size_max(),
        offset_metadata_max: config.offset_metadata_bytes_max(),
        offsets_retention_ms: i64::try_from(millis(config.offsets_retention())).unwrap_or(i64::MAX),
        offsets_retention_check_interval_ms: millis(config.offsets_retention_check_interval()),
    }
}
