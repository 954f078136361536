//! What a log asks of a disk: operations as data, their completions, and reads.
//!
//! Owns the vocabulary and the contract between a log, which is pure, and whoever executes its
//! operations: the shell on real files ([`os`]), or tests and the simulator ([`mem`]).
//!
//! Contract (numbered for the tests of both sides):
//! - D1: operations of one log on the same file run in submission order, the one that created or
//!   opened it first; so do all its operations that name paths, among themselves. Nothing else
//!   is ordered, and completions may arrive in any order.
//! - D2: `Sync` covers the writes of that file that *completed before it was submitted*, and
//!   `SyncDir` likewise the names; anything else may be lost or kept, in any subset.
//! - D3: `Replace` completes when the new content is durable under its name.
//! - D4: an error is final. The log that got it submits nothing more; nobody retries a sync. A
//!   write there is no room for ([`StorageError::is_full`]) may have been done in part; it harms
//!   nothing else, so that a log opened anew, as after a crash, can go on.

mod deferred;
pub mod mem;
pub mod os;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

pub use deferred::Deferred;

/// An open file, for as long as the log that named it has not closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// The counter [`FileId`]s come from: one per disk, so that no two files share an id.
#[derive(Clone, Debug, Default)]
pub struct FileIds {
    next: u64,
}

impl FileIds {
    /// Starts at `next`.
    pub fn new(next: u64) -> Self {
        Self { next }
    }

    /// An id never handed out before.
    pub fn allocate(&mut self) -> FileId {
        self.next += 1;
        FileId(self.next - 1)
    }

    /// Ids to be handed out elsewhere: so many that nobody comes to the end of them.
    #[must_use]
    pub fn reserve(&mut self) -> Self {
        let first = self.next;
        self.next += RESERVED;
        Self { next: first }
    }

    /// The ids that were handed out since this was as `before`.
    pub fn since(&self, before: &Self) -> impl Iterator<Item = FileId> + use<> {
        (before.next..self.next).map(FileId)
    }
}

/// A log has a few files a segment, and no directory so many entries.
const RESERVED: u64 = 1 << 32;

/// Names a submission; unique within one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Something to do to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes an empty file, or empties the one there, and opens it.
    Create {
        /// Its id from now on.
        file: FileId,
        /// Where.
        path: PathBuf,
    },
    /// Opens a file that is there for reading and writing; an executor may put off the system
    /// call until first use.
    OpenExisting {
        /// Its id from now on.
        file: FileId,
        /// Where.
        path: PathBuf,
    },
    /// Writes all `parts`, one after the other, from byte `at`.
    Write {
        /// The file.
        file: FileId,
        /// Byte position of the first part.
        at: u64,
        /// What to write.
        parts: Vec<Bytes>,
    },
    /// Makes completed writes durable, and as much of the file's size as reading them back takes
    /// (`fdatasync`).
    Sync {
        /// The file.
        file: FileId,
    },
    /// Cuts the file to `len` bytes.
    Truncate {
        /// The file.
        file: FileId,
        /// Its new length.
        len: u64,
    },
    /// Sets space aside for the file to grow to `upto` bytes, so that a full disk does not stop it;
    /// its length stays. Does nothing where that is not possible.
    Reserve {
        /// The file.
        file: FileId,
        /// Its length when that space is used up.
        upto: u64,
    },
    /// Forgets the id.
    Close {
        /// The file.
        file: FileId,
    },
    /// Puts `bytes` under `path` atomically: temporary file, sync, rename, directory sync.
    Replace {
        /// Where.
        path: PathBuf,
        /// The whole new content.
        bytes: Bytes,
    },
    /// Makes a directory; one that is there is fine.
    CreateDir {
        /// Where.
        path: PathBuf,
    },
    /// Makes completed changes of names in a directory durable.
    SyncDir {
        /// The directory.
        path: PathBuf,
    },
    /// Renames a directory.
    RenameDir {
        /// The old name.
        from: PathBuf,
        /// The new name.
        to: PathBuf,
    },
    /// Removes a directory with all it holds; a missing one is fine.
    RemoveDirAll {
        /// The directory.
        path: PathBuf,
    },
    /// Removes a file; a missing one is fine, so that interrupted deletions can be repeated.
    RemoveFile {
        /// The file.
        path: PathBuf,
    },
    /// Renames a file, over one that is there.
    RenameFile {
        /// The old name.
        from: PathBuf,
        /// The new name.
        to: PathBuf,
    },
}

impl Op {
    /// The operation's name in errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::OpenExisting { .. } => "open",
            Self::Write { .. } => "write",
            Self::Sync { .. } => "sync",
            Self::Truncate { .. } => "truncate",
            Self::Reserve { .. } => "reserve",
            Self::Close { .. } => "close",
            Self::Replace { .. } => "replace",
            Self::CreateDir { .. } => "create directory",
            Self::SyncDir { .. } => "sync directory",
            Self::RenameDir { .. } => "rename directory",
            Self::RemoveDirAll { .. } => "remove directory",
            Self::RemoveFile { .. } => "remove",
            Self::RenameFile { .. } => "rename",
        }
    }

    /// The open file it is about.
    pub fn file(&self) -> Option<FileId> {
        match self {
            Self::Create { file, .. }
            | Self::OpenExisting { file, .. }
            | Self::Write { file, .. }
            | Self::Sync { file }
            | Self::Truncate { file, .. }
            | Self::Reserve { file, .. }
            | Self::Close { file } => Some(*file),
            _ => None,
        }
    }
}

/// An operation on its way to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// To be repeated in the completion.
    pub token: Token,
    /// What to do.
    pub op: Op,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The submission's.
    pub token: Token,
    /// Done, or the error after which the log is offline.
    pub result: Result<()>,
}

/// The disk failed, or holds what it must not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct StorageError {
    /// What was tried.
    pub op: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// The system's class of error; [`io::ErrorKind::InvalidData`] for damaged content.
    pub kind: io::ErrorKind,
    /// What the system said, or what is damaged and what to do.
    pub text: String,
}

impl fmt::Display for StorageError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: {}", self.op, self.path.display(), self.text)
    }
}

impl StorageError {
    /// Wraps what the system said.
    pub fn io(op: &'static str, path: &Path, error: &io::Error) -> Self {
        Self { op, path: path.to_owned(), kind: error.kind(), text: error.to_string() }
    }

    /// Content that must not be used; `text` says where, what, and the remedy.
    pub fn damaged(op: &'static str, path: &Path, text: impl Into<String>) -> Self {
        let kind = io::ErrorKind::InvalidData;
        Self { op, path: path.to_owned(), kind, text: text.into() }
    }

    /// True if there was no room for it: nothing else is wrong with the disk. False for a sync,
    /// whatever the reason: what it was to write may be gone.
    pub fn is_full(&self) -> bool {
        let full = matches!(self.kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        full && !self.op.starts_with("sync")
    }

    /// True if what is there is not what should be.
    pub fn is_damage(&self) -> bool {
        self.kind == io::ErrorKind::InvalidData
    }

    /// True if the file, or the open file of that id, is not there (any more).
    pub fn is_not_found(&self) -> bool {
        self.kind == io::ErrorKind::NotFound
    }
}

/// Bytes of the file system a path is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// That may be written still.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// The result of touching a disk.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// A disk. `execute` may block and may be called from any thread; D1 is the caller's to keep.
pub trait Disk: Send + Sync {
    /// Does `op`.
    ///
    /// # Errors
    /// It was not, or not provably, done (D4).
    fn execute(&self, op: &Op) -> Result<()>;

    /// Does each of these once, in no order one may rely on, and tells what became of it; a disk
    /// that can shares their syncs.
    fn execute_all(&self, ops: &[Op]) -> Vec<Result<()>> {
        ops.iter().map(|op| self.execute(op)).collect()
    }

    /// Up to `len` bytes from byte `at`; fewer only where the file ends.
    ///
    /// # Errors
    /// Unknown id (`is_not_found`), or the read failed.
    fn read_at(&self, file: FileId, at: u64, len: usize) -> Result<Bytes>;

    /// As [`Self::read_at`], of what is not needed again soon: it does not take the place of what
    /// is kept in memory.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    fn read_once(&self, file: FileId, at: u64, len: usize) -> Result<Bytes> {
        self.read_at(file, at, len)
    }

    /// False if reads fail with [`io::ErrorKind::WouldBlock`] rather than wait: whoever reads has
    /// no time for long work either.
    fn is_patient(&self) -> bool {
        true
    }

    /// Bytes in the file.
    ///
    /// # Errors
    /// Unknown id (`is_not_found`), or the system's.
    fn len(&self, file: FileId) -> Result<u64>;

    /// The room there is for what is in that directory.
    ///
    /// # Errors
    /// The system's.
    fn space(&self, dir: &Path) -> Result<Space>;

    /// Names in a directory, sorted.
    ///
    /// # Errors
    /// Missing directory (`is_not_found`), or the system's.
    fn list(&self, dir: &Path) -> Result<Vec<String>>;

    /// A whole small file.
    ///
    /// # Errors
    /// Missing file (`is_not_found`), or the system's.
    fn read_file(&self, path: &Path) -> Result<Bytes>;
}
