//! The cells: twelve loads on the log, each with what it must reach beside Apache Kafka, and four
//! things that are no load: memory, 5 000 partitions, how soon a killed broker serves again, and
//! 100 000 partitions of ours.
//!
//! ```text
//! ottla-bench run cells                       everything that this commit has no results of
//! ottla-bench run cells --cells 1,10,memory   these, in place of what was measured before
//! ```
//!
//! Owns the order of runs, their topics, and `bench/results/cells-COMMIT.json`, which is written
//! after each cell: a run that was cut short goes on where it was.
//!
//! # How
//!
//! As in the rest of this crate, but for what follows. Both brokers are warmed once, with 2 GiB of
//! raw produce and fetch each; then every cell has a run of each arm that doesn't count. A round is
//! A B B A, or with more arms A B C C B A. Topics are made for a run and removed after it, unless
//! the cell reads what was written before. The disk is synced between runs.
//!
//! Loads 1 to 4 and 8 to 12 come from [`crate::raw`]; 5 and 6 from a C program on librdkafka
//! (`bench/librdkafka`; the Python client on the same library spends more on each record than the
//! broker does, and would be what is measured); 7 from Apache Kafka's own `ProducerPerformance`.
//!
//! The limits of the machine ([`crate::limits`]) are measured in the same run, before the brokers
//! start. What a verdict means: [`judge`].
#![allow(clippy::print_stdout)] // A command line tool talks to its user.

pub mod judge;
pub mod load;
pub mod parts;
pub mod plan;
pub mod table;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::broker::{Broker, Peer, Side};
use crate::limits::{self, Volumes};
use crate::raw::connection::{Connection, Topic};
use crate::raw::{fetch, produce};
use crate::results::{Kind, Results};
use crate::run::{Begun, begin, empty, gone, sync};
use load::{Scale, bulk, replay};
use parts::Part;
use plan::{Arm, CELLS, Cell, Load};

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many times all arms and back.
    pub rounds: u64,
    /// Numbers of cells, if not all that are missing.
    pub cells: Option<Vec<u8>>,
    /// Parts that are no load, if not all that are missing.
    pub parts: Option<Vec<Part>>,
    /// How much of each load.
    pub scale: Scale,
}

impl Options {
    /// Of the words after `run cells`.
    ///
    /// # Errors
    /// Words that say nothing.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        if words.first().is_some_and(|word| word == "--help") {
            return Err(USAGE.to_owned());
        }
        let mut found = Self { rounds: ROUNDS, cells: None, parts: None, scale: Scale::Full };
        for pair in words.chunks(2) {
            let [flag, value] = pair else {
                return Err(format!("{} needs a value\n{USAGE}", pair[0]));
            };
            match flag.as_str() {
                "--rounds" => {
                    found.rounds = value
                        .parse()
                        .ok()
                        .filter(|rounds| *rounds > 0)
                        .ok_or_else(|| format!("--rounds {value}: expected a number from 1"))?;
                }
                "--scale" => {
                    found.scale = match value.as_str() {
                        "full" => Scale::Full,
                        "brief" => Scale::Brief,
                        _ => return Err(format!("--scale {value}: expected full or brief")),
                    };
                }
                "--cells" => {
                    let (mut cells, mut parts) = (Vec::new(), Vec::new());
                    for word in value.split(',') {
                        let number = word.parse().unwrap_or(0);
                        if CELLS.iter().any(|cell| cell.number == number) {
                            cells.push(number);
                        } else if let Some(part) = Part::named(word) {
                            parts.push(part);
                        } else {
                            let all = Part::ALL.map(Part::word).join(", ");
                            return Err(format!("--cells {word}: expected 1 to 12, {all}"));
                        }
                    }
                    (found.cells, found.parts) = (Some(cells), Some(parts));
                }
                _ => return Err(format!("unknown argument {flag}\n{USAGE}")),
            }
        }
        Ok(found)
    }

    fn is_full(&self) -> bool {
        self.rounds >= ROUNDS && self.scale == Scale::Full
    }
}

/// Measures, and adds what it finds to the results of the commit; returns their file.
///
/// # Errors
/// If anything is missing or fails; what was measured before is kept.
pub fn run(options: &Options) -> Result<PathBuf, String> {
    let Begun { path, mut results, data, _lock } =
        begin(Kind::Cells, &PROGRAMS, options.is_full())?;
    let cells = wanted_cells(options, &results);
    let parts = wanted_parts(options, &results);
    // What would fail after twenty minutes fails now.
    let on_librdkafka = |arm: &Arm| matches!(arm.load, Load::Librdkafka { .. });
    if cells.iter().any(|cell| cell.arms.iter().any(on_librdkafka)) || parts.contains(&Part::Kill) {
        load::librdkafka()?;
    }
    let volumes = if options.scale == Scale::Full { Volumes::FULL } else { Volumes::BRIEF };
    results.put("limits", limits::measure(&data, volumes)?);
    results.write(&path)?;
    println!("limits: {}", results.part("limits"));
    for part in parts {
        match part.measure(&data, options.scale) {
            Ok(found) => {
                results.put(part.word(), found);
                results.write(&path)?;
                println!("{}: {}", part.word(), results.part(part.word()));
            }
            // The next run measures it, and this one what is left.
            Err(error) => eprintln!("{}: not measured: {error}", part.word()),
        }
        empty(&data)?;
        sync()?;
    }
    if !cells.is_empty() {
        let ours = Broker::start(Side::Ottla, Peer::Default, &data.join("ottla"))?;
        let theirs = Broker::start(Side::Apache, Peer::Default, &data.join("apache"))?;
        for broker in [&ours, &theirs] {
            println!("{}: warming up", broker.side().word());
            warm_up(broker, options.scale)?;
        }
        for cell in cells {
            let schedule = Schedule { cell, brokers: [&ours, &theirs], scale: options.scale };
            let runs = schedule.play(options.rounds)?;
            results.put_set(Peer::Default, &workload(cell.number), &Value::Null, runs);
            results.write(&path)?;
        }
    }
    empty(&data)?;
    Ok(path)
}

fn wanted_cells(options: &Options, results: &Results) -> Vec<&'static Cell> {
    let missing = |cell: &&Cell| results.runs(Peer::Default, &workload(cell.number)).is_empty();
    match &options.cells {
        Some(numbers) => CELLS.iter().filter(|cell| numbers.contains(&cell.number)).collect(),
        None => CELLS.iter().filter(missing).collect(),
    }
}

fn wanted_parts(options: &Options, results: &Results) -> Vec<Part> {
    let missing = |part: &Part| results.part(part.word()).is_null();
    match &options.parts {
        Some(parts) => parts.clone(),
        None => Part::ALL.into_iter().filter(missing).collect(),
    }
}

/// The name of a cell's runs in results.
fn workload(number: u8) -> String {
    format!("cell {number}")
}

/// What a JVM compiles is compiled, and what a page cache takes is taken.
fn warm_up(broker: &Broker, scale: Scale) -> Result<(), String> {
    let topic = Topic { name: "warm".into(), partitions: 1, config: Vec::new() };
    let address = broker.address();
    for (size, volume) in [(16 << 10, 512), (1 << 20, 1024), (4 << 10, 128), (16 << 10, 384)] {
        produce::Prepared::new(&bulk(&address, &topic, size, scale.bytes(volume)))?.run()?;
    }
    let plan = replay(&address, &topic, 1 << 20, 1, scale.bytes(2048));
    fetch::Prepared::new(&plan)?.run()?;
    remove(broker, &topic)?;
    sync()
}

fn remove(broker: &Broker, topic: &Topic) -> Result<(), String> {
    Connection::open(&broker.address())?.delete(&topic.name)?;
    gone(broker, &topic.name)
}

/// The rounds of one cell.
struct Schedule<'a> {
    cell: &'a Cell,
    brokers: [&'a Broker; 2],
    scale: Scale,
}

impl Schedule<'_> {
    fn play(&self, rounds: u64) -> Result<Vec<Value>, String> {
        let Cell { arms, preload, .. } = self.cell;
        if let Some(volume) = preload {
            for (broker, topic) in self.topics() {
                self.fill(broker, &topic, self.scale.bytes(*volume))?;
            }
            sync()?;
        }
        let mut runs = Vec::new();
        for round in 0..=rounds {
            let back = arms.iter().rev().filter(|_| round > 0);
            for arm in arms.iter().chain(back) {
                let mut run = self.turn(arm).map_err(|error| {
                    let log = self.broker(arm).log();
                    format!("cell {}, {}: {error}\n{log}", self.cell.number, arm.name)
                })?;
                run["arm"] = json!(arm.name);
                run["round"] = json!(round);
                println!("cell {} {round} {}: {}", self.cell.number, arm.name, brief(&run));
                runs.push(run);
            }
        }
        if preload.is_some() {
            for (broker, topic) in self.topics() {
                remove(broker, &topic)?;
            }
            sync()?;
        }
        Ok(runs)
    }

    fn turn(&self, arm: &Arm) -> Result<Value, String> {
        let (broker, topic) = (self.broker(arm), self.topic(arm));
        if self.cell.preload.is_none() {
            Connection::open(&broker.address())?.ensure(&topic)?;
        }
        let run = load::run(arm.load, broker, &topic, self.scale)?;
        if self.cell.preload.is_none() {
            remove(broker, &topic)?;
        }
        // What is still to be written would be written during the next run.
        sync()?;
        Ok(run)
    }

    fn fill(&self, broker: &Broker, topic: &Topic, volume: u64) -> Result<(), String> {
        Connection::open(&broker.address())?.ensure(topic)?;
        if volume > 0 {
            let plan = bulk(&broker.address(), topic, PRELOAD, volume);
            produce::Prepared::new(&plan)?.run()?;
        }
        Ok(())
    }

    /// Arms of one broker share a topic if they want the same of it.
    fn topics(&self) -> Vec<(&Broker, Topic)> {
        let mut found: Vec<(&Broker, Topic)> = Vec::new();
        for arm in self.cell.arms {
            let (broker, topic) = (self.broker(arm), self.topic(arm));
            if found.iter().all(|one| (one.0.side(), &one.1) != (arm.side, &topic)) {
                found.push((broker, topic));
            }
        }
        found
    }

    fn broker(&self, arm: &Arm) -> &Broker {
        self.brokers[usize::from(arm.side == Side::Apache)]
    }

    fn topic(&self, arm: &Arm) -> Topic {
        let unflushed = arm.side == Side::Ottla && !arm.flush;
        let config = unflushed.then(|| ("flush.messages".to_owned(), i64::MAX.to_string()));
        Topic {
            name: format!("cell{}{}", self.cell.number, if unflushed { "unflushed" } else { "" }),
            partitions: self.cell.partitions,
            config: config.into_iter().collect(),
        }
    }
}

/// A run in a few words, for who watches.
fn brief(run: &Value) -> String {
    let number = |at: &str| run.pointer(at).and_then(Value::as_f64);
    let mut text = format!("{:.1} MB/s", number("/driver/mb_per_second").unwrap_or_default());
    if let Some(cpu) = plan::Kind::Cpu.of(run) {
        text.push_str(&format!(", {cpu:.2} CPU s/GB"));
    }
    if let Some(cpu) = number("/driver/driver_cpu_seconds") {
        text.push_str(&format!(", driver {cpu:.2} s"));
    }
    for (word, at) in [("request", "request_ms"), ("end to end", "end_to_end_ms")] {
        let half = number(&format!("/driver/{at}/p50"));
        if let (Some(half), Some(most)) = (half, number(&format!("/driver/{at}/p99"))) {
            text.push_str(&format!(", {word} {half:.2}/{most:.2} ms"));
        }
    }
    text
}

const PROGRAMS: [&str; 7] = ["cargo", "git", "java", "mvn", "setpriv", "sync", "date"];
const ROUNDS: u64 = 5;
/// Batches of what is there before a cell begins.
const PRELOAD: usize = 64 << 10;

/// What `run cells` takes.
pub const USAGE: &str =
    "usage: ottla-bench run cells [FLAG VALUE]...   measure, and print the table
  --cells LIST        some of 1 to 12, memory, partitions, kill, many (all that have no results)
  --rounds N          how many times all arms and back (5)
  --scale full|brief  brief is a moment of each, to see whether it works (full)
Results go to bench/results/cells-COMMIT.json; with fewer rounds, briefly, or with changes that are
not committed, they are scratch and go to target/bench/cells-scratch.json.";

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Options, String> {
        Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn cells_and_parts_are_named_together() {
        let found = options("--cells 1,10,memory --rounds 6").unwrap();
        assert_eq!(found.cells, Some(vec![1, 10]));
        assert_eq!((found.parts.as_deref(), found.rounds), (Some(&[Part::Memory][..]), 6));
        assert!(found.is_full() && !options("--scale brief").unwrap().is_full());
        assert!(!options("--rounds 4").unwrap().is_full());
        for text in ["--cells 13", "--cells what", "--cells", "--rounds 0", "--what 1"] {
            assert!(options(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_has_results_is_measured_again_only_by_name() {
        let mut results = Results::empty();
        results.put_set(Peer::Default, "cell 3", &Value::Null, vec![json!({ "round": 1 })]);
        results.put("kill", json!({}));
        let numbers = |text: &str| -> Vec<u8> {
            let cells = wanted_cells(&options(text).unwrap(), &results);
            cells.iter().map(|cell| cell.number).collect()
        };
        assert_eq!(numbers("").len(), 11);
        assert!(!numbers("").contains(&3));
        assert_eq!(numbers("--cells 3,2"), [2, 3]);
        assert!(numbers("--cells kill").is_empty());
        let parts = |text: &str| wanted_parts(&options(text).unwrap(), &results);
        assert_eq!(parts(""), [Part::Memory, Part::Partitions, Part::Many]);
        assert_eq!(parts("--cells kill"), [Part::Kill]);
        assert_eq!(parts("--cells 1"), []);
    }
}
