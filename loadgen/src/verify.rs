//! Judges what was read: every record once, in order, unaltered, at a dense offset. Pure.
//!
//! Invariant: for each stream, every sequence below `next` was seen once or is in `missing`.

use std::collections::HashMap;

use crate::record::{RecordFault, RecordId, StreamKey};

/// Collects violations while records are observed.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    streams: Vec<Stream>,
    by_key: HashMap<StreamKey, usize>,
    partitions: HashMap<u32, PartitionView>,
    gaps_allowed: bool,
    report: Violations,
}

/// How many violations of each kind, and a text for the first few.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Violations {
    /// Sequences never seen.
    pub(crate) lost: u64,
    /// Records seen after a later one of their stream.
    pub(crate) reordered: u64,
    /// Records seen again.
    pub(crate) duplicated: u64,
    /// Records or batches whose checksum differs.
    pub(crate) corrupt: u64,
    /// Records found in another partition than they were written to.
    pub(crate) misplaced: u64,
    /// Records not written by loadgen.
    pub(crate) foreign: u64,
    /// More records than were written.
    pub(crate) unexpected: u64,
    /// Offsets missing or repeated in the log.
    pub(crate) offset_gaps: u64,
    /// Acknowledged records that were not found where the broker said.
    pub(crate) acked_lost: u64,
    /// The first violations in words.
    pub(crate) examples: Vec<String>,
}

#[derive(Debug)]
struct Stream {
    key: StreamKey,
    next: u64,
    missing: Vec<std::ops::Range<u64>>,
}

/// The last position in a partition, and the stream that was seen there last (a cache).
#[derive(Debug)]
struct PartitionView {
    next_offset: Option<i64>,
    last_stream: Option<usize>,
}

impl Verifier {
    /// With `gaps_allowed`, sequences may be missing (writes whose outcome is unknown), order and uniqueness still hold.
    pub(crate) fn new(gaps_allowed: bool) -> Self {
        Self { gaps_allowed, ..Self::default() }
    }

    /// A batch that covers these offsets comes next in `partition`.
    pub(crate) fn batch(&mut self, partition: u32, base_offset: i64, last_offset: i64, crc_is_valid: bool) {
        let view = self.partitions.entry(partition).or_insert(PartitionView::EMPTY);
        let expected = view.next_offset.replace(last_offset + 1);
        if let Some(expected) = expected.filter(|&expected| expected != base_offset) {
            self.report.offset_gaps += 1;
            self.report
                .note(|| format!("partition {partition}: offset {base_offset} follows {}", expected - 1));
        }
        if !crc_is_valid {
            self.report.corrupt += 1;
            self.report
                .note(|| format!("partition {partition}: batch at offset {base_offset} fails its CRC"));
        }
    }

    /// A record was read at `offset` of `partition`.
    pub(crate) fn record(&mut self, partition: u32, offset: i64, parsed: Result<RecordId, RecordFault>) {
        let id = match parsed {
            Ok(id) => id,
            Err(fault) => return self.report.fault(partition, offset, fault),
        };
        if id.stream.partition != partition {
            self.report.misplaced += 1;
            self.report.note(|| {
                format!("partition {partition}, offset {offset}: record of partition {}", id.stream.partition)
            });
            return;
        }
        let index = self.stream_index(partition, id.stream);
        let stream = &mut self.streams[index];
        if id.sequence == stream.next {
            stream.next += 1;
        } else if id.sequence > stream.next {
            stream.missing.push(stream.next..id.sequence);
            stream.next = id.sequence + 1;
        } else if stream.fill(id.sequence) {
            self.report.reordered += 1;
            self.report.note(|| describe(partition, offset, &id, "comes after later ones"));
        } else {
            self.report.duplicated += 1;
            self.report.note(|| describe(partition, offset, &id, "was seen before"));
        }
    }

    /// Reading of `partition` starts again from its beginning (throughput runs that loop over hot data).
    pub(crate) fn restart_partition(&mut self, partition: u32) {
        self.partitions.remove(&partition);
        for stream in self.streams.iter_mut().filter(|stream| stream.key.partition == partition) {
            stream.next = 0;
            stream.missing.clear();
        }
    }

    /// Records an acknowledged batch that was not found.
    pub(crate) fn acked_lost(&mut self, records: u64, what: impl FnOnce() -> String) {
        self.report.acked_lost += records;
        self.report.note(what);
    }

    /// The verdict; `expected` is the number of records that must have been found, if known.
    pub(crate) fn finish(mut self, expected: Option<u64>) -> Violations {
        let mut found = 0;
        for stream in &self.streams {
            let missing: u64 = stream.missing.iter().map(|range| range.end - range.start).sum();
            found += stream.next - missing;
            if missing > 0 && !self.gaps_allowed {
                self.report.lost += missing;
                let first = stream.missing[0].start;
                let partition = stream.key.partition;
                self.report.note(|| {
                    format!("partition {partition}: {missing} records missing, the first is {first}")
                });
            }
        }
        if let Some(expected) = expected {
            let accounted = found + self.report.lost;
            self.report.lost += expected.saturating_sub(accounted);
            self.report.unexpected += accounted.saturating_sub(expected);
            if accounted != expected {
                self.report.note(|| format!("{found} records found of {expected} written"));
            }
        }
        self.report
    }

    fn stream_index(&mut self, partition: u32, key: StreamKey) -> usize {
        let view = self.partitions.entry(partition).or_insert(PartitionView::EMPTY);
        if let Some(index) = view.last_stream.filter(|&index| self.streams[index].key == key) {
            return index;
        }
        let index = *self.by_key.entry(key).or_insert_with(|| {
            self.streams.push(Stream { key, next: 0, missing: Vec::new() });
            self.streams.len() - 1
        });
        view.last_stream = Some(index);
        index
    }
}

impl PartitionView {
    const EMPTY: Self = Self { next_offset: None, last_stream: None };
}

impl Stream {
    /// Takes `sequence` out of the missing ones; false if it was not missing.
    fn fill(&mut self, sequence: u64) -> bool {
        let Some(at) = self.missing.iter().position(|range| range.contains(&sequence)) else {
            return false;
        };
        let range = self.missing.swap_remove(at);
        for part in [range.start..sequence, sequence + 1..range.end] {
            if !part.is_empty() {
                self.missing.push(part);
            }
        }
        true
    }
}

impl Violations {
    /// All violations together.
    pub(crate) fn total(&self) -> u64 {
        self.lost
            + self.reordered
            + self.duplicated
            + self.corrupt
            + self.misplaced
            + self.foreign
            + self.unexpected
            + self.offset_gaps
            + self.acked_lost
    }

    fn fault(&mut self, partition: u32, offset: i64, fault: RecordFault) {
        let what = match fault {
            RecordFault::Foreign => {
                self.foreign += 1;
                "was not written by loadgen"
            }
            RecordFault::Corrupt => {
                self.corrupt += 1;
                "fails its checksum"
            }
        };
        self.note(|| format!("partition {partition}, offset {offset}: record {what}"));
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(what());
        }
    }
}

fn describe(partition: u32, offset: i64, id: &RecordId, what: &str) -> String {
    let (sequence, producer) = (id.sequence, id.stream.producer);
    format!("partition {partition}, offset {offset}: record {sequence} of producer {producer} {what}")
}

const EXAMPLES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(partition: u32, sequence: u64) -> RecordId {
        RecordId { stream: StreamKey { run: 1, producer: 0, partition }, sequence, sent_ns: 0 }
    }

    /// Observes `sequences` at dense offsets of partition 0.
    fn judge(sequences: &[u64], gaps_allowed: bool, expected: Option<u64>) -> Violations {
        let mut verifier = Verifier::new(gaps_allowed);
        for (&sequence, offset) in sequences.iter().zip(0..) {
            verifier.batch(0, offset, offset, true);
            verifier.record(0, offset, Ok(id(0, sequence)));
        }
        verifier.finish(expected)
    }

    #[test]
    fn a_whole_stream_has_no_violations() {
        assert_eq!(judge(&[0, 1, 2, 3], false, Some(4)), Violations::default());
        assert_eq!(judge(&[], false, Some(0)), Violations::default());
    }

    #[test]
    fn loss_is_detected() {
        // (sequences read, records written, expected loss): in the middle, at the start, at the end, everything.
        for (sequences, expected, lost) in
            [(&[0, 1, 3][..], 4, 1), (&[2, 3], 4, 2), (&[0, 1], 4, 2), (&[], 4, 4), (&[0, 2], 5, 3)]
        {
            let violations = judge(sequences, false, Some(expected));
            assert_eq!((violations.lost, violations.total()), (lost, lost), "{sequences:?}");
            assert!(!violations.examples.is_empty());
        }
        assert_eq!(judge(&[0, 5], true, None).total(), 0, "gaps are allowed when outcomes are unknown");
    }

    #[test]
    fn more_records_than_written_are_detected() {
        let violations = judge(&[0, 1, 2], false, Some(2));
        assert_eq!((violations.unexpected, violations.total()), (1, 1));
    }

    #[test]
    fn reorder_is_detected() {
        for gaps_allowed in [false, true] {
            let violations = judge(&[0, 2, 1, 3], gaps_allowed, Some(4));
            assert_eq!((violations.reordered, violations.total()), (1, 1));
            let violations = judge(&[3, 1, 0, 2], gaps_allowed, Some(4));
            assert_eq!((violations.reordered, violations.total()), (3, 3));
        }
    }

    #[test]
    fn duplicates_are_detected() {
        for gaps_allowed in [false, true] {
            let violations = judge(&[0, 1, 1, 2, 0], gaps_allowed, Some(3));
            assert_eq!((violations.duplicated, violations.total()), (2, 2));
        }
    }

    #[test]
    fn corruption_is_detected() {
        let mut verifier = Verifier::new(false);
        verifier.batch(0, 0, 1, false);
        verifier.record(0, 0, Err(RecordFault::Corrupt));
        verifier.record(0, 1, Err(RecordFault::Foreign));
        let violations = verifier.finish(None);
        assert_eq!((violations.corrupt, violations.foreign), (2, 1));
    }

    #[test]
    fn misplaced_records_and_offset_gaps_are_detected() {
        let mut verifier = Verifier::new(false);
        verifier.batch(0, 0, 0, true);
        verifier.record(0, 0, Ok(id(1, 0)));
        verifier.batch(0, 2, 2, true);
        verifier.batch(0, 2, 2, true);
        let violations = verifier.finish(None);
        assert_eq!((violations.misplaced, violations.offset_gaps), (1, 2));
    }

    #[test]
    fn streams_are_judged_apart_and_may_be_read_again() {
        let mut verifier = Verifier::new(false);
        for pass in 0..2 {
            for (partition, sequence) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                verifier.record(partition, 0, Ok(id(partition, sequence)));
            }
            if pass == 0 {
                verifier.restart_partition(0);
                verifier.restart_partition(1);
            }
        }
        assert_eq!(verifier.finish(Some(4)), Violations::default());
    }
}
