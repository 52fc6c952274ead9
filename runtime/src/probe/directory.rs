//! The file system under a data directory.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Finding;
use crate::DiskSpace;
use crate::buffer::{BufferPool, PAGE_SIZE};
use crate::uring::{check, space};

/// Below this much free space a broker is about to stop.
const SPACE_MIN: u64 = 1 << 30;

/// Writes per latency figure.
const WRITES: usize = 20;

/// What a start banner and the choice of the I/O mode need to know of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryFacts {
    /// The file system's name, or its magic number.
    pub file_system: String,
    /// Whether mixing direct writes and buffered reads of the same file is known to be safe there.
    pub known_safe: bool,
    /// Whether direct reads and writes work, tried on a temporary file.
    pub direct: bool,
    /// The alignment of direct I/O that the kernel demands, if it says so.
    pub alignment: Option<u32>,
}

/// Finds out about a directory. Blocks.
///
/// # Errors
/// If the directory cannot be used at all.
pub fn directory_facts(directory: &Path) -> io::Result<DirectoryFacts> {
    let magic = file_system(directory)?;
    let (file_system, known_safe) = known(magic);
    let scratch = Scratch::new(directory);
    let direct = round_trip(&scratch).is_ok();
    Ok(DirectoryFacts { file_system, known_safe, direct, alignment: alignment(&scratch.0) })
}

pub(super) fn all(directory: &Path, reserve_bytes: u64) -> Vec<Finding> {
    let facts = match directory_facts(directory) {
        Ok(facts) => facts,
        Err(error) => {
            let detail = format!("{}: {error}", directory.display());
            return vec![Finding::fail("data directory", detail, cure(&error))];
        }
    };
    let scratch = Scratch::new(directory);
    if let Err(error) = scratch.open(false) {
        let detail = format!("nothing can be written to {}: {error}", directory.display());
        let writing = Finding::fail("data directory", detail, cure(&error));
        return vec![type_finding(&facts), writing, space_finding(space(directory), reserve_bytes)];
    }
    vec![
        type_finding(&facts),
        direct_finding(&facts, &scratch),
        space_finding(space(directory), reserve_bytes),
        latency_finding(&facts, &scratch),
    ]
}

/// What to do about an error of the file system.
fn cure(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            "give this user the right to write there (`chown`, `chmod u+rwx`), or run as the user who has it"
        }
        Some(libc::EROFS) => {
            "the file system is mounted read-only: `mount -o remount,rw`, a volume without `:ro`, or another directory"
        }
        Some(libc::ENOSPC | libc::EDQUOT) => {
            "free some space or inodes (`df -h`, `df -i`), raise the quota, or move the data directory"
        }
        Some(libc::ENOENT) => "create it, or choose another",
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files: `ulimit -n`",
        Some(libc::EIO) => "the device fails: see the kernel's log (`dmesg`) before anything is stored there",
        _ => "choose another directory",
    }
}

fn type_finding(facts: &DirectoryFacts) -> Finding {
    const NAME: &str = "file system";
    if facts.known_safe {
        return Finding::ok(NAME, &*facts.file_system);
    }
    let detail =
        format!("{}: direct writes beside buffered reads are not known to be safe here", facts.file_system);
    Finding::warn(NAME, detail, "use ext4 or xfs for the data directory")
}

fn direct_finding(facts: &DirectoryFacts, scratch: &Scratch) -> Finding {
    const NAME: &str = "direct I/O";
    let fix = "use ext4 or xfs on a local device for the data directory";
    match (round_trip(scratch), facts.alignment) {
        (Err(error), _) => Finding::warn(NAME, format!("does not work: {error}"), fix),
        (Ok(()), Some(align)) if align as usize > PAGE_SIZE => {
            Finding::fail(NAME, format!("needs an alignment of {align} bytes, more than {PAGE_SIZE}"), fix)
        }
        (Ok(()), Some(align)) => Finding::ok(NAME, format!("works, alignment {align} bytes")),
        (Ok(()), None) => Finding::ok(NAME, "works, alignment not reported"),
    }
}

fn space_finding(space: io::Result<DiskSpace>, reserve_bytes: u64) -> Finding {
    const NAME: &str = "free space";
    let fix = "free some, or move the data directory";
    let available = match space {
        Ok(space) => space.available,
        Err(error) => return Finding::fail(NAME, error.to_string(), fix),
    };
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    if available < reserve_bytes {
        let reserve = mib(reserve_bytes);
        let detail = format!(
            "{}, less than millrace.disk.reserve.bytes ({reserve}): records are refused",
            mib(available)
        );
        return Finding::warn(NAME, detail, fix);
    }
    if available >= SPACE_MIN {
        Finding::ok(NAME, mib(available))
    } else {
        Finding::warn(NAME, mib(available), fix)
    }
}

fn latency_finding(facts: &DirectoryFacts, scratch: &Scratch) -> Finding {
    const NAME: &str = "durable write";
    /// Slower than this, and every acknowledgement is felt.
    const SLOW: Duration = Duration::from_millis(10);
    match latency(scratch, facts.direct) {
        Ok(median) if median <= SLOW => {
            Finding::ok(NAME, format!("4 KiB in {} us (median)", median.as_micros()))
        }
        Ok(median) => Finding::warn(
            NAME,
            format!("4 KiB takes {} us (median)", median.as_micros()),
            "use a device with a write cache that survives power loss",
        ),
        Err(error) => Finding::fail(NAME, error.to_string(), cure(&error)),
    }
}

/// A temporary file's path; the file is removed when this is dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(directory: &Path) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(directory.join(format!(".millrace-probe-{}-{number}", std::process::id())))
    }

    fn open(&self, direct: bool) -> io::Result<fs::File> {
        let flags = libc::O_DSYNC | if direct { libc::O_DIRECT } else { 0 };
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(flags)
            .open(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been created.
        let _missing = fs::remove_file(&self.0);
    }
}

/// Writes a page directly, reads it back and compares.
fn round_trip(scratch: &Scratch) -> io::Result<()> {
    let pool = BufferPool::new(2 * PAGE_SIZE);
    let mut written = pool.buffer(PAGE_SIZE).map_err(io::Error::other)?;
    let mut read = pool.buffer(PAGE_SIZE).map_err(io::Error::other)?;
    written.as_mut().fill(0xa5);
    let file = scratch.open(true)?;
    file.write_all_at(written.as_ref(), 0)?;
    file.read_exact_at(read.as_mut(), 0)?;
    if written.as_ref() == read.as_ref() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "what was read is not what was written"))
    }
}

fn latency(scratch: &Scratch, direct: bool) -> io::Result<Duration> {
    let pool = BufferPool::new(PAGE_SIZE);
    let page = pool.buffer(PAGE_SIZE).map_err(io::Error::other)?;
    let file = scratch.open(direct)?;
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let started = Instant::now();
        file.write_all_at(page.as_ref(), 0)?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times[WRITES / 2])
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn file_system(directory: &Path) -> io::Result<i64> {
    let name = c_path(directory)?;
    // SAFETY: zeros are a valid statfs, which is plain numbers.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the name ends with a zero byte, and `stat` is valid for a write.
    check(unsafe { libc::statfs(name.as_ptr(), &raw mut stat) })?;
    Ok(stat.f_type)
}

/// The name of a file system, and whether the mix of I/O that sendfile needs is safe on it.
fn known(magic: i64) -> (String, bool) {
    let (name, safe) = match magic {
        libc::EXT4_SUPER_MAGIC => ("ext4", true),
        libc::XFS_SUPER_MAGIC => ("xfs", true),
        libc::TMPFS_MAGIC => ("tmpfs", false),
        libc::OVERLAYFS_SUPER_MAGIC => ("overlay", false),
        libc::BTRFS_SUPER_MAGIC => ("btrfs", false),
        libc::NFS_SUPER_MAGIC => ("nfs", false),
        0x2fc1_2fc1 => ("zfs", false),
        other => return (format!("{other:#x}"), false),
    };
    (name.to_owned(), safe)
}

/// What statx says of the alignment of direct I/O (Linux 6.1).
fn alignment(path: &Path) -> Option<u32> {
    let name = c_path(path).ok()?;
    // SAFETY: zeros are a valid statx, which is plain numbers.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the name ends with a zero byte, and `stat` is valid for a write.
    let result =
        unsafe { libc::statx(libc::AT_FDCWD, name.as_ptr(), 0, libc::STATX_DIOALIGN, &raw mut stat) };
    check(result).ok()?;
    (stat.stx_mask & libc::STATX_DIOALIGN != 0).then_some(stat.stx_dio_offset_align)
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn each_error_has_its_cure() {
        for (code, word) in [
            (libc::EACCES, "chown"),
            (libc::EROFS, "remount"),
            (libc::ENOSPC, "df -i"),
            (libc::EDQUOT, "quota"),
            (libc::EIO, "dmesg"),
            (libc::ENOENT, "create"),
        ] {
            let cure = cure(&io::Error::from_raw_os_error(code));
            assert!(cure.contains(word), "{code}: {cure}");
        }
    }

    #[test]
    fn too_little_room_is_told_with_what_comes_of_it() {
        for (available, status, told) in [
            (SPACE_MIN, Status::Ok, "1024 MiB"),
            (200 << 20, Status::Warn, "200 MiB"),
            (
                39 << 20,
                Status::Warn,
                "39 MiB, less than millrace.disk.reserve.bytes (64 MiB): records are refused",
            ),
        ] {
            let found = space_finding(Ok(DiskSpace { available, total: 2 * SPACE_MIN }), 64 << 20);
            assert_eq!((found.status, found.detail.as_str()), (status, told));
        }
    }

    /// A directory that cannot be written to is said as such, with its path; not as a lack of direct I/O.
    #[test]
    fn what_cannot_be_written_to_is_named() {
        let findings = all(Path::new("/proc"), 0);
        let failed: Vec<_> = findings.iter().filter(|finding| finding.name == "data directory").collect();
        assert!(failed.len() == 1 && failed[0].detail.contains("/proc"), "{findings:?}");
        assert!(findings.iter().all(|finding| finding.name != "direct I/O"), "{findings:?}");
    }
}
