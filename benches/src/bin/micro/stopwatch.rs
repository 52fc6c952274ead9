//! Times work in rounds; the median round counts, so that a round that was disturbed does not.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds of which the median is taken; odd.
pub(crate) const ROUNDS: usize = 11;

/// One round takes about so long.
const ROUND: Duration = Duration::from_millis(50);

/// Nanoseconds per operation, by name.
#[derive(Debug, Default)]
pub(crate) struct Results {
    rows: Vec<(String, f64)>,
}

impl Results {
    /// Measures `work` and prints the result.
    pub(crate) fn measure<T>(&mut self, name: &str, mut work: impl FnMut() -> T) {
        let start = Instant::now();
        let mut count = 0u32;
        while start.elapsed() < ROUND {
            black_box(work());
            count += 1;
        }
        let rounds = (0..ROUNDS).map(|_| {
            let start = Instant::now();
            for _ in 0..count {
                black_box(work());
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
        });
        self.add(name, rounds.collect());
    }

    /// Takes the nanoseconds per operation of each round, and prints the result.
    pub(crate) fn add(&mut self, name: &str, mut rounds: Vec<f64>) {
        rounds.sort_by(f64::total_cmp);
        let median = rounds[rounds.len() / 2];
        println!(
            "{median:>12.1} ns  {:>14.0} /s  ({:.1} to {:.1})  {name}",
            1e9 / median,
            rounds[0],
            rounds[rounds.len() - 1]
        );
        self.rows.push((name.to_owned(), median));
    }

    /// Takes over what was measured elsewhere.
    pub(crate) fn extend(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }

    /// One line: the median nanoseconds per operation of each name.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<String> =
            self.rows.iter().map(|(name, median)| format!("\"{name}\":{median:.1}")).collect();
        format!("{{\"unit\":\"ns/op\",\"rounds\":{ROUNDS},\"median\":{{{}}}}}", rows.join(","))
    }
}
