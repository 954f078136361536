//! Compaction (`cleanup.policy=compact`): of each key's records only the newest stays.
//!
//! Owns what is dirty, the plan, the work, and how its result takes its place. In order:
//! 1. [`crate::Log::dirt`] says how dirty a log is, and [`crate::Log::plan_clean`] makes a
//!    [`CleanPlan`] of it; both only look.
//! 2. [`CleanPlan::start`] gives a [`CleanJob`], which runs without the log, step by step, on a
//!    thread of its own: it reads segments, writes new ones, and makes them durable.
//! 3. [`crate::Log::install_cleaned`] puts each group of new segments in the place of the old, if
//!    those are still there; readers under way finish with the old files.
//!
//! Invariants:
//! - I1: whatever fails or is cut in between, the log holds the newest record of each key, and all
//!   records that no cleaning has looked at.
//! - I2: offsets, timestamps and the order of records never change; offsets that are missing are
//!   never given to other records.
//! - I3: which records stay and what their batches look like is as Apache Kafka 4.4.0 does it; the
//!   comparison is `tests/oracle`.
//!
//! Does not choose logs, read a clock, or throttle: `broker::cleaner` and `server` do.

mod install;
mod job;
mod map;
mod plan;
mod rewrite;
mod transactions;

pub(crate) use install::{Install, parse_replaced};
pub use job::{CleanJob, CleanStep, Pace};
pub use map::MapBudget;
pub use plan::{CleanPlan, Dirt, Reset};

use crate::disk::{FileId, Op, StorageError, Submission};
use crate::retention::{ABANDONED, files_of};
use crate::segment::Segment;

/// Why a cleaning was given up. The log is as it was, but for groups already handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CleanError {
    /// The pace said so.
    #[error("stopped")]
    Stopped,
    /// A segment was removed meanwhile.
    #[error("a segment was removed")]
    Gone,
    /// The log holds what can't be read; cleaning it again would find the same.
    #[error("{0}")]
    Damaged(StorageError),
    /// The disk failed, or is full.
    #[error("{0}")]
    Disk(StorageError),
}

impl From<StorageError> for CleanError {
    fn from(error: StorageError) -> Self {
        match error.kind {
            std::io::ErrorKind::InvalidData => Self::Damaged(error),
            // Files are read by id here, and an id that is closed is not there.
            std::io::ErrorKind::NotFound => Self::Gone,
            _ => Self::Disk(error),
        }
    }
}

/// What a cleaning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanStats {
    /// Segments read and replaced.
    pub segments_read: u64,
    /// Segments that took their places.
    pub segments_written: u64,
    /// Bytes of them read, the reading for the map not counted.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Records read, those of batches that went unopened not counted.
    pub records_read: u64,
    /// Records that stayed.
    pub records_written: u64,
    /// Bytes read for the map.
    pub map_bytes_read: u64,
    /// Keys in the map.
    pub keys: u64,
    /// There were more keys than fit: another cleaning has to go on.
    pub map_was_full: bool,
}

/// A cleaning that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanedLog {
    /// The first offset it did not look at: what `cleaner-offset-checkpoint` is to say.
    pub end: i64,
    /// What it did.
    pub stats: CleanStats,
}

/// Segments written anew as one, ready for [`crate::Log::install_cleaned`].
#[derive(Debug)]
pub struct CleanedGroup {
    generation: u64,
    /// The files of the segments it replaces, by rising base.
    replaces: Vec<FileId>,
    segment: Segment,
}

impl CleanedGroup {
    /// How many segments it replaces.
    pub fn segments(&self) -> usize {
        self.replaces.len()
    }

    /// Lets go of its files: the partition is gone, and so is its directory.
    pub fn abandon(self, out: &mut Vec<Submission>) {
        let close = |file| Submission { token: ABANDONED, op: Op::Close { file } };
        out.extend(files_of(&self.segment).into_iter().map(close));
    }
}
