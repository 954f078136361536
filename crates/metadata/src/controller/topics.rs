//! Topics: made, deleted, given more partitions.

use std::collections::{BTreeMap, BTreeSet};

use config::Layers;
use messages::create_partitions_response::CreatePartitionsTopicResult;
use messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use messages::delete_topics_response::DeletableTopicResult;
use messages::{
    ClearElrRecord, ConfigRecord, CreatePartitionsRequest, CreatePartitionsResponse,
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    PartitionRecord, RemoveTopicRecord, TopicRecord,
};
use wire::{ErrorCode, Uuid};

use super::{
    Defaults, ELR, IdSource, RECORD_BYTES_MAX, RECORDS_MAX, Refusal, TEXT_MAX, assign_directories,
    refusal, shortened,
};
use crate::image::{Image, TopicImage, resource};
use crate::record::Record;

/// Decides a CreateTopics request.
pub fn create_topics(
    image: &Image,
    request: &CreateTopicsRequest,
    defaults: &Defaults,
    layers: &Layers,
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
            refusal(ErrorCode::INVALID_REQUEST, "Duplicate topic name.")
        } else {
            plan_topic(image, topic, defaults, layers, &granted, &mut budget)
        };
        let result = match outcome {
            Ok(plan) => {
                granted.insert(collision_form(&topic.name), topic.name.clone());
                // What is only validated is told an id, too, which nothing will ever have.
                let id = ids.next_id();
                let result = plan.result(topic, id, layers);
                if !request.validate_only {
                    plan.write(image, topic, id, &mut records);
                }
                result
            }
            Err(refused) => {
                let (code, message) = shortened(refused);
                CreatableTopicResult {
                    name: topic.name.clone(),
                    error_code: code.0,
                    error_message: message,
                    num_partitions: -1,
                    replication_factor: -1,
                    configs: Some(Vec::new()),
                    topic_config_error_code: 0,
                    ..Default::default()
                }
            }
        };
        response.topics.push(result);
    }
    (records, response)
}

/// A topic that may be created: the replicas of each partition and its configuration.
struct Plan {
    assignments: Vec<Vec<i32>>,
    overrides: BTreeMap<String, String>,
}

fn plan_topic(
    image: &Image,
    topic: &CreatableTopic,
    defaults: &Defaults,
    layers: &Layers,
    granted: &BTreeMap<String, String>,
    budget: &mut Budget,
) -> Result<Plan, Refusal> {
    check_name(&topic.name)?;
    // Its directory is the metadata log's own.
    if topic.name == METADATA_TOPIC {
        let message = format!("Creation of internal topic {METADATA_TOPIC} is prohibited.");
        return refusal(ErrorCode::INVALID_REQUEST, message);
    }
    if image.topic(&topic.name).is_some() {
        let message = format!("Topic '{}' already exists.", topic.name);
        return refusal(ErrorCode::TOPIC_ALREADY_EXISTS, message);
    }
    if let Some(other) = colliding(image, granted, &topic.name) {
        let message = format!("Topic '{}' collides with existing topic: {other}", topic.name);
        return refusal(ErrorCode::INVALID_TOPIC_EXCEPTION, message);
    }
    let mut overrides = BTreeMap::new();
    for entry in &topic.configs {
        let Some(value) = &entry.value else {
            let message = format!("Null value not supported for topic configs: {}", entry.name);
            return refusal(ErrorCode::INVALID_CONFIG, message);
        };
        if entry.name.len().max(value.len()) > TEXT_MAX {
            let text = format!("A name or value is longer than {TEXT_MAX} bytes.");
            return refusal(ErrorCode::INVALID_CONFIG, text);
        }
        overrides.insert(entry.name.clone(), value.clone());
    }
    config::topic::validate(&overrides, layers)
        .map_err(|invalid| (ErrorCode::INVALID_CONFIG, Some(invalid.to_string())))?;
    let left = budget.without(topic, defaults)?;
    let assignments = if topic.assignments.is_empty() {
        place(image, topic, defaults)?
    } else {
        manual(image, topic)?
    };
    // What is refused costs nothing.
    *budget = left;
    Ok(Plan { assignments, overrides })
}

/// What one request may still write. Its records are one batch, so that they are replayed all or
/// not at all, and the bound is on what a batch may hold.
struct Budget {
    records: usize,
    bytes: usize,
}

impl Budget {
    /// What is left when a topic is paid for; asked before anything is built for it.
    fn without(&self, topic: &CreatableTopic, defaults: &Defaults) -> Result<Self, Refusal> {
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
            (Some(records), Some(bytes)) => Ok(Self { records, bytes }),
            _ => {
                let message = "Excessively large number of partitions per request.";
                refusal(ErrorCode::POLICY_VIOLATION, message)
            }
        }
    }
}

/// Apache Kafka's rules for topic names.
///
/// # Errors
/// INVALID_TOPIC_EXCEPTION with the rule that was broken.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let refuse = |message: String| refusal(ErrorCode::INVALID_TOPIC_EXCEPTION, message);
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
            return refusal(ErrorCode::INVALID_PARTITIONS, message);
        }
        count => count,
    };
    let factor = match topic.replication_factor {
        -1 if defaults.replication_factor > 0 => defaults.replication_factor,
        count if count <= 0 => {
            let message = "Replication factor must be larger than 0, or -1 to use the default \
                           value.";
            return refusal(ErrorCode::INVALID_REPLICATION_FACTOR, message);
        }
        count => count,
    };
    spread(image, 0, partitions as usize, factor as usize)
}

/// Replicas as the request names them.
fn manual(image: &Image, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, Refusal> {
    for (number, what) in [
        (i32::from(topic.replication_factor), "replication factor"),
        (topic.num_partitions, "numPartitions"),
    ] {
        if number != -1 {
            let message = format!(
                "A manual partition assignment was specified, but {what} was not set to -1."
            );
            return refusal(ErrorCode::INVALID_REQUEST, message);
        }
    }
    let refuse = |message: String| refusal(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message);
    let mut by_index: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let mut factor = None;
    for assignment in &topic.assignments {
        let index = assignment.partition_index;
        if by_index.contains_key(&index) {
            return refuse(format!(
                "Found multiple manual partition assignments for partition {index}"
            ));
        }
        let replicas = assignment.broker_ids.clone();
        let factor = *factor.get_or_insert(replicas.len());
        check_manual(image, &replicas, index.max(0) as usize, factor)?;
        by_index.insert(index, replicas);
    }
    if by_index.keys().copied().ne(0..by_index.len() as i32) {
        return refuse("partitions should be a consecutive 0-based integer sequence".into());
    }
    Ok(by_index.into_values().collect())
}

impl Plan {
    fn result(&self, topic: &CreatableTopic, id: Uuid, layers: &Layers) -> CreatableTopicResult {
        let configs = config::topic::ROWS
            .iter()
            .filter(|row| config::topic::is_shown(row, &self.overrides))
            .map(|row| {
                let (value, source, _) = config::topic::describe(row, &self.overrides, layers);
                CreatableTopicConfigs {
                    name: row.name.to_owned(),
                    value: Some(value),
                    read_only: false,
                    config_source: source as i8,
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

    fn write(&self, image: &Image, topic: &CreatableTopic, id: Uuid, records: &mut Vec<Record>) {
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
        let elr = image.features.get(ELR).is_some_and(|level| *level > 0);
        if elr && self.overrides.contains_key("min.insync.replicas") {
            let clear = ClearElrRecord { topic_name: topic.name.clone(), ..Default::default() };
            records.push(Record::ClearElr(clear));
        }
        for (index, replicas) in self.assignments.iter().enumerate() {
            records.push(new_partition(image, id, index, replicas));
        }
    }
}

/// A partition with all its replicas in sync, led by the first that may lead.
fn new_partition(image: &Image, topic: Uuid, index: usize, replicas: &[i32]) -> Record {
    let active = |id: &&i32| image.brokers.get(id).is_some_and(|broker| !broker.is_fenced());
    let isr: Vec<i32> = replicas.iter().filter(active).copied().collect();
    Record::Partition(PartitionRecord {
        partition_id: index as i32,
        topic_id: topic,
        replicas: replicas.to_vec(),
        leader: isr.first().copied().unwrap_or(-1),
        isr,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![Uuid::ONE; replicas.len()],
        ..Default::default()
    })
}

/// Decides a DeleteTopics request: what can't be deleted is refused one by one.
pub fn delete_topics(
    image: &Image,
    request: &DeleteTopicsRequest,
) -> (Vec<Record>, DeleteTopicsResponse) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ids: BTreeMap<Uuid, usize> = BTreeMap::new();
    let mut results = Vec::new();
    for name in &request.topic_names {
        *names.entry(name).or_default() += 1;
    }
    for topic in &request.topics {
        let refuse = |text: &str| DeletableTopicResult {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            error_code: ErrorCode::INVALID_REQUEST.0,
            error_message: Some(text.to_owned()),
            ..Default::default()
        };
        match (&topic.name, topic.topic_id.is_zero()) {
            (Some(name), true) => *names.entry(name).or_default() += 1,
            (None, false) => *ids.entry(topic.topic_id).or_default() += 1,
            (None, true) => results.push(refuse("Neither topic name nor id were specified.")),
            (Some(_), false) => {
                results.push(refuse("You may not specify both topic name and topic id."));
            }
        }
    }
    let mut doomed = BTreeSet::new();
    let mut decide = |name: Option<&str>, id: Uuid, outcome: Result<Uuid, Refusal>| {
        let mut result = DeletableTopicResult {
            name: name.map(str::to_owned),
            topic_id: id,
            ..Default::default()
        };
        match outcome {
            Ok(id) => {
                result.topic_id = id;
                result.name = image.topics.get(&id).map(|topic| topic.name.to_string());
                doomed.insert(id);
            }
            Err((code, message)) => {
                result.error_code = code.0;
                result.error_message = message;
            }
        }
        results.push(result);
    };
    for (id, count) in &ids {
        let topic = image.topics.get(id);
        let named = topic.is_some_and(|topic| names.contains_key(&*topic.name));
        if named {
            // Answered once, with the name.
            continue;
        }
        let outcome = match topic {
            _ if *count > 1 => refusal(ErrorCode::INVALID_REQUEST, "Duplicate topic id."),
            None => refusal(ErrorCode::UNKNOWN_TOPIC_ID, ErrorCode::UNKNOWN_TOPIC_ID.words()),
            Some(_) => Ok(*id),
        };
        decide(None, *id, outcome);
    }
    for (name, count) in &names {
        let id = image.topic_ids.get(*name).copied();
        let twice = "The provided topic name maps to an ID that was already supplied.";
        match id {
            _ if *count > 1 => {
                let outcome = refusal(ErrorCode::INVALID_REQUEST, "Duplicate topic name.");
                decide(Some(name), Uuid::ZERO, outcome);
            }
            Some(id) if ids.contains_key(&id) => {
                decide(Some(name), id, refusal(ErrorCode::INVALID_REQUEST, twice));
            }
            Some(id) => decide(Some(name), id, Ok(id)),
            None => {
                let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                decide(Some(name), Uuid::ZERO, refusal(code, code.words()));
            }
        }
    }
    let records = doomed
        .into_iter()
        .map(|topic_id| Record::RemoveTopic(RemoveTopicRecord { topic_id, ..Default::default() }))
        .collect();
    (records, DeleteTopicsResponse { responses: results, ..Default::default() })
}

/// The same refusal for every topic of a DeleteTopics request.
pub fn refuse_deletions(request: &DeleteTopicsRequest, code: ErrorCode) -> DeleteTopicsResponse {
    let names = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::ZERO));
    let topics = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
    let responses = names
        .chain(topics)
        .map(|(name, topic_id)| DeletableTopicResult {
            name,
            topic_id,
            error_code: code.0,
            ..Default::default()
        })
        .collect();
    DeleteTopicsResponse { responses, ..Default::default() }
}

/// Decides a CreatePartitions request.
pub fn create_partitions(
    image: &Image,
    request: &CreatePartitionsRequest,
) -> (Vec<Record>, CreatePartitionsResponse) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *counts.entry(&topic.name).or_default() += 1;
    }
    let mut results = Vec::new();
    let result = |name: &str, outcome: Result<(), Refusal>| {
        let (code, error_message) = outcome.err().unwrap_or((ErrorCode::NONE, None));
        CreatePartitionsTopicResult {
            name: name.to_owned(),
            error_code: code.0,
            error_message,
            ..Default::default()
        }
    };
    for (name, _) in counts.iter().filter(|(_, count)| **count > 1) {
        results.push(result(name, refusal(ErrorCode::INVALID_REQUEST, "Duplicate topic name.")));
    }
    let single: Vec<_> =
        request.topics.iter().filter(|topic| counts.get(&*topic.name) == Some(&1)).collect();
    let additional = |topic: &&messages::create_partitions_request::CreatePartitionsTopic| {
        let now = image.topic(&topic.name).map_or(0, |found| found.partitions.len() as i64);
        (i64::from(topic.count) - now).max(0)
    };
    if single.iter().map(additional).sum::<i64>() > RECORDS_MAX as i64 {
        let text = "Excessively large number of additional partitions per request.";
        for topic in single {
            results.push(result(&topic.name, refusal(ErrorCode::POLICY_VIOLATION, text)));
        }
        return (Vec::new(), CreatePartitionsResponse { results, ..Default::default() });
    }
    let mut records = Vec::new();
    for wanted in single {
        let outcome = match image.topic(&wanted.name) {
            None => Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None)),
            Some(topic) => add_partitions(image, topic, wanted),
        };
        let outcome = outcome.map(|more| records.extend(more));
        results.push(result(&wanted.name, outcome));
    }
    if request.validate_only {
        records.clear();
    }
    assign_directories(image, &mut records);
    (records, CreatePartitionsResponse { results, ..Default::default() })
}

fn add_partitions(
    image: &Image,
    topic: &TopicImage,
    wanted: &messages::create_partitions_request::CreatePartitionsTopic,
) -> Result<Vec<Record>, Refusal> {
    let now = topic.partitions.len() as i32;
    if wanted.count == now {
        let text = format!("Topic already has {now} partition(s).");
        return refusal(ErrorCode::INVALID_PARTITIONS, text);
    }
    if wanted.count < now {
        let text = format!(
            "The topic {} currently has {now} partition(s); {} would not be an increase.",
            topic.name, wanted.count
        );
        return refusal(ErrorCode::INVALID_PARTITIONS, text);
    }
    let additional = (wanted.count - now) as usize;
    let factor = topic.partitions.first().map_or(1, |first| first.replicas.len());
    let replicas = match &wanted.assignments {
        Some(given) if given.len() != additional => {
            let text = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) \
                 were specified.",
                given.len()
            );
            return refusal(ErrorCode::INVALID_REPLICA_ASSIGNMENT, text);
        }
        Some(given) => {
            for (index, assignment) in given.iter().enumerate() {
                check_manual(image, &assignment.broker_ids, now as usize + index, factor)?;
            }
            given.iter().map(|assignment| assignment.broker_ids.clone()).collect()
        }
        None => spread(image, now as usize, additional, factor)?,
    };
    let partition = |(index, replicas): (usize, &Vec<i32>)| {
        new_partition(image, topic.id, now as usize + index, replicas)
    };
    Ok(replicas.iter().enumerate().map(partition).collect())
}

fn check_manual(
    image: &Image,
    replicas: &[i32],
    index: usize,
    factor: usize,
) -> Result<(), Refusal> {
    let refuse = |text: String| {
        refusal(
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            format!("The manual partition assignment includes {text}"),
        )
    };
    if replicas.is_empty() {
        return refuse("an empty replica list.".into());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    if let Some(unknown) = sorted.iter().find(|id| !image.brokers.contains_key(id)) {
        return refuse(format!("broker {unknown}, but no such broker is registered."));
    }
    let twice = sorted.windows(2).find(|pair| pair.first() == pair.last());
    if let Some(&[twice, _]) = twice {
        return refuse(format!("the broker {twice} more than once."));
    }
    if replicas.len() != factor {
        return refuse(format!(
            "a partition with {} replica(s), but this is not consistent with previous \
             partitions, which have {factor} replica(s).",
            replicas.len()
        ));
    }
    let fenced = |id: &i32| image.brokers.get(id).is_none_or(|broker| broker.is_fenced());
    if replicas.iter().all(fenced) {
        let text = format!(
            "All brokers specified in the manual partition assignment for partition {index} are \
             fenced or in controlled shutdown."
        );
        return refusal(ErrorCode::INVALID_REPLICA_ASSIGNMENT, text);
    }
    Ok(())
}

/// Replicas for `count` partitions from the `first` on, over the brokers that may lead.
fn spread(
    image: &Image,
    first: usize,
    count: usize,
    factor: usize,
) -> Result<Vec<Vec<i32>>, Refusal> {
    let usable: Vec<i32> =
        image.brokers.iter().filter(|(_, broker)| !broker.is_fenced()).map(|(id, _)| *id).collect();
    let refuse = |why: String| {
        let text = format!("Unable to replicate the partition {factor} time(s): {why}");
        refusal(ErrorCode::INVALID_REPLICATION_FACTOR, text)
    };
    if usable.is_empty() {
        return refuse("All brokers are currently fenced or in controlled shutdown.".into());
    }
    if factor > usable.len() {
        return refuse(format!(
            "The target replication factor of {factor} cannot be reached because only {} \
             broker(s) are registered or some brokers have all their log directories cordoned.",
            usable.len()
        ));
    }
    let replicas = |partition: usize| {
        usable.iter().cycle().skip(partition % usable.len()).take(factor).copied().collect()
    };
    Ok((first..first + count).map(replicas).collect())
}

/// The topic name of the metadata log, which no client may create.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

const NAME_MAX: usize = 249;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::register;
    use messages::RegisterBrokerRecord;

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
        let (records, response) =
            create_topics(image, &request, &defaults, &Layers::default(), &mut Counter(1000));
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
            value: Some("0:1,".repeat(5 << 18)),
            ..Default::default()
        }];
        let (records, codes) = decide(&image(), vec![large, second, wide, topic("small")]);
        let codes: Vec<i16> = codes.into_iter().map(|(_, code)| code).collect();
        let over = ErrorCode::POLICY_VIOLATION.0;
        // No text may be longer than a record can hold, either.
        assert_eq!(codes, [0, over, ErrorCode::INVALID_CONFIG.0, 0]);
        assert_eq!(records.len(), 9_001 + 4);
    }

    #[test]
    fn a_topic_that_is_refused_leaves_room_for_those_behind_it() {
        let mut many = topic("many");
        (many.num_partitions, many.replication_factor) = (9_000, 2);
        let mut large = topic("large");
        large.num_partitions = 9_000;
        let (_, codes) = decide(&image(), vec![many, large]);
        let codes: Vec<i16> = codes.into_iter().map(|(_, code)| code).collect();
        assert_eq!(codes, [ErrorCode::INVALID_REPLICATION_FACTOR.0, 0]);
    }

    #[test]
    fn a_request_may_not_write_more_bytes_than_a_batch_holds() {
        let wide = |name: String| {
            let mut topic = topic(&name);
            topic.configs = vec![CreatableTopicConfig {
                name: "follower.replication.throttled.replicas".into(),
                value: Some("0:1,".repeat(8_000).trim_end_matches(',').into()),
                ..Default::default()
            }];
            topic
        };
        let topics = (0..200).map(|index| wide(format!("t{index}"))).collect();
        let (_, codes) = decide(&image(), topics);
        let refused = codes.iter().filter(|(_, code)| *code == ErrorCode::POLICY_VIOLATION.0);
        let taken = codes.iter().filter(|(_, code)| *code == 0).count();
        assert_eq!(taken + refused.count(), 200);
        assert_eq!(taken, RECORD_BYTES_MAX / (32_000 - 1 + 41));
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

    fn with_topics(names: &[&str]) -> Image {
        let mut image = image();
        let (mut records, _) = decide(&image, names.iter().map(|name| topic(name)).collect());
        assign_directories(&image, &mut records);
        for record in &records {
            image.replay(record).unwrap();
        }
        image
    }

    #[test]
    fn topics_are_deleted_by_name_or_id_and_each_mistake_has_its_own_answer() {
        use messages::delete_topics_request::DeleteTopicState;
        let mut image = with_topics(&["a", "b", "c"]);
        let id = |name: &str| image.topic(name).unwrap().id;
        let by_name =
            |name: &str| DeleteTopicState { name: Some(name.into()), ..Default::default() };
        let by_id = |topic_id| DeleteTopicState { name: None, topic_id, ..Default::default() };
        let topics = vec![
            by_name("a"),
            by_id(id("b")),
            by_name("b"),
            by_name("c"),
            by_name("c"),
            by_name("x"),
            by_id(Uuid(77)),
            by_id(Uuid::ZERO),
        ];
        let request = DeleteTopicsRequest { topics, ..Default::default() };
        let (records, response) = delete_topics(&image, &request);
        let mut codes: Vec<(Option<String>, i16)> = response
            .responses
            .iter()
            .map(|result| (result.name.clone(), result.error_code))
            .collect();
        codes.sort();
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(
            codes,
            [
                (None, ErrorCode::INVALID_REQUEST.0),
                (None, ErrorCode::UNKNOWN_TOPIC_ID.0),
                (name("a"), 0),
                (name("b"), ErrorCode::INVALID_REQUEST.0),
                (name("c"), ErrorCode::INVALID_REQUEST.0),
                (name("x"), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0),
            ]
        );
        assert_eq!(records.len(), 1);
        image.replay(&records[0]).unwrap();
        assert!(image.topic("a").is_none() && image.topic("b").is_some());
    }

    #[test]
    fn partitions_are_added_up_to_a_count_in_the_only_directory() {
        use messages::create_partitions_request::{
            CreatePartitionsAssignment, CreatePartitionsTopic,
        };
        let mut image = with_topics(&["a"]);
        let ask = |image: &Image, count, assignments: Option<Vec<Vec<i32>>>| {
            let assignments = assignments.map(|all| {
                let assignment =
                    |broker_ids| CreatePartitionsAssignment { broker_ids, ..Default::default() };
                all.into_iter().map(assignment).collect()
            });
            let request = CreatePartitionsRequest {
                topics: vec![CreatePartitionsTopic {
                    name: "a".into(),
                    count,
                    assignments,
                    ..Default::default()
                }],
                ..Default::default()
            };
            let (records, response) = create_partitions(image, &request);
            let result = response.results.into_iter().next().unwrap();
            (records, result.error_code, result.error_message.unwrap_or_default())
        };
        for (count, assignments, code, text) in [
            (3, None, 37, "Topic already has 3 partition(s)."),
            (1, None, 37, "The topic a currently has 3 partition(s); 1 would not be an increase."),
            (
                5,
                Some(vec![vec![1]]),
                39,
                "Attempted to add 2 additional partition(s), but only 1 assignment(s) were \
                 specified.",
            ),
            (
                4,
                Some(vec![vec![7]]),
                39,
                "The manual partition assignment includes broker 7, but no such broker is \
                 registered.",
            ),
            (
                4,
                Some(vec![vec![1, 1]]),
                39,
                "The manual partition assignment includes the broker 1 more than once.",
            ),
            (20_000, None, 44, "Excessively large number of additional partitions per request."),
        ] {
            let (records, found, message) = ask(&image, count, assignments);
            assert_eq!((records.len(), found, message.as_str()), (0, code, text));
        }
        let (records, code, _) = ask(&image, 5, None);
        assert_eq!((records.len(), code), (2, 0));
        for record in &records {
            image.replay(record).unwrap();
        }
        let added = &image.topic("a").unwrap().partitions[4];
        assert_eq!((added.leader, added.directories.as_slice()), (1, &[Uuid(500)][..]));
    }
}
