//! The simulated disk as the code under test sees it.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::op::{Answer, InodeId, Op, Pending, WriteContent};
use super::state::{Boot, Shared};
use crate::buffer::{AlignedBuf, ChunkSlice, PAGE_SIZE};
use crate::effects::{DirEntry, Disk, DiskSpace, File, NewDir, OpenOptions, WriteMode};

/// A node's disk.
#[derive(Clone)]
pub struct SimDisk {
    shared: Shared,
    boot: Boot,
}

impl SimDisk {
    pub(super) const fn new(shared: Shared, boot: Boot) -> Self {
        Self { shared, boot }
    }

    fn submit(&self, path: &Path, op: Op) -> Asked {
        let pending = Pending { boot: self.boot, path: path.to_owned(), op };
        Asked { id: self.shared.lock().submit(pending), shared: self.shared.clone() }
    }

    /// One that is held by all clones of an open file.
    fn descriptor(&self) -> io::Result<Arc<Descriptor>> {
        let mut state = self.shared.lock();
        let disk = &mut state.nodes[self.boot.node].disk;
        if disk.descriptors.is_some_and(|most| disk.open_files() >= most) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        Ok(Arc::new(Descriptor { _counted: Arc::clone(&disk.opened) }))
    }

    /// A file with this content, not durable.
    async fn write_temporary(&self, path: &Path, content: Vec<u8>) -> io::Result<InodeId> {
        let Answer::Inode(inode) = self.submit(path, Op::Create).await else {
            unreachable!("creating yields a file")
        };
        let (inode, content) = (inode?, WriteContent::Early(content));
        self.done(path, Op::Write { inode, content, offset: 0, mode: WriteMode::Buffered }).await?;
        Ok(inode)
    }

    async fn done(&self, path: &Path, op: Op) -> io::Result<()> {
        match self.submit(path, op).await {
            Answer::Done(result) => result,
            _ => unreachable!("the operation has no result"),
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<SimFile> {
        let descriptor = self.descriptor()?;
        let Answer::Inode(inode) = self.submit(path, Op::Open { options }).await else {
            unreachable!("opening yields a file")
        };
        Ok(SimFile {
            disk: self.clone(),
            path: path.to_owned(),
            inode: inode?,
            options,
            _descriptor: descriptor,
        })
    }

    async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.done(path, Op::CreateDirAll).await
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.done(path, Op::CreateDir).await
    }

    /// In the order of the real one.
    async fn create_dirs(&self, parent: &Path, dirs: Vec<NewDir>) -> io::Result<()> {
        let paths: Vec<PathBuf> = dirs.iter().map(|dir| dir.path.clone()).collect();
        for path in &paths {
            self.create_dir(path).await?;
        }
        self.sync_dir(parent).await?;
        let mut written = Vec::new();
        for NewDir { path, files } in dirs {
            for (name, content) in files {
                let path = path.join(name);
                if content.is_empty() {
                    let options = OpenOptions { write: true, create: true, direct: false };
                    drop(self.open(&path, options).await?);
                } else {
                    let temporary = temporary(&path);
                    let inode = self.write_temporary(&temporary, content).await?;
                    written.push((inode, temporary, path));
                }
            }
        }
        for (inode, temporary, _) in &written {
            self.done(temporary, Op::Sync { inode: *inode }).await?;
        }
        for (_, temporary, path) in written {
            self.done(&temporary, Op::Move { to: path }).await?;
        }
        for path in &paths {
            self.sync_dir(path).await?;
        }
        Ok(())
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.done(from, Op::Rename { to: to.to_owned() }).await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.done(path, Op::RemoveFile).await
    }

    async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.done(path, Op::RemoveDirAll).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.done(path, Op::SyncDir).await
    }

    async fn list_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        match self.submit(path, Op::ListDir).await {
            Answer::Entries(result) => result,
            _ => unreachable!("listing yields entries"),
        }
    }

    async fn read_file(&self, path: &Path, size_max: u64) -> io::Result<Vec<u8>> {
        let _descriptor = self.descriptor()?;
        match self.submit(path, Op::ReadFile { size_max }).await {
            Answer::Content(result) => result,
            _ => unreachable!("reading yields content"),
        }
    }

    async fn write_file(&self, path: &Path, content: Vec<u8>) -> io::Result<()> {
        let (_descriptor, temporary) = (self.descriptor()?, temporary(path));
        let inode = self.write_temporary(&temporary, content).await?;
        self.done(&temporary, Op::Sync { inode }).await?;
        self.done(&temporary, Op::Move { to: path.to_owned() }).await?;
        self.sync_dir(parent(path)).await
    }

    async fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        match self.submit(path, Op::Space).await {
            Answer::Space(result) => result,
            _ => unreachable!("asking for space yields space"),
        }
    }
}

/// Where a file's next content is written.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Counts as open for as long as it is there.
struct Descriptor {
    _counted: Arc<()>,
}

/// An open file on a simulated disk; dead with the life of the node that opened it.
#[derive(Clone)]
pub struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: InodeId,
    options: OpenOptions,
    _descriptor: Arc<Descriptor>,
}

impl SimFile {
    fn submit(&self, op: Op) -> Asked {
        self.disk.submit(&self.path, op)
    }

    async fn change(&self, op: Op) -> io::Result<()> {
        if !self.options.write {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        self.disk.done(&self.path, op).await
    }

    /// Up to `length` bytes at `offset`, read through the page cache.
    pub(super) async fn read_range(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        match self.submit(Op::ReadRange { inode: self.inode, offset, length }).await {
            Answer::Content(result) => result,
            _ => unreachable!("reading yields content"),
        }
    }

    /// The kernel refuses direct I/O that is not aligned.
    fn refuses(&self, offset: u64, length: usize) -> bool {
        let page = PAGE_SIZE as u64;
        self.options.direct && (!offset.is_multiple_of(page) || !(length as u64).is_multiple_of(page))
    }
}

impl File for SimFile {
    async fn read_at(
        &self,
        buffer: AlignedBuf,
        offset: u64,
        length: usize,
    ) -> (io::Result<usize>, AlignedBuf) {
        if self.refuses(offset, length) || length > buffer.capacity() {
            return (Err(io::Error::from_raw_os_error(libc::EINVAL)), buffer);
        }
        match self.submit(Op::Read { inode: self.inode, buffer, offset, length }).await {
            Answer::Read(result, buffer) => (result, buffer),
            _ => unreachable!("reading yields the buffer"),
        }
    }

    async fn write_at(&self, slices: Vec<ChunkSlice>, offset: u64, mode: WriteMode) -> io::Result<()> {
        let unaligned =
            |slice: &ChunkSlice| !slice.as_ptr().addr().is_multiple_of(PAGE_SIZE) && self.options.direct;
        if slices.iter().any(|slice| self.refuses(offset, slice.write_len()) || unaligned(slice)) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let late = self.disk.shared.lock().rng.bool();
        let content = WriteContent::new(slices, late);
        self.change(Op::Write { inode: self.inode, content, offset, mode }).await
    }

    async fn sync(&self) -> io::Result<()> {
        self.disk.done(&self.path, Op::Sync { inode: self.inode }).await
    }

    async fn prewrite(&self, from: u64, to: u64) -> io::Result<()> {
        self.change(Op::Prewrite { inode: self.inode, from, to }).await
    }

    async fn truncate(&self, length: u64) -> io::Result<()> {
        self.change(Op::Truncate { inode: self.inode, length }).await
    }

    async fn length(&self) -> io::Result<u64> {
        match self.submit(Op::Length { inode: self.inode }).await {
            Answer::Length(result) => result,
            _ => unreachable!("asking for the length yields the length"),
        }
    }
}

/// The answer to come. Dropping it lets the operation go on without a listener.
struct Asked {
    shared: Shared,
    /// `None` on a node that is down: the answer never comes.
    id: Option<u64>,
}

impl Future for Asked {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(id) = self.id else { return Poll::Pending };
        let answer = self.shared.lock().poll_op(id, cx.waker());
        match answer {
            Some(answer) => {
                self.id = None;
                Poll::Ready(answer)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.lock().abandon_op(id);
        }
    }
}
