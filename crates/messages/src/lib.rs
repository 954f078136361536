//! Every request, response, metadata record and coordinator record of Apache Kafka 4.4.
//!
//! The types and codecs in [`generated`] are written by `cargo xtask codegen` from the compact
//! schemas in `crates/messages/schema`; a test regenerates and compares. [`json`] turns any of
//! them into JSON and back by walking the same schemas as data.
//!
//! Invariants:
//! - I1: what is decoded and encoded again in the same version is the same bytes, unknown tagged
//!   fields included.
//! - I2: a decode allocates at most a constant factor of its frame.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

#[allow(missing_docs, clippy::all, clippy::indexing_slicing)]
pub mod generated;
pub mod header;
pub mod json;
pub mod own;
pub mod schema;
pub mod tags;

pub use generated::api_key::{ApiFacts, ApiKey};
pub use generated::*;
pub use tags::UnknownTags;

use wire::{Bytes, DecodeError, EncodeError, Reader, Writer};

/// What every top-level message has.
pub trait Message: Sized + Default {
    /// The schema's name.
    const NAME: &'static str;
    /// API key or record type; -1 if it has none.
    const KEY: i16;
    /// First and last version, both inclusive.
    const VERSIONS: (i16, i16);
    /// First version with compact encodings and tagged fields (KIP-482).
    const FLEXIBLE_FROM: i16;

    /// Reads the given version.
    ///
    /// # Errors
    /// Bytes that are not such a message.
    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Writes the given version.
    ///
    /// # Errors
    /// A field that this version can't carry is set.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// Reads a whole buffer.
    ///
    /// # Errors
    /// Bytes that are not exactly such a message.
    fn from_bytes(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = Self::decode(&mut reader, version)?;
        reader.finish()?;
        Ok(message)
    }

    /// Writes a buffer of its own.
    ///
    /// # Errors
    /// A field that this version can't carry is set.
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        self.encode(&mut writer, version)?;
        Ok(writer.finish().to_bytes())
    }
}

/// Why [`transcode`] failed.
#[derive(Clone, Debug, PartialEq)]
pub enum TranscodeError {
    /// No message has that name.
    Unknown,
    /// The bytes are not such a message.
    Decode(DecodeError),
    /// The decoded message can't be written.
    Encode(EncodeError),
}

fn transcode_as<M: Message>(version: i16, bytes: Bytes) -> Result<Bytes, TranscodeError> {
    let message = M::from_bytes(bytes, version).map_err(TranscodeError::Decode)?;
    message.to_bytes(version).map_err(TranscodeError::Encode)
}

/// What generated modules use.
mod prelude {
    pub use crate::{Message, UnknownTags, schema};
    pub use std::mem::size_of;
    pub use wire::{Bytes, DecodeError, EncodeError, Reader, Uuid, Writer};
}
