//! What must hold after every restart, one invariant per file.

mod acknowledged_survive;
mod appends_go_on;
pub(crate) mod offsets_dense;
mod producers_rebuilt;

use std::fmt;
use std::rc::Rc;

use model::{Offset, RecordBatch};
use storage::ReadPart;

use crate::oracle::{Clients, Known};
use crate::server::{Server, SimLog};

/// What was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The directory or a log did not open.
    Refused(String),
    /// A log opened offline: damage was noticed.
    Offline(String),
    /// A read said that the data is damaged.
    Unreadable(String),
    /// A deleted partition is back.
    Resurrected(String),
    /// Acknowledged records are not there.
    Lost(String),
    /// Acknowledged records behind this offset were cut off without a word.
    Cut(Offset),
    /// Something is there that was not sent, or not so.
    Wrong(String),
    /// The log does not do its work after the restart.
    Stuck(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What a log returns when it is read from its start to its end.
pub(crate) struct Content {
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    /// The batches, whole, in order.
    pub(crate) batches: Vec<bytes::Bytes>,
}

impl Content {
    pub(crate) async fn read(log: &Rc<SimLog>) -> Result<Self, Broken> {
        let (log_start, log_end) = (log.log_start_offset(), log.log_end_offset());
        let mut batches = Vec::new();
        let visit = |batch: RecordBatch<'_>| batches.push(bytes::Bytes::copy_from_slice(batch.bytes()));
        log.replay(log_start, visit).await.map_err(|error| Broken::Unreadable(error.to_string()))?;
        Ok(Self { log_start, log_end, batches })
    }

    /// The same by reads, which a failed directory still answers.
    pub(crate) async fn read_of_failed(log: &SimLog) -> Result<Self, Broken> {
        let log_start = log.log_start_offset();
        let (mut next, mut batches) = (log_start, Vec::new());
        loop {
            let read = log.read(next, 1 << 20, true, log.log_end_offset()).await;
            let read = read.map_err(|error| Broken::Unreadable(error.to_string()))?;
            let before = next;
            let mut bytes = Vec::new();
            for part in read.parts {
                let ReadPart::Memory(part) = part else { unreachable!("reads are direct here") };
                bytes.extend_from_slice(&part.bytes);
            }
            for batch in model::batches(&bytes).filter_map(Result::ok) {
                next = batch.next_offset();
                batches.push(bytes::Bytes::copy_from_slice(batch.bytes()));
            }
            if next == before {
                return Ok(Self { log_start, log_end: log.log_end_offset(), batches });
            }
        }
    }

    pub(crate) fn batches(&self) -> impl Iterator<Item = RecordBatch<'_>> {
        self.batches.iter().map(|bytes| RecordBatch::parse(bytes).expect("replay yields batches"))
    }
}

/// Checks everything about a server that has just started, and tells the oracles where they stand now.
pub(crate) async fn check_restart(server: &Server, clients: &Clients) -> Result<(), Broken> {
    for (log, oracle) in server.logs.iter().zip(&clients.oracles) {
        log.check_invariants();
        let content = Content::read(log).await?;
        {
            let known: &Known = &oracle.known();
            offsets_dense::check(&content)?;
            acknowledged_survive::check(&content, known)?;
        }
        oracle.restarted(content.log_end);
        producers_rebuilt::check(server, log, oracle, &content)?;
        appends_go_on::check(server, log, oracle).await?;
    }
    Ok(())
}
