//! Snapshots of the metadata: one image as records, and the file that holds them.
//!
//! A snapshot is named by the offset before which it holds everything and the epoch of the record
//! before that offset: `<20 digits>-<10 digits>.checkpoint` beside the log. Its content is a log of
//! its own, from offset 0: a control batch that begins it (and states the quorum, if the log does),
//! the records of the image in an order in which each finds what it refers to, and a control batch
//! that ends it. A file without its end is not a snapshot.
//!
//! Invariants:
//! - I1: replaying the records of an image into an empty one gives an equal image.
//! - I2: the records are those a cluster at the image's `metadata.version` can read.

use messages::{
    ClientQuotaRecord, ConfigRecord, FeatureLevelRecord, KRaftVersionRecord, Message,
    PartitionRecord, ProducerIdsRecord, SnapshotFooterRecord, SnapshotHeaderRecord, TopicRecord,
    VotersRecord,
};
use wire::Bytes;
use wire::batch::Batches;
use wire::record::{BatchBuilder, BatchOptions, ControlKind, RecordIter};

pub use raft::SnapshotId;

use crate::image::{Image, METADATA_VERSION};
use crate::record::Record;

/// What a log states about its quorum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuorumStatement {
    /// `kraft.version`: 1 if the log holds its voters (KIP-853).
    pub kraft_version: i16,
    /// The voters, if the log holds them.
    pub voters: Option<VotersRecord>,
}

/// The file of a snapshot.
///
/// `last_timestamp_ms` is the time of the last record it holds.
///
/// # Errors
/// A record that can't be encoded: a mistake of ours.
pub fn write(
    image_records: &[Record],
    metadata_version: i16,
    quorum: &QuorumStatement,
    epoch: i32,
    last_timestamp_ms: i64,
    now_ms: i64,
) -> Result<Bytes, String> {
    let options = |base_offset, control| BatchOptions {
        base_offset,
        control,
        leader_epoch: epoch,
        ..Default::default()
    };
    let build = |builder: BatchBuilder| builder.build().map_err(|error| error.to_string());
    let mut file = Vec::new();
    let mut head = BatchBuilder::new(options(0, true));
    let header = SnapshotHeaderRecord {
        last_contained_log_timestamp: last_timestamp_ms,
        ..Default::default()
    };
    push_control(&mut head, ControlKind::SnapshotHeader, &header, now_ms)?;
    push_quorum(&mut head, quorum, now_ms)?;
    let mut offset = i64::from(head.count());
    file.extend_from_slice(&build(head)?);
    let mut at = 0;
    while at < image_records.len() {
        let mut body = BatchBuilder::new(options(offset, false));
        while let Some(record) = image_records.get(at) {
            let value = record.to_value(metadata_version).map_err(|error| error.to_string())?;
            body.push(now_ms, None, Some(&value), &[]);
            at += 1;
            if body.count() >= BATCH_RECORDS || body.size_in_bytes() >= BATCH_BYTES {
                break;
            }
        }
        offset += i64::from(body.count());
        file.extend_from_slice(&build(body)?);
    }
    let mut foot = BatchBuilder::new(options(offset, true));
    let footer = SnapshotFooterRecord::default();
    push_control(&mut foot, ControlKind::SnapshotFooter, &footer, now_ms)?;
    file.extend_from_slice(&build(foot)?);
    Ok(file.into())
}

/// The time of the last record that a snapshot's file holds, if it can be read.
pub fn last_timestamp_ms(file: &Bytes) -> Option<i64> {
    let (_, batch) = Batches::new(file.clone()).next()?.ok()?;
    let record = RecordIter::open(&batch, BATCH_BYTES).ok()?.next()?.ok()?;
    let header = SnapshotHeaderRecord::from_bytes(record.value?, 0).ok()?;
    Some(header.last_contained_log_timestamp)
}

/// Adds the records with which a log states its quorum, if it does.
///
/// # Errors
/// A record that can't be encoded: a mistake of ours.
pub fn push_quorum(
    builder: &mut BatchBuilder,
    quorum: &QuorumStatement,
    now_ms: i64,
) -> Result<(), String> {
    if quorum.kraft_version == 0 {
        return Ok(());
    }
    let version = KRaftVersionRecord { k_raft_version: quorum.kraft_version, ..Default::default() };
    push_control(builder, ControlKind::KRaftVersion, &version, now_ms)?;
    match &quorum.voters {
        Some(voters) => push_control(builder, ControlKind::KRaftVoters, voters, now_ms),
        None => Ok(()),
    }
}

/// Adds one control record.
///
/// # Errors
/// A record that can't be encoded: a mistake of ours.
pub fn push_control<M: Message>(
    builder: &mut BatchBuilder,
    kind: ControlKind,
    body: &M,
    now_ms: i64,
) -> Result<(), String> {
    let value = body.to_bytes(0).map_err(|error| error.to_string())?;
    builder.push_control(now_ms, kind, &value);
    Ok(())
}

/// The records that add up to an image.
pub fn records(image: &Image) -> Vec<Record> {
    let mut records = Vec::new();
    let feature = |(name, level): (&String, &i16)| {
        Record::FeatureLevel(FeatureLevelRecord {
            name: name.clone(),
            feature_level: *level,
            ..Default::default()
        })
    };
    // Readers learn from the first record how to read the others.
    let (first, others): (Vec<_>, Vec<_>) =
        image.features.iter().partition(|(name, _)| *name == METADATA_VERSION);
    records.extend(first.into_iter().chain(others).map(feature));
    let registrations = image.brokers.values().map(|broker| broker.registration.clone());
    records.extend(registrations.map(Record::RegisterBroker));
    records.extend(image.controllers.values().cloned().map(Record::RegisterController));
    push_topics(image, &mut records);
    for ((resource_type, resource_name), values) in &image.configs {
        for (name, value) in values {
            records.push(Record::Config(ConfigRecord {
                resource_type: *resource_type,
                resource_name: resource_name.clone(),
                name: name.clone(),
                value: Some(value.clone()),
                ..Default::default()
            }));
        }
    }
    push_quotas(image, &mut records);
    if image.next_producer_id > 0 {
        records.push(Record::ProducerIds(ProducerIdsRecord {
            broker_id: -1,
            broker_epoch: -1,
            next_producer_id: image.next_producer_id,
            ..Default::default()
        }));
    }
    records.extend(image.acls.values().cloned().map(Record::AccessControlEntry));
    records.extend(image.scram.values().cloned().map(Record::UserScramCredential));
    records.extend(image.tokens.values().cloned().map(Record::DelegationToken));
    records
}

fn push_topics(image: &Image, records: &mut Vec<Record>) {
    let some = |list: &Vec<i32>| (!list.is_empty()).then(|| list.clone());
    for topic in image.topics.values() {
        records.push(Record::Topic(TopicRecord {
            name: topic.name.to_string(),
            topic_id: topic.id,
            ..Default::default()
        }));
        for (index, partition) in topic.partitions.iter().enumerate() {
            records.push(Record::Partition(PartitionRecord {
                partition_id: index as i32,
                topic_id: topic.id,
                replicas: partition.replicas.clone(),
                isr: partition.isr.clone(),
                removing_replicas: partition.rare().removing.clone(),
                adding_replicas: partition.rare().adding.clone(),
                leader: partition.leader,
                leader_recovery_state: partition.recovery_state,
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                directories: partition.directories.clone(),
                eligible_leader_replicas: some(&partition.rare().elr),
                last_known_elr: some(&partition.rare().last_known_elr),
                ..Default::default()
            }));
        }
    }
}

fn push_quotas(image: &Image, records: &mut Vec<Record>) {
    use messages::client_quota_record::EntityData;
    for (entity, values) in &image.quotas {
        let parts = entity.iter().map(|(entity_type, entity_name)| EntityData {
            entity_type: entity_type.clone(),
            entity_name: entity_name.clone(),
            ..Default::default()
        });
        let parts: Vec<EntityData> = parts.collect();
        for (key, value) in values {
            records.push(Record::ClientQuota(ClientQuotaRecord {
                entity: parts.clone(),
                key: key.clone(),
                value: *value,
                remove: false,
                ..Default::default()
            }));
        }
    }
}

/// As many records as Apache Kafka puts into a batch of a snapshot.
const BATCH_RECORDS: i32 = 1024;
/// A batch is closed when it is this large; readers take 8 MiB.
const BATCH_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Loader;
    use messages::{
        AccessControlEntryRecord, BrokerRegistrationChangeRecord, RegisterBrokerRecord,
        RegisterControllerRecord,
    };
    use wire::Uuid;

    fn full_image() -> Image {
        let mut image = Image::default();
        let mut history = crate::controller::features();
        history.push(Record::RegisterBroker(RegisterBrokerRecord {
            broker_id: 1,
            log_dirs: vec![Uuid(500)],
            ..Default::default()
        }));
        history.push(Record::RegisterController(RegisterControllerRecord {
            controller_id: 1,
            ..Default::default()
        }));
        history.push(Record::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            broker_id: 1,
            fenced: -1,
            cordoned_log_dirs: Some(Vec::new()),
            ..Default::default()
        }));
        for topic in 200..1500 {
            history.push(Record::Topic(TopicRecord {
                name: format!("t{topic}"),
                topic_id: Uuid(topic),
                ..Default::default()
            }));
            history.push(Record::Partition(PartitionRecord {
                partition_id: 0,
                topic_id: Uuid(topic),
                replicas: vec![1],
                leader_epoch: 3,
                partition_epoch: 4,
                directories: vec![Uuid(500)],
                eligible_leader_replicas: Some(vec![1]),
                ..Default::default()
            }));
        }
        history.push(Record::Config(ConfigRecord {
            resource_type: 2,
            resource_name: "t200".into(),
            name: "retention.ms".into(),
            value: Some("5".into()),
            ..Default::default()
        }));
        history.push(Record::ClientQuota(ClientQuotaRecord {
            entity: vec![messages::client_quota_record::EntityData {
                entity_type: "user".into(),
                entity_name: None,
                ..Default::default()
            }],
            key: "producer_byte_rate".into(),
            value: 1.5,
            ..Default::default()
        }));
        history.push(Record::ProducerIds(ProducerIdsRecord {
            next_producer_id: 3000,
            ..Default::default()
        }));
        history.push(Record::AccessControlEntry(AccessControlEntryRecord {
            id: Uuid(777),
            ..Default::default()
        }));
        for record in &history {
            image.replay(record).unwrap();
        }
        image
    }

    fn load(file: &Bytes) -> Result<Loader, String> {
        let mut loader = Loader::default();
        loader.snapshot(file).map_err(|error| error.to_string())?;
        Ok(loader)
    }

    #[test]
    fn an_image_survives_its_snapshot() {
        let image = full_image();
        let quorum = QuorumStatement {
            kraft_version: 1,
            voters: Some(VotersRecord { voters: Vec::new(), ..Default::default() }),
        };
        let file = write(&records(&image), 33, &quorum, 4, 77, 99).unwrap();
        let loader = load(&file).unwrap();
        assert!(loader.image == image);
        assert_eq!(loader.quorum(), quorum);
        assert_eq!(loader.last_timestamp_ms, 77);
        assert_eq!(last_timestamp_ms(&file), Some(77));
    }

    #[test]
    fn a_snapshot_without_its_end_or_with_a_flipped_bit_is_refused() {
        let file =
            write(&records(&full_image()), 33, &QuorumStatement::default(), 4, 0, 0).unwrap();
        let footer = 61 + 15;
        for len in [0, 50, 61, file.len() / 2, file.len() - footer, file.len() - 1] {
            assert!(load(&file.slice(..len)).is_err(), "{len} of {}", file.len());
        }
        for at in [70, file.len() / 2, file.len() - 5] {
            let mut flipped = file.to_vec();
            flipped[at] ^= 4;
            assert!(load(&flipped.into()).is_err(), "{at}");
        }
    }
}
