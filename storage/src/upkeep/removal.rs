//! What goes: directories of partitions, which are renamed at once, which frees the name, then unlinked in the background or kept for their owner to look at.

use std::io;
use std::path::PathBuf;

use model::{TopicId, TopicPartition};
use runtime::{Clock, Disk, Effects};

use crate::shard::StorageShard;
use crate::{LogManager, StorageError};

/// The longest file name.
const NAME_MAX: usize = 255;

impl<E: Effects> LogManager<E> {
    /// Deletes what is on disk of a partition whose log could not be opened. What cannot be told to be this topic's is
    /// set aside instead, unless it is that of another known topic.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn delete_unopened(
        &self,
        tp: &TopicPartition,
        topic_id: TopicId,
        is_known: impl Fn(TopicId) -> bool,
    ) -> Result<(), StorageError> {
        let shard = &self.shard;
        match shard.dir.topic_id(&shard.effects, tp).await {
            Ok(Some(found)) if found == topic_id => {
                if let Some(renamed) = rename_away(shard, tp, "delete").await? {
                    shard.unlink_at(shard.effects.clock().now(), renamed);
                }
                Ok(())
            }
            // Another topic's, so the deletion does not mean it.
            Ok(Some(found)) if is_known(found) => Ok(()),
            Ok(_) | Err(StorageError::Mismatch { .. }) => self.set_aside(tp).await,
            Err(error) => Err(error),
        }
    }

    /// Renames the directory of a partition that belongs to no topic known, if it is there, and keeps it.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn set_aside(&self, tp: &TopicPartition) -> Result<(), StorageError> {
        if let Some(renamed) = rename_away(&self.shard, tp, "stray").await? {
            tracing::warn!(partition = %tp, renamed = %renamed.display(), "the directory belongs to no known topic and was set aside; remove it if it is not needed");
        }
        Ok(())
    }
}

/// Renames the directory of a partition to `TOPIC-N.HEX-ENDING`; durable when this returns. Its checkpoints are gone
/// before it is, so that they never speak of a log that is not there. `None` if there is no such directory.
pub(crate) async fn rename_away<E: Effects>(
    shard: &StorageShard<E>,
    tp: &TopicPartition,
    ending: &str,
) -> Result<Option<PathBuf>, StorageError> {
    match shard.dir.forget(&shard.effects, tp).await {
        // A deletion is what makes room; a log that is created under the name forgets again.
        Err(error) if !error.is_disk_full() => return Err(error),
        _ => {}
    }
    let mut name = tp.dir_name();
    let path = shard.dir.path().join(&name);
    let suffix = format!(".{:032x}-{ending}", shard.effects.random());
    name.truncate(NAME_MAX - suffix.len());
    let renamed = shard.dir.path().join(name + &suffix);
    match shard.effects.disk().rename(&path, &renamed).await {
        Ok(()) => Ok(Some(renamed)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("rename", &path, &error)),
    }
}
