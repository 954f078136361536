//! The records of `__consumer_offsets`: what this crate writes, and what it must survive.
//!
//! A key is an int16 type and a body, a value an int16 version and a body; no value is a
//! tombstone. Written are OffsetCommit in version 4 (1 if the client chose a retention, which only
//! that version can hold) and GroupMetadata in version 3, as Apache Kafka 4.4 does.
//!
//! Types 3 to 8 and 10 to 23 belong to consumer, share and streams groups. Of them only the three
//! that say "this group exists" are noticed, so that such a group is not taken for a classic one;
//! the rest, and types of the future, are skipped and stay in the log.

use messages::{GroupMetadataKey, GroupMetadataValue, Message, OffsetCommitKey, OffsetCommitValue};
use wire::{Bytes, DecodeError, EncodeError, Reader, Writer};

/// A record that matters here.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// An offset was committed, or forgotten.
    Offset(OffsetCommitKey, Option<OffsetCommitValue>),
    /// A group came to a new generation, or is no more.
    Group(String, Option<GroupMetadataValue>),
    /// A group of another protocol exists, or no more.
    Foreign(String, Option<ForeignKind>),
}

/// The protocol of a group that is not classic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignKind {
    /// KIP-848.
    Consumer,
    /// KIP-932.
    Share,
    /// KIP-1071.
    Streams,
}

impl ForeignKind {
    /// What ListGroups calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consumer => "Consumer",
            Self::Share => "Share",
            Self::Streams => "Streams",
        }
    }
}

/// Key and value as they are stored.
pub type Encoded = (Bytes, Option<Bytes>);

impl Record {
    /// The bytes to append.
    ///
    /// # Errors
    /// A field is too long for the format; [`Record::Foreign`] is never written.
    pub fn encode(&self) -> Result<Encoded, EncodeError> {
        match self {
            Self::Offset(key, value) => {
                let encode = |value: &OffsetCommitValue| {
                    encode_value(value, if value.expire_timestamp >= 0 { 1 } else { 4 })
                };
                Ok((encode_key(key)?, value.as_ref().map(encode).transpose()?))
            }
            Self::Group(group, value) => {
                let key = GroupMetadataKey { group: group.clone() };
                let encode = |value| encode_value(value, GROUP_METADATA_VERSION);
                Ok((encode_key(&key)?, value.as_ref().map(encode).transpose()?))
            }
            Self::Foreign(..) => Err(EncodeError { field: "Record.Foreign", version: 0 }),
        }
    }

    /// Reads a stored record; `None` is one to skip.
    ///
    /// # Errors
    /// A record of a known type that can't be read: its state would be lost silently.
    pub fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<Option<Self>, DecodeError> {
        let mut key = Reader::new(key.unwrap_or_default());
        let kind = key.i16()?;
        Ok(match kind {
            // Type 0 is the same record as Apache Kafka wrote it before 0.9.
            0 | 1 => {
                let key = OffsetCommitKey::decode(&mut key, 0)?;
                Some(Self::Offset(key, decode_value(value)?))
            }
            2 => {
                let key = GroupMetadataKey::decode(&mut key, 0)?;
                Some(Self::Group(key.group, decode_value(value)?))
            }
            3 | 11 | 17 => {
                let group = key.string(false)?;
                let found = match kind {
                    3 => ForeignKind::Consumer,
                    11 => ForeignKind::Share,
                    _ => ForeignKind::Streams,
                };
                Some(Self::Foreign(group, value.map(|_| found)))
            }
            _ => None,
        })
    }
}

fn encode_key<M: Message>(key: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(M::KEY);
    key.encode(&mut writer, 0)?;
    Ok(writer.finish().to_bytes())
}

fn encode_value<M: Message>(value: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(version);
    value.encode(&mut writer, version)?;
    Ok(writer.finish().to_bytes())
}

/// Reads a version and what follows.
///
/// # Errors
/// A version of the future, or bytes that are not of that version.
pub fn decode_value<M: Message>(value: Option<Bytes>) -> Result<Option<M>, DecodeError> {
    let Some(bytes) = value else { return Ok(None) };
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    let (first, last) = M::VERSIONS;
    if !(first..=last).contains(&version) {
        return Err(reader.error("coordinator record of an unknown version"));
    }
    let value = M::decode(&mut reader, version)?;
    reader.finish()?;
    Ok(Some(value))
}

/// The highest version without tagged fields, as Apache Kafka has it.
const GROUP_METADATA_VERSION: i16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(expire_timestamp: i64) -> Record {
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 3 };
        let value = OffsetCommitValue { offset: 7, expire_timestamp, ..Default::default() };
        Record::Offset(key, Some(value))
    }

    #[test]
    fn what_is_written_is_read_back_and_versions_are_apaches() {
        for (record, version) in [
            (offset(-1), 4),
            (offset(99), 1),
            (Record::Group("g".into(), Some(GroupMetadataValue::default())), 3),
        ] {
            let (key, value) = record.encode().unwrap();
            assert_eq!(value.as_ref().unwrap()[..2], [0, version]);
            assert_eq!(Record::decode(Some(key), value).unwrap(), Some(record));
        }
        let gone = Record::Group("g".into(), None);
        let (key, value) = gone.encode().unwrap();
        assert_eq!((&key[..], &value), (&b"\0\x02\0\x01g"[..], &None));
        assert_eq!(Record::decode(Some(key), value).unwrap(), Some(gone));
    }

    #[test]
    fn records_of_other_groups_are_noticed_or_skipped_and_damage_is_an_error() {
        let key = |kind: u8| Some(Bytes::from(vec![0, kind, 0, 1, b'g', 0, 1, b'm']));
        let value = Some(Bytes::from_static(&[0, 0, 0]));
        for kind in (4..=8).chain(10..=10).chain(12..=16).chain(18..=23).chain([99]) {
            assert_eq!(Record::decode(key(kind), value.clone()), Ok(None), "type {kind}");
        }
        let found = Record::decode(key(3), value.clone()).unwrap();
        assert_eq!(found, Some(Record::Foreign("g".into(), Some(ForeignKind::Consumer))));
        assert_eq!(Record::decode(key(17), None).unwrap(), Some(Record::Foreign("g".into(), None)));
        assert!(Record::decode(None, None).is_err());
        assert!(Record::decode(key(1), value).is_err());
        let future = Some(Bytes::from_static(&[0, 9]));
        let group = Some(Bytes::from_static(b"\0\x02\0\x01g"));
        assert!(Record::decode(group, future).is_err());
    }
}
