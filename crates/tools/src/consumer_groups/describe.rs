//! `--describe`: offsets, members or state of groups, in Apache Kafka's columns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use client::admin::{CommittedOffset, GroupDescription, Isolation, MemberDescription, OffsetSpec};
use client::{Admin, TopicPartition};

use super::Asked;
use crate::Io;
use crate::cluster::Trouble;
use crate::java::pad;

type Committed = BTreeMap<TopicPartition, CommittedOffset>;

pub(super) async fn describe(
    admin: &Admin,
    asked: &Asked<'_>,
    io: &mut Io<'_>,
) -> Result<(), Trouble> {
    let verbose = asked.has("verbose");
    let mut groups = Vec::new();
    let wanted = asked.groups(admin).await?;
    if !wanted.is_empty() {
        // One group that is not there, and nothing is said of the others.
        for (_, group) in admin.describe_groups(&wanted).await? {
            groups.push(group?);
        }
    }
    groups.sort_by(|left, right| left.group_id.encode_utf16().cmp(right.group_id.encode_utf16()));
    groups.dedup_by(|left, right| left.group_id == right.group_id);
    if asked.has("members") {
        for group in &groups {
            state_allows_rows(group, io)?;
            write!(io.out, "{}", members(group, verbose))?;
        }
    } else if asked.has("state") {
        for group in &groups {
            if state_allows_rows(group, io)? {
                write!(io.out, "{}", state(group, verbose))?;
            }
        }
    } else {
        let mut rows = Vec::new();
        for group in &groups {
            rows.push(settled_offsets(admin, group).await?);
        }
        for (group, rows) in groups.iter().zip(rows) {
            if state_allows_rows(group, io)? && !rows.is_empty() {
                write!(io.out, "{}", offset_table(&rows, verbose))?;
            }
        }
    }
    Ok(())
}

/// Tells what is special about a group's state; false if the group is not there.
fn state_allows_rows(group: &GroupDescription, io: &mut Io<'_>) -> Result<bool, Trouble> {
    let id = &group.group_id;
    match group.state.as_str() {
        "Dead" => {
            writeln!(io.out, "\nError: Consumer group '{id}' does not exist.")?;
            return Ok(false);
        }
        "Empty" => {
            let _ = writeln!(io.err, "\nConsumer group '{id}' has no active members.");
        }
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
            let _ = writeln!(io.err, "\nWarning: Consumer group '{id}' is rebalancing.");
        }
        "Stable" => {}
        other => {
            let other = if other.is_empty() { "Unknown" } else { other };
            return Err(Trouble::said(format!(
                "Expected a valid consumer group state, but found '{other}'."
            )));
        }
    }
    Ok(true)
}

/// As [`offsets`], but waits a little where the offset of a topic just deleted is still there.
async fn settled_offsets(admin: &Admin, group: &GroupDescription) -> Result<Vec<Row>, Trouble> {
    for _ in 0..SETTLE_TRIES {
        match offsets(admin, group).await {
            Err(Trouble::Said { text, .. }) if text.contains("UnknownTopicOrPartition") => {
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
            other => return other,
        }
    }
    offsets(admin, group).await
}

/// The columns of a partition, from GROUP on; what is missing is `-`.
type Row = [String; 10];

async fn offsets(admin: &Admin, group: &GroupDescription) -> Result<Vec<Row>, Trouble> {
    let committed: Committed = committed(admin, &group.group_id).await?;
    let mut members: Vec<&MemberDescription> =
        group.members.iter().filter(|member| !member.assignment.is_empty()).collect();
    members.sort_by_key(|member| std::cmp::Reverse(member.assignment.len()));
    let mut rows = Vec::new();
    let mut assigned = BTreeSet::new();
    for member in members {
        assigned.extend(member.assignment.iter().cloned());
        let owner = [&member.member_id, &member.host, &member.client_id];
        rows.extend(partitions(admin, group, &member.assignment, &committed, owner).await?);
    }
    let rest: Vec<TopicPartition> =
        committed.keys().filter(|partition| !assigned.contains(partition)).cloned().collect();
    let nobody = MISSING.to_owned();
    rows.extend(partitions(admin, group, &rest, &committed, [&nobody; 3]).await?);
    Ok(rows)
}

/// A group's offsets.
pub(super) async fn committed(admin: &Admin, group: &str) -> Result<Committed, Trouble> {
    let mut committed = Committed::new();
    let listed = admin.list_consumer_group_offsets(group, None, false).await;
    for (partition, offset) in listed.map_err(nested)? {
        if let Some(offset) = offset.map_err(|error| nested(error.into()))? {
            committed.insert(partition, offset);
        }
    }
    Ok(committed)
}

/// An error as Java shows it that has wrapped it once more.
pub(super) fn nested(error: client::Error) -> Trouble {
    once_more(error.into())
}

/// As [`nested`].
pub(super) fn once_more(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Said { code, text } => {
            let text = Trouble::with_exception(code, &text);
            Trouble::said(format!("java.util.concurrent.ExecutionException: {text}"))
        }
        failed => failed,
    }
}

async fn partitions(
    admin: &Admin,
    group: &GroupDescription,
    partitions: &[TopicPartition],
    committed: &Committed,
    owner: [&String; 3],
) -> Result<Vec<Row>, Trouble> {
    let mut sorted = partitions.to_vec();
    sorted.sort();
    let ends = ends(admin, &sorted).await?;
    let rows = sorted.into_iter().map(|partition| {
        let committed = committed.get(&partition);
        let offset = committed.map(|committed| committed.offset);
        let end = ends.get(&partition).copied();
        let known = offset.filter(|offset| *offset != -1);
        let lag = known.zip(end).map(|(offset, end)| end.wrapping_sub(offset));
        let epoch = committed.and_then(|committed| committed.leader_epoch);
        let number = |number: Option<i64>| number.map_or(MISSING.to_owned(), |n| n.to_string());
        let [consumer, host, client] = owner;
        [
            group.group_id.clone(),
            partition.topic,
            partition.partition.to_string(),
            number(epoch.map(i64::from)),
            number(offset),
            number(end),
            number(lag),
            consumer.clone(),
            host.clone(),
            client.clone(),
        ]
    });
    Ok(rows.collect())
}

/// The end of each partition that has a leader.
async fn ends(
    admin: &Admin,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, i64>, Trouble> {
    let topics: BTreeSet<String> = partitions.iter().map(|found| found.topic.clone()).collect();
    let topics: Vec<String> = topics.into_iter().collect();
    let mut led = BTreeSet::new();
    for (topic, described) in admin.describe_topics(&topics).await.map_err(nested)? {
        let described = described.map_err(|error| nested(error.into()))?;
        let with_leader = described.partitions.iter().filter(|found| found.leader.is_some());
        led.extend(with_leader.map(|found| TopicPartition::new(&topic, found.index)));
    }
    let wanted: Vec<(TopicPartition, OffsetSpec)> = partitions
        .iter()
        .filter(|partition| led.contains(partition))
        .map(|partition| (partition.clone(), OffsetSpec::Latest))
        .collect();
    let mut ends = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(ends);
    }
    let listed = admin.list_offsets(&wanted, Isolation::ReadUncommitted).await.map_err(nested)?;
    for (partition, listed) in listed {
        ends.insert(partition, listed.map_err(|error| nested(error.into()))?.offset);
    }
    Ok(ends)
}

fn offset_table(rows: &[Row], verbose: bool) -> String {
    let header = [
        "GROUP",
        "TOPIC",
        "PARTITION",
        "LEADER-EPOCH",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ]
    .map(str::to_owned);
    // The fitted columns: group, topic, consumer, host.
    let mut widths = [15, 15, 10, 15, 15, 15, 15, 15, 15, 0];
    for row in rows {
        for (column, (width, text)) in widths.iter_mut().zip(row).enumerate() {
            if [0, 1, 7, 8].contains(&column) {
                *width = (*width).max(text.chars().count());
            }
        }
    }
    let mut table = String::new();
    for row in [&header].into_iter().chain(rows) {
        let cells = row.iter().zip(widths).enumerate();
        let cells = cells.filter(|(column, _)| verbose || *column != 3);
        let cells: Vec<String> = cells.map(|(_, (text, width))| pad(text, width)).collect();
        let _ = write!(table, "\n{}", cells.join(" "));
    }
    table.push('\n');
    table
}

fn members(group: &GroupDescription, verbose: bool) -> String {
    let longest = |least: usize, text: &dyn Fn(&MemberDescription) -> String| {
        let lengths = group.members.iter().map(|member| text(member).chars().count());
        lengths.max().unwrap_or(0).max(least)
    };
    let current = |member: &MemberDescription| assignment(Some(&member.assignment));
    let target = |member: &MemberDescription| assignment(member.target.as_ref());
    let instance = |member: &MemberDescription| member.instance_id.clone().unwrap_or_default();
    let group_width = group.group_id.chars().count().max(15);
    let group_width = if group.members.is_empty() { 15 } else { group_width };
    let consumer_width = longest(15, &|member| member.member_id.clone());
    let instance_width = longest(17, &instance);
    let host_width = longest(15, &|member| member.host.clone());
    let client_width = longest(15, &|member| member.client_id.clone());
    let (current_width, target_width) = (longest(20, &current), longest(20, &target));
    let is_static = group.members.iter().any(|member| !instance(member).is_empty());
    let line = |cells: [&str; 6], more: [&str; 4]| {
        let [id, consumer, instance, host, client, count] = cells;
        let (id, consumer) = (pad(id, group_width), pad(consumer, consumer_width));
        let mut line = format!("{id} {consumer} ");
        if is_static {
            let _ = write!(line, "{} ", pad(instance, instance_width));
        }
        let (host, client) = (pad(host, host_width), pad(client, client_width));
        let _ = write!(line, "{host} {client} {count:<15} ");
        if verbose {
            let [epoch, current, target_epoch, target] = more;
            let _ = write!(
                line,
                "{epoch:<15} {} {target_epoch:<15} {}",
                pad(current, current_width),
                pad(target, target_width)
            );
        }
        line.push('\n');
        line
    };
    let header = ["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS"];
    let more = ["CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT"];
    let mut table = format!("\n{}", line(header, more));
    let target_epoch = epoch(group.assignment_epoch);
    for member in &group.members {
        let count = member.assignment.len().to_string();
        let cells = [
            &group.group_id,
            &member.member_id,
            &instance(member),
            &member.host,
            &member.client_id,
            &count,
        ];
        let more = [&epoch(member.epoch), &current(member), &target_epoch, &target(member)];
        table.push_str(&line(cells.map(String::as_str), more.map(String::as_str)));
    }
    table
}

fn epoch(epoch: Option<i32>) -> String {
    epoch.map_or_else(|| MISSING.to_owned(), |epoch| epoch.to_string())
}

/// `topic:0,1;topic:2`, or `-` for none.
fn assignment(partitions: Option<&Vec<TopicPartition>>) -> String {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions.into_iter().flatten() {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    if topics.is_empty() {
        return MISSING.to_owned();
    }
    let mut texts: Vec<String> = topics
        .into_iter()
        .map(|(topic, mut partitions)| {
            partitions.sort_unstable();
            let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
            format!("{topic}:{}", partitions.join(","))
        })
        .collect();
    texts.sort();
    texts.join(";")
}

fn state(group: &GroupDescription, verbose: bool) -> String {
    let coordinator = group.coordinator.as_ref().map_or_else(
        || MISSING.to_owned(),
        |found| format!("{}:{}  ({})", found.host, found.port, found.id),
    );
    let strategy = if group.assignor.is_empty() { MISSING } else { &group.assignor };
    let coordinator_width = coordinator.chars().count().max(25);
    let group_width = group.group_id.chars().count().max(15);
    let line = |id: &str, at: &str, strategy: &str, state: &str, epochs: [&str; 2], count: &str| {
        let mut line = format!("\n{} {} ", pad(id, group_width), pad(at, coordinator_width));
        let _ = write!(line, "{} {} ", pad(strategy, 20), pad(state, 20));
        if verbose {
            let [epoch, target] = epochs;
            let _ = write!(line, "{epoch:<15} {target:<25} ");
        }
        line + count
    };
    let epochs = ["GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH"];
    let header =
        line("GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", epochs, "#MEMBERS");
    let count = group.members.len().to_string();
    let epochs = [&epoch(group.group_epoch), &epoch(group.assignment_epoch)];
    let epochs = epochs.map(String::as_str);
    let row = line(&group.group_id, &coordinator, strategy, &group.state, epochs, &count);
    format!("{header}{row}\n")
}

const MISSING: &str = "-";
const SETTLE_TRIES: u32 = 10;
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn group(members: Vec<MemberDescription>) -> GroupDescription {
        GroupDescription {
            group_id: "g".into(),
            state: "Stable".into(),
            kind: "Classic",
            protocol_type: "consumer".into(),
            assignor: "range".into(),
            group_epoch: None,
            assignment_epoch: None,
            coordinator: None,
            members,
        }
    }

    fn member(instance: Option<&str>, partitions: &[(&str, i32)]) -> MemberDescription {
        let partitions =
            partitions.iter().map(|(topic, index)| TopicPartition::new(*topic, *index));
        MemberDescription {
            member_id: "m-1".into(),
            instance_id: instance.map(str::to_owned),
            client_id: "c".into(),
            host: "/127.0.0.1".into(),
            assignment: partitions.collect(),
            target: None,
            epoch: None,
            metadata: Default::default(),
            assignment_bytes: Default::default(),
        }
    }

    #[test]
    fn offsets_have_a_blank_line_a_header_and_rows() {
        let row = ["g", "a-topic-of-20-letters", "0", "-", "4", "6", "2", "-", "-", "-"];
        let row = row.map(str::to_owned);
        assert_eq!(
            offset_table(std::slice::from_ref(&row), false),
            "\nGROUP           TOPIC                 PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  \
             LAG             CONSUMER-ID     HOST            CLIENT-ID\n\
             g               a-topic-of-20-letters 0          4               6               \
             2               -               -               -\n"
        );
        assert!(offset_table(&[row], true).contains(" LEADER-EPOCH    CURRENT-OFFSET "));
    }

    #[test]
    fn members_show_instances_only_if_there_are_any() {
        let plain = members(&group(vec![member(None, &[("b", 10), ("b", 9), ("a", 0)])]), true);
        assert_eq!(
            plain,
            "\nGROUP           CONSUMER-ID     HOST            CLIENT-ID       #PARTITIONS     \
             CURRENT-EPOCH   CURRENT-ASSIGNMENT   TARGET-EPOCH    TARGET-ASSIGNMENT   \n\
             g               m-1             /127.0.0.1      c               3               \
             -               a:0;b:9,10           -               -                   \n"
        );
        let fixed = members(&group(vec![member(Some("i"), &[]), member(None, &[])]), false);
        assert_eq!(
            fixed,
            "\nGROUP           CONSUMER-ID     GROUP-INSTANCE-ID HOST            \
             CLIENT-ID       #PARTITIONS     \n\
             g               m-1             i                 /127.0.0.1      \
             c               0               \n\
             g               m-1                               /127.0.0.1      \
             c               0               \n"
        );
        let header = members(&group(Vec::new()), false);
        assert_eq!(header.lines().count(), 2, "a blank line and the header");
    }

    #[test]
    fn state_is_one_row() {
        let row = "\ng               -                         range                Stable         \
                   \u{20}     -               -                         0\n";
        assert!(state(&group(Vec::new()), true).ends_with(row));
        assert!(state(&group(Vec::new()), false).ends_with(
            " STATE                #MEMBERS\n\
             g               -                         range                Stable               \
             0\n"
        ));
    }
}
