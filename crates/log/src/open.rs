//! Opening a log directory: leftovers, segments, recovery of the tail, epochs, producers.
//!
//! The order is Apache Kafka's: leftovers of interrupted deletions and swaps, then segments in
//! order, those that a stop without warning may have damaged being walked batch by batch, then
//! epochs and producer state.
//!
//! Invariants:
//! - I1: nothing below the recovery point is ever cut off: damage there is refused, with file,
//!   position and remedy.
//! - I2: what a log opened this way ends with is durable: recovered files are synced here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use wire::batch::{BatchHeader, HEADER_BYTES};
use wire::files::{
    AbortedTxn, OffsetIndexEntry, RecoveryMark, TimeIndexEntry, parse_epochs,
    parse_partition_metadata, render_epochs,
};

use crate::LogConfig;
use crate::clean::parse_replaced;
use crate::commit::Commit;
use crate::disk::{Disk, FileIds, Op, StorageError};
use crate::epochs::Epochs;
use crate::key_filter::{self, Filter};
use crate::log::Log;
use crate::mark::{Marks, mark_at};
use crate::planted::{self, Bug};
use crate::recover::{self, REBUILT_INDEX_INTERVAL, WalkError, Walker};
use crate::retention::{extensions_of, files_of};
use crate::segment::{self, DiskIndex, Index, Segment, parse_name};
use crate::verify::Unverified;

/// How the log was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenMode {
    /// The directory has its clean-shutdown marker: files are as they were closed.
    pub clean: bool,
    /// From `recovery-point-offset-checkpoint`: everything below was durable. 0 if it is not
    /// known.
    pub recovery_point: i64,
    /// From `recovery-marks`, if there is one.
    pub mark: Option<RecoveryMark>,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segments walked and checked batch by batch.
    pub recovered_segments: u32,
    /// Bytes of them that were read, which is not what is before a mark.
    pub recovered_bytes: u64,
    /// The mark that was borne out, if one was needed.
    pub mark: Option<RecoveryMark>,
    /// What was cut off.
    pub truncated: Option<Truncated>,
    /// Offset of the producer snapshot used.
    pub producer_snapshot: Option<i64>,
    /// Batches read for producer state after it.
    pub replayed_batches: u64,
    /// Files of interrupted work that were removed.
    pub leftovers: Vec<String>,
}

/// A tail that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// The log's end now.
    pub offset: i64,
    /// The file that was cut.
    pub path: PathBuf,
    /// Where.
    pub at: u64,
    /// Bytes lost, those of later segments included.
    pub bytes: u64,
    /// Why it could not be kept.
    pub reason: String,
    /// Later segments removed.
    pub segments_removed: u32,
}

/// What is needed while opening.
struct Opening<'a> {
    disk: &'a dyn Disk,
    /// Offsets may be missing between records.
    compact: bool,
    dir: &'a Path,
    mode: OpenMode,
    /// What lies below was deleted.
    log_start: i64,
    ids: &'a mut FileIds,
    report: RecoveryReport,
    epochs: Epochs,
    /// Bases of the segments that were recovered, rising, and from which offset on.
    recovered: Vec<(i64, i64)>,
    /// Bases of key filters that are there.
    filters: BTreeSet<i64>,
    /// The active segment's index files say what is there and nothing more.
    exact: bool,
}

/// The parsed index files of a segment.
struct Indexes {
    offsets: Vec<OffsetIndexEntry>,
    times: Vec<TimeIndexEntry>,
    aborted: Vec<AbortedTxn>,
    /// Byte at which the last indexed batch starts.
    last: u64,
    /// The files hold nothing else.
    exact: bool,
}

impl Log {
    /// Opens the log in directory `path`, recovering it unless it was closed cleanly.
    /// `log_start` is the entry of `log-start-offset-checkpoint`, if there is one.
    ///
    /// # Errors
    /// The disk failed, or holds damage below the recovery point, which is left as it is.
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        config: impl Into<Arc<LogConfig>>,
        mode: OpenMode,
        log_start: Option<i64>,
        ids: &mut FileIds,
    ) -> Result<(Self, RecoveryReport), StorageError> {
        let report = RecoveryReport::default();
        let epochs = Epochs::default();
        let config = config.into();
        let compact = config.compact;
        let mut opening = Opening {
            disk,
            compact,
            dir: path,
            mode,
            log_start: log_start.unwrap_or(0),
            ids,
            report,
            epochs,
            recovered: Vec::new(),
            filters: BTreeSet::new(),
            exact: false,
        };
        let (bases, mut snapshots) = opening.sort_names()?;
        let topic_id = opening.topic_id()?;
        let stored_epochs = opening.stored_epochs()?;
        opening.epochs = stored_epochs.clone();
        let (mut segments, found_end) = opening.segments(bases)?;
        opening.filters(&mut segments)?;
        let first = segments.first().map(|segment| segment.base);
        let start = log_start.unwrap_or(0).max(first.unwrap_or(0)).max(0);
        let end = found_end.unwrap_or(start).max(start);
        // The start may lie beyond the end: records below it were deleted, and then lost. What is
        // left is nobody's, and would be followed by a hole.
        let begins_anew = found_end.is_some_and(|found| found < start);
        if begins_anew {
            opening.begin_anew(&mut segments, &mut snapshots)?;
        }
        let mut log = Self::at(path, config, end);
        log.commit = Commit::new(end, log.config.flush_messages);
        log.topic_id = topic_id;
        log.start = start;
        log.segments = segments;
        log.snapshots = opening.usable_snapshots(&snapshots, &log.segments, end)?;
        opening.load_producers(&mut log)?;
        opening.epochs.truncate_from_end(end);
        opening.epochs.truncate_from_start(start);
        log.epochs_dirty = opening.epochs != stored_epochs;
        log.epochs = opening.epochs;
        // Files that were closed in order say all there is to say, as those of a mark do.
        let whole = mode.clean && opening.recovered.is_empty() && !log.epochs_dirty;
        let closed = || mark_at(&log.segments, end);
        log.marks = Marks::of(if whole { closed() } else { opening.report.mark }, opening.exact);
        if !mode.clean || begins_anew || !opening.recovered.is_empty() {
            store_epochs(disk, &mut log)?;
            // The process may have been killed between making a name and syncing its directory:
            // the name is seen now, and would be lost with the power (I2).
            let parent = path.parent().unwrap_or(Path::new(""));
            for dir in [path, parent] {
                disk.execute(&Op::SyncDir { path: dir.to_owned() })?;
            }
        }
        log.check();
        Ok((log, opening.report))
    }
}

fn store_epochs(disk: &dyn Disk, log: &mut Log) -> Result<(), StorageError> {
    if log.epochs_dirty {
        let path = log.dir.join("leader-epoch-checkpoint");
        let bytes = Bytes::from(render_epochs(log.epochs.entries()));
        disk.execute(&Op::Replace { path, bytes })?;
        log.epochs_dirty = false;
    }
    Ok(())
}

impl Opening<'_> {
    fn path(&self, base: i64, extension: &str) -> PathBuf {
        segment::path(self.dir, base, extension)
    }

    /// Reads a file that may be missing.
    fn optional(&self, path: &Path) -> Result<Option<Bytes>, StorageError> {
        match self.disk.read_file(path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), StorageError> {
        self.report.leftovers.push(name.to_owned());
        self.disk.execute(&Op::RemoveFile { path: self.dir.join(name) })
    }

    /// Finishes or undoes interrupted work; gives the bases of segments and the snapshots.
    fn sort_names(&mut self) -> Result<(BTreeSet<i64>, BTreeSet<i64>), StorageError> {
        let names = self.disk.list(self.dir)?;
        let (mut cleaned, mut swapped) = (Vec::new(), BTreeSet::new());
        for name in &names {
            if name.ends_with(".deleted") || name.ends_with(".tmp") {
                self.remove(name)?;
            } else if let Some((base, extension)) = parse_name(name) {
                if extension.ends_with(".cleaned") {
                    cleaned.push((base, name));
                } else if extension == "log.swap" {
                    swapped.insert(base);
                }
            }
        }
        // A swap beside cleaned files had not begun for offsets from there on: its originals
        // are all there still.
        if let Some((undone, _)) = cleaned.iter().min() {
            swapped.retain(|base| base < undone);
        }
        let as_listed = self.report.leftovers.is_empty() && swapped.is_empty();
        self.finish_swaps(&names, &swapped)?;
        // Last, because they tell which swaps are not to be finished.
        for (_, name) in &cleaned {
            self.remove(name)?;
        }
        let (mut bases, mut snapshots, mut others) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let names = if as_listed { names } else { self.disk.list(self.dir)? };
        for name in names {
            match parse_name(&name) {
                Some((base, "log")) => {
                    bases.insert(base);
                }
                Some((offset, "snapshot")) => {
                    snapshots.insert(offset);
                }
                Some((base, "index" | "timeindex" | "txnindex")) => others.push((base, name)),
                Some((base, key_filter::EXTENSION)) => {
                    self.filters.insert(base);
                }
                _ => {}
            }
        }
        for (_, name) in others.iter().filter(|(base, _)| !bases.contains(base)) {
            self.remove(name)?;
        }
        Ok((bases, snapshots))
    }

    /// Completes the replacement of compacted segments: what a `.swap` covers or lists goes, and it
    /// takes its place. Swaps not in `swapped` are undone. Names are made durable in between, so
    /// that a cut here, too, leaves something to finish or undo.
    fn finish_swaps(
        &mut self,
        names: &[String],
        swapped: &BTreeSet<i64>,
    ) -> Result<(), StorageError> {
        let (mut covered, mut listed) = (Vec::new(), BTreeSet::new());
        for &base in swapped {
            covered.push(base..self.swap_end(base)?);
            let list = self.optional(&self.path(base, "replaced.swap"))?;
            listed.extend(list.as_deref().and_then(parse_replaced).unwrap_or_default());
        }
        let goes = |base: i64| listed.contains(&base) || covered.iter().any(|r| r.contains(&base));
        let (mut renames, mut lists) = (Vec::new(), Vec::new());
        let mut changed = false;
        let there = |base: i64, extension: &str| names.contains(&format!("{base:020}.{extension}"));
        // Of its own base, an index without a `.swap` has its name already. Only of aborted
        // transactions that is not plain while the other two have not: then it may be the old one,
        // and the segment is walked to find them again.
        let doubtful = |base: i64| {
            there(base, "txnindex")
                && ["index.swap", "timeindex.swap"].iter().all(|one| there(base, one))
                && !there(base, "txnindex.swap")
        };
        for name in names {
            let Some((base, extension)) = parse_name(name) else { continue };
            match extension.strip_suffix(".swap") {
                Some("index" | "timeindex") if swapped.contains(&base) && doubtful(base) => {
                    changed = true;
                    self.remove(name)?;
                }
                None if swapped.contains(&base)
                    && (matches!(extension, "index" | "timeindex")
                        || (extension == "txnindex" && !doubtful(base))) => {}
                Some(plain) if swapped.contains(&base) => match plain {
                    "replaced" => lists.push(name),
                    _ => renames.push((self.dir.join(name), self.path(base, plain))),
                },
                None if !matches!(
                    extension,
                    "log" | "index" | "timeindex" | "txnindex" | key_filter::EXTENSION
                ) || !goes(base)
                    || names.contains(&format!("{name}.swap")) => {}
                _ => {
                    changed = true;
                    self.remove(name)?;
                }
            }
        }
        let sync = Op::SyncDir { path: self.dir.to_owned() };
        if changed {
            self.disk.execute(&sync)?;
        }
        let renamed = !renames.is_empty();
        for (from, to) in renames {
            self.disk.execute(&Op::RenameFile { from, to })?;
        }
        if renamed {
            self.disk.execute(&sync)?;
        }
        lists.into_iter().try_for_each(|name| self.remove(name))
    }

    /// The offset after the last one in a segment that was about to take its place.
    fn swap_end(&mut self, base: i64) -> Result<i64, StorageError> {
        let file = self.ids.allocate();
        let path = self.path(base, "log.swap");
        self.disk.execute(&Op::OpenExisting { file, path })?;
        let mut segment = Segment::new(base, file, 0);
        segment.size = self.disk.len(file)?;
        let mut walker = Walker::new(self.disk, self.dir, &segment, 0, segment.size);
        let mut end = base + 1;
        loop {
            match walker.next_header() {
                Ok(Some((header, _))) => end = header.next_offset(),
                Ok(None) => break,
                Err(error) => return Err(walker.refuse(error)),
            }
        }
        self.disk.execute(&Op::Close { file })?;
        Ok(end)
    }

    fn topic_id(&self) -> Result<Option<wire::Uuid>, StorageError> {
        let path = self.dir.join("partition.metadata");
        let Some(content) = self.optional(&path)? else { return Ok(None) };
        match parse_partition_metadata(&content) {
            Ok(metadata) => Ok(Some(metadata.topic_id)),
            Err(error) => Err(StorageError::damaged("read", &path, error.to_string())),
        }
    }

    fn stored_epochs(&self) -> Result<Epochs, StorageError> {
        let path = self.dir.join("leader-epoch-checkpoint");
        let Some(content) = self.optional(&path)? else { return Ok(Epochs::default()) };
        parse_epochs(&content).map(Epochs::from_entries).map_err(|error| {
            let remedy = "restore it from another replica, or remove it to rebuild the epochs \
                          of recovered segments only";
            StorageError::damaged("read", &path, format!("{error}; {remedy}"))
        })
    }

    /// Opens every segment; gives the end of the log, if there is a segment.
    fn segments(
        &mut self,
        bases: BTreeSet<i64>,
    ) -> Result<(Vec<Segment>, Option<i64>), StorageError> {
        let bases: Vec<i64> = bases.into_iter().collect();
        let mut segments: Vec<Segment> = Vec::new();
        let mut end = None;
        for (index, &base) in bases.iter().enumerate() {
            let next = bases.get(index + 1).copied();
            let file = self.ids.allocate();
            self.disk.execute(&Op::OpenExisting { file, path: self.path(base, "log") })?;
            let mut segment = Segment::new(base, file, 0);
            segment.size = self.disk.len(file)?;
            let safe = self.mode.clean || next.is_some_and(|next| next <= self.mode.recovery_point);
            let loaded = match next {
                _ if !safe => None,
                Some(_) => self.load_rolled(&segment)?,
                None => self.load_active(&segment)?,
            };
            match loaded {
                Some((mut loaded, loaded_end)) => {
                    let loaded_end = next.unwrap_or(loaded_end);
                    loaded.unverified = Unverified::new(loaded.size, loaded_end);
                    segments.push(loaded);
                    end = Some(loaded_end);
                }
                None => {
                    let (recovered, recovered_end, cut) = self.recover(segment, next)?;
                    segments.push(recovered);
                    end = Some(recovered_end);
                    if cut {
                        self.drop_later(&bases[index + 1..])?;
                        break;
                    }
                }
            }
        }
        Ok((segments, end))
    }

    /// Opens the key filters of rolled segments; what is no filter of a segment that is there goes.
    fn filters(&mut self, segments: &mut [Segment]) -> Result<(), StorageError> {
        let rolled = segments.len().saturating_sub(1);
        for segment in segments.iter_mut().take(rolled) {
            if !self.filters.contains(&segment.base) {
                continue;
            }
            if let Some(filter) = key_filter::open(self.disk, self.dir, segment, self.ids) {
                segment.filter = Filter::There(Arc::new(filter));
                self.filters.remove(&segment.base);
            }
        }
        for base in std::mem::take(&mut self.filters) {
            self.disk.execute(&Op::RemoveFile { path: key_filter::path(self.dir, base) })?;
        }
        Ok(())
    }

    /// Segments behind one that was cut can't be kept: the log would have a hole.
    fn drop_later(&mut self, bases: &[i64]) -> Result<(), StorageError> {
        for &base in bases.iter().rev() {
            let file = self.ids.allocate();
            let path = self.path(base, "log");
            self.disk.execute(&Op::OpenExisting { file, path })?;
            let size = self.disk.len(file)?;
            self.disk.execute(&Op::Close { file })?;
            for extension in ["log", "index", "timeindex", "txnindex"] {
                self.disk.execute(&Op::RemoveFile { path: self.path(base, extension) })?;
            }
            if let Some(truncated) = &mut self.report.truncated {
                truncated.bytes += size;
                truncated.segments_removed += 1;
            }
        }
        Ok(())
    }

    /// Removes all segments and what belongs to them. Killed half way, the next start finds fewer
    /// records below the log's start, and does the same.
    fn begin_anew(
        &mut self,
        segments: &mut Vec<Segment>,
        snapshots: &mut BTreeSet<i64>,
    ) -> Result<(), StorageError> {
        // What is to be synced is, while it is there.
        self.disk.execute(&Op::SyncDir { path: self.dir.to_owned() })?;
        // Or a start without segments would believe them.
        for offset in std::mem::take(snapshots) {
            self.remove(&format!("{offset:020}.snapshot"))?;
        }
        while let Some(segment) = segments.pop() {
            for file in files_of(&segment) {
                self.disk.execute(&Op::Close { file })?;
            }
            for extension in ["log"].into_iter().chain(extensions_of(&segment)) {
                self.remove(&format!("{:020}.{extension}", segment.base))?;
            }
        }
        self.recovered.clear();
        (self.report.mark, self.exact) = (None, false);
        Ok(())
    }

    /// A segment as its mark says; `None` if what is on disk does not bear it out.
    fn marked(
        &self,
        segment: &Segment,
        mark: &RecoveryMark,
    ) -> Result<Option<Segment>, StorageError> {
        let within = segment.base < mark.offset
            && mark.tail_position < mark.position
            && mark.position <= segment.size;
        if segment.base != mark.base || !within {
            return Ok(None);
        }
        let head = self.disk.read_at(segment.file, mark.tail_position, HEADER_BYTES)?;
        let tail = BatchHeader::parse(&head).ok().filter(|tail| {
            // Checksums are not of epochs: the same batch may have come again after a truncation.
            tail.crc == mark.tail_crc
                && tail.leader_epoch == mark.epoch
                && tail.next_offset() == mark.offset
                && mark.tail_position + tail.size_in_bytes() as u64 == mark.position
        });
        // Where all records were deleted no epoch is known of them any more.
        let is_known = self.log_start >= mark.offset
            || self.epochs.epoch_at(mark.offset - 1).unwrap_or(-1) == mark.epoch;
        if tail.is_none() || !is_known {
            return Ok(None);
        }
        // Those of a later mark are here, too, if the power was cut before its records were.
        let Some(Indexes { mut offsets, mut times, mut aborted, .. }) = self.indexes(segment)?
        else {
            return Ok(None);
        };
        let below = |relative: u32| segment.base + i64::from(relative) < mark.offset;
        offsets.retain(|entry| {
            below(entry.relative_offset) && u64::from(entry.position) < mark.position
        });
        times.retain(|entry| below(entry.relative_offset));
        aborted.retain(|txn| txn.last_offset < mark.offset);
        if aborted.len() as u64 != u64::from(mark.aborted) {
            return Ok(None);
        }
        let mut kept = Segment::resume(segment.base, segment.file, mark.position, offsets, times);
        self.note_first(&mut kept, segment)?;
        kept.max_timestamp = mark.max_timestamp;
        kept.max_timestamp_offset = mark.max_timestamp_offset;
        kept.tail = (mark.tail_position, mark.tail_crc, mark.epoch);
        kept.aborted = aborted;
        kept.unverified = Unverified::new(mark.position, mark.offset);
        Ok(Some(kept))
    }

    /// A segment's index files; `None` if they are missing or damaged.
    fn indexes(&self, segment: &Segment) -> Result<Option<Indexes>, StorageError> {
        let (Some(offsets), Some(times)) = (
            self.optional(&self.path(segment.base, "index"))?,
            self.optional(&self.path(segment.base, "timeindex"))?,
        ) else {
            return Ok(None);
        };
        let aborted = self.optional(&self.path(segment.base, "txnindex"))?.unwrap_or_default();
        let bytes = offsets.len() + times.len();
        let (Ok(offsets), Ok(times), Ok(aborted)) = (
            OffsetIndexEntry::parse_file(&offsets),
            TimeIndexEntry::parse_file(&times),
            AbortedTxn::parse_file(&aborted),
        ) else {
            return Ok(None);
        };
        let last = offsets.last().map_or(0, |entry| u64::from(entry.position));
        let read = offsets.len() * OffsetIndexEntry::BYTES + times.len() * TimeIndexEntry::BYTES;
        let exact = bytes == read;
        Ok(Some(Indexes { offsets, times, aborted, last, exact }))
    }

    /// The same, if they speak of no more than there is.
    fn whole_indexes(&self, segment: &Segment) -> Result<Option<Indexes>, StorageError> {
        Ok(self.indexes(segment)?.filter(|indexes| indexes.last < segment.size.max(1)))
    }

    /// A rolled segment by its index files alone; `None` if they can't be used.
    fn load_rolled(&mut self, segment: &Segment) -> Result<Option<(Segment, i64)>, StorageError> {
        let Some(Indexes { offsets, times, aborted, last, .. }) = self.whole_indexes(segment)?
        else {
            return Ok(None);
        };
        let (offset_entries, time_entries) = (offsets.len() as u64, times.len() as u64);
        let mut loaded = Segment::resume(segment.base, segment.file, last, offsets, times);
        self.note_first(&mut loaded, segment)?;
        loaded.size = segment.size;
        loaded.aborted = aborted;
        let index = DiskIndex {
            offsets: self.ids.allocate(),
            offset_entries,
            times: self.ids.allocate(),
            time_entries,
        };
        for (file, extension) in [(index.offsets, "index"), (index.times, "timeindex")] {
            let path = self.path(segment.base, extension);
            self.disk.execute(&Op::OpenExisting { file, path })?;
        }
        loaded.index = Index::Disk(index);
        Ok(Some((loaded, 0)))
    }

    /// The active segment of a log closed cleanly: headers are walked from the last index entry
    /// on, payloads are not read. `None` if the indexes can't be used, or the walk does not end
    /// where the file does.
    fn load_active(&mut self, segment: &Segment) -> Result<Option<(Segment, i64)>, StorageError> {
        let Some(Indexes { offsets, times, aborted, last, exact }) = self.whole_indexes(segment)?
        else {
            return Ok(None);
        };
        let latest = times.last().map_or(0, |last| i64::from(last.relative_offset));
        let latest = aborted.last().map_or(-1, |last| last.last_offset).max(segment.base + latest);
        let indexed = offsets.last().map(|entry| segment.base + i64::from(entry.relative_offset));
        let timed = times.last().copied();
        let mut loaded = Segment::resume(segment.base, segment.file, last, offsets, times);
        loaded.aborted = aborted;
        self.note_first(&mut loaded, segment)?;
        let mut walker = Walker::new(self.disk, self.dir, segment, last, segment.size);
        let mut end = segment.base;
        let mut expected = indexed;
        loop {
            match walker.next_header() {
                Ok(Some((mut header, _)))
                    if header.base_offset >= end
                        && expected.take().is_none_or(|last| last == header.last_offset()) =>
                {
                    // Up to its last entry nothing is later than the time index says: a batch that
                    // is has rotted, and its checksum is not looked at here.
                    if let Some(TimeIndexEntry { timestamp, relative_offset }) = timed
                        && header.last_offset() <= segment.base + i64::from(relative_offset)
                    {
                        header.max_timestamp = header.max_timestamp.min(timestamp);
                    }
                    loaded.note(&header, REBUILT_INDEX_INTERVAL);
                    end = header.next_offset();
                }
                // An offset that rot raised: whoever looks at each batch will see which.
                Ok(None) if (1..end).contains(&self.mode.recovery_point) => return Ok(None),
                Ok(None) => {
                    self.exact = exact && latest < end;
                    return Ok(Some((loaded, end)));
                }
                Ok(Some(_)) | Err(WalkError::Bad { .. }) => return Ok(None),
                Err(WalkError::Disk(error)) => return Err(error),
            }
        }
    }

    /// Takes from the first batch what the indexes do not tell: when the segment began, and
    /// timestamp 0, which a time index can't hold. Any later one they tell: a first batch that says
    /// otherwise is damaged, and its checksum was not looked at.
    fn note_first(&self, loaded: &mut Segment, segment: &Segment) -> Result<(), StorageError> {
        let head = self.disk.read_at(segment.file, 0, HEADER_BYTES)?;
        if let Ok(header) = BatchHeader::parse(&head) {
            loaded.first_timestamp = Some(header.max_timestamp);
            if loaded.max_timestamp < 0 && header.max_timestamp == 0 {
                loaded.max_timestamp = 0;
                loaded.max_timestamp_offset = header.last_offset();
            }
        }
        Ok(())
    }

    /// Walks a segment batch by batch, checking each; what follows the first bad one is cut off,
    /// unless it was durable (I1). Gives the segment, its end, and whether it was cut.
    fn recover(
        &mut self,
        segment: Segment,
        next: Option<i64>,
    ) -> Result<(Segment, i64, bool), StorageError> {
        let mark = self.mode.mark;
        let marked = match &mark {
            Some(mark) => self.marked(&segment, mark)?,
            None => None,
        };
        self.report.mark = self.report.mark.or(mark.filter(|_| marked.is_some()));
        let (mut end, mut epoch) = match mark.filter(|_| marked.is_some()) {
            Some(mark) => (mark.offset, mark.epoch),
            None => (segment.base, -1),
        };
        let mut kept = marked.unwrap_or_else(|| Segment::new(segment.base, segment.file, 0));
        // What begins later is told by the batches; with it in the list, an epoch that began before
        // would seem to begin here.
        self.epochs.truncate_from_end(end);
        self.recovered.push((segment.base, end));
        self.report.recovered_segments += 1;
        self.report.recovered_bytes += segment.size - kept.size;
        let mut walker = Walker::new(self.disk, self.dir, &segment, kept.size, segment.size);
        let bad = loop {
            let (header, at) = match walker.next_header() {
                Ok(Some(found)) => found,
                Ok(None) => break None,
                Err(WalkError::Bad { at, why }) => break Some((at, why)),
                Err(WalkError::Disk(error)) => return Err(error),
            };
            match walker.batch(&header, at, !planted::is(Bug::RecoveryTrustsChecksums)) {
                Ok(_) if planted::is(Bug::RecoveryCutsGoodBatch) && walker.is_at_end() => {
                    break Some((at, "planted".into()));
                }
                Ok(_)
                    if planted::is(Bug::RecoveryLeftOut)
                        && header.base_offset >= self.mode.recovery_point =>
                {
                    break Some((at, "planted".into()));
                }
                Ok(_) if planted::is(Bug::MarkEndsLog) && self.report.mark.is_some() => {
                    break Some((at, "planted".into()));
                }
                Ok(_) if header.base_offset < end => {
                    let why = format!("offset {} after {}", header.base_offset, end - 1);
                    break Some((at, why));
                }
                // Nobody made this hole: an offset that rot raised would end the log too far on.
                Ok(_)
                    if !self.compact
                        && header.base_offset > end
                        && end < self.mode.recovery_point =>
                {
                    let why = format!("offset {} where {end} is next", header.base_offset);
                    break Some((at, why));
                }
                // What a truncation cut off may lie whole behind what replaced it.
                Ok(_) if (0..epoch).contains(&header.leader_epoch) => {
                    let why = format!("leader epoch {} after {epoch}", header.leader_epoch);
                    break Some((at, why));
                }
                Ok(_) => {}
                Err(WalkError::Bad { at, why }) => break Some((at, why)),
                Err(WalkError::Disk(error)) => return Err(error),
            }
            epoch = epoch.max(header.leader_epoch);
            self.epochs.assign(header.leader_epoch, header.base_offset);
            kept.note(&header, REBUILT_INDEX_INTERVAL);
            end = header.next_offset();
        };
        let bad = bad.or_else(|| self.missing_tail(&segment, end, next));
        let cut = bad.is_some();
        if let Some((at, reason)) = bad {
            self.cut(&segment, end, at, reason)?;
        }
        self.disk.execute(&Op::Sync { file: segment.file })?;
        kept.note_time();
        if let (Some(_), Some((offsets, times))) = (next, kept.index_bytes()) {
            for (extension, bytes) in [("index", offsets), ("timeindex", times)] {
                let path = self.path(segment.base, extension);
                self.disk.execute(&Op::Replace { path, bytes })?;
            }
        }
        Ok((kept, end, cut))
    }

    /// What is missing at the end of a segment without a bad batch: what was durable, or what the
    /// next segment follows. Compaction makes such holes, but never above the recovery point.
    fn missing_tail(
        &self,
        segment: &Segment,
        end: i64,
        next: Option<i64>,
    ) -> Option<(u64, String)> {
        let expected = match next {
            Some(_) if self.compact => return None,
            // An offset too far for the index begins a segment of its own, hole or not.
            Some(next) if next - end > i64::from(i32::MAX) => return None,
            Some(next) => next,
            None => self.mode.recovery_point,
        };
        let why = format!("the file ends, but records below {expected} were there");
        (end < expected && !self.mode.clean).then_some((segment.size, why))
    }

    /// Cuts a segment's file at byte `at`, where the log now ends with `end`.
    fn cut(
        &mut self,
        segment: &Segment,
        end: i64,
        at: u64,
        reason: String,
    ) -> Result<(), StorageError> {
        // What was durable and deleted is nobody's loss.
        let is_wanted = end < self.mode.recovery_point && self.log_start < self.mode.recovery_point;
        if self.mode.clean || is_wanted {
            return Err(self.refuse(segment, at, end, &reason));
        }
        self.disk.execute(&Op::Truncate { file: segment.file, len: at })?;
        self.report.truncated = Some(Truncated {
            offset: end,
            path: self.path(segment.base, "log"),
            at,
            bytes: segment.size - at,
            reason,
            segments_removed: 0,
        });
        Ok(())
    }

    fn refuse(&self, segment: &Segment, at: u64, end: i64, why: &str) -> StorageError {
        let path = self.path(segment.base, "log");
        let known = if self.mode.clean {
            "the log was closed cleanly".to_owned()
        } else {
            format!("records below {} were durable", self.mode.recovery_point)
        };
        let text = format!(
            "damaged at byte {at}, offset {end}: {why}; {known}, so nothing is cut off. Restore \
             the partition from another replica (move the directory away), or accept the loss by \
             removing its line from recovery-point-offset-checkpoint and the clean shutdown marker"
        );
        StorageError::damaged("recover", &path, text)
    }

    /// Writes the transaction indexes of rolled segments that were recovered; the active one's
    /// stays in memory.
    fn store_aborted(&self, segments: &[Segment]) -> Result<(), StorageError> {
        let rolled = segments.len().saturating_sub(1);
        for segment in segments.iter().take(rolled) {
            if self.recovered.iter().all(|(base, _)| *base != segment.base) {
                continue;
            }
            let path = self.path(segment.base, "txnindex");
            let bytes: Vec<u8> = segment.aborted.iter().flat_map(|txn| txn.to_bytes()).collect();
            let op = if bytes.is_empty() {
                Op::RemoveFile { path }
            } else {
                Op::Replace { path, bytes: bytes.into() }
            };
            self.disk.execute(&op)?;
        }
        Ok(())
    }

    /// Removes snapshots of what is not there any more, and those of earlier stops: of all but
    /// the newest, only the ones at segment borders are of use. Gives the others, rising.
    fn usable_snapshots(
        &mut self,
        snapshots: &BTreeSet<i64>,
        segments: &[Segment],
        end: i64,
    ) -> Result<Vec<i64>, StorageError> {
        let newest = snapshots.range(..=end).next_back();
        let border = |offset: &i64| segments.iter().any(|segment| segment.base == *offset);
        let mut kept = Vec::new();
        for offset in snapshots {
            let marked = self.report.mark.is_some_and(|mark| mark.offset == *offset);
            if *offset <= end && (Some(offset) == newest || marked || border(offset)) {
                kept.push(*offset);
            } else {
                self.remove(&format!("{offset:020}.snapshot"))?;
            }
        }
        Ok(kept)
    }

    /// Producer state at the end. In recovered segments the aborted transactions are found again,
    /// too, so the walk begins at a snapshot that lies before them.
    fn load_producers(&mut self, log: &mut Log) -> Result<(), StorageError> {
        let upto = self.recovered.first().map_or(i64::MAX, |(_, from)| *from);
        let usable: Vec<i64> =
            log.snapshots.iter().copied().filter(|offset| *offset <= upto).collect();
        let found = recover::producers(self.disk, self.dir, &log.segments, &usable, log.end)?;
        self.report.producer_snapshot = found.snapshot;
        self.report.replayed_batches = found.replayed;
        log.producers = found.producers;
        for txn in found.aborted {
            let after = log.segments.partition_point(|segment| segment.base <= txn.last_offset);
            let segment = log.segments.get_mut(after.saturating_sub(1));
            // The others have theirs from their index files.
            let found = |s: &&mut Segment| {
                let from = |(base, from): &(i64, i64)| *base == s.base && *from <= txn.last_offset;
                self.recovered.iter().any(from)
            };
            if let Some(segment) = segment.filter(found) {
                segment.aborted.push(txn);
            }
        }
        self.store_aborted(&log.segments)
    }
}
