//! A disk in memory that forgets what was not synced: for tests and the simulator.
//!
//! Owns, per file, what is durable and what was written since; per directory, which names are
//! durable. Invariants:
//! - I1: what a completed `Sync`, `SyncDir` or `Replace` covered survives every [`MemDisk::crash`].
//! - I2: of the rest, any subset may survive, a write also in part: the caller's choices decide,
//!   so that a seed reproduces a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Disk, FileId, Op, Result, Space, StorageError};

/// The disk. Shared by reference, as the real one is.
#[derive(Debug, Default)]
pub struct MemDisk {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    live: Names,
    durable: Names,
    /// Changes of names not yet durable, in order.
    changes: Vec<Change>,
    open: BTreeMap<FileId, (usize, PathBuf)>,
    executed: u64,
    fail_at: Option<u64>,
    /// Bytes that may be written still, if there is a limit.
    room: Option<u64>,
    /// Something found no room since this was last asked.
    was_full: bool,
}

#[derive(Clone, Debug, Default)]
struct Names {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, usize>,
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    live: Vec<u8>,
    unsynced: Vec<Edit>,
    /// Room was set aside for it to grow to that.
    reserved: u64,
}

#[derive(Clone, Debug)]
enum Edit {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Clone, Debug)]
enum Change {
    AddFile(PathBuf, usize),
    RemoveFile(PathBuf),
    RenameFile(PathBuf, PathBuf),
    AddDir(PathBuf),
    RemoveDir(PathBuf),
    RenameDir(PathBuf, PathBuf),
}

impl MemDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the `nth` operation from now (0 is the next) fail without effect.
    pub fn fail_nth(&self, nth: u64) {
        let mut state = self.lock();
        state.fail_at = Some(state.executed + nth);
    }

    /// Takes back [`Self::fail_nth`]; true if the failure has happened.
    pub fn heal(&self) -> bool {
        let mut state = self.lock();
        let executed = state.executed;
        state.fail_at.take().is_some_and(|at| at < executed)
    }

    /// Leaves room for so many bytes more, or for any number: somebody else fills the disk, or
    /// makes room.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.lock().room = bytes;
    }

    /// True if something found no room since this was last asked, or would find little now.
    pub fn take_full(&self) -> bool {
        let mut state = self.lock();
        std::mem::take(&mut state.was_full) || state.room.is_some()
    }

    /// Operations executed so far.
    pub fn executed(&self) -> u64 {
        self.lock().executed
    }

    /// Cuts the power: open files are gone, and of all that was not synced only what `choose`
    /// keeps is left. `choose(n)` gives a number below `n`.
    pub fn crash(&self, choose: &mut dyn FnMut(u64) -> u64) {
        let mut state = self.lock();
        for inode in &mut state.inodes {
            let edits = std::mem::take(&mut inode.unsynced);
            for edit in edits {
                match (choose(3), edit) {
                    (0, _) => {}
                    (1, Edit::Write(at, mut bytes)) => {
                        // Torn: a prefix made it.
                        bytes.truncate(choose(bytes.len() as u64 + 1) as usize);
                        Edit::Write(at, bytes).apply(&mut inode.durable);
                    }
                    (_, edit) => edit.apply(&mut inode.durable),
                }
            }
            inode.live = inode.durable.clone();
        }
        for change in std::mem::take(&mut state.changes) {
            if choose(2) == 1 {
                change.apply(&mut state.durable);
            }
        }
        // A file whose directory is not there can't be reached.
        let State { durable, .. } = &mut *state;
        let dirs = &durable.dirs;
        durable.files.retain(|path, _| path.parent().is_some_and(|dir| dirs.contains(dir)));
        state.live = state.durable.clone();
        state.open.clear();
        state.fail_at = None;
    }

    /// Puts a file there durably, with the directories above it; for building fixtures.
    pub fn put(&self, path: &Path, content: &[u8]) {
        let mut state = self.lock();
        let inode = state.new_inode(content.to_vec());
        for names in [Where::Live, Where::Durable] {
            let names = match names {
                Where::Live => &mut state.live,
                Where::Durable => &mut state.durable,
            };
            names.files.insert(path.to_owned(), inode);
            names.dirs.extend(path.ancestors().skip(1).map(Path::to_owned));
        }
    }

    /// Flips bits of a byte, durably: bit rot.
    pub fn rot(&self, path: &Path, at: usize, mask: u8) {
        let mut state = self.lock();
        let Some(&inode) = state.live.files.get(path) else { return };
        let Inode { durable, live, .. } = &mut state.inodes[inode];
        for content in [durable, live] {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= mask;
            }
        }
    }

    /// The live content of a file, synced or not.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        state.live.files.get(path).map(|&inode| state.inodes[inode].live.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Where {
    Live,
    Durable,
}

impl Edit {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                let (from, to) = (*at as usize, *at as usize + bytes.len());
                if content.len() < to {
                    content.resize(to, 0);
                }
                content[from..to].copy_from_slice(bytes);
            }
            Self::Truncate(len) => content.resize(*len as usize, 0),
        }
    }
}

impl Change {
    /// The directory whose sync makes it durable.
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::AddFile(path, _)
            | Self::RemoveFile(path)
            | Self::RenameFile(_, path)
            | Self::AddDir(path)
            | Self::RemoveDir(path)
            | Self::RenameDir(_, path) => path.parent(),
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::AddFile(path, inode) => {
                names.files.insert(path.clone(), *inode);
            }
            Self::RemoveFile(path) => {
                names.files.remove(path);
            }
            Self::RenameFile(from, to) => {
                if let Some(inode) = names.files.remove(from) {
                    names.files.insert(to.clone(), inode);
                }
            }
            Self::AddDir(path) => {
                names.dirs.insert(path.clone());
            }
            Self::RemoveDir(path) => {
                names.dirs.retain(|dir| !dir.starts_with(path));
                names.files.retain(|file, _| !file.starts_with(path));
            }
            Self::RenameDir(from, to) => {
                let moved = |path: &Path| match path.strip_prefix(from) {
                    Ok(rest) if rest.as_os_str().is_empty() => to.clone(),
                    Ok(rest) => to.join(rest),
                    Err(_) => path.to_owned(),
                };
                names.dirs = names.dirs.iter().map(|dir| moved(dir)).collect();
                names.files = names.files.iter().map(|(file, &id)| (moved(file), id)).collect();
            }
        }
    }
}

impl State {
    fn new_inode(&mut self, content: Vec<u8>) -> usize {
        let inode = Inode { durable: content.clone(), live: content, ..Inode::default() };
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.changes.push(change);
    }

    fn sync_dir(&mut self, dir: &Path) {
        let (now, later): (Vec<_>, Vec<_>) =
            self.changes.drain(..).partition(|change| change.dir() == Some(dir));
        for change in now {
            change.apply(&mut self.durable);
        }
        self.changes = later;
    }

    fn inode(&mut self, op: &'static str, file: FileId) -> Result<&mut Inode> {
        match self.open.get(&file) {
            Some((inode, _)) => Ok(&mut self.inodes[*inode]),
            None => Err(missing(op, Path::new(""))),
        }
    }

    /// Takes `bytes` of the room there is; gives how many of them there was room for.
    fn take_room(&mut self, bytes: u64) -> u64 {
        let Some(room) = &mut self.room else { return bytes };
        let taken = bytes.min(*room);
        *room -= taken;
        self.was_full |= taken < bytes;
        taken
    }

    fn edit(&mut self, op: &'static str, file: FileId, edit: Edit) -> Result<()> {
        let inode = self.inode(op, file)?;
        edit.apply(&mut inode.live);
        inode.unsynced.push(edit);
        Ok(())
    }

    fn execute(&mut self, op: &Op) -> Result<()> {
        let name = op.name();
        match op {
            Op::Create { file, path } => {
                if !path.parent().is_some_and(|dir| self.live.dirs.contains(dir)) {
                    return Err(missing(name, path));
                }
                let inode = self.new_inode(Vec::new());
                self.change(Change::AddFile(path.clone(), inode));
                self.open.insert(*file, (inode, path.clone()));
            }
            Op::OpenExisting { file, path } => {
                let inode = *self.live.files.get(path).ok_or_else(|| missing(name, path))?;
                self.open.insert(*file, (inode, path.clone()));
            }
            Op::Write { file, at, parts } => {
                let mut bytes = parts.concat();
                let inode = self.inode(name, *file)?;
                let there = inode.reserved.max(inode.live.len() as u64);
                let wanted = (*at + bytes.len() as u64).saturating_sub(there);
                let missing = wanted - self.take_room(wanted);
                // What there is room for is written, as by the system.
                bytes.truncate(bytes.len().saturating_sub(missing as usize));
                self.edit(name, *file, Edit::Write(*at, bytes))?;
                if missing > 0 {
                    return Err(full(name, Path::new("")));
                }
            }
            Op::Reserve { file, upto } => {
                let inode = self.inode(name, *file)?;
                let there = inode.reserved.max(inode.live.len() as u64);
                let wanted = upto.saturating_sub(there);
                if self.room.is_none_or(|room| room >= wanted) {
                    self.take_room(wanted);
                    let inode = self.inode(name, *file)?;
                    inode.reserved = inode.reserved.max(*upto);
                }
            }
            Op::Truncate { file, len } => self.edit(name, *file, Edit::Truncate(*len))?,
            Op::Sync { file } => {
                let inode = self.inode(name, *file)?;
                inode.unsynced.clear();
                inode.durable = inode.live.clone();
            }
            Op::Close { file } => {
                self.open.remove(file);
            }
            Op::Replace { path, bytes } => {
                let dir = path.parent().unwrap_or(Path::new(""));
                if !self.live.dirs.contains(dir) {
                    return Err(missing(name, path));
                }
                let wanted = bytes.len() as u64;
                if self.take_room(wanted) < wanted {
                    return Err(full(name, path));
                }
                let dir = path.parent().unwrap_or(Path::new(""));
                let inode = self.new_inode(bytes.to_vec());
                self.change(Change::AddFile(path.clone(), inode));
                self.sync_dir(dir);
            }
            Op::CreateDir { path } => {
                let above: Vec<_> = path.ancestors().map(Path::to_owned).collect();
                for dir in above.into_iter().rev() {
                    if !self.live.dirs.contains(&dir) {
                        self.change(Change::AddDir(dir));
                    }
                }
            }
            Op::SyncDir { path } => self.sync_dir(path),
            Op::RenameDir { from, to } => {
                self.change(Change::RenameDir(from.clone(), to.clone()));
            }
            Op::RemoveDirAll { path } => self.change(Change::RemoveDir(path.clone())),
            Op::RemoveFile { path } => self.change(Change::RemoveFile(path.clone())),
            Op::RenameFile { from, to } => {
                if !self.live.files.contains_key(from) {
                    return Err(missing(name, from));
                }
                self.change(Change::RenameFile(from.clone(), to.clone()));
            }
        }
        Ok(())
    }
}

impl Disk for MemDisk {
    fn execute(&self, op: &Op) -> Result<()> {
        let mut state = self.lock();
        let index = state.executed;
        state.executed += 1;
        if state.fail_at == Some(index) {
            let path = match op {
                Op::Create { path, .. } | Op::Replace { path, .. } => path.as_path(),
                _ => Path::new(""),
            };
            return Err(StorageError::io(op.name(), path, &io::Error::other("injected")));
        }
        state.execute(op)
    }

    fn read_at(&self, file: FileId, at: u64, len: usize) -> Result<Bytes> {
        let mut state = self.lock();
        let live = &state.inode("read", file)?.live;
        let from = (at as usize).min(live.len());
        let to = from.saturating_add(len).min(live.len());
        Ok(Bytes::copy_from_slice(&live[from..to]))
    }

    fn len(&self, file: FileId) -> Result<u64> {
        Ok(self.lock().inode("stat", file)?.live.len() as u64)
    }

    fn space(&self, _dir: &Path) -> Result<Space> {
        let total = 1 << 30;
        Ok(Space { free: self.lock().room.unwrap_or(total), total })
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let state = self.lock();
        if !state.live.dirs.contains(dir) {
            return Err(missing("list", dir));
        }
        let below = state.live.files.keys().chain(&state.live.dirs);
        let names = below.filter(|path| path.parent() == Some(dir));
        let names = names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(names.collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn read_file(&self, path: &Path) -> Result<Bytes> {
        self.content(path).map(Bytes::from).ok_or_else(|| missing("read", path))
    }
}

fn full(op: &'static str, path: &Path) -> StorageError {
    StorageError::io(op, path, &io::Error::new(io::ErrorKind::StorageFull, "no room"))
}

fn missing(op: &'static str, path: &Path) -> StorageError {
    StorageError::io(op, path, &io::Error::new(io::ErrorKind::NotFound, "not found"))
}
