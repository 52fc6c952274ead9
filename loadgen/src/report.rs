//! What a run found, as a table, a JSON line and a percentile file.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::control::error_name;
use crate::engine::Snapshot;
use crate::meter::{Meter, NO_ANSWER, Totals};
use crate::verify::Violations;

/// The whole outcome of a run.
#[derive(Debug)]
pub(crate) struct Report {
    /// `produce`, `consume` or `e2e`.
    pub(crate) mode: &'static str,
    /// Random number of the run.
    pub(crate) run: u64,
    /// Rate asked for, if paced.
    pub(crate) offered_rate: Option<u64>,
    /// All counters.
    pub(crate) meter: Meter,
    /// Use at the beginning of the window.
    pub(crate) opened: Snapshot,
    /// Use at its end.
    pub(crate) closed: Snapshot,
    /// The verdict on what was read, if it was judged.
    pub(crate) violations: Option<Violations>,
    /// Acknowledged records that were looked for.
    pub(crate) acked_checked: Option<u64>,
}

/// Figures derived from a report.
#[derive(Debug, Clone, Copy)]
struct Figures {
    elapsed_s: f64,
    records_per_s: f64,
    requests_per_s: f64,
    mb_per_s: f64,
    own_cpu_s: f64,
    broker: Option<BrokerFigures>,
}

#[derive(Debug, Clone, Copy)]
struct BrokerFigures {
    cpu_s: f64,
    user_s: f64,
    cpu_s_per_gb: f64,
    cpu_us_per_request: f64,
    resident_bytes: u64,
    resident_bytes_max: u64,
    read_bytes: u64,
    written_bytes: u64,
}

impl Report {
    /// Violations and failed records make a run fail.
    pub(crate) fn is_clean(&self) -> bool {
        self.meter.errors.is_empty() && self.violations.as_ref().is_none_or(|v| v.total() == 0)
    }

    /// Nothing is wrong but requests without an answer.
    pub(crate) fn only_unanswered(&self) -> bool {
        let violated = self.violations.as_ref().is_some_and(|v| v.total() > 0);
        !violated && self.meter.errors.keys().all(|&code| code == NO_ANSWER)
    }

    /// The histogram that the mode is about.
    pub(crate) fn main_latency(&self) -> &Histogram<u64> {
        match self.mode {
            "consume" => &self.meter.fetch_latency,
            "e2e" => &self.meter.end_to_end_latency,
            _ => &self.meter.produce_latency,
        }
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let figures = self.figures();
        let mut out = String::new();
        let totals = self.totals();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<22}{value}"); // Writing to a String cannot fail.
        };
        row("mode", format!("{} (run {})", self.mode, self.run));
        row("window", format!("{:.3} s", figures.elapsed_s));
        row("records", format!("{} ({:.0}/s)", totals.records, figures.records_per_s));
        row("requests", format!("{} ({:.0}/s)", totals.requests, figures.requests_per_s));
        row("throughput", format!("{:.2} MB/s", figures.mb_per_s));
        if let Some(rate) = self.offered_rate {
            let offered = ratio(self.meter.offered_records, figures.elapsed_s);
            row(
                "rate",
                format!("asked {rate}/s, sent {offered:.0}/s, achieved {:.0}/s", figures.records_per_s),
            );
        }
        for (name, histogram) in self.histograms() {
            row(name, latency_cells(histogram));
        }
        row(
            "own CPU",
            format!("{:.3} s ({:.0} %)", figures.own_cpu_s, 100.0 * figures.own_cpu_s / figures.elapsed_s),
        );
        if let Some(broker) = figures.broker {
            row("broker CPU", broker_cells(&broker, figures.elapsed_s));
            let resident = megabytes(broker.resident_bytes);
            row(
                "broker memory",
                format!("{resident:.1} MB, {:.1} MB at most", megabytes(broker.resident_bytes_max)),
            );
            let share = ratio(broker.written_bytes, bytes_f64(totals.bytes));
            row("broker disk reads", format!("{:.1} MB", megabytes(broker.read_bytes)));
            row(
                "broker disk writes",
                format!("{:.1} MB ({share:.3} per byte)", megabytes(broker.written_bytes)),
            );
        }
        if self.meter.overdue_records > 0 {
            row(
                "overdue",
                format!("{} records, counted with the time that has passed", self.meter.overdue_records),
            );
        }
        for (&code, records) in &self.meter.errors {
            row("failed records", format!("{records} {}", code_name(code)));
        }
        if let Some(violations) = &self.violations {
            row("verified", verdict(violations));
        }
        if let Some(records) = self.acked_checked {
            row("acknowledged before", format!("{records} records looked for"));
        }
        out
    }

    /// One line for machines.
    pub(crate) fn json(&self) -> String {
        let figures = self.figures();
        let totals = self.totals();
        let mut out = format!(
            "{{\"mode\":\"{}\",\"run\":{},\"elapsed_s\":{:.6},\"records\":{},\"requests\":{},\"bytes\":{},\
             \"records_per_s\":{:.1},\"requests_per_s\":{:.1},\"mb_per_s\":{:.3},\"own_cpu_s\":{:.4}",
            self.mode,
            self.run,
            figures.elapsed_s,
            totals.records,
            totals.requests,
            totals.bytes,
            figures.records_per_s,
            figures.requests_per_s,
            figures.mb_per_s,
            figures.own_cpu_s
        );
        let _ = write!(out, ",\"acked_in_all\":{}", self.meter.acked_records_in_all);
        let _ = write!(out, ",\"overdue\":{}", self.meter.overdue_records);
        if let Some(rate) = self.offered_rate {
            let offered = ratio(self.meter.offered_records, figures.elapsed_s);
            let _ = write!(out, ",\"rate_asked\":{rate},\"rate_sent\":{offered:.1}");
        }
        for (name, histogram) in self.histograms() {
            let _ = write!(out, ",\"{}_us\":{}", name.replace(' ', "_"), latency_json(histogram));
        }
        if let Some(broker) = figures.broker {
            let _ = write!(out, ",\"broker\":{}", broker_json(&broker));
        }
        let errors: Vec<String> =
            self.meter.errors.iter().map(|(&code, n)| format!("\"{}\":{n}", code_name(code))).collect();
        let _ = write!(out, ",\"errors\":{{{}}}", errors.join(","));
        if let Some(violations) = &self.violations {
            let _ = write!(out, ",\"violations\":{}", violations.total());
        }
        if let Some(records) = self.acked_checked {
            let _ = write!(out, ",\"acked_checked\":{records}");
        }
        out.push('}');
        out
    }

    /// Writes the main histogram as HdrHistogram percentiles in milliseconds.
    pub(crate) fn write_percentiles(&self, path: &Path) -> Result<()> {
        fs::write(path, percentiles(self.main_latency()))
            .with_context(|| format!("writing {}", path.display()))
    }

    fn totals(&self) -> Totals {
        if self.mode == "consume" { self.meter.fetched } else { self.meter.produced }
    }

    fn histograms(&self) -> Vec<(&'static str, &Histogram<u64>)> {
        let meter = &self.meter;
        [
            ("produce latency", &meter.produce_latency),
            ("end to end latency", &meter.end_to_end_latency),
            ("fetch latency", &meter.fetch_latency),
            ("send delay", &meter.send_delay),
        ]
        .into_iter()
        .filter(|(_, histogram)| !histogram.is_empty())
        .collect()
    }

    fn figures(&self) -> Figures {
        let elapsed_s = crate::clock::seconds(self.closed.at.saturating_sub(self.opened.at)).max(1e-9);
        let totals = self.totals();
        let broker = self.opened.broker.zip(self.closed.broker).map(|(before, after)| {
            let used = after.since(&before);
            BrokerFigures {
                cpu_s: used.cpu_s(),
                user_s: used.user_s,
                cpu_s_per_gb: used.cpu_s() / (bytes_f64(totals.bytes) / 1e9),
                cpu_us_per_request: used.cpu_s() * 1e6 / bytes_f64(totals.requests),
                resident_bytes: used.resident_bytes,
                resident_bytes_max: used.resident_bytes_max,
                read_bytes: used.read_bytes,
                written_bytes: used.written_bytes,
            }
        });
        Figures {
            elapsed_s,
            records_per_s: ratio(totals.records, elapsed_s),
            requests_per_s: ratio(totals.requests, elapsed_s),
            mb_per_s: megabytes(totals.bytes) / elapsed_s,
            own_cpu_s: crate::clock::seconds(self.closed.own_cpu.saturating_sub(self.opened.own_cpu)),
            broker,
        }
    }
}

/// HdrHistogram's percentile text: value, percentile, total count, 1/(1-percentile).
fn percentiles(histogram: &Histogram<u64>) -> String {
    let mut out = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for step in histogram.iter_quantiles(5) {
        total += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let value = milliseconds(step.value_iterated_to());
        let _ = if quantile < 1.0 {
            writeln!(out, "{value:12.3} {quantile:2.12} {total:10} {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(out, "{value:12.3} {quantile:2.12} {total:10}")
        };
    }
    let (mean, deviation) = (histogram.mean() / 1e6, histogram.stdev() / 1e6);
    let _ = writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let max = milliseconds(histogram.max());
    let _ = writeln!(out, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len());
    let _ = writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), 2_048);
    out
}

fn latency_cells(histogram: &Histogram<u64>) -> String {
    let cells: Vec<String> = QUANTILES
        .iter()
        .map(|(name, quantile)| format!("{name} {:.3}", milliseconds(histogram.value_at_quantile(*quantile))))
        .collect();
    format!("{} max {:.3} ms (n {})", cells.join(" "), milliseconds(histogram.max()), histogram.len())
}

fn latency_json(histogram: &Histogram<u64>) -> String {
    let cells: Vec<String> = QUANTILES
        .iter()
        .map(|(name, quantile)| {
            format!("\"{name}\":{:.1}", milliseconds(histogram.value_at_quantile(*quantile)) * 1e3)
        })
        .collect();
    let (max, mean) = (milliseconds(histogram.max()) * 1e3, histogram.mean() / 1e3);
    format!("{{{},\"max\":{max:.1},\"mean\":{mean:.1},\"count\":{}}}", cells.join(","), histogram.len())
}

fn broker_cells(broker: &BrokerFigures, elapsed_s: f64) -> String {
    let BrokerFigures { cpu_s, user_s, cpu_s_per_gb, cpu_us_per_request, .. } = broker;
    format!(
        "{cpu_s:.2} s ({:.0} %, user {user_s:.2} s), {cpu_s_per_gb:.3} s/GB, {cpu_us_per_request:.1} us/request",
        100.0 * cpu_s / elapsed_s
    )
}

fn broker_json(broker: &BrokerFigures) -> String {
    let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
    format!(
        "{{\"cpu_s\":{:.3},\"user_s\":{:.3},\"cpu_s_per_gb\":{:.4},\"cpu_us_per_request\":{:.3},\
         \"resident_bytes\":{},\"resident_bytes_max\":{},\"read_bytes\":{},\"written_bytes\":{}}}",
        broker.cpu_s,
        broker.user_s,
        finite(broker.cpu_s_per_gb),
        finite(broker.cpu_us_per_request),
        broker.resident_bytes,
        broker.resident_bytes_max,
        broker.read_bytes,
        broker.written_bytes
    )
}

fn verdict(violations: &Violations) -> String {
    if violations.total() == 0 {
        return "every record once, in order, unaltered".into();
    }
    let kinds = [
        ("lost", violations.lost),
        ("reordered", violations.reordered),
        ("duplicated", violations.duplicated),
        ("corrupt", violations.corrupt),
        ("misplaced", violations.misplaced),
        ("foreign", violations.foreign),
        ("more than written", violations.unexpected),
        ("offset gaps", violations.offset_gaps),
        ("acknowledged but lost", violations.acked_lost),
    ];
    let found: Vec<String> =
        kinds.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
    format!("VIOLATIONS: {}\n  {}", found.join(", "), violations.examples.join("\n  "))
}

fn code_name(code: i16) -> String {
    if code == NO_ANSWER { "no answer".into() } else { error_name(code) }
}

fn ratio(count: u64, per: f64) -> f64 {
    let value = bytes_f64(count) / per;
    if value.is_finite() { value } else { 0.0 }
}

fn megabytes(bytes: u64) -> f64 {
    bytes_f64(bytes) / 1e6
}

fn milliseconds(ns: u64) -> f64 {
    bytes_f64(ns) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "a report needs no more than 53 bits")]
fn bytes_f64(value: u64) -> f64 {
    value as f64
}

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut meter = Meter::new().unwrap();
        meter.open(0);
        for ms in 1..=1_000u64 {
            let totals = Totals { requests: 1, records: 1, bytes: 1_000 };
            meter.acknowledged(0, ms * 1_000_000, totals);
        }
        let closed = Snapshot { at: 2_000_000_000, own_cpu: 500_000_000, broker: None };
        let opened = Snapshot::default();
        Report {
            mode: "produce",
            run: 1,
            offered_rate: None,
            meter,
            opened,
            closed,
            violations: None,
            acked_checked: None,
        }
    }

    #[test]
    fn figures_are_rates_over_the_window() {
        let json = report().json();
        for part in ["\"records_per_s\":500.0", "\"mb_per_s\":0.500", "\"own_cpu_s\":0.5000", "\"errors\":{}"]
        {
            assert!(json.contains(part), "{part} in {json}");
        }
        let table = report().table();
        assert!(table.contains("p50 500.") && table.contains("p99 990."), "{table}");
    }

    #[test]
    fn failures_are_not_clean() {
        let mut bad = report();
        assert!(bad.is_clean());
        bad.violations = Some(Violations { duplicated: 2, ..Violations::default() });
        assert!(!bad.is_clean() && bad.table().contains("2 duplicated"));
        bad.violations = None;
        bad.meter.failed(7, 3);
        assert!(!bad.is_clean() && bad.json().contains("\"RequestTimedOut\":3"), "{}", bad.json());
    }

    #[test]
    fn percentile_files_end_with_the_maximum() {
        let text = percentiles(&report().meter.produce_latency);
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        let cells: Vec<&str> = last.split_ascii_whitespace().collect();
        assert_eq!((cells[1], cells[2]), ("1.000000000000", "1000"));
        assert!(text.contains("Total count    =         1000"));
    }
}
