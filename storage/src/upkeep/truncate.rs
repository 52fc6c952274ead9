//! Cutting a log at its end, and starting it anew elsewhere: what a follower does where its leader has something else, or
//! has deleted what the follower ends with.
//!
//! The order is what keeps a power cut harmless. Each step is durable before the next begins:
//!
//! 1. everything appended is in the segments;
//! 2. recovery point and high watermark do not lie behind the cut: a log that ends below its recovery point is damaged;
//! 3. the epoch file has nothing at or behind it;
//! 4. the journal has nothing at or behind it that counts ([`journal::end_log`]);
//! 5. the segments behind the cut go, the newest first: what is left has no gap, which would be damage;
//! 6. the file is cut. Before the next append, since batches of one size would line up with what stood there, and a recovery
//!    would go on with that.
//!
//! Up to there a start finds the log as it was or a beginning of it, with all that lies before the cut. Then the log in
//! memory becomes what a start would find: indexes, producers from their snapshot and a scan, the last page.
//!
//! Meanwhile the log is cutting (`commit/state.rs`) and offline with [`StorageError::Truncating`]: appends and reads are
//! refused, and a read that was under way fails rather than yield what is gone. If a step fails that may be tried again the
//! log stays like that until it is cut again, which ends what was begun.

use std::io;
use std::rc::Rc;

use model::Offset;
use runtime::{Disk, Effects, File, OpenOptions};

use crate::commit::journal;
use crate::dir::Checkpoint;
use crate::log::cuts::Cut;
use crate::log::{Log, LogState};
use crate::mutant::{Mutant, planted};
use crate::producer::budget::ChargedProducers;
use crate::producer::snapshot::BATCHES_ENDING;
use crate::recovery::opening::list;
use crate::recovery::{recover, segment_files};
use crate::segment::scan::Scan;
use crate::segment::tail::to_u64;
use crate::segment::{LogSegment, file_name, parse_file_name};
use crate::{StorageError, TruncateError};

/// Whether a cut may take what is below the high watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutCommitted {
    /// Committed records stay: else the replica is not what it should be.
    Refuse,
    /// The partition's record says that its leader was not elected cleanly.
    Allow,
}

impl<E: Effects> Log<E> {
    /// Cuts the log so that nothing at or above `offset` is left; a batch that reaches there goes as a whole. The cut is durable when
    /// this returns; yields where the log ends now. A follower calls it before it appends what its leader has instead.
    ///
    /// # Errors
    /// [`TruncateError`]; nothing has changed unless it is [`TruncateError::Storage`].
    pub async fn truncate_to(
        self: &Rc<Self>,
        offset: Offset,
        committed: CutCommitted,
    ) -> Result<Offset, TruncateError> {
        let _retention = self.retention.acquire(1).await;
        let _maintenance = self.maintenance.acquire(1).await;
        self.end_unfinished_cut().await?;
        self.check_cut(offset, committed)?;
        let log_start = self.log_start_offset();
        if offset < log_start {
            return Err(TruncateError::BelowLogStart { requested: offset, log_start });
        }
        if offset < self.log_end_offset() {
            self.begin_cutting().await?;
            let cut = self.locate(offset).await.inspect_err(|_| self.finish_cutting(None))?;
            // A batch that reaches behind the offset may begin before the high watermark.
            self.check_committed(cut.end, committed).inspect_err(|_| self.finish_cutting(None))?;
            self.carry_out(cut).await?;
        }
        Ok(self.log_end_offset())
    }

    /// Replaces the log by an empty one that starts at `offset`. Durable when this returns. A follower calls it that ends
    /// below the start of its leader's log, and so has nothing that is of use.
    ///
    /// # Errors
    /// [`TruncateError`]; nothing has changed unless it is [`TruncateError::Storage`].
    pub async fn reset_to(
        self: &Rc<Self>,
        offset: Offset,
        committed: CutCommitted,
    ) -> Result<(), TruncateError> {
        let _retention = self.retention.acquire(1).await;
        let _maintenance = self.maintenance.acquire(1).await;
        self.end_unfinished_cut().await?;
        self.check_cut(offset, committed)?;
        self.begin_cutting().await?;
        let first = self.state.borrow().segments[0].base;
        self.carry_out(Cut { base: first, position: 0, end: first, reset: Some(offset) }).await?;
        Ok(())
    }

    /// Refuses what would take committed records, and logs that are offline.
    fn check_cut(&self, offset: Offset, committed: CutCommitted) -> Result<(), TruncateError> {
        if let Some(error) = self.offline() {
            return Err(error.into());
        }
        self.check_committed(offset, committed)
    }

    fn check_committed(&self, end: Offset, committed: CutCommitted) -> Result<(), TruncateError> {
        let high_watermark = self.high_watermark();
        if end < high_watermark && committed == CutCommitted::Refuse {
            return Err(TruncateError::BelowHighWatermark { requested: end, high_watermark });
        }
        Ok(())
    }

    /// Waits until the segments have everything and nothing of the log is under way; nothing is appended or read from then
    /// on.
    async fn begin_cutting(self: &Rc<Self>) -> Result<(), StorageError> {
        loop {
            self.written_soon_to(self.log_end_offset()).await?;
            if self.is_closed() {
                return Err(StorageError::Closed);
            }
            if let Some(error) = self.shard.dir_failure() {
                return Err(error);
            }
            let prewriting =
                self.state.borrow().unsealed().any(|one| one.state.borrow().prewriting_from.is_some());
            let written = self.state.borrow().written_end == self.log_end_offset();
            if written && !prewriting && self.commit.begin_cut() {
                break;
            }
            self.progress.notified().await;
        }
        self.cuts.note_begun();
        self.state.borrow_mut().offline = Some(StorageError::Truncating);
        self.progress.notify_all();
        Ok(())
    }

    /// The log is as `state` has it, or as it was; or it stays refused while a cut is unfinished.
    fn finish_cutting(self: &Rc<Self>, cut: Option<LogState<E>>) {
        let unfinished = self.cuts.is_unfinished();
        {
            let mut state = self.state.borrow_mut();
            let closed = matches!(state.offline, Some(StorageError::Closed));
            if let Some(cut) = cut {
                self.adopt(&mut state, cut);
            } else if !unfinished {
                state.offline = None;
            }
            if closed {
                state.offline = Some(StorageError::Closed);
            }
        }
        self.commit.finish_cut();
        self.notify_idle();
        if !unfinished {
            self.mark_busy();
        }
    }

    /// Takes over what a recovery has found, but for what it cannot know.
    fn adopt(&self, state: &mut LogState<E>, cut: LogState<E>) {
        let mut before = std::mem::replace(state, cut);
        // One may have been noted meanwhile, where the log ended before.
        before.epochs_dirty |= before.epochs.truncate_from_end(state.log_end.plus(1));
        let high_watermark = before.high_watermark.min(state.log_end);
        state.raise_high_watermark(high_watermark);
        (state.epochs, state.epochs_dirty) = (before.epochs, before.epochs_dirty);
        (state.writes, state.write_bytes_average) = (before.writes, before.write_bytes_average);
        for segment in before.segments {
            self.forget_memory(&segment);
            segment.close_files();
        }
    }

    async fn end_unfinished_cut(self: &Rc<Self>) -> Result<(), StorageError> {
        if self.is_closed() {
            return Err(StorageError::Closed);
        }
        let Some(cut) = self.cuts.take_unfinished() else { return Ok(()) };
        self.cuts.set_unfinished(cut);
        self.begin_cutting().await?;
        self.carry_out(cut).await
    }

    /// Takes the steps of a cut that has been begun. From here on there is no way back.
    async fn carry_out(self: &Rc<Self>, cut: Cut) -> Result<(), StorageError> {
        self.cuts.set_unfinished(cut);
        let done = self.cut_files(cut).await;
        match done {
            Ok(state) => {
                self.cuts.take_unfinished();
                self.finish_cutting(Some(state));
                let (log_start, log_end) = (self.log_start_offset(), self.log_end_offset());
                tracing::info!(partition = %self.tp, %log_start, %log_end, "the log was cut");
                self.state.borrow().offline.clone().map_or(Ok(()), Err)
            }
            Err(error) => {
                self.finish_cutting(None);
                if !error.may_pass() {
                    self.shard.fail(&error);
                }
                Err(error)
            }
        }
    }

    /// Where a log without anything at or above `offset` ends.
    async fn locate(&self, offset: Offset) -> Result<Cut, StorageError> {
        let (_, segment) = self.state.borrow().floor(offset).expect("the log starts at or below the offset");
        if offset == segment.base {
            return Ok(Cut { base: offset, position: 0, end: offset, reset: None });
        }
        self.load_indexes(&segment).await?;
        let indexed = {
            let state = segment.state.borrow();
            // The batch that it leads to stays, so that the scan meets the end of one that does.
            state.indexes.as_ref().map(|indexes| indexes.offsets.lookup(Offset(offset.0 - 1)))
        };
        let by_index = match indexed.filter(|&(_, position)| position > 0) {
            Some((last, position)) => self.scan_for(&segment, (position, Some(last)), offset).await.ok(),
            None => None,
        };
        let (position, end) = match by_index {
            Some(found) => found,
            None => self.scan_for(&segment, (0, None), offset).await?,
        };
        Ok(Cut { base: segment.base, position, end, reset: None })
    }

    /// Where the first batch that reaches to `offset` starts, and the end of the one before it, by a scan from a batch on
    /// that ends with `last` if that is known.
    async fn scan_for(
        &self,
        segment: &Rc<LogSegment<E>>,
        (from, last): (u64, Option<Offset>),
        offset: Offset,
    ) -> Result<(u64, Offset), StorageError> {
        let (path, file, size) = (segment.path("log"), self.file_to_read(segment).await?, segment.size());
        let scan = Scan::patient(&self.shard.effects, &file, &path, size).with_gaps(self.config().compact);
        let (mut position, mut end) = (from, segment.base);
        let (mut agrees, mut found) = (true, false);
        let scanned = scan
            .batches(from, segment.base, |batch| {
                agrees &= position > from || last.is_none_or(|last| batch.last_offset() == last);
                found |= batch.next_offset() > offset;
                if !found {
                    (position, end) = (position + to_u64(batch.size()), batch.next_offset());
                }
            })
            .await?;
        if agrees && (found || scanned.problem.is_none()) {
            return Ok((position, end));
        }
        Err(StorageError::Corrupt { path, position: scanned.position, offset: end, message: scanned.why() })
    }

    async fn cut_files(self: &Rc<Self>, cut: Cut) -> Result<LogState<E>, StorageError> {
        self.lower_checkpoints(cut).await?;
        self.cut_epochs(cut).await?;
        // Behind a reset nothing older counts, nor what the journal has of segments that retention has removed.
        let from = if cut.reset.is_some() { Offset::ZERO } else { cut.end };
        journal::end_log(&self.shard, self, from).await?;
        if planted(Mutant::CutsFileFirst) {
            self.cut_segment(cut).await?;
        }
        self.drop_segments(cut).await?;
        self.cut_segment(cut).await?;
        if let Some(start) = cut.reset {
            self.reset_file(cut.base, start).await?;
        }
        // Its producers have their places in the shard's budget while others are counted.
        self.state.borrow_mut().producers = ChargedProducers::new(&self.shard.producers);
        let entries = list(&self.shard, &self.dir).await?.unwrap_or_default();
        let files = segment_files(&entries);
        if files.is_empty() {
            let path = self.dir.join(file_name(cut.base, "log"));
            return Err(StorageError::Missing { path, below: cut.end });
        }
        recover(&self.shard, &self.tp, &self.dir, &self.config(), &entries, &files).await
    }

    /// Lowers what says how far the log goes, as far as it lies behind the cut.
    async fn lower_checkpoints(&self, cut: Cut) -> Result<(), StorageError> {
        let lowest = cut.reset.map_or(cut.end, |start| start.min(cut.end));
        {
            let mut state = self.state.borrow_mut();
            state.recovery_point = state.recovery_point.min(lowest);
            state.high_watermark = state.high_watermark.min(cut.reset.unwrap_or(cut.end));
        }
        let dir = &self.shard.dir;
        for (which, limit) in
            [(Checkpoint::RecoveryPoint, lowest), (Checkpoint::HighWatermark, cut.reset.unwrap_or(cut.end))]
        {
            let lies_behind = dir.checkpoint(which, &self.tp).is_some_and(|known| known > limit);
            if lies_behind && !(planted(Mutant::KeepsRecoveryPoint) && which == Checkpoint::RecoveryPoint) {
                dir.set_checkpoint(which, &self.tp, limit);
            }
        }
        // Also when they say so in memory alone.
        dir.write_checkpoints(&self.shard.effects).await
    }

    async fn cut_epochs(&self, cut: Cut) -> Result<(), StorageError> {
        {
            let mut state = self.state.borrow_mut();
            let from = if cut.reset.is_some() { Offset::ZERO } else { cut.end };
            let changed = state.epochs.truncate_from_end(from);
            state.epochs_dirty = (state.epochs_dirty || changed) && !planted(Mutant::KeepsEpochs);
        }
        self.write_epochs().await
    }

    async fn drop_segments(&self, cut: Cut) -> Result<(), StorageError> {
        let behind: Vec<_> = {
            let state = self.state.borrow();
            state.segments.iter().filter(|segment| segment.base > cut.base).cloned().collect()
        };
        for segment in behind.iter().rev() {
            segment.close_files();
            self.delete_files(segment).await?;
        }
        if !behind.is_empty() {
            // A try before this one may have renamed a file and then not made that durable.
            self.shard.sync_dir(&self.dir).await?;
        }
        Ok(())
    }

    async fn cut_segment(&self, cut: Cut) -> Result<(), StorageError> {
        let path = self.dir.join(file_name(cut.base, "log"));
        let options = OpenOptions { write: true, create: false, direct: false };
        let file = match self.shard.effects.disk().open(&path, options).await {
            Ok(file) => file,
            // A reset that is tried again has given it another name.
            Err(error) if error.kind() == io::ErrorKind::NotFound && cut.reset.is_some() => return Ok(()),
            Err(error) => return Err(StorageError::io("open", &path, &error)),
        };
        let cut_off = file.truncate(cut.position).await;
        cut_off.map_err(|error| StorageError::io("truncate", &path, &error))?;
        if cut.position == 0 {
            // A recovery takes an empty file as it is, without a look at what its indexes say.
            for ending in ["index", "timeindex", "txnindex"] {
                self.shard.remove_if_there(&self.dir.join(file_name(cut.base, ending))).await?;
            }
            self.shard.sync_dir(&self.dir).await?;
        }
        Ok(())
    }

    /// Has the empty log that starts at `base` start elsewhere: by a new name of its only file, so that it is the one or the
    /// other.
    async fn reset_file(&self, base: Offset, start: Offset) -> Result<(), StorageError> {
        let entries = list(&self.shard, &self.dir).await?.unwrap_or_default();
        let is_snapshot =
            |name: &str| ["snapshot", BATCHES_ENDING].iter().any(|end| parse_file_name(name, end).is_some());
        for entry in entries.iter().filter(|entry| is_snapshot(&entry.name)) {
            self.shard.remove_if_there(&self.dir.join(&entry.name)).await?;
        }
        self.shard.sync_dir(&self.dir).await?;
        // Whatever this says an empty log starts where its file does; one that goes on at `start` must not start behind that.
        self.shard.dir.set_checkpoint(Checkpoint::LogStart, &self.tp, start);
        self.shard.dir.write_checkpoints(&self.shard.effects).await?;
        let (from, to) = (self.dir.join(file_name(base, "log")), self.dir.join(file_name(start, "log")));
        match self.shard.effects.disk().rename(&from, &to).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed if base != start => renamed.map_err(|error| StorageError::io("rename", &from, &error)),
            _ => Ok(()),
        }
    }
}
