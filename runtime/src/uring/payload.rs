//! What an operation owns while the kernel works on it, and the queue entry made from it.
//!
//! Invariant: every address in an entry points to heap memory that the payload owns, so it stays valid when the
//! payload moves, and the payload is not dropped before the kernel's last word on the operation.

use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use io_uring::{opcode, squeue, types};

use super::address::RawAddress;
use super::fd::Descriptor;
use crate::buffer::{AlignedBuf, ChunkSlice};

/// Parts that the kernel takes in one call.
const IOV_MAX: usize = 1024;

/// The most bytes in one call: below the kernel's own limit of 2 GiB less a page, and page-aligned.
const BYTES_MAX: usize = 1 << 30;

/// One operation's resources.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Reads the counter of an eventfd.
    Wake { eventfd: Arc<Descriptor>, counter: Box<u64> },
    /// Reads `buffer[start..end]` from a file; by a worker of the kernel if `worker`.
    Read { file: Arc<Descriptor>, buffer: AlignedBuf, start: usize, end: usize, offset: u64, worker: bool },
    /// Writes what is behind the first `done` bytes of the slices to a file; by a worker of the kernel if `worker`.
    Write {
        file: Arc<Descriptor>,
        slices: Vec<ChunkSlice>,
        done: usize,
        offset: u64,
        flags: i32,
        worker: bool,
        parts: Parts,
    },
    /// fdatasync.
    Sync { file: Arc<Descriptor> },
    /// Receives into the spare capacity.
    Recv { socket: Rc<Descriptor>, buffer: BytesMut, poll_first: bool },
    /// Sends what is behind the first `done` bytes.
    Send { socket: Rc<Descriptor>, slices: Vec<Bytes>, done: usize, parts: Parts, header: Box<Header> },
    /// Accepts a connection.
    Accept { socket: Rc<Descriptor>, address: Box<RawAddress> },
    /// Connects.
    Connect { socket: Rc<Descriptor>, address: Box<RawAddress> },
    /// Waits for readiness.
    Poll { fd: Rc<Descriptor>, events: u32 },
}

/// The kernel's list of parts, kept for the next attempt.
#[derive(Debug, Default)]
pub(crate) struct Parts(Vec<libc::iovec>);

impl Parts {
    /// Lists the given regions without their first `skip` bytes, up to the kernel's limits.
    fn set(&mut self, regions: impl Iterator<Item = (*const u8, usize)>, mut skip: usize) {
        self.0.clear();
        let mut room = BYTES_MAX;
        for (start, len) in regions {
            let skipped = skip.min(len);
            skip -= skipped;
            let len = (len - skipped).min(room);
            room -= len;
            if len > 0 {
                self.0.push(libc::iovec {
                    iov_base: start.wrapping_add(skipped).cast_mut().cast(),
                    iov_len: len,
                });
            }
            if room == 0 || self.0.len() == IOV_MAX {
                break;
            }
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.0.len()).expect("at most IOV_MAX parts")
    }
}

/// A message header without an address, pointing to [`Parts`].
pub(crate) struct Header(libc::msghdr);

impl Default for Header {
    fn default() -> Self {
        // SAFETY: zeros are a valid msghdr: null pointers and lengths of zero.
        Self(unsafe { std::mem::zeroed() })
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Header")
    }
}

/// Has a worker of the kernel begin the operation, instead of the shard within its own system call.
fn by_worker(worker: bool) -> squeue::Flags {
    if worker { squeue::Flags::ASYNC } else { squeue::Flags::empty() }
}

fn target(fd: &impl AsRawFd) -> types::Fd {
    let raw: RawFd = fd.as_raw_fd();
    types::Fd(raw)
}

impl Payload {
    /// The entry that asks the kernel for this operation. Points into `self`'s heap memory only.
    pub(crate) fn entry(&mut self) -> squeue::Entry {
        match self {
            Self::Wake { eventfd, counter } => {
                let counter: *mut u64 = &raw mut **counter;
                opcode::Read::new(target(&**eventfd), counter.cast(), 8).build()
            }
            Self::Read { file, buffer, start, end, offset, worker } => {
                let len = u32::try_from((*end - *start).min(BYTES_MAX)).expect("below the limit");
                let address = buffer.as_mut_ptr().wrapping_add(*start);
                let read = opcode::Read::new(target(&**file), address, len);
                read.offset(*offset + *start as u64).build().flags(by_worker(*worker))
            }
            Self::Write { file, slices, done, offset, flags, worker, parts } => {
                parts.set(slices.iter().map(|slice| (slice.as_ptr(), slice.write_len())), *done);
                opcode::Writev::new(target(&**file), parts.0.as_ptr(), parts.count())
                    .offset(*offset + *done as u64)
                    .rw_flags(*flags)
                    .build()
                    .flags(by_worker(*worker))
            }
            Self::Sync { file } => {
                opcode::Fsync::new(target(&**file)).flags(types::FsyncFlags::DATASYNC).build()
            }
            Self::Recv { socket, buffer, poll_first } => {
                let spare = buffer.spare_capacity_mut();
                let len = u32::try_from(spare.len().min(BYTES_MAX)).expect("below the limit");
                /// IORING_RECVSEND_POLL_FIRST: do not try to receive before something is there.
                const POLL_FIRST: u16 = 1;
                opcode::Recv::new(target(&**socket), spare.as_mut_ptr().cast(), len)
                    .ioprio(if *poll_first { POLL_FIRST } else { 0 })
                    .build()
            }
            Self::Send { socket, slices, done, parts, header } => {
                parts.set(slices.iter().map(|slice| (slice.as_ptr(), slice.len())), *done);
                header.0.msg_iov = parts.0.as_mut_ptr();
                header.0.msg_iovlen = parts.0.len();
                // What the socket does not take at once is the sender's to decide: it may not want to lend memory for long.
                let flags = u32::try_from(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT).expect("small constants");
                opcode::SendMsg::new(target(&**socket), &raw const header.0).flags(flags).build()
            }
            Self::Accept { socket, address } => {
                let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
                let (name, len) = address.room();
                opcode::Accept::new(target(&**socket), name, len).flags(flags).build()
            }
            Self::Connect { socket, address } => {
                let (name, len) = address.filled();
                opcode::Connect::new(target(&**socket), name, len).build()
            }
            Self::Poll { fd, events } => opcode::PollAdd::new(target(&**fd), *events).build(),
        }
    }
}
