//! `--reset-offsets`: which partitions, which offsets, and the table or CSV of both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use client::admin::{CommittedOffset, Isolation, OffsetSpec};
use client::{Admin, TopicPartition};
use wire::ErrorCode;

use super::describe::{committed, nested, once_more};
use super::{Asked, SPEC, csv};
use crate::cluster::Trouble;
use crate::{Io, java, time};

type Offsets = BTreeMap<TopicPartition, i64>;

pub(super) async fn reset(
    admin: &Admin,
    asked: &Asked<'_>,
    io: &mut Io<'_>,
) -> Result<(), Trouble> {
    let mut groups = asked.groups(admin).await.map_err(once_more)?;
    let mut seen = BTreeSet::new();
    groups.retain(|group| seen.insert(group.clone()));
    let described = match groups.as_slice() {
        [] => Vec::new(),
        groups => admin.describe_groups(groups).await?,
    };
    let mut plans = Vec::new();
    for (group, described) in java::map_order(described, |(id, _)| java::string_hash(id), 16) {
        let plan = match described {
            Err(error) if error.code == ErrorCode::GROUP_ID_NOT_FOUND => {
                inactive(admin, asked, &group, io).await?
            }
            Err(error) => return Err(nested(error.into())),
            Ok(found) if ["Empty", "Dead"].contains(&found.state.as_str()) => {
                inactive(admin, asked, &group, io).await?
            }
            Ok(found) => {
                writeln!(
                    io.out,
                    "\nError: Assignments can only be reset if the group '{group}' is inactive, \
                     but the current state is {}.",
                    found.state
                )?;
                Vec::new()
            }
        };
        plans.push((group, plan));
    }
    if asked.has("export") {
        let with_group = asked.groups.len() != 1;
        for (group, plan) in &plans {
            for (partition, offset) in plan {
                let group = with_group.then_some(group.as_str());
                write!(io.out, "{}", csv::write(group, partition, *offset))?;
            }
        }
        writeln!(io.out)?;
    } else {
        write!(io.out, "{}", table(&plans))?;
    }
    Ok(())
}

/// A group and its new offsets, in the order of Apache Kafka's map.
type Plan = (String, Vec<(TopicPartition, i64)>);

fn table(plans: &[Plan]) -> String {
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0).max(15);
    let groups = longest(&mut plans.iter().map(|(group, _)| group.chars().count()));
    let partitions = plans.iter().flat_map(|(_, plan)| plan);
    let topics = longest(&mut partitions.map(|(found, _)| found.topic.chars().count()));
    let mut table = String::new();
    let mut line = |group: &str, topic: &str, partition: &str, offset: &str| {
        let (group, topic) = (java::pad(group, groups), java::pad(topic, topics));
        let _ = write!(table, "\n{group} {topic} {partition:<10} {offset}");
    };
    if !plans.is_empty() {
        line("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET");
    }
    for (group, plan) in plans {
        for (at, offset) in plan {
            line(group, &at.topic, &at.partition.to_string(), &offset.to_string());
        }
    }
    table.push('\n');
    table
}

async fn inactive(
    admin: &Admin,
    asked: &Asked<'_>,
    group: &str,
    io: &mut Io<'_>,
) -> Result<Vec<(TopicPartition, i64)>, Trouble> {
    let partitions = scope(admin, asked, group).await?;
    exist(admin, &partitions).await?;
    let offsets = scenario(admin, asked, group, &partitions, io).await?;
    if asked.has("execute") && !offsets.is_empty() {
        let changes: Vec<(TopicPartition, CommittedOffset)> = offsets
            .iter()
            .map(|(partition, offset)| {
                let offset = CommittedOffset {
                    offset: *offset,
                    leader_epoch: None,
                    metadata: String::new(),
                };
                (partition.clone(), offset)
            })
            .collect();
        let plainly = |error: client::Error| plain(error.into());
        let done = admin.alter_consumer_group_offsets(group, &changes).await.map_err(plainly)?;
        for (_, outcome) in done {
            outcome.map_err(|error| plain(error.into()))?;
        }
    }
    // Maps keep the order of what falls into one bucket.
    let place = |wanted: &TopicPartition| partitions.iter().position(|found| found == wanted);
    let mut offsets: Vec<(TopicPartition, i64)> = offsets.into_iter().collect();
    offsets.sort_by_cached_key(|(partition, _)| place(partition).unwrap_or(usize::MAX));
    Ok(java::map_order(offsets, |(partition, _)| hash(partition), 16))
}

/// `TopicPartition.hashCode`.
fn hash(partition: &TopicPartition) -> i32 {
    let number = 31_i32.wrapping_mul(31_i32.wrapping_add(partition.partition));
    number.wrapping_add(java::string_hash(&partition.topic))
}

/// An error that Java throws as it is, so that its class is not shown.
fn plain(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Said { text, .. } => Trouble::said(text),
        failed => failed,
    }
}

/// The partitions that `--topic` or `--all-topics` mean.
async fn scope(
    admin: &Admin,
    asked: &Asked<'_>,
    group: &str,
) -> Result<Vec<TopicPartition>, Trouble> {
    if asked.has("all-topics") {
        let listed = admin.list_consumer_group_offsets(group, None, false).await;
        let mut partitions = Vec::new();
        for (partition, offset) in listed.map_err(nested)? {
            if offset.map_err(|error| nested(error.into()))?.is_some() {
                partitions.push(partition);
            }
        }
        return Ok(partitions);
    }
    if asked.topics.is_empty() {
        return match asked.has("from-file") {
            true => Ok(Vec::new()),
            false => Err(SPEC.misuse("--reset-offsets needs --topic or --all-topics").into()),
        };
    }
    let (mut partitions, topics) = named(&asked.topics)?;
    let topics = java::described_order(topics);
    for (topic, described) in admin.describe_topics(&topics).await? {
        let described = described.map_err(|error| plain(error.into()))?;
        let found = described.partitions.iter();
        partitions.extend(found.map(|found| TopicPartition::new(&topic, found.index)));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = partitions.iter().find(|partition| !seen.insert(*partition)) {
        return Err(Trouble::said(format!("Duplicate key {twice}")));
    }
    Ok(partitions)
}

/// `--topic t:0,1` as partitions, the others as topics.
pub(super) fn named(args: &[String]) -> Result<(Vec<TopicPartition>, Vec<String>), Trouble> {
    let (mut partitions, mut topics) = (Vec::new(), Vec::new());
    for arg in args {
        if !arg.contains(':') {
            topics.push(arg.clone());
            continue;
        }
        let parts = java::split(arg, ':');
        let [topic, numbers] = parts.as_slice() else {
            let text = format!("--topic {arg}: expected a topic and partitions, topic:0,1");
            return Err(SPEC.misuse(&text).into());
        };
        for number in java::split(numbers, ',') {
            let index = java::number(number).map_err(|_| {
                SPEC.misuse(&format!("--topic {arg}: {number} is not the number of a partition"))
            })?;
            partitions.push(TopicPartition::new(*topic, index));
        }
    }
    Ok((partitions, topics))
}

/// Fails unless all partitions are there and have a leader.
async fn exist(admin: &Admin, partitions: &[TopicPartition]) -> Result<(), Trouble> {
    let topics: BTreeSet<String> = partitions.iter().map(|found| found.topic.clone()).collect();
    let topics: Vec<String> = topics.into_iter().collect();
    let (mut known, mut led) = (BTreeSet::new(), BTreeSet::new());
    for (topic, described) in admin.describe_topics(&topics).await.map_err(nested)? {
        for found in described.map_err(|error| nested(error.into()))?.partitions {
            let partition = TopicPartition::new(&topic, found.index);
            if found.leader.is_some() {
                led.insert(partition.clone());
            }
            known.insert(partition);
        }
    }
    let without = |set: &BTreeSet<TopicPartition>| -> Vec<String> {
        partitions.iter().filter(|found| !set.contains(found)).map(ToString::to_string).collect()
    };
    let (missing, leaderless) = (without(&known), without(&led));
    if !missing.is_empty() {
        let text = format!("The partitions \"{}\" do not exist", missing.join(","));
        return Err(Trouble::said(text));
    }
    if !leaderless.is_empty() {
        let text = format!("The partitions \"{}\" have no leader", leaderless.join(","));
        return Err(Trouble::said(text));
    }
    Ok(())
}

/// The new offsets.
async fn scenario(
    admin: &Admin,
    asked: &Asked<'_>,
    group: &str,
    partitions: &[TopicPartition],
    io: &mut Io<'_>,
) -> Result<Offsets, Trouble> {
    let first = |flag: &str| asked.parsed.values(flag).next();
    if asked.has("to-offset") {
        let offset = asked.number.unwrap_or_default();
        let wanted = partitions.iter().map(|found| (found.clone(), offset)).collect();
        return in_range(admin, wanted, io).await;
    }
    if asked.has("to-earliest") {
        return listed(admin, partitions, OffsetSpec::Earliest).await;
    }
    if asked.has("to-latest") {
        return listed(admin, partitions, OffsetSpec::Latest).await;
    }
    if asked.has("shift-by") {
        let current = committed(admin, group).await?;
        let mut wanted = Offsets::new();
        for partition in partitions {
            let Some(committed) = current.get(partition) else {
                let text = format!("{partition} has no committed offset to shift");
                return Err(SPEC.misuse(&text).into());
            };
            let shifted = committed.offset.wrapping_add(asked.number.unwrap_or_default());
            wanted.insert(partition.clone(), shifted);
        }
        return in_range(admin, wanted, io).await;
    }
    if let Some(text) = first("to-datetime") {
        let timestamp = time::date_time(text).map_err(Trouble::said)?;
        return at_time(admin, partitions, timestamp, io).await;
    }
    if let Some(text) = first("by-duration") {
        let ago = time::duration(text).map_err(Trouble::said)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        return at_time(admin, partitions, now.saturating_sub(ago), io).await;
    }
    if let Some(path) = first("from-file") {
        return from_file(admin, asked, group, path, io).await;
    }
    if asked.has("to-current") {
        let current = committed(admin, group).await?;
        let without: Vec<TopicPartition> =
            partitions.iter().filter(|found| !current.contains_key(found)).cloned().collect();
        let mut offsets = listed(admin, &without, OffsetSpec::Latest).await?;
        for partition in partitions {
            if let Some(committed) = current.get(partition) {
                offsets.insert(partition.clone(), committed.offset);
            }
        }
        return Ok(offsets);
    }
    let scenarios: Vec<String> = SCENARIOS.iter().map(|flag| format!("--{flag}")).collect();
    Err(SPEC.misuse(&format!("--reset-offsets needs one of {}", scenarios.join(", "))).into())
}

async fn from_file(
    admin: &Admin,
    asked: &Asked<'_>,
    group: &str,
    path: &str,
    io: &mut Io<'_>,
) -> Result<Offsets, Trouble> {
    let content = std::fs::read_to_string(path)
        .map_err(|_| Trouble::said(format!("java.io.IOException: Unable to read file {path}")))?;
    let lines = csv::read(&content, asked.groups.len() == 1).map_err(Trouble::said)?;
    let own = |named: &Option<String>| named.as_deref().is_none_or(|named| named == group);
    let wanted: Offsets = lines
        .into_iter()
        .filter(|(named, ..)| own(named))
        .map(|(_, partition, offset)| (partition, offset))
        .collect();
    if wanted.is_empty() {
        writeln!(io.out, "\nError: No reset plan for group {group} found")?;
        return Ok(wanted);
    }
    in_range(admin, wanted, io).await
}

/// Offsets where they are within the log, else the end that is next to them.
async fn in_range(admin: &Admin, wanted: Offsets, io: &mut Io<'_>) -> Result<Offsets, Trouble> {
    let partitions: Vec<TopicPartition> = wanted.keys().cloned().collect();
    let starts = listed(admin, &partitions, OffsetSpec::Earliest).await?;
    let ends = listed(admin, &partitions, OffsetSpec::Latest).await?;
    let mut offsets = Offsets::new();
    for (partition, offset) in wanted {
        let start = starts.get(&partition).copied().unwrap_or(offset);
        let end = ends.get(&partition).copied().unwrap_or(offset);
        let within = if offset > end { end } else { offset.max(start) };
        if within != offset {
            let _ = writeln!(
                io.err,
                "warning: {partition} goes from {start} to {end}: {within} instead of {offset}"
            );
        }
        offsets.insert(partition, within);
    }
    Ok(offsets)
}

async fn at_time(
    admin: &Admin,
    partitions: &[TopicPartition],
    timestamp: i64,
    io: &mut Io<'_>,
) -> Result<Offsets, Trouble> {
    let mut offsets = listed(admin, partitions, OffsetSpec::Timestamp(timestamp)).await?;
    let mut later = Vec::new();
    offsets.retain(|partition, offset| {
        if *offset == -1 {
            later.push(partition.clone());
        }
        *offset != -1
    });
    let later = java::map_order(later, hash, 16);
    for partition in &later {
        writeln!(
            io.out,
            "\nWarn: Partition {} from topic {} is empty. Falling back to latest known offset.",
            partition.partition, partition.topic
        )?;
    }
    offsets.extend(listed(admin, &later, OffsetSpec::Latest).await?);
    Ok(offsets)
}

async fn listed(
    admin: &Admin,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Result<Offsets, Trouble> {
    let mut offsets = Offsets::new();
    if partitions.is_empty() {
        return Ok(offsets);
    }
    let wanted: Vec<(TopicPartition, OffsetSpec)> =
        partitions.iter().map(|partition| (partition.clone(), spec)).collect();
    let listed = admin.list_offsets(&wanted, Isolation::ReadUncommitted).await.map_err(nested)?;
    for (partition, listed) in listed {
        let listed = listed.map_err(|mut error| {
            if error.code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
                error.message = format!(
                    "Failed to fetch metadata for partition {partition} because metadata for topic \
                     `{}` could not be found",
                    partition.topic
                );
            }
            nested(error.into())
        })?;
        offsets.insert(partition, listed.offset);
    }
    Ok(offsets)
}

/// What offsets can be moved to, in the order in which one is said to exclude another.
pub(super) const SCENARIOS: &[&str] = &[
    "to-offset",
    "to-datetime",
    "by-duration",
    "to-earliest",
    "to-latest",
    "to-current",
    "shift-by",
    "from-file",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_may_name_their_partitions() {
        let read = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            named(&args).ok()
        };
        let (partitions, topics) = read(&["a:1,0,", "b"]).unwrap();
        assert_eq!(partitions, [TopicPartition::new("a", 1), TopicPartition::new("a", 0)]);
        assert_eq!(topics, ["b"]);
        for bad in ["a:", "a:0:1", "a:x", "a:0,,1"] {
            assert!(read(&[bad]).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_table_fits_all_groups() {
        let plan = vec![(TopicPartition::new("t", 0), 5)];
        let plans = [("g".to_owned(), plan), ("group-of-17-chars".to_owned(), Vec::new())];
        assert_eq!(
            table(&plans),
            "\nGROUP             TOPIC           PARTITION  NEW-OFFSET\
             \ng                 t               0          5\n"
        );
        assert_eq!(table(&[]), "\n");
    }
}
