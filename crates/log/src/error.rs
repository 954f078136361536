//! Why an append was refused, with the protocol's error code.

use crate::StorageError;

/// Why records were not appended. Nothing was changed; the log goes on unless it is offline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The bytes are not what their checksum or length says.
    #[error("{0}")]
    CorruptMessage(String),
    /// Larger than `max.message.bytes`.
    #[error("batch of {size} bytes exceeds max.message.bytes of {limit}")]
    MessageTooLarge {
        /// The batch.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// Larger than a segment.
    #[error("batch of {size} bytes exceeds segment.bytes of {limit}")]
    RecordListTooLarge {
        /// The batch.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// Outside `message.timestamp.before.max.ms` / `after.max.ms`, or not the client's to set.
    #[error("{0}")]
    InvalidTimestamp(String),
    /// A batch producers may not send.
    #[error("{0}")]
    InvalidRecord(String),
    /// A record without a key, which a compacted topic can't keep.
    #[error("compacted topic cannot accept message without key")]
    KeyMissing,
    /// Message formats of before record batches.
    #[error("message format v{0} is not supported")]
    UnsupportedForMessageFormat(i8),
    /// A codec that is unknown, or not allowed in this version of the API.
    #[error("{0}")]
    UnsupportedCompressionType(String),
    /// Records are missing before these, or these are older than those remembered.
    #[error("producer {producer_id}: sequence {got} where {expected} follows")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// Sequence of the batch's first record.
        got: i32,
        /// The one that would follow.
        expected: i32,
    },
    /// The producer was replaced by one of a later epoch.
    #[error("producer {producer_id}: epoch {got} is older than {current}")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: i64,
        /// The batch's.
        got: i16,
        /// The log's.
        current: i16,
    },
    /// Outside of a transaction that is open.
    #[error("producer {0}: expected a transactional write")]
    InvalidTxnState(i64),
    /// The coordinator was replaced by one of a later epoch.
    #[error("producer {producer_id}: coordinator epoch {got} is older than {current}")]
    TransactionCoordinatorFenced {
        /// The producer.
        producer_id: i64,
        /// The marker's.
        got: i32,
        /// The log's.
        current: i32,
    },
    /// Replicated records do not continue the log.
    #[error("offset {got} where the log ends at {end}")]
    OffsetsOutOfOrder {
        /// The batch's first.
        got: i64,
        /// The log's next.
        end: i64,
    },
    /// The log failed before; see [`StorageError`].
    #[error("log is offline: {0}")]
    Offline(#[from] StorageError),
    /// [`crate::Log::close`] was called.
    #[error("log is closed")]
    Closed,
}

impl AppendError {
    /// The protocol's error code.
    pub fn code(&self) -> i16 {
        match self {
            Self::CorruptMessage(_) => 2,
            Self::Closed => 6,
            Self::MessageTooLarge { .. } => 10,
            Self::RecordListTooLarge { .. } => 18,
            Self::InvalidTimestamp(_) => 32,
            Self::UnsupportedForMessageFormat(_) => 43,
            Self::OutOfOrderSequence { .. } => 45,
            Self::InvalidProducerEpoch { .. } => 47,
            Self::InvalidTxnState(_) => 48,
            Self::TransactionCoordinatorFenced { .. } => 52,
            Self::Offline(_) => 56,
            Self::UnsupportedCompressionType(_) => 76,
            Self::InvalidRecord(_) | Self::KeyMissing => 87,
            // A replica's own fault; no client sees it.
            Self::OffsetsOutOfOrder { .. } => -1,
        }
    }
}
