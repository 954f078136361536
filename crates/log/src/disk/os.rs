//! The operating system's files as a [`Disk`]: the one file below `server` that calls it.
//!
//! Owns the table of open files. Invariants:
//! - I1: a file opened with `OpenExisting` takes a descriptor only at its first use, so that a
//!   log of many segments holds few; and with more than [`OsDisk::limit_open`] allows, those not
//!   used lately are closed, to be opened again by their path when they are.
//! - I2: no lock is held during a system call on a file.
//! - I3: a file with bytes that were not synced is not closed: the system could forget that it
//!   failed to write them.
//! - I4: what is read from the device for a lagging reader goes in small pieces between the syncs
//!   that producers wait for (`Gate`).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, FallocateFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::{Disk, FileId, Op, Result, Space, StorageError};

/// Real files.
#[derive(Debug)]
pub struct OsDisk {
    shards: [Shard; SHARDS],
    volumes: Vec<Volume>,
    /// Descriptors that handles hold.
    open: AtomicUsize,
    /// With so many, some are closed.
    open_max: AtomicUsize,
    /// Where the search for those goes on: a shard, and a file in it.
    hand: Mutex<(usize, u64)>,
    /// Files of a compaction that have not got their last names yet, by those they have.
    moving: Mutex<BTreeMap<PathBuf, FileId>>,
}

impl Default for OsDisk {
    fn default() -> Self {
        Self {
            shards: Default::default(),
            volumes: Vec::new(),
            open: AtomicUsize::new(0),
            open_max: AtomicUsize::new(usize::MAX),
            hand: Mutex::default(),
            moving: Mutex::default(),
        }
    }
}

/// A directory whose files are synced together; see [`OsDisk::sync_all`].
#[derive(Debug)]
struct Volume {
    path: PathBuf,
    /// Open from the start to the end, because the system tells of a failed write only those who
    /// had the file system open when it failed.
    dir: File,
    /// The same for what is done together, which hears of a failure by itself.
    names: Mutex<File>,
    /// It did.
    names_fail: AtomicBool,
    device: u64,
    gate: Arc<Gate>,
    /// `syncfs` does there what `fdatasync` does.
    can_sync_all: bool,
    /// And it does if the device is told to flush its cache after it.
    flush_after: bool,
}

type Shard = Mutex<BTreeMap<u64, Arc<Handle>>>;

#[derive(Debug)]
struct Handle {
    slot: Mutex<Slot>,
    volume: Option<usize>,
    gate: Option<Arc<Gate>>,
    /// The device it is on; 0 before it is known.
    device: AtomicU64,
    /// Changes of its content that were begun, and as many of them as were synced.
    changes: AtomicU64,
    synced: AtomicU64,
    /// Since the search for a descriptor to close last came by.
    used: AtomicBool,
    /// The number of the file behind the path when it was first opened; 0 before.
    inode: AtomicU64,
}

#[derive(Debug)]
struct Slot {
    path: Box<Path>,
    file: Option<Arc<File>>,
    /// Its id is forgotten: whoever has hold of this still keeps nothing here.
    closed: bool,
}

impl Handle {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> PathBuf {
        self.slot().path.to_path_buf()
    }

    /// The file if it is open. To change it, too, which is noted while nobody can close it (I3).
    fn opened(&self, changes: bool) -> Option<Arc<File>> {
        let slot = self.slot();
        let file = slot.file.clone()?;
        self.used.store(true, Ordering::Relaxed);
        if changes {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        Some(file)
    }

    /// The descriptor, if it may be closed now: not twice in a row for one that is used.
    fn give_up(&self) -> Option<Arc<File>> {
        let mut slot = self.slot();
        let clean = self.changes.load(Ordering::Acquire) == self.synced.load(Ordering::Acquire);
        // Its path is not where it stays.
        let moving = is_moving(&slot.path);
        if slot.file.is_none() || moving || !clean || self.used.swap(false, Ordering::Relaxed) {
            return None;
        }
        slot.file.take()
    }

    /// True if it is open and was not synced since it was changed.
    fn is_dirty(&self) -> bool {
        let changes = self.changes.load(Ordering::Acquire);
        changes != self.synced.load(Ordering::Acquire) && self.slot().file.is_some()
    }

    /// The error of a sync that nobody had asked for.
    fn check(&self) -> io::Result<()> {
        let failed = |(kind, text): &(io::ErrorKind, String)| Err(io::Error::new(*kind, &**text));
        self.gate.as_ref().and_then(|gate| gate.failed.get()).map_or(Ok(()), failed)
    }

    /// Opens its path: where that is another file by now, this one is gone.
    fn reopen(&self) -> io::Result<File> {
        let opened = open(&self.path())?;
        let inode = opened.metadata()?.ino();
        match self.inode.swap(inode, Ordering::AcqRel) {
            known if known == 0 || known == inode => Ok(opened),
            known => {
                self.inode.store(known, Ordering::Release);
                Err(io::ErrorKind::NotFound.into())
            }
        }
    }

    /// What a sync that is begun now will cover.
    fn covers(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn note_synced(&self, covered: u64) {
        self.synced.fetch_max(covered, Ordering::AcqRel);
    }
}

/// Where reads that wait for the device let syncs of their volume go first. A device takes its
/// queue as it comes, and some schedulers take reads before writes: a sync behind eight megabytes
/// of somebody's history takes ten milliseconds, and a producer waits for it.
#[derive(Debug, Default)]
struct Gate {
    syncs: Mutex<Syncs>,
    ended: Condvar,
    /// One reads at a time while there are syncs.
    turn: Mutex<()>,
    /// What a sync said that nobody had asked for: from then on all of the volume say it.
    failed: OnceLock<(io::ErrorKind, String)>,
}

#[derive(Debug, Default)]
struct Syncs {
    under_way: usize,
    /// So many ended.
    ends: u64,
    /// As many as had ended when somebody last read.
    seen: u64,
    /// Reads that wait for one to end.
    waiting: usize,
}

impl Gate {
    fn syncs(&self) -> MutexGuard<'_, Syncs> {
        self.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync<T>(&self, sync: impl FnOnce() -> T) -> T {
        self.syncs().under_way += 1;
        let done = sync();
        let mut syncs = self.syncs();
        syncs.under_way -= 1;
        syncs.ends += 1;
        let waited_for = syncs.waiting > 0;
        drop(syncs);
        if waited_for {
            self.ended.notify_all();
        }
        done
    }

    /// Waits for its turn and for a sync to end; at once, and nothing, where none was since the
    /// last piece was read.
    fn between_syncs(&self) -> Option<MutexGuard<'_, ()>> {
        {
            let mut syncs = self.syncs();
            let ended = {
                let ends = syncs.ends;
                std::mem::replace(&mut syncs.seen, ends) != ends
            };
            if syncs.under_way == 0 && !ended {
                return None;
            }
        }
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut syncs = self.syncs();
        syncs.waiting += 1;
        let before = syncs.ends;
        let waits = |syncs: &mut Syncs| syncs.under_way > 0 && syncs.ends == before;
        let waited = self.ended.wait_timeout_while(syncs, GATE_PATIENCE, waits);
        let (mut syncs, _) = waited.unwrap_or_else(PoisonError::into_inner);
        syncs.waiting -= 1;
        drop(syncs);
        Some(turn)
    }
}

/// True for the names that files of a compaction have before they take others' places.
fn is_moving(path: &Path) -> bool {
    path.extension().is_some_and(|last| last == "cleaned" || last == "swap" || last == "tmp")
}

/// The same files for a thread that must not wait for the device: a read of what the page cache
/// does not hold fails with [`io::ErrorKind::WouldBlock`], and so does one of more than `max`
/// bytes. Only on a file system that can't tell what is cached does it read, and wait.
#[derive(Debug)]
pub struct Cached<'a> {
    /// The files.
    pub disk: &'a OsDisk,
    /// The most bytes read at once.
    pub max: usize,
}

/// A file that stays readable whatever becomes of its id, to be sent piece by piece.
#[derive(Clone, Debug)]
pub struct Pinned {
    handle: Arc<Handle>,
    /// Its own hold on it, whether the table keeps it open or not.
    file: OnceLock<Arc<File>>,
}

impl Pinned {
    fn file(&self) -> io::Result<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let opened = match self.handle.opened(false) {
            Some(opened) => opened,
            // Not the table's, which may be full: it is let go of when this is.
            None => Arc::new(self.handle.reopen()?),
        };
        Ok(self.file.get_or_init(|| opened))
    }

    /// Reads into the buffer from byte `at` what the page cache holds; `None` if it holds none of
    /// it. Never waits for the device.
    ///
    /// # Errors
    /// The system's.
    fn read_cached(&self, buffer: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        // Opening it would wait, too.
        let Some(file) = self.file.get() else { return Ok(None) };
        let slices = &mut [io::IoSliceMut::new(buffer)];
        loop {
            match rustix::io::preadv2(file, slices, at, ReadWriteFlags::NOWAIT) {
                // The end of the file; or, with Linux 5.9 and 5.10, what is not cached.
                Ok(0) => return Ok(None),
                Ok(count) => return Ok(Some(count)),
                Err(Errno::INTR) => {}
                // Not every file system can tell; there, reading is what everybody does.
                Err(Errno::OPNOTSUPP) => return self.read(buffer, at).map(Some),
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads into the buffer from byte `at`; fewer bytes only where the file ends, or after a
    /// signal.
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file()?.read_at(buffer, at)
    }

    /// True if the page cache seems to hold those bytes. It is asked for some of them: what is read
    /// at once comes and goes at once.
    ///
    /// # Errors
    /// The system's.
    pub fn is_cached(&self, at: u64, len: usize) -> io::Result<bool> {
        let last = at + (len as u64).saturating_sub(1);
        for at in (at..last).step_by(PROBE_BYTES).chain([last]) {
            if self.read_cached(&mut [0], at)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Brings those bytes into the page cache; waits for the device, and for syncs before it.
    ///
    /// # Errors
    /// The system's.
    pub fn warm(&self, at: u64, len: usize) -> io::Result<()> {
        // Reading ahead the system would ask for megabytes at once, and syncs wait behind them.
        let _ = rustix::fs::fadvise(self.file()?, 0, None, Advice::Random);
        let mut buffer = vec![0; len.min(WARM_BYTES)];
        let mut read = 0;
        while read < len {
            let turn = self.handle.gate.as_ref().and_then(|gate| gate.between_syncs());
            let most = if turn.is_some() { PROBE_BYTES } else { WARM_BYTES };
            let room = buffer.len().min(len - read).min(most);
            match self.read(&mut buffer[..room], at + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends bytes from `at` on to a socket, without copying them (`sendfile`); gives how many.
    ///
    /// # Errors
    /// The system's; `WouldBlock` if the socket takes none.
    pub fn send(&self, to: impl AsFd, at: u64, len: usize) -> io::Result<usize> {
        loop {
            let mut from = at;
            match rustix::fs::sendfile(&to, self.file()?, Some(&mut from), len) {
                Err(Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Where the file was when it was opened, or where it stays.
    pub fn path(&self) -> PathBuf {
        self.handle.path()
    }
}

impl OsDisk {
    /// A disk without open files.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk without open files, whose volumes are these directories.
    ///
    /// # Errors
    /// One of them can't be opened.
    pub fn with_volumes(dirs: &[PathBuf]) -> Result<Self> {
        let volume = |path: &PathBuf| {
            let open = || {
                let dir = File::open(path)?;
                // Not a duplicate, which would share what was told.
                let names = Mutex::new(File::open(path)?);
                let device = dir.metadata()?.dev();
                let (can_sync_all, flush_after) = reports_all(&dir)?;
                let names_fail = AtomicBool::new(false);
                Ok(Volume {
                    path: path.clone(),
                    dir,
                    names,
                    names_fail,
                    device,
                    gate: Arc::default(),
                    can_sync_all,
                    flush_after,
                })
            };
            open().map_err(|error: io::Error| StorageError::io("open", path, &error))
        };
        let volumes: Result<Vec<_>> = dirs.iter().map(volume).collect();
        Ok(Self { volumes: volumes?, ..Self::default() })
    }

    /// Keeps about so many files open at most, but for those with bytes that were not synced.
    pub fn limit_open(&self, files: usize) {
        self.open_max.store(files.max(1), Ordering::Relaxed);
    }

    /// Files that the table holds open.
    pub fn open_files(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many volumes there are, at least one: what is in no directory is in the first.
    pub fn volumes(&self) -> usize {
        self.volumes.len().max(1)
    }

    /// The number of the volume that an operation is about.
    pub fn volume(&self, op: &Op) -> usize {
        match op {
            Op::Create { path, .. }
            | Op::OpenExisting { path, .. }
            | Op::Replace { path, .. }
            | Op::CreateDir { path }
            | Op::SyncDir { path }
            | Op::RenameDir { from: path, .. }
            | Op::RenameFile { from: path, .. }
            | Op::RemoveDirAll { path }
            | Op::RemoveFile { path } => self.volume_of_path(path).unwrap_or(0),
            Op::Write { file, .. }
            | Op::Sync { file }
            | Op::Truncate { file, .. }
            | Op::Reserve { file, .. }
            | Op::Close { file } => self.volume_of_file(*file),
        }
    }

    /// The number of the volume that an open file is in.
    pub fn volume_of_file(&self, file: FileId) -> usize {
        self.handle("find", file).ok().and_then(|handle| handle.volume).unwrap_or(0)
    }

    /// True if [`Self::sync_all`] of that volume also does what syncing this file does: it is on
    /// the volume's file system, which is of a kind that tells of every failed write.
    pub fn is_covered(&self, volume: usize, file: FileId) -> bool {
        let Some(of) = self.volumes.get(volume).filter(|of| of.can_sync_all) else { return false };
        let Ok(handle) = self.handle("find", file) else { return false };
        // What failed by itself has something to tell that is not the others'.
        handle.volume == Some(volume)
            && handle.check().is_ok()
            && self.device(&handle).is_ok_and(|device| device == of.device)
    }

    fn device(&self, handle: &Handle) -> io::Result<u64> {
        let known = handle.device.load(Ordering::Relaxed);
        if known != 0 {
            return Ok(known);
        }
        let device = self.file(handle, false)?.metadata()?.dev();
        handle.device.store(device, Ordering::Relaxed);
        Ok(device)
    }

    fn volume_of_path(&self, path: &Path) -> Option<usize> {
        let within = self.volumes.iter().enumerate();
        let within = within.filter(|(_, volume)| path.starts_with(&volume.path));
        let nearest = within.max_by_key(|(_, volume)| volume.path.as_os_str().len());
        nearest.map(|(index, _)| index)
    }

    /// Makes everything durable that was written to the volume's file system before, whoever wrote
    /// it, these files of it among others: cheaper than syncing many files each. After an error
    /// each file has to be synced: the system tells of a failed write only once this way, and not
    /// of whose it was.
    ///
    /// # Errors
    /// The system's, for any file there; no such volume.
    pub fn sync_all(&self, volume: usize, files: impl IntoIterator<Item = FileId>) -> Result<()> {
        let missing = || StorageError::damaged("sync", Path::new(""), "no such volume");
        let of = self.volumes.get(volume).ok_or_else(missing)?;
        let covered = self.covered(files);
        let synced = of.gate.sync(|| sync_file_system(&of.dir, of.flush_after));
        synced.map_err(|error| StorageError::io("sync", &of.path, &error))?;
        note_synced(covered);
        Ok(())
    }

    /// What a sync of everything that is begun now will cover of these files.
    fn covered(&self, files: impl IntoIterator<Item = FileId>) -> Vec<(Arc<Handle>, u64)> {
        let handles = files.into_iter().filter_map(|file| self.handle("find", file).ok());
        let covered = |handle: Arc<Handle>| {
            let changes = handle.covers();
            (handle, changes)
        };
        handles.map(covered).collect()
    }

    /// The volume whose [`Self::sync_all`] does what the operation waits for.
    fn shares_sync(&self, op: &Op) -> Option<usize> {
        let dir = match op {
            Op::Sync { file } => {
                let volume = self.volume_of_file(*file);
                let covered = self.shares_names(volume) && self.is_covered(volume, *file);
                return covered.then_some(volume);
            }
            Op::SyncDir { path } => path,
            Op::Replace { path, .. } => path.parent()?,
            _ => return None,
        };
        let number = self.volume_of_path(dir)?;
        let volume = self.volumes.get(number).filter(|_| self.shares_names(number))?;
        let device = fs::metadata(dir).ok()?.dev();
        (device == volume.device).then_some(number)
    }

    /// Does those of `ops`, all of that volume, with two syncs for all, and notes what became of
    /// each. Left over are those that have to be done alone, because the first sync failed: that
    /// takes nothing away from what each file tells by itself, and files to be replaced are written
    /// anew. A directory has nothing more to tell, so its sync failed, too.
    fn execute_shared(
        &self,
        volume: usize,
        ops: &[Op],
        indexes: &[usize],
        done: &mut [Option<Result<()>>],
    ) {
        let at = |path: &Path, done: io::Result<()>| {
            done.map_err(|error| StorageError::io("replace", path, &error))
        };
        let files = indexes.iter().filter_map(|&index| match ops[index] {
            Op::Sync { file } => Some(file),
            _ => None,
        });
        let covered = self.covered(files);
        let mut replaced = Vec::new();
        for &index in indexes {
            if let Op::Replace { path, bytes } = &ops[index] {
                let temporary = temporary(path);
                match at(path, self.with_room(|| fs::write(&temporary, bytes))) {
                    Ok(()) => replaced.push((index, path, temporary)),
                    failed => done[index] = Some(failed),
                }
            }
        }
        if let Err(error) = self.sync_names(volume) {
            for &index in indexes {
                if matches!(ops[index], Op::SyncDir { .. }) {
                    done[index] = Some(Err(error.clone()));
                }
            }
            return;
        }
        note_synced(covered);
        for &index in indexes {
            if matches!(ops[index], Op::Sync { .. } | Op::SyncDir { .. }) {
                done[index] = Some(Ok(()));
            }
        }
        for (index, path, temporary) in &replaced {
            done[*index] = Some(at(path, fs::rename(temporary, path)));
        }
        if let Err(error) = if replaced.is_empty() { Ok(()) } else { self.sync_names(volume) } {
            for (index, ..) in replaced {
                done[index] = Some(Err(error.clone()));
            }
        }
    }

    /// As [`Self::sync_all`], for operations done together: the system tells of a failed write once
    /// for each descriptor, and what it tells one must not be missed by the other. After a failure
    /// nothing is done together in that volume any more.
    fn sync_names(&self, volume: usize) -> Result<()> {
        let missing = || StorageError::damaged("sync", Path::new(""), "no such volume");
        let of = self.volumes.get(volume).ok_or_else(missing)?;
        let names = of.names.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waited here may have written what the failure was about.
        let synced = match of.names_fail.load(Ordering::Acquire) {
            true => Err(io::Error::other("another sync of the file system failed before")),
            false => sync_file_system(&names, of.flush_after),
        };
        if synced.is_err() {
            of.names_fail.store(true, Ordering::Release);
        }
        synced.map_err(|error| StorageError::io("sync", &of.path, &error))
    }

    /// True if operations on names can be done together in that volume, and that never failed.
    pub fn shares_names(&self, volume: usize) -> bool {
        let can = |of: &Volume| of.can_sync_all && !of.names_fail.load(Ordering::Acquire);
        self.volumes.get(volume).is_some_and(can)
    }

    fn shard(&self, file: FileId) -> &Shard {
        &self.shards[(file.0 % SHARDS as u64) as usize]
    }

    /// Keeps hold of an open file.
    ///
    /// # Errors
    /// Unknown id (`is_not_found`).
    pub fn pin(&self, file: FileId) -> Result<Pinned> {
        let handle = self.handle("read", file)?;
        let opened = handle.opened(false);
        Ok(Pinned { handle, file: opened.map_or_else(OnceLock::new, OnceLock::from) })
    }

    fn insert(&self, file: FileId, path: &Path, opened: Option<File>) {
        let count = usize::from(opened.is_some());
        self.open.fetch_add(count, Ordering::Relaxed);
        let inode = opened.as_ref().and_then(|file| file.metadata().ok());
        let inode = inode.map_or(0, |metadata| metadata.ino());
        let slot = Slot { path: path.into(), file: opened.map(Arc::new), closed: false };
        let volume = self.volume_of_path(path);
        let handle = Arc::new(Handle {
            slot: Mutex::new(slot),
            volume,
            gate: volume.and_then(|number| self.volumes.get(number)).map(|of| of.gate.clone()),
            device: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            used: AtomicBool::new(true),
            inode: AtomicU64::new(inode),
        });
        if is_moving(path) {
            let mut moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
            moving.insert(path.to_owned(), file);
        }
        let mut shard = self.shard(file).lock().unwrap_or_else(PoisonError::into_inner);
        let old = shard.insert(file.0, handle);
        drop(shard);
        self.forget(old);
    }

    fn forget(&self, handle: Option<Arc<Handle>>) {
        let file = handle.and_then(|handle| {
            let mut slot = handle.slot();
            slot.closed = true;
            slot.file.take()
        });
        self.open.fetch_sub(usize::from(file.is_some()), Ordering::Relaxed);
    }

    /// The file of a handle, opened again if it was closed; to change it, too.
    fn file(&self, handle: &Handle, changes: bool) -> io::Result<Arc<File>> {
        loop {
            if let Some(file) = handle.opened(changes) {
                return Ok(file);
            }
            let opened = self.open(|| handle.reopen())?;
            let mut slot = handle.slot();
            if slot.closed {
                return Ok(Arc::new(opened));
            }
            // Two threads may race to here; either descriptor is of the same file.
            if slot.file.is_none() {
                slot.file = Some(Arc::new(opened));
                self.open.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Opens a file, having made room for it.
    fn open(&self, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
        if self.open_files() >= self.open_max.load(Ordering::Relaxed) {
            self.make_room();
        }
        self.with_room(open)
    }

    /// Does what takes a descriptor or two; again, if there was none left and some were closed.
    fn with_room<T>(&self, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let full = |error: &io::Error| {
            let code = error.raw_os_error().map(Errno::from_raw_os_error);
            matches!(code, Some(Errno::MFILE | Errno::NFILE))
        };
        for _ in 0..ROOM_TRIES {
            match act() {
                Err(error) if full(&error) && self.make_room() > 0 => {}
                done => return done,
            }
        }
        act()
    }

    /// Closes some files. Where all have bytes that were not synced, it syncs some of them first
    /// (I3); what a sync tells is kept for those who ask for it next. Gives how many.
    fn make_room(&self) -> usize {
        let closed = self.close_some();
        if closed > 0 {
            return closed;
        }
        let mut dirty = Vec::new();
        for shard in &self.shards {
            let table = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let is_dirty = |handle: &&Arc<Handle>| handle.gate.is_some() && handle.is_dirty();
            dirty.extend(table.values().filter(is_dirty).take(SYNCED_AT_ONCE).cloned());
        }
        for handle in dirty {
            let covered = handle.covers();
            let Some(file) = handle.opened(false) else { continue };
            match (file.sync_data(), &handle.gate) {
                (Ok(()), _) => handle.note_synced(covered),
                (Err(error), Some(gate)) => {
                    let _ = gate.failed.set((error.kind(), error.to_string()));
                }
                // It stays open, and tells whoever syncs it.
                (Err(_), None) => {}
            }
        }
        self.close_some()
    }

    /// Closes a few files that were not used since the search for such came by the last time; gives
    /// how many.
    fn close_some(&self) -> usize {
        let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        let mut closed = Vec::new();
        // Once around to learn what is used, and once more.
        let mut shards = 2 * SHARDS + 1;
        let mut looked = 0;
        while shards > 0 && closed.len() < CLOSED_AT_ONCE && looked < LOOKED_AT_MAX {
            let (shard, next) = *hand;
            let table = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
            let mut last = None;
            for (&id, handle) in table.range(next..).take(LOOKED_AT) {
                closed.extend(handle.give_up());
                last = Some(id);
                looked += 1;
            }
            *hand = match last {
                Some(id) => (shard, id + 1),
                None => ((shard + 1) % SHARDS, 0),
            };
            shards -= usize::from(last.is_none());
        }
        drop(hand);
        self.open.fetch_sub(closed.len(), Ordering::Relaxed);
        closed.len()
    }

    /// A file of a compaction got another name.
    fn note_moved(&self, from: &Path, to: &Path) {
        let mut moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = moving.remove(from) else { return };
        if is_moving(to) {
            moving.insert(to.to_owned(), file);
        }
        drop(moving);
        if let Ok(handle) = self.handle("rename", file) {
            handle.slot().path = to.into();
        }
    }

    fn handle(&self, op: &'static str, file: FileId) -> Result<Arc<Handle>> {
        let shard = self.shard(file).lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(&file.0).cloned().ok_or_else(|| {
            let missing = io::Error::new(io::ErrorKind::NotFound, format!("{file:?} is not open"));
            StorageError::io(op, Path::new(""), &missing)
        })
    }

    fn with_file<T>(
        &self,
        op: &'static str,
        file: FileId,
        act: impl FnOnce(&File) -> io::Result<T>,
    ) -> Result<T> {
        let handle = self.handle(op, file)?;
        let done = self.file(&handle, false).and_then(|file| act(&file));
        done.map_err(|error| StorageError::io(op, &handle.path(), &error))
    }

    fn change_file(
        &self,
        op: &'static str,
        file: FileId,
        act: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<()> {
        let handle = self.handle(op, file)?;
        let done = self.file(&handle, true).and_then(|file| act(&file));
        // Once more, for a sync that began before the change was made and ends after this.
        handle.changes.fetch_add(1, Ordering::AcqRel);
        done.map_err(|error| StorageError::io(op, &handle.path(), &error))
    }

    fn sync_file(&self, op: &'static str, file: FileId) -> Result<()> {
        let handle = self.handle(op, file)?;
        let covered = handle.covers();
        let file = handle.check().and_then(|()| self.file(&handle, false));
        let done = file.and_then(|file| match &handle.gate {
            Some(gate) => gate.sync(|| file.sync_data()),
            None => file.sync_data(),
        });
        done.map_err(|error| StorageError::io(op, &handle.path(), &error))?;
        handle.note_synced(covered);
        Ok(())
    }
}

impl Disk for OsDisk {
    fn execute(&self, op: &Op) -> Result<()> {
        let name = op.name();
        let at = |path: &Path, done: io::Result<()>| {
            done.map_err(|error| StorageError::io(name, path, &error))
        };
        match op {
            Op::Create { file, path } => {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).truncate(true);
                let opened = self.open(|| options.open(path));
                let opened = opened.map_err(|error| StorageError::io(name, path, &error))?;
                self.insert(*file, path, Some(opened));
                Ok(())
            }
            Op::OpenExisting { file, path } => {
                self.insert(*file, path, None);
                Ok(())
            }
            Op::Write { file, at, parts } => {
                self.change_file(name, *file, |file| write_parts(file, *at, parts))
            }
            Op::Sync { file } => self.sync_file(name, *file),
            Op::Truncate { file, len } => self.change_file(name, *file, |file| file.set_len(*len)),
            Op::Reserve { file, upto } => self.with_file(name, *file, |file| {
                // Where there is no room, or no such call, the file grows as far as it can.
                let _ = rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, *upto);
                Ok(())
            }),
            Op::Close { file } => {
                let mut shard = self.shard(*file).lock().unwrap_or_else(PoisonError::into_inner);
                let closed = shard.remove(&file.0);
                drop(shard);
                self.forget(closed);
                Ok(())
            }
            Op::Replace { path, bytes } => at(path, self.with_room(|| replace(path, bytes))),
            Op::CreateDir { path } => at(path, fs::create_dir_all(path)),
            Op::SyncDir { path } => at(path, self.with_room(|| sync_dir(path))),
            Op::RenameDir { from, to } => at(from, fs::rename(from, to)),
            Op::RenameFile { from, to } => {
                at(from, fs::rename(from, to))?;
                if is_moving(from) {
                    self.note_moved(from, to);
                }
                Ok(())
            }
            Op::RemoveDirAll { path } => {
                at(path, missing_is_fine(self.with_room(|| fs::remove_dir_all(path))))
            }
            Op::RemoveFile { path } => at(path, missing_is_fine(fs::remove_file(path))),
        }
    }

    fn execute_all(&self, ops: &[Op]) -> Vec<Result<()>> {
        let mut shared: Vec<Vec<usize>> = vec![Vec::new(); self.volumes.len()];
        for (index, op) in ops.iter().enumerate() {
            let volume = self.shares_sync(op);
            if let Some(shared) = volume.and_then(|volume| shared.get_mut(volume)) {
                shared.push(index);
            }
        }
        let mut done: Vec<Option<Result<()>>> = vec![None; ops.len()];
        for (volume, indexes) in shared.iter().enumerate() {
            if indexes.len() >= SHARED_MIN {
                self.execute_shared(volume, ops, indexes, &mut done);
            }
        }
        let each = ops.iter().zip(done);
        each.map(|(op, done)| done.unwrap_or_else(|| self.execute(op))).collect()
    }

    fn read_at(&self, file: FileId, at: u64, len: usize) -> Result<Bytes> {
        self.with_file("read", file, |file| {
            // Never much room for more than the file has: `len` may come from a fetch request.
            let len = if len <= SMALL_BYTES {
                len
            } else {
                let left = file.metadata()?.len().saturating_sub(at);
                len.min(usize::try_from(left).unwrap_or(usize::MAX))
            };
            // Not zeroed first: at the speed of a page cache that would be a third of the work.
            let mut buffer = Vec::with_capacity(len);
            while buffer.len() < len {
                let at = at + buffer.len() as u64;
                match rustix::io::pread(file, spare_capacity(&mut buffer), at) {
                    Ok(0) => break,
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // There may be more room than was asked for.
            buffer.truncate(len);
            Ok(buffer.into())
        })
    }

    fn read_once(&self, file: FileId, at: u64, len: usize) -> Result<Bytes> {
        let pinned = self.pin(file)?;
        // What is read ahead must not pass for what was there before: a byte is asked for that is
        // further on than the system reads.
        let last = self.len(file)?.saturating_sub(1);
        let probe = ((at + len as u64) | (PASSING_BYTES - 1)).min(last);
        let kept = pinned.read_cached(&mut [0], probe).is_ok_and(|found| found.is_some());
        let bytes = self.read_at(file, at, len)?;
        if let (false, Some(len)) = (kept, NonZeroU64::new(bytes.len() as u64)) {
            // It is advice: where the system does not take it, nothing is lost.
            let advised = |file: &File| {
                let _ = rustix::fs::fadvise(file, at, Some(len), rustix::fs::Advice::DontNeed);
                Ok(())
            };
            self.with_file("advise", file, advised)?;
        }
        Ok(bytes)
    }

    fn len(&self, file: FileId) -> Result<u64> {
        self.with_file("stat", file, |file| Ok(file.metadata()?.len()))
    }

    fn space(&self, dir: &Path) -> Result<Space> {
        let found = rustix::fs::statvfs(dir);
        let found = found.map_err(|error| StorageError::io("measure", dir, &error.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Space { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let names = self.with_room(|| fs::read_dir(dir)).and_then(|entries| {
            entries
                // A name that is not UTF-8 is none of ours.
                .filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose())
                .collect::<io::Result<Vec<String>>>()
        });
        let mut names = names.map_err(|error| StorageError::io("list", dir, &error))?;
        names.sort();
        Ok(names)
    }

    fn read_file(&self, path: &Path) -> Result<Bytes> {
        let read = self.with_room(|| fs::read(path)).map(Bytes::from);
        read.map_err(|error| StorageError::io("read", path, &error))
    }
}

impl Disk for Cached<'_> {
    fn is_patient(&self) -> bool {
        false
    }

    fn execute(&self, op: &Op) -> Result<()> {
        self.disk.execute(op)
    }

    fn read_at(&self, file: FileId, at: u64, len: usize) -> Result<Bytes> {
        let pinned = self.disk.pin(file)?;
        let read = || {
            if len > self.max {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let left = if len <= SMALL_BYTES {
                len as u64
            } else {
                pinned.file()?.metadata()?.len().saturating_sub(at)
            };
            let mut buffer = vec![0; len.min(usize::try_from(left).unwrap_or(usize::MAX))];
            let mut filled = 0;
            while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match pinned.read_cached(rest, at + filled as u64)? {
                    Some(0) => break,
                    Some(count) => filled += count,
                    None => return Err(io::ErrorKind::WouldBlock.into()),
                }
            }
            buffer.truncate(filled);
            Ok(buffer.into())
        };
        read().map_err(|error: io::Error| StorageError::io("read", &pinned.path(), &error))
    }

    fn len(&self, file: FileId) -> Result<u64> {
        self.disk.len(file)
    }

    fn space(&self, dir: &Path) -> Result<Space> {
        self.disk.space(dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn read_file(&self, path: &Path) -> Result<Bytes> {
        self.disk.read_file(path)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn note_synced(covered: Vec<(Arc<Handle>, u64)>) {
    for (handle, covered) in covered {
        handle.note_synced(covered);
    }
}

/// True on a file system, of a kernel, where `syncfs` waits for all writes and tells of each that
/// failed: errors of some are lost before Linux 5.17, and over a network or FUSE it may do nothing.
/// And true if the device's cache has to be flushed after it: ext4 without a journal writes inodes
/// last, after its flush.
fn reports_all(dir: &File) -> io::Result<(bool, bool)> {
    const EXT4: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683e;
    const F2FS: u64 = 0xf2f5_2010;
    let kind = rustix::fs::fstatfs(dir)?.f_type as u64;
    let name = rustix::system::uname();
    let mut numbers = name.release().to_str().unwrap_or_default().split('.').map_while(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part[..digits].parse::<u32>().ok()
    });
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Ok(([EXT4, XFS, BTRFS, F2FS].contains(&kind) && version >= (5, 17), kind == EXT4))
}

/// `syncfs`, and if it has to be, a flush of the device.
fn sync_file_system(dir: &File, flush_after: bool) -> io::Result<()> {
    loop {
        match rustix::fs::syncfs(dir) {
            Ok(()) if flush_after => return dir.sync_all(),
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// One system call for all parts, unless there are very many or it takes only some of their bytes.
fn write_parts(file: &File, at: u64, parts: &[Bytes]) -> io::Result<()> {
    let total: usize = parts.iter().map(Bytes::len).sum();
    match parts {
        [] => return Ok(()),
        [part] => return file.write_all_at(part, at),
        _ if total <= JOIN_BYTES_MAX => return file.write_all_at(&parts.concat(), at),
        _ => {}
    }
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let (mut left, mut at) = (slices.as_mut_slice(), at);
    while !left.is_empty() {
        let some = left.get(..WRITE_PARTS_MAX).unwrap_or(left);
        match rustix::io::pwritev(file, some, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

fn temporary(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    temporary.into()
}

fn sync_dir(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

fn missing_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

const SHARDS: usize = 16;
/// How often something is tried that finds no descriptor left.
const ROOM_TRIES: usize = 8;
/// So many files of a shard are synced to be closed.
const SYNCED_AT_ONCE: usize = 2;
/// So many files are closed when there is no room for one more.
const CLOSED_AT_ONCE: usize = 32;
/// So many files of a shard are looked at with its lock held, and so many in all, for those.
const LOOKED_AT: usize = 64;
const LOOKED_AT_MAX: usize = 1 << 20;
/// So many operations share their syncs.
const SHARED_MIN: usize = 8;
/// Parts that one call writes: the system refuses more than 1024.
const WRITE_PARTS_MAX: usize = 1024;
/// Of parts that are joined, since that costs less than to hand them over one by one.
const JOIN_BYTES_MAX: usize = 4096;
/// Of a file, read at once where no sync is near.
const WARM_BYTES: usize = 1 << 20;
/// How long a read waits for a sync to end.
const GATE_PATIENCE: Duration = Duration::from_millis(5);
/// How far apart bytes are that the page cache is asked for.
const PROBE_BYTES: usize = 128 * 1024;
/// Of what is read once, so much is looked upon as kept in memory or not.
const PASSING_BYTES: u64 = 8 << 20;
/// Room made without asking how long the file is.
const SMALL_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// With and without a volume, few and many: the same comes of it.
    #[test]
    fn operations_done_together_do_what_each_does() {
        for (volume, count) in [(true, 40), (true, 2), (false, 40)] {
            let root = tempfile::tempdir().unwrap();
            let dirs = [root.path().to_owned()];
            let disk = OsDisk::with_volumes(if volume { &dirs } else { &[] }).unwrap();
            let mut ops = Vec::new();
            for number in 0..count {
                let dir = root.path().join(format!("t-{number}"));
                let file = FileId(number);
                disk.execute(&Op::CreateDir { path: dir.clone() }).unwrap();
                disk.execute(&Op::Create { file, path: dir.join("a.log") }).unwrap();
                fs::write(dir.join("replaced"), b"old").unwrap();
                ops.push(Op::Sync { file });
                let bytes = Bytes::from(format!("new {number}"));
                ops.push(Op::Replace { path: dir.join("replaced"), bytes });
                ops.push(Op::SyncDir { path: dir });
            }
            ops.push(Op::SyncDir { path: root.path().to_owned() });
            assert!(disk.execute_all(&ops).iter().all(Result::is_ok));
            for number in 0..count {
                let dir = root.path().join(format!("t-{number}"));
                assert_eq!(disk.list(&dir).unwrap(), ["a.log", "replaced"]);
                let content = disk.read_file(&dir.join("replaced")).unwrap();
                assert_eq!(content, format!("new {number}"));
            }
            // One that can't be done is told of.
            ops.push(Op::Replace { path: root.path().join("gone/x"), bytes: Bytes::new() });
            let mut done = disk.execute_all(&ops);
            assert!(done.pop().unwrap().unwrap_err().is_not_found());
            assert!(done.iter().all(Result::is_ok), "it is told of that one");
        }
    }

    /// What was closed is opened again; what was not synced, or is yet to be renamed, stays open.
    #[test]
    fn few_files_are_held_open_and_all_can_be_used() {
        let root = tempfile::tempdir().unwrap();
        let disk = OsDisk::with_volumes(&[root.path().to_owned()]).unwrap();
        disk.limit_open(4);
        let run = |op: Op| disk.execute(&op).unwrap();
        let path = |number: u64, end: &str| root.path().join(format!("{number:02}.log{end}"));
        let text = |number: u64| Bytes::from(format!("file {number}"));
        let write = |number: u64| {
            let (file, parts) = (FileId(number), vec![text(number)]);
            run(Op::Write { file, at: 0, parts });
        };
        for number in 0..200 {
            run(Op::Create { file: FileId(number), path: path(number, "") });
            write(number);
            match number % 2 {
                0 => run(Op::Sync { file: FileId(number) }),
                _ => disk.sync_all(0, [FileId(number)]).unwrap(),
            }
        }
        assert!(disk.open_files() < 50, "{} files are open", disk.open_files());
        // Pinned while it is open, or when it is closed: it stays readable.
        let pinned = disk.pin(FileId(7)).unwrap();
        pinned.warm(0, 4).unwrap();
        for round in 0..2 {
            for number in 0..200 {
                assert_eq!(disk.read_at(FileId(number), 0, 99).unwrap(), text(number));
                assert!(disk.is_covered(0, FileId(number)), "its device is known");
            }
            assert!(disk.open_files() < 50, "round {round}: {} are open", disk.open_files());
        }
        (0..100).for_each(write);
        // With bytes that were not synced none is closed, so some were synced.
        assert!(disk.open_files() < 50, "{} files are open", disk.open_files());
        disk.sync_all(0, (0..100).map(FileId)).unwrap();
        // A compaction's file gets two names before it keeps the third.
        let (file, cleaned) = (FileId(300), path(300, ".cleaned"));
        run(Op::Create { file, path: cleaned.clone() });
        run(Op::Write { file, at: 0, parts: vec![text(300)] });
        run(Op::Sync { file });
        let (swap, last) = (path(300, ".swap"), path(300, ""));
        run(Op::RenameFile { from: cleaned, to: swap.clone() });
        run(Op::RenameFile { from: swap, to: last });
        for number in (0..200).chain(0..200).chain([300]) {
            assert_eq!(disk.read_at(FileId(number), 0, 99).unwrap(), text(number));
        }
        assert!(disk.open_files() < 50, "{} files are open", disk.open_files());
        // Another file has its name by now: this one is gone, and is not that one.
        let other = FileId(301);
        run(Op::Create { file: other, path: path(301, "") });
        run(Op::RenameFile { from: path(301, ""), to: path(11, "") });
        for number in 20..200 {
            disk.read_at(FileId(number), 0, 1).unwrap();
        }
        assert!(disk.read_at(FileId(11), 0, 99).unwrap_err().is_not_found());
        run(Op::Close { file: other });
        (0..200).chain([300]).for_each(|number| run(Op::Close { file: FileId(number) }));
        assert_eq!(disk.open_files(), 0);
    }

    /// One reads at a time while others sync, each after a sync; with none near, nobody waits.
    #[test]
    fn reads_that_wait_go_between_syncs() {
        let gate = Gate::default();
        assert!(gate.between_syncs().is_none());
        gate.sync(|| {
            // Nothing ends meanwhile: it waits for so long, and no longer.
            assert!(gate.between_syncs().is_some());
        });
        assert!(gate.between_syncs().is_some(), "one was just there");
        assert!(gate.between_syncs().is_none(), "and no other since");
        std::thread::scope(|scope| {
            let (begun, wait) = std::sync::mpsc::channel();
            let syncs = &gate;
            let syncing = scope.spawn(move || {
                syncs.sync(|| begun.send(()).unwrap());
            });
            wait.recv().unwrap();
            assert!(gate.between_syncs().is_some());
            syncing.join().unwrap();
        });
        assert_eq!(gate.syncs().ends, 2);
    }

    #[test]
    fn every_operation_does_what_the_contract_says() {
        let root = tempfile::tempdir().unwrap();
        let disk = OsDisk::new();
        let run = |op: Op| disk.execute(&op).unwrap();
        let dir = root.path().join("t-0");
        let path = dir.join("a.log");
        let file = FileId(3);
        run(Op::CreateDir { path: dir.clone() });
        run(Op::CreateDir { path: dir.clone() });
        run(Op::Create { file, path: path.clone() });
        run(Op::SyncDir { path: dir.clone() });
        let large = Bytes::from(vec![b'x'; JOIN_BYTES_MAX]);
        let parts = vec![Bytes::from_static(b"head"), large];
        run(Op::Write { file, at: 0, parts: parts.clone() });
        run(Op::Write { file, at: 2, parts: vec![parts[0].clone(), parts[0].slice(..1)] });
        run(Op::Sync { file });
        assert_eq!(disk.len(file).unwrap(), 4 + JOIN_BYTES_MAX as u64);
        assert_eq!(disk.read_at(file, 0, 9).unwrap(), "heheadhxx");
        let many: Vec<Bytes> =
            (0..3000).map(|n| Bytes::from(n.to_string().repeat(n % 7))).collect();
        run(Op::Write { file, at: 3, parts: many.clone() });
        let written = disk.read_at(file, 3, many.iter().map(Bytes::len).sum()).unwrap();
        assert_eq!(written, many.concat());
        run(Op::Truncate { file, len: 3 });
        assert_eq!(disk.read_at(file, 1, usize::MAX).unwrap(), "eh");
        assert!(disk.read_at(file, 9, 9).unwrap().is_empty());
        let moved = dir.join("a.log.deleted");
        run(Op::RenameFile { from: path.clone(), to: moved.clone() });
        assert_eq!(disk.read_at(file, 0, 9).unwrap(), "heh", "an open file outlives its name");
        run(Op::Replace { path: path.clone(), bytes: Bytes::from_static(b"new") });
        assert_eq!(disk.read_file(&path).unwrap(), "new");
        run(Op::RemoveFile { path: moved.clone() });
        run(Op::RemoveFile { path: moved });
        assert_eq!(disk.list(&dir).unwrap(), ["a.log"]);
        run(Op::Close { file });
        assert!(disk.read_at(file, 0, 1).unwrap_err().is_not_found());
        run(Op::OpenExisting { file, path });
        assert_eq!(disk.len(file).unwrap(), 3);
        let gone = root.path().join("t-0.gone");
        run(Op::RenameDir { from: dir.clone(), to: gone.clone() });
        run(Op::RemoveDirAll { path: gone.clone() });
        run(Op::RemoveDirAll { path: gone });
        assert!(disk.list(&dir).unwrap_err().is_not_found());
    }
}
