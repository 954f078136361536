//! A client of Apache Kafka's protocol in pure Rust, for brokers of ours and of Apache Kafka's.
//!
//! One [`Client`] owns connections and metadata; an [`Admin`], [`Producer`]s and [`Consumer`]s go
//! through it. All of them are cheap to clone, `Send` and `Sync`, and need a tokio runtime.
//! [`Options`] are read from properties by the names of Apache Kafka's clients or of librdkafka.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//!
//! use client::admin::NewTopic;
//! use client::{Admin, Client, Consumer, Options, Producer, Record};
//!
//! # async fn example() -> client::Result<()> {
//! let properties = BTreeMap::from([
//!     ("bootstrap.servers".to_owned(), "localhost:9092".to_owned()),
//!     ("group.id".to_owned(), "readers".to_owned()),
//!     ("auto.offset.reset".to_owned(), "earliest".to_owned()),
//!     ("compression.type".to_owned(), "zstd".to_owned()),
//! ]);
//! let options = Options::from_properties(&properties)?;
//! for warning in &options.warnings {
//!     eprintln!("{warning}");
//! }
//! let client = Client::connect(options).await?;
//!
//! // Every call of administration has a result for each item.
//! let admin = Admin::new(client.clone());
//! for (name, made) in admin.create_topics(&[NewTopic::new("letters", 3)], false).await? {
//!     if let Err(refusal) = made {
//!         eprintln!("{name}: {refusal}");
//!     }
//! }
//!
//! // Idempotent by default. `enqueue` waits for room only, its delivery for the broker's word.
//! let producer = Producer::new(client.clone());
//! let delivery = producer.enqueue(Record::new("letters", "hello").key("greeting")).await?;
//! producer.flush().await?;
//! let place = delivery.await?;
//! println!("{}-{} at {:?}", place.topic, place.partition, place.offset);
//!
//! // A member of a group: joins, rebalances and commits while it polls.
//! let consumer = Consumer::new(client.clone());
//! consumer.subscribe(&["letters"])?;
//! for record in consumer.poll(Duration::from_secs(1)).await? {
//!     println!("{}-{} {}: {:?}", record.topic, record.partition, record.offset, record.value);
//! }
//! // Of a compacted topic, say: what a key's newest record is, without reading the rest.
//! if let Some(record) = client.latest("letters", b"greeting").await? {
//!     println!("{:?}", record.value);
//! }
//! consumer.commit_sync().await?;
//! consumer.close().await?;
//! producer.close().await
//! # }
//! ```
//!
//! What it does not do yet: transactions, the consumer protocol of KIP-848, share groups, TLS and
//! SASL, fetch sessions, rack-aware fetching.
//!
//! Cores hold no I/O, no clock and no randomness: [`metadata`], [`producer`], [`consumer`]. What
//! they decide is carried out by [`net`], the only module that names tokio.
//!
//! Invariants:
//! - I1: whatever bytes a broker sends, nothing here panics, and memory grows with the bytes that
//!   came, not with what they claim.
//! - I2: every wait has a deadline from the options.
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
pub use consumer::look_up::LookedUp;
pub use error::{ApiError, Error, Result};
pub use net::{Client, Consumer, Delivery, Producer, Start, To};
pub use options::Options;
pub use producer::{Record, RecordMetadata};
pub use topic_partition::TopicPartition;
