//! Reading the checkpoint files of a data directory. What two of them say can be found out again, at the price of a longer
//! recovery. Where a log begins cannot, so that has a copy: deleted records must not come back.

use std::path::Path;

use runtime::Disk;

use crate::StorageError;
use crate::dir::checkpoint::{LOG_START_COPY_FILE, LOG_START_FILE, Offsets, parse_offsets};
use crate::dir::checkpoint_checksum::has_checksum;
use crate::dir::read_optional;

const FILE_BYTES_MAX: u64 = 256 << 20;

/// What a checkpoint file holds, and whether it has to be written anew since it is damaged.
///
/// # Errors
/// [`StorageError::Mismatch`] if it is damaged and so is its copy; [`StorageError::Io`].
pub(crate) async fn read<D: Disk>(disk: &D, dir: &Path, name: &str) -> Result<(Offsets, bool), StorageError> {
    let path = dir.join(name);
    let bytes = read_optional(disk, &path, FILE_BYTES_MAX).await?;
    if let Some(offsets) = bytes.as_deref().and_then(parse_offsets) {
        return Ok((offsets, false));
    }
    if name != LOG_START_FILE {
        if bytes.is_some() {
            tracing::warn!(file = %path.display(), "damaged checkpoint ignored, recovery takes longer");
        }
        return Ok((Offsets::new(), bytes.is_some()));
    }
    let copy = read_optional(disk, &dir.join(LOG_START_COPY_FILE), FILE_BYTES_MAX).await?;
    // Behind one that Kafka has written the copy is of another time.
    let is_ours = bytes.as_deref().is_none_or(has_checksum);
    match copy.as_deref().and_then(parse_offsets) {
        Some(offsets) if is_ours => {
            tracing::warn!(file = %path.display(), "damaged or missing checkpoint, taken from its copy");
            Ok((offsets, true))
        }
        _ if bytes.is_some() && is_ours => {
            let message = format!(
                "damaged, and so is {LOG_START_COPY_FILE}: where logs begin is not known. Restore one of them, or remove \
                 both, which brings deleted records back"
            );
            Err(StorageError::Mismatch { path, message })
        }
        _ => {
            if bytes.is_some() {
                tracing::warn!(file = %path.display(), "damaged checkpoint ignored, deleted records may be back");
            }
            Ok((Offsets::new(), bytes.is_some()))
        }
    }
}
