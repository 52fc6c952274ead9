//! Which requests give way when others wait for memory: those that arrive too slowly. The longer somebody waits, the faster
//! the others have to be, so that the wait ends however many hold memory, and honest clients on slow lines are ended last.

use std::time::Duration;

/// A large request that holds memory while it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The connection.
    pub connection_id: u64,
    /// What has arrived.
    pub bytes: usize,
    /// For how long it has been received; the time that it waited for memory itself does not count.
    pub received_for: Duration,
}

impl Arrival {
    fn bytes_per_second(&self) -> u128 {
        self.bytes as u128 * 1_000_000 / self.received_for.as_micros().max(1)
    }
}

/// The connections to end so that one that has waited for `waited` gets `wanted_bytes`, slowest first: no more than need
/// be, and none that is fast enough.
#[must_use]
pub fn too_slow(mut arrivals: Vec<Arrival>, waited: Duration, wanted_bytes: usize) -> Vec<u64> {
    let rate_min = rate_min(waited);
    arrivals.retain(|arrival| arrival.received_for >= JUDGED_AFTER && arrival.bytes_per_second() < rate_min);
    arrivals.sort_by_key(|arrival| (arrival.bytes_per_second(), arrival.connection_id));
    let mut freed_bytes = 0;
    let needed = arrivals.iter().take_while(|arrival| {
        let is_needed = freed_bytes < wanted_bytes;
        freed_bytes += arrival.bytes;
        is_needed
    });
    needed.map(|arrival| arrival.connection_id).collect()
}

/// Bytes per second that a request has to arrive with when another has waited for so long.
fn rate_min(waited: Duration) -> u128 {
    let doublings = waited.as_secs().saturating_sub(1);
    RATE_MIN
        .checked_shl(u32::try_from(doublings).unwrap_or(u32::MAX))
        .map_or(RATE_MAX, |rate| rate.min(RATE_MAX))
}

/// How long a request waits for memory before others are judged, and again before they are judged more strictly.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// A request that began to arrive a moment ago is not slow.
const JUDGED_AFTER: Duration = Duration::from_secs(1);

/// What suffices at first.
const RATE_MIN: u128 = 64 << 10;

/// What always suffices: the largest requests take some ten seconds then.
const RATE_MAX: u128 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(connection_id: u64, bytes: usize, millis: u64) -> Arrival {
        Arrival { connection_id, bytes, received_for: Duration::from_millis(millis) }
    }

    #[test]
    fn the_slowest_go_first_and_no_more_than_need_be() {
        let arrivals = vec![
            arrival(1, 100_000, 10_000),
            arrival(2, 100_000, 5_000),
            arrival(3, 100_000, 999),
            arrival(4, 10_000_000, 1_000),
            arrival(5, 100_000, 100_000),
        ];
        for (waited, wanted, expect) in [
            (1, 1, &[5][..]),
            (1, 100_000, &[5]),
            (1, 100_001, &[5, 1]),
            (1, usize::MAX, &[5, 1, 2]),
            (8, usize::MAX, &[5, 1, 2]),
            (60, usize::MAX, &[5, 1, 2]),
        ] {
            let ended = too_slow(arrivals.clone(), Duration::from_secs(waited), wanted);
            assert_eq!(ended, expect, "after {waited} s for {wanted} bytes");
        }
    }

    #[test]
    fn what_suffices_grows_with_the_wait_up_to_a_point() {
        for (rate, enough_until) in [(60 << 10, 0), (100 << 10, 1), (1 << 20, 5), ((8 << 20) - 1, 7)] {
            for waited in 1..100 {
                let ended = too_slow(vec![arrival(1, rate, 1000)], Duration::from_secs(waited), 1);
                assert_eq!(ended.is_empty(), waited <= enough_until, "{rate} bytes/s after {waited} s");
            }
        }
        assert!(too_slow(vec![arrival(1, 8 << 20, 1000)], Duration::from_secs(1000), 1).is_empty());
    }
}
