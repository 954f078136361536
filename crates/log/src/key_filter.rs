//! Key filters: which keys a rolled segment may hold, so that whoever wants one key need not read
//! the others (decision 9). The file is `wire`'s; here is when it is made, taken and given up.
//!
//! 1. [`Log::plan_filter`] finds a rolled segment that lacks one; it only looks.
//! 2. [`FilterPlan::build`] reads the segment, without the log, on a thread of its own, and writes
//!    the file under a name that the next start removes.
//! 3. [`Log::install_filter`] gives it its name, if the segment is still there.
//!
//! Reading with them is `read/keyed.rs`.
//!
//! Invariants:
//! - I1: a filter counts only for the very segment it was made of: in a running log by the file's
//!   id, which is never used again, at an opening by what the filter says of the segment.
//! - I2: nothing depends on a filter: one that is missing, torn or stale costs reading, and is
//!   built anew. So no mark and no start waits for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use wire::batch::{BatchHeader, HEADER_BYTES};
use wire::files::{FilteredSegment, KEY_FILTER_BLOCK_BYTES, KeyFilterBuilder, KeyFilterHeader};
use wire::walk::visit_keys;

use crate::clean::{CleanError, Pace};
use crate::disk::{Disk, FileId, FileIds, Op, StorageError, Submission};
use crate::log::Log;
use crate::planted::{self, Bug};
use crate::recover::{WalkError, Walker};
use crate::retention::ABANDONED;
use crate::segment::{self, Segment};

/// What follows the base offset in the name of a filter.
pub(crate) const EXTENSION: &str = "keyfilter";

/// Where the filter of the segment at `base` is.
pub(crate) fn path(dir: &Path, base: i64) -> PathBuf {
    segment::path(dir, base, EXTENSION)
}

/// A segment's filter.
#[derive(Clone, Debug, Default)]
pub(crate) enum Filter {
    /// There is none, or not yet.
    #[default]
    Missing,
    /// There can be none: the segment holds what can't be read.
    Impossible,
    There(Arc<KeyFilter>),
}

/// A filter file that is open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyFilter {
    pub file: FileId,
    pub header: KeyFilterHeader,
}

impl Filter {
    /// Its file, if there is one.
    pub fn file(&self) -> Option<FileId> {
        self.there().map(|filter| filter.file)
    }

    /// The filter, if there is one.
    pub fn there(&self) -> Option<&Arc<KeyFilter>> {
        match self {
            Self::There(filter) => Some(filter),
            Self::Missing | Self::Impossible => None,
        }
    }
}

/// A filter to be built; see [`Self::build`].
#[derive(Debug)]
pub struct FilterPlan {
    dir: Arc<Path>,
    /// Compare with [`Log::generation`].
    generation: u64,
    /// Without its indexes.
    segment: Segment,
    file: FileId,
}

/// A filter that was built, to be given to [`Log::install_filter`].
#[derive(Debug)]
pub struct BuiltFilter {
    generation: u64,
    /// The file of the segment.
    of: FileId,
    filter: KeyFilter,
    path: PathBuf,
}

impl Log {
    /// Plans the filter of the oldest rolled segment that lacks one; `None` if none does.
    pub fn plan_filter(&self, ids: &mut FileIds) -> Option<FilterPlan> {
        // What is being put in the place of others has no name to put a filter beside.
        if self.accepts_appends().is_err() || self.is_installing() {
            return None;
        }
        let flushed = self.flushed();
        let mut pairs = self.segments.windows(2);
        let lacking = pairs.find_map(|pair| match pair {
            [segment, next] if next.base <= flushed && segment.size > 0 => {
                matches!(segment.filter, Filter::Missing).then_some(segment)
            }
            _ => None,
        })?;
        let mut plain = Segment::new(lacking.base, lacking.file, 0);
        plain.size = lacking.size;
        Some(FilterPlan {
            dir: self.dir.clone(),
            generation: self.generation(),
            segment: plain,
            file: ids.allocate(),
        })
    }

    /// Puts a filter beside its segment. False if that is not there any more; the file is removed
    /// then.
    pub fn install_filter(&mut self, built: BuiltFilter, out: &mut Vec<Submission>) -> bool {
        let BuiltFilter { generation, of, filter, path: from } = built;
        if self.accepts_appends().is_err() {
            // The next start removes it.
            return false;
        }
        let same = generation == self.generation();
        let segment = self.segments.iter_mut().find(|segment| same && segment.file == of);
        let Some(segment) = segment else {
            self.commit.other(Op::Close { file: filter.file }, out);
            self.commit.other(Op::RemoveFile { path: from }, out);
            return false;
        };
        let to = path(&self.dir, segment.base);
        segment.filter = Filter::There(Arc::new(filter));
        self.commit.other(Op::RenameFile { from, to }, out);
        true
    }

    /// Leaves a segment without a filter until the next start: it holds what can't be read.
    pub fn forgo_filter(&mut self, of: FileId) {
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.file == of) {
            segment.filter = Filter::Impossible;
        }
    }

    /// How many segments have a filter.
    pub fn filters(&self) -> usize {
        self.segments.iter().filter(|segment| segment.filter.there().is_some()).count()
    }
}

impl BuiltFilter {
    /// Lets go of its file: the partition is gone, and so is its directory.
    pub fn abandon(self, out: &mut Vec<Submission>) {
        out.push(Submission { token: ABANDONED, op: Op::Close { file: self.filter.file } });
    }
}

impl FilterPlan {
    /// Bytes it will read.
    pub fn bytes(&self) -> u64 {
        self.segment.size
    }

    /// The segment's file; see [`Log::forgo_filter`].
    pub fn file(&self) -> FileId {
        self.segment.file
    }

    /// Reads the segment, each batch checked and opened, and writes what keys it may hold. Takes
    /// at most the filter's 16 MiB, a copy of it, and the largest batch.
    ///
    /// # Errors
    /// As those of a cleaning; nothing is left behind but what the next start removes.
    pub fn build(self, disk: &dyn Disk, pace: Pace<'_>) -> Result<BuiltFilter, CleanError> {
        // The id makes the name one of its own: whatever becomes of an earlier attempt, its file
        // is not this one.
        let name = format!("{EXTENSION}.{}.tmp", self.file.0);
        let path = segment::path(&self.dir, self.segment.base, &name);
        let written = self.content(disk, pace).and_then(|(header, content)| {
            let file = self.file;
            disk.execute(&Op::Create { file, path: path.clone() })?;
            disk.execute(&Op::Write { file, at: 0, parts: vec![content] })?;
            // Long before anybody waits for it, on a thread that nobody waits for.
            disk.execute(&Op::Sync { file })?;
            Ok(KeyFilter { file, header })
        });
        match written {
            Ok(filter) => {
                let (generation, of) = (self.generation, self.segment.file);
                Ok(BuiltFilter { generation, of, filter, path })
            }
            Err(error) => {
                let _ = disk.execute(&Op::Close { file: self.file });
                let _ = disk.execute(&Op::RemoveFile { path });
                Err(error)
            }
        }
    }

    fn content(
        &self,
        disk: &dyn Disk,
        pace: Pace<'_>,
    ) -> Result<(KeyFilterHeader, Bytes), CleanError> {
        let segment = &self.segment;
        let mut builder = KeyFilterBuilder::new(segment.size);
        let mut walker = Walker::new(disk, &self.dir, segment, 0, segment.size);
        let (mut tail, mut moved) = (None, 0);
        loop {
            let entered = walker.next_header().and_then(|found| {
                let Some((header, at)) = found else { return Ok(None) };
                let batch = walker.batch(&header, at, true)?;
                if planted::is(Bug::FilterLacksLastBatch) && walker.is_at_end() {
                    return Ok(Some((header, at)));
                }
                enter(&header, &batch, &mut builder)
                    .map_err(|error| WalkError::Bad { at, why: error.to_string() })?;
                Ok(Some((header, at)))
            });
            let Some((header, at)) = entered.map_err(|error| walker.refuse(error))? else { break };
            tail = Some((header, at));
            moved += header.size_in_bytes() as u64;
            if moved >= PACE_BYTES && !pace(std::mem::take(&mut moved)) {
                return Err(CleanError::Stopped);
            }
        }
        if !pace(moved) {
            return Err(CleanError::Stopped);
        }
        let (header, tail_position) = tail.ok_or(CleanError::Gone)?;
        let content = Bytes::from(builder.finish(FilteredSegment {
            base: segment.base,
            size: segment.size,
            tail_position,
            end: header.next_offset(),
            tail_crc: header.crc,
        }));
        let damaged = |error: wire::files::FileError| {
            StorageError::damaged("filter", &path(&self.dir, segment.base), error.to_string())
        };
        let header = KeyFilterHeader::parse(&content).map_err(damaged)?;
        Ok((header, content))
    }
}

/// Takes note of the keys of a batch; what controls transactions has none.
fn enter(
    header: &BatchHeader,
    batch: &Bytes,
    builder: &mut KeyFilterBuilder,
) -> Result<(), wire::record::RecordError> {
    if header.is_control() {
        return Ok(());
    }
    visit_keys(batch, OPENED_MAX, |key| builder.enter(key))
}

/// Opens the filter beside a rolled segment, if it is that segment's (I1); what stands in the way
/// of reading it is no reason to keep the log closed.
pub(crate) fn open(
    disk: &dyn Disk,
    dir: &Path,
    segment: &Segment,
    ids: &mut FileIds,
) -> Option<KeyFilter> {
    let file = ids.allocate();
    disk.execute(&Op::OpenExisting { file, path: path(dir, segment.base) }).ok()?;
    let found = read(disk, segment, file);
    if found.is_none() {
        let _ = disk.execute(&Op::Close { file });
    }
    found
}

fn read(disk: &dyn Disk, segment: &Segment, file: FileId) -> Option<KeyFilter> {
    let head = disk.read_at(file, 0, KEY_FILTER_BLOCK_BYTES).ok()?;
    let header = KeyFilterHeader::parse(&head).ok()?;
    let of = header.segment;
    let whole = disk.len(file).ok()? == header.file_bytes();
    if !whole || of.base != segment.base || of.size != segment.size {
        return None;
    }
    let tail = disk.read_at(segment.file, of.tail_position, HEADER_BYTES).ok()?;
    let tail = BatchHeader::parse(&tail).ok()?;
    let ends = of.tail_position.checked_add(tail.size_in_bytes() as u64) == Some(of.size);
    let same = ends && tail.crc == of.tail_crc && tail.next_offset() == of.end;
    same.then_some(KeyFilter { file, header })
}

/// No batch may be larger when opened: what produce accepts is not.
const OPENED_MAX: usize = 256 << 20;
/// Bytes after which the pace is asked.
const PACE_BYTES: u64 = 64 << 10;
