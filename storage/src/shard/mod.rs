//! What the logs of one shard share: effects, options, counters, queues.

mod retention_due;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use model::TopicPartition;
use runtime::sync::{Notify, Semaphore};
use runtime::{Clock, Disk, Effects, Monotonic, OpenOptions};

use crate::commit::journal::Journal;
use crate::dir::creation::Creations;
use crate::dir::files::remove_if_there;
use crate::producer::budget::ProducerBudget;
use crate::segment::FileOf;
use crate::segment::chunk_memory::ChunkMemory;
use crate::segment::read_cache::ReadCache;
use crate::segment::sealed_files::SealedFiles;
use crate::segment::tail::to_u64;
use crate::shard::retention_due::RetentionDue;
use crate::{Log, LogDir, LogManagerOptions, StorageError, StorageStats};

/// Near the reserve a look at free space for every single batch would cost more than it saves.
pub(crate) const SPACE_CREDIT_MIN: u64 = 1 << 20;

/// Logs that are recovered at the same time, if there is memory for it.
const RECOVERIES_MAX: usize = 16;

/// Memory for one recovery: what it reads at a time, and a batch that is larger than that.
const RECOVERY_BYTES: usize = 8 << 20;

/// Files that one recovery has open at a time.
const RECOVERY_FILES: usize = 2;

/// How many logs are asked to close a file when another opens one, if there are too many.
const CLOSE_TRIES: usize = 32;

/// The common ground of one shard's logs. Lives on every shard.
pub(crate) struct StorageShard<E: Effects> {
    pub(crate) effects: E,
    pub(crate) dir: Arc<LogDir>,
    pub(crate) options: LogManagerOptions,
    pub(crate) stats: RefCell<StorageStats>,
    pub(crate) logs: RefCell<BTreeMap<TopicPartition, Rc<Log<E>>>>,
    /// Logs with bytes to write that the commit loop has not seen yet.
    pub(crate) commit_queue: RefCell<Vec<Rc<Log<E>>>>,
    pub(crate) commit_wake: Notify,
    pub(crate) journal: Journal<E>,
    /// Logs whose write met a full disk; queued again when there is room.
    pub(crate) stalled: RefCell<Vec<Rc<Log<E>>>>,
    /// Logs that were appended to and still need a checkpoint, a cut to length or to give back memory.
    pub(crate) busy: RefCell<Vec<Rc<Log<E>>>>,
    pub(crate) busy_wake: Notify,
    /// Bytes available, if that is too few.
    pub(crate) disk_full: Cell<Option<u64>>,
    /// Bytes that may be appended before free space has to be looked at again.
    pub(crate) space_credit: Cell<u64>,
    /// They were.
    pub(crate) space_spent: Notify,
    pub(crate) closing: Cell<bool>,
    pub(crate) chunks: ChunkMemory<E>,
    pub(crate) read_cache: ReadCache<E>,
    pub(crate) producers: Rc<ProducerBudget>,
    pub(crate) sealed_files: SealedFiles<E>,
    /// Logs with open files of segments that are not sealed, each once, the next to close them first.
    unsealed_opened: RefCell<VecDeque<Weak<Log<E>>>>,
    /// Files and directories to be removed, and when.
    pub(crate) unlinks: RefCell<VecDeque<(Monotonic, PathBuf)>>,
    pub(crate) unlink_wake: Notify,
    pub(crate) retention_due: RetentionDue,
    /// Tasks that a close has to wait for.
    tasks: Cell<usize>,
    tasks_done: Notify,
    pub(crate) recoveries: Semaphore,
    /// Logs that are sealed and checkpointed at the same time: each opens some files.
    pub(crate) upkeep: Semaphore,
    pub(crate) creations: Creations,
    /// Whether the file system takes direct I/O.
    direct: Cell<bool>,
}

impl<E: Effects> StorageShard<E> {
    pub(crate) fn new(effects: E, dir: Arc<LogDir>, options: LogManagerOptions) -> Self {
        let memory = effects.buffers().budget_bytes() / RECOVERY_BYTES;
        let recoveries = memory.min(options.active_open_max / RECOVERY_FILES).clamp(1, RECOVERIES_MAX);
        let upkeep = options.upkeep_max();
        let read_cache_bytes = options.read_cache_bytes;
        let producers = ProducerBudget::new(options.producers_max);
        let chunks = ChunkMemory::new(options.append_bytes_max);
        let sealed_files = SealedFiles::new(options.sealed_open_max);
        Self {
            effects,
            dir,
            options,
            stats: RefCell::default(),
            logs: RefCell::default(),
            commit_queue: RefCell::default(),
            commit_wake: Notify::new(),
            journal: Journal::new(),
            stalled: RefCell::default(),
            busy: RefCell::default(),
            busy_wake: Notify::new(),
            disk_full: Cell::new(None),
            space_credit: Cell::new(SPACE_CREDIT_MIN),
            space_spent: Notify::new(),
            closing: Cell::new(false),
            chunks,
            read_cache: ReadCache::new(read_cache_bytes),
            producers,
            sealed_files,
            unsealed_opened: RefCell::default(),
            unlinks: RefCell::default(),
            unlink_wake: Notify::new(),
            retention_due: RetentionDue::default(),
            tasks: Cell::new(0),
            tasks_done: Notify::new(),
            recoveries: Semaphore::new(recoveries),
            upkeep: Semaphore::new(upkeep),
            creations: Creations::new(),
            direct: Cell::new(true),
        }
    }

    /// Lets go of all logs.
    pub(crate) fn forget_logs(&self) {
        self.logs.take();
        self.commit_queue.take();
        self.stalled.take();
        self.busy.take();
        self.journal.forget_lane();
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.effects.clock().now().as_millis()
    }

    /// Runs a task that a close waits for.
    pub(crate) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        self.tasks.set(self.tasks.get() + 1);
        let shard = Rc::clone(self);
        self.effects.spawn(async move {
            task.await;
            shard.tasks.set(shard.tasks.get() - 1);
            shard.tasks_done.notify_all();
        });
    }

    pub(crate) async fn tasks_finished(&self) {
        while self.tasks.get() > 0 {
            self.tasks_done.notified().await;
        }
    }

    /// Opens a file to be written by direct I/O, a new one if it is not there.
    pub(crate) async fn open_to_write(&self, path: &Path) -> Result<FileOf<E>, StorageError> {
        self.open_direct(path, OpenOptions { write: true, create: true, direct: true }).await
    }

    /// Opens a file for direct I/O, or for buffered I/O where the file system does not know better.
    pub(crate) async fn open_direct(
        &self,
        path: &Path,
        options: OpenOptions,
    ) -> Result<FileOf<E>, StorageError> {
        let options = OpenOptions { direct: self.direct.get(), ..options };
        let disk = self.effects.disk();
        match disk.open(path, options).await {
            Err(error)
                if options.direct
                    && matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                tracing::warn!(path = %path.display(), %error, "no direct I/O on this file system, falling back to the page cache");
                self.direct.set(false);
                let options = OpenOptions { direct: false, ..options };
                disk.open(path, options).await.map_err(|error| StorageError::io("open", path, &error))
            }
            other => other.map_err(|error| StorageError::io("open", path, &error)),
        }
    }

    pub(crate) async fn read_whole(
        &self,
        path: &Path,
        size_max: u64,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        match self.effects.disk().read_file(path, size_max).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                Ok(None)
            }
            Err(error) => Err(StorageError::io("read", path, &error)),
        }
    }

    /// As [`crate::dir::files::remove_if_there`].
    pub(crate) async fn remove_if_there(&self, path: &Path) -> Result<(), StorageError> {
        remove_if_there(self.effects.disk(), path).await
    }

    pub(crate) async fn write_whole(&self, path: &Path, content: Vec<u8>) -> Result<(), StorageError> {
        let written = self.effects.disk().write_file(path, content).await;
        written.map_err(|error| StorageError::io("write", path, &error))
    }

    /// Makes the entries of a directory durable.
    pub(crate) async fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        let synced = self.effects.disk().sync_dir(path).await;
        synced.map_err(|error| StorageError::io("sync", path, &error))
    }

    /// Remembers that a log has opened a file of a segment that is not sealed. Of too many, those that are at rest close
    /// theirs.
    pub(crate) fn note_unsealed_opened(&self, log: &Log<E>) {
        if log.files_noted.replace(true) {
            return;
        }
        let mut logs = self.unsealed_opened.borrow_mut();
        for _ in 0..CLOSE_TRIES {
            if logs.len() < self.options.active_open_max {
                break;
            }
            let Some(oldest) = logs.pop_front() else { break };
            let Some(found) = oldest.upgrade() else { continue };
            if found.close_unsealed_files() {
                found.files_noted.set(false);
            } else {
                logs.push_back(oldest);
            }
        }
        logs.push_back(log.this.clone());
    }

    /// Why nothing in the directory is written any more, if so.
    pub(crate) fn dir_failure(&self) -> Option<StorageError> {
        if !self.dir.is_failed() {
            return None;
        }
        let reason = self.dir.failure().map(|error| error.to_string());
        Some(StorageError::DirectoryFailed(reason.unwrap_or_default()))
    }

    /// Notes the directory's failure and tells every log of the shard.
    pub(crate) fn fail(&self, error: &StorageError) {
        self.dir.fail(error);
        let logs: Vec<Rc<Log<E>>> = self.logs.borrow().values().cloned().collect();
        for log in logs {
            log.notify_failed(error);
        }
    }

    /// Takes an error of a write in the background: it passes, or it fails the directory.
    pub(crate) fn background_error(&self, error: &StorageError) {
        if error.is_disk_full() {
            self.note_disk_full();
        } else if error.is_passing() {
            tracing::warn!(%error, "work in the background is tried again later");
        } else {
            self.fail(error);
        }
    }

    pub(crate) fn note_disk_full(&self) {
        self.note_short_of_room(0);
    }

    /// Refuses appends of clients until there is room, says once what helps, and has retention do its part.
    pub(crate) fn note_short_of_room(&self, available: u64) {
        if self.disk_full.replace(Some(available)).is_none() {
            let reserve = self.options.disk_reserve_bytes;
            tracing::warn!(path = %self.dir.path().display(), available, reserve, "little disk space left, appends are refused until there is more: delete topics or records or lower retention.ms or retention.bytes, or add space, or lower millrace.disk.reserve.bytes");
        }
        self.retention_due.add_all(self.effects.clock().now());
    }

    /// Counts appended bytes, so that a fast producer cannot run through the reserve between two regular looks.
    pub(crate) fn spend_space(&self, bytes: u64) {
        let before = self.space_credit.get();
        self.space_credit.set(before.saturating_sub(bytes));
        if before > 0 && before <= bytes {
            self.space_spent.notify_one();
        }
    }

    /// Removes a file or a directory later, off the shard.
    pub(crate) fn unlink_at(&self, due: Monotonic, path: PathBuf) {
        self.unlinks.borrow_mut().push_back((due, path));
        self.unlink_wake.notify_one();
    }

    /// The pool is spent: gives back at least so many bytes of what is cached, or as much as there is.
    pub(crate) fn give_back(&self, bytes: usize) {
        let bytes = bytes.max(1 << 20);
        self.chunks.evict(bytes);
        self.read_cache.shrink(to_u64(bytes));
    }
}
