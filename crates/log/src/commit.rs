//! From appended to durable: what was submitted, what completed, and what that makes of the
//! marks `written` and `flushed`.
//!
//! Owns tokens, the operations in flight, and the queue of those that must wait. Knows files and
//! offsets, not records. Invariants:
//! - I1: at most one sync per file is in flight; the next collects what completes meanwhile
//!   (group commit).
//! - I2: `flushed` passes a segment border only after the older file is synced to its end, and
//!   passes no barrier: an offset that waits for a name to be durable.
//! - I3: a sync covers what had completed when it was submitted; it never waits in the queue.
//! - I4: after an error nothing leaves any more.

use std::collections::{BTreeMap, VecDeque};

use crate::disk::{Completion, FileId, Op, StorageError, Submission, Token};
use crate::planted::{self, Bug};

/// Places in [`Commit::edges`].
const WRITTEN: usize = 0;
const SYNCED: usize = 1;

/// The state of a log's way to the disk.
#[derive(Debug)]
pub(crate) struct Commit {
    next_token: u64,
    /// Submitted or queued, not completed.
    pending: BTreeMap<Token, Pending>,
    queue: VecDeque<Step>,
    /// Writes in order of their offsets; the front ones that are done make up `written`.
    writes: VecDeque<WriteMark>,
    /// Files with unsynced bytes, by rising offset; the last is the active one.
    files: VecDeque<Dirty>,
    /// Where what is written ends, and what the last sync covered, if that is known.
    edges: [Option<Edge>; 2],
    written: i64,
    /// As far as files are synced without gap; `flushed` is this, held back by barriers.
    synced: i64,
    flushed: i64,
    flush_messages: u64,
    /// Sync at least up to here whatever `flush_messages` says.
    flush_to: i64,
    offline: Option<Box<StorageError>>,
    /// Where recovery had to begin when it went offline: what was to be settled never is.
    unsettled: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Write,
    Sync(FileId),
    Truncate(FileId),
    /// `flushed` may not pass this offset before it is done.
    Barrier(i64),
    /// Recovery must begin at this offset until it is done.
    Settle(i64),
    Other,
}

#[derive(Debug)]
enum Step {
    Submit(Submission),
    /// Waits until that rolled file is synced to its end.
    Durable(FileId),
    /// Waits for these before anything after it leaves.
    Fence(Vec<Token>),
}

/// The byte at which an offset begins, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edge {
    offset: i64,
    file: FileId,
    at: u64,
}

#[derive(Debug)]
struct WriteMark {
    token: Token,
    /// Where it ends.
    edge: Edge,
    done: bool,
}

#[derive(Debug)]
struct Dirty {
    file: FileId,
    /// The offset after its last record, once rolled.
    rolled_end: Option<i64>,
    written: i64,
    synced: i64,
    /// What the sync in flight (or queued) covers.
    sync: Option<i64>,
    /// Where what was written ended when that sync was submitted.
    edge: Option<Edge>,
    /// Truncations in flight, then waiting for a sync.
    truncating: u32,
    touched: bool,
}

impl Commit {
    /// Everything below `end` is durable.
    pub fn new(end: i64, flush_messages: u64) -> Self {
        Self {
            next_token: 0,
            pending: BTreeMap::new(),
            queue: VecDeque::new(),
            writes: VecDeque::new(),
            files: VecDeque::new(),
            edges: [None; 2],
            written: end,
            synced: end,
            flushed: end,
            flush_messages,
            flush_to: end,
            offline: None,
            unsettled: None,
        }
    }

    pub fn written(&self) -> i64 {
        self.written
    }

    pub fn flushed(&self) -> i64 {
        self.flushed
    }

    /// The byte of `file` at which `offset` begins, if that is where what is written or what is
    /// flushed ends.
    pub fn edge(&self, file: FileId, offset: i64) -> Option<u64> {
        let mut known = self.edges.iter().flatten();
        known.find(|edge| edge.file == file && edge.offset == offset).map(|edge| edge.at)
    }

    pub fn offline(&self) -> Option<&StorageError> {
        self.offline.as_deref()
    }

    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.queue.is_empty()
    }

    /// Gives back the memory of what is over; nothing may be under way.
    pub fn rest(&mut self) {
        assert!(self.is_idle(), "at rest with operations under way");
        (self.pending, self.queue) = (BTreeMap::new(), VecDeque::new());
        self.writes = VecDeque::new();
        // A file that is durable to its end comes back with its next write.
        let (written, flushed) = (self.written, self.flushed);
        let is_open = |dirty: &Dirty| written > flushed || dirty.touched || dirty.truncating > 0;
        self.files.retain(is_open);
        self.files.shrink_to_fit();
    }

    pub fn has_writes_in_flight(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Where recovery would have to begin: all below is durable with its indexes and snapshots.
    pub fn recovery_point(&self) -> i64 {
        let settling = self.pending.values().filter_map(|pending| match pending {
            Pending::Settle(offset) => Some(*offset),
            _ => None,
        });
        settling.chain(self.unsettled).fold(self.flushed, i64::min)
    }

    pub fn set_flush_messages(&mut self, flush_messages: u64) {
        self.flush_messages = flush_messages;
    }

    /// Submits an operation no mark depends on.
    pub fn other(&mut self, op: Op, out: &mut Vec<Submission>) -> Token {
        self.submit(op, Pending::Other, out)
    }

    /// Submits an operation before whose completion `flushed` may not pass `offset`.
    pub fn barrier(&mut self, op: Op, offset: i64, out: &mut Vec<Submission>) -> Token {
        self.submit(op, Pending::Barrier(offset), out)
    }

    /// Submits an operation before whose completion recovery must begin at `offset`.
    pub fn settle(&mut self, op: Op, offset: i64, out: &mut Vec<Submission>) -> Token {
        self.submit(op, Pending::Settle(offset), out)
    }

    /// Holds back whatever is submitted from now on until `tokens` completed.
    pub fn fence(&mut self, tokens: Vec<Token>) {
        let left: Vec<_> =
            tokens.into_iter().filter(|token| self.pending.contains_key(token)).collect();
        if !left.is_empty() {
            self.queue.push_back(Step::Fence(left));
        }
    }

    /// Holds back whatever is submitted from now on until `file`, just rolled, is durable.
    pub fn hold_until_durable(&mut self, file: FileId) {
        if is_waited_for(&self.files, file) {
            self.queue.push_back(Step::Durable(file));
        }
    }

    /// The active file from the log end `end` on; the one before it is rolled.
    pub fn start_file(&mut self, file: FileId, end: i64, out: &mut Vec<Submission>) {
        if let Some(last) = self.files.back_mut() {
            last.rolled_end = Some(last.rolled_end.unwrap_or(end));
            if planted::is(Bug::RollForgetsSync) {
                last.synced = last.written;
            }
        }
        self.files.push_back(Dirty::new(file, end));
        self.sync_where_due(out);
    }

    /// Writes records that end before offset `end` to the active file.
    pub fn write(
        &mut self,
        file: FileId,
        at: u64,
        parts: Vec<bytes::Bytes>,
        end: i64,
        out: &mut Vec<Submission>,
    ) {
        if self.files.back().is_none_or(|last| last.file != file) {
            self.files.push_back(Dirty::new(file, self.synced));
        }
        let bytes: usize = parts.iter().map(bytes::Bytes::len).sum();
        let edge = Edge { offset: end, file, at: at + bytes as u64 };
        let token = self.submit(Op::Write { file, at, parts }, Pending::Write, out);
        self.writes.push_back(WriteMark { token, edge, done: false });
    }

    /// Asks for everything appended so far to become durable.
    pub fn flush(&mut self, end: i64, out: &mut Vec<Submission>) {
        self.flush_to = self.flush_to.max(end);
        self.sync_where_due(out);
    }

    /// Moves all marks back to `end`, the offset at which `file` is cut to `len` bytes; files in
    /// `removed` are gone. No write may be in flight.
    pub fn truncate(
        &mut self,
        keep: Option<(FileId, u64)>,
        removed: &[FileId],
        end: i64,
        out: &mut Vec<Submission>,
    ) {
        assert!(self.writes.is_empty(), "truncation under a write in flight");
        self.files.retain(|dirty| !removed.contains(&dirty.file));
        for mark in [&mut self.written, &mut self.synced, &mut self.flushed, &mut self.flush_to] {
            *mark = end.min(*mark);
        }
        self.edges = [None; 2];
        for dirty in &mut self.files {
            dirty.written = dirty.written.min(end);
            dirty.synced = dirty.synced.min(end);
            dirty.sync = dirty.sync.map(|covers| covers.min(end));
            dirty.edge = None;
        }
        let Some((file, len)) = keep else { return };
        if self.files.back().is_none_or(|last| last.file != file) {
            self.files.push_back(Dirty::new(file, end));
        }
        if let Some(dirty) = self.files.back_mut() {
            dirty.rolled_end = None;
            dirty.truncating += 1;
        }
        self.submit(Op::Truncate { file, len }, Pending::Truncate(file), out);
    }

    /// Forgets everything: the log begins anew, empty, at `end`.
    pub fn restart(&mut self, end: i64) {
        assert!(self.writes.is_empty(), "restart under a write in flight");
        self.files.clear();
        self.edges = [None; 2];
        (self.written, self.synced, self.flushed, self.flush_to) = (end, end, end, end);
    }

    /// Takes completions that came together; true if a mark moved. A sync that they make due covers
    /// them all.
    ///
    /// # Errors
    /// A completion's, now or before (I4).
    pub fn complete(
        &mut self,
        completions: impl IntoIterator<Item = Completion>,
        out: &mut Vec<Submission>,
    ) -> Result<bool, StorageError> {
        let before = (self.written, self.flushed);
        let from = out.len();
        // What was submitted and failed has to be taken to its last, for the worst error.
        let taken = completions.into_iter().map(|completion| self.take(completion, out));
        let failed = taken.filter_map(Result::err).last();
        if let Some(error) = failed {
            // What others of these let go does not leave any more (I4), so nobody waits for it.
            for submission in out.drain(from..) {
                self.pending.remove(&submission.token);
            }
            return Err(error);
        }
        self.sync_where_due(out);
        self.advance();
        Ok(before != (self.written, self.flushed))
    }

    fn take(
        &mut self,
        completion: Completion,
        out: &mut Vec<Submission>,
    ) -> Result<(), StorageError> {
        let token = completion.token;
        if let Some(error) = &self.offline {
            self.pending.remove(&token);
            // A full disk must not hide that it fails in another way, too.
            if let Err(worse) = completion.result
                && error.is_full()
                && !worse.is_full()
            {
                self.offline = Some(Box::new(worse.clone()));
                return Err(worse);
            }
            return Err((**error).clone());
        }
        let counts = |error: &StorageError| planted::is(Bug::FullDiskCounts) && error.is_full();
        if let Err(error) = completion.result.or_else(|e| if counts(&e) { Ok(()) } else { Err(e) })
        {
            self.unsettled = Some(self.recovery_point());
            self.pending.remove(&token);
            self.offline = Some(Box::new(error.clone()));
            // What waits here never leaves (I4), so nobody waits for its end.
            for step in self.queue.drain(..) {
                if let Step::Submit(submission) = step {
                    self.pending.remove(&submission.token);
                }
            }
            return Err(error);
        }
        match self.pending.remove(&token) {
            Some(Pending::Write) => self.write_done(token),
            Some(Pending::Sync(file)) => self.sync_done(file),
            Some(Pending::Truncate(file)) => {
                if let Some(dirty) = self.files.iter_mut().find(|dirty| dirty.file == file) {
                    dirty.truncating -= 1;
                    dirty.touched = true;
                }
            }
            _ => {}
        }
        self.release(token, out);
        Ok(())
    }

    fn write_done(&mut self, token: Token) {
        if let Some(mark) = self.writes.iter_mut().find(|mark| mark.token == token) {
            mark.done = true;
        }
        while let Some(mark) = self.writes.pop_front_if(|mark| mark.done) {
            let Edge { file, offset, .. } = mark.edge;
            self.written = offset;
            self.edges[WRITTEN] = Some(mark.edge);
            if let Some(dirty) = self.files.iter_mut().find(|dirty| dirty.file == file) {
                dirty.written = offset;
            }
        }
    }

    fn sync_done(&mut self, file: FileId) {
        // A file removed by truncation is not there any more.
        let Some(dirty) = self.files.iter_mut().find(|dirty| dirty.file == file) else { return };
        if let Some(covered) = dirty.sync.take() {
            dirty.synced = dirty.synced.max(covered);
            self.edges[SYNCED] = dirty.edge;
            if planted::is(Bug::SyncCoversLaterWrites) {
                dirty.synced = dirty.written;
            }
        }
    }

    /// Raises `synced` over files synced to their end, then `flushed` up to the first barrier.
    fn advance(&mut self) {
        while let Some(first) = self.files.front() {
            self.synced = self.synced.max(first.synced);
            if !first.is_done() {
                break;
            }
            self.files.pop_front();
        }
        let barriers = self.pending.values().filter_map(|pending| match pending {
            Pending::Barrier(offset) => Some(*offset),
            _ => None,
        });
        self.flushed = self.flushed.max(barriers.fold(self.synced, i64::min));
    }

    fn sync_where_due(&mut self, out: &mut Vec<Submission>) {
        if self.offline.is_some() {
            return;
        }
        let due = self.files.iter().filter(|dirty| dirty.due(self.flush_messages, self.flush_to));
        let due: Vec<_> = due.map(|dirty| dirty.file).collect();
        // Not queued: a sync is about what completed, and no fence is about that.
        for file in due {
            self.submit_sync(file, out);
        }
    }

    fn submit_sync(&mut self, file: FileId, out: &mut Vec<Submission>) {
        let token = self.token();
        let Some(dirty) = self.files.iter_mut().find(|dirty| dirty.file == file) else { return };
        dirty.sync = Some(dirty.written);
        dirty.edge = self.edges[WRITTEN];
        dirty.touched = false;
        self.pending.insert(token, Pending::Sync(file));
        out.push(Submission { token, op: Op::Sync { file } });
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token - 1)
    }

    fn submit(&mut self, op: Op, pending: Pending, out: &mut Vec<Submission>) -> Token {
        let token = self.token();
        if self.offline.is_some() {
            return token;
        }
        self.pending.insert(token, pending);
        let submission = Submission { token, op };
        if self.queue.is_empty() {
            out.push(submission);
        } else {
            self.queue.push_back(Step::Submit(submission));
        }
        token
    }

    /// Lets what waited only for `token` go, up to the next fence.
    fn release(&mut self, token: Token, out: &mut Vec<Submission>) {
        for step in &mut self.queue {
            if let Step::Fence(tokens) = step {
                tokens.retain(|waited| *waited != token);
            }
        }
        let files = &self.files;
        let open = |step: &mut Step| match step {
            Step::Submit(_) => true,
            Step::Durable(file) => !is_waited_for(files, *file),
            Step::Fence(tokens) => tokens.is_empty(),
        };
        while let Some(step) = self.queue.pop_front_if(open) {
            if let Step::Submit(submission) = step {
                out.push(submission);
            }
        }
    }
}

/// True if the file is not yet synced to the end it was rolled at. A truncation may have made
/// it the active one again; then there is no end to wait for.
fn is_waited_for(files: &VecDeque<Dirty>, file: FileId) -> bool {
    let waited = |dirty: &Dirty| dirty.rolled_end.is_some() && !dirty.is_done();
    files.iter().any(|dirty| dirty.file == file && waited(dirty))
}

impl Dirty {
    fn is_done(&self) -> bool {
        let quiet = self.sync.is_none() && self.truncating == 0 && !self.touched;
        quiet && self.rolled_end.is_some_and(|end| self.synced >= end)
    }

    fn new(file: FileId, from: i64) -> Self {
        Self {
            file,
            rolled_end: None,
            written: from,
            synced: from,
            sync: None,
            edge: None,
            truncating: 0,
            touched: false,
        }
    }

    fn due(&self, flush_messages: u64, flush_to: i64) -> bool {
        if self.sync.is_some() || self.truncating > 0 {
            return false;
        }
        let unsynced = self.written.saturating_sub(self.synced);
        let by_count = unsynced > 0 && unsynced as u64 >= flush_messages;
        let asked = unsynced > 0 && self.synced < flush_to;
        let rolled = unsynced > 0 && self.rolled_end == Some(self.written);
        self.touched || by_count || asked || rolled
    }
}
