//! What committed metadata does to this node: partitions come, change and go.
//!
//! Invariants:
//! - I1: a partition of a deleted topic answers nobody from the moment its removal is committed.
//! - I2: a directory gets its new name before another partition may be made under the old one, and
//!   checkpoints forget the old one before the new one writes: a crash in between must not give one
//!   topic's files or offsets to another of the same name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use config::TopicConfig;
use messages::PartitionRecord;
use metadata::Record;
use metadata::controller::{self, IdSource};
use metadata::image::resource;
use ottla_log::disk::{Completion, Op, Submission, Token};
use ottla_log::planted::{self, Bug};
use ottla_log::{Log, LogConfig};
use wire::{ErrorCode, Uuid};

use crate::event::{Effect, Lane, Now};
use crate::groups;
use crate::metadata_log::OnCommit;
use crate::node::{LogDir, Node, TRASH_LANE, submit};
use crate::partition::{Partition, log_config, with_gaps};

/// Partitions on their way out of the file system.
#[derive(Debug, Default)]
pub struct Removals {
    /// Renames under way: the name that becomes free, and where the directory goes.
    renaming: BTreeMap<Lane, (String, PathBuf, PathBuf)>,
    /// Names that are free once the checkpoint of that number is written.
    freed: Vec<(u64, String)>,
    /// The names of both, and those whose directory could not be renamed: not free before the next
    /// start.
    taken: BTreeSet<String>,
    /// New partitions that wait for their name.
    held: Vec<PartitionRecord>,
    /// Directories to remove, and when, on the steady clock.
    trash: BTreeSet<(i64, PathBuf)>,
}

impl Removals {
    /// When something is due.
    pub fn next_ms(&self) -> i64 {
        self.trash.first().map_or(i64::MAX, |(due, _)| *due)
    }

    /// Takes over a directory that an earlier life of the node renamed.
    pub fn inherit(&mut self, due_ms: i64, path: PathBuf) {
        self.trash.insert((due_ms, path));
    }

    fn is_taken(&self, name: &str) -> bool {
        self.taken.contains(name) && !planted::is(Bug::NameReusedEarly)
    }

    /// What was renamed so far is in no file from this number on.
    pub(crate) fn note_written(&mut self, written: u64) {
        for (number, _) in self.freed.iter_mut().filter(|(number, _)| *number == NOT_WRITTEN) {
            *number = written;
        }
    }

    /// All files are written once more, up to this number: names are not free before.
    pub(crate) fn wait_for(&mut self, written: u64) {
        for (number, _) in &mut self.freed {
            *number = written;
        }
    }
}

impl Node {
    /// Applies what was committed and gives the answers.
    pub(crate) fn commit(&mut self, now: Now, out: &mut Vec<Effect>) {
        let committed = match self.metadata.take_committed(now.wall_ms) {
            Ok(committed) => committed,
            Err(reason) => {
                out.push(Effect::Halt(format!("the metadata quorum: {reason}")));
                return;
            }
        };
        for (records, then) in committed {
            let mut gone = BTreeSet::new();
            for record in &records {
                if let Record::RemoveTopic(removed) = record {
                    let topic = self.image.topics.get(&removed.topic_id);
                    gone.extend(topic.map(|topic| topic.name.to_string()));
                    self.remove_topic(removed.topic_id, now, out);
                }
                if let Err(contradiction) = self.image.replay(record) {
                    out.push(Effect::Halt(contradiction.to_string()));
                    return;
                }
                self.image.share(&self.ahead, record);
            }
            self.apply(&records, now, out);
            if !gone.is_empty() {
                groups::topics_deleted(self, &gone, now, out);
            }
            match then {
                OnCommit::Nothing => {}
                OnCommit::Answer(call, body) => self.answer_with(call, body, out),
                OnCommit::ProducerIds(first) => {
                    self.producer_ids = first..first + controller::PRODUCER_ID_BLOCK;
                    for call in std::mem::take(&mut self.id_waiters) {
                        self.give_producer_id(call, now, out);
                    }
                }
            }
        }
        self.take_snapshot(now, out);
    }

    fn apply(&mut self, records: &[Record], now: Now, out: &mut Vec<Effect>) {
        let mut topics = BTreeSet::new();
        let mut layers = false;
        for record in records {
            match record {
                Record::Partition(partition) => self.open_new(partition, now, out),
                Record::PartitionChange(change) => {
                    self.follow_change(change.topic_id, change.partition_id);
                }
                Record::Config(config) if config.resource_type == resource::TOPIC => {
                    topics.insert(config.resource_name.as_str());
                }
                Record::Config(config) if config.resource_type == resource::BROKER => {
                    layers = true;
                }
                _ => {}
            }
        }
        if layers {
            self.read_layers();
            let all: Vec<Arc<str>> = self.image.topic_ids.keys().cloned().collect();
            for topic in all {
                self.configure(&topic);
            }
        } else {
            for topic in topics {
                self.configure(topic);
            }
        }
    }

    /// Reads what brokers are configured with while they run.
    pub(crate) fn read_layers(&mut self) {
        let set = |name: &str| self.image.overrides(resource::BROKER, name).cloned();
        self.layers.broker = set(&self.config.node_id.to_string()).unwrap_or_default();
        self.layers.cluster = set("").unwrap_or_default();
        self.fetch_max_bytes = self.setting("fetch.max.bytes").max(0) as usize;
    }

    /// The configuration of a topic, running changes included.
    pub fn topic_config(&self, topic: &str) -> TopicConfig {
        TopicConfig::resolve(&self.image.topic_overrides(topic), &self.layers)
    }

    /// Gives the partitions of a topic their configuration anew.
    fn configure(&mut self, topic: &str) {
        let Some(id) = self.image.topic_ids.get(topic) else { return };
        let config = Arc::new(self.topic_config(topic));
        let shared = Arc::new(log_config(&config));
        for lane in self.lanes.get(id).into_iter().flatten().flatten() {
            if let Some(partition) = self.partitions.get_mut(lane) {
                // Offsets that are missing once stay so.
                let gaps = partition.cleaning.point.is_some();
                partition.log.set_config(with_gaps(&shared, gaps));
                partition.config = config.clone();
                // What it lets lie unsynced now may be late.
                self.upkeep.rouse(*lane, partition);
            }
        }
        self.upkeep.look_for_late();
    }

    /// A partition's leader epoch may have risen.
    fn follow_change(&mut self, topic: Uuid, index: i32) {
        let Some(lane) = self.lane_by_id(topic, index) else { return };
        let image = self.image.topics.get(&topic);
        let image = image.and_then(|topic| topic.partitions.get(index as usize));
        if let (Some(partition), Some(image)) = (self.partitions.get_mut(&lane), image)
            && image.leader_epoch > partition.leader_epoch
        {
            partition.leader_epoch = image.leader_epoch;
            partition.log.assign_epoch(image.leader_epoch);
        }
    }

    fn open_new(&mut self, record: &PartitionRecord, now: Now, out: &mut Vec<Effect>) {
        if !record.replicas.contains(&self.config.node_id) {
            return;
        }
        let Some(topic) = self.image.topics.get(&record.topic_id) else { return };
        let name = topic.name.clone();
        let dir_name = format!("{name}-{}", record.partition_id);
        if self.removals.is_taken(&dir_name)
            || self.cleaner.holds(&dir_name)
            || self.full.holds(&dir_name)
            || self.key_filters.holds(&dir_name)
        {
            self.removals.held.push(record.clone());
            return;
        }
        let (config, settings) = self.shared_config(record.topic_id, &name);
        let assigned = record
            .replicas
            .iter()
            .zip(&record.directories)
            .find(|(replica, _)| **replica == self.config.node_id)
            .map(|(_, directory)| *directory);
        let dir = self.choose_dir(assigned);
        let mut submissions = Vec::new();
        let path = dir.path.join(dir_name);
        let mut log = Log::create(&path, record.topic_id, settings, &mut submissions);
        log.assign_epoch(record.leader_epoch);
        let partition =
            Partition::new(topic, record.partition_id, record.leader_epoch, config, log);
        let lane = self.add_partition(partition, now);
        submit(lane, submissions, out);
        if assigned != Some(dir.id) {
            self.tell_directory(record.topic_id, record.partition_id, dir.id, now, out);
        }
    }

    /// What the partitions of a topic are configured with: that of one there is, or anew.
    fn shared_config(&self, topic: Uuid, name: &str) -> (Arc<TopicConfig>, Arc<LogConfig>) {
        let lanes = self.lanes.get(&topic).into_iter().flatten().flatten();
        let one = lanes.filter_map(|lane| self.partitions.get(lane)).next();
        let config = one.map(|partition| partition.config.clone());
        let config = config.unwrap_or_else(|| Arc::new(self.topic_config(name)));
        let settings = log_config(&config);
        let there = one.map(|partition| partition.log.config()).filter(|of| ***of == settings);
        (config, there.cloned().unwrap_or_else(|| Arc::new(settings)))
    }

    /// The directory a partition was assigned, or else the one with the fewest partitions.
    pub(crate) fn choose_dir(&self, assigned: Option<Uuid>) -> LogDir {
        let dirs = &self.config.log_dirs;
        if let Some(dir) = dirs.iter().find(|dir| Some(dir.id) == assigned) {
            return dir.clone();
        }
        let count = |dir: &&LogDir| {
            let here = |partition: &Partition| partition.log.path().parent() == Some(&*dir.path);
            self.partitions.values().filter(|partition| here(partition)).count()
        };
        let emptiest = if dirs.len() == 1 { dirs.first() } else { dirs.iter().min_by_key(count) };
        emptiest.unwrap_or(&self.config.metadata_dir).clone()
    }

    /// Writes down in which directory a partition is.
    pub(crate) fn tell_directory(
        &mut self,
        topic: Uuid,
        index: i32,
        directory: Uuid,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let id = self.config.node_id;
        let record = controller::place_in_directory(&self.ahead, topic, index, id, directory);
        if let Some(record) = record.filter(|_| self.ahead.metadata_version() >= DIRECTORIES) {
            self.write_metadata(vec![record], OnCommit::Nothing, now, out);
        }
    }

    /// Takes a deleted topic's partitions out of service and their directories out of the way.
    fn remove_topic(&mut self, id: Uuid, now: Now, out: &mut Vec<Effect>) {
        self.removals.held.retain(|record| record.topic_id != id);
        let Some(lanes) = self.lanes.remove(&id) else { return };
        for lane in lanes.into_iter().flatten() {
            self.fail(lane, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, out);
            groups::removed(self, lane, now, out);
            let Some(mut partition) = self.partitions.remove(&lane) else { continue };
            self.upkeep.forget_unmarked(&mut partition);
            self.full.forget(lane);
            let path = partition.log.path().to_owned();
            let name = format!("{}-{}", partition.topic, partition.index);
            let aside = format!(".{:032x}-delete", self.rng.next_id().0);
            // A file name has 255 bytes; names of topics are ASCII.
            let suffix = format!("-{}{aside}", partition.index);
            let kept = partition.topic.len().min(255 - suffix.len());
            let kept = partition.topic.get(..kept).unwrap_or_default();
            let to = path.with_file_name(format!("{kept}{suffix}"));
            let mut submissions = Vec::new();
            partition.log.abandon(&mut submissions);
            let op = Op::RenameDir { from: path.clone(), to: to.clone() };
            submissions.push(Submission { token: RENAMED, op });
            self.removals.taken.insert(name.clone());
            self.removals.renaming.insert(lane, (name, path, to));
            submit(lane, submissions, out);
        }
    }

    /// An operation of a partition that is being removed ended.
    pub(crate) fn removal_ended(
        &mut self,
        lane: Lane,
        completion: Completion,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if completion.token != RENAMED {
            return;
        }
        let Some((name, from, to)) = self.removals.renaming.remove(&lane) else { return };
        match completion.result {
            Ok(()) => {
                let delay = self.setting("log.segment.delete.delay.ms").max(0);
                let due = now.steady_ms.saturating_add(delay);
                self.removals.trash.insert((due, to));
            }
            // There was no room to make it, or something else removed it: the name is free.
            Err(error) if error.is_not_found() => {}
            // It stays where it is; the next start takes it for a stray.
            Err(error) => {
                let text = format!(
                    "{} of a deleted topic is left: {error}; a topic of that name is not served \
                     before the next start, which sets the directory aside",
                    from.display()
                );
                out.push(Effect::Warn(text));
                return;
            }
        }
        // Not at once: of a thousand partitions that go, each would write the files anew.
        self.removals.freed.push((NOT_WRITTEN, name));
        self.upkeep.want_checkpoints();
    }

    /// Checkpoints up to a number are written: names they do not hold any more are free.
    pub(crate) fn free_names(&mut self, written: u64, now: Now, out: &mut Vec<Effect>) {
        if self.removals.freed.is_empty() {
            return;
        }
        let Removals { freed, taken, .. } = &mut self.removals;
        let before = freed.len();
        freed.retain(|(number, name)| {
            let waits = *number > written;
            if !waits {
                taken.remove(name);
            }
            waits
        });
        if freed.len() < before {
            self.open_held(now, out);
        }
    }

    /// Makes the partitions that wait for their names, where those are free by now.
    pub(crate) fn open_held(&mut self, now: Now, out: &mut Vec<Effect>) {
        for record in std::mem::take(&mut self.removals.held) {
            // Held again if the name is still taken.
            self.open_new(&record, now, out);
        }
    }

    /// Removes the directories that are due.
    pub(crate) fn empty_trash(&mut self, now: Now, out: &mut Vec<Effect>) {
        while let Some((due, _)) = self.removals.trash.first() {
            if *due > now.steady_ms {
                return;
            }
            if let Some((_, path)) = self.removals.trash.pop_first() {
                let op = Op::RemoveDirAll { path };
                out.push(Effect::Disk(TRASH_LANE, Submission { token: RENAMED, op }));
            }
        }
    }

    pub(crate) fn trash_ended(&mut self, completion: Completion, out: &mut Vec<Effect>) {
        if let Err(error) = completion.result {
            out.push(Effect::Warn(format!("a deleted topic's directory is left: {error}")));
        }
    }
}

/// The number of a checkpoint that is yet to be written.
const NOT_WRITTEN: u64 = u64::MAX;
/// No log hands out this token.
const RENAMED: Token = Token(u64::MAX);
/// The level of `metadata.version` from which on records name directories (KIP-858).
const DIRECTORIES: i16 = 17;
