//! Kernel, io_uring and limits.

use std::io;

use io_uring::{IoUring, opcode};

use super::Finding;

/// Locked memory that a shard's ring may need on kernels that charge it.
const MEMLOCK_MIN: u64 = 8 << 20;

/// Descriptors that a small broker needs: connections and log segments.
const NOFILE_MIN: u64 = 10_000;

/// The oldest kernel on which everything is used that matters for latency: deferred task work.
const KERNEL_GOOD: (u32, u32) = (6, 1);

/// The oldest kernel that works at all.
const KERNEL_MIN: (u32, u32) = (5, 11);

pub(super) fn all() -> Vec<Finding> {
    vec![kernel(), ring(), memlock(), nofile()]
}

fn kernel() -> Finding {
    const NAME: &str = "kernel";
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let fix = format!("use Linux {}.{} or newer", KERNEL_GOOD.0, KERNEL_GOOD.1);
    if version >= KERNEL_GOOD {
        Finding::ok(NAME, release)
    } else if version >= KERNEL_MIN {
        Finding::warn(NAME, format!("{release} works, but without deferred task work"), fix)
    } else {
        Finding::fail(NAME, format!("{release} is too old"), fix)
    }
}

fn ring() -> Finding {
    match IoUring::new(64) {
        Ok(ring) => opcodes(&ring),
        Err(error) => refused(&error),
    }
}

/// Why there is no ring, and what to do.
fn refused(error: &io::Error) -> Finding {
    const NAME: &str = "io_uring";
    const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";
    let disabled =
        std::fs::read_to_string(SYSCTL).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM), 1 | 2) => Finding::fail(
            NAME,
            format!("switched off: kernel.io_uring_disabled is {disabled}"),
            "run `sysctl -w kernel.io_uring_disabled=0` as root",
        ),
        (Some(libc::EPERM | libc::EACCES), _) => Finding::fail(
            NAME,
            "refused by a security policy, most likely a container's seccomp profile",
            "allow io_uring_setup, io_uring_enter and io_uring_register; Docker: \
             `--security-opt seccomp=unconfined` or a profile with these three calls",
        ),
        (Some(libc::ENOSYS), _) => Finding::fail(
            NAME,
            "this kernel has none, or a container's seccomp profile hides it",
            "use Linux 5.11 or newer, built with CONFIG_IO_URING; in a container allow io_uring_setup, \
             io_uring_enter and io_uring_register",
        ),
        (Some(libc::ENOMEM), _) => Finding::fail(
            NAME,
            "not enough locked memory",
            format!("raise the limit to {} KiB: `ulimit -l`, LimitMEMLOCK= of systemd", MEMLOCK_MIN >> 10),
        ),
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            Finding::fail(NAME, "no descriptor is left", "raise the limit of open files: `ulimit -n`")
        }
        _ => Finding::fail(NAME, format!("cannot be set up: {error}"), "see the message of the kernel"),
    }
}

fn opcodes(ring: &IoUring) -> Finding {
    const NAME: &str = "io_uring";
    let needed = [
        ("READ", opcode::Read::CODE),
        ("WRITEV", opcode::Writev::CODE),
        ("FSYNC", opcode::Fsync::CODE),
        ("RECV", opcode::Recv::CODE),
        ("SENDMSG", opcode::SendMsg::CODE),
        ("ACCEPT", opcode::Accept::CODE),
        ("CONNECT", opcode::Connect::CODE),
        ("POLL_ADD", opcode::PollAdd::CODE),
        ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
    ];
    let mut probe = io_uring::Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut probe) {
        return Finding::warn(
            NAME,
            format!("cannot be asked for its operations: {error}"),
            "use Linux 5.11 or newer",
        );
    }
    let missing: Vec<_> =
        needed.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        Finding::ok(NAME, format!("all {} operations are there", needed.len()))
    } else {
        Finding::fail(NAME, format!("lacks {}", missing.join(", ")), "use Linux 5.11 or newer")
    }
}

/// The soft limit of a resource.
fn limit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is valid for a write; on failure the limit stays zero.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    limit.rlim_cur
}

fn check_limit(name: &'static str, value: u64, wanted: u64, unit: &str, fix: &str) -> Finding {
    let shown = if value == libc::RLIM_INFINITY { "unlimited".to_owned() } else { format!("{value} {unit}") };
    if value >= wanted {
        Finding::ok(name, shown)
    } else {
        Finding::warn(name, format!("{shown}, less than {wanted}"), fix)
    }
}

fn memlock() -> Finding {
    let fix = "raise it: `ulimit -l`, LimitMEMLOCK= of systemd, --ulimit memlock= of Docker";
    check_limit("locked memory", limit(libc::RLIMIT_MEMLOCK), MEMLOCK_MIN, "bytes", fix)
}

fn nofile() -> Finding {
    let fix = "raise it: `ulimit -n`, LimitNOFILE= of systemd, --ulimit nofile= of Docker";
    check_limit("open files", limit(libc::RLIMIT_NOFILE), NOFILE_MIN, "descriptors", fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Status;

    #[test]
    fn a_refused_ring_is_explained() {
        for (code, word) in [
            (libc::EPERM, "seccomp"),
            (libc::ENOSYS, "CONFIG_IO_URING"),
            (libc::ENOMEM, "ulimit -l"),
            (libc::EMFILE, "ulimit -n"),
            (libc::EINVAL, "cannot be set up"),
        ] {
            let finding = refused(&io::Error::from_raw_os_error(code));
            assert_eq!(finding.status, Status::Fail);
            assert!(finding.to_string().contains(word), "{finding}");
        }
    }
}
