//! The schedule: which run comes when, and what is between two runs.
//!
//! Owns `target/bench/data/` (emptied at the start and at the end) and the lock that keeps two
//! measurements of one tree apart.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::broker::{Broker, Peer, Side};
use crate::driver::Driver;
use crate::results::{self, Kind, Results};
use crate::{machine, proc, start, table};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Start-up, memory then, the first record.
    Start,
    /// Writing as fast as it goes.
    Ingest,
    /// Reading as fast as it goes.
    Replay,
    /// A fixed rate, written and read at once.
    Steady,
}

impl Workload {
    /// All, in the order in which they are run.
    pub const ALL: [Self; 4] = [Self::Start, Self::Ingest, Self::Replay, Self::Steady];

    /// Its name in results and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Ingest => "ingest",
            Self::Replay => "replay",
            Self::Steady => "steady",
        }
    }
}

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many times A B B A.
    pub rounds: usize,
    /// What is measured.
    pub workloads: Vec<Workload>,
    /// How Apache Kafka is configured.
    pub peer: Peer,
    /// How much `ingest` writes.
    pub volume_mib: u64,
    /// How long `replay` and `steady` take, each.
    pub seconds: u64,
}

impl Options {
    /// A full measurement: some fourteen minutes. Of these, with the rates of two cores (500 MiB/s
    /// written), ingest has two, replay and steady three each, warming up three to four, and
    /// starting, syncing and removing the rest.
    pub fn full() -> Self {
        Self {
            rounds: 5,
            workloads: Workload::ALL.to_vec(),
            peer: Peer::Default,
            volume_mib: 3072,
            seconds: 8,
        }
    }

    /// True if it measures at least as much as [`Self::full`].
    fn is_full(&self) -> bool {
        let full = Self::full();
        self.rounds >= full.rounds
            && self.volume_mib >= full.volume_mib
            && self.seconds >= full.seconds
    }

    fn has(&self, workload: Workload) -> bool {
        self.workloads.contains(&workload)
    }

    /// The driver's arguments for a workload.
    pub fn load(&self, workload: Workload, address: &str, topic: &str) -> Vec<String> {
        let (records, more): (u64, &[(&str, u64)]) = match workload {
            Workload::Steady => (
                self.seconds * STEADY_RATE,
                &[("-rate", STEADY_RATE), ("-size", 256), ("-producers", 4)],
            ),
            Workload::Replay => (self.volume_mib * 1024, &[("-consumers", 2)]),
            _ => (self.volume_mib * 1024, &[("-size", 1024), ("-producers", 4)]),
        };
        let mut arguments = vec![workload.word().to_owned()];
        if workload == Workload::Replay {
            arguments.extend(["-reading".to_owned(), format!("{}s", self.seconds)]);
        }
        for (flag, value) in
            [("-records", records), ("-partitions", PARTITIONS.into())].iter().chain(more)
        {
            arguments.extend([(*flag).to_owned(), value.to_string()]);
        }
        arguments.extend([address.to_owned(), topic.to_owned()]);
        arguments
    }
}

/// Measures, and adds what it finds to the results of the commit; returns their file.
///
/// # Errors
/// If anything is missing or fails; what was measured before is kept.
pub fn run(options: &Options) -> Result<PathBuf, String> {
    let Begun { path, mut results, data, _lock } =
        begin(Kind::Workloads, &PROGRAMS, options.is_full())?;
    let driver = Driver::build()?;
    // Syncing makes no difference to a start.
    if options.has(Workload::Start) && options.peer == Peer::Default {
        results.put("start", start::measure(&data)?);
        results.write(&path)?;
        println!("start: measured");
    }
    let bulk = [Workload::Ingest, Workload::Replay];
    for together in [&bulk[..], &[Workload::Steady]] {
        let wanted: Vec<Workload> =
            together.iter().copied().filter(|&workload| options.has(workload)).collect();
        if !wanted.is_empty() {
            let table = Table { options, driver: &driver, wanted: &wanted };
            table.play(&data, &mut results)?;
            results.write(&path)?;
        }
    }
    empty(&data)?;
    Ok(path)
}

/// A measurement that nothing else in this tree disturbs, with what it is of in its results.
pub(crate) struct Begun {
    /// Where the results go.
    pub path: PathBuf,
    /// Those that are there.
    pub results: Results,
    /// An empty directory for brokers.
    pub data: PathBuf,
    /// Held for as long as it takes.
    pub _lock: File,
}

/// Begins one: the results of a `full` one of a committed tree are the commit's, others scratch.
pub(crate) fn begin(kind: Kind, programs: &[&str], full: bool) -> Result<Begun, String> {
    missing_programs(programs)?;
    let scratch = harness::root().join("target/bench");
    fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
    let lock = File::create(scratch.join("lock")).map_err(|error| error.to_string())?;
    lock.try_lock().map_err(|_| "another measurement is under way in this tree")?;
    build()?;
    let (commit, clean) = machine::commit()?;
    let (path, mut results) = if clean && full {
        let path = results::directory().join(kind.file(&commit));
        let results = Results::read(&path)?;
        (path, results)
    } else {
        println!("Not a full measurement of a committed tree: the results are scratch.");
        (scratch.join(kind.file("scratch")), Results::empty())
    };
    let data = scratch.join("data");
    empty(&data)?;
    sync()?;
    results.put("commit", json!(if clean { commit } else { format!("{commit} and changes") }));
    results.put("date", json!(machine::date()?));
    results.put("machine", machine::describe(&data)?);
    results.put("versions", json!({ "apache": APACHE, "java": machine::java_version()? }));
    Ok(Begun { path, results, data, _lock: lock })
}

/// The same brokers for some workloads.
struct Table<'a> {
    options: &'a Options,
    driver: &'a Driver,
    wanted: &'a [Workload],
}

impl Table<'_> {
    fn play(&self, data: &Path, results: &mut Results) -> Result<(), String> {
        let peer = self.options.peer;
        empty(data)?;
        let ours = Broker::start(Side::Ottla, peer, &data.join("ottla"))?;
        let theirs = Broker::start(Side::Apache, peer, &data.join("apache"))?;
        let mut runs: Vec<Vec<Value>> = vec![Vec::new(); self.wanted.len()];
        let mut warm = vec![json!({}); self.wanted.len()];
        for broker in [&ours, &theirs] {
            for (workload, more) in self.warm_up(broker)?.into_iter().enumerate() {
                warm[workload][broker.side().word()] = json!(is_warm(&more));
                runs[workload].extend(more);
            }
        }
        if peer == Peer::Default && self.wanted.contains(&Workload::Steady) {
            results.put("idle", idle(&[&ours, &theirs])?);
        }
        for round in 1..=self.options.rounds {
            for broker in [&ours, &theirs, &theirs, &ours] {
                for (runs, run) in runs.iter_mut().zip(self.turn(broker, round)?) {
                    runs.push(run);
                }
            }
        }
        for ((workload, runs), warm) in self.wanted.iter().zip(runs).zip(&warm) {
            println!("{}: {} rounds", workload.word(), self.options.rounds);
            results.put_set(peer, workload.word(), warm, runs);
        }
        Ok(())
    }

    /// Runs that don't count, until every workload is warm.
    fn warm_up(&self, broker: &Broker) -> Result<Vec<Vec<Value>>, String> {
        println!("{}: warming up", broker.side().word());
        let mut runs: Vec<Vec<Value>> = vec![Vec::new(); self.wanted.len()];
        for _ in 0..WARM_UPS_MAX {
            for (runs, run) in runs.iter_mut().zip(self.turn(broker, 0)?) {
                runs.push(run);
            }
            if runs.iter().all(|runs| is_warm(runs)) {
                break;
            }
        }
        Ok(runs)
    }

    /// One run of each workload on a fresh topic; in round 0, which warms up, of half the time.
    fn turn(&self, broker: &Broker, round: usize) -> Result<Vec<Value>, String> {
        let address = broker.address();
        let side = broker.side().word();
        let mut options = self.options.clone();
        if round == 0 {
            options.seconds = options.seconds.div_ceil(2);
        }
        self.driver.create(&address, TOPIC, PARTITIONS)?;
        let load = |workload: Workload| {
            let arguments = options.load(workload, &address, TOPIC);
            let run = self.driver.load(&arguments, broker.pid()).map_err(|error| {
                format!("{side}, {}, round {round}: {error}\n{}", workload.word(), broker.log())
            })?;
            // What is still to be written would be written during the next run.
            sync()?;
            Ok::<Value, String>(run)
        };
        if self.wanted == [Workload::Replay] {
            // It needs what nobody measures this time.
            load(Workload::Ingest)?;
        }
        let mut runs = Vec::new();
        for &workload in self.wanted {
            let mut run = load(workload)?;
            run["side"] = json!(side);
            run["round"] = json!(round);
            println!("{side} {round} {}: {}", workload.word(), brief(&run));
            runs.push(run);
        }
        self.driver.delete(&address, TOPIC)?;
        gone(broker, TOPIC)?;
        sync()?;
        Ok(runs)
    }
}

/// Waits until nothing of a deleted topic is left on disk.
pub(crate) fn gone(broker: &Broker, topic: &str) -> Result<(), String> {
    let until = Instant::now() + DELETE;
    while !broker.is_rid_of(topic) {
        if Instant::now() > until {
            return Err(format!("{} keeps the files of a deleted topic", broker.side().word()));
        }
        thread::park_timeout(Duration::from_millis(50));
    }
    Ok(())
}

/// True if two runs in a row each took at least nine tenths of the CPU, by the byte, of the run
/// before.
fn is_warm(runs: &[Value]) -> bool {
    let used: Vec<f64> = runs.iter().filter_map(table::cpu_per_gigabyte).collect();
    used.windows(3).any(|three| three.is_sorted_by(|before, after| *after >= before * WARM))
}

/// A run in a few words, for who watches.
fn brief(run: &Value) -> String {
    let number = |at: &str| run.pointer(at).and_then(Value::as_f64).unwrap_or_default();
    let mut text = format!(
        "{:.1} MiB/s, {:.2} s CPU of {:.2} s, driver {:.2} s",
        number("/driver/mib_per_second"),
        number("/broker/cpu_seconds"),
        number("/driver/seconds"),
        number("/driver/driver_cpu_seconds"),
    );
    for (word, at) in [("ack", "ack_ms"), ("end to end", "end_to_end_ms")] {
        if run["driver"][at].is_object() {
            let (half, most) = (format!("/driver/{at}/p50"), format!("/driver/{at}/p99"));
            text.push_str(&format!(", {word} {:.1}/{:.1} ms", number(&half), number(&most)));
        }
    }
    text
}

/// CPU milliseconds a second of brokers that nobody asks for anything, some times.
fn idle(brokers: &[&Broker]) -> Result<Value, String> {
    let mut found = json!({});
    for broker in brokers {
        found[broker.side().word()] = json!({ "cpu_ms_per_second": [] });
    }
    for _ in 0..IDLES {
        let mut before = Vec::new();
        for broker in brokers {
            before.push(proc::sample(broker.pid())?.cpu_seconds);
        }
        let start = Instant::now();
        while start.elapsed() < IDLE {
            thread::park_timeout(IDLE.saturating_sub(start.elapsed()));
        }
        let took = start.elapsed().as_secs_f64();
        for (broker, before) in brokers.iter().zip(before) {
            let used = proc::sample(broker.pid())?.cpu_seconds - before;
            if let Some(all) = found[broker.side().word()]["cpu_ms_per_second"].as_array_mut() {
                all.push(json!((used * 1000.0 / took).round()));
            }
        }
    }
    Ok(found)
}

/// Everything written so far is on disk afterwards.
pub(crate) fn sync() -> Result<(), String> {
    match harness::run(&mut Command::new("sync"), DELETE).code {
        Some(0) => Ok(()),
        code => Err(format!("sync ended with {code:?}")),
    }
}

pub(crate) fn empty(directory: &Path) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", directory.display());
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(wrong)?;
    }
    fs::create_dir_all(directory).map_err(wrong)
}

/// Builds what is measured, so that it is of the commit that the results name.
pub(crate) fn build() -> Result<(), String> {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    build.args(["build", "--release", "--quiet", "-p", "ottla"]).current_dir(harness::root());
    let built = harness::run(&mut build, harness::DOWNLOAD);
    if built.code != Some(0) {
        return Err(format!("ottla doesn't build:\n{}", built.stderr));
    }
    Ok(())
}

pub(crate) fn missing_programs(wanted: &[&str]) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    };
    let missing: Vec<&str> = wanted.iter().copied().filter(|program| !there(program)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("not installed, and needed to measure: {}", missing.join(", ")))
    }
}

const PROGRAMS: [&str; 8] = ["cargo", "git", "go", "java", "mvn", "setpriv", "sync", "date"];
pub(crate) const APACHE: &str = "Apache Kafka 4.3.1";
const TOPIC: &str = "letters";
const PARTITIONS: u32 = 12;
const STEADY_RATE: u64 = 2000;
/// After so many the rounds begin anyway, and the table says that the broker was not warm.
const WARM_UPS_MAX: usize = 10;
const WARM: f64 = 0.9;
const IDLES: usize = 5;
const IDLE: Duration = Duration::from_secs(4);
const DELETE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_of_the_volume_and_the_seconds_that_were_asked_for() {
        let options = Options { volume_mib: 2, seconds: 3, ..Options::full() };
        let words = |workload| options.load(workload, "host:1", "t").join(" ");
        assert_eq!(
            words(Workload::Ingest),
            "ingest -records 2048 -partitions 12 -size 1024 -producers 4 host:1 t"
        );
        assert_eq!(
            words(Workload::Replay),
            "replay -reading 3s -records 2048 -partitions 12 -consumers 2 host:1 t"
        );
        assert_eq!(
            words(Workload::Steady),
            "steady -records 6000 -partitions 12 -rate 2000 -size 256 -producers 4 host:1 t"
        );
    }

    #[test]
    fn broker_is_warm_after_two_steps_without_a_fall() {
        let run = |used: &f64| {
            json!({
                "driver": { "bytes_in": 1_000_000_000, "bytes_out": 0 },
                "broker": { "cpu_seconds": used },
            })
        };
        let warm = |used: &[f64]| is_warm(&used.iter().map(run).collect::<Vec<_>>());
        assert!(!warm(&[]) && !warm(&[1.0, 1.0]));
        assert!(warm(&[3.0, 2.0, 1.9, 1.8]) && warm(&[2.0, 1.9, 1.8, 1.0]));
        assert!(!warm(&[2.0, 1.9, 1.0]) && !warm(&[2.0, 1.0, 1.0]));
    }

    #[test]
    fn less_than_the_default_is_no_full_measurement() {
        assert!(Options::full().is_full());
        assert!(Options { rounds: 6, workloads: vec![], ..Options::full() }.is_full());
        assert!(!Options { rounds: 4, ..Options::full() }.is_full());
        assert!(!Options { volume_mib: 1, ..Options::full() }.is_full());
        assert!(!Options { seconds: 1, ..Options::full() }.is_full());
    }
}
