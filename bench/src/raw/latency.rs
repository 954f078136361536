//! Single records at a fixed rate, and how long until they are acknowledged and until a reader who
//! waits for them has them.
//!
//! Owns two connections and three threads. The partition is nobody else's: record and offset
//! belong together.

use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, Place, Topic};
use super::produce::{Lane, Pace, batch, head};
use super::{PATIENCE, Report, clocked, fetch};

/// What is sent and read.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The broker.
    pub address: String,
    /// Its partition 0.
    pub topic: Topic,
    /// Bytes of a record's value.
    pub record: usize,
    /// Records a second.
    pub rate: f64,
    /// -1 or 1.
    pub acks: i16,
    /// How long.
    pub time: Duration,
}

/// Connected, and everything encoded.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    producer: Connection,
    reader: fetch::Reader,
    end: i64,
}

impl Prepared {
    /// Creates the topic if it is missing, and connects.
    ///
    /// # Errors
    /// If the broker refuses, or the rate is none.
    pub fn new(plan: &Plan) -> Result<Self, String> {
        if plan.rate <= 0.0 || ![1, -1].contains(&plan.acks) {
            return Err("latency needs a rate, and acks 1 or -1".into());
        }
        let mut producer = Connection::open(&plan.address)?;
        let count = producer.ensure(&plan.topic)?;
        let end = producer.offsets(&plan.topic.name, count, Place::End)?[0];
        let reading = Connection::open(&plan.address)?;
        let reader = fetch::Reader::new(reading, &plan.topic.name, 0, MAX_BYTES)?;
        Ok(Self { plan: plan.clone(), producer, reader, end })
    }

    /// Sends and reads everything.
    ///
    /// # Errors
    /// If anything is refused, or the broker goes away.
    pub fn run(self) -> Result<Report, String> {
        let Self { plan, producer, mut reader, end } = self;
        let (batch, _) = batch(1, plan.record)?;
        let heads = vec![head(&plan.topic.name, 0, plan.acks, &batch)?];
        let bytes = batch.len() as u64;
        let quota = ((plan.time.as_secs_f64() * plan.rate).round() as u64).max(1);
        clocked(|| {
            let every = Duration::from_secs_f64(1.0 / plan.rate);
            let pace = Pace { start: Instant::now() + SETTLE, every };
            let lane = Lane { stream: producer.into_stream(), heads, batch, quota, until: None };
            let sending = thread::spawn(move || lane.open(pace));
            let mut times: Vec<u64> = Vec::with_capacity(quota as usize);
            let until = pace.at(quota) + PATIENCE;
            while (times.len() as u64) < quota && Instant::now() < until {
                let found = reader.fetch(end + times.len() as i64)?;
                let now = Instant::now();
                for _ in 0..found.records {
                    let due = pace.at(times.len() as u64);
                    times.push(now.saturating_duration_since(due).as_nanos() as u64);
                }
                if sending.is_finished() && found.records == 0 {
                    // Either it failed, or what was acknowledged can't be read.
                    break;
                }
            }
            let requests = sending.join().map_err(|_| "the sender panicked")??;
            if times.len() as u64 != quota {
                return Err(format!("{} of {quota} records were read", times.len()));
            }
            Ok(Report {
                bytes: quota * bytes,
                records: quota,
                requests,
                end_to_end: times,
                ..Report::default()
            })
        })
    }
}

const MAX_BYTES: i32 = 1 << 20;
/// The reader's first request waits at the broker when the first record leaves.
const SETTLE: Duration = Duration::from_millis(20);
