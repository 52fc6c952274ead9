//! The result codes that a response tells.

use super::generated::ErrorCode;

/// How often each result code but NONE stands in a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    /// By code; few, as there are not many kinds in one response.
    counts: Vec<(i16, u64)>,
}

impl ErrorCounts {
    pub(super) const fn new() -> Self {
        Self { counts: Vec::new() }
    }

    /// One error, for a response that is never written.
    #[must_use]
    pub fn one(code: ErrorCode) -> Self {
        let mut counts = Self::new();
        counts.add(code.code());
        counts
    }

    /// Whether all went well.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Each code with its count; a number that Kafka does not know counts as UNKNOWN_SERVER_ERROR, as clients take it.
    pub fn iter(&self) -> impl Iterator<Item = (ErrorCode, u64)> {
        let known = |code| ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError);
        self.counts.iter().map(move |(code, count)| (known(*code), *count))
    }

    #[cold]
    pub(super) fn add(&mut self, code: i16) {
        match self.counts.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((code, 1)),
        }
    }
}
