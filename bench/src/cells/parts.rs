//! What is measured of the cells and is no load: memory, many partitions, and how soon a producer
//! is acknowledged again after `kill -9`.
//!
//! Owns the brokers and directories it starts, one after the other.

use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::load::{self, Scale, bulk, replay};
use crate::broker::{Broker, Peer, Side};
use crate::driver::lines;
use crate::proc;
use crate::raw::connection::{Connection, Topic};
use crate::raw::{PATIENCE, fetch, produce};
use crate::run::empty;

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Resident when idle, and after a load.
    Memory,
    /// Creating 5 000 partitions, what they take, and starting again with them.
    Partitions,
    /// From `kill -9` to the next acknowledgement.
    Kill,
    /// 100 000 partitions, each written to once: of ours alone.
    Many,
}

impl Part {
    /// All, in the order in which they are measured.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Partitions, Self::Kill, Self::Many];

    /// Its name in results and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Partitions => "partitions",
            Self::Kill => "kill",
            Self::Many => "many",
        }
    }

    /// Of a name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.word() == word)
    }

    /// Apache Kafka takes a minute or more for 5 000 partitions.
    fn repeats(self, side: Side, scale: Scale) -> usize {
        match (self, side) {
            (Self::Many, Side::Apache) => 0,
            (Self::Many, Side::Ottla) => 1,
            _ if scale == Scale::Brief => 1,
            (Self::Partitions, Side::Apache) => 1,
            (Self::Partitions, Side::Ottla) | (_, Side::Apache) => 2,
            (_, Side::Ottla) => 3,
        }
    }

    /// Measures both sides in fresh directories; each figure is a list of all repeats.
    ///
    /// # Errors
    /// If a broker or a load fails.
    pub fn measure(self, data: &Path, scale: Scale) -> Result<Value, String> {
        let mut found = json!({});
        for side in [Side::Ottla, Side::Apache] {
            for _ in 0..self.repeats(side, scale) {
                let directory = data.join("part");
                empty(&directory)?;
                let once = match self {
                    Self::Memory => memory(side, &directory, scale),
                    Self::Partitions => partitions(side, &directory, scale),
                    Self::Kill => kill(side, &directory, scale),
                    Self::Many => many(side, &directory, scale),
                };
                let once =
                    once.map_err(|error| format!("{}, {}: {error}", self.word(), side.word()))?;
                println!("{} {}: {once}", self.word(), side.word());
                for (key, value) in once.as_object().into_iter().flatten() {
                    let all = &mut found[side.word()][key];
                    match all.as_array_mut() {
                        Some(all) => all.push(value.clone()),
                        None => *all = json!([value]),
                    }
                }
            }
        }
        Ok(found)
    }
}

fn topic(partitions: i32) -> Topic {
    Topic { name: "letters".into(), partitions, config: Vec::new() }
}

fn resident(broker: &Broker) -> Result<u64, String> {
    Ok(proc::sample(broker.pid())?.resident_bytes)
}

/// Nobody asks for anything for a while.
fn idle(scale: Scale) {
    let until = Instant::now() + if scale == Scale::Full { IDLE } else { BRIEF_IDLE };
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}

fn memory(side: Side, directory: &Path, scale: Scale) -> Result<Value, String> {
    let broker = Broker::start(side, Peer::Default, directory)?;
    idle(scale);
    let before = resident(&broker)?;
    let (address, topic) = (broker.address(), topic(12));
    for size in [16 << 10, 1 << 20] {
        let plan = bulk(&address, &topic, size, scale.bytes(1024));
        produce::Prepared::new(&produce::Plan { connections: 4, ..plan })?.run()?;
    }
    let plan = replay(&address, &topic, 1 << 20, 12, scale.bytes(256));
    fetch::Prepared::new(&plan)?.run()?;
    Ok(json!({ "idle_bytes": before, "loaded_bytes": resident(&broker)? }))
}

fn partitions(side: Side, directory: &Path, scale: Scale) -> Result<Value, String> {
    let count = if scale == Scale::Full { PARTITIONS } else { PARTITIONS / 100 };
    let topic = topic(count);
    let broker = Broker::start(side, Peer::Default, directory)?;
    let (address, port) = (broker.address(), broker.port());
    idle(scale);
    let before = resident(&broker)?;
    let start = Instant::now();
    Connection::open(&address)?.ensure(&topic)?;
    let created = seconds(start);
    let plan = bulk(&address, &topic, SMALL, 0);
    let one = produce::batch(SMALL, SMALL)?.0.len() as u64;
    let plan = produce::Plan { volume: count as u64 * one, ..plan };
    produce::Prepared::new(&plan)?.run()?;
    // It is told as idle when that was looked at.
    idle(scale);
    idle(scale);
    idle(scale);
    let after = resident(&broker)?;
    broker.stop()?;
    let (broker, clean) = serving_again(side, directory, port, &topic)?;
    broker.kill();
    let (_broker, killed) = serving_again(side, directory, port, &topic)?;
    Ok(json!({
        "created_seconds": created,
        "clean_seconds": clean,
        "killed_seconds": killed,
        "bytes_by_partition": after.saturating_sub(before) / count as u64,
    }))
}

fn many(side: Side, directory: &Path, scale: Scale) -> Result<Value, String> {
    let each = if scale == Scale::Full { MANY / MANY_TOPICS } else { PARTITIONS / 100 };
    let topics: Vec<Topic> = (0..MANY_TOPICS)
        .map(|number| Topic { name: format!("letters{number}"), ..topic(each) })
        .collect();
    let broker = Broker::start(side, Peer::Default, directory)?;
    let (address, port) = (broker.address(), broker.port());
    idle(scale);
    let before = resident(&broker)?;
    let start = Instant::now();
    for topic in &topics {
        Connection::open(&address)?.ensure(topic)?;
    }
    let created = seconds(start);
    let start = Instant::now();
    let one = produce::batch(SMALL, SMALL)?.0.len() as u64;
    for topic in &topics {
        let plan = bulk(&address, topic, SMALL, 0);
        let plan = produce::Plan { volume: each as u64 * one, ..plan };
        produce::Prepared::new(&plan)?.run()?;
    }
    let written = seconds(start);
    (0..3).for_each(|_| idle(scale));
    let after = resident(&broker)?;
    broker.kill();
    let (broker, killed) = serving_all_again(side, directory, port, &topics)?;
    let back = resident(&broker)?;
    let start = Instant::now();
    broker.stop()?;
    let stopped = seconds(start);
    let (_broker, clean) = serving_all_again(side, directory, port, &topics)?;
    Ok(json!({
        "created_seconds": created,
        "written_seconds": written,
        "killed_seconds": killed,
        "stopped_seconds": stopped,
        "clean_seconds": clean,
        "bytes_by_partition": after.saturating_sub(before) / (each * MANY_TOPICS) as u64,
        "resident_bytes": after,
        "resident_again_bytes": back,
    }))
}

fn serving_again(
    side: Side,
    directory: &Path,
    port: u16,
    topic: &Topic,
) -> Result<(Broker, f64), String> {
    serving_all_again(side, directory, port, std::slice::from_ref(topic))
}

/// Starts a broker where one was, and says how long it took until every partition is led and says
/// where it ends.
fn serving_all_again(
    side: Side,
    directory: &Path,
    port: u16,
    topics: &[Topic],
) -> Result<(Broker, f64), String> {
    let start = Instant::now();
    let mut broker = Broker::again(side, directory, port)?;
    broker.wait_until_it_accepts()?;
    for topic in topics {
        wait_until_led(&broker, topic, start)?;
    }
    Ok((broker, seconds(start)))
}

fn wait_until_led(broker: &Broker, topic: &Topic, start: Instant) -> Result<(), String> {
    loop {
        // It may accept, and close again or not know the topic yet.
        let asked =
            Connection::open(&broker.address()).and_then(|mut asking| asking.wait_led(&topic.name));
        match asked {
            Ok(count) if count == topic.partitions => return Ok(()),
            Ok(count) => {
                return Err(format!("{count} of {} partitions are back", topic.partitions));
            }
            Err(error) if start.elapsed() > BACK => return Err(error),
            Err(_) => thread::park_timeout(Duration::from_millis(5)),
        }
    }
}

fn kill(side: Side, directory: &Path, scale: Scale) -> Result<Value, String> {
    let broker = Broker::start(side, Peer::Default, directory)?;
    let (address, port) = (broker.address(), broker.port());
    Connection::open(&address)?.ensure(&topic(1))?;
    let mut command = load::librdkafka()?;
    command.args(["watch", &address, "letters", "1024", "acks=all"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let mut watching = Watching(child);
    let output = watching.0.stdout.take().ok_or("the producer has no output")?;
    let acknowledged = lines(output);
    next(&acknowledged, PATIENCE)?;
    idle(scale);
    while acknowledged.try_recv().is_ok() {}
    next(&acknowledged, PATIENCE)?;
    let start = Instant::now();
    broker.kill();
    // What was acknowledged before arrives within a moment.
    let settled = start + SETTLE;
    loop {
        let left = settled.saturating_duration_since(Instant::now());
        match acknowledged.recv_timeout(left) {
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => break,
            Err(error) => return Err(format!("the producer: {error}")),
        }
    }
    let _broker = Broker::again(side, directory, port)?;
    next(&acknowledged, PATIENCE)?;
    Ok(json!({ "acknowledged_seconds": seconds(start) }))
}

fn next(acknowledged: &Receiver<String>, patience: Duration) -> Result<(), String> {
    let line = acknowledged.recv_timeout(patience);
    line.map(drop).map_err(|error| format!("nothing is acknowledged: {error}"))
}

/// Killed when let go of.
struct Watching(std::process::Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const BACK: Duration = Duration::from_secs(180);
const PARTITIONS: i32 = 5000;
const MANY: i32 = 100_000;
/// Half as many as one request may make are in each.
const MANY_TOPICS: i32 = 20;
/// Of a batch that is written to each partition once.
const SMALL: usize = 100;
const IDLE: Duration = Duration::from_secs(3);
const BRIEF_IDLE: Duration = Duration::from_millis(300);
const SETTLE: Duration = Duration::from_millis(20);
