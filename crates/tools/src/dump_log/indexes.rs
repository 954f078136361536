//! The files beside a log: offset index, time index, transaction index, producer snapshot.

use std::fmt::Write as _;

use wire::files::{AbortedTxn, ProducerEntry};
use wire::{Bytes, Reader, batch};

use super::batches::Segment;
use super::{Errors, Options, base_offset, beside, failed, first_offset_part};
use crate::{Failure, Io, java};

/// `.index`: entries, each compared with the batch of at most `largest` bytes it points at.
pub(super) fn offsets(
    path: &str,
    options: &Options,
    largest: i32,
    errors: &mut Errors,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    let base = base_offset(path)?;
    let log = open_log(path)?;
    let content = read(path)?;
    let entries = OffsetIndex::new(&content, base);
    if entries.count() == 0 {
        writeln!(io.out, "{path} is empty.")?;
        return Ok(());
    }
    if options.sanity_only {
        entries.check(path)?;
        writeln!(io.out, "{path} passed sanity check.")?;
        return Ok(());
    }
    for (index, (offset, position)) in entries.iter().enumerate() {
        if offset == base && index > 0 {
            return Ok(());
        }
        let slice = log.slice(position, largest).map_err(failed(path))?;
        let batch = slice.batch(0).map_err(failed(path))?;
        let batch = batch.ok_or_else(|| {
            Failure::new(format!("error: {path}: no whole batch at position {position} of the log"))
        })?;
        if batch.last_offset() != offset {
            errors.index_mismatch(path, offset, batch.last_offset());
        }
        if !options.verify_only {
            writeln!(io.out, "offset: {offset} position: {position}")?;
        }
    }
    Ok(())
}

/// `.timeindex`: entries, each compared with the batch that has its offset.
pub(super) fn times(
    path: &str,
    options: &Options,
    errors: &mut Errors,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    let base = base_offset(path)?;
    let log = open_log(path)?;
    let offsets = read(&beside(path, ".index"))?;
    let offsets = OffsetIndex::new(&offsets, base);
    let content = read(path)?;
    let (chunks, rest) = content.as_chunks::<12>();
    let parse = |chunk: &[u8; 12]| {
        let [a, b, c, d, e, f, g, h, offset @ ..] = *chunk;
        let relative = i64::from(i32::from_be_bytes(offset));
        (i64::from_be_bytes([a, b, c, d, e, f, g, h]), base.wrapping_add(relative))
    };
    if options.sanity_only {
        let ends = chunks.first().map(parse).zip(chunks.last().map(parse));
        let falls = ends.is_some_and(|(first, last)| last.0 < first.0 || last.1 < base);
        if falls || !rest.is_empty() {
            return Err(Failure::new(format!("error: {path}: the time index is corrupt")));
        }
        writeln!(io.out, "{path} passed sanity check.")?;
        return Ok(());
    }
    let mut before = -1;
    for (index, (timestamp, offset)) in chunks.iter().map(parse).enumerate() {
        if offset == base && index > 0 {
            return Ok(());
        }
        let position = offsets.lookup(offset);
        match newest_of(&log, position, offset).map_err(failed(path))? {
            Batch::Ends(found) if found == offset => {}
            Batch::Ends(found) => errors.time_offset_missing(path, offset, found),
            Batch::Timestamp(newest) => {
                if newest != timestamp {
                    errors.time_mismatch(path, timestamp, newest);
                }
                if before >= timestamp {
                    errors.time_falls(path, timestamp, before);
                }
            }
        }
        if !options.verify_only {
            writeln!(io.out, "timestamp: {timestamp} offset: {offset}")?;
        }
        before = timestamp;
    }
    Ok(())
}

enum Batch {
    /// The batch that ends with the offset has records up to this timestamp.
    Timestamp(i64),
    /// None does; the first batch beyond ends here, -1 is none.
    Ends(i64),
}

fn newest_of(log: &Segment, position: i32, offset: i64) -> Result<Batch, String> {
    let slice = log.slice(position, i32::MAX)?;
    let mut at = 0;
    while let Some(batch) = slice.batch(at)? {
        if batch.last_offset() >= offset {
            if batch.last_offset() != offset {
                return Ok(Batch::Ends(batch.last_offset()));
            }
            let mut newest = -1;
            let mut records = batch.records(&slice.whole(&batch)?)?;
            while let Some(record) = records.next()? {
                newest = newest.max(record.timestamp);
            }
            return Ok(Batch::Timestamp(newest));
        }
        at += batch.size as u64;
    }
    Ok(Batch::Ends(-1))
}

/// An offset index as it is in the file, zeros at its end included.
struct OffsetIndex<'a> {
    chunks: &'a [[u8; 8]],
    whole: bool,
    base: i64,
}

impl<'a> OffsetIndex<'a> {
    fn new(content: &'a [u8], base: i64) -> Self {
        let (chunks, rest) = content.as_chunks::<8>();
        Self { chunks, whole: rest.is_empty(), base }
    }

    fn count(&self) -> usize {
        self.chunks.len()
    }

    fn parse(&self, chunk: &[u8; 8]) -> (i64, i32) {
        let [a, b, c, d, position @ ..] = *chunk;
        let relative = i64::from(i32::from_be_bytes([a, b, c, d]));
        (self.base.wrapping_add(relative), i32::from_be_bytes(position))
    }

    fn iter(&self) -> impl Iterator<Item = (i64, i32)> {
        self.chunks.iter().map(|chunk| self.parse(chunk))
    }

    fn check(&self, path: &str) -> Result<(), Failure> {
        let last = self.chunks.last().map(|chunk| self.parse(chunk).0);
        match last {
            Some(last) if last < self.base => Err(Failure::new(format!(
                "error: {path}: the last offset {last} is below the base offset {}",
                self.base
            ))),
            _ if !self.whole => {
                Err(Failure::new(format!("error: {path}: its size is not a multiple of 8")))
            }
            _ => Ok(()),
        }
    }

    /// The position to look for `offset` from, by Apache Kafka's search: it looks at the newest
    /// entries first, which matters where zeros follow the entries.
    fn lookup(&self, offset: i64) -> i32 {
        let entry = |index: usize| self.chunks.get(index).map(|chunk| self.parse(chunk));
        let Some(last) = self.chunks.len().checked_sub(1) else { return 0 };
        let warm = last.saturating_sub(WARM_ENTRIES);
        let (mut low, mut high) = match (entry(warm), entry(0)) {
            (Some(at), _) if at.0 < offset => (warm, last),
            (_, Some(first)) if first.0 > offset => return 0,
            _ => (0, warm),
        };
        while low < high {
            let middle = (low + high).div_ceil(2);
            match entry(middle) {
                Some(found) if found.0 > offset => high = middle - 1,
                Some(found) if found.0 < offset => low = middle,
                Some(found) => return found.1,
                None => break,
            }
        }
        entry(low).map_or(0, |found| found.1)
    }
}

/// `.txnindex`: aborted transactions. A file that is not there has none.
pub(super) fn aborted(path: &str, io: &mut Io<'_>) -> Result<(), Failure> {
    first_offset_part(path)?;
    let content = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| failed(path)(error.to_string()))?,
    };
    let (entries, _) = content.as_chunks::<{ AbortedTxn::BYTES }>();
    // Apache Kafka looks at the first byte of the version only, and before it prints any entry.
    if entries.iter().any(|entry| matches!(entry, [1..=127, ..])) {
        return Err(Failure::new(format!("error: {path}: an entry of an unknown version")));
    }
    for entry in entries {
        let version = entry.first().map_or(0, |byte| *byte as i8);
        let mut fields = Reader::new(Bytes::copy_from_slice(entry));
        let mut text = String::new();
        let _ = write!(text, "version: {version}");
        let _ = fields.i16();
        for name in ["producerId", "firstOffset", "lastOffset", "lastStableOffset"] {
            let _ = write!(text, " {name}: {}", fields.i64().unwrap_or_default());
        }
        writeln!(io.out, "{text}")?;
    }
    Ok(())
}

/// `.snapshot`: what is known of producers.
pub(super) fn producers(path: &str, io: &mut Io<'_>) -> Result<(), Failure> {
    let content = Bytes::from(read(path)?);
    let entries = match wire::files::parse_producers(&content) {
        Ok(entries) => entries,
        Err(error) => {
            // Damage is told, but is no failure.
            let _ = writeln!(io.err, "error: {path}: {error}");
            return Ok(());
        }
    };
    for entry in entries {
        writeln!(io.out, "{}", producer(&entry))?;
    }
    Ok(())
}

fn producer(entry: &ProducerEntry) -> String {
    let transaction = Some(entry.current_txn_first_offset).filter(|offset| *offset >= 0);
    let mut text = format!(
        "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {} \
         lastTimestamp: {}",
        entry.producer_id,
        entry.producer_epoch,
        entry.coordinator_epoch,
        java::optional_long(transaction),
        entry.timestamp
    );
    if entry.last_offset >= 0 {
        let _ = write!(
            text,
            " firstSequence: {} lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
            batch::decrement_sequence(entry.last_sequence, entry.offset_delta),
            entry.last_sequence,
            entry.last_offset,
            entry.offset_delta,
            entry.timestamp
        );
    }
    text
}

fn open_log(path: &str) -> Result<Segment, Failure> {
    let log = beside(path, ".log");
    Segment::open(&log).map_err(failed(&log))
}

/// Indexes and snapshots have a few MiB at most in any node; they are read whole.
fn read(path: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| failed(path)(error.to_string()))
}

/// Entries in the two pages that Apache Kafka's search tries first.
const WARM_ENTRIES: usize = 8192 / 8;
