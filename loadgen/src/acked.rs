//! The list of acknowledged batches: written while producing, checked after a crash.
//!
//! One line per batch, `partition base_offset first_seq last_seq run producer`, written only after its acknowledgement.
//! `#` begins a comment.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::record::{RecordId, StreamKey};
use crate::verify::Verifier;

/// Appends acknowledged batches to a file.
#[derive(Debug)]
pub(crate) struct AckedWriter {
    file: BufWriter<File>,
    dirty: bool,
}

/// One acknowledged batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AckedBatch {
    /// Whose records they are.
    pub(crate) stream: StreamKey,
    /// Offset that the broker gave to the first.
    pub(crate) base_offset: i64,
    /// Sequence of the first.
    pub(crate) first_sequence: u64,
    /// Sequence of the last.
    pub(crate) last_sequence: u64,
}

impl AckedWriter {
    /// Appends to `path`, so several runs can share a file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { file: BufWriter::new(file), dirty: false })
    }

    /// Adds one line.
    pub(crate) fn push(&mut self, batch: &AckedBatch) -> Result<()> {
        let AckedBatch { stream, base_offset, first_sequence, last_sequence } = batch;
        let StreamKey { run, producer, partition } = stream;
        self.dirty = true;
        writeln!(self.file, "{partition} {base_offset} {first_sequence} {last_sequence} {run} {producer}")
            .context("writing the acked file")
    }

    /// Hands the lines to the kernel; called once per turn of the event loop.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.dirty {
            self.dirty = false;
            self.file.flush().context("writing the acked file")?;
        }
        Ok(())
    }
}

/// Finds every acknowledged record again.
#[derive(Debug, Default)]
pub(crate) struct AckedChecker {
    partitions: HashMap<u32, Expected>,
}

/// What one partition must hold, by offset.
#[derive(Debug, Default)]
struct Expected {
    batches: Vec<AckedBatch>,
    /// The first batch that is not complete.
    at: usize,
    /// Records of it that were found.
    found: u64,
}

impl AckedChecker {
    /// Reads the file; a last line without its newline was cut off by a crash of the writer and is not counted.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        Self::read(BufReader::new(file)).with_context(|| format!("reading {}", path.display()))
    }

    fn read(mut lines: impl BufRead) -> Result<Self> {
        let mut checker = Self::default();
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            if line.ends_with('\n') && !line.starts_with('#') {
                let batch = parse_line(&line).with_context(|| format!("bad line {line:?}"))?;
                checker.partitions.entry(batch.stream.partition).or_default().batches.push(batch);
            }
            line.clear();
        }
        for expected in checker.partitions.values_mut() {
            expected.batches.sort_by_key(|batch| batch.base_offset);
        }
        Ok(checker)
    }

    /// Records acknowledged in all.
    pub(crate) fn records(&self) -> u64 {
        self.partitions.values().flat_map(|expected| &expected.batches).map(AckedBatch::records).sum()
    }

    /// A record was read at `offset`; offsets rise within a partition.
    pub(crate) fn record(&mut self, verifier: &mut Verifier, partition: u32, offset: i64, id: &RecordId) {
        let Some(expected) = self.partitions.get_mut(&partition) else { return };
        while let Some(batch) = expected.batches.get(expected.at) {
            if offset < batch.base_offset {
                return;
            }
            if batch.last_offset() < offset {
                expected.settle(verifier);
                continue;
            }
            let sequence = batch.first_sequence + offset.abs_diff(batch.base_offset);
            if id.stream == batch.stream && id.sequence == sequence {
                expected.found += 1;
            }
            if offset == batch.last_offset() {
                expected.settle(verifier);
            }
            return;
        }
    }

    /// Everything was read: what has not been found by now is lost.
    pub(crate) fn finish(mut self, verifier: &mut Verifier) {
        for expected in self.partitions.values_mut() {
            while expected.at < expected.batches.len() {
                expected.settle(verifier);
            }
        }
    }
}

impl Expected {
    /// Counts what is missing of the present batch and goes to the next.
    fn settle(&mut self, verifier: &mut Verifier) {
        let batch = self.batches[self.at];
        let missing = batch.records() - self.found;
        if missing > 0 {
            verifier.acked_lost(missing, || {
                let AckedBatch { stream, base_offset, first_sequence, last_sequence } = batch;
                let partition = stream.partition;
                format!(
                    "partition {partition}: {missing} acknowledged records of sequences \
                     {first_sequence}-{last_sequence} are not at offsets {base_offset}-{}",
                    batch.last_offset()
                )
            });
        }
        self.at += 1;
        self.found = 0;
    }
}

impl AckedBatch {
    fn records(&self) -> u64 {
        self.last_sequence - self.first_sequence + 1
    }

    fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add_unsigned(self.last_sequence - self.first_sequence)
    }
}

fn parse_line(line: &str) -> Result<AckedBatch> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    ensure!(fields.len() == 6, "6 fields wanted");
    let stream =
        StreamKey { partition: fields[0].parse()?, run: fields[4].parse()?, producer: fields[5].parse()? };
    let batch = AckedBatch {
        stream,
        base_offset: fields[1].parse()?,
        first_sequence: fields[2].parse()?,
        last_sequence: fields[3].parse()?,
    };
    ensure!(batch.base_offset >= 0, "negative offset");
    ensure!(batch.first_sequence <= batch.last_sequence, "sequences run backwards");
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sequence: u64) -> RecordId {
        RecordId { stream: StreamKey { run: 9, producer: 0, partition: 0 }, sequence, sent_ns: 0 }
    }

    /// Records lost when `found` (offset, sequence) is read after `lines` were acknowledged.
    fn lost(lines: &str, found: &[(i64, u64)]) -> u64 {
        let mut checker = AckedChecker::read(lines.as_bytes()).unwrap();
        let mut verifier = Verifier::new(true);
        for &(offset, sequence) in found {
            checker.record(&mut verifier, 0, offset, &id(sequence));
        }
        checker.finish(&mut verifier);
        verifier.finish(None).acked_lost
    }

    #[test]
    fn every_acknowledged_record_must_be_at_its_offset() {
        let lines = "# comment\n0 12 2 3 9 0\n0 10 0 1 9 0\n";
        let rows: &[(&[(i64, u64)], u64)] = &[
            (&[(10, 0), (11, 1), (12, 2), (13, 3)], 0),
            (&[(9, 8), (10, 0), (11, 1), (12, 2), (13, 3), (14, 4)], 0),
            (&[], 4),
            (&[(10, 0), (11, 1), (12, 2)], 1),
            (&[(11, 1), (12, 2), (13, 3)], 1),
            (&[(10, 0), (11, 1), (13, 3)], 1),
            (&[(10, 1), (11, 0), (12, 2), (13, 3)], 2),
            (&[(14, 0), (15, 1), (16, 2), (17, 3)], 4),
        ];
        for (found, expect) in rows {
            assert_eq!(lost(lines, found), *expect, "{found:?}");
        }
    }

    #[test]
    fn two_acknowledgements_of_one_offset_cannot_both_hold() {
        assert_eq!(lost("0 10 0 0 9 0\n0 10 1 1 9 0\n", &[(10, 0), (11, 1)]), 1);
    }

    #[test]
    fn a_torn_last_line_is_ignored_and_a_broken_one_refused() {
        assert_eq!(lost("0 10 0 0 9 0\n0 11 1", &[(10, 0)]), 0);
        assert!(AckedChecker::read("0 1 2\n".as_bytes()).is_err());
        assert!(AckedChecker::read("0 1 5 2 9 0\n".as_bytes()).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let path = std::env::temp_dir().join(format!("loadgen-acked-{}", std::process::id()));
        let stream = StreamKey { run: u64::MAX, producer: 3, partition: 2 };
        let batch = AckedBatch { stream, base_offset: 7, first_sequence: 0, last_sequence: 9 };
        let mut writer = AckedWriter::open(&path).unwrap();
        writer.push(&batch).unwrap();
        writer.flush().unwrap();
        let checker = AckedChecker::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(checker.partitions[&2].batches, [batch]);
        assert_eq!(checker.records(), 10);
    }
}
