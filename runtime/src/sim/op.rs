//! Disk operations as data: what is asked of the disk, and what comes back.

use std::io;
use std::path::{Path, PathBuf};

use super::fault::OpKind;
use super::state::Boot;
use crate::buffer::{AlignedBuf, ChunkSlice};
use crate::effects::{DirEntry, DiskSpace, OpenOptions, WriteMode};

/// The number of a file's content on its disk.
pub(super) type InodeId = usize;

/// What is asked of a disk.
pub(super) enum Op {
    Open {
        options: OpenOptions,
    },
    CreateDirAll,
    CreateDir,
    Rename {
        to: PathBuf,
    },
    RemoveFile,
    RemoveDirAll,
    SyncDir,
    ListDir,
    ReadFile {
        size_max: u64,
    },
    /// An empty file, whether or not there was one of the name.
    Create,
    /// Gives a file another name; not durable.
    Move {
        to: PathBuf,
    },
    Space,
    Read {
        inode: InodeId,
        buffer: AlignedBuf,
        offset: u64,
        length: usize,
    },
    ReadRange {
        inode: InodeId,
        offset: u64,
        length: usize,
    },
    Write {
        inode: InodeId,
        content: WriteContent,
        offset: u64,
        mode: WriteMode,
    },
    Sync {
        inode: InodeId,
    },
    Prewrite {
        inode: InodeId,
        from: u64,
        to: u64,
    },
    Truncate {
        inode: InodeId,
        length: u64,
    },
    Length {
        inode: InodeId,
    },
}

impl Op {
    pub(super) const fn kind(&self) -> OpKind {
        match self {
            Self::Read { .. } | Self::ReadRange { .. } | Self::ReadFile { .. } => OpKind::Read,
            Self::Write { .. } | Self::Prewrite { .. } => OpKind::Write,
            Self::Sync { .. } | Self::SyncDir => OpKind::Sync,
            _ => OpKind::Meta,
        }
    }

    /// Whether a power cut during this operation can leave something behind.
    pub(super) const fn changes(&self) -> bool {
        !matches!(
            self,
            Self::Read { .. }
                | Self::ReadRange { .. }
                | Self::ReadFile { .. }
                | Self::ListDir
                | Self::Space
                | Self::Length { .. }
                | Self::Open { options: OpenOptions { create: false, .. } }
        )
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Open { options } => format!("open create={} write={}", options.create, options.write),
            Self::CreateDirAll => "create_dir_all".into(),
            Self::CreateDir => "create_dir".into(),
            Self::Rename { to } => format!("rename to {}", to.display()),
            Self::RemoveFile => "remove_file".into(),
            Self::RemoveDirAll => "remove_dir_all".into(),
            Self::SyncDir => "sync_dir".into(),
            Self::ListDir => "list_dir".into(),
            Self::ReadFile { .. } => "read_file".into(),
            Self::Create => "create".into(),
            Self::Move { to } => format!("move to {}", to.display()),
            Self::Space => "space".into(),
            Self::Read { offset, length, .. } | Self::ReadRange { offset, length, .. } => {
                format!("read {offset}+{length}")
            }
            Self::Write { content, offset, mode, .. } => {
                format!("write {offset}+{} {mode:?}", content.len())
            }
            Self::Sync { .. } => "sync".into(),
            Self::Prewrite { from, to, .. } => format!("prewrite {from}..{to}"),
            Self::Truncate { length, .. } => format!("truncate to {length}"),
            Self::Length { .. } => "length".into(),
        }
    }

    /// The answer that says `error`.
    pub(super) fn refuse(self, error: io::Error) -> Answer {
        match self {
            Self::Open { .. } | Self::Create => Answer::Inode(Err(error)),
            Self::ListDir => Answer::Entries(Err(error)),
            Self::ReadFile { .. } | Self::ReadRange { .. } => Answer::Content(Err(error)),
            Self::Space => Answer::Space(Err(error)),
            Self::Read { buffer, .. } => Answer::Read(Err(error), buffer),
            Self::Length { .. } => Answer::Length(Err(error)),
            _ => Answer::Done(Err(error)),
        }
    }
}

/// What a disk answers; the variant follows from the operation.
pub(super) enum Answer {
    Done(io::Result<()>),
    Inode(io::Result<InodeId>),
    Entries(io::Result<Vec<DirEntry>>),
    Content(io::Result<Vec<u8>>),
    Space(io::Result<DiskSpace>),
    Length(io::Result<u64>),
    Read(io::Result<usize>, AlignedBuf),
}

impl Answer {
    pub(super) fn error(&self) -> Option<&io::Error> {
        match self {
            Self::Done(result) => result.as_ref().err(),
            Self::Inode(result) => result.as_ref().err(),
            Self::Entries(result) => result.as_ref().err(),
            Self::Content(result) => result.as_ref().err(),
            Self::Space(result) => result.as_ref().err(),
            Self::Length(result) => result.as_ref().err(),
            Self::Read(result, _) => result.as_ref().err(),
        }
    }
}

/// An operation under way.
pub(super) struct Pending {
    pub(super) boot: Boot,
    pub(super) path: PathBuf,
    pub(super) op: Op,
}

impl Pending {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The bytes of a write. The device may fetch them at any moment while the write is under way, and the
/// padding behind the appended bytes may change meanwhile: half of the writes take them early, half late.
pub(super) enum WriteContent {
    Early(Vec<u8>),
    Late(Vec<ChunkSlice>),
}

impl WriteContent {
    pub(super) fn new(slices: Vec<ChunkSlice>, late: bool) -> Self {
        if late { Self::Late(slices) } else { Self::Early(fetch(&slices)) }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Early(bytes) => bytes.len(),
            Self::Late(slices) => slices.iter().map(ChunkSlice::write_len).sum(),
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Early(bytes) => bytes,
            Self::Late(slices) => fetch(&slices),
        }
    }
}

fn fetch(slices: &[ChunkSlice]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(slices.iter().map(ChunkSlice::write_len).sum());
    for slice in slices {
        let at = bytes.len();
        bytes.resize(at + slice.write_len(), 0);
        let target = bytes[at..].as_mut_ptr();
        // SAFETY: the slice's region has `write_len` initialised bytes from `as_ptr` on and is kept alive by the
        // slice; the target has just been sized; the simulator is single-threaded, so that nobody appends to
        // the chunk meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(slice.as_ptr(), target, slice.write_len()) };
    }
    bytes
}
