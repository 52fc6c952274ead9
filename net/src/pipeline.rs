//! The requests of one connection that are being worked on: which may start, and in which order responses leave.
//!
//! Kafka works on one request of a connection at a time. Here Produce requests may overlap one another, because each
//! waits for the disk and their effects are ordered by the partition; any other request starts when all before it have
//! completed, and nothing starts while it runs. Responses leave in the order of the requests, whatever completes first.

use std::collections::VecDeque;

use crate::protocol::{ApiKey, Segment};

/// Whether a request may run beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// Beside others of its kind.
    Overlapping,
    /// Alone.
    Exclusive,
}

impl Concurrency {
    /// The rule for a request of this API; `None` for an API that is not known.
    #[must_use]
    pub const fn of(api_key: Option<ApiKey>) -> Self {
        match api_key {
            Some(ApiKey::Produce) => Self::Overlapping,
            _ => Self::Exclusive,
        }
    }
}

/// A request's place in the order of responses. It is given up to [`Pipeline::complete`], so that a request is
/// answered at most once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a request that is never completed holds back all responses behind it"]
pub struct Turn(u64);

/// Requests in flight and responses that wait for their turn or for the socket.
///
/// Invariant: `running` entries of `entries` are `Running`; when one of them is exclusive, it is the only one.
#[derive(Debug)]
pub struct Pipeline {
    /// In the order of the requests; the front one has turn number `front`.
    entries: VecDeque<Entry>,
    front: u64,
    running: usize,
    exclusive_running: bool,
    /// Bytes of responses that have not been reported as sent.
    out_bytes: usize,
    in_flight_max: usize,
    out_bytes_max: usize,
}

#[derive(Debug)]
enum Entry {
    Running,
    /// Completed; empty when the request has no response.
    Done(Vec<Segment>),
}

impl Pipeline {
    /// At most `in_flight_max` requests without an outgoing response, and no new ones while `out_bytes_max` bytes or
    /// more wait to be sent.
    #[must_use]
    pub fn new(in_flight_max: usize, out_bytes_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            front: 0,
            running: 0,
            exclusive_running: false,
            out_bytes: 0,
            in_flight_max: in_flight_max.max(1),
            out_bytes_max: out_bytes_max.max(1),
        }
    }

    /// Whether a request of this kind may start now.
    #[must_use]
    pub fn may_start(&self, concurrency: Concurrency) -> bool {
        let has_room = self.entries.len() < self.in_flight_max && self.out_bytes < self.out_bytes_max;
        let undisturbed = match concurrency {
            Concurrency::Overlapping => !self.exclusive_running,
            Concurrency::Exclusive => self.running == 0,
        };
        has_room && undisturbed
    }

    /// Starts a request, if it may start now.
    pub fn begin(&mut self, concurrency: Concurrency) -> Option<Turn> {
        if !self.may_start(concurrency) {
            return None;
        }
        let turn = Turn(self.front + self.entries.len() as u64);
        self.entries.push_back(Entry::Running);
        self.running += 1;
        self.exclusive_running = concurrency == Concurrency::Exclusive;
        Some(turn)
    }

    /// Completes a request. No segments: it has no response, as a Produce with acks=0.
    pub fn complete(&mut self, turn: Turn, response: Vec<Segment>) {
        let index = turn.0.checked_sub(self.front).and_then(|index| usize::try_from(index).ok());
        let entry = index.and_then(|index| self.entries.get_mut(index));
        let Some(entry @ Entry::Running) = entry else {
            debug_assert!(false, "a turn completes once, on its own connection");
            return;
        };
        self.out_bytes += response.iter().map(Segment::len).sum::<usize>();
        *entry = Entry::Done(response);
        self.running -= 1;
        self.exclusive_running = false;
    }

    /// The response whose turn it is, if it is complete.
    pub fn next_ready(&mut self) -> Option<Vec<Segment>> {
        loop {
            match self.entries.front_mut()? {
                Entry::Running => return None,
                Entry::Done(response) => {
                    let response = std::mem::take(response);
                    self.entries.pop_front();
                    self.front += 1;
                    if !response.is_empty() {
                        return Some(response);
                    }
                }
            }
        }
    }

    /// Notes that `bytes` of the responses handed out have been written to the socket.
    pub fn sent(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.out_bytes, "only what was queued can be sent");
        self.out_bytes = self.out_bytes.saturating_sub(bytes);
    }

    /// Requests whose response has not been handed out.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of responses that wait for their turn or for the socket.
    #[must_use]
    pub const fn out_bytes(&self) -> usize {
        self.out_bytes
    }

    /// Whether nothing is being worked on and nothing waits to be sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.out_bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Concurrency::{Exclusive, Overlapping};
    use super::*;

    fn response(text: &'static str) -> Vec<Segment> {
        vec![Segment::Bytes(Bytes::from_static(text.as_bytes()))]
    }

    #[test]
    fn responses_leave_in_request_order() {
        let mut pipeline = Pipeline::new(10, 1000);
        let turns: Vec<Turn> = (0..4).map(|_| pipeline.begin(Overlapping).unwrap()).collect();
        let [a, b, c, d] = <[Turn; 4]>::try_from(turns).unwrap();
        pipeline.complete(c, response("c"));
        pipeline.complete(b, Vec::new());
        assert_eq!(pipeline.next_ready(), None);
        pipeline.complete(a, response("a"));
        assert_eq!(pipeline.next_ready(), Some(response("a")));
        assert_eq!(pipeline.next_ready(), Some(response("c")), "b has no response");
        assert_eq!(pipeline.next_ready(), None);
        pipeline.complete(d, response("d"));
        assert_eq!(pipeline.next_ready(), Some(response("d")));
        pipeline.sent(3);
        assert!(pipeline.is_idle());
    }

    #[test]
    fn produce_overlaps_and_all_else_runs_alone() {
        let mut pipeline = Pipeline::new(10, 1000);
        let a = pipeline.begin(Overlapping).unwrap();
        let b = pipeline.begin(Overlapping).unwrap();
        assert_eq!(pipeline.begin(Exclusive), None, "two are before it");
        pipeline.complete(b, response("b"));
        assert_eq!(pipeline.begin(Exclusive), None, "one is before it");
        pipeline.complete(a, response("a"));
        let c = pipeline.begin(Exclusive).expect("all before it have completed, if not left");
        assert_eq!(pipeline.begin(Exclusive), None);
        assert_eq!(pipeline.begin(Overlapping), None, "nothing starts while it runs");
        pipeline.complete(c, response("c"));
        assert!(pipeline.begin(Overlapping).is_some());
    }

    #[test]
    fn requests_in_flight_are_bounded() {
        let mut pipeline = Pipeline::new(2, 1000);
        let a = pipeline.begin(Overlapping).unwrap();
        let _b = pipeline.begin(Overlapping).unwrap();
        assert_eq!(pipeline.begin(Overlapping), None);
        pipeline.complete(a, response("a"));
        assert_eq!(pipeline.begin(Overlapping), None, "its response has not left");
        assert!(pipeline.next_ready().is_some());
        assert!(pipeline.begin(Overlapping).is_some());
    }

    #[test]
    fn unsent_bytes_hold_back_new_requests() {
        let mut pipeline = Pipeline::new(10, 4);
        let a = pipeline.begin(Overlapping).unwrap();
        pipeline.complete(a, response("four"));
        assert_eq!(pipeline.begin(Overlapping), None);
        assert!(pipeline.next_ready().is_some());
        assert_eq!(pipeline.begin(Overlapping), None, "handed out is not sent");
        pipeline.sent(1);
        assert!(pipeline.begin(Overlapping).is_some());
    }
}
