//! Deciding: from the image and a request to the records that carry it out and the answer.
//!
//! Nothing here changes the image. The caller appends the records, replays them at once so that
//! the next decision sees them, and gives the answer when they are committed.

use std::collections::{BTreeMap, BTreeSet};

use messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use messages::{
    BrokerRegistrationChangeRecord, ConfigRecord, CreateTopicsRequest, CreateTopicsResponse,
    FeatureLevelRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord, TopicRecord,
};
use wire::{ErrorCode, Uuid};

use crate::image::{Image, resource};
use crate::record::Record;

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

/// Decides a CreateTopics request.
pub fn create_topics(
    image: &Image,
    request: &CreateTopicsRequest,
    defaults: &Defaults,
    ids: &mut dyn IdSource,
) -> (Vec<Record>, CreateTopicsResponse) {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> = request
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .filter(|name| !seen.insert(*name))
        .collect();
    let mut records = Vec::new();
    let mut response = CreateTopicsResponse::default();
    // Names granted to earlier topics of this request collide with later ones too.
    let mut granted: BTreeMap<String, String> = BTreeMap::new();
    let mut answered = BTreeSet::new();
    let mut budget = Budget { records: RECORDS_MAX, bytes: RECORD_BYTES_MAX };
    for topic in &request.topics {
        if !answered.insert(topic.name.as_str()) {
            continue;
        }
        let outcome = if twice.contains(topic.name.as_str()) {
            Err((ErrorCode::INVALID_REQUEST, "Duplicate topic name.".to_owned()))
        } else {
            plan_topic(image, topic, defaults, &granted, &mut budget)
        };
        let result = match outcome {
            Ok(plan) => {
                granted.insert(collision_form(&topic.name), topic.name.clone());
                let id = if request.validate_only { Uuid::ZERO } else { ids.next_id() };
                let result = plan.result(topic, id);
                if !request.validate_only {
                    plan.write(topic, id, &mut records);
                }
                result
            }
            Err((code, message)) => CreatableTopicResult {
                name: topic.name.clone(),
                error_code: code.0,
                error_message: Some(message),
                num_partitions: -1,
                replication_factor: -1,
                configs: None,
                topic_config_error_code: 0,
                ..Default::default()
            },
        };
        response.topics.push(result);
    }
    (records, response)
}

type Refusal = (ErrorCode, String);

/// A topic that may be created: the replicas of each partition and its configuration.
struct Plan {
    assignments: Vec<Vec<i32>>,
    overrides: BTreeMap<String, String>,
}

fn plan_topic(
    image: &Image,
    topic: &CreatableTopic,
    defaults: &Defaults,
    granted: &BTreeMap<String, String>,
    budget: &mut Budget,
) -> Result<Plan, Refusal> {
    check_name(&topic.name)?;
    // Its directory is the metadata log's own.
    if topic.name == METADATA_TOPIC {
        let message = format!("Creation of internal topic {METADATA_TOPIC} is prohibited.");
        return Err((ErrorCode::INVALID_REQUEST, message));
    }
    if image.topic(&topic.name).is_some() {
        let message = format!("Topic '{}' already exists.", topic.name);
        return Err((ErrorCode::TOPIC_ALREADY_EXISTS, message));
    }
    if let Some(other) = colliding(image, granted, &topic.name) {
        let message = format!("Topic '{}' collides with existing topic: {other}", topic.name);
        return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, message));
    }
    let mut overrides = BTreeMap::new();
    for entry in &topic.configs {
        let Some(value) = &entry.value else {
            let message = format!("Null value not supported for topic configs: {}", entry.name);
            return Err((ErrorCode::INVALID_CONFIG, message));
        };
        overrides.insert(entry.name.clone(), value.clone());
    }
    config::topic::validate(&overrides)
        .map_err(|invalid| (ErrorCode::INVALID_CONFIG, invalid.to_string()))?;
    budget.take(topic, defaults)?;
    let assignments = if topic.assignments.is_empty() {
        place(image, topic, defaults)?
    } else {
        manual(image, topic)?
    };
    Ok(Plan { assignments, overrides })
}

/// What one request may still write. Its records are one batch, so that they are replayed all or
/// not at all, and the bound is on what a batch may hold.
struct Budget {
    records: usize,
    bytes: usize,
}

impl Budget {
    /// Pays for a topic before anything is built for it.
    fn take(&mut self, topic: &CreatableTopic, defaults: &Defaults) -> Result<(), Refusal> {
        let partitions = match (topic.assignments.len(), topic.num_partitions) {
            (0, -1) => defaults.partitions.max(0) as usize,
            (0, count) => count.max(0) as usize,
            (count, _) => count,
        };
        let records = 1 + topic.configs.len() + partitions;
        let config_bytes = |entry: &CreatableTopicConfig| {
            topic.name.len() + entry.name.len() + entry.value.as_ref().map_or(0, String::len)
        };
        let bytes = topic.configs.iter().map(config_bytes).sum::<usize>();
        match (self.records.checked_sub(records), self.bytes.checked_sub(bytes)) {
            (Some(records), Some(bytes)) => {
                *self = Self { records, bytes };
                Ok(())
            }
            _ => {
                let message = "Excessively large number of partitions per request.";
                Err((ErrorCode::POLICY_VIOLATION, message.into()))
            }
        }
    }
}

/// Apache Kafka's rules for topic names.
///
/// # Errors
/// INVALID_TOPIC_EXCEPTION with the rule that was broken.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let refuse = |message: String| Err((ErrorCode::INVALID_TOPIC_EXCEPTION, message));
    if name.is_empty() {
        return refuse("Topic name is invalid: the empty string is not allowed".into());
    }
    if name == "." || name == ".." {
        return refuse(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > NAME_MAX {
        return refuse(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length \
             {NAME_MAX}"
        ));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return refuse(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// Metric names can't tell `.` from `_`, so two names may not differ in them alone.
fn collision_form(name: &str) -> String {
    name.replace('.', "_")
}

fn colliding(image: &Image, granted: &BTreeMap<String, String>, name: &str) -> Option<String> {
    if !name.contains(['.', '_']) {
        return None;
    }
    let form = collision_form(name);
    if let Some(other) = granted.get(&form) {
        return Some(other.clone());
    }
    image
        .topic_ids
        .keys()
        .find(|other| other.len() == name.len() && collision_form(other) == form)
        .map(ToString::to_string)
}

/// Replicas where the request names only counts.
fn place(
    image: &Image,
    topic: &CreatableTopic,
    defaults: &Defaults,
) -> Result<Vec<Vec<i32>>, Refusal> {
    let partitions = match topic.num_partitions {
        -1 => defaults.partitions,
        count if count <= 0 => {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err((ErrorCode::INVALID_PARTITIONS, message.into()));
        }
        count => count,
    };
    let factor = match topic.replication_factor {
        -1 => defaults.replication_factor,
        count if count <= 0 => {
            let message = "Replication factor must be larger than 0, or -1 to use the default \
                           value.";
            return Err((ErrorCode::INVALID_REPLICATION_FACTOR, message.into()));
        }
        count => count,
    };
    let usable: Vec<i32> =
        image.brokers.iter().filter(|(_, broker)| !broker.is_fenced()).map(|(id, _)| *id).collect();
    if factor as usize > usable.len() {
        let message = format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of \
             {factor} cannot be reached because only {} broker(s) are registered.",
            usable.len()
        );
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, message));
    }
    Ok((0..partitions as usize)
        .map(|partition| {
            let first = partition % usable.len();
            usable.iter().cycle().skip(first).take(factor as usize).copied().collect()
        })
        .collect())
}

/// Replicas as the request names them.
fn manual(image: &Image, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, Refusal> {
    if topic.replication_factor != -1 || topic.num_partitions != -1 {
        let message = "A manual partition assignment was specified, but the replication factor \
                       or the number of partitions was set too; both must be -1.";
        return Err((ErrorCode::INVALID_REQUEST, message.into()));
    }
    let refuse = |message: String| Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
    let mut by_index: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for assignment in &topic.assignments {
        let replicas = assignment.broker_ids.clone();
        let distinct: BTreeSet<i32> = replicas.iter().copied().collect();
        if replicas.is_empty() || distinct.len() != replicas.len() {
            return refuse("A replica list must be non-empty and without duplicates.".into());
        }
        if let Some(unknown) = replicas.iter().find(|id| !image.brokers.contains_key(id)) {
            return refuse(format!(
                "The manual partition assignment includes broker {unknown}, but no such broker is \
                 registered."
            ));
        }
        if by_index.insert(assignment.partition_index, replicas).is_some() {
            let index = assignment.partition_index;
            return refuse(format!(
                "Found multiple manual partition assignments for partition {index}"
            ));
        }
    }
    if by_index.keys().copied().ne(0..by_index.len() as i32) {
        return refuse("partitions should be a consecutive 0-based integer sequence".into());
    }
    Ok(by_index.into_values().collect())
}

impl Plan {
    fn result(&self, topic: &CreatableTopic, id: Uuid) -> CreatableTopicResult {
        let configs = config::topic::ROWS
            .iter()
            .map(|row| {
                let given = self.overrides.get(row.name);
                CreatableTopicConfigs {
                    name: row.name.to_owned(),
                    value: Some(given.map_or(row.default, String::as_str).to_owned()),
                    read_only: false,
                    config_source: if given.is_some() { SOURCE_TOPIC } else { SOURCE_DEFAULT },
                    is_sensitive: false,
                    ..Default::default()
                }
            })
            .collect();
        CreatableTopicResult {
            name: topic.name.clone(),
            topic_id: id,
            num_partitions: self.assignments.len() as i32,
            replication_factor: self
                .assignments
                .first()
                .map_or(-1, |replicas| replicas.len() as i16),
            error_message: None,
            configs: Some(configs),
            ..Default::default()
        }
    }

    fn write(&self, topic: &CreatableTopic, id: Uuid, records: &mut Vec<Record>) {
        records.push(Record::Topic(TopicRecord {
            name: topic.name.clone(),
            topic_id: id,
            ..Default::default()
        }));
        for (key, value) in &self.overrides {
            records.push(Record::Config(ConfigRecord {
                resource_type: resource::TOPIC,
                resource_name: topic.name.clone(),
                name: key.clone(),
                value: Some(value.clone()),
                ..Default::default()
            }));
        }
        for (index, replicas) in self.assignments.iter().enumerate() {
            records.push(Record::Partition(PartitionRecord {
                partition_id: index as i32,
                topic_id: id,
                replicas: replicas.clone(),
                isr: replicas.clone(),
                leader: replicas.first().copied().unwrap_or(-1),
                leader_epoch: 0,
                partition_epoch: 0,
                directories: vec![Uuid::ONE; replicas.len()],
                ..Default::default()
            }));
        }
    }
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

/// The records with which the metadata of a new cluster begins, without those of its nodes.
pub fn bootstrap() -> Vec<Record> {
    let feature = |(name, level): &(&str, i16)| {
        Record::FeatureLevel(FeatureLevelRecord {
            name: (*name).to_owned(),
            feature_level: *level,
            ..Default::default()
        })
    };
    FEATURES.iter().map(feature).collect()
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
    ("share.version", 1),
    ("streams.version", 1),
    ("transaction.version", 2),
];

/// How many producer ids a broker takes at a time.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// The topic name of the metadata log, which no client may create.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

const NAME_MAX: usize = 249;
/// As many records as one atomic user operation may write in Apache Kafka.
const RECORDS_MAX: usize = 10_000;
/// Of names and values in configuration records; a batch may have 8 MiB.
const RECORD_BYTES_MAX: usize = 4 << 20;
const SOURCE_TOPIC: i8 = 1;
const SOURCE_DEFAULT: i8 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    struct Counter(u128);

    impl IdSource for Counter {
        fn next_id(&mut self) -> Uuid {
            self.0 += 1;
            Uuid(self.0)
        }
    }

    fn image() -> Image {
        let mut image = Image::default();
        for record in register(RegisterBrokerRecord {
            broker_id: 1,
            fenced: true,
            log_dirs: vec![Uuid(500)],
            ..Default::default()
        }) {
            image.replay(&record).unwrap();
        }
        image
    }

    fn decide(image: &Image, topics: Vec<CreatableTopic>) -> (Vec<Record>, Vec<(String, i16)>) {
        let request = CreateTopicsRequest { topics, ..Default::default() };
        let defaults = Defaults { partitions: 3, replication_factor: 1 };
        let (records, response) = create_topics(image, &request, &defaults, &mut Counter(1000));
        let codes =
            response.topics.into_iter().map(|topic| (topic.name, topic.error_code)).collect();
        (records, codes)
    }

    fn topic(name: &str) -> CreatableTopic {
        CreatableTopic {
            name: name.into(),
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        }
    }

    #[test]
    fn a_created_topic_has_the_default_partitions_in_the_only_directory() {
        let mut image = image();
        let (mut records, codes) = decide(&image, vec![topic("t")]);
        assert_eq!(codes, [("t".to_owned(), 0)]);
        assign_directories(&image, &mut records);
        for record in &records {
            image.replay(record).unwrap();
        }
        let created = image.topic("t").unwrap();
        assert_eq!(created.partitions.len(), 3);
        assert_eq!(created.partitions[2].directories, [Uuid(500)]);
        assert_eq!(created.partitions[2].leader, 1);
        let (records, codes) = decide(&image, vec![topic("t")]);
        assert!(records.is_empty());
        assert_eq!(codes, [("t".to_owned(), ErrorCode::TOPIC_ALREADY_EXISTS.0)]);
    }

    #[test]
    fn the_metadata_log_is_no_topic_to_create() {
        let (records, codes) = decide(&image(), vec![topic(METADATA_TOPIC)]);
        assert!(records.is_empty());
        assert_eq!(codes[0].1, ErrorCode::INVALID_REQUEST.0);
    }

    #[test]
    fn names_are_checked_as_apache_kafka_checks_them() {
        let long = "x".repeat(250);
        for (name, ok) in [
            ("", false),
            (".", false),
            ("..", false),
            ("a b", false),
            ("a.b-c_9", true),
            (&long, false),
        ] {
            let (_, codes) = decide(&image(), vec![topic(name)]);
            assert_eq!(codes[0].1 == 0, ok, "{name}");
        }
    }

    #[test]
    fn names_that_differ_in_dots_and_underscores_only_collide() {
        let (_, codes) = decide(&image(), vec![topic("a.b"), topic("a_b"), topic("a-b")]);
        let codes: Vec<i16> = codes.into_iter().map(|(_, code)| code).collect();
        assert_eq!(codes, [0, ErrorCode::INVALID_TOPIC_EXCEPTION.0, 0]);
    }

    #[test]
    fn a_request_may_not_write_more_than_a_batch_holds() {
        let mut large = topic("large");
        large.num_partitions = 9_000;
        let mut second = topic("second");
        second.num_partitions = 1_500;
        let mut wide = topic("wide");
        wide.configs = vec![CreatableTopicConfig {
            name: "follower.replication.throttled.replicas".into(),
            value: Some("x".repeat(5 << 20)),
            ..Default::default()
        }];
        let (records, codes) = decide(&image(), vec![large, second, wide, topic("small")]);
        let codes: Vec<i16> = codes.into_iter().map(|(_, code)| code).collect();
        let over = ErrorCode::POLICY_VIOLATION.0;
        assert_eq!(codes, [0, over, over, 0]);
        assert_eq!(records.len(), 9_001 + 4);
    }

    #[test]
    fn impossible_requests_are_refused_with_their_own_code() {
        let mut none = topic("none");
        none.num_partitions = 0;
        let mut many = topic("many");
        many.replication_factor = 2;
        let mut config = topic("config");
        config.configs = vec![CreatableTopicConfig {
            name: "retention.ms".into(),
            value: Some("soon".into()),
            ..Default::default()
        }];
        let (records, codes) =
            decide(&image(), vec![none, many, config, topic("twice"), topic("twice")]);
        assert!(records.is_empty());
        let codes: Vec<i16> = codes.into_iter().map(|(_, code)| code).collect();
        assert_eq!(
            codes,
            [
                ErrorCode::INVALID_PARTITIONS.0,
                ErrorCode::INVALID_REPLICATION_FACTOR.0,
                ErrorCode::INVALID_CONFIG.0,
                ErrorCode::INVALID_REQUEST.0
            ]
        );
    }
}
