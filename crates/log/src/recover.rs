//! Walking segment files: what recovery, truncation and loading have in common.
//!
//! Reads headers (or whole batches, checking them) in order, and rebuilds from them what is kept
//! in memory. Decides nothing: what a bad batch means is up to the caller.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use wire::batch::{self, BatchHeader, HEADER_BYTES};
use wire::files::{AbortedTxn, OffsetIndexEntry, parse_producers};

use crate::append::marker_of;
use crate::disk::{Disk, FileId, StorageError};
use crate::planted::{self, Bug};
use crate::producers::Producers;
use crate::segment::{self, DiskIndex, Index, Segment};

/// Reads the batches of one file from front to back.
pub(crate) struct Walker<'a> {
    disk: &'a dyn Disk,
    file: FileId,
    path: PathBuf,
    at: u64,
    size: u64,
    chunk: Bytes,
    chunk_at: u64,
}

/// Why a walk ended early.
#[derive(Debug)]
pub(crate) enum WalkError {
    /// The bytes at `at` are no batch.
    Bad { at: u64, why: String },
    /// The disk failed.
    Disk(StorageError),
}

impl<'a> Walker<'a> {
    /// Walks `size` bytes of a segment from `at` on, where a batch starts.
    pub fn new(disk: &'a dyn Disk, dir: &Path, segment: &Segment, at: u64, size: u64) -> Self {
        Self {
            disk,
            file: segment.file,
            path: segment::path(dir, segment.base, "log"),
            at,
            size,
            chunk: Bytes::new(),
            chunk_at: 0,
        }
    }

    /// The next header and the byte its batch starts at; `None` at the end.
    pub fn next_header(&mut self) -> Result<Option<(BatchHeader, u64)>, WalkError> {
        if self.at >= self.size {
            return Ok(None);
        }
        let at = self.at;
        let bad = |why: String| WalkError::Bad { at, why };
        let head = self.bytes(at, HEADER_BYTES)?;
        let header = BatchHeader::parse(&head).map_err(|error| bad(error.to_string()))?;
        let (needed, have) = (header.size_in_bytes(), (self.size - at) as usize);
        if needed > have {
            return Err(bad(batch::BatchError::Truncated { needed, have }.to_string()));
        }
        if header.base_offset < 0 || header.last_offset_delta < 0 || header.count < 0 {
            return Err(bad(format!("impossible offsets at {}", header.base_offset)));
        }
        self.at += needed as u64;
        Ok(Some((header, at)))
    }

    /// The bytes of the batch [`Self::next_header`] just gave, checked if `verify`.
    pub fn batch(
        &mut self,
        header: &BatchHeader,
        at: u64,
        verify: bool,
    ) -> Result<Bytes, WalkError> {
        let batch = self.bytes(at, header.size_in_bytes())?;
        if verify {
            batch::verify_crc(&batch)
                .map_err(|error| WalkError::Bad { at, why: error.to_string() })?;
        }
        Ok(batch)
    }

    /// Goes to byte `at`, where a batch starts.
    pub fn seek(&mut self, at: u64) {
        self.at = at;
    }

    /// True if the batch just given was the file's last.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.size
    }

    /// Turns a bad batch into the error that refuses the file.
    pub fn refuse(&self, error: WalkError) -> StorageError {
        match error {
            WalkError::Disk(error) => error,
            WalkError::Bad { at, why } => {
                StorageError::damaged("read", &self.path, format!("at byte {at}: {why}"))
            }
        }
    }

    fn bytes(&mut self, at: u64, len: usize) -> Result<Bytes, WalkError> {
        let len = len.min((self.size - at) as usize);
        let covered =
            at >= self.chunk_at && at + len as u64 <= self.chunk_at + self.chunk.len() as u64;
        if !covered {
            let wanted = len.max(CHUNK_BYTES).min((self.size - at) as usize);
            self.chunk = self.disk.read_at(self.file, at, wanted).map_err(WalkError::Disk)?;
            self.chunk_at = at;
        }
        let from = (at - self.chunk_at) as usize;
        let to = (from + len).min(self.chunk.len());
        Ok(self.chunk.slice(from.min(to)..to))
    }
}

/// The segment as it is with only its batches below `upto`, indexes in memory, and their end.
pub(crate) fn rebuild(
    disk: &dyn Disk,
    dir: &Path,
    segment: &Segment,
    upto: i64,
) -> Result<(Segment, i64), StorageError> {
    let mut end = segment.base;
    let mut kept = Segment::new(segment.base, segment.file, segment.created_ms);
    let mut walker = Walker::new(disk, dir, segment, 0, segment.size);
    loop {
        match walker.next_header() {
            Ok(Some((header, _))) if header.next_offset() <= upto => {
                kept.note(&header, REBUILT_INDEX_INTERVAL);
                end = header.next_offset();
            }
            Ok(_) => break,
            Err(error) => return Err(walker.refuse(error)),
        }
    }
    kept.aborted = segment.aborted.clone();
    kept.aborted.retain(|txn| txn.last_offset < upto);
    kept.unverified = segment.unverified.as_ref().and_then(|of| of.cut(kept.size, end));
    Ok((kept, end))
}

/// Producer state at an offset, and what was met on the way there.
pub(crate) struct FoundProducers {
    pub producers: Producers,
    /// The snapshot begun with.
    pub snapshot: Option<i64>,
    /// Batches read after it.
    pub replayed: u64,
    /// Aborted transactions whose markers were met.
    pub aborted: Vec<AbortedTxn>,
}

/// Producer state at `upto`: from the newest usable snapshot of `snapshots` (rising), then from
/// the batches after it.
pub(crate) fn producers(
    disk: &dyn Disk,
    dir: &Path,
    segments: &[Segment],
    snapshots: &[i64],
    upto: i64,
) -> Result<FoundProducers, StorageError> {
    let mut found = FoundProducers {
        producers: Producers::default(),
        snapshot: None,
        replayed: 0,
        aborted: Vec::new(),
    };
    for offset in snapshots.iter().rev().filter(|offset| **offset <= upto) {
        let content = match disk.read_file(&segment::path(dir, *offset, "snapshot")) {
            Ok(content) => content,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        // A damaged snapshot is worth no more than a missing one: an older one, or the batches
        // themselves, say the same.
        if let Ok(entries) = parse_producers(&content) {
            found.producers = Producers::from_entries(&entries);
            found.snapshot = Some(*offset);
            break;
        }
    }
    let lone = found.producers.count() == 0 || planted::is(Bug::SnapshotForgetsOlder);
    if let Some(snapshot) = found.snapshot.filter(|_| !lone) {
        remember_older(disk, dir, segments, snapshot, &mut found.producers)?;
    }
    let from = found.snapshot.unwrap_or(i64::MIN);
    let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
    for segment in segments.iter().skip(first) {
        let hint = segment.position_hint(from).at;
        let mut walker = Walker::new(disk, dir, segment, hint, segment.size);
        match replay(&mut walker, from, upto, &mut found) {
            Ok(()) => {}
            Err(error) => return Err(walker.refuse(error)),
        }
    }
    Ok(found)
}

/// A snapshot has only each producer's last batch, but an idempotent producer repeats up to five
/// that it got no answer for. Those before the last are found again in the batches just before the
/// snapshot; Apache Kafka forgets them and answers the repetition OUT_OF_ORDER_SEQUENCE_NUMBER.
///
/// Bounded by [`BACKFILL_BYTES`], so that a restart's cost does not grow with the log.
fn remember_older(
    disk: &dyn Disk,
    dir: &Path,
    segments: &[Segment],
    snapshot: i64,
    producers: &mut Producers,
) -> Result<(), StorageError> {
    let mut left = BACKFILL_BYTES;
    for segment in segments.iter().rev().filter(|segment| segment.base < snapshot) {
        // A mark's snapshot lies within a segment, whose index is in memory then.
        let end = match &segment.index {
            Index::Memory { .. } => segment.position_after(snapshot),
            Index::Disk(_) => segment.size,
        };
        let at = tail_position(disk, segment, end, left)?;
        let mut headers = Vec::new();
        let mut walker = Walker::new(disk, dir, segment, at, segment.size);
        loop {
            let found = walker.next_header().and_then(|found| match found {
                Some((header, at)) => walker.batch(&header, at, true).map(|_| Some(header)),
                None => Ok(None),
            });
            match found {
                Ok(Some(header)) if header.last_offset() < snapshot => headers.push(header),
                // Damage only means a shorter memory here; whoever reads it will find it.
                Ok(_) | Err(WalkError::Bad { .. }) => break,
                Err(error) => return Err(walker.refuse(error)),
            }
        }
        headers.iter().rev().for_each(|header| producers.remember_older(header));
        left = left.saturating_sub(end - at);
        if left == 0 || at > 0 {
            break;
        }
    }
    Ok(())
}

/// A byte of the segment where a batch starts, at most `tail` bytes before `end` if its index
/// knows one there.
fn tail_position(
    disk: &dyn Disk,
    segment: &Segment,
    end: u64,
    tail: u64,
) -> Result<u64, StorageError> {
    let wanted = end.saturating_sub(tail);
    if wanted == 0 {
        return Ok(0);
    }
    let entries = match &segment.index {
        Index::Memory { offsets, .. } => offsets.clone(),
        Index::Disk(DiskIndex { offsets, offset_entries, .. }) => {
            // Entries are apart by the index interval; this many cover the tail many times over.
            let count = (*offset_entries).min(INDEX_TAIL_ENTRIES);
            let size = OffsetIndexEntry::BYTES as u64;
            let at = (offset_entries - count) * size;
            let bytes = disk.read_at(*offsets, at, (count * size) as usize)?;
            // A damaged index is rebuilt elsewhere; here it only means a shorter memory.
            OffsetIndexEntry::parse_file(&bytes).unwrap_or_default()
        }
    };
    let before = || entries.iter().rev().find(|entry| u64::from(entry.position) < end);
    let found = entries.iter().find(|entry| u64::from(entry.position) >= wanted);
    // Where batches are large, the last one that is known has to do.
    let found = found.filter(|entry| u64::from(entry.position) < end).or_else(before);
    Ok(found.map_or(end, |entry| u64::from(entry.position)))
}

fn replay(
    walker: &mut Walker<'_>,
    from: i64,
    upto: i64,
    found: &mut FoundProducers,
) -> Result<(), WalkError> {
    let mut end = i64::MIN;
    while let Some((header, at)) = walker.next_header()? {
        // An offset that rot raised or lowered would end the walk early, or pass for newer.
        if header.base_offset < end {
            let why = format!("offset {} after {}", header.base_offset, end - 1);
            return Err(WalkError::Bad { at, why });
        }
        end = header.next_offset();
        let is_wanted = header.base_offset < upto && header.last_offset() >= from;
        if !is_wanted || !header.has_producer_id() {
            continue;
        }
        found.replayed += 1;
        if header.is_control() {
            let batch = walker.batch(&header, at, false)?;
            let marker = marker_of(&header, &batch)
                .map_err(|error| WalkError::Bad { at, why: error.to_string() })?;
            if let Some(marker) = marker {
                found.aborted.extend(found.producers.append_marker(&header, &marker));
            }
        } else {
            found.producers.append(&header);
        }
    }
    Ok(())
}

/// Index entries are found again at Apache Kafka's default distance.
pub(crate) const REBUILT_INDEX_INTERVAL: u32 = 4096;
/// How far before a snapshot batches are looked at again.
const BACKFILL_BYTES: u64 = 256 * 1024;
const INDEX_TAIL_ENTRIES: u64 = 1024;
const CHUNK_BYTES: usize = 256 * 1024;
