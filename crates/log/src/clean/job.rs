//! The work of a cleaning: the newest offsets of keys are gathered, then segments are written anew
//! group by group, as Apache Kafka's `Cleaner` does it.
//!
//! Owns the files it writes, `<base>.log.cleaned` and its kin, until a group is handed over to
//! [`crate::Log::install_cleaned`]. Reads and writes a disk, but decides by the plan alone; when
//! and how fast it runs is up to whoever calls [`CleanJob::step`].
//!
//! Invariants:
//! - I1: a group handed over is durable, names included.
//! - I2: whatever ends a step early, the files of its group are gone or going.
//! - I3: the files of all segments of a group were opened before it is handed over. Their names
//!   will be those of the new ones, and a file that is opened late would be opened by its name.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use wire::batch::BatchHeader;
use wire::record::RecordIter;

use super::map::{MapBudget, OffsetMap};
use super::plan::{CleanPlan, Source};
use super::rewrite::{Left, Rules, rewrite};
use super::transactions::Transactions;
use super::{CleanError, CleanStats, CleanedGroup, CleanedLog};
use crate::disk::{Disk, FileId, Op, StorageError};
use crate::recover::{WalkError, Walker};
use crate::segment::{self, DiskIndex, Index, Segment};

/// A cleaning under way.
#[derive(Debug)]
pub struct CleanJob {
    plan: CleanPlan,
    budget: MapBudget,
    stage: Stage,
    transactions: Transactions,
    stats: CleanStats,
}

#[derive(Debug)]
enum Stage {
    Begun,
    Mapped { map: OffsetMap, end: i64, groups: VecDeque<Range<usize>> },
}

/// What a step of a cleaning came to.
#[derive(Debug)]
pub enum CleanStep {
    /// The keys are known; groups follow.
    Mapped,
    /// A group of segments was written anew: hand it over.
    Group(Box<CleanedGroup>),
    /// There are no more.
    Done(CleanedLog),
}

/// Told of bytes read or written, in order to slow the work down; false ends it.
pub type Pace<'a> = &'a mut dyn FnMut(u64) -> bool;

impl CleanJob {
    pub(super) fn new(plan: CleanPlan, budget: MapBudget) -> Self {
        let (stats, transactions) = (CleanStats::default(), Transactions::default());
        Self { plan, budget, stage: Stage::Begun, transactions, stats }
    }

    /// Bytes of the segments it may read.
    pub fn bytes(&self) -> u64 {
        self.plan.bytes()
    }

    /// Does the next part of the work. After [`CleanStep::Done`] or an error there is none.
    ///
    /// # Errors
    /// The cleaning is given up; nothing of the log was touched since the last group.
    pub fn step(&mut self, disk: &dyn Disk, pace: Pace<'_>) -> Result<CleanStep, CleanError> {
        let Stage::Mapped { map, end, groups } = &mut self.stage else {
            let map = self.map(disk, pace)?;
            let end = map.latest() + 1;
            let count = self.plan.sources.partition_point(|source| source.segment.base < end);
            let groups = groups(self.plan.sources.get(..count).unwrap_or_default(), &self.plan);
            self.stage = Stage::Mapped { map, end, groups };
            return Ok(CleanStep::Mapped);
        };
        let Some(group) = groups.pop_front() else {
            return Ok(CleanStep::Done(CleanedLog { end: *end, stats: self.stats }));
        };
        let ids = self.plan.ids.split_off(self.plan.ids.len().saturating_sub(3));
        let [log, offsets, times] = ids[..] else { return Err(CleanError::Gone) };
        let sources = self.plan.sources.get(group.clone()).unwrap_or_default();
        let Some(first) = sources.first() else { return Err(CleanError::Gone) };
        let mut output = Output::new(first.segment.base, [log, offsets, times], &self.plan);
        let mut work = Work {
            plan: &self.plan,
            map,
            transactions: &mut self.transactions,
            stats: &mut self.stats,
        };
        match work.clean(group.clone(), &mut output, disk, pace) {
            Ok(()) => {
                self.stats.segments_read += sources.len() as u64;
                self.stats.segments_written += 1;
                Ok(CleanStep::Group(Box::new(CleanedGroup {
                    generation: self.plan.generation,
                    replaces: sources.iter().map(|source| source.segment.file).collect(),
                    segment: output.segment,
                })))
            }
            Err(error) => {
                output.remove(disk);
                Err(error)
            }
        }
    }

    /// Gathers the newest offset of each key in the dirty part, as far as there is room.
    fn map(&mut self, disk: &dyn Disk, pace: Pace<'_>) -> Result<OffsetMap, CleanError> {
        let CleanPlan { first_dirty, upto, .. } = self.plan;
        let mut map = OffsetMap::new(self.budget, upto.saturating_sub(first_dirty).max(0) as u64);
        let mut transactions = Transactions::default();
        transactions.expect(self.plan.aborted(first_dirty, upto));
        let after = self.plan.sources.partition_point(|source| source.segment.base <= first_dirty);
        for index in after.saturating_sub(1)..self.plan.sources.len() {
            let Some(source) = self.plan.sources.get(index) else { break };
            let mut pacer = Pacer::new(pace);
            let mut full = false;
            walk(disk, &self.plan, source, &mut |header, batch| {
                pacer.moved(batch.len() as u64)?;
                self.stats.map_bytes_read += batch.len() as u64;
                full = !enter(header, &batch, first_dirty, &mut map, &mut transactions)?;
                Ok(!full)
            })?;
            pacer.rest()?;
            if full {
                self.stats.map_was_full = true;
                break;
            }
            // Offsets may be missing at the end: all there are were looked at.
            let next = self.plan.sources.get(index + 1).map_or(upto, |next| next.segment.base);
            map.reach(next - 1);
        }
        self.stats.keys = map.len();
        Ok(map)
    }
}

/// Enters a batch in the map; false if that was full before its end.
fn enter(
    header: &BatchHeader,
    batch: &Bytes,
    first_dirty: i64,
    map: &mut OffsetMap,
    transactions: &mut Transactions,
) -> Result<bool, Broken> {
    if header.is_control() {
        transactions.on_control(header, batch)?;
    } else if !transactions.on_batch(header) && header.last_offset() >= first_dirty {
        for record in RecordIter::open(batch, OPENED_MAX)? {
            let record = record?;
            let Some(key) = record.key.as_deref().filter(|_| record.offset >= first_dirty) else {
                continue;
            };
            if !map.put(key, record.offset) {
                return Ok(false);
            }
        }
    }
    if header.last_offset() >= first_dirty {
        map.reach(header.last_offset());
    }
    Ok(true)
}

/// What writing a group takes.
struct Work<'a> {
    plan: &'a CleanPlan,
    map: &'a OffsetMap,
    transactions: &'a mut Transactions,
    stats: &'a mut CleanStats,
}

impl Work<'_> {
    fn clean(
        &mut self,
        group: Range<usize>,
        output: &mut Output,
        disk: &dyn Disk,
        pace: Pace<'_>,
    ) -> Result<(), CleanError> {
        let rules = Rules {
            map: self.map,
            producers: &self.plan.producers,
            high_watermark: self.plan.high_watermark,
            now_ms: self.plan.now_ms,
            delete_retention_ms: self.plan.config.delete_retention_ms,
        };
        let sources = &self.plan.sources;
        output.create(disk)?;
        for (index, source) in sources.iter().enumerate().take(group.end).skip(group.start) {
            // Invariant I3.
            for file in source.indexes.iter().chain([&source.segment.file]) {
                disk.len(*file)?;
            }
            let base = source.segment.base;
            let next = sources.get(index + 1).map_or(self.plan.upto, |next| next.segment.base);
            self.transactions.expect(self.plan.aborted(base, next));
            let mut pacer = Pacer::new(pace);
            walk(disk, self.plan, source, &mut |header, batch| {
                let (left, read) = rewrite(header, &batch, &rules, self.transactions)?;
                self.stats.bytes_read += batch.len() as u64;
                self.stats.records_read += read;
                let (bytes, kept) = match &left {
                    Left::Nothing => (None, 0),
                    Left::Whole(kept) => (Some(&batch), *kept),
                    Left::Part(bytes, kept) => (Some(bytes), *kept),
                };
                self.stats.records_written += kept;
                let written = bytes.map_or(0, |bytes| bytes.len() as u64);
                self.stats.bytes_written += written;
                if let Some(bytes) = bytes {
                    output.append(bytes, self.plan.config.index_interval_bytes, disk)?;
                }
                pacer.moved(batch.len() as u64 + written)?;
                Ok(true)
            })?;
            pacer.rest()?;
            output.segment.created_ms = output.segment.created_ms.max(source.created_ms);
        }
        output.segment.aborted = std::mem::take(&mut self.transactions.kept);
        let bases = sources.get(group).unwrap_or_default().iter();
        let bases: Vec<i64> = bases.map(|source| source.segment.base).collect();
        output.finish(&bases, disk)
    }
}

/// Why a batch ended the walk.
enum Broken {
    /// Its records can't be read.
    Batch(String),
    /// Something else is wrong.
    Other(CleanError),
}

impl From<wire::record::RecordError> for Broken {
    fn from(error: wire::record::RecordError) -> Self {
        Self::Batch(error.to_string())
    }
}

impl From<CleanError> for Broken {
    fn from(error: CleanError) -> Self {
        Self::Other(error)
    }
}

impl From<StorageError> for Broken {
    fn from(error: StorageError) -> Self {
        Self::Other(error.into())
    }
}

/// Walks a segment batch by batch, each checked, until `visit` has had enough.
fn walk(
    disk: &dyn Disk,
    plan: &CleanPlan,
    source: &Source,
    visit: &mut dyn FnMut(&BatchHeader, Bytes) -> Result<bool, Broken>,
) -> Result<(), CleanError> {
    let segment = &source.segment;
    let mut walker = Walker::new(disk, &plan.dir, segment, 0, segment.size);
    let mut end = segment.base;
    loop {
        let found = walker.next_header().and_then(|found| match found {
            Some((header, at)) => Ok(Some((header, walker.batch(&header, at, true)?, at))),
            None => Ok(None),
        });
        let (header, batch, at) = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(error) => return Err(walker.refuse(error).into()),
        };
        // No checksum is of offsets, and what is written anew would make a wrong one true.
        if header.base_offset < end {
            let why = format!("offset {} after {}", header.base_offset, end - 1);
            return Err(walker.refuse(WalkError::Bad { at, why }).into());
        }
        end = header.next_offset();
        match visit(&header, batch) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(Broken::Other(error)) => return Err(error),
            Err(Broken::Batch(why)) => {
                return Err(walker.refuse(WalkError::Bad { at, why }).into());
            }
        }
    }
}

/// Tells of bytes in pieces of some size.
struct Pacer<'a> {
    pace: &'a mut dyn FnMut(u64) -> bool,
    moved: u64,
}

impl<'a> Pacer<'a> {
    fn new(pace: &'a mut dyn FnMut(u64) -> bool) -> Self {
        Self { pace, moved: 0 }
    }

    fn moved(&mut self, bytes: u64) -> Result<(), CleanError> {
        self.moved += bytes;
        if self.moved < PACE_BYTES { Ok(()) } else { self.rest() }
    }

    fn rest(&mut self) -> Result<(), CleanError> {
        let moved = std::mem::take(&mut self.moved);
        if (self.pace)(moved) { Ok(()) } else { Err(CleanError::Stopped) }
    }
}

/// The segment being written.
struct Output {
    segment: Segment,
    index: DiskIndex,
    plan_dir: std::sync::Arc<std::path::Path>,
    /// Not yet written; it ends where the segment does.
    buffer: Vec<u8>,
}

impl Output {
    fn new(base: i64, [log, offsets, times]: [FileId; 3], plan: &CleanPlan) -> Self {
        Self {
            segment: Segment::new(base, log, 0),
            index: DiskIndex { offsets, offset_entries: 0, times, time_entries: 0 },
            plan_dir: plan.dir.clone(),
            buffer: Vec::new(),
        }
    }

    fn path(&self, extension: &str) -> PathBuf {
        segment::path(&self.plan_dir, self.segment.base, extension)
    }

    fn create(&self, disk: &dyn Disk) -> Result<(), CleanError> {
        let path = self.path("log.cleaned");
        Ok(disk.execute(&Op::Create { file: self.segment.file, path })?)
    }

    fn append(
        &mut self,
        batch: &[u8],
        index_interval_bytes: u32,
        disk: &dyn Disk,
    ) -> Result<(), Broken> {
        let header = BatchHeader::parse(batch).map_err(|error| Broken::Batch(error.to_string()))?;
        // Positions in an index have 32 bits; only codecs gone bad could make a file that large.
        if self.segment.size + batch.len() as u64 > i32::MAX as u64 && self.segment.size > 0 {
            return Err(Broken::Batch("the cleaned segment exceeds 2 GiB".to_owned()));
        }
        self.segment.note(&header, index_interval_bytes);
        self.buffer.extend_from_slice(batch);
        if self.buffer.len() >= WRITE_BYTES { Ok(self.flush(disk)?) } else { Ok(()) }
    }

    fn flush(&mut self, disk: &dyn Disk) -> Result<(), CleanError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let at = self.segment.size - self.buffer.len() as u64;
        let parts = vec![Bytes::from(std::mem::take(&mut self.buffer))];
        Ok(disk.execute(&Op::Write { file: self.segment.file, at, parts })?)
    }

    /// Makes the segment durable with its indexes and the list of what it replaces.
    fn finish(&mut self, bases: &[i64], disk: &dyn Disk) -> Result<(), CleanError> {
        self.flush(disk)?;
        disk.execute(&Op::Sync { file: self.segment.file })?;
        self.segment.note_time();
        let (offsets, times) = self.segment.index_bytes().unwrap_or_default();
        self.index.offset_entries = offsets.len() as u64 / 8;
        self.index.time_entries = times.len() as u64 / 12;
        let indexes =
            [("index", self.index.offsets, offsets), ("timeindex", self.index.times, times)];
        for (extension, file, bytes) in indexes {
            let path = self.path(&format!("{extension}.cleaned"));
            disk.execute(&Op::Create { file, path })?;
            disk.execute(&Op::Write { file, at: 0, parts: vec![bytes] })?;
            disk.execute(&Op::Sync { file })?;
        }
        self.segment.index = Index::Disk(self.index);
        let mut small = Vec::new();
        if !self.segment.aborted.is_empty() {
            let bytes = self.segment.aborted.iter().flat_map(|txn| txn.to_bytes()).collect();
            small.push(("txnindex.cleaned", bytes));
        }
        if bases.len() > 1 {
            small.push(("replaced.cleaned", super::install::render_replaced(bases)));
        }
        for (extension, bytes) in small {
            let path = self.path(extension);
            disk.execute(&Op::Replace { path, bytes: Vec::into(bytes) })?;
        }
        Ok(disk.execute(&Op::SyncDir { path: self.plan_dir.to_path_buf() })?)
    }

    /// Removes what was written (I2). What can't be removed goes at the next start.
    fn remove(&self, disk: &dyn Disk) {
        for file in [self.segment.file, self.index.offsets, self.index.times] {
            let _ = disk.execute(&Op::Close { file });
        }
        for extension in super::install::OUTPUTS {
            let path = self.path(&format!("{extension}.cleaned"));
            let _ = disk.execute(&Op::RemoveFile { path });
        }
    }
}

/// Puts neighbours together as long as they fit in one segment, so that segments do not shrink
/// away with the years.
fn groups(sources: &[Source], plan: &CleanPlan) -> VecDeque<Range<usize>> {
    let mut groups = VecDeque::new();
    let segment_bytes = u64::from(plan.config.segment_bytes);
    let index_bytes = u64::from(plan.config.segment_index_bytes);
    let mut start = 0;
    while let Some(first) = sources.get(start) {
        let (mut size, mut offsets, mut times) =
            (first.segment.size, first.offset_index_bytes, first.time_index_bytes);
        let mut end = start + 1;
        while let Some(next) = sources.get(end) {
            size += next.segment.size;
            offsets += next.offset_index_bytes;
            times += next.time_index_bytes;
            let behind = sources.get(end + 1).map_or(plan.upto, |behind| behind.segment.base);
            let near =
                next.segment.size == 0 || (behind - 1) - first.segment.base <= i64::from(i32::MAX);
            if size > segment_bytes || offsets > index_bytes || times > index_bytes || !near {
                break;
            }
            end += 1;
        }
        groups.push_back(start..end);
        start = end;
    }
    groups
}

/// No batch may be larger when opened: what produce accepts is not.
const OPENED_MAX: usize = 256 << 20;
/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 512 << 10;
/// Bytes after which the pace is asked.
const PACE_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogConfig;

    type Sizes<'a> = &'a [(i64, u64, u64)];

    fn plan(segments: Sizes<'_>, upto: i64) -> CleanPlan {
        let source = |&(base, size, entries): &(i64, u64, u64)| {
            let mut segment = Segment::new(base, FileId(base as u64), 0);
            segment.size = size;
            Source {
                segment,
                indexes: Vec::new(),
                offset_index_bytes: entries * 8,
                time_index_bytes: entries * 12,
                created_ms: 0,
            }
        };
        let settings =
            LogConfig { segment_bytes: 100, segment_index_bytes: 24, ..LogConfig::default() };
        CleanPlan {
            dir: std::path::Path::new("/t-0").into(),
            generation: 0,
            config: settings.into(),
            first_dirty: 0,
            upto,
            high_watermark: upto,
            now_ms: 0,
            sources: segments.iter().map(source).collect(),
            aborted_later: Vec::new(),
            producers: Default::default(),
            ids: Vec::new(),
        }
    }

    #[test]
    fn segments_are_grouped_by_size_of_records_and_of_indexes_and_by_offsets() {
        let far = i64::from(i32::MAX);
        // Base offset, bytes and index entries of each; then where groups end.
        let cases: [(Sizes<'_>, i64, &[usize]); 5] = [
            (&[(0, 60, 0), (5, 40, 0), (9, 1, 0)], 12, &[2, 3]),
            (&[(0, 300, 9), (5, 40, 1), (9, 1, 1)], 12, &[1, 3]),
            // Two entries of a time index fit, three do not.
            (&[(0, 1, 1), (5, 1, 1), (9, 1, 1)], 12, &[2, 3]),
            (&[(0, 1, 0), (5, 1, 0), (9, 1, 0)], far + 2, &[2, 3]),
            // An empty one has no offset that could be too far.
            (&[(0, 1, 0), (5, 1, 0), (9, 0, 0)], far + 2, &[3]),
        ];
        for (segments, upto, expected) in cases {
            let plan = plan(segments, upto);
            let found = groups(&plan.sources, &plan);
            let ends: Vec<usize> = found.iter().map(|group| group.end).collect();
            assert_eq!(ends, expected, "{segments:?}");
            assert!(found.iter().zip(found.iter().skip(1)).all(|(a, b)| a.end == b.start));
        }
    }
}
