//! The data directory as a whole: one per process, shared by all shards.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{TopicId, TopicPartition, Uuid};
use runtime::Effects;

use crate::{LogDirOptions, StorageError};

/// The data directory: its lock, its identity, its checkpoint files. One per process, shared by all shards.
#[derive(Debug)]
pub struct LogDir {
    path: PathBuf,
}

impl LogDir {
    /// Opens or creates the directory and locks it.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another broker has it; [`StorageError::Mismatch`] if it is another node's.
    pub async fn open<E: Effects>(
        effects: &E,
        path: &Path,
        options: LogDirOptions,
    ) -> Result<Arc<Self>, StorageError> {
        let _ = (effects, options);
        Ok(Arc::new(Self { path: path.to_owned() }))
    }
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// `cluster.id`.
    pub fn cluster_id(&self) -> &str {
        ""
    }
    /// `directory.id`.
    pub fn directory_id(&self) -> Uuid {
        Uuid::ZERO
    }
    /// Whether the last broker stopped cleanly.
    pub fn was_clean(&self) -> bool {
        false
    }
    /// Whether a write or sync has failed.
    pub fn is_failed(&self) -> bool {
        false
    }
    /// The first failure.
    pub fn failure(&self) -> Option<StorageError> {
        None
    }
    /// The partitions on disk, in order of name.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub async fn partitions<E: Effects>(
        &self,
        effects: &E,
    ) -> Result<Vec<(TopicPartition, TopicId)>, StorageError> {
        let _ = effects;
        Ok(Vec::new())
    }
    /// Writes the clean-shutdown marker. The last thing a broker does, after all shards' managers are closed.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn mark_clean<E: Effects>(&self, effects: &E) -> Result<(), StorageError> {
        let _ = effects;
        Ok(())
    }
}
