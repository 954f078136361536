//! Records of the metadata log: a value is a frame version (1), the record type and the record
//! version, all unsigned variable-length integers, then the record's body. Keys are null.

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
    /// The version in which this record is written at the newest metadata version (4.4-IV2).
    fn version(&self) -> i16 {
        match self {
            Self::RegisterBroker(_) => 4,
            Self::Partition(_) | Self::PartitionChange(_) => 2,
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

    /// The record's value in the log.
    ///
    /// # Errors
    /// A field is set that the version can't carry.
    pub fn to_value(&self) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        let version = self.version();
        writer.uvarint(FRAME_VERSION);
        writer.uvarint(self.type_id() as u32);
        writer.uvarint(version as u32);
        self.write_body(&mut writer, version)?;
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
        let value = record.to_value().unwrap();
        assert_eq!(value.first_chunk(), Some(&[1, 2, 0]));
        assert_eq!(Record::from_value(value.clone()), Ok(record));
        let mut longer = value.to_vec();
        longer.push(0);
        assert!(Record::from_value(longer.into()).is_err());
        let value = Record::NoOp(NoOpRecord::default()).to_value().unwrap();
        assert_eq!(value.as_ref(), [1, 20, 0, 0]);
        assert!(Record::from_value(Bytes::from_static(&[1, 99, 0, 0])).is_err());
        assert!(Record::from_value(Bytes::from_static(&[1, 20, 7, 0])).is_err());
    }
}
