//! `ottla consume`: writes the records of topics, of a range of them or as they come, alone or as a
//! member of a group.
//!
//! Invariants:
//! - I1: a group's offset is never committed beyond a record that was written out.
//! - I2: what was read is written before anything is waited for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use client::admin::Isolation;
use client::{Admin, Consumer, ConsumerRecord, TopicPartition};

use super::format::{Format, write_json};
use super::output::{Output, escape};
use super::range::{Place, Range, bounds};
use super::{COMMAND_CONFIG, Call, PROPERTY, SERVER, Verb, failed, told, topic, usage};
use crate::cluster::{self, Signals};
use crate::flags::{Spec, switch, value};
use crate::{Failure, Io};

pub(super) static CONSUME: Verb = Verb {
    spec: &Spec {
        tool: "ottla consume",
        about: "Writes the records of topics: from the end on as they come, unless told otherwise.",
        flags: &[
            value(
                &["offset"],
                "range",
                "Where to begin, and after a colon where to end: start, end, an offset, +N after \
                 the start, -N before the end, @TIME. :end is what is there now. With --group, \
                 start or end, for partitions without a committed offset.",
            ),
            value(&["num", "n"], "n", "Ends after so many records."),
            value(&["group", "g"], "group", "Reads as a member of this group, and commits."),
            value(&["partition", "p"], "n", "Only this partition. May be repeated."),
            value(
                &["format", "f"],
                "text",
                "How to write a record: %k, %v, %t, %p, %o, %e, %d, %h{...}, %K, %V, %H, %i, with \
                 {hex}, {base64}, {json} after %k and %v, {rfc3339}, {strftime[...]} after %d. \
                 %v\\n unless given.",
            ),
            value(
                &["output", "o"],
                "form",
                "json or jsonl: an object a line; table: a line of all parts.",
            ),
            switch(&["read-committed"], "Leave out what transactions took back or may yet."),
            SERVER,
            PROPERTY,
            COMMAND_CONFIG,
        ],
    },
    arguments: ("TOPIC...", 1..=usize::MAX),
    run: consume,
};

/// How records are written.
enum Shape {
    Format(Format),
    Json,
    /// All parts on a line that a terminal can show.
    Line,
}

impl Shape {
    fn of(call: &Call<'_, '_>) -> Result<Self, Failure> {
        let format = call.parsed.value("format").map_err(usage)?;
        if format.is_some() && call.parsed.has("output") {
            return Err(call.wrong("--format can't be used with --output"));
        }
        match call.output {
            Output::Json | Output::Lines => Ok(Self::Json),
            Output::Table if call.parsed.has("output") => Ok(Self::Line),
            Output::Table => {
                let format = Format::read(format.unwrap_or("%v\\n"));
                format.map(Self::Format).map_err(|text| call.wrong(&format!("--format: {text}")))
            }
            Output::Name => Err(call.wrong("--output name: records have no names")),
        }
    }

    fn write(&self, io: &mut Io<'_>, record: &ConsumerRecord, count: u64) -> std::io::Result<()> {
        match self {
            Self::Format(format) => format.write(io.out, record, count),
            Self::Json => write_json(io.out, record),
            Self::Line => {
                let text = |bytes: &Option<wire::Bytes>| match bytes {
                    Some(bytes) => escape(&String::from_utf8_lossy(bytes)),
                    None => "-".to_owned(),
                };
                let (key, value) = (text(&record.key), text(&record.value));
                let (partition, offset) = (record.partition, record.offset);
                writeln!(io.out, "{}-{partition}@{offset}  {key}  {value}", record.topic)
            }
        }
    }
}

/// What the command line asks for.
struct Plan {
    topics: Vec<String>,
    partitions: Vec<i32>,
    range: Range,
    shape: Shape,
    left: u64,
    isolation: Isolation,
}

fn consume(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let shape = Shape::of(call)?;
    let parsed = call.parsed;
    let group = parsed.value("group").map_err(usage)?;
    let range = parsed.value("offset").map_err(usage)?.map(Range::read).transpose();
    let range = range.map_err(|text| call.wrong(&format!("--offset {text}")))?;
    let left: Option<u64> = parsed.number("num").map_err(usage)?;
    let partitions = parsed.values("partition").map(|text| {
        let number = text.parse().ok().filter(|index: &i32| *index >= 0);
        number.ok_or_else(|| call.wrong(&format!("--partition {text}: expected a number")))
    });
    let partitions = partitions.collect::<Result<Vec<i32>, Failure>>()?;
    let mut changes: Vec<(&str, String)> = Vec::new();
    if parsed.has("read-committed") {
        changes.push(("isolation.level", "read_committed".into()));
    }
    if let Some(group) = group {
        let reset = match range {
            None | Some(Range { from: Place::End(0), to: None }) => "latest",
            Some(Range { from: Place::Start(0), to: None }) => "earliest",
            Some(_) => return Err(call.wrong("with --group, --offset is start or end")),
        };
        if !partitions.is_empty() {
            return Err(call.wrong("--partition can't be used with --group"));
        }
        changes.push(("group.id", group.to_owned()));
        changes.push(("auto.offset.reset", reset.into()));
        // I1: a poll returns more than was asked for.
        changes.push(("enable.auto.commit", left.is_none().to_string()));
    }
    let properties = call.properties(&changes)?;
    let plan = Plan {
        topics: call.arguments().to_vec(),
        partitions,
        range: range.unwrap_or(Range { from: Place::End(0), to: None }),
        shape,
        left: left.unwrap_or(u64::MAX),
        isolation: match properties.get("isolation.level").map(String::as_str) {
            Some("read_committed") => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        },
    };
    // Writing may block: the group's heartbeats go on meanwhile.
    cluster::block_on_beside(async {
        let admin = call.connect(&properties).await?;
        for name in &plan.topics {
            topic::partitions(&admin, name).await?;
        }
        let mut signals = Signals::take_over()?;
        match group {
            Some(_) => as_member(&admin, plan, call.io, &mut signals).await,
            None => alone(&admin, plan, call.io, &mut signals).await,
        }
    })?
}

/// Records, or the exit code of a signal.
async fn poll(
    consumer: &Consumer,
    signals: &mut Signals,
) -> Result<Result<Vec<ConsumerRecord>, u8>, Failure> {
    tokio::select! {
        records = consumer.poll(PATIENCE) => records.map(Ok).map_err(failed),
        code = signals.any() => Ok(Err(code)),
    }
}

async fn alone(
    admin: &Admin,
    plan: Plan,
    io: &mut Io<'_>,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let mut partitions = Vec::new();
    for name in &plan.topics {
        let there = topic::partitions(admin, name).await?;
        if let Some(missing) = plan.partitions.iter().find(|wanted| !there.contains(wanted)) {
            let text = format!("error: {name} has no partition {missing}, but {}", there.len());
            return Err(told(text, super::NOT_FOUND));
        }
        let wanted = |index: &i32| plan.partitions.is_empty() || plan.partitions.contains(index);
        let named = there.into_iter().filter(wanted).map(|index| TopicPartition::new(name, index));
        partitions.extend(named);
    }
    let bounds = bounds(admin, &partitions, plan.isolation).await?;
    let from = plan.range.from.resolve(admin, &bounds, plan.isolation).await?;
    let mut ends = match plan.range.to {
        Some(to) => Some(to.resolve(admin, &bounds, plan.isolation).await?),
        None => None,
    };
    if let Some(ends) = &mut ends {
        ends.retain(|partition, end| from.get(partition).is_some_and(|from| from < end));
        partitions.retain(|partition| ends.contains_key(partition));
    }
    if partitions.is_empty() || plan.left == 0 {
        return Ok(0);
    }
    let consumer = Consumer::new(admin.client().clone());
    consumer.assign(&partitions).map_err(failed)?;
    for partition in &partitions {
        let from = from.get(partition).copied().unwrap_or_default();
        consumer.seek(partition, from).map_err(failed)?;
    }
    let mut count = 0;
    loop {
        let records = match poll(&consumer, signals).await? {
            Ok(records) => records,
            Err(code) => return Ok(code),
        };
        for record in &records {
            let end = ends.as_ref().map(|ends| {
                let place = TopicPartition::new(&*record.topic, record.partition);
                ends.get(&place).copied().unwrap_or_default()
            });
            if end.is_some_and(|end| record.offset >= end) {
                continue;
            }
            plan.shape.write(io, record, count)?;
            count += 1;
            if count == plan.left {
                return Ok(0);
            }
        }
        io.out.flush()?;
        if let Some(ends) = &mut ends {
            // By the position and not by the last record: the records before an end may be gone.
            let before = ends.len();
            for partition in std::mem::take(&mut partitions) {
                let position = consumer.position(&partition).await.map_err(failed)?;
                if ends.get(&partition).is_some_and(|end| position < *end) {
                    partitions.push(partition);
                } else {
                    ends.remove(&partition);
                }
            }
            if partitions.is_empty() {
                return Ok(0);
            }
            if partitions.len() < before {
                consumer.assign(&partitions).map_err(failed)?;
            }
        }
    }
}

async fn as_member(
    admin: &Admin,
    plan: Plan,
    io: &mut Io<'_>,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let consumer = Consumer::new(admin.client().clone());
    consumer.subscribe(&plan.topics).map_err(failed)?;
    // Without a count the client commits by itself what earlier polls returned: all written.
    let mut shown = BTreeMap::new();
    let mut committed = Instant::now();
    let mut count = 0;
    let code = 'reading: loop {
        if count == plan.left {
            break 0;
        }
        let records = match poll(&consumer, signals).await? {
            Ok(records) => records,
            Err(code) => break code,
        };
        for record in &records {
            plan.shape.write(io, record, count)?;
            count += 1;
            if plan.left != u64::MAX {
                let place = TopicPartition::new(&*record.topic, record.partition);
                shown.insert(place, record.offset + 1);
            }
            if count == plan.left {
                break 'reading 0;
            }
        }
        io.out.flush()?;
        if !shown.is_empty() && committed.elapsed() >= COMMIT_INTERVAL {
            commit(&consumer, &mut shown, io).await;
            committed = Instant::now();
        }
    };
    io.out.flush()?;
    commit(&consumer, &mut shown, io).await;
    if let Err(error) = consumer.close().await {
        let _ = writeln!(io.err, "warning: the last commit failed: {error}");
    }
    Ok(code)
}

/// Commits what was shown. A refusal is told: others may read these records again.
async fn commit(consumer: &Consumer, shown: &mut BTreeMap<TopicPartition, i64>, io: &mut Io<'_>) {
    let offsets: Vec<(TopicPartition, i64)> = std::mem::take(shown).into_iter().collect();
    if offsets.is_empty() {
        return;
    }
    if let Err(error) = consumer.commit_offsets(&offsets).await {
        let _ = writeln!(io.err, "warning: a commit failed: {error}");
    }
}

/// For records to come; only a bound on how often an end that was reached otherwise is looked for.
const PATIENCE: Duration = Duration::from_millis(500);
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::run;
    use crate::Io;

    #[test]
    fn what_can_not_go_together_is_refused_before_anything_is_reached() {
        for args in [
            &["--offset", "5x"][..],
            &["--offset", "1:2", "-g", "g"],
            &["-p", "1", "-g", "g"],
            &["-p", "-1"],
            &["-n", "some"],
            &["-f", "%q"],
            &["-f", "%v", "-o", "json"],
            &["-o", "name"],
        ] {
            let mut words = vec!["consume".to_owned(), "letters".to_owned()];
            words.extend(args.iter().map(|arg| (*arg).to_owned()));
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut io = Io { stdin: &mut std::io::empty(), out: &mut out, err: &mut err };
            let code = run(&words, &mut io);
            assert_eq!((code, out.len()), (2, 0), "{args:?}");
            assert!(err.starts_with(b"error: "), "{args:?}");
        }
    }
}
