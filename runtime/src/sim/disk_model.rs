//! One simulated file system: names and files, each once as the process sees them and once as a power cut
//! leaves them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::{Fault, FaultKind, Latency, OpKind};
use super::inode::{Inode, SECTOR_SIZE};
use super::op::{Answer, InodeId, Op, Pending};
use crate::buffer::PAGE_SIZE;
use crate::effects::{DirEntry, DiskSpace, OpenOptions, WriteMode};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Dir,
    File(InodeId),
}

type Names = BTreeMap<PathBuf, Entry>;

/// A disk; survives its node.
#[derive(Default)]
pub(super) struct DiskModel {
    inodes: BTreeMap<InodeId, Inode>,
    inode_next: InodeId,
    /// Names as the process sees them. A directory stands before what is in it.
    names: Names,
    /// Names that a power cut cannot take away.
    stable: Names,
    pub(super) faults: Vec<Fault>,
    pub(super) latency: Latency,
    /// Bytes that fit; unlimited if `None`.
    pub(super) capacity: Option<u64>,
    /// How many files can be open; unlimited if `None`.
    pub(super) descriptors: Option<usize>,
    /// Held by every open file.
    pub(super) opened: Arc<()>,
    /// Changing operations so far: of kind Write, Sync, and in all.
    pub(super) changes: Changes,
    pub(super) crash_at: Option<(OpKind, u64)>,
}

/// How many operations have changed a disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Changes {
    pub(super) writes: u64,
    pub(super) syncs: u64,
    pub(super) all: u64,
}

impl DiskModel {
    pub(super) fn open_files(&self) -> usize {
        Arc::strong_count(&self.opened) - 1
    }

    /// Counts a changing operation that is about to complete; true if the power goes off instead.
    pub(super) fn count_change(&mut self, kind: OpKind) -> bool {
        self.changes.all += 1;
        self.changes.writes += u64::from(kind == OpKind::Write);
        self.changes.syncs += u64::from(kind == OpKind::Sync);
        match &mut self.crash_at {
            Some((wanted, left)) if wanted.matches(kind) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            _ => false,
        }
    }

    /// The fault that hits an operation, if one does.
    pub(super) fn fault(&mut self, kind: OpKind, path: &Path, rng: &mut fastrand::Rng) -> Option<FaultKind> {
        let path = path.to_string_lossy();
        let hit = self.faults.iter_mut().find_map(|fault| fault.hits(kind, &path, rng).then_some(fault.kind));
        self.faults.retain(|fault| fault.count > 0);
        hit
    }

    /// Does what an operation asks for.
    pub(super) fn complete(
        &mut self,
        pending: Pending,
        fault: Option<FaultKind>,
        rng: &mut fastrand::Rng,
    ) -> Answer {
        let Pending { path, op, .. } = pending;
        match fault {
            Some(FaultKind::Eio) => {
                self.fail(&op, rng);
                return op.refuse(io::Error::from_raw_os_error(libc::EIO));
            }
            Some(FaultKind::NoSpace) => return op.refuse(no_space()),
            Some(FaultKind::Lie) => return self.pretend(&path, op),
            Some(FaultKind::BitFlip | FaultKind::Slow(_)) | None => {}
        }
        let flip = fault == Some(FaultKind::BitFlip);
        let written = match &op {
            Op::Write { inode, offset, .. } => Some((*inode, *offset, length_of_write(&op))),
            _ => None,
        };
        let mut answer = self.perform(&path, op);
        if flip {
            self.flip(&mut answer, written, rng);
        }
        answer
    }

    fn perform(&mut self, path: &Path, op: Op) -> Answer {
        match op {
            Op::Open { options } => Answer::Inode(self.open(path, options)),
            Op::CreateDirAll => Answer::Done(self.create_dir_all(path)),
            Op::CreateDir => Answer::Done(self.create_dir(path)),
            Op::Rename { to } => Answer::Done(self.rename(path, &to)),
            Op::RemoveFile => Answer::Done(self.remove_file(path)),
            Op::RemoveDirAll => Answer::Done(self.remove_dir_all(path)),
            Op::SyncDir => Answer::Done(self.sync_dir(path)),
            Op::ListDir => Answer::Entries(self.list_dir(path)),
            Op::ReadFile { size_max } => Answer::Content(self.read_file(path, size_max)),
            Op::Create => Answer::Inode(self.create(path)),
            Op::Move { to } => Answer::Done(self.rename_unsynced(path, &to)),
            Op::Space => Answer::Space(Ok(self.space())),
            Op::Read { inode, mut buffer, offset, length } => {
                let count = self.read_into(inode, offset, &mut buffer.as_mut()[..length]);
                Answer::Read(Ok(count), buffer)
            }
            Op::ReadRange { inode, offset, length } => {
                let mut content = vec![0; length];
                let count = self.read_into(inode, offset, &mut content);
                content.truncate(count);
                Answer::Content(Ok(content))
            }
            Op::Write { inode, content, offset, mode } => {
                let bytes = content.into_bytes();
                Answer::Done(self.write(inode, offset, &bytes, mode))
            }
            Op::Sync { inode } => {
                self.inode(inode).sync();
                Answer::Done(Ok(()))
            }
            Op::Prewrite { inode, from, to } => {
                let zeros = vec![0; to_usize(to.saturating_sub(from))];
                Answer::Done(self.write(inode, from, &zeros, WriteMode::Durable))
            }
            Op::Truncate { inode, length } => {
                self.inode(inode).truncate(to_usize(length));
                Answer::Done(Ok(()))
            }
            Op::Length { inode } => Answer::Length(Ok(self.inode(inode).len() as u64)),
        }
    }

    /// Does an operation without making anything durable.
    fn pretend(&mut self, path: &Path, op: Op) -> Answer {
        match op {
            Op::Write { inode, content, offset, .. } => {
                let bytes = content.into_bytes();
                Answer::Done(self.write(inode, offset, &bytes, WriteMode::Buffered))
            }
            Op::Rename { to } => Answer::Done(self.rename_unsynced(path, &to)),
            Op::Sync { .. } | Op::SyncDir => Answer::Done(Ok(())),
            op => self.perform(path, op),
        }
    }

    /// What an operation that fails with EIO leaves behind.
    fn fail(&mut self, op: &Op, rng: &mut fastrand::Rng) {
        match op {
            Op::Write { inode, offset, content: super::op::WriteContent::Early(bytes), .. } => {
                let sectors = rng.usize(0..=bytes.len() / SECTOR_SIZE);
                let _ = self.write(*inode, *offset, &bytes[..sectors * SECTOR_SIZE], WriteMode::Buffered);
            }
            Op::Sync { inode } => self.inode(*inode).sync_failed(),
            _ => {}
        }
    }

    fn flip(&mut self, answer: &mut Answer, written: Option<(InodeId, u64, usize)>, rng: &mut fastrand::Rng) {
        let bit = 1 << rng.u8(0..8);
        match answer {
            Answer::Read(Ok(count), buffer) if *count > 0 => buffer.as_mut()[rng.usize(0..*count)] ^= bit,
            Answer::Content(Ok(content)) if !content.is_empty() => {
                let at = rng.usize(0..content.len());
                content[at] ^= bit;
            }
            Answer::Done(Ok(())) => {
                if let Some((inode, offset, length)) = written
                    && length > 0
                {
                    let at = to_usize(offset) + rng.usize(0..length);
                    self.inode(inode).corrupt(at);
                }
            }
            _ => {}
        }
    }

    /// The power goes off with `flying` operations under way. What is not durable survives in any subset.
    pub(super) fn power_cut(&mut self, mut flying: Vec<Pending>, rng: &mut fastrand::Rng) {
        rng.shuffle(&mut flying);
        for pending in flying {
            if rng.u8(0..4) > 0 {
                self.interrupt(pending);
            }
        }
        let stable = std::mem::take(&mut self.stable);
        let names = std::mem::take(&mut self.names);
        let mut paths: Vec<&PathBuf> = stable.keys().chain(names.keys()).collect();
        paths.sort();
        paths.dedup();
        let mut kept = Names::new();
        for path in paths {
            let (old, new) = (stable.get(path), names.get(path));
            let entry = if old == new || rng.bool() { new } else { old };
            let parent_is_there = parent_of(path).is_none_or(|dir| kept.get(dir) == Some(&Entry::Dir));
            if let Some(entry) = entry
                && parent_is_there
            {
                kept.insert(path.clone(), *entry);
            }
        }
        let keep = [0.0, 0.5, 1.0, 0.1, 0.9][rng.usize(0..5)];
        for inode in self.inodes.values_mut() {
            inode.power_cut(keep, rng);
        }
        self.stable.clone_from(&kept);
        self.names = kept;
        self.forget_unnamed();
    }

    /// The process ends with `flying` operations under way: the kernel has done them, or a part, or not.
    pub(super) fn process_killed(&mut self, mut flying: Vec<Pending>, rng: &mut fastrand::Rng) {
        rng.shuffle(&mut flying);
        for pending in flying {
            match (rng.u8(0..3), pending) {
                (0, _) => {}
                (1, Pending { op: Op::Write { inode, content, offset, .. }, .. }) => {
                    let bytes = content.into_bytes();
                    let end = rng.usize(0..=bytes.len() / SECTOR_SIZE) * SECTOR_SIZE;
                    let _ = self.write(inode, offset, &bytes[..end], WriteMode::Buffered);
                }
                (_, pending) => {
                    let path = pending.path;
                    drop(self.perform(&path, pending.op));
                }
            }
        }
    }

    /// Leaves of an operation what a power cut in its midst may leave, not yet durable.
    fn interrupt(&mut self, pending: Pending) {
        let Pending { path, op, .. } = pending;
        match op {
            Op::Write { inode, content, offset, .. } => {
                let _ = self.write(inode, offset, &content.into_bytes(), WriteMode::Buffered);
            }
            Op::Prewrite { inode, from, to } => {
                let zeros = vec![0; to_usize(to.saturating_sub(from))];
                let _ = self.write(inode, from, &zeros, WriteMode::Buffered);
            }
            // Nothing of it may have reached the disk, or all.
            op => drop(self.perform(&path, op)),
        }
    }

    fn open(&mut self, path: &Path, options: OpenOptions) -> io::Result<InodeId> {
        match self.names.get(path) {
            Some(Entry::File(inode)) => Ok(*inode),
            Some(Entry::Dir) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            None if options.create => {
                self.want_dir_above(path)?;
                Ok(self.add_file(path, Inode::default()))
            }
            None => Err(not_found(path)),
        }
    }

    fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let ancestors: Vec<&Path> = path.ancestors().filter(|dir| !is_root(dir)).collect();
        for dir in ancestors.into_iter().rev() {
            match self.names.get(dir) {
                Some(Entry::File(_)) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
                Some(Entry::Dir) => {}
                None => {
                    self.names.insert(dir.to_owned(), Entry::Dir);
                }
            }
            self.stable.insert(dir.to_owned(), Entry::Dir);
        }
        Ok(())
    }

    fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.want_dir_above(path)?;
        match self.names.get(path) {
            Some(Entry::File(_)) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            Some(Entry::Dir) => Ok(()),
            None => {
                self.names.insert(path.to_owned(), Entry::Dir);
                Ok(())
            }
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let is_dir = self.names.get(from) == Some(&Entry::Dir);
        self.rename_unsynced(from, to)?;
        if is_dir && from != to {
            move_tree(&mut self.stable, from, to);
        }
        for path in [from, to] {
            self.sync_dir(path.parent().unwrap_or(Path::new("")))?;
        }
        Ok(())
    }

    fn rename_unsynced(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let source = *self.names.get(from).ok_or_else(|| not_found(from))?;
        self.want_dir_above(to)?;
        match (source, self.names.get(to)) {
            (Entry::File(_), Some(Entry::Dir)) => return Err(io::Error::from(io::ErrorKind::IsADirectory)),
            (Entry::Dir, Some(Entry::File(_))) => {
                return Err(io::Error::from(io::ErrorKind::NotADirectory));
            }
            (Entry::Dir, Some(Entry::Dir)) if self.children(to).next().is_some() => {
                return Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty));
            }
            _ => {}
        }
        if from != to {
            move_tree(&mut self.names, from, to);
        }
        Ok(())
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        match self.names.get(path) {
            Some(Entry::File(_)) => {
                self.names.remove(path);
                Ok(())
            }
            Some(Entry::Dir) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            None => Err(not_found(path)),
        }
    }

    fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        match self.names.get(path) {
            Some(Entry::Dir) => {
                self.names.retain(|name, _| !name.starts_with(path));
                Ok(())
            }
            Some(Entry::File(_)) => Err(io::Error::from(io::ErrorKind::NotADirectory)),
            None => Err(not_found(path)),
        }
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        if !is_root(path) && self.names.get(path) != Some(&Entry::Dir) {
            return Err(not_found(path));
        }
        let gone: Vec<PathBuf> = self
            .stable
            .keys()
            .filter(|name| is_in(name, path) && !self.names.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            self.stable.retain(|other, _| !other.starts_with(&name));
        }
        let entries: Vec<(PathBuf, Entry)> =
            self.children(path).map(|(name, entry)| (name.clone(), *entry)).collect();
        self.stable.extend(entries);
        Ok(())
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        match self.names.get(path) {
            Some(Entry::File(_)) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
            None if !is_root(path) => return Err(not_found(path)),
            _ => {}
        }
        let entries = self.children(path).map(|(name, entry)| DirEntry {
            name: name.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            is_dir: *entry == Entry::Dir,
            length: match entry {
                Entry::File(inode) => self.inodes[inode].len() as u64,
                Entry::Dir => 0,
            },
        });
        let mut entries: Vec<DirEntry> = entries.collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn read_file(&self, path: &Path, size_max: u64) -> io::Result<Vec<u8>> {
        match self.names.get(path) {
            Some(Entry::File(inode)) => {
                let content = self.inodes[inode].content();
                if content.len() as u64 > size_max {
                    let text = format!("{} is larger than {size_max} bytes", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                Ok(content.to_vec())
            }
            Some(Entry::Dir) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            None => Err(not_found(path)),
        }
    }

    fn create(&mut self, path: &Path) -> io::Result<InodeId> {
        self.want_dir_above(path)?;
        if self.names.get(path) == Some(&Entry::Dir) {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        Ok(self.add_file(path, Inode::default()))
    }

    pub(super) fn space(&self) -> DiskSpace {
        let used: u64 = self
            .names
            .values()
            .map(|entry| match entry {
                Entry::File(inode) => self.inodes[inode].len().next_multiple_of(PAGE_SIZE) as u64,
                Entry::Dir => 0,
            })
            .sum();
        let total = self.capacity.unwrap_or(1 << 50);
        DiskSpace { total, available: total.saturating_sub(used) }
    }

    fn read_into(&mut self, inode: InodeId, offset: u64, target: &mut [u8]) -> usize {
        let content = self.inode(inode).content();
        let from = content.get(to_usize(offset)..).unwrap_or_default();
        let count = from.len().min(target.len());
        target[..count].copy_from_slice(&from[..count]);
        count
    }

    fn write(&mut self, inode: InodeId, offset: u64, bytes: &[u8], how: WriteMode) -> io::Result<()> {
        let start = to_usize(offset);
        let end = start + bytes.len();
        let growth = (end as u64).saturating_sub(self.inode(inode).len() as u64);
        if self.capacity.is_some() && growth > self.space().available {
            return Err(no_space());
        }
        let inode = self.inode(inode);
        inode.write(start, bytes);
        if how == WriteMode::Durable {
            inode.sync_range(start..end);
        }
        Ok(())
    }

    fn inode(&mut self, inode: InodeId) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("inodes go only when no process has them open")
    }

    fn add_file(&mut self, path: &Path, content: Inode) -> InodeId {
        let inode = self.inode_next;
        self.inode_next += 1;
        self.inodes.insert(inode, content);
        self.names.insert(path.to_owned(), Entry::File(inode));
        inode
    }

    fn want_dir_above(&self, path: &Path) -> io::Result<()> {
        match parent_of(path) {
            Some(dir) if self.names.get(dir) != Some(&Entry::Dir) => Err(not_found(dir)),
            _ => Ok(()),
        }
    }

    fn children<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Entry)> {
        self.names.iter().filter(move |(name, _)| is_in(name, dir))
    }

    /// Frees files that no name leads to; only when no process has them open.
    pub(super) fn forget_unnamed(&mut self) {
        let names = self.names.values().chain(self.stable.values());
        let named: Vec<InodeId> = names
            .filter_map(|entry| match entry {
                Entry::File(inode) => Some(*inode),
                Entry::Dir => None,
            })
            .collect();
        self.inodes.retain(|inode, _| named.contains(inode));
    }

    /// The file at `path`, for tests that look or meddle.
    pub(super) fn file(&mut self, path: &Path) -> Option<&mut Inode> {
        match self.names.get(path) {
            Some(Entry::File(inode)) => self.inodes.get_mut(inode),
            _ => None,
        }
    }

    /// Puts a file there, durably, with the directories above it.
    pub(super) fn place_file(&mut self, path: &Path, content: Vec<u8>) {
        if let Some(dir) = parent_of(path) {
            self.create_dir_all(dir).expect("the test names a directory");
        }
        let inode = self.add_file(path, Inode::settled(content));
        self.stable.insert(path.to_owned(), Entry::File(inode));
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let is_file = |(name, entry): (&PathBuf, &Entry)| (*entry != Entry::Dir).then(|| name.clone());
        self.names.iter().filter_map(is_file).collect()
    }
}

fn length_of_write(op: &Op) -> usize {
    match op {
        Op::Write { content, .. } => content.len(),
        _ => 0,
    }
}

fn move_tree(names: &mut Names, from: &Path, to: &Path) {
    names.retain(|name, _| !name.starts_with(to));
    let moved: Vec<(PathBuf, Entry)> = names
        .iter()
        .filter_map(|(name, entry)| Some((name.strip_prefix(from).ok()?, entry)))
        .map(|(rest, entry)| (if is_root(rest) { to.to_owned() } else { to.join(rest) }, *entry))
        .collect();
    names.retain(|name, _| !name.starts_with(from));
    names.extend(moved);
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/") || path == Path::new(".")
}

fn is_in(name: &Path, dir: &Path) -> bool {
    name.parent().is_some_and(|parent| parent == dir || (is_root(parent) && is_root(dir)))
}

/// The directory that a path stands in, unless that is the root, which always exists.
fn parent_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|dir| !is_root(dir))
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{}: not found", path.display()))
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).expect("simulated files fit into memory")
}
