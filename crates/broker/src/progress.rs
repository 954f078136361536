//! Retention by consumer progress (decision 6): what retention would delete stays until the groups
//! that a topic names have committed offsets past it, up to bounds of the topic's own.
//!
//! Whether anything would go is the log's to say. Only then are the groups asked, all partitions at
//! once, by a fetch of offsets like any consumer's. Its answer comes when what the coordinator saw
//! is durable: a commit that a power cut takes back has made nobody delete records. The coordinator
//! is in this node; that of another one would be asked by OffsetFetch, and answered the same way.
//!
//! Invariants:
//! - I1: what is held goes only when every group has read it, or at a bound; that a group's
//!   progress is not known (yet) is no reason.
//! - I2: a partition without the key, or with nothing to delete, asks nobody.
//! - I3: one question is under way at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use messages::offset_fetch_response::OffsetFetchResponseGroup;
use ottla_log::planted::{self, Bug};
use ottla_log::{Bound, Expired, Hold};

use crate::event::{Effect, Lane, Now};
use crate::groups;
use crate::node::{Node, submit};
use crate::partition::Partition;

/// How far a group has come in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It has read what is below.
    At(i64),
    /// It is not there, or has committed nothing that counts here.
    Nothing,
    /// Its coordinator is loading, or out of reach.
    Unknown,
}

impl Progress {
    /// What is below was read, as far as anybody knows.
    fn offset(self) -> i64 {
        match self {
            Self::At(offset) => offset,
            Self::Nothing | Self::Unknown => i64::MIN,
        }
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(offset) => write!(out, "has committed offset {offset}"),
            Self::Nothing => out.write_str("has committed nothing there"),
            Self::Unknown => out.write_str("can't be asked (its coordinator is not ready)"),
        }
    }
}

/// What is known of groups in partitions.
struct Known {
    /// By group, topic, index.
    found: BTreeMap<(String, String, i32), Progress>,
    /// Of those not found.
    others: Progress,
}

impl Known {
    /// How far the groups of a partition are, in the order its topic names them.
    fn of(&self, partition: &Partition) -> Vec<(String, Progress)> {
        let end = partition.log.end();
        let of = |group: &String| {
            let key = (group.clone(), partition.topic.to_string(), partition.index);
            let found = self.found.get(&key).copied().unwrap_or(self.others);
            // What was committed behind the end speaks of another log of that name.
            let found = if found.offset() > end { Progress::Nothing } else { found };
            (group.clone(), found)
        };
        partition.config.retention_groups.iter().map(of).collect()
    }
}

/// What a partition keeps beyond its retention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes of it.
    pub bytes: u64,
    /// How many of these records each group has yet to read, for those that have any.
    pub lag: Vec<(String, u64)>,
}

/// What is kept for groups, and what was said of it.
#[derive(Debug, Default)]
pub struct Holds {
    /// The partitions whose groups were asked and have not answered.
    asked: Option<BTreeSet<Lane>>,
    /// What the last check left, by partition.
    held: BTreeMap<Lane, Held>,
    /// When the operator was told last, on the steady clock: of that topic, group, and partition,
    /// or of all of its partitions.
    said: BTreeMap<(Arc<str>, String, Option<i32>), i64>,
}

impl Holds {
    /// What is kept beyond retention, by partition.
    pub fn held(&self) -> &BTreeMap<Lane, Held> {
        &self.held
    }

    /// True if the operator was not told that lately; it counts as told from now on.
    fn is_news(&mut self, topic: &Arc<str>, group: &str, index: Option<i32>, now: Now) -> bool {
        let key = (topic.clone(), group.to_owned(), index);
        let is_news = !self.said.contains_key(&key);
        if is_news {
            self.said.insert(key, now.steady_ms);
        }
        is_news
    }
}

/// Asks how far the groups of these partitions are: retention would delete something of each.
pub(crate) fn ask(node: &mut Node, lanes: BTreeSet<Lane>, now: Now, out: &mut Vec<Effect>) {
    let holds = &mut node.holds;
    holds.held.retain(|lane, _| lanes.contains(lane));
    holds.said.retain(|_, at| now.steady_ms.saturating_sub(*at) < SAID_FOR_MS);
    // I3: whoever is not answered yet is asked again at the next check.
    if lanes.is_empty() || holds.asked.is_some() {
        return;
    }
    let mut wanted: BTreeMap<&str, Vec<OffsetFetchRequestTopics>> = BTreeMap::new();
    for lane in &lanes {
        let Some(partition) = node.partitions.get(lane) else { continue };
        for group in &partition.config.retention_groups {
            let topics = wanted.entry(group).or_default();
            match topics.last_mut().filter(|last| last.topic_id == partition.topic_id) {
                Some(last) => last.partition_indexes.push(partition.index),
                None => topics.push(OffsetFetchRequestTopics {
                    name: partition.topic.to_string(),
                    topic_id: partition.topic_id,
                    partition_indexes: vec![partition.index],
                    ..Default::default()
                }),
            }
        }
    }
    let group = |(group, topics): (&str, Vec<OffsetFetchRequestTopics>)| OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics: Some(topics),
        ..Default::default()
    };
    let wanted = wanted.into_iter().map(group).collect();
    if node.image.topic(groups::OFFSETS_TOPIC).is_none() {
        // Nobody ever committed anything.
        let nothing = Known { found: BTreeMap::new(), others: Progress::Nothing };
        return decide(node, &lanes, &nothing, now, out);
    }
    node.holds.asked = Some(lanes);
    groups::look_up(node, wanted, now, out);
}

/// The coordinator told how far groups are.
pub(crate) fn answered(
    node: &mut Node,
    groups: Vec<OffsetFetchResponseGroup>,
    now: Now,
    out: &mut Vec<Effect>,
) {
    let Some(lanes) = node.holds.asked.take() else { return };
    let mut found = BTreeMap::new();
    for group in groups.into_iter().filter(|group| group.error_code == 0) {
        for topic in group.topics {
            for partition in topic.partitions {
                let progress = match (partition.error_code, partition.committed_offset) {
                    (0, offset @ 0..) => Progress::At(offset),
                    (0, _) => Progress::Nothing,
                    _ => Progress::Unknown,
                };
                let index = partition.partition_index;
                found.insert((group.group_id.clone(), topic.name.clone(), index), progress);
            }
        }
    }
    decide(node, &lanes, &Known { found, others: Progress::Unknown }, now, out);
}

/// Gives up what every group has read, and what is over a bound.
fn decide(node: &mut Node, lanes: &BTreeSet<Lane>, known: &Known, now: Now, out: &mut Vec<Effect>) {
    let mut again = false;
    let mut lost = Vec::new();
    for lane in lanes {
        // It may be gone by now, or another one of that name be there in another lane.
        if node.cleaner.is_at(*lane) {
            continue;
        }
        let Some(partition) = node.partitions.get_mut(lane) else { continue };
        let progress = known.of(partition);
        let offsets = progress.iter().map(|(_, progress)| progress.offset());
        let slowest =
            if planted::is(Bug::RetentionIgnoresSlowest) { offsets.max() } else { offsets.min() };
        // The topic may have been told to hold nothing since: the next check sees to it.
        let Some(read_to) = slowest else { continue };
        let hold = Hold {
            read_to,
            max_ms: partition.config.retention_groups_max_ms,
            max_bytes: partition.config.retention_groups_max_bytes,
        };
        let (before, mark) = (partition.log.start(), partition.high_watermark);
        let (log, files) = (&mut partition.log, &mut node.files);
        let mut submissions = Vec::new();
        let expired = log.expire_but(&hold, now.wall_ms, mark, files, &mut submissions);
        submit(*lane, submissions, out);
        again |= expired.more;
        let start = partition.log.start();
        if let Some(bound) = expired.over {
            let unread = start.saturating_sub(before.max(read_to));
            node.counters.retention_unread += unread.max(0) as u64;
            let of = Lost { partition: &*partition, before, start, bound };
            for (group, progress) in progress.iter().filter(|(_, p)| p.offset() < start) {
                if node.holds.is_news(&partition.topic, group, Some(partition.index), now) {
                    lost.push(of.told(group, *progress));
                }
            }
        }
        let held = held(&expired, start, &progress);
        let waits = |(_, progress): &&(String, Progress)| {
            held.bytes > 0 && progress.offset() < expired.held_end
        };
        for (group, progress) in progress.iter().filter(waits) {
            if node.holds.is_news(&partition.topic, group, None, now) {
                out.push(Effect::Info(format!(
                    "{}: records past their retention are kept for group {group}, which {progress} \
                     in partition {} (retention.consumer.groups)",
                    partition.topic, partition.index
                )));
            }
        }
        if held.bytes > 0 {
            node.holds.held.insert(*lane, held);
        } else {
            node.holds.held.remove(lane);
        }
    }
    if again {
        node.retain_again(now);
    }
    let more = lost.len().saturating_sub(LINES_MAX);
    out.extend(lost.into_iter().take(LINES_MAX).map(Effect::Warn));
    if more > 0 {
        let text = format!(
            "records were deleted unread in {more} more cases like these \
             (retention.consumer.groups)"
        );
        out.push(Effect::Warn(text));
    }
}

fn held(expired: &Expired, start: i64, progress: &[(String, Progress)]) -> Held {
    let unread = |(group, progress): &(String, Progress)| {
        let records = expired.held_end.saturating_sub(progress.offset().max(start));
        (records > 0).then(|| (group.clone(), records as u64))
    };
    Held { bytes: expired.held_bytes, lag: progress.iter().filter_map(unread).collect() }
}

/// Records that somebody should have read.
struct Lost<'a> {
    partition: &'a Partition,
    before: i64,
    start: i64,
    bound: Bound,
}

impl Lost<'_> {
    fn told(&self, group: &str, progress: Progress) -> String {
        let config = &self.partition.config;
        let (key, value) = match self.bound {
            Bound::Time => ("retention.consumer.groups.max.ms", config.retention_groups_max_ms),
            Bound::Size => {
                ("retention.consumer.groups.max.bytes", config.retention_groups_max_bytes)
            }
        };
        format!(
            "{}-{}: records from offset {} to {} were deleted unread: group {group} {progress}, \
             and {key} ({value}) was reached; the log begins at {} now. Let the group catch up, \
             raise {key}, or take the group out of retention.consumer.groups",
            self.partition.topic,
            self.partition.index,
            self.before.max(progress.offset()),
            self.start.saturating_sub(1),
            self.start
        )
    }
}

/// For so long nothing is said twice.
const SAID_FOR_MS: i64 = 3_600_000;
/// One check warns in so many lines; a dead group may be named by thousands of partitions.
const LINES_MAX: usize = 20;
