//! What a client knows of one partition: what it sent, and what was acknowledged. A batch that was sent and not
//! acknowledged when the lights went out is unknown: it may be there or not.

use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use model::{Offset, ProducerId, TopicPartition};
use storage::{LogEvent, LogSubscriber};

/// A batch that the log took.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) last_offset: Offset,
    pub(crate) bytes: Bytes,
}

/// A producer as its client sees it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Producer {
    /// The sequence of the next record.
    pub(crate) next_sequence: i32,
    /// The first offset of the last batch.
    pub(crate) last_batch: Option<Offset>,
}

/// The client's knowledge.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By first offset, all that the log took and did not lose legitimately.
    pub(crate) sent: BTreeMap<Offset, Sent>,
    /// Everything below was acknowledged.
    pub(crate) acked: Offset,
    /// Retention has said that everything below may be gone.
    pub(crate) log_start: Offset,
    pub(crate) producers: BTreeMap<ProducerId, Producer>,
    /// The log is being cut at its end.
    pub(crate) cutting: bool,
    /// What the log reported as the reason not to go on.
    pub(crate) failure: Option<String>,
}

/// All clients of a server; they outlive it.
#[derive(Debug)]
pub(crate) struct Clients {
    /// By number of the partition.
    pub(crate) oracles: Vec<Rc<Oracle>>,
    /// Partitions whose deletion was confirmed.
    pub(crate) deleted: RefCell<BTreeSet<TopicPartition>>,
    /// `segment.bytes` of their topics.
    pub(crate) segment_bytes: u64,
    /// Bytes of their broker's journal.
    pub(crate) journal_bytes: u64,
}

impl Clients {
    /// Clients of so many partitions; the seed decides how large their segments are.
    pub(crate) fn new(partitions: usize, seed: u64) -> Self {
        Self {
            oracles: (0..partitions).map(|_| Rc::default()).collect(),
            deleted: RefCell::default(),
            segment_bytes: fastrand::Rng::with_seed(seed)
                .choice([16 << 10, 24 << 10, 70 << 10])
                .unwrap_or(24 << 10),
            journal_bytes: fastrand::Rng::with_seed(!seed)
                .choice([0, 32 << 10, 32 << 10, 96 << 10])
                .unwrap_or(0),
        }
    }
}

/// Listens to one partition over all lives of its broker.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    known: RefCell<Known>,
}

impl Oracle {
    pub(crate) fn known(&self) -> Ref<'_, Known> {
        self.known.borrow()
    }

    pub(crate) fn producer(&self, id: ProducerId) -> Producer {
        self.known.borrow().producers.get(&id).copied().unwrap_or_default()
    }

    pub(crate) fn sent(&self, id: ProducerId, first: Offset, last: Offset, bytes: Bytes) {
        let mut known = self.known.borrow_mut();
        known.sent.insert(first, Sent { last_offset: last, bytes });
        let producer = known.producers.entry(id).or_default();
        producer.next_sequence += i32::try_from(last.0 - first.0 + 1).expect("batches are small");
        producer.last_batch = Some(first);
    }

    /// The log is about to be cut at `offset`, so that anything there or behind it may go. Yields where it will end.
    pub(crate) fn cutting(&self, offset: Offset) -> Offset {
        let mut known = self.known.borrow_mut();
        let reaches = known.sent.range(..offset).next_back().filter(|(_, sent)| sent.last_offset >= offset);
        let end = reaches.map_or(offset, |(first, _)| *first);
        known.acked = known.acked.min(end);
        known.cutting = true;
        end
    }

    /// The log has been cut, and ends here; if it ended before the cut, some of it may not be durable yet.
    pub(crate) fn cut(&self, log_end: Offset, durable_end: Offset) {
        self.restarted(log_end);
        self.known.borrow_mut().acked = durable_end;
    }

    /// After a restart: what lies behind the end of the log was never acknowledged, or cut off, and is gone.
    pub(crate) fn restarted(&self, log_end: Offset) {
        let mut known = self.known.borrow_mut();
        known.sent.split_off(&log_end);
        known.cutting = false;
        known.failure = None;
        let mut producers: BTreeMap<ProducerId, Producer> = BTreeMap::new();
        for (first, sent) in &known.sent {
            let batch = model::RecordBatch::parse(&sent.bytes).expect("the test built it");
            let producer = producers.entry(batch.producer_id()).or_default();
            producer.next_sequence = batch.last_sequence().0 + 1;
            producer.last_batch = Some(*first);
        }
        known.producers = producers;
    }
}

impl LogSubscriber for Oracle {
    fn notify(&self, event: LogEvent<'_>) {
        let mut known = self.known.borrow_mut();
        match event {
            LogEvent::DurableEndAdvanced(_) if known.cutting => {}
            LogEvent::DurableEndAdvanced(end) => known.acked = known.acked.max(end),
            LogEvent::LogStartAdvanced(start) => known.log_start = known.log_start.max(start),
            LogEvent::Failed(error) => known.failure = Some(error.to_string()),
        }
    }
}
