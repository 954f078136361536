//! `ottla topic`: lists, describes, makes, changes and deletes topics.

use client::admin::{
    AlterOp, ConfigChange, ConfigResource, Isolation, NewTopic, OffsetSpec, ResourceKind,
    TopicDescription, TopicRef,
};
use client::{Admin, ApiError, TopicPartition};
use serde_json::{Map, Value, json};

use super::output::{Column, column};
use super::{
    COMMAND_CONFIG, Call, DRY_RUN, NOT_FOUND, OUTPUT, PROPERTY, SERVER, Tally, Verb, YES,
    about_topic, failed, told,
};
use crate::flags::{Flag, Spec, switch, value};
use crate::topic_filter::TopicFilter;
use crate::{Failure, Io, cluster};

pub(super) static LIST: Verb = Verb {
    spec: &Spec {
        tool: "ottla topic list",
        about: "Lists topics, all or those that a regular expression matches as a whole.",
        flags: &[
            switch(&["internal"], "The cluster's own topics, too."),
            OUTPUT,
            SERVER,
            PROPERTY,
            COMMAND_CONFIG,
        ],
    },
    arguments: ("[PATTERN]...", 0..=usize::MAX),
    run: list,
};

pub(super) static DESCRIBE: Verb = Verb {
    spec: &Spec {
        tool: "ottla topic describe",
        about: "Shows partitions, replicas, offsets and what was configured for topics.",
        flags: &[OUTPUT, SERVER, PROPERTY, COMMAND_CONFIG],
    },
    arguments: ("TOPIC...", 1..=usize::MAX),
    run: describe,
};

pub(super) static CREATE: Verb = Verb {
    spec: &Spec {
        tool: "ottla topic create",
        about: "Makes topics.",
        flags: &[
            PARTITIONS,
            value(&["replicas", "r"], "n", "Replicas of each partition; the cluster's default."),
            CONFIG,
            switch(&["if-not-exists"], "A topic that is there already is no error."),
            DRY_RUN,
            OUTPUT,
            SERVER,
            PROPERTY,
            COMMAND_CONFIG,
        ],
    },
    arguments: ("TOPIC...", 1..=usize::MAX),
    run: create,
};

pub(super) static ALTER: Verb = Verb {
    spec: &Spec {
        tool: "ottla topic alter",
        about: "Gives topics more partitions, and sets or unsets what is configured for them.",
        flags: &[
            PARTITIONS,
            CONFIG,
            value(&["unset"], "key", "Goes back to the cluster's default. May be repeated."),
            DRY_RUN,
            OUTPUT,
            SERVER,
            PROPERTY,
            COMMAND_CONFIG,
        ],
    },
    arguments: ("TOPIC...", 1..=usize::MAX),
    run: alter,
};

pub(super) static DELETE: Verb = Verb {
    spec: &Spec {
        tool: "ottla topic delete",
        about: "Deletes topics with their records.",
        flags: &[YES, DRY_RUN, OUTPUT, SERVER, PROPERTY, COMMAND_CONFIG],
    },
    arguments: ("TOPIC...", 1..=usize::MAX),
    run: delete,
};

const PARTITIONS: Flag =
    value(&["partitions", "p"], "n", "How many partitions in all; the cluster's default.");
const CONFIG: Flag =
    value(&["config", "c"], "key=value", "Configuration of the topic. May be repeated.");

const LISTED: &[Column] = &[
    column("TOPIC", "topic"),
    column("PARTITIONS", "partitions"),
    column("REPLICAS", "replicas"),
    column("INTERNAL", "internal"),
];
const PARTITION: &[Column] = &[
    column("TOPIC", "topic"),
    column("PARTITION", "partition"),
    column("LEADER", "leader"),
    column("REPLICAS", "replicas"),
    column("ISR", "isr"),
    column("START", "start_offset"),
    column("END", "end_offset"),
];
const CHANGED: &[Column] = &[column("TOPIC", "topic"), column("RESULT", "result")];

fn list(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let patterns = call.arguments().iter().map(|pattern| TopicFilter::new(pattern));
    let patterns = patterns.collect::<Result<Vec<_>, _>>().map_err(|text| call.wrong(&text))?;
    let properties = call.properties(&[])?;
    let internal = call.parsed.has("internal");
    let rows = cluster::block_on(async {
        let admin = call.connect(&properties).await?;
        let listed = admin.list_topics().await.map_err(failed)?.into_iter();
        let names: Vec<String> = listed
            .filter(|topic| internal || !topic.is_internal)
            .map(|topic| topic.name)
            .filter(|name| patterns.is_empty() || patterns.iter().any(|one| one.allows(name)))
            .collect();
        let described = admin.describe_topics(&names).await.map_err(failed)?.into_iter();
        // One that was deleted in between is not in the list any more.
        let rows = described.filter_map(|(_, topic)| topic.ok()).map(|topic| {
            json!({
                "topic": topic.name,
                "id": topic.id.to_string(),
                "partitions": topic.partitions.len(),
                "replicas": topic.partitions.first().map(|first| first.replicas.len()),
                "internal": topic.is_internal,
            })
        });
        Ok::<_, Failure>(rows.collect::<Vec<_>>())
    })??;
    call.output.rows(call.io.out, LISTED, &rows)?;
    Ok(0)
}

fn describe(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let names = call.names();
    let properties = call.properties(&[])?;
    let mut tally = Tally::default();
    let found = cluster::block_on(async {
        let admin = call.connect(&properties).await?;
        let mut found = Vec::new();
        for (name, topic) in admin.describe_topics(&names).await.map_err(failed)? {
            match topic {
                Ok(topic) => {
                    tally.done();
                    found.push(whole(&admin, &topic, call.io).await?);
                }
                Err(error) => {
                    let error = about_topic(&admin, &name, error).await;
                    tally.failed(call.io, &name, &error);
                }
            }
        }
        Ok::<_, Failure>(found)
    })??;
    if call.output.is_json() {
        call.output.rows(call.io.out, LISTED, &found)?;
        return Ok(tally.code());
    }
    let rows: Vec<Value> = found.iter().flat_map(flat).collect();
    call.output.rows(call.io.out, PARTITION, &rows)?;
    for topic in &found {
        let configs = topic.get("configs").and_then(Value::as_object);
        for (key, value) in configs.into_iter().flatten() {
            let (name, value) = (topic.get("topic"), value.as_str().unwrap_or_default());
            let name = name.and_then(Value::as_str).unwrap_or_default();
            writeln!(call.io.out, "{name}: {key}={}", super::output::escape(value))?;
        }
    }
    Ok(tally.code())
}

/// A topic with offsets and configuration, as `-o json` has it.
async fn whole(admin: &Admin, topic: &TopicDescription, io: &mut Io<'_>) -> Result<Value, Failure> {
    let all = |spec| {
        let named = topic.partitions.iter().filter(|partition| partition.leader.is_some());
        named.map(move |one| (TopicPartition::new(&topic.name, one.index), spec))
    };
    let mut offsets = Vec::new();
    for spec in [OffsetSpec::Earliest, OffsetSpec::Latest] {
        let wanted: Vec<_> = all(spec).collect();
        let found = admin.list_offsets(&wanted, Isolation::ReadUncommitted).await;
        let mut by_partition = Map::new();
        for (partition, listed) in found.map_err(failed)? {
            match listed {
                Ok(listed) => {
                    by_partition.insert(partition.partition.to_string(), listed.offset.into());
                }
                Err(error) => drop(writeln!(io.err, "warning: offsets of {partition}: {error}")),
            }
        }
        offsets.push(by_partition);
    }
    let offset = |which: usize, index: i32| {
        offsets.get(which).and_then(|found| found.get(&index.to_string())).cloned()
    };
    let partitions = topic.partitions.iter().map(|one| {
        json!({
            "partition": one.index,
            "leader": one.leader,
            "leader_epoch": one.leader_epoch,
            "replicas": one.replicas,
            "isr": one.isr,
            "offline": one.offline,
            "start_offset": offset(0, one.index),
            "end_offset": offset(1, one.index),
        })
    });
    let partitions: Vec<Value> = partitions.collect();
    let resource = ConfigResource::new(ResourceKind::Topic, &topic.name);
    let described = admin.describe_configs(&[resource], false, false).await.map_err(failed)?;
    let mut configs = Map::new();
    for (_, entries) in described {
        match entries {
            Ok(entries) => configs.extend(
                entries
                    .into_iter()
                    .filter(|entry| entry.source.name() == "DYNAMIC_TOPIC_CONFIG")
                    .map(|entry| (entry.name, Value::from(entry.value))),
            ),
            Err(error) => {
                drop(writeln!(io.err, "warning: configuration of {}: {error}", topic.name))
            }
        }
    }
    Ok(json!({
        "topic": topic.name,
        "id": topic.id.to_string(),
        "internal": topic.is_internal,
        "partitions": partitions,
        "configs": configs,
    }))
}

/// A row for each partition of a topic.
fn flat(topic: &Value) -> Vec<Value> {
    let name = topic.get("topic").cloned().unwrap_or_default();
    let partitions = topic.get("partitions").and_then(Value::as_array).cloned();
    let mut rows = partitions.unwrap_or_default();
    for row in &mut rows {
        if let Some(fields) = row.as_object_mut() {
            fields.insert("topic".into(), name.clone());
        }
    }
    rows
}

/// `KEY=VALUE` of every `--config`.
fn configs(call: &Call<'_, '_>) -> Result<Vec<(String, String)>, Failure> {
    let pairs = call.parsed.values("config").map(|pair| {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| call.wrong(&format!("--config {pair}: expected KEY=VALUE")))?;
        Ok((key.trim().to_owned(), value.to_owned()))
    });
    pairs.collect()
}

fn number<T: std::str::FromStr>(call: &Call<'_, '_>, name: &str) -> Result<Option<T>, Failure> {
    call.parsed.number(name).map_err(super::usage)
}

fn create(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let configs = configs(call)?;
    let (partitions, replicas) = (number(call, "partitions")?, number(call, "replicas")?);
    let topics: Vec<NewTopic> = call
        .names()
        .into_iter()
        .map(|name| NewTopic {
            name,
            partitions,
            replication_factor: replicas,
            configs: configs.clone(),
            ..NewTopic::default()
        })
        .collect();
    let dry = call.parsed.has("dry-run");
    let properties = call.properties(&[])?;
    let made = cluster::block_on(async {
        let admin = call.connect(&properties).await?;
        admin.create_topics(&topics, dry).await.map_err(failed)
    })??;
    let existing_is_fine = call.parsed.has("if-not-exists");
    let word = if dry { "would be created" } else { "created" };
    let results = made.into_iter().map(|(name, made)| match made {
        Ok(made) => {
            let fields = json!({
                "partitions": made.partitions,
                "replicas": made.replication_factor,
                "id": made.id.to_string(),
            });
            (name, Ok((word, fields)))
        }
        Err(error) if existing_is_fine && error.code == wire::ErrorCode::TOPIC_ALREADY_EXISTS => {
            (name, Ok(("exists", json!({}))))
        }
        Err(error) => (name, Err(error)),
    });
    call.report("topic", CHANGED, results)
}

fn alter(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let set = configs(call)?;
    let unset: Vec<String> = call.parsed.values("unset").map(str::to_owned).collect();
    let partitions: Option<i32> = number(call, "partitions")?;
    if set.is_empty() && unset.is_empty() && partitions.is_none() {
        return Err(call.wrong("one is required of --partitions, --config, --unset"));
    }
    let names = call.names();
    let dry = call.parsed.has("dry-run");
    let properties = call.properties(&[])?;
    let results = cluster::block_on(async {
        let admin = call.connect(&properties).await?;
        let mut results: Results = names.iter().map(|name| (name.clone(), Ok(()))).collect();
        let changes = changes(set, unset);
        if let Some(count) = partitions.filter(|_| !changes.is_empty()) {
            // What is refused later must not have been done by half.
            grow(&admin, &mut results, count, true).await?;
        }
        if !changes.is_empty() {
            let named = |(name, _): &(String, _)| {
                (ConfigResource::new(ResourceKind::Topic, name), changes.clone())
            };
            let left = results.iter().filter(|(_, result)| result.is_ok());
            let asked: Vec<_> = left.map(named).collect();
            let altered = admin.incremental_alter_configs(&asked, dry).await.map_err(failed)?;
            let altered = altered.into_iter().map(|(resource, result)| (resource.name, result));
            note(&mut results, altered);
        }
        if let Some(count) = partitions {
            grow(&admin, &mut results, count, dry).await?;
        }
        Ok::<_, Failure>(results)
    })??;
    let word = if dry { "would be altered" } else { "altered" };
    let results = results.into_iter();
    let results = results.map(|(name, result)| (name, result.map(|()| (word, json!({})))));
    call.report("topic", CHANGED, results)
}

type Results = Vec<(String, Result<(), ApiError>)>;

/// Gives topics without an error so far more partitions, or only checks that it could.
async fn grow(admin: &Admin, results: &mut Results, count: i32, dry: bool) -> Result<(), Failure> {
    let left = results.iter().filter(|(_, result)| result.is_ok());
    let asked: Vec<_> = left.map(|(name, _)| (name.clone(), count, None)).collect();
    let grown = admin.create_partitions(&asked, dry).await.map_err(failed)?;
    note(results, grown.into_iter());
    Ok(())
}

/// Notes what became of some of them.
fn note(results: &mut Results, found: impl Iterator<Item = (String, Result<(), ApiError>)>) {
    for (name, result) in found {
        let place = results.iter_mut().find(|(known, _)| *known == name);
        place.into_iter().for_each(|(_, known)| *known = result.clone());
    }
}

/// The changes of keys that are given values and of those that lose theirs.
pub(super) fn changes(set: Vec<(String, String)>, unset: Vec<String>) -> Vec<ConfigChange> {
    let set = set.into_iter().map(|(name, value)| {
        let ops = [('+', AlterOp::Append), ('-', AlterOp::Subtract)];
        let op = ops.iter().find_map(|(sign, op)| Some((name.strip_suffix(*sign)?, *op)));
        let (name, op) = op.unwrap_or((&name, AlterOp::Set));
        ConfigChange { name: name.to_owned(), op, value: Some(value) }
    });
    let unset =
        unset.into_iter().map(|name| ConfigChange { name, op: AlterOp::Delete, value: None });
    set.chain(unset).collect()
}

fn delete(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let names = call.names();
    let dry = call.parsed.has("dry-run");
    let properties = call.properties(&[])?;
    if !dry {
        call.confirm(&format!("delete {}", names.join(", ")))?;
    }
    let results = cluster::block_on(async {
        let admin = call.connect(&properties).await?;
        let mut results = Vec::new();
        let found = admin.describe_topics(&names).await.map_err(failed)?;
        let mut there = Vec::new();
        for (name, topic) in found {
            match topic {
                Ok(_) => there.push(TopicRef::Name(name)),
                Err(error) => {
                    let error = about_topic(&admin, &name, error).await;
                    results.push((name, Err(error)));
                }
            }
        }
        let deleted = match dry || there.is_empty() {
            true => there.into_iter().map(|topic| (topic, Ok(()))).collect(),
            false => admin.delete_topics(&there).await.map_err(failed)?,
        };
        let word = if dry { "would be deleted" } else { "deleted" };
        for (topic, result) in deleted {
            let name = match topic {
                TopicRef::Name(name) => name,
                TopicRef::Id(id) => id.to_string(),
            };
            results.push((name, result.map(|()| (word, json!({})))));
        }
        Ok::<_, Failure>(results)
    })??;
    call.report("topic", CHANGED, results.into_iter())
}

/// The partitions of a topic that has to be there.
pub(super) async fn partitions(admin: &Admin, name: &str) -> Result<Vec<i32>, Failure> {
    let described = admin.describe_topics(&[name.to_owned()]).await.map_err(failed)?;
    match described.into_iter().next() {
        Some((_, Ok(topic))) => Ok(topic.partitions.iter().map(|one| one.index).collect()),
        Some((_, Err(error))) => {
            let error = about_topic(admin, name, error).await;
            Err(told(format!("error: {name}: {error}"), super::exit_code(error.code)))
        }
        None => Err(told(format!("error: {name}: nothing is known of it"), NOT_FOUND)),
    }
}
