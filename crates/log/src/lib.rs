//! One partition's log: a deterministic core that turns appends and completions into disk
//! operations, and plans reads that run without it.
//!
//! Owns segments, indexes, leader epochs, producer state, the three marks, and recovery.
//! Methods take events and the time in, and push [`disk::Submission`]s out; nothing here reads a
//! clock, draws a random number, or (outside [`Log::open`], [`Log::truncate_to`],
//! [`CleanJob::step`], [`ScrubJob::step`] and [`disk::os`]) waits for a disk.
//!
//! Invariants:
//! - I1: `start <= flushed <= written <= end`; `flushed` falls only by truncation.
//! - I2: every record below `flushed` survives a power cut: its bytes were synced, its segment's
//!   name is durable, and so is every segment below it.
//! - I3: after an error the log is offline for good: it submits nothing and `flushed` stays. Where
//!   the error was that the disk is full, another log may be opened in its place, once nothing of
//!   this one is under way.
//! - I4: files are Apache Kafka 4.4.0's, byte for byte where it reads them.
#![cfg_attr(not(test), deny(clippy::unwrap_used))]

mod append;
mod clean;
mod commit;
mod config;
pub mod disk;
mod epochs;
mod error;
mod key_filter;
mod log;
mod mark;
mod open;
pub mod planted;
mod producers;
mod read;
mod recover;
mod retention;
mod scrub;
mod segment;
mod validate;
mod verify;

pub use append::AppendInfo;
pub use clean::{
    CleanError, CleanJob, CleanPlan, CleanStats, CleanStep, CleanedGroup, CleanedLog, Dirt,
    MapBudget, Pace, Reset,
};
pub use config::LogConfig;
pub use disk::{Completion, Disk, FileId, FileIds, Op, Space, StorageError, Submission, Token};
pub use epochs::Epochs;
pub use error::AppendError;
pub use key_filter::{BuiltFilter, FilterPlan};
pub use log::{Log, Progress};
pub use open::{OpenMode, RecoveryReport, Truncated};
pub use producers::Producers;
pub use read::{
    Extract, Found, OutOfRange, ReadError, ReadPlan, Skipped, TimePlan, TimestampedOffset,
};
pub use retention::{Bound, Expired, Hold};
pub use scrub::{ScrubError, ScrubJob, ScrubPlan, ScrubStats, ScrubStep};
pub use validate::{Inspected, ValidateConfig, Validated, inspect, validate};
pub use verify::Damage;
