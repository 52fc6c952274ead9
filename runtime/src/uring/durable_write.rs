//! How a write becomes durable: one call or two, chosen by what each has cost lately.
//!
//! RWF_DSYNC takes a third less CPU. But the kernel finishes it in a worker on the core that took the device's interrupt,
//! and where that core is busy with something else, the worker waits for its turn: milliseconds. A write followed by fdatasync
//! is finished on our own core. Which is quicker depends on the machine and changes with its load (ADR 0002).

use std::cell::Cell;
use std::time::Duration;

/// How a write becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DurableWrite {
    /// One call: RWF_DSYNC.
    Dsync,
    /// The write, then fdatasync.
    WriteThenSync,
    /// RWF_DSYNC while it is not slower, else the write, then fdatasync.
    #[default]
    Adaptive,
}

/// The choice of one shard.
#[derive(Debug)]
pub(super) struct DurableChooser {
    setting: DurableWrite,
    small: Recent,
    large: Recent,
}

/// What writes of one class of size have cost lately, in nanoseconds; 0: not known.
#[derive(Debug, Default)]
struct Recent {
    dsync: Cell<u64>,
    sync: Cell<u64>,
    writes: Cell<u32>,
}

/// Writes from this size on are compared among themselves.
const LARGE_BYTES: usize = 32 << 10;

/// Once in so many writes the way that is not in use is tried, so that a change is noticed.
const TRY_EVERY: u32 = 4096;

/// Writes at the start that alternate between both ways.
const TRY_FIRST: u32 = 16;

impl DurableChooser {
    pub(super) fn new(setting: DurableWrite) -> Self {
        Self { setting, small: Recent::default(), large: Recent::default() }
    }

    /// Whether the next write of this size should be one call.
    pub(super) fn dsync(&self, bytes: usize) -> bool {
        match self.setting {
            DurableWrite::Dsync => true,
            DurableWrite::WriteThenSync => false,
            DurableWrite::Adaptive => self.recent(bytes).choose(),
        }
    }

    /// Notes how long a durable write took.
    pub(super) fn took(&self, bytes: usize, dsync: bool, time: Duration) {
        let recent = self.recent(bytes);
        let average = if dsync { &recent.dsync } else { &recent.sync };
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        average.set(match average.get() {
            0 => nanos,
            // One slow write is no trend; several are.
            before => before - before / 16 + nanos.min(before.saturating_mul(4)) / 16,
        });
    }

    fn recent(&self, bytes: usize) -> &Recent {
        if bytes < LARGE_BYTES { &self.small } else { &self.large }
    }
}

impl Recent {
    fn choose(&self) -> bool {
        let number = self.writes.get();
        self.writes.set(number.wrapping_add(1));
        if number < TRY_FIRST {
            return number.is_multiple_of(2);
        }
        // A quarter slower is worth the CPU that it saves.
        let dsync = self.dsync.get() <= self.sync.get().saturating_add(self.sync.get() / 4);
        dsync != number.is_multiple_of(TRY_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets `count` writes take what `cost` says and yields how many were single calls.
    fn run(chooser: &DurableChooser, count: u32, cost: impl Fn(bool) -> u64) -> u32 {
        let mut single = 0;
        for _ in 0..count {
            let dsync = chooser.dsync(4096);
            single += u32::from(dsync);
            chooser.took(4096, dsync, Duration::from_micros(cost(dsync)));
        }
        single
    }

    #[test]
    fn the_quicker_way_is_found_and_left_when_it_gets_slow() {
        let chooser = DurableChooser::new(DurableWrite::Adaptive);
        let quick = run(&chooser, 1000, |dsync| if dsync { 110 } else { 130 });
        assert!(quick >= 990, "{quick}");
        let starved = run(&chooser, 1000, |dsync| if dsync { 5000 } else { 130 });
        assert!(starved < 10, "{starved}");
        // The way back is found by the tries.
        let recovered = run(&chooser, 400_000, |dsync| if dsync { 110 } else { 130 });
        assert!(recovered > 200_000, "{recovered}");
    }

    #[test]
    fn one_slow_write_changes_nothing() {
        let chooser = DurableChooser::new(DurableWrite::Adaptive);
        run(&chooser, 100, |dsync| if dsync { 110 } else { 130 });
        chooser.took(4096, true, Duration::from_millis(80));
        assert!(chooser.dsync(4096));
    }

    #[test]
    fn a_setting_is_kept() {
        for (setting, expect) in [(DurableWrite::Dsync, 100), (DurableWrite::WriteThenSync, 0)] {
            let chooser = DurableChooser::new(setting);
            assert_eq!(run(&chooser, 100, |dsync| if dsync { 5000 } else { 1 }), expect);
        }
    }
}
