//! Records of the metadata log: a value is a frame version (1), the record type and the record
//! version, all unsigned variable-length integers, then the record's body. Keys are null.

use std::borrow::Cow;

use messages::Message;
use wire::{Bytes, DecodeError, EncodeError, Reader, Writer};

macro_rules! records {
    ($($name:ident: $message:ident,)*) => {
        /// Any record of the metadata log.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Record { $($name(messages::$message),)* }

        impl Record {
            /// The record's type id.
            pub fn type_id(&self) -> i16 {
                match self { $(Self::$name(_) => messages::$message::KEY,)* }
            }

            fn write_body(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self { $(Self::$name(body) => body.encode(w, version),)* }
            }

            fn read_body(id: u32, version: i16, r: &mut Reader) -> Result<Self, DecodeError> {
                $(
                    if id == messages::$message::KEY as u32 {
                        let (first, last) = messages::$message::VERSIONS;
                        if !(first..=last).contains(&version) {
                            return Err(r.error("metadata record of an unknown version"));
                        }
                        return Ok(Self::$name(messages::$message::decode(r, version)?));
                    }
                )*
                Err(r.error("metadata record of an unknown type"))
            }
        }
    };
}

records! {
    RegisterBroker: RegisterBrokerRecord,
    UnregisterBroker: UnregisterBrokerRecord,
    Topic: TopicRecord,
    Partition: PartitionRecord,
    Config: ConfigRecord,
    PartitionChange: PartitionChangeRecord,
    FenceBroker: FenceBrokerRecord,
    UnfenceBroker: UnfenceBrokerRecord,
    RemoveTopic: RemoveTopicRecord,
    DelegationToken: DelegationTokenRecord,
    UserScramCredential: UserScramCredentialRecord,
    FeatureLevel: FeatureLevelRecord,
    ClientQuota: ClientQuotaRecord,
    ProducerIds: ProducerIdsRecord,
    BrokerRegistrationChange: BrokerRegistrationChangeRecord,
    AccessControlEntry: AccessControlEntryRecord,
    RemoveAccessControlEntry: RemoveAccessControlEntryRecord,
    NoOp: NoOpRecord,
    ZkMigrationState: ZkMigrationStateRecord,
    RemoveUserScramCredential: RemoveUserScramCredentialRecord,
    BeginTransaction: BeginTransactionRecord,
    EndTransaction: EndTransactionRecord,
    AbortTransaction: AbortTransactionRecord,
    RemoveDelegationToken: RemoveDelegationTokenRecord,
    RegisterController: RegisterControllerRecord,
    ClearElr: ClearElrRecord,
    UnregisterController: UnregisterControllerRecord,
}

impl Record {
    /// The version in which this record is written at a level of `metadata.version`.
    fn version(&self, metadata_version: i16) -> i16 {
        match self {
            Self::RegisterBroker(_) => match metadata_version {
                ..8 => 1,
                8..17 => 2,
                17..30 => 3,
                30.. => 4,
            },
            Self::Partition(_) | Self::PartitionChange(_) => match metadata_version {
                ..17 => 0,
                17..23 => 1,
                23.. => 2,
            },
            // Written in the lowest version that carries its fields, as Apache Kafka does.
            Self::BrokerRegistrationChange(change) => {
                if change.cordoned_log_dirs.is_some() {
                    3
                } else if !change.log_dirs.is_empty() {
                    2
                } else if change.in_controlled_shutdown != 0 {
                    1
                } else {
                    0
                }
            }
            _ => 0,
        }
    }

    /// Leaves out what a level of `metadata.version` has no word for.
    fn lowered(&self, metadata_version: i16) -> Cow<'_, Self> {
        let no_directories = metadata_version < 17;
        let no_elr = metadata_version < 23;
        let no_cordons = metadata_version < 30;
        let mut lowered = Cow::Borrowed(self);
        match self {
            Self::RegisterBroker(_) if no_cordons => {
                if let Self::RegisterBroker(broker) = lowered.to_mut() {
                    broker.cordoned_log_dirs = None;
                    if no_directories {
                        broker.log_dirs.clear();
                    }
                }
            }
            Self::Partition(_) if no_elr => {
                if let Self::Partition(partition) = lowered.to_mut() {
                    partition.eligible_leader_replicas = None;
                    partition.last_known_elr = None;
                    if no_directories {
                        partition.directories.clear();
                    }
                }
            }
            Self::PartitionChange(_) if no_elr => {
                if let Self::PartitionChange(change) = lowered.to_mut() {
                    change.eligible_leader_replicas = None;
                    change.last_known_elr = None;
                    if no_directories {
                        change.directories = None;
                    }
                }
            }
            _ => {}
        }
        lowered
    }

    /// The record's value in the log of a cluster at that level of `metadata.version`.
    ///
    /// # Errors
    /// A field is set that the version can't carry.
    pub fn to_value(&self, metadata_version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        let version = self.version(metadata_version);
        writer.uvarint(FRAME_VERSION);
        writer.uvarint(self.type_id() as u32);
        writer.uvarint(version as u32);
        self.lowered(metadata_version).write_body(&mut writer, version)?;
        Ok(writer.finish().to_bytes())
    }

    /// Reads a record's value. Unknown types, unknown versions and left-over bytes are errors:
    /// metadata that is not understood must not be ignored.
    ///
    /// # Errors
    /// As said.
    pub fn from_value(value: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        if reader.uvarint()? != FRAME_VERSION {
            return Err(reader.error("metadata record of an unknown frame version"));
        }
        let id = reader.uvarint()?;
        let version = reader.uvarint()?;
        let version = i16::try_from(version).map_err(|_| reader.error("record version"))?;
        let record = Self::read_body(id, version, &mut reader)?;
        reader.finish()?;
        Ok(record)
    }
}

const FRAME_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use messages::{NoOpRecord, TopicRecord};

    #[test]
    fn framing_round_trips_and_refuses_what_it_does_not_know() {
        let record = Record::Topic(TopicRecord { name: "t".into(), ..Default::default() });
        let value = record.to_value(33).unwrap();
        assert_eq!(value.first_chunk(), Some(&[1, 2, 0]));
        assert_eq!(Record::from_value(value.clone()), Ok(record));
        let mut longer = value.to_vec();
        longer.push(0);
        assert!(Record::from_value(longer.into()).is_err());
        let value = Record::NoOp(NoOpRecord::default()).to_value(33).unwrap();
        assert_eq!(value.as_ref(), [1, 20, 0, 0]);
        assert!(Record::from_value(Bytes::from_static(&[1, 99, 0, 0])).is_err());
        assert!(Record::from_value(Bytes::from_static(&[1, 20, 7, 0])).is_err());
    }
    #[test]
    fn older_clusters_get_records_their_readers_know() {
        let partition = Record::Partition(messages::PartitionRecord {
            partition_id: 0,
            directories: vec![wire::Uuid(200)],
            eligible_leader_replicas: Some(vec![1]),
            ..Default::default()
        });
        for (level, version, directories, elr) in
            [(33, 2, true, true), (22, 1, true, false), (16, 0, false, false)]
        {
            let value = partition.to_value(level).unwrap();
            assert_eq!(value.first_chunk(), Some(&[1, 3, version]));
            let Ok(Record::Partition(read)) = Record::from_value(value) else { panic!() };
            assert_eq!(!read.directories.is_empty(), directories, "{level}");
            assert_eq!(read.eligible_leader_replicas.is_some(), elr, "{level}");
        }
    }
}
