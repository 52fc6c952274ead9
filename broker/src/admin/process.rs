//! What the kernel says about this process.

use std::fs;

/// A few figures of the process as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessStats {
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub open_descriptors: Option<u64>,
    /// Processor time so far, of user and system.
    pub cpu_seconds: Option<f64>,
    /// When the process started, in seconds since 1970.
    pub start_time_seconds: Option<f64>,
    /// Log lines that could not be written.
    pub log_lines_dropped: u64,
}

impl ProcessStats {
    /// Reads them from /proc; what cannot be read is left out.
    pub fn read() -> ProcessStats {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        let times = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(times);
        let boot = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_time);
        ProcessStats {
            cpu_seconds: times.map(|(cpu, _)| cpu),
            start_time_seconds: times.zip(boot).map(|((_, started), boot)| boot + started),
            resident_bytes: resident_bytes(&status),
            log_lines_dropped: crate::logging::dropped(),
            open_descriptors: descriptors.and_then(|count| u64::try_from(count).ok()),
        }
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Processor time and the start after boot, in seconds, out of /proc/self/stat.
fn times(stat: &str) -> Option<(f64, f64)> {
    // The name of the program may hold anything, parentheses too.
    let (_, fields) = stat.rsplit_once(')')?;
    let field = |number: usize| fields.split_ascii_whitespace().nth(number - 3)?.parse::<f64>().ok();
    Some(((field(14)? + field(15)?) / TICKS_PER_SECOND, field(22)? / TICKS_PER_SECOND))
}

/// When the machine started, in seconds since 1970, out of /proc/stat.
fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Linux counts in hundredths for user space, whatever the kernel's own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_found() {
        for (status, expected) in [
            ("Name:\tx\nVmRSS:\t    1234 kB\nVmSwap: 0 kB\n", Some(1234 * 1024)),
            ("Name:\tx\n", None),
            ("VmRSS: many kB", None),
            ("VmRSS: 12", None),
        ] {
            assert_eq!(resident_bytes(status), expected, "{status}");
        }
    }

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 5 0 4200 1 2";
        assert_eq!(times(stat), Some((2.0, 42.0)));
        assert_eq!(times("12 (a) S 1"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nprocesses 5\n"), Some(1.7e9));
    }
}
