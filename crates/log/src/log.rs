//! The log itself: its parts, its marks, rolling, flushing, closing.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use wire::Uuid;
use wire::batch::BatchHeader;
use wire::files::{
    AbortedTxn, PartitionMetadata, render_epochs, render_partition_metadata, render_producers,
};

use crate::clean::Install;
use crate::commit::Commit;
use crate::disk::{Completion, FileIds, Op, StorageError, Submission, Token};
use crate::epochs::Epochs;
use crate::error::AppendError;
use crate::mark::Marks;
use crate::planted::{self, Bug};
use crate::producers::Producers;
use crate::retention::{Trash, files_of};
use crate::segment::{self, DiskIndex, Index, Segment};
use crate::{FileId, LogConfig};

/// One partition's log; see the crate for the rules.
///
/// `append_*`, `truncate_to`, `roll`, `expire`, `flush` and `close` are orders: they change the
/// state at once and push submissions. [`Self::on_completion`] is how the disk answers; it may
/// push more. `plan_*` and the accessors only look.
#[derive(Debug)]
pub struct Log {
    pub(crate) dir: Arc<Path>,
    pub(crate) topic_id: Option<Uuid>,
    /// Shared by the logs of a topic.
    pub(crate) config: Arc<LogConfig>,
    /// By rising base offset; the last is active. Empty until the first append.
    pub(crate) segments: Vec<Segment>,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) epochs: Epochs,
    /// The checkpoint file does not say what `epochs` says.
    pub(crate) epochs_dirty: bool,
    pub(crate) producers: Producers,
    /// Offsets of the snapshot files there are (or will be), rising.
    pub(crate) snapshots: Vec<i64>,
    pub(crate) commit: Commit,
    /// Rolled segments whose index files are on their way to the disk.
    pub(crate) indexing: Vec<(Token, i64, DiskIndex)>,
    pub(crate) trash: Vec<Trash>,
    pub(crate) marks: Marks,
    /// The last segment removed from the front: its new name may not be durable.
    pub(crate) discarded: Option<Token>,
    /// Cleaned segments on their way to their names.
    pub(crate) installs: VecDeque<Install>,
    /// How often the history was cut.
    pub(crate) generation: u64,
    /// The file that space was set aside for, and up to where.
    reserved: Option<(FileId, u64)>,
    closing: Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    /// Everything appended becomes durable first.
    Flushing,
    /// Indexes, snapshot and epochs are being written.
    Finishing,
}

/// What a completion changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything below was written.
    pub written: i64,
    /// Everything below is durable.
    pub flushed: i64,
    /// One of the two is new.
    pub moved: bool,
    /// [`Log::close`] is done.
    pub closed: bool,
}

impl Log {
    /// A new log in directory `path`, made here with its `partition.metadata`. No other file
    /// is made before the first append.
    pub fn create(
        path: &Path,
        topic_id: Uuid,
        config: impl Into<Arc<LogConfig>>,
        out: &mut Vec<Submission>,
    ) -> Self {
        let mut log = Self::at(path, config.into(), 0);
        log.topic_id = Some(topic_id);
        let made = log.commit.other(Op::CreateDir { path: path.to_owned() }, out);
        log.commit.fence(vec![made]);
        let metadata = render_partition_metadata(&PartitionMetadata { topic_id });
        let metadata_path = path.join("partition.metadata");
        let replace = Op::Replace { path: metadata_path, bytes: metadata.into() };
        log.commit.barrier(replace, 0, out);
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        log.commit.barrier(Op::SyncDir { path: parent }, 0, out);
        log
    }

    /// An empty log that begins and ends at `end`, all of it durable.
    pub(crate) fn at(path: &Path, config: Arc<LogConfig>, end: i64) -> Self {
        Self {
            dir: path.into(),
            topic_id: None,
            commit: Commit::new(end, config.flush_messages),
            config,
            segments: Vec::new(),
            start: end,
            end,
            epochs: Epochs::default(),
            epochs_dirty: false,
            producers: Producers::default(),
            snapshots: Vec::new(),
            indexing: Vec::new(),
            trash: Vec::new(),
            marks: Marks::default(),
            discarded: None,
            installs: VecDeque::new(),
            generation: 0,
            reserved: None,
            closing: Closing::No,
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The topic, if `partition.metadata` told.
    pub fn topic_id(&self) -> Option<Uuid> {
        self.topic_id
    }

    /// Settings in force, to be shared with logs that have the same.
    pub fn config(&self) -> &Arc<LogConfig> {
        &self.config
    }

    /// Changes settings from here on.
    pub fn set_config(&mut self, config: impl Into<Arc<LogConfig>>) {
        let config = config.into();
        self.commit.set_flush_messages(config.flush_messages);
        self.config = config;
    }

    /// Log start offset: the first that may be read.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Log end offset: the next to be assigned.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Everything below was written and can be read.
    pub fn written(&self) -> i64 {
        self.commit.written()
    }

    /// Everything below survives a power cut.
    pub fn flushed(&self) -> i64 {
        self.commit.flushed()
    }

    /// What `recovery-point-offset-checkpoint` may say: recovery from there finds everything.
    pub fn recovery_point(&self) -> i64 {
        self.commit.recovery_point()
    }

    /// Bytes in all segments.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Base offsets of the segments, rising.
    pub fn segment_bases(&self) -> Vec<i64> {
        self.segments.iter().map(|segment| segment.base).collect()
    }

    /// Leader epochs.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Producer state.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// The error that took the log offline.
    pub fn offline(&self) -> Option<&StorageError> {
        self.commit.offline()
    }

    /// True if nothing that was submitted is under way.
    pub fn is_idle(&self) -> bool {
        self.commit.is_idle()
    }

    /// Sets space aside for the active segment to grow by `bytes`, and again when half of that is
    /// used up: a full disk does not keep it from growing then.
    pub fn reserve(&mut self, bytes: u64, out: &mut Vec<Submission>) {
        let Some(active) = self.segments.last().filter(|_| self.accepts_appends().is_ok()) else {
            return;
        };
        let (file, size) = (active.file, active.size);
        let reserved = self.reserved.filter(|(of, _)| *of == file).map_or(0, |(_, upto)| upto);
        if reserved < size + bytes / 2 {
            let upto = size + bytes;
            self.reserved = Some((file, upto));
            self.commit.other(Op::Reserve { file, upto }, out);
        }
    }

    /// The largest epoch not above `epoch` and where it ends (KIP-101); (-1, -1) if unknown.
    pub fn offset_for_leader_epoch(&self, epoch: i32) -> (i32, i64) {
        self.epochs.end_offset_for(epoch, self.end)
    }

    /// Records that this node leads in `epoch` from the end of the log on.
    pub fn assign_epoch(&mut self, epoch: i32) {
        self.epochs_dirty |= self.epochs.assign(epoch, self.end);
    }

    /// Where readers of committed data stop: the high watermark, or the first offset of a
    /// transaction not yet decided below it, as far as that is still there.
    pub fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        let unstable = self.producers.first_unstable_offset();
        unstable.map_or(high_watermark, |offset| offset.max(self.start).min(high_watermark))
    }

    /// Tells the log that its high watermark rose: decided transactions below it are stable.
    pub fn on_high_watermark(&mut self, high_watermark: i64) {
        self.producers.on_high_watermark(high_watermark);
    }

    /// Forgets idle producers.
    pub fn expire_producers(&mut self, now_ms: i64) {
        self.producers.expire(now_ms, self.config.producer_id_expiration_ms);
    }

    /// Aborted transactions with records in `from..upto`, for a fetch of committed data.
    pub fn aborted_transactions(&self, from: i64, upto: i64) -> Vec<AbortedTxn> {
        let overlaps = |txn: &&AbortedTxn| txn.last_offset >= from && txn.first_offset < upto;
        // A marker may be in a later segment than its records.
        let after = self.segments.partition_point(|segment| segment.base <= from);
        let from_here = self.segments.iter().skip(after.saturating_sub(1));
        from_here.flat_map(|segment| &segment.aborted).filter(overlaps).copied().collect()
    }

    /// Takes the disk's answer to a submission of this log.
    ///
    /// # Errors
    /// The first error of the disk, from now on: the log is offline.
    pub fn on_completion(
        &mut self,
        completion: Completion,
        out: &mut Vec<Submission>,
    ) -> Result<Progress, StorageError> {
        self.on_completions(vec![completion], out)
    }

    /// Takes the disk's answers to submissions of this log that came together: one sync makes them
    /// durable.
    ///
    /// # Errors
    /// The first error of the disk, from now on: the log is offline.
    pub fn on_completions(
        &mut self,
        completions: Vec<Completion>,
        out: &mut Vec<Submission>,
    ) -> Result<Progress, StorageError> {
        let tokens: Vec<Token> = completions.iter().map(|completion| completion.token).collect();
        let moved = self.commit.complete(completions, out)?;
        for token in tokens {
            self.marks.complete(token, self.commit.flushed());
            if let Some(found) = self.indexing.iter().position(|(last, ..)| *last == token) {
                let (_, base, index) = self.indexing.swap_remove(found);
                match self.segments.iter_mut().find(|segment| segment.base == base) {
                    Some(segment) => segment.index = Index::Disk(index),
                    // Retention was faster.
                    None => self.close_index(index, out),
                }
            }
            self.continue_installing(Some(token), out);
        }
        self.continue_closing(out);
        self.check();
        Ok(Progress {
            written: self.written(),
            flushed: self.flushed(),
            moved,
            closed: self.is_closed(),
        })
    }

    pub(crate) fn close_index(&mut self, index: DiskIndex, out: &mut Vec<Submission>) {
        for file in [index.offsets, index.times] {
            self.commit.other(Op::Close { file }, out);
        }
    }

    /// Asks for everything appended so far to become durable: `flush.ms`, or a replica's commit.
    pub fn flush(&mut self, out: &mut Vec<Submission>) {
        self.commit.flush(self.end, out);
    }

    /// Writes the leader epoch checkpoint if it is stale. Recovery finds the epochs of records in
    /// the last segment by itself, so this is for rolls, closing, and idle times.
    /// Gives what it submitted.
    pub fn write_epochs(&mut self, out: &mut Vec<Submission>) -> Option<Token> {
        self.epochs_dirty.then(|| self.settle_epochs(self.last_of_active(), out))
    }

    /// Where recovery has to begin to walk the active segment, if it is followed by another one
    /// meanwhile. It walks all of a segment whatever offset of it that is; but it takes what is bad
    /// below it for damage and above it for a write that was torn, so the segment's base would give
    /// up what is durable.
    fn last_of_active(&self) -> i64 {
        let base = self.segments.last().map_or(self.start, |segment| segment.base);
        base.max(self.end - 1)
    }

    fn settle_epochs(&mut self, recover_from: i64, out: &mut Vec<Submission>) -> Token {
        let path = self.dir.join("leader-epoch-checkpoint");
        let bytes = Bytes::from(render_epochs(self.epochs.entries()));
        self.epochs_dirty = false;
        self.commit.settle(Op::Replace { path, bytes }, recover_from, out)
    }

    /// Gives back the memory of what is over, if nothing is under way; false if something is.
    pub fn rest(&mut self) -> bool {
        // What is offline waits for another log in its place, or for the next start.
        let online = self.commit.offline().is_none();
        let quiet = online && self.commit.is_idle() && self.written() == self.end;
        if quiet {
            self.commit.rest();
            self.segments.shrink_to_fit();
            self.snapshots.shrink_to_fit();
            self.epochs.shrink();
            self.producers.shrink();
            (self.indexing, self.installs) = (Vec::new(), VecDeque::new());
            self.trash.shrink_to_fit();
        }
        quiet
    }

    /// Stops cleanly: no append is accepted any more; everything becomes durable, then indexes,
    /// producer snapshot and epochs are written and the files closed. A log with nothing to write
    /// is closed at once: look at [`Self::is_closed`] before waiting for a completion.
    pub fn close(&mut self, out: &mut Vec<Submission>) {
        if self.closing == Closing::No {
            self.closing = Closing::Flushing;
            self.flush(out);
            self.continue_closing(out);
        }
    }

    /// True once [`Self::close`] is done.
    pub fn is_closed(&self) -> bool {
        self.closing == Closing::Finishing && self.commit.is_idle()
    }

    fn continue_closing(&mut self, out: &mut Vec<Submission>) {
        // Idle, too: a file with a sync in flight must not be closed.
        let durable = self.flushed() == self.end && self.commit.is_idle();
        if self.closing != Closing::Flushing || !durable {
            return;
        }
        self.closing = Closing::Finishing;
        // A log that nothing was appended to since they were written has its files.
        let written =
            self.is_marked() && self.marks.is_exact() && self.snapshots.last() == Some(&self.end);
        if let Some(active) = self.segments.last_mut().filter(|_| !written) {
            active.note_time();
            let base = active.base;
            let recover_from = Some(self.last_of_active());
            self.write_indexes(base, recover_from, out);
            self.write_snapshot(recover_from, out);
        }
        self.write_epochs(out);
        for trash in std::mem::take(&mut self.trash) {
            trash.unlink(&mut self.commit, out);
        }
        for file in self.segments.iter().flat_map(files_of) {
            self.commit.other(Op::Close { file }, out);
        }
    }

    pub(crate) fn accepts_appends(&self) -> Result<(), AppendError> {
        match (self.commit.offline(), self.closing) {
            (Some(error), _) => Err(error.clone().into()),
            (None, Closing::No) => Ok(()),
            (None, _) => Err(AppendError::Closed),
        }
    }

    pub(crate) fn is_full_for(&self, header: &BatchHeader, now_ms: i64) -> bool {
        let full = |active: &Segment| active.is_full_for(header, &self.config, now_ms);
        self.segments.last().is_none_or(full)
    }

    pub(crate) fn roll_if_full(
        &mut self,
        header: &BatchHeader,
        now_ms: i64,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) {
        if self.is_full_for(header, now_ms) {
            // Segments follow one another without a hole, so that recovery can tell one; only an
            // offset too far for the index begins a segment further on.
            let far = header.last_offset() - self.end > i64::from(i32::MAX);
            let base = if far { header.base_offset } else { self.end };
            self.roll(base, now_ms, ids, out);
        }
    }

    /// Ends the active segment and begins one at `base`, which is the end of the log or, on a
    /// replica, beyond it. The older file's indexes and the producer state at the border are
    /// written, and it is synced; its handle stays for readers.
    pub(crate) fn roll(
        &mut self,
        base: i64,
        now_ms: i64,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) {
        let recover_from = self.last_of_active();
        if let Some(active) = self.segments.last_mut() {
            active.note_time();
            let old = active.base;
            let entries = active.index_entries();
            self.write_indexes(old, Some(recover_from), out);
            if self.epochs_dirty {
                self.settle_epochs(recover_from, out);
            }
            self.write_snapshot(Some(recover_from), out);
            if let Some((offset_entries, time_entries)) = entries {
                self.open_indexes(old, offset_entries, time_entries, ids, out);
            }
        }
        let file = ids.allocate();
        self.commit.start_file(file, self.end, out);
        // A crash must not leave the new segment without the end of the one before it. Recovery
        // sees such a hole and cuts there, but not where compaction makes holes itself; and where
        // every record is synced anyway, waiting costs nothing.
        let ordered = self.config.compact || self.config.flush_messages < u64::MAX;
        if let Some(older) = self.segments.last().filter(|_| ordered) {
            self.commit.hold_until_durable(older.file);
        }
        let path = segment::path(&self.dir, base, "log");
        let created = self.commit.other(Op::Create { file, path }, out);
        // The name must be there before the directory's sync can cover it.
        self.commit.fence(vec![created]);
        if !planted::is(Bug::SegmentNameNotSynced) {
            let sync = Op::SyncDir { path: self.dir.to_path_buf() };
            self.commit.barrier(sync, self.end, out);
        }
        self.segments.push(Segment::new(base, file, now_ms));
    }

    /// Writes the index files of the segment at `base`, unless they are on disk already; before
    /// they are, recovery has to begin at `recover_from`, if that is given. Gives what it
    /// submitted.
    pub(crate) fn write_indexes(
        &mut self,
        base: i64,
        recover_from: Option<i64>,
        out: &mut Vec<Submission>,
    ) -> Vec<Token> {
        let segment = self.segments.iter().find(|segment| segment.base == base);
        let Some((segment, (offsets, times))) =
            segment.and_then(|segment| Some((segment, segment.index_bytes()?)))
        else {
            return Vec::new();
        };
        let aborted: Vec<u8> = segment.aborted.iter().flat_map(|txn| txn.to_bytes()).collect();
        let mut files = vec![("index", offsets), ("timeindex", times)];
        let mut tokens = Vec::new();
        if aborted.is_empty() {
            // One may be there of records that a cut of the power took.
            let path = segment::path(&self.dir, base, "txnindex");
            tokens.push(self.commit.other(Op::RemoveFile { path }, out));
        } else {
            files.push(("txnindex", aborted.into()));
        }
        let submit = |(extension, bytes)| {
            let path = segment::path(&self.dir, base, extension);
            self.replace(path, bytes, recover_from, out)
        };
        tokens.extend(files.into_iter().map(submit));
        tokens
    }

    fn open_indexes(
        &mut self,
        base: i64,
        offset_entries: u64,
        time_entries: u64,
        ids: &mut FileIds,
        out: &mut Vec<Submission>,
    ) {
        let (offsets, times) = (ids.allocate(), ids.allocate());
        let open = |file: FileId, extension| Op::OpenExisting {
            file,
            path: segment::path(&self.dir, base, extension),
        };
        let ops = [open(offsets, "index"), open(times, "timeindex")];
        let tokens = ops.map(|op| self.commit.other(op, out));
        // Completions may come in any order, but paths run in theirs (D1): once the second is
        // done, the first and the files' replacement are, too.
        let index = DiskIndex { offsets, offset_entries, times, time_entries };
        self.indexing.push((tokens[1], base, index));
    }

    fn replace(
        &mut self,
        path: PathBuf,
        bytes: Bytes,
        recover_from: Option<i64>,
        out: &mut Vec<Submission>,
    ) -> Token {
        let op = Op::Replace { path, bytes };
        match recover_from {
            Some(offset) => self.commit.settle(op, offset, out),
            None => self.commit.other(op, out),
        }
    }

    /// Writes the producer state at the end of the log; `recover_from` and what it gives are as
    /// with [`Self::write_indexes`].
    pub(crate) fn write_snapshot(
        &mut self,
        recover_from: Option<i64>,
        out: &mut Vec<Submission>,
    ) -> Token {
        let path = segment::path(&self.dir, self.end, "snapshot");
        let bytes = render_producers(&self.producers.entries());
        if self.snapshots.last() != Some(&self.end) {
            self.snapshots.push(self.end);
        }
        self.replace(path, bytes, recover_from, out)
    }

    /// Asserts I1 of the crate.
    pub(crate) fn check(&self) {
        let (written, flushed) = (self.written(), self.flushed());
        assert!(
            flushed <= written && written <= self.end && self.start <= self.end,
            "marks out of order: start {} flushed {flushed} written {written} end {}",
            self.start,
            self.end
        );
    }
}
