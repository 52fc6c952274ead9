//! What the partitions of a fetch answer.

use net::protocol::ErrorCode;
use runtime::Effects;

use crate::api::fetch::read::Part;
use crate::api::fetch::session::Trouble;
use crate::api::response_records::RecordSource;
use crate::replicas::CurrentLeader;

/// The limits that all partitions of a request share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_bytes: usize,
    pub(super) min_bytes: usize,
    pub(super) committed_only: bool,
}

/// What one partition answers.
pub(super) struct Fetched<E: Effects> {
    pub(super) slot: usize,
    pub(super) error: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) log_start: i64,
    pub(super) current_leader: Option<CurrentLeader>,
    pub(super) diverging: Option<(i32, i64)>,
    /// The client has to hear of it at once.
    pub(super) urgent: bool,
    /// There was no memory for what there is.
    pub(super) starved: bool,
    pub(super) source: Option<RecordSource>,
    pub(super) parts: Vec<Part<E>>,
    pub(super) bytes: usize,
    /// What counts for `min_bytes`: where there is more than could be read at once, all that is asked for.
    pub(super) counted: usize,
}

impl<E: Effects> Fetched<E> {
    pub(super) fn failed(slot: usize, error: ErrorCode) -> Self {
        Self {
            slot,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start: -1,
            current_leader: None,
            diverging: None,
            urgent: false,
            starved: false,
            source: None,
            parts: Vec::new(),
            bytes: 0,
            counted: 0,
        }
    }

    /// Leaves the records for the next request.
    pub(super) fn leave(&mut self) {
        self.parts.clear();
        (self.bytes, self.counted) = (0, 0);
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        let diverging = self.diverging.map(|(epoch, end)| Trouble::Diverging(epoch, end));
        if self.error == ErrorCode::None { diverging } else { Some(Trouble::Error(self.error)) }
    }
}

/// Whether something could not be read for want of memory.
pub(super) fn is_starved<E: Effects>(fetched: &[Fetched<E>]) -> bool {
    fetched.iter().any(|answer| answer.starved)
}

/// Whether there is enough to answer with.
pub(super) fn enough<E: Effects>(fetched: &[Fetched<E>], limits: Limits) -> bool {
    let bytes: usize = fetched.iter().map(|answer| answer.counted).sum();
    bytes >= limits.min_bytes || fetched.iter().any(|answer| answer.urgent)
}

/// Puts the answers in the order of the wishes. Every shard has read up to the limit of the whole request; what is
/// too much together stays for the next one.
pub(super) fn trim<E: Effects>(mut fetched: Vec<Fetched<E>>, max_bytes: usize) -> Vec<Fetched<E>> {
    fetched.sort_by_key(|answer| answer.slot);
    let mut total = 0;
    for answer in &mut fetched {
        if total > 0 && total + answer.bytes > max_bytes {
            answer.leave();
        }
        total += answer.bytes;
    }
    fetched
}
