//! A broker that is none: what no broker can do without, and nothing else, under the load of
//! [`crate::raw`].
//!
//! One thread takes whatever requests have arrived, computes their checksums, appends their batches
//! to files, syncs each file once, and answers them all at once. It decodes nothing, keeps no
//! index, and knows where a batch lies since all requests are alike. Or it has a journal in front
//! of its files: what arrived is written there once more, over blocks that were written before, and
//! that is synced instead; the files are, all at once, before the journal begins again.
//!
//! Of processor time that is a floor. Of throughput and latency it is what a broker comes to that
//! does one thing after the other: while it syncs it neither receives nor appends, and it syncs one
//! file after another. One that overlaps them can be faster.
//!
//! Owns its files, sockets and threads. Invariants are those of [`crate::raw`].

use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use messages::ProduceResponse;
use messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use serde_json::{Value, json};
use wire::{Bytes, Writer};

use crate::limits::Clock;
use crate::raw::produce::{Lane, PRODUCE, Pace, batch, head};
use crate::raw::{PATIENCE, milliseconds};

/// What the bare loop is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Bytes of a batch, which has at least one record.
    pub size: usize,
    /// Bytes of a record's value.
    pub record: usize,
    /// Files, in turn.
    pub files: usize,
    /// What is synced before an answer.
    pub sync: Sync,
    /// Requests.
    pub count: u64,
    /// A second, if they leave at their times; otherwise five are on their way.
    pub rate: Option<f64>,
    /// Whether, at a rate, a second connection gets each batch before it is answered.
    pub relayed: bool,
}

/// What is synced before an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Nothing.
    Nothing,
    /// Every file that was appended to.
    Files,
    /// A journal.
    Journal,
}

/// Produces to the bare loop, with files in that directory (which it makes and removes).
///
/// # Errors
/// If the disk or the loopback interface fails.
pub fn produce(directory: &Path, load: &Load) -> Result<Value, String> {
    std::fs::create_dir(directory).map_err(|error| format!("the bare loop: {error}"))?;
    let found = run(directory, load);
    let _ = std::fs::remove_dir_all(directory);
    found
}

fn run(directory: &Path, load: &Load) -> Result<Value, String> {
    let wrong = |error: io::Error| format!("the bare loop: {error}");
    let (bytes, _) = batch(load.size, load.record)?;
    let head = head("letters", 0, -1, &bytes)?;
    let files: io::Result<Vec<File>> =
        (0..load.files).map(|index| File::create(directory.join(index.to_string()))).collect();
    let (stream, server) = pair().map_err(wrong)?;
    let (reader, relay) = pair().map_err(wrong)?;
    let journal = match load.sync {
        Sync::Journal => Some(Journal::create(directory).map_err(wrong)?),
        Sync::Nothing | Sync::Files => None,
    };
    let bare = Bare {
        stream: server,
        relay: load.relayed.then_some(relay),
        files: files.map_err(wrong)?,
        synced: load.sync == Sync::Files,
        journal,
        request: head.len() + bytes.len(),
        batch: bytes.len(),
        answer: answer()?,
        left: load.count,
    };
    let size = bytes.len();
    let serving = thread::spawn(move || bare.serve());
    let start = Instant::now();
    let lane = Lane { stream, heads: vec![head], batch: bytes, quota: load.count, until: None };
    let mut found = json!({});
    let times = match load.rate {
        None => lane.closed(5)?,
        Some(rate) => {
            let every = Duration::from_secs_f64(1.0 / rate);
            let pace = Pace { start: start + SETTLE, every };
            let count = load.count;
            let arrivals = move || arrivals(reader, size, count, pace);
            let reading = load.relayed.then(|| thread::spawn(arrivals));
            let times = lane.open(pace)?;
            if let Some(reading) = reading {
                found["end_to_end_ms"] = joined(reading, wrong)?;
            }
            times
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let volume = load.count * size as u64;
    let cpu = joined(serving, wrong)?;
    found["mb_per_second"] = (volume as f64 / 1e6 / seconds).round().into();
    found["cpu_seconds_per_gb"] = ((cpu * 1e12 / volume as f64).round() / 1e3).into();
    found["request_ms"] = milliseconds(&times).unwrap_or_default();
    Ok(found)
}

fn joined<T, E>(
    thread: thread::JoinHandle<Result<T, E>>,
    wrong: impl Fn(E) -> String,
) -> Result<T, String> {
    thread.join().map_err(|_| "a thread panicked".to_owned())?.map_err(wrong)
}

/// How long after it was due each batch arrived.
fn arrivals(mut reader: TcpStream, size: usize, count: u64, pace: Pace) -> io::Result<Value> {
    let mut buffer = vec![0; size];
    let mut times = Vec::new();
    for index in 0..count {
        reader.read_exact(&mut buffer)?;
        let late = Instant::now().saturating_duration_since(pace.at(index));
        times.push(late.as_nanos() as u64);
    }
    Ok(milliseconds(&times).unwrap_or_default())
}

/// The loop.
struct Bare {
    stream: TcpStream,
    /// Who gets every batch.
    relay: Option<TcpStream>,
    files: Vec<File>,
    synced: bool,
    journal: Option<Journal>,
    /// Bytes of a request, and of the batch at its end.
    request: usize,
    batch: usize,
    answer: Vec<u8>,
    left: u64,
}

impl Bare {
    /// Returns its CPU time in seconds.
    fn serve(mut self) -> io::Result<f64> {
        let mut buffer = vec![0; 5 * self.request];
        let mut filled = 0;
        let mut next = 0;
        let clock = Clock::start()?;
        while self.left > 0 {
            match self.stream.read(&mut buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
            let whole = filled / self.request;
            if whole == 0 {
                continue;
            }
            let (requests, rest) = buffer[..filled].split_at(whole * self.request);
            self.append(requests, &mut next)?;
            self.respond(requests)?;
            self.left -= whole as u64;
            let (at, left) = (requests.len(), rest.len());
            buffer.copy_within(at..at + left, 0);
            filled = left;
        }
        clock.cpu_seconds()
    }

    fn append(&mut self, requests: &[u8], next: &mut usize) -> io::Result<()> {
        let batches: Vec<&[u8]> = requests
            .chunks_exact(self.request)
            .map(|request| &request[self.request - self.batch..])
            .collect();
        for batch in &batches {
            std::hint::black_box(wire::crc32c::of(batch));
        }
        let count = self.files.len();
        let dirty = if let [file] = &mut self.files[..] {
            write_all(file, &batches)?;
            0..1
        } else {
            for (index, batch) in batches.iter().enumerate() {
                self.files[(*next + index) % count].write_all(batch)?;
            }
            *next..*next + batches.len()
        };
        if let Some(journal) = &mut self.journal {
            journal.append(&batches)?;
        }
        if self.synced {
            for index in dirty.clone() {
                self.files[index % count].sync_data()?;
            }
        }
        *next = dirty.end % count;
        for batch in &batches {
            if let Some(relay) = &mut self.relay {
                relay.write_all(batch)?;
            }
        }
        Ok(())
    }

    fn respond(&mut self, requests: &[u8]) -> io::Result<()> {
        let mut answers = Vec::new();
        for request in requests.chunks_exact(self.request) {
            let from = answers.len() + 4;
            answers.extend_from_slice(&self.answer);
            answers[from..from + 4].copy_from_slice(&request[8..12]);
        }
        self.stream.write_all(&answers)
    }
}

/// A file of blocks that are written again and again.
struct Journal {
    file: File,
    left: u64,
}

impl Journal {
    fn create(directory: &Path) -> io::Result<Self> {
        let mut file = File::create(directory.join("journal"))?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..JOURNAL >> 20 {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        file.rewind()?;
        Ok(Self { file, left: JOURNAL })
    }

    /// Once for all; before it begins again the files are synced, too.
    fn append(&mut self, batches: &[&[u8]]) -> io::Result<()> {
        let bytes = batches.iter().map(|batch| batch.len() as u64).sum();
        if self.left < bytes {
            rustix::fs::syncfs(&self.file)?;
            self.file.rewind()?;
            self.left = JOURNAL;
        }
        self.left -= bytes;
        write_all(&mut self.file, batches)?;
        self.file.sync_data()
    }
}

fn write_all(file: &mut File, batches: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = batches.iter().map(|batch| IoSlice::new(batch)).collect();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        let written = file.write_vectored(slices)?;
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}

/// An answer with its length, to be given a correlation id.
fn answer() -> Result<Vec<u8>, String> {
    let topic = TopicProduceResponse {
        name: "letters".into(),
        partition_responses: vec![PartitionProduceResponse::default()],
        ..TopicProduceResponse::default()
    };
    let response = ProduceResponse { responses: vec![topic], ..ProduceResponse::default() };
    let mut body = Writer::new();
    body.i32(0);
    response.encode(&mut body, PRODUCE).map_err(|error| error.to_string())?;
    let body: Bytes = body.finish().to_bytes();
    Ok([&(body.len() as i32).to_be_bytes()[..], &body].concat())
}

/// Both ends of a connection through the loopback interface.
///
/// # Errors
/// Those of sockets.
pub fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    for stream in [&ours, &theirs] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    Ok((ours, theirs))
}

/// Bytes of a journal: the files are synced that often.
const JOURNAL: u64 = 64 << 20;
/// Everybody waits when the first request leaves.
const SETTLE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_appended_and_answered() {
        let directory = tempfile::tempdir().unwrap();
        for (files, rate, sync) in [
            (1, None, Sync::Files),
            (3, None, Sync::Files),
            (3, None, Sync::Journal),
            (1, Some(500.0), Sync::Nothing),
        ] {
            let path = directory.path().join("bare");
            let relayed = rate.is_some();
            let load = Load { size: 4096, record: 1024, files, sync, count: 40, rate, relayed };
            let found = produce(&path, &load).unwrap();
            assert_eq!(found["request_ms"]["count"], 40, "{found}");
            assert_eq!(found["end_to_end_ms"]["count"].as_u64(), rate.map(|_| 40), "{found}");
            assert!(found["cpu_seconds_per_gb"].as_f64() > Some(0.0), "{found}");
            assert!(!path.exists());
        }
    }
}
