//! Produce requests, encoded once: a batch that all of them share, and a head for each partition.
//!
//! Owns its connections, one thread each (two in an open loop). Batches are not idempotent: the
//! same bytes are sent again and again.

use std::collections::VecDeque;
use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use messages::produce_request::{PartitionProduceData, TopicProduceData};
use messages::{ApiKey, Message, ProduceRequest, ProduceResponse};
use wire::Bytes;
use wire::record::{BatchBuilder, BatchOptions};

use super::connection::{
    Connection, Topic, accepted, encode, patch_correlation, reason, write_all,
};
use super::{Report, clocked, wait_until};

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The broker.
    pub address: String,
    /// Where to.
    pub topic: Topic,
    /// The most bytes of a batch; it has at least one record.
    pub size: usize,
    /// Bytes of a record's value.
    pub record: usize,
    /// Connections, which share the partitions.
    pub connections: usize,
    /// Requests on their way, by connection; of no account in an open loop.
    pub inflight: usize,
    /// -1 or 1.
    pub acks: i16,
    /// The loop is open, with so many requests a second.
    pub rate: Option<f64>,
    /// Bytes to send at least.
    pub volume: u64,
    /// Ends earlier, after so long.
    pub time: Option<Duration>,
}

/// Connected, and everything encoded.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    batch: Bytes,
    records: u64,
    /// A connection and the heads of its partitions.
    lanes: Vec<(TcpStream, Vec<Vec<u8>>)>,
}

impl Prepared {
    /// Creates the topic if it is missing, connects, and encodes.
    ///
    /// # Errors
    /// If the broker refuses, or nothing can be sent as planned.
    pub fn new(plan: &Plan) -> Result<Self, String> {
        if plan.connections == 0 || plan.inflight == 0 || ![1, -1].contains(&plan.acks) {
            return Err("produce needs a connection, a request in flight, and acks 1 or -1".into());
        }
        let count = Connection::open(&plan.address)?.ensure(&plan.topic)?;
        let (batch, records) = batch(plan.size, plan.record)?;
        let mut lanes = Vec::new();
        for lane in 0..plan.connections {
            let stream = Connection::open(&plan.address)?.into_stream();
            let mine = (0..count).filter(|index| *index as usize % plan.connections == lane);
            let heads: Result<Vec<_>, String> =
                mine.map(|index| head(&plan.topic.name, index, plan.acks, &batch)).collect();
            lanes.push((stream, heads?));
        }
        lanes.retain(|(_, heads)| !heads.is_empty());
        Ok(Self { plan: plan.clone(), batch, records, lanes })
    }

    /// Bytes of a batch.
    pub fn batch_bytes(&self) -> usize {
        self.batch.len()
    }

    /// Sends everything and waits until it is acknowledged.
    ///
    /// # Errors
    /// If anything is refused or the broker goes away.
    pub fn run(self) -> Result<Report, String> {
        let Self { plan, batch, records, lanes } = self;
        let requests = plan.volume.div_ceil(batch.len() as u64);
        let count = lanes.len() as u64;
        clocked(|| {
            let start = Instant::now();
            let until = plan.time.map(|time| start + time);
            let threads: Vec<_> = lanes
                .into_iter()
                .zip(0..)
                .map(|((stream, heads), lane)| {
                    let batch = batch.clone();
                    let quota = requests / count + u64::from(lane < requests % count);
                    let inflight = plan.inflight;
                    let pace = plan.rate.map(|rate| {
                        let every = Duration::from_secs_f64(count as f64 / rate);
                        Pace { start: start + every.mul_f64(lane as f64 / count as f64), every }
                    });
                    thread::spawn(move || {
                        let lane = Lane { stream, heads, batch, quota, until };
                        match pace {
                            None => lane.closed(inflight),
                            Some(pace) => lane.open(pace),
                        }
                    })
                })
                .collect();
            let mut report = Report::default();
            for thread in threads {
                let times = thread.join().map_err(|_| "a connection's thread panicked")??;
                report.add(Report {
                    bytes: (times.len() * batch.len()) as u64,
                    records: times.len() as u64 * records,
                    requests: times,
                    ..Report::default()
                });
            }
            Ok(report)
        })
    }
}

/// When the requests of a lane are to leave.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first.
    pub start: Instant,
    /// From one to the next.
    pub every: Duration,
}

impl Pace {
    /// When that request, from 0, is to leave.
    pub fn at(self, index: u64) -> Instant {
        self.start + self.every.mul_f64(index as f64)
    }

    /// How many are to leave before that moment.
    pub fn before(self, until: Instant) -> u64 {
        let span = until.saturating_duration_since(self.start);
        (span.as_secs_f64() / self.every.as_secs_f64()).ceil() as u64
    }
}

/// What one connection sends.
pub(crate) struct Lane {
    pub(crate) stream: TcpStream,
    pub(crate) heads: Vec<Vec<u8>>,
    pub(crate) batch: Bytes,
    pub(crate) quota: u64,
    pub(crate) until: Option<Instant>,
}

impl Lane {
    /// A new request leaves for each answer; returns how long each took, in nanoseconds.
    pub(crate) fn closed(mut self, inflight: usize) -> Result<Vec<u64>, String> {
        let wrong = |error: std::io::Error| format!("produce: {}", reason(&error));
        let mut answers = Answers::new(self.stream.try_clone().map_err(wrong)?);
        let mut times = Vec::with_capacity(self.quota as usize);
        let mut left = VecDeque::with_capacity(inflight);
        let mut sent = 0;
        loop {
            let now = Instant::now();
            let over = sent >= self.quota || self.until.is_some_and(|until| now >= until);
            if !over && left.len() < inflight {
                left.push_back(now);
                self.send(sent).map_err(wrong)?;
                sent += 1;
            } else if left.is_empty() {
                return Ok(times);
            } else {
                for _ in 0..answers.read()? {
                    let began = left.pop_front().ok_or("an answer to nothing")?;
                    times.push(began.elapsed().as_nanos() as u64);
                }
            }
        }
    }

    /// Requests leave at their times, whatever became of those before; returns from the time at
    /// which each was to leave to its answer, in nanoseconds.
    pub(crate) fn open(mut self, pace: Pace) -> Result<Vec<u64>, String> {
        let wrong = |error: std::io::Error| format!("produce: {}", reason(&error));
        let quota = self.until.map_or(self.quota, |until| self.quota.min(pace.before(until)));
        let mut answers = Answers::new(self.stream.try_clone().map_err(wrong)?);
        let reader = thread::spawn(move || {
            let mut times = Vec::with_capacity(quota as usize);
            while (times.len() as u64) < quota {
                let count = answers.read()?;
                let now = Instant::now();
                for _ in 0..count {
                    let due = pace.at(times.len() as u64);
                    times.push(now.saturating_duration_since(due).as_nanos() as u64);
                }
            }
            Ok::<_, String>(times)
        });
        for index in 0..quota {
            wait_until(pace.at(index));
            if let Err(error) = self.send(index) {
                // Wakes the reader, which knows better if the broker said why.
                let _ = self.stream.shutdown(Shutdown::Both);
                let said = reader.join().map_err(|_| "a reader panicked")?;
                return Err(said.err().unwrap_or_else(|| wrong(error)));
            }
        }
        reader.join().map_err(|_| "a reader panicked")?
    }

    fn send(&mut self, index: u64) -> std::io::Result<()> {
        let at = index as usize % self.heads.len();
        let head = &mut self.heads[at];
        patch_correlation(head, index as i32);
        write_all(&mut self.stream, head, &self.batch)
    }
}

/// Answers to the requests of one connection, in order.
struct Answers {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    next: i32,
}

impl Answers {
    fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: vec![0; ANSWERS], filled: 0, next: 0 }
    }

    /// How many came with the next read, all of them good.
    fn read(&mut self) -> Result<usize, String> {
        let mut count = 0;
        while count == 0 {
            let room = &mut self.buffer[self.filled..];
            match self.stream.read(room) {
                Ok(0) => return Err("produce: the broker closed the connection".into()),
                Ok(bytes) => self.filled += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("produce: {}", reason(&error))),
            }
            let mut at = 0;
            while let Some(size) = self.buffer[at..self.filled].first_chunk::<4>() {
                let end = at + 4 + u32::from_be_bytes(*size) as usize;
                if end > self.filled {
                    break;
                }
                self.check(at + 4, end)?;
                at = end;
                count += 1;
            }
            self.buffer.copy_within(at..self.filled, 0);
            self.filled -= at;
            if self.filled == self.buffer.len() {
                return Err("produce: an answer is too long".into());
            }
        }
        Ok(count)
    }

    /// Invariant I1.
    fn check(&mut self, at: usize, end: usize) -> Result<(), String> {
        let answer = &self.buffer[at..end];
        let correlation = answer.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes));
        if correlation != Some(self.next) {
            return Err(format!("produce: answer {correlation:?}, not {}", self.next));
        }
        self.next = self.next.wrapping_add(1);
        let body = Bytes::copy_from_slice(&answer[4..]);
        let answer = ProduceResponse::from_bytes(body, PRODUCE)
            .map_err(|error| format!("produce: {error}"))?;
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        let codes = partitions.map(|partition| partition.error_code);
        accepted(codes, "produce")
    }
}

/// A batch of as many records of that size as fit, but at least one, and how many that are. Their
/// bytes don't compress.
///
/// # Errors
/// If it gets too large for a batch.
pub fn batch(size: usize, record: usize) -> Result<(Bytes, u64), String> {
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let options = BatchOptions { leader_epoch: -1, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    let mut value = vec![0; record];
    while builder.count() == 0 || builder.size_in_bytes() + record + OVERHEAD <= size {
        for byte in &mut value {
            // Xorshift: any bytes will do that no codec finds a pattern in.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        builder.push(now, None, Some(&value), &[]);
    }
    let records = builder.count() as u64;
    let batch = builder.build().map_err(|error| format!("a batch of {size} bytes: {error}"))?;
    Ok((batch, records))
}

/// A Produce request up to its batch, which is its end.
///
/// # Errors
/// If it can't be encoded.
pub fn head(topic: &str, index: i32, acks: i16, batch: &Bytes) -> Result<Vec<u8>, String> {
    let data = PartitionProduceData {
        index,
        records: Some(batch.clone()),
        ..PartitionProduceData::default()
    };
    let topic = TopicProduceData {
        name: topic.to_owned(),
        partition_data: vec![data],
        ..TopicProduceData::default()
    };
    let request = ProduceRequest {
        acks,
        timeout_ms: super::PATIENCE.as_millis() as i32,
        topic_data: vec![topic],
        ..ProduceRequest::default()
    };
    let mut bytes = encode(ApiKey::Produce, PRODUCE, 0, &request)?;
    if !bytes.ends_with(batch) {
        return Err("a Produce request doesn't end with its batch".into());
    }
    bytes.truncate(bytes.len() - batch.len());
    Ok(bytes)
}

/// The last version without tagged fields: a request ends with its batch.
pub(crate) const PRODUCE: i16 = 8;
/// The most that a record takes beyond its value.
const OVERHEAD: usize = 24;
/// Room for answers, of some 60 bytes each.
const ANSWERS: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Reader;
    use wire::batch::{Batches, verify_crc};
    use wire::walk::check_records;

    #[test]
    fn batch_has_as_many_records_as_fit_and_is_whole() {
        for (size, record, records) in [(16 << 10, 1024, 15), (1024, 1024, 1), (100, 100, 1)] {
            let (bytes, count) = batch(size, record).unwrap();
            assert_eq!(count, records, "{size} by {record}");
            assert!(count == 1 || bytes.len() <= size);
            verify_crc(&bytes).unwrap();
            check_records(&bytes, usize::MAX).unwrap();
            let walked: Vec<_> = Batches::new(bytes.clone()).collect();
            let header = walked[0].as_ref().unwrap().0;
            assert_eq!((walked.len(), header.count as u64), (1, records));
            assert!(header.max_timestamp > 0 && !header.has_producer_id());
        }
        assert!(batch(1 << 20, 1024).unwrap().0.len() > (1 << 20) - 1100);
    }

    #[test]
    fn head_and_batch_are_a_request_for_the_partition() {
        let (bytes, _) = batch(4096, 1024).unwrap();
        let mut head = head("letters", 7, -1, &bytes).unwrap();
        patch_correlation(&mut head, 0x0102_0304);
        let whole = [&head[..], &bytes].concat();
        assert_eq!(u32::from_be_bytes(*whole.first_chunk().unwrap()) as usize, whole.len() - 4);
        let mut reader = Reader::new(Bytes::from(whole).slice(4..));
        let header = messages::RequestHeader::decode(&mut reader, 1).unwrap();
        assert_eq!((header.correlation_id, header.request_api_version), (0x0102_0304, PRODUCE));
        let request = ProduceRequest::decode(&mut reader, PRODUCE).unwrap();
        reader.finish().unwrap();
        let data = &request.topic_data[0].partition_data[0];
        assert_eq!((request.acks, data.index, data.records.as_ref()), (-1, 7, Some(&bytes)));
    }

    #[test]
    fn pace_is_even_and_counts_what_is_due_before_its_end() {
        let start = Instant::now();
        let pace = Pace { start, every: Duration::from_millis(2) };
        assert_eq!(pace.at(500), start + Duration::from_secs(1));
        assert_eq!(pace.before(start + Duration::from_secs(1)), 500);
        assert_eq!(pace.before(start), 0);
    }
}
