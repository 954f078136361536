//! Marks: how far recovery need not read, so that its cost depends on what came since, not on how
//! large segments are.
//!
//! A log writes what its last segment's indexes, epochs and producers say as far as the log goes,
//! as it does when it is closed; once that is there, and the records, too, the mark of that place
//! may go to `recovery-marks`. A kill leaves segments whose marks are older than their ends:
//! recovery looks at the batch before the mark and takes the rest of what is before it from those
//! files.
//!
//! Owns what a mark says and whether it may be told. Invariants:
//! - I1: a mark is told only when all below it is durable and all its files are.
//! - I2: a mark that what is on disk does not bear out is as good as none: the segment is walked.

use wire::files::RecoveryMark;

use crate::disk::{Op, Submission, Token};
use crate::log::Log;
use crate::segment::{self, Segment};

/// A log's marks.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// What it speaks of and its files are on disk.
    set: Option<RecoveryMark>,
    /// Its files say that and nothing more.
    exact: bool,
    /// The offset of the one before, which may be what is written down still.
    before: Option<i64>,
    /// What waits for its files, and for its records to be durable.
    coming: Option<Box<(Vec<Token>, RecoveryMark)>>,
}

impl Marks {
    /// As a log begins that was just opened.
    pub fn of(set: Option<RecoveryMark>, exact: bool) -> Self {
        Self { set, exact, before: None, coming: None }
    }

    /// True if the files of the mark say what is before it and nothing more.
    pub fn is_exact(&self) -> bool {
        self.exact && self.coming.is_none()
    }

    /// Forgets the mark of segments that are no more what they were.
    pub fn forget(&mut self, is_other: impl Fn(i64) -> bool) {
        self.set = self.set.filter(|mark| !is_other(mark.base));
        self.coming = self.coming.take().filter(|coming| !is_other(coming.1.base));
    }

    /// Takes note that a submission ended, and how far the log is durable now.
    pub fn complete(&mut self, token: Token, flushed: i64) {
        if let Some((tokens, mark)) = self.coming.as_deref_mut() {
            tokens.retain(|waited| *waited != token);
            if tokens.is_empty() && mark.offset <= flushed {
                self.before = self.set.map(|before| before.offset);
                self.set = Some(*mark);
                self.exact = true;
                self.coming = None;
            }
        }
    }
}

impl Log {
    /// The mark that may be told (I1).
    pub fn mark(&self) -> Option<RecoveryMark> {
        let durable = |mark: &RecoveryMark| mark.offset <= self.flushed();
        let there = |mark: &RecoveryMark| self.segments.iter().any(|s| s.base == mark.base);
        self.marks.set.filter(|mark| durable(mark) && there(mark))
    }

    /// True while the files of a mark are being written, or its records.
    pub fn is_marking(&self) -> bool {
        self.marks.coming.is_some()
    }

    /// Bytes that recovery would read if the process died now, `recovery_point` being the one that
    /// was checkpointed.
    pub fn recovery_bytes(&self, recovery_point: i64) -> u64 {
        let mut next = i64::MAX;
        let mut bytes = 0;
        for segment in self.segments.iter().rev() {
            if next <= recovery_point {
                break;
            }
            let known = self.marks.set.filter(|mark| mark.base == segment.base);
            bytes += segment.size.saturating_sub(known.map_or(0, |mark| mark.position));
            next = segment.base;
        }
        bytes
    }

    /// Writes the files of a mark at the end of the log, unless it has one or that is under way.
    pub fn write_mark(&mut self, out: &mut Vec<Submission>) {
        if self.accepts_appends().is_err() || self.marks.coming.is_some() || self.is_marked() {
            return;
        }
        let Some(active) = self.segments.last_mut().filter(|active| active.size > 0) else {
            return;
        };
        active.note_time();
        let base = active.base;
        let (mark, end) = (mark_at(&self.segments, self.end), self.end);
        let Some(mark) = mark else { return };
        let mut tokens = self.write_indexes(base, None, out);
        tokens.extend(self.write_epochs(out));
        tokens.push(self.write_snapshot(None, out));
        self.marks.coming = Some(Box::new((tokens, mark)));
        // Of snapshots within segments, the new one is needed, and those that may be told of.
        let told = [self.marks.set.map(|mark| mark.offset), self.marks.before];
        let needed = |offset: i64| {
            offset == end
                || told.contains(&Some(offset))
                || self.segments.iter().any(|s| s.base == offset)
        };
        let (kept, stale) = self.snapshots.iter().copied().partition(|offset| needed(*offset));
        self.snapshots = kept;
        let stale: Vec<i64> = stale;
        for offset in stale {
            let path = segment::path(&self.dir, offset, "snapshot");
            self.commit.other(Op::RemoveFile { path }, out);
        }
    }

    /// True if the files of a mark say all there is to say of the log.
    pub(crate) fn is_marked(&self) -> bool {
        let (Some(mark), Some(active)) = (self.marks.set, self.segments.last()) else {
            return false;
        };
        mark.base == active.base && mark.offset == self.end && !self.epochs_dirty
    }
}

/// The mark of a log whose files say all of it.
pub(crate) fn mark_at(segments: &[Segment], end: i64) -> Option<RecoveryMark> {
    let active = segments.last().filter(|active| active.size > active.tail.0)?;
    Some(RecoveryMark {
        base: active.base,
        offset: end,
        position: active.size,
        tail_position: active.tail.0,
        tail_crc: active.tail.1,
        max_timestamp: active.max_timestamp,
        max_timestamp_offset: active.max_timestamp_offset,
        epoch: active.tail.2,
        aborted: active.aborted.len() as u32,
    })
}
