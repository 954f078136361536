//! `ottla consume`: writes the records of topics, of a range of them or as they come, alone or as a
//! member of a group.
//!
//! Invariants:
//! - I1: a group's offset is never committed beyond a record that was written out: records behind
//!   that are sought back to before the end.
//! - I2: what was read is written before anything is waited for.
//! - I3: records that were there to be read and are not shown are told of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use client::admin::{Isolation, OffsetSpec};
use client::{Admin, Consumer, ConsumerRecord, Error, Options, TopicPartition};
use tokio::time::timeout;
use wire::{Bytes, ErrorCode};

use super::format::{self, Format, write_json};
use super::output::{Output, escape};
use super::range::{Place, Range, bounds};
use super::{
    ALL_PARTITIONS, COMMAND_CONFIG, Call, KEY_FORMAT, PROPERTY, SERVER, Verb, failed, told, topic,
    usage,
};
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
            value(
                &["key", "k"],
                "key",
                "Only records with this key, of the partition that producers put it into. A broker \
                 of ours passes over segments that can't hold it.",
            ),
            KEY_FORMAT,
            ALL_PARTITIONS,
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
pub(super) enum Shape {
    Format(Format),
    Json,
    /// All parts on a line that a terminal can show.
    Line,
}

impl Shape {
    pub(super) fn of(call: &Call<'_, '_>) -> Result<Self, Failure> {
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

    pub(super) fn write(
        &self,
        io: &mut Io<'_>,
        record: &ConsumerRecord,
        count: u64,
    ) -> std::io::Result<()> {
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
    /// The only key wanted.
    key: Option<Bytes>,
    /// In whatever partition.
    anywhere: bool,
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
    let key = key(call)?;
    let anywhere = parsed.has("all-partitions");
    if anywhere && (key.is_none() || !partitions.is_empty()) {
        return Err(call.wrong("--all-partitions is for --key, without --partition"));
    }
    // A topic that is deleted while it is read must not come back empty.
    let mut changes = vec![("allow.auto.create.topics", "false".to_owned())];
    if parsed.has("read-committed") {
        changes.push(("isolation.level", "read_committed".into()));
    }
    match group {
        Some(group) => {
            let reset = match range {
                None | Some(Range { from: Place::End(0), to: None }) => "latest",
                Some(Range { from: Place::Start(0), to: None }) => "earliest",
                Some(_) => return Err(call.wrong("with --group, --offset is start or end")),
            };
            if !partitions.is_empty() {
                return Err(call.wrong("--partition can't be used with --group"));
            }
            if key.is_some() {
                // It would commit past records of other keys, which nobody has seen.
                return Err(call.wrong("--key can't be used with --group"));
            }
            changes.push(("group.id", group.to_owned()));
            changes.push(("auto.offset.reset", reset.into()));
            changes.push(("enable.auto.commit", "true".into()));
        }
        None => {
            // I3: where the log begins later than here, it is read from there on.
            changes.push(("auto.offset.reset", "earliest".into()));
            changes.push(("enable.auto.commit", "false".into()));
        }
    }
    let mut properties = call.properties(&changes)?;
    if group.is_none() {
        // Properties may name a group: whoever reads alone is no business of its.
        properties.remove("group.id");
    }
    let topics: BTreeSet<String> = call.arguments().iter().cloned().collect();
    let plan = Plan {
        topics: topics.into_iter().collect(),
        partitions,
        key,
        anywhere,
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
        let only_key = plan.key.clone();
        let with_key = |options: &mut Options| options.consumer.only_key = only_key;
        let admin = call.connect_with(&properties, with_key).await?;
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

/// `--key`, as `--key-format` says.
fn key(call: &Call<'_, '_>) -> Result<Option<Bytes>, Failure> {
    let coding = call.parsed.value("key-format").map_err(usage)?;
    match call.parsed.value("key").map_err(usage)? {
        Some(text) => {
            let key = format::key(text, coding);
            key.map(Some).map_err(|text| call.wrong(&format!("--key: {text}")))
        }
        None if coding.is_some() => Err(call.wrong("--key-format is for --key")),
        None => Ok(None),
    }
}

/// What comes next.
struct Polled {
    records: Vec<ConsumerRecord>,
    /// Topics that were found to be deleted.
    gone: Vec<String>,
}

/// Records, or the exit code of a signal.
async fn poll(
    consumer: &Consumer,
    admin: &Admin,
    watch: &mut Watch,
    signals: &mut Signals,
) -> Result<Result<Polled, u8>, Failure> {
    let next = async {
        // Before the poll: what a poll returned must not be lost to a signal.
        let gone = watch.look(admin).await;
        let records = consumer.poll(PATIENCE).await.map_err(failed)?;
        Ok(Ok(Polled { records, gone }))
    };
    tokio::select! {
        polled = next => polled,
        code = signals.any() => Ok(Err(code)),
    }
}

/// Looks, now and then, for topics that are deleted while they are read.
struct Watch {
    topics: Vec<String>,
    /// Nobody knew of them at the last look.
    missing: BTreeSet<String>,
    /// Nor at the one before.
    gone: BTreeSet<String>,
    looked: Instant,
}

impl Watch {
    fn new(topics: &[String]) -> Self {
        let (missing, gone) = (BTreeSet::new(), BTreeSet::new());
        Self { topics: topics.to_vec(), missing, gone, looked: Instant::now() }
    }

    /// Topics that are gone now and were not before.
    async fn look(&mut self, admin: &Admin) -> Vec<String> {
        if self.looked.elapsed() < LOOK_INTERVAL {
            return Vec::new();
        }
        let client = admin.client();
        let asked = client.refresh(Some(self.topics.clone()), false);
        let answered = matches!(timeout(LOOK, asked).await, Ok(Ok(())));
        self.looked = Instant::now();
        if !answered {
            return Vec::new();
        }
        let unknown = |name: &String| {
            let error = client.metadata(|known| known.error(name));
            error == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        let missing: BTreeSet<String> =
            self.topics.iter().filter(|name| unknown(name)).cloned().collect();
        // Seen twice: a broker that has just started may not know of every topic yet.
        let gone: BTreeSet<String> = missing.intersection(&self.missing).cloned().collect();
        let new = gone.difference(&self.gone).cloned().collect();
        self.gone = gone;
        self.missing = missing;
        new
    }
}

/// Tells of topics that are gone, which is an error if nothing is left to read.
fn tell_gone(gone: &[String], is_left: bool, io: &mut Io<'_>) -> Result<(), Failure> {
    if gone.is_empty() {
        return Ok(());
    }
    let level = if is_left { "warning" } else { "error" };
    let lines = gone.iter().map(|topic| format!("{level}: {topic}: the topic was deleted"));
    let text = lines.collect::<Vec<_>>().join("\n");
    if !is_left {
        return Err(told(text, super::NOT_FOUND));
    }
    let _ = writeln!(io.err, "{text}");
    Ok(())
}

/// Offsets of a partition that were passed over: from the first up to, and without, the second.
type Gap = (TopicPartition, i64, i64);

/// Reads partitions without a group.
struct Alone<'a> {
    admin: &'a Admin,
    plan: Plan,
    consumer: Consumer,
    /// What is left to read.
    partitions: Vec<TopicPartition>,
    /// Where each is expected to go on.
    next: BTreeMap<TopicPartition, i64>,
    /// Where each ends, if they do.
    ends: Option<BTreeMap<TopicPartition, i64>>,
    count: u64,
}

async fn alone(
    admin: &Admin,
    plan: Plan,
    io: &mut Io<'_>,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let mut partitions = BTreeSet::new();
    for name in &plan.topics {
        let there = topic::partitions(admin, name).await?;
        if let Some(missing) = plan.partitions.iter().find(|wanted| !there.contains(wanted)) {
            let text = format!("error: {name} has no partition {missing}, but {}", there.len());
            return Err(told(text, super::NOT_FOUND));
        }
        let mut only = plan.partitions.clone();
        if let Some(key) = plan.key.as_ref().filter(|_| only.is_empty() && !plan.anywhere) {
            let place = admin.client().partition_of(name, key).await.map_err(failed)?;
            only.push(place.partition);
        }
        let wanted = |index: &i32| only.is_empty() || only.contains(index);
        let named = there.into_iter().filter(wanted).map(|index| TopicPartition::new(name, index));
        partitions.extend(named);
    }
    let mut partitions: Vec<TopicPartition> = partitions.into_iter().collect();
    let bounds = bounds(admin, &partitions, plan.isolation).await?;
    let next = plan.range.from.resolve(admin, &bounds, plan.isolation).await?;
    let mut ends = match plan.range.to {
        Some(to) => Some(to.resolve(admin, &bounds, plan.isolation).await?),
        None => None,
    };
    if let Some(ends) = &mut ends {
        ends.retain(|partition, end| next.get(partition).is_some_and(|from| from < end));
        partitions.retain(|partition| ends.contains_key(partition));
    }
    if partitions.is_empty() || plan.left == 0 {
        return Ok(0);
    }
    let consumer = Consumer::new(admin.client().clone());
    consumer.assign(&partitions).map_err(failed)?;
    for partition in &partitions {
        let from = next.get(partition).copied().unwrap_or_default();
        consumer.seek(partition, from).map_err(failed)?;
    }
    Alone { admin, plan, consumer, partitions, next, ends, count: 0 }.read(io, signals).await
}

impl Alone<'_> {
    async fn read(&mut self, io: &mut Io<'_>, signals: &mut Signals) -> Result<u8, Failure> {
        let mut watch = Watch::new(&self.plan.topics);
        loop {
            let polled = poll(&self.consumer, self.admin, &mut watch, signals).await?;
            let Polled { records, gone } = match polled {
                Ok(polled) => polled,
                Err(code) => return Ok(code),
            };
            let mut gaps = Vec::new();
            signals.writing(|| {
                self.write(&records, &mut gaps, io)?;
                io.out.flush()
            })?;
            let enough = self.count >= self.plan.left;
            if !enough && (records.is_empty() || self.ends.is_some()) {
                self.go_on(records.is_empty(), &mut gaps).await?;
            }
            self.tell_deleted(&gaps, io).await;
            if enough || self.partitions.is_empty() {
                return Ok(0);
            }
            if !gone.is_empty() {
                self.keep(|partition| !gone.contains(&partition.topic))?;
                tell_gone(&gone, !self.partitions.is_empty(), io)?;
            }
        }
    }

    /// Writes what belongs to the range, and notes what was passed over.
    fn write(
        &mut self,
        records: &[ConsumerRecord],
        gaps: &mut Vec<Gap>,
        io: &mut Io<'_>,
    ) -> std::io::Result<()> {
        // What a poll returns of a partition is of one fetch: where the log's start overtook the
        // reader, that is before the first of it.
        for run in records
            .chunk_by(|one, next| (one.partition, &one.topic) == (next.partition, &next.topic))
        {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let place = TopicPartition::new(&*first.topic, first.partition);
            let end = self.end(&place);
            if let Some(from) = self.next.insert(place.clone(), last.offset + 1)
                && from < first.offset.min(end)
            {
                gaps.push((place, from, first.offset.min(end)));
            }
            for record in run.iter().take_while(|record| record.offset < end) {
                self.plan.shape.write(io, record, self.count)?;
                self.count += 1;
                if self.count == self.plan.left {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Where a partition ends; a partition that was done with before has ended.
    fn end(&self, place: &TopicPartition) -> i64 {
        let ends = self.ends.as_ref();
        ends.map_or(i64::MAX, |ends| ends.get(place).copied().unwrap_or_default())
    }

    /// By the position and not by the last record: the records before an end may be gone.
    async fn go_on(&mut self, idle: bool, gaps: &mut Vec<Gap>) -> Result<(), Failure> {
        let mut done = BTreeSet::new();
        for partition in &self.partitions {
            // Not known yet: the next time.
            let asked = timeout(LOOK, self.consumer.position(partition)).await;
            let Ok(Ok(position)) = asked else { continue };
            let end = self.end(partition);
            if position >= end {
                done.insert(partition.clone());
            }
            // After records only what ends is looked at: the rest may be passed over piece by
            // piece.
            if let Some(next) = self.next.get_mut(partition)
                && (idle || position >= end)
                && *next < position
            {
                if *next < position.min(end) {
                    gaps.push((partition.clone(), *next, position.min(end)));
                }
                *next = position;
            }
        }
        if !done.is_empty() {
            self.keep(|partition| !done.contains(partition))?;
        }
        Ok(())
    }

    /// Reads on in these partitions only.
    fn keep(&mut self, is_kept: impl Fn(&TopicPartition) -> bool) -> Result<(), Failure> {
        self.partitions.retain(&is_kept);
        if let Some(ends) = &mut self.ends {
            ends.retain(|partition, _| is_kept(partition));
        }
        self.consumer.assign(&self.partitions).map_err(failed)
    }

    /// Tells which of these offsets were deleted (I3): those before the log's start. The others
    /// were compacted away, or are not for readers.
    async fn tell_deleted(&self, gaps: &[Gap], io: &mut Io<'_>) {
        // Who reads one key passes over the others: that says nothing of what was deleted.
        if gaps.is_empty() || self.plan.key.is_some() {
            return;
        }
        let wanted = gaps.iter().map(|(partition, ..)| (partition.clone(), OffsetSpec::Earliest));
        let wanted: Vec<_> = wanted.collect();
        let asked = self.admin.list_offsets(&wanted, self.plan.isolation);
        // Reading on matters more than the telling.
        let Ok(Ok(starts)) = timeout(LOOK, asked).await else { return };
        for (partition, from, to) in gaps {
            let start = starts.iter().find(|(one, _)| one == partition);
            let Some((_, Ok(start))) = start else { continue };
            let to = start.offset.min(*to);
            if *from < to {
                let _ = writeln!(
                    io.err,
                    "warning: {partition}: offsets {from} to {} were deleted before they were read",
                    to - 1
                );
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
    if plan.left == 0 {
        return Ok(0);
    }
    let consumer = Consumer::new(admin.client().clone());
    consumer.subscribe(&plan.topics).map_err(failed)?;
    let mut unwritten = BTreeMap::new();
    let result = read_as_member(admin, &consumer, &plan, io, signals, &mut unwritten).await;
    // Where nothing was read the group goes on from where this member began: others than this
    // end would lose what comes in between. That place may have to be found out yet.
    let begun = async {
        for partition in consumer.assignment() {
            let _ = consumer.position(&partition).await;
        }
    };
    let _ = timeout(LOOK, begun).await;
    for (partition, offset) in unwritten {
        // I1. One that was taken away meanwhile is not committed either.
        let _ = consumer.seek(&partition, offset);
    }
    let late = Error::Timeout { what: "leaving the group".into(), after: CLOSE };
    if let Err(error) = timeout(CLOSE, consumer.close()).await.unwrap_or(Err(late)) {
        let _ = writeln!(io.err, "warning: the last commit failed: {error}");
    }
    result
}

/// Reads until something ends it. The client commits by itself what earlier polls returned: all
/// written. `unwritten`: where to go back to, where what the last one returned is not.
async fn read_as_member(
    admin: &Admin,
    consumer: &Consumer,
    plan: &Plan,
    io: &mut Io<'_>,
    signals: &mut Signals,
    unwritten: &mut BTreeMap<TopicPartition, i64>,
) -> Result<u8, Failure> {
    let mut watch = Watch::new(&plan.topics);
    let mut count = 0;
    while count < plan.left {
        let Polled { records, gone } = match poll(consumer, admin, &mut watch, signals).await? {
            Ok(polled) => polled,
            Err(code) => return Ok(code),
        };
        let wanted = usize::try_from(plan.left - count).unwrap_or(usize::MAX).min(records.len());
        let written = signals.writing(|| {
            for record in records.iter().take(wanted) {
                plan.shape.write(io, record, count)?;
                count += 1;
            }
            io.out.flush()
        });
        // Nobody knows what of it was accepted by whoever reads.
        let accepted = if written.is_ok() { wanted } else { 0 };
        for record in records.iter().skip(accepted) {
            let place = TopicPartition::new(&*record.topic, record.partition);
            unwritten.entry(place).or_insert(record.offset);
        }
        written?;
        tell_gone(&gone, watch.gone.len() < plan.topics.len(), io)?;
    }
    Ok(0)
}

/// For records to come; only a bound on how often an end that was reached otherwise is looked for.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks for topics that are gone.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How long a question on the way may take.
const LOOK: Duration = Duration::from_secs(2);
/// How long the end may take.
const CLOSE: Duration = Duration::from_secs(30);

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
            &["--key", "a", "-g", "g"],
            &["--key", "ab c", "--key-format", "hex"],
            &["--key-format", "hex"],
            &["--all-partitions"],
            &["--all-partitions", "--key", "a", "-p", "1"],
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
