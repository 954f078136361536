//! The small files beside a log and in a log directory: their text or bytes, both ways.
//!
//! Owns the layouts only; which file is read or replaced when is up to `log` and `server`.
//!
//! Invariants:
//! - I1: parsing is bounded by the input's length and never panics; declared counts are compared
//!   with what is there, not trusted.
//! - I2: what is rendered here, Apache Kafka 4.4.0 reads, but for files of our own, which it leaves
//!   alone; what it writes parses here.

mod checkpoint;
mod index;
mod key_filter;
mod producer_snapshot;
mod properties;

pub use checkpoint::{
    EpochStart, OffsetEntry, RecoveryMark, parse_epochs, parse_marks, parse_offsets, render_epochs,
    render_marks, render_offsets,
};
pub use index::{AbortedTxn, OffsetIndexEntry, TimeIndexEntry};
pub use key_filter::{
    BLOCK_BYTES as KEY_FILTER_BLOCK_BYTES, FilteredSegment, KeyFilterBuilder, KeyFilterHeader,
    KeyHash,
};
pub use producer_snapshot::{ProducerEntry, parse_producers, render_producers};
pub use properties::{
    MetaProperties, PartitionMetadata, parse_meta, parse_partition_metadata, parse_properties,
    render_meta, render_partition_metadata,
};

/// What is wrong with a file's content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// A line of a text file (from 1).
    #[error("line {line}: {what}")]
    Line {
        /// The line, from 1; 0 for the file as a whole.
        line: usize,
        /// What was expected.
        what: &'static str,
    },
    /// A byte of a binary file.
    #[error("byte {at}: {what}")]
    Byte {
        /// Distance from the start of the file.
        at: usize,
        /// What was expected.
        what: &'static str,
    },
    /// The checksum does not match the bytes.
    #[error("checksum {computed:#010x}, file says {stored:#010x}")]
    Crc {
        /// The file's.
        stored: u32,
        /// That of the bytes.
        computed: u32,
    },
}
