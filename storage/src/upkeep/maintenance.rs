//! What happens to a log off the data path: full segments are cut and indexed, checkpoints bound the
//! next recovery, idle logs give back disk space and memory.
//!
//! Order matters: data, epochs, producer snapshot and index entries are durable before the recovery point
//! passes what they describe, and a snapshot is removed only when the recovery point on disk has passed it.

use std::rc::Rc;
use std::time::Duration;

use model::Offset;
use runtime::buffer::ChunkSlice;
use runtime::{Clock, Disk, Effects, File, OpenOptions, WriteMode};

use crate::StorageError;
use crate::commit::commit_loop::start_flush;
use crate::commit::state::Turn;
use crate::dir::Checkpoint;
use crate::dir::checkpoint::{LEADER_EPOCH_FILE, format_epochs};
use crate::dir::files::remove_snapshot;
use crate::log::Log;
use crate::producer::snapshot::{BATCHES_ENDING, SnapshotFiles, encode};
use crate::producer::state::ProducerState;
use crate::segment::offset_index::OffsetIndex;
use crate::segment::tail::to_u64;
use crate::segment::time_index::TimeIndex;
use crate::segment::{LogSegment, Stage, file_name};
use crate::shard::StorageShard;

/// Walks over the busy logs of the shard until it closes.
pub(crate) async fn run<E: Effects>(shard: Rc<StorageShard<E>>) {
    let pause = Duration::from_millis((shard.options.idle_ms / 2).max(1));
    while !shard.closing.get() {
        if shard.busy.borrow().is_empty() {
            shard.busy_wake.notified().await;
            continue;
        }
        let clock = shard.effects.clock();
        clock.sleep_until(clock.now() + pause).await;
        if shard.closing.get() {
            return;
        }
        let logs = std::mem::take(&mut *shard.busy.borrow_mut());
        let still_busy: Vec<_> = logs.into_iter().filter(|log| look_after(log)).collect();
        // Logs that became busy meanwhile are already there.
        shard.busy.borrow_mut().extend(still_busy);
        if !shard.dir.is_failed()
            && let Err(error) = shard.dir.write_checkpoints(&shard.effects).await
        {
            shard.background_error(&error);
        }
    }
}

/// Starts what a log needs; returns whether it has to be looked at again.
fn look_after<E: Effects>(log: &Rc<Log<E>>) -> bool {
    let options = &log.shard.options;
    let now_ms = log.shard.now_ms();
    if log.offline().is_some() {
        log.busy.set(false);
        return false;
    }
    let (idle_for, changed, due) = {
        let state = log.state.borrow();
        let idle_for = now_ms.saturating_sub(state.last_append_ms);
        let changed = state.recovery_point < state.log_end || state.epochs_dirty || !state.to_seal.is_empty();
        let since = now_ms.saturating_sub(state.last_checkpoint_ms);
        (
            idle_for,
            changed,
            state.bytes_since_checkpoint >= options.checkpoint_bytes || since >= options.checkpoint_ms,
        )
    };
    if idle_for >= options.idle_ms {
        start_flush(log);
    }
    let idle = idle_for >= options.idle_ms && log.active().is_durable();
    if changed && (idle || due) {
        log.start_maintenance();
    }
    if idle && !log.is_cut() {
        let cut = Rc::clone(log);
        log.shard.spawn(async move { cut.cut_to_size().await });
    }
    if !changed && idle_for >= options.chunk_idle_ms && log.is_cut() && log.commit.turn() == Turn::Resting {
        log.give_back_memory();
        log.busy.set(false);
        return false;
    }
    true
}

impl<E: Effects> Log<E> {
    /// Seals what is full and takes a checkpoint, in the background, unless that is under way.
    pub(crate) fn start_maintenance(self: &Rc<Self>) {
        let Some(permit) = self.maintenance.try_acquire(1) else { return };
        let log = Rc::clone(self);
        self.shard.spawn(async move {
            let shard = Rc::clone(&log.shard);
            let _turn = shard.upkeep.acquire(1).await;
            let done = log.seal_and_checkpoint().await;
            drop(permit);
            match done {
                Ok(()) | Err(StorageError::Closed | StorageError::DirectoryFailed(_)) => {}
                // Tried again with the next checkpoint.
                Err(StorageError::OverBudget) => {}
                Err(error) => log.shard.background_error(&error),
            }
        });
    }

    /// The maintenance permit must be held.
    pub(crate) async fn seal_and_checkpoint(self: &Rc<Self>) -> Result<(), StorageError> {
        self.remove_stale_snapshots().await;
        loop {
            let next = self
                .state
                .borrow()
                .to_seal
                .front()
                .map(|full| (Rc::clone(&full.segment), full.producers.clone()));
            let Some((segment, producers)) = next else { break };
            let end = segment.next_offset();
            self.written_soon_to(end).await?;
            self.sync_buffered().await?;
            self.write_epochs().await?;
            self.seal(&segment, &producers).await?;
            self.state.borrow_mut().to_seal.pop_front();
            self.move_recovery_point(end, end);
        }
        self.take_checkpoint().await
    }

    /// Has what was only handed to the kernel on stable storage. Sealed segments have been through it.
    pub(crate) async fn sync_buffered(&self) -> Result<(), StorageError> {
        let buffered: Vec<Rc<LogSegment<E>>> = {
            let state = self.state.borrow();
            state.unsealed().filter(|segment| segment.state.borrow().buffered_to > 0).collect()
        };
        for segment in buffered {
            // Sealed while another one was synced.
            if segment.is_sealed() {
                continue;
            }
            let upto = segment.state.borrow().buffered_to;
            let file = self.file_to_write(&segment).await?;
            let synced = file.sync().await;
            synced.map_err(|error| StorageError::io("sync", &segment.path("log"), &error))?;
            let mut state = segment.state.borrow_mut();
            // A write that completed meanwhile waits for the next sync.
            if state.buffered_to == upto {
                state.buffered_to = 0;
            }
        }
        Ok(())
    }

    async fn seal(&self, segment: &Rc<LogSegment<E>>, producers: &ProducerState) -> Result<(), StorageError> {
        self.cut(segment).await?;
        self.write_indexes(segment).await?;
        self.write_snapshot(segment.next_offset(), producers).await?;
        segment.state.borrow_mut().tail.unpark();
        segment.advance_to(Stage::Sealed);
        // Readers go on with the file that is open.
        let file = segment.writer.borrow_mut().take();
        if let Some(file) = file {
            segment.reader.borrow_mut().get_or_insert(file);
        }
        self.shard.sealed_files.note(segment);
        Ok(())
    }

    /// Makes everything that is in the log now independent of a scan.
    async fn take_checkpoint(self: &Rc<Self>) -> Result<(), StorageError> {
        let (target, known, producers, active) = {
            let mut state = self.state.borrow_mut();
            state.bytes_since_checkpoint = 0;
            state.last_checkpoint_ms = self.shard.now_ms();
            (state.log_end, state.recovery_point, state.producers.freeze(), state.active())
        };
        if self.shard.now_ms().saturating_sub(self.state.borrow().last_append_ms)
            >= self.shard.options.idle_ms
        {
            // The log may stay as it is for long: then a clean stop has nothing left to write.
            active.state.borrow_mut().finish_time_index();
        }
        let counts = index_counts(&active);
        self.write_epochs().await?;
        let high_watermark = self.high_watermark();
        self.shard.dir.set_checkpoint(Checkpoint::HighWatermark, &self.tp, high_watermark);
        if target == known {
            return Ok(());
        }
        self.written_soon_to(target).await?;
        self.sync_buffered().await?;
        self.write_index_entries(&active, counts).await?;
        // Last of the files: it makes the names of all of them durable.
        self.write_snapshot(target, &producers).await?;
        self.move_recovery_point(target, target);
        self.shard.stats.borrow_mut().checkpoints += 1;
        self.unmark_synced().await
    }

    /// Writes the leader epochs, if the file does not have them; durable when this returns.
    pub(super) async fn write_epochs(&self) -> Result<(), StorageError> {
        let epochs = {
            let mut state = self.state.borrow_mut();
            std::mem::take(&mut state.epochs_dirty).then(|| format_epochs(state.epochs.entries()))
        };
        let Some(epochs) = epochs else { return Ok(()) };
        let written = self.shard.write_whole(&self.dir.join(LEADER_EPOCH_FILE), epochs).await;
        written.inspect_err(|_| self.state.borrow_mut().epochs_dirty = true)
    }

    fn move_recovery_point(&self, to: Offset, snapshot: Offset) {
        let change = self.shard.dir.set_checkpoint(Checkpoint::RecoveryPoint, &self.tp, to);
        let mut state = self.state.borrow_mut();
        state.recovery_point = state.recovery_point.max(to);
        if state.snapshots.last().is_none_or(|&(last, _)| last < snapshot) {
            state.snapshots.push((snapshot, change));
        }
    }

    /// Removes snapshots within segments that a newer one on disk has replaced.
    async fn remove_stale_snapshots(&self) {
        let stale = {
            let mut state = self.state.borrow_mut();
            let written = state.snapshots.iter().rposition(|&(_, change)| self.shard.dir.is_written(change));
            let Some(newest) = written else { return };
            let stale: Vec<Offset> = state.snapshots.drain(..newest).map(|(offset, _)| offset).collect();
            let at_base = |offset: &Offset| state.segments.iter().any(|segment| segment.base == *offset);
            stale.into_iter().filter(|offset| !at_base(offset)).collect::<Vec<_>>()
        };
        for offset in stale {
            // One that stays behind costs a few bytes and is removed at the next start.
            let _ = remove_snapshot(self.shard.effects.disk(), &self.dir, offset).await;
        }
    }

    /// Writes the producers as of `offset`; durable when this returns. Kafka's file comes last, since it is the one that
    /// a recovery looks for.
    async fn write_snapshot(&self, offset: Offset, producers: &ProducerState) -> Result<(), StorageError> {
        let SnapshotFiles { snapshot, batches } = encode(producers).await;
        if let Some(batches) = batches {
            self.shard.write_whole(&self.dir.join(file_name(offset, BATCHES_ENDING)), batches).await?;
        }
        self.shard.write_whole(&self.dir.join(file_name(offset, "snapshot")), snapshot).await
    }

    fn is_cut(&self) -> bool {
        let active = self.active();
        let state = active.state.borrow();
        state.prewriting_from.is_none() && state.physical_size == state.size
    }

    /// Cuts the idle active file to its logical length, unless the log is written meanwhile.
    async fn cut_to_size(self: &Rc<Self>) {
        let active = self.active();
        let prewriting = active.state.borrow().prewriting_from.is_some();
        if self.is_closed() || prewriting || !active.is_durable() || !self.commit.begin_cut() {
            return;
        }
        let cut = self.cut(&active).await;
        self.commit.finish_cut();
        self.notify_idle();
        if let Err(error) = cut {
            self.shard.background_error(&error);
        }
        // The log may have rolled meanwhile, so the segment that was active says nothing about the log.
        if self.durable_end() < self.log_end_offset() {
            self.queue_commit();
        }
    }

    /// Cuts a file to its logical length. Nothing may write to it meanwhile; a prewrite that is under way is waited for.
    async fn cut(&self, segment: &Rc<LogSegment<E>>) -> Result<(), StorageError> {
        while segment.state.borrow().prewriting_from.is_some() {
            self.progress.notified().await;
        }
        let (size, physical) = {
            let state = segment.state.borrow();
            (state.durable_size, state.physical_size)
        };
        if size == physical {
            return Ok(());
        }
        let file = self.file_to_write(segment).await?;
        let cut = file.truncate(size).await;
        cut.map_err(|error| StorageError::io("truncate", &segment.path("log"), &error))?;
        let mut state = segment.state.borrow_mut();
        (state.physical_size, state.prewritten, state.prewrite_step) = (size, 0..0, 0);
        Ok(())
    }

    /// Adds what is new to the index files of a segment that is complete, and cuts them to their length.
    async fn write_indexes(&self, segment: &Rc<LogSegment<E>>) -> Result<(), StorageError> {
        segment.state.borrow().whole_indexes();
        self.write_index_entries(segment, index_counts(segment)).await?;
        let (offsets, times) = segment.state.borrow().persisted;
        let lengths =
            [("index", offsets * OffsetIndex::ENTRY_SIZE), ("timeindex", times * TimeIndex::ENTRY_SIZE)];
        for (ending, length) in lengths {
            let path = segment.path(ending);
            let file = self.open_buffered(&path).await?;
            let found = file.length().await.map_err(|error| StorageError::io("stat", &path, &error))?;
            if found == to_u64(length) {
                continue;
            }
            let cut = file.truncate(to_u64(length)).await;
            cut.map_err(|error| StorageError::io("truncate", &path, &error))?;
        }
        Ok(())
    }

    async fn write_index_entries(
        &self,
        segment: &Rc<LogSegment<E>>,
        counts: (usize, usize),
    ) -> Result<(), StorageError> {
        let (from, offsets, times) = {
            let state = segment.state.borrow();
            let indexes = state.indexes.as_ref().expect("a segment that is not sealed keeps its indexes");
            (
                state.persisted,
                indexes.offsets.encode(state.persisted.0),
                indexes.times.encode(state.persisted.1),
            )
        };
        let new_offsets = (counts.0 - from.0) * OffsetIndex::ENTRY_SIZE;
        let new_times = (counts.1 - from.1) * TimeIndex::ENTRY_SIZE;
        let parts = [
            ("index", &offsets[..new_offsets], from.0 * OffsetIndex::ENTRY_SIZE),
            ("timeindex", &times[..new_times], from.1 * TimeIndex::ENTRY_SIZE),
        ];
        // Kafka's tools take it for granted that both files exist as soon as one does.
        let first = from == (0, 0) && counts != (0, 0);
        for (ending, bytes, position) in parts {
            if bytes.is_empty() && !first {
                continue;
            }
            let path = segment.path(ending);
            let file = self.open_buffered(&path).await?;
            if bytes.is_empty() {
                continue;
            }
            let slice = self.slice_of(bytes)?;
            let written = file.write_at(vec![slice], to_u64(position), WriteMode::Durable).await;
            written.map_err(|error| StorageError::io("write", &path, &error))?;
        }
        segment.state.borrow_mut().persisted = counts;
        Ok(())
    }

    async fn open_buffered(&self, path: &std::path::Path) -> Result<crate::segment::FileOf<E>, StorageError> {
        let options = OpenOptions { write: true, create: true, direct: false };
        let file = self.shard.effects.disk().open(path, options).await;
        file.map_err(|error| StorageError::io("open", path, &error))
    }

    fn slice_of(&self, bytes: &[u8]) -> Result<ChunkSlice, StorageError> {
        let chunk = self.shard.effects.buffers().chunk(bytes.len());
        let mut chunk = chunk.map_err(|_| StorageError::OverBudget)?;
        chunk.append(bytes);
        Ok(chunk.slice(0..bytes.len()))
    }

    /// Keeps only the last page of an idle log in memory, and no file open.
    fn give_back_memory(&self) {
        let active = self.active();
        let freed = active.shrink();
        self.shard.chunks.freed(freed);
        active.close_files();
    }

    /// Closes the files of the active segment and of those that wait to be sealed, if nothing is to be written to them; if
    /// there is, has that begun. Says whether they are closed.
    pub(crate) fn close_unsealed_files(self: &Rc<Self>) -> bool {
        if self.commit.turn() != Turn::Resting || self.commit.is_writing() {
            return false;
        }
        let mut all = true;
        for segment in self.state.borrow().unsealed() {
            drop(segment.reader.borrow_mut().take());
            if segment.is_durable() && segment.state.borrow().prewriting_from.is_none() {
                drop(segment.writer.borrow_mut().take());
            } else {
                all = false;
            }
        }
        if !all {
            start_flush(self);
        }
        all
    }

    /// Flushes, checkpoints and cuts the log; it takes no more appends.
    pub(crate) async fn shut(self: &Rc<Self>) -> Result<(), StorageError> {
        let shut = self.flush_and_cut().await;
        // Logs that are shut later have files to write, too.
        self.active().close_files();
        shut
    }

    async fn flush_and_cut(self: &Rc<Self>) -> Result<(), StorageError> {
        if matches!(self.offline(), Some(StorageError::Truncating)) {
            // A cut that is under way comes to its end.
            drop(self.maintenance.acquire(1).await);
        }
        if self.offline().is_some() {
            return Ok(());
        }
        self.written_soon_to(self.log_end_offset()).await?;
        let _permit = self.maintenance.acquire(1).await;
        let mut written = Ok(());
        while written.is_ok() && self.state.borrow().written_end < self.log_end_offset() {
            written = self.written_soon_to(self.log_end_offset()).await;
        }
        self.state.borrow_mut().offline = Some(StorageError::Closed);
        written?;
        let active = self.active();
        let untouched = self.state.borrow().recovery_point == self.log_end_offset() && self.is_cut();
        if untouched
            && self.state.borrow().to_seal.is_empty()
            && active.state.borrow().file_indexes_complete()
        {
            return self.take_checkpoint().await;
        }
        active.state.borrow_mut().finish_time_index();
        self.seal_and_checkpoint().await?;
        self.cut(&active).await?;
        self.write_indexes(&active).await
    }
}

fn index_counts<E: Effects>(segment: &LogSegment<E>) -> (usize, usize) {
    let state = segment.state.borrow();
    state.indexes.as_ref().map_or((0, 0), |indexes| (indexes.offsets.len(), indexes.times.len()))
}
