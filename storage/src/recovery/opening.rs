//! Opening a log: telling one that is new from one that is on disk, and from one that should be and is not.

use std::io;
use std::path::Path;
use std::rc::Rc;

use model::{Offset, TopicId, TopicPartition};
use runtime::{Clock, DirEntry, Disk, Effects, NewDir};

use crate::dir::Checkpoint;
use crate::dir::checkpoint::{PARTITION_METADATA_FILE, format_partition_metadata};
use crate::log::unsynced::{UNSYNCED_FILE, Unsynced};
use crate::log::{Log, LogState};
use crate::producer::budget::ChargedProducers;
use crate::recovery::{recover, segment_files};
use crate::segment::{LogSegment, file_name};
use crate::shard::StorageShard;
use crate::{LogConfig, StorageError};

/// Opens the log of `tp`, creating it if it is not there.
pub(crate) async fn open<E: Effects>(
    shard: &Rc<StorageShard<E>>,
    tp: TopicPartition,
    topic_id: TopicId,
    config: LogConfig,
) -> Result<Rc<Log<E>>, StorageError> {
    let dir: Rc<Path> = Rc::from(shard.dir.path().join(tp.dir_name()));
    let known = shard.dir.topic_id(&shard.effects, &tp).await?;
    match known {
        None => {
            check_new(shard, &tp, &dir).await?;
            create(shard, &tp, topic_id, &dir).await?;
        }
        Some(found) if found != topic_id => {
            return Err(StorageError::OtherTopic { path: dir.to_path_buf(), found, expected: topic_id });
        }
        Some(_) => {}
    }
    // Listed only now: a creation takes the place of what an unfinished one has left.
    let entries = list_without_leftovers(shard, &dir).await?;
    let files = segment_files(&entries);
    let is_new = known.is_none() && files.iter().all(|file| file.base == Offset::ZERO);
    let state = if is_new || files.is_empty() {
        fresh_state(shard, &dir, &tp, known.is_none())?
    } else {
        recover(shard, &tp, &dir, &config, &entries, &files).await?
    };
    let unsynced = Unsynced::new(entries.iter().any(|entry| entry.name == UNSYNCED_FILE));
    let log = Log::new(shard, tp, topic_id, dir, config, state, unsynced);
    if log.offline().is_none() {
        // What a recovery has found it has synced.
        log.unmark_synced().await?;
    }
    Ok(log)
}

/// Refuses to create a partition that the checkpoints know: they forget a partition before its directory is renamed or a
/// new one gets its identity, so that data was lost if they speak of one that is not there. Refuses, too, to give an
/// identity to records that have lost theirs: it is there before the first of them is.
async fn check_new<E: Effects>(
    shard: &StorageShard<E>,
    tp: &TopicPartition,
    dir: &Path,
) -> Result<(), StorageError> {
    let entries = list(shard, dir).await?;
    let identity = dir.join(PARTITION_METADATA_FILE);
    let known = [Checkpoint::RecoveryPoint, Checkpoint::LogStart, Checkpoint::HighWatermark];
    let below = known.into_iter().filter_map(|which| shard.dir.checkpoint(which, tp)).max();
    match below {
        Some(below) if below > Offset::ZERO => {
            let path = if entries.is_some() { identity } else { dir.to_path_buf() };
            Err(StorageError::Missing { path, below })
        }
        _ if segment_files(&entries.unwrap_or_default()).iter().any(|file| file.length > 0) => {
            let message =
                "missing, but there are records beside it; restore it, or delete the topic".to_owned();
            Err(StorageError::Mismatch { path: identity, message })
        }
        _ => Ok(()),
    }
}

/// Creates the partition's directory; all of it is durable when this returns.
async fn create<E: Effects>(
    shard: &StorageShard<E>,
    tp: &TopicPartition,
    topic_id: TopicId,
    dir: &Path,
) -> Result<(), StorageError> {
    // What a log of this name had before says nothing about this one. Durable before the identity is: as soon as that
    // is there, checkpoints count.
    shard.dir.forget(&shard.effects, tp).await?;
    let files = vec![
        (file_name(Offset::ZERO, "log"), Vec::new()),
        (PARTITION_METADATA_FILE.to_owned(), format_partition_metadata(topic_id)),
    ];
    let dir = NewDir { path: dir.to_path_buf(), files };
    shard.creations.create(shard.effects.disk(), shard.dir.path(), dir).await
}

/// A log without files: new, or with nothing in it that could be read.
fn fresh_state<E: Effects>(
    shard: &StorageShard<E>,
    dir: &Rc<Path>,
    tp: &TopicPartition,
    created: bool,
) -> Result<LogState<E>, StorageError> {
    let start = shard.dir.checkpoint(Checkpoint::LogStart, tp).unwrap_or(Offset::ZERO);
    let below = shard.dir.checkpoint(Checkpoint::RecoveryPoint, tp).unwrap_or(start);
    if below > start {
        return Err(StorageError::Missing { path: dir.join(file_name(start, "log")), below });
    }
    let segment = Rc::new(LogSegment::new(Rc::clone(dir), start, shard.effects.clock().unix_ms()));
    segment.state.borrow_mut().created = created && start == Offset::ZERO;
    let mut state = LogState::new(segment, start, ChargedProducers::new(&shard.producers));
    state.last_append_ms = shard.now_ms();
    state.last_checkpoint_ms = shard.now_ms();
    Ok(state)
}

/// What is in the directory, once what unfinished work has left there is removed.
async fn list_without_leftovers<E: Effects>(
    shard: &StorageShard<E>,
    dir: &Path,
) -> Result<Vec<DirEntry>, StorageError> {
    let entries = list(shard, dir).await?.unwrap_or_default();
    let is_leftover = |entry: &DirEntry| {
        [".deleted", ".cleaned", ".swap", ".tmp"].iter().any(|end| entry.name.ends_with(end))
    };
    let (leftovers, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_leftover);
    for entry in leftovers {
        shard.remove_if_there(&dir.join(&entry.name)).await?;
    }
    Ok(entries)
}

/// What is in a directory; `None` if it is not there.
pub(crate) async fn list<E: Effects>(
    shard: &StorageShard<E>,
    dir: &Path,
) -> Result<Option<Vec<DirEntry>>, StorageError> {
    match shard.effects.disk().list_dir(dir).await {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("list", dir, &error)),
    }
}
