//! The real file system. Every call runs on a helper thread.

use std::fs;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::dir_sync::sync_dir;
use super::fd::check;
use super::file::UringFile;
use super::helper::{self, Lane};
use crate::effects::{DirEntry, Disk, DiskSpace, NewDir, OpenOptions, if_there};

/// The file system as a shard sees it.
#[derive(Debug, Clone)]
pub struct UringDisk {
    _private: (),
}

impl UringDisk {
    pub(super) const fn new() -> Self {
        Self { _private: () }
    }
}

/// Adds what was tried, and with which path, to an error.
fn explain(what: &str, path: &Path) -> impl FnOnce(Error) -> Error {
    let context = format!("cannot {what} {}", path.display());
    move |error| Error::new(kind_of(&error), PathError { context, error })
}

/// The kind of an error, with one for a lack of descriptors, for which `std` has none that can be named.
fn kind_of(error: &Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => ErrorKind::ResourceBusy,
        _ => error.kind(),
    }
}

/// An error of the file system with its path; the cause stays reachable.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {error}")]
struct PathError {
    context: String,
    #[source]
    error: Error,
}

async fn on_helper<T: Send + 'static>(
    lane: Lane,
    what: &'static str,
    path: &Path,
    job: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path = path.to_owned();
    helper::run(lane, move || job(&path).map_err(explain(what, &path))).await
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn open(path: &Path, options: OpenOptions) -> io::Result<UringFile> {
    let direct = if options.direct { libc::O_DIRECT } else { 0 };
    let open = |flags| {
        fs::OpenOptions::new()
            .read(true)
            .write(options.write || options.create)
            .create(options.create)
            .truncate(false)
            .custom_flags(direct | flags)
            .open(path)
    };
    // To note when a file was read is to change it: a read would wait for the journal of the file system.
    let file = match open(libc::O_NOATIME) {
        // That is for the file's owner.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => open(0)?,
        opened => opened?,
    };
    Ok(UringFile::new(file, path, options.direct))
}

fn create_dir_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    if above != path {
        create_dir_all(above)?;
    }
    create_dir(path)?;
    sync_dir(above)
}

fn create_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => Ok(()),
    }
}

fn list_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // It was removed since the directory was read.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        let length = if metadata.is_file() { metadata.len() } else { 0 };
        entries.push(DirEntry { name, is_dir: metadata.is_dir(), length });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn read_file(path: &Path, size_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?.take(size_max.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > size_max {
        return Err(Error::new(ErrorKind::InvalidData, format!("larger than {size_max} bytes")));
    }
    Ok(content)
}

fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let replace = || {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    // A full disk has no room for what is left of it.
    replace().inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    sync_dir(parent(path))
}

/// One commit of the file system, or a few, instead of several for each directory: what is to be done is done for all
/// before the first sync, which then mostly does it for the others too.
fn create_dirs(above: &Path, dirs: &[NewDir]) -> io::Result<()> {
    for dir in dirs {
        create_dir(&dir.path)?;
    }
    sync_dir(above)?;
    let mut written = Vec::new();
    for dir in dirs {
        for (name, content) in &dir.files {
            let path = dir.path.join(name);
            if content.is_empty() {
                fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
                continue;
            }
            let temporary = dir.path.join(format!("{name}.tmp"));
            let mut file = fs::File::create(&temporary)?;
            file.write_all(content)?;
            start_writing(&file);
            written.push((file, temporary, path));
        }
    }
    for (file, ..) in &written {
        file.sync_all()?;
    }
    for (_, temporary, path) in &written {
        fs::rename(temporary, path)?;
    }
    dirs.iter().try_for_each(|dir| sync_dir(&dir.path))
}

/// Has the kernel begin to write a file, so that a later sync has less to do and shares its commit.
fn start_writing(file: &fs::File) {
    // SAFETY: the descriptor is open; no memory is passed. An error comes back from the sync.
    let _hint = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_dir(parent(to))?;
    if parent(from) == parent(to) { Ok(()) } else { sync_dir(parent(from)) }
}

/// Room on the file system that holds `path`.
pub(crate) fn space(path: &Path) -> io::Result<DiskSpace> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: zeros are a valid statvfs, which is plain numbers.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the name ends with a zero byte, and `stat` is valid for a write.
    check(unsafe { libc::statvfs(name.as_ptr(), &raw mut stat) })?;
    Ok(DiskSpace { total: stat.f_blocks * stat.f_frsize, available: stat.f_bavail * stat.f_frsize })
}

impl Disk for UringDisk {
    type File = UringFile;

    async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<UringFile> {
        on_helper(Lane::Urgent, "open", path, move |path| open(path, options)).await
    }

    async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        on_helper(Lane::Change, "create directory", path, create_dir_all).await
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        on_helper(Lane::Change, "create directory", path, create_dir).await
    }

    async fn create_dirs(&self, parent: &Path, dirs: Vec<NewDir>) -> io::Result<()> {
        on_helper(Lane::Change, "create partitions in", parent, move |parent| create_dirs(parent, &dirs))
            .await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = to.to_owned();
        on_helper(Lane::Change, "rename", from, move |from| rename(from, &to)).await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        on_helper(Lane::Bulk, "remove", path, |path| fs::remove_file(path)).await
    }

    async fn shrink_file(&self, path: &Path, bytes: u64) -> io::Result<bool> {
        on_helper(Lane::Bulk, "shrink", path, move |path| {
            let file = fs::OpenOptions::new().write(true).open(path)?;
            let length = file.metadata()?.len();
            if length <= bytes {
                return Ok(false);
            }
            file.set_len(length - bytes)?;
            Ok(true)
        })
        .await
    }

    async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        on_helper(Lane::Bulk, "remove directory", path, |path| fs::remove_dir_all(path)).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        on_helper(Lane::Urgent, "sync directory", path, sync_dir).await
    }

    async fn list_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        on_helper(Lane::Urgent, "list directory", path, list_dir).await
    }

    async fn read_file(&self, path: &Path, size_max: u64) -> io::Result<Vec<u8>> {
        on_helper(Lane::Urgent, "read", path, move |path| read_file(path, size_max)).await
    }

    async fn read_files(&self, paths: Vec<PathBuf>, size_max: u64) -> io::Result<Vec<Option<Vec<u8>>>> {
        let read = move || {
            let read = |path: &PathBuf| if_there(read_file(path, size_max)).map_err(explain("read", path));
            paths.iter().map(read).collect()
        };
        helper::run(Lane::Urgent, read).await
    }

    async fn write_file(&self, path: &Path, content: Vec<u8>) -> io::Result<()> {
        on_helper(Lane::Change, "write", path, move |path| write_file(path, &content)).await
    }

    async fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        on_helper(Lane::Urgent, "find the free space of", path, space).await
    }

    fn display(&self, path: &Path) -> PathBuf {
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    }
}
