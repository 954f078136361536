//! The node, without I/O: requests, disk completions and time come in as events; replies and disk
//! operations go out as effects. The shell (`server`) and the simulator drive the same code.
//!
//! Owns: what a request means ([`api`], one file each), the partitions this node leads
//! ([`partition`]), its metadata log ([`metadata_log`]), the groups it coordinates ([`groups`]),
//! what is kept until groups have read it ([`progress`]), what is compacted when ([`cleaner`]) and
//! looked at for damage ([`scrubber`]), which segments get filters of their keys
//! ([`key_filters`]), what a full disk closes ([`full`]), fetch sessions ([`session`]) and the
//! frames of a connection ([`connection`], [`reply`]).
//!
//! Invariants:
//! - I1: the same events in the same order give the same effects: no clock, no randomness, no
//!   randomly seeded map.
//! - I2: a produce is answered only when its batches are durable (`flush.messages=1`) or written,
//!   as the topic is configured; what is not that far is not visible to consumers either.
//! - I3: a waiting request is data in the node; each is answered exactly once, by what it waits
//!   for or by its deadline.
//! - I4: an API without a file in [`api`] is not advertised, and asking for it closes the
//!   connection as Apache Kafka does.

pub mod api;
pub mod apply;
pub mod cleaner;
pub mod connection;
pub mod event;
pub mod full;
pub mod groups;
pub mod key_filters;
pub mod metadata_log;
pub mod metrics;
pub mod node;
pub mod partition;
pub mod progress;
pub mod reply;
pub mod rng;
pub mod scrubber;
pub mod session;
pub mod startup;
pub mod upkeep;

pub use cleaner::{CleanOrder, Cleaned};
pub use event::{Call, ConnId, Effect, Event, Lane, ListenerId, Now};
pub use full::{Reopened, Reopening};
pub use key_filters::FilterOrder;
pub use node::{Listener, LogDir, Node, NodeConfig};
pub use reply::{Outline, Reply};
pub use scrubber::{ScrubOrder, Scrubbed};
