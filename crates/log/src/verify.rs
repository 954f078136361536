//! Which bytes of a segment may be believed, and which are known to be damaged.
//!
//! What a process appends was checked when it was produced, and recovery checks what it walks. All
//! else that is there at a start (rolled segments below the recovery point, what lies before a
//! recovery mark, logs that were closed in order) is believed only once its checksums were
//! compared: by the read that asks for it first, or by the scrub.
//!
//! Owns, for each segment, what was checked and what is damaged, and the rules that a batch is
//! checked by. A checksum does not cover a batch's first 16 bytes: its offset is compared with
//! those around it, its leader epoch with the log's, and a wrong length breaks the checksum.
//!
//! Invariants:
//! - I1: what is told as checked was compared since this process opened the segment.
//! - I2: a damaged place stays one for as long as its segment lives, and is told of once.
//! - I3: a segment that was begun in this life costs a pointer, and its reads nothing.
//! - I4: memory is bounded: of scattered reads only so many are remembered ([`RANGES_MAX`]).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use wire::batch::BatchHeader;

use crate::disk::{Disk, FileId, StorageError};
use crate::epochs::Epochs;
use crate::log::Log;
use crate::planted::{self, Bug};
use crate::recover::{WalkError, Walker};
use crate::segment::{self, Segment};

/// A place in a file whose bytes are not what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file: a segment's records, or one of its indexes.
    pub path: PathBuf,
    /// Base offset of the segment.
    pub base: i64,
    /// Its bytes there, as far as one can tell.
    pub bytes: Range<u64>,
    /// The offsets of the records there; none of an index.
    pub offsets: Range<i64>,
    /// What is wrong.
    pub why: String,
}

impl Damage {
    /// True if records are damaged; an index can be made anew from them.
    pub fn is_of_records(&self) -> bool {
        !self.offsets.is_empty()
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Range { start, end } = self.bytes;
        write!(out, "{}, bytes {start} to {}", self.path.display(), end.saturating_sub(1))?;
        if self.is_of_records() {
            write!(out, ", offsets {} to {}", self.offsets.start, self.offsets.end - 1)?;
        }
        write!(out, ": {}", self.why)
    }
}

/// What nobody vouched for when a segment was opened, and what is known of it since.
#[derive(Debug)]
pub(crate) struct Unverified {
    /// Bytes from the front; what is behind them was written in this life.
    upto: u64,
    /// The offset at which they end.
    end: i64,
    /// Most segments are never looked at.
    known: OnceLock<Box<Mutex<Known>>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Rising and apart, each with the offset at which it ends.
    checked: Vec<(Range<u64>, i64)>,
    /// Rising and apart, and whether it was told of.
    damaged: Vec<(Damage, bool)>,
}

impl Unverified {
    /// Of a segment's first `upto` bytes, which end with offset `end`; `None` if there are none.
    pub fn new(upto: u64, end: i64) -> Option<Arc<Self>> {
        (upto > 0).then(|| Arc::new(Self { upto, end, known: OnceLock::new() }))
    }

    /// The same bytes, all of them checked.
    fn checked(upto: u64, end: i64) -> Arc<Self> {
        let of = Self { upto, end, known: OnceLock::new() };
        of.lock().checked.push((0..upto, end));
        Arc::new(of)
    }

    /// What is left of it when the file is cut to `len` bytes, which end with offset `end`.
    pub fn cut(self: &Arc<Self>, len: u64, end: i64) -> Option<Arc<Self>> {
        // Rare enough to begin anew.
        if len >= self.upto { Some(self.clone()) } else { Self::new(len, end) }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // What this guards is whole at every point a panic can occur.
        self.known.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if all of it was checked and nothing is damaged.
    pub fn is_settled(&self) -> bool {
        self.known.get().is_some() && {
            let known = self.lock();
            let first = known.checked.first().map(|(range, _)| range.clone());
            known.damaged.is_empty() && first == Some(0..self.upto)
        }
    }

    /// Where what was checked ends that holds the byte `at`, and with which offset; `None` if that
    /// byte was not.
    pub fn checked_to(&self, at: u64) -> Option<(u64, i64)> {
        if at >= self.upto || planted::is(Bug::ReadsUnverified) {
            return Some((u64::MAX, i64::MAX));
        }
        self.known.get()?;
        let known = self.lock();
        let after = known.checked.partition_point(|(range, _)| range.start <= at);
        let (range, next) = after.checked_sub(1).and_then(|index| known.checked.get(index))?;
        let found = if range.end == self.upto { (u64::MAX, i64::MAX) } else { (range.end, *next) };
        (at < range.end).then_some(found)
    }

    /// These bytes, which end with offset `next`, were checked.
    pub fn note_checked(&self, bytes: Range<u64>, next: i64) {
        let known = &mut *self.lock();
        let first = known.checked.partition_point(|(range, _)| range.end < bytes.start);
        let last = known.checked.partition_point(|(range, _)| range.start <= bytes.end);
        let Some(met) = known.checked.get(first..last) else { return };
        let merged = match (met.first(), met.last()) {
            (Some((one, _)), Some((other, others))) => {
                let next = if other.end > bytes.end { *others } else { next };
                (bytes.start.min(one.start)..bytes.end.max(other.end), next)
            }
            // Invariant I4: what is not remembered is checked again.
            _ if known.checked.len() >= RANGES_MAX => return,
            _ => (bytes, next),
        };
        known.checked.splice(first..last, [merged]);
    }

    /// The damaged place that holds the byte `at`.
    pub fn damage_at(&self, at: u64) -> Option<Damage> {
        self.known.get()?;
        let known = self.lock();
        let found = known.damaged.iter().find(|(damage, _)| damage.bytes.contains(&at));
        found.map(|(damage, _)| damage.clone())
    }

    /// Where the next damaged place begins, at `at` or behind it.
    pub fn next_damage(&self, at: u64) -> Option<u64> {
        self.known.get()?;
        let known = self.lock();
        known.damaged.iter().map(|(damage, _)| damage.bytes.start).find(|start| *start >= at)
    }

    /// Takes note of a damaged place, unless it is known.
    pub fn note_damage(&self, damage: Damage) {
        let known = &mut *self.lock();
        let after =
            known.damaged.partition_point(|(other, _)| other.bytes.end <= damage.bytes.start);
        let next = known.damaged.get(after);
        if next.is_none_or(|(other, _)| other.bytes.start >= damage.bytes.end) {
            known.damaged.insert(after, (damage, false));
        }
    }

    /// The damaged places that nobody was told of; from now on somebody is (I2).
    pub fn take_untold(&self) -> Vec<Damage> {
        if self.known.get().is_none() {
            return Vec::new();
        }
        let known = &mut *self.lock();
        let untold = known.damaged.iter_mut().filter(|(_, told)| !told);
        untold
            .map(|(damage, told)| {
                *told = true;
                damage.clone()
            })
            .collect()
    }

    /// How many damaged places there are.
    pub fn damaged_places(&self) -> usize {
        self.known.get().map_or(0, |_| self.lock().damaged.len())
    }

    /// All damaged places.
    pub fn damage(&self) -> Vec<Damage> {
        if self.known.get().is_none() {
            return Vec::new();
        }
        self.lock().damaged.iter().map(|(damage, _)| damage.clone()).collect()
    }
}

/// What it takes to check a segment's batches; part of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Checks {
    pub of: Arc<Unverified>,
    epochs: Epochs,
}

impl PartialEq for Checks {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.of, &other.of)
    }
}

impl Eq for Checks {}

impl Log {
    /// What it takes to read a segment; `None` if all of it is known to be good.
    pub(crate) fn checks(&self, segment: &Segment) -> Option<Checks> {
        let of = segment.unverified.as_ref().filter(|of| !of.is_settled())?;
        Some(Checks { of: of.clone(), epochs: self.epochs.clone() })
    }

    /// The places in it that are known to be damaged, by offset.
    pub fn damage(&self) -> Vec<Damage> {
        let unverified = self.segments.iter().filter_map(|segment| segment.unverified.as_ref());
        unverified.flat_map(|of| of.damage()).collect()
    }

    /// How many there are.
    pub fn damaged_places(&self) -> usize {
        let unverified = self.segments.iter().filter_map(|segment| segment.unverified.as_ref());
        unverified.map(|of| of.damaged_places()).sum()
    }

    /// Takes note of damage that [`crate::ScrubJob`] found, so that no read gets to it. Gives what
    /// is to be told of: nothing if that was done, or the segment is not there any more.
    pub fn note_damage(&mut self, file: FileId, damage: Damage) -> Vec<Damage> {
        let ends = self.segments.iter().skip(1).map(|next| next.base).chain([self.end]);
        let ends: Vec<i64> = ends.collect();
        let mut all = self.segments.iter_mut().zip(ends);
        let Some((segment, end)) = all.find(|(segment, _)| segment.file == file) else {
            return Vec::new();
        };
        if !damage.is_of_records() {
            return vec![damage];
        }
        let size = segment.size;
        let of = segment.unverified.get_or_insert_with(|| Unverified::checked(size, end));
        if planted::is(Bug::ScrubOnlyTells) {
            return vec![damage];
        }
        of.note_damage(damage);
        of.take_untold()
    }
}

/// A batch that is none, or not the one that was written.
#[derive(Debug)]
pub(crate) struct Bad {
    pub why: String,
    /// It may as well be the one behind it.
    or_next: bool,
}

/// Why a batch was not given.
#[derive(Debug)]
pub(crate) enum Unread {
    Bad(Bad),
    Disk(StorageError),
}

impl Unread {
    fn bad(why: String) -> Self {
        Self::Bad(Bad { why, or_next: false })
    }
}

impl From<WalkError> for Unread {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Bad { why, .. } => Self::bad(why),
            WalkError::Disk(error) => Self::Disk(error),
        }
    }
}

/// Checks batches of a segment, one after the other.
pub(crate) struct Verifier<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    base: i64,
    epochs: &'a Epochs,
    /// What is checked ends there: bytes, and offsets.
    upto: u64,
    end: i64,
    /// Where the last batch that was good so far ends, and its leader epoch.
    before: Option<(u64, i32)>,
    walker: Walker<'a>,
}

impl<'a> Verifier<'a> {
    /// One for the part of a segment that a plan may not believe.
    pub fn new(
        disk: &'a dyn Disk,
        dir: &'a Path,
        (base, file): (i64, FileId),
        checks: &'a Checks,
    ) -> Self {
        Self::of(disk, dir, (base, file), &checks.epochs, (checks.of.upto, checks.of.end))
    }

    /// One for so many bytes of a segment, which end with that offset.
    pub fn of(
        disk: &'a dyn Disk,
        dir: &'a Path,
        (base, file): (i64, FileId),
        epochs: &'a Epochs,
        (upto, end): (u64, i64),
    ) -> Self {
        let walker = Walker::new(disk, dir, &Segment::new(base, file, 0), 0, upto);
        Self { disk, dir, base, epochs, upto, end, before: None, walker }
    }

    /// Checks the batch at byte `at`, whose offset is not below `floor`, which the batch before it
    /// ends with if `floor` is not just the segment's base.
    pub fn batch(&mut self, at: u64, floor: i64) -> Result<BatchHeader, Unread> {
        let header = self.alone(at, floor)?;
        let behind = at + header.size_in_bytes() as u64;
        let next = self.walker.next_header().ok().flatten().map(|(next, _)| next);
        self.check_epoch(at, &header, next.as_ref())?;
        self.before = Some((behind, header.leader_epoch));
        // A checksum says nothing of offsets. One that rose is too large for the batch behind it.
        let Some(next) = next.filter(|next| next.base_offset < header.next_offset()) else {
            return Ok(header);
        };
        if header.base_offset == floor {
            return Ok(header);
        }
        let fits = floor + i64::from(header.last_offset_delta) + 1 == next.base_offset;
        let why = format!("offset {} before {}", header.last_offset(), next.base_offset);
        Err(Unread::Bad(Bad { why, or_next: !fits }))
    }

    /// A checksum says nothing of the leader epoch either. One that the log does not know there is
    /// none that fits between its neighbours; if it does, the log's list may be what is wrong.
    fn check_epoch(
        &self,
        at: u64,
        header: &BatchHeader,
        next: Option<&BatchHeader>,
    ) -> Result<(), Unread> {
        let epoch = header.leader_epoch;
        let known = self.epochs.epoch_at(header.base_offset);
        let Some(known) = known.filter(|known| *known != epoch && epoch != NO_EPOCH) else {
            return Ok(());
        };
        let entries = self.epochs.entries();
        let before = self.before.filter(|(end, _)| *end == at).map(|(_, epoch)| epoch);
        let least = before.or_else(|| entries.first().map(|entry| entry.epoch));
        let most = next.map(|next| next.leader_epoch).or_else(|| self.epochs.latest());
        let fits =
            least.is_some_and(|least| least <= epoch) && most.is_some_and(|most| epoch <= most);
        let why = format!("leader epoch {epoch} where {known} wrote offset {}", header.base_offset);
        if fits { Ok(()) } else { Err(Unread::bad(why)) }
    }

    /// True if the batch at `at` says that nothing follows it.
    pub fn is_last(&mut self, at: u64) -> bool {
        self.walker.seek(at);
        let found = self.walker.next_header();
        matches!(found, Ok(Some(_))) && self.walker.is_at_end()
    }

    /// What can be seen of a batch without those around it.
    fn alone(&mut self, at: u64, floor: i64) -> Result<BatchHeader, Unread> {
        self.walker.seek(at);
        let Some((header, _)) = self.walker.next_header()? else {
            return Err(Unread::bad("the file ends".to_owned()));
        };
        let (first, last) = (header.base_offset, header.last_offset());
        if first < floor || last >= self.end {
            let end = self.end;
            let why = format!("offsets {first} to {last} where {floor} to {} belong", end - 1);
            return Err(Unread::bad(why));
        }
        self.walker.batch(&header, at, true)?;
        Ok(header)
    }

    /// What there is of a bad batch at byte `at`: how far it goes. Walks must have come there from
    /// the batch that ends with `floor`.
    pub fn damage(&mut self, at: u64, floor: i64, bad: Bad) -> Result<Damage, StorageError> {
        let (end, next_offset) = self.resume(at, floor, bad.or_next)?;
        Ok(Damage {
            path: segment::path(self.dir, self.base, "log"),
            base: self.base,
            bytes: at..end,
            offsets: floor..next_offset.max(floor + 1),
            why: bad.why,
        })
    }

    /// The byte and the offset at which batches can be read again behind a bad one: where that one
    /// says it ends, if another is there, else where an index entry says that one is.
    fn resume(&mut self, at: u64, floor: i64, or_next: bool) -> Result<(u64, i64), StorageError> {
        let mut places = Vec::new();
        self.walker.seek(at);
        if let Some((mut header, mut place)) = tolerated(self.walker.next_header())? {
            if or_next && let Some(next) = tolerated(self.walker.next_header())? {
                (header, place) = next;
            }
            let behind = place + header.size_in_bytes() as u64;
            let next = tolerated(self.walker.next_header())?;
            // Two that follow one another, whatever is in them: the second is judged by itself.
            let follows = next.is_some_and(|(next, _)| next.base_offset == header.next_offset());
            let in_place = header.base_offset == floor && header.last_offset() < self.end;
            if in_place && follows {
                return Ok((behind, header.next_offset()));
            }
            // Of the last one its own word is not needed, and may have rotted.
            if in_place && behind >= self.upto {
                return Ok((behind, self.end));
            }
            places.push(behind);
        }
        places.extend(self.indexed().into_iter().filter(|place| *place > at));
        for place in places {
            if place >= self.upto {
                break;
            }
            match self.alone(place, floor) {
                Ok(header) => return Ok((place, header.base_offset)),
                Err(Unread::Bad(_)) => {}
                Err(Unread::Disk(error)) => return Err(error),
            }
        }
        Ok((self.upto, self.end))
    }

    /// Where the segment's index says that batches begin, rising. It may be damaged, too.
    fn indexed(&self) -> Vec<u64> {
        let path = segment::path(self.dir, self.base, "index");
        let content = self.disk.read_file(&path).unwrap_or_default();
        let (entries, _) = content.as_chunks::<8>();
        let position = |raw: &[u8; 8]| u64::from_be_bytes(*raw) & 0xffff_ffff;
        let mut places: Vec<u64> = entries.iter().map(position).collect();
        places.sort_unstable();
        places
    }
}

/// What was found, if it was something that could be read.
fn tolerated<T>(found: Result<Option<T>, WalkError>) -> Result<Option<T>, StorageError> {
    match found {
        Ok(found) => Ok(found),
        Err(WalkError::Bad { .. }) => Ok(None),
        Err(WalkError::Disk(error)) => Err(error),
    }
}

/// Of batches that no leader stamped.
const NO_EPOCH: i32 = -1;
/// How many ranges apart from one another are remembered of a segment.
const RANGES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn unverified() -> Arc<Unverified> {
        Unverified::new(100, 10).unwrap()
    }

    fn damage(bytes: Range<u64>) -> Damage {
        let (path, why) = (PathBuf::from("/t-0/0.log"), String::new());
        Damage { path, base: 0, bytes, offsets: 1..2, why }
    }

    #[test]
    fn ranges_that_meet_become_one_and_all_of_it_settles_the_segment() {
        let of = unverified();
        let all = Some((u64::MAX, i64::MAX));
        assert_eq!((of.checked_to(0), of.checked_to(100)), (None, all));
        for (bytes, next) in [(20..30, 3), (40..50, 5), (30..40, 4), (60..100, 10)] {
            of.note_checked(bytes, next);
        }
        assert_eq!([20, 35, 49].map(|at| of.checked_to(at)), [Some((50, 5)); 3]);
        assert_eq!([0, 19, 50, 59].map(|at| of.checked_to(at)), [None; 4]);
        assert_eq!(of.checked_to(60), all, "what was appended follows");
        assert!(!of.is_settled());
        of.note_checked(45..70, 7);
        of.note_checked(0..20, 2);
        assert!(of.is_settled());
        of.note_damage(damage(5..6));
        assert!(!of.is_settled());
    }

    #[test]
    fn scattered_ranges_are_bounded_and_what_is_forgotten_is_checked_again() {
        let of = Unverified::new(u64::MAX, 10).unwrap();
        for at in 0..2 * RANGES_MAX as u64 {
            of.note_checked(at * 10..at * 10 + 5, 1);
        }
        assert_eq!(of.lock().checked.len(), RANGES_MAX);
        assert_eq!(of.checked_to(10 * RANGES_MAX as u64), None);
        of.note_checked(5..10, 2);
        assert_eq!(of.checked_to(0), Some((15, 1)), "those that meet are taken");
    }

    #[test]
    fn damage_is_told_of_once_and_found_by_its_bytes() {
        let of = unverified();
        assert!(of.take_untold().is_empty() && of.damage_at(5).is_none());
        of.note_damage(damage(20..30));
        of.note_damage(damage(25..40));
        of.note_damage(damage(10..20));
        let places = [damage(10..20), damage(20..30)];
        assert_eq!(of.take_untold(), places);
        assert!(of.take_untold().is_empty());
        assert_eq!(of.damage(), places);
        assert_eq!((of.damage_at(29), of.damage_at(30)), (Some(damage(20..30)), None));
        assert_eq!([0, 11, 21].map(|at| of.next_damage(at)), [Some(10), Some(20), None]);
    }
}
