//! The end of a segment in memory: the chunks that the commit loop writes to disk and that reads are
//! answered from.
//!
//! Chunks lie at page-aligned positions of the file, one behind the other. Marks say where batches
//! start; a batch without a mark is not readable here. A log at rest has no chunks: only what stands in the page that it
//! ends in is kept, outside the pool, to be rewritten with what follows. So a log that can be written has what the next
//! write needs, however many logs there are.

use std::collections::VecDeque;

use bytes::Bytes;
use model::Offset;
use runtime::buffer::{AppendChunk, BufferPool, ChunkSlice, OverBudget, PAGE_SIZE};

use crate::segment::PendingEnd;
use crate::segment::log_read::MemoryPart;

/// Sizes that chunks grow through, in bytes, while they fill quickly.
const CHUNK_SIZES: [usize; 4] = [16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// A chunk that fills within this time is followed by a larger one.
const FILLS_QUICKLY_MS: u64 = 250;

/// Where a batch in memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchMark {
    pub(crate) position: u64,
    pub(crate) base: Offset,
    pub(crate) next: Offset,
}

struct TailChunk {
    position: u64,
    chunk: AppendChunk,
}

impl TailChunk {
    fn end(&self) -> u64 {
        self.position + to_u64(self.chunk.len())
    }
}

/// The bytes of a segment from some position to its end.
///
/// Invariant: chunks are contiguous, all but the last full, the first at a page boundary; marks rise and lie
/// within the chunks; if there are chunks, nothing is parked.
#[derive(Default)]
pub(crate) struct Tail {
    /// The bytes of the page that a segment at rest ends in.
    parked: Box<[u8]>,
    chunks: VecDeque<TailChunk>,
    marks: VecDeque<BatchMark>,
    /// What was charged for `marks` and for the ends of batches that are not durable yet.
    marks_bytes: usize,
    size_class: usize,
    allocated_at_ms: u64,
}

impl Tail {
    /// Makes room for `length` bytes at the end of a segment of `size` bytes, by a chunk of at most `chunk_max` bytes
    /// if `length` does not need more.
    pub(crate) fn reserve(
        &mut self,
        pool: &BufferPool,
        size: u64,
        length: usize,
        chunk_max: usize,
        now_ms: u64,
    ) -> Result<(), OverBudget> {
        self.marks.reserve(1);
        self.charge_marks();
        let remaining = self.remaining();
        if remaining >= length {
            return Ok(());
        }
        let class = self.next_class(now_ms);
        let wanted = self.parked.len() + length - remaining;
        let mut chunk = pool
            .chunk(wanted.max(CHUNK_SIZES[class].min(chunk_max)))
            .or_else(|_| pool.chunk(wanted.next_multiple_of(PAGE_SIZE)))?;
        // The last chunk is full when the new one receives its first byte, so that the new one starts where the
        // last one's capacity ends.
        let position = self
            .chunks
            .back()
            .map_or(size - to_u64(self.parked.len()), |last| last.position + to_u64(last.chunk.capacity()));
        assert!(position.is_multiple_of(to_u64(PAGE_SIZE)), "chunks start at pages");
        chunk.append(&std::mem::take(&mut self.parked));
        (self.size_class, self.allocated_at_ms) = (class, now_ms);
        self.chunks.push_back(TailChunk { position, chunk });
        Ok(())
    }

    /// The size that the next chunk best has; 0 if `length` bytes need no other chunk.
    pub(crate) fn chunk_wanted(&self, length: usize, now_ms: u64) -> usize {
        if self.remaining() >= length { 0 } else { length.max(CHUNK_SIZES[self.next_class(now_ms)]) }
    }

    fn remaining(&self) -> usize {
        self.chunks.back().map_or(0, |last| last.chunk.remaining())
    }

    fn next_class(&self, now_ms: u64) -> usize {
        let since = now_ms.saturating_sub(self.allocated_at_ms);
        match () {
            () if self.chunks.is_empty() || since > 40 * FILLS_QUICKLY_MS => 0,
            () if since < FILLS_QUICKLY_MS => (self.size_class + 1).min(CHUNK_SIZES.len() - 1),
            () => self.size_class,
        }
    }

    /// Takes what stands in the page that the segment ends in, read from disk.
    pub(crate) fn park(&mut self, page: &[u8]) {
        assert!(self.chunks.is_empty() && page.len() < PAGE_SIZE, "loads the last page");
        self.parked = page.into();
    }

    /// Appends a batch of two parts, for which [`Tail::reserve`] has made room.
    pub(crate) fn append(&mut self, mark: BatchMark, header: &[u8], records: &[u8]) {
        for mut part in [header, records] {
            while !part.is_empty() {
                let at = self.chunks.partition_point(|chunk| chunk.chunk.remaining() == 0);
                let chunk = self.chunks.get_mut(at).expect("room was reserved");
                part = &part[chunk.chunk.append(part)..];
            }
        }
        self.marks.push_back(mark);
    }

    /// The pages that hold the bytes from `from` to `to`, to be written at the page that holds `from`.
    pub(crate) fn pages(&mut self, from: u64, to: u64) -> Vec<ChunkSlice> {
        self.chunks
            .iter_mut()
            .filter_map(|chunk| {
                let start = from.max(chunk.position);
                let end = to.min(chunk.end());
                (start < end)
                    .then(|| chunk.chunk.pages(within(chunk.position, start)..within(chunk.position, end)))
            })
            .collect()
    }

    /// The bytes from `from` to `to`, shared.
    pub(crate) fn slices(&self, from: u64, to: u64) -> Vec<Bytes> {
        self.parts(from, to).into_iter().map(|part| part.bytes).collect()
    }

    /// The bytes from `from` to `to`, shared, with the chunks that they keep.
    pub(crate) fn parts(&self, from: u64, to: u64) -> Vec<MemoryPart> {
        let first = self.chunks.partition_point(|chunk| chunk.end() <= from);
        self.chunks
            .range(first..)
            .take_while(|chunk| chunk.position < to)
            .map(|chunk| {
                let start = within(chunk.position, from.max(chunk.position));
                let end = within(chunk.position, to.min(chunk.end()));
                let bytes = chunk.chunk.slice(start..end).into_bytes();
                MemoryPart { bytes, held_bytes: chunk.chunk.capacity() }
            })
            .collect()
    }

    /// The batch that holds `offset`, if it is in memory, and its number among the marks.
    pub(crate) fn find(&self, offset: Offset) -> Option<(usize, BatchMark)> {
        let at = self.marks.partition_point(|mark| mark.next <= offset);
        let mark = *self.marks.get(at)?;
        // Compaction may have left the first batch of a segment at a later offset.
        (at > 0 || mark.base <= offset || mark.position == 0).then_some((at, mark))
    }

    /// The end of the run of whole batches from mark `first` on that has at most `max_bytes` and does not reach
    /// behind `up_to`; `size` is where the segment ends.
    pub(crate) fn run_end(
        &self,
        first: usize,
        max_bytes: u64,
        min_one: bool,
        up_to: Offset,
        size: u64,
    ) -> u64 {
        let end_of = |at: usize| self.marks.get(at + 1).map_or(size, |next| next.position);
        let start = self.marks[first].position;
        let visible = self.marks.partition_point(|mark| mark.next <= up_to);
        if visible <= first {
            return start;
        }
        let limit = start.saturating_add(max_bytes);
        let below = self.marks.partition_point(|mark| mark.position <= limit);
        // The mark at or below the limit starts a batch that may end behind it.
        let mut last = below.min(visible) - 1;
        if end_of(last) > limit {
            match last.checked_sub(1) {
                Some(before) if last > first => last = before,
                _ if min_one => {}
                _ => return start,
            }
        }
        end_of(last)
    }

    /// The offset of the batch that starts at `position`.
    pub(crate) fn next_at(&self, position: u64) -> Option<Offset> {
        let at = self.marks.partition_point(|mark| mark.position < position);
        self.marks.get(at).map(|mark| mark.base)
    }

    /// Bytes of all chunks, and of what is remembered of the batches in them.
    pub(crate) fn capacity(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.chunk.capacity()).sum::<usize>() + self.marks_bytes
    }

    /// Small batches take as much for their marks as for themselves.
    fn charge_marks(&mut self) {
        self.marks_bytes = self.marks.capacity() * MARK_BYTES;
    }

    /// Drops the first chunk, if all of it is durable; returns the bytes freed.
    pub(crate) fn evict_first(&mut self, durable: u64) -> Option<usize> {
        let first = self.chunks.front()?;
        if first.chunk.remaining() > 0 || first.end() > durable {
            return None;
        }
        let freed = first.chunk.capacity();
        let end = first.end();
        self.chunks.pop_front();
        let gone = self.marks.partition_point(|mark| mark.position < end);
        self.marks.drain(..gone);
        if self.marks.len() < self.marks.capacity() / 4 {
            self.marks.shrink_to(self.marks.len() * 2);
        }
        // What an append of several batches has added since is charged by the next one.
        self.marks_bytes = self.marks_bytes.min(self.marks.capacity() * MARK_BYTES);
        Some(freed)
    }

    /// Keeps only what stands in the page that the segment ends in. All must be durable.
    pub(crate) fn shrink(&mut self, size: u64) {
        if !self.chunks.is_empty() {
            let page = self.slices(size - size % to_u64(PAGE_SIZE), size).concat();
            *self = Self::default();
            self.park(&page);
        }
    }

    /// Whether something is kept for a next write.
    pub(crate) fn is_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Lets go of what is kept for the next write, of which there will be none.
    pub(crate) fn unpark(&mut self) {
        self.parked = Box::default();
    }

    /// Drops everything; the segment takes no more appends.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn check_invariants(&self, size: u64) {
        for (a, b) in self.chunks.iter().zip(self.chunks.iter().skip(1)) {
            assert_eq!(a.position + to_u64(a.chunk.capacity()), b.position);
            assert!(a.chunk.remaining() == 0 || b.chunk.is_empty());
        }
        let end = self.chunks.iter().filter(|chunk| !chunk.chunk.is_empty()).map(TailChunk::end).max();
        assert!(end.is_none_or(|end| end == size), "{end:?} {size}");
        assert!(self.marks.iter().is_sorted_by(|a, b| a.position < b.position && a.next <= b.base));
        assert!(self.parked.is_empty() || self.chunks.is_empty());
        assert!(self.parked.is_empty() || to_u64(self.parked.len()) == size % to_u64(PAGE_SIZE));
        let start = self.chunks.front().map_or(size, |chunk| chunk.position);
        assert!(self.marks.front().is_none_or(|mark| mark.position >= start));
    }
}

/// What a batch takes beside its bytes.
const MARK_BYTES: usize = size_of::<BatchMark>() + size_of::<PendingEnd>();

fn within(start: u64, position: u64) -> usize {
    usize::try_from(position - start).expect("chunks fit in memory")
}

pub(crate) fn to_u64(size: usize) -> u64 {
    u64::try_from(size).expect("usize fits in u64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(sizes: &[usize]) -> (Tail, u64, BufferPool) {
        let pool = BufferPool::new(64 << 20);
        let mut tail = Tail::default();
        let mut size = 0;
        for (i, &length) in sizes.iter().enumerate() {
            let base = Offset(i64::try_from(i).unwrap());
            tail.reserve(&pool, size, length, 1 << 20, 0).unwrap();
            let bytes = vec![u8::try_from(i % 251).unwrap(); length];
            tail.append(BatchMark { position: size, base, next: base.plus(1) }, &bytes[..7], &bytes[7..]);
            size += to_u64(length);
            tail.check_invariants(size);
        }
        (tail, size, pool)
    }

    #[test]
    fn batches_run_across_chunks() {
        let (tail, size, _pool) = tail(&[10_000; 50]);
        let all = tail.slices(0, size).concat();
        assert!(all.chunks(10_000).enumerate().all(|(i, batch)| batch.iter().all(|&b| usize::from(b) == i)));
        assert_eq!(tail.slices(9_999, 10_001).concat(), [0, 1]);
    }

    #[test]
    fn runs_are_whole_batches_within_the_limits() {
        let (tail, size, _pool) = tail(&[100, 200, 300]);
        // (first, max_bytes, min_one, up_to, end)
        for (first, max, min_one, up_to, end) in [
            (0, 1000, false, 3, 600),
            (0, 600, false, 3, 600),
            (0, 599, false, 3, 300),
            (0, 300, false, 3, 300),
            (0, 99, false, 3, 0),
            (0, 99, true, 3, 100),
            (0, 0, true, 3, 100),
            (0, 1000, true, 1, 100),
            (0, 1000, true, 0, 0),
            (1, 1000, true, 2, 300),
            (1, 199, true, 3, 300),
            (1, 199, false, 3, 100),
            (2, 1, true, 3, 600),
            (2, 1, true, 2, 300),
        ] {
            assert_eq!(
                tail.run_end(first, max, min_one, Offset(up_to), size),
                end,
                "{first} {max} {min_one} {up_to}"
            );
        }
    }

    #[test]
    fn what_is_remembered_of_small_batches_is_charged() {
        let (mut tail, size, pool) = tail(&[100; 20_000]);
        let chunks = pool.used_bytes();
        assert!(tail.capacity() >= chunks + 20_000 * MARK_BYTES, "{} and {chunks}", tail.capacity());
        let mut before = tail.capacity();
        while tail.evict_first(size).is_some() {
            assert!(tail.capacity() < before);
            before = tail.capacity();
        }
        assert!(tail.capacity() < (4 << 20) / 10 * 4, "most of it is given back: {}", tail.capacity());
        tail.shrink(size);
        assert_eq!(tail.capacity(), 0);
    }

    #[test]
    fn eviction_and_shrinking_keep_what_must_be_rewritten() {
        let (mut tail, size, pool) = tail(&[10_000; 5]);
        assert_eq!(tail.evict_first(16_383), None);
        assert_eq!(tail.evict_first(16_384), Some(16_384));
        tail.check_invariants(size);
        assert_eq!(tail.find(Offset(1)), None);
        assert_eq!(tail.find(Offset(2)).unwrap().1.position, 20_000);
        tail.shrink(size);
        tail.check_invariants(size);
        assert_eq!((tail.capacity(), tail.find(Offset(4)), pool.used_bytes()), (0, None, 0));
        tail.reserve(&pool, size, 100, 1 << 20, 0).unwrap();
        tail.append(BatchMark { position: size, base: Offset(5), next: Offset(6) }, &[5; 7], &[5; 93]);
        tail.check_invariants(size + 100);
        let pages = tail.pages(size, size + 100);
        assert_eq!(&*pages[0], [&[4u8; 848][..], &[5; 100]].concat(), "the whole page is written again");
        assert_eq!(tail.slices(size, size + 100).concat(), [5; 100]);
    }
}
