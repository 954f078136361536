//! The producer's core: records go in, requests come out, answers decide what happens to batches.
//!
//! No I/O, no clock, no randomness: the shell (`net::producer`) hands in times, connections and
//! answers and carries out [`Effect`]s.

pub mod accumulator;
pub mod partitioner;
pub mod request;

pub use accumulator::{Accumulator, BatchId, Effect, Outcome, Settings, Verdict};

use wire::Bytes;

/// A record to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Where to.
    pub topic: String,
    /// The partition; `None`: by key, or wherever there is room.
    pub partition: Option<i32>,
    /// Its key, if any.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Milliseconds since 1970; `None`: now.
    pub timestamp: Option<i64>,
}

impl Record {
    /// A record without a key.
    pub fn new(topic: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), value: Some(value.into()), ..Self::default() }
    }

    /// The same record with a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Upper bound of its bytes in a batch.
    pub(crate) fn size(&self) -> usize {
        let headers = self.headers.iter();
        let headers =
            headers.map(|(name, value)| name.len() + value.as_ref().map_or(0, Bytes::len) + 10);
        let body = self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers.sum::<usize>();
        // Length, attributes, timestamp delta, offset delta, three lengths.
        body + 5 + 1 + 10 + 5 + 15
    }
}

/// Where a record went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset; `None` if the broker did not say (`acks=0`, or a batch it had already).
    pub offset: Option<i64>,
    /// Its timestamp, in milliseconds: the broker's if the topic has log append time.
    pub timestamp: i64,
}
