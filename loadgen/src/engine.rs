//! The event loop of a run: one thread drives all connections through warm-up, measurement and draining.

use std::io::{IsTerminal, Write};

use anyhow::{Result, bail};

use crate::clock::{Clock, Nanos, SECOND, seconds};
use crate::conn::{Conn, Poller};
use crate::consumer::{Audit, Consumer};
use crate::meter::NO_ANSWER;
use crate::pacer::Pacer;
use crate::procstat::{ProcessUse, own_cpu};
use crate::producer::{Ledger, Producer};

/// When a run ends and what is watched meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Before the measured window.
    pub(crate) warmup: Nanos,
    /// Longest measured window.
    pub(crate) duration: Nanos,
    /// Records per second over all producers; `None` saturates.
    pub(crate) rate: Option<u64>,
    /// Records to send or read in the measured window.
    pub(crate) records: Option<u64>,
    /// How long before a due time the thread stays awake.
    pub(crate) spin: Nanos,
    /// The broker's process.
    pub(crate) broker_pid: Option<u32>,
    /// Print a line per second even without a terminal.
    pub(crate) progress: bool,
    /// A closed connection ends the run in good order (crash tests).
    pub(crate) until_disconnect: bool,
}

/// A run: its connections and what they share.
pub(crate) struct Engine {
    /// Producing connections.
    pub(crate) producers: Vec<Producer>,
    /// Consuming connections.
    pub(crate) consumers: Vec<Consumer>,
    /// Shared by the producers.
    pub(crate) ledger: Ledger,
    /// Shared by the consumers.
    pub(crate) audit: Audit,
    plan: Plan,
    clock: Clock,
    poller: Poller,
    phase: Phase,
    disconnected: bool,
    opened: Snapshot,
    closed: Snapshot,
    last_activity: Nanos,
    progress: Progress,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Sending, not measured.
    Warmup { until: Nanos },
    /// Sending, measured.
    Measure { until: Nanos },
    /// Sending what was due in the window and is late.
    CatchUp { until: Nanos },
    /// Waiting for what is outstanding.
    Drain { until: Nanos },
    /// Over.
    Done,
}

/// Everybody's use at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Snapshot {
    /// When.
    pub(crate) at: Nanos,
    /// Our own CPU time.
    pub(crate) own_cpu: Nanos,
    /// The broker's use, if its process is known.
    pub(crate) broker: Option<ProcessUse>,
}

/// The live line.
#[derive(Debug, Default)]
struct Progress {
    on: bool,
    terminal: bool,
    next: Nanos,
    last_records: u64,
    last_at: Nanos,
}

impl Engine {
    /// Watches all connections; nothing is sent yet.
    pub(crate) fn new(
        plan: Plan,
        producers: Vec<Producer>,
        consumers: Vec<Consumer>,
        ledger: Ledger,
        audit: Audit,
    ) -> Result<Self> {
        let poller = Poller::new()?;
        for (producer, token) in producers.iter().zip(0..) {
            poller.add(&producer.conn, token)?;
        }
        for (consumer, token) in consumers.iter().zip(0u64..) {
            poller.add(&consumer.conn, CONSUMER_TOKEN | token)?;
        }
        let terminal = std::io::stderr().is_terminal();
        let progress = Progress { on: terminal || plan.progress, terminal, ..Progress::default() };
        Ok(Self {
            producers,
            consumers,
            ledger,
            audit,
            plan,
            clock: Clock::new(),
            poller,
            phase: Phase::Done,
            disconnected: false,
            opened: Snapshot::default(),
            closed: Snapshot::default(),
            last_activity: 0,
            progress,
        })
    }

    /// Runs to the end; returns the use at the window's two ends.
    pub(crate) fn run(&mut self) -> Result<(Snapshot, Snapshot)> {
        let start = self.clock.now();
        self.set_schedules(start);
        self.phase = Phase::Warmup { until: start + self.plan.warmup };
        self.last_activity = start;
        let mut ready = Vec::new();
        loop {
            let now = self.clock.now();
            self.advance(now)?;
            if self.phase == Phase::Done {
                break;
            }
            self.pump(now)?;
            ready.clear();
            let timeout = self.timeout(self.clock.now());
            self.poller.wait(timeout, &mut ready)?;
            for &token in &ready {
                self.take_ready(token)?;
            }
            if let Some(acked) = &mut self.ledger.acked {
                acked.flush()?;
            }
            self.show_progress(now);
        }
        let now = self.clock.now();
        for producer in &mut self.producers {
            let unanswered = producer.give_up(now, &mut self.ledger);
            if unanswered > 0 {
                self.ledger.meter.failed(NO_ANSWER, unanswered);
            }
        }
        self.progress.finish();
        Ok((self.opened, self.closed))
    }

    fn set_schedules(&mut self, start: Nanos) {
        let Some(rate) = self.plan.rate else { return };
        let connections = u64::try_from(self.producers.len()).unwrap_or(u64::MAX);
        // The first unit is due a little later, when every connection is being watched.
        let start = start + SECOND / 100;
        for (producer, index) in self.producers.iter_mut().zip(0..) {
            let records = producer.records_per_request();
            producer.pacer = Pacer::paced(start, rate, records, index, connections);
        }
    }

    /// Goes to the next phase when its time has come.
    fn advance(&mut self, now: Nanos) -> Result<()> {
        match self.phase {
            Phase::Warmup { until } if now >= until => {
                self.opened = self.snapshot(now);
                self.ledger.meter.open(now);
                if let Some(records) = self.plan.records {
                    self.ledger.budget = records;
                }
                self.phase = Phase::Measure { until: now + self.plan.duration };
            }
            Phase::Measure { until } if now >= until || self.work_is_done() => {
                self.ledger.meter.close(now);
                self.closed = self.snapshot(now);
                self.producers.iter_mut().for_each(|producer| producer.pacer.close(now));
                // Only a schedule can be behind; a saturating run just stops.
                let patience = if self.plan.rate.is_some() { CATCH_UP_MAX } else { 0 };
                self.phase = Phase::CatchUp { until: now + patience };
            }
            Phase::CatchUp { until } if now >= until || self.has_caught_up() => {
                self.phase = Phase::Drain { until: now + DRAIN_MAX };
            }
            Phase::Drain { until } if now >= until || self.is_drained() => self.phase = Phase::Done,
            _ => {}
        }
        let measuring = matches!(self.phase, Phase::Warmup { .. } | Phase::Measure { .. });
        if self.disconnected && measuring {
            self.ledger.meter.close(now);
            self.closed = self.snapshot(now);
            self.phase = Phase::Done;
        }
        if now.saturating_sub(self.last_activity) > SILENCE_MAX && self.is_waiting() {
            bail!("no answer from the broker for {} s", SILENCE_MAX / SECOND);
        }
        Ok(())
    }

    /// Nothing is left to send or to read, and nothing outstanding.
    fn work_is_done(&self) -> bool {
        if self.producers.is_empty() {
            let limit = self.plan.records.unwrap_or(u64::MAX);
            return self.ledger.meter.fetched.records >= limit
                || self.consumers.iter().all(Consumer::is_done);
        }
        let budget = self.ledger.budget;
        self.producers.iter().all(|p| budget < p.records_per_request() && p.outstanding() == 0)
    }

    fn is_drained(&self) -> bool {
        let meter = &self.ledger.meter;
        let returned =
            self.audit.end_to_end.is_none() || meter.received_records_in_all >= meter.acked_records_in_all;
        self.disconnected || (returned && self.producers.iter().all(|p| p.outstanding() == 0))
    }

    fn has_caught_up(&self) -> bool {
        let budget = self.ledger.budget;
        let behind = |p: &Producer| !p.pacer.is_exhausted() && budget >= p.records_per_request();
        self.disconnected || !self.producers.iter().any(behind)
    }

    /// Whether new requests are built; a half-written one is finished in any phase.
    fn is_sending(&self) -> bool {
        match self.phase {
            Phase::Warmup { .. } | Phase::Measure { .. } => true,
            Phase::CatchUp { .. } => self.plan.rate.is_some(),
            Phase::Drain { .. } | Phase::Done => false,
        }
    }

    fn is_waiting(&self) -> bool {
        self.producers.iter().any(|p| p.outstanding() > 0)
            || self.consumers.iter().any(|c| c.outstanding() > 0)
    }

    fn pump(&mut self, now: Nanos) -> Result<()> {
        let sending = self.is_sending();
        for (producer, token) in self.producers.iter_mut().zip(0u64..) {
            let taken = producer.pump(now, sending, &mut self.ledger);
            self.disconnected |= note_output(&self.poller, &mut producer.conn, token, taken, &self.plan)?;
        }
        let drained =
            self.producers.is_empty() && !matches!(self.phase, Phase::Warmup { .. } | Phase::Measure { .. });
        if drained {
            return Ok(());
        }
        for (consumer, token) in self.consumers.iter_mut().zip(0u64..) {
            let (token, taken) = (CONSUMER_TOKEN | token, consumer.pump(now));
            self.disconnected |= note_output(&self.poller, &mut consumer.conn, token, taken, &self.plan)?;
        }
        Ok(())
    }

    fn take_ready(&mut self, token: u64) -> Result<()> {
        let clock = self.clock;
        self.last_activity = clock.now();
        let index = usize::try_from(token & !CONSUMER_TOKEN)?;
        let open = if token & CONSUMER_TOKEN == 0 {
            self.producers[index].receive(|| clock.now(), &mut self.ledger)?
        } else {
            self.consumers[index].receive(|| clock.now(), &mut self.audit, &mut self.ledger.meter)?
        };
        if !open {
            if !self.plan.until_disconnect {
                bail!("the broker has closed the connection");
            }
            self.disconnected = true;
        }
        Ok(())
    }

    /// How long the thread may sleep: until shortly before the next due time.
    fn timeout(&self, now: Nanos) -> Nanos {
        let phase_end = match self.phase {
            Phase::Warmup { until } | Phase::Measure { until } => until,
            Phase::CatchUp { until } | Phase::Drain { until } => until,
            Phase::Done => now,
        };
        let sending = self.is_sending();
        let due = self.producers.iter().filter(|p| sending && p.has_window());
        let due = due.filter_map(|p| p.pacer.next_due()).min().unwrap_or(Nanos::MAX);
        let fetch_due = self.consumers.iter().filter_map(|c| c.next_due(now)).min().unwrap_or(Nanos::MAX);
        let wake = due.saturating_sub(self.plan.spin).min(fetch_due).min(phase_end);
        wake.saturating_sub(now).min(SLEEP_MAX)
    }

    fn snapshot(&self, now: Nanos) -> Snapshot {
        let broker = self.plan.broker_pid.and_then(|pid| ProcessUse::of(pid).ok());
        Snapshot { at: now, own_cpu: own_cpu(), broker }
    }

    fn show_progress(&mut self, now: Nanos) {
        if !self.progress.on || now < self.progress.next {
            return;
        }
        let meter = &self.ledger.meter;
        let (records, latency) = if self.producers.is_empty() {
            (meter.fetched.records, &meter.fetch_latency)
        } else {
            (meter.acked_records_in_all, &meter.produce_latency)
        };
        let (p50, p99) = (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));
        self.progress.show(now, records, self.phase.name(), (p50, p99));
    }
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Warmup { .. } => "warm-up",
            Self::Measure { .. } => "measure",
            Self::CatchUp { .. } => "catch up",
            Self::Drain { .. } | Self::Done => "drain",
        }
    }
}

impl Progress {
    fn show(&mut self, now: Nanos, records: u64, phase: &str, (p50, p99): (Nanos, Nanos)) {
        #[expect(clippy::cast_precision_loss, reason = "a progress line")]
        let rate = (records - self.last_records) as f64 / seconds(now - self.last_at).max(1e-9);
        if self.last_at > 0 {
            let (p50, p99) = (seconds(p50) * 1e3, seconds(p99) * 1e3);
            let (begin, end) = if self.terminal { ("\r", "\x1b[K") } else { ("", "\n") };
            let line = format!("{begin}{phase}: {rate:.0} records/s, p50 {p50:.3} ms, p99 {p99:.3} ms{end}");
            // A lost progress line is no reason to stop.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        (self.last_records, self.last_at, self.next) = (records, now, now + SECOND);
    }

    fn finish(&self) {
        if self.terminal && self.last_at > 0 {
            eprintln!();
        }
    }
}

/// Watches for output only while the socket is full; true if the connection is broken and that ends the run.
fn note_output(
    poller: &Poller,
    conn: &mut Conn,
    token: u64,
    taken: Result<bool>,
    plan: &Plan,
) -> Result<bool> {
    match taken {
        Ok(all) if all != conn.output_watched => Ok(false),
        Ok(all) => {
            conn.output_watched = !all;
            poller.watch_output(&*conn, token, !all)?;
            Ok(false)
        }
        Err(error) if plan.until_disconnect && error.is::<std::io::Error>() => Ok(true),
        Err(error) => Err(error),
    }
}

const CONSUMER_TOKEN: u64 = 1 << 32;
const CATCH_UP_MAX: Nanos = 20 * SECOND;
const DRAIN_MAX: Nanos = 30 * SECOND;
const SILENCE_MAX: Nanos = 60 * SECOND;
const SLEEP_MAX: Nanos = SECOND / 10;
