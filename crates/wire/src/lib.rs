//! The bytes of Apache Kafka's protocol and files, and nothing above them.
//!
//! Owns: the primitive encodings ([`mod@read`], [`mod@write`]), ids ([`Uuid`]), the protocol's
//! error codes ([`ErrorCode`]), record batches ([`batch`], [`record`], [`walk`], [`compress`]) and
//! the small files beside a log ([`files`]).
//!
//! Invariants:
//! - I1: decoding never panics and never allocates more than a constant factor of the bytes it was
//!   given, whatever those bytes are.
//! - I2: nothing here performs I/O, reads a clock or draws a random number.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod batch;
pub mod compress;
pub mod crc32c;
pub mod error_code;
pub mod files;
pub mod read;
pub mod record;
pub mod uuid;
pub mod walk;
pub mod write;

pub use bytes::{Bytes, BytesMut};
pub use error_code::ErrorCode;
pub use read::{DecodeError, Reader};
pub use uuid::Uuid;
pub use write::{EncodeError, Frame, Gap, Writer};
