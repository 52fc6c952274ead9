//! What is done to files of a data directory in one step.

use std::io;
use std::path::Path;

use model::Offset;
use runtime::Disk;

use crate::StorageError;
use crate::producer::snapshot::BATCHES_ENDING;
use crate::segment::file_name;

/// Removes a file, unless somebody has done so already: a listing is old as soon as anything else is done. Not durable.
pub(crate) async fn remove_if_there<D: Disk>(disk: &D, path: &Path) -> Result<(), StorageError> {
    match disk.remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("remove", path, &error))
        }
        _ => Ok(()),
    }
}

/// Removes both files of a snapshot, those that are there.
pub(crate) async fn remove_snapshot<D: Disk>(
    disk: &D,
    dir: &Path,
    offset: Offset,
) -> Result<(), StorageError> {
    for ending in ["snapshot", BATCHES_ENDING] {
        remove_if_there(disk, &dir.join(file_name(offset, ending))).await?;
    }
    Ok(())
}
