//! One segment of a log: a file of batches from a base offset on, and its sparse indexes.
//!
//! Owns positions. Invariants:
//! - I1: the indexes of the active segment are in memory and complete; those of a rolled one are
//!   on disk, or in memory until they are.
//! - I2: an offset index entry names the last offset of a batch and the byte it starts at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use wire::batch::BatchHeader;
use wire::files::{AbortedTxn, OffsetIndexEntry, TimeIndexEntry};

use crate::LogConfig;
use crate::disk::FileId;
use crate::key_filter::Filter;
use crate::planted::{self, Bug};
use crate::verify::Unverified;

/// A segment, rolled or active.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub base: i64,
    pub file: FileId,
    /// Bytes appended, written or not.
    pub size: u64,
    /// The largest timestamp and the last offset of the first batch that has it.
    pub max_timestamp: i64,
    pub max_timestamp_offset: i64,
    /// The first batch's largest timestamp: rolling by time counts from it.
    pub first_timestamp: Option<i64>,
    pub created_ms: i64,
    since_index: u64,
    /// The byte at which the last batch begins, its checksum, and its leader epoch.
    pub tail: (u64, u32, i32),
    pub index: Index,
    pub aborted: Vec<AbortedTxn>,
    /// What was there when it was opened; `None` if all of it is this life's, or was checked.
    pub unverified: Option<Arc<Unverified>>,
    /// Which keys it may hold; of rolled ones only.
    pub filter: Filter,
}

/// Where a segment's indexes are.
#[derive(Clone, Debug)]
pub(crate) enum Index {
    Memory { offsets: Vec<OffsetIndexEntry>, times: Vec<TimeIndexEntry> },
    Disk(DiskIndex),
}

/// Index files of a rolled segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskIndex {
    pub offsets: FileId,
    pub offset_entries: u64,
    pub times: FileId,
    pub time_entries: u64,
}

/// Where an index entry leads: the byte at which a batch begins, and the last offset of it (I2);
/// the segment's first byte if there is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hint {
    pub at: u64,
    pub offset: i64,
}

impl Hint {
    pub const START: Self = Self { at: 0, offset: i64::MIN };
}

impl Segment {
    pub fn new(base: i64, file: FileId, created_ms: i64) -> Self {
        Self {
            base,
            file,
            size: 0,
            max_timestamp: -1,
            max_timestamp_offset: base,
            first_timestamp: None,
            created_ms,
            since_index: 0,
            tail: (0, 0, -1),
            index: Index::Memory { offsets: Vec::new(), times: Vec::new() },
            aborted: Vec::new(),
            unverified: None,
            filter: Filter::Missing,
        }
    }

    /// A segment whose indexes are known, ready to take note of batches from the last indexed one
    /// on, at byte `at`.
    pub fn resume(
        base: i64,
        file: FileId,
        at: u64,
        offsets: Vec<OffsetIndexEntry>,
        times: Vec<TimeIndexEntry>,
    ) -> Self {
        let mut segment = Self::new(base, file, 0);
        segment.size = at;
        if let Some(last) = times.last() {
            segment.max_timestamp = last.timestamp;
            segment.max_timestamp_offset = base + i64::from(last.relative_offset);
        }
        segment.index = Index::Memory { offsets, times };
        segment
    }

    /// Takes note of a batch appended at the end; gives the byte it starts at.
    pub fn note(&mut self, header: &BatchHeader, index_interval_bytes: u32) -> u64 {
        let at = self.size;
        let size = header.size_in_bytes() as u64;
        if header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_offset = header.last_offset();
        }
        self.first_timestamp.get_or_insert(header.max_timestamp);
        if self.since_index > u64::from(index_interval_bytes) {
            if let Index::Memory { offsets, .. } = &mut self.index {
                let relative_offset = (header.last_offset() - self.base) as u32;
                let far = if planted::is(Bug::IndexOneBatchTooFar) { size } else { 0 };
                let position = (at + far) as u32;
                offsets.push(OffsetIndexEntry { relative_offset, position });
            }
            self.note_time();
            self.since_index = 0;
        }
        self.since_index += size;
        self.size += size;
        self.tail = (at, header.crc, header.leader_epoch);
        at
    }

    /// Adds the largest timestamp so far to the time index, if it is news; the last act on a
    /// segment, too.
    pub fn note_time(&mut self) {
        let relative_offset = (self.max_timestamp_offset - self.base) as u32;
        let entry = TimeIndexEntry { timestamp: self.max_timestamp, relative_offset };
        if let Index::Memory { times, .. } = &mut self.index
            && entry.timestamp > times.last().map_or(-1, |last| last.timestamp)
        {
            times.push(entry);
        }
    }

    /// True if a batch of `size` bytes must go to a new segment.
    pub fn is_full_for(&self, header: &BatchHeader, config: &LogConfig, now_ms: i64) -> bool {
        if self.size == 0 {
            return header.last_offset() - self.base > i64::from(i32::MAX);
        }
        let size = header.size_in_bytes() as u64;
        let waited = match self.first_timestamp {
            Some(first) if first >= 0 => header.max_timestamp.saturating_sub(first),
            // When a reopened segment was created is not known; it rolls by size then.
            _ if self.created_ms <= 0 => 0,
            _ => now_ms.saturating_sub(self.created_ms),
        };
        let (offsets, times) = match &self.index {
            Index::Memory { offsets, times } => (offsets.len(), times.len()),
            Index::Disk(_) => (0, 0),
        };
        let room = config.segment_index_bytes as usize;
        self.size + size > u64::from(config.segment_bytes)
            || waited > config.segment_ms.saturating_sub(config.segment_jitter_ms)
            || offsets >= room / OffsetIndexEntry::BYTES
            || times >= room / TimeIndexEntry::BYTES
            || header.last_offset() - self.base > i64::from(i32::MAX)
    }

    /// How many entries the indexes have; `None` once they are on disk.
    pub fn index_entries(&self) -> Option<(u64, u64)> {
        let Index::Memory { offsets, times } = &self.index else { return None };
        Some((offsets.len() as u64, times.len() as u64))
    }

    /// The content of both index files; `None` once they are on disk.
    pub fn index_bytes(&self) -> Option<(Bytes, Bytes)> {
        let Index::Memory { offsets, times } = &self.index else { return None };
        let offsets: Vec<u8> = offsets.iter().flat_map(|entry| entry.to_bytes()).collect();
        let times: Vec<u8> = times.iter().flat_map(|entry| entry.to_bytes()).collect();
        Some((offsets.into(), times.into()))
    }

    /// The last index entry at or before the batch that holds `offset`, from the index in memory.
    pub fn position_hint(&self, offset: i64) -> Hint {
        let Index::Memory { offsets, .. } = &self.index else { return Hint::START };
        // Walks of a whole log ask from the least offset there is.
        let relative = match planted::is(Bug::WalkFromLastEntry) {
            true => offset.wrapping_sub(self.base),
            false => offset.saturating_sub(self.base),
        };
        // An entry's offset is its batch's last, so only entries at or below can be used:
        // the batch with the offset starts there or later.
        let after = offsets.partition_point(|entry| i64::from(entry.relative_offset) <= relative);
        let hint = |entry: &OffsetIndexEntry| Hint {
            at: u64::from(entry.position),
            offset: self.base + i64::from(entry.relative_offset),
        };
        after.checked_sub(1).and_then(|index| offsets.get(index)).map_or(Hint::START, hint)
    }

    /// A byte at or after which no batch ends before `offset`, where a batch starts, from the index
    /// in memory: that of the first entry there, or the end.
    pub fn position_after(&self, offset: i64) -> u64 {
        let Index::Memory { offsets, .. } = &self.index else { return self.size };
        let relative = offset.saturating_sub(self.base);
        let after = offsets.partition_point(|entry| i64::from(entry.relative_offset) < relative);
        offsets.get(after).map_or(self.size, |entry| u64::from(entry.position))
    }
}

/// `<dir>/<20 digits>.<extension>`.
pub(crate) fn path(dir: &Path, base: i64, extension: &str) -> PathBuf {
    dir.join(format!("{base:020}.{extension}"))
}

/// The offset and extension of a file named by [`path`].
pub(crate) fn parse_name(name: &str) -> Option<(i64, &str)> {
    let (digits, extension) = name.split_once('.')?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().map(|base| (base, extension))
}
