//! `ottla-bench raw`: the words of the command line, and what they mean.

use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value, json};

use super::connection::{Place, Topic};
use super::{Report, fetch, latency, produce};
use crate::proc;

/// Runs what the words say; the JSON is its result.
///
/// # Errors
/// Words that say nothing, or a load that failed.
pub fn run(words: &[String]) -> Result<Value, String> {
    let (kind, rest) = words.split_first().ok_or(USAGE)?;
    let words = Words::parse(rest)?;
    match kind.as_str() {
        "produce" => {
            let prepared = produce::Prepared::new(&words.produce()?)?;
            watched(words.pid, || prepared.run())
        }
        "fetch" => {
            let prepared = fetch::Prepared::new(&words.fetch()?)?;
            watched(words.pid, || prepared.run())
        }
        "latency" => {
            let prepared = latency::Prepared::new(&words.latency()?)?;
            watched(words.pid, || prepared.run())
        }
        _ => Err(format!("raw {kind}: expected produce, fetch or latency\n{USAGE}")),
    }
}

/// Adds what a process took meanwhile.
fn watched(
    pid: Option<u32>,
    load: impl FnOnce() -> Result<Report, String>,
) -> Result<Value, String> {
    let before = pid.map(proc::sample).transpose()?;
    let report = load()?;
    let mut told = report.to_json();
    if let (Some(pid), Some(before)) = (pid, before) {
        let after = proc::sample(pid)?;
        let used = after.cpu_seconds - before.cpu_seconds;
        told["process"] = json!({
            "cpu_seconds": (used * 100.0).round() / 100.0,
            "cpu_seconds_per_gb": (used * 1e12 / report.bytes as f64).round() / 1e3,
            "resident_bytes": after.resident_bytes,
        });
    }
    Ok(told)
}

/// Flags and places, each with what it is when nobody says.
#[derive(Clone, Debug, PartialEq)]
struct Words {
    address: String,
    topic: Topic,
    size: u64,
    record: Option<u64>,
    connections: usize,
    inflight: usize,
    acks: i16,
    rate: Option<f64>,
    volume: u64,
    seconds: Option<f64>,
    max_bytes: u64,
    from: Place,
    pid: Option<u32>,
}

impl Words {
    fn parse(words: &[String]) -> Result<Self, String> {
        let topic = Topic { name: String::new(), partitions: 1, config: Vec::new() };
        let mut found = Self {
            address: String::new(),
            topic,
            size: 16 << 10,
            record: None,
            connections: 1,
            inflight: 5,
            acks: -1,
            rate: None,
            volume: 1 << 30,
            seconds: None,
            max_bytes: 1 << 20,
            from: Place::Start,
            pid: None,
        };
        let mut places = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                places.push(word.clone());
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"))?;
            found.set(word, value)?;
        }
        let [address, topic] = places.try_into().map_err(|_| USAGE.to_owned())?;
        (found.address, found.topic.name) = (address, topic);
        Ok(found)
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<(), String> {
        match flag {
            "--size" => self.size = bytes(flag, value)?,
            "--record" => self.record = Some(bytes(flag, value)?),
            "--max-bytes" => self.max_bytes = bytes(flag, value)?,
            "--volume" => self.volume = bytes(flag, value)?,
            "--partitions" => self.topic.partitions = number(flag, value)?,
            "--connections" => self.connections = number(flag, value)?,
            "--inflight" => self.inflight = number(flag, value)?,
            "--rate" => self.rate = Some(number(flag, value)?),
            "--seconds" => self.seconds = Some(number(flag, value)?),
            "--pid" => self.pid = Some(number(flag, value)?),
            "--acks" => self.acks = if value == "all" { -1 } else { number(flag, value)? },
            "--from" => {
                self.from = match value {
                    "start" => Place::Start,
                    "end" => Place::End,
                    _ => return Err(format!("--from {value}: expected start or end")),
                }
            }
            "--config" => {
                let pair = value.split_once('=').ok_or("--config takes KEY=VALUE")?;
                self.topic.config.push((pair.0.to_owned(), pair.1.to_owned()));
            }
            _ => return Err(format!("unknown argument {flag}\n{USAGE}")),
        }
        Ok(())
    }

    fn time(&self) -> Result<Option<Duration>, String> {
        self.seconds.map(Duration::try_from_secs_f64).transpose().map_err(|error| error.to_string())
    }

    fn produce(&self) -> Result<produce::Plan, String> {
        // An open loop ends by its time; a volume for it is said in records.
        let volume =
            if self.rate.is_some() && self.seconds.is_some() { 1 << 50 } else { self.volume };
        Ok(produce::Plan {
            address: self.address.clone(),
            topic: self.topic.clone(),
            size: self.size as usize,
            record: self.record.unwrap_or_else(|| self.size.min(1024)) as usize,
            connections: self.connections,
            inflight: self.inflight,
            acks: self.acks,
            rate: self.rate,
            volume,
            time: self.time()?,
        })
    }

    fn fetch(&self) -> Result<fetch::Plan, String> {
        Ok(fetch::Plan {
            address: self.address.clone(),
            topic: self.topic.clone(),
            connections: self.connections,
            max_bytes: i32::try_from(self.max_bytes).map_err(|_| "--max-bytes is too large")?,
            from: self.from,
            volume: self.volume,
            time: self.time()?,
        })
    }

    fn latency(&self) -> Result<latency::Plan, String> {
        Ok(latency::Plan {
            address: self.address.clone(),
            topic: self.topic.clone(),
            record: self.record.unwrap_or(100) as usize,
            rate: self.rate.unwrap_or(500.0),
            acks: self.acks,
            time: self.time()?.unwrap_or(Duration::from_secs(8)),
        })
    }
}

fn number<T: FromStr>(flag: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{flag} {value}: expected a number"))
}

/// `1000`, `16KiB`, `8MiB`, `2GiB`.
fn bytes(flag: &str, value: &str) -> Result<u64, String> {
    let split = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (digits, unit) = value.split_at(split);
    let unit: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("{flag} {value}: expected bytes such as 16KiB or 2GiB")),
    };
    let count: u64 = number(flag, digits)?;
    count.checked_mul(unit).ok_or_else(|| format!("{flag} {value}: too large"))
}

/// What `raw` takes.
pub const USAGE: &str =
    "usage: ottla-bench raw produce|fetch|latency [FLAG VALUE]... HOST:PORT TOPIC
  the topic is created if it is missing; prints one line of JSON, and fails if any request does
  --partitions N      of a topic that is created (1)
  --config KEY=VALUE  of a topic that is created; may be repeated
  --connections N     that share the partitions, or read them in turn (1)
  --volume BYTES      to send, or to read by connection (1GiB)
  --seconds N         the most it takes (latency: how long it takes, 8)
  --pid PID           tell CPU time and memory of that process, too
produce:
  --size BYTES        of a batch (16KiB)
  --record BYTES      of a record's value (1KiB, or the batch's if that is less)
  --inflight N        requests on their way by connection (5)
  --acks all|1        (all)
  --rate N            requests a second, whatever the answers (as many as are answered)
fetch:
  --max-bytes BYTES   of an answer (1MiB)
  --from start|end    from the first record, again and again, or from the end on (start)
latency:
  --record BYTES      (100)
  --rate N            records a second (500)
  --acks all|1        (all)";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Words, String> {
        Words::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_and_places_are_read_in_any_order() {
        let found =
            words("--size 16KiB a:1 --inflight 7 t --volume 2GiB --acks 1 --config a=b=c").unwrap();
        let plan = found.produce().unwrap();
        assert_eq!((plan.size, plan.record, plan.inflight), (16 << 10, 1024, 7));
        assert_eq!((plan.volume, plan.acks, plan.time), (2 << 30, 1, None));
        assert_eq!((plan.address.as_str(), plan.topic.name.as_str()), ("a:1", "t"));
        assert_eq!(plan.topic.config, [("a".to_owned(), "b=c".to_owned())]);
        let fetch = words("a:1 t --from end --max-bytes 8MiB --seconds 0.5").unwrap();
        let fetch = fetch.fetch().unwrap();
        assert_eq!((fetch.from, fetch.max_bytes), (Place::End, 8 << 20));
        assert_eq!(fetch.time, Some(Duration::from_millis(500)));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for text in ["a:1", "a:1 t u", "a:1 t --size", "a:1 t --size 3TB", "a:1 t --what 1"] {
            assert!(words(text).is_err(), "{text}");
        }
        assert!(bytes("--size", "99999999999GiB").is_err());
        assert!(run(&["what".to_owned(), "a:1".to_owned(), "t".to_owned()]).is_err());
    }
}
