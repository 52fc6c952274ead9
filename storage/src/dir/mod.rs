//! The data directory as a whole: one per process, shared by all shards. Off the data path, so a mutex is
//! fine here; the data path looks only at the flag that says whether the directory has failed.

pub(crate) mod checkpoint;
pub(crate) mod checkpoint_checksum;
pub(crate) mod checkpoint_files;
pub(crate) mod creation;
pub(crate) mod files;
pub(crate) mod meta_properties;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use model::{Offset, TopicId, TopicPartition, Uuid};
use runtime::{Clock, Disk, Effects};

use crate::dir::checkpoint::{
    HIGH_WATERMARK_FILE, LOG_START_COPY_FILE, LOG_START_FILE, Offsets, PARTITION_METADATA_FILE,
    RECOVERY_POINT_FILE, format_offsets, parse_partition_metadata,
};
use crate::dir::files::remove_if_there;
use crate::dir::meta_properties::MetaProperties;
use crate::{LogDirOptions, StorageError};

const LOCK_FILE: &str = ".lock";

const LOCK_RETRY_PAUSE: Duration = Duration::from_millis(2);
const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
const META_PROPERTIES_FILE: &str = "meta.properties";
/// Entries of a checkpoint that are taken at a time, while nobody else can change any.
const FORMATTED_MAX: usize = 256;
const METADATA_FILE_BYTES_MAX: u64 = 64 << 10;

/// The data directory: its lock, its identity, its checkpoint files. One per process, shared by all shards.
#[derive(Debug)]
pub struct LogDir {
    path: PathBuf,
    meta: MetaProperties,
    clean: bool,
    failed: AtomicBool,
    state: Mutex<State>,
    /// Held as long as the directory is in use.
    lock: Option<Arc<fs::File>>,
}

/// A directory that is locked and of this node, and whose state nobody has read yet.
pub(crate) struct ClaimedDir {
    pub(crate) path: PathBuf,
    meta: MetaProperties,
    /// The last broker has closed all logs.
    pub(crate) clean: bool,
    lock: Option<Arc<fs::File>>,
}

#[derive(Debug, Default)]
struct State {
    checkpoints: [Offsets; 3],
    /// Counts changes of the checkpoints; the last one of each; what the files hold; whether a shard writes them now.
    changes: u64,
    changed: [u64; 3],
    written: u64,
    writing: bool,
    /// Names that the checkpoints have forgotten, but perhaps not yet their files.
    forgotten: BTreeSet<TopicPartition>,
    /// Directories whose deletion a former broker began.
    leftovers: Vec<PathBuf>,
    failure: Option<StorageError>,
    /// Journals that shards have begun.
    journals: u32,
}

/// Which checkpoint file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checkpoint {
    /// Below this, a log's data and indexes are durable.
    RecoveryPoint = 0,
    /// The start of a log, if deletions have moved it into a segment.
    LogStart = 1,
    /// The high watermark.
    HighWatermark = 2,
}

/// What a shard's journal is called, before its number.
pub(crate) const JOURNAL_NAME_START: &str = "journal-";

const CHECKPOINT_FILES: [&str; 3] = [RECOVERY_POINT_FILE, LOG_START_FILE, HIGH_WATERMARK_FILE];

impl LogDir {
    /// Creates the directory if it is not there, and locks it; nothing in it is changed apart from its identity, if it has none.
    ///
    /// # Errors
    /// As [`LogDir::open`].
    pub(crate) async fn claim<E: Effects>(
        effects: &E,
        path: &Path,
        options: LogDirOptions,
    ) -> Result<ClaimedDir, StorageError> {
        let disk = effects.disk();
        disk.create_dir_all(path).await.map_err(|error| StorageError::io("create", path, &error))?;
        let lock = match options.lock {
            Some(patience) => Some(Arc::new(take_lock(effects, path, patience).await?)),
            None => None,
        };
        let meta = open_meta(effects, path, &options).await?;
        let marker = path.join(CLEAN_SHUTDOWN_FILE);
        let clean = read_optional(disk, &marker, METADATA_FILE_BYTES_MAX).await?.is_some();
        Ok(ClaimedDir { path: path.to_owned(), meta, clean, lock })
    }

    /// Takes the clean-shutdown marker away and reads the checkpoints. Nothing of a former broker is left to be done.
    ///
    /// # Errors
    /// [`StorageError`].
    pub(crate) async fn take_up<E: Effects>(
        effects: &E,
        claimed: ClaimedDir,
    ) -> Result<Arc<Self>, StorageError> {
        let ClaimedDir { path, meta, clean, lock } = claimed;
        let disk = effects.disk();
        if clean {
            remove_if_there(disk, &path.join(CLEAN_SHUTDOWN_FILE)).await?;
            disk.sync_dir(&path).await.map_err(|error| StorageError::io("sync", &path, &error))?;
        }
        let mut state = State::default();
        for (which, name) in CHECKPOINT_FILES.iter().enumerate() {
            let (offsets, damaged) = checkpoint_files::read(disk, &path, name).await?;
            state.checkpoints[which] = offsets;
            if damaged {
                state.changes += 1;
                state.changed[which] = state.changes;
            }
        }
        Ok(Arc::new(Self {
            path,
            meta,
            clean,
            failed: AtomicBool::new(false),
            state: Mutex::new(state),
            lock,
        }))
    }

    /// What keeps other processes out; a shard that writes here must hold it until its last write is over.
    pub(crate) fn lock(&self) -> Option<&Arc<fs::File>> {
        self.lock.as_ref()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `cluster.id`.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.meta.cluster_id
    }

    /// `directory.id`.
    #[must_use]
    pub fn directory_id(&self) -> Uuid {
        self.meta.directory_id
    }

    /// Whether the last broker stopped cleanly.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// Whether a write or sync has failed.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// The first failure.
    #[must_use]
    pub fn failure(&self) -> Option<StorageError> {
        self.state().failure.clone()
    }

    /// The partitions on disk, in order of name. Directories whose deletion was under way are noted: the next
    /// [`crate::LogManager`] to be opened removes them.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub async fn partitions<E: Effects>(&self, effects: &E) -> Result<Vec<TopicPartition>, StorageError> {
        let entries = effects.disk().list_dir(&self.path).await;
        let entries = entries.map_err(|error| StorageError::io("list", &self.path, &error))?;
        let (leftovers, others): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .filter(|entry| entry.is_dir)
            .partition(|entry| entry.name.ends_with("-delete"));
        self.state().leftovers = leftovers.into_iter().map(|entry| self.path.join(entry.name)).collect();
        Ok(others.iter().filter_map(|entry| TopicPartition::from_dir_name(&entry.name)).collect())
    }

    /// The id of the topic that a partition's directory belongs to; `None` if it does not say: then its creation was
    /// cut off, or it is not there.
    ///
    /// # Errors
    /// [`StorageError::Mismatch`] if the file is there and cannot be understood.
    pub async fn topic_id<E: Effects>(
        &self,
        effects: &E,
        tp: &TopicPartition,
    ) -> Result<Option<TopicId>, StorageError> {
        topic_id_in(effects.disk(), &self.path.join(tp.dir_name())).await
    }

    /// The path of a shard's journal, which the start has seen to that it is not there.
    pub(crate) fn new_journal_path(&self) -> PathBuf {
        let mut state = self.state();
        state.journals += 1;
        self.path.join(format!("{JOURNAL_NAME_START}{}", state.journals - 1))
    }

    /// Writes the clean-shutdown marker. The last thing a broker does, after all shards' managers are closed.
    ///
    /// # Errors
    /// [`StorageError`], also if the directory has failed.
    pub async fn mark_clean<E: Effects>(self: &Arc<Self>, effects: &E) -> Result<(), StorageError> {
        if let Some(failure) = self.failure() {
            return Err(StorageError::DirectoryFailed(failure.to_string()));
        }
        self.write_checkpoints(effects).await?;
        let marker = self.path.join(CLEAN_SHUTDOWN_FILE);
        let content = b"{\"version\":0,\"brokerEpoch\":-1}".to_vec();
        let written = effects.disk().write_file(&marker, content).await;
        written.map_err(|error| StorageError::io("write", &marker, &error))
    }

    /// Takes note of a failed write or sync. The first one stays.
    pub(crate) fn fail(&self, error: &StorageError) {
        let mut state = self.state();
        if state.failure.is_none() {
            tracing::error!(path = %self.path.display(), %error, "the data directory has failed, nothing is written any more");
            state.failure = Some(error.clone());
        }
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn checkpoint(&self, which: Checkpoint, tp: &TopicPartition) -> Option<Offset> {
        self.state().checkpoints[which as usize].get(tp).copied()
    }

    /// Changes a checkpoint, to be written by [`LogDir::write_checkpoints`]; returns the number of the change.
    pub(crate) fn set_checkpoint(&self, which: Checkpoint, tp: &TopicPartition, offset: Offset) -> u64 {
        let mut state = self.state();
        if state.checkpoints[which as usize].insert(tp.clone(), offset) != Some(offset) {
            state.changes += 1;
            state.changed[which as usize] = state.changes;
        }
        state.changes
    }

    /// Directories whose deletion was under way when [`LogDir::partitions`] looked; whoever takes them removes them.
    pub(crate) fn take_leftovers(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.state().leftovers)
    }

    /// Drops what the checkpoints say of `tp`, durably: neither a log of the same name nor the next start may take it
    /// for theirs. Costs no write if they say nothing.
    pub(crate) async fn forget<E: Effects>(
        self: &Arc<Self>,
        effects: &E,
        tp: &TopicPartition,
    ) -> Result<(), StorageError> {
        {
            let mut state = self.state();
            for which in 0..CHECKPOINT_FILES.len() {
                if state.checkpoints[which].remove(tp).is_some() {
                    state.changes += 1;
                    state.changed[which] = state.changes;
                    state.forgotten.insert(tp.clone());
                }
            }
            if !state.forgotten.contains(tp) {
                return Ok(());
            }
        }
        self.write_checkpoints(effects).await?;
        self.state().forgotten.remove(tp);
        Ok(())
    }

    /// Whether change number `change` is on disk.
    pub(crate) fn is_written(&self, change: u64) -> bool {
        self.state().written >= change
    }

    /// Writes the checkpoint files if they have changed. When it returns, all changes made before are durable.
    pub(crate) async fn write_checkpoints<E: Effects>(
        self: &Arc<Self>,
        effects: &E,
    ) -> Result<(), StorageError> {
        let wanted = self.state().changes;
        loop {
            let (changed, upto) = {
                let mut state = self.state();
                if state.written >= wanted {
                    return Ok(());
                }
                let written = state.written;
                let free = !std::mem::replace(&mut state.writing, true);
                (free.then(|| state.changed.map(|change| change > written)), state.changes)
            };
            let Some(changed) = changed else {
                // Another shard writes; it may have started before our change.
                let clock = effects.clock();
                clock.sleep_until(clock.now() + Duration::from_millis(1)).await;
                continue;
            };
            let written = self.write_files(effects, changed).await;
            let mut state = self.state();
            state.writing = false;
            written?;
            state.written = upto;
        }
    }

    async fn write_files<E: Effects>(
        self: &Arc<Self>,
        effects: &E,
        changed: [bool; 3],
    ) -> Result<(), StorageError> {
        for (which, _) in changed.into_iter().enumerate().filter(|(_, changed)| *changed) {
            let file = self.path.join(CHECKPOINT_FILES[which]);
            let dir = Arc::clone(self);
            // With thousands of partitions that takes longer than a shard may be held.
            let content = effects.compute(move || dir.format(which)).await;
            let content = content.map_err(|error| StorageError::io("format", &file, &error))?;
            if which == Checkpoint::LogStart as usize {
                // The copy first: it must not be the older one when the other is damaged.
                let copy = self.path.join(LOG_START_COPY_FILE);
                let written = effects.disk().write_file(&copy, content.clone()).await;
                written.map_err(|error| StorageError::io("write", &copy, &error))?;
            }
            let written = effects.disk().write_file(&file, content).await;
            written.map_err(|error| StorageError::io("write", &file, &error))?;
        }
        Ok(())
    }

    /// The content of a checkpoint file. What changes meanwhile may be in it or not: it counts as a later change.
    fn format(&self, which: usize) -> Vec<u8> {
        format_offsets(|last| {
            let state = self.state();
            let from = last.map_or(Bound::Unbounded, Bound::Excluded);
            let behind = state.checkpoints[which].range((from, Bound::Unbounded));
            behind.take(FORMATTED_MAX).map(|(tp, offset)| (tp.clone(), *offset)).collect()
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks the directory against other processes until the file is closed. A killed process holds the lock until the
/// kernel is done with its writes, which is worth waiting for; a living one does not give it back.
async fn take_lock<E: Effects>(
    effects: &E,
    path: &Path,
    patience: Duration,
) -> Result<fs::File, StorageError> {
    let lock = path.join(LOCK_FILE);
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock)
        .map_err(|error| StorageError::io("open", &lock, &error))?;
    let clock = effects.clock();
    let deadline = clock.now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if clock.now() < deadline => {
                clock.sleep_until(clock.now() + LOCK_RETRY_PAUSE).await;
            }
            Err(fs::TryLockError::WouldBlock) => return Err(StorageError::Locked { path: path.to_owned() }),
            Err(fs::TryLockError::Error(error)) => return Err(StorageError::io("lock", &lock, &error)),
        }
    }
}

/// As [`LogDir::topic_id`], of a partition's directory.
pub(crate) async fn topic_id_in<D: Disk>(disk: &D, dir: &Path) -> Result<Option<TopicId>, StorageError> {
    let path = dir.join(PARTITION_METADATA_FILE);
    let Some(bytes) = read_optional(disk, &path, METADATA_FILE_BYTES_MAX).await? else {
        return Ok(None);
    };
    let topic_id = parse_partition_metadata(&bytes);
    let mismatch = || StorageError::Mismatch { path, message: "not a partition's metadata".to_owned() };
    topic_id.ok_or_else(mismatch).map(Some)
}

async fn open_meta<E: Effects>(
    effects: &E,
    path: &Path,
    options: &LogDirOptions,
) -> Result<MetaProperties, StorageError> {
    let file = path.join(META_PROPERTIES_FILE);
    if let Some(bytes) = read_optional(effects.disk(), &file, METADATA_FILE_BYTES_MAX).await? {
        let meta = MetaProperties::parse(&bytes, || random_uuid(effects));
        let meta = meta.and_then(|meta| meta.check(options).map(|()| meta));
        return meta.map_err(|message| StorageError::Mismatch { path: file, message });
    }
    if let Some(partition) = any_partition(effects, path).await? {
        let message = format!(
            "it is not there, but data is ({partition}), and a new cluster id would make it another cluster's; restore the file \
             from a copy, or write it anew: version=1, node.id={}, cluster.id=(any name)",
            options.node_id
        );
        return Err(StorageError::Mismatch { path: file, message });
    }
    let cluster_id = options.cluster_id.clone().unwrap_or_else(|| random_uuid(effects).to_string());
    let meta = MetaProperties { cluster_id, node_id: options.node_id, directory_id: random_uuid(effects) };
    let written = effects.disk().write_file(&file, meta.format()).await;
    written.map_err(|error| StorageError::io("write", &file, &error))?;
    Ok(meta)
}

/// The name of one partition's directory, if there is any.
async fn any_partition<E: Effects>(effects: &E, path: &Path) -> Result<Option<String>, StorageError> {
    let entries = effects.disk().list_dir(path).await;
    let entries = entries.map_err(|error| StorageError::io("list", path, &error))?;
    let mut dirs = entries.into_iter().filter(|entry| entry.is_dir);
    Ok(dirs.find(|entry| TopicPartition::from_dir_name(&entry.name).is_some()).map(|entry| entry.name))
}

fn random_uuid<E: Effects>(effects: &E) -> Uuid {
    let bits = u128::from(effects.random()) << 64 | u128::from(effects.random());
    Uuid::from_random(bits.to_be_bytes())
}

pub(crate) async fn read_optional<D: Disk>(
    disk: &D,
    path: &Path,
    size_max: u64,
) -> Result<Option<Vec<u8>>, StorageError> {
    match disk.read_file(path, size_max).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("read", path, &error)),
    }
}
