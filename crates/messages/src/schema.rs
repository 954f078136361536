//! Schemas as data: what [`crate::json`] walks, and what documentation and tools print.

pub use crate::generated::ALL;

/// An inclusive range of versions; empty if `last < first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// First version.
    pub first: i16,
    /// Last version.
    pub last: i16,
}

impl Versions {
    /// True if `version` is in the range.
    pub fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Request,
    Response,
    Header,
    Data,
    Metadata,
    CoordinatorKey,
    CoordinatorValue,
}

/// A top-level message.
#[derive(Debug)]
pub struct Message {
    /// The schema's name.
    pub name: &'static str,
    /// What it is for.
    pub kind: Kind,
    /// API key or record type.
    pub key: Option<i16>,
    /// Valid versions.
    pub versions: Versions,
    /// Versions with compact encodings and tagged fields.
    pub flexible: Versions,
    /// The last version is not stable yet.
    pub unstable: bool,
    /// The message's own fields first, then the structs nested in it.
    pub structs: &'static [Struct],
}

impl Message {
    /// The message of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        let index = ALL.binary_search_by(|message| message.name.cmp(name)).ok()?;
        ALL.get(index).copied()
    }
}

/// A group of fields.
#[derive(Debug)]
pub struct Struct {
    /// The schema's name.
    pub name: &'static str,
    /// In the order of the wire.
    pub fields: &'static [Field],
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Its JSON name.
    pub name: &'static str,
    /// Its type, or its elements' type if `array`.
    pub element: Type,
    /// A list of `element`.
    pub array: bool,
    /// Versions that have it.
    pub versions: Versions,
    /// Versions in which it may be null.
    pub nullable: Versions,
    /// Its tag and the versions in which it is a tagged field.
    pub tag: Option<(u32, Versions)>,
    /// As the schema writes it.
    pub default: Option<&'static str>,
    /// Dropped silently where a version lacks it.
    pub ignorable: bool,
    /// Never in the compact encoding.
    pub never_flexible: bool,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    String,
    Bytes,
    Records,
    Uuid,
    /// Index into [`Message::structs`].
    Struct(usize),
}
