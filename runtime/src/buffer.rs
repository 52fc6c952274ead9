//! Aligned memory: the chunks that logs append to, and buffers for direct reads.
//!
//! One copy of the data serves three readers: the kernel writes it to disk (O_DIRECT), tail fetches
//! are answered from it, and the log keeps it as its cache. That works because a chunk only grows: bytes below
//! [`AppendChunk::len`] never change, so slices of them may be shared with other shards and with the kernel.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use crossbeam::queue::ArrayQueue;

/// The unit of direct I/O: offsets, lengths and memory are multiples of it.
pub const PAGE_SIZE: usize = 4096;

/// The sizes that memory comes in, in bytes. A larger wish is rounded up to whole pages and not pooled.
const CLASSES: [usize; 7] = [PAGE_SIZE, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 2 << 20, 4 << 20];

/// Free regions kept per class; more are given back to the kernel.
const FREE_MAX: usize = 64;

/// Free bytes kept per class.
const FREE_BYTES_MAX: usize = 32 << 20;

/// The pool's budget is spent. Wait until something is freed, or refuse the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the buffer budget of {budget_bytes} bytes is spent: {used_bytes} in use, {wanted_bytes} more wanted"
)]
pub struct OverBudget {
    /// Bytes that were asked for.
    pub wanted_bytes: usize,
    /// Bytes handed out.
    pub used_bytes: usize,
    /// The limit.
    pub budget_bytes: usize,
}

/// Page-aligned memory of one shard, bounded by a budget. Clones share it. Memory may be dropped on any
/// thread and finds its way back.
#[derive(Clone)]
pub struct BufferPool {
    shared: Arc<Shared>,
}

struct Shared {
    budget_bytes: usize,
    used_bytes: AtomicUsize,
    /// Bytes handed out, and those that are free to be used again.
    mapped_bytes: AtomicUsize,
    free: [ArrayQueue<Region>; CLASSES.len()],
}

impl BufferPool {
    /// An empty pool that hands out at most `budget_bytes`.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        let free = CLASSES.map(|size| ArrayQueue::new((FREE_BYTES_MAX / size).min(FREE_MAX)));
        let (used_bytes, mapped_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { shared: Arc::new(Shared { budget_bytes, used_bytes, mapped_bytes, free }) }
    }

    /// A chunk of at least `size` bytes to append to.
    ///
    /// # Errors
    /// [`OverBudget`], nothing was allocated.
    pub fn chunk(&self, size: usize) -> Result<AppendChunk, OverBudget> {
        Ok(AppendChunk { memory: Arc::new(self.memory(size)?), len: 0 })
    }

    /// A buffer of at least `size` bytes to read into.
    ///
    /// # Errors
    /// [`OverBudget`], nothing was allocated.
    pub fn buffer(&self, size: usize) -> Result<AlignedBuf, OverBudget> {
        Ok(AlignedBuf { memory: self.memory(size)? })
    }

    /// The memory that a buffer or chunk of at least `size` bytes takes.
    #[must_use]
    pub fn size_of(size: usize) -> usize {
        class_of(size).map_or_else(|| size.next_multiple_of(PAGE_SIZE), |class| CLASSES[class])
    }

    /// Bytes handed out and not yet dropped.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.shared.used_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that the pool has: those handed out, and those kept to be used again. Never more than the limit, but for a
    /// moment.
    #[must_use]
    pub fn mapped_bytes(&self) -> usize {
        self.shared.mapped_bytes.load(Ordering::Relaxed)
    }

    /// The limit in bytes.
    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        self.shared.budget_bytes
    }

    fn memory(&self, size: usize) -> Result<Memory, OverBudget> {
        let (class, size) = (class_of(size), Self::size_of(size));
        let used = self.shared.used_bytes.fetch_add(size, Ordering::Relaxed);
        if used + size > self.shared.budget_bytes {
            self.shared.used_bytes.fetch_sub(size, Ordering::Relaxed);
            return Err(OverBudget {
                wanted_bytes: size,
                used_bytes: used,
                budget_bytes: self.shared.budget_bytes,
            });
        }
        let free = class.and_then(|class| self.shared.free[class].pop());
        let region = free.unwrap_or_else(|| {
            let mapped = self.shared.mapped_bytes.fetch_add(size, Ordering::Relaxed) + size;
            self.shared.unmap_free(mapped.saturating_sub(self.shared.budget_bytes));
            Region::new(size)
        });
        Ok(Memory { region: Some(region), class, pool: Arc::clone(&self.shared) })
    }
}

impl Shared {
    /// Gives at least so many free bytes back to the kernel, or as many as there are; the largest first.
    fn unmap_free(&self, bytes: usize) {
        let mut unmapped = 0;
        for free in self.free.iter().rev() {
            while unmapped < bytes
                && let Some(region) = free.pop()
            {
                unmapped += region.size;
                self.unmap(region);
            }
        }
    }

    fn unmap(&self, region: Region) {
        self.mapped_bytes.fetch_sub(region.size, Ordering::Relaxed);
        drop(region);
    }
}

fn class_of(size: usize) -> Option<usize> {
    CLASSES.iter().position(|&class| class >= size)
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferPool({} of {} bytes)", self.used_bytes(), self.budget_bytes())
    }
}

/// A buffer for one read. Its content is whatever stood there before; unique to its owner.
pub struct AlignedBuf {
    memory: Memory,
}

impl AlignedBuf {
    /// Bytes that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.size()
    }

    /// A part of the buffer, shared without a copy. The buffer lives until the last part is dropped.
    ///
    /// # Panics
    /// If the range does not lie in the buffer.
    #[must_use]
    pub fn into_bytes(self, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.capacity(), "range lies outside the buffer");
        Bytes::from_owner(self).slice(range)
    }

    /// Where the memory starts, for the kernel to write to.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.memory.start().as_ptr()
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the region is `size` initialised bytes (zeroed when allocated), and `self` is its only owner.
        unsafe { std::slice::from_raw_parts(self.memory.start().as_ptr(), self.memory.size()) }
    }
}

impl AsMut<[u8]> for AlignedBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_ref`, and `&mut self` makes the borrow exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start().as_ptr(), self.memory.size()) }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({})", self.capacity())
    }
}

/// Memory that only grows at its end.
///
/// Invariant: bytes below `len` never change again; bytes from `len` on are seen by nobody but the kernel,
/// which may be writing the padding of a page to disk.
pub struct AppendChunk {
    memory: Arc<Memory>,
    len: usize,
}

impl AppendChunk {
    /// Copies as much of `bytes` as fits to the end and returns how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.remaining());
        // SAFETY: `len <= size`, so the result stays within the region or one past its end.
        let end = unsafe { self.memory.start().add(self.len) };
        // SAFETY: `count` bytes from `end` on lie in the region and above `len`, where no slice reaches;
        // `&mut self` excludes a second appender; `bytes` cannot overlap since it is a shared borrow of other
        // memory or of bytes below `len`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), end.as_ptr(), count) };
        self.len += count;
        count
    }

    /// Bytes appended.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been appended.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit in all; a multiple of the page size.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.size()
    }

    /// Bytes that still fit.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.capacity() - self.len
    }

    /// Appended bytes, shared.
    ///
    /// # Panics
    /// If the range reaches behind [`AppendChunk::len`].
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> ChunkSlice {
        assert!(range.start <= range.end && range.end <= self.len, "range lies outside the appended bytes");
        ChunkSlice {
            memory: Arc::clone(&self.memory),
            start: range.start,
            len: range.len(),
            padded: range.len(),
        }
    }

    /// The whole pages that hold `range` of the appended bytes, to be written to disk; what lies behind the
    /// end of the appended bytes in the last page is set to zero first.
    ///
    /// # Panics
    /// If the range is empty or reaches behind [`AppendChunk::len`].
    #[must_use]
    pub fn pages(&mut self, range: Range<usize>) -> ChunkSlice {
        assert!(range.start < range.end && range.end <= self.len, "range lies outside the appended bytes");
        let start = range.start / PAGE_SIZE * PAGE_SIZE;
        let end = range.end.next_multiple_of(PAGE_SIZE);
        if end > self.len {
            // SAFETY: `len <= size`, so the result stays within the region.
            let tail = unsafe { self.memory.start().add(self.len) };
            // SAFETY: the bytes from `len` to the end of its page lie in the region, whose size is a multiple of
            // the page size; no slice reaches them.
            unsafe { std::ptr::write_bytes(tail.as_ptr(), 0, end - self.len) };
        }
        let readable = end.min(self.len) - start;
        ChunkSlice { memory: Arc::clone(&self.memory), start, len: readable, padded: end - start }
    }
}

impl fmt::Debug for AppendChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppendChunk({} of {})", self.len, self.capacity())
    }
}

/// A shared view of appended bytes; may be sent to other shards. Dereferences to the bytes.
#[derive(Clone)]
pub struct ChunkSlice {
    memory: Arc<Memory>,
    start: usize,
    len: usize,
    /// Bytes that a write takes: `len`, or up to the end of the last page.
    padded: usize,
}

impl ChunkSlice {
    /// Bytes that a write of this slice puts on disk.
    #[must_use]
    pub const fn write_len(&self) -> usize {
        self.padded
    }

    /// The slice as [`Bytes`], without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Where the bytes to be written start, for the kernel to read [`ChunkSlice::write_len`] bytes from.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        // SAFETY: `start` lies in the region, by construction in `AppendChunk`.
        unsafe { self.memory.start().add(self.start) }.as_ptr()
    }
}

impl Deref for ChunkSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes were below the chunk's `len` when the slice was made, so they are initialised and
        // never change; the `Arc` keeps the region alive.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for ChunkSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for ChunkSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkSlice({}, {} padded)", self.len, self.padded)
    }
}

/// A region that goes back to its pool when dropped.
struct Memory {
    region: Option<Region>,
    class: Option<usize>,
    pool: Arc<Shared>,
}

impl Memory {
    fn region(&self) -> &Region {
        self.region.as_ref().expect("taken only in drop")
    }

    fn start(&self) -> NonNull<u8> {
        self.region().start
    }

    fn size(&self) -> usize {
        self.region().size
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(region) = self.region.take() {
            self.pool.used_bytes.fetch_sub(region.size, Ordering::Relaxed);
            // A full list keeps no more.
            let unpooled = match self.class {
                Some(class) => self.pool.free[class].push(region).err(),
                None => Some(region),
            };
            if let Some(region) = unpooled {
                self.pool.unmap(region);
            }
        }
    }
}

/// Page-aligned memory, zeroed when allocated. Mapped, so that pages cost nothing until they are used; large
/// regions are aligned to huge pages, which makes direct I/O of a megabyte twice as fast.
struct Region {
    start: NonNull<u8>,
    size: usize,
}

/// The size of a huge page, and the least size of a region that asks for some.
const HUGE_PAGE: usize = 2 << 20;

// SAFETY: a region is plain memory without ties to a thread; who may touch which bytes is the business
// of its single owner (`AlignedBuf`) or of the append-only rule (`AppendChunk`).
unsafe impl Send for Region {}
// SAFETY: a shared region gives access to nothing but its address; see above.
unsafe impl Sync for Region {}

impl Region {
    fn new(size: usize) -> Self {
        let size = size.max(PAGE_SIZE).next_multiple_of(PAGE_SIZE);
        let start = if size < HUGE_PAGE { map(size) } else { map_huge(size) };
        Self { start, size }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        unmap(self.start, self.size);
    }
}

/// Maps zeroed memory of whole pages.
fn map(size: usize) -> NonNull<u8> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at a place of the kernel's choice touches no memory of ours.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
    match NonNull::new(start.cast::<u8>()) {
        Some(first) if start != libc::MAP_FAILED => first,
        _ => handle_alloc_error(Layout::from_size_align(size, PAGE_SIZE).expect("far below isize::MAX")),
    }
}

/// As [`map`], but starts at a huge page and asks for more of them.
fn map_huge(size: usize) -> NonNull<u8> {
    let mapped = map(size + HUGE_PAGE);
    let before = mapped.as_ptr().align_offset(HUGE_PAGE);
    // SAFETY: less than a huge page was added to the start of a mapping that is a huge page longer than `size`.
    let start = unsafe { mapped.add(before) };
    // SAFETY: `before + size` is at most the length of the mapping.
    let end = unsafe { start.add(size) };
    unmap(mapped, before);
    unmap(end, HUGE_PAGE - before);
    // SAFETY: the range lies in our mapping; the advice changes nothing but speed, so its failure does not matter.
    let _refused = unsafe { libc::madvise(start.as_ptr().cast(), size, libc::MADV_HUGEPAGE) };
    start
}

/// Gives whole pages of a mapping back.
fn unmap(start: NonNull<u8>, size: usize) {
    if size > 0 {
        // SAFETY: the callers own these pages of a mapping of ours, and nothing refers to them any more.
        let result = unsafe { libc::munmap(start.as_ptr().cast(), size) };
        debug_assert_eq!(result, 0, "whole pages of a mapping of ours");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_stay_as_they_were_while_the_chunk_grows() {
        let pool = BufferPool::new(1 << 20);
        let mut chunk = pool.chunk(PAGE_SIZE).unwrap();
        assert_eq!(chunk.append(b"first"), 5);
        let first = chunk.slice(0..5);
        let page = chunk.pages(0..5);
        assert_eq!((&*page, page.write_len()), (&b"first"[..], PAGE_SIZE));
        assert_eq!(chunk.append(&[7; PAGE_SIZE]), PAGE_SIZE - 5);
        assert_eq!(chunk.append(b"more"), 0);
        drop(chunk);
        assert_eq!(&*first, b"first");
        assert_eq!(first.into_bytes(), "first");
    }

    #[test]
    fn pages_start_at_the_page_that_holds_the_range() {
        let pool = BufferPool::new(1 << 20);
        let mut chunk = pool.chunk(16 << 10).unwrap();
        chunk.append(&vec![1; PAGE_SIZE + 10]);
        let pages = chunk.pages(PAGE_SIZE + 2..PAGE_SIZE + 10);
        assert_eq!((pages.len(), pages.write_len()), (10, PAGE_SIZE));
    }

    #[test]
    fn memory_comes_back_and_the_budget_holds() {
        let pool = BufferPool::new(3 * PAGE_SIZE);
        let held = (pool.buffer(1).unwrap(), pool.buffer(PAGE_SIZE).unwrap());
        assert_eq!(pool.buffer(2 * PAGE_SIZE).unwrap_err().used_bytes, 2 * PAGE_SIZE);
        let bytes = held.0.into_bytes(1..3);
        drop(held.1);
        assert_eq!(pool.used_bytes(), PAGE_SIZE);
        std::thread::spawn(move || drop(bytes)).join().unwrap();
        assert_eq!(pool.used_bytes(), 0);
        assert!(pool.buffer(CLASSES[0]).is_ok());
    }

    /// Free memory of one size makes way for another.
    #[test]
    fn what_is_kept_to_be_used_again_counts() {
        let pool = BufferPool::new(4 << 20);
        let small: Vec<_> = (0..4).map(|_| pool.buffer(1 << 20).unwrap()).collect();
        drop(small);
        assert_eq!((pool.used_bytes(), pool.mapped_bytes()), (0, 4 << 20));
        let large = pool.buffer(2 << 20).unwrap();
        assert_eq!((pool.used_bytes(), pool.mapped_bytes()), (2 << 20, 4 << 20));
        let odd = pool.buffer(PAGE_SIZE).unwrap();
        assert!(pool.mapped_bytes() <= 4 << 20);
        drop((large, odd));
        let whole = pool.buffer(4 << 20).unwrap();
        assert_eq!(pool.mapped_bytes(), 4 << 20);
        drop(whole);
    }
}
