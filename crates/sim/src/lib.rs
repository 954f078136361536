//! The node that `server` runs, unchanged, on a virtual disk, network and clock.
//!
//! One seed is one run: it draws the topic's configuration, what the clients do, every delay, and
//! where the power or the disk fails or the node is stopped. The same seed gives the same run,
//! event for event; the hash of all events is the run's trace.
//!
//! - [`world`]: time, the event queue, the node and its restarts.
//! - [`lanes`]: when disk operations start and end, which is all the freedom a shell has.
//! - [`client`]: producers and consumers that speak the protocol in bytes.
//! - [`member`]: members of a group, in every fourth seed.
//! - [`keeper`]: what groups hold back, in every eighth seed.
//! - [`bookkeeper`]: a compacted topic and who writes it, in every fourth seed.
//! - [`rot`]: bits of what is durable that turn over, in every fourth seed.
//! - [`checker`]: what must be true, whatever happened. Written before the faults.
//!
//! Not covered, because it is not in the cores: threads, locks, sockets, the kernel.

pub mod bookkeeper;
pub mod checker;
pub mod client;
pub mod gardener;
pub mod keeper;
pub mod lanes;
pub mod member;
pub mod random;
pub mod rot;
pub mod world;

pub use world::{Failure, Summary, run};
