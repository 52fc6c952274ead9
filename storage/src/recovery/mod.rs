//! Recovering a log that is on disk: what the last broker left is read back, a torn tail is cut off, damage
//! to durable data takes the log offline.
//!
//! The scan starts at the recovery point (at the end, after a clean stop) and goes to the end of the last file.
//! What lies before is trusted: it is verified when it is read.

mod data_directory;
pub(crate) mod opening;
mod side_files;

use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use model::{Offset, RecordBatch, TopicPartition};
use runtime::{Clock, DirEntry, Disk, Effects, File, OpenOptions};

use crate::dir::Checkpoint;
use crate::dir::checkpoint::{LEADER_EPOCH_FILE, parse_epochs};
use crate::dir::files::remove_snapshot;
use crate::log::follower::note_stored;
use crate::log::leader_epoch_cache::LeaderEpochCache;
use crate::log::unsynced::UNSYNCED_FILE;
use crate::log::{Log, LogState, ToSeal};
use crate::producer::budget::ChargedProducers;
use crate::producer::snapshot::{BATCHES_ENDING, decode};
use crate::recovery::side_files::{SIDE_FILE_BYTES_MAX, SideFiles};
use crate::segment::offset_index::OffsetIndex;
use crate::segment::scan::{Scan, ScanEnd};
use crate::segment::tail::to_u64;
use crate::segment::time_index::{TimeIndex, TimesClaim};
use crate::segment::{FileOf, Indexes, LogSegment, Stage, file_name, page_down, parse_file_name};
use crate::shard::StorageShard;
use crate::{CommitMode, LogConfig, StorageError};

/// The files of a segment.
pub(crate) const ENDINGS: [&str; 6] = ["log", "index", "timeindex", "txnindex", "snapshot", BATCHES_ENDING];

/// A log being opened.
struct Recovery<'a, E: Effects> {
    shard: &'a Rc<StorageShard<E>>,
    tp: &'a TopicPartition,
    dir: Rc<Path>,
    config: &'a LogConfig,
    files: SideFiles<'a, E>,
    /// The log does not wait for the disk, or did not when it was last written.
    unsynced: bool,
    recovery_point: Offset,
    /// Where the producers' snapshot is from.
    snapshot: Offset,
    producers: ChargedProducers,
    /// When the log is opened, by the wall clock.
    now_ms: i64,
    epochs: LeaderEpochCache,
    /// Their file says nothing: they are looked for in all batches.
    epochs_lost: bool,
    /// The file does not have all of them.
    epochs_dirty: bool,
    /// Full segments that were scanned: their indexes may have to be written.
    to_seal: VecDeque<ToSeal<E>>,
}

/// A segment file as the directory lists it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentFile {
    pub(crate) base: Offset,
    pub(crate) length: u64,
    next_base: Option<Offset>,
}

pub(crate) fn segment_files(entries: &[DirEntry]) -> Vec<SegmentFile> {
    let mut files: Vec<SegmentFile> = entries
        .iter()
        .filter_map(|entry| {
            let base = parse_file_name(&entry.name, "log")?;
            Some(SegmentFile { base, length: entry.length, next_base: None })
        })
        .collect();
    files.sort_by_key(|file| file.base);
    for at in 1..files.len() {
        files[at - 1].next_base = Some(files[at].base);
    }
    files
}

/// Reads back a log that has at least one file.
pub(crate) async fn recover<E: Effects>(
    shard: &Rc<StorageShard<E>>,
    tp: &TopicPartition,
    dir: &Rc<Path>,
    config: &LogConfig,
    entries: &[DirEntry],
    files: &[SegmentFile],
) -> Result<LogState<E>, StorageError> {
    let _permit = shard.recoveries.acquire(1).await;
    let first = files[0].base;
    let recovery_point = shard.dir.checkpoint(Checkpoint::RecoveryPoint, tp).unwrap_or(first).max(first);
    let side = SideFiles::read_ahead(shard, dir, entries, needed(entries, files, recovery_point)).await?;
    let epochs = side.read(LEADER_EPOCH_FILE).await?.as_deref().and_then(parse_epochs);
    // It is there before the recovery point first moves.
    let epochs_lost = epochs.is_none() && recovery_point > first;
    if epochs_lost {
        tracing::warn!(partition = %tp, "leader epochs missing or damaged, recovery takes longer");
    }
    let mut recovery = Recovery {
        shard,
        tp,
        dir: Rc::clone(dir),
        config,
        files: side,
        unsynced: config.commit_mode == CommitMode::Kafka
            || entries.iter().any(|entry| entry.name == UNSYNCED_FILE),
        recovery_point,
        snapshot: first,
        producers: ChargedProducers::new(&shard.producers),
        now_ms: shard.effects.clock().unix_ms(),
        epochs: LeaderEpochCache::new(epochs.unwrap_or_default(), recovery_point),
        epochs_lost,
        epochs_dirty: epochs_lost,
        to_seal: VecDeque::new(),
    };
    recovery.load_snapshot(entries).await?;
    let mut segments = Vec::with_capacity(files.len());
    let mut offline = None;
    for (at, file) in files.iter().enumerate() {
        let (segment, problem) = recovery.segment(file).await?;
        let lost_behind = problem.is_none() && recovery.ends_early(&segment, file);
        segments.push(segment);
        if let Some(problem) = problem {
            tracing::error!(partition = %tp, error = %problem, "the log stays offline");
            offline = Some(problem);
            break;
        }
        if lost_behind {
            recovery.remove_all(&files[at + 1..]).await?;
            break;
        }
    }
    recovery.finish(segments, offline, entries).await
}

impl<E: Effects> Recovery<'_, E> {
    /// Takes the newest good snapshot that the recovery point covers.
    async fn load_snapshot(&mut self, entries: &[DirEntry]) -> Result<(), StorageError> {
        for offset in snapshots(entries).into_iter().rev().filter(|&offset| offset <= self.recovery_point) {
            let path = self.dir.join(file_name(offset, "snapshot"));
            let bytes = self.files.read(&file_name(offset, "snapshot")).await?;
            let batches = self.files.read(&file_name(offset, BATCHES_ENDING)).await?;
            if let Some(producers) = bytes.and_then(|bytes| decode(&bytes, batches.as_deref())) {
                let expiration_ms = self.shard.options.producer_id_expiration_ms;
                self.producers.load(producers, self.now_ms, expiration_ms);
                self.snapshot = offset.max(self.snapshot);
                return Ok(());
            }
            tracing::warn!(path = %path.display(), "damaged snapshot ignored, recovery takes longer");
        }
        Ok(())
    }

    /// Opens one segment: trusted if the scan starts behind it, else scanned.
    async fn segment(
        &mut self,
        file: &SegmentFile,
    ) -> Result<(Rc<LogSegment<E>>, Option<StorageError>), StorageError> {
        if let Some(next) = file.next_base
            && next <= self.snapshot
        {
            let segment = LogSegment::sealed(Rc::clone(&self.dir), file.base, next, file.length);
            if self.epochs_lost {
                self.find_epochs(&segment).await?;
            }
            return Ok((Rc::new(segment), None));
        }
        let segment =
            Rc::new(LogSegment::new(Rc::clone(&self.dir), file.base, self.shard.effects.clock().unix_ms()));
        segment.state.borrow_mut().created = true;
        if file.length == 0 {
            let path = segment.path("log");
            let problem = self.missing(&segment, file, &path, &ScanEnd::of_file(0));
            if problem.is_none() && file.next_base.is_some() && !self.ends_early(&segment, file) {
                segment.state.borrow_mut().next_offset = file.next_base.unwrap_or(file.base);
                segment.advance_to(Stage::Sealed);
            }
            return Ok((segment, problem));
        }
        let path = segment.path("log");
        let handle = self.shard.open_to_write(&path).await?;
        let length = file.length;
        let scan = Scan::patient(&self.shard.effects, &handle, &path, length).with_gaps(self.config.compact);
        if !self.epochs_lost {
            self.load_side_files(&segment, &scan).await?;
        }
        let from = segment.state.borrow().size;
        let expected = segment.state.borrow().next_offset;
        let interval = self.config.index_interval_bytes;
        let (snapshot, now_ms) = (self.snapshot, self.now_ms);
        let (producers, epochs) = (&mut self.producers, &mut self.epochs);
        let epochs_dirty = &mut self.epochs_dirty;
        let end = scan
            .batches(from, expected, |batch| {
                let mut state = segment.state.borrow_mut();
                state.note_batch(batch, batch.base_offset(), batch.max_timestamp(), interval);
                let producers = (batch.base_offset() >= snapshot).then_some(&mut *producers);
                *epochs_dirty |= note_stored(batch, producers, epochs, now_ms);
            })
            .await?;
        let problem = self.damage_at_end(&segment, file, &scan, &end).await?;
        {
            let mut state = segment.state.borrow_mut();
            state.durable_size = state.size;
            state.physical_size = length;
        }
        if problem.is_none() {
            let is_full = file.next_base.is_some() && !self.ends_early(&segment, file);
            if let Some(next_base) = file.next_base.filter(|_| is_full) {
                // Compaction may have removed the last records.
                segment.state.borrow_mut().next_offset = next_base;
            }
            self.make_good(&segment, is_full, handle).await?;
        }
        Ok((segment, problem))
    }

    /// Notes the epochs in a segment that is trusted otherwise. What is damaged in it is for its readers to meet.
    async fn find_epochs(&mut self, segment: &LogSegment<E>) -> Result<(), StorageError> {
        let path = segment.path("log");
        let handle = self.shard.open_direct(&path, OpenOptions::default()).await?;
        let scan = Scan::patient(&self.shard.effects, &handle, &path, segment.size());
        let epochs = &mut self.epochs;
        let scanned = scan.batches(0, segment.base, |batch| {
            epochs.assign(batch.leader_epoch(), batch.base_offset());
        });
        match scanned.await {
            Err(error) if error.may_pass() => Err(error),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "leader epochs behind that are not known");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Whether offsets are missing between the segment and the next, which only a log that does not wait for the disk can
    /// have: then the log ends here.
    fn ends_early(&self, segment: &LogSegment<E>, file: &SegmentFile) -> bool {
        let next = segment.next_offset();
        let cut = self.is_unsynced(next) && !self.config.compact;
        cut && file.next_base.is_some_and(|base| next < base)
    }

    /// Removes segments behind the new end of the log; durable when this returns.
    async fn remove_all(&self, files: &[SegmentFile]) -> Result<(), StorageError> {
        for file in files {
            let path = self.dir.join(file_name(file.base, "log"));
            tracing::warn!(path = %path.display(), "removed: records before it were not on disk when the power was lost");
            for ending in ENDINGS {
                let path = self.dir.join(file_name(file.base, ending));
                self.shard.remove_if_there(&path).await?;
            }
        }
        self.shard.sync_dir(&self.dir).await
    }

    /// Loads the indexes up to where the scan starts, and moves the segment there.
    async fn load_side_files(
        &self,
        segment: &Rc<LogSegment<E>>,
        scan: &Scan<'_, E>,
    ) -> Result<(), StorageError> {
        let index = self.files.read(&file_name(segment.base, "index")).await?.unwrap_or_default();
        let times = self.files.read(&file_name(segment.base, "timeindex")).await?.unwrap_or_default();
        let offsets = OffsetIndex::parse(segment.base, &index, self.snapshot, scan.length);
        let Some((offset, position)) = offsets.last() else { return Ok(()) };
        if !leads_to_batch(scan, position, offset).await? {
            tracing::warn!(path = %scan.path.display(), "damaged index ignored, recovery takes longer");
            return Ok(());
        }
        let times = TimeIndex::parse(segment.base, &times, self.snapshot);
        let first = first_timestamp(scan).await?;
        if is_lost(&times, first) {
            tracing::warn!(path = %scan.path.display(), "time index missing or damaged, recovery takes longer");
            return Ok(());
        }
        let mut state = segment.state.borrow_mut();
        state.first_timestamp = first;
        state.max_timestamp = times.last().unwrap_or((-1, segment.base));
        let (timestamp, offset) = state.max_timestamp;
        state.times_claim = Some(TimesClaim { timestamp, offset, end: position });
        state.persisted = (offsets.len(), times.len());
        state.size = position;
        state.indexes = Some(Indexes { offsets, times });
        Ok(())
    }

    /// Decides what the end of a scan means: `Some` if durable data is damaged or missing.
    async fn damage_at_end(
        &self,
        segment: &LogSegment<E>,
        file: &SegmentFile,
        scan: &Scan<'_, E>,
        end: &ScanEnd,
    ) -> Result<Option<StorageError>, StorageError> {
        let next = segment.next_offset();
        if self.is_unsynced(next) {
            return Ok(None);
        }
        if end.misplaced {
            return Ok(Some(corrupt(scan.path, end, next, end.why())));
        }
        let clean = end.problem.is_none() || scan.only_zeros(end.position).await?;
        let why = end.why();
        if file.next_base.is_some() && !clean {
            return Ok(Some(corrupt(scan.path, end, next, format!("{why}, but another segment follows"))));
        }
        let missing = self.missing(segment, file, scan.path, end);
        if missing.is_some() || clean {
            return Ok(missing);
        }
        if let Some(found) = scan.proof_of_damage(end.position, next).await? {
            let message = format!("{why}, but a valid batch follows at byte {found}");
            return Ok(Some(corrupt(scan.path, end, next, message)));
        }
        tracing::warn!(partition = %self.tp, path = %scan.path.display(), position = end.position, offset = %next, reason = %why,
            "unfinished write cut off; nothing in it was acknowledged");
        Ok(None)
    }

    /// Whether what stands at `offset` need not be durable. Without waiting for the disk, a power cut may leave anything;
    /// Kafka cuts the log there. But below the recovery point everything was synced, whatever the log waits for.
    fn is_unsynced(&self, offset: Offset) -> bool {
        self.unsynced && offset >= self.recovery_point
    }

    /// Whether the segment ends before the data does that was durable.
    fn missing(
        &self,
        segment: &LogSegment<E>,
        file: &SegmentFile,
        path: &Path,
        end: &ScanEnd,
    ) -> Option<StorageError> {
        let next = segment.next_offset();
        let because = match file.next_base {
            _ if self.is_unsynced(next) => return None,
            Some(next_base) if next < next_base && !self.config.compact => {
                format!("the next segment starts at offset {next_base}")
            }
            None if next < self.recovery_point => {
                format!("everything below offset {} was durable", self.recovery_point)
            }
            _ => return None,
        };
        Some(corrupt(path, end, next, format!("{}, but {because}", end.why())))
    }

    /// Brings files and state of a scanned segment in line: cut to size, durable, last page loaded.
    async fn make_good(
        &mut self,
        segment: &Rc<LogSegment<E>>,
        is_full: bool,
        handle: FileOf<E>,
    ) -> Result<(), StorageError> {
        let path = segment.path("log");
        let (size, physical) = {
            let state = segment.state.borrow();
            (state.size, state.physical_size)
        };
        if physical > size {
            handle.truncate(size).await.map_err(|error| StorageError::io("truncate", &path, &error))?;
            segment.state.borrow_mut().physical_size = size;
        }
        if segment.next_offset() > self.recovery_point {
            // After a kill the bytes may only be in the device's cache; they count as durable from here on.
            handle.sync().await.map_err(|error| StorageError::io("sync", &path, &error))?;
        }
        if is_full {
            segment.state.borrow_mut().finish_time_index();
            segment.advance_to(Stage::Full);
            let producers = self.producers.freeze();
            self.to_seal.push_back(ToSeal { segment: Rc::clone(segment), producers });
            return self.cut_side_files(segment).await;
        }
        let page = page_down(size);
        if page < size {
            let scan = Scan::patient(&self.shard.effects, &handle, &path, size);
            let bytes = scan.read(page, size - page).await?;
            segment.state.borrow_mut().tail.park(&bytes);
        }
        self.cut_side_files(segment).await
    }

    /// Index entries behind what was taken over would be mistaken for new ones later, unless they say what was found in the
    /// data, too: then they need not be written again, nor cut.
    async fn cut_side_files(&self, segment: &Rc<LogSegment<E>>) -> Result<(), StorageError> {
        let (index, times) = segment.state.borrow().persisted;
        let kept = [("index", index * OffsetIndex::ENTRY_SIZE), ("timeindex", times * TimeIndex::ENTRY_SIZE)];
        for (ending, keep) in kept {
            let name = file_name(segment.base, ending);
            if self.files.length(&name) <= to_u64(keep) {
                continue;
            }
            let path = segment.path(ending);
            let Some(bytes) = self.files.read(&name).await? else { continue };
            if bytes.len() <= keep {
                continue;
            }
            let same = segment.state.borrow_mut().take_over(ending, &bytes);
            if same && self.shard.dir.was_clean() {
                continue;
            }
            let options = OpenOptions { write: true, create: false, direct: false };
            let file = self.shard.effects.disk().open(&path, options).await;
            let file = file.map_err(|error| StorageError::io("open", &path, &error))?;
            // What a killed process has written may not be durable yet.
            let done = if same { file.sync().await } else { file.truncate(to_u64(keep)).await };
            done.map_err(|error| StorageError::io("cut", &path, &error))?;
        }
        Ok(())
    }

    async fn finish(
        self,
        segments: Vec<Rc<LogSegment<E>>>,
        offline: Option<StorageError>,
        entries: &[DirEntry],
    ) -> Result<LogState<E>, StorageError> {
        let shard = self.shard;
        let first = segments[0].base;
        let last = Rc::clone(segments.last().expect("there is at least one file"));
        let log_end = last.next_offset();
        let mut state = LogState::new(last, log_end, self.producers);
        state.segments = segments.into();
        let log_start = shard.dir.checkpoint(Checkpoint::LogStart, self.tp).unwrap_or(first);
        state.log_start = log_start.clamp(first, log_end);
        let high_watermark =
            shard.dir.checkpoint(Checkpoint::HighWatermark, self.tp).unwrap_or(state.log_start);
        state.high_watermark = high_watermark.clamp(state.log_start, log_end);
        state.producers.replicated_to(state.high_watermark);
        state.recovery_point = self.recovery_point.min(log_end);
        (state.epochs, state.to_seal) = (self.epochs, self.to_seal);
        state.epochs_dirty = self.epochs_dirty | state.epochs.truncate_from_start(state.log_start);
        state.offline = offline;
        (state.last_append_ms, state.last_checkpoint_ms) = (shard.now_ms(), shard.now_ms());
        let change = match &state.offline {
            None => shard.dir.set_checkpoint(Checkpoint::LogStart, self.tp, state.log_start),
            // The start may lie in what is damaged, and must be known when that has been repaired.
            Some(_) => 0,
        };
        let (known, lost): (Vec<Offset>, Vec<Offset>) =
            snapshots(entries).into_iter().partition(|&offset| offset <= state.recovery_point);
        let parted =
            with_ending(entries, BATCHES_ENDING).into_iter().filter(|offset| !known.contains(offset));
        let lost: Vec<Offset> = lost.into_iter().chain(parted).collect();
        state.snapshots = known.into_iter().map(|offset| (offset, change)).collect();
        // The log may go on differently from what these describe.
        for offset in lost.into_iter().filter(|_| state.offline.is_none()) {
            remove_snapshot(shard.effects.disk(), &self.dir, offset).await?;
        }
        Ok(state)
    }
}

fn corrupt(path: &Path, end: &ScanEnd, next: Offset, message: String) -> StorageError {
    StorageError::Corrupt { path: path.to_owned(), position: end.position, offset: next, message }
}

/// The names of the small files that recovery nearly always reads.
fn needed(entries: &[DirEntry], files: &[SegmentFile], recovery_point: Offset) -> Vec<String> {
    let mut names = vec![LEADER_EPOCH_FILE.to_owned()];
    if let Some(newest) = snapshots(entries).into_iter().rfind(|&offset| offset <= recovery_point) {
        names.extend(["snapshot", BATCHES_ENDING].map(|ending| file_name(newest, ending)));
    }
    if let Some(last) = files.last() {
        names.extend(["index", "timeindex"].map(|ending| file_name(last.base, ending)));
    }
    names
}

/// The largest timestamp of the first batch, if it has one.
async fn first_timestamp<E: Effects>(scan: &Scan<'_, E>) -> Result<Option<i64>, StorageError> {
    let header = scan.read(0, to_u64(RecordBatch::HEADER_SIZE)).await?;
    let timestamp = header.get(35..43).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
    Ok(timestamp.filter(|&timestamp| timestamp >= 0))
}

/// Whether a time index has lost what it had: its name may be lost when the power is, while that of the offset index is not.
fn is_lost(times: &TimeIndex, first_timestamp: Option<i64>) -> bool {
    times.len() == 0 && first_timestamp.is_some_and(|timestamp| timestamp != 0)
}

/// Whether the entry of an index is true.
async fn leads_to_batch<E: Effects>(
    scan: &Scan<'_, E>,
    position: u64,
    last: Offset,
) -> Result<bool, StorageError> {
    let header = scan.read(position, to_u64(RecordBatch::HEADER_SIZE)).await?;
    let field =
        |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    let base = header.get(..8).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
    let (Some(base), Some(delta)) = (base, field(23)) else { return Ok(false) };
    Ok(header[16] == 2 && base.checked_add(i64::from(delta)) == Some(last.0))
}

/// The offsets of the snapshots in a directory, rising.
fn snapshots(entries: &[DirEntry]) -> Vec<Offset> {
    with_ending(entries, "snapshot")
}

/// The offsets of the files with an ending, rising.
fn with_ending(entries: &[DirEntry], ending: &str) -> Vec<Offset> {
    let mut offsets: Vec<Offset> =
        entries.iter().filter_map(|entry| parse_file_name(&entry.name, ending)).collect();
    offsets.sort();
    offsets
}

impl<E: Effects> Log<E> {
    /// Loads the indexes of a sealed segment, rebuilding them from the data if they are damaged.
    pub(crate) async fn load_indexes(&self, segment: &Rc<LogSegment<E>>) -> Result<(), StorageError> {
        if segment.state.borrow().indexes.is_some() {
            return Ok(());
        }
        assert!(segment.is_sealed(), "what is not sealed keeps its indexes");
        let path = segment.path("log");
        let file = self.file_to_read(segment).await?;
        let (size, next) = (segment.size(), segment.next_offset());
        let scan = Scan::new(&self.shard.effects, &file, &path, size);
        let index = self.shard.read_whole(&segment.path("index"), SIDE_FILE_BYTES_MAX).await?;
        let times = self.shard.read_whole(&segment.path("timeindex"), SIDE_FILE_BYTES_MAX).await?;
        // What is good of the files is completed from the data behind their last entry, which is little unless they have
        // lost something.
        let found: LogSegment<E> = LogSegment::new(Rc::clone(&self.dir), segment.base, 0);
        if let (Some(index), Some(times)) = (index, times) {
            let offsets = OffsetIndex::parse(segment.base, &index, next, size);
            let times = TimeIndex::parse(segment.base, &times, next);
            if let Some((offset, position)) = offsets.last()
                && leads_to_batch(&scan, position, offset).await?
                && !is_lost(&times, first_timestamp(&scan).await?)
            {
                let mut found = found.state.borrow_mut();
                (found.size, found.max_timestamp) = (position, times.last().unwrap_or((-1, segment.base)));
                found.indexes = Some(Indexes { offsets, times });
            }
        }
        let interval = self.config().index_interval_bytes;
        let from = found.size();
        let (timestamp, offset) = found.state.borrow().max_timestamp;
        let claim = (from > 0).then_some(TimesClaim { timestamp, offset, end: from });
        if from == 0 && size > 2 * interval {
            tracing::warn!(path = %path.display(), "index missing or damaged, rebuilt from the data");
        }
        let noted = scan.batches(from, segment.base, |batch| {
            let mut found = found.state.borrow_mut();
            found.note_batch(batch, batch.base_offset(), batch.max_timestamp(), interval);
        });
        let end = noted.await?;
        let mut found = found.state.borrow_mut();
        found.finish_time_index();
        {
            let mut state = segment.state.borrow_mut();
            state.note_timestamp(found.max_timestamp.0, found.max_timestamp.1);
            (state.times_known, state.times_claim) = (end.problem.is_none(), claim);
            state.times_wrong = false;
            state.indexes = found.indexes.take();
        }
        // It may have been closed meanwhile.
        self.shard.sealed_files.note(segment);
        Ok(())
    }
}
