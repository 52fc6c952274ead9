//! What a start does with the journals that a broker left behind that did not stop cleanly: their entries are written to
//! the segments, and then they are removed. Before any log is opened.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use model::{Offset, TopicPartition};
use runtime::{Disk, Durability, Effects, File, OpenOptions};

use crate::StorageError;
use crate::journal_entry::{Entry, Piece, parse};
use crate::log_dir::topic_id_in;
use crate::log_segment::file_name;
use crate::tail::to_u64;

const NAME_START: &str = "journal-";
const PAGE: usize = runtime::buffer::PAGE_SIZE;
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Bytes that are written to a segment at a time.
const RUN_BYTES_MAX: usize = 256 << 10;

/// The name of a process's journal number `number`.
pub(crate) fn journal_name(number: u32) -> String {
    format!("{NAME_START}{number}")
}

/// Brings the segments up to the journals and removes those; after a clean stop they have nothing to say.
///
/// # Errors
/// [`StorageError::Mismatch`] if a journal is damaged; [`StorageError::Io`].
pub(crate) async fn take_over<E: Effects>(effects: &E, dir: &Path, clean: bool) -> Result<(), StorageError> {
    let disk = effects.disk();
    let entries = disk.list_dir(dir).await.map_err(|error| StorageError::io("list", dir, &error))?;
    let is_journal =
        |name: &str| name.strip_prefix(NAME_START).is_some_and(|rest| rest.parse::<u32>().is_ok());
    let paths: Vec<_> = entries
        .iter()
        .filter(|entry| !entry.is_dir && is_journal(&entry.name))
        .map(|entry| dir.join(&entry.name))
        .collect();
    if paths.is_empty() {
        return Ok(());
    }
    for path in paths.iter().filter(|_| !clean) {
        let bytes = disk.read_file(path, FILE_BYTES_MAX).await;
        let bytes = bytes.map_err(|error| StorageError::io("read", path, &error))?;
        let mismatch = |message| StorageError::Mismatch { path: path.clone(), message };
        replay(effects, dir, &entries_in(&bytes).map_err(mismatch)?).await?;
    }
    // Only now: a replay that is cut off begins again.
    for path in &paths {
        disk.remove_file(path).await.map_err(|error| StorageError::io("remove", path, &error))?;
    }
    disk.sync_dir(dir).await.map_err(|error| StorageError::io("sync", dir, &error))
}

/// All entries of a journal that count, oldest first.
///
/// # Errors
/// One cannot be read that was acknowledged.
pub(crate) fn entries_in(bytes: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut halves = [(0, first), (first.len(), second)].map(|(start, half)| (start, half, run_of(half)));
    halves.sort_by_key(|(.., run)| run.first().map(|entry| entry.id));
    let newest = halves[1].2.first().map(|entry| entry.id.generation);
    for (start, half, run) in &halves {
        // What an earlier use of the half has left has a smaller number than what stands in the other half.
        let known = run.first().map(|entry| entry.id.generation);
        let suspicious = match (known, newest) {
            (Some(known), _) => known,
            (None, Some(newest)) => newest + 1,
            (None, None) => 0,
        };
        let end: usize = run.iter().map(|entry| entry.length.next_multiple_of(PAGE)).sum();
        let found =
            (end..half.len()).step_by(PAGE).filter_map(|at| parse(&half[at..]).map(|entry| (at, entry)));
        if let Some((at, _)) = found.into_iter().find(|(_, entry)| entry.id.generation >= suspicious) {
            return Err(format!(
                "the entry at byte {} is damaged, but a good one follows at byte {}: records that were acknowledged may be \
                 missing. To start all the same, move this file away",
                start + end,
                start + at
            ));
        }
    }
    // The other half may have been left behind by generations; then it says nothing that the segments do not have.
    Ok(halves.into_iter().flat_map(|(.., run)| run).collect())
}

/// The entries from the start of a half on that were written one behind the other.
fn run_of(half: &[u8]) -> Vec<Entry<'_>> {
    let mut run: Vec<Entry<'_>> = Vec::new();
    let mut at = 0;
    while let Some(entry) = half.get(at..).and_then(parse) {
        let follows = match run.last() {
            None => entry.id.sequence == 0,
            Some(last) => {
                entry.id.generation == last.id.generation && entry.id.sequence == last.id.sequence + 1
            }
        };
        if !follows {
            break;
        }
        at += entry.length.next_multiple_of(PAGE);
        run.push(entry);
    }
    run
}

async fn replay<E: Effects>(effects: &E, dir: &Path, entries: &[Entry<'_>]) -> Result<(), StorageError> {
    let mut by_segment: BTreeMap<(&str, Offset), Vec<&Piece<'_>>> = BTreeMap::new();
    for piece in entries.iter().flat_map(|entry| &entry.pieces) {
        by_segment.entry((piece.dir_name, piece.base)).or_default().push(piece);
    }
    for ((dir_name, base), mut pieces) in by_segment {
        let Some(tp) = TopicPartition::from_dir_name(dir_name) else { continue };
        // A topic that was deleted, or created again under its name, has nothing to do with these.
        let Some(topic_id) = topic_id_in(effects.disk(), &dir.join(tp.dir_name())).await? else { continue };
        pieces.retain(|piece| piece.topic_id == topic_id);
        let path = dir.join(dir_name).join(file_name(base, "log"));
        write_pieces(effects, &path, &pieces).await?;
    }
    Ok(())
}

/// Writes pieces to a segment, unless it was deleted.
async fn write_pieces<E: Effects>(
    effects: &E,
    path: &Path,
    pieces: &[&Piece<'_>],
) -> Result<(), StorageError> {
    if pieces.is_empty() {
        return Ok(());
    }
    let options = OpenOptions { write: true, create: false, direct: false };
    let file = match effects.disk().open(path, options).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StorageError::io("open", path, &error)),
    };
    let mut run: Vec<u8> = Vec::new();
    let mut start = pieces[0].position;
    for piece in pieces {
        if start + to_u64(run.len()) != piece.position || run.len() >= RUN_BYTES_MAX {
            write_run(effects, &file, path, start, &run).await?;
            run.clear();
            start = piece.position;
        }
        run.extend_from_slice(piece.bytes);
    }
    write_run(effects, &file, path, start, &run).await?;
    file.sync().await.map_err(|error| StorageError::io("sync", path, &error))
}

async fn write_run<E: Effects>(
    effects: &E,
    file: &<E::Disk as Disk>::File,
    path: &Path,
    position: u64,
    bytes: &[u8],
) -> Result<(), StorageError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut chunk = effects.buffers().chunk(bytes.len()).map_err(|_| StorageError::OverBudget)?;
    chunk.append(bytes);
    let slice = chunk.slice(0..bytes.len());
    let written = file.write_at(vec![slice], position, Durability::Buffered).await;
    written.map_err(|error| StorageError::io("write", path, &error))
}
