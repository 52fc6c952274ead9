//! Deleting old segments, whole ones, by time, by size and below the log's start. Renamed at once,
//! unlinked later and slowly, off the shard.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use model::Offset;
use runtime::{Clock, Disk, Effects};

use crate::log::Log;
use crate::recovery::ENDINGS;
use crate::segment::LogSegment;
use crate::shard::StorageShard;
use crate::upkeep::every;
use crate::{ReadError, SealedRead, StorageError};

/// Bytes that are given back to the file system at a time. It has to note each extent, and the device may have to discard
/// them (mount option `discard`): a gigabyte at once stops durable writes for hundreds of milliseconds.
const UNLINK_BYTES_MAX: u64 = 16 << 20;

/// How often a longer wait looks whether it is still wanted.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Checks all logs of the shard every now and then until it closes.
pub(crate) async fn run<E: Effects>(shard: Rc<StorageShard<E>>) {
    let pause_ms = shard.options.retention_check_ms;
    every(shard, pause_ms, apply).await;
}

/// Checks logs that are due before their turn, until the shard closes.
pub(crate) async fn run_due<E: Effects>(shard: Rc<StorageShard<E>>) {
    while !shard.closing.get() {
        shard.retention_due.wait().await;
        let due = shard.retention_due.take(&shard.logs.borrow());
        for log in due {
            if shard.closing.get() {
                return;
            }
            apply(&log).await;
        }
    }
}

/// Has retention applied to a log, and logs what keeps it from that.
async fn apply<E: Effects>(log: &Rc<Log<E>>) {
    if let Err(error) = log.apply_retention().await {
        tracing::warn!(partition = %log.topic_partition(), %error, "retention failed");
    }
}

/// Removes what has been renamed, one by one, with a pause between them.
pub(crate) async fn unlink<E: Effects>(shard: Rc<StorageShard<E>>) {
    let clock = shard.effects.clock().clone();
    while !shard.closing.get() {
        let next = shard.unlinks.borrow_mut().pop_front();
        let Some((due, path)) = next else {
            shard.unlink_wake.notified().await;
            continue;
        };
        let now = clock.now();
        // While room is short nothing is kept for those who may still read it by name.
        if due > now && shard.disk_full.get().is_none() {
            // Files wait in about the order in which they are due; nothing suffers from a longer wait.
            shard.unlinks.borrow_mut().push_back((due, path));
            clock.sleep_until(now + LOOK_PAUSE.min(due - now)).await;
            continue;
        }
        if let Err(error) = remove(&shard, &path).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "could not be removed, left for the next start");
        }
    }
}

/// Removes a file or directory, large files bit by bit. What is left when the shard closes, the next start removes.
async fn remove<E: Effects>(shard: &StorageShard<E>, path: &Path) -> io::Result<()> {
    let disk = shard.effects.disk();
    let is_dir = path.to_string_lossy().ends_with("-delete");
    let files = if is_dir {
        disk.list_dir(path).await?.iter().map(|entry| path.join(&entry.name)).collect()
    } else {
        vec![path.to_owned()]
    };
    // What sendfile has given to a socket shares its pages with the file, and cutting the file changes them.
    let bit_by_bit = shard.options.sealed_read != SealedRead::Sendfile;
    for file in files.into_iter().filter(|_| bit_by_bit) {
        // What cannot be cut can still be removed.
        while disk.shrink_file(&file, UNLINK_BYTES_MAX).await.unwrap_or(false) {
            pause(shard).await;
            if shard.closing.get() {
                return Ok(());
            }
        }
    }
    if is_dir {
        disk.remove_dir_all(path).await?
    } else {
        disk.remove_file(path).await?
    }
    pause(shard).await;
    Ok(())
}

/// Lets others have the disk, unless it is full or the shard closes.
async fn pause<E: Effects>(shard: &StorageShard<E>) {
    let clock = shard.effects.clock();
    let end = clock.now() + shard.options.unlink_pause;
    while shard.disk_full.get().is_none() && !shard.closing.get() && clock.now() < end {
        clock.sleep_until(end.min(clock.now() + LOOK_PAUSE)).await;
    }
}

impl<E: Effects> Log<E> {
    /// Deletes the segments that retention, size and the log's start allow to go. The broker need not call this:
    /// it happens every `log.retention.check.interval.ms`.
    ///
    /// # Errors
    /// [`StorageError`] if files could not be renamed.
    pub async fn apply_retention(self: &Rc<Self>) -> Result<(), StorageError> {
        // What is counted must not change meanwhile.
        let _turn = self.retention.acquire(1).await;
        if self.offline().is_some() {
            return Ok(());
        }
        let old = self.expired().await?;
        let start = {
            let state = self.state.borrow();
            let below_start = |segment: &&Rc<LogSegment<E>>| segment.next_offset() <= state.log_start;
            let passed = state.segments.iter().take(state.segments.len() - 1).take_while(below_start).count();
            old.max(self.oversized()).max(passed)
        };
        if start == 0 {
            return Ok(());
        }
        self.delete_first(start).await
    }

    /// How many of the first segments are past `retention.ms`.
    async fn expired(&self) -> Result<usize, StorageError> {
        let config = self.config();
        let Some(retention_ms) = config.retention_ms.filter(|_| config.delete_retention) else {
            return Ok(0);
        };
        let now = self.shard.effects.clock().unix_ms();
        let segments: Vec<Rc<LogSegment<E>>> = self.state.borrow().segments.iter().cloned().collect();
        let mut count = 0;
        for segment in segments {
            if segment.size() == 0 || segment.next_offset() > self.high_watermark() {
                break;
            }
            let Some((largest, _)) = self.largest_timestamp(&segment).await? else { break };
            let created = segment.state.borrow().created_ms;
            let newest = if largest >= 0 { largest } else { created };
            if newest <= 0 || !u64::try_from(now.saturating_sub(newest)).is_ok_and(|age| age > retention_ms) {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    /// How many of the first segments the log can do without and still have `retention.bytes`.
    fn oversized(&self) -> usize {
        let config = self.config();
        let Some(retention_bytes) = config.retention_bytes.filter(|_| config.delete_retention) else {
            return 0;
        };
        let state = self.state.borrow();
        // What is not durable yet may never be, and must not cost what is.
        let durable: u64 =
            state.segments.iter().map(|segment| segment.state.borrow().acknowledged_size()).sum();
        let mut surplus = durable.saturating_sub(retention_bytes);
        let mut count = 0;
        for segment in &state.segments {
            let size = segment.size();
            if size == 0 || surplus < size || segment.next_offset() > state.high_watermark {
                break;
            }
            surplus -= size;
            count += 1;
        }
        count
    }

    /// Deletes the first `count` segments; if those are all, an empty one takes their place.
    async fn delete_first(self: &Rc<Self>, count: usize) -> Result<(), StorageError> {
        if count == self.segment_count() {
            let now = self.shard.effects.clock().unix_ms();
            let mut state = self.state.borrow_mut();
            let next = self.next_segment(state.log_end, now);
            self.roll(&mut state, next);
        }
        // Not while a segment is being sealed: its files would come back.
        let _permit = self.maintenance.acquire(1).await;
        if self.offline().is_some() {
            // It was deleted meanwhile; another log may have its name by now.
            return Ok(());
        }
        match self.seal_and_checkpoint().await {
            // On a full disk nothing can be sealed, but what has been can go, which makes room.
            Err(error) if error.is_passing() => {}
            done => done?,
        }
        // The name of the first segment left is what tells the next start where the log goes on.
        let (count, kept) = {
            let state = self.state.borrow();
            let count = count.min(state.segments.len() - 1 - state.to_seal.len());
            (count, Rc::clone(&state.segments[count]))
        };
        if count == 0 {
            return Ok(());
        }
        crate::commit::commit_loop::create_file(self, &kept).await?;
        let (gone, start) = {
            let mut state = self.state.borrow_mut();
            let gone: Vec<_> = state.segments.drain(..count).collect();
            let start = state.segments[0].base;
            (gone, start.max(state.log_start))
        };
        self.move_log_start(start);
        let (segments, bytes) = (gone.len(), gone.iter().map(|segment| segment.size()).sum::<u64>());
        tracing::info!(partition = %self.topic_partition(), segments, bytes, log_start = %start, "segments removed");
        // Whether or not their files can be renamed.
        gone.iter().for_each(|segment| self.forget_memory(segment));
        for segment in gone {
            self.delete_files(&segment).await?;
            self.shard.stats.borrow_mut().segments_deleted += 1;
        }
        Ok(())
    }

    pub(super) async fn delete_files(&self, segment: &Rc<LogSegment<E>>) -> Result<(), StorageError> {
        let delay = Duration::from_millis(self.config().file_delete_delay_ms);
        let due = self.shard.effects.clock().now() + delay;
        for ending in ENDINGS {
            let path = segment.path(ending);
            let renamed = segment.path(&format!("{ending}.deleted"));
            match self.shard.effects.disk().rename(&path, &renamed).await {
                Ok(()) => self.shard.unlink_at(due, renamed),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StorageError::io("rename", &path, &error)),
            }
        }
        Ok(())
    }

    /// Drops what a segment has in memory.
    pub(crate) fn forget_memory(&self, segment: &LogSegment<E>) {
        let mut state = segment.state.borrow_mut();
        let before = state.tail.capacity();
        state.tail.clear();
        drop(state);
        self.shard.chunks.freed(before);
        self.shard.read_cache.forget(segment);
    }

    /// Deletes everything below `to` (DeleteRecords); the new start is durable when this returns, and the space comes
    /// back soon.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] above the high watermark.
    pub async fn advance_log_start(self: &Rc<Self>, to: Offset) -> Result<Offset, ReadError> {
        if let Some(error) = self.offline() {
            return Err(ReadError::Storage(error));
        }
        let (log_start, high_watermark) = (self.log_start_offset(), self.high_watermark());
        if to > high_watermark {
            return Err(ReadError::OffsetOutOfRange { requested: to, log_start, log_end: high_watermark });
        }
        if self.move_log_start(to) {
            let written = self.shard.dir.write_checkpoints(&self.shard.effects).await;
            written.map_err(|error| {
                self.shard.background_error(&error);
                ReadError::Storage(error)
            })?;
            self.shard.retention_due.add(&self.tp);
        }
        Ok(self.log_start_offset())
    }
}
