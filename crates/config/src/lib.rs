//! Configuration keys as data: each is one row with its type, default and range.
//!
//! Owns: the table of topic keys ([`topic`]) and the typed values behind it. Names and defaults
//! are Apache Kafka's; where a default of ours differs the row says so.

pub mod topic;
pub mod value;

pub use topic::TopicConfig;
pub use value::{Invalid, Kind};
