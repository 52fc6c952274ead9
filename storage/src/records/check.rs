//! Checks what producers send before it is appended: checksum, header, every record. What takes longer than a shard may be
//! held is done on threads that compute, bit by bit, while the one who sent it waits.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use model::RecordBatch;
use runtime::sync::Semaphore;
use runtime::{Effects, yield_now};

use super::header_rules::check_header;
use super::rules::{BrokenRule, Facts, Offenders, RecordRules};
use super::unpack::{PIECE_BYTES, Unpack};
use super::walk::{Malformed, Visit, Walk};
use crate::AppendError;

/// What a client sent for one partition, and whether it may be appended anywhere.
#[derive(Debug, Clone)]
pub struct ClientBatch {
    bytes: Bytes,
    facts: Result<Facts, AppendError>,
}

impl ClientBatch {
    /// Checks it in one go, however long that takes.
    pub(crate) fn check(bytes: Bytes) -> Self {
        let mut scratch = vec![0; PIECE_BYTES];
        let facts = Check::new(&bytes).and_then(|mut check| {
            while !check.step(&mut scratch, usize::MAX)? {}
            check.finish()
        });
        Self { bytes, facts }
    }

    /// Checks the checksum and the header, and believes the header.
    fn trust(bytes: Bytes) -> Self {
        let facts = check_header(&bytes).and_then(|batch| {
            batch.verify_crc().map_err(AppendError::Corrupt)?;
            Ok(Facts::of_header(batch.base_timestamp(), batch.max_timestamp()))
        });
        Self { bytes, facts }
    }

    /// What was sent.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The batch and what its records have in common.
    pub(crate) fn checked(&self) -> Result<(RecordBatch<'_>, Facts), AppendError> {
        let facts = self.facts.clone()?;
        Ok((check_header(&self.bytes)?, facts))
    }
}

/// Checks batches on the shard of the connection that they come from. Lives on every shard.
pub struct RecordChecker<E> {
    effects: E,
    /// Believe headers: only checksum and header are looked at.
    trust: bool,
    /// Mebibytes that decoders on other threads may take.
    memory: Semaphore,
    scratch: RefCell<Box<[u8]>>,
    /// Bytes looked at since other tasks had their turn.
    since_yield: Cell<usize>,
}

impl<E: Effects> RecordChecker<E> {
    /// One that looks at records, or believes headers.
    pub fn new(effects: E, trust: bool) -> Self {
        Self {
            effects,
            trust,
            memory: Semaphore::new(ASIDE_MEBIBYTES_MAX),
            scratch: RefCell::new(vec![0; PIECE_BYTES].into_boxed_slice()),
            since_yield: Cell::new(0),
        }
    }

    /// Checks what a client sent for one partition.
    pub async fn check(&self, bytes: Bytes) -> ClientBatch {
        self.pause(bytes.len()).await;
        if self.trust {
            return ClientBatch::trust(bytes);
        }
        match self.at_once(&bytes) {
            Some(facts) => ClientBatch { bytes, facts },
            None => {
                let sent = bytes.clone();
                let facts = self.aside(&bytes, move || Check::new(&sent)).await;
                ClientBatch { bytes, facts }
            }
        }
    }

    /// The records of a checked batch that break a rule, by their index; the first of them, if there are many. None where
    /// headers are believed.
    pub async fn offenders(&self, batch: &ClientBatch, rules: RecordRules) -> Vec<(i32, BrokenRule)> {
        if self.trust {
            return Vec::new();
        }
        let sent = batch.bytes.clone();
        let start = move || {
            let batch = check_header(&sent)?;
            let offenders = Offenders::new(rules, batch.timestamp_type());
            Ok(Check { batch: None, reading: Reading::new(&sent, &batch, offenders)? })
        };
        self.aside(&batch.bytes, start).await.map(|offenders| offenders.found).unwrap_or_default()
    }

    /// The outcome, unless it takes long.
    fn at_once(&self, bytes: &Bytes) -> Option<Result<Facts, AppendError>> {
        let batch = match check_header(bytes) {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        if batch.size() > size_at_once_max(&batch) {
            return None;
        }
        let mut check = match Check::new(bytes) {
            Ok(check) => check,
            Err(error) => return Some(Err(error)),
        };
        match check.step(&mut self.scratch.borrow_mut(), UNPACKED_AT_ONCE_MAX) {
            Ok(true) => Some(check.finish()),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Does it on a thread that computes, a piece at a time: others have their turns in between.
    async fn aside<V, F>(&self, bytes: &Bytes, start: F) -> Result<V, AppendError>
    where
        V: Visit + Send + 'static,
        F: FnOnce() -> Result<Check<V>, AppendError> + Send + 'static,
    {
        let _memory = self.memory.acquire(mebibytes(bytes)).await;
        let mut check = None;
        let mut start = Some(start);
        loop {
            let begin = start.take();
            let turn = move || {
                let mut scratch = vec![0; PIECE_BYTES];
                let mut check = match (check, begin) {
                    (Some(check), _) => check,
                    (None, Some(begin)) => begin()?,
                    (None, None) => unreachable!("it begins once, and goes on with what it began"),
                };
                let done = check.step(&mut scratch, UNPACKED_PER_TURN)?;
                Ok((check, done))
            };
            match self.effects.compute(turn).await {
                Ok(Ok((check, true))) => return check.finish(),
                Ok(Ok((unfinished, false))) => check = Some(unfinished),
                Ok(Err(error)) => return Err(error),
                Err(_panicked) => return Err(invalid("the records cannot be read")),
            }
        }
    }

    /// Lets other tasks have their turn once many bytes have been looked at.
    async fn pause(&self, bytes: usize) {
        let since = self.since_yield.get() + bytes;
        let over = since > BYTES_PER_TURN;
        self.since_yield.set(if over { bytes } else { since });
        if over {
            yield_now().await;
        }
    }
}

/// One batch being checked.
struct Check<V> {
    /// What the checksum must still be compared with.
    batch: Option<Bytes>,
    reading: Reading<V>,
}

impl Check<Facts> {
    fn new(bytes: &Bytes) -> Result<Self, AppendError> {
        let batch = check_header(bytes)?;
        let reading = Reading::new(bytes, &batch, Facts::NOTHING)?;
        Ok(Self { batch: Some(bytes.slice_ref(batch.bytes())), reading })
    }
}

impl<V: Visit> Check<V> {
    /// Goes on for about so many bytes of records; says whether that was all.
    fn step(&mut self, scratch: &mut [u8], bytes: usize) -> Result<bool, AppendError> {
        if let Some(batch) = self.batch.take() {
            RecordBatch::parse(&batch).and_then(|batch| batch.verify_crc()).map_err(AppendError::Corrupt)?;
        }
        self.reading.step(scratch, bytes)
    }

    fn finish(self) -> Result<V, AppendError> {
        self.reading.walk.finish().map_err(malformed)
    }
}

/// The records of a batch, on their way from its bytes to a walk over them.
pub(crate) struct Reading<V> {
    walk: Walk<V>,
    source: Source,
    unpacked: usize,
}

enum Source {
    Plain(Bytes),
    /// Not opened before the checksum has been compared.
    Packed(model::Compression, Bytes),
    Open(Unpack),
}

impl<V: Visit> Reading<V> {
    /// The records of `batch`, which lies in `bytes`.
    pub(crate) fn new(bytes: &Bytes, batch: &RecordBatch<'_>, visit: V) -> Result<Self, AppendError> {
        let codec =
            batch.compression().ok_or_else(|| AppendError::UnsupportedCompression(batch.attributes() & 7))?;
        let records = bytes.slice_ref(batch.records());
        let source = match codec {
            model::Compression::None => Source::Plain(records),
            codec => Source::Packed(codec, records),
        };
        let walk = Walk::new(batch.record_count(), batch.base_timestamp(), visit);
        Ok(Self { walk, source, unpacked: 0 })
    }

    /// Goes on until so many more bytes have been unpacked, or to the end; says whether it is there.
    pub(crate) fn step(&mut self, scratch: &mut [u8], bytes: usize) -> Result<bool, AppendError> {
        let until = self.unpacked.saturating_add(bytes);
        loop {
            let piece = match &mut self.source {
                Source::Plain(records) => {
                    self.walk.feed(records).map_err(malformed)?;
                    return Ok(true);
                }
                Source::Packed(codec, records) => {
                    let open =
                        Unpack::new(*codec, std::mem::take(records)).map_err(|error| packed(&error))?;
                    self.source = open.map_or_else(|| Source::Plain(Bytes::new()), Source::Open);
                    continue;
                }
                Source::Open(unpack) => unpack.piece(scratch).map_err(|error| packed(&error))?,
            };
            if piece.is_empty() {
                return Ok(true);
            }
            self.unpacked += piece.len();
            self.walk.feed(piece).map_err(malformed)?;
            if self.unpacked > UNPACKED_BYTES_MAX {
                return Err(invalid(format!("the records unpack to more than {UNPACKED_BYTES_MAX} bytes")));
            }
            if self.unpacked >= until {
                return Ok(false);
            }
        }
    }

    /// Takes offsets as compaction leaves them.
    pub(crate) const fn allow_gaps(&mut self) {
        self.walk.allow_gaps();
    }

    /// What was seen so far, whatever becomes of the rest.
    pub(crate) fn visited(self) -> V {
        self.walk.visit
    }
}

/// Mebibytes of memory that a decoder may take; more than there are count as all.
fn mebibytes(bytes: &Bytes) -> usize {
    let needed = RecordBatch::parse(bytes).ok().and_then(|batch| {
        let codec = batch.compression()?;
        Some(Unpack::memory_bytes(codec, batch.records()))
    });
    needed.unwrap_or(0).div_ceil(1 << 20).clamp(1, ASIDE_MEBIBYTES_MAX)
}

/// Bytes of a batch that is looked at without leaving the shard.
fn size_at_once_max(batch: &RecordBatch<'_>) -> usize {
    match batch.compression() {
        None | Some(model::Compression::None) => PLAIN_AT_ONCE_MAX,
        Some(_) => PACKED_AT_ONCE_MAX,
    }
}

fn malformed(malformed: Malformed) -> AppendError {
    invalid(malformed.to_string())
}

fn packed(error: &std::io::Error) -> AppendError {
    invalid(format!("the records cannot be unpacked: {error}"))
}

/// A rule about the batch as a whole.
pub(crate) fn invalid(message: impl Into<String>) -> AppendError {
    AppendError::InvalidRecord { message: message.into() }
}

/// A plain batch up to this size takes less than a millisecond, whatever it holds: one of Kafka's default largest size.
const PLAIN_AT_ONCE_MAX: usize = (1 << 20) + (64 << 10);

/// A compressed batch above this size is not tried on the shard: it will hardly unpack to little.
const PACKED_AT_ONCE_MAX: usize = 64 << 10;

/// What is unpacked on the shard: beyond that it starts again elsewhere.
const UNPACKED_AT_ONCE_MAX: usize = 256 << 10;

/// What is unpacked elsewhere before others have their turn.
const UNPACKED_PER_TURN: usize = 2 << 20;

/// What is looked at on the shard before other tasks have their turn.
const BYTES_PER_TURN: usize = 512 << 10;

/// The most that a batch may unpack to: what a batch of the largest size could reasonably hold.
pub(crate) const UNPACKED_BYTES_MAX: usize = 256 << 20;

/// Memory for decoders on other threads, per shard. One that needs more has all of it for itself.
const ASIDE_MEBIBYTES_MAX: usize = 16;

#[cfg(test)]
#[path = "check_test.rs"]
mod tests;
