//! Opening a log: telling one that is new from one that is on disk, and from one that should be and is not.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use model::{Offset, TopicId, TopicPartition};
use runtime::{Clock, DirEntry, Disk, Effects, NewDir};

use crate::checkpoint::{PARTITION_METADATA_FILE, format_partition_metadata};
use crate::log::{Log, LogState};
use crate::log_dir::Checkpoint;
use crate::log_segment::{LogSegment, file_name};
use crate::recovery::{recover, segment_files};
use crate::shard::Shard;
use crate::{LogConfig, StorageError};

/// Opens the log of `tp`, creating it if it is not there.
pub(crate) async fn open<E: Effects>(
    shard: &Rc<Shard<E>>,
    tp: TopicPartition,
    topic_id: TopicId,
    config: LogConfig,
) -> Result<Rc<Log<E>>, StorageError> {
    let dir: Rc<Path> = Rc::from(shard.dir.path().join(tp.dir_name()));
    let disk = shard.effects.disk();
    let (exists, entries) = match disk.list_dir(&dir).await {
        Ok(entries) => (true, entries),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (false, Vec::new()),
        Err(error) => return Err(StorageError::io("list", &dir, &error)),
    };
    let known = shard.dir.topic_id(&shard.effects, &tp).await?;
    match known {
        None => {
            let missing = if exists { dir.join(PARTITION_METADATA_FILE) } else { dir.to_path_buf() };
            check_new(shard, &tp, missing)?;
            create(shard, &tp, topic_id, &dir).await?;
        }
        Some(found) if found != topic_id => {
            return Err(StorageError::OtherTopic { path: dir.to_path_buf(), found, expected: topic_id });
        }
        Some(_) => {}
    }
    let files = segment_files(&entries);
    remove_leftovers(shard, &dir, &entries).await?;
    let state = if files.is_empty() {
        fresh_state(shard, &dir, &tp, known.is_none())?
    } else {
        recover(shard, &tp, &dir, &config, &entries, &files).await?
    };
    Ok(Log::new(shard, tp, topic_id, dir, config, state))
}

/// Refuses to create a partition that the checkpoints know: they forget a partition before its directory is renamed or a
/// new one gets its identity, so that data was lost if they speak of one that is not there.
fn check_new<E: Effects>(
    shard: &Shard<E>,
    tp: &TopicPartition,
    missing: PathBuf,
) -> Result<(), StorageError> {
    let known = [Checkpoint::RecoveryPoint, Checkpoint::LogStart, Checkpoint::HighWatermark];
    let below = known.into_iter().filter_map(|which| shard.dir.checkpoint(which, tp)).max();
    match below {
        Some(below) if below > Offset::ZERO => Err(StorageError::Missing { path: missing, below }),
        _ => Ok(()),
    }
}

/// Creates the partition's directory; all of it is durable when this returns.
async fn create<E: Effects>(
    shard: &Shard<E>,
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
    shard.create_dir(NewDir { path: dir.to_path_buf(), files }).await
}

/// A log without files: new, or with nothing in it that could be read.
fn fresh_state<E: Effects>(
    shard: &Shard<E>,
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
    let mut state = LogState::new(segment, start);
    state.last_append_ms = shard.now_ms();
    state.last_checkpoint_ms = shard.now_ms();
    Ok(state)
}

async fn remove_leftovers<E: Effects>(
    shard: &Shard<E>,
    dir: &Path,
    entries: &[DirEntry],
) -> Result<(), StorageError> {
    for entry in entries {
        let leftover = [".deleted", ".cleaned", ".swap", ".tmp"].iter().any(|end| entry.name.ends_with(end));
        if leftover {
            let path = dir.join(&entry.name);
            let removed = shard.effects.disk().remove_file(&path).await;
            removed.map_err(|error| StorageError::io("remove", &path, &error))?;
        }
    }
    Ok(())
}
