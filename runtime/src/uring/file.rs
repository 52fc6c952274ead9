//! Files of the real disk: reads, writes and fdatasync in the ring, everything else on helper threads.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Error, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::clock;
use super::durable_write::DurableChooser;
use super::fd::Descriptor;
use super::helper::{self, Lane};
use super::pace::Pace;
use super::payload::{Parts, Payload};
use super::reactor::Reactor;
use crate::buffer::{AlignedBuf, BufferPool, ChunkSlice, PAGE_SIZE};
use crate::effects::{File, WriteMode};
use crate::time::Monotonic;

/// Zeros are written in pieces of this size.
const PREWRITE_PIECE: usize = 1 << 20;

/// Zeros that one job of a helper thread writes, so that other jobs get their turn.
const PREWRITE_JOB: u64 = 8 << 20;

/// What the files of a thread need of its shard.
#[derive(Clone)]
pub(super) struct DiskContext {
    pub(super) reactor: Rc<Reactor>,
    pub(super) durable: Rc<DurableChooser>,
    pub(super) pace: Rc<Pace>,
}

thread_local! {
    /// The shard of this thread: a file belongs to none and uses the ring of the thread that asks.
    static CONTEXT: RefCell<Option<DiskContext>> = const { RefCell::new(None) };
}

/// Makes a shard's reactor the one of this thread.
pub(super) fn set_context(context: Option<DiskContext>) {
    CONTEXT.set(context);
}

fn context() -> io::Result<DiskContext> {
    CONTEXT
        .with_borrow(Clone::clone)
        .ok_or_else(|| Error::other("this thread is no shard: files cannot be used here"))
}

/// An open file.
#[derive(Debug, Clone)]
pub struct UringFile {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fd: Arc<Descriptor>,
    path: PathBuf,
    direct: bool,
    /// The tick in which the last operation that has ended was begun.
    tick: AtomicU64,
    /// For a direct file, a second, buffered descriptor that only reads.
    buffered: OnceLock<Arc<Descriptor>>,
}

impl UringFile {
    pub(super) fn new(file: fs::File, path: &Path, direct: bool) -> Self {
        let fd = Arc::new(Descriptor::of_file(file.into()));
        Self {
            shared: Arc::new(Shared {
                fd,
                path: path.to_owned(),
                direct,
                tick: AtomicU64::new(0),
                buffered: OnceLock::new(),
            }),
        }
    }

    /// The name under which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// A descriptor that reads through the page cache.
    pub(super) async fn buffered(&self) -> io::Result<Arc<Descriptor>> {
        if !self.shared.direct {
            return Ok(Arc::clone(&self.shared.fd));
        }
        if let Some(fd) = self.shared.buffered.get() {
            return Ok(Arc::clone(fd));
        }
        // By descriptor, not by path: the file may have been renamed.
        let path = format!("/proc/self/fd/{}", self.shared.fd.as_raw_fd());
        let shared = Arc::clone(&self.shared);
        helper::run(Lane::Urgent, move || {
            let fd = Arc::new(Descriptor::of_file(fs::File::open(path)?.into()));
            Ok(Arc::clone(shared.buffered.get_or_init(|| fd)))
        })
        .await
    }

    /// Whether an operation that begins in this tick may keep the thread in the kernel: the file system may have to note a
    /// new time of the file or to find its blocks, and to wait for its journal meanwhile, which waits for the disk. Behind
    /// another operation of the same tick all that has been done, unless the disk is so slow that even its flush may be
    /// waited for.
    fn may_block(&self, context: &DiskContext, tick: u64) -> bool {
        tick != self.shared.tick.load(Ordering::Relaxed) || context.pace.is_slow()
    }

    /// Notes that an operation has ended.
    fn note_ended(&self, context: &DiskContext, tick: u64, started: Monotonic) {
        self.shared.tick.store(tick, Ordering::Relaxed);
        context.pace.took(started);
    }

    fn check_alignment(&self, what: &str, values: &[u64]) -> io::Result<()> {
        let misaligned = values.iter().find(|value| !value.is_multiple_of(PAGE_SIZE as u64));
        match misaligned {
            Some(value) if self.shared.direct => Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{what} of direct file {}: {value} is not a multiple of {PAGE_SIZE}",
                    self.path().display()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Runs a blocking job with a plain handle of this file.
    async fn on_helper<T: Send + 'static>(
        &self,
        lane: Lane,
        job: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let shared = Arc::clone(&self.shared);
        helper::run(lane, move || with_file(&shared.fd, job)).await
    }

    async fn read_into(
        &self,
        buffer: AlignedBuf,
        offset: u64,
        length: usize,
    ) -> (io::Result<usize>, AlignedBuf) {
        match self.check_read(&buffer, offset, length) {
            Ok(context) => {
                let (tick, started) = (clock::tick(), clock::now());
                let worker = self.may_block(&context, tick);
                let read = Piece { offset, length, direct: self.shared.direct, worker };
                let (done, buffer) = read_fully(&context.reactor, &self.shared.fd, buffer, read).await;
                self.note_ended(&context, tick, started);
                (done, buffer)
            }
            Err(error) => (Err(error), buffer),
        }
    }

    fn check_read(&self, buffer: &AlignedBuf, offset: u64, length: usize) -> io::Result<DiskContext> {
        self.check_alignment("read", &[offset, length as u64])?;
        if length > buffer.capacity() {
            return Err(Error::new(ErrorKind::InvalidInput, "the read is longer than its buffer"));
        }
        context()
    }

    async fn write_slices(&self, slices: Vec<ChunkSlice>, offset: u64, mode: WriteMode) -> io::Result<()> {
        self.check_alignment("offset of a write", &[offset])?;
        let total: usize = slices.iter().map(ChunkSlice::write_len).sum();
        for slice in &slices {
            self.check_alignment("slice", &[slice.write_len() as u64, slice.as_ptr().addr() as u64])?;
        }
        if total == 0 {
            return Ok(());
        }
        let context = context()?;
        let durable = mode == WriteMode::Durable;
        let dsync = durable && context.durable.dsync(total);
        let (tick, started) = (clock::tick(), clock::now());
        let mut payload = Payload::Write {
            file: Arc::clone(&self.shared.fd),
            slices,
            done: 0,
            offset,
            flags: if dsync { libc::RWF_DSYNC } else { 0 },
            worker: self.may_block(&context, tick),
            parts: Parts::default(),
        };
        let mut written = 0;
        while written < total {
            if let Payload::Write { done, .. } = &mut payload {
                *done = written;
            }
            let outcome = context.reactor.submit(payload).await;
            payload = outcome.payload;
            match outcome.result {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if durable && !dsync {
            self.sync().await?;
        }
        self.note_ended(&context, tick, started);
        if durable {
            context.durable.took(total, dsync, clock::now().since(started));
        }
        Ok(())
    }
}

/// Errors after which the same call is simply made again.
pub(super) fn is_transient(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}

/// What to read, and how.
#[derive(Debug, Clone, Copy)]
struct Piece {
    offset: u64,
    length: usize,
    direct: bool,
    worker: bool,
}

/// Reads until the piece or the file ends.
async fn read_fully(
    reactor: &Rc<Reactor>,
    fd: &Arc<Descriptor>,
    buffer: AlignedBuf,
    piece: Piece,
) -> (io::Result<usize>, AlignedBuf) {
    let Piece { offset, length, direct, worker } = piece;
    let mut buffer = buffer;
    let mut count = 0;
    while count < length {
        let payload =
            Payload::Read { file: Arc::clone(fd), buffer, start: count, end: length, offset, worker };
        let outcome = reactor.submit(payload).await;
        let Payload::Read { buffer: back, .. } = outcome.payload else {
            unreachable!("an operation keeps its kind")
        };
        buffer = back;
        match outcome.result {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if is_transient(&error) => continue,
            Err(error) => return (Err(error), buffer),
        }
        if direct && !count.is_multiple_of(PAGE_SIZE) {
            // Only the end of the file stops a direct read within a page.
            break;
        }
    }
    (Ok(count), buffer)
}

/// Reads through the page cache, for senders.
pub(super) async fn read_buffered(
    reactor: &Rc<Reactor>,
    fd: &Arc<Descriptor>,
    buffer: AlignedBuf,
    offset: u64,
    length: usize,
) -> (io::Result<usize>, AlignedBuf) {
    read_fully(reactor, fd, buffer, Piece { offset, length, direct: false, worker: false }).await
}

/// Lends a descriptor as a file of std.
fn with_file<T>(fd: &Descriptor, job: impl FnOnce(&fs::File) -> T) -> T {
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;
    // SAFETY: the descriptor is open while it is borrowed, and the file is not dropped, so it is closed once.
    let file = ManuallyDrop::new(unsafe { fs::File::from_raw_fd(fd.as_raw_fd()) });
    job(&file)
}

/// Writes zeros; memory, offset and length fit direct files.
fn write_zeros(file: &fs::File, from: u64, to: u64) -> io::Result<()> {
    let pool = BufferPool::new(PREWRITE_PIECE);
    let zeros = pool.buffer(PREWRITE_PIECE).map_err(Error::other)?;
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).unwrap_or(usize::MAX).min(PREWRITE_PIECE);
        file.write_all_at(&zeros.as_ref()[..len], at)?;
        at += len as u64;
    }
    Ok(())
}

impl File for UringFile {
    async fn read_at(
        &self,
        buffer: AlignedBuf,
        offset: u64,
        length: usize,
    ) -> (io::Result<usize>, AlignedBuf) {
        self.read_into(buffer, offset, length).await
    }

    async fn write_at(&self, slices: Vec<ChunkSlice>, offset: u64, mode: WriteMode) -> io::Result<()> {
        self.write_slices(slices, offset, mode).await
    }

    async fn sync(&self) -> io::Result<()> {
        let context = context()?;
        loop {
            let outcome = context.reactor.submit(Payload::Sync { file: Arc::clone(&self.shared.fd) }).await;
            match outcome.result {
                Err(error) if is_transient(&error) => {}
                result => return result.map(drop),
            }
        }
    }

    async fn prewrite(&self, from: u64, to: u64) -> io::Result<()> {
        let page = PAGE_SIZE as u64;
        if !from.is_multiple_of(page) || !to.is_multiple_of(page) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("prewrite {from}..{to} is not page-aligned"),
            ));
        }
        let mut at = from;
        while at < to {
            let end = to.min(at + PREWRITE_JOB);
            self.on_helper(Lane::Bulk, move |file| write_zeros(file, at, end)).await?;
            at = end;
        }
        self.on_helper(Lane::Bulk, fs::File::sync_all).await
    }

    async fn truncate(&self, length: u64) -> io::Result<()> {
        self.on_helper(Lane::Change, move |file| {
            file.set_len(length)?;
            file.sync_all()
        })
        .await
    }

    async fn length(&self) -> io::Result<u64> {
        self.on_helper(Lane::Urgent, |file| Ok(file.metadata()?.len())).await
    }
}
