//! The consumer's cores: assignors, the bytes of the consumer protocol, membership of a classic
//! group, positions of partitions, the records of a fetch, and a single key looked up.
//!
//! No I/O, no clock, no randomness: the shell (`net::consumer`) carries out what they decide.

pub mod assignor;
pub mod group;
pub mod look_up;
pub mod positions;
pub mod protocol;
pub mod unpack;

use std::sync::Arc;

use wire::Bytes;
use wire::batch::TimestampType;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970; -1 is none.
    pub timestamp: i64,
    /// Whose clock that was.
    pub timestamp_type: TimestampType,
    /// The epoch of the leader that wrote it, if known.
    pub leader_epoch: Option<i32>,
    /// Its key, if any.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
}
