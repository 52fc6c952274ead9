//! What is done to a file of a data directory in one step.

use std::io;
use std::path::Path;

use runtime::Disk;

use crate::StorageError;

/// Removes a file, unless somebody has done so already: a listing is old as soon as anything else is done. Not durable.
pub(crate) async fn remove_if_there<D: Disk>(disk: &D, path: &Path) -> Result<(), StorageError> {
    match disk.remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("remove", path, &error))
        }
        _ => Ok(()),
    }
}
