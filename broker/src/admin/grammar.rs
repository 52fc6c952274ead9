//! A small checker of Prometheus' text format 0.0.4, for tests: names, labels, escapes, values, HELP and TYPE
//! before the samples, families in one piece, no sample twice, histograms that add up.

use std::collections::{BTreeMap, BTreeSet};

/// Checks a whole exposition; the error names the line.
pub(super) fn check(text: &str) -> Result<(), String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let mut checker = Checker::default();
    for line in text.lines() {
        checker.line(line).map_err(|problem| format!("{problem}: {line}"))?;
    }
    checker.histograms()
}

#[derive(Default)]
struct Checker {
    family: String,
    kind: String,
    families: BTreeSet<String>,
    samples: BTreeSet<String>,
    buckets: BTreeMap<String, Vec<(f64, f64)>>,
    counts: BTreeMap<String, f64>,
}

impl Checker {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, _) = rest.split_once(' ').ok_or("HELP without text")?;
            self.family = name.to_owned();
            self.kind.clear();
            return if self.families.insert(name.to_owned()) { Ok(()) } else { Err("family twice".into()) };
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("TYPE without kind")?;
            if name != self.family || !["counter", "gauge", "histogram"].contains(&kind) {
                return Err("TYPE does not fit".into());
            }
            self.kind = kind.to_owned();
            return Ok(());
        }
        self.sample(line)
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
        let value: f64 = value.parse().map_err(|_| "bad value")?;
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, parse_labels(rest.strip_suffix('}').ok_or("no closing brace")?)?),
            None => (series, Vec::new()),
        };
        if !is_name(name) {
            return Err("bad name".into());
        }
        let fits = match self.kind.as_str() {
            "histogram" => {
                ["_bucket", "_sum", "_count"].iter().any(|s| name == format!("{}{s}", self.family))
            }
            "counter" => name == self.family && name.ends_with("_total"),
            "gauge" => name == self.family,
            _ => false,
        };
        if !fits {
            return Err("sample outside its family".into());
        }
        if !self.samples.insert(series.to_owned()) {
            return Err("sample twice".into());
        }
        if self.kind == "histogram" {
            let key = |labels: &[(String, String)]| format!("{} {labels:?}", self.family);
            if name.ends_with("_bucket") {
                let (last, others) = labels.split_last().ok_or("bucket without le")?;
                let bound =
                    if last.1 == "+Inf" { f64::INFINITY } else { last.1.parse().map_err(|_| "bad le")? };
                self.buckets.entry(key(others)).or_default().push((bound, value));
            } else if name.ends_with("_count") {
                self.counts.insert(key(&labels), value);
            }
        }
        Ok(())
    }

    fn histograms(&self) -> Result<(), String> {
        for (series, buckets) in &self.buckets {
            if !buckets.is_sorted_by(|left, right| left.0 < right.0 && left.1 <= right.1) {
                return Err(format!("buckets are not ascending: {series}"));
            }
            let last = buckets.last().filter(|last| last.0.is_infinite());
            if last.map(|last| last.1) != self.counts.get(series).copied() {
                return Err(format!("+Inf is not the count: {series}"));
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let good = |(index, byte): (usize, u8)| {
        byte.is_ascii_alphabetic() || byte == b'_' || (index > 0 && byte.is_ascii_digit())
    };
    !name.is_empty() && name.bytes().enumerate().all(good)
}

fn parse_labels(mut text: &str) -> Result<Vec<(String, String)>, String> {
    let mut labels: Vec<(String, String)> = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").ok_or("label without value")?;
        if !is_name(name) || labels.iter().any(|(known, _)| known == name) {
            return Err("bad label".into());
        }
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next().ok_or("label value without end")? {
                (at, '"') => break at,
                (_, '\\') => match characters.next().ok_or("escape without character")?.1 {
                    'n' => value.push('\n'),
                    other @ ('\\' | '"') => value.push(other),
                    _ => return Err("bad escape".into()),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        text = &rest[end + 1..];
        if let Some(next) = text.strip_prefix(',') {
            text = next;
        } else if !text.is_empty() {
            return Err("no comma between labels".into());
        }
    }
    Ok(labels)
}

#[test]
fn the_checker_sees_faults() {
    let head = "# HELP a_total x\n# TYPE a_total counter\n";
    let histogram = "# HELP h x\n# TYPE h histogram\n";
    for (text, good) in [
        (format!("{head}a_total{{l=\"v\\\"\\\\\\n\"}} 1\na_total 2\n"), true),
        (format!("{histogram}h_bucket{{le=\"1\"}} 1\nh_bucket{{le=\"+Inf\"}} 2\nh_sum 3\nh_count 2\n"), true),
        ("a_total 1\n".to_owned(), false),
        (format!("{head}a_total 1\na_total 1\n"), false),
        (format!("{head}b_total 1\n"), false),
        (format!("{head}a_total one\n"), false),
        (format!("{head}a_total{{l=v}} 1\n"), false),
        (format!("{head}a_total{{1l=\"v\"}} 1\n"), false),
        (format!("{head}a_total{{l=\"\\x\"}} 1\n"), false),
        (format!("{head}a_total 1"), false),
        (format!("{head}{head}"), false),
        (format!("{histogram}h_bucket{{le=\"+Inf\"}} 2\nh_sum 3\nh_count 1\n"), false),
        (
            format!("{histogram}h_bucket{{le=\"1\"}} 3\nh_bucket{{le=\"+Inf\"}} 2\nh_sum 3\nh_count 2\n"),
            false,
        ),
        (format!("{histogram}h_bucket{{le=\"1\"}} 1\nh_sum 3\nh_count 1\n"), false),
    ] {
        assert_eq!(check(&text).is_ok(), good, "{text}{:?}", check(&text));
    }
}
