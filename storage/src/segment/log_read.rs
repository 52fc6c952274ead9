//! What a read of a log is allowed to return, and what it yields.

use bytes::Bytes;
use model::Offset;
use runtime::{Disk, Effects};

/// What a read is allowed to return.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    /// At most so many bytes ...
    pub max_bytes: usize,
    /// ... but one batch in any case.
    pub min_one: bool,
    /// No batch that reaches behind this offset.
    pub up_to: Offset,
}

/// Record batches, whole ones, one behind the other.
pub struct LogRead<E: Effects> {
    /// The bytes, in order.
    pub parts: Vec<ReadPart<E>>,
    /// Bytes of all parts.
    pub size_bytes: usize,
    /// The log has more behind these bytes that might be read: the read has ended at a limit.
    pub more: bool,
}

impl<E: Effects> LogRead<E> {
    pub(crate) const fn nothing() -> Self {
        Self { parts: Vec::new(), size_bytes: 0, more: false }
    }
}

/// A piece of a read.
pub enum ReadPart<E: Effects> {
    /// Bytes in memory.
    Memory(MemoryPart),
    /// A range of a sealed segment's file, for sendfile.
    File {
        /// The file, opened for buffered reading.
        file: <E::Disk as Disk>::File,
        /// The first byte.
        position: u64,
        /// Bytes.
        length: u64,
    },
}

/// A slice of a larger piece of memory, all of which it keeps.
#[derive(Debug, Clone)]
pub struct MemoryPart {
    /// The bytes.
    pub bytes: Bytes,
    /// Bytes of the append chunk or the read buffer that they lie in.
    pub held_bytes: usize,
}
