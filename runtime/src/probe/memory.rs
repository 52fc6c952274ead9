//! How much memory there is.

use std::fs;
use std::path::Path;

/// Where control groups of version 2 are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Bytes of memory that the process may use: what the machine has, or the least that one of its control groups allows. 0 if
/// the kernel does not say.
#[must_use]
pub fn memory_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        limit(&Path::new(CGROUPS).join(path))
    });
    machine.into_iter().chain(group).min().unwrap_or(0)
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The least limit of a group and those that it is in.
fn limit(group: &Path) -> Option<u64> {
    let files = group.ancestors().take_while(|it| it.starts_with(CGROUPS)).map(|it| it.join("memory.max"));
    files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_how_much_it_has() {
        assert_eq!(total("MemTotal:       24689764 kB\nMemFree: 1 kB\n"), Some(24_689_764 << 10));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(memory_bytes() > 1 << 20);
    }
}
