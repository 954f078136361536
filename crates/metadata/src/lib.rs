//! The cluster's metadata: the records of `__cluster_metadata`, the image they add up to, and the
//! controller that decides which records to write.
//!
//! Owns: record framing ([`record`]), the replayed state ([`image`]), how it is read from a log
//! ([`loader`]) and kept in snapshots ([`snapshot`]), decisions ([`controller`]).
//!
//! Invariants:
//! - I1: `replay` is the only mutation of an image; the same records give the same image.
//! - I2: deciding never changes the image; it returns records and the answer that may be given
//!   once those are committed.
//! - I3: no I/O, no clock, no randomness: time and fresh ids come in with the call.

pub mod controller;
pub mod image;
pub mod loader;
pub mod record;
pub mod snapshot;

pub use image::{BrokerImage, Image, PartitionImage, TopicImage};
pub use loader::Loader;
pub use record::Record;
pub use snapshot::{QuorumStatement, SnapshotId};
