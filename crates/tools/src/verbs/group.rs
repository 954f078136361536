//! `ottla group`: lists, describes and deletes groups, and moves what they committed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;

use client::admin::{CommittedOffset, GroupDescription, Isolation};
use client::{Admin, ApiError, TopicPartition};
use serde_json::{Value, json};
use wire::ErrorCode;

use super::output::{Column, Output, column, escape};
use super::range::{Bounds, Place, bounds};
use super::{
    COMMAND_CONFIG, Call, DRY_RUN, NOT_FOUND, OUTPUT, PROPERTY, SERVER, Tally, Verb, YES,
    did_you_mean, failed, told, topic, usage,
};
use crate::flags::{Spec, value};
use crate::{Failure, Io, cluster};

pub(super) static LIST: Verb = Verb {
    spec: &Spec {
        tool: "ottla group list",
        about: "Lists groups.",
        flags: &[
            value(&["state"], "state", "Only of this state: Stable, Empty ... May be repeated."),
            OUTPUT,
            SERVER,
            PROPERTY,
            COMMAND_CONFIG,
        ],
    },
    arguments: ("", 0..=0),
    run: list,
};

pub(super) static DESCRIBE: Verb = Verb {
    spec: &Spec {
        tool: "ottla group describe",
        about: "Shows members, committed offsets and how far they are behind.",
        flags: &[OUTPUT, SERVER, PROPERTY, COMMAND_CONFIG],
    },
    arguments: ("GROUP...", 1..=usize::MAX),
    run: describe,
};

pub(super) static RESET: Verb = Verb {
    spec: &Spec {
        tool: "ottla group reset",
        about: "Moves what a group without members committed, and shows from where to where.",
        flags: &[
            value(
                &["to"],
                "place",
                "start, end, an offset, +N after the start, -N before the end, or @TIME.",
            ),
            value(&["shift"], "n", "Instead: so many further, or back (-N)."),
            value(
                &["topic", "t"],
                "topic[:n,...]",
                "Of this topic, or these partitions of it; may be repeated. All that the group \
                 committed unless given.",
            ),
            YES,
            DRY_RUN,
            OUTPUT,
            SERVER,
            PROPERTY,
            COMMAND_CONFIG,
        ],
    },
    arguments: ("GROUP", 1..=1),
    run: reset,
};

pub(super) static DELETE: Verb = Verb {
    spec: &Spec {
        tool: "ottla group delete",
        about: "Deletes groups without members, and what they committed.",
        flags: &[YES, DRY_RUN, OUTPUT, SERVER, PROPERTY, COMMAND_CONFIG],
    },
    arguments: ("GROUP...", 1..=usize::MAX),
    run: delete,
};

const LISTED: &[Column] = &[
    column("GROUP", "group"),
    column("STATE", "state"),
    column("TYPE", "type"),
    column("PROTOCOL", "protocol"),
];
const OFFSETS: &[Column] = &[
    column("GROUP", "group"),
    column("TOPIC", "topic"),
    column("PARTITION", "partition"),
    column("COMMITTED", "committed"),
    column("END", "end_offset"),
    column("LAG", "lag"),
    column("MEMBER", "member"),
    column("HOST", "host"),
];
const MOVED: &[Column] = &[
    column("TOPIC", "topic"),
    column("PARTITION", "partition"),
    column("OLD", "old"),
    column("NEW", "new"),
    column("DELTA", "delta"),
    column("RESULT", "result"),
];
const CHANGED: &[Column] = &[column("GROUP", "group"), column("RESULT", "result")];
/// Of groups of every kind.
const STATES: &[&str] = &[
    "Stable",
    "Empty",
    "PreparingRebalance",
    "CompletingRebalance",
    "Dead",
    "Assigning",
    "Reconciling",
    "NotReady",
    "Initializing",
];

fn list(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let states = call.parsed.separated("state").map(|state| {
        let known = STATES.iter().find(|known| known.eq_ignore_ascii_case(state));
        known.map(|known| (*known).to_owned()).ok_or_else(|| {
            call.wrong(&format!("--state {state}: expected one of {}", STATES.join(", ")))
        })
    });
    let states = states.collect::<Result<Vec<String>, Failure>>()?;
    let properties = call.properties(&[])?;
    let groups = cluster::block_on(async {
        let admin = call.connect(&properties).await?;
        admin.list_groups(&states, &[]).await.map_err(failed)
    })??;
    let rows: Vec<Value> = groups
        .into_iter()
        .map(|group| {
            json!({
                "group": group.group_id,
                "state": group.state,
                "type": group.kind.to_ascii_lowercase(),
                "protocol": group.protocol_type,
            })
        })
        .collect();
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
        for (name, group) in admin.describe_groups(&names).await.map_err(failed)? {
            match group.and_then(there) {
                Ok(group) => {
                    tally.done();
                    found.push(whole(&admin, &group, call.io).await?);
                }
                Err(error) => {
                    let error = with_hint(&admin, &name, error).await;
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
    let mut rows = Vec::new();
    for group in &found {
        let text = |field: &str| group.get(field).and_then(Value::as_str).unwrap_or_default();
        let all = |field: &str| group.get(field).and_then(Value::as_array).cloned();
        let members = all("members").unwrap_or_default().len();
        let (name, state) = (escape(text("group")), escape(text("state")));
        let _ = writeln!(call.io.err, "{name}: {state}, {members} member(s)");
        for mut row in all("offsets").unwrap_or_default() {
            if let Some(fields) = row.as_object_mut() {
                fields.insert("group".into(), text("group").into());
            }
            rows.push(row);
        }
    }
    call.output.rows(call.io.out, OFFSETS, &rows)?;
    Ok(tally.code())
}

/// A group that is dead is none: older brokers answer so for groups that never were.
fn there(group: GroupDescription) -> Result<GroupDescription, ApiError> {
    if group.state == "Dead" {
        let message = format!("Group {} not found.", group.group_id);
        return Err(ApiError { code: ErrorCode::GROUP_ID_NOT_FOUND, message });
    }
    Ok(group)
}

async fn with_hint(admin: &Admin, name: &str, error: ApiError) -> ApiError {
    if error.code != ErrorCode::GROUP_ID_NOT_FOUND {
        return error;
    }
    let groups = admin.list_groups(&[], &[]).await.unwrap_or_default();
    let nearest = config::nearest(name, groups.iter().map(|group| group.group_id.as_str()));
    let hint = did_you_mean(nearest);
    ApiError { message: format!("{error}{hint}"), code: error.code }
}

/// A group with members and offsets, as `-o json` has it.
async fn whole(admin: &Admin, group: &GroupDescription, io: &mut Io<'_>) -> Result<Value, Failure> {
    let committed = committed(admin, &group.group_id, io).await?;
    let mut readers = BTreeMap::new();
    for member in &group.members {
        readers.extend(member.assignment.iter().map(|one| (one.clone(), member)));
    }
    // What is read and was never committed belongs here as well.
    let all: BTreeSet<&TopicPartition> = committed.keys().chain(readers.keys()).collect();
    let all: Vec<TopicPartition> = all.into_iter().cloned().collect();
    let bounds = known_bounds(admin, &all, io).await?;
    let offsets = all.iter().map(|partition| {
        let committed = committed.get(partition).map(|one| one.offset);
        let end = bounds.get(partition).map(|(_, end)| *end);
        let reader = readers.get(partition);
        json!({
            "topic": partition.topic,
            "partition": partition.partition,
            "committed": committed,
            "end_offset": end,
            "lag": end.zip(committed).map(|(end, committed)| end - committed),
            "member": reader.map(|member| &member.member_id),
            "host": reader.map(|member| &member.host),
        })
    });
    let offsets: Vec<Value> = offsets.collect();
    let members = group.members.iter().map(|member| {
        json!({
            "member": member.member_id,
            "instance": member.instance_id,
            "client": member.client_id,
            "host": member.host,
            "partitions": member.assignment.iter().map(|one| {
                json!({ "topic": one.topic, "partition": one.partition })
            }).collect::<Vec<_>>(),
        })
    });
    let members: Vec<Value> = members.collect();
    let coordinator = group
        .coordinator
        .as_ref()
        .map(|broker| json!({ "id": broker.id, "host": broker.host, "port": broker.port }));
    Ok(json!({
        "group": group.group_id,
        "state": group.state,
        "type": group.kind.to_ascii_lowercase(),
        "protocol": group.protocol_type,
        "assignor": group.assignor,
        "coordinator": coordinator,
        "members": members,
        "offsets": offsets,
    }))
}

type Committed = BTreeMap<TopicPartition, CommittedOffset>;

async fn committed(admin: &Admin, group: &str, io: &mut Io<'_>) -> Result<Committed, Failure> {
    let found = admin.list_consumer_group_offsets(group, None, false).await.map_err(failed)?;
    let mut committed = BTreeMap::new();
    for (partition, answer) in found {
        match answer {
            Ok(Some(offset)) => drop(committed.insert(partition, offset)),
            Ok(None) => {}
            Err(error) => drop(writeln!(io.err, "warning: {partition}: {error}")),
        }
    }
    Ok(committed)
}

/// Bounds of those partitions that are there: groups outlive topics.
async fn known_bounds(
    admin: &Admin,
    partitions: &[TopicPartition],
    io: &mut Io<'_>,
) -> Result<Bounds, Failure> {
    let names: BTreeSet<String> = partitions.iter().map(|one| one.topic.to_string()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let mut known = BTreeSet::new();
    for (name, topic) in admin.describe_topics(&names).await.map_err(failed)? {
        match topic {
            Ok(topic) => known.extend(
                topic
                    .partitions
                    .iter()
                    .filter(|partition| partition.leader.is_some())
                    .map(|partition| TopicPartition::new(&name, partition.index)),
            ),
            Err(error) => drop(writeln!(io.err, "warning: {name}: {error}")),
        }
    }
    let there = partitions.iter().filter(|one| known.contains(*one)).cloned();
    bounds(admin, &there.collect::<Vec<_>>(), Isolation::ReadUncommitted).await
}

/// How committed offsets are moved.
#[derive(Clone, Copy)]
enum Move {
    To(Place),
    Shift(i64),
}

fn reset(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let group = call.arguments().first().cloned().unwrap_or_default();
    let parsed = call.parsed;
    let to = parsed.value("to").map_err(usage)?.map(Place::read).transpose();
    let to = to.map_err(|text| call.wrong(&format!("--to {text}")))?;
    let wanted = match (to, parsed.number("shift").map_err(usage)?) {
        (Some(place), None) => Move::To(place),
        (None, Some(shift)) => Move::Shift(shift),
        _ => return Err(call.wrong("exactly one is required of --to, --shift")),
    };
    let topics: Vec<String> = parsed.values("topic").map(str::to_owned).collect();
    let dry = parsed.has("dry-run");
    let properties = call.properties(&[])?;
    cluster::block_on(async {
        let admin = call.connect(&properties).await?;
        let state = state(&admin, &group).await?;
        let committed = match state {
            Some(_) => committed(&admin, &group, call.io).await?,
            None => Committed::new(),
        };
        let partitions = match topics.is_empty() {
            true if state.is_none() => {
                let missing = ApiError {
                    code: ErrorCode::GROUP_ID_NOT_FOUND,
                    message: format!("Group {group} not found."),
                };
                let error = with_hint(&admin, &group, missing).await;
                return Err(told(format!("error: {error}"), NOT_FOUND));
            }
            true => committed.keys().cloned().collect(),
            false => chosen(&admin, &topics, call).await?,
        };
        let moves = moves(&admin, wanted, &partitions, &committed, call.io).await?;
        let row = |partition: &TopicPartition, new: i64, result: &str| {
            let old = committed.get(partition).map(|old| old.offset);
            json!({
                "topic": partition.topic,
                "partition": partition.partition,
                "old": old,
                "new": new,
                "delta": old.map(|old| new - old),
                "result": result,
            })
        };
        let planned: Vec<Value> =
            moves.iter().map(|(partition, new)| row(partition, *new, "would be moved")).collect();
        if dry || moves.is_empty() {
            call.output.rows(call.io.out, MOVED, &planned)?;
            return Ok(0);
        }
        if !call.parsed.has("yes") && std::io::stdin().is_terminal() {
            // For who is asked; the result is for who reads.
            let _ = Output::Table.rows(call.io.err, MOVED, &planned);
        }
        call.confirm(&format!("move {} offset(s) of {group}", moves.len()))?;
        let offset =
            |offset| CommittedOffset { offset, leader_epoch: None, metadata: String::new() };
        let asked: Vec<_> =
            moves.iter().map(|(partition, new)| (partition.clone(), offset(*new))).collect();
        let answers = admin.alter_consumer_group_offsets(&group, &asked).await.map_err(failed)?;
        let mut tally = Tally::default();
        let mut rows = Vec::new();
        for (partition, answer) in answers {
            let result = match answer {
                Ok(()) => {
                    tally.done();
                    "moved"
                }
                Err(error) => {
                    tally.failed(call.io, &partition.to_string(), &error);
                    "failed"
                }
            };
            let new = moves.get(&partition).copied().unwrap_or_default();
            rows.push(row(&partition, new, result));
        }
        call.output.rows(call.io.out, MOVED, &rows)?;
        Ok(tally.code())
    })?
}

/// The state of a group that may be changed; `None` if there is no such group.
async fn state(admin: &Admin, group: &str) -> Result<Option<String>, Failure> {
    let described = admin.describe_groups(&[group.to_owned()]).await.map_err(failed)?;
    match described.into_iter().next().map(|(_, found)| found.and_then(there)) {
        Some(Ok(found)) if found.state == "Empty" => Ok(Some(found.state)),
        Some(Ok(found)) => {
            let (state, members) = (found.state, found.members.len());
            let text = format!(
                "error: {group} is {state} with {members} member(s): stop them first, or they \
                 would commit over it"
            );
            Err(told(text, super::FAILED))
        }
        Some(Err(error)) if error.code != ErrorCode::GROUP_ID_NOT_FOUND => {
            Err(told(format!("error: {group}: {error}"), super::exit_code(error.code)))
        }
        Some(Err(_)) | None => Ok(None),
    }
}

/// Partitions of `TOPIC` and `TOPIC:N,...`.
async fn chosen(
    admin: &Admin,
    topics: &[String],
    call: &Call<'_, '_>,
) -> Result<Vec<TopicPartition>, Failure> {
    let mut all = BTreeSet::new();
    for text in topics {
        let (name, listed) = match text.split_once(':') {
            Some((name, listed)) => (name, Some(listed)),
            None => (text.as_str(), None),
        };
        let there = topic::partitions(admin, name).await?;
        let indexes = match listed {
            None => there,
            Some(listed) => {
                let wrong = || call.wrong(&format!("--topic {text}: expected TOPIC:N,N..."));
                let indexes = listed.split(',').map(|one| one.parse().map_err(|_| wrong()));
                let indexes = indexes.collect::<Result<Vec<i32>, Failure>>()?;
                if let Some(missing) = indexes.iter().find(|index| !there.contains(index)) {
                    let text = format!("error: {name} has no partition {missing}");
                    return Err(told(text, NOT_FOUND));
                }
                indexes
            }
        };
        all.extend(indexes.into_iter().map(|index| TopicPartition::new(name, index)));
    }
    Ok(all.into_iter().collect())
}

async fn moves(
    admin: &Admin,
    wanted: Move,
    partitions: &[TopicPartition],
    committed: &Committed,
    io: &mut Io<'_>,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let bounds = known_bounds(admin, partitions, io).await?;
    match wanted {
        Move::To(place) => place.resolve(admin, &bounds, Isolation::ReadUncommitted).await,
        Move::Shift(by) => {
            let mut moves = BTreeMap::new();
            for (partition, (start, end)) in bounds {
                match committed.get(&partition) {
                    Some(old) => {
                        let new = old.offset.saturating_add(by).min(end).max(start);
                        moves.insert(partition, new);
                    }
                    None => {
                        let text = "nothing is committed to shift";
                        let _ = writeln!(io.err, "warning: {partition}: {text}");
                    }
                }
            }
            Ok(moves)
        }
    }
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
        if dry {
            for name in &names {
                let result = match state(&admin, name).await {
                    Ok(Some(_)) => Ok(()),
                    Ok(None) => Err(ApiError {
                        code: ErrorCode::GROUP_ID_NOT_FOUND,
                        message: format!("Group {name} not found."),
                    }),
                    Err(failure) => return Err(failure),
                };
                results.push((name.clone(), result));
            }
        } else {
            results = admin.delete_groups(&names).await.map_err(failed)?;
        }
        for (name, result) in &mut results {
            if let Err(error) = result {
                *error = with_hint(&admin, name, error.clone()).await;
            }
        }
        Ok(results)
    })??;
    let word = if dry { "would be deleted" } else { "deleted" };
    let results = results.into_iter();
    let results = results.map(|(name, result)| (name, result.map(|()| (word, json!({})))));
    call.report("group", CHANGED, results)
}
