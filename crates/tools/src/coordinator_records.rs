//! What the records of coordinators say: those of `__consumer_offsets`, `__transaction_state` and
//! `__share_group_state`, as the JSON of Apache Kafka's converters.
//!
//! Owns: which types of records there are in which topic, and how a record becomes JSON. How that
//! is framed and what is said of records that can't be read is for the tool that shows them.

use messages::json;
use messages::schema::Message;
use serde_json::Value;
use wire::{Bytes, DecodeError, Reader};

use crate::java::{ByteField, message_json, message_json_with};

/// Types and names (without Key and Value) of the records of a topic.
pub(crate) type Records = &'static [(i16, &'static str)];

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Its type.
    pub kind: i16,
    /// The JSON of its key.
    pub key: String,
    /// The version and JSON of its value; none of a tombstone.
    pub value: Option<(i16, String)>,
}

/// Why a record can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Its type is none of the topic's.
    Type(i16),
    /// In the words of Apache Kafka's classes as far as they don't quote its runtime.
    Other(String),
}

/// Reads a record. What `bytes` knows better replaces byte fields of the value.
pub(crate) fn show(
    records: Records,
    key: &Bytes,
    value: Option<&Bytes>,
    bytes: impl Fn(&Message, &Value) -> Option<ByteField<'static>>,
) -> Result<Shown, Unread> {
    let version_of = |reader: &mut Reader, name: &str| {
        let missing = |_| Unread::Other(format!("Could not read version from {name}'s buffer."));
        reader.i16().map_err(missing)
    };
    let mut reader = Reader::new(key.clone());
    let kind = version_of(&mut reader, "key")?;
    let (_, name) = records.iter().find(|(id, _)| *id == kind).ok_or(Unread::Type(kind))?;
    let schema = |suffix: &str| {
        Message::find(&format!("{name}{suffix}"))
            .ok_or_else(|| Unread::Other(format!("no schema of {name}{suffix}")))
    };
    let unread = |version: i16, part: &str, error: DecodeError| {
        // Where bytes are missing, Java's exception has no words.
        let error = match error.what {
            "frame too short" => "null".to_owned(),
            _ => error.to_string(),
        };
        Unread::Other(format!(
            "Could not read record with version {version} from {part}'s buffer due to: {error}."
        ))
    };
    let schema_of_key = schema("Key")?;
    let data = json::read(schema_of_key, 0, &mut reader).map_err(|e| unread(kind, "key", e))?;
    let key = message_json(schema_of_key, &data);
    let Some(value) = value else { return Ok(Shown { kind, key, value: None }) };
    let mut reader = Reader::new(value.clone());
    let version = version_of(&mut reader, "value")?;
    let schema = schema("Value")?;
    if !schema.versions.contains(version) {
        let text = format!("Found an unknown record version {version} for {kind} type");
        return Err(Unread::Other(text));
    }
    let data = json::read(schema, version, &mut reader).map_err(|e| unread(version, "value", e))?;
    let data = match bytes(schema, &data) {
        Some(bytes) => message_json_with(schema, &data, bytes),
        None => message_json(schema, &data),
    };
    Ok(Shown { kind, key, value: Some((version, data)) })
}

/// The records of `__consumer_offsets`.
pub(crate) const OFFSETS: Records = &[
    (0, "LegacyOffsetCommit"),
    (1, "OffsetCommit"),
    (2, "GroupMetadata"),
    (3, "ConsumerGroupMetadata"),
    (4, "ConsumerGroupPartitionMetadata"),
    (5, "ConsumerGroupMemberMetadata"),
    (6, "ConsumerGroupTargetAssignmentMetadata"),
    (7, "ConsumerGroupTargetAssignmentMember"),
    (8, "ConsumerGroupCurrentMemberAssignment"),
    (10, "ShareGroupMemberMetadata"),
    (11, "ShareGroupMetadata"),
    (12, "ShareGroupTargetAssignmentMetadata"),
    (13, "ShareGroupTargetAssignmentMember"),
    (14, "ShareGroupCurrentMemberAssignment"),
    (15, "ShareGroupStatePartitionMetadata"),
    (16, "ConsumerGroupRegularExpression"),
    (17, "StreamsGroupMetadata"),
    (19, "StreamsGroupMemberMetadata"),
    (20, "StreamsGroupTargetAssignmentMetadata"),
    (21, "StreamsGroupTargetAssignmentMember"),
    (22, "StreamsGroupCurrentMemberAssignment"),
    (23, "StreamsGroupTopology"),
];
/// The records of `__transaction_state`.
pub(crate) const TRANSACTIONS: Records = &[(0, "TransactionLog")];
/// The records of `__share_group_state`.
pub(crate) const SHARE_STATE: Records = &[(0, "ShareSnapshot"), (1, "ShareUpdate")];
