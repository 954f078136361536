//! `kafka-consumer-groups`: lists, describes and deletes consumer groups, and moves their offsets.
//!
//! Standard output and exit codes are those of Apache Kafka 4.3.1, surprises included: what fails
//! after the command line was understood is told on standard output with exit code 0. Only a
//! cluster that can't be reached is one line on standard error and exit code 1.
//!
//! Different on purpose: no column UPGRADED in groups with members of both protocols; regular
//! expressions that only Java's RE2 could judge are refused.

mod csv;
mod describe;
mod pattern;
mod reset;

use std::collections::BTreeMap;
use std::time::Duration;

use client::admin::GroupListing;
use client::{Admin, TopicPartition};
use wire::ErrorCode;

use crate::cluster::{self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Trouble};
use crate::flags::{Parsed, Spec, optional, switch, value};
use crate::{Failure, Io, Tool, finish, java};

/// The entry in the list of tools.
pub const TOOL: Tool = Tool {
    name: "kafka-consumer-groups",
    about: "Lists, describes and deletes consumer groups, and moves or deletes their offsets.",
    run,
};

static SPEC: Spec = Spec {
    tool: TOOL.name,
    about: TOOL.about,
    flags: &[
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        value(&["timeout"], "ms", "How long each call may take; 30000 unless given."),
        switch(&["list"], "List groups."),
        switch(&["describe"], "Describe groups: their offsets, members or state."),
        switch(&["delete"], "Delete groups."),
        switch(&["reset-offsets"], "Move the offsets of groups without members."),
        switch(&["delete-offsets"], "Delete offsets of a group."),
        value(&["validate-regex"], "pattern", "Tell whether a pattern of topics is valid."),
        value(&["group"], "group", "A group. May be repeated."),
        switch(&["all-groups"], "Every group."),
        value(&["topic"], "topic:n,...", "A topic, or some of its partitions. May be repeated."),
        switch(&["all-topics"], "Every topic that the group has an offset of."),
        switch(&["members"], "Describe members."),
        switch(&["offsets"], "Describe offsets, as without any of the three."),
        optional(&["state"], "state,...", "Describe states; list groups in some states."),
        switch(&["verbose"], "Describe more."),
        optional(&["type"], "type,...", "List types, or groups of some types."),
        switch(&["dry-run"], "Show new offsets only, as without any of the two."),
        switch(&["execute"], "Move offsets."),
        switch(&["export"], "Print new offsets as CSV."),
        value(&["to-offset"], "offset", "Move to that offset."),
        value(&["from-file"], "file", "Move to the offsets of a CSV file."),
        value(&["to-datetime"], "time", "Move to a time, YYYY-MM-DDTHH:mm:ss.sss."),
        value(&["by-duration"], "duration", "Move to some time ago, PnDTnHnMnS."),
        switch(&["to-earliest"], "Move to the first offset."),
        switch(&["to-latest"], "Move to the end."),
        switch(&["to-current"], "Keep offsets; where there is none, move to the end."),
        value(&["shift-by"], "n", "Move by that many offsets, back if negative."),
    ],
};

fn run(args: &[String], io: &mut Io<'_>) -> u8 {
    finish(io, |io| {
        let parsed = SPEC.parse(args, io)?;
        check(&parsed, io)?;
        if parsed.has("validate-regex") {
            let pattern = parsed.value("validate-regex")?.unwrap_or_default();
            let told = pattern::judge(pattern).map_err(Failure::new)?;
            writeln!(io.out, "{told}")?;
            return Ok(0);
        }
        let outcome = cluster::block_on(async {
            let asked = Asked::read(&parsed)?;
            let admin = cluster::connect(&asked.properties, Some(asked.timeout), io).await?;
            carry_out(&admin, &asked, io).await
        })?;
        match outcome {
            Ok(()) => Ok(0),
            Err(Trouble::Failed(failure)) => Err(failure),
            Err(Trouble::Said { code, text }) => {
                let text = Trouble::with_exception(code, &text);
                writeln!(io.out, "\nError: Executing consumer group command failed due to {text}")?;
                Ok(0)
            }
        }
    })
}

/// Whether the flags go together.
fn check(parsed: &Parsed, io: &mut Io<'_>) -> Result<(), Failure> {
    for (flag, actions) in [
        ("members", &["describe"][..]),
        ("verbose", &["describe"]),
        ("offsets", &["describe"]),
        ("state", &["describe", "list"]),
        ("type", &["list"]),
    ] {
        if parsed.has(flag) && !actions.iter().any(|action| parsed.has(action)) {
            return Err(SPEC.misuse(&format!("--{flag} needs --{}", actions.join(" or --"))));
        }
    }
    if !parsed.has("validate-regex") {
        parsed.require(&["bootstrap-server"])?;
    }
    let scoped = parsed.has("group") || parsed.has("all-groups");
    for action in ["describe", "delete", "reset-offsets"] {
        if parsed.has(action) && !scoped {
            return Err(SPEC.misuse(&format!("--{action} needs --group or --all-groups")));
        }
    }
    if parsed.has("describe") {
        let views = ["members", "offsets", "state"];
        if views.iter().filter(|view| parsed.has(view)).count() > 1 {
            return Err(SPEC.misuse("--describe takes one of --members, --offsets, --state"));
        }
        if parsed.values("state").next().is_some() {
            return Err(SPEC.misuse("--describe --state takes no value"));
        }
    }
    parsed.exclude("delete", &["topic"])?;
    if parsed.has("delete-offsets") && !(parsed.has("group") && parsed.has("topic")) {
        return Err(SPEC.misuse("--delete-offsets needs --group and --topic"));
    }
    if parsed.has("reset-offsets") {
        parsed.exclude("execute", &["dry-run"])?;
        if !parsed.has("dry-run") && !parsed.has("execute") {
            let _ = writeln!(io.err, "warning: nothing is moved without --execute");
        }
        if let [first, second, ..] =
            reset::SCENARIOS.iter().filter(|flag| parsed.has(flag)).collect::<Vec<_>>()[..]
        {
            return Err(SPEC.misuse(&format!("--{first} can't be used with --{second}")));
        }
    }
    parsed.exclude("group", &["all-groups", "list"])?;
    parsed.exclude("topic", &["list", "describe"])?;
    parsed.exactly_one(ACTIONS)
}

/// The command line with its values read.
struct Asked<'a> {
    parsed: &'a Parsed,
    properties: BTreeMap<String, String>,
    timeout: Duration,
    groups: Vec<String>,
    topics: Vec<String>,
    /// Of `--to-offset` or `--shift-by`.
    number: Option<i64>,
}

impl<'a> Asked<'a> {
    /// What is wrong with a value is told on standard output, whatever the action.
    fn read(parsed: &'a Parsed) -> Result<Self, Trouble> {
        let said = |text: String| Trouble::said(text);
        for flag in ["command-config", "bootstrap-server"] {
            parsed.once(flag).map_err(said)?;
        }
        let to = parsed.values("to-offset").map(|text| {
            java::number::<i64>(text)
                .map_err(|_| format!("Cannot parse argument '{text}' of option to-offset"))
        });
        let to = to.collect::<Result<Vec<i64>, String>>().map_err(said)?;
        parsed.once("by-duration").map_err(said)?;
        let by: Option<i64> = parsed.once_number("shift-by").map_err(said)?;
        let timeout: Option<i64> = parsed.once_number("timeout").map_err(said)?;
        let timeout = u64::try_from(timeout.unwrap_or(30_000)).unwrap_or_default();
        let file = parsed.value("command-config")?;
        if let Some(missing) = file.filter(|path| !std::path::Path::new(path).exists()) {
            return Err(said(format!("java.nio.file.NoSuchFileException: {missing}")));
        }
        let properties = cluster::properties(parsed)?;
        if client::Options::from_properties(&properties).is_err() {
            return Err(said("Failed to create new KafkaAdminClient".into()));
        }
        Ok(Self {
            parsed,
            properties,
            timeout: Duration::from_millis(timeout),
            groups: parsed.values("group").map(str::to_owned).collect(),
            topics: parsed.values("topic").map(str::to_owned).collect(),
            number: to.first().copied().or(by),
        })
    }

    fn has(&self, flag: &str) -> bool {
        self.parsed.has(flag)
    }

    /// The groups that are meant.
    async fn groups(&self, admin: &Admin) -> Result<Vec<String>, Trouble> {
        if !self.has("all-groups") {
            if self.groups.iter().any(String::is_empty) {
                let code = ErrorCode::INVALID_GROUP_ID;
                return Err(client::ApiError { code, message: INVALID_GROUP.into() }.into());
            }
            return Ok(self.groups.clone());
        }
        Ok(listed(admin, &[], &[]).await?.into_iter().map(|group| group.group_id).collect())
    }
}

async fn carry_out(admin: &Admin, asked: &Asked<'_>, io: &mut Io<'_>) -> Result<(), Trouble> {
    if asked.has("list") {
        list(admin, asked, io).await
    } else if asked.has("describe") {
        describe::describe(admin, asked, io).await
    } else if asked.has("delete") {
        delete(admin, asked, io).await
    } else if asked.has("reset-offsets") {
        reset::reset(admin, asked, io).await
    } else {
        delete_offsets(admin, asked, io).await
    }
}

/// Consumer groups in the order of Apache Kafka's map: not those of Connect, Streams, shares.
async fn listed(
    admin: &Admin,
    states: &[String],
    types: &[String],
) -> Result<Vec<GroupListing>, Trouble> {
    let mut groups = admin.list_groups(states, types).await?;
    groups.retain_mut(|group| {
        // Brokers spell types in small letters; those before 3.8 say nothing of them.
        let kind = TYPES.iter().find(|known| known.eq_ignore_ascii_case(&group.kind));
        let known = kind.is_some() || group.kind.is_empty();
        group.kind = kind.map_or_else(String::new, |kind| (*kind).to_owned());
        known && ["", "consumer"].contains(&group.protocol_type.as_str())
    });
    Ok(java::map_order(groups, |group| java::string_hash(&group.group_id), 16))
}

async fn list(admin: &Admin, asked: &Asked<'_>, io: &mut Io<'_>) -> Result<(), Trouble> {
    let (by_type, by_state) = (asked.has("type"), asked.has("state"));
    if !by_type && !by_state {
        for group in listed(admin, &[], &[]).await? {
            writeln!(io.out, "{}", group.group_id)?;
        }
        return Ok(());
    }
    let types = filter(asked, "type", "types", TYPES)?;
    let states = filter(asked, "state", "state", STATES)?;
    let groups = listed(admin, &states, &types).await?;
    let longest = groups.iter().map(|group| group.group_id.chars().count()).max();
    let width = longest.unwrap_or(0).max(15) + 10;
    let line = |group: &str, kind: &str, state: &str| {
        let kind = if by_type { format!(" {kind:<20}") } else { String::new() };
        let state = if by_state { format!(" {state:<20}") } else { String::new() };
        java::pad(group, width) + &kind + &state
    };
    writeln!(io.out, "{}", line("GROUP", "TYPE", "STATE"))?;
    for group in &groups {
        let unknown = |text: &str| if text.is_empty() { "Unknown".into() } else { text.to_owned() };
        let (kind, state) = (unknown(&group.kind), unknown(&group.state));
        writeln!(io.out, "{}", line(&group.group_id, &kind, &state))?;
    }
    Ok(())
}

/// The known words that a filter names, in their own spelling.
fn filter(
    asked: &Asked<'_>,
    flag: &str,
    what: &str,
    known: &[&str],
) -> Result<Vec<String>, Trouble> {
    let list = asked.parsed.once(flag).map_err(Trouble::said)?;
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(Vec::new()) };
    let spelled = java::split(list, ',').into_iter().map(|word| {
        let word = word.trim();
        known.iter().find(|known| known.eq_ignore_ascii_case(word)).map(|known| (*known).to_owned())
    });
    spelled.collect::<Option<Vec<String>>>().ok_or_else(|| {
        let text = format!("invalid {what} list '{list}'; there are {}", known.join(", "));
        SPEC.misuse(&text).into()
    })
}

async fn delete(admin: &Admin, asked: &Asked<'_>, io: &mut Io<'_>) -> Result<(), Trouble> {
    let groups = asked.groups(admin).await?;
    let outcomes = match groups.as_slice() {
        [] => Vec::new(),
        groups => admin.delete_groups(groups).await?,
    };
    let outcomes = java::map_order(outcomes, |(group, _)| java::string_hash(group), 16);
    let quoted: Vec<String> = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.is_ok())
        .map(|(group, _)| format!("'{group}'"))
        .collect();
    let deleted = quoted.join(", ");
    if quoted.len() == outcomes.len() {
        writeln!(io.out, "Deletion of requested consumer groups ({deleted}) was successful.")?;
        return Ok(());
    }
    writeln!(io.out, "\nError: Deletion of some consumer groups failed:")?;
    for (group, outcome) in &outcomes {
        if let Err(error) = outcome {
            let text = Trouble::with_exception(Some(error.code), &error.to_string());
            writeln!(io.out, "* Group '{group}' could not be deleted due to: {text}")?;
        }
    }
    if !quoted.is_empty() {
        writeln!(io.out, "\nThese consumer groups were deleted successfully: {deleted}")?;
    }
    Ok(())
}

/// A partition (-1 for a topic that is not there) and what became of its offset.
type Outcomes = Vec<(TopicPartition, Result<(), (ErrorCode, String)>)>;

async fn delete_offsets(admin: &Admin, asked: &Asked<'_>, io: &mut Io<'_>) -> Result<(), Trouble> {
    let group = asked.parsed.once("group").map_err(Trouble::said)?.unwrap_or_default();
    let mut outcomes: Outcomes = Vec::new();
    let (known, topics) = reset::named(&asked.topics)?;
    let mut partitions = known;
    for (topic, described) in admin.describe_topics(&topics).await? {
        match described {
            Ok(described) => partitions.extend(
                described.partitions.iter().map(|found| TopicPartition::new(&topic, found.index)),
            ),
            Err(error) => {
                let missing = TopicPartition::new(&topic, -1);
                outcomes.push((missing, Err((error.code, error.to_string()))));
            }
        }
    }
    partitions.sort();
    partitions.dedup();
    let mut code = ErrorCode::NONE;
    let mut text = String::new();
    match admin.delete_consumer_group_offsets(group, &partitions).await {
        Ok(done) => {
            for (partition, outcome) in done {
                let outcome = outcome.map_err(|error| (error.code, error.to_string()));
                if let (Err((failed, _)), true) = (&outcome, code.is_none()) {
                    code = *failed;
                }
                outcomes.push((partition, outcome));
            }
        }
        Err(error) => match error.code() {
            Some(failed) => {
                (code, text) = (failed, error.to_string());
                let all = partitions.into_iter();
                outcomes.extend(all.map(|partition| (partition, Err((code, text.clone())))));
            }
            None => return Err(error.into()),
        },
    }
    let first = match code {
        ErrorCode::NONE => format!("Request succeeded for deleting offsets from group {group}."),
        ErrorCode::INVALID_GROUP_ID
        | ErrorCode::GROUP_ID_NOT_FOUND
        | ErrorCode::GROUP_AUTHORIZATION_FAILED
        | ErrorCode::NON_EMPTY_GROUP => format!("\nError: {text}"),
        ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
        | ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            "\nError: Encountered some partition-level error, see the follow-up details.".into()
        }
        other => {
            let name = other.name().unwrap_or("UNKNOWN_SERVER_ERROR");
            format!("\nError: Encountered some unknown error: {name}")
        }
    };
    writeln!(io.out, "{first}")?;
    write!(io.out, "{}", statuses(outcomes))?;
    Ok(())
}

fn statuses(mut outcomes: Outcomes) -> String {
    outcomes.sort_by_cached_key(|(at, _)| format!("{}{}", at.topic, at.partition));
    let longest = outcomes.iter().map(|(at, _)| at.topic.chars().count()).max();
    let width = longest.unwrap_or(0).max(15);
    let topic = java::pad("TOPIC", width);
    let mut text = format!("\n{topic} {:<10} {:<15}", "PARTITION", "STATUS");
    for (at, outcome) in outcomes {
        let partition = match at.partition {
            ..0 => "-".to_owned(),
            known => known.to_string(),
        };
        let status = match outcome {
            Ok(()) => "Successful".to_owned(),
            Err((code, words)) => {
                format!("Error: {}", Trouble::with_exception(Some(code), &words))
            }
        };
        let topic = java::pad(&at.topic, width);
        text.push_str(&format!("\n{topic} {partition:<10} {status:<15}"));
    }
    text.push('\n');
    text
}

const INVALID_GROUP: &str = "The group id is invalid.";
const ACTIONS: &[&str] =
    &["list", "describe", "delete", "reset-offsets", "delete-offsets", "validate-regex"];
const TYPES: &[&str] = &["Classic", "Consumer"];
const STATES: &[&str] = &[
    "PreparingRebalance",
    "CompletingRebalance",
    "Stable",
    "Dead",
    "Empty",
    "Assigning",
    "Reconciling",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_for_test;

    #[test]
    fn flags_that_do_not_go_together_are_refused() {
        let server = "--bootstrap-server=localhost:1";
        for (args, told) in [
            (&["--list"][..], "--bootstrap-server is required"),
            (&[server, "--members", "--list"], "--members needs --describe"),
            (&[server, "--describe"], "--describe needs --group or --all-groups"),
            (
                &[server, "--describe", "--all-groups", "--members", "--state"],
                "--describe takes one of --members, --offsets, --state",
            ),
            (
                &[server, "--describe", "--all-groups", "--state", "Stable"],
                "--describe --state takes no value",
            ),
            (
                &[server, "--delete", "--group=g", "--topic=t"],
                "--delete can't be used with --topic",
            ),
            (
                &[server, "--delete-offsets", "--group=g"],
                "--delete-offsets needs --group and --topic",
            ),
            (
                &[server, "--reset-offsets", "--group=g", "--to-latest", "--to-offset=1"],
                "--to-offset can't be used with --to-latest",
            ),
            (&[server, "--list", "--group=g"], "--group can't be used with --list"),
            (&[server, "--group=g", "--all-groups"], "--group can't be used with --all-groups"),
        ] {
            let (code, out, err) = run_for_test(&TOOL, args, "");
            assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
            let error = err.lines().find(|line| line.starts_with("error: ")).unwrap_or(&err);
            assert_eq!(error, format!("error: {told}"));
        }
    }

    #[test]
    fn values_that_make_no_sense_end_in_success() {
        let args = ["--bootstrap-server=localhost:1", "--list", "--to-offset", "x"];
        let (code, out, _) = run_for_test(&TOOL, &args, "");
        let told = "\nError: Executing consumer group command failed due to Cannot parse argument \
                    'x' of option to-offset\n";
        assert_eq!((code, out.as_str()), (0, told));
    }

    #[test]
    fn statuses_are_sorted_by_the_text_of_topic_and_partition() {
        let missing = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "Gone.".to_owned());
        let text = statuses(vec![
            (TopicPartition::new("b", -1), Err(missing)),
            (TopicPartition::new("a", 2), Ok(())),
            (TopicPartition::new("a", 10), Ok(())),
        ]);
        assert_eq!(
            text,
            "\nTOPIC           PARTITION  STATUS         \
             \na               10         Successful     \
             \na               2          Successful     \
             \nb               -          Error: \
             org.apache.kafka.common.errors.UnknownTopicOrPartitionException: Gone.\n"
        );
    }
}
