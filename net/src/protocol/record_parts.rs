//! Record batches inside a response or a request that we send: bytes that stay where they are.

use bytes::Bytes;

/// One run of record bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordsPart {
    /// Bytes in memory.
    Memory(Bytes),
    /// Bytes elsewhere, which the sender of the response knows by a token (a range of a file, for sendfile).
    External {
        /// What the sender knows them by.
        token: u64,
        /// How many bytes there are.
        length: u32,
    },
}

impl RecordsPart {
    /// How many bytes the part has.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::External { length, .. } => *length as usize,
        }
    }

    /// Whether the part has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The record batches of one partition, in parts that follow one another on the wire. Never copied into the
/// response's own buffer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Records {
    parts: Vec<RecordsPart>,
}

impl Records {
    /// No records.
    #[must_use]
    pub const fn new() -> Self {
        Self { parts: Vec::new() }
    }

    /// Appends a part; an empty one is left out.
    pub fn push(&mut self, part: RecordsPart) {
        if !part.is_empty() {
            self.parts.push(part);
        }
    }

    /// The parts in order. None is empty.
    #[must_use]
    pub fn parts(&self) -> &[RecordsPart] {
        &self.parts
    }

    /// How many bytes all parts have.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(RecordsPart::len).sum()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        let mut records = Self::new();
        records.push(RecordsPart::Memory(bytes));
        records
    }
}

impl FromIterator<RecordsPart> for Records {
    fn from_iter<I: IntoIterator<Item = RecordsPart>>(parts: I) -> Self {
        let mut records = Self::new();
        parts.into_iter().for_each(|part| records.push(part));
        records
    }
}
