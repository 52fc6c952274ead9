//! What a start does with the journals that a broker left behind that did not stop cleanly: their entries are written to
//! the segments, and then they are removed. Before any log is opened.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use model::{Offset, TopicId, TopicPartition};
use runtime::{Disk, Effects, File, OpenOptions, WriteMode};

use crate::StorageError;
use crate::at_once::at_once;
use crate::commit::journal::entry::{Content, Entry, parse};
use crate::dir::JOURNAL_NAME_START;
use crate::dir::files::remove_if_there;
use crate::dir::topic_id_in;
use crate::segment::tail::to_u64;
use crate::segment::{file_name, parse_file_name};

const PAGE: usize = runtime::buffer::PAGE_SIZE;

/// The largest journal: a start reads it as a whole.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;

/// Bytes that are written to a segment at a time.
const RUN_BYTES_MAX: usize = 256 << 10;

/// Segments that are written at the same time: each waits for the disk.
const SEGMENTS_MAX: usize = 16;

const WHAT_TO_DO: &str =
    "records that were acknowledged may be missing. To start all the same, move this file away";

/// Brings the segments up to the journals and removes those; after a clean stop they have nothing to say.
///
/// # Errors
/// [`StorageError::Mismatch`] if a journal is damaged, or a segment that it goes on with; [`StorageError::Io`].
pub(crate) async fn take_over<E: Effects>(effects: &E, dir: &Path, clean: bool) -> Result<(), StorageError> {
    let disk = effects.disk();
    let entries = disk.list_dir(dir).await.map_err(|error| StorageError::io("list", dir, &error))?;
    let is_journal =
        |name: &str| name.strip_prefix(JOURNAL_NAME_START).is_some_and(|rest| rest.parse::<u32>().is_ok());
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
        remove_if_there(disk, path).await?;
    }
    disk.sync_dir(dir).await.map_err(|error| StorageError::io("sync", dir, &error))
}

/// All entries of a journal that count, oldest first.
///
/// # Errors
/// One cannot be read that was acknowledged.
pub(crate) fn entries_in(bytes: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    // Of a file that was cut, the second part starts somewhere else, where no half does.
    let (first, second) = bytes.split_at(bytes.len() / 2 / PAGE * PAGE);
    let mut halves = [entries_of_half(0, first)?, entries_of_half(first.len(), second)?];
    halves.sort_by_key(|entries| entries.first().map(|first| first.id));
    let [older, newer] = &halves;
    // The newer half was begun when all of the older one was durable.
    if let Some(first) = newer.first().filter(|first| to_u64(older.len()) != u64::from(first.history)) {
        return Err(format!(
            "a half has {} good entries, but the other knows of {}: {WHAT_TO_DO}",
            older.len(),
            first.history
        ));
    }
    Ok(halves.into_iter().flatten().collect())
}

/// The entries of the present use of a half that starts at `start`.
fn entries_of_half(start: usize, half: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    let found = whole_entries(start, half);
    let generation = match found.first() {
        None => return Ok(Vec::new()),
        Some((at, first)) if *at == start && first.id.sequence == 0 => first.id.generation,
        // The first entry of a use is durable before the next one is written, and only the first one of the next use
        // takes its place, as a whole.
        Some(&(at, _)) => return Err(damaged(0, at)),
    };
    let mut run: Vec<Entry<'_>> = Vec::new();
    let mut missing: Vec<u64> = Vec::new();
    for (at, entry) in found.into_iter().filter(|(_, entry)| entry.id.generation == generation) {
        let next = run.last().map_or(0, |last| last.id.sequence + 1);
        missing.extend(next..entry.id.sequence);
        // What is missing and was not known to be durable is an unfinished write: nothing in it was acknowledged.
        if let Some(&known) = missing.iter().find(|&&number| entry.knew(number)) {
            return Err(damaged(known, at));
        }
        run.push(entry);
    }
    // Entries are acknowledged in order, so those behind an unfinished one were not, and may go on with what it had.
    if let Some(unfinished) = missing.first() {
        run.retain(|entry| entry.id.sequence < *unfinished);
    }
    Ok(run)
}

/// What stands in a half, of whatever use, each with its place in the file.
fn whole_entries(start: usize, half: &[u8]) -> Vec<(usize, Entry<'_>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < half.len() {
        let entry = parse(&half[at..]);
        let length = entry.as_ref().map_or(1, |entry| entry.length);
        found.extend(entry.map(|entry| (start + at, entry)));
        at += length.next_multiple_of(PAGE);
    }
    found
}

fn damaged(number: u64, good: usize) -> String {
    format!("entry {number} of a half is damaged, but a later one, at byte {good}, is good: {WHAT_TO_DO}")
}

/// What the journal has for one place of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part<'a> {
    topic_id: TopicId,
    position: u64,
    bytes: &'a [u8],
}

/// What counts of the entries, by directory and base of the segment, oldest first.
fn parts_by_segment<'a>(entries: &[Entry<'a>]) -> BTreeMap<(&'a str, Offset), Vec<Part<'a>>> {
    let mut by_segment: BTreeMap<(&str, Offset), Vec<Part<'_>>> = BTreeMap::new();
    for piece in entries.iter().flat_map(|entry| &entry.pieces) {
        let (topic_id, dir_name) = (piece.topic_id, piece.dir_name);
        match piece.content {
            Content::Batches { base, position, bytes } => {
                by_segment.entry((dir_name, base)).or_default().push(Part { topic_id, position, bytes });
            }
            Content::End { from } => {
                let segments = by_segment.range_mut((dir_name, Offset::ZERO)..=(dir_name, Offset(i64::MAX)));
                for (_, parts) in segments {
                    let own = parts.iter_mut().filter(|part| part.topic_id == topic_id);
                    own.for_each(|part| part.bytes = below(part.bytes, from));
                    parts.retain(|part| !part.bytes.is_empty());
                }
            }
        }
    }
    by_segment
}

/// The batches that end at or below `from`.
fn below(batches: &[u8], from: Offset) -> &[u8] {
    let kept = model::batches(batches).map_while(Result::ok).take_while(|batch| batch.next_offset() <= from);
    &batches[..kept.map(|batch| batch.size()).sum()]
}

async fn replay<E: Effects>(effects: &E, dir: &Path, entries: &[Entry<'_>]) -> Result<(), StorageError> {
    let segments = parts_by_segment(entries).into_iter().filter(|(_, parts)| !parts.is_empty());
    at_once(SEGMENTS_MAX, segments.map(|(segment, parts)| replay_segment(effects, dir, segment, parts))).await
}

async fn replay_segment<E: Effects>(
    effects: &E,
    dir: &Path,
    (dir_name, base): (&str, Offset),
    mut parts: Vec<Part<'_>>,
) -> Result<(), StorageError> {
    let Some(tp) = TopicPartition::from_dir_name(dir_name) else { return Ok(()) };
    let path = dir.join(dir_name).join(file_name(base, "log"));
    let begun_bytes_min = match topic_id_in(effects.disk(), &dir.join(tp.dir_name())).await {
        // A topic that was deleted, or created again under its name, has nothing to do with these.
        Ok(Some(topic_id)) => {
            parts.retain(|part| part.topic_id == topic_id);
            None
        }
        // Its creation was cut off, or the identity is lost and the records are not: then they are complete when it is
        // back.
        Ok(None) => Some(1),
        Err(StorageError::Mismatch { .. }) => Some(0),
        Err(error) => return Err(error),
    };
    if let Some(bytes_min) = begun_bytes_min {
        let newest = parts.last().map(|part| part.topic_id);
        parts.retain(|part| Some(part.topic_id) == newest);
        let bytes_min = parts.first().map_or(0, |first| first.position).max(bytes_min);
        if !has_bytes(effects, &path, bytes_min).await? {
            return Ok(());
        }
    }
    write_parts(effects, (&path, base), &parts).await
}

/// Whether there is a file with at least so many bytes.
async fn has_bytes<E: Effects>(effects: &E, path: &Path, bytes: u64) -> Result<bool, StorageError> {
    let file = match effects.disk().open(path, OpenOptions::default()).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StorageError::io("open", path, &error)),
    };
    let length = file.length().await.map_err(|error| StorageError::io("stat", path, &error))?;
    Ok(length >= bytes)
}

/// Writes parts to a segment, unless retention has deleted it.
async fn write_parts<E: Effects>(
    effects: &E,
    (path, base): (&Path, Offset),
    parts: &[Part<'_>],
) -> Result<(), StorageError> {
    let Some(first) = parts.first() else { return Ok(()) };
    let options = OpenOptions { write: true, create: false, direct: false };
    let file = match effects.disk().open(path, options).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Before retention removes a segment, the one that goes on behind it is there.
            return if is_behind(effects, base, path).await? { Ok(()) } else { Err(lost(path)) };
        }
        Err(error) => return Err(StorageError::io("open", path, &error)),
    };
    let length = file.length().await.map_err(|error| StorageError::io("stat", path, &error))?;
    if length < first.position {
        return Err(lost(path));
    }
    let mut run: Vec<u8> = Vec::new();
    let mut start = first.position;
    for part in parts {
        if start + to_u64(run.len()) != part.position || run.len() >= RUN_BYTES_MAX {
            write_run(effects, &file, path, start, &run).await?;
            run.clear();
            start = part.position;
        }
        run.extend_from_slice(part.bytes);
    }
    write_run(effects, &file, path, start, &run).await?;
    file.sync().await.map_err(|error| StorageError::io("sync", path, &error))
}

/// Whether the log goes on with a segment behind `base`.
async fn is_behind<E: Effects>(effects: &E, base: Offset, path: &Path) -> Result<bool, StorageError> {
    let dir = path.parent().expect("a segment is in a directory");
    let entries = effects.disk().list_dir(dir).await;
    let entries = entries.map_err(|error| StorageError::io("list", dir, &error))?;
    Ok(entries.iter().filter_map(|entry| parse_file_name(&entry.name, "log")).any(|other| other > base))
}

fn lost(path: &Path) -> StorageError {
    let message = "what stood before the records that the journal has of it is missing. To start without this partition, \
                   move its directory away";
    StorageError::Mismatch { path: path.to_owned(), message: message.to_owned() }
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
    let written = file.write_at(vec![slice], position, WriteMode::Buffered).await;
    written.map_err(|error| StorageError::io("write", path, &error))
}

#[cfg(test)]
mod tests {
    use model::{PartitionId, Uuid};

    use super::*;
    use crate::commit::journal::entry::{EntryBuilder, EntryId};

    const HALF: usize = 8 * PAGE;

    /// A generation and what each of its entries says of those before.
    type Use<'a> = (u64, &'a [u32]);

    fn journal(halves: [Use<'_>; 2]) -> Vec<u8> {
        let mut bytes = vec![0; 2 * HALF];
        for (half, (generation, entries)) in bytes.chunks_mut(HALF).zip(halves) {
            for (page, (sequence, &history)) in half.chunks_mut(PAGE).zip((0..).zip(entries)) {
                let mut builder = EntryBuilder::default();
                builder.begin();
                if sequence > 0 {
                    let tp = TopicPartition::new("a", PartitionId(0));
                    builder.add((Uuid([1; 16]), &tp), (Offset(0), sequence), 3, [&b"abc"[..]].into_iter());
                }
                let entry = builder.finish(EntryId { generation, sequence }, history);
                page[..entry.len()].copy_from_slice(entry);
            }
        }
        bytes
    }

    /// What is found if the entries on these pages are damaged.
    fn check(halves: [Use<'_>; 2], damaged: &[usize]) -> Option<Vec<(u64, u64)>> {
        let mut bytes = journal(halves);
        damaged.iter().for_each(|page| bytes[page * PAGE + 39] ^= 1);
        let found = entries_in(&bytes).ok()?;
        Some(found.iter().map(|entry| (entry.id.generation, entry.id.sequence)).collect())
    }

    #[test]
    fn bad_entries_are_unfinished_writes_unless_a_later_one_knew_them() {
        let none: Use<'_> = (0, &[]);
        assert_eq!(check([(5, &[0, 0, 0]), none], &[]), Some(vec![(5, 0), (5, 1), (5, 2)]));
        assert_eq!(check([(5, &[0, 0, 0]), none], &[2]), Some(vec![(5, 0), (5, 1)]));
        assert_eq!(check([(5, &[0, 0, 0]), none], &[1]), None);
        assert_eq!(check([(5, &[0, 0, 0b1]), none], &[1]), Some(vec![(5, 0)]), "nothing behind it counts");
        // The one behind did not know, but the next did.
        assert_eq!(check([(5, &[0, 0, 0b1, 0]), none], &[1]), None);
        assert_eq!(check([(5, &[0, 0, 0b1, 0b1]), none], &[1]), None);
        assert_eq!(check([(5, &[0, 0, 0b1, 0b11]), none], &[1]), Some(vec![(5, 0)]));
        // The first is in flight for long, the second is not.
        assert_eq!(check([(5, &[0, 0, 0b1, 0b10]), none], &[1]), Some(vec![(5, 0)]));
        assert_eq!(check([(5, &[0, 0, 0b1, 0b10]), none], &[1, 2]), None);
    }

    /// A batch per range of offsets.
    fn stored(ranges: &[(i64, i64)]) -> Vec<u8> {
        let batch = |&(first, next): &(i64, i64)| {
            let mut builder = model::RecordBatchBuilder::new(Offset(first));
            for offset in first..next {
                builder = builder.record(offset, None, Some(b"value"));
            }
            builder.build()
        };
        ranges.iter().flat_map(|range| batch(range).to_vec()).collect()
    }

    #[test]
    fn of_a_log_that_was_ended_nothing_older_at_or_above_counts() {
        let tp = TopicPartition::new("a", PartitionId(0));
        let other = TopicPartition::new("a", PartitionId(1));
        let (topic, former) = (Uuid([1; 16]), Uuid([2; 16]));
        let older = [
            (former, &tp, 0, 0, stored(&[(0, 4)])),
            (topic, &other, 0, 0, stored(&[(0, 9)])),
            (topic, &tp, 0, 100, stored(&[(2, 3), (3, 5), (5, 6)])),
            (topic, &tp, 6, 0, stored(&[(6, 8)])),
        ];
        let newer = (topic, &tp, 0, 500, stored(&[(4, 5)]));
        let left = |from: i64| {
            let mut builder = EntryBuilder::default();
            builder.begin();
            let add = |builder: &mut EntryBuilder, (topic, tp, base, position, bytes): &(Uuid, &TopicPartition, i64, u64, Vec<u8>)| {
                builder.add((*topic, tp), (Offset(*base), *position), bytes.len(), [&bytes[..]].into_iter());
            };
            older.iter().for_each(|piece| add(&mut builder, piece));
            builder.add_end((topic, &tp), Offset(from));
            add(&mut builder, &newer);
            let bytes = builder.finish(EntryId { generation: 1, sequence: 1 }, 0).to_vec();
            let parts = parts_by_segment(&[parse(&bytes).expect("a whole entry")]);
            let of_other: usize = parts[&("a-1", Offset(0))].iter().map(|part| part.bytes.len()).sum();
            assert_eq!(of_other, older[1].4.len(), "another log goes on");
            let own = parts.into_iter().filter(|((dir, _), _)| *dir == "a-0");
            let flat = own.flat_map(|((_, base), parts)| parts.into_iter().map(move |part| (base.0, part)));
            let flat: Vec<_> =
                flat.map(|(base, part)| (part.topic_id, base, part.position, part.bytes.to_vec())).collect();
            assert_eq!(
                flat[0],
                (former, 0, 0, stored(&[(0, 4)])),
                "another topic of the name has its own end"
            );
            assert_eq!(flat.iter().filter(|part| part.2 == 500).count(), 1, "what came behind it counts");
            flat.into_iter()
                .filter(|part| part.0 == topic && part.2 != 500)
                .map(|part| (part.1, part.3))
                .collect::<Vec<_>>()
        };
        assert_eq!(left(0), []);
        assert_eq!(left(2), []);
        assert_eq!(left(3), [(0, stored(&[(2, 3)]))]);
        // A batch that reaches beyond it goes as a whole.
        assert_eq!(left(4), [(0, stored(&[(2, 3)]))]);
        assert_eq!(left(5), [(0, stored(&[(2, 3), (3, 5)]))]);
        assert_eq!(left(6), [(0, stored(&[(2, 3), (3, 5), (5, 6)]))]);
        assert_eq!(left(7), [(0, stored(&[(2, 3), (3, 5), (5, 6)]))]);
        assert_eq!(left(8), [(0, stored(&[(2, 3), (3, 5), (5, 6)])), (6, stored(&[(6, 8)]))]);
    }

    #[test]
    fn a_half_whose_first_entry_is_bad_is_damaged() {
        assert_eq!(check([(5, &[0, 0]), (6, &[2])], &[]), Some(vec![(5, 0), (5, 1), (6, 0)]));
        assert_eq!(check([(7, &[2]), (6, &[9, 0])], &[]), Some(vec![(6, 0), (6, 1), (7, 0)]));
        assert_eq!(check([(5, &[0, 0]), (6, &[2])], &[0]), None);
        assert_eq!(check([(7, &[2, 0]), (6, &[9, 0])], &[0]), None);
    }

    #[test]
    fn a_journal_that_was_cut_is_damaged() {
        let bytes = journal([(5, &[0, 0, 0]), (6, &[3, 0, 0])]);
        for length in HALF + PAGE..bytes.len() {
            assert!(entries_in(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_half_knows_how_many_entries_the_other_has() {
        assert_eq!(check([(5, &[0, 0, 0b1]), (6, &[3])], &[1]), None);
        assert_eq!(check([(5, &[0, 0, 0b1]), (6, &[3])], &[2]), None);
        assert_eq!(check([(5, &[0]), (6, &[1])], &[0]), None);
    }
}
