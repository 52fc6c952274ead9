//! Opening the data directory, before any of its logs.

use std::path::Path;
use std::sync::Arc;

use runtime::Effects;

use crate::commit::journal::replay;
use crate::{LogDir, LogDirOptions, StorageError};

impl LogDir {
    /// Opens or creates the directory and locks it. What the journals of a killed broker have is written to the logs, the
    /// clean-shutdown marker is taken away.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another broker has it; [`StorageError::Mismatch`] if it is another node's.
    pub async fn open<E: Effects>(
        effects: &E,
        path: &Path,
        options: LogDirOptions,
    ) -> Result<Arc<Self>, StorageError> {
        let claimed = Self::claim(effects, path, options).await?;
        replay::take_over(effects, &claimed.path, claimed.clean).await?;
        Self::take_up(effects, claimed).await
    }
}
