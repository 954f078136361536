//! `kafka-console-consumer`: records of topics, on standard output.
//!
//! Standard output and exit codes are those of Apache Kafka 4.3.1. To standard error goes what went
//! wrong and, at every end, how many messages were processed.
//!
//! Invariants:
//! - I1: what is committed was printed, and accepted by whoever reads standard output: records
//!   behind that are sought back to before the end.
//! - I2: what was read is written before anything is waited for; a person may be watching.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::time::{Duration, Instant};

use client::{Client, Consumer, ConsumerRecord, Error, Start, TopicPartition};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::formatter::Formatter;
use super::{Properties, Renamed};
use crate::cluster::{self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Signals};
use crate::flags::{Parsed, Spec, switch, value};
use crate::topic_filter::TopicFilter;
use crate::{Failure, Io, Tool, finish, java};

/// The entry in the list of tools.
pub const TOOL: Tool = Tool {
    name: "kafka-console-consumer",
    about: "Prints the records of topics as they come.",
    run,
};

static SPEC: Spec = Spec {
    tool: TOOL.name,
    about: TOOL.about,
    flags: &[
        BOOTSTRAP_SERVER,
        value(&["topic"], "name", "What to read."),
        value(&["include"], "pattern", "The same as a regular expression over names of topics."),
        value(&["partition"], "n", "Of the topic only this one; without a group."),
        value(&["offset"], "offset", "Where: earliest, latest (the default) or a number."),
        switch(&["from-beginning"], "Begin at the first record where nothing is committed."),
        value(&["max-messages"], "n", "Stop after so many; never unless given."),
        value(&["timeout-ms"], "ms", "Stop when so long nothing came; never unless given."),
        value(&["group"], "name", "The group to be a member of; a new one unless given."),
        value(&["isolation-level"], "level", "read_uncommitted (the default) or read_committed."),
        value(
            &["formatter-property"],
            "key=value",
            "What is printed; may be repeated. print.key, print.value (true unless given), \
             print.timestamp, print.partition, print.offset, print.headers, print.epoch, \
             print.delivery; key.separator (a tab), line.separator, headers.separator (,), \
             null.literal; key.deserializer, value.deserializer, headers.deserializer.",
        ),
        value(&["formatter-config"], "file", "The same as properties."),
        value(&["formatter"], "class", "What prints; an unknown class is told with those known."),
        value(&["key-deserializer"], "class", "Of org.apache.kafka.common.serialization."),
        value(&["value-deserializer"], "class", "Of org.apache.kafka.common.serialization."),
        switch(&["skip-message-on-error"], "Go on after a record that can't be printed."),
        COMMAND_CONFIG,
        value(&["command-property"], "key=value", "A property of the consumer; may be repeated."),
        switch(&["enable-systest-events"], "Print shutdown_complete at the end."),
        value(&["property"], "key=value", "Old name of --formatter-property."),
        value(&["consumer-property"], "key=value", "Old name of --command-property."),
        value(&["consumer.config"], "file", "Old name of --command-config."),
    ],
};

const COMMAND_FILE: Renamed = Renamed { old: "consumer.config", new: "command-config" };
const COMMAND: Renamed = Renamed { old: "consumer-property", new: "command-property" };
const FORMATTER: Renamed = Renamed { old: "property", new: "formatter-property" };

fn run(args: &[String], io: &mut Io<'_>) -> u8 {
    finish(io, |io| {
        let parsed = SPEC.parse(args, io)?;
        let plan = Plan::read(&parsed, io)?;
        io.out.flush()?;
        let runtime = cluster::beside()?;
        let code = consume(&runtime, &plan, io);
        runtime.shutdown_timeout(Duration::ZERO);
        code
    })
}

/// What to read.
#[derive(Debug)]
enum What {
    Topic(String),
    Matching(TopicFilter),
    Partition(TopicPartition, Start),
}

/// All that the command line asks for.
#[derive(Debug)]
struct Plan {
    what: What,
    options: client::Options,
    formatter: Formatter,
    /// None is no limit.
    messages_max: Option<u64>,
    patience: Option<Duration>,
    skips_errors: bool,
    events: bool,
}

impl Plan {
    fn read(parsed: &Parsed, io: &mut Io<'_>) -> Result<Self, Failure> {
        parsed.exactly_one(&["topic", "include"])?;
        let partition = parsed.number::<i32>("partition")?;
        match partition {
            Some(_) => {
                parsed.exclude("partition", &["include"])?;
                parsed.exclude("from-beginning", &["offset"])?;
            }
            None if parsed.has("offset") => {
                return Err(SPEC.misuse("--offset needs --partition"));
            }
            None => {}
        }
        parsed.require(&["bootstrap-server"])?;
        COMMAND.check(parsed)?;
        COMMAND_FILE.check(parsed)?;
        for renamed in [COMMAND, COMMAND_FILE] {
            tell_renamed(renamed, parsed, io)?;
        }
        let properties = properties(parsed, partition.is_some(), io)?;
        let what = what(parsed, partition)?;
        let patience = parsed.number::<i64>("timeout-ms")?;
        let patience = patience.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        let messages_max = match parsed.number::<i32>("max-messages")? {
            None | Some(-1) => None,
            Some(number) => Some(u64::try_from(number).unwrap_or_default()),
        };
        FORMATTER.check(parsed)?;
        tell_renamed(FORMATTER, parsed, io)?;
        let formatter = formatter(parsed, io)?;
        let options = super::options(&properties, io)?;
        Ok(Self {
            what,
            options,
            formatter,
            messages_max,
            patience,
            skips_errors: parsed.has("skip-message-on-error"),
            events: parsed.has("enable-systest-events"),
        })
    }
}

fn tell_renamed(renamed: Renamed, parsed: &Parsed, io: &mut Io<'_>) -> Result<(), Failure> {
    let Renamed { old, new } = renamed;
    if parsed.has(old) {
        writeln!(
            io.out,
            "Option --{old} is deprecated and will be removed in a future version. Use --{new} \
             instead."
        )?;
    }
    Ok(())
}

fn properties(parsed: &Parsed, by_hand: bool, io: &mut Io<'_>) -> Result<Properties, Failure> {
    let file = COMMAND_FILE.file(parsed)?;
    let given = COMMAND.pairs(parsed);
    let mut groups: Vec<&str> = Vec::new();
    let places = [parsed.value("group")?, of(&given, "group.id"), of(&file, "group.id")];
    for group in places.into_iter().flatten() {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let group = match groups[..] {
        [] => None,
        [_] if by_hand => return Err(SPEC.misuse("--partition can't be used with a group")),
        [group] => Some(group.to_owned()),
        _ => {
            let all = groups.join(", ");
            return Err(SPEC.misuse(&format!("there can be one group only, not {all}")));
        }
    };
    let mut properties = file.clone();
    properties.extend(given);
    let mut set = |key: &str, value: String| drop(properties.insert(key.into(), value));
    set("bootstrap.servers", parsed.value("bootstrap-server")?.unwrap_or_default().to_owned());
    if let Some(level) = parsed.value("isolation-level")? {
        set("isolation.level", level.to_owned());
    }
    match group {
        Some(group) => set("group.id", group),
        None => {
            // A group that is nobody else's; what it reads is for nobody to go on from.
            let number = RandomState::new().build_hasher().finish() % 100_000;
            set("group.id", format!("console-consumer-{number}"));
            properties.entry("enable.auto.commit".into()).or_insert_with(|| "false".into());
        }
    }
    let beginning = parsed.has("from-beginning");
    let reset = if beginning { "earliest" } else { "latest" };
    let reset = properties.entry("auto.offset.reset".into()).or_insert_with(|| reset.into());
    if beginning && reset != "earliest" {
        return Err(Failure::new(format!(
            "error: --from-beginning contradicts auto.offset.reset={reset}"
        )));
    }
    properties.entry("client.id".into()).or_insert_with(|| "console-consumer".into());
    if let Some(protocol) = properties.get_mut("group.protocol")
        && protocol.eq_ignore_ascii_case("consumer")
    {
        let _ = writeln!(io.err, "warning: group.protocol=consumer: classic is used instead");
        *protocol = "classic".into();
    }
    Ok(properties)
}

fn of<'a>(properties: &'a Properties, key: &str) -> Option<&'a str> {
    properties.get(key).map(String::as_str)
}

fn what(parsed: &Parsed, partition: Option<i32>) -> Result<What, Failure> {
    let topic = parsed.value("topic")?.unwrap_or_default();
    if let Some(pattern) = parsed.value("include")? {
        let told = |why: &str| Failure::new(format!("error: --include {pattern}: {why}"));
        if pattern.is_empty() {
            return Err(told("expected a regular expression"));
        }
        let filter = TopicFilter::pattern(pattern);
        return filter.map(What::Matching).map_err(|why| told(&why));
    }
    let Some(partition) = partition else { return Ok(What::Topic(topic.to_owned())) };
    let start = match parsed.value("offset")? {
        None if parsed.has("from-beginning") => Start::Beginning,
        None => Start::End,
        Some(word) if word.eq_ignore_ascii_case("earliest") => Start::Beginning,
        Some(word) if word.eq_ignore_ascii_case("latest") => Start::End,
        Some(text) => {
            let number = java::number::<i64>(text).ok().filter(|offset| *offset >= 0);
            Start::At(number.ok_or_else(|| {
                let expected = "expected earliest, latest or a number that is not negative";
                SPEC.misuse(&format!("--offset {text}: {expected}"))
            })?)
        }
    };
    Ok(What::Partition(TopicPartition::new(topic, partition), start))
}

fn formatter(parsed: &Parsed, io: &mut Io<'_>) -> Result<Formatter, Failure> {
    let mut properties = match parsed.value("formatter-config")? {
        Some(path) => crate::cluster::read_properties(path)?,
        None => Properties::new(),
    };
    for (flag, key) in
        [("key-deserializer", "key.deserializer"), ("value-deserializer", "value.deserializer")]
    {
        if let Some(class) = parsed.value(flag)? {
            properties.insert(key.into(), class.into());
        }
    }
    properties.extend(FORMATTER.pairs(parsed));
    let class = parsed.value("formatter")?.unwrap_or(DEFAULT_FORMATTER);
    Formatter::new(class, &properties, io.err)
}

/// Why the reading ended.
enum End {
    /// There were as many messages as were asked for.
    Enough,
    /// Nothing came, or an error did, which both are a success to Apache Kafka's tool.
    Told(String),
    /// A record can't be printed, or standard output can't be written to.
    Failed(Failure),
    /// A signal's exit code.
    Signal(u8),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

fn consume(runtime: &Runtime, plan: &Plan, io: &mut Io<'_>) -> Result<u8, Failure> {
    runtime.block_on(async {
        let signals = Signals::take_over()?;
        let client = Client::unconnected(plan.options.clone());
        let consumer = Consumer::new(client.clone());
        let begun = match &plan.what {
            What::Topic(topic) => consumer.subscribe(&[topic]),
            What::Matching(pattern) => {
                let pattern = pattern.clone();
                consumer.subscribe_matching(move |topic| pattern.allows(topic))
            }
            What::Partition(partition, start) => {
                consumer.assign_from(&[(partition.clone(), *start)])
            }
        };
        begun.map_err(|error| Failure::new(format!("error: {error}")))?;
        let mut reading = Reading {
            plan,
            consumer,
            signals,
            processed: 0,
            unprinted: BTreeMap::new(),
            text: Vec::new(),
        };
        let end = match reading.connect(&client, io).await {
            Ok(()) => reading.run(io).await,
            Err(end) => end,
        };
        reading.end(end, io).await
    })
}

struct Reading<'a> {
    plan: &'a Plan,
    consumer: Consumer,
    signals: Signals,
    processed: u64,
    /// Where to go back to, of each partition with records that were read and not printed.
    unprinted: BTreeMap<TopicPartition, i64>,
    /// What is to be printed next.
    text: Vec<u8>,
}

impl Reading<'_> {
    /// Waits until somebody answers, and says so if nobody does.
    async fn connect(&mut self, client: &Client, io: &mut Io<'_>) -> Result<(), End> {
        let began = Instant::now();
        let mut told = false;
        while !self.has_enough() {
            let asked = client.refresh(Some(Vec::new()), false);
            let looked = tokio::select! {
                looked = asked => looked,
                code = self.signals.any() => return Err(End::Signal(code)),
                () = expired(self.plan.patience, began) => return Err(self.late()),
            };
            match looked {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retriable() => {
                    if !std::mem::replace(&mut told, true) {
                        let _ = writeln!(io.err, "warning: {error}; trying again");
                    }
                }
                Err(error) => return Err(End::Told(format!("error: {error}"))),
            }
            tokio::select! {
                () = tokio::time::sleep(RECONNECT_PAUSE) => {}
                code = self.signals.any() => return Err(End::Signal(code)),
                () = expired(self.plan.patience, began) => return Err(self.late()),
            }
        }
        Ok(())
    }

    fn late(&self) -> End {
        let ms = self.plan.patience.unwrap_or_default().as_millis();
        End::Told(format!("error: no message came within {ms} ms"))
    }

    fn has_enough(&self) -> bool {
        self.plan.messages_max.is_some_and(|most| self.processed >= most)
    }

    async fn run(&mut self, io: &mut Io<'_>) -> End {
        while !self.has_enough() {
            if let Some(code) = self.signals.seen() {
                return End::Signal(code);
            }
            let records = match self.poll().await {
                Ok(records) => records,
                Err(end) => return end,
            };
            if let Err(end) = self.print(records, io) {
                return end;
            }
        }
        End::Enough
    }

    /// The next records, however long they take.
    async fn poll(&mut self) -> Result<Vec<ConsumerRecord>, End> {
        let began = Instant::now();
        let told = |error: Error| End::Told(format!("error: {error}"));
        loop {
            let left = match self.plan.patience {
                Some(patience) => patience.saturating_sub(began.elapsed()),
                None => POLL,
            };
            let records = tokio::select! {
                records = self.consumer.poll(left) => records.map_err(told)?,
                code = self.signals.any() => return Err(End::Signal(code)),
            };
            if !records.is_empty() {
                return Ok(records);
            }
            if self.plan.patience.is_some_and(|patience| began.elapsed() >= patience) {
                return Err(self.late());
            }
        }
    }

    /// Prints records, all of them or as many as are wanted.
    fn print(&mut self, records: Vec<ConsumerRecord>, io: &mut Io<'_>) -> Result<(), End> {
        let before = self.processed;
        let printed = self.print_all(&records, io);
        let flushed = self.write(io).and_then(|()| Ok(self.signals.writing(|| io.out.flush())?));
        // Invariant I1.
        let count = match (&printed, &flushed) {
            (_, Err(_)) => 0,
            _ => self.processed - before,
        };
        for record in records.iter().skip(usize::try_from(count).unwrap_or(usize::MAX)) {
            let partition = TopicPartition::new(&*record.topic, record.partition);
            self.unprinted.entry(partition).or_insert(record.offset);
        }
        printed.and(flushed)
    }

    fn print_all(&mut self, records: &[ConsumerRecord], io: &mut Io<'_>) -> Result<(), End> {
        for record in records {
            if self.has_enough() {
                break;
            }
            self.processed += 1;
            if let Err(error) = self.plan.formatter.write(record, &mut self.text, io.err) {
                let (topic, partition, offset) = (&record.topic, record.partition, record.offset);
                let at = format!("{topic}-{partition} at offset {offset}: {error}");
                if !self.plan.skips_errors {
                    return Err(End::Failed(Failure::new(format!("error: {at}"))));
                }
                let _ = writeln!(io.err, "warning: skipped: {at}");
            }
            if self.text.len() >= TEXT_BYTES {
                self.write(io)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, io: &mut Io<'_>) -> Result<(), End> {
        let written = self.signals.writing(|| io.out.write_all(&self.text));
        self.text.clear();
        // One large record must not hold its memory for ever.
        self.text.shrink_to(2 * TEXT_BYTES);
        Ok(written?)
    }

    /// Says how many there were, goes back to what was not printed, and leaves.
    async fn end(self, end: End, io: &mut Io<'_>) -> Result<u8, Failure> {
        let Self { consumer, processed, unprinted, plan, .. } = self;
        let result = match end {
            End::Enough => Ok(0),
            End::Told(text) => {
                let _ = writeln!(io.err, "{text}");
                Ok(0)
            }
            End::Failed(failure) => Err(failure),
            End::Signal(code) => Ok(code),
        };
        let closed_output = matches!(result, Err(Failure::Closed));
        if !closed_output {
            let _ = writeln!(io.err, "Processed a total of {processed} messages");
        }
        for (partition, offset) in unprinted {
            // One that was taken away meanwhile is not committed either.
            let _ = consumer.seek(&partition, offset);
        }
        let late = Error::Timeout { what: "leaving the group".into(), after: CLOSE };
        let closed = timeout(CLOSE, consumer.close()).await.unwrap_or(Err(late));
        match closed {
            // Nobody who was never reached can be told goodbye.
            Ok(()) | Err(Error::Unreachable { .. }) => {}
            Err(error) => drop(writeln!(io.err, "warning: {error}")),
        }
        if plan.events && !closed_output {
            writeln!(io.out, "shutdown_complete")?;
        }
        result
    }
}

/// Ends when `--timeout-ms` has passed since then.
async fn expired(patience: Option<Duration>, since: Instant) {
    match patience {
        Some(patience) => tokio::time::sleep(patience.saturating_sub(since.elapsed())).await,
        None => std::future::pending().await,
    }
}

const DEFAULT_FORMATTER: &str = "org.apache.kafka.tools.consumer.DefaultMessageFormatter";
/// Written at once, when there is that much.
const TEXT_BYTES: usize = 64 << 10;
/// The longest a poll waits when nothing limits it.
const POLL: Duration = Duration::from_secs(60);
/// Between two attempts to reach a cluster.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// How long the end may take.
const CLOSE: Duration = Duration::from_secs(30);
