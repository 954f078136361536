//! What this machine can do, measured with nothing of a broker in between: the floor that a
//! broker's figures stand on.
//!
//! Owns the file it writes and the sockets and threads it needs. CPU time is that of the thread
//! that does what a broker would do; the kernel's own threads (writing back) are in nobody's.
//!
//! - `loopback`: one thread writes, another reads and throws away.
//! - `append`: to a file in the page cache, with and without a sync after each piece.
//! - `crc32c`: the checksum of a batch.
//! - `sync`: 4 KiB appended and synced, again and again.
//! - `bare_produce`: what no broker of 1 MiB batches can do without: receive, checksum, append,
//!   sync, and say so; five pieces are on their way.
//! - `bare_fetch`: a piece of a file to whoever asks for it, with a copy (pread and write) and
//!   without (sendfile), one request on its way; and to twenty at once.
//! - `bare`: the loop of [`crate::bare`] under the loads of the cells.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::bare::{self, Sync, pair};
use crate::raw::milliseconds;
use crate::stats::median;

/// How much is moved for each figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volumes {
    /// Through memory and sockets.
    pub memory: u64,
    /// To the disk in large pieces.
    pub disk: u64,
    /// How often a small piece is synced.
    pub syncs: u64,
    /// Files that small pieces are spread over.
    pub files: usize,
}

impl Volumes {
    /// Some two minutes in all.
    pub const FULL: Self = Self { memory: 4 << 30, disk: 512 << 20, syncs: 2000, files: 1000 };
    /// To see whether it works.
    pub const BRIEF: Self = Self { memory: 64 << 20, disk: 16 << 20, syncs: 20, files: 20 };
}

/// Measures everything on the disk of that directory.
///
/// # Errors
/// If the disk or the loopback interface fails.
pub fn measure(directory: &Path, volumes: Volumes) -> Result<Value, String> {
    let path = directory.join("limits");
    // The bare loop has a thousand files open.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let found = all(&path, volumes).map_err(|error| format!("the machine's limits: {error}"));
    let _ = fs::remove_file(&path);
    let mut found = found?;
    found["bare"] = bare(&path, volumes)?;
    Ok(found)
}

/// [`crate::bare`] under the loads of the cells, each figure the median of three runs.
fn bare(path: &Path, volumes: Volumes) -> Result<Value, String> {
    let Volumes { disk, files, syncs, .. } = volumes;
    let small = bare::Load {
        size: 16 << 10,
        record: 1024,
        files: 1,
        sync: Sync::Files,
        count: disk >> 16,
        rate: None,
        relayed: false,
    };
    let large = bare::Load { size: MIB, sync: Sync::Nothing, count: disk >> 20, ..small };
    let spread = bare::Load { files, ..small };
    let journaled = |load| bare::Load { sync: Sync::Journal, ..load };
    let paced = bare::Load { size: 1, count: syncs, rate: Some(500.0), ..small };
    let relayed = bare::Load { record: 100, relayed: true, ..paced };
    let unsynced = |load| bare::Load { sync: Sync::Nothing, ..load };
    let mut found = json!({});
    for (name, load) in [
        ("16KiB", small),
        ("16KiB, journal", journaled(small)),
        ("1MiB unsynced", large),
        ("spread", spread),
        ("spread, journal", journaled(spread)),
        ("1KiB paced", paced),
        ("1KiB paced, unsynced", unsynced(paced)),
        ("100B paced", relayed),
        ("100B paced, unsynced", unsynced(relayed)),
    ] {
        let mut runs = Vec::new();
        for _ in 0..3 {
            rustix::fs::sync();
            runs.push(bare::produce(path, &load)?);
        }
        found[name] = medians(&runs);
    }
    Ok(found)
}

/// Of each number the median of the runs.
fn medians(runs: &[Value]) -> Value {
    match runs.first() {
        Some(Value::Object(first)) => {
            let of = |key: &String| runs.iter().map(|run| run[key].clone()).collect::<Vec<_>>();
            first.keys().map(|key| (key.clone(), medians(&of(key)))).collect()
        }
        Some(_) => {
            let numbers: Vec<f64> = runs.iter().filter_map(Value::as_f64).collect();
            median(&numbers).into()
        }
        None => Value::Null,
    }
}

fn all(path: &Path, volumes: Volumes) -> io::Result<Value> {
    let Volumes { memory, disk, syncs, .. } = volumes;
    let mut found = json!({});
    for (name, piece) in [("64KiB", 64 << 10), ("1MiB", MIB)] {
        found["loopback"][name] = loopback(piece, memory)?;
    }
    for (name, piece, volume) in
        [("1MiB", MIB, disk), ("16KiB", 16 << 10, disk.min(syncs * (16 << 10)))]
    {
        found["append"][name] = append(path, piece, disk, false)?;
        found["append"][format!("{name} synced")] = append(path, piece, volume, true)?;
    }
    found["crc32c"] = crc(memory);
    found["sync"] = sync(path, syncs)?;
    found["bare_produce"] = bare_produce(path, disk)?;
    fs::write(path, vec![7; memory.min(FILE) as usize])?;
    for (name, piece) in [("1MiB", MIB), ("8MiB", 8 * MIB)] {
        found["bare_fetch"][name]["copy"] = bare_fetch(path, piece, memory, false)?;
        found["bare_fetch"][name]["sendfile"] = bare_fetch(path, piece, memory, true)?;
    }
    let start = Instant::now();
    let each = memory / 20 / MIB as u64 * MIB as u64;
    let readers = || bare_fetch(path, MIB, each, true).map(drop);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..20).map(|_| scope.spawn(readers)).collect();
        let panicked = |_| Err(io::Error::other("a thread panicked"));
        readers.into_iter().try_for_each(|reader| reader.join().unwrap_or_else(panicked))
    })?;
    let rate = (each * 20) as f64 / 1e6 / start.elapsed().as_secs_f64();
    found["bare_fetch"]["20 readers"] = json!({ "mb_per_second": rate.round() });
    Ok(found)
}

/// Wall clock and CPU time of one thread, from its making on.
pub(crate) struct Clock {
    start: Instant,
    cpu: f64,
}

impl Clock {
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self { start: Instant::now(), cpu: thread_cpu_seconds()? })
    }

    pub(crate) fn cpu_seconds(&self) -> io::Result<f64> {
        Ok(thread_cpu_seconds()? - self.cpu)
    }

    /// Megabytes (10^6) a second and CPU seconds by gigabyte (10^9).
    fn told(&self, bytes: u64) -> io::Result<Value> {
        let cpu = self.cpu_seconds()?;
        let seconds = self.start.elapsed().as_secs_f64();
        Ok(json!({
            "mb_per_second": (bytes as f64 / 1e6 / seconds).round(),
            "cpu_seconds_per_gb": (cpu * 1e12 / bytes as f64).round() / 1e3,
        }))
    }
}

/// To the nanosecond, unlike what is told of a process.
fn thread_cpu_seconds() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse::<u64>().ok());
    nanoseconds
        .map(|count| count as f64 / 1e9)
        .ok_or_else(|| io::Error::other("the kernel keeps no CPU times of threads"))
}

fn joined<T>(thread: thread::JoinHandle<io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

/// The sender's figures, and the receiver's CPU time.
fn loopback(piece: usize, volume: u64) -> io::Result<Value> {
    let (mut sender, mut receiver) = pair()?;
    let count = volume / piece as u64;
    let bytes = count * piece as u64;
    let reading = thread::spawn(move || {
        let mut buffer = vec![0; RECEIVE];
        let clock = Clock::start()?;
        let mut left = bytes;
        while left > 0 {
            left -= match receiver.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => count as u64,
            };
        }
        clock.told(bytes)
    });
    let buffer = vec![1; piece];
    let clock = Clock::start()?;
    for _ in 0..count {
        sender.write_all(&buffer)?;
    }
    let sent = clock.told(bytes)?;
    let mut received = joined(reading)?;
    received["sender_cpu_seconds_per_gb"] = sent["cpu_seconds_per_gb"].clone();
    Ok(received)
}

fn append(path: &Path, piece: usize, volume: u64, synced: bool) -> io::Result<Value> {
    let mut file = File::create(path)?;
    let buffer = vec![2; piece];
    let count = volume / piece as u64;
    let clock = Clock::start()?;
    for _ in 0..count {
        file.write_all(&buffer)?;
        if synced {
            file.sync_data()?;
        }
    }
    clock.told(count * piece as u64)
}

fn crc(volume: u64) -> Value {
    let buffer = vec![3; MIB];
    let count = volume / MIB as u64;
    let start = Instant::now();
    let sum = (0..count).fold(0, |sum, _| sum ^ wire::crc32c::of(std::hint::black_box(&buffer)));
    std::hint::black_box(sum);
    let rate = (count * MIB as u64) as f64 / 1e6 / start.elapsed().as_secs_f64();
    json!({ "mb_per_second": rate.round() })
}

fn sync(path: &Path, syncs: u64) -> io::Result<Value> {
    let mut file = File::create(path)?;
    let mut times = Vec::new();
    for _ in 0..syncs {
        let start = Instant::now();
        file.write_all(&[4; 4096])?;
        file.sync_data()?;
        times.push(start.elapsed().as_nanos() as u64);
    }
    Ok(milliseconds(&times).unwrap_or_default())
}

fn bare_produce(path: &Path, volume: u64) -> io::Result<Value> {
    let (mut sender, mut receiver) = pair()?;
    let count = volume / MIB as u64;
    let mut file = File::create(path)?;
    let serving = thread::spawn(move || {
        let mut buffer = vec![0; MIB];
        let clock = Clock::start()?;
        for _ in 0..count {
            receiver.read_exact(&mut buffer)?;
            std::hint::black_box(wire::crc32c::of(&buffer));
            file.write_all(&buffer)?;
            file.sync_data()?;
            receiver.write_all(&[5; SMALL])?;
        }
        clock.told(count * MIB as u64)
    });
    let buffer = vec![5; MIB];
    let mut answer = [0; SMALL];
    for sent in 0..count {
        sender.write_all(&buffer)?;
        if sent >= IN_FLIGHT {
            sender.read_exact(&mut answer)?;
        }
    }
    for _ in 0..count.min(IN_FLIGHT) {
        sender.read_exact(&mut answer)?;
    }
    joined(serving)
}

fn bare_fetch(path: &Path, piece: usize, volume: u64, sendfile: bool) -> io::Result<Value> {
    let (mut reader, mut server) = pair()?;
    let count = volume / piece as u64;
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let serving = thread::spawn(move || {
        let mut buffer = vec![0; piece];
        let mut request = [0; SMALL];
        let clock = Clock::start()?;
        for index in 0..count {
            server.read_exact(&mut request)?;
            let mut at = index * piece as u64 % size;
            if sendfile {
                let end = at + piece as u64;
                while at < end {
                    let left = (end - at) as usize;
                    if rustix::fs::sendfile(&server, &file, Some(&mut at), left)? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            } else {
                file.read_exact_at(&mut buffer, at)?;
                server.write_all(&buffer)?;
            }
        }
        clock.told(count * piece as u64)
    });
    let mut buffer = vec![0; RECEIVE];
    for _ in 0..count {
        reader.write_all(&[6; SMALL])?;
        let mut left = piece;
        while left > 0 {
            let room = left.min(RECEIVE);
            left -= match reader.read(&mut buffer[..room])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => count,
            };
        }
    }
    joined(serving)
}

const MIB: usize = 1 << 20;
/// A whole number of the largest pieces, and more than a processor's cache holds.
const FILE: u64 = 256 << 20;
/// As the readers of [`crate::raw`] have.
const RECEIVE: usize = 256 << 10;
/// A request or an answer without records.
const SMALL: usize = 64;
const IN_FLIGHT: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_a_figure() {
        let directory = tempfile::tempdir().unwrap();
        let found = measure(directory.path(), Volumes::BRIEF).unwrap();
        for at in [
            "/loopback/64KiB/mb_per_second",
            "/loopback/1MiB/sender_cpu_seconds_per_gb",
            "/append/1MiB/mb_per_second",
            "/append/16KiB synced/mb_per_second",
            "/crc32c/mb_per_second",
            "/sync/p50",
            "/bare_produce/cpu_seconds_per_gb",
            "/bare_fetch/1MiB/copy/cpu_seconds_per_gb",
            "/bare_fetch/8MiB/sendfile/mb_per_second",
            "/bare_fetch/20 readers/mb_per_second",
            "/bare/16KiB/cpu_seconds_per_gb",
            "/bare/1MiB unsynced/mb_per_second",
            "/bare/spread/mb_per_second",
            "/bare/spread, journal/mb_per_second",
            "/bare/1KiB paced, unsynced/request_ms/p99",
            "/bare/100B paced/end_to_end_ms/p99",
        ] {
            assert!(found.pointer(at).and_then(Value::as_f64) > Some(0.0), "{at} in {found}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the file is gone");
    }
}
