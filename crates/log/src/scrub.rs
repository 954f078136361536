//! The scrub of a log: every batch that is durable is read and checked, and whether the indexes of
//! rolled segments say what is there.
//!
//! Owns the plan and the work, which runs without the log, piece by piece, as a cleaning does:
//! 1. [`crate::Log::plan_scrub`] makes a [`ScrubPlan`] and only looks.
//! 2. [`ScrubPlan::start`] gives a [`ScrubJob`] for a thread of little importance.
//! 3. [`crate::Log::note_damage`] takes what it finds: no read gets there any more.
//!
//! What it reads is checked whether that was done before or not: rot comes with time. What was in
//! doubt since the start is believed afterwards, so that reads need not check it.
//!
//! Invariants:
//! - I1: a step reads about [`PIECE_BYTES`], and one batch more at most.
//! - I2: what is known to be damaged is stepped over, not read and told of again.
//! - I3: only what is durable is looked at, so that nothing half written passes for damage.
//!
//! Does not choose logs, read a clock, or throttle: `broker::scrubber` and `server` do.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, FileId, Op, StorageError};
use crate::epochs::Epochs;
use crate::log::Log;
use crate::planted::{self, Bug};
use crate::segment::{self, DiskIndex, Index};
use crate::verify::{Damage, Unread, Unverified, Verifier};

/// A segment to be scrubbed.
#[derive(Debug)]
struct Source {
    base: i64,
    file: FileId,
    /// Bytes from the front, and the offset at which they end.
    size: u64,
    end: i64,
    /// Its indexes, if it is rolled and they are on disk.
    index: Option<DiskIndex>,
    unverified: Option<Arc<Unverified>>,
}

/// How to scrub a log; see [`Self::start`].
#[derive(Debug)]
pub struct ScrubPlan {
    dir: Arc<Path>,
    epochs: Epochs,
    sources: Vec<Source>,
}

/// A scrub under way.
#[derive(Debug)]
pub struct ScrubJob {
    plan: ScrubPlan,
    /// The segment it is at.
    at: usize,
    place: Option<Place>,
    stats: ScrubStats,
}

/// Where in a segment.
#[derive(Debug)]
struct Place {
    byte: u64,
    /// The offset that what was looked at ends with.
    floor: i64,
    indexes: Option<Indexes>,
}

/// What a step of a scrub came to.
#[derive(Debug)]
pub enum ScrubStep {
    /// So many bytes were looked at.
    Checked(u64),
    /// So many bytes were looked at, and then something that is damaged, in the segment whose file
    /// this is.
    Found(u64, FileId, Box<Damage>),
    /// There is no more.
    Done(ScrubStats),
}

/// What a scrub did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubStats {
    /// Segments looked at.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Damaged places found, those that were known not counted.
    pub damaged: u64,
}

/// The disk failed; the scrub is given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScrubError(pub StorageError);

impl Log {
    /// Plans a scrub of all that is durable; `None` if that is nothing.
    pub fn plan_scrub(&self) -> Option<ScrubPlan> {
        let mut sources = Vec::new();
        for (position, segment) in self.segments.iter().enumerate() {
            let next = self.segments.get(position + 1).map(|next| next.base);
            let whole = next.filter(|next| *next <= self.flushed());
            let (size, end) = match whole {
                Some(next) => (segment.size, next),
                None => self.durable_part(position).unwrap_or((0, segment.base)),
            };
            let index = match segment.index {
                Index::Disk(index) if whole.is_some() => Some(index),
                _ => None,
            };
            if size > 0 {
                let (base, file) = (segment.base, segment.file);
                let unverified = segment.unverified.clone();
                sources.push(Source { base, file, size, end, index, unverified });
            }
            if whole.is_none() {
                break;
            }
        }
        let epochs = self.epochs().clone();
        (!sources.is_empty()).then(|| ScrubPlan { dir: self.dir.clone(), epochs, sources })
    }

    /// How much of a segment is durable that is not so to its end, if that is known: bytes, and the
    /// offset at which they end.
    fn durable_part(&self, position: usize) -> Option<(u64, i64)> {
        let segment = self.segments.get(position)?;
        let flushed = self.flushed();
        let is_last = position + 1 == self.segments.len();
        if is_last && flushed == self.end() && self.written() == flushed {
            return Some((segment.size, flushed));
        }
        if let Some(size) = self.commit.edge(segment.file, flushed) {
            return Some((size, flushed));
        }
        let mark = self.mark().filter(|mark| mark.base == segment.base);
        mark.map(|mark| (mark.position, mark.offset))
    }
}

impl ScrubPlan {
    /// Bytes of the segments it reads.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.size).sum()
    }

    /// The first file it reads: tells the volume.
    pub fn file(&self) -> Option<FileId> {
        self.sources.first().map(|source| source.file)
    }

    /// Begins the work, which needs nothing of the log any more.
    pub fn start(self) -> ScrubJob {
        ScrubJob { plan: self, at: 0, place: None, stats: ScrubStats::default() }
    }
}

impl ScrubJob {
    /// Bytes it will have read.
    pub fn bytes(&self) -> u64 {
        self.plan.bytes()
    }

    /// Does the next part of the work. After [`ScrubStep::Done`] or an error there is none.
    ///
    /// # Errors
    /// The disk failed.
    pub fn step(&mut self, disk: &dyn Disk) -> Result<ScrubStep, ScrubError> {
        loop {
            let Some(source) = self.plan.sources.get(self.at) else {
                return Ok(ScrubStep::Done(self.stats));
            };
            let once = Once(disk);
            let mut piece = Piece { plan: &self.plan, source, disk: &once, bytes: 0 };
            let place = match &mut self.place {
                Some(place) => Ok(place),
                None => {
                    self.stats.segments += 1;
                    piece.begin().map(|begun| self.place.insert(begun))
                }
            };
            let found = place.and_then(|place| piece.look(place));
            let bytes = piece.bytes;
            self.stats.bytes += bytes;
            match found {
                Ok(Looked::Ended) => {
                    (self.at, self.place) = (self.at + 1, None);
                    if bytes > 0 {
                        return Ok(ScrubStep::Checked(bytes));
                    }
                }
                Ok(Looked::More) => return Ok(ScrubStep::Checked(bytes)),
                Ok(Looked::Damaged(damage)) => {
                    self.stats.damaged += 1;
                    return Ok(ScrubStep::Found(bytes, source.file, damage));
                }
                // The segment was removed: the next ones may be there still.
                Err(error) if error.is_not_found() => {
                    (self.at, self.place) = (self.at + 1, None);
                }
                Err(error) => return Err(ScrubError(error)),
            }
        }
    }
}

/// How a look at a piece of a segment ended.
enum Looked {
    More,
    Damaged(Box<Damage>),
    Ended,
}

/// A piece of work in a segment.
struct Piece<'a> {
    plan: &'a ScrubPlan,
    source: &'a Source,
    disk: &'a dyn Disk,
    bytes: u64,
}

impl Piece<'_> {
    /// The beginning of a segment.
    fn begin(&self) -> Result<Place, StorageError> {
        let source = self.source;
        let indexes =
            source.index.map(|index| Indexes::read(self.disk, &self.plan.dir, source, &index));
        let indexes = indexes.transpose()?;
        Ok(Place { byte: 0, floor: source.base, indexes })
    }

    fn look(&mut self, place: &mut Place) -> Result<Looked, StorageError> {
        let source = self.source;
        let file = (source.base, source.file);
        let part = (source.size, source.end);
        let mut verifier = Verifier::of(self.disk, &self.plan.dir, file, &self.plan.epochs, part);
        while place.byte < source.size {
            if let Some(index) = place.indexes.as_mut().and_then(Indexes::take_damage) {
                return Ok(Looked::Damaged(index));
            }
            if self.bytes >= PIECE_BYTES {
                return Ok(Looked::More);
            }
            let (at, floor) = (place.byte, place.floor);
            // Invariant I2.
            if let Some(known) = source.unverified.as_ref().and_then(|of| of.damage_at(at)) {
                place.pass(&known);
                continue;
            }
            let looked = match verifier.batch(at, floor) {
                Err(Unread::Bad(_)) if is_skipped(at, &mut verifier) => {
                    (place.byte, place.indexes) = (source.size, None);
                    break;
                }
                looked => looked,
            };
            match looked {
                Ok(header) => {
                    let size = header.size_in_bytes() as u64;
                    self.bytes += size;
                    if let Some(indexes) = &mut place.indexes {
                        indexes.meet(at, &header);
                    }
                    if let Some(of) = &source.unverified {
                        of.note_checked(at..at + size, header.next_offset());
                    }
                    (place.byte, place.floor) = (at + size, header.next_offset());
                }
                Err(Unread::Bad(bad)) => {
                    let damage = verifier.damage(at, floor, bad)?;
                    self.bytes += damage.bytes.end - at;
                    place.pass(&damage);
                    return Ok(Looked::Damaged(Box::new(damage)));
                }
                Err(Unread::Disk(error)) => return Err(error),
            }
        }
        if let Some(indexes) = &mut place.indexes {
            indexes.end();
            if let Some(damage) = indexes.take_damage() {
                return Ok(Looked::Damaged(damage));
            }
        }
        Ok(Looked::Ended)
    }
}

/// The bug of that name.
fn is_skipped(at: u64, verifier: &mut Verifier<'_>) -> bool {
    planted::is(Bug::ScrubSkipsLastBatch) && verifier.is_last(at)
}

impl Place {
    /// Steps over what is damaged.
    fn pass(&mut self, damage: &Damage) {
        (self.byte, self.floor) = (damage.bytes.end, damage.offsets.end);
        if let Some(indexes) = &mut self.indexes {
            indexes.pass(damage);
        }
    }
}

/// What a segment's index files say, compared with batches as they are met.
#[derive(Debug)]
struct Indexes {
    base: i64,
    /// Offset and byte of each entry, and the next one to be met.
    offsets: Table<u64>,
    /// The offset of the last entry met: a batch from there on must end with it before the next
    /// entry. (Of several batches written at once there may be one entry.)
    open: Option<i64>,
    /// Timestamp and offset of each entry.
    times: Table<i64>,
}

/// One index file.
#[derive(Debug)]
struct Table<T> {
    path: PathBuf,
    entry_bytes: u64,
    entries: Vec<(i64, T)>,
    next: usize,
    /// The first damage; the rest of the file is not looked at.
    damage: Option<(usize, String)>,
    told: bool,
}

impl<T: Copy> Table<T> {
    fn peek(&self) -> Option<(i64, T)> {
        if self.damage.is_some() { None } else { self.entries.get(self.next).copied() }
    }

    fn bad(&mut self, entry: usize, why: String) {
        self.damage.get_or_insert((entry, why));
    }

    /// The damage, once.
    fn take(&mut self, base: i64) -> Option<Box<Damage>> {
        let (entry, why) = self.damage.as_ref().filter(|_| !self.told)?;
        self.told = true;
        let first = *entry as u64 * self.entry_bytes;
        let why = format!("{why}; reads do without it, and a start without the file makes it anew");
        let bytes = first..first + self.entry_bytes;
        Some(Box::new(Damage { path: self.path.clone(), base, bytes, offsets: 0..0, why }))
    }
}

impl Indexes {
    fn read(
        disk: &dyn Disk,
        dir: &Path,
        source: &Source,
        index: &DiskIndex,
    ) -> Result<Self, StorageError> {
        let base = source.base;
        let read = |file, entries: u64, size: u64| disk.read_at(file, 0, (entries * size) as usize);
        let entries = read(index.offsets, index.offset_entries, 8)?;
        let entry = |raw: &[u8; 8]| {
            let raw = u64::from_be_bytes(*raw);
            (base + (raw >> 32) as i64, raw & 0xffff_ffff)
        };
        let mut offsets = Table::new(dir, base, "index", 8, entries.as_chunks().0, entry);
        let rises = |pair: &[(i64, u64)]| match pair {
            [(offset, at), (later, behind)] => offset < later && at < behind,
            _ => true,
        };
        offsets.check_rising(index.offset_entries, rises);
        let entries = read(index.times, index.time_entries, 12)?;
        let entry = |raw: &[u8; 12]| {
            let wide = raw.iter().fold(0u128, |wide, byte| wide << 8 | u128::from(*byte));
            (base + i64::from(wide as u32), (wide >> 32) as i64)
        };
        let mut times = Table::new(dir, base, "timeindex", 12, entries.as_chunks().0, entry);
        let rises = |pair: &[(i64, i64)]| match pair {
            [(offset, time), (later, after)] => offset <= later && time <= after,
            _ => true,
        };
        times.check_rising(index.time_entries, rises);
        Ok(Self { base, offsets, open: None, times })
    }

    /// A good batch was met.
    fn meet(&mut self, at: u64, header: &wire::batch::BatchHeader) {
        let (first, last) = (header.base_offset, header.last_offset());
        while let Some((offset, place)) = self.offsets.peek().filter(|(_, place)| *place <= at) {
            self.close();
            if place != at {
                let why = format!("no batch begins at byte {place}");
                self.offsets.bad(self.offsets.next, why);
            } else if offset < first {
                let why = format!("offset {offset} is before byte {place}");
                self.offsets.bad(self.offsets.next, why);
            } else {
                self.open = Some(offset);
            }
            self.offsets.next += 1;
        }
        if self.open == Some(last) {
            self.open = None;
        }
        while let Some((offset, time)) = self.times.peek().filter(|(offset, _)| *offset <= last) {
            // An entry of nothing stands for timestamp 0, which files can't tell from it.
            if time != 0 && (offset < first || time != header.max_timestamp) {
                let why = format!("no batch with offset {offset} is of timestamp {time}");
                self.times.bad(self.times.next, why);
            }
            self.times.next += 1;
        }
    }

    /// The batch that the last entry speaks of should have been met.
    fn close(&mut self) {
        if let Some(offset) = self.open.take() {
            let why = format!("no batch ends with offset {offset} there");
            self.offsets.bad(self.offsets.next.saturating_sub(1), why);
        }
    }

    /// Damaged records were stepped over, and entries that speak of them.
    fn pass(&mut self, damage: &Damage) {
        let Range { end, .. } = damage.bytes;
        self.open = self.open.filter(|offset| *offset >= damage.offsets.end);
        while self.offsets.peek().is_some_and(|(_, place)| place < end) {
            self.offsets.next += 1;
            self.open = None;
        }
        while self.times.peek().is_some_and(|(offset, _)| offset < damage.offsets.end) {
            self.times.next += 1;
        }
    }

    /// All batches were met.
    fn end(&mut self) {
        self.close();
        if let Some((_, place)) = self.offsets.peek() {
            self.offsets.bad(self.offsets.next, format!("there is no byte {place}"));
        }
        if let Some((offset, _)) = self.times.peek() {
            self.times.bad(self.times.next, format!("there is no offset {offset}"));
        }
    }

    fn take_damage(&mut self) -> Option<Box<Damage>> {
        self.offsets.take(self.base).or_else(|| self.times.take(self.base))
    }
}

impl<T: Copy> Table<T> {
    fn new<const N: usize>(
        dir: &Path,
        base: i64,
        extension: &str,
        entry_bytes: u64,
        raw: &[[u8; N]],
        entry: impl Fn(&[u8; N]) -> (i64, T),
    ) -> Self {
        let path = segment::path(dir, base, extension);
        let entries = raw.iter().map(entry).collect();
        Self { path, entry_bytes, entries, next: 0, damage: None, told: false }
    }

    fn check_rising(&mut self, expected: u64, rises: impl Fn(&[(i64, T)]) -> bool) {
        if (self.entries.len() as u64) < expected {
            self.bad(self.entries.len(), format!("{expected} entries were there"));
        }
        if let Some(found) = self.entries.windows(2).position(|pair| !rises(pair)) {
            self.bad(found + 1, "entries do not rise".to_owned());
        }
    }
}

/// A disk for whoever passes by: what it reads is not kept in memory for that.
struct Once<'a>(&'a dyn Disk);

impl Disk for Once<'_> {
    fn execute(&self, op: &Op) -> Result<(), StorageError> {
        self.0.execute(op)
    }

    fn read_at(&self, file: FileId, at: u64, len: usize) -> Result<Bytes, StorageError> {
        self.0.read_once(file, at, len)
    }

    fn len(&self, file: FileId) -> Result<u64, StorageError> {
        self.0.len(file)
    }

    fn space(&self, dir: &Path) -> crate::disk::Result<crate::disk::Space> {
        self.0.space(dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, StorageError> {
        self.0.list(dir)
    }

    fn read_file(&self, path: &Path) -> Result<Bytes, StorageError> {
        self.0.read_file(path)
    }
}

/// Looked at in a step.
const PIECE_BYTES: u64 = 1 << 20;
