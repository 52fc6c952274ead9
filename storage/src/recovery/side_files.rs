//! The small files beside a log's segments, as recovery finds them.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use runtime::{DirEntry, Disk, Effects};

use crate::StorageError;
use crate::shard::StorageShard;

/// The largest index, snapshot or epoch file that is read.
pub(crate) const SIDE_FILE_BYTES_MAX: u64 = 256 << 20;

/// Bytes of files that are read together and kept until the log is open.
const TOGETHER_BYTES_MAX: u64 = 64 << 10;

/// What a directory lists, and the files that were read ahead: with thousands of logs, one visit to the disk for each file
/// is what a start would take longest for.
pub(super) struct SideFiles<'a, E: Effects> {
    shard: &'a StorageShard<E>,
    dir: Rc<Path>,
    entries: &'a [DirEntry],
    together: BTreeMap<String, Vec<u8>>,
}

impl<'a, E: Effects> SideFiles<'a, E> {
    /// Reads those of `names` that are there, as long as they are small.
    pub(super) async fn read_ahead(
        shard: &'a StorageShard<E>,
        dir: &Rc<Path>,
        entries: &'a [DirEntry],
        names: Vec<String>,
    ) -> Result<Self, StorageError> {
        let mut files = Self { shard, dir: Rc::clone(dir), entries, together: BTreeMap::new() };
        let mut room = TOGETHER_BYTES_MAX;
        let mut wanted = names;
        wanted.retain(|name| {
            let length = files.length(name);
            let fits = length > 0 && length <= room;
            room -= if fits { length } else { 0 };
            fits
        });
        if wanted.is_empty() {
            return Ok(files);
        }
        let paths = wanted.iter().map(|name| dir.join(name)).collect();
        let read = shard.effects.disk().read_files(paths, TOGETHER_BYTES_MAX).await;
        let read = read.map_err(|error| StorageError::io("read the files in", dir, &error))?;
        files.together =
            wanted.into_iter().zip(read).filter_map(|(name, bytes)| Some((name, bytes?))).collect();
        Ok(files)
    }

    /// Bytes of a file; 0 if it is not there.
    pub(super) fn length(&self, name: &str) -> u64 {
        self.entries.iter().find(|entry| entry.name == name).map_or(0, |entry| entry.length)
    }

    /// A file as a whole; `None` if it is not there, has nothing in it or is too large.
    pub(super) async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        if self.length(name) == 0 {
            return Ok(None);
        }
        match self.together.get(name) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => self.shard.read_whole(&self.dir.join(name), SIDE_FILE_BYTES_MAX).await,
        }
    }
}
