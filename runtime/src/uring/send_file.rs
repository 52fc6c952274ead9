//! From a file to a socket: sendfile for what the page cache holds, read and send for the rest.
//!
//! sendfile blocks the thread on pages that are not in memory, so each piece is looked up first; a missing one is
//! read in the ring, which also makes the kernel read ahead.

use std::io::{self, Error, ErrorKind};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use super::fd::{Descriptor, check};
use super::file::{UringFile, read_buffered};
use super::helper::{self, Lane};
use super::net::UringStream;
use crate::buffer::{BufferPool, PAGE_SIZE};
use crate::effects::Stream;

/// Bytes per system call, so that one connection does not hold the shard for long.
const PIECE: u64 = 256 << 10;

/// Sends `length` bytes of `file` from `offset` on.
pub(super) async fn send_file(
    buffers: &BufferPool,
    stream: &UringStream,
    file: &UringFile,
    offset: u64,
    length: u64,
) -> io::Result<()> {
    let fd = file.buffered().await?;
    let end = offset + length;
    let mut at = offset;
    while at < end {
        let piece = (end - at).min(PIECE);
        at += if is_resident(&fd, at, piece) {
            send_resident(stream, &fd, at, piece).await?
        } else {
            send_cold(buffers, stream, &fd, at, piece).await?
        };
    }
    Ok(())
}

/// As much as the socket takes at once, at least one byte.
async fn send_resident(stream: &UringStream, fd: &Descriptor, at: u64, piece: u64) -> io::Result<u64> {
    let mut position = i64::try_from(at).map_err(Error::other)?;
    let count = usize::try_from(piece).expect("a piece is small");
    loop {
        let socket = stream.connection.socket.as_raw_fd();
        // SAFETY: `position` lives across the call; the descriptors are open while they are borrowed.
        let sent = unsafe { libc::sendfile(socket, fd.as_raw_fd(), &raw mut position, count) };
        match u64::try_from(sent) {
            Ok(0) => {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the file ends before what was to be sent"));
            }
            Ok(sent) => {
                if sent == piece {
                    // Other tasks get their turn between full pieces.
                    crate::executor::yield_now().await;
                }
                return Ok(sent);
            }
            Err(_) => {
                let error = Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EAGAIN) => stream.ready(libc::POLLOUT).await?,
                    Some(libc::EINTR) => {}
                    _ => return Err(error),
                }
            }
        }
    }
}

/// Reads a piece and sends it. Without memory for it, a helper thread fetches the pages.
async fn send_cold(
    buffers: &BufferPool,
    stream: &UringStream,
    fd: &Arc<Descriptor>,
    at: u64,
    piece: u64,
) -> io::Result<u64> {
    let count = usize::try_from(piece).expect("a piece is small");
    let Ok(buffer) = buffers.buffer(count) else {
        let file = Arc::clone(fd);
        helper::run(Lane::Bulk, move || fetch(&file, at, count)).await?;
        return send_resident(stream, fd, at, piece).await;
    };
    let (read, buffer) = read_buffered(&stream.connection.reactor, fd, buffer, at, count).await;
    let read = read?;
    if read == 0 {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the file ends before what was to be sent"));
    }
    // The pages are in memory now: what the socket does not take at once need not wait in the buffer.
    let sent = stream.send_while(vec![buffer.into_bytes(0..read)], || std::future::ready(())).await?;
    if sent == 0 {
        stream.writable().await?;
    }
    Ok(sent as u64)
}

/// Brings pages into the cache by reading one byte of each.
fn fetch(fd: &Descriptor, at: u64, count: usize) -> io::Result<()> {
    for start in (0..count).step_by(PAGE_SIZE) {
        read_byte(fd, at + start as u64, 0)?;
    }
    Ok(())
}

fn read_byte(fd: &Descriptor, at: u64, flags: libc::c_int) -> io::Result<()> {
    let mut byte = 0_u8;
    let part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let at = i64::try_from(at).map_err(Error::other)?;
    // SAFETY: the part is one byte that is valid for a write across the call.
    let read = unsafe { libc::preadv2(fd.as_raw_fd(), &raw const part, 1, at, flags) };
    check(i32::try_from(read).expect("one byte at most"))?;
    Ok(())
}

/// The kernel's argument and answer of cachestat(2).
#[repr(C)]
#[derive(Default)]
struct CacheStat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Whether all pages of the range are in memory. By cachestat (Linux 6.5), else by a look at both ends.
fn is_resident(fd: &Descriptor, at: u64, len: u64) -> bool {
    const SYS_CACHESTAT: libc::c_long = 451;
    let range = [at, len];
    let mut stat = CacheStat::default();
    let fd_number = fd.as_raw_fd();
    // SAFETY: range and answer are the kernel's structures, valid for reading and writing across the call.
    let result = unsafe { libc::syscall(SYS_CACHESTAT, fd_number, range.as_ptr(), &raw mut stat, 0) };
    if result == 0 {
        let page = PAGE_SIZE as u64;
        return stat.cached >= (at + len).div_ceil(page) - at / page;
    }
    [at, at + len - 1].iter().all(|at| read_byte(fd, *at, libc::RWF_NOWAIT).is_ok())
}
