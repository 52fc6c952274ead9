//! `dump-log`: prints what a data directory holds, in the words of Kafka's own tool. Read-only, over plain
//! files, so that it works beside a running broker and on a copy; it survives any damage and says where it is.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use model::{Offset, RecordBatch, RecordIter, TopicPartition};

use crate::decompress::records;
use crate::producer::snapshot::{BATCHES_ENDING, Recent, decode, decode_batches};
use crate::records::UNPACKED_BYTES_MAX;
use crate::segment::parse_file_name;

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// A line per record, not only per batch; compressed batches are unpacked.
    pub deep_iteration: bool,
    /// Keys and values as well.
    pub print_data_log: bool,
    /// Check and count, print only the problems.
    pub quiet: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Files looked at.
    pub files: u64,
    /// Good batches.
    pub batches: u64,
    /// Records in them, as their headers count.
    pub records: u64,
    /// What is wrong, one line each.
    pub problems: Vec<String>,
}

/// Dumps files, or the files of whole directories.
///
/// # Errors
/// If `out` cannot be written to or a path cannot be read; damage is no error but a line in the summary.
pub fn run(paths: &[PathBuf], options: Options, out: &mut impl Write) -> io::Result<Summary> {
    run_with(paths, options, out, &|_, _, _| None)
}

/// Says what a record of a topic, with this key and value, means.
pub type Describe<'a> = &'a dyn Fn(&str, Option<&[u8]>, Option<&[u8]>) -> Option<String>;

/// The same, with the meaning of records that `describe` knows.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    paths: &[PathBuf],
    options: Options,
    out: &mut impl Write,
    describe: Describe<'_>,
) -> io::Result<Summary> {
    let mut dump = Dump { options, out, describe, summary: Summary::default() };
    for path in paths {
        dump.path(path)?;
    }
    let Dump { out, summary, .. } = dump;
    for problem in &summary.problems {
        writeln!(out, "PROBLEM {problem}")?;
    }
    writeln!(
        out,
        "{} files, {} batches, {} records, {} problems",
        summary.files,
        summary.batches,
        summary.records,
        summary.problems.len()
    )?;
    Ok(summary)
}

struct Dump<'a, W: Write> {
    options: Options,
    out: &'a mut W,
    describe: Describe<'a>,
    summary: Summary,
}

/// Bytes looked through at a time when a batch is damaged.
const WINDOW: usize = 1 << 20;

impl<W: Write> Dump<'_, W> {
    fn path(&mut self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            let mut entries: Vec<PathBuf> =
                fs::read_dir(path)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
            entries.sort();
            for entry in entries.iter().filter(|entry| entry.is_dir() || kind(entry).is_some()) {
                self.path(entry)?;
            }
            return Ok(());
        }
        if let Err(error) = fs::metadata(path) {
            self.problem(path, error);
            return Ok(());
        }
        let Some((ending, base)) = kind(path) else {
            self.problem(path, "not a segment's .log, .index, .timeindex, .snapshot or .batches");
            return Ok(());
        };
        self.summary.files += 1;
        if !self.options.quiet {
            writeln!(self.out, "Dumping {}", path.display())?;
        }
        match ending {
            "log" => self.log(path, base),
            "index" => self.offset_index(path, base),
            "timeindex" => self.time_index(path, base),
            "snapshot" => self.snapshot(path),
            _ => self.batches(path),
        }
    }

    fn log(&mut self, path: &Path, base: Offset) -> io::Result<()> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        if !self.options.quiet {
            writeln!(self.out, "Log starting offset: {base}")?;
        }
        let (mut position, mut next) = (0, base);
        while position < length {
            match read_batch(&mut file, position, length)? {
                Ok(bytes) => {
                    let batch = RecordBatch::parse(&bytes).map_err(io::Error::other)?;
                    if batch.base_offset() < next {
                        let message =
                            format!("offset {} at byte {position} is below {next}", batch.base_offset());
                        self.problem(path, message);
                    }
                    next = batch.next_offset();
                    self.batch(path, &batch, position)?;
                    position += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                }
                Err(reason) => match next_batch(&mut file, position + 1, length, next)? {
                    Some(found) => {
                        self.problem(
                            path,
                            format!("{reason} at byte {position}; the next good batch is at byte {found}"),
                        );
                        position = found;
                    }
                    None if only_zeros(&mut file, position, length)? => {
                        let message = format!(
                            "{} bytes of zeros from byte {position} on: written ahead, or not cut to size after a kill",
                            length - position
                        );
                        if !self.options.quiet {
                            writeln!(self.out, "{message}")?;
                        }
                        return Ok(());
                    }
                    None => {
                        self.problem(path, format!("{reason} at byte {position}; no good batch follows"));
                        return Ok(());
                    }
                },
            }
        }
        Ok(())
    }

    fn batch(&mut self, path: &Path, batch: &RecordBatch<'_>, position: u64) -> io::Result<()> {
        self.summary.batches += 1;
        self.summary.records += u64::try_from(batch.record_count()).unwrap_or(0);
        if !self.options.quiet {
            let codec = batch.compression().map_or("unknown", model::Compression::name);
            writeln!(
                self.out,
                "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} \
                 partitionLeaderEpoch: {} isTransactional: {} isControl: {} position: {position} {:?}: {} size: {} magic: 2 \
                 compresscodec: {codec} crc: {} isvalid: true",
                batch.base_offset(),
                batch.last_offset(),
                batch.record_count(),
                batch.base_sequence(),
                batch.last_sequence(),
                batch.producer_id(),
                batch.producer_epoch(),
                batch.leader_epoch(),
                batch.is_transactional(),
                batch.is_control(),
                batch.timestamp_type(),
                batch.max_timestamp(),
                batch.size(),
                batch.crc(),
            )?;
        }
        if self.options.deep_iteration { self.records(path, batch, position) } else { Ok(()) }
    }

    fn records(&mut self, path: &Path, batch: &RecordBatch<'_>, position: u64) -> io::Result<()> {
        let bytes = match records(batch, UNPACKED_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.problem(path, format!("the batch at byte {position} cannot be unpacked: {error}"));
                return Ok(());
            }
        };
        let iter = RecordIter::new(&bytes, batch.record_count(), batch.base_offset(), batch.base_timestamp());
        for record in iter {
            match record {
                Ok(record) if !self.options.quiet => {
                    write!(self.out, "| offset: {} timestamp: {}", record.offset, record.timestamp)?;
                    let size = |bytes: Option<&[u8]>| {
                        bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(-1))
                    };
                    write!(self.out, " keySize: {} valueSize: {}", size(record.key), size(record.value))?;
                    if self.options.print_data_log {
                        let text = |bytes: Option<&[u8]>| {
                            bytes.map(|bytes| String::from_utf8_lossy(bytes).escape_debug().to_string())
                        };
                        let (key, value) = (text(record.key), text(record.value));
                        write!(
                            self.out,
                            " key: {} payload: {}",
                            key.unwrap_or_default(),
                            value.unwrap_or_default()
                        )?;
                    }
                    if !batch.is_control()
                        && let Some(topic) = topic_of(path)
                        && let Some(meaning) = (self.describe)(&topic, record.key, record.value)
                    {
                        write!(self.out, " means: {meaning}")?;
                    }
                    writeln!(self.out)?;
                }
                Ok(_) => {}
                Err(error) => self.problem(path, format!("record in the batch at byte {position}: {error}")),
            }
        }
        Ok(())
    }

    fn offset_index(&mut self, path: &Path, base: Offset) -> io::Result<()> {
        let bytes = fs::read(path)?;
        let log = File::open(path.with_extension("log")).ok();
        let mut before = None;
        for (at, entry) in bytes.chunks(8).enumerate() {
            let Some((relative, position)) = split_u32(entry) else {
                self.problem(path, format!("{} bytes behind the last whole entry", entry.len()));
                break;
            };
            if relative == 0 && position == 0 && at > 0 {
                let rest = bytes.len() - at * 8;
                self.problem(path, format!("{rest} bytes of padding from byte {} on", at * 8));
                break;
            }
            let offset = base.plus(i64::from(relative));
            if !self.options.quiet {
                writeln!(self.out, "offset: {offset} position: {position}")?;
            }
            if before.is_some_and(|before| (relative, position) <= before) {
                self.problem(path, format!("entry {at} does not rise"));
            }
            before = Some((relative, position));
            if let Some(log) = &log
                && last_offset_at(log, u64::from(position))? != Some(offset)
            {
                self.problem(
                    path,
                    format!("entry {at} (offset {offset}) does not lead to its batch at byte {position}"),
                );
            }
        }
        Ok(())
    }

    fn time_index(&mut self, path: &Path, base: Offset) -> io::Result<()> {
        let bytes = fs::read(path)?;
        let mut before = None;
        for (at, entry) in bytes.chunks(12).enumerate() {
            let Some((timestamp, relative)) = entry.split_first_chunk::<8>().filter(|_| entry.len() == 12)
            else {
                self.problem(path, format!("{} bytes behind the last whole entry", entry.len()));
                break;
            };
            let timestamp = i64::from_be_bytes(*timestamp);
            let relative = relative.try_into().map_or(0, u32::from_be_bytes);
            if !self.options.quiet {
                writeln!(self.out, "timestamp: {timestamp} offset: {}", base.plus(i64::from(relative)))?;
            }
            if before.is_some_and(|(t, r)| timestamp <= t || relative < r) {
                self.problem(path, format!("entry {at} does not rise"));
            }
            before = Some((timestamp, relative));
        }
        Ok(())
    }

    fn snapshot(&mut self, path: &Path) -> io::Result<()> {
        match decode(&fs::read(path)?, None) {
            None => self.problem(path, "not a snapshot, or damaged"),
            Some(state) if !self.options.quiet => {
                for line in state.describe() {
                    writeln!(self.out, "{line}")?;
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The batches of producers before those in the snapshot.
    fn batches(&mut self, path: &Path) -> io::Result<()> {
        let Some(producers) = decode_batches(&fs::read(path)?) else {
            self.problem(path, "not the batches of a snapshot's producers, or damaged");
            return Ok(());
        };
        for (id, recent) in producers.into_iter().filter(|_| !self.options.quiet) {
            let Recent { epoch, last_append_ms, older } = recent;
            writeln!(self.out, "producerId: {id} producerEpoch: {epoch} lastAppendMs: {last_append_ms}")?;
            for batch in older {
                writeln!(
                    self.out,
                    "| lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
                    batch.last_sequence, batch.last_offset, batch.offset_delta, batch.timestamp
                )?;
            }
        }
        Ok(())
    }

    fn problem(&mut self, path: &Path, message: impl std::fmt::Display) {
        self.summary.problems.push(format!("{}: {message}", path.display()));
    }
}

/// The topic whose partition a file belongs to, by the name of its directory.
fn topic_of(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let dir = path.parent()?.file_name()?.to_str()?;
    TopicPartition::from_dir_name(dir).map(|tp| tp.topic.to_string())
}

/// What a file is by its name, and its base offset.
fn kind(path: &Path) -> Option<(&'static str, Offset)> {
    let name = path.file_name()?.to_str()?;
    ["log", "index", "timeindex", "snapshot", BATCHES_ENDING]
        .into_iter()
        .find_map(|ending| Some((ending, parse_file_name(name, ending)?)))
}

/// The batch at `position` with a good checksum, or why there is none.
fn read_batch(file: &mut File, position: u64, length: u64) -> io::Result<Result<Vec<u8>, String>> {
    let head = read_at(file, position, RecordBatch::HEADER_SIZE)?;
    let size = match RecordBatch::peek_size(&head) {
        Ok(size) => size,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let left = length - position;
    if u64::try_from(size).unwrap_or(u64::MAX) > left {
        return Ok(Err(format!("batch of {size} bytes is cut off after {left}")));
    }
    let bytes = read_at(file, position, size)?;
    let good = RecordBatch::parse(&bytes).and_then(|batch| batch.verify_crc());
    Ok(good.map(|()| bytes).map_err(|error| error.to_string()))
}

/// The position of the first good batch from `from` on with an offset not below `next`.
fn next_batch(file: &mut File, from: u64, length: u64, next: Offset) -> io::Result<Option<u64>> {
    let mut position = from;
    while position < length {
        let bytes = read_at(file, position, WINDOW + RecordBatch::HEADER_SIZE)?;
        for at in 0..bytes.len().min(WINDOW) {
            let plausible = bytes.get(at + 16) == Some(&2)
                && bytes[at..].first_chunk().is_some_and(|base| i64::from_be_bytes(*base) >= next.0);
            if plausible {
                let found = position + u64::try_from(at).unwrap_or(0);
                if read_batch(file, found, length)?.is_ok() {
                    return Ok(Some(found));
                }
            }
        }
        position += u64::try_from(WINDOW).unwrap_or(0);
    }
    Ok(None)
}

fn only_zeros(file: &mut File, from: u64, length: u64) -> io::Result<bool> {
    let mut position = from;
    while position < length {
        let bytes = read_at(file, position, WINDOW)?;
        if bytes.is_empty() || bytes.iter().any(|&byte| byte != 0) {
            return Ok(bytes.is_empty());
        }
        position += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }
    Ok(true)
}

fn last_offset_at(mut log: &File, position: u64) -> io::Result<Option<Offset>> {
    let head = read_at(&mut log, position, RecordBatch::HEADER_SIZE)?;
    let base = head.first_chunk().map(|base| i64::from_be_bytes(*base));
    let delta = head.get(23..27).and_then(|delta| delta.try_into().ok()).map(i32::from_be_bytes);
    Ok(base.zip(delta).and_then(|(base, delta)| base.checked_add(i64::from(delta))).map(Offset))
}

/// Up to `length` bytes at `position`; fewer at the end of the file.
fn read_at(file: &mut (impl Read + Seek), position: u64, length: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(position))?;
    let mut bytes = Vec::new();
    file.take(u64::try_from(length).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn split_u32(entry: &[u8]) -> Option<(u32, u32)> {
    let (first, rest) = entry.split_first_chunk::<4>()?;
    let second: [u8; 4] = rest.try_into().ok()?;
    Some((u32::from_be_bytes(*first), u32::from_be_bytes(second)))
}
