//! A disk that puts off what waits for the device until it is asked to [`Deferred::settle`]: for
//! starts and stops, when thousands of logs are worked on one after the other and nobody is told
//! of one before all are done.
//!
//! Owns the operations put off. Invariants:
//! - I1: what was put off is not durable, and a file to be replaced still has its old content,
//!   before `settle` returned without an error.
//! - I2: whatever names a path, or closes a file, that something put off is about comes after it;
//!   what is about others does not wait (D1 is kept for each path, not between them).
//! - I3: memory is bounded: with [`OPERATIONS_MAX`] or [`BYTES_MAX`] put off, they are done.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Disk, FileId, Op, Result, Space, StorageError};

/// See the module.
pub struct Deferred<'a> {
    disk: &'a dyn Disk,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    ops: Vec<Op>,
    /// Files to be closed when those are done.
    closed: Vec<Op>,
    /// Files to be synced.
    files: BTreeSet<FileId>,
    /// Directories to be synced.
    dirs: BTreeSet<PathBuf>,
    /// Files to be replaced.
    replaced: BTreeSet<PathBuf>,
    bytes: usize,
}

impl<'a> Deferred<'a> {
    /// Puts nothing off yet.
    pub fn new(disk: &'a dyn Disk) -> Self {
        Self { disk, waiting: Mutex::default() }
    }

    /// Does what was put off; it is durable then.
    ///
    /// # Errors
    /// One of the disk, if there is one more than a lack of room: of what was put off, nothing is
    /// known to be durable.
    pub fn settle(&self) -> Result<()> {
        // Taken first: nobody may come to think that what failed can be tried again (D4).
        let Waiting { ops, closed, .. } = std::mem::take(&mut *self.lock());
        let mut failed = None;
        for error in self.disk.execute_all(&ops).into_iter().filter_map(Result::err) {
            // A full disk may be tried again, so it must not hide that something else is wrong.
            if failed.as_ref().is_none_or(|first: &StorageError| first.is_full()) {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)?;
        closed.iter().try_for_each(|op| self.disk.execute(op))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles if that is about something put off (I2).
    fn settle_before(&self, touches: impl Fn(&Waiting) -> bool) -> Result<()> {
        let touches = touches(&self.lock());
        if touches { self.settle() } else { Ok(()) }
    }
}

impl Waiting {
    fn is_about(&self, path: &Path) -> bool {
        self.replaced.contains(path)
    }

    /// True if the file's directory is to be synced before its names change again.
    fn orders(&self, path: &Path) -> bool {
        path.parent().is_some_and(|dir| self.dirs.contains(dir))
    }

    /// True if something within that directory waits.
    fn is_within(&self, dir: &Path) -> bool {
        let within = |path: &PathBuf| path.starts_with(dir);
        self.replaced.range(dir.to_owned()..).next().is_some_and(within)
            || self.dirs.range(dir.to_owned()..).next().is_some_and(within)
    }

    fn is_full(&self) -> bool {
        self.ops.len() >= OPERATIONS_MAX || self.bytes >= BYTES_MAX
    }
}

impl Disk for Deferred<'_> {
    fn execute(&self, op: &Op) -> Result<()> {
        match op {
            Op::Sync { file } => {
                let mut waiting = self.lock();
                if waiting.files.insert(*file) {
                    waiting.ops.push(op.clone());
                }
            }
            Op::SyncDir { path } => {
                let mut waiting = self.lock();
                if waiting.dirs.insert(path.clone()) {
                    waiting.ops.push(op.clone());
                }
            }
            Op::Replace { path, bytes } => {
                self.settle_before(|waiting| waiting.is_about(path))?;
                let mut waiting = self.lock();
                waiting.bytes += bytes.len();
                waiting.replaced.insert(path.clone());
                waiting.ops.push(op.clone());
            }
            Op::Close { file } => {
                let mut waiting = self.lock();
                if !waiting.files.contains(file) {
                    drop(waiting);
                    return self.disk.execute(op);
                }
                waiting.closed.push(op.clone());
            }
            Op::OpenExisting { path, .. } | Op::CreateDir { path } => {
                self.settle_before(|waiting| waiting.is_about(path))?;
                return self.disk.execute(op);
            }
            Op::Create { path, .. } | Op::RemoveFile { path } => {
                self.settle_before(|waiting| waiting.is_about(path) || waiting.orders(path))?;
                return self.disk.execute(op);
            }
            Op::RenameFile { from, to } => {
                let about = |waiting: &Waiting| {
                    [from, to].iter().any(|path| waiting.is_about(path) || waiting.orders(path))
                };
                self.settle_before(about)?;
                return self.disk.execute(op);
            }
            Op::RenameDir { from: dir, .. } | Op::RemoveDirAll { path: dir } => {
                self.settle_before(|waiting| waiting.is_within(dir))?;
                return self.disk.execute(op);
            }
            Op::Write { .. } | Op::Truncate { .. } | Op::Reserve { .. } => {
                return self.disk.execute(op);
            }
        }
        self.settle_before(Waiting::is_full)
    }

    fn read_at(&self, file: FileId, at: u64, len: usize) -> Result<Bytes> {
        self.disk.read_at(file, at, len)
    }

    fn len(&self, file: FileId) -> Result<u64> {
        self.disk.len(file)
    }

    fn space(&self, dir: &Path) -> Result<Space> {
        self.disk.space(dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.settle_before(|waiting| waiting.is_within(dir))?;
        self.disk.list(dir)
    }

    fn read_file(&self, path: &Path) -> Result<Bytes> {
        self.settle_before(|waiting| waiting.is_about(path))?;
        self.disk.read_file(path)
    }
}

const OPERATIONS_MAX: usize = 16 * 1024;
const BYTES_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::super::mem::MemDisk;
    use super::*;

    fn replace(path: &str, bytes: &'static [u8]) -> Op {
        Op::Replace { path: path.into(), bytes: Bytes::from_static(bytes) }
    }

    #[test]
    fn what_is_put_off_is_durable_when_settled_and_not_before() {
        for settled in [false, true] {
            let disk = MemDisk::new();
            disk.put(Path::new("/d/old"), b"old");
            let file = FileId(1);
            let deferred = Deferred::new(&disk);
            let run = |op: Op| deferred.execute(&op).unwrap();
            run(Op::Create { file, path: "/d/a".into() });
            run(Op::Write { file, at: 0, parts: vec![Bytes::from_static(b"a")] });
            run(Op::Sync { file });
            run(Op::SyncDir { path: "/d".into() });
            run(replace("/d/old", b"new"));
            // The file must be there still when it is synced.
            run(Op::Close { file });
            assert_eq!(disk.content(Path::new("/d/old")).unwrap(), b"old");
            if settled {
                deferred.settle().unwrap();
            }
            disk.crash(&mut |_| 0);
            let found = ["/d/a", "/d/old"].map(|path| disk.content(Path::new(path)));
            let expected = if settled {
                [Some(b"a".to_vec()), Some(b"new".to_vec())]
            } else {
                [None, Some(b"old".to_vec())]
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_depends_on_something_put_off_comes_after_it() {
        let disk = MemDisk::new();
        disk.put(Path::new("/d/t-0/old"), b"old");
        let deferred = Deferred::new(&disk);
        deferred.execute(&replace("/d/t-0/old", b"new")).unwrap();
        assert_eq!(deferred.read_file(Path::new("/d/t-0/old")).unwrap(), &b"new"[..]);
        deferred.execute(&replace("/d/t-0/x", b"1")).unwrap();
        assert_eq!(deferred.list(Path::new("/d/t-0")).unwrap(), ["old", "x"]);
        deferred.execute(&replace("/d/t-0/x", b"2")).unwrap();
        deferred.execute(&replace("/d/t-0/x", b"3")).unwrap();
        deferred.execute(&Op::RemoveFile { path: "/d/t-0/x".into() }).unwrap();
        deferred.settle().unwrap();
        assert_eq!(disk.content(Path::new("/d/t-0/x")), None);
        deferred.execute(&replace("/d/t-0/y", b"y")).unwrap();
        let (from, to) = (PathBuf::from("/d/t-0"), PathBuf::from("/d/t-1"));
        deferred.execute(&Op::RenameDir { from, to }).unwrap();
        assert_eq!(disk.content(Path::new("/d/t-1/y")).unwrap(), b"y");
    }

    #[test]
    fn names_of_a_directory_change_after_its_sync_was_done() {
        let disk = MemDisk::new();
        disk.put(Path::new("/d/a"), b"a");
        disk.put(Path::new("/d/b"), b"b");
        let deferred = Deferred::new(&disk);
        let run = |op: Op| deferred.execute(&op).unwrap();
        let sync = || Op::SyncDir { path: "/d".into() };
        run(Op::RemoveFile { path: "/d/a".into() });
        run(sync());
        run(Op::RenameFile { from: "/d/b".into(), to: "/d/c".into() });
        run(sync());
        // Nothing after the first sync is kept, all before it is.
        disk.crash(&mut |_| 0);
        assert_eq!(disk.list(Path::new("/d")).unwrap(), ["b"]);
    }

    /// Who hears of a full disk tries again; of a sync that failed nobody may.
    #[test]
    fn a_full_disk_hides_no_other_failure() {
        for failing in [0, 1] {
            let disk = MemDisk::new();
            disk.put(Path::new("/d/a"), b"");
            let deferred = Deferred::new(&disk);
            deferred.execute(&replace("/d/b", b"more than there is room for")).unwrap();
            deferred.execute(&Op::SyncDir { path: "/d".into() }).unwrap();
            disk.set_room(Some(1));
            if failing > 0 {
                disk.fail_nth(1);
            }
            assert_eq!(deferred.settle().unwrap_err().is_full(), failing == 0);
        }
    }

    #[test]
    fn a_failure_is_told_and_what_failed_is_not_tried_again() {
        let disk = MemDisk::new();
        disk.put(Path::new("/d/a"), b"");
        let deferred = Deferred::new(&disk);
        deferred.execute(&replace("/d/b", b"b")).unwrap();
        disk.fail_nth(0);
        deferred.settle().unwrap_err();
        deferred.settle().unwrap();
        assert_eq!(disk.content(Path::new("/d/b")), None);
    }
}
