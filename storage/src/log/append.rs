//! Appending to a log: check, assign offsets, copy once into the tail, wake the commit loop.

use std::ops::RangeInclusive;
use std::rc::Rc;

use bytes::Bytes;
use model::{LeaderEpoch, Offset, TimestampType};
use runtime::Effects;

use crate::commit::journal;
use crate::log::origin::AppendOrigin;
use crate::log::validation::{Appendable, believed, client, header, stored_times};
use crate::log::{AppendInfo, Log, LogState, ToSeal};
use crate::segment::tail::to_u64;
use crate::segment::{LogSegment, Stage};
use crate::{AppendError, ClientBatch, LogConfig};

impl<E: Effects> Log<E> {
    /// Appends batches in memory and wakes the commit loop. Does not wait; whether there is room in memory
    /// is asked before, of [`crate::AppendTurn::admitted`]. The records of a client are checked here and now: where that may
    /// take too long, [`crate::RecordChecker`] does it before [`Log::append_checked`].
    ///
    /// # Errors
    /// [`AppendError`]; nothing was stored.
    ///
    /// # Panics
    /// If a follower appends: see [`Log::append_as_follower`].
    pub fn append(
        self: &Rc<Self>,
        batches: &[u8],
        origin: AppendOrigin,
        leader_epoch: LeaderEpoch,
        now_unix_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        if origin.is_client() {
            let sent = ClientBatch::check(Bytes::copy_from_slice(batches));
            return self.append_checked(&sent, leader_epoch, now_unix_ms);
        }
        assert!(origin.is_leader(), "what is replicated has its offsets");
        self.check_writable(origin)?;
        let config = self.config();
        let batches = believed(batches, &config)?;
        let stored = {
            let mut state = self.state.borrow_mut();
            if origin.is_fenced_by_epoch() {
                batches.iter().try_for_each(|one| state.producers.check_epoch(&one.batch))?;
            }
            self.store(&mut state, &batches, &config, leader_epoch, now_unix_ms)
        };
        self.stored(stored, &batches)
    }

    /// Appends what a client has sent, as [`Log::append`] does; a batch that is in the log already is only named.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was stored.
    pub fn append_checked(
        self: &Rc<Self>,
        sent: &ClientBatch,
        leader_epoch: LeaderEpoch,
        now_unix_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        self.check_writable(AppendOrigin::Client)?;
        let config = self.config();
        let appendable = client(sent, &config, now_unix_ms)?;
        let batches = std::slice::from_ref(&appendable);
        let stored = {
            let mut state = self.state.borrow_mut();
            if let Some(known) = state.producers.check(&appendable.batch, state.log_end)? {
                return Ok(AppendInfo {
                    first_offset: known.first_offset(),
                    last_offset: known.last_offset,
                    max_timestamp: known.timestamp,
                    log_append_time: Some(known.timestamp),
                    log_start_offset: state.log_start,
                    duplicate: true,
                });
            }
            self.store(&mut state, batches, &config, leader_epoch, now_unix_ms)
        };
        self.stored(stored, batches)
    }

    /// Ends an append: counts it and wakes who writes it.
    fn stored(
        self: &Rc<Self>,
        stored: Result<AppendInfo, AppendError>,
        batches: &[Appendable<'_>],
    ) -> Result<AppendInfo, AppendError> {
        if matches!(stored, Err(AppendError::OverBudget)) {
            journal::empty(&self.shard);
        }
        let info = stored?;
        self.note_appended(batches.len(), total_size(batches));
        Ok(info)
    }

    pub(crate) fn check_writable(&self, origin: AppendOrigin) -> Result<(), AppendError> {
        if let Some(error) = self.offline() {
            return Err(AppendError::Storage(error));
        }
        match self.shard.disk_full.get() {
            Some(available) if origin.stops_at_reserve() => {
                Err(AppendError::DiskFull { available, reserve: self.shard.options.disk_reserve_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Puts checked batches at the end of the log, all of them or none.
    fn store(
        &self,
        state: &mut LogState<E>,
        batches: &[Appendable<'_>],
        config: &LogConfig,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        let log_append_time = (config.timestamp_type == TimestampType::LogAppendTime).then_some(now_ms);
        let times = |one: &Appendable<'_>| stored_times(one, log_append_time);
        let size = total_size(batches);
        let max_timestamp = batches.iter().map(|one| times(one).1).max().unwrap_or(-1);
        let records: i64 = batches.iter().map(|one| i64::from(one.batch.last_offset_delta()) + 1).sum();
        let first_offset = state.log_end;
        let last_offset = first_offset.plus(records - 1);
        let offsets = first_offset..=last_offset;
        let active = self.segment_for(state, size, max_timestamp, offsets, config, now_ms)?;
        let mut segment = active.state.borrow_mut();
        for one in batches {
            let (base, batch, times) = (state.log_end, &one.batch, times(one));
            let header = header(batch, base, leader_epoch, times);
            segment.append(batch, &header, base, times.1, config.index_interval_bytes);
            state.producers.record(batch, base, times.1, now_ms);
            state.log_end = segment.next_offset;
        }
        state.epochs_dirty |= state.epochs.assign(leader_epoch, first_offset);
        Ok(AppendInfo {
            first_offset,
            last_offset,
            max_timestamp,
            log_append_time,
            log_start_offset: state.log_start,
            duplicate: false,
        })
    }

    /// The segment that `size` bytes of these offsets go to, with memory for them: the active one, or a new one if they belong
    /// there.
    pub(crate) fn segment_for(
        &self,
        state: &mut LogState<E>,
        size: usize,
        max_timestamp: i64,
        offsets: RangeInclusive<Offset>,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<Rc<LogSegment<E>>, AppendError> {
        let mut active = state.active();
        // Compaction may have left a gap that no segment spans.
        let spans = |base: Offset| i32::try_from(offsets.end().0 - base.0).is_ok();
        let is_behind_gap = !spans(active.base) && !spans(state.log_end);
        if is_behind_gap || active.should_roll(config, size, max_timestamp, *offsets.end(), now_ms) {
            let base = if is_behind_gap { *offsets.start() } else { state.log_end };
            // An append without memory must leave the log as it is.
            let next = self.next_segment(base, now_ms);
            self.reserve(&next, size)?;
            self.roll(state, Rc::clone(&next));
            active = next;
        } else {
            self.reserve(&active, size)?;
        }
        if active.size() == 0 {
            active.state.borrow_mut().created_ms = now_ms;
        }
        Ok(active)
    }

    /// Starts the segment that goes on behind the active one; the full one is cut and indexed by maintenance when all
    /// of it is durable.
    pub(crate) fn roll(&self, state: &mut LogState<E>, next: Rc<LogSegment<E>>) {
        let full = state.active();
        {
            let mut full = full.state.borrow_mut();
            full.finish_time_index();
            full.next_offset = next.base;
        }
        state.log_end = next.base;
        full.advance_to(Stage::Full);
        state.to_seal.push_back(ToSeal { segment: full, producers: state.producers.freeze() });
        state.segments.push_back(next);
        self.shard.stats.borrow_mut().segments_rolled += 1;
    }

    /// An empty segment for what comes from `base` on.
    pub(crate) fn next_segment(&self, base: Offset, now_ms: i64) -> Rc<LogSegment<E>> {
        let segment = Rc::new(LogSegment::new(Rc::clone(&self.dir), base, now_ms));
        let jitter_max = self.config().segment_jitter_ms;
        if jitter_max > 0 {
            segment.state.borrow_mut().jitter_ms = self.shard.effects.random() % jitter_max;
        }
        segment
    }

    fn reserve(&self, active: &Rc<LogSegment<E>>, size: usize) -> Result<(), AppendError> {
        let shard = &self.shard;
        let pool = shard.effects.buffers();
        let wanted = active.state.borrow().tail.chunk_wanted(size, shard.now_ms());
        let chunk_max = shard.chunks.chunk_max(wanted);
        let reserve = || {
            let mut segment = active.state.borrow_mut();
            let before = segment.tail.capacity();
            let end = segment.size;
            let reserved = segment.tail.reserve(pool, end, size, chunk_max, shard.now_ms());
            let after = segment.tail.capacity();
            drop(segment);
            if after != before {
                shard.chunks.grown(active, before, after);
            }
            reserved
        };
        if reserve().is_err() {
            // The budget of the whole shard is spent: give up as much cache as the batch may need.
            shard.give_back(size);
            reserve().map_err(|_| AppendError::OverBudget)?;
        }
        Ok(())
    }

    pub(crate) fn note_appended(self: &Rc<Self>, batches: usize, size: usize) {
        {
            let mut state = self.state.borrow_mut();
            state.last_append_ms = self.shard.now_ms();
            state.bytes_since_checkpoint += to_u64(size);
        }
        {
            let mut stats = self.shard.stats.borrow_mut();
            stats.batches_appended += to_u64(batches);
            stats.bytes_appended += to_u64(size);
            stats.durable_lag_bytes += to_u64(size);
        }
        self.shard.spend_space(to_u64(size));
        self.queue_commit();
        self.mark_busy();
    }

    /// Puts the log on the list that the maintenance task walks.
    pub(crate) fn mark_busy(self: &Rc<Self>) {
        if !self.busy.replace(true) {
            let mut busy = self.shard.busy.borrow_mut();
            busy.push(Rc::clone(self));
            if busy.len() == 1 {
                self.shard.busy_wake.notify_one();
            }
        }
    }

    /// Has the commit loop write what is pending.
    pub(crate) fn queue_commit(self: &Rc<Self>) {
        if self.commit.queue() {
            let mut queue = self.shard.commit_queue.borrow_mut();
            queue.push(Rc::clone(self));
            if queue.len() == 1 {
                self.shard.commit_wake.notify_one();
            }
        }
    }
}

fn total_size(batches: &[Appendable<'_>]) -> usize {
    batches.iter().map(|one| one.batch.size()).sum()
}
