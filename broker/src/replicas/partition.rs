//! A partition that this shard owns: its log, its replica and everybody who waits for either.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use model::{DirectoryId, LeaderEpoch, NodeId, Offset, TopicId, TopicPartition};
use net::protocol::ErrorCode;
use replication::{Action, Input, Millis, PartitionRecord, PartitionReplica, ReplicaConfig};
use runtime::sync::Notify;
use runtime::{Clock, Effects, Monotonic};
use storage::{Log, LogListener, StorageError};

use crate::config::{Durability, TopicConfig};

/// When a produce request counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// At once, without a reply.
    None,
    /// When the leader has it on stable storage.
    Leader,
    /// When the high watermark has passed it.
    All,
}

/// One partition. Lives on the shard that owns it.
pub struct Partition<E: Effects> {
    /// The name.
    pub name: TopicPartition,
    /// The topic's id.
    pub topic_id: TopicId,
    /// The records.
    pub log: Rc<Log<E>>,
    effects: E,
    replica: RefCell<PartitionReplica>,
    leader_waiters: RefCell<VecDeque<AckWaiter>>,
    all_waiters: RefCell<VecDeque<AckWaiter>>,
    fetchers: RefCell<Vec<Weak<FetchWait>>>,
    failed: Cell<bool>,
}

struct AckWaiter {
    /// The high watermark or durable end that satisfies it.
    offset: Offset,
    slot: usize,
    wait: Rc<AckWait>,
}

/// The acknowledgements that one produce request waits for on one shard.
pub struct AckWait {
    remaining: Cell<usize>,
    failures: RefCell<Vec<(usize, ErrorCode)>>,
    deadline: Monotonic,
    done: Notify,
}

impl AckWait {
    /// For a request that gives up at `deadline`.
    #[must_use]
    pub fn new(deadline: Monotonic) -> Rc<Self> {
        Rc::new(Self { remaining: Cell::new(0), failures: RefCell::default(), deadline, done: Notify::new() })
    }

    /// Completes when every partition has answered; yields the slots that failed.
    pub async fn wait(&self) -> Vec<(usize, ErrorCode)> {
        while self.remaining.get() > 0 {
            self.done.notified().await;
        }
        self.failures.take()
    }

    fn answer(&self, slot: usize, outcome: Result<(), ErrorCode>) {
        if let Err(error) = outcome {
            self.failures.borrow_mut().push((slot, error));
        }
        self.remaining.set(self.remaining.get() - 1);
        if self.remaining.get() == 0 {
            self.done.notify_one();
        }
    }
}

/// A fetch that waits for more records in any of its partitions.
#[derive(Default)]
pub struct FetchWait {
    notify: Notify,
    woken: Cell<bool>,
}

impl FetchWait {
    /// Completes when a partition it was registered with may have more to read, or when it was cancelled.
    pub async fn woken(&self) {
        while !self.woken.get() {
            self.notify.notified().await;
        }
    }

    /// Completes the wait.
    pub fn wake(&self) {
        self.woken.set(true);
        self.notify.notify_one();
    }
}

impl<E: Effects> Partition<E> {
    /// Leads the partition in `epoch` with what is in `log`, and listens to the log from now on.
    ///
    /// # Panics
    /// If the log is durable beyond its end.
    pub fn lead(
        effects: E,
        node: NodeId,
        epoch: LeaderEpoch,
        log: Rc<Log<E>>,
        config: &TopicConfig,
    ) -> Rc<Self> {
        log.assign_epoch(epoch);
        let (log_end, durable_end) = (log.log_end_offset(), log.durable_end());
        let config = replica_config(config);
        let record = PartitionRecord::sole(node, DirectoryId::ZERO, epoch, config);
        let replica = PartitionReplica::sole(node, record, log_end, durable_end, config)
            .expect("a log is not durable beyond its end, and the record is of this node alone");
        let partition = Rc::new(Self {
            name: log.topic_partition().clone(),
            topic_id: log.topic_id(),
            log: Rc::clone(&log),
            effects,
            replica: RefCell::new(replica),
            leader_waiters: RefCell::default(),
            all_waiters: RefCell::default(),
            fetchers: RefCell::default(),
            failed: Cell::new(false),
        });
        log.update_high_watermark(partition.high_watermark());
        log.set_listener(Rc::new(PartitionListener { partition: Rc::downgrade(&partition) }));
        partition
    }

    /// The offset up to which consumers see records.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.replica.borrow().high_watermark()
    }

    /// Checks that the end of the log is known. Behind damage there are records that were acknowledged, so a client
    /// must not take the first bad one for the end: it would start over, or skip what a repair brings back.
    ///
    /// # Errors
    /// `KafkaStorageError` if the log is damaged.
    pub fn check_end_known(&self) -> Result<(), ErrorCode> {
        match self.log.offline() {
            Some(StorageError::Corrupt { .. }) => Err(ErrorCode::KafkaStorageError),
            _ => Ok(()),
        }
    }

    /// The offset up to which `read_committed` consumers see records.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark()
    }

    /// The epoch in which this node leads.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.replica.borrow().epoch()
    }

    /// Takes over changed settings of the topic.
    pub fn configure(&self, config: &TopicConfig) {
        let record = self.replica.borrow().record().clone();
        self.step(Input::Image { record, config: replica_config(config) });
    }

    /// Tells the replica something and carries out what follows.
    pub fn step(&self, input: Input) {
        let now = Millis(self.effects.clock().now().as_millis());
        let actions = self.replica.borrow_mut().step(input, now);
        // What this node tells its own replica comes from its own log; a contradiction there is a bug that must not
        // acknowledge anything.
        let actions = actions.expect("the log's own progress is consistent");
        for action in actions {
            match action {
                Action::HighWatermarkAdvanced(high_watermark) => {
                    self.log.update_high_watermark(high_watermark);
                    release(&self.all_waiters, high_watermark);
                    self.wake_fetchers();
                }
                Action::LeaderAckAdvanced(offset) => release(&self.leader_waiters, offset),
                _ => {}
            }
        }
    }

    /// Tells the replica that the log has grown.
    pub fn appended(&self) {
        self.step(Input::Appended { log_end: self.log.log_end_offset() });
    }

    /// Answers `slot` of `wait` when everything below `offset` is acknowledged as `acks` asks.
    pub fn wait_for_acks(&self, acks: Acks, offset: Offset, slot: usize, wait: &Rc<AckWait>) {
        let (waiters, reached) = match acks {
            Acks::None => return,
            Acks::Leader => {
                (&self.leader_waiters, self.replica.borrow().acked_offset(replication::Acks::Leader))
            }
            Acks::All => (&self.all_waiters, self.high_watermark()),
        };
        if reached >= offset {
            return;
        }
        wait.remaining.set(wait.remaining.get() + 1);
        if self.failed.get() {
            return wait.answer(slot, Err(ErrorCode::KafkaStorageError));
        }
        let mut waiters = waiters.borrow_mut();
        // Nearly always at the end; a retried batch waits for an offset further ahead in the line.
        let place = waiters.partition_point(|waiter| waiter.offset <= offset);
        waiters.insert(place, AckWaiter { offset, slot, wait: Rc::clone(wait) });
    }

    /// Completes when everything below `offset` is below the high watermark.
    ///
    /// # Errors
    /// `KafkaStorageError` if the log has failed.
    pub async fn committed(&self, offset: Offset) -> Result<(), ErrorCode> {
        let wait = AckWait::new(Monotonic(u64::MAX));
        self.wait_for_acks(Acks::All, offset, 0, &wait);
        match wait.wait().await.first() {
            None => Ok(()),
            Some((_, error)) => Err(*error),
        }
    }

    /// Whether a request waits for an acknowledgement.
    #[must_use]
    pub fn has_waiting_producers(&self) -> bool {
        [&self.leader_waiters, &self.all_waiters].into_iter().any(|waiters| !waiters.borrow().is_empty())
    }

    /// Answers the requests whose time is up.
    pub fn expire(&self, now: Monotonic) {
        for waiters in [&self.leader_waiters, &self.all_waiters] {
            if waiters.borrow().is_empty() {
                continue;
            }
            let (expired, kept) =
                waiters.take().into_iter().partition::<VecDeque<_>, _>(|waiter| waiter.wait.deadline <= now);
            *waiters.borrow_mut() = kept;
            for waiter in expired {
                waiter.wait.answer(waiter.slot, Err(ErrorCode::RequestTimedOut));
            }
        }
    }

    /// Wakes `wait` when there may be more to read. It is forgotten when dropped.
    pub fn register_fetch(&self, wait: &Rc<FetchWait>) {
        let mut fetchers = self.fetchers.borrow_mut();
        if fetchers.len() >= FETCHERS_SWEEP && fetchers.len() == fetchers.capacity() {
            fetchers.retain(|waiting| waiting.strong_count() > 0);
        }
        fetchers.push(Rc::downgrade(wait));
    }

    /// Wakes everybody: the partition goes away.
    pub fn close(&self, error: ErrorCode) {
        self.failed.set(true);
        for waiters in [&self.leader_waiters, &self.all_waiters] {
            for waiter in waiters.take() {
                waiter.wait.answer(waiter.slot, Err(error));
            }
        }
        self.wake_fetchers();
    }

    fn wake_fetchers(&self) {
        if self.fetchers.borrow().is_empty() {
            return;
        }
        for waiting in self.fetchers.take() {
            if let Some(waiting) = waiting.upgrade() {
                waiting.wake();
            }
        }
    }
}

/// From this many waiting fetches on, the dead ones are swept out before the list grows.
const FETCHERS_SWEEP: usize = 64;

fn release(waiters: &RefCell<VecDeque<AckWaiter>>, reached: Offset) {
    loop {
        // The borrow ends before the answer, which may run other code.
        let mut line = waiters.borrow_mut();
        let Some(waiter) = line.pop_front_if(|waiter| waiter.offset <= reached) else { return };
        drop(line);
        waiter.wait.answer(waiter.slot, Ok(()));
    }
}

struct PartitionListener<E: Effects> {
    partition: Weak<Partition<E>>,
}

impl<E: Effects> LogListener for PartitionListener<E> {
    fn durable(&self, durable_end: Offset) {
        if let Some(partition) = self.partition.upgrade() {
            partition.step(Input::Durable { durable_end });
        }
    }

    fn failed(&self, error: &StorageError) {
        if let Some(partition) = self.partition.upgrade() {
            tracing::error!(partition = %partition.name, %error, "the log has failed, nothing more is acknowledged");
            partition.close(ErrorCode::KafkaStorageError);
        }
    }

    fn log_start_advanced(&self, _log_start: Offset) {}
}

/// What the topic's settings say about its replicas. Kafka counts at most as many in-sync replicas as a partition has
/// replicas, and this node is the only one.
#[must_use]
pub fn replica_config(config: &TopicConfig) -> ReplicaConfig {
    let durability = match config.durability() {
        Durability::QuorumFsync => replication::Durability::QuorumFsync,
        Durability::AllFsync => replication::Durability::AllFsync,
        Durability::Kafka => replication::Durability::Kafka,
    };
    let min_insync_replicas = usize::try_from(config.min_insync_replicas()).unwrap_or(usize::MAX);
    ReplicaConfig::new(min_insync_replicas.min(REPLICAS), durability)
}

/// Replicas of every partition.
const REPLICAS: usize = 1;
