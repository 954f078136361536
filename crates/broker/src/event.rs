//! What goes into a node and what comes out of it.

use std::path::PathBuf;

use messages::ApiKey;
use ottla_log::disk::{Completion, Space, Submission};
use ottla_log::{BuiltFilter, CleanError, Damage, ReadPlan, StorageError};
use wire::Bytes;

use crate::api::Handler;
use crate::cleaner::{CleanOrder, Cleaned};
use crate::full::{Reopened, Reopening};
use crate::key_filters::FilterOrder;
use crate::reply::Reply;
use crate::scrubber::{ScrubOrder, Scrubbed};

/// A connection, never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// One of the listeners that clients come in by: its place in [`crate::node::NodeConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u16);

/// One log. Operations of a lane are executed in the order they were submitted, except that
/// writes may overtake syncs that are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u64);

/// The time of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the epoch: may jump either way. For timestamps only.
    pub wall_ms: i64,
    /// Milliseconds since some start: never goes back. For deadlines.
    pub steady_ms: i64,
}

/// The request an answer belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Where it came from.
    pub conn: ConnId,
    /// Its number on that connection, from 0; answers leave in this order.
    pub serial: u64,
    /// The listener of the connection, which decides what addresses it is told.
    pub listener: ListenerId,
    /// What was asked.
    pub api: ApiKey,
    /// In which version.
    pub version: i16,
    /// The client's number for it.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<String>,
}

/// A fact.
pub enum Event {
    /// A request was read and decoded.
    Requested {
        /// Which one.
        call: Call,
        /// What carries it out.
        handler: Handler,
    },
    /// A connection began, from that address, as Java prints it.
    Connected(ConnId, String),
    /// A connection ended; what it waits for is given up.
    Disconnected(ConnId),
    /// Disk operations of a lane ended, and were told of together.
    Completed(Lane, Vec<Completion>),
    /// What [`Effect::Load`] asked for was read, or not.
    Loaded(Lane, u64, Result<Bytes, String>),
    /// News of what [`Effect::Clean`] began.
    Cleaned(Lane, Cleaned),
    /// What [`Effect::Measure`] asked for was measured.
    Measured(PathBuf, Result<Space, StorageError>),
    /// What [`Effect::Reopen`] asked for was opened, or not.
    Reopened(Lane, Reopened),
    /// News of what [`Effect::Scrub`] began.
    Scrubbed(Lane, Scrubbed),
    /// Whoever read a log came across this.
    Damaged(Vec<Damage>),
    /// The end of what [`Effect::BuildKeyFilter`] began.
    KeyFilterBuilt(Lane, Box<Result<BuiltFilter, CleanError>>),
    /// A deadline passed.
    Ticked,
    /// No requests come any more.
    Stopping,
}

/// An order.
#[derive(Debug)]
pub enum Effect {
    /// Answer a request.
    Reply(Reply),
    /// Close a connection when the requests before that number are answered, logging why.
    Close(ConnId, u64, String),
    /// Carry out a disk operation.
    Disk(Lane, Submission),
    /// Read this for the node itself, and give it back with the number; never inside a step.
    Load(Lane, u64, ReadPlan),
    /// Clean this log, on a thread of little importance, and tell of each step that [`Cleaned`] has
    /// a word for; the last is its end.
    Clean(Lane, Box<CleanOrder>),
    /// Measure the room in a directory; never inside a step.
    Measure(PathBuf),
    /// Open this log anew and give it back; never inside a step.
    Reopen(Lane, Box<Reopening>),
    /// Scrub this log, on a thread of little importance; the last news are of its end.
    Scrub(Lane, Box<ScrubOrder>),
    /// Build the key filter of a segment, on a thread of little importance, and tell what came of
    /// it.
    BuildKeyFilter(Lane, Box<FilterOrder>),
    /// Stop the node: its own state can't be trusted.
    Halt(String),
    /// Tell the operator of what is in order.
    Info(String),
    /// Tell the operator.
    Warn(String),
    /// Tell the operator of what must not be.
    Error(String),
    /// From now on tell the operator, of what this logger says, what is at least that urgent.
    LogLevel(String, String),
}
