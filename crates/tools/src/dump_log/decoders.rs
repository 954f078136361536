//! What records of internal topics say, in Apache Kafka's JSON.
//!
//! The texts about records that can't be read go to standard output, so they are Apache Kafka's
//! as far as they don't quote its runtime.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use messages::schema::{ALL, Kind, Message};
use messages::{
    Message as _, RemoteLogSegmentMetadataRecord, RemoteLogSegmentMetadataSnapshotRecord,
    RemoteLogSegmentMetadataUpdateRecord, RemotePartitionDeleteMetadataRecord, json,
};
use serde_json::Value;
use wire::{Bytes, Reader, Uuid};

use super::batches::Record;
use crate::coordinator_records::{self, OFFSETS, Records, SHARE_STATE, TRANSACTIONS, Unread};
use crate::java::{ByteField, message_json};

/// How keys and values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    /// By class, for topics of applications.
    Plain {
        /// Keys.
        key: Plain,
        /// Values.
        value: Plain,
    },
    /// `__consumer_offsets`.
    Offsets,
    /// `__transaction_state`.
    Transactions,
    /// `__share_group_state`.
    ShareState,
    /// `__cluster_metadata`.
    ClusterMetadata,
    /// `__remote_log_metadata`.
    RemoteLogMetadata,
}

/// A decoder class of Apache Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// UTF-8.
    Text,
    /// Four bytes; more are ignored.
    Integer,
    /// Eight bytes; more are ignored.
    Long,
    /// Not decoded.
    Bytes,
}

impl Plain {
    fn show(self, bytes: &Bytes) -> Result<String, String> {
        let mut reader = Reader::new(bytes.clone());
        let short = |_| format!("{} bytes are too few for a number", bytes.len());
        match self {
            Self::Text => Ok(String::from_utf8_lossy(bytes).into_owned()),
            Self::Integer => reader.i32().map(|number| number.to_string()).map_err(short),
            Self::Long => reader.i64().map(|number| number.to_string()).map_err(short),
            Self::Bytes => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }
}

/// Key and value to print.
pub(super) type Shown = (Option<String>, Option<String>);

impl Decoder {
    /// What to print of a record; the error is one that ends the dump.
    pub fn show(self, record: &Record) -> Result<Shown, String> {
        let records = match self {
            Self::Plain { key, value } => {
                let shown = |plain: Plain, bytes: &Option<Bytes>| {
                    bytes.as_ref().map(|bytes| plain.show(bytes)).transpose()
                };
                return Ok((shown(key, &record.key)?, shown(value, &record.value)?));
            }
            Self::ClusterMetadata => {
                let shown = cluster_metadata(record);
                let at = record.offset;
                let shown =
                    shown.unwrap_or_else(|error| format!("Error at {at}, skipping. {error}"));
                return Ok((None, Some(shown)));
            }
            Self::RemoteLogMetadata => {
                let shown = remote_log_metadata(record);
                let at = record.offset;
                let shown = shown
                    .unwrap_or_else(|error| format!("Error at offset {at}, skipping. {error}"));
                return Ok((None, Some(shown)));
            }
            Self::Offsets => OFFSETS,
            Self::Transactions => TRANSACTIONS,
            Self::ShareState => SHARE_STATE,
        };
        let Some(key) = &record.key else {
            return Err(format!("the record at offset {} has no key to decode", record.offset));
        };
        let at = record.offset;
        Ok(match coordinator(records, key, record.value.as_ref()) {
            Ok(shown) => shown,
            Err(Unread::Type(kind)) => {
                (Some(format!("Unknown record type {kind} at offset {at}, skipping.")), None)
            }
            Err(Unread::Other(error)) => {
                (Some(format!("Error at offset {at}, skipping. {error}")), None)
            }
        })
    }
}

fn coordinator(records: Records, key: &Bytes, value: Option<&Bytes>) -> Result<Shown, Unread> {
    let shown = coordinator_records::show(records, key, value, |schema, data| {
        let protocol = data.get("protocolType").and_then(Value::as_str);
        let consumers = schema.name == "GroupMetadataValue" && protocol == Some("consumer");
        consumers.then_some(&consumer_protocol as ByteField<'static>)
    })?;
    let key = format!("{{\"type\":\"{}\",\"data\":{}}}", shown.kind, shown.key);
    let value = match shown.value {
        None => "<DELETE>".into(),
        Some((version, data)) => format!("{{\"version\":\"{version}\",\"data\":{data}}}"),
    };
    Ok((Some(key), Some(value)))
}

/// Classic consumers keep messages of a protocol of theirs in the group's record.
fn consumer_protocol(field: &str, value: &Value) -> Option<String> {
    let schema = Message::find(match field {
        "subscription" => "ConsumerProtocolSubscription",
        "assignment" => "ConsumerProtocolAssignment",
        _ => return None,
    })?;
    let mut reader = Reader::new(json::unbase64(value.as_str()?)?);
    let version = reader.i16().ok()?;
    if !schema.versions.contains(version) {
        return None;
    }
    let data = json::read(schema, version, &mut reader).ok()?;
    Some(message_json(schema, &data))
}

/// Frame version, type and version in front of a metadata record.
fn framed(value: Option<&Bytes>) -> Result<(i16, i16, Reader), String> {
    let mut reader = Reader::new(value.cloned().unwrap_or_default());
    let mut number = |entity: &str| {
        let number = reader.uvarint().map_err(|_| format!("Error while reading {entity}"))?;
        i16::try_from(number).map_err(|_| format!("Value for {entity} was too large."))
    };
    match number("frame version")? {
        1 => {}
        0 => {
            return Err("Could not deserialize metadata record with frame version 0. Note that \
                        upgrades from the preview release of KRaft in 2.8 to newer versions are \
                        not supported."
                .into());
        }
        other => {
            return Err(format!(
                "Could not deserialize metadata record due to unknown frame version {other}(only \
                 frame version 1 is supported)"
            ));
        }
    }
    let (kind, version) = (number("type")?, number("version")?);
    Ok((kind, version, reader))
}

/// The schema of a record in a metadata log or the remote log's metadata topic.
fn schema_of(kind: i16, remote: bool) -> Result<&'static Message, String> {
    let found = ALL.iter().copied().find(|message| {
        message.kind == Kind::Metadata
            && message.key == Some(kind)
            && message.name.starts_with("Remote") == remote
    });
    found.ok_or_else(|| {
        format!(
            "org.apache.kafka.common.errors.UnsupportedVersionException: Unknown metadata id {kind}"
        )
    })
}

fn cluster_metadata(record: &Record) -> Result<String, String> {
    let (kind, version, mut reader) = framed(record.value.as_ref())?;
    let schema = schema_of(kind, false)?;
    let data = json::read(schema, version, &mut reader)
        .ok()
        .filter(|_| schema.versions.contains(version))
        .ok_or_else(|| format!("Failed to deserialize record with type {kind}"))?;
    if reader.remaining() > 0 {
        return Err(format!("Found {} byte(s) of garbage after {kind}", reader.remaining()));
    }
    let (name, data) = (constant(schema.name), message_json(schema, &data));
    Ok(format!("{{\"type\":\"{name}\",\"version\":{version},\"data\":{data}}}"))
}

/// `TopicRecord` as Java's constants are written: `TOPIC_RECORD`.
fn constant(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

fn remote_log_metadata(record: &Record) -> Result<String, String> {
    let (kind, version, mut reader) = framed(record.value.as_ref())?;
    schema_of(kind, true)?;
    let body = reader.rest();
    let unread = |_| format!("Failed to deserialize record with type {kind}");
    match kind {
        0 => RemoteLogSegmentMetadataRecord::from_bytes(body, version)
            .map_err(unread)
            .and_then(|segment| remote_segment(&segment)),
        1 => RemoteLogSegmentMetadataUpdateRecord::from_bytes(body, version)
            .map_err(unread)
            .map(|update| remote_update(&update)),
        2 => RemotePartitionDeleteMetadataRecord::from_bytes(body, version).map_err(unread).map(
            |deleted| {
                let topic = &deleted.topic_id_partition;
                format!(
                    "RemotePartitionDeleteMetadata{{topicPartition={}:{}-{}, state={}, \
                     eventTimestampMs={}, brokerId={}}}",
                    topic.id,
                    topic.name,
                    topic.partition,
                    state(PARTITION_STATES, deleted.remote_partition_delete_state),
                    deleted.event_timestamp_ms,
                    deleted.broker_id
                )
            },
        ),
        _ => RemoteLogSegmentMetadataSnapshotRecord::from_bytes(body, version)
            .map_err(unread)
            .and_then(|snapshot| remote_snapshot(&snapshot)),
    }
}

fn remote_segment(segment: &RemoteLogSegmentMetadataRecord) -> Result<String, String> {
    let id = &segment.remote_log_segment_id;
    let topic = &id.topic_id_partition;
    let epochs = segment.segment_leader_epochs.iter().map(|at| (at.leader_epoch, at.offset));
    Ok(format!(
        "RemoteLogSegmentMetadata{{remoteLogSegmentId={}, startOffset={}, endOffset={}, \
         brokerId={}, maxTimestampMs={}, eventTimestampMs={}, segmentLeaderEpochs={}, \
         segmentSizeInBytes={}, customMetadata={}, state={}, txnIdxEmpty={}}}",
        segment_id(topic.id, &topic.name, topic.partition, id.id),
        segment.start_offset,
        segment.end_offset,
        segment.broker_id,
        segment.max_timestamp_ms,
        segment.event_timestamp_ms,
        leader_epochs(epochs)?,
        segment.segment_size_in_bytes,
        custom(segment.custom_metadata.as_ref()),
        state(SEGMENT_STATES, segment.remote_log_segment_state),
        segment.txn_index_empty
    ))
}

fn remote_update(update: &RemoteLogSegmentMetadataUpdateRecord) -> String {
    let id = &update.remote_log_segment_id;
    let topic = &id.topic_id_partition;
    format!(
        "RemoteLogSegmentMetadataUpdate{{remoteLogSegmentId={}, customMetadata={}, state={}, \
         eventTimestampMs={}, brokerId={}}}",
        segment_id(topic.id, &topic.name, topic.partition, id.id),
        custom(update.custom_metadata.as_ref()),
        state(SEGMENT_STATES, update.remote_log_segment_state),
        update.event_timestamp_ms,
        update.broker_id
    )
}

fn remote_snapshot(snapshot: &RemoteLogSegmentMetadataSnapshotRecord) -> Result<String, String> {
    let epochs = snapshot.segment_leader_epochs.iter().map(|at| (at.leader_epoch, at.offset));
    Ok(format!(
        "RemoteLogSegmentMetadataSnapshot{{segmentId={}, startOffset={}, endOffset={}, \
         maxTimestampMs={}, segmentLeaderEpochs={}, segmentSizeInBytes={}, customMetadata={}, \
         state={}, txnIdxEmpty={}}}",
        snapshot.segment_id,
        snapshot.start_offset,
        snapshot.end_offset,
        snapshot.max_timestamp_ms,
        leader_epochs(epochs)?,
        snapshot.segment_size_in_bytes,
        custom(snapshot.custom_metadata.as_ref()),
        state(SEGMENT_STATES, snapshot.remote_log_segment_state),
        snapshot.txn_index_empty
    ))
}

fn segment_id(topic_id: Uuid, topic: &str, partition: i32, id: Uuid) -> String {
    format!("RemoteLogSegmentId{{topicIdPartition={topic_id}:{topic}-{partition}, id={id}}}")
}

fn leader_epochs(epochs: impl Iterator<Item = (i32, i64)>) -> Result<String, String> {
    let epochs: BTreeMap<i32, i64> = epochs.collect();
    if epochs.is_empty() {
        return Err("segmentLeaderEpochs can not be null or empty".into());
    }
    let mut text = String::from("{");
    for (index, (epoch, offset)) in epochs.into_iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let _ = write!(text, "{comma}{epoch}={offset}");
    }
    text.push('}');
    Ok(text)
}

fn custom(metadata: Option<&Bytes>) -> String {
    match metadata {
        Some(bytes) => format!("Optional[CustomMetadata{{{} bytes}}]", bytes.len()),
        None => "Optional.empty".into(),
    }
}

fn state(names: &[&'static str], id: i8) -> &'static str {
    usize::try_from(id).ok().and_then(|id| names.get(id)).copied().unwrap_or("null")
}

const SEGMENT_STATES: &[&str] = &[
    "COPY_SEGMENT_STARTED",
    "COPY_SEGMENT_FINISHED",
    "DELETE_SEGMENT_STARTED",
    "DELETE_SEGMENT_FINISHED",
];
const PARTITION_STATES: &[&str] =
    &["DELETE_PARTITION_MARKED", "DELETE_PARTITION_STARTED", "DELETE_PARTITION_FINISHED"];
