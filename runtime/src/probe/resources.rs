//! How much memory and how many processors there are for this process.

use std::fs;

use super::control_groups::GroupLimits;

/// What the machine has, and what the control groups of the process leave of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// The machine's memory; 0 if the kernel does not say.
    pub machine_bytes: u64,
    /// Limits of control groups.
    pub groups: GroupLimits,
}

impl Resources {
    /// Asks the kernel.
    #[must_use]
    pub fn read() -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self { machine_bytes: total(&meminfo).unwrap_or(0), groups: GroupLimits::read() }
    }

    /// Bytes of memory that the process may use; 0 if nobody says.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        match &self.groups.memory_bytes {
            Some(limit) if self.machine_bytes == 0 => limit.value,
            Some(limit) => limit.value.min(self.machine_bytes),
            None => self.machine_bytes,
        }
    }

    /// Whose limit [`Resources::memory_bytes`] is.
    #[must_use]
    pub fn memory_origin(&self) -> String {
        match &self.groups.memory_bytes {
            Some(limit) if self.machine_bytes == 0 || limit.value < self.machine_bytes => {
                format!("the control group ({})", limit.file.display())
            }
            _ => "the machine".to_owned(),
        }
    }

    /// Processors whose time the process may use up; `None` is as many as it may run on.
    #[must_use]
    pub fn processors(&self) -> Option<f64> {
        self.groups.processors.as_ref().map(|limit| limit.value)
    }
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::control_groups::GroupLimit;
    use super::*;

    #[test]
    fn the_machine_says_how_much_it_has() {
        assert_eq!(total("MemTotal:       24689764 kB\nMemFree: 1 kB\n"), Some(24_689_764 << 10));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(Resources::read().memory_bytes() > 1 << 20);
    }

    #[test]
    fn the_lesser_of_machine_and_group_counts() {
        for (machine_bytes, group, expected, origin) in [
            (100, None, 100, "the machine"),
            (100, Some(50), 50, "the control group (f)"),
            (100, Some(100), 100, "the machine"),
            (100, Some(500), 100, "the machine"),
            (0, Some(50), 50, "the control group (f)"),
            (0, None, 0, "the machine"),
        ] {
            let memory_bytes = group.map(|value| GroupLimit { value, file: PathBuf::from("f") });
            let groups = GroupLimits { memory_bytes, processors: None };
            let resources = Resources { machine_bytes, groups };
            let found = (resources.memory_bytes(), resources.memory_origin());
            assert_eq!(found, (expected, origin.to_owned()), "{machine_bytes} {group:?}");
        }
    }
}
