//! All logs of one shard: opening, deleting, admission of memory, background work.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::{Offset, TopicId, TopicPartition};
use runtime::buffer::PAGE_SIZE;
use runtime::sync::{Permit, Semaphore};
use runtime::{Clock, Effects};

use crate::commit::{commit_loop, journal};
use crate::recovery::opening;
use crate::segment::tail::to_u64;
use crate::shard::StorageShard;
use crate::upkeep::{maintenance, producer_expiry, removal, retention, space, unused_reads};
use crate::{Log, LogConfig, LogDir, LogManagerOptions, StorageError, StorageStats};

/// How often a log that finds no descriptors is opened again before that is told, and the pause before each.
const OPEN_TRIES: u32 = 10;
const OPEN_PAUSE: Duration = Duration::from_millis(50);

/// What an append may take beside its batch: the page that its log ends in, and the rest of the batch's last page.
const BATCH_ROOM_BYTES: usize = 2 * PAGE_SIZE;

/// Room that batches are given together.
const ADMITTED_BYTES_MAX: usize = 1 << 20;

/// All logs of one shard. Lives on every shard.
pub struct LogManager<E: Effects> {
    pub(crate) shard: Rc<StorageShard<E>>,
    /// Whoever holds it is the next to be admitted.
    admission: Semaphore,
}

/// Logs and their shard hold each other.
impl<E: Effects> Drop for LogManager<E> {
    fn drop(&mut self) {
        self.shard.forget_logs();
    }
}

impl<E: Effects> LogManager<E> {
    /// Starts the shard's commit loop, retention, checkpoints and the watch over free space.
    ///
    /// # Errors
    /// [`StorageError`] if the directory cannot be looked at.
    pub async fn open(
        effects: E,
        dir: Arc<LogDir>,
        options: LogManagerOptions,
    ) -> Result<Rc<Self>, StorageError> {
        if let Some(lock) = dir.lock() {
            effects
                .hold_open(lock)
                .map_err(|error| StorageError::io("hold the lock of", dir.path(), &error))?;
        }
        let shard = Rc::new(StorageShard::new(effects, dir, options));
        space::check(&shard).await?;
        for path in shard.dir.take_leftovers() {
            shard.unlink_at(shard.effects.clock().now(), path);
        }
        shard.spawn(commit_loop::run(Rc::clone(&shard)));
        shard.spawn(maintenance::run(Rc::clone(&shard)));
        shard.spawn(retention::unlink(Rc::clone(&shard)));
        shard.spawn(retention::run_due(Rc::clone(&shard)));
        shard.spawn(space::watch_spent(Rc::clone(&shard)));
        shard.effects.spawn(retention::run(Rc::clone(&shard)));
        shard.effects.spawn(producer_expiry::run(Rc::clone(&shard)));
        shard.effects.spawn(unused_reads::run(Rc::clone(&shard)));
        shard.effects.spawn(space::watch(Rc::clone(&shard)));
        Ok(Rc::new(Self { shard, admission: Semaphore::new(1) }))
    }

    /// Opens a log, creating or recovering it. A damaged log is opened all the same, to be read as far as it is
    /// good: see [`Log::offline`].
    ///
    /// # Errors
    /// [`StorageError::OtherTopic`] if the directory is that of another topic, see [`LogManager::set_aside`]; any other
    /// [`StorageError`].
    pub async fn open_log(
        self: &Rc<Self>,
        tp: TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
    ) -> Result<Rc<Log<E>>, StorageError> {
        if let Some(log) = self.log(&tp) {
            return Ok(log);
        }
        let mut tries = 0;
        let log = loop {
            match opening::open(&self.shard, tp.clone(), topic_id, config.clone()).await {
                // Others close their files soon.
                Err(error) if error.is_busy() && tries < OPEN_TRIES => {
                    tries += 1;
                    tracing::debug!(partition = %tp, %error, "waits for descriptors");
                    let clock = self.shard.effects.clock();
                    clock.sleep_until(clock.now() + OPEN_PAUSE).await;
                }
                opened => break opened?,
            }
        };
        self.shard.logs.borrow_mut().insert(tp, Rc::clone(&log));
        // Has the recovery point follow, so that the next start is short.
        log.mark_busy();
        Ok(log)
    }

    /// Deletes a log: gone for good when this returns, unlinked later.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn delete_log(&self, tp: &TopicPartition) -> Result<(), StorageError> {
        let Some(log) = self.shard.logs.borrow_mut().remove(tp) else { return Ok(()) };
        log.state.borrow_mut().offline = Some(StorageError::Closed);
        log.progress.notify_all();
        let _permit = log.maintenance.acquire(1).await;
        if self.shard.stalled.borrow_mut().extract_if(.., |stalled| Rc::ptr_eq(stalled, &log)).count() > 0 {
            log.commit.resume();
        }
        // What is under way finds its files by name.
        log.until_idle().await;
        self.shard.journal.release(&log);
        let segments: Vec<_> = log.state.borrow().segments.iter().cloned().collect();
        for segment in segments {
            let lag = segment.state.borrow().size - segment.state.borrow().acknowledged_size();
            self.shard.stats.borrow_mut().durable_lag_bytes -= lag;
            log.forget_memory(&segment);
            segment.close_files();
        }
        if let Some(renamed) = removal::rename_away(&self.shard, tp, "delete").await? {
            let delay = Duration::from_millis(log.config().file_delete_delay_ms);
            self.shard.unlink_at(self.shard.effects.clock().now() + delay, renamed);
        }
        journal::end_log(&self.shard, &log, Offset::ZERO).await
    }

    /// An open log.
    pub fn log(&self, tp: &TopicPartition) -> Option<Rc<Log<E>>> {
        self.shard.logs.borrow().get(tp).cloned()
    }

    /// All open logs, in order of name.
    pub fn logs(&self) -> Vec<Rc<Log<E>>> {
        self.shard.logs.borrow().values().cloned().collect()
    }

    /// The data directory.
    pub fn dir(&self) -> &Arc<LogDir> {
        &self.shard.dir
    }

    /// Waits until a batch of `bytes` may be appended, as [`AppendTurn::admitted`]; an append right behind it keeps the
    /// order in which the waits began.
    pub async fn admitted(&self, bytes: usize) {
        self.append_turn().await.admitted([bytes]).await;
    }

    /// Waits for the right to append next. First come, first served.
    pub async fn append_turn(&self) -> AppendTurn<E> {
        let permit = self.admission.acquire(1).await;
        AppendTurn { shard: Rc::clone(&self.shard), _permit: permit }
    }

    /// Runs a retention pass over all logs now.
    ///
    /// # Errors
    /// [`StorageError`] of the first log that failed.
    pub async fn apply_retention(&self) -> Result<(), StorageError> {
        for log in self.logs() {
            log.apply_retention().await?;
        }
        Ok(())
    }

    /// Counters.
    pub fn stats(&self) -> StorageStats {
        let mut stats = *self.shard.stats.borrow();
        let logs = self.shard.logs.borrow();
        stats.logs = to_u64(logs.len());
        for log in logs.values() {
            stats.segments += to_u64(log.segment_count());
            stats.log_bytes += log.size_bytes();
        }
        stats.chunk_bytes = to_u64(self.shard.chunks.bytes());
        stats.producers = to_u64(self.shard.producers.used());
        stats.read_cache_bytes = self.shard.read_cache.bytes();
        stats.disk_full = self.shard.disk_full.get().is_some();
        stats.failed = self.shard.dir.is_failed();
        stats
    }

    /// Shuts all logs, many at a time; the last error, if any.
    async fn shut_logs(&self) -> Result<(), StorageError> {
        let at_once = self.shard.options.upkeep_max();
        let (slots, outcome) = (Semaphore::new(at_once), Rc::new(RefCell::new(Ok(()))));
        for log in self.logs() {
            let slot = slots.acquire(1).await;
            let outcome = Rc::clone(&outcome);
            self.shard.spawn(async move {
                if let Err(error) = log.shut().await {
                    tracing::warn!(partition = %log.topic_partition(), %error, "could not be closed cleanly");
                    *outcome.borrow_mut() = Err(error);
                }
                drop(slot);
            });
        }
        let _all = slots.acquire(at_once).await;
        outcome.borrow().clone()
    }

    /// Flushes and closes all logs. Afterwards [`LogDir::mark_clean`] may follow.
    ///
    /// # Errors
    /// [`StorageError`], if something could not be written; the directory is then not clean.
    pub async fn close(&self) -> Result<(), StorageError> {
        let mut outcome = self.shut_logs().await;
        self.shard.closing.set(true);
        self.shard.commit_wake.notify_one();
        self.shard.busy_wake.notify_one();
        self.shard.unlink_wake.notify_one();
        self.shard.retention_due.close();
        self.shard.space_spent.notify_one();
        self.shard.read_cache.wake();
        if let Some(error) = self.shard.dir_failure() {
            outcome = Err(error);
        }
        if outcome.is_ok() {
            self.shard.tasks_finished().await;
            outcome = journal::remove(&self.shard).await;
        }
        if outcome.is_ok() {
            outcome = self.shard.dir.write_checkpoints(&self.shard.effects).await;
        }
        // Logs and shard hold each other.
        self.shard.forget_logs();
        outcome
    }
}

/// The right to append next. Kept while a request with many batches waits for memory in between, so that appends stay in
/// the order in which they came.
pub struct AppendTurn<E: Effects> {
    shard: Rc<StorageShard<E>>,
    _permit: Permit,
}

impl<E: Effects> AppendTurn<E> {
    /// Waits until the first of batches of these sizes may be appended, as far as memory goes, and drops cold cached chunks
    /// to make room; says how many. Does not wait for a disk that takes no writes: the append then says so.
    pub async fn admitted(&self, batches: impl IntoIterator<Item = usize>) -> usize {
        let shard = &self.shard;
        let most = ADMITTED_BYTES_MAX.min(shard.options.append_bytes_max / 4);
        let (mut count, mut bytes) = (0, 0);
        for batch in batches {
            let together = bytes + batch + BATCH_ROOM_BYTES;
            if count > 0 && together > most {
                break;
            }
            (count, bytes) = (count + 1, together);
        }
        let clock = shard.effects.clock();
        while !shard.chunks.make_room(bytes)
            && shard.disk_full.get().is_none()
            && !shard.dir.is_failed()
            && !shard.closing.get()
        {
            // Chunks become evictable as writes complete, which is soon.
            journal::empty(shard);
            clock.sleep_until(clock.now() + Duration::from_millis(1)).await;
        }
        count
    }
}
