//! What a run counts: latencies, throughput within the measured window, errors by code.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::clock::Nanos;

/// Counters of one run. Throughput counts what completes inside the window; latencies count what was due inside it.
#[derive(Debug)]
pub(crate) struct Meter {
    /// The measured window; its end is far away until it is closed.
    window: Range<Nanos>,
    /// From intended send to acknowledgement, per record.
    pub(crate) produce_latency: Histogram<u64>,
    /// From intended send to arrival at the consumer, per record.
    pub(crate) end_to_end_latency: Histogram<u64>,
    /// From sending a fetch to its whole answer, per request.
    pub(crate) fetch_latency: Histogram<u64>,
    /// How late the generator itself sent, per request.
    pub(crate) send_delay: Histogram<u64>,
    /// Acknowledged inside the window.
    pub(crate) produced: Totals,
    /// Fetched inside the window.
    pub(crate) fetched: Totals,
    /// Acknowledged in the whole run, warm-up and draining included.
    pub(crate) acked_records_in_all: u64,
    /// Sent in the whole run.
    pub(crate) sent_records_in_all: u64,
    /// Records of this run that came back, in the whole run.
    pub(crate) received_records_in_all: u64,
    /// Sent inside the window.
    pub(crate) offered_records: u64,
    /// Records are read back in this run.
    pub(crate) arrivals_expected: bool,
    /// Due inside the window and still without an answer at the end.
    pub(crate) overdue_records: u64,
    /// Failed records by Kafka error code, in the whole run.
    pub(crate) errors: BTreeMap<i16, u64>,
}

/// Amounts.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Totals {
    /// Requests answered.
    pub(crate) requests: u64,
    /// Records in them.
    pub(crate) records: u64,
    /// Bytes: record values when producing, batches on the wire when fetching.
    pub(crate) bytes: u64,
}

impl Meter {
    /// All zero; nothing is measured before the window opens.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            window: Nanos::MAX..Nanos::MAX,
            produce_latency: histogram()?,
            end_to_end_latency: histogram()?,
            fetch_latency: histogram()?,
            send_delay: histogram()?,
            produced: Totals::default(),
            fetched: Totals::default(),
            acked_records_in_all: 0,
            sent_records_in_all: 0,
            received_records_in_all: 0,
            offered_records: 0,
            arrivals_expected: false,
            overdue_records: 0,
            errors: BTreeMap::new(),
        })
    }

    /// Begins the measured window.
    pub(crate) fn open(&mut self, now: Nanos) {
        self.window.start = now;
    }

    /// Ends the measured window.
    pub(crate) fn close(&mut self, now: Nanos) {
        self.window.end = now;
    }

    /// Whether `moment` lies in the window.
    pub(crate) fn covers(&self, moment: Nanos) -> bool {
        self.window.contains(&moment)
    }

    /// A request was built.
    pub(crate) fn sent(&mut self, intended: Nanos, now: Nanos, records: u64) {
        self.sent_records_in_all += records;
        if self.covers(intended) {
            self.offered_records += records;
            self.send_delay.saturating_record(now.saturating_sub(intended).max(1));
        }
    }

    /// A request of `records` was answered; all of them were acknowledged.
    pub(crate) fn acknowledged(&mut self, intended: Nanos, now: Nanos, totals: Totals) {
        self.acked_records_in_all += totals.records;
        if self.covers(intended) {
            self.produce_latency.saturating_record_n(now.saturating_sub(intended).max(1), totals.records);
        }
        if self.covers(now) {
            self.produced.add(totals);
        }
    }

    /// Records failed.
    pub(crate) fn failed(&mut self, code: i16, records: u64) {
        *self.errors.entry(code).or_default() += records;
    }

    /// A request that was due has not been sent, or not been answered, by the end of the run: its latency is at least
    /// what has passed, and leaving it out would flatter the broker.
    pub(crate) fn overdue(&mut self, intended: Nanos, now: Nanos, records: u64) {
        if self.covers(intended) {
            let latency = now.saturating_sub(intended).max(1);
            self.produce_latency.saturating_record_n(latency, records);
            if self.arrivals_expected {
                self.end_to_end_latency.saturating_record_n(latency, records);
            }
            self.overdue_records += records;
        }
    }

    /// A fetch was answered.
    pub(crate) fn fetched(&mut self, sent: Nanos, now: Nanos, totals: Totals) {
        if self.covers(sent) && totals.bytes > 0 {
            self.fetch_latency.saturating_record(now.saturating_sub(sent).max(1));
        }
        if self.covers(now) {
            self.fetched.add(totals);
        }
    }

    /// A record of this run came back.
    pub(crate) fn arrived(&mut self, intended: Nanos, now: Nanos) {
        self.received_records_in_all += 1;
        if self.covers(intended) {
            self.end_to_end_latency.saturating_record(now.saturating_sub(intended).max(1));
        }
    }
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// 1 ns to 10 minutes at three significant digits.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000_000, 3)?)
}

/// The error code under which unanswered requests are counted.
pub(crate) const NO_ANSWER: i16 = i16::MIN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_counts_completion_and_latency_counts_intent() {
        let mut meter = Meter::new().unwrap();
        let totals = Totals { requests: 1, records: 10, bytes: 1_000 };
        meter.acknowledged(5, 9, totals); // Before the window.
        meter.open(100);
        meter.acknowledged(90, 110, totals); // Due before, done inside.
        meter.acknowledged(120, 150, totals); // Both inside.
        meter.close(200);
        meter.acknowledged(190, 250, totals); // Due inside, done after: a slow tail must not vanish.
        assert_eq!((meter.produced.requests, meter.produced.records), (2, 20));
        assert_eq!(meter.produce_latency.len(), 20);
        assert_eq!((meter.produce_latency.min(), meter.produce_latency.max()), (30, 60));
        assert_eq!(meter.acked_records_in_all, 40);
        meter.overdue(150, 1_150, 10); // Never answered: counted with what has passed.
        meter.overdue(250, 1_150, 10);
        assert_eq!((meter.produce_latency.len(), meter.overdue_records), (30, 10));
    }
}
