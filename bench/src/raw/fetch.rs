//! Readers that count what they are sent and look at nothing of it but the heads of batches.
//!
//! Owns its connections, one thread each.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use messages::fetch_request::{FetchPartition, FetchTopic};
use messages::{ApiKey, FetchRequest};
use wire::ErrorCode;

use super::connection::{Connection, Place, Topic, encode, patch_correlation, reason, write_all};
use super::{Report, clocked};

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The broker.
    pub address: String,
    /// Where from.
    pub topic: Topic,
    /// Readers; the first reads partition 0, the second partition 1, and round again.
    pub connections: usize,
    /// Of an answer.
    pub max_bytes: i32,
    /// From the beginning, and again when the end is reached; or from the end on.
    pub from: Place,
    /// Bytes that each reader reads at least.
    pub volume: u64,
    /// Ends earlier, after so long.
    pub time: Option<Duration>,
}

/// Connected, and the requests encoded.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    lanes: Vec<Lane>,
}

impl Prepared {
    /// Creates the topic if it is missing, connects, and asks where partitions begin and end.
    ///
    /// # Errors
    /// If the broker refuses, or there is nothing to read from the beginning.
    pub fn new(plan: &Plan) -> Result<Self, String> {
        Self::until(plan, Arc::new(AtomicBool::new(false)))
    }

    /// As [`Self::new`]; the readers end when `stop` is set, as if their time were over.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn until(plan: &Plan, stop: Arc<AtomicBool>) -> Result<Self, String> {
        if plan.connections == 0 {
            return Err("fetch needs a connection".into());
        }
        let mut asking = Connection::open(&plan.address)?;
        let count = asking.ensure(&plan.topic)?;
        let name = &plan.topic.name;
        let starts = asking.offsets(name, count, Place::Start)?;
        let ends = asking.offsets(name, count, Place::End)?;
        let mut lanes = Vec::new();
        for lane in 0..plan.connections {
            let partition = lane % count as usize;
            let (start, end) = (starts[partition], ends[partition]);
            if plan.from == Place::Start && start == end {
                return Err(format!("topic {name}: nothing is in partition {partition}"));
            }
            let connection = Connection::open(&plan.address)?;
            let reader = Reader::new(connection, name, partition as i32, plan.max_bytes)?;
            let again = (plan.from == Place::Start).then_some((start, end));
            let stop = stop.clone();
            let next = if again.is_some() { start } else { end };
            lanes.push(Lane { reader, again, next, stop });
        }
        Ok(Self { plan: plan.clone(), lanes })
    }

    /// Reads.
    ///
    /// # Errors
    /// If anything is refused or the broker goes away.
    pub fn run(self) -> Result<Report, String> {
        let Self { plan, lanes } = self;
        clocked(|| {
            let until = plan.time.map(|time| Instant::now() + time);
            let volume = plan.volume;
            let threads: Vec<_> = lanes
                .into_iter()
                .map(|lane| thread::spawn(move || lane.read(volume, until)))
                .collect();
            let mut report = Report::default();
            for thread in threads {
                report.add(thread.join().map_err(|_| "a reader panicked")??);
            }
            Ok(report)
        })
    }
}

/// What one connection reads.
#[derive(Debug)]
struct Lane {
    reader: Reader,
    /// First and next offset of what is read again and again.
    again: Option<(i64, i64)>,
    next: i64,
    stop: Arc<AtomicBool>,
}

impl Lane {
    fn read(mut self, volume: u64, until: Option<Instant>) -> Result<Report, String> {
        let mut report = Report::default();
        while report.bytes < volume
            && until.is_none_or(|until| Instant::now() < until)
            && !self.stop.load(Ordering::Relaxed)
        {
            let began = Instant::now();
            let found = self.reader.fetch(self.next)?;
            report.bytes += found.bytes;
            report.records += found.records;
            if found.records > 0 {
                report.requests.push(began.elapsed().as_nanos() as u64);
            }
            self.next = found.next;
            match self.again {
                Some((start, end)) if self.next >= end => self.next = start,
                Some(_) if found.records == 0 => {
                    return Err(format!("fetch: nothing at offset {}", self.next));
                }
                _ => {}
            }
        }
        Ok(report)
    }
}

/// What an answer held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Of whole batches.
    pub bytes: u64,
    /// In whole batches.
    pub records: u64,
    /// The offset to go on from.
    pub next: i64,
}

/// A connection that reads one partition.
#[derive(Debug)]
pub struct Reader {
    stream: TcpStream,
    request: Vec<u8>,
    /// Bytes of an answer before its records.
    head: usize,
    buffer: Vec<u8>,
    correlation: i32,
}

impl Reader {
    /// Encodes the request.
    ///
    /// # Errors
    /// If it can't be.
    pub fn new(
        connection: Connection,
        topic: &str,
        partition: i32,
        max_bytes: i32,
    ) -> Result<Self, String> {
        Ok(Self {
            stream: connection.into_stream(),
            request: request(topic, partition, max_bytes)?,
            head: HEAD + topic.len(),
            buffer: vec![0; BUFFER],
            correlation: 0,
        })
    }

    /// One request and its answer, whose records are thrown away as they come.
    ///
    /// # Errors
    /// An error code, or an answer that is none.
    pub fn fetch(&mut self, offset: i64) -> Result<Found, String> {
        self.correlation = self.correlation.wrapping_add(1);
        patch_correlation(&mut self.request, self.correlation);
        let place = self.request.len() - OFFSET_FROM_END;
        self.request[place..place + 8].copy_from_slice(&offset.to_be_bytes());
        self.exchange(offset).map_err(|error| match error {
            Failed::Io(error) => format!("fetch: {}", reason(&error)),
            Failed::Said(what) => format!("fetch at offset {offset}: {what}"),
        })
    }

    fn exchange(&mut self, offset: i64) -> Result<Found, Failed> {
        write_all(&mut self.stream, &self.request, &[])?;
        let mut filled = self.fill(0, 4)?;
        let size = u32::from_be_bytes(bytes_at(&self.buffer, 0)) as usize;
        filled = self.fill(filled, 4 + size.min(self.head - 4))?;
        let records = check_head(&self.buffer[..filled], self.correlation, self.head)?;
        if self.head - 4 + records != size {
            return Err(Failed::Said(format!("{records} bytes of records in {size}")));
        }
        let mut left = records - (filled - self.head);
        let mut walk = Walk { wanted: offset, next: offset, ..Walk::default() };
        walk.feed(&self.buffer[self.head..filled]);
        while left > 0 {
            let room = left.min(self.buffer.len());
            let count = self.stream.read(&mut self.buffer[..room])?;
            if count == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            walk.feed(&self.buffer[..count]);
            left -= count;
        }
        Ok(Found { bytes: walk.bytes, records: walk.records, next: walk.next })
    }

    /// Reads until the buffer holds so many bytes; what comes beyond them is records.
    fn fill(&mut self, mut filled: usize, wanted: usize) -> Result<usize, Failed> {
        while filled < wanted {
            let count = self.stream.read(&mut self.buffer[filled..])?;
            if count == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            filled += count;
        }
        Ok(filled)
    }
}

enum Failed {
    Io(std::io::Error),
    Said(String),
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// How many bytes of records follow the head of an answer. Its fields stand at fixed places as
/// long as there is one topic, one partition, and no aborted transaction.
fn check_head(answer: &[u8], correlation: i32, head: usize) -> Result<usize, Failed> {
    let said = |what: String| Err(Failed::Said(what));
    if answer.len() < 18 {
        return said("an answer too short".into());
    }
    let found = i32::from_be_bytes(bytes_at(answer, 4));
    if found != correlation {
        return said(format!("answer {found}, not {correlation}"));
    }
    let code = i16::from_be_bytes(bytes_at(answer, 12));
    if code != 0 || answer.len() < head {
        return said(ErrorCode(code).to_string());
    }
    // From the end: length of the records, preferred replica, aborted transactions, three
    // offsets, error code.
    let code = i16::from_be_bytes(bytes_at(answer, head - 38));
    if code != 0 {
        return said(ErrorCode(code).to_string());
    }
    if i32::from_be_bytes(bytes_at(answer, head - 12)) > 0 {
        return said("aborted transactions".into());
    }
    Ok(i32::from_be_bytes(bytes_at(answer, head - 4)).max(0) as usize)
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut found = [0; N];
    found.copy_from_slice(&bytes[at..at + N]);
    found
}

/// Walks batches as their bytes come; a last one that is cut off doesn't count.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    head: [u8; BATCH_HEAD],
    have: usize,
    /// Bytes of the batch behind its head that are still to come.
    skip: usize,
    /// Records before this offset were asked for by nobody.
    wanted: i64,
    next: i64,
    bytes: u64,
    records: u64,
}

impl Walk {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.have < BATCH_HEAD {
                let count = bytes.len().min(BATCH_HEAD - self.have);
                self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
                self.have += count;
                bytes = &bytes[count..];
                if self.have == BATCH_HEAD {
                    let size = 12 + i32::from_be_bytes(bytes_at(&self.head, 8)).max(0) as usize;
                    self.skip = size.saturating_sub(BATCH_HEAD);
                }
            }
            if self.have == BATCH_HEAD {
                let count = bytes.len().min(self.skip);
                self.skip -= count;
                bytes = &bytes[count..];
                if self.skip == 0 {
                    self.end_batch();
                }
            }
        }
    }

    fn end_batch(&mut self) {
        let base = i64::from_be_bytes(bytes_at(&self.head, 0));
        let last = base + i64::from(i32::from_be_bytes(bytes_at(&self.head, 23)));
        self.records += (last + 1 - base.max(self.wanted)).max(0) as u64;
        self.bytes += 12 + i32::from_be_bytes(bytes_at(&self.head, 8)).max(0) as u64;
        self.next = last + 1;
        self.have = 0;
    }
}

/// A Fetch request for one partition without a session.
///
/// # Errors
/// If it can't be encoded.
fn request(topic: &str, partition: i32, max_bytes: i32) -> Result<Vec<u8>, String> {
    let partition = FetchPartition {
        partition,
        fetch_offset: OFFSET_MARK,
        partition_max_bytes: max_bytes,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic: topic.to_owned(),
        partitions: vec![partition],
        ..FetchTopic::default()
    };
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes,
        topics: vec![topic],
        ..FetchRequest::default()
    };
    let bytes = encode(ApiKey::Fetch, FETCH, 0, &request)?;
    let place = bytes.len() - OFFSET_FROM_END;
    if bytes[place..place + 8] != OFFSET_MARK.to_be_bytes() {
        return Err("the offset of a Fetch request is elsewhere".into());
    }
    Ok(bytes)
}

/// The last version without tagged fields.
const FETCH: i16 = 11;
/// Bytes before the records of an answer, without the topic's name: size, correlation id, throttle
/// time, error code, session; topics, name; partitions, index, error code, three offsets, aborted
/// transactions, preferred replica, length.
const HEAD: usize = (4 + 4 + 4 + 2 + 4) + (4 + 2) + (4 + 4 + 2 + 24 + 4 + 4 + 4);
/// Behind the offset: log start offset, most bytes, forgotten topics, rack.
const OFFSET_FROM_END: usize = 8 + (8 + 4 + 4 + 2);
const OFFSET_MARK: i64 = 0x0123_4567_89ab_cdef;
/// Of a batch, up to the offset of its last record.
const BATCH_HEAD: usize = 27;
/// What a read takes at most: it stays in the processor's cache.
const BUFFER: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::produce::batch;
    use messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use messages::{FetchResponse, Message};

    fn answer(partition: PartitionData) -> Vec<u8> {
        let topic = FetchableTopicResponse {
            topic: "letters".into(),
            partitions: vec![partition],
            ..FetchableTopicResponse::default()
        };
        let answer = FetchResponse { responses: vec![topic], ..FetchResponse::default() };
        let body = answer.to_bytes(FETCH).unwrap();
        let mut bytes = ((body.len() + 4) as u32).to_be_bytes().to_vec();
        bytes.extend(9_i32.to_be_bytes());
        bytes.extend(&body[..]);
        bytes
    }

    fn checked(bytes: &[u8]) -> Result<usize, String> {
        check_head(bytes, 9, HEAD + "letters".len()).map_err(|failed| match failed {
            Failed::Io(error) => error.to_string(),
            Failed::Said(what) => what,
        })
    }

    #[test]
    fn head_of_an_answer_tells_how_many_bytes_of_records_follow() {
        let (records, _) = batch(4096, 1000).unwrap();
        let length = records.len();
        let bytes = answer(PartitionData { records: Some(records), ..PartitionData::default() });
        assert_eq!(checked(&bytes), Ok(length));
        assert_eq!(bytes.len(), HEAD + "letters".len() + length);
        assert!(check_head(&bytes, 8, HEAD + 7).is_err(), "another answer");
        let empty = PartitionData { records: None, ..PartitionData::default() };
        assert_eq!(checked(&answer(empty)), Ok(0));
        let refused = PartitionData { error_code: 1, ..PartitionData::default() };
        assert!(checked(&answer(refused)).unwrap_err().contains("OFFSET_OUT_OF_RANGE"));
    }

    #[test]
    fn walk_counts_whole_batches_however_they_are_cut() {
        let (one, count) = batch(4096, 1000).unwrap();
        let mut second = one.to_vec();
        second[..8].copy_from_slice(&(count as i64).to_be_bytes());
        let all = [&one[..], &second, &one[..100]].concat();
        for piece in [1, 7, 27, 4096, all.len()] {
            let mut walk = Walk { wanted: 1, ..Walk::default() };
            all.chunks(piece).for_each(|piece| walk.feed(piece));
            assert_eq!(walk.records, 2 * count - 1, "the first was not asked for");
            assert_eq!((walk.next, walk.bytes), (2 * count as i64, 2 * one.len() as u64));
        }
    }

    #[test]
    fn request_has_its_offset_where_it_is_patched() {
        assert!(request("letters", 3, 1 << 20).is_ok());
    }
}
