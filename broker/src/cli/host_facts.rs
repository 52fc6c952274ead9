//! What the kernel reports about this machine in /proc, as far as the broker depends on it.

use std::fs;
use std::path::Path;

/// Facts read from files of the kernel. What cannot be read is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Major and minor version of the kernel, and its full release.
    pub kernel: Option<(u32, u32, String)>,
    /// `kernel.io_uring_disabled`: 0 is allowed, 1 only for a group, 2 refused.
    pub io_uring_disabled: Option<u32>,
    /// The soft limit of locked memory in bytes; `u64::MAX` is unlimited.
    pub memlock_bytes: Option<u64>,
    /// The soft limit of open files; `u64::MAX` is unlimited.
    pub open_files: Option<u64>,
    /// The type of the data directory's file system.
    pub file_system: Option<String>,
}

impl HostFacts {
    /// Reads them for the file system that holds `data_dir`, which need not exist yet.
    #[must_use]
    pub fn read(data_dir: &Path) -> HostFacts {
        let text = |path: &str| fs::read_to_string(path).ok();
        let limits = text("/proc/self/limits").unwrap_or_default();
        let existing = std::path::absolute(data_dir)
            .ok()
            .and_then(|path| path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok()));
        let mounts = text("/proc/self/mountinfo").unwrap_or_default();
        HostFacts {
            kernel: text("/proc/sys/kernel/osrelease").and_then(|release| kernel_version(&release)),
            io_uring_disabled: text("/proc/sys/kernel/io_uring_disabled")
                .and_then(|text| text.trim().parse().ok()),
            memlock_bytes: soft_limit(&limits, "Max locked memory"),
            open_files: soft_limit(&limits, "Max open files"),
            file_system: existing.and_then(|path| file_system_of(&mounts, &path)),
        }
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32, String)> {
    let release = release.trim();
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    let (major, minor) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some((major, minor, release.to_owned()))
}

fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// The type of the mount with the longest mount point above `path`; of equals the last, which hides the others.
fn file_system_of(mounts: &str, path: &Path) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?.replace("\\040", " ");
        path.starts_with(&point).then(|| (point.len(), right.split(' ').next().unwrap_or_default()))
    });
    mounted.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        for (release, expected) in [
            ("6.18.5-fc\n", Some((6, 18))),
            ("5.4.0-42-generic", Some((5, 4))),
            ("6.1", Some((6, 1))),
            ("unknown", None),
            ("", None),
        ] {
            let version = kernel_version(release).map(|(major, minor, _)| (major, minor));
            assert_eq!(version, expected, "{release}");
        }
    }

    #[test]
    fn limits() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 1048576              files\n\
                      Max locked memory         unlimited            unlimited            bytes\n";
        for (name, expected) in
            [("Max open files", Some(1024)), ("Max locked memory", Some(u64::MAX)), ("Max nothing", None)]
        {
            assert_eq!(soft_limit(limits, name), expected, "{name}");
        }
    }

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "1 0 8:1 / / rw - overlay overlay rw\n\
                      2 1 8:2 / /data rw,noatime shared:1 - ext4 /dev/vdb rw\n\
                      3 1 8:3 / /data\\040two rw - xfs /dev/vdc rw\n\
                      4 1 8:4 / /data/top rw - btrfs /dev/vdd rw\n";
        for (path, expected) in [
            ("/data/millrace", "ext4"),
            ("/data", "ext4"),
            ("/database", "overlay"),
            ("/data two/x", "xfs"),
            ("/data/top/x", "btrfs"),
            ("/", "overlay"),
        ] {
            assert_eq!(file_system_of(mounts, Path::new(path)).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(file_system_of("", Path::new("/x")), None);
    }
}
