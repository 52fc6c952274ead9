//! Writes Prometheus' text format 0.0.4.

use std::fmt::{self, Write as _};

/// What kind of metric a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

/// A text that is being written, family by family.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// Labels of a sample, in order.
pub(super) type Labels<'a> = &'a [(&'a str, &'a dyn fmt::Display)];

impl Exposition {
    /// Begins a family. All its samples have to follow before the next family begins.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Writes one sample.
    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl fmt::Display) {
        self.text.push_str(name);
        if !labels.is_empty() {
            self.text.push('{');
            for (index, (label, content)) in labels.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                self.write(format_args!("{comma}{label}=\"{}\"", escape(&content.to_string())));
            }
            self.text.push('}');
        }
        self.write(format_args!(" {value}\n"));
    }

    /// Writes a histogram: bounded buckets as (bound, count up to it), then the total and the sum.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: Labels<'_>,
        buckets: impl Iterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        let bucket = format!("{name}_bucket");
        for (bound, total) in buckets {
            self.bucket(&bucket, labels, &bound, total);
        }
        self.bucket(&bucket, labels, &"+Inf", count);
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count);
    }

    fn bucket(&mut self, name: &str, labels: Labels<'_>, bound: &dyn fmt::Display, total: u64) {
        let mut labels = labels.to_vec();
        labels.push(("le", bound));
        self.sample(name, &labels, total);
    }

    /// The finished text.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn write(&mut self, arguments: fmt::Arguments<'_>) {
        self.text.write_fmt(arguments).expect("writing to a String does not fail");
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
