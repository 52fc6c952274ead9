//! Descriptors, shared by handles and by the operations under way on them.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// A descriptor that is closed when its last user is gone.
#[derive(Debug)]
pub(crate) struct Descriptor {
    fd: Option<OwnedFd>,
    slow_to_close: bool,
}

impl Descriptor {
    /// A socket or the like.
    pub(crate) const fn new(fd: OwnedFd) -> Self {
        Self { fd: Some(fd), slow_to_close: false }
    }

    /// A file: closing the last descriptor of an unlinked file frees its blocks, which takes long enough for
    /// a helper thread to do it.
    pub(crate) const fn of_file(fd: OwnedFd) -> Self {
        Self { fd: Some(fd), slow_to_close: true }
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_ref().expect("taken only in drop").as_raw_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take()
            && self.slow_to_close
        {
            super::helper::close(fd);
        }
    }
}

/// Turns the -1 of a system call into its error.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes over a descriptor that a system call has just returned.
pub(crate) fn own(result: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just opened this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The cores that the process may use, as its first thread to be pinned had found it.
static FREE: OnceLock<Affinity> = OnceLock::new();

/// A set of cores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affinity(libc::cpu_set_t);

/// The cores that the current thread may run on.
pub(crate) fn affinity() -> io::Result<Affinity> {
    // SAFETY: zeros are a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid for a write of the size that is given.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) })?;
    Ok(Affinity(set))
}

fn set_affinity(Affinity(set): &Affinity) -> io::Result<()> {
    // SAFETY: the set lives across the call, and its size is given.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const *set) }).map(drop)
}

/// Keeps the current thread on one core.
pub(crate) fn pin_to_core(core: usize) -> io::Result<()> {
    let limit = libc::CPU_SETSIZE.unsigned_abs() as usize;
    if core >= limit {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no core {core}")));
    }
    if let Ok(before) = affinity() {
        let _first = FREE.get_or_init(|| before);
    }
    // SAFETY: zeros are a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the core lies within the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    set_affinity(&Affinity(set))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run on core {core}: {error}")))
}

/// Lets the current thread run wherever the process may, although the one that has started it was pinned.
pub(crate) fn unpin() {
    if let Some(free) = FREE.get() {
        // Where that is refused it stays where it is, which is slower and not wrong.
        let _slower = set_affinity(free);
    }
}

/// How many cores the process may use, although the current thread may be pinned to one.
pub(crate) fn cores() -> usize {
    match FREE.get() {
        // SAFETY: the set is a valid one.
        Some(Affinity(free)) => unsafe { libc::CPU_COUNT(free) }.unsigned_abs() as usize,
        None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    }
}

/// Ends the process without running anything more of it.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: no memory is involved, and it does not return.
    unsafe { libc::_exit(code) }
}
