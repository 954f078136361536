//! What a node does from time to time: checkpoints, retention, snapshots, late syncs. (Compaction
//! has a home of its own, `cleaner`.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ottla_log::disk::{Completion, Op, Submission, Token};
use wire::files::{OffsetEntry, render_offsets};

use crate::cleaner::CLEANER_POINTS;
use crate::event::{Effect, Now};
use crate::metadata_log::{SNAPSHOT_TOKEN, SnapshotRules};
use crate::node::{CHECKPOINT_LANE, METADATA_LANE, Node, SNAPSHOT_LANE, submit};

/// The file that says from where on recovery looks.
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// The file that says where logs begin whose first records were deleted.
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";

/// When what is due, on the steady clock.
#[derive(Debug)]
pub struct Upkeep {
    next_checkpoint_ms: i64,
    next_retention_ms: i64,
    next_flush_ms: i64,
    /// What the checkpoint files hold, by path.
    written: BTreeMap<PathBuf, Vec<OffsetEntry>>,
    /// Checkpoint files submitted so far: their tokens.
    submitted: u64,
    /// All files up to this token are written.
    ended: u64,
    /// A file could not be written: all are, once more, and until then no name is free.
    failed: bool,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            next_checkpoint_ms: i64::MAX,
            next_retention_ms: RETENTION_FIRST_MS,
            next_flush_ms: FLUSH_EVERY_MS,
            written: BTreeMap::new(),
            submitted: 0,
            ended: 0,
            failed: false,
        }
    }
}

impl Upkeep {
    /// When something is due.
    pub fn next_ms(&self) -> i64 {
        self.next_checkpoint_ms.min(self.next_retention_ms).min(self.next_flush_ms)
    }
}

impl Node {
    /// Does what is due.
    pub(crate) fn keep_up(&mut self, now: Now, out: &mut Vec<Effect>) {
        if now.steady_ms >= self.upkeep.next_checkpoint_ms {
            self.upkeep.next_checkpoint_ms = now.steady_ms + CHECKPOINT_EVERY_MS;
            let written = self.write_checkpoints(out);
            if std::mem::take(&mut self.upkeep.failed) {
                self.removals.wait_for(written);
            }
            self.prune(now, out);
        }
        if now.steady_ms >= self.upkeep.next_retention_ms {
            let every = self.setting("log.retention.check.interval.ms").max(1);
            self.upkeep.next_retention_ms = now.steady_ms.saturating_add(every);
            self.retain(now, out);
            self.take_snapshot(now, out);
        }
        if now.steady_ms >= self.upkeep.next_flush_ms {
            let some = self.flush_late(now, out);
            let every = if some { FLUSH_EVERY_MS } else { CHECKPOINT_EVERY_MS };
            self.upkeep.next_flush_ms = now.steady_ms + every;
        }
        self.empty_trash(now, out);
    }

    /// Gives up what retention gives up, and forgets idle producers.
    fn retain(&mut self, now: Now, out: &mut Vec<Effect>) {
        for (lane, partition) in &mut self.partitions {
            let mut submissions = Vec::new();
            let log = &mut partition.log;
            log.expire(now.wall_ms, partition.high_watermark, &mut self.files, &mut submissions);
            log.empty_trash(now.wall_ms, &mut submissions);
            log.expire_producers(now.wall_ms);
            submit(*lane, submissions, out);
        }
    }

    /// Syncs logs that an operator lets run ahead of the disk, each after its `flush.ms`. False if
    /// no topic has one.
    fn flush_late(&mut self, now: Now, out: &mut Vec<Effect>) -> bool {
        let mut some = false;
        for (lane, partition) in &mut self.partitions {
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
        for (path, entries) in self.checkpoints() {
            if self.upkeep.written.get(&path) == Some(&entries) {
                continue;
            }
            let bytes = render_offsets(&entries).into();
            self.upkeep.written.insert(path.clone(), entries);
            self.upkeep.submitted += 1;
            let token = Token(self.upkeep.submitted);
            let op = Op::Replace { path, bytes };
            out.push(Effect::Disk(CHECKPOINT_LANE, Submission { token, op }));
        }
        self.upkeep.submitted
    }

    pub(crate) fn checkpoint_ended(
        &mut self,
        completion: Completion,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        // Files of one lane are written one after the other.
        self.upkeep.ended = self.upkeep.ended.max(completion.token.0);
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
            self.free_names(self.upkeep.ended, now, out);
        }
    }

    /// All logs are open: from now on checkpoints say what they hold.
    pub(crate) fn begin_upkeep(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.upkeep.next_checkpoint_ms = now.steady_ms;
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

/// `log.initial.task.delay.ms`.
const RETENTION_FIRST_MS: i64 = 30_000;
/// How soon a checkpoint that failed is tried again.
const RETRY_MS: i64 = 1_000;
/// `log.flush.offset.checkpoint.interval.ms`.
const CHECKPOINT_EVERY_MS: i64 = 60_000;
/// How often logs that run ahead of the disk are looked at.
const FLUSH_EVERY_MS: i64 = 1_000;
