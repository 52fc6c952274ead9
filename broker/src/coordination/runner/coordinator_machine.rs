//! What a coordinator is: a pure state machine over the records of one partition of an internal topic.

use std::fmt::{Debug, Display};

use bytes::Bytes;

/// The state that one partition of an internal topic holds. It sees no clock, no file, no socket and no wire type of a
/// request.
///
/// The runner feeds it all records of the log ([`CoordinatorMachine::replay`]), then [`Input::LoadDone`]; then it calls
/// [`CoordinatorMachine::step`] for everything that happens and carries out the actions, in order. The last input is
/// [`Input::Resign`]. What a machine wants done elsewhere is the answer to a request that waits for work.
///
/// Invariants:
/// - each request token gets exactly one reply, at the latest with [`Input::Resign`];
/// - a reply that depends on a record goes out only after that record is durable ([`Input::Appended`]);
/// - the same inputs at the same times give the same actions.
pub trait CoordinatorMachine: Sized + 'static {
    /// The internal topic whose partitions hold its records.
    const TOPIC: &'static str;
    /// What it coordinates, in the words of the log: `groups`.
    const COORDINATES: &'static str;

    /// Settings, as values.
    type Config: Clone + 'static;
    /// What is asked of it.
    type Request: 'static;
    /// The answer.
    type Response: Debug + 'static;
    /// What it has to know and nobody asks it for.
    type Notice: 'static;
    /// Why a record cannot be understood.
    type ReplayError: Display;

    /// A machine that waits for the log.
    fn new(config: Self::Config) -> Self;

    /// Takes over a record of the log.
    ///
    /// # Errors
    /// When the record is malformed.
    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Self::ReplayError>;

    /// Handles one input and says what is to be done.
    #[must_use]
    fn step(&mut self, input: Input<Self::Request, Self::Notice>, now: Now) -> Vec<Action<Self::Response>>;

    /// When the next [`Input::Tick`] is due, on the monotonic clock.
    fn next_deadline(&self) -> Option<u64>;

    /// How many things it coordinates.
    fn count(&self) -> usize;

    /// The reply that refuses a request as a whole.
    fn refuse(request: &Self::Request, refusal: Refusal) -> Self::Response;

    /// Answers a request before the log is known, where that is better than to let it wait or to refuse it.
    fn answer_while_loading(request: &Self::Request) -> Option<Self::Response>;
}

/// Names a request; its reply carries the same token. Unique while a reply is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestToken(pub u64);

/// Names records to append; rises by one with each append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppendToken(pub u64);

/// The two times of a step: timeouts run on the monotonic one, timestamps in records are wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds on a clock that never jumps.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

/// Something that happened to a coordinator.
#[derive(Debug, Clone)]
pub enum Input<Request, Notice> {
    /// A client asks for something.
    Request {
        /// Where the reply belongs.
        token: RequestToken,
        /// What is asked.
        request: Request,
    },
    /// Time passed: the deadline of [`CoordinatorMachine::next_deadline`] may be over.
    Tick,
    /// Records are durable (the high watermark passed them), or nobody can tell any more. Successes come in append order.
    Appended {
        /// Which records.
        token: AppendToken,
        /// How it went.
        result: Result<(), WriteError>,
    },
    /// Something to know.
    Notice(Notice),
    /// All records of the log were replayed: requests are served from now on.
    LoadDone,
    /// The partition is led elsewhere from now on: everyone who waits is sent away.
    Resign,
}

/// Something for the runner to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action<Response> {
    /// Answers a request.
    Reply {
        /// Which request.
        token: RequestToken,
        /// The answer.
        response: Response,
    },
    /// Appends records to the log as one batch, then reports with [`Input::Appended`].
    Append {
        /// Which records.
        token: AppendToken,
        /// In log order.
        records: Vec<LogRecord>,
        /// Makes no sense without the append before it in the same step: fails if that could not be appended.
        continues: bool,
    },
}

/// A record of a coordinator's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// What the record is about; the topic is compacted by it.
    pub key: Bytes,
    /// `None` deletes what was said before.
    pub value: Option<Bytes>,
}

/// Why records could not be made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// Not now: too few replicas, no space, a timeout.
    Unavailable,
    /// This broker does not lead the partition any more, or its disk failed.
    NotLeader,
    /// The partition has another leader epoch by now than the one in which the records were decided.
    StaleEpoch,
    /// The records exceed the largest batch of the topic.
    TooLarge,
}

/// Why a coordinator takes no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The log is still being replayed.
    Loading,
    /// The coordinator is elsewhere, or could not be loaded.
    NotCoordinator,
}
