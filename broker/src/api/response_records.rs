//! Records that stand in a response: in memory until the socket takes nothing for a while; then only what is needed to read
//! them again is kept.

use bytes::Bytes;
use model::{Offset, PartitionId, TopicId};
use runtime::budget::BudgetWatch;

/// Where records can be read again.
#[derive(Debug, Clone)]
pub struct RecordSource {
    /// The shard that owns the partition.
    pub owner: usize,
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionId,
    /// The memory that the records lie in.
    pub memory: BudgetWatch,
}

/// Whole batches of one partition, in memory.
#[derive(Debug, Clone)]
pub struct ResponseRecords {
    /// The bytes, in order; a batch may lie in several pieces.
    pub pieces: Vec<Bytes>,
    /// Where they are from.
    pub source: RecordSource,
}

/// Batches of which not all has been sent, and which are not in memory.
#[derive(Debug, Clone)]
pub(crate) struct Unsent {
    pub(crate) source: RecordSource,
    /// Where the first of them starts in the log.
    pub(crate) offset: Offset,
    /// Bytes of it that have been sent.
    pub(crate) skip: usize,
    /// Bytes of all, with those that have been sent.
    pub(crate) length: usize,
}

impl ResponseRecords {
    /// Bytes of all batches.
    #[must_use]
    pub fn length(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Lets go of the bytes, of which `sent` have been sent; `None` if that is all.
    pub(crate) fn let_go(self, sent: usize) -> Option<Unsent> {
        let length = self.length();
        let Place { start, offset } = place_of(&self.pieces, sent)?;
        (sent < length).then(|| Unsent {
            source: self.source,
            offset,
            skip: sent - start,
            length: length - start,
        })
    }
}

impl Unsent {
    /// What is left when the first `read` bytes have been read again and sent up to `sent` of them.
    pub(crate) fn advance(&mut self, read: &[Bytes], sent: usize) -> Option<()> {
        let Place { start, offset } = place_of(read, sent)?;
        (self.offset, self.skip) = (offset, sent - start);
        self.length = self.length.checked_sub(start)?;
        Some(())
    }
}

/// A batch among pieces.
struct Place {
    start: usize,
    offset: Offset,
}

/// The batch that holds byte `at`, or the one that would follow. `None` if these are not whole batches.
fn place_of(pieces: &[Bytes], at: usize) -> Option<Place> {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let mut place = Place { start: 0, offset: Offset(0) };
    while place.start < length {
        let mut header = [0; HEADER_BYTES];
        copy_from(pieces, place.start, &mut header)?;
        let base = i64::from_be_bytes(header[..8].try_into().ok()?);
        let size = usize::try_from(i32::from_be_bytes(header[8..12].try_into().ok()?)).ok()? + SIZE_END;
        let end = place.start.checked_add(size).filter(|end| *end <= length)?;
        place.offset = Offset(base);
        if at < end {
            return Some(place);
        }
        let delta = i32::from_be_bytes(header[23..27].try_into().ok()?);
        place = Place { start: end, offset: Offset(base).plus(i64::from(delta) + 1) };
    }
    (at == length).then_some(place)
}

/// Copies bytes that may lie in several pieces.
fn copy_from(pieces: &[Bytes], at: usize, into: &mut [u8]) -> Option<()> {
    let (mut skip, mut filled) = (at, 0);
    for piece in pieces {
        let from = skip.min(piece.len());
        skip -= from;
        let count = (piece.len() - from).min(into.len() - filled);
        into[filled..filled + count].copy_from_slice(&piece[from..from + count]);
        filled += count;
    }
    (filled == into.len()).then_some(())
}

/// As much of a batch's header as says where the next batch starts.
const HEADER_BYTES: usize = 27;

/// A batch's size counts what follows it.
const SIZE_END: usize = 12;

#[cfg(test)]
mod tests {
    use model::RecordBatchBuilder;

    use super::*;

    /// Three batches of one, two and three records, in pieces of `size` bytes.
    fn batches(size: usize) -> (Vec<Bytes>, Vec<usize>) {
        let (mut all, mut starts) = (Vec::new(), Vec::new());
        let mut next = 10;
        for count in 1..=3_i64 {
            let mut builder = RecordBatchBuilder::new(Offset(next));
            for _ in 0..count {
                builder = builder.record(1, None, Some(b"value"));
            }
            starts.push(all.len());
            all.extend_from_slice(&builder.build());
            next += count;
        }
        starts.push(all.len());
        (all.chunks(size).map(Bytes::copy_from_slice).collect(), starts)
    }

    #[test]
    fn every_byte_finds_its_batch() {
        for size in [1, 7, 30, 1_000] {
            let (pieces, starts) = batches(size);
            let offsets = [10, 11, 13, 16];
            for at in 0..=starts[3] {
                let place = place_of(&pieces, at).expect("whole batches");
                let batch = starts.iter().rposition(|start| *start <= at).expect("the first starts at 0");
                assert_eq!(
                    (place.start, place.offset.0),
                    (starts[batch], offsets[batch]),
                    "byte {at} of {size}"
                );
            }
            assert!(place_of(&pieces, starts[3] + 1).is_none());
        }
        let (mut pieces, _) = batches(1_000);
        let cut = pieces[0].slice(..pieces[0].len() - 1);
        pieces[0] = cut;
        assert!(place_of(&pieces, usize::MAX).is_none());
    }
}
