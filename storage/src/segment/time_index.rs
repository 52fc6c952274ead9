//! The sparse map from timestamps to offsets of one segment (`.timeindex`).
//!
//! On disk: entries of 12 bytes, big-endian: timestamp (8), offset relative to the segment's base (4). An entry
//! says: no record up to and including that offset has a larger timestamp.

use model::Offset;

/// The time index of one segment, in memory.
///
/// Invariant: timestamps rise strictly, offsets do not fall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeIndex {
    base: Offset,
    entries: Vec<(i64, u32)>,
}

/// What a time index file says of the first part of a segment: its largest timestamp, and the last offset of its batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimesClaim {
    pub(crate) timestamp: i64,
    pub(crate) offset: Offset,
    /// Where that part ends in the `.log`.
    pub(crate) end: u64,
}

impl TimeIndex {
    pub(crate) const ENTRY_SIZE: usize = 12;

    pub(crate) const fn new(base: Offset) -> Self {
        Self { base, entries: Vec::new() }
    }

    /// What a file holds, up to the first entry that cannot be.
    pub(crate) fn parse(base: Offset, bytes: &[u8], offset_end: Offset) -> Self {
        let mut index = Self::new(base);
        for entry in bytes.chunks_exact(Self::ENTRY_SIZE) {
            let (timestamp, relative) = entry.split_at(8);
            let timestamp = i64::from_be_bytes(timestamp.try_into().expect("split at 8"));
            let relative = u32::from_be_bytes(relative.try_into().expect("12 - 8 bytes"));
            let rises = index.entries.last().is_none_or(|&(t, r)| timestamp > t && relative >= r);
            let padding = timestamp == 0 && relative == 0;
            if !rises || padding || timestamp < 0 || base.plus(i64::from(relative)) >= offset_end {
                break;
            }
            index.entries.push((timestamp, relative));
        }
        index
    }

    /// Notes that `timestamp`, at `offset`, is the largest so far; nothing if it is not larger than the last entry.
    pub(crate) fn maybe_append(&mut self, timestamp: i64, offset: Offset) {
        let Some(relative) = self.relative(timestamp, offset) else { return };
        if self.entries.last().is_none_or(|&(t, r)| timestamp > t && relative >= r) {
            self.entries.push((timestamp, relative));
        }
    }

    /// Whether the index says of the records up to `offset`, with the largest timestamp at that, all that it can say.
    pub(crate) fn covers(&self, timestamp: i64, offset: Offset) -> bool {
        self.relative(timestamp, offset).is_none() || self.last().is_some_and(|(last, _)| last >= timestamp)
    }

    /// What an entry has for `offset`; `None` if there can be no such entry.
    fn relative(&self, timestamp: i64, offset: Offset) -> Option<u32> {
        let relative = u32::try_from(offset.0 - self.base.0).ok()?;
        // Kafka's files are padded with zeros, so it skips entries of timestamp and offset zero too.
        (timestamp >= 0 && (timestamp, relative) != (0, 0)).then_some(relative)
    }

    /// The last entry with a timestamp at or below `timestamp`; the start of the segment if there is none.
    pub(crate) fn lookup(&self, timestamp: i64) -> (i64, Offset) {
        let below = self.entries.partition_point(|&(t, _)| t <= timestamp);
        below.checked_sub(1).map_or((-1, self.base), |i| self.entry(i))
    }

    pub(crate) fn last(&self) -> Option<(i64, Offset)> {
        self.entries.len().checked_sub(1).map(|i| self.entry(i))
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of the entries from number `from` on.
    pub(crate) fn encode(&self, from: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity((self.len() - from) * Self::ENTRY_SIZE);
        for (timestamp, relative) in &self.entries[from..] {
            out.extend_from_slice(&timestamp.to_be_bytes());
            out.extend_from_slice(&relative.to_be_bytes());
        }
        out
    }

    fn entry(&self, i: usize) -> (i64, Offset) {
        let (timestamp, relative) = self.entries[i];
        (timestamp, self.base.plus(i64::from(relative)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rising_timestamps_are_kept_and_found() {
        let mut index = TimeIndex::new(Offset(10));
        for (timestamp, offset) in [(-1, 10), (100, 12), (100, 15), (90, 16), (200, 20)] {
            index.maybe_append(timestamp, Offset(offset));
        }
        assert_eq!(index.len(), 2);
        for (timestamp, expect) in [(99, (-1, 10)), (100, (100, 12)), (199, (100, 12)), (900, (200, 20))] {
            assert_eq!(index.lookup(timestamp), (expect.0, Offset(expect.1)), "{timestamp}");
        }
        let mut bytes = index.encode(0);
        bytes.extend_from_slice(&[0; 30]);
        assert_eq!(TimeIndex::parse(Offset(10), &bytes, Offset(100)), index);
        assert_eq!(TimeIndex::parse(Offset(10), &bytes, Offset(20)).len(), 1);
    }
}
