//! A full disk: what takes no records then, and how it comes back.
//!
//! The first write that finds no room closes its directory to records: producers are told
//! KAFKA_STORAGE_ERROR, which they take for a reason to try again. What is there is read as before,
//! topics and records can be deleted, retention goes on. The log of that write is *stalled*: what
//! was written in part has to go. It is opened anew in place of the old one, as after a crash, as
//! soon as nothing of it is under way. Once there is room again the directory takes records.
//!
//! Owns which directories and logs these are. Invariants:
//! - I1: between the first write without room and the moment there is room, nothing of a producer
//!   is appended in that directory, so that what room there is is left to the metadata.
//! - I2: a log opened anew ends at or behind what was shown of the old one.
//! - I3: a log that failed in any other way is never opened anew: a failed sync is not repeated.
//! - I4: a directory's name is not free while its log is being opened.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::disk::{Deferred, Disk, FileIds, Op, Space};
use ottla_log::{Log, LogConfig, OpenMode, RecoveryReport, StorageError};
use wire::{ErrorCode, Uuid};

use crate::event::{Effect, Lane, Now};
use crate::groups;
use crate::node::{Node, submit};
use crate::startup;

/// What is full, and stalled.
#[derive(Debug, Default)]
pub struct Full {
    dirs: BTreeMap<PathBuf, FullDir>,
    stalled: BTreeMap<Lane, Stalled>,
}

#[derive(Debug)]
struct FullDir {
    since_ms: i64,
    /// When its room is measured next, on the steady clock; never while it is being measured.
    next_ms: i64,
}

#[derive(Debug)]
struct Stalled {
    /// `topic-partition`.
    name: String,
    /// When it is tried to open it, on the steady clock; never while that is under way.
    next_ms: i64,
    pause_ms: i64,
    opening: bool,
}

/// How to open a stalled log.
#[derive(Debug)]
pub struct Reopening {
    path: PathBuf,
    /// Something was appended there: if it is not there now, its topic was deleted meanwhile.
    is_made: bool,
    topic_id: Uuid,
    config: Arc<LogConfig>,
    mode: OpenMode,
    log_start: i64,
    files: FileIds,
}

/// A log opened anew, with what recovery found.
pub type Reopened = Result<Box<(Log, RecoveryReport)>, StorageError>;

impl Reopening {
    /// Opens it; it is durable then. The old one's files stay open.
    pub fn carry_out(self, disk: &dyn Disk) -> Reopened {
        let mut files = self.files.clone();
        let opened = self.open(disk, &mut files);
        if opened.is_err() {
            // Nobody knows these ids: they would be in the table for ever.
            for file in files.since(&self.files) {
                let _ = disk.execute(&Op::Close { file });
            }
        }
        opened
    }

    fn open(&self, disk: &dyn Disk, files: &mut FileIds) -> Reopened {
        let deferred = Deferred::new(disk);
        let there = startup::partitions::holds_log(&deferred, &self.path)?;
        let config = self.config.clone();
        let opened = if there || self.is_made {
            let start = Some(self.log_start);
            Log::open(&deferred, &self.path, config, self.mode, start, files)?
        } else {
            // There was not even room to make it.
            let mut out = Vec::new();
            let mut log = Log::create(&self.path, self.topic_id, config, &mut out);
            startup::drive(&deferred, &mut log, out)?;
            (log, RecoveryReport::default())
        };
        deferred.settle()?;
        Ok(Box::new(opened))
    }
}

impl Full {
    /// When something is due, on the steady clock.
    pub fn next_ms(&self) -> i64 {
        let dirs = self.dirs.values().map(|dir| dir.next_ms);
        dirs.chain(self.stalled.values().map(|log| log.next_ms)).min().unwrap_or(i64::MAX)
    }

    /// True if that directory takes no records.
    pub fn is_full(&self, dir: Option<&Path>) -> bool {
        !self.dirs.is_empty() && dir.is_some_and(|dir| self.dirs.contains_key(dir))
    }

    /// Directories that take no records.
    pub fn count(&self) -> usize {
        self.dirs.len()
    }

    /// True while the log in the directory of that name is being opened (I4).
    pub fn holds(&self, name: &str) -> bool {
        self.stalled.values().any(|log| log.opening && log.name == name)
    }

    /// A log failed for good, or is gone.
    pub fn forget(&mut self, lane: Lane) {
        // Whoever opens it brings what has to be let go of.
        if self.stalled.get(&lane).is_some_and(|log| !log.opening) {
            self.stalled.remove(&lane);
        }
    }
}

impl Node {
    /// An operation of a partition's log found no room.
    pub(crate) fn stall(
        &mut self,
        lane: Lane,
        error: &StorageError,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(partition) = self.partitions.get_mut(&lane) else { return };
        partition.cleaning.forget_settling();
        if let Some(stalled) = self.full.stalled.get_mut(&lane) {
            if !stalled.opening && partition.log.is_idle() {
                stalled.next_ms = now.steady_ms;
            }
            return;
        }
        let name = format!("{}-{}", partition.topic, partition.index);
        let dir = partition.log.path().parent().unwrap_or(Path::new("")).to_owned();
        let next_ms = now.steady_ms + SOON_MS;
        let stalled = Stalled { name: name.clone(), next_ms, pause_ms: SOON_MS, opening: false };
        self.full.stalled.insert(lane, stalled);
        if let Entry::Vacant(vacant) = self.full.dirs.entry(dir.clone()) {
            out.push(Effect::Warn(format!(
                "{} is full, seen with {name}: {error}. No records are taken there \
                 (KAFKA_STORAGE_ERROR) before there is room again; what is there is served. Make \
                 room: delete topics or records, or give the file system more",
                dir.display()
            )));
            let next_ms = now.steady_ms + LOOK_MS;
            vacant.insert(FullDir { since_ms: now.steady_ms, next_ms });
        }
        self.fail(lane, ErrorCode::KAFKA_STORAGE_ERROR, out);
        groups::failed(self, lane, now, out);
    }

    /// Looks for room, and opens what was stalled.
    pub(crate) fn unstall(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.full.next_ms() > now.steady_ms {
            return;
        }
        for (dir, full) in &mut self.full.dirs {
            if full.next_ms <= now.steady_ms {
                full.next_ms = i64::MAX;
                out.push(Effect::Measure(dir.clone()));
            }
        }
        for (lane, stalled) in &mut self.full.stalled {
            if stalled.next_ms > now.steady_ms {
                continue;
            }
            // What is gone is forgotten when it goes.
            let Some(partition) = self.partitions.get(lane) else { continue };
            let busy = self.cleaner.is_at(*lane) || self.key_filters.holds(&stalled.name);
            if !partition.log.is_idle() || busy {
                stalled.next_ms = now.steady_ms + SOON_MS;
                continue;
            }
            (stalled.next_ms, stalled.opening) = (i64::MAX, true);
            let log = &partition.log;
            let files = self.files.reserve();
            let reopening = Reopening {
                path: log.path().to_owned(),
                is_made: log.end() > 0,
                topic_id: partition.topic_id,
                config: log.config().clone(),
                mode: OpenMode {
                    clean: false,
                    recovery_point: log.recovery_point(),
                    mark: log.mark(),
                },
                log_start: log.start(),
                files,
            };
            out.push(Effect::Reopen(*lane, Box::new(reopening)));
        }
    }

    /// A full directory was measured.
    pub(crate) fn measured(
        &mut self,
        dir: PathBuf,
        space: Result<Space, StorageError>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(full) = self.full.dirs.get_mut(&dir) else { return };
        full.next_ms = now.steady_ms + LOOK_MS;
        let Ok(space) = space else { return };
        if space.free >= (space.total / 64).clamp(ROOM_MIN, ROOM_MAX) {
            let seconds = (now.steady_ms - full.since_ms) / 1000;
            out.push(Effect::Info(format!(
                "{} has room again after {seconds} s and takes records",
                dir.display()
            )));
            self.full.dirs.remove(&dir);
        }
    }

    /// A stalled log was opened, or not.
    pub(crate) fn reopened(
        &mut self,
        lane: Lane,
        reopened: Reopened,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(mut stalled) = self.full.stalled.remove(&lane) else { return };
        let mut submissions = Vec::new();
        let Some(partition) = self.partitions.get_mut(&lane).filter(|one| !one.offline) else {
            if let Ok(mut opened) = reopened {
                opened.0.abandon(&mut submissions);
                submit(lane, submissions, out);
            }
            return self.open_held(now, out);
        };
        match reopened {
            Ok(mut opened) => {
                let (end, shown) = (opened.0.end(), partition.high_watermark);
                opened.0.set_config(partition.log.config().clone());
                opened.0.assign_epoch(partition.leader_epoch);
                // Records may have been deleted since the order was given.
                opened.0.delete_records(partition.log.start());
                std::mem::swap(&mut partition.log, &mut opened.0);
                opened.0.abandon(&mut submissions);
                // Invariant I2.
                if end < shown {
                    partition.offline = true;
                    out.push(Effect::Warn(format!(
                        "{} is offline: opened again after the disk was full it ends at {end}, \
                         but records below {shown} were there. Restore it from another replica",
                        stalled.name
                    )));
                }
            }
            Err(error) if error.is_full() => {
                stalled.opening = false;
                stalled.pause_ms = (stalled.pause_ms * 2).min(PAUSE_MAX_MS);
                stalled.next_ms = now.steady_ms + stalled.pause_ms;
                self.full.stalled.insert(lane, stalled);
                return;
            }
            // A disk that fails now fails for all that is there.
            Err(error) if !error.is_damage() => return self.fail_dir(lane, &error, now, out),
            Err(error) => {
                let name = &stalled.name;
                out.push(Effect::Warn(format!(
                    "{name} takes no records any more, because it can't be opened again after the \
                     disk was full: {error}. What is there is served until the next start"
                )));
                // It stays stalled; nothing comes of another try.
                stalled.opening = false;
                self.full.stalled.insert(lane, stalled);
                return;
            }
        }
        submit(lane, submissions, out);
        let Some(partition) = self.partitions.get_mut(&lane).filter(|one| !one.offline) else {
            return;
        };
        self.upkeep.wake(lane, partition, now);
        self.groups.added(partition, lane);
        if partition.advance() {
            self.advanced(lane, out);
        }
    }

    /// A disk failed: what it holds is lost to this life of the node. A sync that failed is not
    /// tried again, for one log or another: what the system could not write it may have dropped.
    pub(crate) fn fail_dir(
        &mut self,
        lane: Lane,
        error: &StorageError,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(partition) = self.partitions.get(&lane) else { return };
        let dir = partition.log.path().parent().unwrap_or(Path::new("")).to_owned();
        let name = format!("{}-{}", partition.topic, partition.index);
        let here = |log: &Log| log.path().parent() == Some(&*dir);
        let online = self.partitions.iter().filter(|(_, one)| !one.offline && here(&one.log));
        let lanes: Vec<Lane> = online.map(|(lane, _)| *lane).collect();
        if lanes.is_empty() {
            return;
        }
        let text = format!(
            "log directory {} failed, seen with {name}: {error}. The {} partitions there are \
             offline (KAFKA_STORAGE_ERROR) until the node is started again; see to the disk first",
            dir.display(),
            lanes.len()
        );
        // Without its metadata a node can promise nothing.
        if dir == self.config.metadata_dir.path {
            out.push(Effect::Halt(text));
            return;
        }
        out.push(Effect::Warn(text));
        for lane in lanes {
            if let Some(partition) = self.partitions.get_mut(&lane) {
                partition.offline = true;
            }
            self.full.forget(lane);
            self.fail(lane, ErrorCode::KAFKA_STORAGE_ERROR, out);
            groups::failed(self, lane, now, out);
        }
    }
}

/// How often the room in a full directory is measured.
const LOOK_MS: i64 = 1_000;
/// How soon a stalled log is looked at again that something is still under way of.
const SOON_MS: i64 = 100;
/// How seldom it is tried at last to open a log that there is no room for.
const PAUSE_MAX_MS: i64 = 10_000;
/// There is room if a 64th of the file system is free, at least and at most so much.
const ROOM_MIN: u64 = 256 << 10;
const ROOM_MAX: u64 = 64 << 20;
