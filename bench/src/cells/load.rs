//! One run of a load on a broker that is there: what the load came to, and what it took of the
//! broker.
//!
//! Owns nothing that outlives a run; topics are the schedule's.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::plan::Load;
use crate::broker::{Broker, dying_with_us, java};
use crate::driver::conduct;
use crate::proc;
use crate::raw::connection::{Place, Topic};
use crate::raw::{Report, fetch, latency, produce};

/// How much of each load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// What counts.
    Full,
    /// A moment of each, to see whether it works.
    Brief,
}

impl Scale {
    /// Bytes of so many MiB.
    pub fn bytes(self, mib: u64) -> u64 {
        match self {
            Self::Full => mib << 20,
            Self::Brief => (mib << 20) / 128,
        }
    }

    fn time(self, seconds: u64) -> Duration {
        match self {
            Self::Full => Duration::from_secs(seconds),
            Self::Brief => Duration::from_millis(200),
        }
    }
}

/// Runs a load; `{"driver": ..., "broker": ...}`.
///
/// # Errors
/// If a request failed, a program is missing, or the broker ended.
pub fn run(load: Load, broker: &Broker, topic: &Topic, scale: Scale) -> Result<Value, String> {
    let address = broker.address();
    let pid = broker.pid();
    match load {
        Load::Produce { size, volume } => {
            let plan = bulk(&address, topic, size, scale.bytes(volume));
            let plan = produce::Plan { time: Some(LONGEST), ..plan };
            let prepared = produce::Prepared::new(&plan)?;
            sampled(pid, || prepared.run())
        }
        Load::Paced { record, rate, seconds } => {
            let requests = (scale.time(seconds).as_secs_f64() * f64::from(rate)) as u64;
            let mut plan = bulk(&address, topic, record, 0);
            (plan.record, plan.rate) = (record, Some(f64::from(rate)));
            plan.volume = requests * produce::batch(record, record)?.0.len() as u64;
            let prepared = produce::Prepared::new(&plan)?;
            sampled(pid, || prepared.run())
        }
        Load::Latency { record, rate, seconds } => {
            let prepared = latency::Prepared::new(&latency::Plan {
                address,
                topic: topic.clone(),
                record,
                rate: f64::from(rate),
                acks: -1,
                time: scale.time(seconds),
            })?;
            sampled(pid, || prepared.run())
        }
        Load::Fetch { max_bytes, readers, volume } => {
            let plan = replay(&address, topic, max_bytes, readers, scale.bytes(volume));
            let plan = fetch::Plan { time: Some(LONGEST), ..plan };
            let prepared = fetch::Prepared::new(&plan)?;
            sampled(pid, || prepared.run())
        }
        Load::Cold { volume } => {
            let plan = bulk(&address, topic, 16 << 10, scale.bytes(volume));
            let plan = produce::Plan { time: Some(LONGEST), ..plan };
            cold(broker, topic, &plan)
        }
        Load::Librdkafka { record, volume, properties } => {
            let mut command = librdkafka()?;
            command.arg("produce").arg(address).arg(&topic.name).arg(record.to_string());
            command.arg((scale.bytes(volume) / record).to_string()).args(properties);
            conduct(&mut command, pid)
        }
        Load::Java { record, volume, properties } => {
            let records = scale.bytes(volume) / record;
            perf(&address, &topic.name, record, records, properties)
        }
    }
}

/// Raw batches on one connection, five in flight, acks=all.
pub fn bulk(address: &str, topic: &Topic, size: usize, volume: u64) -> produce::Plan {
    produce::Plan {
        address: address.to_owned(),
        topic: topic.clone(),
        size,
        record: size.min(1024),
        connections: 1,
        inflight: 5,
        acks: -1,
        rate: None,
        volume,
        time: None,
    }
}

/// Raw readers, from the beginning again and again.
pub fn replay(
    address: &str,
    topic: &Topic,
    max_bytes: i32,
    connections: usize,
    volume: u64,
) -> fetch::Plan {
    fetch::Plan {
        address: address.to_owned(),
        topic: topic.clone(),
        connections,
        max_bytes,
        from: Place::Start,
        volume,
        time: None,
    }
}

/// A load from within this process, and the broker meanwhile.
fn sampled(pid: u32, load: impl FnOnce() -> Result<Report, String>) -> Result<Value, String> {
    proc::forget_peak(pid)?;
    let before = proc::sample(pid)?;
    let report = load()?;
    let after = proc::sample(pid)?;
    Ok(json!({
        "driver": report.to_json(),
        "broker": {
            "cpu_seconds": ((after.cpu_seconds - before.cpu_seconds) * 100.0).round() / 100.0,
            "resident_bytes": after.resident_bytes,
            "peak_resident_bytes": after.peak_bytes,
        },
    }))
}

/// What was in the topic before is read from the device all the while, and evicted again as soon
/// as it was read.
fn cold(broker: &Broker, topic: &Topic, plan: &produce::Plan) -> Result<Value, String> {
    let files = broker.log_files(&topic.name);
    let size: u64 = files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    let reading = replay(&plan.address, topic, 1 << 20, 1, size.max(1));
    evict(&files)?;
    let stop = Arc::new(AtomicBool::new(false));
    let first = fetch::Prepared::until(&reading, stop.clone())?;
    let producer = produce::Prepared::new(plan)?;
    let reader = {
        let stop = stop.clone();
        thread::spawn(move || {
            let mut bytes = first.run()?.bytes;
            while !stop.load(Ordering::Relaxed) {
                evict(&files)?;
                bytes += fetch::Prepared::until(&reading, stop.clone())?.run()?.bytes;
            }
            Ok::<u64, String>(bytes)
        })
    };
    let found = sampled(broker.pid(), || producer.run());
    stop.store(true, Ordering::Relaxed);
    let read = reader.join().map_err(|_| "the cold reader panicked")?;
    let mut found = found?;
    found["driver"]["cold_bytes"] = json!(read?);
    Ok(found)
}

/// Drops from the page cache what is on disk; what is not yet stays.
fn evict(files: &[PathBuf]) -> Result<(), String> {
    for path in files {
        let dropped = File::open(path).and_then(|file| {
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
            Ok(())
        });
        dropped.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// The producer on librdkafka, built on first use.
///
/// # Errors
/// If a compiler or the library is missing; in one line.
pub fn librdkafka() -> Result<Command, String> {
    let script = harness::root().join("bench/librdkafka/build");
    let finished = harness::run(&mut Command::new(script), BUILD);
    if finished.code != Some(0) {
        let why = finished.stderr.lines().last().unwrap_or("unknown").to_owned();
        return Err(format!("no producer on librdkafka: {why}"));
    }
    Ok(dying_with_us(finished.stdout.trim()))
}

/// Apache Kafka's own load generator tells its rate by itself; its start doesn't count.
fn perf(
    address: &str,
    topic: &str,
    record: u64,
    records: u64,
    properties: &[&str],
) -> Result<Value, String> {
    let mut command = java(PERF_HEAP)?;
    command.arg("org.apache.kafka.tools.ProducerPerformance");
    command.args(["--bootstrap-server", address, "--topic", topic, "--throughput", "-1"]);
    command.args(["--record-size", &record.to_string(), "--num-records", &records.to_string()]);
    command.arg("--command-property").args(properties);
    let finished = harness::run(&mut command, LOAD);
    let rate = summary(&finished.stdout, records);
    match (finished.code, rate) {
        (Some(0), Some(rate)) => Ok(json!({
            "driver": {
                "client": "ProducerPerformance",
                "bytes": record * records,
                "records": records,
                "mb_per_second": (rate * record as f64 / 1e3).round() / 1e3,
            },
        })),
        _ => Err(format!("ProducerPerformance: {}{}", finished.stdout, finished.stderr)),
    }
}

/// Records a second, from the last line about all of them.
fn summary(text: &str, records: u64) -> Option<f64> {
    let start = format!("{records} records sent, ");
    let line = text.lines().rev().find_map(|line| line.strip_prefix(&start))?;
    line.split_once(" records/sec")?.0.parse().ok()
}

/// A raw load ends then even if its volume is not reached; rates are of what was.
const LONGEST: Duration = Duration::from_secs(5);
const PERF_HEAP: &[&str] = &["-Xmx512M"];
const BUILD: Duration = Duration::from_secs(180);
const LOAD: Duration = Duration::from_secs(180);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_of_the_java_client_is_that_of_all_records() {
        let text = "50 records sent, 10.0 records/sec (0.01 MB/sec), 1.0 ms avg latency.\n\
                    100 records sent, 4000.5 records/sec (3.91 MB/sec), 2.0 ms avg latency.\n";
        assert_eq!(summary(text, 100), Some(4000.5));
        assert_eq!(summary(text, 200), None);
        assert_eq!(summary("", 1), None);
    }
}
