//! When to write zeros ahead of a log's end.
//!
//! Overwriting is faster than extending and takes half the CPU (docs/adr/0002-prewrite.md), but every prewritten byte is
//! written twice. So logs are prewritten as long as the device's latency counts; when the load makes groups large, the
//! device's bandwidth counts and they are extended.

/// The first prewrite of a segment; a partition with a few records costs no more disk than this.
const STEP_MIN: u64 = 64 << 10;

/// The largest prewrite.
const STEP_MAX: u64 = 8 << 20;

/// Logs whose writes are at least this large on average are extended as they grow.
const WRITE_BYTES_MAX: u64 = 128 << 10;

/// Writes that a log must have seen: a partition that is hardly used costs neither the disk space nor the write.
const WRITES_MIN: u64 = 8;

/// How many bytes to prewrite now, if any: `writes` so far, `average` bytes per write, the `last` prewrite, bytes
/// `left` of it.
pub(crate) fn prewrite_step(writes: u64, average: u64, last: u64, left: u64) -> Option<u64> {
    if writes < WRITES_MIN || average >= WRITE_BYTES_MAX || left > last / 2 {
        return None;
    }
    Some((last * 2).clamp(STEP_MIN, STEP_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_for_small_writes_only() {
        for (writes, average, last, left, expect) in [
            (8, 4096, 0, 0, Some(64 << 10)),
            (7, 4096, 0, 0, None),
            (8, 4096, 64 << 10, 60 << 10, None),
            (8, 4096, 64 << 10, 32 << 10, Some(128 << 10)),
            (8, 4096, STEP_MAX, 0, Some(STEP_MAX)),
            (8, 128 << 10, 0, 0, None),
        ] {
            assert_eq!(
                prewrite_step(writes, average, last, left),
                expect,
                "{writes} {average} {last} {left}"
            );
        }
    }
}
