//! Configuration keys as data: each is one row with its type, default and range.
//!
//! Owns: the tables of keys of a broker ([`broker`]), a topic ([`topic`]), a group ([`group`]) and
//! a client metrics subscription ([`client_metrics`]), those of a client ([`client`]), the layers a
//! value comes from ([`layers`]),
//! the operator's file ([`mod@file`]),
//! and the typed values behind them. Names and defaults are Apache Kafka's; where a default of ours
//! differs the row says so.

pub mod broker;
pub mod client;
pub mod client_metrics;
pub mod file;
pub mod group;
pub mod layers;
pub mod topic;
pub mod value;

pub use layers::{Entry, Layers, Source};
pub use topic::TopicConfig;
pub use value::{Invalid, Kind, WireType};
