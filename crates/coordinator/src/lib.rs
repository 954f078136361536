//! Coordinators: state that lives in the records of one log partition, and the rules by which
//! requests change it. Pure: events and time come in, effects go out.
//!
//! Owns: the runtime that loads a partition's records, decides, appends and answers ([`runtime`]);
//! the records of `__consumer_offsets` ([`record`]); classic groups and their offsets ([`group`]).
//!
//! Invariants:
//! - I1: the same events in the same order give the same effects: no clock, no randomness of its
//!   own (ids come from the caller's source), no randomly seeded map.
//! - I2: what outlives an unload is changed by `replay` of a record and by nothing else.
//! - I3: an answer leaves when the high watermark has reached the last record whose effect it saw;
//!   reads too, so nobody sees what a power cut could take back.
//! - I4: every request is answered exactly once.
//!
//! Not here: consumer (KIP-848), share and streams groups, and transactions. Their records are
//! known and survive a load.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod config;
pub mod group;
pub mod operation;
pub mod record;
pub mod runtime;

pub use config::GroupConfig;
pub use metadata::controller::IdSource;
pub use operation::{Answer, Caller, Request};
pub use runtime::{Coordinator, Effect, partition_of};

/// The time of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the epoch: may jump either way. For timestamps only.
    pub wall_ms: i64,
    /// Milliseconds since some start: never goes back. For deadlines.
    pub steady_ms: i64,
}
