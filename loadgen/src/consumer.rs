//! One consuming connection: keeps several fetches in flight, each for its own partitions.

use std::collections::VecDeque;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};

use crate::acked::AckedChecker;
use crate::batch_reader::Batch;
use crate::clock::Nanos;
use crate::conn::{Conn, Received};
use crate::control::error_name;
use crate::fetch_request::{FetchLimits, FetchedPartition, parse_fetch_response, put_fetch_request};
use crate::meter::{Meter, Totals};
use crate::pacer::FetchPace;
use crate::record;
use crate::verify::Verifier;

/// Settings of one connection.
#[derive(Debug)]
pub(crate) struct ConsumerSpec {
    /// The leader of the partitions.
    pub(crate) address: SocketAddr,
    /// Topic read from.
    pub(crate) topic: String,
    /// Where to read, and up to where.
    pub(crate) partitions: Vec<ReadRange>,
    /// Fetches in flight; the partitions are dealt among them.
    pub(crate) in_flight_max: usize,
    /// Limits of each fetch.
    pub(crate) limits: FetchLimits,
    /// At the end go back to the start.
    pub(crate) repeat: bool,
    /// How fast to read.
    pub(crate) pace: FetchPace,
}

/// The part of a partition that is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadRange {
    /// Partition index.
    pub(crate) partition: u32,
    /// First offset.
    pub(crate) start: i64,
    /// Offset to stop before; `None` reads on as records arrive.
    pub(crate) end: Option<i64>,
}

/// A consuming connection.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// The connection, watched by the engine.
    pub(crate) conn: Conn,
    spec: ConsumerSpec,
    /// Next offset, parallel to the spec's partitions.
    positions: Vec<i64>,
    groups: Vec<Group>,
    /// Groups with a fetch in flight, oldest first.
    outstanding: VecDeque<Outstanding>,
    out: Vec<u8>,
    correlation: i32,
}

/// Partitions that are fetched together.
#[derive(Debug, Default)]
struct Group {
    members: Vec<usize>,
    in_flight: bool,
}

#[derive(Debug)]
struct Outstanding {
    group: usize,
    correlation: i32,
    sent: Nanos,
}

/// What is done with the records that arrive; shared by all consumers of a run.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// Judges count, order and content.
    pub(crate) verifier: Option<Verifier>,
    /// Finds acknowledged records again.
    pub(crate) acked: Option<AckedChecker>,
    /// Measure end-to-end latency of the records of this run.
    pub(crate) end_to_end: Option<u64>,
    /// Where compressed batches are unpacked.
    pub(crate) scratch: Vec<u8>,
}

impl Consumer {
    /// Connects.
    pub(crate) fn connect(spec: ConsumerSpec) -> Result<Self> {
        let group_count = spec.in_flight_max.clamp(1, spec.partitions.len().max(1));
        let mut groups: Vec<Group> = (0..group_count).map(|_| Group::default()).collect();
        for member in 0..spec.partitions.len() {
            groups[member % group_count].members.push(member);
        }
        Ok(Self {
            conn: Conn::connect(spec.address)?,
            positions: spec.partitions.iter().map(|range| range.start).collect(),
            groups,
            outstanding: VecDeque::new(),
            out: Vec::new(),
            correlation: 0,
            spec,
        })
    }

    /// Everything up to the end offsets was read.
    pub(crate) fn is_done(&self) -> bool {
        (0..self.positions.len()).all(|member| !self.wants(member))
    }

    /// Fetches without an answer.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Sends a fetch for each idle group; true if the socket took everything.
    pub(crate) fn pump(&mut self, now: Nanos) -> Result<bool> {
        if self.out.is_empty() && self.spec.pace.is_due(now) {
            for group in 0..self.groups.len() {
                if !self.groups[group].in_flight {
                    self.put_fetch(group, now);
                }
            }
        }
        if !self.out.is_empty() {
            if !self.conn.send(&self.out)? {
                return Ok(false);
            }
            self.out.clear();
        }
        Ok(true)
    }

    /// Reads answers; false when the broker has closed the connection.
    pub(crate) fn receive(
        &mut self,
        clock: impl Fn() -> Nanos,
        audit: &mut Audit,
        meter: &mut Meter,
    ) -> Result<bool> {
        loop {
            let received = self.conn.receive()?;
            let now = clock();
            while let Some(place) = self.conn.next_frame()? {
                self.take_answer(place, now, audit, meter)?;
            }
            match received {
                Received::More => {}
                Received::Drained => return Ok(true),
                Received::Closed => return Ok(false),
            }
        }
    }

    /// When the next fetch may go, if the pace holds one back at `now`.
    pub(crate) fn next_due(&self, now: Nanos) -> Option<Nanos> {
        let pace = &self.spec.pace;
        (!pace.is_due(now) && !self.is_done()).then_some(pace.resume_at())
    }

    fn wants(&self, member: usize) -> bool {
        self.spec.partitions[member].end.is_none_or(|end| self.positions[member] < end)
    }

    fn put_fetch(&mut self, group: usize, now: Nanos) {
        let wanted: Vec<(u32, i64)> = self.groups[group]
            .members
            .iter()
            .filter(|&&member| self.wants(member))
            .map(|&member| (self.spec.partitions[member].partition, self.positions[member]))
            .collect();
        if wanted.is_empty() {
            return;
        }
        self.correlation = self.correlation.wrapping_add(1);
        let (correlation, sent) = (self.correlation, now);
        put_fetch_request(
            &mut self.out,
            correlation,
            &self.spec.topic,
            &self.spec.limits,
            wanted.into_iter(),
        );
        self.groups[group].in_flight = true;
        self.outstanding.push_back(Outstanding { group, correlation, sent });
    }

    fn take_answer(
        &mut self,
        place: std::ops::Range<usize>,
        now: Nanos,
        audit: &mut Audit,
        meter: &mut Meter,
    ) -> Result<()> {
        let asked = self.outstanding.pop_front().context("an answer without a request")?;
        let group = &mut self.groups[asked.group];
        group.in_flight = false;
        let mut totals = Totals { requests: 1, ..Totals::default() };
        let (spec, positions) = (&self.spec, &mut self.positions);
        let (correlation, error) = parse_fetch_response(self.conn.frame(place), |part| {
            let found = group.members.iter().find(|&&m| spec.partitions[m].partition == part.partition);
            let member = *found.with_context(|| format!("partition {} was not asked for", part.partition))?;
            let range = &spec.partitions[member];
            let position = &mut positions[member];
            audit.take_partition(&part, position, range, now, &mut totals, meter)?;
            if spec.repeat && range.end.is_some_and(|end| *position >= end) {
                *position = range.start;
                if let Some(verifier) = &mut audit.verifier {
                    verifier.restart_partition(part.partition);
                }
            }
            Ok(())
        })?;
        ensure!(correlation == asked.correlation, "answers out of order: {correlation}");
        ensure!(error == 0, "Fetch: {}", error_name(error));
        self.spec.pace.fetched(totals.records, now);
        meter.fetched(asked.sent, now, totals);
        Ok(())
    }
}

impl Audit {
    /// Takes one partition's batches and moves its position behind them.
    fn take_partition(
        &mut self,
        part: &FetchedPartition<'_>,
        position: &mut i64,
        range: &ReadRange,
        now: Nanos,
        totals: &mut Totals,
        meter: &mut Meter,
    ) -> Result<()> {
        if part.error != 0 {
            bail!("Fetch of partition {} at {position}: {}", part.partition, error_name(part.error));
        }
        let mut rest = part.records;
        while let Some((batch, behind)) = Batch::split(rest)? {
            rest = behind;
            totals.bytes += u64::try_from(batch.wire_len())?;
            if batch.last_offset < *position {
                continue; // A batch may begin before the offset asked for, but not end there.
            }
            if range.end.is_some_and(|end| batch.base_offset >= end) {
                break;
            }
            totals.records += u64::from(batch.record_count);
            self.take_batch(part.partition, &batch, *position, now, meter)?;
            *position = batch.last_offset + 1;
        }
        Ok(())
    }

    fn take_batch(
        &mut self,
        partition: u32,
        batch: &Batch<'_>,
        from: i64,
        now: Nanos,
        meter: &mut Meter,
    ) -> Result<()> {
        let Self { verifier, acked, end_to_end, scratch } = self;
        if let Some(verifier) = verifier.as_mut() {
            let crc_is_valid = batch.crc_is_valid();
            verifier.batch(partition, batch.base_offset, batch.last_offset, crc_is_valid);
            if !crc_is_valid {
                return Ok(());
            }
        }
        if batch.is_control() || (verifier.is_none() && end_to_end.is_none()) {
            return Ok(());
        }
        let read = batch.for_each_record(scratch, |offset, value| {
            if offset < from {
                return;
            }
            let parsed = record::parse(value);
            if let (Some(run), Ok(id)) = (*end_to_end, parsed)
                && run == id.stream.run
            {
                meter.arrived(id.sent_ns, now);
            }
            if let Some(verifier) = verifier.as_mut() {
                verifier.record(partition, offset, parsed);
                if let (Some(acked), Ok(id)) = (acked.as_mut(), &parsed) {
                    acked.record(verifier, partition, offset, id);
                }
            }
        });
        read.with_context(|| format!("partition {partition}, batch at offset {}", batch.base_offset))
    }
}
