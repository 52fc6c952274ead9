//! A partition that this shard hosts: its log, its replica and everybody who waits for either.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use model::{DirectoryId, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicId, TopicPartition};
use replication::{Acks, Action, Input, Millis, PartitionRecord, ReplicaConfig};
use runtime::{Clock, Effects, Monotonic};
use storage::{Log, LogEvent, LogSubscriber, StorageError};

use super::acks::{AckWait, AckWaiters};
use super::fetch_waits::{FetchWait, FetchWaiters};
use super::offline_partitions::{OfflinePartition, OfflinePartitions};
use super::replica_state::{RecoveredLog, ReplicaState, Stepped, Transition, replica_config};
use super::{CurrentLeader, PartitionError};
use crate::config::TopicConfig;

/// One partition. Lives on the shard that owns it.
pub struct Partition<E: Effects> {
    /// The name.
    pub name: TopicPartition,
    /// The topic's id.
    pub topic_id: TopicId,
    /// The records.
    pub log: Rc<Log<E>>,
    /// Bytes that clients have produced since they were last taken. Who publishes them keeps the totals, which so outlive a log
    /// that is opened again.
    pub produced_bytes: Cell<u64>,
    effects: E,
    state: RefCell<ReplicaState>,
    acks: AckWaiters,
    fetches: FetchWaiters,
    /// The shard looks for requests whose time is up.
    pub(super) is_awaited: Cell<bool>,
    offline: Arc<OfflinePartitions>,
}

impl<E: Effects> Partition<E> {
    /// Hosts a replica with what is in `log`, as the controller's record has it, and listens to the log from now on.
    ///
    /// # Panics
    /// If the log is durable beyond its end.
    pub(super) fn host(
        effects: E,
        node: NodeId,
        log: Rc<Log<E>>,
        record: PartitionRecord,
        config: ReplicaConfig,
        offline: Arc<OfflinePartitions>,
    ) -> Rc<Self> {
        let (log_end, durable_end) = (log.log_end_offset(), log.durable_end());
        // Where there is no other copy, all that is durable counts as acknowledged.
        let high_watermark =
            if record.replicas.len() == 1 { durable_end } else { log.high_watermark().min(log_end) };
        let recovered = RecoveredLog { log_end, durable_end, high_watermark };
        let partition = Rc::new(Self {
            name: log.topic_partition().clone(),
            topic_id: log.topic_id(),
            log: Rc::clone(&log),
            produced_bytes: Cell::new(0),
            effects,
            state: RefCell::new(ReplicaState::recovered(node, recovered, config)),
            acks: AckWaiters::default(),
            fetches: FetchWaiters::default(),
            is_awaited: Cell::new(false),
            offline,
        });
        partition.apply_record(record, config);
        log.update_high_watermark(partition.high_watermark());
        log.subscribe(&partition);
        partition
    }

    /// Leads a partition in `epoch` that has no other replica and stands in no image: the metadata log itself.
    ///
    /// # Panics
    /// If the log is durable beyond its end.
    pub fn lead_alone(
        effects: E,
        node: NodeId,
        epoch: LeaderEpoch,
        log: Rc<Log<E>>,
        config: &TopicConfig,
        offline: Arc<OfflinePartitions>,
    ) -> Rc<Self> {
        let config = replica_config(config, 1);
        let record = PartitionRecord::sole(node, DirectoryId::ZERO, epoch, config);
        Self::host(effects, node, log, record, config, offline)
    }

    /// Takes over the controller's record of an image.
    pub(super) fn apply_record(&self, record: PartitionRecord, config: ReplicaConfig) -> Transition {
        let now = self.now();
        let stepped = self.state.borrow_mut().apply_record(record, config, now);
        let transition = stepped.transition;
        self.follow_up(stepped);
        transition
    }

    /// Whether a record of this age, with these settings, would change nothing.
    pub(super) fn is_current(&self, partition_epoch: PartitionEpoch, config: ReplicaConfig) -> bool {
        self.state.borrow().is_current(partition_epoch, config)
    }

    /// Tells the replica that the log has grown.
    pub fn appended(&self) {
        self.step(Input::Appended { log_end: self.log.log_end_offset() });
    }

    fn step(&self, input: Input) {
        let now = self.now();
        let stepped = self.state.borrow_mut().step(input, now);
        self.follow_up(stepped);
    }

    fn now(&self) -> Millis {
        Millis(self.effects.clock().now().as_millis())
    }

    /// Carries out what a step decided.
    fn follow_up(&self, stepped: Stepped) {
        if stepped.transition != Transition::None {
            self.fence();
        }
        for action in stepped.actions {
            match action {
                Action::HighWatermarkAdvanced(high_watermark) => {
                    self.log.update_high_watermark(high_watermark);
                    self.acks.release(Acks::All, high_watermark);
                    self.fetches.wake();
                }
                Action::LeaderAckAdvanced(offset) => self.acks.release(Acks::Leader, offset),
                // Between replicas, which do not talk yet: until then nothing is acknowledged that needs another one.
                Action::WriteView(_)
                | Action::Truncate(_)
                | Action::Reset(_)
                | Action::AlterIsr(_)
                | Action::Settle(_) => {}
            }
        }
    }

    /// Has everybody who waits look for the leader, and what is appended from now on be of the new epoch.
    fn fence(&self) {
        let state = self.state.borrow();
        let (fence, contradiction) = (state.fence(), state.contradiction());
        let epoch = state.leads().then(|| state.epoch());
        drop(state);
        if let Some(epoch) = epoch {
            self.log.assign_epoch(epoch);
        }
        if let Some(error) = contradiction {
            let (name, reason) = (self.name.clone(), PartitionError::from(error).to_string());
            tracing::error!(partition = %name, reason, "partition is offline");
            self.offline.note(self.topic_id, OfflinePartition { name, is_readable: false, reason });
        }
        self.acks.fail(&fence);
        self.fetches.wake();
    }

    /// Checks that this node leads, for somebody who knows of the leader epoch `known` ([`LeaderEpoch::NONE`] if of none).
    ///
    /// # Errors
    /// [`PartitionError`] if the partition cannot be read, the epoch is another one (KIP-320), or another node leads.
    pub fn check_leads(&self, known: LeaderEpoch) -> Result<(), PartitionError> {
        self.state.borrow().check_leads(known)
    }

    /// Whether this node leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.state.borrow().leads()
    }

    /// Who leads.
    #[must_use]
    pub fn current_leader(&self) -> CurrentLeader {
        self.state.borrow().current_leader()
    }

    /// What this replica was told that cannot be, if that is why it is offline.
    pub(super) fn contradiction(&self) -> Option<PartitionError> {
        self.state.borrow().contradiction().map(PartitionError::from)
    }

    /// The offset up to which consumers see records.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.state.borrow().high_watermark()
    }

    /// The offset up to which `read_committed` consumers see records.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        self.log.last_stable_offset().min(self.high_watermark())
    }

    /// The leader epoch.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.state.borrow().epoch()
    }

    /// Checks that the end of the log is known. Behind damage there are records that were acknowledged, so a client
    /// must not take the first bad one for the end: it would start over, or skip what a repair brings back.
    ///
    /// # Errors
    /// [`PartitionError::Storage`] if the log is damaged.
    pub fn check_end_known(&self) -> Result<(), PartitionError> {
        match self.log.offline() {
            Some(error @ StorageError::Corrupt { .. }) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Answers `slot` of `wait` when everything below `offset` is acknowledged as `acks` asks. Returns whether that is
    /// yet to come.
    pub(super) fn wait_for_acks(&self, acks: Acks, offset: Offset, slot: usize, wait: &Rc<AckWait>) -> bool {
        let state = self.state.borrow();
        if state.acked_offset(acks) >= offset {
            return false;
        }
        if let Err(error) = state.check_acknowledges() {
            wait.fail(slot, error);
            return false;
        }
        self.acks.add(acks, offset, slot, wait);
        true
    }

    /// Completes when everything below `offset` is below the high watermark.
    ///
    /// # Errors
    /// [`PartitionError`] if that will not happen, or not while this node leads.
    pub async fn committed(&self, offset: Offset) -> Result<(), PartitionError> {
        let wait = AckWait::new(Monotonic(u64::MAX));
        self.wait_for_acks(Acks::All, offset, 0, &wait);
        wait.wait().await.pop().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Whether a request waits for an acknowledgement.
    pub(super) fn has_waiting_producers(&self) -> bool {
        !self.acks.is_empty()
    }

    /// Answers the requests whose time is up.
    pub(super) fn expire(&self, now: Monotonic) {
        self.acks.expire(now);
    }

    /// Wakes `wait` when there may be more to read. It is forgotten when dropped.
    pub fn register_fetch(&self, wait: &Rc<FetchWait>) {
        self.fetches.add(wait);
    }

    /// The topic is gone: tells everybody.
    pub(super) fn close(&self) {
        let stepped = self.state.borrow_mut().gone();
        self.follow_up(stepped);
    }

    fn log_failed(&self, error: &StorageError) {
        tracing::error!(partition = %self.name, %error, "the log has failed, nothing more is acknowledged");
        let stepped = self.state.borrow_mut().log_failed(error.clone());
        self.follow_up(stepped);
    }
}

impl<E: Effects> LogSubscriber for Partition<E> {
    fn notify(&self, event: LogEvent<'_>) {
        match event {
            LogEvent::DurableEndAdvanced(durable_end) => self.step(Input::Durable { durable_end }),
            LogEvent::Failed(error) => self.log_failed(error),
            LogEvent::LogStartAdvanced(_) => {}
        }
    }
}
