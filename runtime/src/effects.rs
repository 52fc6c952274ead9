//! The narrow door to the outside: clock, disk and network as traits, each with a real
//! implementation ([`crate::Shard`]) and a seeded simulated one (`sim`).
//!
//! Everything above this crate is generic over [`Effects`] and so runs unchanged in the simulator.
//! All of it is single-threaded: futures are not `Send`, handles are cheap to clone, a clone means
//! the same thing. Dropping a future cancels what it waits for; the buffer it lent to the kernel is
//! kept alive by the operation until the kernel is done with it.

use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::buffer::{AlignedBuf, BufferPool, ChunkSlice};
use crate::time::Monotonic;

/// All effects of one shard. Cheap to clone; lives on every shard.
pub trait Effects: Clone + 'static {
    /// Where time comes from.
    type Clock: Clock;
    /// Where files are.
    type Disk: Disk;
    /// Where connections come from.
    type Net: Net;

    /// The shard's clock.
    fn clock(&self) -> &Self::Clock;
    /// The shard's disk.
    fn disk(&self) -> &Self::Disk;
    /// The shard's network.
    fn net(&self) -> &Self::Net;
    /// The shard's aligned memory.
    fn buffers(&self) -> &BufferPool;
    /// Starts a task on this shard. It is polled first after the current task has yielded.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
    /// 64 random bits; reproducible under simulation.
    fn random(&self) -> u64;
    /// Keeps `file` open until the last operation of this shard has ended, even if the process is killed: the kernel
    /// goes on with what is under way when the process is gone already. For the lock that tells the next process to
    /// wait. At most one file per shard.
    ///
    /// # Errors
    /// The kernel refuses.
    fn hold_open(&self, file: &Arc<fs::File>) -> io::Result<()>;
    /// Runs a job that computes longer than a shard may be held and does nothing else, on one of a few threads. Simulated:
    /// at some time.
    ///
    /// # Errors
    /// The job panicked.
    fn compute<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>>;
    /// Sends `length` bytes of `file` from `offset` to `stream` without copying them through user space
    /// (sendfile) where that is safe, after what was sent before. Completes when all bytes are handed to the
    /// kernel.
    fn send_file(
        &self,
        stream: &<Self::Net as Net>::Stream,
        file: &<Self::Disk as Disk>::File,
        offset: u64,
        length: u64,
    ) -> impl Future<Output = io::Result<()>>;
}

/// Time, of both kinds.
pub trait Clock: Clone + 'static {
    /// Monotonic time: for waiting and for measuring.
    fn now(&self) -> Monotonic;
    /// Milliseconds since 1970: for timestamps only; may jump.
    fn unix_ms(&self) -> i64;
    /// Completes at `deadline`, or at once if that has passed.
    fn sleep_until(&self, deadline: Monotonic) -> impl Future<Output = ()> + 'static;
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// Write as well as read.
    pub write: bool,
    /// Create the file if it is not there. The directory entry is durable after [`Disk::sync_dir`].
    pub create: bool,
    /// Bypass the page cache: offsets, lengths and memory are multiples of [`crate::buffer::PAGE_SIZE`].
    /// Where the file system refuses, opening fails: the caller decides.
    pub direct: bool,
}

/// What stands in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The last component of the path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Bytes of a file.
    pub length: u64,
}

/// A directory to be created, and files to be created in it: their names and contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDir {
    /// Where.
    pub path: PathBuf,
    /// In order.
    pub files: Vec<(String, Vec<u8>)>,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// The whole file system.
    pub total: u64,
    /// What this process may still use.
    pub available: u64,
}

/// A file system. All calls that may block run on helper threads, never on the shard, several at the same time. An error of kind `ResourceBusy`
/// means that there are no descriptors left, which passes.
pub trait Disk: Clone + 'static {
    /// An open file.
    type File: File;

    /// Opens a file.
    fn open(&self, path: &Path, options: OpenOptions) -> impl Future<Output = io::Result<Self::File>>;
    /// Creates a directory and its missing parents, all of them durable when this returns.
    fn create_dir_all(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Creates a directory whose parent is there; no error if it is there itself. Not durable until
    /// [`Disk::sync_dir`] of the parent.
    fn create_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Creates directories in `parent` with files in them, all durable when this returns; a directory is before any of
    /// its files is. A file with content is replaced atomically, one without is left alone if it is there. An
    /// implementation may share syncs.
    fn create_dirs(&self, parent: &Path, dirs: Vec<NewDir>) -> impl Future<Output = io::Result<()>> {
        async move {
            for dir in &dirs {
                self.create_dir(&dir.path).await?;
            }
            self.sync_dir(parent).await?;
            for NewDir { path, files } in dirs {
                for (name, content) in files {
                    let file = path.join(name);
                    if content.is_empty() {
                        let options = OpenOptions { write: true, create: true, direct: false };
                        drop(self.open(&file, options).await?);
                    } else {
                        self.write_file(&file, content).await?;
                    }
                }
                self.sync_dir(&path).await?;
            }
            Ok(())
        }
    }
    /// Renames a file or directory and makes it durable (fsync of both parent directories).
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;
    /// Removes a file. Not durable until [`Disk::sync_dir`].
    fn remove_file(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Cuts so many bytes off the end of a file that nobody needs any more; says whether it had more than that, else does
    /// nothing. Not durable.
    fn shrink_file(&self, path: &Path, bytes: u64) -> impl Future<Output = io::Result<bool>> {
        async move {
            let file =
                self.open(path, OpenOptions { write: true, create: false, ..OpenOptions::default() }).await?;
            let length = file.length().await?;
            if length <= bytes {
                return Ok(false);
            }
            file.truncate(length - bytes).await?;
            Ok(true)
        }
    }
    /// Removes a directory and all that is in it. Not durable until [`Disk::sync_dir`] of its parent.
    fn remove_dir_all(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// What stands in a directory, in order of name.
    fn list_dir(&self, path: &Path) -> impl Future<Output = io::Result<Vec<DirEntry>>>;
    /// A small file as a whole; `InvalidData` if it is larger than `size_max` bytes.
    fn read_file(&self, path: &Path, size_max: u64) -> impl Future<Output = io::Result<Vec<u8>>>;
    /// Several small files, in one visit to the disk where that is cheaper; `None` for one that is not there or larger than
    /// `size_max` bytes.
    fn read_files(
        &self,
        paths: Vec<PathBuf>,
        size_max: u64,
    ) -> impl Future<Output = io::Result<Vec<Option<Vec<u8>>>>> {
        async move {
            let mut contents = Vec::with_capacity(paths.len());
            for path in paths {
                contents.push(if_there(self.read_file(&path, size_max).await)?);
            }
            Ok(contents)
        }
    }
    /// Replaces a small file atomically and durably: temporary file, fsync, rename, fsync of the directory.
    fn write_file(&self, path: &Path, content: Vec<u8>) -> impl Future<Output = io::Result<()>>;
    /// Room on the file system that holds `path`.
    fn space(&self, path: &Path) -> impl Future<Output = io::Result<DiskSpace>>;
    /// Several of the above in parallel would be several futures; nothing orders them.
    /// The path that error messages should show for `path` (absolute where known).
    fn display(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// `None` for a file that is not there, or too large to be read as a whole.
pub(crate) fn if_there(content: io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    match content {
        Ok(content) => Ok(Some(content)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether a write is on stable storage when it completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// Handed to the kernel only.
    Buffered,
    /// On stable storage (RWF_DSYNC, or write and fdatasync, as the start-up probe chose).
    Durable,
}

/// An open file. Clones share it; it may be sent to another shard, which then uses its own
/// [`Effects`] to work with it.
pub trait File: Clone + Send + Sync + 'static {
    /// Reads up to `length` bytes at `offset` into `buffer` from its start; returns the bytes read, fewer only at
    /// the end of the file. On a direct file `offset` and `length` are multiples of the page size.
    fn read_at(
        &self,
        buffer: AlignedBuf,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = (io::Result<usize>, AlignedBuf)>;
    /// Writes all slices one behind the other at `offset`. Writes of tasks that run in the same turn of the
    /// executor go to the kernel as one batch. On a direct file every slice is page-aligned in memory and length, as
    /// is `offset`.
    fn write_at(
        &self,
        slices: Vec<ChunkSlice>,
        offset: u64,
        mode: WriteMode,
    ) -> impl Future<Output = io::Result<()>>;
    /// Makes content and length durable (fdatasync).
    fn sync(&self) -> impl Future<Output = io::Result<()>>;
    /// Prewrites zeros from `from` to `to` (multiples of the page size, behind everything of value) and
    /// makes them durable, so that later writes there neither extend the file nor allocate. On a helper thread.
    fn prewrite(&self, from: u64, to: u64) -> impl Future<Output = io::Result<()>>;
    /// Sets the length in bytes and makes it durable. On a helper thread.
    fn truncate(&self, length: u64) -> impl Future<Output = io::Result<()>>;
    /// The length in bytes. On a helper thread.
    fn length(&self) -> impl Future<Output = io::Result<u64>>;
}

/// How to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// Several shards listen on the same address, the kernel spreads the connections (SO_REUSEPORT).
    pub reuse_port: bool,
    /// Connections waiting to be accepted.
    pub backlog: i32,
    /// An IPv6 address takes no IPv4 clients.
    pub v6_only: bool,
}

/// A network.
pub trait Net: Clone + 'static {
    /// A listening socket.
    type Listener: Listener<Stream = Self::Stream>;
    /// A connection.
    type Stream: Stream;

    /// Starts to listen.
    ///
    /// # Errors
    /// What `bind` and `listen` say, the address in the message.
    fn listen(&self, address: SocketAddr, options: ListenOptions) -> io::Result<Self::Listener>;
    /// Opens a connection.
    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// A listening socket.
pub trait Listener: 'static {
    /// What it yields.
    type Stream: Stream;
    /// The next connection. TCP_NODELAY is set.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>>;
    /// The address it is bound to (with the port that the kernel chose for port 0).
    fn local_addr(&self) -> SocketAddr;
}

/// A connection. Clones share it, so that one task may receive while another sends.
pub trait Stream: Clone + 'static {
    /// Receives into the spare capacity of `buffer` (which must not be empty) and appends; 0 bytes: the peer has
    /// closed its side.
    fn recv(&self, buffer: BytesMut) -> impl Future<Output = (io::Result<usize>, BytesMut)>;
    /// Sends all parts, one behind the other, as few system calls as possible. At most one send may be under way.
    fn send(&self, parts: Vec<Bytes>) -> impl Future<Output = io::Result<()>> {
        async move { self.send_while(parts, std::future::pending).await.map(drop) }
    }
    /// As [`Stream::send`], but ends when the socket takes nothing until the future that `patience` makes completes; one is
    /// made each time it stops to take. Yields how many bytes it has taken; the parts are dropped.
    fn send_while<F: Future<Output = ()>>(
        &self,
        parts: Vec<Bytes>,
        patience: impl FnMut() -> F,
    ) -> impl Future<Output = io::Result<usize>>;
    /// Waits until the socket takes more, or the connection has ended.
    fn writable(&self) -> impl Future<Output = io::Result<()>>;
    /// Ends both directions; pending operations complete.
    fn shutdown(&self);
    /// Ends our direction: the peer reads what was sent, then the end of the stream, and may go on sending.
    fn shutdown_send(&self);
    /// Our end.
    fn local_addr(&self) -> SocketAddr;
    /// The other end.
    fn peer_addr(&self) -> SocketAddr;
}
