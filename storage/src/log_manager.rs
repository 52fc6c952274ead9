//! All logs of one shard: opening, deleting, admission of memory, background work.

use std::rc::Rc;
use std::sync::Arc;

use model::{TopicId, TopicPartition};
use runtime::Effects;

use crate::{Log, LogConfig, LogDir, LogManagerOptions, StorageError, StorageStats};

/// All logs of one shard. Lives on every shard.
pub struct LogManager<E: Effects> {
    effects: E,
}

impl<E: Effects> LogManager<E> {
    /// Starts the shard's commit loop, retention and checkpoints.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn open(
        effects: E,
        dir: Arc<LogDir>,
        options: LogManagerOptions,
    ) -> Result<Rc<Self>, StorageError> {
        drop((dir, options));
        Ok(Rc::new(Self { effects }))
    }
    /// Opens a log, creating or recovering it. A damaged log is opened offline: see [`Log::offline`].
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn open_log(
        self: &Rc<Self>,
        tp: TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
    ) -> Result<Rc<Log<E>>, StorageError> {
        drop((tp, config, &self.effects));
        let _ = topic_id;
        Err(StorageError::Closed)
    }
    /// Deletes a log: gone for good when this returns, unlinked later.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn delete_log(&self, tp: &TopicPartition) -> Result<(), StorageError> {
        let _ = tp;
        Ok(())
    }
    /// An open log.
    pub fn log(&self, tp: &TopicPartition) -> Option<Rc<Log<E>>> {
        let _ = tp;
        None
    }
    /// All open logs.
    pub fn logs(&self) -> Vec<Rc<Log<E>>> {
        Vec::new()
    }
    /// Whether `bytes` may be appended now, as far as memory goes; drops cold cached chunks to make room.
    pub fn admit(&self, bytes: usize) -> bool {
        let _ = bytes;
        true
    }
    /// Waits until [`LogManager::admit`] says yes.
    pub async fn admitted(&self, bytes: usize) {
        let _ = bytes;
    }
    /// Counters.
    pub fn stats(&self) -> StorageStats {
        StorageStats::default()
    }
    /// Flushes and closes all logs. Afterwards [`LogDir::mark_clean`] may follow.
    ///
    /// # Errors
    /// [`StorageError`], if something could not be written; the directory is then not clean.
    pub async fn close(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
