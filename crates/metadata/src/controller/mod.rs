//! Deciding: from the image and a request to the records that carry it out and the answer.
//!
//! Nothing here changes the image. The caller appends the records, replays them at once so that
//! the next decision sees them, and gives the answer when they are committed. One file a subject:
//! [`topics`], [`configs`]; what belongs to the cluster as a whole is here.

use messages::{
    BeginTransactionRecord, BrokerRegistrationChangeRecord, ConfigRecord, EndTransactionRecord,
    FeatureLevelRecord, PartitionChangeRecord, ProducerIdsRecord, RegisterBrokerRecord,
};
use wire::{ErrorCode, Uuid};

use crate::image::{Image, LEADER_UNCHANGED, METADATA_VERSION, METADATA_VERSION_MAX, resource};
use crate::record::Record;

pub mod configs;
pub mod topics;

pub use topics::{METADATA_TOPIC, check_name, create_topics};

/// What the cluster does where a request leaves it open.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
}

/// Where fresh topic ids come from: the caller owns the randomness.
pub trait IdSource {
    /// An id no other topic has; never a reserved one.
    fn next_id(&mut self) -> Uuid;
}

/// What a client is told: the code, and a sentence if there is more to say.
pub(crate) type Refusal = (ErrorCode, Option<String>);

/// A refusal whose sentence fits into an answer: it may quote what a client sent.
pub(crate) fn shortened((code, text): Refusal) -> Refusal {
    let cut = |text: String| match text.char_indices().nth(SENTENCE_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    };
    (code, text.map(cut))
}

/// A refusal with its sentence.
pub(crate) fn refusal<T>(code: ErrorCode, text: impl Into<String>) -> Result<T, Refusal> {
    Err((code, Some(text.into())))
}

/// Fills in the log directory of partitions placed on a broker that has exactly one (KIP-858).
pub fn assign_directories(image: &Image, records: &mut [Record]) {
    for record in records {
        let Record::Partition(partition) = record else { continue };
        for (replica, directory) in partition.replicas.iter().zip(&mut partition.directories) {
            let broker = image.brokers.get(replica);
            if let Some([only]) = broker.map(|broker| broker.registration.log_dirs.as_slice()) {
                *directory = *only;
            }
        }
    }
}

/// The next block of producer ids for a broker: the record, and the first id of the block.
pub fn allocate_producer_ids(image: &Image, broker: i32, epoch: i64) -> (Record, i64) {
    let first = image.next_producer_id;
    let record = ProducerIdsRecord {
        broker_id: broker,
        broker_epoch: epoch,
        next_producer_id: first + PRODUCER_ID_BLOCK,
        ..Default::default()
    };
    (Record::ProducerIds(record), first)
}

/// The features of [`FEATURES`] as records, the contents of a bootstrap snapshot.
pub fn features() -> Vec<Record> {
    let feature = |(name, level): &(&str, i16)| {
        Record::FeatureLevel(FeatureLevelRecord {
            name: (*name).to_owned(),
            feature_level: *level,
            ..Default::default()
        })
    };
    FEATURES.iter().map(feature).collect()
}

/// The level of `metadata.version` that such records begin a cluster with.
pub fn metadata_version(features: &[Record]) -> i16 {
    let level = |record: &Record| match record {
        Record::FeatureLevel(feature) if feature.name == METADATA_VERSION => {
            Some(feature.feature_level)
        }
        _ => None,
    };
    features.iter().find_map(level).unwrap_or(METADATA_VERSION_MAX)
}

/// The records with which the metadata of a new cluster begins, without those of its nodes: one
/// transaction of `features`, and, where eligible leader replicas are kept, the cluster's
/// `min.insync.replicas`, which they depend on (KIP-966).
pub fn bootstrap(features: Vec<Record>, min_insync_replicas: &str) -> Vec<Record> {
    let begin =
        BeginTransactionRecord { name: Some("Bootstrap records".to_owned()), ..Default::default() };
    let elr = features.iter().any(|record| match record {
        Record::FeatureLevel(feature) => feature.name == ELR && feature.feature_level > 0,
        _ => false,
    });
    let mut records = vec![Record::BeginTransaction(begin)];
    records.extend(features);
    if elr {
        records.push(Record::Config(ConfigRecord {
            resource_type: resource::BROKER,
            resource_name: String::new(),
            name: "min.insync.replicas".to_owned(),
            value: Some(min_insync_replicas.to_owned()),
            ..Default::default()
        }));
    }
    records.push(Record::EndTransaction(EndTransactionRecord::default()));
    records
}

/// The records that let a broker lead again what nobody leads and it may: the partitions it is the
/// only replica of, or the one that had everything when it was stopped (KIP-966).
pub fn elect_leaders(image: &Image, broker: i32) -> Vec<Record> {
    let mut records = Vec::new();
    for topic in image.topics.values() {
        for (index, partition) in topic.partitions.iter().enumerate() {
            let has_all = partition.isr.contains(&broker)
                || partition.rare().elr.contains(&broker)
                || (partition.isr.is_empty() && partition.replicas == [broker]);
            if partition.leader != -1 || !has_all {
                continue;
            }
            records.push(Record::PartitionChange(PartitionChangeRecord {
                partition_id: index as i32,
                topic_id: topic.id,
                isr: Some(vec![broker]),
                leader: broker,
                eligible_leader_replicas: (!partition.rare().elr.is_empty()).then(Vec::new),
                last_known_elr: (!partition.rare().last_known_elr.is_empty()).then(Vec::new),
                ..Default::default()
            }));
        }
    }
    records
}

/// The record that says in which log directory of a broker a replica is (KIP-858).
pub fn place_in_directory(
    image: &Image,
    topic: Uuid,
    index: i32,
    broker: i32,
    directory: Uuid,
) -> Option<Record> {
    let partition = image.topics.get(&topic)?.partitions.get(usize::try_from(index).ok()?)?;
    let mut directories = partition.directories.clone();
    directories.resize(partition.replicas.len(), Uuid::ZERO);
    for (replica, place) in partition.replicas.iter().zip(&mut directories) {
        if *replica == broker {
            *place = directory;
        }
    }
    if directories == partition.directories {
        return None;
    }
    Some(Record::PartitionChange(PartitionChangeRecord {
        partition_id: index,
        topic_id: topic,
        leader: LEADER_UNCHANGED,
        directories: Some(directories),
        ..Default::default()
    }))
}

/// A broker's registration, and the change that lets it lead.
pub fn register(registration: RegisterBrokerRecord) -> [Record; 2] {
    let unfence = BrokerRegistrationChangeRecord {
        broker_id: registration.broker_id,
        broker_epoch: registration.broker_epoch,
        fenced: -1,
        ..Default::default()
    };
    [Record::RegisterBroker(registration), Record::BrokerRegistrationChange(unfence)]
}

/// Feature levels that a new cluster starts with, those of Apache Kafka 4.4.0.
pub const FEATURES: &[(&str, i16)] = &[
    ("metadata.version", 33),
    ("eligible.leader.replicas.version", 1),
    ("group.version", 1),
    ("share.version", 2),
    ("streams.version", 1),
    ("transaction.version", 2),
];

/// The feature of eligible leader replicas (KIP-966).
pub const ELR: &str = "eligible.leader.replicas.version";

/// How many producer ids a broker takes at a time.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// The longest text of a record, in bytes.
pub(crate) const TEXT_MAX: usize = i16::MAX as usize;
/// The longest sentence of a refusal, in characters.
const SENTENCE_MAX: usize = 1_000;
/// As many records as one atomic user operation may write in Apache Kafka.
pub(crate) const RECORDS_MAX: usize = 10_000;
/// Of names and values in configuration records; a batch may have 8 MiB.
pub(crate) const RECORD_BYTES_MAX: usize = 4 << 20;
