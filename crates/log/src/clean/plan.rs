//! What is dirty in a log, and the plan to clean it: an owned picture, made while the log is held.
//!
//! Invariants:
//! - I1: only rolled segments whose records, indexes and producer snapshot are durable are cleaned,
//!   and nothing at or above the last stable offset: all transactions met there are decided.
//! - I2: a plan names files by ids that are never reused: if the log gives a segment up meanwhile,
//!   the cleaning reads nothing, not something else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use wire::files::AbortedTxn;

use super::job::CleanJob;
use super::map::MapBudget;
use crate::LogConfig;
use crate::disk::{FileId, FileIds};
use crate::log::Log;
use crate::producers::LastWritten;
use crate::segment::{Index, Segment};

/// How dirty a log is, as Apache Kafka reckons it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirt {
    /// The first offset that no cleaning has looked at.
    pub first_dirty: i64,
    /// Why `first_dirty` is not what the checkpoint says, if it is not.
    pub reset: Option<Reset>,
    /// Cleaning ends before here: the base of the first segment it may not touch.
    pub first_uncleanable: i64,
    /// Bytes of segments that begin before `first_dirty`.
    pub clean_bytes: u64,
    /// Bytes of segments from the one with `first_dirty` up to `first_uncleanable`.
    pub cleanable_bytes: u64,
    /// For how long `max.compaction.lag.ms` has been exceeded; 0 if it is not.
    pub overdue_ms: i64,
}

/// What was wrong with a checkpoint of the cleaner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// It lies before the log's start: records were deleted.
    BelowStart,
    /// It lies behind the log's end: records were lost.
    BeyondEnd,
}

impl Dirt {
    /// The share of bytes that is dirty, from 0 to 1; compared with `min.cleanable.dirty.ratio`.
    pub fn ratio(&self) -> f64 {
        let total = self.clean_bytes + self.cleanable_bytes;
        if total == 0 { 0.0 } else { self.cleanable_bytes as f64 / total as f64 }
    }

    /// True if the log is to be cleaned: dirtier than `min_ratio`, or waiting for too long.
    pub fn is_due(&self, min_ratio: f64) -> bool {
        (self.overdue_ms > 0 && self.cleanable_bytes > 0) || self.ratio() > min_ratio
    }
}

/// A segment as the cleaner sees it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Without its indexes.
    pub segment: Segment,
    /// Its index files, if they are open; see [`super::job`] on why they are touched.
    pub indexes: Vec<FileId>,
    pub offset_index_bytes: u64,
    pub time_index_bytes: u64,
    pub created_ms: i64,
}

/// How to clean a log; see [`Self::start`].
#[derive(Debug)]
pub struct CleanPlan {
    pub(super) dir: Arc<Path>,
    /// Compare with [`Log::generation`].
    pub(super) generation: u64,
    pub(super) config: Arc<LogConfig>,
    pub(super) first_dirty: i64,
    /// Where the last of `sources` ends, exclusive.
    pub(super) upto: i64,
    pub(super) high_watermark: i64,
    pub(super) now_ms: i64,
    /// By rising base.
    pub(super) sources: Vec<Source>,
    /// Aborted transactions that begin in `sources` and end behind them.
    pub(super) aborted_later: Vec<AbortedTxn>,
    pub(super) producers: BTreeMap<i64, LastWritten>,
    /// Three for each file that may be written.
    pub(super) ids: Vec<FileId>,
}

impl Log {
    /// How dirty the log is. `checkpoint` is its line of `cleaner-offset-checkpoint`; without one
    /// all of it is dirty.
    pub fn dirt(&self, checkpoint: Option<i64>, high_watermark: i64, now_ms: i64) -> Dirt {
        let (first_dirty, reset) = match checkpoint.unwrap_or(self.start) {
            point if point < self.start => (self.start, Some(Reset::BelowStart)),
            point if point > self.end => (self.start, Some(Reset::BeyondEnd)),
            point => (point, None),
        };
        let active = self.segments.last().map_or(self.end, |segment| segment.base);
        let lag_ms = self.config.min_compaction_lag_ms.max(0);
        let young = self
            .rolled_from(first_dirty)
            .iter()
            .find(|segment| lag_ms > 0 && latest_ms(segment) > now_ms.saturating_sub(lag_ms));
        let young = young.map_or(i64::MAX, |segment| segment.base);
        let bounds = [self.last_stable_offset(high_watermark), active, young, self.unsettled()];
        let bound = bounds.into_iter().fold(i64::MAX, i64::min);
        // A segment is cleaned as a whole or not at all.
        let first_uncleanable =
            self.rolled_from(bound).first().map_or(active, |segment| segment.base);
        let bytes = |segments: &[Segment]| segments.iter().map(|segment| segment.size).sum();
        let clean = self.segments.partition_point(|segment| segment.base < first_dirty);
        let dirty_from = self.place(first_dirty.min(first_uncleanable));
        let dirty_to = self.segments.partition_point(|s| s.base < first_uncleanable);
        let dirty = self.segments.get(dirty_from..dirty_to.max(dirty_from)).unwrap_or_default();
        let dirty = if first_dirty < first_uncleanable { dirty } else { &[] };
        let earliest =
            self.rolled_from(first_dirty).iter().filter_map(|segment| segment.first_timestamp);
        let earliest_ms = earliest.filter(|first| *first > 0).min().unwrap_or(i64::MAX);
        let until_ms = now_ms.saturating_sub(self.config.max_compaction_lag_ms.max(0));
        Dirt {
            first_dirty,
            reset,
            first_uncleanable,
            clean_bytes: bytes(self.segments.get(..clean).unwrap_or_default()),
            cleanable_bytes: bytes(dirty),
            overdue_ms: until_ms.saturating_sub(earliest_ms).max(0),
        }
    }

    /// Plans the cleaning that `dirt` asks for: cheap, and nothing is read. `None` if there is
    /// nothing to clean, if files of an earlier cleaning are still being renamed, or if the log is
    /// not in use any more.
    pub fn plan_clean(
        &self,
        dirt: &Dirt,
        high_watermark: i64,
        now_ms: i64,
        ids: &mut FileIds,
    ) -> Option<CleanPlan> {
        let upto = dirt.first_uncleanable;
        let idle = self.installs.is_empty() && self.accepts_appends().is_ok();
        if !idle || dirt.first_dirty >= upto {
            return None;
        }
        let count = self.segments.partition_point(|segment| segment.base < upto);
        let (sources, later) = self.segments.split_at_checked(count)?;
        let sources: Vec<Source> = sources.iter().map(Source::of).collect();
        let aborted_later = later.iter().flat_map(|segment| &segment.aborted);
        let aborted_later = aborted_later.filter(|txn| txn.first_offset < upto).copied().collect();
        Some(CleanPlan {
            dir: self.dir.clone(),
            generation: self.generation,
            config: self.config.clone(),
            first_dirty: dirt.first_dirty,
            upto,
            high_watermark,
            now_ms,
            ids: (0..3 * sources.len()).map(|_| ids.allocate()).collect(),
            sources,
            aborted_later,
            producers: self.producers.last_written(),
        })
    }

    /// The rolled segments from the one with `offset` on.
    fn rolled_from(&self, offset: i64) -> &[Segment] {
        let Some((active, rolled)) = self.segments.split_last() else { return &[] };
        if offset >= active.base {
            return &[];
        }
        rolled.get(self.place(offset)..).unwrap_or_default()
    }

    /// The index of the segment with `offset`, or of the first one.
    fn place(&self, offset: i64) -> usize {
        let after = self.segments.partition_point(|segment| segment.base <= offset);
        after.saturating_sub(1)
    }

    /// The base of the first segment of which something is not yet durable (I1).
    fn unsettled(&self) -> i64 {
        let settled = self.flushed().min(self.recovery_point());
        let is_unsettled = |pair: &&[Segment]| match pair {
            [segment, next] => {
                next.base > settled
                    || self.indexing.iter().any(|(_, base, _)| *base == segment.base)
            }
            _ => true,
        };
        let first = self.segments.windows(2).find(is_unsettled);
        first.and_then(|pair| pair.first()).map_or(i64::MAX, |segment| segment.base)
    }
}

/// When the newest record of a segment is from; without timestamps, when the segment was made.
fn latest_ms(segment: &Segment) -> i64 {
    if segment.max_timestamp >= 0 { segment.max_timestamp } else { segment.created_ms }
}

impl Source {
    fn of(segment: &Segment) -> Self {
        let (indexes, offset_entries, time_entries) = match &segment.index {
            Index::Memory { offsets, times } => (vec![], offsets.len() as u64, times.len() as u64),
            Index::Disk(index) => {
                (vec![index.offsets, index.times], index.offset_entries, index.time_entries)
            }
        };
        let mut plain = Segment::new(segment.base, segment.file, segment.created_ms);
        plain.size = segment.size;
        plain.aborted = segment.aborted.clone();
        Self {
            segment: plain,
            indexes,
            offset_index_bytes: offset_entries * 8,
            time_index_bytes: time_entries * 12,
            created_ms: segment.created_ms,
        }
    }
}

impl CleanPlan {
    /// Bytes of the segments it may read.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.segment.size).sum()
    }

    /// Segments it may read.
    pub fn segments(&self) -> usize {
        self.sources.len()
    }

    /// The first file it reads: tells the volume.
    pub fn file(&self) -> Option<FileId> {
        self.sources.first().map(|source| source.segment.file)
    }

    /// Begins the work, which needs nothing of the log any more.
    pub fn start(self, budget: MapBudget) -> CleanJob {
        CleanJob::new(self, budget)
    }

    /// Aborted transactions with records in `from..upto`.
    pub(super) fn aborted(&self, from: i64, upto: i64) -> impl Iterator<Item = AbortedTxn> + '_ {
        let known = self.sources.iter().flat_map(|source| &source.segment.aborted);
        let overlaps = move |txn: &&AbortedTxn| txn.last_offset >= from && txn.first_offset < upto;
        known.chain(&self.aborted_later).filter(overlaps).copied()
    }
}
