//! A load generator on bare sockets: it sends requests that were encoded beforehand and looks at
//! as little of the answers as it can, so that the broker and not the client is the limit.
//!
//! ```text
//! ottla-bench raw produce --size 16KiB --inflight 5 --volume 2GiB HOST:PORT TOPIC
//! ottla-bench raw fetch --max-bytes 1MiB --volume 4GiB HOST:PORT TOPIC
//! ottla-bench raw latency --rate 500 --seconds 8 --record 100 HOST:PORT TOPIC
//! ```
//!
//! Owns its connections and threads, which end with the run. A topic that is missing is created;
//! none is removed.
//!
//! - `produce` ([`produce`]): one thread a connection. Without `--rate` a closed loop: as many
//!   requests are on their way as were asked for, and the next one leaves when an answer comes.
//!   With `--rate` an open loop: requests leave at their times, and latency counts from the time at
//!   which a request was to leave, so a stall can't hide itself by stalling the load.
//! - `fetch` ([`fetch`]): a connection a reader, one request on its way, no fetch session; from
//!   the beginning again and again, or from the end on.
//! - `latency` ([`latency`]): an open loop of single records, and a reader that waits for them.
//!
//! Requests have the highest version that names topics and has no tagged fields (Produce 8,
//! Fetch 11), because then the fields that are looked at stand at fixed places.
//!
//! Invariants:
//! - I1: an answer with an error code, or one that is not the next that is due, ends the run as an
//!   error: what is reported was all acknowledged.
//! - I2: nothing waits without a deadline: each socket has one ([`PATIENCE`]).
//! - I3: only the correlation id of an encoded request changes; the checksum of its batch doesn't
//!   cover it.

pub mod command;
pub mod connection;
pub mod fetch;
pub mod latency;
pub mod produce;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::proc;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Bytes of record batches that were acknowledged or read.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// How long each request took, in nanoseconds.
    pub requests: Vec<u64>,
    /// From the time a record was to leave to the time a reader had it, in nanoseconds.
    pub end_to_end: Vec<u64>,
    /// Of this process, all threads.
    pub driver_cpu_seconds: f64,
}

impl Report {
    /// Adds what another connection did meanwhile.
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.records += other.records;
        self.requests.extend(other.requests);
        self.end_to_end.extend(other.end_to_end);
    }

    /// As it is printed and kept.
    pub fn to_json(&self) -> Value {
        let mut found = json!({
            "bytes": self.bytes,
            "records": self.records,
            "seconds": round(self.seconds, 6),
            "mb_per_second": round(self.bytes as f64 / 1e6 / self.seconds, 3),
            "driver_cpu_seconds": round(self.driver_cpu_seconds, 2),
        });
        for (name, times) in [("request_ms", &self.requests), ("end_to_end_ms", &self.end_to_end)] {
            if let Some(times) = milliseconds(times) {
                found[name] = times;
            }
        }
        found
    }
}

/// Count, percentiles and maximum of times in nanoseconds, in milliseconds; `None` of nothing.
pub fn milliseconds(times: &[u64]) -> Option<Value> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |share: f64| Some(round(percentile(&sorted, share)? as f64 / 1e6, 4));
    Some(json!({
        "count": sorted.len(),
        "p50": at(0.5)?, "p90": at(0.9)?, "p99": at(0.99)?, "p999": at(0.999)?, "max": at(1.0)?,
    }))
}

/// The smallest of the sorted values that at least that share of them doesn't exceed.
pub fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

fn round(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit
}

/// Runs `work` and says how long it took and what CPU time this process spent on it.
fn clocked(work: impl FnOnce() -> Result<Report, String>) -> Result<Report, String> {
    let pid = std::process::id();
    let before = proc::sample(pid)?.cpu_seconds;
    let start = Instant::now();
    let mut report = work()?;
    report.seconds = start.elapsed().as_secs_f64();
    report.driver_cpu_seconds = proc::sample(pid)?.cpu_seconds - before;
    Ok(report)
}

/// Waits for a moment to the microsecond: the kernel wakes a thread some 50 µs late, so the rest
/// is spent in a loop.
fn wait_until(moment: Instant) {
    loop {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match left.checked_sub(WAKING) {
            Some(sleep) if !sleep.is_zero() => std::thread::park_timeout(sleep),
            _ => std::hint::spin_loop(),
        }
    }
}

/// How much later than asked for a thread may wake.
const WAKING: Duration = Duration::from_micros(120);
/// The longest an answer may take, or the broker may refuse to take more.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_the_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        let of = |share| percentile(&hundred, share);
        assert_eq!(
            [of(0.5), of(0.99), of(0.999), of(1.0)],
            [Some(50), Some(99), Some(100), Some(100)]
        );
        assert_eq!(percentile(&[7], 0.5), Some(7));
        assert_eq!(percentile(&[7], 0.0), Some(7));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn times_are_told_in_milliseconds_and_only_if_there_are_any() {
        let report = Report {
            bytes: 3_000_000,
            seconds: 2.0,
            requests: vec![3_000_000, 1_000_000, 2_000_000],
            ..Report::default()
        };
        let told = report.to_json();
        assert_eq!(told["mb_per_second"], 1.5);
        assert_eq!(told["request_ms"]["p50"], 2.0);
        assert_eq!(told["request_ms"]["max"], 3.0);
        assert!(told.get("end_to_end_ms").is_none(), "{told}");
    }

    #[test]
    fn waiting_for_the_past_is_over_at_once() {
        let now = Instant::now();
        wait_until(now);
        wait_until(now + Duration::from_micros(300));
        assert!(now.elapsed() >= Duration::from_micros(300));
    }
}
