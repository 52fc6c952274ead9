//! A file in a partition's directory that says that power cuts may take what lies above the recovery point: it was written
//! without waiting for the disk. A recovery has to know it, whatever the topic's durability is by then. An empty file, so
//! that no damage changes what it says.

use std::cell::Cell;

use runtime::Effects;
use runtime::sync::Semaphore;

use crate::log::Log;
use crate::{CommitMode, StorageError};

/// The name of the file.
pub(crate) const UNSYNCED_FILE: &str = "unsynced";

/// Whether the file is there. Lives on the log's shard.
pub(crate) struct Unsynced {
    is_there: Cell<bool>,
    /// Whoever creates or removes the file.
    turn: Semaphore,
}

impl Unsynced {
    pub(crate) fn new(is_there: bool) -> Self {
        Self { is_there: Cell::new(is_there), turn: Semaphore::new(1) }
    }
}

impl<E: Effects> Log<E> {
    /// Says that the log does not wait for the disk; durable when this returns. Comes before the first such write begins.
    pub(crate) async fn mark_unsynced(&self) -> Result<(), StorageError> {
        if self.unsynced.is_there.get() {
            return Ok(());
        }
        let _turn = self.unsynced.turn.acquire(1).await;
        if !self.unsynced.is_there.get() {
            self.shard.write_whole(&self.dir.join(UNSYNCED_FILE), Vec::new()).await?;
            self.unsynced.is_there.set(true);
        }
        Ok(())
    }

    /// Takes the file away if the log waits for the disk again and everything in it is on stable storage. Else that is for
    /// the next checkpoint: meanwhile a recovery is only less certain of damage.
    pub(crate) async fn unmark_synced(&self) -> Result<(), StorageError> {
        let _turn = self.unsynced.turn.acquire(1).await;
        if !self.unsynced.is_there.get() || !self.is_synced() {
            return Ok(());
        }
        self.unsynced.is_there.set(false);
        self.shard.remove_if_there(&self.dir.join(UNSYNCED_FILE)).await?;
        self.shard.sync_dir(&self.dir).await
    }

    /// Whether everything written is on stable storage, and so will be what is written next.
    fn is_synced(&self) -> bool {
        let buffered =
            || self.state.borrow().unsealed().any(|segment| segment.state.borrow().buffered_to > 0);
        self.config().commit_mode == CommitMode::Fsync && !self.commit.is_writing() && !buffered()
    }
}
