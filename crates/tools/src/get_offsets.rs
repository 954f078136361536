//! `kafka-get-offsets`: first, last and other offsets of partitions.
//!
//! Standard output has a line `topic:partition:offset` for each partition that has such an offset,
//! and nothing else; what goes wrong is told on standard error, as by Apache Kafka 4.3.1.

use client::admin::{Isolation, OffsetSpec};
use client::{Admin, TopicPartition};

use crate::cluster::{self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Trouble};
use crate::flags::{Parsed, Spec, switch, value};
use crate::topic_filter::TopicFilter;
use crate::{Failure, Io, Tool, finish, java};

/// The entry in the list of tools.
pub const TOOL: Tool = Tool {
    name: "kafka-get-offsets",
    about: "Prints offsets of partitions, a line topic:partition:offset each.",
    run,
};

static SPEC: Spec = Spec {
    tool: TOOL.name,
    about: TOOL.about,
    flags: &[
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        value(
            &["topic-partitions"],
            "topic:from-to,...",
            "Topics, as patterns, and of each all \
             partitions, one (topic:3) or some (topic:0-3 without 3, topic:3-, topic:-3).",
        ),
        value(&["topic"], "pattern", "Topics, as a regular expression; all unless given."),
        value(&["partitions"], "n,...", "Partitions; all unless given."),
        value(
            &["time"],
            "which",
            "A time in ms, or -1/latest, -2/earliest, -3/max-timestamp, -4/earliest-local, \
             -5/latest-tiered, -6/earliest-pending-upload. The last offset unless given.",
        ),
        switch(&["exclude-internal-topics"], "Leave out the cluster's own topics."),
    ],
};

fn run(args: &[String], io: &mut Io<'_>) -> u8 {
    finish(io, |io| {
        let parsed = SPEC.parse(args, io)?;
        parsed.require(&["bootstrap-server"])?;
        if parsed.has("topic-partitions") && (parsed.has("topic") || parsed.has("partitions")) {
            let text = "--topic-partitions can't be used with --topic or --partitions";
            return Err(SPEC.misuse(text));
        }
        ports(parsed.value("bootstrap-server")?.unwrap_or_default())?;
        let time = time(parsed.value("time")?.unwrap_or("latest"))?;
        let rules = rules(&parsed).map_err(|text| Failure::new(format!("error: {text}")))?;
        let properties = cluster::properties(&parsed)?;
        let shown = cluster::block_on(async {
            let admin = cluster::connect(&properties, None, io).await?;
            show(&admin, &parsed, &rules, time, io).await
        })?;
        match shown {
            Ok(()) => Ok(0),
            Err(Trouble::Failed(failure)) => Err(failure),
            Err(Trouble::Said { text, .. }) => Err(Failure::new(format!("error: {text}"))),
        }
    })
}

async fn show(
    admin: &Admin,
    parsed: &Parsed,
    rules: &[Rule],
    time: OffsetSpec,
    io: &mut Io<'_>,
) -> Result<(), Trouble> {
    let no_internal = parsed.has("exclude-internal-topics");
    let names: Vec<String> = admin
        .list_topics()
        .await?
        .into_iter()
        .filter(|topic| !(no_internal && topic.is_internal))
        .map(|topic| topic.name)
        .filter(|name| rules.iter().any(|rule| rule.topics.allows(name)))
        .collect();
    let mut partitions = Vec::new();
    for (name, topic) in admin.describe_topics(&names).await? {
        for partition in topic?.partitions {
            if rules.iter().any(|rule| rule.allows(&name, partition.index)) {
                partitions.push(TopicPartition::new(&name, partition.index));
            }
        }
    }
    if partitions.is_empty() {
        return Err(Trouble::said("no topic and partition matches"));
    }
    // By the text of both, so that t-10 comes before t-2.
    partitions.sort_by_cached_key(ToString::to_string);
    let wanted: Vec<(TopicPartition, OffsetSpec)> =
        partitions.into_iter().map(|partition| (partition, time)).collect();
    for (partition, listed) in admin.list_offsets(&wanted, Isolation::ReadUncommitted).await? {
        match listed {
            Ok(listed) if listed.offset >= 0 => {
                writeln!(io.out, "{}:{}:{}", partition.topic, partition.partition, listed.offset)?;
            }
            Ok(_) => {}
            Err(error) => {
                let _ = writeln!(io.err, "warning: {partition} is left out: {error}");
            }
        }
    }
    Ok(())
}

/// Topics, and which partitions of them.
struct Rule {
    topics: TopicFilter,
    partitions: Partitions,
}

enum Partitions {
    Listed(Vec<i32>),
    /// From the first, to before the second.
    Between(i32, i32),
}

impl Rule {
    fn allows(&self, topic: &str, partition: i32) -> bool {
        let allowed = match &self.partitions {
            Partitions::Listed(listed) => listed.contains(&partition),
            Partitions::Between(from, to) => (*from..*to).contains(&partition),
        };
        allowed && self.topics.allows(topic)
    }
}

const ALL: Partitions = Partitions::Between(0, i32::MAX);

fn rules(parsed: &Parsed) -> Result<Vec<Rule>, String> {
    if let Some(list) = parsed.once("topic-partitions")? {
        return java::split(list, ',').into_iter().map(rule).collect();
    }
    let topics = TopicFilter::new(parsed.once("topic")?.unwrap_or(".*"))?;
    let listed = parsed.once("partitions")?.filter(|list| !list.is_empty());
    let partitions = match listed {
        None => ALL,
        Some(list) => {
            let numbers = java::split(list, ',').into_iter().map(java::number);
            let numbers = numbers.collect::<Result<Vec<i32>, String>>();
            Partitions::Listed(numbers.map_err(|_| {
                format!("--partitions {list}: expected numbers separated by commas")
            })?)
        }
    };
    Ok(vec![Rule { topics, partitions }])
}

/// `TOPIC`, `TOPIC:N`, `TOPIC:N-M`; numbers may be left out.
fn rule(text: &str) -> Result<Rule, String> {
    let invalid = || format!("invalid rule {text}: expected TOPIC, TOPIC:N or TOPIC:N-M");
    let (topic, range) = text.split_once(':').unwrap_or((text, ""));
    let bound = |digits: &str, missing: i32| match digits {
        "" => Ok(missing),
        _ if digits.bytes().all(|digit| digit.is_ascii_digit()) => java::number(digits),
        _ => Err(invalid()),
    };
    let partitions = match range.split_once('-') {
        Some((from, to)) => Partitions::Between(bound(from, 0)?, bound(to, i32::MAX)?),
        None if range.is_empty() => ALL,
        None => Partitions::Listed(vec![bound(range, 0)?]),
    };
    let topics = TopicFilter::new(if topic.is_empty() { ".*" } else { topic })?;
    Ok(Rule { topics, partitions })
}

fn time(text: &str) -> Result<OffsetSpec, Failure> {
    Ok(match text {
        "-1" | "latest" => OffsetSpec::Latest,
        "-2" | "earliest" => OffsetSpec::Earliest,
        "-3" | "max-timestamp" => OffsetSpec::MaxTimestamp,
        "-4" | "earliest-local" => OffsetSpec::EarliestLocal,
        "-5" | "latest-tiered" => OffsetSpec::LatestTiered,
        "-6" | "earliest-pending-upload" => OffsetSpec::EarliestPendingUpload,
        other => OffsetSpec::Timestamp(java::number(other).map_err(|_| {
            SPEC.misuse(&format!("--time {other}: expected a time in ms or one of the names"))
        })?),
    })
}

/// Every server must come with its port, as Apache Kafka's tool has it.
fn ports(servers: &str) -> Result<(), Failure> {
    let has_port = |server: &str| {
        let port = server.trim().rsplit_once(':').map(|(_, port)| port);
        port.is_some_and(|port| port.parse::<u16>().is_ok())
    };
    if servers.split(',').all(has_port) {
        return Ok(());
    }
    Err(SPEC.misuse(&format!("--bootstrap-server {servers}: expected host:port,...")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_for_test;

    fn allowed(text: &str) -> Vec<String> {
        let rules: Vec<Rule> =
            java::split(text, ',').into_iter().map(|part| rule(part).unwrap()).collect();
        let mut found = Vec::new();
        for topic in ["a", "ab"] {
            for partition in 0..4 {
                if rules.iter().any(|rule| rule.allows(topic, partition)) {
                    found.push(format!("{topic}{partition}"));
                }
            }
        }
        found
    }

    #[test]
    fn rules_take_topics_as_patterns_and_ranges_without_their_end() {
        assert_eq!(allowed("a:1"), ["a1"]);
        assert_eq!(allowed("a.*:2-"), ["a2", "a3", "ab2", "ab3"]);
        assert_eq!(allowed("ab:-2"), ["ab0", "ab1"]);
        assert_eq!(allowed("a:0-2,:3"), ["a0", "a1", "a3", "ab3"]);
        assert_eq!(allowed("a:").len(), 4);
        assert_eq!(allowed("a:-").len(), 4);
        assert_eq!(allowed("").len(), 8, "an empty rule is every partition");
        for bad in ["a:x", "a:1-2-3", "a:1:2", "a:99999999999"] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_names_and_numbers() {
        assert!(matches!(time("-3"), Ok(OffsetSpec::MaxTimestamp)));
        assert!(matches!(time("earliest"), Ok(OffsetSpec::Earliest)));
        assert!(matches!(time("+12"), Ok(OffsetSpec::Timestamp(12))));
        assert!(time("LATEST").is_err());
    }

    #[test]
    fn wrong_command_lines_leave_standard_output_empty() {
        for args in [
            &["--topic", "a"][..],
            &["--bootstrap-server", "localhost"],
            &["--bootstrap-server=localhost:1", "--topic=a", "--topic-partitions=b"],
            &["--bootstrap-server=localhost:1", "--partitions=0,x"],
            &["--bootstrap-server=localhost:1", "--topic=["],
        ] {
            let (code, out, err) = run_for_test(&TOOL, args, "");
            assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
            assert!(err.starts_with("error: "), "{err}");
        }
    }
}
