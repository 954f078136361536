//! Which segments get filters of their keys, and when (decision 9): the node's part.
//!
//! Every few seconds, and as long as there is more to do one after the other, the oldest rolled
//! segment that lacks a filter gets one: where the topic says so in `segment.key.filter`. The work
//! is `ottla_log`'s, done where [`Effect::BuildKeyFilter`] is carried out, one at a time; what came
//! of it comes back as [`Event::KeyFilterBuilt`].
//!
//! Owns what readers of single keys were spared ([`KeyReads`]): it is counted where answers are
//! sent, and so outside of steps.
//!
//! Invariants:
//! - I1: a directory's name is not free while a job may still write files there.
//! - I2: nothing waits for a filter, and a topic without them costs a look now and then.
//!
//! [`Event::KeyFilterBuilt`]: crate::Event::KeyFilterBuilt

use std::sync::atomic::{AtomicU64, Ordering};

use ottla_log::{BuiltFilter, CleanError, FileId, FilterPlan, Skipped};

use crate::event::{Effect, Lane, Now};
use crate::node::{Node, submit};
use crate::partition::Partition;

/// A filter to be built.
#[derive(Debug)]
pub struct FilterOrder {
    /// `topic-partition`, for log lines.
    pub name: String,
    /// What to do.
    pub plan: FilterPlan,
    /// Most bytes it may read in a second: it shares what the cleaner may.
    pub bytes_per_second: f64,
}

/// The filter that is being built.
#[derive(Debug)]
struct Job {
    lane: Lane,
    name: String,
    /// The file of the segment, and its bytes.
    of: FileId,
    bytes: u64,
}

/// What builds filters.
#[derive(Debug)]
pub(crate) struct KeyFilters {
    next_ms: i64,
    every_ms: i64,
    job: Option<Job>,
    stopped: bool,
}

impl Default for KeyFilters {
    fn default() -> Self {
        Self { next_ms: 0, every_ms: LOOK_EVERY_MS, job: None, stopped: false }
    }
}

impl KeyFilters {
    /// When it looks next, on the steady clock.
    pub fn next_ms(&self) -> i64 {
        if self.job.is_some() || self.stopped { i64::MAX } else { self.next_ms }
    }

    /// True while a job may write to the directory of that name (I1).
    pub fn holds(&self, name: &str) -> bool {
        self.job.as_ref().is_some_and(|job| job.name == name)
    }

    /// Nothing is begun any more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }
}

impl Node {
    /// Looks for segments that lack a filter every `every_ms`: for tests, whose lives are short.
    pub fn look_for_filters(&mut self, every_ms: i64) {
        self.key_filters.every_ms = every_ms;
    }

    /// Begins a filter where one is lacking.
    pub(crate) fn build_key_filters(&mut self, now: Now, out: &mut Vec<Effect>) {
        if now.steady_ms < self.key_filters.next_ms() {
            return;
        }
        self.key_filters.next_ms = now.steady_ms.saturating_add(self.key_filters.every_ms);
        let lacking = self.partitions.iter().find_map(|(lane, partition)| {
            // What is being cleaned is about to be other segments.
            let full = self.full.is_full(partition.log.path().parent());
            let wanted = is_wanted(partition) && !full && !self.cleaner.is_at(*lane);
            let plan = wanted.then(|| partition.log.plan_filter(&mut self.files))??;
            Some((*lane, format!("{}-{}", partition.topic, partition.index), plan))
        });
        let Some((lane, name, plan)) = lacking else { return };
        let (of, bytes) = (plan.file(), plan.bytes());
        self.key_filters.job = Some(Job { lane, name: name.clone(), of, bytes });
        let rate = self.layers.get("log.cleaner.io.max.bytes.per.second");
        let bytes_per_second = rate.and_then(|text| text.trim().parse().ok()).unwrap_or(f64::MAX);
        let order = FilterOrder { name, plan, bytes_per_second };
        out.push(Effect::BuildKeyFilter(lane, Box::new(order)));
    }

    /// Takes what came of a job.
    pub(crate) fn key_filter_built(
        &mut self,
        lane: Lane,
        built: Result<BuiltFilter, CleanError>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(job) = self.key_filters.job.take_if(|job| job.lane == lane) else { return };
        // There may be more.
        let mut next_ms = now.steady_ms;
        let mut submissions = Vec::new();
        match (built, self.partitions.get_mut(&lane)) {
            (Ok(built), Some(partition)) => {
                self.counters.filters_built += 1;
                self.counters.filter_bytes_read += job.bytes;
                partition.log.install_filter(built, &mut submissions);
            }
            // The directory goes, and this file with it.
            (Ok(built), None) => built.abandon(&mut submissions),
            (Err(CleanError::Damaged(error)), partition) => {
                partition.into_iter().for_each(|partition| partition.log.forgo_filter(job.of));
                out.push(Effect::Warn(format!(
                    "a segment of {} can't be read, so it gets no key filter: {error}",
                    job.name
                )));
            }
            (Err(CleanError::Disk(error)), _) => {
                next_ms = now.steady_ms.saturating_add(DISK_REST_MS);
                out.push(Effect::Warn(format!(
                    "the key filter of a segment of {} could not be written, and is tried again in \
                     {} minutes: {error}",
                    job.name,
                    DISK_REST_MS / 60_000
                )));
            }
            (Err(CleanError::Gone | CleanError::Stopped), _) => {
                next_ms = now.steady_ms.saturating_add(self.key_filters.every_ms);
            }
        }
        self.key_filters.next_ms = next_ms;
        submit(lane, submissions, out);
        self.open_held(now, out);
    }
}

/// Whether segments of a partition are to have filters. Nobody asks the cluster's own topics for a
/// key from outside, and their segments are small.
fn is_wanted(partition: &Partition) -> bool {
    let config = &partition.config;
    let auto = config.compact && !partition.topic.starts_with("__");
    !partition.offline && config.segment_key_filter.unwrap_or(auto)
}

/// What readers of single keys were spared, counted by whoever sends answers.
#[derive(Debug, Default)]
pub struct KeyReads {
    segments_skipped: AtomicU64,
    bytes_skipped: AtomicU64,
    bytes_sent: AtomicU64,
}

impl KeyReads {
    /// Segments were passed over.
    pub(crate) fn skipped(&self, skipped: Skipped) {
        self.segments_skipped.fetch_add(skipped.segments, Ordering::Relaxed);
        self.bytes_skipped.fetch_add(skipped.bytes, Ordering::Relaxed);
    }

    /// Records were found, or none.
    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The numbers of this moment.
    pub fn sample(&self) -> KeyReadSample {
        KeyReadSample {
            segments_skipped: self.segments_skipped.load(Ordering::Relaxed),
            bytes_skipped: self.bytes_skipped.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
        }
    }
}

/// [`KeyReads`] of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyReadSample {
    /// Segments whose filters denied the key.
    pub segments_skipped: u64,
    /// Their bytes, from the offset asked for on.
    pub bytes_skipped: u64,
    /// Bytes of records that were sent all the same.
    pub bytes_sent: u64,
}

/// Between two looks for segments that were rolled, cleaned or opened.
const LOOK_EVERY_MS: i64 = 5_000;
/// How long everything rests when a file could not be written.
const DISK_REST_MS: i64 = 10 * 60_000;
