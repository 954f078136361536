//! From a directory to a node that serves, and back: formatting, loading, closing.
//!
//! These run before the first event and after the last one, on the caller's thread; the disk is
//! driven here, operation by operation.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::TopicConfig;
use messages::{Message, QuorumStateData};
use metadata::controller::Defaults;
use metadata::{Image, Record};
use ottla_log::disk::{Completion, Disk, FileIds, Op, StorageError, Submission};
use ottla_log::{Log, LogConfig, OpenMode};
use wire::Uuid;
use wire::batch::Batches;
use wire::files::{MetaProperties, parse_meta, render_meta};
use wire::files::{OffsetEntry, parse_offsets, render_offsets};
use wire::record::RecordIter;

use crate::event::{Effect, Now};
use crate::metadata_log::{MetadataLog, VoterIdentity, bootstrap_snapshot};
use crate::node::{Node, NodeConfig};
use crate::partition::{Partition, log_config};
use crate::rng::Rng;

/// What the operator chose.
#[derive(Clone, Debug)]
pub struct Options {
    /// `log.dirs`.
    pub log_dir: PathBuf,
    /// `node.id`.
    pub node_id: i32,
    /// What clients are told to connect to.
    pub advertised: (String, u16),
    /// 256 bits of entropy.
    pub seed: [u64; 4],
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The directory was formatted just now.
    pub formatted: bool,
    /// The node was not stopped in order.
    pub recovered: bool,
    /// Partitions opened.
    pub partitions: usize,
    /// One line a log whose tail had to be cut.
    pub cuts: Vec<String>,
}

/// Why a node can't start, for the operator: what, where, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError(pub String);

impl std::fmt::Display for StartError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl From<StorageError> for StartError {
    fn from(error: StorageError) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for StartError {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Reads `meta.properties`; `None` if the directory is empty or absent.
///
/// # Errors
/// A directory that holds something else, or another node's data.
pub fn identity(
    disk: &dyn Disk,
    dir: &Path,
    node_id: i32,
) -> Result<Option<MetaProperties>, StartError> {
    let names = match disk.list(dir) {
        Ok(names) => names,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let path = dir.join("meta.properties");
    let content = match disk.read_file(&path) {
        Ok(content) => content,
        Err(error) if error.is_not_found() => {
            if !names.iter().all(|name| is_of_formatting(name)) || has_data(disk, dir)? {
                return Err(StartError(format!(
                    "{}: the directory is not empty and has no meta.properties, so it is not a \
                     data directory; choose another one",
                    dir.display()
                )));
            }
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let meta = parse_meta(&content).map_err(|error| format!("{}: {error}", path.display()))?;
    if meta.node_id != Some(node_id) {
        return Err(StartError(format!(
            "{}: node.id is {}, but this node is {node_id}; start it with the data of its own",
            path.display(),
            meta.node_id.map_or("missing".to_owned(), |id| id.to_string())
        )));
    }
    Ok(Some(meta))
}

/// True for what a formatting that was cut short may have left: it is simply done again.
fn is_of_formatting(name: &str) -> bool {
    [".lock", "lost+found", "meta.properties.tmp", METADATA_DIR].contains(&name)
}

/// True if the metadata directory holds more than formatting puts there.
fn has_data(disk: &dyn Disk, dir: &Path) -> Result<bool, StartError> {
    match disk.list(&dir.join(METADATA_DIR)) {
        Ok(names) => {
            Ok(!names.iter().all(|name| name.ends_with(".checkpoint") || name.ends_with(".tmp")))
        }
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes an empty or absent directory a data directory of a cluster of its own.
fn format(disk: &dyn Disk, options: &Options, rng: &mut Rng, now: Now) -> Result<(), StartError> {
    use metadata::controller::IdSource;
    let meta = MetaProperties {
        version: 1,
        cluster_id: Some(rng.next_id().to_string()),
        node_id: Some(options.node_id),
        directory_id: Some(rng.next_id()),
    };
    let dir = &options.log_dir;
    let metadata_dir = dir.join(METADATA_DIR);
    for path in [dir, &metadata_dir] {
        disk.execute(&Op::CreateDir { path: path.clone() })?;
    }
    let voter = voter(options, meta.directory_id.unwrap_or_default());
    let snapshot = bootstrap_snapshot(&voter, now.wall_ms)?;
    let path = metadata_dir.join(format!("{:020}-{:010}.checkpoint", 0, 0));
    disk.execute(&Op::Replace { path, bytes: snapshot })?;
    // Last, because a directory that has it counts as formatted.
    let path = dir.join("meta.properties");
    disk.execute(&Op::Replace { path, bytes: render_meta(&meta).into() })?;
    disk.execute(&Op::SyncDir { path: dir.clone() })?;
    // The directory's own name may be new as well.
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.execute(&Op::SyncDir { path: parent.to_owned() })?;
    }
    Ok(())
}

fn voter(options: &Options, directory_id: Uuid) -> VoterIdentity {
    let (host, port) = options.advertised.clone();
    VoterIdentity { id: options.node_id, directory_id, endpoint: ("CONTROLLER".into(), host, port) }
}

/// Opens a node on its directory, formatting it if it is empty.
///
/// # Errors
/// Anything that would put acknowledged records at risk, or a disk that fails.
pub fn open(disk: &dyn Disk, options: &Options, now: Now) -> Result<(Node, Report), StartError> {
    let mut rng = Rng::new(options.seed);
    let mut report = Report::default();
    let dir = &options.log_dir;
    let meta = match identity(disk, dir, options.node_id)? {
        Some(meta) => meta,
        None => {
            format(disk, options, &mut rng, now)?;
            report.formatted = true;
            identity(disk, dir, options.node_id)?
                .ok_or_else(|| StartError(format!("{}: formatting left nothing", dir.display())))?
        }
    };
    refuse_snapshots(disk, dir)?;
    let clean = take_clean_marker(disk, dir)?;
    report.recovered = !report.formatted && !clean;
    let mut files = FileIds::default();
    let (log, image) = open_metadata(disk, options, clean, &mut files, &mut report)?;
    let epoch = next_raft_epoch(disk, dir, options.node_id)?;
    let config = NodeConfig {
        node_id: options.node_id,
        cluster_id: meta.cluster_id.clone().unwrap_or_default(),
        directory_id: meta.directory_id.unwrap_or_default(),
        log_dir: dir.clone(),
        advertised: options.advertised.clone(),
        auto_create_topics: true,
        defaults: Defaults { partitions: 1, replication_factor: 1 },
        fetch_max_bytes: 55 << 20,
        session_slots: 1000,
        groups: coordinator::GroupConfig {
            // One node has nothing to wait for: a second consumer is a rebalance of milliseconds.
            initial_rebalance_delay_ms: 0,
            topic_replication_factor: 1,
            ..Default::default()
        },
    };
    let mut metadata = MetadataLog::new(log, epoch);
    let mut submissions = Vec::new();
    let voter = voter(options, config.directory_id);
    metadata.begin_epoch(&voter, now.wall_ms, &mut files, &mut submissions)?;
    drive(disk, &mut metadata.log, submissions)?;
    let fresh = image.features.is_empty();
    let mut node = Node::new(config, image, metadata, rng, files);
    let mut effects = Vec::new();
    if fresh {
        let records = metadata::controller::bootstrap();
        node.write_metadata(records, crate::metadata_log::OnCommit::Nothing, now, &mut effects);
    }
    node.register(now, &mut effects);
    drive_node(disk, &mut node, now, effects)?;
    open_partitions(disk, &mut node, clean, &mut report)?;
    Ok((node, report))
}

/// Refuses a directory that this version would misread, before anything in it is changed.
fn refuse_snapshots(disk: &dyn Disk, dir: &Path) -> Result<(), StartError> {
    let path = dir.join(METADATA_DIR);
    let names = match disk.list(&path) {
        Err(error) if error.is_not_found() => {
            return Err(StartError(format!(
                "{}: no metadata log is here; its node keeps it in another directory \
                 (metadata.log.dir), which this version can't serve",
                dir.display()
            )));
        }
        names => names?,
    };
    // Whoever wrote a snapshot may have cut the log before it: starting without it would take
    // every topic in it for unknown.
    let bootstrap = format!("{:020}-{:010}.checkpoint", 0, 0);
    if let Some(found) =
        names.iter().find(|name| name.ends_with(".checkpoint") && **name != bootstrap)
    {
        return Err(StartError(format!(
            "{}: this version can't read snapshots of the metadata log; open the directory with \
             what wrote it",
            path.join(found).display()
        )));
    }
    Ok(())
}

/// True if the node was stopped in order; the marker is removed, so that a kill from now on shows.
fn take_clean_marker(disk: &dyn Disk, dir: &Path) -> Result<bool, StartError> {
    let path = dir.join(CLEAN_MARKER);
    let clean = match disk.read_file(&path) {
        Ok(_) => true,
        Err(error) if error.is_not_found() => false,
        Err(error) => return Err(error.into()),
    };
    if clean {
        disk.execute(&Op::RemoveFile { path })?;
        disk.execute(&Op::SyncDir { path: dir.to_owned() })?;
    }
    Ok(clean)
}

fn open_metadata(
    disk: &dyn Disk,
    options: &Options,
    clean: bool,
    files: &mut FileIds,
    report: &mut Report,
) -> Result<(Log, Image), StartError> {
    let path = options.log_dir.join(METADATA_DIR);
    let config = LogConfig { delete: false, ..LogConfig::default() };
    let has_log = disk.list(&path)?.iter().any(|name| name == "partition.metadata");
    let mut log = if has_log {
        let points = read_offsets(disk, &options.log_dir.join(RECOVERY_POINTS))?;
        let key = ("__cluster_metadata".to_owned(), 0);
        let recovery_point = points.get(&key).copied().unwrap_or(0);
        let mode = OpenMode { clean, recovery_point };
        let (log, recovery) = Log::open(disk, &path, config, mode, None, files)?;
        note_cut(report, "__cluster_metadata-0", &recovery);
        if log.start() > 0 {
            return Err(StartError(format!(
                "{}: the metadata log begins at offset {} and no snapshot holds what was before",
                path.display(),
                log.start()
            )));
        }
        log
    } else {
        let mut submissions = Vec::new();
        let mut log = Log::create(&path, Uuid::ONE, config, &mut submissions);
        drive(disk, &mut log, submissions)?;
        log
    };
    let image = replay(disk, &mut log)?;
    Ok((log, image))
}

/// Reads the whole metadata log into an image.
fn replay(disk: &dyn Disk, log: &mut Log) -> Result<Image, StartError> {
    let mut image = Image::default();
    let mut offset = log.start();
    while offset < log.end() {
        let plan = log
            .plan_read(offset, METADATA_READ_BYTES, log.end())
            .map_err(|_| format!("__cluster_metadata-0: no offset {offset}"))?;
        let bytes = plan
            .execute(disk, true)
            .map_err(|error| format!("__cluster_metadata-0: offset {offset}: {error}"))?;
        let mut at = offset;
        for batch in Batches::new(bytes) {
            let began = at;
            let damaged = |what: &dyn std::fmt::Display| {
                StartError(format!("__cluster_metadata-0: batch at offset {began}: {what}"))
            };
            let (header, batch) = batch.map_err(|error| damaged(&error))?;
            at = header.next_offset();
            if header.is_control() {
                continue;
            }
            let records = RecordIter::open(&batch, METADATA_BATCH_MAX).map_err(|e| damaged(&e))?;
            for record in records {
                let record = record.map_err(|error| damaged(&error))?;
                let value = record.value.unwrap_or_default();
                let record = Record::from_value(value).map_err(|error| damaged(&error))?;
                image.replay(&record).map_err(|error| damaged(&error))?;
            }
        }
        if at == offset {
            return Err(StartError(format!("__cluster_metadata-0: nothing at offset {offset}")));
        }
        offset = at;
    }
    Ok(image)
}

/// The raft epoch this node begins, written down before it is used.
fn next_raft_epoch(disk: &dyn Disk, dir: &Path, node_id: i32) -> Result<i32, StartError> {
    let path = dir.join(METADATA_DIR).join("quorum-state");
    let schema = messages::schema::Message::find("QuorumStateData")
        .ok_or_else(|| "no schema of quorum-state".to_owned())?;
    let damaged = |what: &dyn std::fmt::Display| StartError(format!("{}: {what}", path.display()));
    let epoch = match disk.read_file(&path) {
        Ok(content) => {
            let json: serde_json::Value =
                serde_json::from_slice(&content).map_err(|error| damaged(&error))?;
            let version = json["data_version"].as_i64().unwrap_or(1) as i16;
            let bytes = messages::json::from_json(schema, version, &json)
                .map_err(|error| damaged(&error))?;
            let state =
                QuorumStateData::from_bytes(bytes, version).map_err(|error| damaged(&error))?;
            state.leader_epoch.max(0) + 1
        }
        Err(error) if error.is_not_found() => 1,
        Err(error) => return Err(error.into()),
    };
    let state = QuorumStateData { leader_id: node_id, leader_epoch: epoch, ..Default::default() };
    let bytes = state.to_bytes(1).map_err(|error| damaged(&error))?;
    let mut json = messages::json::to_json(schema, 1, bytes).map_err(|error| damaged(&error))?;
    json["data_version"] = 1.into();
    disk.execute(&Op::Replace { path: path.clone(), bytes: json.to_string().into() })?;
    Ok(epoch)
}

fn open_partitions(
    disk: &dyn Disk,
    node: &mut Node,
    clean: bool,
    report: &mut Report,
) -> Result<(), StartError> {
    let dir = node.config.log_dir.clone();
    let recovery = read_offsets(disk, &dir.join(RECOVERY_POINTS))?;
    let starts = read_offsets(disk, &dir.join(LOG_STARTS))?;
    let names = disk.list(&dir)?;
    let topics: Vec<_> = node.image.topics.values().cloned().collect();
    for topic in &topics {
        refuse_other_directories(node, topic)?;
    }
    set_strays_aside(disk, node, &names, report)?;
    for topic in topics {
        let config = TopicConfig::new(&node.image.topic_overrides(&topic.name))
            .map_err(|invalid| format!("topic {}: {invalid}", topic.name))?;
        let config = Arc::new(config);
        for (index, partition) in topic.partitions.iter().enumerate() {
            if !partition.replicas.contains(&node.config.node_id) {
                continue;
            }
            let name = format!("{}-{index}", topic.name);
            let path = dir.join(&name);
            let key = (topic.name.to_string(), index as i32);
            let log = if names.contains(&name) && holds_log(disk, &path)? {
                let recovery_point = recovery.get(&key).copied().unwrap_or(0);
                let mode = OpenMode { clean, recovery_point };
                let start = starts.get(&key).copied();
                let settings = log_config(&config);
                let (log, recovered) =
                    Log::open(disk, &path, settings, mode, start, &mut node.files)?;
                note_cut(report, &name, &recovered);
                if log.topic_id().is_some_and(|id| id != topic.id) {
                    return Err(StartError(format!(
                        "{}: partition.metadata names another topic than {}, whose id is {}; move \
                         the directory away to start without its records",
                        path.display(),
                        topic.name,
                        topic.id
                    )));
                }
                log
            } else {
                // Created, committed, and killed before the directory was made.
                let mut out = Vec::new();
                let mut log = Log::create(&path, topic.id, log_config(&config), &mut out);
                drive(disk, &mut log, out)?;
                log
            };
            let high_watermark = log.end();
            node.add_partition(Partition {
                topic: topic.name.clone(),
                topic_id: topic.id,
                index: index as i32,
                leader_epoch: partition.leader_epoch,
                config: config.clone(),
                log,
                high_watermark,
                offline: false,
                produces: VecDeque::new(),
                fetches: Vec::new(),
            });
            report.partitions += 1;
        }
    }
    disk.execute(&Op::SyncDir { path: dir })?;
    Ok(())
}

/// A replica that lives in another log directory of this node must not be begun anew in this one.
fn refuse_other_directories(node: &Node, topic: &metadata::TopicImage) -> Result<(), StartError> {
    for (index, partition) in topic.partitions.iter().enumerate() {
        let assigned = partition.replicas.iter().zip(&partition.directories);
        for (replica, directory) in assigned {
            let elsewhere = *directory != node.config.directory_id && !directory.is_reserved();
            if *replica == node.config.node_id && elsewhere {
                return Err(StartError(format!(
                    "{}-{index} is in the log directory with id {directory}, not in {}; this \
                     version serves one log directory",
                    topic.name,
                    node.config.log_dir.display()
                )));
            }
        }
    }
    Ok(())
}

/// False for a directory whose making was cut short: nothing was ever appended there.
fn holds_log(disk: &dyn Disk, path: &Path) -> Result<bool, StartError> {
    let names = disk.list(path)?;
    Ok(names.iter().any(|name| name == "partition.metadata" || name.ends_with(".log")))
}

/// Renames directories of partitions that the metadata does not know, as Apache Kafka does: a topic
/// of the same name must not begin in another one's files.
fn set_strays_aside(
    disk: &dyn Disk,
    node: &mut Node,
    names: &[String],
    report: &mut Report,
) -> Result<(), StartError> {
    use metadata::controller::IdSource;
    for name in names {
        let Some((topic, index)) = name.rsplit_once('-') else { continue };
        let Some(index) = index.bytes().all(|digit| digit.is_ascii_digit()).then_some(index) else {
            continue;
        };
        let Ok(index) = index.parse::<usize>() else { continue };
        let known = node.image.topic(topic).is_some_and(|topic| index < topic.partitions.len());
        if known || name == METADATA_DIR {
            continue;
        }
        // A file name has 255 bytes; names of topics are ASCII.
        let kept = name.get(..name.len().min(255 - 39)).unwrap_or("partition");
        let aside = format!("{kept}.{:032x}-stray", node.rng.next_id().0);
        let (from, to) = (node.config.log_dir.join(name), node.config.log_dir.join(&aside));
        disk.execute(&Op::RenameDir { from, to })?;
        report.cuts.push(format!("{name}: unknown to the metadata, set aside as {aside}"));
    }
    Ok(())
}

fn read_offsets(disk: &dyn Disk, path: &Path) -> Result<BTreeMap<(String, i32), i64>, StartError> {
    let content = match disk.read_file(path) {
        Ok(content) => content,
        Err(error) if error.is_not_found() => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let entries =
        parse_offsets(&content).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(entries.into_iter().map(|entry| ((entry.topic, entry.partition), entry.offset)).collect())
}

fn note_cut(report: &mut Report, name: &str, recovery: &ottla_log::RecoveryReport) {
    if let Some(cut) = &recovery.truncated {
        report.cuts.push(format!(
            "{name}: {} bytes after offset {} ({})",
            cut.bytes, cut.offset, cut.reason
        ));
    }
}

/// Closes every log in order and writes the checkpoints and the marker of a clean stop.
///
/// # Errors
/// A disk that fails: no marker is written then, and the next start recovers.
pub fn close(disk: &dyn Disk, mut node: Node) -> Result<(), StartError> {
    let dir = node.config.log_dir.clone();
    for partition in node.partitions.values_mut().filter(|partition| !partition.offline) {
        let mut submissions = Vec::new();
        partition.log.close(&mut submissions);
        drive(disk, &mut partition.log, submissions)?;
        if !partition.log.is_closed() {
            let name = format!("{}-{}", partition.topic, partition.index);
            return Err(StartError(format!("{name}: operations are still under way")));
        }
    }
    let mut submissions = Vec::new();
    node.metadata.log.close(&mut submissions);
    drive(disk, &mut node.metadata.log, submissions)?;
    if !node.metadata.log.is_closed() {
        return Err(StartError("__cluster_metadata-0: operations are still under way".into()));
    }
    let starts: Vec<OffsetEntry> = node
        .partitions
        .values()
        .filter(|partition| partition.log.start() > 0)
        .map(|partition| OffsetEntry {
            topic: partition.topic.to_string(),
            partition: partition.index,
            offset: partition.log.start(),
        })
        .collect();
    let points = node.recovery_points();
    let watermarks: Vec<OffsetEntry> = node
        .partitions
        .values()
        .map(|partition| OffsetEntry {
            topic: partition.topic.to_string(),
            partition: partition.index,
            offset: partition.high_watermark,
        })
        .collect();
    for (name, entries) in
        [(RECOVERY_POINTS, &points), (HIGH_WATERMARKS, &watermarks), (LOG_STARTS, &starts)]
    {
        let bytes = render_offsets(entries).into();
        disk.execute(&Op::Replace { path: dir.join(name), bytes })?;
    }
    if node.partitions.values().any(|partition| partition.offline) {
        return Err(StartError(
            "a log is offline: stopped without the mark of a clean stop".into(),
        ));
    }
    let marker = format!("{{\"version\":0,\"brokerEpoch\":{}}}", node.broker_epoch());
    disk.execute(&Op::Replace { path: dir.join(CLEAN_MARKER), bytes: marker.into() })?;
    Ok(())
}

/// Carries out a log's operations until it has no more.
fn drive(disk: &dyn Disk, log: &mut Log, first: Vec<Submission>) -> Result<(), StartError> {
    let mut queue = VecDeque::from(first);
    while let Some(submission) = queue.pop_front() {
        let result = disk.execute(&submission.op);
        let mut more = Vec::new();
        log.on_completion(Completion { token: submission.token, result }, &mut more)?;
        queue.extend(more);
    }
    Ok(())
}

/// Carries out a node's disk operations until it has no more.
fn drive_node(
    disk: &dyn Disk,
    node: &mut Node,
    now: Now,
    first: Vec<Effect>,
) -> Result<(), StartError> {
    let mut queue = VecDeque::from(first);
    while let Some(effect) = queue.pop_front() {
        match effect {
            Effect::Disk(lane, submission) => {
                let result = disk.execute(&submission.op);
                let completion = Completion { token: submission.token, result };
                let mut more = Vec::new();
                node.step(now, crate::event::Event::Completed(lane, completion), &mut more);
                queue.extend(more);
            }
            Effect::Halt(reason) => return Err(StartError(reason)),
            // Partitions are opened after this, so that nothing is loaded yet.
            Effect::Reply(_) | Effect::Close(..) | Effect::Warn(_) | Effect::Load(..) => {}
        }
    }
    Ok(())
}

const METADATA_DIR: &str = "__cluster_metadata-0";
const CLEAN_MARKER: &str = ".kafka_cleanshutdown";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
const LOG_STARTS: &str = "log-start-offset-checkpoint";
const METADATA_READ_BYTES: usize = 8 << 20;
/// Apache Kafka's bound for a batch of metadata records, doubled for compression overhead.
const METADATA_BATCH_MAX: usize = 16 << 20;
