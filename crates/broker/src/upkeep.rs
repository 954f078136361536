//! What a node does from time to time: checkpoints, retention, snapshots, late syncs. (Compaction
//! has a home of its own, `cleaner`.)
//!
//! Most partitions are idle most of the time, so the frequent looks are at those only that are
//! *awake*: something was done to their log since it was last found at rest. What others would add
//! to a sum is remembered. Retention has to look at all; it does so some at a time, and lets the
//! node answer in between.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ottla_log::Hold;
use ottla_log::disk::{Completion, Op, Submission, Token};
use wire::Bytes;
use wire::files::{OffsetEntry, render_marks, render_offsets};

use crate::cleaner::CLEANER_POINTS;
use crate::event::{Effect, Lane, Now};
use crate::metadata_log::{SNAPSHOT_TOKEN, SnapshotRules};
use crate::node::{CHECKPOINT_LANE, METADATA_LANE, Node, SNAPSHOT_LANE, submit};
use crate::partition::Partition;
use crate::progress;

/// The file that says from where on recovery looks.
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// The file that says where logs begin whose first records were deleted.
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";

/// The file, of our own, that says how much of a segment recovery need not read.
pub const RECOVERY_MARKS: &str = "recovery-marks";

/// When what is due, on the steady clock.
#[derive(Debug)]
pub struct Upkeep {
    next_checkpoint_ms: i64,
    next_retention_ms: i64,
    next_flush_ms: i64,
    next_marks_ms: i64,
    marks_every_ms: i64,
    /// What the checkpoint files hold, by path.
    written: BTreeMap<PathBuf, Bytes>,
    /// With so much more to be read by recovery, logs are marked.
    recovery_bytes_max: u64,
    /// Checkpoint files submitted so far: their tokens.
    submitted: u64,
    /// Those of them that are not written yet.
    under_way: BTreeSet<u64>,
    /// A file could not be written: all are, once more, and until then no name is free.
    failed: bool,
    /// What the files hold may not be true any more.
    changed: bool,
    /// Names wait for files that do not hold them; they are written once none is being written.
    wanted: bool,
    /// Partitions that are not at rest.
    awake: Vec<Lane>,
    /// What recovery would read of all partitions, and of how many.
    unmarked_bytes: u64,
    unmarked_logs: u64,
    /// A look at all partitions that is not through yet.
    retaining: Option<Retaining>,
}

/// How far retention has come in its look at all partitions.
#[derive(Debug, Default)]
struct Retaining {
    from: Option<Lane>,
    /// Those that keep records for consumer groups.
    held: BTreeSet<Lane>,
    /// One of them has more to give up than could be at once.
    again: bool,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            next_checkpoint_ms: i64::MAX,
            next_retention_ms: i64::MAX,
            next_flush_ms: FLUSH_EVERY_MS,
            next_marks_ms: MARKS_EVERY_MS,
            marks_every_ms: MARKS_EVERY_MS,
            recovery_bytes_max: RECOVERY_BYTES_MAX,
            written: BTreeMap::new(),
            submitted: 0,
            under_way: BTreeSet::new(),
            failed: false,
            changed: true,
            wanted: false,
            awake: Vec::new(),
            unmarked_bytes: 0,
            unmarked_logs: 0,
            retaining: None,
        }
    }
}

impl Upkeep {
    /// When something is due.
    pub fn next_ms(&self) -> i64 {
        let soon = self.next_checkpoint_ms.min(self.next_marks_ms);
        soon.min(self.next_retention_ms).min(self.next_flush_ms)
    }
}

impl Upkeep {
    /// True if the checkpoint file of that number is on disk.
    pub fn is_written(&self, number: u64) -> bool {
        !self.failed && self.ended() >= number
    }

    /// All files up to this token are written. Those of different directories end in any order.
    fn ended(&self) -> u64 {
        self.under_way.first().map_or(self.submitted, |first| first - 1)
    }

    /// A checkpoint file should say something else.
    pub(crate) fn note_change(&mut self) {
        self.changed = true;
    }

    /// Names are free when the checkpoint files were written once more.
    pub(crate) fn want_checkpoints(&mut self) {
        (self.changed, self.wanted) = (true, true);
    }

    /// Something is done to the log of a partition: it is looked at until it is at rest again.
    pub(crate) fn wake(&mut self, lane: Lane, partition: &mut Partition, now: Now) {
        self.changed = true;
        if self.rouse(lane, partition) && partition.config.flush_ms < i64::MAX {
            let soon = now.steady_ms + FLUSH_EVERY_MS;
            self.next_flush_ms = self.next_flush_ms.min(soon);
        }
    }

    /// False if it was awake before.
    pub(crate) fn rouse(&mut self, lane: Lane, partition: &mut Partition) -> bool {
        let slept = !std::mem::replace(&mut partition.awake, true);
        if slept {
            self.awake.push(lane);
        }
        slept
    }

    /// Takes what is known of a partition out of the sums, before it is known anew or gone.
    pub(crate) fn forget_unmarked(&mut self, partition: &mut Partition) {
        let bytes = std::mem::take(&mut partition.unmarked_bytes);
        self.unmarked_bytes -= bytes;
        self.unmarked_logs -= u64::from(bytes > 0);
    }

    /// Topics may have another `flush.ms`.
    pub(crate) fn look_for_late(&mut self) {
        self.next_flush_ms = 0;
    }
}

impl Node {
    /// Lets recovery read at most about `bytes`, and looks every `every_ms` whether it would read
    /// more: for tests, whose logs are small and whose lives are short.
    pub fn limit_recovery(&mut self, bytes: u64, every_ms: i64) {
        self.upkeep.recovery_bytes_max = bytes;
        self.upkeep.marks_every_ms = every_ms;
        self.upkeep.next_marks_ms = 0;
    }

    /// Does what is due.
    pub(crate) fn keep_up(&mut self, now: Now, out: &mut Vec<Effect>) {
        if now.steady_ms >= self.upkeep.next_marks_ms {
            let every = self.upkeep.marks_every_ms;
            self.upkeep.next_marks_ms = now.steady_ms + every;
            self.look_at_awake();
            if self.mark_logs(out) {
                // The files of marks take a while; only then are they worth telling of.
                let soon = now.steady_ms + every / 2;
                self.upkeep.next_checkpoint_ms = self.upkeep.next_checkpoint_ms.min(soon);
            }
        }
        if now.steady_ms >= self.upkeep.next_checkpoint_ms {
            let marking = self.upkeep.awake.iter().any(|lane| {
                self.partitions.get(lane).is_some_and(|partition| partition.log.is_marking())
            });
            let every = if marking { MARKS_EVERY_MS } else { CHECKPOINT_EVERY_MS };
            self.upkeep.next_checkpoint_ms = now.steady_ms + every;
            let failed = std::mem::take(&mut self.upkeep.failed);
            if failed || self.upkeep.changed {
                let written = self.write_checkpoints(out);
                if failed {
                    self.removals.wait_for(written);
                }
            }
            self.prune(now, out);
        }
        if self.upkeep.wanted && self.upkeep.under_way.is_empty() {
            self.upkeep.wanted = false;
            let written = self.write_checkpoints(out);
            self.removals.note_written(written);
            // Perhaps the files held those names no more, and nothing had to be written.
            self.free_written_names(now, out);
        }
        if now.steady_ms >= self.upkeep.next_retention_ms {
            self.retain(now, out);
        }
        if now.steady_ms >= self.upkeep.next_flush_ms {
            let some = self.flush_late(now, out);
            let every = if some { FLUSH_EVERY_MS } else { CHECKPOINT_EVERY_MS };
            self.upkeep.next_flush_ms = now.steady_ms + every;
        }
        self.empty_trash(now, out);
    }

    /// Takes note of what recovery would read of those that are awake, and lets those rest that
    /// have nothing under way.
    fn look_at_awake(&mut self) {
        let mut awake = std::mem::take(&mut self.upkeep.awake);
        awake.retain(|lane| {
            let Some(partition) = self.partitions.get_mut(lane) else { return false };
            self.upkeep.forget_unmarked(partition);
            if !partition.offline {
                let bytes = partition.log.recovery_bytes(partition.checkpointed);
                partition.unmarked_bytes = bytes;
                self.upkeep.unmarked_bytes += bytes;
                self.upkeep.unmarked_logs += u64::from(bytes > 0);
            }
            partition.awake = !partition.rest();
            partition.awake
        });
        self.upkeep.awake = awake;
    }

    /// Gives up what retention gives up, and forgets idle producers, in some partitions; the rest
    /// comes a moment later.
    fn retain(&mut self, now: Now, out: &mut Vec<Effect>) {
        let mut retaining = self.upkeep.retaining.take().unwrap_or_default();
        if retaining.from.is_none() {
            self.take_snapshot(now, out);
        }
        let from = retaining.from.take().unwrap_or(Lane(0));
        let mut left = RETAINED_AT_ONCE;
        for (lane, partition) in self.partitions.range_mut(from..) {
            if left == 0 {
                retaining.from = Some(*lane);
                break;
            }
            left -= 1;
            let mut submissions = Vec::new();
            let log = &mut partition.log;
            let (files, mark) = (&mut self.files, partition.high_watermark);
            let holds = !partition.config.retention_groups.is_empty();
            let hold = if holds { Hold::EVERYTHING } else { Hold::NOTHING };
            if partition.offline || log.offline().is_some() {
                continue;
            }
            if self.cleaner.is_at(*lane) {
                retaining.again = true;
            } else {
                let before = log.start();
                let expired = log.expire_but(&hold, now.wall_ms, mark, files, &mut submissions);
                retaining.again |= expired.more;
                self.upkeep.changed |= log.start() != before;
                if holds && expired.held_bytes > 0 {
                    retaining.held.insert(*lane);
                }
            }
            log.empty_trash(now.wall_ms, &mut submissions);
            log.expire_producers(now.wall_ms);
            submit(*lane, submissions, out);
        }
        if retaining.from.is_some() {
            self.upkeep.retaining = Some(retaining);
            self.upkeep.next_retention_ms = now.steady_ms.saturating_add(RETAIN_NEXT_MS);
            return;
        }
        let every = self.setting("log.retention.check.interval.ms").max(1);
        self.upkeep.next_retention_ms = now.steady_ms.saturating_add(every);
        if retaining.again {
            self.retain_again(now);
        }
        // What is left is up to consumer groups.
        progress::ask(self, retaining.held, now, out);
    }

    /// There is more to be given up than could be at once.
    pub(crate) fn retain_again(&mut self, now: Now) {
        let soon = now.steady_ms.saturating_add(RETAIN_AGAIN_MS);
        self.upkeep.next_retention_ms = self.upkeep.next_retention_ms.min(soon);
    }

    /// Marks the logs of which recovery would have to read most, until all of them together are
    /// half of what may be. False if that is little.
    fn mark_logs(&mut self, out: &mut Vec<Effect>) -> bool {
        let mut all = self.upkeep.unmarked_bytes;
        // Of many logs with little each, marks would cost more than they spare.
        let max = self.upkeep.recovery_bytes_max;
        let max = max.max(RECOVERY_BYTES_EACH.min(max) * self.upkeep.unmarked_logs);
        if all <= max {
            return false;
        }
        let with_some = self.partitions.iter().filter(|(_, one)| one.unmarked_bytes > 0);
        let mut most: Vec<_> = with_some.map(|(lane, one)| (one.unmarked_bytes, *lane)).collect();
        most.sort_unstable_by(|one, other| other.cmp(one));
        for (bytes, lane) in most {
            if all <= max / 2 {
                break;
            }
            let Some(partition) = self.partitions.get_mut(&lane) else { continue };
            let mut submissions = Vec::new();
            partition.log.write_mark(&mut submissions);
            submit(lane, submissions, out);
            all -= bytes;
        }
        true
    }

    /// Syncs logs that an operator lets run ahead of the disk, each after its `flush.ms`. False if
    /// none of those that are awake has one.
    fn flush_late(&mut self, now: Now, out: &mut Vec<Effect>) -> bool {
        let mut some = false;
        for lane in &self.upkeep.awake {
            let Some(partition) = self.partitions.get_mut(lane) else { continue };
            let log = &mut partition.log;
            let (every, ahead) = (partition.config.flush_ms, log.written() > log.flushed());
            some |= every < i64::MAX;
            if every == i64::MAX || !ahead || partition.offline {
                partition.late_since_ms = None;
                continue;
            }
            let since = *partition.late_since_ms.get_or_insert(now.steady_ms);
            if now.steady_ms - since >= every {
                let mut submissions = Vec::new();
                log.flush(&mut submissions);
                partition.late_since_ms = None;
                submit(*lane, submissions, out);
            }
        }
        some
    }

    /// Writes how far logs are durable and where they begin, where that changed: recovery starts
    /// there. Gives the number of the last file that says so.
    pub(crate) fn write_checkpoints(&mut self, out: &mut Vec<Effect>) -> u64 {
        self.upkeep.changed = false;
        let files = self.checkpoints();
        let files = files.into_iter().map(|(path, entries)| (path, render_offsets(&entries)));
        for (path, text) in files.chain(self.marks()) {
            let bytes = Bytes::from(text);
            if self.upkeep.written.get(&path) == Some(&bytes) {
                continue;
            }
            self.upkeep.written.insert(path.clone(), bytes.clone());
            self.upkeep.submitted += 1;
            self.upkeep.under_way.insert(self.upkeep.submitted);
            let token = Token(self.upkeep.submitted);
            let op = Op::Replace { path, bytes };
            out.push(Effect::Disk(CHECKPOINT_LANE, Submission { token, op }));
        }
        for partition in self.partitions.values_mut() {
            partition.checkpointed = partition.log.recovery_point();
        }
        self.upkeep.submitted
    }

    pub(crate) fn checkpoint_ended(
        &mut self,
        completion: Completion,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        self.upkeep.under_way.remove(&completion.token.0);
        if let Err(error) = completion.result {
            self.upkeep.written.clear();
            self.upkeep.failed = true;
            self.upkeep.next_checkpoint_ms = now.steady_ms + RETRY_MS;
            out.push(Effect::Warn(format!("checkpoint not written: {error}")));
        }
        self.free_written_names(now, out);
    }

    /// Names that no checkpoint file holds any more are free.
    pub(crate) fn free_written_names(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !self.upkeep.failed {
            self.free_names(self.upkeep.ended(), now, out);
        }
    }

    /// All logs are open: from now on checkpoints say what they hold.
    pub(crate) fn begin_upkeep(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.upkeep.next_checkpoint_ms = now.steady_ms;
        let delay = self.setting("log.initial.task.delay.ms").max(0);
        self.upkeep.next_retention_ms = now.steady_ms.saturating_add(delay);
        self.keep_up(now, out);
    }

    /// The checkpoint files of all directories: their paths and what they should hold.
    pub fn checkpoints(&self) -> Vec<(PathBuf, Vec<OffsetEntry>)> {
        let mut points: BTreeMap<&Path, Vec<OffsetEntry>> = BTreeMap::new();
        let mut starts: BTreeMap<&Path, Vec<OffsetEntry>> = BTreeMap::new();
        let mut cleaned: BTreeMap<&Path, Vec<OffsetEntry>> = BTreeMap::new();
        for dir in &self.config.log_dirs {
            points.entry(&dir.path).or_default();
            starts.entry(&dir.path).or_default();
            cleaned.entry(&dir.path).or_default();
        }
        // The metadata log's own, so that damage in what was committed is never cut off as a tail.
        points.entry(&self.config.metadata_dir.path).or_default().push(OffsetEntry {
            topic: "__cluster_metadata".to_owned(),
            partition: 0,
            offset: self.metadata.log.recovery_point(),
        });
        for partition in self.partitions.values() {
            let log = &partition.log;
            let Some(dir) = log.path().parent() else { continue };
            let entry = |offset| OffsetEntry {
                topic: partition.topic.to_string(),
                partition: partition.index,
                offset,
            };
            if log.recovery_point() > 0 {
                points.entry(dir).or_default().push(entry(log.recovery_point()));
            }
            let cleaned = cleaned.entry(dir).or_default();
            cleaned.extend(partition.cleaning.point.map(entry));
            let first = log.segment_bases().first().copied().unwrap_or(log.start());
            if log.start() > first || (log.start() > 0 && log.segment_bases().is_empty()) {
                starts.entry(dir).or_default().push(entry(log.start()));
            }
        }
        let name = |file: &'static str| {
            move |(dir, entries): (&Path, Vec<OffsetEntry>)| (dir.join(file), entries)
        };
        let points = points.into_iter().map(name(RECOVERY_POINTS));
        let starts = starts.into_iter().map(name(LOG_STARTS));
        points.chain(starts).chain(cleaned.into_iter().map(name(CLEANER_POINTS))).collect()
    }

    /// The files of recovery marks: their paths and what they should hold.
    fn marks(&self) -> Vec<(PathBuf, String)> {
        let mut marks: BTreeMap<&Path, Vec<_>> = BTreeMap::new();
        for dir in &self.config.log_dirs {
            marks.entry(&dir.path).or_default();
        }
        for partition in self.partitions.values() {
            let Some(dir) = partition.log.path().parent() else { continue };
            let mark = partition.log.mark();
            let mark = mark.map(|mark| (partition.topic.to_string(), partition.index, mark));
            marks.entry(dir).or_default().extend(mark);
        }
        let file =
            |(dir, entries): (&Path, Vec<_>)| (dir.join(RECOVERY_MARKS), render_marks(&entries));
        marks.into_iter().map(file).collect()
    }

    fn snapshot_rules(&self) -> SnapshotRules {
        let between = self.setting("metadata.log.max.record.bytes.between.snapshots");
        SnapshotRules {
            bytes_between: between.max(1) as u64,
            interval_ms: self.setting("metadata.log.max.snapshot.interval.ms"),
            retention_bytes: self.setting("metadata.max.retention.bytes"),
            retention_ms: self.setting("metadata.max.retention.ms"),
        }
    }

    /// Writes a snapshot of the metadata if it is time.
    pub(crate) fn take_snapshot(&mut self, now: Now, out: &mut Vec<Effect>) {
        let rules = self.snapshot_rules();
        match self.metadata.take_snapshot(&self.image, &rules, now) {
            Ok(submission) => submit(SNAPSHOT_LANE, submission.into_iter().collect(), out),
            Err(reason) => out.push(Effect::Warn(format!("metadata snapshot: {reason}"))),
        }
    }

    pub(crate) fn snapshot_ended(
        &mut self,
        completion: Completion,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if completion.token == SNAPSHOT_TOKEN {
            let written = completion.result.is_ok();
            if let Err(reason) = self.metadata.snapshot_ended(written, now.wall_ms) {
                out.push(Effect::Halt(format!("the metadata quorum: {reason}")));
            }
        }
        if let Err(error) = completion.result {
            out.push(Effect::Warn(format!("metadata snapshot: {error}")));
        }
    }

    /// Gives up old snapshots and the part of the metadata log before those that are kept.
    fn prune(&mut self, now: Now, out: &mut Vec<Effect>) {
        let rules = self.snapshot_rules();
        let mut submissions = Vec::new();
        match self.metadata.prune(&rules, now, &mut self.files, &mut submissions) {
            Ok(removed) => submit(SNAPSHOT_LANE, removed, out),
            Err(reason) => out.push(Effect::Halt(format!("the metadata quorum: {reason}"))),
        }
        submit(METADATA_LANE, submissions, out);
    }
}

/// How soon retention goes on where it had to stop.
const RETAIN_AGAIN_MS: i64 = 1_000;
/// So many partitions are looked at in a step: a millisecond's work.
const RETAINED_AT_ONCE: usize = 2_000;
/// How soon the next ones are.
const RETAIN_NEXT_MS: i64 = 5;
/// How soon a checkpoint that failed is tried again.
const RETRY_MS: i64 = 1_000;
/// `log.flush.offset.checkpoint.interval.ms`.
const CHECKPOINT_EVERY_MS: i64 = 60_000;
/// How often it is looked at how much recovery would have to read.
const MARKS_EVERY_MS: i64 = 5_000;
/// How much that may be: a moment's work.
const RECOVERY_BYTES_MAX: u64 = 256 << 20;
/// How much it may be for each of many logs.
const RECOVERY_BYTES_EACH: u64 = 1 << 20;
/// How often logs that run ahead of the disk are looked at.
const FLUSH_EVERY_MS: i64 = 1_000;
