//! Which logs are compacted, and when: the node's part of the cleaner.
//!
//! Every `log.cleaner.backoff.ms` the filthiest log that is due is cleaned, by at most
//! `log.cleaner.threads` jobs at a time, one a log. The work itself is `ottla_log`'s, done where
//! [`Effect::Clean`] is carried out; its results come back as [`Event::Cleaned`], group by group.
//!
//! Owns `cleaner-offset-checkpoint`: how far each log was cleaned. The file has Apache Kafka's
//! layout and meaning, so that either goes on where the other stopped.
//!
//! Invariants:
//! - I1: the checkpoint of a log moves only when all groups of a cleaning took their places, and
//!   durably: a cut that brings old segments back must not find them called clean, or tombstones go
//!   from them while older values stay.
//! - I2: a directory's name is not free while a job may still write files there.
//!
//! [`Event::Cleaned`]: crate::Event::Cleaned

use std::collections::BTreeMap;

use ottla_log::{CleanError, CleanPlan, CleanedGroup, CleanedLog, Dirt, MapBudget, Reset};

use crate::event::{Effect, Lane, Now};
use crate::node::{Node, submit};
use crate::partition::Partition;

/// The file that says how far logs were cleaned.
pub const CLEANER_POINTS: &str = "cleaner-offset-checkpoint";

/// A cleaning to be carried out.
#[derive(Debug)]
pub struct CleanOrder {
    /// `topic-partition`, for log lines.
    pub name: String,
    /// What to do.
    pub plan: CleanPlan,
    /// The memory it may take.
    pub budget: MapBudget,
    /// Most bytes it may read and write in a second.
    pub bytes_per_second: f64,
}

/// News of a cleaning.
#[derive(Debug)]
pub enum Cleaned {
    /// A group of segments was written anew.
    Group(Box<CleanedGroup>),
    /// Nothing more comes.
    Ended(Result<CleanedLog, CleanError>),
}

/// What the cleaner knows of a partition.
#[derive(Clone, Debug, Default)]
pub struct Cleaning {
    /// Its line of [`CLEANER_POINTS`].
    pub point: Option<i64>,
    /// What `point` will be when the files of the last cleaning have their names (I1).
    settling: Option<i64>,
    /// It is left alone before then, on the steady clock.
    not_before_ms: i64,
    /// It holds what can't be read.
    pub uncleanable: bool,
    /// The checkpoint file that first spoke of it.
    told: u64,
}

impl Cleaning {
    /// One that was cleaned up to there.
    pub fn from(point: Option<i64>) -> Self {
        Self { point, ..Self::default() }
    }

    /// What the last cleaning was about to install is undone.
    pub(crate) fn forget_settling(&mut self) {
        self.settling = None;
    }

    /// True if [`Node::settle_cleaning`] is to be asked.
    pub(crate) fn is_settling(&self) -> bool {
        self.settling.is_some()
    }
}

/// A cleaning under way.
#[derive(Debug)]
struct Job {
    name: String,
    began_ms: i64,
    /// Segments it is about, those that are done, and how long the others will take, about.
    segments: u64,
    done: u64,
    left_secs: u64,
    /// A group came too late.
    refused: bool,
}

/// How far cleanings have come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CleanProgress {
    /// Segments they are about.
    pub segments: u64,
    /// Those that are done.
    pub done: u64,
    /// Seconds the longest will take still, about.
    pub left_secs: u64,
}

/// The cleaner of a node.
#[derive(Debug)]
pub(crate) struct Cleaner {
    next_ms: i64,
    jobs: BTreeMap<Lane, Job>,
    /// Of the log that was filthiest when the cleaner last looked, in percent.
    pub max_dirty_percent: u64,
    /// How late the latest log was then.
    pub max_delay_ms: i64,
    /// Of the last cleaning: bytes written for a hundred read.
    pub recopy_percent: u64,
    /// Of the last cleaning.
    pub took_ms: i64,
}

impl Default for Cleaner {
    fn default() -> Self {
        Self {
            next_ms: i64::MAX,
            jobs: BTreeMap::new(),
            max_dirty_percent: 0,
            max_delay_ms: 0,
            recopy_percent: 0,
            took_ms: 0,
        }
    }
}

impl Cleaner {
    /// When it looks next, on the steady clock.
    pub fn next_ms(&self) -> i64 {
        self.next_ms
    }

    /// True while a job may write to the directory of that name (I2).
    pub fn holds(&self, name: &str) -> bool {
        self.jobs.values().any(|job| job.name == name)
    }

    /// True while that log is being cleaned: nothing else removes segments of it, or the cleaning
    /// would come too late, again and again.
    pub fn is_at(&self, lane: Lane) -> bool {
        self.jobs.contains_key(&lane)
    }

    /// How far the cleanings under way have come.
    pub fn progress(&self) -> CleanProgress {
        let mut progress = CleanProgress::default();
        for job in self.jobs.values() {
            progress.segments += job.segments;
            progress.done += job.done;
            progress.left_secs = progress.left_secs.max(job.left_secs);
        }
        progress
    }

    /// Nothing is begun any more.
    pub fn stop(&mut self) {
        self.next_ms = i64::MAX;
    }
}

impl Node {
    /// All logs are open: cleaning may begin.
    pub(crate) fn begin_cleaning(&mut self, now: Now) {
        if self.flag("log.cleaner.enable") {
            self.cleaner.next_ms = now.steady_ms;
        }
    }

    /// Begins what cleanings are due.
    pub(crate) fn clean(&mut self, now: Now, out: &mut Vec<Effect>) {
        if now.steady_ms < self.cleaner.next_ms {
            return;
        }
        let backoff_ms = self.setting("log.cleaner.backoff.ms").max(1);
        self.cleaner.next_ms = now.steady_ms.saturating_add(backoff_ms);
        let threads = self.setting("log.cleaner.threads").max(0) as usize;
        if self.cleaner.jobs.len() >= threads {
            return;
        }
        let mut due = self.filthiest_first(now, out);
        while self.cleaner.jobs.len() < threads {
            let Some((_, lane, dirt)) = due.pop() else { break };
            if !self.begin_job(lane, &dirt, threads, now, out) {
                // Files of its last cleaning are still being renamed.
                self.cleaner.next_ms = now.steady_ms.saturating_add(backoff_ms.min(SOON_MS));
            }
        }
    }

    /// The logs that are due, the filthiest last.
    fn filthiest_first(&mut self, now: Now, out: &mut Vec<Effect>) -> Vec<(f64, Lane, Dirt)> {
        let mut due = Vec::new();
        let (mut max_ratio, mut max_delay_ms) = (0.0, 0);
        for (lane, partition) in &mut self.partitions {
            let resting = partition.cleaning.not_before_ms > now.steady_ms;
            let offline = partition.offline || partition.log.offline().is_some();
            let left = offline || partition.cleaning.uncleanable || resting;
            if !partition.config.compact || left || self.cleaner.jobs.contains_key(lane) {
                continue;
            }
            let log = &partition.log;
            let dirt = log.dirt(partition.cleaning.point, partition.high_watermark, now.wall_ms);
            if let Some(reset) = dirt.reset {
                note_reset(partition, reset, dirt.first_dirty, out);
                self.upkeep.note_change();
            }
            max_delay_ms = dirt.overdue_ms.max(max_delay_ms);
            let ratio = dirt.ratio();
            max_ratio = ratio.max(max_ratio);
            if dirt.is_due(partition.config.min_cleanable_dirty_ratio) {
                due.push((ratio, *lane, dirt));
            }
        }
        self.cleaner.max_dirty_percent = (max_ratio * 100.0) as u64;
        self.cleaner.max_delay_ms = max_delay_ms;
        due.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        due
    }

    /// False if the log can't be cleaned right now.
    fn begin_job(
        &mut self,
        lane: Lane,
        dirt: &Dirt,
        threads: usize,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> bool {
        let threads_wide = threads.max(1) as u64;
        let number = |key: &str| self.layers.get(key).and_then(|text| text.trim().parse().ok());
        let budget = MapBudget {
            bytes: self.setting("log.cleaner.dedupe.buffer.size").max(0) as u64 / threads_wide,
            load_factor: number("log.cleaner.io.buffer.load.factor").unwrap_or(0.9),
        };
        let rate: f64 = number("log.cleaner.io.max.bytes.per.second").unwrap_or(f64::MAX);
        // Before anything goes it is written down that offsets may be missing here, whatever the
        // policy is by the next start.
        let Some(partition) = self.partitions.get_mut(&lane) else { return false };
        if partition.cleaning.point.is_none() {
            partition.cleaning.point = Some(dirt.first_dirty);
            let written = self.write_checkpoints(out);
            if let Some(partition) = self.partitions.get_mut(&lane) {
                partition.cleaning.told = written;
            }
            return false;
        }
        let Some(partition) = self.partitions.get(&lane) else { return false };
        if !self.upkeep.is_written(partition.cleaning.told) {
            return false;
        }
        let (high_watermark, log) = (partition.high_watermark, &partition.log);
        let Some(plan) = log.plan_clean(dirt, high_watermark, now.wall_ms, &mut self.files) else {
            return false;
        };
        let name = format!("{}-{}", partition.topic, partition.index);
        let job = Job {
            name: name.clone(),
            began_ms: now.steady_ms,
            segments: plan.segments() as u64,
            done: 0,
            left_secs: 0,
            refused: false,
        };
        self.cleaner.jobs.insert(lane, job);
        let bytes_per_second = rate / threads_wide as f64;
        out.push(Effect::Clean(
            lane,
            Box::new(CleanOrder { name, plan, budget, bytes_per_second }),
        ));
        true
    }

    /// Takes news of a cleaning.
    pub(crate) fn cleaned(&mut self, lane: Lane, news: Cleaned, now: Now, out: &mut Vec<Effect>) {
        match news {
            Cleaned::Group(group) => {
                let segments = group.segments() as u64;
                if let Some(job) = self.cleaner.jobs.get_mut(&lane) {
                    job.done += segments;
                    let left = job.segments.saturating_sub(job.done);
                    let took = (now.steady_ms - job.began_ms).max(0) as u64;
                    job.left_secs = took * left / job.done.max(1) / 1000;
                }
                let mut submissions = Vec::new();
                let refused = self.cleaner.jobs.get(&lane).is_some_and(|job| job.refused);
                let taken = match self.partitions.get_mut(&lane) {
                    // Whoever opens the log anew removes what has no name yet.
                    Some(partition) if partition.log.offline().is_some() => {
                        group.abandon(&mut submissions);
                        false
                    }
                    // Records that later groups leave out may be why those of a refused one must
                    // not come back; and nobody asks for it any more where the policy changed.
                    Some(partition) if refused || !partition.config.compact => {
                        partition.log.refuse_cleaned(*group, &mut submissions);
                        false
                    }
                    Some(partition) => {
                        partition.log.install_cleaned(*group, now.wall_ms, &mut submissions)
                    }
                    // The directory goes, and these files with it.
                    None => {
                        group.abandon(&mut submissions);
                        false
                    }
                };
                if let Some(job) = self.cleaner.jobs.get_mut(&lane) {
                    job.refused |= !taken;
                }
                submit(lane, submissions, out);
            }
            Cleaned::Ended(result) => {
                let Some(job) = self.cleaner.jobs.remove(&lane) else { return };
                self.job_ended(lane, &job, result, now, out);
                if self.cleaner.next_ms < i64::MAX {
                    // Perhaps there is more to clean.
                    self.cleaner.next_ms = now.steady_ms;
                }
                self.open_held(now, out);
            }
        }
    }

    /// Moves the checkpoint once the files of a cleaning have their names (I1).
    pub(crate) fn settle_cleaning(&mut self, lane: Lane, out: &mut Vec<Effect>) {
        let Some(partition) = self.partitions.get_mut(&lane) else { return };
        if partition.log.is_installing() {
            return;
        }
        if let Some(end) = partition.cleaning.settling.take() {
            partition.cleaning.point = Some(end);
            self.write_checkpoints(out);
        }
    }

    fn job_ended(
        &mut self,
        lane: Lane,
        job: &Job,
        result: Result<CleanedLog, CleanError>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if let Ok(done) = &result {
            self.cleaner.took_ms = now.steady_ms - job.began_ms;
            let read = done.stats.bytes_read.max(1);
            self.cleaner.recopy_percent = done.stats.bytes_written.saturating_mul(100) / read;
        }
        let Some(partition) = self.partitions.get_mut(&lane) else { return };
        let cleaning = &mut partition.cleaning;
        match result {
            // Invariant I1.
            Ok(done) if !job.refused => {
                cleaning.settling = Some(done.end);
                self.settle_cleaning(lane, out);
            }
            // Retention was faster, or the log was truncated: another look will tell.
            Ok(_) | Err(CleanError::Gone) => {
                cleaning.not_before_ms = now.steady_ms.saturating_add(SOON_MS);
            }
            Err(CleanError::Stopped) => {}
            Err(CleanError::Damaged(error)) => {
                cleaning.uncleanable = true;
                out.push(Effect::Warn(format!(
                    "{} can't be compacted and is not tried again before the next start: {error}. \
                     Restore the partition from another replica (move the directory away), or \
                     give up what is damaged with DeleteRecords",
                    job.name
                )));
            }
            Err(CleanError::Disk(error)) => {
                cleaning.not_before_ms = now.steady_ms.saturating_add(DISK_REST_MS);
                out.push(Effect::Warn(format!(
                    "{} was not compacted, and is tried again in {} minutes: {error}",
                    job.name,
                    DISK_REST_MS / 60_000
                )));
            }
        }
    }
}

/// Corrects the checkpoint of a log that it does not fit.
fn note_reset(partition: &mut Partition, reset: Reset, to: i64, out: &mut Vec<Effect>) {
    let point = partition.cleaning.point.replace(to);
    // Where records are deleted, too, it is what happens all the time.
    if reset == Reset::BelowStart && partition.config.delete {
        return;
    }
    let why = match reset {
        Reset::BelowStart => "before its start",
        Reset::BeyondEnd => "behind its end",
    };
    out.push(Effect::Warn(format!(
        "{}-{}: {CLEANER_POINTS} says {}, which is {why}; it is cleaned from {to} on",
        partition.topic,
        partition.index,
        point.unwrap_or_default(),
    )));
}

/// How soon a log is looked at again whose files were being renamed, or that changed meanwhile.
const SOON_MS: i64 = 1_000;
/// How long a log rests whose files could not be written.
const DISK_REST_MS: i64 = 10 * 60_000;
