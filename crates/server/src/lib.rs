//! The shell around a node: listeners, connections, disk threads, timers, signals.
//!
//! Owns: who runs when. The node decides everything else.
//!
//! Invariants:
//! - I1: the node is stepped by one thread at a time, with no I/O while it is.
//! - I2: a lane's disk operations start in the order the node gave them ([`disk`]).
//! - I3: every connection's answers leave in the order of its requests ([`connection`]).
//! - I4: memory held for the bytes of requests is bounded over all connections
//!   ([`connection::Limits`]). Answers are not charged yet.

pub mod admin;
mod clean;
pub mod connection;
pub mod disk;
mod full;
mod key_filter;
pub mod line;
pub mod lock;
pub mod log_line;
mod lookout;
mod scrub;
mod send;
pub mod serve;
pub mod shell;

pub use serve::{ADMIN_PORT, Listen, Listener, Running, ServeError, Settings, entropy, start};
