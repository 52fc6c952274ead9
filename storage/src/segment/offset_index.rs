//! The sparse map from offsets to file positions of one segment (`.index`).
//!
//! On disk: entries of 8 bytes, big-endian: offset relative to the segment's base (4), position of the batch
//! (4). An entry names the *last* offset of the batch at its position, as Kafka's does.

use model::Offset;

/// The offset index of one segment, in memory.
///
/// Invariant: offsets and positions both rise strictly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OffsetIndex {
    base: Offset,
    entries: Vec<(u32, u32)>,
}

impl OffsetIndex {
    pub(crate) const ENTRY_SIZE: usize = 8;

    pub(crate) const fn new(base: Offset) -> Self {
        Self { base, entries: Vec::new() }
    }

    /// What a file holds, up to the first entry that cannot be: not rising, at or behind `offset_end`, or at or
    /// behind `position_end`.
    pub(crate) fn parse(base: Offset, bytes: &[u8], offset_end: Offset, position_end: u64) -> Self {
        let mut index = Self::new(base);
        for entry in bytes.chunks_exact(Self::ENTRY_SIZE) {
            let relative = u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]);
            let position = u32::from_be_bytes([entry[4], entry[5], entry[6], entry[7]]);
            let rises = index.entries.last().is_none_or(|&(r, p)| relative > r && position > p);
            let offset = base.plus(i64::from(relative));
            if !rises || position == 0 || offset >= offset_end || u64::from(position) >= position_end {
                break;
            }
            index.entries.push((relative, position));
        }
        index
    }

    /// Adds the batch that ends with `last_offset` and starts at `position`. Does nothing if either does not fit
    /// or does not rise: the index is sparse, a gap costs only a longer scan. Says whether there is an entry now.
    pub(crate) fn append(&mut self, last_offset: Offset, position: u64) -> bool {
        let relative = u32::try_from(last_offset.0 - self.base.0);
        let (Ok(relative), Ok(position)) = (relative, u32::try_from(position)) else { return false };
        let rises = self.entries.last().is_none_or(|&(r, p)| relative > r && position > p);
        if rises {
            self.entries.push((relative, position));
        }
        rises
    }

    /// The last entry at or below `offset`; the start of the segment if there is none.
    pub(crate) fn lookup(&self, offset: Offset) -> (Offset, u64) {
        let below = self.entries.partition_point(|&(r, _)| self.base.0 + i64::from(r) <= offset.0);
        below.checked_sub(1).map_or((self.base, 0), |i| self.entry(i))
    }

    pub(crate) fn last(&self) -> Option<(Offset, u64)> {
        self.entries.len().checked_sub(1).map(|i| self.entry(i))
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of the entries from number `from` on.
    pub(crate) fn encode(&self, from: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity((self.len() - from) * Self::ENTRY_SIZE);
        for (relative, position) in &self.entries[from..] {
            out.extend_from_slice(&relative.to_be_bytes());
            out.extend_from_slice(&position.to_be_bytes());
        }
        out
    }

    fn entry(&self, i: usize) -> (Offset, u64) {
        let (relative, position) = self.entries[i];
        (self.base.plus(i64::from(relative)), u64::from(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> OffsetIndex {
        let mut index = OffsetIndex::new(Offset(100));
        for (offset, position) in [(109, 5000), (119, 10_000), (119, 11_000), (118, 12_000), (130, 15_000)] {
            index.append(Offset(offset), position);
        }
        index
    }

    #[test]
    fn look_up_finds_the_entry_at_or_below() {
        let index = sample();
        for (offset, expect) in
            [(100, (100, 0)), (108, (100, 0)), (109, (109, 5000)), (129, (119, 10_000)), (500, (130, 15_000))]
        {
            assert_eq!(index.lookup(Offset(offset)), (Offset(expect.0), expect.1), "{offset}");
        }
    }

    #[test]
    fn parsing_stops_at_the_first_impossible_entry() {
        let index = sample();
        let mut bytes = index.encode(0);
        assert_eq!(OffsetIndex::parse(Offset(100), &bytes, Offset(1000), 1 << 20), index);
        assert_eq!(OffsetIndex::parse(Offset(100), &bytes, Offset(119), 1 << 20).len(), 1);
        assert_eq!(OffsetIndex::parse(Offset(100), &bytes, Offset(1000), 10_000).len(), 1);
        bytes.extend_from_slice(&[0; 24]);
        assert_eq!(OffsetIndex::parse(Offset(100), &bytes, Offset(1000), 1 << 20).len(), 3);
        assert_eq!(OffsetIndex::parse(Offset(100), &[0; 80], Offset(1000), 1 << 20).len(), 0);
        assert_eq!(OffsetIndex::parse(Offset(100), &bytes[..13], Offset(1000), 1 << 20).len(), 1);
    }
}
