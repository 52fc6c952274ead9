//! Creation of partition directories: those that are wanted at the same time share the syncs, which cost a commit of the
//! file system each.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use runtime::sync::Semaphore;
use runtime::{Disk, NewDir};

use crate::StorageError;

/// Directories created together: as many files are open at the same time.
const CREATIONS_MAX: usize = 64;

type Outcome = Rc<RefCell<Option<Result<(), StorageError>>>>;

/// Directories that wait to be created. Lives on every shard.
pub(crate) struct Creations {
    /// Whoever holds it creates what waits, in order.
    turn: Semaphore,
    waiting: RefCell<Vec<(NewDir, Outcome)>>,
}

impl Creations {
    pub(crate) fn new() -> Self {
        Self { turn: Semaphore::new(1), waiting: RefCell::default() }
    }

    /// Creates a directory below `root` with the files in it; all of it is durable when this returns. The
    /// directory is durable before any file is. If one of those that are created together fails, all do.
    pub(crate) async fn create<D: Disk>(
        &self,
        disk: &D,
        root: &Path,
        dir: NewDir,
    ) -> Result<(), StorageError> {
        let outcome = Outcome::default();
        self.waiting.borrow_mut().push((dir, Rc::clone(&outcome)));
        let _turn = self.turn.acquire(1).await;
        if let Some(outcome) = outcome.take() {
            return outcome;
        }
        let (dirs, outcomes): (Vec<_>, Vec<_>) = {
            let mut waiting = self.waiting.borrow_mut();
            let count = waiting.len().min(CREATIONS_MAX);
            waiting.drain(..count).unzip()
        };
        let created = disk.create_dirs(root, dirs).await;
        let created = created.map_err(|error| StorageError::io("create partitions in", root, &error));
        for outcome in outcomes {
            *outcome.borrow_mut() = Some(created.clone());
        }
        outcome.take().expect("turns go in order, so that the oldest that waits is this one")
    }
}
