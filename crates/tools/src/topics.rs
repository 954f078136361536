//! `kafka-topics`: lists, describes, creates, grows and deletes topics.
//!
//! Standard output and exit codes are those of Apache Kafka 4.3.1, the order of its hash maps
//! included. What fails after the command line was understood is told on standard output, as
//! there; only a cluster that can't be reached is told on standard error.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::admin::{
    ConfigEntry, ConfigResource, ConfigSource, NewTopic, PartitionDescription, ResourceKind,
    TopicDescription, TopicRef,
};
use client::{Admin, To};
use messages::ListPartitionReassignmentsRequest;
use messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use wire::{ErrorCode, Uuid};

use crate::cluster::{self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Trouble};
use crate::flags::{Parsed, Spec, switch, value};
use crate::topic_filter::{TopicFilter, is_internal};
use crate::{Failure, Io, Tool, finish, java};

/// The entry in the list of tools.
pub const TOOL: Tool = Tool {
    name: "kafka-topics",
    about: "Lists, describes, creates, changes and deletes topics.",
    run,
};

static SPEC: Spec = Spec {
    tool: TOOL.name,
    about: TOOL.about,
    flags: &[
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        switch(&["list"], "List topics."),
        switch(&["create"], "Create a topic."),
        switch(&["delete"], "Delete topics."),
        switch(&["alter"], "Give topics more partitions."),
        switch(&["describe"], "Describe topics and their partitions."),
        value(&["topic"], "topic", "A topic's name; except to create, a regular expression."),
        value(&["topic-id"], "id", "The topic to describe, by id."),
        value(&["config"], "key=value", "Configuration of a topic to create. May be repeated."),
        value(&["delete-config"], "key", "Does nothing any more."),
        value(&["partitions"], "n", "How many partitions the topic is to have."),
        value(&["replication-factor"], "n", "How many replicas its partitions are to have."),
        value(
            &["replica-assignment"],
            "broker:broker,...",
            "The brokers of each partition, instead of the two numbers.",
        ),
        switch(
            &["under-replicated-partitions"],
            "Describe only partitions with replicas out of sync.",
        ),
        switch(&["unavailable-partitions"], "Describe only partitions whose leader is not there."),
        switch(
            &["under-min-isr-partitions"],
            "Describe only partitions with fewer replicas in sync than writers ask for.",
        ),
        switch(
            &["at-min-isr-partitions"],
            "Describe only partitions with just as many replicas in sync as writers ask for.",
        ),
        switch(&["topics-with-overrides"], "Describe only topics with configuration of their own."),
        switch(&["if-exists"], "A topic that is not there is no failure."),
        switch(&["if-not-exists"], "A topic that is there already is no failure."),
        switch(&["exclude-internal"], "Leave out the cluster's own topics."),
        value(&["partition-size-limit-per-response"], "n", "Accepted; pages have a fixed size."),
    ],
};

fn run(args: &[String], io: &mut Io<'_>) -> u8 {
    finish(io, |io| {
        let parsed = SPEC.parse(args, io)?;
        check(&parsed, io)?;
        let properties = cluster::properties(&parsed)?;
        let outcome = cluster::block_on(async {
            let action = Action::read(&parsed, io)?;
            let admin = cluster::connect(&properties, None, io).await?;
            action.carry_out(&admin, &parsed, io).await
        })?;
        match outcome {
            Ok(()) => Ok(0),
            Err(Trouble::Failed(failure)) => Err(failure),
            Err(Trouble::Said { text, .. }) => {
                writeln!(io.out, "Error while executing topic command : {text}")?;
                Ok(1)
            }
        }
    })
}

/// Whether the flags go together.
fn check(parsed: &Parsed, io: &mut Io<'_>) -> Result<(), Failure> {
    parsed.exactly_one(ACTIONS)?;
    if parsed.has("delete-config") {
        let _ = writeln!(io.err, "warning: --delete-config does nothing since Apache Kafka 4.0");
    }
    parsed.require(&["bootstrap-server"])?;
    if parsed.has("describe") && parsed.has("if-exists") {
        match (parsed.has("topic"), parsed.has("topic-id")) {
            (false, false) => return Err(SPEC.misuse("--topic or --topic-id is required")),
            (true, true) => writeln!(
                io.out,
                "Only topic id will be used when both --topic and --topic-id are specified and \
                 topicId is not Uuid.ZERO_UUID"
            )?,
            _ => {}
        }
    }
    if !parsed.has("list") && !parsed.has("describe") {
        parsed.require(&["topic"])?;
    }
    if parsed.has("alter") {
        if parsed.has("config") {
            return Err(SPEC.misuse("--config can't be used with --alter; use kafka-configs"));
        }
        parsed.require(&["partitions"])?;
    }
    for (flag, actions) in ONLY_WITH {
        let others: Vec<&str> =
            ACTIONS.iter().copied().filter(|action| !actions.contains(action)).collect();
        parsed.exclude(flag, &others)?;
    }
    if parsed.has("create") {
        parsed.exclude("replica-assignment", &["partitions", "replication-factor"])?;
    }
    parsed.exclude("topics-with-overrides", REPORTS)
}

enum Action {
    List,
    Describe,
    Delete,
    Create(NewTopic),
    Alter { partitions: i32, assignment: Vec<Vec<i32>> },
}

impl Action {
    /// Reads values, which fail on standard output, before anybody is asked.
    fn read(parsed: &Parsed, io: &mut Io<'_>) -> Result<Self, Trouble> {
        parsed.once("topic").map_err(Trouble::said)?;
        if parsed.has("list") {
            return Ok(Self::List);
        }
        if parsed.has("delete") {
            return Ok(Self::Delete);
        }
        if parsed.has("describe") {
            return Ok(Self::Describe);
        }
        let partitions: Option<i32> = parsed.once_number("partitions").map_err(Trouble::said)?;
        let replicas: Option<i32> =
            parsed.once_number("replication-factor").map_err(Trouble::said)?;
        let assignment = parsed.once("replica-assignment").map_err(Trouble::said)?;
        let assignment = assignments(assignment.unwrap_or_default()).map_err(Trouble::said)?;
        if parsed.has("alter") {
            return Ok(Self::Alter { partitions: partitions.unwrap_or_default(), assignment });
        }
        let configs = configs(parsed).map_err(Trouble::said)?;
        let name = parsed.value("topic")?.unwrap_or_default().to_owned();
        if name.contains(['.', '_']) {
            writeln!(
                io.out,
                "WARNING: Due to limitations in metric names, topics with a period ('.') or \
                 underscore ('_') could collide. To avoid issues it is best to use either, but \
                 not both."
            )?;
        }
        let replication_factor = replicas.map(i16::try_from).transpose();
        let replication_factor = match replication_factor {
            Ok(factor) if factor.is_none_or(|factor| factor >= 1) => factor,
            _ => {
                let text = "The replication factor must be between 1 and 32767 inclusive";
                return Err(Trouble::said(text));
            }
        };
        if partitions.is_some_and(|partitions| partitions < 1) {
            return Err(Trouble::said("The partitions must be greater than 0"));
        }
        if name.is_empty() {
            let text = "The given topic name '' cannot be represented in a request.";
            return Err(Trouble::said(text));
        }
        let assignments: Vec<(i32, Vec<i32>)> = (0..).zip(assignment).collect();
        let counted = assignments.is_empty();
        Ok(Self::Create(NewTopic {
            name,
            partitions: partitions.filter(|_| counted),
            replication_factor: replication_factor.filter(|_| counted),
            assignments,
            configs,
        }))
    }

    async fn carry_out(
        self,
        admin: &Admin,
        parsed: &Parsed,
        io: &mut Io<'_>,
    ) -> Result<(), Trouble> {
        match self {
            Self::List => {
                let names = topics(admin, parsed).await?;
                writeln!(io.out, "{}", names.join("\n"))?;
                Ok(())
            }
            Self::Describe => describe(admin, parsed, io).await,
            Self::Delete => {
                let names = existing(admin, parsed).await?;
                if names.is_empty() {
                    return Ok(());
                }
                let topics: Vec<TopicRef> = names.iter().cloned().map(TopicRef::Name).collect();
                for (_, outcome) in admin.delete_topics(&topics).await? {
                    outcome?;
                }
                settle(admin, |left| !names.iter().any(|name| left.contains(name))).await;
                Ok(())
            }
            Self::Create(topic) => create(admin, topic, parsed, io).await,
            Self::Alter { partitions, assignment } => {
                alter(admin, partitions, &assignment, parsed).await
            }
        }
    }
}

async fn create(
    admin: &Admin,
    topic: NewTopic,
    parsed: &Parsed,
    io: &mut Io<'_>,
) -> Result<(), Trouble> {
    let topics = [topic];
    for (name, outcome) in admin.create_topics(&topics, false).await? {
        match outcome {
            Ok(_) => {
                settle(admin, |names| names.contains(&name)).await;
                writeln!(io.out, "Created topic {name}.")?;
            }
            Err(error)
                if error.code == ErrorCode::TOPIC_ALREADY_EXISTS && parsed.has("if-not-exists") => {
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits a little until a broker knows what the controller has done: the next command of a script
/// comes sooner after this one than after a Java program.
async fn settle(admin: &Admin, done: impl Fn(&BTreeSet<String>) -> bool) {
    for _ in 0..SETTLE_TRIES {
        let Ok(listed) = admin.list_topics().await else { return };
        if done(&listed.into_iter().map(|topic| topic.name).collect()) {
            return;
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

async fn alter(
    admin: &Admin,
    partitions: i32,
    assignment: &[Vec<i32>],
    parsed: &Parsed,
) -> Result<(), Trouble> {
    let names = existing(admin, parsed).await?;
    if names.is_empty() {
        return Ok(());
    }
    let mut wanted = Vec::new();
    for (name, described) in admin.describe_topics(&names).await? {
        let described = described?;
        let new = assignment.get(described.partitions.len()..).unwrap_or_default();
        let new = (!assignment.is_empty()).then(|| new.to_vec());
        wanted.push((name, partitions, new));
    }
    let done = admin.create_partitions(&wanted, false).await?;
    done.into_iter().try_for_each(|(_, outcome)| Ok(outcome?))
}

/// The topics that are meant, by name.
async fn topics(admin: &Admin, parsed: &Parsed) -> Result<Vec<String>, Trouble> {
    let filter = parsed.once("topic").map_err(Trouble::said)?;
    let listed = admin.list_topics().await?;
    let filter = filter.map(TopicFilter::new).transpose().map_err(Trouble::said)?;
    let mut names: Vec<String> = listed
        .into_iter()
        .filter(|topic| {
            let hidden = topic.is_internal || is_internal(&topic.name);
            !(parsed.has("exclude-internal") && hidden)
        })
        .map(|topic| topic.name)
        .filter(|name| filter.as_ref().is_none_or(|filter| filter.allows(name)))
        .collect();
    names.sort_by(|left, right| left.encode_utf16().cmp(right.encode_utf16()));
    Ok(names)
}

/// As [`topics`]; there must be some unless `--if-exists` was given.
async fn existing(admin: &Admin, parsed: &Parsed) -> Result<Vec<String>, Trouble> {
    let names = topics(admin, parsed).await?;
    let asked = parsed.once("topic").map_err(Trouble::said)?.filter(|name| !name.is_empty());
    match asked {
        Some(name) if names.is_empty() && !parsed.has("if-exists") => {
            Err(Trouble::said(format!("Topic '{name}' does not exist as expected")))
        }
        _ => Ok(names),
    }
}

/// A partition on its way from brokers to others.
struct Reassignment {
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
}

type Reassignments = BTreeMap<(String, i32), Reassignment>;

async fn describe(admin: &Admin, parsed: &Parsed, io: &mut Io<'_>) -> Result<(), Trouble> {
    let topics = described(admin, parsed).await?;
    if topics.is_empty() {
        return Ok(());
    }
    let resources: Vec<ConfigResource> =
        topics.iter().map(|t| ConfigResource::new(ResourceKind::Topic, &t.name)).collect();
    let configs = admin.describe_configs(&resources, false, false).await?;
    let cluster = admin.describe_cluster(false).await?;
    let live: BTreeSet<i32> = cluster.brokers.iter().map(|live| live.broker.id).collect();
    let reassignments = reassignments(admin, &topics).await?;
    let report = REPORTS.iter().any(|flag| parsed.has(flag));
    for (topic, (_, config)) in topics.iter().zip(configs) {
        let config = config?;
        let overridden = config.iter().any(|entry| entry.source != ConfigSource::DEFAULT);
        if !report && (!parsed.has("topics-with-overrides") || overridden) {
            writeln!(io.out, "{}", topic_line(topic, &config, &reassignments))?;
        }
        if parsed.has("topics-with-overrides") {
            continue;
        }
        for partition in &topic.partitions {
            let moving = reassignments.get(&(topic.name.clone(), partition.index));
            if !report || reported(parsed, partition, moving, &config, &live) {
                writeln!(io.out, "{}", partition_line(&topic.name, partition, moving))?;
            }
        }
    }
    Ok(())
}

/// The topics to describe, in the order of Apache Kafka's maps.
async fn described(admin: &Admin, parsed: &Parsed) -> Result<Vec<TopicDescription>, Trouble> {
    let id = parsed.once("topic-id").map_err(Trouble::said)?;
    let id = id.map(topic_id).transpose().map_err(Trouble::said)?;
    if let Some(id) = id.filter(|id| *id != Uuid::default()) {
        let listed = admin.list_topics().await?;
        let known = listed
            .iter()
            .any(|topic| topic.id == id && !(parsed.has("exclude-internal") && topic.is_internal));
        return match known {
            true => {
                let found = admin.describe_topics_by_id(&[id]).await?;
                found.into_iter().map(|(_, topic)| Ok(topic?)).collect()
            }
            false if parsed.has("if-exists") => Ok(Vec::new()),
            false => Err(Trouble::said(format!("TopicId '{id}' does not exist as expected"))),
        };
    }
    let names = java::described_order(existing(admin, parsed).await?);
    let found = admin.describe_topics(&names).await?;
    found.into_iter().map(|(_, topic)| Ok(topic?)).collect()
}

async fn reassignments(
    admin: &Admin,
    topics: &[TopicDescription],
) -> Result<Reassignments, Trouble> {
    let asked = topics.iter().map(|topic| ListPartitionReassignmentsTopics {
        name: topic.name.clone(),
        partition_indexes: topic.partitions.iter().map(|partition| partition.index).collect(),
        ..Default::default()
    });
    let request = ListPartitionReassignmentsRequest {
        timeout_ms: 30_000,
        topics: Some(asked.collect()),
        ..Default::default()
    };
    let response = match admin.client().call(To::Controller, request).await {
        Ok(response) => response,
        // Not told is none, as for Apache Kafka's tool.
        Err(client::Error::Unsupported(_)) => return Ok(Reassignments::new()),
        Err(error) => return Err(error.into()),
    };
    let code = ErrorCode(response.error_code);
    match code {
        ErrorCode::UNSUPPORTED_VERSION | ErrorCode::CLUSTER_AUTHORIZATION_FAILED => {
            return Ok(Reassignments::new());
        }
        _ => client::ApiError::check(response.error_code, response.error_message)?,
    }
    let mut found = Reassignments::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let moving = Reassignment {
                replicas: partition.replicas,
                adding: partition.adding_replicas,
                removing: partition.removing_replicas,
            };
            found.insert((topic.name.clone(), partition.partition_index), moving);
        }
    }
    Ok(found)
}

/// Replicas that a partition is to have.
fn replication_factor(partition: &PartitionDescription, moving: Option<&Reassignment>) -> usize {
    let changing = |moving: &&Reassignment| {
        let mut changing = moving.adding.iter().chain(&moving.removing);
        changing.any(|replica| partition.replicas.contains(replica))
    };
    match moving.filter(changing) {
        Some(moving) => moving.replicas.len().saturating_sub(moving.adding.len()),
        None => partition.replicas.len(),
    }
}

fn reported(
    parsed: &Parsed,
    partition: &PartitionDescription,
    moving: Option<&Reassignment>,
    config: &[ConfigEntry],
    live: &BTreeSet<i32>,
) -> bool {
    let least = config.iter().find(|entry| entry.name == "min.insync.replicas");
    let least: usize =
        least.and_then(|entry| entry.value.as_deref()?.parse().ok()).unwrap_or_default();
    let in_sync = partition.isr.len();
    let is = [
        ("under-replicated-partitions", replication_factor(partition, moving) > in_sync),
        ("unavailable-partitions", partition.leader.is_none_or(|leader| !live.contains(&leader))),
        ("under-min-isr-partitions", partition.leader.is_none() || in_sync < least),
        ("at-min-isr-partitions", in_sync == least),
    ];
    is.into_iter().any(|(flag, is)| is && parsed.has(flag))
}

fn topic_line(
    topic: &TopicDescription,
    config: &[ConfigEntry],
    reassignments: &Reassignments,
) -> String {
    let id = match topic.id == Uuid::default() {
        true => String::new(),
        false => format!("\tTopicId: {}", topic.id),
    };
    let factor = topic.partitions.first().map_or(0, |first| {
        replication_factor(first, reassignments.get(&(topic.name.clone(), first.index)))
    });
    let mut entries: Vec<&ConfigEntry> = config.iter().collect();
    let place = |entry: &&ConfigEntry| CONFIGS.iter().position(|known| *known == entry.name);
    entries.sort_by_cached_key(|entry| (place(entry).unwrap_or(usize::MAX), entry.name.clone()));
    let configs: Vec<String> = entries
        .into_iter()
        .filter(|entry| entry.source != ConfigSource::DEFAULT)
        .map(|entry| format!("{}={}", entry.name, entry.value.as_deref().unwrap_or("null")))
        .collect();
    format!(
        "Topic: {}{id}\tPartitionCount: {}\tReplicationFactor: {factor}\tConfigs: {}",
        topic.name,
        topic.partitions.len(),
        configs.join(",")
    )
}

fn partition_line(
    topic: &str,
    partition: &PartitionDescription,
    moving: Option<&Reassignment>,
) -> String {
    let told =
        |ids: &Option<Vec<i32>>| ids.as_ref().map_or_else(|| "N/A".to_owned(), |ids| list(ids));
    let moving = moving.map_or_else(String::new, |moving| {
        let (adding, removing) = (list(&moving.adding), list(&moving.removing));
        format!("\tAdding Replicas: {adding}\tRemoving Replicas: {removing}")
    });
    let leader = partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
    format!(
        "\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}{moving}\tElr: {}\
         \tLastKnownElr: {}",
        partition.index,
        list(&partition.replicas),
        list(&partition.isr),
        told(&partition.elr),
        told(&partition.last_known_elr)
    )
}

fn list(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

/// `1:2,2:3`: the brokers of each partition.
fn assignments(text: &str) -> Result<Vec<Vec<i32>>, String> {
    let mut partitions: Vec<Vec<i32>> = Vec::new();
    if text.is_empty() {
        return Ok(partitions);
    }
    for (index, brokers) in java::split(text, ',').into_iter().enumerate() {
        let ids = java::split(brokers, ':').into_iter().map(|id| java::number(id.trim()));
        let ids = ids.collect::<Result<Vec<i32>, String>>()?;
        let mut seen = BTreeSet::new();
        let twice: BTreeSet<i32> = ids.iter().copied().filter(|id| !seen.insert(*id)).collect();
        if !twice.is_empty() {
            let twice: Vec<i32> = twice.into_iter().collect();
            return Err(format!(
                "Partition replica lists may not contain duplicate entries: {}",
                list(&twice)
            ));
        }
        if partitions.first().is_some_and(|first| first.len() != ids.len()) {
            return Err(format!(
                "Partition {index} has different replication factor: [{}]",
                list(&ids).replace(',', ", ")
            ));
        }
        partitions.push(ids);
    }
    Ok(partitions)
}

/// The `--config` of a topic to create, checked as far as that needs no cluster.
fn configs(parsed: &Parsed) -> Result<Vec<(String, String)>, String> {
    let mut configs = BTreeMap::new();
    for text in parsed.values("config") {
        let mut parts: Vec<&str> = text.split('=').collect();
        while parts.len() > 1 && parts.last().is_some_and(|last| last.trim().is_empty()) {
            parts.pop();
        }
        match parts.as_slice() {
            [key, value] => configs.insert(key.trim().to_owned(), value.trim().to_owned()),
            _ => {
                return Err("requirement failed: Invalid topic config: all configs to be added \
                            must be in the format \"key=val\"."
                    .into());
            }
        };
    }
    let mut local = configs.clone();
    // Whether the cluster has tiered storage is not for this side to say.
    local.remove("remote.storage.enable");
    // Nor is what it retains of itself, which the bounds of holding must not be below.
    local.remove(config::topic::RETENTION_GROUPS);
    config::topic::validate(&local, &config::Layers::default())
        .map_err(|invalid| invalid.to_string())?;
    Ok(configs.into_iter().collect())
}

/// A topic id in the words of Java's parser.
fn topic_id(text: &str) -> Result<Uuid, String> {
    if text.len() > 24 {
        let start: String = text.chars().take(24).collect();
        return Err(format!(
            "Input string with prefix `{start}` is too long to be decoded as a base64 UUID"
        ));
    }
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || [b'-', b'_', b'='].contains(byte);
    if let Some(bad) = text.bytes().find(|byte| !is_digit(byte)) {
        return Err(format!("Illegal base64 character {bad:x}"));
    }
    text.trim_end_matches('=').parse().map_err(|_| {
        let bytes = text.trim_end_matches('=').len() * 3 / 4;
        format!(
            "Input string `{text}` decoded as {bytes} bytes, which is not equal to the expected \
             16 bytes of a base64-encoded UUID"
        )
    })
}

const ACTIONS: &[&str] = &["list", "describe", "create", "alter", "delete"];
const REPORTS: &[&str] = &[
    "under-replicated-partitions",
    "unavailable-partitions",
    "under-min-isr-partitions",
    "at-min-isr-partitions",
];
const SETTLE_TRIES: u32 = 50;
const SETTLE_PAUSE: Duration = Duration::from_millis(20);
/// Topic keys in the order in which Apache Kafka's hash map gives them back.
const CONFIGS: &[&str] = &[
    "compression.type",
    "remote.log.delete.on.disable",
    "leader.replication.throttled.replicas",
    "remote.storage.enable",
    "min.insync.replicas",
    "segment.jitter.ms",
    "remote.log.copy.disable",
    "internal.segment.bytes",
    "local.retention.ms",
    "cleanup.policy",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "segment.bytes",
    "retention.ms",
    "compression.gzip.level",
    "flush.messages",
    "compression.zstd.level",
    "max.compaction.lag.ms",
    "file.delete.delay.ms",
    "max.message.bytes",
    "min.compaction.lag.ms",
    "message.timestamp.type",
    "local.retention.bytes",
    "preallocate",
    "index.interval.bytes",
    "min.cleanable.dirty.ratio",
    "unclean.leader.election.enable",
    "retention.bytes",
    "delete.retention.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "segment.ms",
    "segment.index.bytes",
];
/// Flags and the actions they are for.
const ONLY_WITH: &[(&str, &[&str])] = &[
    ("config", &["create", "alter"]),
    ("partitions", &["create", "alter"]),
    ("replication-factor", &["create"]),
    ("replica-assignment", &["create", "alter"]),
    ("under-replicated-partitions", &["describe"]),
    ("under-min-isr-partitions", &["describe"]),
    ("at-min-isr-partitions", &["describe"]),
    ("unavailable-partitions", &["describe"]),
    ("topics-with-overrides", &["describe"]),
    ("if-exists", &["alter", "delete", "describe"]),
    ("if-not-exists", &["create"]),
    ("exclude-internal", &["list", "describe"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_for_test;

    #[test]
    fn flags_that_do_not_go_together_are_refused_before_anything_is_asked() {
        let told = |args: &[&str]| {
            let (code, out, err) = run_for_test(&TOOL, args, "");
            (code, out, err.lines().next().unwrap_or_default().to_owned())
        };
        let refused = |args: &[&str], text: &str| {
            assert_eq!(told(args), (1, String::new(), format!("error: {text}")));
        };
        let server = "--bootstrap-server=localhost:1";
        refused(&["--list"], "--bootstrap-server is required");
        refused(
            &[server],
            "exactly one is required of --list, --describe, --create, --alter, --delete",
        );
        refused(&[server, "--create"], "--topic is required");
        refused(&[server, "--alter", "--topic", "t"], "--partitions is required");
        refused(&[server, "--list", "--if-exists"], "--if-exists can't be used with --list");
        refused(
            &[server, "--create", "--topic=t", "--replica-assignment=1", "--partitions=1"],
            "--replica-assignment can't be used with --partitions",
        );
    }

    #[test]
    fn values_that_make_no_sense_are_told_on_standard_output() {
        let said = |args: &[&str]| {
            let mut all = vec!["--bootstrap-server=localhost:1", "--create", "--topic=t"];
            all.extend(args);
            let (code, out, err) = run_for_test(&TOOL, &all, "");
            assert_eq!((code, err.as_str()), (1, ""));
            let text = out.strip_prefix("Error while executing topic command : ");
            text.unwrap_or(&out).trim_end().to_owned()
        };
        assert_eq!(
            said(&["--topic=u"]),
            "Found multiple arguments for option topic, but you asked for only one"
        );
        assert_eq!(said(&["--partitions=x"]), "Cannot parse argument 'x' of option partitions");
        assert_eq!(said(&["--partitions=0"]), "The partitions must be greater than 0");
        let factor = "The replication factor must be between 1 and 32767 inclusive";
        assert_eq!(said(&["--replication-factor=32768"]), factor);
        assert_eq!(said(&["--replica-assignment=1:x"]), "For input string: \"x\"");
        let twice = "Partition replica lists may not contain duplicate entries: 1";
        assert_eq!(said(&["--replica-assignment=1:1"]), twice);
        let lengths = "Partition 1 has different replication factor: [1, 2]";
        assert_eq!(said(&["--replica-assignment=1,1:2"]), lengths);
        assert!(said(&["--config=a=b=c"]).starts_with("requirement failed: Invalid topic config"));
        assert_eq!(said(&["--config=nope=1"]), "Unknown topic config name: nope");
        assert_eq!(
            said(&["--config", "retention.ms = abc"]),
            "Invalid value abc for configuration retention.ms: Not a number of type LONG"
        );
    }

    #[test]
    fn topic_ids_fail_in_javas_words() {
        assert!(topic_id("AAAAAAAAAAAAAAAAAAAAAQ").is_ok());
        assert!(topic_id("foo").unwrap_err().contains("decoded as 2 bytes"));
        assert_eq!(topic_id("?oo").unwrap_err(), "Illegal base64 character 3f");
        assert!(topic_id("AAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap_err().contains("too long"));
    }

    fn partition(index: i32, replicas: &[i32], isr: &[i32]) -> PartitionDescription {
        PartitionDescription {
            index,
            code: ErrorCode::NONE,
            leader: isr.first().copied(),
            leader_epoch: 0,
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
            elr: Some(Vec::new()),
            last_known_elr: None,
            offline: Vec::new(),
        }
    }

    #[test]
    fn lines_have_apache_kafkas_columns() {
        let moving = Reassignment { replicas: vec![1, 2, 3], adding: vec![3], removing: vec![1] };
        let line = partition_line("t", &partition(4, &[1, 2, 3], &[]), Some(&moving));
        assert_eq!(
            line,
            "\tTopic: t\tPartition: 4\tLeader: none\tReplicas: 1,2,3\tIsr: \tAdding Replicas: 3\
             \tRemoving Replicas: 1\tElr: \tLastKnownElr: N/A"
        );
        let topic = TopicDescription {
            name: "t".into(),
            id: Uuid::default(),
            is_internal: false,
            partitions: vec![partition(0, &[1, 2, 3], &[1])],
        };
        let moving = Reassignments::from([(("t".to_owned(), 0), moving)]);
        let line = topic_line(&topic, &[], &moving);
        assert_eq!(line, "Topic: t\tPartitionCount: 1\tReplicationFactor: 2\tConfigs: ");
    }
}
