//! One partition's log: appended on its shard, read from memory or disk, durable by the commit loop.
//!
//! The parts of its life are in files of their own: `append`, `follower`, `read`, `replay` and `timestamps` here; above in
//! `commit`, `recovery` and `upkeep`, which cuts it, too.

pub(crate) mod append;
pub(crate) mod cuts;
pub(crate) mod events;
pub(crate) mod follower;
pub(crate) mod leader_epoch_cache;
pub(crate) mod origin;
pub(crate) mod producers;
pub(crate) mod read;
pub(crate) mod read_memory;
pub(crate) mod replay;
pub(crate) mod time_check;
pub(crate) mod timestamps;
pub(crate) mod unsynced;
pub(crate) mod validation;

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::rc::{Rc, Weak};

use model::{LeaderEpoch, Offset, TopicId, TopicPartition};
use runtime::Effects;
use runtime::sync::{Notify, Semaphore};

use crate::commit::commit_loop::start_flush;
use crate::commit::state::{CommitState, Turn};
use crate::dir::Checkpoint;
use crate::log::cuts::Cuts;
use crate::log::events::{LogEvent, LogSubscriber, Subscribers};
use crate::log::leader_epoch_cache::LeaderEpochCache;
use crate::log::unsynced::Unsynced;
use crate::producer::budget::ChargedProducers;
use crate::producer::state::ProducerState;
use crate::segment::tail::to_u64;
use crate::segment::{LogSegment, Stage};
use crate::shard::StorageShard;
use crate::{LogConfig, StorageError};

/// Where an append went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendInfo {
    /// The offset of the first record.
    pub first_offset: Offset,
    /// The offset of the last record.
    pub last_offset: Offset,
    /// The largest timestamp.
    pub max_timestamp: i64,
    /// The broker's time, if that is what records carry (`LogAppendTime`).
    pub log_append_time: Option<i64>,
    /// The start of the log.
    pub log_start_offset: Offset,
    /// The batch was stored before (idempotent producer); these are its offsets, nothing was appended.
    pub duplicate: bool,
}

/// A record found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Where it is.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: i64,
    /// The leader epoch it was appended in.
    pub leader_epoch: LeaderEpoch,
}

/// One partition's log. Lives on the partition's shard.
pub struct Log<E: Effects> {
    pub(crate) this: Weak<Self>,
    pub(crate) tp: TopicPartition,
    topic_id: TopicId,
    pub(crate) dir: Rc<Path>,
    pub(crate) shard: Rc<StorageShard<E>>,
    config: RefCell<Rc<LogConfig>>,
    pub(crate) state: RefCell<LogState<E>>,
    subscribers: Subscribers,
    pub(crate) commit: CommitState,
    pub(crate) cuts: Cuts,
    /// The shard's list of busy logs has it.
    pub(crate) busy: Cell<bool>,
    /// The shard's list of logs with open files has it.
    pub(crate) files_noted: Cell<bool>,
    pub(crate) unsynced: Unsynced,
    /// One at a time: sealing, checkpoint, deletion, close.
    pub(crate) maintenance: Semaphore,
    /// One pass of retention or one cut at a time: only they remove segments.
    pub(crate) retention: Semaphore,
    /// Something became durable, or never will.
    pub(crate) progress: Notify,
}

/// What changes in a log.
///
/// Invariant: `log_start <= durable_end <= log_end`, `recovery_point <= written_end <= durable_end`; segments are contiguous by offset, never none; all but the
/// last are sealed or wait in `to_seal`.
pub(crate) struct LogState<E: Effects> {
    pub(crate) segments: VecDeque<Rc<LogSegment<E>>>,
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) durable_end: Offset,
    /// Everything below is durable in the segments; what is not, up to `durable_end`, is in the journal.
    pub(crate) written_end: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) recovery_point: Offset,
    pub(crate) epochs: LeaderEpochCache,
    pub(crate) epochs_dirty: bool,
    pub(crate) producers: ChargedProducers,
    /// Full segments that still have to be cut and given their indexes, with the producers as of their end.
    pub(crate) to_seal: VecDeque<ToSeal<E>>,
    /// Snapshots within segments, oldest first, each with the checkpoint change that made it the newest.
    pub(crate) snapshots: Vec<(Offset, u64)>,
    pub(crate) bytes_since_checkpoint: u64,
    pub(crate) last_append_ms: u64,
    pub(crate) last_checkpoint_ms: u64,
    /// Writes since the log was opened.
    pub(crate) writes: u64,
    /// Average bytes per write, for deciding about prewriting.
    pub(crate) write_bytes_average: u64,
    /// Why the log takes no appends.
    pub(crate) offline: Option<StorageError>,
}

/// A full segment and the producers as of its end.
pub(crate) struct ToSeal<E: Effects> {
    pub(crate) segment: Rc<LogSegment<E>>,
    pub(crate) producers: ProducerState,
}

impl<E: Effects> Log<E> {
    pub(crate) fn new(
        shard: &Rc<StorageShard<E>>,
        tp: TopicPartition,
        topic_id: TopicId,
        dir: Rc<Path>,
        config: LogConfig,
        state: LogState<E>,
        unsynced: Unsynced,
    ) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            tp,
            topic_id,
            dir,
            shard: Rc::clone(shard),
            config: RefCell::new(Rc::new(config)),
            state: RefCell::new(state),
            subscribers: Subscribers::default(),
            commit: CommitState::new(),
            cuts: Cuts::default(),
            busy: Cell::new(false),
            files_noted: Cell::new(false),
            unsynced,
            maintenance: Semaphore::new(1),
            retention: Semaphore::new(1),
            progress: Notify::new(),
        })
    }

    /// The partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.tp
    }

    /// The topic's id.
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// The settings in force.
    pub fn config(&self) -> Rc<LogConfig> {
        Rc::clone(&self.config.borrow())
    }

    /// Replaces the settings; they count from the next append on. Retention runs at once if its settings have changed.
    pub fn set_config(&self, config: LogConfig) {
        let retention =
            |config: &LogConfig| (config.retention_ms, config.retention_bytes, config.delete_retention);
        let wanted = retention(&config);
        let before = self.config.replace(Rc::new(config));
        if retention(&before) != wanted {
            self.shard.retention_due.add(&self.tp);
        }
    }

    /// The first offset that can be read.
    pub fn log_start_offset(&self) -> Offset {
        self.state.borrow().log_start
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> Offset {
        self.state.borrow().log_end
    }

    /// Everything below is on stable storage.
    pub fn durable_end(&self) -> Offset {
        self.state.borrow().durable_end
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.state.borrow().segments.iter().map(|segment| segment.size()).sum()
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.state.borrow().segments.len()
    }

    /// Why the log takes no appends, if it does not: damaged, closed, or its directory has failed.
    pub fn offline(&self) -> Option<StorageError> {
        if let Some(error) = &self.state.borrow().offline {
            return Some(error.clone());
        }
        self.shard.dir_failure()
    }

    /// Whether the log was deleted or shut.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state.borrow().offline, Some(StorageError::Closed))
    }

    /// Waits until nothing of the log is under way or waits for its turn. That will not be once the directory has failed:
    /// then it returns at once.
    pub(crate) async fn until_idle(&self) {
        while self.commit.is_busy() && !self.shard.dir.is_failed() {
            self.progress.notified().await;
        }
    }

    /// Wakes who waits for nothing of the log to be under way.
    pub(crate) fn notify_idle(&self) {
        if !self.commit.is_busy() {
            self.progress.notify_all();
        }
    }

    /// The end of `epoch` (or of the largest one before it), as OffsetForLeaderEpoch answers it.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let state = self.state.borrow();
        state.epochs.end_offset_for(epoch, state.log_end)
    }

    /// Notes that appends from now on are of `epoch`.
    pub fn assign_epoch(&self, epoch: LeaderEpoch) {
        let mut state = self.state.borrow_mut();
        let start = state.log_end;
        state.epochs_dirty |= state.epochs.assign(epoch, start);
    }

    /// The newest epoch in the log.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.state.borrow().epochs.latest()
    }

    /// Tells `subscriber` of everything that happens to the log, until it is dropped. To subscribe again changes nothing.
    ///
    /// # Panics
    /// If more subscribe than own something of a log.
    pub fn subscribe(&self, subscriber: &Rc<impl LogSubscriber + 'static>) {
        let subscriber = Rc::downgrade(subscriber);
        self.subscribers.add(subscriber);
    }

    /// Told by the broker: consumers may see up to here; retention does not pass it.
    pub fn update_high_watermark(&self, high_watermark: Offset) {
        let mut state = self.state.borrow_mut();
        let high_watermark = high_watermark.min(state.log_end);
        state.raise_high_watermark(high_watermark);
    }

    /// The last high watermark told, or the one checkpointed before the restart.
    pub fn high_watermark(&self) -> Offset {
        self.state.borrow().high_watermark
    }

    /// The offset below which no transaction is open, nor ended by what may still be undone: `read_committed` consumers see
    /// records up to here. Never above the high watermark.
    pub fn last_stable_offset(&self) -> Offset {
        let state = self.state.borrow();
        let unstable = state.producers.first_unstable().map(|first| first.max(state.log_start));
        unstable.map_or(state.high_watermark, |first| first.min(state.high_watermark))
    }

    /// Waits until everything appended so far is durable.
    ///
    /// # Errors
    /// [`StorageError`] if that will not happen.
    pub async fn flush(&self) -> Result<(), StorageError> {
        let end = self.log_end_offset();
        self.durable_to(end).await
    }

    pub(crate) async fn durable_to(&self, end: Offset) -> Result<(), StorageError> {
        while self.durable_end() < end {
            if let Some(error) = self.offline() {
                return Err(error);
            }
            self.progress.notified().await;
        }
        Ok(())
    }

    /// Has everything below `end` written to the segments, where whatever outlives the journal needs it.
    pub(crate) async fn written_to(self: &Rc<Self>, end: Offset) -> Result<(), StorageError> {
        while self.state.borrow().written_end < end {
            self.write_on().await?;
        }
        Ok(())
    }

    /// As [`Log::written_to`], but does not wait for a full disk: others may wait for this log, and make room.
    pub(crate) async fn written_soon_to(self: &Rc<Self>, end: Offset) -> Result<(), StorageError> {
        while self.state.borrow().written_end < end {
            if self.commit.turn() == Turn::Stalled {
                let busy = io::Error::new(io::ErrorKind::ResourceBusy, "a write waits to be tried again");
                return Err(StorageError::io("write", &self.dir, &busy));
            }
            self.write_on().await?;
        }
        Ok(())
    }

    async fn write_on(self: &Rc<Self>) -> Result<(), StorageError> {
        if let Some(error) = self.offline() {
            return Err(error);
        }
        start_flush(self);
        self.progress.notified().await;
        Ok(())
    }

    pub(crate) fn active(&self) -> Rc<LogSegment<E>> {
        self.state.borrow().active()
    }

    pub(crate) fn notify_durable(&self, durable_end: Offset) {
        self.progress.notify_all();
        self.subscribers.tell(LogEvent::DurableEndAdvanced(durable_end));
    }

    pub(crate) fn notify_failed(&self, error: &StorageError) {
        self.progress.notify_all();
        self.subscribers.tell(LogEvent::Failed(error));
    }

    /// Moves the start of the log; the checkpoint follows with the next one written.
    pub(crate) fn move_log_start(&self, to: Offset) -> bool {
        let moved = {
            let mut state = self.state.borrow_mut();
            let moved = to > state.log_start;
            if moved {
                state.log_start = to;
                state.raise_high_watermark(to);
                state.epochs_dirty |= state.epochs.truncate_from_start(to);
            }
            moved
        };
        if moved {
            self.shard.dir.set_checkpoint(Checkpoint::LogStart, &self.tp, to);
            self.subscribers.tell(LogEvent::LogStartAdvanced(to));
        }
        moved
    }

    /// Checks what must always hold; for tests.
    pub fn check_invariants(&self) {
        let state = self.state.borrow();
        assert!(state.log_start <= state.durable_end && state.durable_end <= state.log_end);
        assert!(state.recovery_point <= state.written_end && state.written_end <= state.durable_end);
        assert!(!state.segments.is_empty());
        for (a, b) in state.segments.iter().zip(state.segments.iter().skip(1)) {
            assert_eq!(a.next_offset(), b.base, "segments are contiguous");
        }
        assert_eq!(state.segments[state.segments.len() - 1].next_offset(), state.log_end);
        let sealed = state.segments.len() - state.to_seal.len() - 1;
        for (at, segment) in state.segments.iter().enumerate() {
            let stage = match at {
                _ if at < sealed => Stage::Sealed,
                _ if at + 1 < state.segments.len() => Stage::Full,
                _ => Stage::Active,
            };
            segment.check_invariants(stage);
        }
        drop(state);
        self.check_commit_state();
    }

    /// Checks the commit state against the lists that it says have the log, and against what the journal has.
    fn check_commit_state(&self) {
        self.commit.check_invariants();
        if self.is_closed() {
            // The lists have forgotten it.
            return;
        }
        let (shard, turn) = (&self.shard, self.commit.turn());
        let has = |list: &RefCell<Vec<Rc<Self>>>| {
            list.borrow().iter().filter(|log| std::ptr::eq(Rc::as_ptr(log), self)).count()
        };
        assert_eq!(has(&shard.commit_queue), usize::from(turn == Turn::Queued), "in the queue: {turn:?}");
        assert_eq!(has(&shard.stalled), usize::from(turn == Turn::Stalled), "stalled: {turn:?}");
        let (in_lane, entries) = shard.journal.places_of(self);
        assert_eq!(in_lane, usize::from(turn == Turn::InLane), "in the lane: {turn:?}");
        assert_eq!(to_u64(entries), u64::from(self.commit.entries()), "entries under way");
        let lacks = |segment: &Rc<LogSegment<E>>| {
            let state = segment.state.borrow();
            state.journaled_size > state.durable_size
        };
        let journal_has_more = self.state.borrow().segments.iter().any(lacks);
        assert_eq!(self.commit.half().is_some(), journal_has_more, "what the journal is kept for");
    }
}

impl<E: Effects> LogState<E> {
    /// A log of one segment that ends, durably, at `end`.
    pub(crate) fn new(segment: Rc<LogSegment<E>>, end: Offset, producers: ChargedProducers) -> Self {
        Self {
            segments: VecDeque::from([segment]),
            log_start: end,
            log_end: end,
            durable_end: end,
            written_end: end,
            high_watermark: end,
            recovery_point: end,
            epochs: LeaderEpochCache::default(),
            epochs_dirty: false,
            producers,
            to_seal: VecDeque::new(),
            snapshots: Vec::new(),
            bytes_since_checkpoint: 0,
            last_append_ms: 0,
            last_checkpoint_ms: 0,
            writes: 0,
            write_bytes_average: 0,
            offline: None,
        }
    }

    /// Raises the high watermark, if it is not there yet.
    pub(crate) fn raise_high_watermark(&mut self, to: Offset) {
        self.high_watermark = self.high_watermark.max(to);
        self.producers.replicated_to(self.high_watermark);
    }

    /// Counts a write of `bytes`.
    pub(crate) fn note_write(&mut self, bytes: u64) {
        self.writes += 1;
        self.write_bytes_average = (self.write_bytes_average * 7 + bytes) / 8;
    }

    pub(crate) fn active(&self) -> Rc<LogSegment<E>> {
        Rc::clone(self.segments.back().expect("a log always has a segment"))
    }

    /// The segment that holds `offset`, and its number.
    pub(crate) fn floor(&self, offset: Offset) -> Option<(usize, Rc<LogSegment<E>>)> {
        let at = self.segments.partition_point(|segment| segment.base <= offset).checked_sub(1)?;
        Some((at, Rc::clone(&self.segments[at])))
    }

    /// The segments that wait to be sealed, and the active one.
    pub(crate) fn unsealed(&self) -> impl Iterator<Item = Rc<LogSegment<E>>> {
        let full = self.to_seal.iter().map(|full| Rc::clone(&full.segment));
        full.chain([self.active()])
    }

    /// The first segment with bytes to be written. Empty segments may stand behind it.
    pub(crate) fn first_dirty(&self) -> Option<Rc<LogSegment<E>>> {
        let newest = self.segments.iter().rev();
        let unfinished = newest.take_while(|segment| segment.size() == 0 || !segment.is_durable());
        unfinished.filter(|segment| !segment.is_durable()).last().cloned()
    }
}

impl<E: Effects> std::fmt::Debug for Log<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state: Ref<'_, LogState<E>> = self.state.borrow();
        write!(f, "Log({}, {}..{}, durable {})", self.tp, state.log_start, state.log_end, state.durable_end)
    }
}
