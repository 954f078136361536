//! Shortening a log: from the front by retention and DeleteRecords, from the back by truncation.
//!
//! Invariants:
//! - I1: nothing at or above the high watermark is removed from the front.
//! - I2: when a file is cut, all that lay above it is gone durably, so that no crash can bring
//!   back a later segment or a producer snapshot of a history that was given up.
//! - I3: a [`Hold`] only ever keeps more than retention alone would.
//! - I4: a segment is removed from the front when those before it are gone durably: a crash that
//!   kept an older one only would leave a hole, which recovery must take for damage.

use std::path::PathBuf;

use crate::clean::Install;
use crate::commit::Commit;
use crate::disk::{Disk, FileId, FileIds, Op, StorageError, Submission, Token};
use crate::key_filter;
use crate::log::Log;
use crate::recover;
use crate::segment::{self, Index, Segment};

/// A segment renamed to `.deleted`, whose readers may still be at it.
#[derive(Clone, Debug)]
pub(crate) struct Trash {
    due_ms: i64,
    path: PathBuf,
    files: Vec<FileId>,
}

impl Trash {
    pub fn new(due_ms: i64, path: PathBuf, files: Vec<FileId>) -> Self {
        Self { due_ms, path, files }
    }

    pub fn into_files(self) -> Vec<FileId> {
        self.files
    }

    pub fn unlink(self, commit: &mut Commit, out: &mut Vec<Submission>) {
        for file in self.files {
            commit.other(Op::Close { file }, out);
        }
        commit.other(Op::RemoveFile { path: self.path }, out);
    }
}

/// Keeps what retention would give up, because somebody has not read it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Everybody has read what is below.
    pub read_to: i64,
    /// Records older than this are held no more; -1 is without limit. As `retention.ms`, by the
    /// largest timestamp of a segment.
    pub max_ms: i64,
    /// The oldest segment is held no more where what follows it is that large; -1 is without limit.
    /// As `retention.bytes`.
    pub max_bytes: i64,
}

impl Hold {
    /// Everything that retention would give up.
    pub const EVERYTHING: Self = Self { read_to: i64::MIN, max_ms: -1, max_bytes: -1 };
    /// Nothing.
    pub const NOTHING: Self = Self { read_to: i64::MAX, max_ms: -1, max_bytes: -1 };
}

/// Why records were given up although a [`Hold`] asked for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// [`Hold::max_ms`].
    Time,
    /// [`Hold::max_bytes`].
    Size,
}

/// What retention did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Base offsets of the segments removed.
    pub removed: Vec<i64>,
    /// Bytes that retention would have removed, too, but for the hold.
    pub held_bytes: u64,
    /// Where those end, exclusive.
    pub held_end: i64,
    /// The bound that made some go which were to be held.
    pub over: Option<Bound>,
    /// There are more to go: what is appended waits for each, so they go a few at a time.
    pub more: bool,
}

impl Log {
    /// Moves the log start offset to `new_start` (DeleteRecords, or a leader's start); whole
    /// segments below it go with the next [`Self::expire`]. False if it was there already.
    pub fn delete_records(&mut self, new_start: i64) -> bool {
        let new_start = new_start.min(self.end);
        let moved = new_start > self.start;
        if moved {
            self.start = new_start;
            self.epochs_dirty |= self.epochs.truncate_from_start(new_start);
        }
        moved
    }

    /// Removes what retention gives up, oldest first: renamed now, unlinked by
    /// [`Self::empty_trash`]. Gives the base offsets of the segments removed.
    pub fn expire(
        &mut self,
        now_ms: i64,
        high_watermark: i64,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) -> Vec<i64> {
        self.expire_but(&Hold::NOTHING, now_ms, high_watermark, ids, out).removed
    }

    /// As [`Self::expire`], but for what is held. What lies below the log start goes all the same:
    /// nobody can read it any more.
    pub fn expire_but(
        &mut self,
        hold: &Hold,
        now_ms: i64,
        high_watermark: i64,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) -> Expired {
        if self.accepts_appends().is_err() || self.is_installing() {
            return Expired::default();
        }
        let (count, mut expired) = self.given_up(hold, now_ms, high_watermark);
        expired.more = count > REMOVED_AT_ONCE;
        let count = count.min(REMOVED_AT_ONCE);
        if count > 0 && count == self.segments.len() {
            // The last segment goes only after another took its place.
            self.roll(self.end, now_ms, ids, out);
        }
        let removed: Vec<Segment> = self.segments.drain(..count).collect();
        for segment in removed {
            expired.removed.push(segment.base);
            self.discard(segment, now_ms, out);
        }
        if let Some(first) = self.segments.first().filter(|_| count > 0) {
            let base = first.base;
            self.delete_records(base);
            let below = |offset: &&i64| **offset < base;
            let stale: Vec<i64> = self.snapshots.iter().filter(below).copied().collect();
            self.snapshots.retain(|offset| *offset >= base);
            for offset in stale {
                let path = segment::path(&self.dir, offset, "snapshot");
                self.commit.other(Op::RemoveFile { path }, out);
            }
        }
        expired
    }

    /// How many of the first segments go, and what of those behind them is held.
    fn given_up(&self, hold: &Hold, now_ms: i64, high_watermark: i64) -> (usize, Expired) {
        let (mut count, mut expired) = (0, Expired::default());
        // What the log takes once all before are gone, held ones included: they do not push out
        // what follows them.
        let mut size = self.size();
        for (index, segment) in self.segments.iter().enumerate() {
            let next = self.segments.get(index + 1).map(|next| next.base);
            let end = next.unwrap_or(self.end);
            // I1; and an empty active segment has nothing to give.
            if end > high_watermark || end > self.flushed() || (segment.size == 0 && next.is_none())
            {
                break;
            }
            let is_rolled = next.is_some();
            let rest = size.saturating_sub(segment.size);
            let is_below_start = is_rolled && end <= self.start;
            let config = &self.config;
            let limits = (config.retention_ms, config.retention_bytes);
            let is_due = config.delete && over(segment, rest, limits, now_ms).is_some();
            if !is_due && !is_below_start {
                break;
            }
            size = size.saturating_sub(segment.size);
            if expired.held_bytes == 0 {
                let bound = over(segment, rest, (hold.max_ms, hold.max_bytes), now_ms);
                // What compaction emptied has nothing that anybody could read.
                let is_read = is_below_start || segment.size == 0 || end <= hold.read_to;
                if is_read || bound.is_some() {
                    count += 1;
                    expired.over = expired.over.or(bound.filter(|_| !is_read));
                    continue;
                }
            }
            expired.held_bytes += segment.size;
            expired.held_end = end;
        }
        (count, expired)
    }

    fn discard(&mut self, segment: Segment, now_ms: i64, out: &mut Vec<Submission>) {
        if let Some(before) = self.discarded.take() {
            // I4. What is appended meanwhile waits for this one sync of the directory.
            self.commit.fence(vec![before]);
            let synced = self.commit.other(Op::SyncDir { path: self.dir.to_path_buf() }, out);
            self.commit.fence(vec![synced]);
        }
        let from = segment::path(&self.dir, segment.base, "log");
        let to = segment::path(&self.dir, segment.base, "log.deleted");
        let renamed = self.commit.other(Op::RenameFile { from, to: to.clone() }, out);
        self.discarded = Some(renamed);
        for extension in extensions_of(&segment) {
            let path = segment::path(&self.dir, segment.base, extension);
            self.commit.other(Op::RemoveFile { path }, out);
        }
        let due_ms = now_ms.saturating_add(self.config.file_delete_delay_ms);
        self.trash.push(Trash { due_ms, path: to, files: files_of(&segment) });
    }

    /// Unlinks segments discarded `file.delete.delay.ms` ago; gives how many.
    pub fn empty_trash(&mut self, now_ms: i64, out: &mut Vec<Submission>) -> usize {
        let (due, later): (Vec<_>, Vec<_>) =
            self.trash.drain(..).partition(|trash| trash.due_ms <= now_ms);
        self.trash = later;
        let count = due.len();
        for trash in due {
            trash.unlink(&mut self.commit, out);
        }
        count
    }

    /// Cuts the log so that it ends at `offset`, or at the start of the batch that holds it. All
    /// marks move back; producer state is rebuilt from the nearest snapshot. Below its start the
    /// log is emptied and begins at `offset`.
    ///
    /// Returns false, having done nothing, while writes are in flight: call again after the next
    /// completion. A recovery point above `offset` must not be left on disk: recovery would take
    /// the shorter log for a damaged one, so lower the checkpoint first.
    ///
    /// # Errors
    /// What is to be kept can't be read; the log is unchanged.
    pub fn truncate_to(
        &mut self,
        offset: i64,
        disk: &dyn Disk,
        out: &mut Vec<Submission>,
    ) -> Result<bool, StorageError> {
        if let Some(error) = self.commit.offline() {
            return Err(error.clone());
        }
        if offset >= self.end {
            return Ok(true);
        }
        if self.commit.has_writes_in_flight() || self.is_installing() {
            return Ok(false);
        }
        if offset < self.start || self.segments.first().is_none_or(|first| offset < first.base) {
            return Ok(self.reset_to(offset, out));
        }
        self.marks = Default::default();
        let keep = self.segments.partition_point(|segment| segment.base <= offset);
        let kept = &self.segments[keep - 1];
        // Within a batch there is no border to cut at: the whole batch goes, and comes again.
        let (kept, offset) = recover::rebuild(disk, &self.dir, kept, offset)?;
        let found = recover::producers(disk, &self.dir, &self.segments, &self.snapshots, offset)?;
        self.producers = found.producers;
        let removed: Vec<Segment> = self.segments.drain(keep..).collect();
        // What speaks of the whole segment must not outlive its end either.
        let filtered = self.segments.last().filter(|last| last.filter.file().is_some());
        let filter = filtered.map(|last| key_filter::path(&self.dir, last.base));
        self.remove_above(&removed, filter, offset, out);
        let active = self.segments.last_mut().expect("the segment found above");
        let before = std::mem::replace(active, kept);
        let (file, len, base) = (active.file, active.size, active.base);
        self.forget_indexing(base, out);
        let gone: Vec<FileId> = removed.iter().map(|segment| segment.file).collect();
        self.end = offset;
        self.generation += 1;
        // DeleteRecords may have put the start inside of the batch that went.
        self.start = self.start.min(offset);
        self.commit.truncate(Some((file, len)), &gone, offset, out);
        let closed = removed.iter().flat_map(files_of).chain(files_of(&before));
        for file in closed.filter(|closed| *closed != file) {
            self.commit.other(Op::Close { file }, out);
        }
        self.cut_epochs(offset, out);
        self.check();
        Ok(true)
    }

    /// Lets go of all files: the partition is gone, and its directory is about to be renamed and
    /// removed. Whatever was held back is never submitted; completions are for nobody.
    pub fn abandon(&mut self, out: &mut Vec<Submission>) {
        let segments = std::mem::take(&mut self.segments);
        let indexing = std::mem::take(&mut self.indexing);
        let installs = std::mem::take(&mut self.installs).into_iter();
        let mut trash = std::mem::take(&mut self.trash);
        trash.extend(installs.flat_map(Install::into_trash));
        let files = segments
            .iter()
            .flat_map(files_of)
            .chain(indexing.iter().flat_map(|(.., index)| [index.offsets, index.times]))
            .chain(trash.into_iter().flat_map(Trash::into_files));
        let close = |file| Submission { token: ABANDONED, op: Op::Close { file } };
        out.extend(files.map(close));
    }

    /// Empties the log, which then begins and ends at `offset`: a replica too far behind, or
    /// with nothing in common with its leader. False, and nothing done, while writes are in
    /// flight or if the log is offline.
    pub fn reset_to(&mut self, offset: i64, out: &mut Vec<Submission>) -> bool {
        let busy = self.commit.has_writes_in_flight() || self.is_installing();
        if busy || self.commit.offline().is_some() {
            return false;
        }
        self.marks = Default::default();
        let removed: Vec<Segment> = std::mem::take(&mut self.segments);
        self.remove_above(&removed, None, -1, out);
        self.forget_indexing(i64::MIN, out);
        for file in removed.iter().flat_map(files_of) {
            self.commit.other(Op::Close { file }, out);
        }
        self.commit.restart(offset);
        self.producers = Default::default();
        self.generation += 1;
        self.start = offset;
        self.end = offset;
        self.cut_epochs(i64::MIN, out);
        true
    }

    /// Index files of segments from `base` on are not to be used once they are there.
    fn forget_indexing(&mut self, base: i64, out: &mut Vec<Submission>) {
        let (gone, kept): (Vec<_>, Vec<_>) =
            self.indexing.drain(..).partition(|(_, of, _)| *of >= base);
        self.indexing = kept;
        for (_, _, index) in gone {
            self.close_index(index, out);
        }
    }

    fn cut_epochs(&mut self, end: i64, out: &mut Vec<Submission>) {
        self.epochs_dirty |= self.epochs.truncate_from_end(end);
        self.write_epochs(out);
    }

    /// Removes segments and snapshots above `offset`, and one more file, and holds everything else
    /// back until that is durable (I2).
    fn remove_above(
        &mut self,
        removed: &[Segment],
        also: Option<PathBuf>,
        offset: i64,
        out: &mut Vec<Submission>,
    ) {
        let mut paths = Vec::from_iter(also);
        // The newest first: what a crash leaves is a log without holes.
        for segment in removed.iter().rev() {
            for extension in ["log"].into_iter().chain(extensions_of(segment)) {
                paths.push(segment::path(&self.dir, segment.base, extension));
            }
        }
        for snapshot in self.snapshots.iter().filter(|snapshot| **snapshot > offset) {
            paths.push(segment::path(&self.dir, *snapshot, "snapshot"));
        }
        self.snapshots.retain(|snapshot| *snapshot <= offset);
        if paths.is_empty() {
            return;
        }
        let remove = |path| self.commit.other(Op::RemoveFile { path }, out);
        let tokens = paths.into_iter().map(remove).collect();
        self.commit.fence(tokens);
        let synced = self.commit.other(Op::SyncDir { path: self.dir.to_path_buf() }, out);
        self.commit.fence(vec![synced]);
    }
}

/// Which of two limits a segment is over, if it is: of the age of its records, or of the bytes
/// behind it. A negative limit is none.
fn over(segment: &Segment, rest: u64, limits: (i64, i64), now_ms: i64) -> Option<Bound> {
    let (max_ms, max_bytes) = limits;
    // Records without timestamps age from the segment's creation, if that was seen.
    let written_ms = match segment.max_timestamp {
        0.. => Some(segment.max_timestamp),
        _ => Some(segment.created_ms).filter(|created_ms| *created_ms > 0),
    };
    // What compaction emptied has no age any more, and must not keep what follows it.
    let old = segment.size == 0
        || written_ms.is_some_and(|written_ms| now_ms.saturating_sub(written_ms) > max_ms);
    if max_ms >= 0 && old {
        return Some(Bound::Time);
    }
    u64::try_from(max_bytes).is_ok_and(|max| rest >= max).then_some(Bound::Size)
}

pub(crate) fn files_of(segment: &Segment) -> Vec<FileId> {
    let mut files = vec![segment.file];
    if let Index::Disk(index) = &segment.index {
        files.extend([index.offsets, index.times]);
    }
    files.extend(segment.filter.file());
    files
}

/// The files beside a segment's own that go with it.
pub(crate) fn extensions_of(segment: &Segment) -> impl Iterator<Item = &'static str> {
    let filter = segment.filter.file().map(|_| key_filter::EXTENSION);
    ["index", "timeindex", "txnindex"].into_iter().chain(filter)
}

/// So many segments are removed at a time.
const REMOVED_AT_ONCE: usize = 16;
/// Names closings that nobody waits for.
pub(crate) const ABANDONED: Token = Token(u64::MAX - 1);
