//! What the core knows of the log it doesn't own: where it begins and ends, which epoch wrote
//! what, what is flushed, and which snapshots lie beside it.
//!
//! Owns: `Marks`. The log itself is the caller's, who obeys the effects in order, so that these
//! marks and the log agree whenever the core is stepped.
//!
//! Invariants:
//! - I1: `start <= flushed <= end`.
//! - I2: epochs and their start offsets increase; all starts lie in `start..end`.

use std::collections::BTreeMap;

use ottla_log::planted::{self, Bug};

/// A snapshot by the end of what it covers: the first offset it lacks and the epoch of the last it
/// has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// Exclusive end offset.
    pub end_offset: i64,
    /// Epoch of the record before it.
    pub epoch: i32,
}

impl SnapshotId {
    /// What formatting writes; it is never replicated.
    pub const BOOTSTRAP: Self = Self { end_offset: 0, epoch: 0 };

    /// The name of its file: `<20 digits>-<10 digits>.checkpoint`.
    pub fn file_name(self) -> String {
        format!("{:020}-{:010}.checkpoint", self.end_offset, self.epoch)
    }

    /// Reads a file name; `None` for other files, unfinished snapshots among them.
    pub fn parse(name: &str) -> Option<Self> {
        let (end_offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
        let digits = |text: &str, count| {
            text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(end_offset, 20) || !digits(epoch, 10) {
            return None;
        }
        Some(Self { end_offset: end_offset.parse().ok()?, epoch: epoch.parse().ok()? })
    }
}

/// What a leader makes of the offset and epoch a replica fetches from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// The replica's log is a prefix of ours.
    Valid,
    /// It isn't, from the end of this epoch at the latest.
    Diverging { epoch: i32, end_offset: i64 },
    /// It needs this snapshot first.
    Snapshot(SnapshotId),
}

/// Offsets, epochs and snapshots of the log.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    start: i64,
    end: i64,
    flushed: i64,
    /// Epoch of the record before `start`; 0 if there is none.
    base_epoch: i32,
    epochs: Vec<(i32, i64)>,
    snapshots: BTreeMap<SnapshotId, u64>,
}

impl Marks {
    /// Marks of a log as found on disk.
    pub fn new(
        start: i64,
        end: i64,
        flushed: i64,
        epochs: Vec<(i32, i64)>,
        snapshots: impl IntoIterator<Item = (SnapshotId, u64)>,
    ) -> Self {
        let snapshots: BTreeMap<_, _> = snapshots.into_iter().collect();
        let base = snapshots.keys().rev().find(|id| id.end_offset <= start);
        let base_epoch = base.map_or(0, |id| id.epoch);
        let mut marks = Self { start, end, flushed, base_epoch, epochs, snapshots };
        marks.trim_epochs();
        marks
    }

    pub fn start(&self) -> i64 {
        self.start
    }

    pub fn end(&self) -> i64 {
        self.end
    }

    pub fn flushed(&self) -> i64 {
        self.flushed
    }

    /// Epoch of the last record, or of the snapshot the log begins behind.
    pub fn last_epoch(&self) -> i32 {
        self.epochs.last().map_or(self.base_epoch, |(epoch, _)| *epoch)
    }

    /// The end of everything that is certainly committed, as far as the disk tells.
    pub fn committed_at_least(&self) -> i64 {
        let latest = self.snapshots.keys().next_back().map_or(0, |id| id.end_offset);
        // A snapshot ahead of the log says nothing about what the log holds.
        let latest = if self.snapshot_ahead().is_some() { 0 } else { latest };
        self.start.max(latest)
    }

    /// The newest snapshot a replica may download.
    pub fn latest_snapshot(&self) -> Option<SnapshotId> {
        self.snapshots.keys().next_back().copied().filter(|id| *id != SnapshotId::BOOTSTRAP)
    }

    /// A snapshot that the log doesn't reach or contradicts: it must replace the log.
    pub fn snapshot_ahead(&self) -> Option<SnapshotId> {
        let log = (self.last_epoch(), self.end);
        self.latest_snapshot().filter(|id| (id.epoch, id.end_offset) > log)
    }

    /// Size of a stored snapshot.
    pub fn snapshot_bytes(&self, id: &SnapshotId) -> Option<u64> {
        self.snapshots.get(id).copied()
    }

    fn earliest_snapshot(&self) -> Option<SnapshotId> {
        self.snapshots.keys().copied().find(|id| *id != SnapshotId::BOOTSTRAP)
    }

    /// The last epoch at or below `epoch` that the log has, and where it ends.
    pub fn end_of_epoch(&self, epoch: i32) -> (i32, i64) {
        let mut end = self.end;
        for (known, start) in self.epochs.iter().rev() {
            if *known <= epoch {
                return (*known, end);
            }
            end = *start;
        }
        (self.base_epoch, end)
    }

    /// Epoch of the record before `offset`.
    pub fn epoch_before(&self, offset: i64) -> i32 {
        let found = self.epochs.iter().rev().find(|(_, start)| *start < offset);
        found.map_or(self.base_epoch, |(epoch, _)| *epoch)
    }

    /// Where a replica's fetch stands against this log.
    pub fn position(&self, offset: i64, epoch: i32) -> Position {
        if let Some(latest) = self.latest_snapshot().filter(|_| offset == 0) {
            // A replica without a log is better served by the snapshot than by all its records.
            return Position::Snapshot(latest);
        }
        if offset == 0 && self.start == 0 {
            return Position::Valid;
        }
        if planted::is(Bug::RaftDivergenceUnseen) && (self.start..=self.end).contains(&offset) {
            return Position::Valid;
        }
        if let (Some(earliest), Some(latest)) = (self.earliest_snapshot(), self.latest_snapshot())
            && (offset < self.start
                || (offset == self.start && epoch != earliest.epoch)
                || epoch < earliest.epoch)
        {
            return Position::Snapshot(latest);
        }
        let (known, end_offset) = self.end_of_epoch(epoch);
        if known != epoch || end_offset < offset {
            Position::Diverging { epoch: known, end_offset }
        } else {
            Position::Valid
        }
    }

    /// Records of one epoch were appended up to `end`, exclusive.
    pub fn appended(&mut self, epoch: i32, end: i64) {
        assert!(end >= self.end && epoch >= self.last_epoch(), "I2: {epoch}, {end}: {self:?}");
        if end > self.end && (self.epochs.is_empty() || epoch > self.last_epoch()) {
            self.epochs.push((epoch, self.end));
        }
        self.end = end;
    }

    /// Everything below `end` is on disk. Later truncation makes a completion stale.
    pub fn flush(&mut self, end: i64) {
        self.flushed = self.flushed.max(end.min(self.end));
    }

    /// The log ends at `end` now.
    pub fn truncate(&mut self, end: i64) {
        assert!((self.start..=self.end).contains(&end), "I1: truncated to {end}: {self:?}");
        self.end = end;
        self.flushed = self.flushed.min(end);
        self.epochs.retain(|(_, start)| *start < end);
    }

    /// The log begins at `start` now; the rest stays.
    pub fn move_start(&mut self, start: i64) {
        assert!((self.start..=self.end).contains(&start), "I1: start at {start}: {self:?}");
        let before = self.epochs.iter().rev().find(|(_, first)| *first < start);
        self.base_epoch = before.map_or(self.base_epoch, |(epoch, _)| *epoch);
        self.start = start;
        self.flushed = self.flushed.max(start);
        self.trim_epochs();
    }

    /// A snapshot replaced the whole log.
    pub fn replace(&mut self, id: SnapshotId) {
        self.start = id.end_offset;
        self.end = id.end_offset;
        self.flushed = id.end_offset;
        self.base_epoch = id.epoch;
        self.epochs.clear();
    }

    pub fn add_snapshot(&mut self, id: SnapshotId, bytes: u64) {
        self.snapshots.insert(id, bytes);
    }

    pub fn remove_snapshot(&mut self, id: &SnapshotId) {
        self.snapshots.remove(id);
    }

    /// Epochs that end at or below the start are gone; the one across it begins there.
    fn trim_epochs(&mut self) {
        let gone = self.epochs.iter().rposition(|(_, start)| *start <= self.start);
        if let Some(gone) = gone {
            self.epochs.drain(..gone);
        }
        if let Some(first) = self.epochs.first_mut() {
            first.1 = first.1.max(self.start);
        }
        self.epochs.retain(|(_, start)| *start < self.end);
    }

    pub fn check(&self) {
        let Self { start, end, flushed, .. } = self;
        assert!(start <= flushed && flushed <= end, "I1: {self:?}");
        assert!(
            self.epochs.is_sorted_by(|left, right| left.0 < right.0 && left.1 < right.1),
            "I2: {self:?}"
        );
        assert!(self.epochs.iter().all(|(_, at)| (start..end).contains(&at)), "I2: {self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(end_offset: i64, epoch: i32) -> SnapshotId {
        SnapshotId { end_offset, epoch }
    }

    fn log() -> Marks {
        let mut marks = Marks::new(0, 0, 0, Vec::new(), [(SnapshotId::BOOTSTRAP, 1)]);
        marks.appended(1, 5);
        marks.appended(3, 9);
        marks.appended(3, 10);
        marks.check();
        marks
    }

    #[test]
    fn a_fetch_is_valid_diverging_or_needs_a_snapshot() {
        let mut marks = log();
        assert_eq!(marks.position(0, 0), Position::Valid);
        assert_eq!(marks.position(10, 3), Position::Valid);
        assert_eq!(marks.position(5, 1), Position::Valid);
        assert_eq!(marks.position(6, 1), Position::Diverging { epoch: 1, end_offset: 5 });
        assert_eq!(marks.position(6, 2), Position::Diverging { epoch: 1, end_offset: 5 });
        assert_eq!(marks.position(11, 3), Position::Diverging { epoch: 3, end_offset: 10 });
        assert_eq!(marks.position(3, 4), Position::Diverging { epoch: 3, end_offset: 10 });
        marks.add_snapshot(id(7, 3), 100);
        assert_eq!(marks.position(0, 0), Position::Snapshot(id(7, 3)));
        assert_eq!(marks.position(5, 1), Position::Snapshot(id(7, 3)), "older than the earliest");
        marks.move_start(7);
        marks.check();
        assert_eq!(marks.position(6, 3), Position::Snapshot(id(7, 3)));
        assert_eq!(marks.position(7, 3), Position::Valid);
        assert_eq!(marks.end_of_epoch(3), (3, 10));
    }

    #[test]
    fn an_empty_log_behind_a_snapshot_ends_with_the_snapshots_epoch() {
        let mut marks = log();
        marks.add_snapshot(id(40, 6), 100);
        marks.replace(id(40, 6));
        marks.check();
        assert_eq!((marks.start(), marks.end(), marks.last_epoch()), (40, 40, 6));
        assert_eq!(marks.position(40, 6), Position::Valid);
        let again = Marks::new(40, 40, 40, Vec::new(), [(id(40, 6), 100)]);
        assert_eq!(again.last_epoch(), 6);
        marks.appended(6, 41);
        assert_eq!(marks.end_of_epoch(6), (6, 41));
    }

    #[test]
    fn truncation_takes_flushed_and_epochs_along_and_stale_flushes_are_cut() {
        let mut marks = log();
        marks.flush(10);
        marks.truncate(5);
        marks.check();
        assert_eq!((marks.last_epoch(), marks.flushed()), (1, 5));
        marks.flush(10);
        assert_eq!(marks.flushed(), 5);
    }

    #[test]
    fn a_prefix_that_takes_all_leaves_the_last_epoch() {
        let mut marks = log();
        marks.move_start(10);
        marks.check();
        assert_eq!((marks.last_epoch(), marks.end()), (3, 10));
    }

    #[test]
    fn names_of_snapshots_are_told_from_others() {
        let id = SnapshotId { end_offset: 1234, epoch: 5 };
        assert_eq!(SnapshotId::parse(&id.file_name()), Some(id));
        for other in [
            "00000000000000001234-0000000005.checkpoint.part",
            "00000000000000001234-0000000005.checkpoint.deleted",
            "1234-5.checkpoint",
            "0000000000000000123+-0000000005.checkpoint",
        ] {
            assert_eq!(SnapshotId::parse(other), None, "{other}");
        }
    }
}
