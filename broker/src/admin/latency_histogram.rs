//! A histogram of latencies that is cheap enough for every request.

use std::time::Duration;

/// Counts latencies in buckets that double from 8 microseconds to 16.8 seconds, and one above. Recording is one array
/// increment and one addition. Invariant: the count is the sum of the buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyHistogram {
    buckets: [u64; BUCKETS],
    sum_nanos: u64,
}

/// The first bucket holds latencies up to two to this power of microseconds.
const FIRST_POWER: u32 = 3;
/// 22 bounded buckets and the one for everything slower.
const BUCKETS: usize = 23;

impl Default for LatencyHistogram {
    fn default() -> LatencyHistogram {
        LatencyHistogram { buckets: [0; BUCKETS], sum_nanos: 0 }
    }
}

impl LatencyHistogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanos.div_ceil(1000))] += 1;
        self.sum_nanos = self.sum_nanos.saturating_add(nanos);
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &LatencyHistogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos);
    }

    /// How many latencies were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all latencies.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// The upper bound of each bounded bucket, in microseconds, with the number of latencies up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut total = 0;
        self.buckets.iter().take(BUCKETS - 1).zip(FIRST_POWER..).map(move |(count, power)| {
            total += count;
            (1 << power, total)
        })
    }
}

/// The first bucket whose bound is no less than `micros`.
fn bucket_of(micros: u64) -> usize {
    let power = u64::BITS - micros.saturating_sub(1).leading_zeros();
    usize::try_from(power.saturating_sub(FIRST_POWER)).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_lies_within_its_bucket() {
        for (micros, expected_bound) in [
            (0, Some(8)),
            (1, Some(8)),
            (8, Some(8)),
            (9, Some(16)),
            (16, Some(16)),
            (17, Some(32)),
            (1000, Some(1024)),
            (1 << 24, Some(1 << 24)),
            ((1 << 24) + 1, None),
            (u64::MAX / 1000, None),
        ] {
            let mut histogram = LatencyHistogram::default();
            histogram.record(Duration::from_micros(micros));
            let bound = histogram.cumulative().find(|(_, total)| *total == 1).map(|(bound, _)| bound);
            assert_eq!(bound, expected_bound, "{micros} us");
            assert_eq!(histogram.count(), 1);
            assert_eq!(histogram.sum(), Duration::from_micros(micros));
        }
    }

    #[test]
    fn a_fraction_of_a_microsecond_is_rounded_up() {
        let mut histogram = LatencyHistogram::default();
        histogram.record(Duration::from_nanos(8_001));
        assert_eq!(histogram.cumulative().next(), Some((8, 0)));
    }

    #[test]
    fn merging_adds() {
        let mut left = LatencyHistogram::default();
        let mut right = LatencyHistogram::default();
        left.record(Duration::from_micros(5));
        right.record(Duration::from_millis(5));
        right.record(Duration::from_secs(100));
        left.merge(&right);
        assert_eq!(left.count(), 3);
        assert_eq!(left.sum(), Duration::from_micros(100_005_005));
        assert_eq!(left.cumulative().last(), Some((1 << 24, 2)));
    }
}
