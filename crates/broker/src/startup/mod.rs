//! From directories to a node that serves, and back: formatting ([`directories`]), the metadata and
//! its quorum, partitions, closing.
//!
//! These run before the first event and after the last one, on the caller's thread; the disk is
//! driven here, operation by operation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use metadata::Record;
use metadata::controller::{self, IdSource};
use ottla_log::Log;
use ottla_log::disk::{Completion, Deferred, Disk, Op, StorageError, Submission};
use wire::files::{OffsetEntry, parse_offsets, render_offsets};

use crate::event::{Effect, Now};
use crate::metadata_log::{MetadataLog, OnCommit};
use crate::node::{Listener, Node, NodeConfig};
use crate::partition::Partition;
use crate::rng::Rng;
use crate::upkeep::RECOVERY_POINTS;

pub mod directories;
pub(crate) mod partitions;
mod quorum;

pub use directories::{FirstQuorum, Format, Identity, format, identify, identify_all, make_dir};

/// What the operator chose.
#[derive(Clone, Debug)]
pub struct Options {
    /// `log.dirs`, at least one.
    pub log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`, one of `log_dirs` or another one.
    pub metadata_dir: PathBuf,
    /// `node.id`.
    pub node_id: i32,
    /// Where clients come in.
    pub listeners: Vec<Listener>,
    /// The controller listener, if there is one: name, host, port.
    pub controller: Option<(String, String, u16)>,
    /// Broker keys that were set, checked.
    pub file: BTreeMap<String, String>,
    /// Empty directories are formatted, as a cluster of their own.
    pub format: bool,
    /// 256 bits of entropy.
    pub seed: [u64; 4],
}

impl Options {
    /// A node of its own in one directory, which is formatted if it is empty.
    pub fn alone(dir: PathBuf, node_id: i32, listener: Listener, seed: [u64; 4]) -> Self {
        Self {
            log_dirs: vec![dir.clone()],
            metadata_dir: dir,
            node_id,
            listeners: vec![listener],
            controller: None,
            file: ALONE.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            format: true,
            seed,
        }
    }
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
    /// Of those, the ones of which recovery read only what came after a mark.
    pub marked: usize,
    /// Bytes that recovery read.
    pub recovered_bytes: u64,
    /// One line a log whose tail had to be cut.
    pub cuts: Vec<String>,
}

/// How far a start has come with the logs of partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Logs opened, and recovered if need be.
    pub done: usize,
    /// All there are.
    pub all: usize,
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

/// Opens a node on its directories, formatting them if they are empty and that was asked for.
///
/// # Errors
/// Anything that would put acknowledged records at risk, or a disk that fails.
pub fn open(disk: &dyn Disk, options: &Options, now: Now) -> Result<(Node, Report), StartError> {
    open_telling(disk, options, now, &mut |_| {})
}

/// As [`open`], telling of each log that was opened.
///
/// # Errors
/// As [`open`].
pub fn open_telling(
    disk: &dyn Disk,
    options: &Options,
    now: Now,
    tell: &mut dyn FnMut(Opened),
) -> Result<(Node, Report), StartError> {
    let mut rng = Rng::new(options.seed);
    let mut report = Report::default();
    let identity = match identify_options(disk, options)? {
        Some(identity) => identity,
        None if options.format => {
            format_alone(disk, options, &mut rng, now)?;
            report.formatted = true;
            let identity = identify_options(disk, options)?;
            identity.ok_or_else(|| StartError("formatting left nothing".to_owned()))?
        }
        None => {
            let dir = &options.metadata_dir;
            let standalone = match options.file.contains_key("controller.quorum.voters") {
                true => "",
                false => " --standalone",
            };
            return Err(StartError(format!(
                "{} is not formatted; run: ottla kafka-storage format -t $(ottla kafka-storage \
                 random-uuid) -c FILE{standalone}",
                dir.display()
            )));
        }
    };
    let config = NodeConfig {
        node_id: options.node_id,
        cluster_id: identity.cluster_id,
        log_dirs: identity.log_dirs,
        metadata_dir: identity.metadata_dir,
        listeners: options.listeners.clone(),
        controller: options.controller.clone(),
        file: options.file.clone(),
        session_slots: 1000,
    };
    let clean = clean_dirs(disk, &config)?;
    let metadata_dir = config.metadata_dir.clone();
    let mut files = Default::default();
    let mut found = quorum::open(disk, &metadata_dir.path, &options.file, &mut files, &mut report)?;
    let fresh = found.log.end() == 0;
    report.recovered = !fresh && clean.len() < config.log_dirs.len();
    let statement = if fresh { found.bootstrap.quorum() } else { found.loader.quorum() };
    let voters = options.file.get("controller.quorum.voters").map(String::as_str);
    quorum::check_voters(&statement, config.node_id, metadata_dir.id, voters)?;
    check_features(&found.loader.image)?;
    let raft = quorum::lead(
        disk,
        &metadata_dir.path,
        &mut found.log,
        found.restored,
        raft_config(&config, &statement, &rng),
        now,
        &mut files,
    )?;
    let in_transaction = found.loader.is_in_transaction();
    let last_ms = found.loader.last_timestamp_ms;
    let metadata = MetadataLog::new(found.log, raft, found.snapshots, last_ms);
    let mut node = Node::new(config, found.loader.image, metadata, rng, files);
    let mut effects = Vec::new();
    if in_transaction {
        // Its writer did not live to end it.
        let abort = messages::AbortTransactionRecord {
            reason: Some("Controller failover".to_owned()),
            ..Default::default()
        };
        let records = vec![Record::AbortTransaction(abort)];
        node.write_metadata(records, OnCommit::Nothing, now, &mut effects);
    }
    if node.image.features.is_empty() {
        let features = bootstrap_features(&mut found.bootstrap);
        let min_insync = node.layers.get("min.insync.replicas").unwrap_or("1").to_owned();
        let records = controller::bootstrap(features, &min_insync);
        node.write_metadata(records, OnCommit::Nothing, now, &mut effects);
    }
    node.register(now, &mut effects);
    drive_node(disk, &mut node, now, effects)?;
    partitions::open(disk, &mut node, &clean, now, (&mut report, tell))?;
    // Nothing is refused any more. Checkpoints come before the first record, so that none speaks
    // of another log of the same name; the markers stay until then, so that a refused start can
    // be made again and finds what this one did.
    let mut effects = Vec::new();
    node.begin_upkeep(now, &mut effects);
    drive_node(disk, &mut node, now, effects)?;
    take_clean_markers(disk, &clean)?;
    node.begin_cleaning(now);
    node.begin_scrubbing(now);
    node.starting = false;
    Ok((node, report))
}

/// This node as a member of its quorum.
fn raft_config(
    config: &NodeConfig,
    statement: &metadata::QuorumStatement,
    rng: &Rng,
) -> raft::Config {
    let directory = config.metadata_dir.id;
    let mut raft = raft::Config::new(config.node_id, directory, config.cluster_id.clone());
    let endpoint = config.controller.iter().map(|(name, host, port)| raft::Endpoint {
        name: name.clone(),
        host: host.clone(),
        port: *port,
    });
    raft.endpoints = endpoint.collect();
    // Without a listener of its own a node leaves what the log says of it.
    if raft.endpoints.is_empty() {
        let voters = statement.voters.iter().flat_map(|voters| &voters.voters);
        let own = voters.filter(|voter| voter.voter_id == config.node_id);
        let endpoint = |at: &messages::voters_record::Endpoint| raft::Endpoint {
            name: at.name.clone(),
            host: at.host.clone(),
            port: at.port,
        };
        raft.endpoints = own.flat_map(|voter| &voter.endpoints).map(endpoint).collect();
    }
    if let Some((name, ..)) = &config.controller {
        raft.listener_name.clone_from(name);
    }
    // Where the log does not say who votes, the operator does, and that can only be this node.
    if statement.kraft_version == 0 {
        raft.static_voters = raft::VoterSet::new([raft::Voter {
            key: raft::ReplicaKey::new(config.node_id, wire::Uuid::ZERO),
            endpoints: raft.endpoints.clone(),
            kraft_versions: (0, 1),
        }]);
    }
    raft.seed = rng.clone().next_u64();
    raft
}

fn identify_options(disk: &dyn Disk, options: &Options) -> Result<Option<Identity>, StartError> {
    identify_all(disk, &options.log_dirs, &options.metadata_dir, options.node_id)
}

/// The features a formatted directory begins with; those of a new cluster if it names none.
fn bootstrap_features(bootstrap: &mut metadata::Loader) -> Vec<Record> {
    let features = metadata::snapshot::records(&bootstrap.image);
    if features.is_empty() { controller::features() } else { features }
}

/// Refuses metadata of a level whose records this version does not know.
fn check_features(image: &metadata::Image) -> Result<(), StartError> {
    let level = image.metadata_version();
    if level > metadata::image::METADATA_VERSION_MAX {
        return Err(StartError(format!(
            "metadata.version of this cluster is {level}; this version knows the levels up to {}",
            metadata::image::METADATA_VERSION_MAX
        )));
    }
    Ok(())
}

/// Formats the directories of a node that is a cluster of its own.
fn format_alone(
    disk: &dyn Disk,
    options: &Options,
    rng: &mut Rng,
    now: Now,
) -> Result<(), StartError> {
    let told = options.listeners.iter().find_map(|listener| listener.advertised.clone());
    let told = told.map(|(host, port)| ("CONTROLLER".to_owned(), host, port));
    let endpoint = options.controller.clone().or(told);
    let mut dirs = options.log_dirs.clone();
    if !dirs.contains(&options.metadata_dir) {
        dirs.push(options.metadata_dir.clone());
    }
    let plan = Format {
        dirs,
        metadata_dir: options.metadata_dir.clone(),
        node_id: options.node_id,
        cluster_id: rng.next_id().to_string(),
        is_controller: true,
        quorum: endpoint.map_or(FirstQuorum::Configured, FirstQuorum::Alone),
        records: controller::features(),
        ignore_formatted: false,
    };
    format(disk, &plan, rng, now.wall_ms)?;
    Ok(())
}

/// The directories that were closed in order.
fn clean_dirs(disk: &dyn Disk, config: &NodeConfig) -> Result<BTreeSet<PathBuf>, StartError> {
    let mut clean = BTreeSet::new();
    for dir in &config.log_dirs {
        match disk.read_file(&dir.path.join(CLEAN_MARKER)) {
            Ok(_) => {
                clean.insert(dir.path.clone());
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(clean)
}

/// Removes the markers of a clean stop, so that a kill from now on shows.
fn take_clean_markers(disk: &dyn Disk, clean: &BTreeSet<PathBuf>) -> Result<(), StartError> {
    for dir in clean {
        disk.execute(&Op::RemoveFile { path: dir.join(CLEAN_MARKER) })?;
        disk.execute(&Op::SyncDir { path: dir.clone() })?;
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

fn note_recovery(report: &mut Report, name: &str, recovery: &ottla_log::RecoveryReport) {
    report.marked += usize::from(recovery.mark.is_some());
    report.recovered_bytes += recovery.recovered_bytes;
    if let Some(cut) = &recovery.truncated {
        report.cuts.push(format!(
            "{name}: {} bytes after offset {} ({})",
            cut.bytes, cut.offset, cut.reason
        ));
    }
}

/// Closes every log in order and writes the checkpoints and the markers of a clean stop.
///
/// # Errors
/// A disk that fails: no marker is written then, and the next start recovers.
pub fn close(disk: &dyn Disk, mut node: Node) -> Result<(), StartError> {
    // All logs become durable at once; the checkpoints and markers below speak of them after that.
    let deferred = Deferred::new(disk);
    let online = |one: &Partition| !one.offline && one.log.offline().is_none();
    for partition in node.partitions.values_mut().filter(|one| online(one)) {
        let mut submissions = Vec::new();
        partition.log.close(&mut submissions);
        drive(&deferred, &mut partition.log, submissions)?;
        if !partition.log.is_closed() {
            let name = format!("{}-{}", partition.topic, partition.index);
            return Err(StartError(format!("{name}: operations are still under way")));
        }
    }
    let mut submissions = Vec::new();
    node.metadata.log.close(&mut submissions);
    drive(&deferred, &mut node.metadata.log, submissions)?;
    deferred.settle()?;
    if !node.metadata.log.is_closed() {
        return Err(StartError("__cluster_metadata-0: operations are still under way".into()));
    }
    for (path, entries) in node.checkpoints() {
        disk.execute(&Op::Replace { path, bytes: render_offsets(&entries).into() })?;
    }
    let mut watermarks: BTreeMap<&Path, Vec<OffsetEntry>> = BTreeMap::new();
    for partition in node.partitions.values() {
        let Some(dir) = partition.log.path().parent() else { continue };
        watermarks.entry(dir).or_default().push(OffsetEntry {
            topic: partition.topic.to_string(),
            partition: partition.index,
            offset: partition.high_watermark,
        });
    }
    for dir in &node.config.log_dirs {
        let entries = watermarks.remove(&*dir.path).unwrap_or_default();
        let bytes = render_offsets(&entries).into();
        disk.execute(&Op::Replace { path: dir.path.join(HIGH_WATERMARKS), bytes })?;
    }
    if node.partitions.values().any(|one| one.offline || one.log.offline().is_some()) {
        return Err(StartError(
            "a log is offline: stopped without the mark of a clean stop".into(),
        ));
    }
    let marker = format!("{{\"version\":0,\"brokerEpoch\":{}}}", node.broker_epoch());
    for dir in &node.config.log_dirs {
        let bytes = marker.clone().into();
        disk.execute(&Op::Replace { path: dir.path.join(CLEAN_MARKER), bytes })?;
    }
    Ok(())
}

/// Carries out a log's operations until it has no more.
pub(crate) fn drive(
    disk: &dyn Disk,
    log: &mut Log,
    first: Vec<Submission>,
) -> Result<(), StorageError> {
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
                node.step(now, crate::event::Event::Completed(lane, vec![completion]), &mut more);
                queue.extend(more);
            }
            Effect::Halt(reason) => return Err(StartError(reason)),
            // A node that is starting loads and cleans nothing, and what is full keeps it from it.
            Effect::Load(..)
            | Effect::Clean(..)
            | Effect::Measure(_)
            | Effect::Reopen(..)
            | Effect::Scrub(..)
            | Effect::BuildKeyFilter(..)
            | Effect::Reply(_)
            | Effect::Close(..)
            | Effect::Info(_)
            | Effect::Warn(_)
            | Effect::Error(_)
            | Effect::LogLevel(..) => {}
        }
    }
    Ok(())
}

/// What one node on its own can't do like a cluster, and need not wait for like one.
pub const ALONE: [(&str, &str); 6] = [
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.replication.factor", "1"),
];
const CLEAN_MARKER: &str = ".kafka_cleanshutdown";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
