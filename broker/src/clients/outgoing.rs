//! What waits to be sent on a connection, in order: bytes, records, and ranges of files.

use bytes::Bytes;
use net::protocol::Segment;
use runtime::Effects;

use crate::api::reply::{ExternalPart, FilePart};
use crate::api::response_records::{ResponseRecords, Unsent};

/// A part of what is to be sent.
pub(crate) enum Outgoing<E: Effects> {
    Bytes(Bytes),
    Records(ResponseRecords),
    Unsent(Unsent),
    File(FilePart<E>),
}

impl<E: Effects> Outgoing<E> {
    pub(crate) fn new(segment: Segment, external: impl FnOnce(u64) -> ExternalPart<E>) -> Self {
        match segment {
            Segment::Bytes(bytes) => Self::Bytes(bytes),
            Segment::External { token, .. } => match external(token) {
                ExternalPart::File(part) => Self::File(part),
                ExternalPart::Records(records) => Self::Records(records),
            },
        }
    }

    /// What is in memory.
    pub(crate) fn pieces(&self) -> &[Bytes] {
        match self {
            Self::Bytes(bytes) => std::slice::from_ref(bytes),
            Self::Records(records) => &records.pieces,
            Self::Unsent(_) | Self::File(_) => &[],
        }
    }

    /// Keeps nothing of records but what is needed to read them again. The first `sent` bytes are gone; `None` if nothing
    /// is left.
    pub(crate) fn let_go(self, sent: usize) -> Option<Self> {
        match self {
            Self::Bytes(bytes) => (sent < bytes.len()).then(|| Self::Bytes(bytes.slice(sent..))),
            Self::Records(records) => records.let_go(sent).map(Self::Unsent),
            other => Some(other),
        }
    }
}
