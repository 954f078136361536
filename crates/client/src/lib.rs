//! A client of Apache Kafka's protocol, for brokers of ours and of Apache Kafka's.
//!
//! [`Client`] owns connections and metadata; [`admin::Admin`] administers a cluster through it.
//!
//! Cores hold no I/O: what they decide is carried out by [`net`].
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod admin;
pub mod consumer;
pub mod error;
pub mod metadata;
pub mod net;
pub mod options;
pub mod producer;
pub mod request;
pub mod topic_partition;

pub use admin::Admin;
pub use consumer::ConsumerRecord;
pub use error::{ApiError, Error, Result};
pub use net::{Client, Consumer, Delivery, Producer, To};
pub use options::Options;
pub use producer::{Record, RecordMetadata};
pub use topic_partition::TopicPartition;
