//! Reading: planned under the log's lock, executed without it.
//!
//! A plan is an owned, cheap picture of where to look: file, position hint, bounds. Executing it
//! needs only the disk, so fetches never wait for appends.
//!
//! Invariants:
//! - I1: a read never goes beyond `upto` or what is written. Where the limit of bytes cuts a batch,
//!   that batch comes in part, as from Apache Kafka; the first one is always whole.
//! - I2: nothing is given that was not checked in this life, and nothing that is known to be
//!   damaged: see [`crate::verify`]. An index is a hint: what does not begin where it says is
//!   looked for from the segment's first byte on.
//! - I3: a segment removed after planning gives [`ReadError::Gone`], never other bytes: file ids
//!   are not reused.

mod keyed;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use wire::batch::{BatchHeader, Batches, HEADER_BYTES};
use wire::record::RecordIter;

use crate::disk::{Disk, FileId, StorageError};
use crate::key_filter::KeyFilter;
use crate::log::Log;
use crate::segment::{DiskIndex, Hint, Index, Segment};
use crate::verify::{Checks, Damage, Unread, Verifier};

use keyed::Search;
pub use keyed::Skipped;

/// The offset asked for is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} is outside of {start}..={end}")]
pub struct OutOfRange {
    /// What was asked for.
    pub offset: i64,
    /// Log start offset.
    pub start: i64,
    /// Log end offset.
    pub end: i64,
}

/// Why a plan could not be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The segment was removed meanwhile: plan again.
    #[error("segment was removed")]
    Gone,
    /// It would take waiting for the device, on a disk that doesn't: see
    /// [`crate::disk::os::Cached`].
    #[error("not in the page cache")]
    NotCached,
    /// What was asked for is damaged, and what is before it was given already.
    #[error("damaged: {0}")]
    Damaged(Box<Damage>),
    /// The disk failed, or holds what is no batch.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A segment as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Extent {
    dir: Arc<Path>,
    base: i64,
    file: FileId,
    size: u64,
    /// The byte at which what may be read ends, if that is known without looking.
    end: Option<u64>,
    /// A byte at or before the batch wanted; the disk index may know better.
    hint: Hint,
    index: Option<DiskIndex>,
    /// What it takes to believe it; `None` where nothing is in doubt.
    checks: Option<Checks>,
    /// Of a plan for one key: which keys it may hold, if that is known.
    filter: Option<Arc<KeyFilter>>,
}

/// How to read records from an offset on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPlan {
    offset: i64,
    max_bytes: usize,
    upto: i64,
    /// The segment with the offset; the next that is not empty, should compaction have emptied the
    /// end of the first. Of a plan for one key all that follow, up to some number.
    extents: Vec<Extent>,
    key: Option<Search>,
}

/// What a plan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Records to be read from a file, by whoever sends them.
    There(Extract),
    /// Records, or none.
    Read(Bytes),
}

/// A piece of a file that holds records, all of which may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extract {
    /// The file.
    pub file: FileId,
    /// Its byte the piece begins at.
    pub at: u64,
    /// Bytes in it, at least one.
    pub len: usize,
}

impl Found {
    /// How many bytes of records there are.
    pub fn len(&self) -> usize {
        match self {
            Self::There(extract) => extract.len,
            Self::Read(bytes) => bytes.len(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How to find the first record at or after a timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimePlan {
    timestamp: i64,
    start: i64,
    upto: i64,
    /// Of segments that may hold it, the last one surely does, unless it ends beyond `upto`.
    extents: Vec<Extent>,
    /// Where the latest record of a segment was deleted, and the latest of all is asked for: it may
    /// be among those that are left.
    partial: Option<Box<Extent>>,
}

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// Its timestamp.
    pub timestamp: i64,
    /// Its offset.
    pub offset: i64,
    /// Epoch of the leader that wrote it.
    pub leader_epoch: i32,
}

impl Log {
    /// Plans a read of at most `max_bytes` from `offset` on, of records below `upto` (high
    /// watermark, last stable offset, or the end for replicas). At or beyond `upto` the plan
    /// reads nothing.
    ///
    /// # Errors
    /// The log does not reach from or to that offset.
    pub fn plan_read(
        &self,
        offset: i64,
        max_bytes: usize,
        upto: i64,
    ) -> Result<ReadPlan, OutOfRange> {
        let (start, end) = (self.start(), self.end());
        if offset < start || offset > end {
            return Err(OutOfRange { offset, start, end });
        }
        let upto = upto.min(self.written());
        let mut extents = Vec::new();
        if offset < upto {
            let after = self.segments.partition_point(|segment| segment.base <= offset);
            let from = after.saturating_sub(1);
            for (index, segment) in self.segments.iter().skip(from).enumerate() {
                let hint = segment.position_hint(offset);
                let end = self.known_end(segment, upto);
                extents.push(Extent { end, ..self.extent(segment, hint) });
                if index > 0 && segment.size > 0 {
                    break;
                }
            }
        }
        Ok(ReadPlan { offset, max_bytes, upto, extents, key: None })
    }

    /// Plans the lookup of the first record below `upto` whose timestamp is `timestamp` or later.
    pub fn plan_offset_for_timestamp(&self, timestamp: i64, upto: i64) -> TimePlan {
        let upto = upto.min(self.written());
        let mut extents = Vec::new();
        for (index, segment) in self.segments.iter().enumerate() {
            // Its file may not be made yet.
            if segment.base >= upto {
                break;
            }
            let end = self.segments.get(index + 1).map_or(self.end(), |next| next.base);
            if segment.max_timestamp < timestamp || end <= self.start() {
                continue;
            }
            extents.push(self.extent(segment, time_hint(segment, timestamp)));
            // Of the one that the log begins in, the record that is as late may be deleted.
            if segment.base >= self.start() {
                break;
            }
        }
        TimePlan { timestamp, start: self.start(), upto, extents, partial: None }
    }

    /// Plans the lookup of the first record with the largest timestamp (KIP-734).
    pub fn plan_max_timestamp(&self, upto: i64) -> TimePlan {
        // Of one whose latest record is deleted nothing is known without reading it.
        let there = |segment: &&Segment| segment.max_timestamp_offset >= self.start();
        let largest = self.segments.iter().filter(there).map(|segment| segment.max_timestamp).max();
        let after = self.segments.partition_point(|segment| segment.base < self.start());
        let first = after.checked_sub(1).and_then(|first| self.segments.get(first));
        let end = self.segments.get(after).map_or(self.end(), |next| next.base);
        let partial = first.filter(|first| !there(first) && end > self.start());
        let Some(partial) = partial else {
            return self.plan_offset_for_timestamp(largest.unwrap_or(i64::MAX), upto);
        };
        let hint = partial.position_hint(self.start());
        let partial = Some(Box::new(self.extent(partial, hint)));
        TimePlan { partial, ..self.plan_offset_for_timestamp(largest.unwrap_or(-1), upto) }
    }

    /// Where in the segment the records below `upto` end, if no file has to be asked.
    fn known_end(&self, segment: &Segment, upto: i64) -> Option<u64> {
        let active = self.segments.last().is_some_and(|last| last.base == segment.base);
        if upto == self.end() && self.written() == upto && active {
            return Some(segment.size);
        }
        let after = self.segments.partition_point(|other| other.base <= segment.base);
        match self.segments.get(after) {
            Some(next) if next.base <= upto => Some(segment.size),
            _ => self.commit.edge(segment.file, upto),
        }
    }

    fn extent(&self, segment: &Segment, hint: Hint) -> Extent {
        let index = match segment.index {
            Index::Disk(index) => Some(index),
            Index::Memory { .. } => None,
        };
        Extent {
            dir: self.dir.clone(),
            base: segment.base,
            file: segment.file,
            size: segment.size,
            end: None,
            hint,
            index,
            checks: self.checks(segment),
            filter: None,
        }
    }
}

/// A byte before which no record is as late as `timestamp`, from the indexes in memory.
fn time_hint(segment: &Segment, timestamp: i64) -> Hint {
    let Index::Memory { times, .. } = &segment.index else { return Hint::START };
    let after = times.partition_point(|entry| entry.timestamp < timestamp);
    let before = after.checked_sub(1).map(|index| times[index].relative_offset);
    let hint = |relative| segment.position_hint(segment.base + i64::from(relative));
    before.map_or(Hint::START, hint)
}

impl ReadPlan {
    /// About how many bytes it would read: exact up to the index interval, and never zero for a
    /// plan that reads something.
    pub fn estimate(&self) -> usize {
        let there: u64 = self.extents.iter().map(|extent| extent.size - extent.hint.at).sum();
        usize::try_from(there).unwrap_or(usize::MAX).min(self.max_bytes)
    }

    /// The file it reads first, if any.
    pub fn file(&self) -> Option<FileId> {
        self.extents.first().map(|extent| extent.file)
    }

    /// True if nothing will be read.
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// Finds the batch with the offset, and what follows it as far as that may be read and there is
    /// `room` for it. If that one batch alone exceeds the bytes allowed it comes all the same if
    /// `min_one_batch`, else nothing does.
    ///
    /// # Errors
    /// The segment is gone, the disk failed, or what is there is no batch.
    pub fn find(
        &self,
        disk: &dyn Disk,
        room: usize,
        min_one_batch: bool,
    ) -> Result<Found, ReadError> {
        let max_bytes = self.max_bytes.min(room);
        for extent in &self.extents {
            let Some((at, header)) = extent.find(disk, self.offset)? else { continue };
            if header.last_offset() >= self.upto {
                break;
            }
            let first = header.size_in_bytes();
            if first > max_bytes && !min_one_batch {
                break;
            }
            let wanted = max_bytes.max(first);
            let good = extent.good_to(disk, (at, &header), wanted)?;
            if let Some(end) = extent.end {
                let there = end.min(good).saturating_sub(at);
                let there = usize::try_from(there).unwrap_or(usize::MAX);
                if there < first {
                    return Err(extent.damaged(at, "a batch longer than its file").into());
                }
                let len = wanted.min(there);
                return Ok(Found::There(Extract { file: extent.file, at, len }));
            }
            // Where records may be read to is seen in them.
            let there = extent.size.min(good).saturating_sub(at);
            let bytes = extent.read(disk, at, wanted.min(there as usize))?;
            let whole = whole_batches(&bytes, self.upto);
            if whole == 0 {
                return Err(extent.damaged(at, "a batch vanished while it was read").into());
            }
            return Ok(Found::Read(bytes.slice(..whole)));
        }
        Ok(Found::Read(Bytes::new()))
    }

    /// What [`Self::find`] finds, read, without a batch that comes in part.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn execute(&self, disk: &dyn Disk, min_one_batch: bool) -> Result<Bytes, ReadError> {
        match self.find(disk, self.max_bytes, min_one_batch)? {
            Found::There(extract) => {
                let bytes = extract.read(disk)?;
                let whole = whole_batches(&bytes, self.upto);
                Ok(bytes.slice(..whole))
            }
            Found::Read(bytes) => Ok(bytes),
        }
    }

    /// Damage that reads by this plan, or others, came across and that nobody was told of yet.
    pub fn take_damage(&self) -> Vec<Damage> {
        let checks = self.extents.iter().filter_map(|extent| extent.checks.as_ref());
        checks.flat_map(|checks| checks.of.take_untold()).collect()
    }
}

impl Extract {
    /// Reads it.
    ///
    /// # Errors
    /// The file is gone, the disk failed, or bytes are missing.
    pub fn read(&self, disk: &dyn Disk) -> Result<Bytes, ReadError> {
        let bytes = disk.read_at(self.file, self.at, self.len).map_err(gone)?;
        // Shorter only if it was cut meanwhile, which no log does to what may be read.
        if bytes.len() == self.len { Ok(bytes) } else { Err(ReadError::Gone) }
    }
}

/// Length of the leading batches that are whole and end below `upto`.
fn whole_batches(bytes: &Bytes, upto: i64) -> usize {
    let mut whole = 0;
    for (header, batch) in Batches::new(bytes.clone()).map_while(Result::ok) {
        if header.last_offset() >= upto {
            break;
        }
        whole += batch.len();
        // Bytes behind the last batch below `upto` may be half written.
        if header.next_offset() >= upto {
            break;
        }
    }
    whole
}

impl TimePlan {
    /// The file it reads, if any.
    pub fn file(&self) -> Option<FileId> {
        self.extents.first().map(|extent| extent.file)
    }

    /// Looks the record up.
    ///
    /// # Errors
    /// As [`ReadPlan::execute`]; records are opened, at most `decompressed_bytes_max` a batch.
    pub fn execute(
        &self,
        disk: &dyn Disk,
        decompressed_bytes_max: usize,
    ) -> Result<Option<TimestampedOffset>, ReadError> {
        let left = match &self.partial {
            Some(partial) => self.latest(disk, partial)?,
            None => i64::MIN,
        };
        if let Some(partial) = self.partial.as_ref().filter(|_| left > self.timestamp) {
            let extents = vec![(**partial).clone()];
            let plan = Self { timestamp: left, extents, partial: None, ..*self };
            if let Some(found) = plan.execute(disk, decompressed_bytes_max)? {
                return Ok(Some(found));
            }
        }
        for extent in &self.extents {
            let hint = extent.hint.max(extent.disk_time_hint(disk, self.timestamp)?);
            let found = match self.look(disk, extent, hint, decompressed_bytes_max)? {
                Some(found) => found,
                None => self.look(disk, extent, Hint::START, decompressed_bytes_max)?.flatten(),
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The largest timestamp of batches that are not deleted.
    fn latest(&self, disk: &dyn Disk, extent: &Extent) -> Result<i64, ReadError> {
        let mut latest = -1;
        let mut steps = Steps::new(extent, disk, extent.hint);
        loop {
            match steps.next()? {
                Step::Batch(_, header) if header.last_offset() >= self.upto => break,
                Step::Batch(_, header) => {
                    if header.last_offset() >= self.start {
                        latest = latest.max(header.max_timestamp);
                    }
                    if header.next_offset() >= self.upto {
                        break;
                    }
                }
                Step::End => break,
                Step::Misled => steps = Steps::new(extent, disk, Hint::START),
                Step::Damaged(damage) if damage.offsets.end <= self.start => {}
                Step::Damaged(damage) => return Err(ReadError::Damaged(Box::new(damage))),
            }
        }
        Ok(latest)
    }

    /// Looks from there on; `None` if no batch begins there.
    fn look(
        &self,
        disk: &dyn Disk,
        extent: &Extent,
        from: Hint,
        decompressed_bytes_max: usize,
    ) -> Result<Option<Option<TimestampedOffset>>, ReadError> {
        let mut steps = Steps::new(extent, disk, from);
        loop {
            let (at, header) = match steps.next()? {
                Step::Batch(at, header) => (at, header),
                Step::End => break,
                Step::Misled => return Ok(None),
                // What was deleted is asked for by nobody.
                Step::Damaged(damage) if damage.offsets.end <= self.start => continue,
                // Whether it was there nobody can tell.
                Step::Damaged(damage) => return Err(ReadError::Damaged(Box::new(damage))),
            };
            if header.last_offset() >= self.upto {
                break;
            }
            if header.max_timestamp >= self.timestamp && header.last_offset() >= self.start {
                let batch = extent.read(disk, at, header.size_in_bytes())?;
                let damaged =
                    |error: wire::record::RecordError| extent.damaged(at, &error.to_string());
                for record in RecordIter::open(&batch, decompressed_bytes_max).map_err(damaged)? {
                    let record = record.map_err(damaged)?;
                    if record.timestamp >= self.timestamp && record.offset >= self.start {
                        return Ok(Some(Some(TimestampedOffset {
                            timestamp: record.timestamp,
                            offset: record.offset,
                            leader_epoch: header.leader_epoch,
                        })));
                    }
                }
            }
            // What follows may be half written.
            if header.next_offset() >= self.upto {
                break;
            }
        }
        Ok(Some(None))
    }

    /// As [`ReadPlan::take_damage`].
    pub fn take_damage(&self) -> Vec<Damage> {
        let checks = self.extents.iter().filter_map(|extent| extent.checks.as_ref());
        checks.flat_map(|checks| checks.of.take_untold()).collect()
    }
}

/// A walk over the batches of a segment that may be believed.
struct Steps<'a> {
    extent: &'a Extent,
    disk: &'a dyn Disk,
    verifier: Option<Verifier<'a>>,
    at: u64,
    /// The offset at which what was walked ends; at the beginning the segment's base.
    floor: i64,
    /// `at` is what an index said, with the offset it said.
    hinted: Option<i64>,
}

enum Step {
    Batch(u64, BatchHeader),
    /// It was stepped over.
    Damaged(Damage),
    /// The index does not fit: begin with the segment's first byte.
    Misled,
    End,
}

impl<'a> Steps<'a> {
    fn new(extent: &'a Extent, disk: &'a dyn Disk, from: Hint) -> Self {
        let hinted = (from.at > 0).then_some(from.offset);
        Self { extent, disk, verifier: None, at: from.at, floor: extent.base, hinted }
    }

    fn next(&mut self) -> Result<Step, ReadError> {
        let (extent, at) = (self.extent, self.at);
        let hinted = self.hinted.take();
        if at >= extent.size {
            return if hinted.is_some() { self.misled() } else { Ok(Step::End) };
        }
        let of = extent.checks.as_ref().map(|checks| &checks.of);
        if let Some(damage) = of.and_then(|of| of.damage_at(at)) {
            (self.at, self.floor) = (damage.bytes.end, damage.offsets.end);
            return Ok(Step::Damaged(damage));
        }
        let unchecked = extent.checks.as_ref().filter(|checks| checks.of.checked_to(at).is_none());
        let header = match unchecked {
            None => match extent.header(self.disk, at) {
                Ok(Some(header)) if hinted.is_none_or(|offset| header.base_offset <= offset) => {
                    header
                }
                Ok(None) if hinted.is_none() => return Ok(Step::End),
                Err(ReadError::Storage(error)) if hinted.is_none() || !error.is_damage() => {
                    return Err(error.into());
                }
                Ok(_) | Err(ReadError::Storage(_)) => return self.misled(),
                Err(error) => return Err(error),
            },
            Some(checks) => {
                let floor = self.floor;
                let verifier = self.verifier(checks)?;
                match verifier.batch(at, floor) {
                    // Of a batch that an index led to, nobody saw the one before it.
                    Ok(header) if hinted.is_none_or(|offset| header.last_offset() == offset) => {
                        let end = at + header.size_in_bytes() as u64;
                        checks.of.note_checked(at..end, header.next_offset());
                        header
                    }
                    Err(Unread::Disk(error)) => return Err(gone(error)),
                    Err(Unread::Bad(bad)) if hinted.is_none() => {
                        let damage = verifier.damage(at, floor, bad).map_err(gone)?;
                        (self.at, self.floor) = (damage.bytes.end, damage.offsets.end);
                        checks.of.note_damage(damage.clone());
                        return Ok(Step::Damaged(damage));
                    }
                    Ok(_) | Err(Unread::Bad(_)) => return self.misled(),
                }
            }
        };
        self.at += header.size_in_bytes() as u64;
        self.floor = header.next_offset();
        Ok(Step::Batch(at, header))
    }

    /// The walk that follows may be long.
    fn misled(&self) -> Result<Step, ReadError> {
        if self.disk.is_patient() { Ok(Step::Misled) } else { Err(ReadError::NotCached) }
    }

    /// Checking takes processor time that a thread which must not wait does not have.
    fn verifier(&mut self, checks: &'a Checks) -> Result<&mut Verifier<'a>, ReadError> {
        let (extent, disk) = (self.extent, self.disk);
        if !disk.is_patient() {
            return Err(ReadError::NotCached);
        }
        let file = (extent.base, extent.file);
        Ok(self.verifier.get_or_insert_with(|| Verifier::new(disk, &extent.dir, file, checks)))
    }
}

impl Extent {
    /// The first batch that ends at or after `offset`, and the byte it starts at.
    fn find(&self, disk: &dyn Disk, offset: i64) -> Result<Option<(u64, BatchHeader)>, ReadError> {
        let hint = self.hint.max(self.disk_hint(disk, offset)?);
        match self.find_from(disk, hint, offset)? {
            Some(found) => Ok(found),
            None => Ok(self.find_from(disk, Hint::START, offset)?.flatten()),
        }
    }

    /// As [`Self::find`], from there on; `None` if no batch begins there.
    fn find_from(
        &self,
        disk: &dyn Disk,
        from: Hint,
        offset: i64,
    ) -> Result<Option<Option<(u64, BatchHeader)>>, ReadError> {
        let mut steps = Steps::new(self, disk, from);
        loop {
            match steps.next()? {
                Step::Batch(at, header) if header.last_offset() >= offset => {
                    return Ok(Some(Some((at, header))));
                }
                Step::Damaged(damage) if damage.offsets.end > offset => {
                    return Err(ReadError::Damaged(Box::new(damage)));
                }
                Step::Batch(..) | Step::Damaged(_) => {}
                Step::Misled => return Ok(None),
                Step::End => return Ok(Some(None)),
            }
        }
    }

    /// The byte up to which `wanted` bytes from a batch on may be read, which is believed itself;
    /// behind it is damage, or what was not checked with all before it.
    fn good_to(
        &self,
        disk: &dyn Disk,
        (at, header): (u64, &BatchHeader),
        wanted: usize,
    ) -> Result<u64, ReadError> {
        let Some(checks) = &self.checks else { return Ok(u64::MAX) };
        let mut steps = Steps::new(self, disk, Hint::START);
        let limit = checks.of.next_damage(at).unwrap_or(u64::MAX);
        let (goal, mut floor) =
            ((at + wanted as u64).min(limit).min(self.size), header.base_offset);
        let mut good = at;
        while good < goal {
            if let Some((end, next)) = checks.of.checked_to(good) {
                (good, floor) = (end, next);
                continue;
            }
            match steps.verifier(checks)?.batch(good, floor) {
                Ok(header) => {
                    let end = good + header.size_in_bytes() as u64;
                    checks.of.note_checked(good..end, header.next_offset());
                    (good, floor) = (end, header.next_offset());
                }
                Err(Unread::Disk(error)) => return Err(gone(error)),
                // Whoever asks for it will be told.
                Err(Unread::Bad(_)) => break,
            }
        }
        Ok(good.min(limit))
    }

    /// The last index entry at or below `offset`, from the index file.
    fn disk_hint(&self, disk: &dyn Disk, offset: i64) -> Result<Hint, ReadError> {
        let Some(index) = self.index else { return Ok(Hint::START) };
        let relative = offset.saturating_sub(self.base);
        let below = |raw: &[u8; 8]| (u64::from_be_bytes(*raw) >> 32) as i64 <= relative;
        let found = last_entry(disk, index.offsets, index.offset_entries, below)?;
        let hint = |raw| {
            let raw = u64::from_be_bytes(raw);
            Hint { at: raw & 0xffff_ffff, offset: self.base + (raw >> 32) as i64 }
        };
        Ok(found.map_or(Hint::START, hint))
    }

    /// An index entry before which no record is as late as `timestamp`, from the index files.
    fn disk_time_hint(&self, disk: &dyn Disk, timestamp: i64) -> Result<Hint, ReadError> {
        let Some(index) = self.index else { return Ok(Hint::START) };
        let split = |raw: &[u8; 12]| {
            let wide = raw.iter().fold(0u128, |wide, byte| wide << 8 | u128::from(*byte));
            ((wide >> 32) as i64, wide as u32)
        };
        let earlier = |raw: &[u8; 12]| split(raw).0 < timestamp;
        let Some(raw) = last_entry(disk, index.times, index.time_entries, earlier)? else {
            return Ok(Hint::START);
        };
        // The batch it speaks of must say the same, or records would be passed over.
        let (latest, relative) = split(&raw);
        let offset = self.base + i64::from(relative);
        match self.find(disk, offset) {
            Ok(Some((_, header)))
                if header.max_timestamp == latest && header.base_offset <= offset =>
            {
                self.disk_hint(disk, offset)
            }
            Ok(_) | Err(ReadError::Damaged(_)) => Ok(Hint::START),
            Err(error) => Err(error),
        }
    }

    /// The header at `at`; `None` where the file ends before it does.
    fn header(&self, disk: &dyn Disk, at: u64) -> Result<Option<BatchHeader>, ReadError> {
        let head = self.read(disk, at, HEADER_BYTES)?;
        if head.len() < HEADER_BYTES {
            return Ok(None);
        }
        let header = BatchHeader::parse(&head)
            .map_err(|error| ReadError::Storage(self.damaged(at, &error.to_string())))?;
        Ok(Some(header))
    }

    fn read(&self, disk: &dyn Disk, at: u64, len: usize) -> Result<Bytes, ReadError> {
        disk.read_at(self.file, at, len).map_err(gone)
    }

    fn damaged(&self, at: u64, why: &str) -> StorageError {
        let path = crate::segment::path(&self.dir, self.base, "log");
        StorageError::damaged("read", &path, format!("at byte {at}: {why}"))
    }
}

/// The last entry of a rising index file that `accepts`: a few small reads, not the whole file.
fn last_entry<const N: usize>(
    disk: &dyn Disk,
    file: FileId,
    entries: u64,
    accepts: impl Fn(&[u8; N]) -> bool,
) -> Result<Option<[u8; N]>, ReadError> {
    let (mut low, mut high, mut found) = (0, entries, None);
    while low < high {
        let middle = low + (high - low) / 2;
        let raw = disk.read_at(file, middle * N as u64, N).map_err(gone)?;
        let Some(raw) = raw.first_chunk::<N>() else { break };
        if accepts(raw) {
            found = Some(*raw);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(found)
}

fn gone(error: StorageError) -> ReadError {
    match error.kind {
        std::io::ErrorKind::NotFound => ReadError::Gone,
        std::io::ErrorKind::WouldBlock => ReadError::NotCached,
        _ => ReadError::Storage(error),
    }
}
