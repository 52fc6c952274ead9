//! What the kernel says about this process.

use std::fs;

/// A few figures of the process as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessStats {
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub open_descriptors: Option<u64>,
    /// Log lines that could not be written.
    pub log_lines_dropped: u64,
}

impl ProcessStats {
    /// Reads them from /proc; what cannot be read is left out.
    pub fn read() -> ProcessStats {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        ProcessStats {
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
}
