//! One producing connection: what is due goes out, what is acknowledged is counted.

use std::collections::VecDeque;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::acked::{AckedBatch, AckedWriter};
use crate::batch::{ProducerIdentity, Stamp};
use crate::clock::Nanos;
use crate::conn::{Conn, Received};
use crate::meter::{Meter, Totals};
use crate::pacer::Pacer;
use crate::produce_request::{PartitionAck, ProduceEncoder, ProduceShape, parse_produce_response};
use crate::record::StreamKey;

/// Settings of one connection.
#[derive(Debug)]
pub(crate) struct ProducerSpec {
    /// The leader of `partitions`.
    pub(crate) address: SocketAddr,
    /// Its number in the run.
    pub(crate) number: u32,
    /// Random number of the run.
    pub(crate) run: u64,
    /// What it writes to, in turn.
    pub(crate) partitions: Vec<u32>,
    /// What its requests look like.
    pub(crate) shape: ProduceShape,
    /// Requests sent and not answered.
    pub(crate) in_flight_max: usize,
    /// Identity of an idempotent producer.
    pub(crate) identity: ProducerIdentity,
}

/// A producing connection.
#[derive(Debug)]
pub(crate) struct Producer {
    /// The connection, watched by the engine.
    pub(crate) conn: Conn,
    /// Its schedule, set when the run starts.
    pub(crate) pacer: Pacer,
    encoder: ProduceEncoder,
    spec: ProducerSpec,
    next_sequences: Vec<u64>,
    cursor: usize,
    correlation: i32,
    outstanding: VecDeque<InFlight>,
    stamps: Vec<Stamp>,
}

/// A request that has not been answered.
#[derive(Debug)]
struct InFlight {
    correlation: i32,
    intended: Nanos,
    /// Stream and first sequence of each batch.
    batches: Vec<(StreamKey, u64)>,
}

/// What all producers of a run share.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Counters.
    pub(crate) meter: Meter,
    /// Records that may still be sent.
    pub(crate) budget: u64,
    /// Where acknowledged batches are listed.
    pub(crate) acked: Option<AckedWriter>,
}

impl Producer {
    /// Connects.
    pub(crate) fn connect(spec: ProducerSpec) -> Result<Self> {
        let seed = spec.run ^ u64::from(spec.number);
        Ok(Self {
            conn: Conn::connect(spec.address)?,
            pacer: Pacer::Saturating,
            encoder: ProduceEncoder::new(&spec.shape, spec.in_flight_max, seed),
            next_sequences: vec![0; spec.partitions.len()],
            cursor: 0,
            correlation: 0,
            outstanding: VecDeque::new(),
            stamps: Vec::new(),
            spec,
        })
    }

    /// Records in one request.
    pub(crate) fn records_per_request(&self) -> u64 {
        self.encoder.records_per_batch() * u64::try_from(self.spec.shape.batches).unwrap_or(1)
    }

    /// Requests without an answer.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Records without an answer.
    pub(crate) fn outstanding_records(&self) -> u64 {
        let batches: usize = self.outstanding.iter().map(|request| request.batches.len()).sum();
        u64::try_from(batches).unwrap_or(0) * self.encoder.records_per_batch()
    }

    /// Whether another request may be built.
    pub(crate) fn has_window(&self) -> bool {
        self.outstanding.len() < self.spec.in_flight_max
    }

    /// Counts what was due and has no answer when the run ends; returns how many records were sent in vain.
    pub(crate) fn give_up(&mut self, now: Nanos, ledger: &mut Ledger) -> u64 {
        let unanswered = self.outstanding_records();
        let per_request = self.records_per_request();
        for request in &self.outstanding {
            ledger.meter.overdue(request.intended, now, per_request);
        }
        if !self.pacer.is_exhausted() {
            while ledger.budget >= per_request
                && let Some(intended) = self.pacer.take(now)
            {
                ledger.budget -= per_request;
                ledger.meter.overdue(intended, now, per_request);
            }
        }
        unanswered
    }

    /// Builds, if `sending`, what is due and the window allows, and writes; true if the socket took everything.
    pub(crate) fn pump(&mut self, now: Nanos, sending: bool, ledger: &mut Ledger) -> Result<bool> {
        loop {
            if !self.encoder.pending().is_empty() {
                if !self.conn.send(self.encoder.pending())? {
                    return Ok(false);
                }
                self.encoder.clear();
                if self.spec.shape.acks == 0 {
                    self.complete_unacknowledged(now, ledger);
                }
            }
            if sending {
                self.build_due(now, ledger)?;
            }
            if self.encoder.pending().is_empty() {
                return Ok(true);
            }
        }
    }

    /// Reads answers; false when the broker has closed the connection.
    pub(crate) fn receive(&mut self, clock: impl Fn() -> Nanos, ledger: &mut Ledger) -> Result<bool> {
        loop {
            let received = self.conn.receive()?;
            let now = clock();
            while let Some(place) = self.conn.next_frame()? {
                let request = self.outstanding.pop_front().context("an answer without a request")?;
                let frame = self.conn.frame(place);
                settle(frame, &request, self.encoder.records_per_batch(), &self.spec.shape, now, ledger)?;
            }
            match received {
                Received::More => {}
                Received::Drained => return Ok(true),
                Received::Closed => return Ok(false),
            }
        }
    }

    fn build_due(&mut self, now: Nanos, ledger: &mut Ledger) -> Result<()> {
        let records = self.records_per_request();
        while self.has_window() && self.encoder.has_room() && ledger.budget >= records {
            let Some(intended) = self.pacer.take(now) else { return Ok(()) };
            ledger.budget -= records;
            let batches = self.stamp_batches(intended);
            self.correlation = self.correlation.wrapping_add(1);
            self.encoder.push(self.correlation, &self.stamps)?;
            self.outstanding.push_back(InFlight { correlation: self.correlation, intended, batches });
            ledger.meter.sent(intended, now, records);
        }
        Ok(())
    }

    /// Chooses the partitions of the next request and numbers their records.
    fn stamp_batches(&mut self, intended: Nanos) -> Vec<(StreamKey, u64)> {
        self.stamps.clear();
        let mut batches = Vec::with_capacity(self.spec.shape.batches);
        for _ in 0..self.spec.shape.batches {
            let partition = self.spec.partitions[self.cursor];
            let stream = StreamKey { run: self.spec.run, producer: self.spec.number, partition };
            let first_sequence = self.next_sequences[self.cursor];
            self.next_sequences[self.cursor] += self.encoder.records_per_batch();
            self.cursor = (self.cursor + 1) % self.spec.partitions.len();
            let identity = self.spec.identity;
            self.stamps.push(Stamp { stream, first_sequence, sent_ns: intended, identity });
            batches.push((stream, first_sequence));
        }
        batches
    }

    /// With acks=0 there is no answer: a request is done when the kernel has it.
    fn complete_unacknowledged(&mut self, now: Nanos, ledger: &mut Ledger) {
        for request in self.outstanding.drain(..) {
            let batches = u64::try_from(request.batches.len()).unwrap_or(0);
            let records = batches * self.encoder.records_per_batch();
            ledger.meter.acknowledged(request.intended, now, totals(records, &self.spec.shape));
        }
    }
}

/// Counts the answer to `request`.
fn settle(
    frame: &[u8],
    request: &InFlight,
    records_per_batch: u64,
    shape: &ProduceShape,
    now: Nanos,
    ledger: &mut Ledger,
) -> Result<()> {
    let mut good_records = 0;
    let mut answered = 0;
    let mut acked = Ok(());
    let correlation = parse_produce_response(frame, |ack: PartitionAck| {
        answered += 1;
        if ack.error != 0 {
            ledger.meter.failed(ack.error, records_per_batch);
            return;
        }
        good_records += records_per_batch;
        if let Some(writer) = &mut ledger.acked
            && let Some(&(stream, first_sequence)) =
                request.batches.iter().find(|(stream, _)| stream.partition == ack.partition)
        {
            let last_sequence = first_sequence + records_per_batch - 1;
            let batch = AckedBatch { stream, base_offset: ack.base_offset, first_sequence, last_sequence };
            if let Err(error) = writer.push(&batch) {
                acked = Err(error);
            }
        }
    })?;
    acked?;
    ensure!(correlation == request.correlation, "answers out of order: {correlation}");
    let asked = request.batches.len();
    ensure!(answered == asked, "{answered} partitions answered, {asked} asked");
    if good_records > 0 {
        ledger.meter.acknowledged(request.intended, now, totals(good_records, shape));
    }
    Ok(())
}

fn totals(records: u64, shape: &ProduceShape) -> Totals {
    let value_len = u64::try_from(shape.batch.value_len).unwrap_or(u64::MAX);
    Totals { requests: 1, records, bytes: records * value_len }
}
