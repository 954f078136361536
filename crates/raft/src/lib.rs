//! KRaft, the consensus under `__cluster_metadata`, as a machine without I/O.
//!
//! Facts go in ([`Event`]), orders come out ([`Effect`]); [`Raft::step`] is the only way in. The
//! core owns the rules: who may lead, which records are committed, who votes. It owns neither the
//! log nor the files beside it nor connections; it keeps the marks it needs of them ([`marks`]) and
//! trusts the caller to carry out its orders in their order.
//!
//! Roles: `Unattached → Prospective → Candidate → Leader → Resigned → Unattached`, and `Follower`
//! from any of them once a leader is known; one file each below `role`. An observer is a follower,
//! or unattached, that is no voter: it follows and never stands.
//!
//! Invariants:
//! - I1: persist, then speak: no question is asked and no answer given before the epoch, vote and
//!   leader they rest on are stored.
//! - I2: an epoch a node stood or led in is never stood for again, so that what it wrote in it and
//!   lost can't be written differently.
//! - I3: only records that a majority of the voters has flushed, up to one of the leader's own
//!   epoch, are committed; the high watermark never falls.
//! - I4: nothing below the high watermark is truncated; a node that is told to stops instead.
//! - I5: a new core with the same configuration, disk and events gives the same effects.
//!
//! A node of one voter needs neither clock nor peers:
//!
//! ```
//! use raft::{Config, Effect, Event, Raft, ReplicaKey, Restored, Voter, VoterSet};
//! use wire::Uuid;
//!
//! let key = ReplicaKey::new(1, Uuid::ZERO);
//! let voter = Voter { key, endpoints: Vec::new(), kraft_versions: (0, 1) };
//! let mut config = Config::new(1, Uuid(77), "a cluster".to_owned());
//! config.static_voters = VoterSet::new([voter]);
//! let (mut orders, now_ms) = (Vec::new(), 1_700_000_000_000);
//! let mut raft = Raft::new(config, Restored::default(), now_ms, &mut orders);
//! let Some(Effect::Store { number, .. }) = orders.pop() else { panic!() };
//! // quorum-state is on disk.
//! raft.step(now_ms, Event::Stored { number }, &mut orders);
//! assert!(orders.iter().any(|order| matches!(order, Effect::AppendControl { end: 1, .. })));
//! // The control batch went into the log; the caller appends three records of its own.
//! assert_eq!(raft.leading(), Some(1));
//! raft.step(now_ms, Event::Appended { epoch: 1, end: 4 }, &mut orders);
//! assert_eq!(raft.committed(), 0);
//! // One flush covers both.
//! raft.step(now_ms, Event::Flushed { end: 4 }, &mut orders);
//! assert_eq!((raft.committed(), raft.next_deadline_ms()), (4, None));
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod answer;
mod control;
mod event;
pub mod marks;
mod membership;
mod peers;
mod question;
pub mod quorum_state;
mod raft;
mod role;
mod serve;
mod splitmix;
mod vote;
pub mod voters;

pub use control::{Statement, statements_in};
pub use event::{
    AskError, Config, Effect, Event, Peer, Request, Response, Restored, RoleKind, Ticket,
};
pub use marks::SnapshotId;
pub use raft::Raft;
pub use voters::{Endpoint, History, ReplicaKey, Voter, VoterSet};
