//! What the control groups of this process allow it, in versions 1 and 2.
//!
//! Which group the process is in stands in /proc/self/cgroup, where groups are mounted in /proc/self/mountinfo. A limit of a
//! group counts for all below it, so that each group on the way up to the mount is asked. A container often sees its own
//! group as the root of the mount.

use std::fs;
use std::path::{Path, PathBuf};

/// A limit of a control group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupLimit<T> {
    /// What it allows.
    pub value: T,
    /// The file that says so.
    pub file: PathBuf,
}

/// What all control groups of the process allow together; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupLimits {
    /// Bytes of memory.
    pub memory_bytes: Option<GroupLimit<u64>>,
    /// Processors; 0.5 is half of one's time.
    pub processors: Option<GroupLimit<f64>>,
}

/// From here on a limit of version 1, which is a number of pages, means none.
const UNLIMITED_BYTES: u64 = 1 << 62;

impl GroupLimits {
    /// Asks the kernel. What cannot be read is no limit.
    #[must_use]
    pub fn read() -> Self {
        Self::read_below(Path::new("/"))
    }

    /// The same with `root` in front of every path.
    fn read_below(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
        let dirs = |controller| directories(root, &groups, &mounts, controller);
        let of_memory =
            dirs(Controller::V1("memory")).into_iter().map(|dir| dir.join("memory.limit_in_bytes"));
        let unified = dirs(Controller::V2);
        let of_unified = unified.iter().flat_map(|dir| [dir.join("memory.max"), dir.join("memory.high")]);
        let memory = of_memory.chain(of_unified).filter_map(memory_limit);
        let of_cpu = dirs(Controller::V1("cpu")).into_iter().filter_map(|dir| quota_v1(&dir));
        let of_unified = unified.iter().filter_map(|dir| quota_v2(&dir.join("cpu.max")));
        Self {
            memory_bytes: memory.min_by_key(|limit| limit.value),
            processors: of_cpu.chain(of_unified).min_by(|a, b| a.value.total_cmp(&b.value)),
        }
    }
}

/// A hierarchy of groups.
#[derive(Clone, Copy)]
enum Controller {
    /// That of one controller.
    V1(&'static str),
    /// The one for all.
    V2,
}

/// The group of this process and those that it is in, as directories.
fn directories(root: &Path, groups: &str, mounts: &str, controller: Controller) -> Vec<PathBuf> {
    let Some(group) = groups.lines().find_map(|line| group_of(line, controller)) else { return Vec::new() };
    let Some((mount_root, mount_point)) = mounts.lines().find_map(|line| mount_of(line, controller)) else {
        return Vec::new();
    };
    let mount_point = root.join(mount_point.strip_prefix("/").unwrap_or(mount_point));
    // Where the mount shows only a part of the tree, paths begin there. A group outside of it cannot be seen.
    let below = Path::new(group).strip_prefix(mount_root).unwrap_or(Path::new(""));
    let below = if below.components().any(|part| part == std::path::Component::ParentDir) {
        Path::new("")
    } else {
        below
    };
    below.ancestors().map(|path| mount_point.join(path)).collect()
}

/// The path in a line of /proc/self/cgroup, `4:memory,hugetlb:/path`, if it is of this hierarchy.
fn group_of(line: &str, controller: Controller) -> Option<&str> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let is_it = match controller {
        Controller::V1(name) => controllers.split(',').any(|one| one == name),
        Controller::V2 => controllers.is_empty(),
    };
    is_it.then_some(path)
}

/// The root and the place of a mount, from a line of /proc/self/mountinfo, if it is of this hierarchy.
fn mount_of(line: &str, controller: Controller) -> Option<(&str, &Path)> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (mount_root, mount_point) = (mount.next()?, mount.next()?);
    let mut kind = kind.split(' ');
    let (name, options) = (kind.next()?, kind.nth(1).unwrap_or_default());
    let is_it = match controller {
        Controller::V1(controller) => {
            name == "cgroup" && options.split(',').any(|option| option == controller)
        }
        Controller::V2 => name == "cgroup2",
    };
    is_it.then_some((mount_root, Path::new(mount_point)))
}

fn memory_limit(file: PathBuf) -> Option<GroupLimit<u64>> {
    let value: u64 = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
    (value < UNLIMITED_BYTES).then_some(GroupLimit { value, file })
}

fn quota_v1(dir: &Path) -> Option<GroupLimit<f64>> {
    let number = |name: &str| fs::read_to_string(dir.join(name)).ok()?.trim().parse::<f64>().ok();
    let value = share(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)?;
    Some(GroupLimit { value, file: dir.join("cpu.cfs_quota_us") })
}

fn quota_v2(file: &Path) -> Option<GroupLimit<f64>> {
    let text = fs::read_to_string(file).ok()?;
    let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().ok());
    let value = share(numbers.next()??, numbers.next()??)?;
    Some(GroupLimit { value, file: file.to_owned() })
}

fn share(quota_us: f64, period_us: f64) -> Option<f64> {
    (quota_us > 0.0 && period_us > 0.0).then(|| quota_us / period_us)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const MOUNTS_V1: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                             32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                             35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const MOUNTS_V2: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    /// What is found where these files are.
    fn found(name: &str, files: &[(&str, &str)]) -> (Option<(u64, String)>, Option<f64>) {
        let root = std::env::temp_dir().join(format!("millrace-groups-{name}-{}", std::process::id()));
        let files: BTreeMap<_, _> = files.iter().copied().collect();
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let limits = GroupLimits::read_below(&root);
        let shown = |file: &Path| file.strip_prefix(&root).unwrap().display().to_string();
        let memory = limits.memory_bytes.map(|limit| (limit.value, shown(&limit.file)));
        fs::remove_dir_all(&root).unwrap();
        (memory, limits.processors.map(|limit| limit.value))
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts_in_version_1() {
        let found = found(
            "v1",
            &[
                ("proc/self/mountinfo", MOUNTS_V1),
                ("proc/self/cgroup", "4:memory:/a/b\n2:cpu,cpuacct:/c\n0::/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000\n"),
                ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "2000\n"),
                ("sys/fs/cgroup/memory/other/memory.limit_in_bytes", "1\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
                ("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "150000\n"),
                ("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n"),
            ],
        );
        let file = "sys/fs/cgroup/memory/a/memory.limit_in_bytes".to_owned();
        assert_eq!(found, (Some((1000, file)), Some(1.5)));
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts_in_version_2() {
        let found = found(
            "v2",
            &[
                ("proc/self/mountinfo", MOUNTS_V2),
                ("proc/self/cgroup", "0::/pod/box\n"),
                ("sys/fs/cgroup/pod/memory.max", "5000\n"),
                ("sys/fs/cgroup/pod/memory.high", "4000\n"),
                ("sys/fs/cgroup/pod/box/memory.max", "max\n"),
                ("sys/fs/cgroup/pod/cpu.max", "max 100000\n"),
                ("sys/fs/cgroup/pod/box/cpu.max", "50000 100000\n"),
            ],
        );
        assert_eq!(found, (Some((4000, "sys/fs/cgroup/pod/memory.high".to_owned())), Some(0.5)));
    }

    /// As a container without a namespace of its own for groups sees it.
    #[test]
    fn a_mount_may_show_a_part_of_the_tree() {
        let mounts = "35 31 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "3000\n");
        for group in ["/docker/ab", "/elsewhere", "/../../x"] {
            let groups = format!("4:memory:{group}\n");
            let found =
                found("part", &[("proc/self/mountinfo", mounts), ("proc/self/cgroup", &groups), limit]);
            assert_eq!(found.0, Some((3000, limit.0.to_owned())), "{group}");
        }
    }

    #[test]
    fn nothing_readable_is_no_limit() {
        assert_eq!(found("none", &[("proc/self/cgroup", "")]), (None, None));
        let groups = ("proc/self/cgroup", "4:memory:/a\n0::/a\n");
        assert_eq!(found("bare", &[("proc/self/mountinfo", MOUNTS_V1), groups]), (None, None));
    }
}
