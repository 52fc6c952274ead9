//! CPU time, memory and disk bytes of a process, from /proc; and our own CPU time.

use std::fs;

use anyhow::{Context, Result};

use crate::clock::Nanos;

/// What a process has used up to a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProcessUse {
    /// User CPU seconds.
    pub(crate) user_s: f64,
    /// System CPU seconds.
    pub(crate) system_s: f64,
    /// Resident bytes now.
    pub(crate) resident_bytes: u64,
    /// Most resident bytes ever.
    pub(crate) resident_bytes_max: u64,
    /// Bytes that it caused to be fetched from storage.
    pub(crate) read_bytes: u64,
    /// Bytes that it caused to be sent to storage.
    pub(crate) written_bytes: u64,
}

impl ProcessUse {
    /// Reads /proc for `pid`.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("reading {path}"))
        };
        let (user_s, system_s) = parse_stat(&read("stat")?).context("unknown form of /proc/PID/stat")?;
        let status = read("status")?;
        // Reading io needs the same user; without it the column is empty rather than the run lost.
        let io = read("io").unwrap_or_default();
        Ok(Self {
            user_s,
            system_s,
            resident_bytes: field(&status, "VmRSS:") * 1024,
            resident_bytes_max: field(&status, "VmHWM:") * 1024,
            read_bytes: field(&io, "read_bytes:"),
            written_bytes: field(&io, "write_bytes:"),
        })
    }

    /// What was used since `earlier`; memory is that of `self`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            user_s: self.user_s - earlier.user_s,
            system_s: self.system_s - earlier.system_s,
            read_bytes: self.read_bytes.saturating_sub(earlier.read_bytes),
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
            ..*self
        }
    }

    /// User and system together.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

/// CPU time of this process.
pub(crate) fn own_cpu() -> Nanos {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * crate::clock::SECOND + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// User and system seconds; the command name may hold spaces and brackets, so fields count from its last bracket.
#[expect(clippy::cast_precision_loss, reason = "ticks since boot stay far below 2^53")]
fn parse_stat(stat: &str) -> Option<(f64, f64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let at = |index: usize| -> Option<f64> { Some(fields.get(index)?.parse::<u64>().ok()? as f64) };
    Some((at(11)? / ticks_per_second, at(12)? / ticks_per_second))
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_ascii_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_behind_any_command_name() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!("12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 {} {} 0 0 20 0 1", 3 * ticks, ticks / 2);
        assert_eq!(parse_stat(&stat), Some((3.0, 0.5)));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn fields_are_found_by_name() {
        let text = "VmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nwrite_bytes: 77\n";
        let rows = [("VmRSS:", 1_024), ("VmHWM:", 2_048), ("write_bytes:", 77), ("none:", 0)];
        for (name, expect) in rows {
            assert_eq!(field(text, name), expect);
        }
    }

    #[test]
    fn this_process_can_be_read() {
        let used = ProcessUse::of(std::process::id()).unwrap();
        assert!(used.resident_bytes > 0 && used.resident_bytes_max >= used.resident_bytes);
        assert!(own_cpu() > 0);
    }
}
