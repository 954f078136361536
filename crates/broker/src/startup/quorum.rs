//! The metadata's directory: snapshots, log, and the state of the quorum.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use metadata::{Loader, QuorumStatement, SnapshotId};
use ottla_log::disk::{Disk, FileIds, Op};
use ottla_log::{Log, LogConfig, OpenMode};
use raft::{Raft, Restored};
use wire::batch::Batches;
use wire::{Bytes, Uuid};

use super::directories::METADATA_DIR;
use super::{Report, StartError, drive, note_recovery, read_offsets};
use crate::event::Now;
use crate::metadata_log::{Snapshot, Snapshots};

/// The metadata as it was found.
pub struct Found {
    /// Its log.
    pub log: Log,
    /// What it adds up to, and what it says of the quorum.
    pub loader: Loader,
    /// Its snapshots.
    pub snapshots: Snapshots,
    /// The features a log that is still empty begins with.
    pub bootstrap: Loader,
    /// What the quorum's core has to know.
    pub restored: Restored,
}

/// Opens the metadata log and reads it, from the latest snapshot on.
///
/// # Errors
/// Damage in what was committed, or a disk that fails.
pub fn open(
    disk: &dyn Disk,
    dir: &Path,
    file: &BTreeMap<String, String>,
    files: &mut FileIds,
    report: &mut Report,
) -> Result<Found, StartError> {
    let path = dir.join(METADATA_DIR);
    let first_path = dir.join(FIRST_RECORDS);
    let first_records = match disk.read_file(&first_path) {
        Ok(content) => Some(content),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let names = match disk.list(&path) {
        Ok(names) => names,
        Err(error) if error.is_not_found() && first_records.is_some() => Vec::new(),
        Err(error) if error.is_not_found() => {
            return Err(StartError(format!(
                "{}: no metadata log is here; if its node keeps it in another directory, name \
                 that with metadata.log.dir",
                dir.display()
            )));
        }
        Err(error) => return Err(error.into()),
    };
    let mut snapshots: Vec<SnapshotId> =
        names.iter().filter_map(|name| SnapshotId::parse(name)).collect();
    snapshots.sort_unstable();
    let latest = snapshots.last().copied().filter(|id| *id != SnapshotId::BOOTSTRAP);
    let number = |key: &str| file.get(key).and_then(|text| text.trim().parse::<i64>().ok());
    let mut config = LogConfig { delete: false, ..LogConfig::default() };
    if let Some(bytes) = number("metadata.log.segment.bytes") {
        config.segment_bytes = bytes.clamp(1 << 20, i64::from(i32::MAX)) as u32;
    }
    if let Some(ms) = number("metadata.log.segment.ms") {
        config.segment_ms = ms.max(1);
    }
    let mut log = if names.iter().any(|name| name == "partition.metadata") {
        let points = read_offsets(disk, &dir.join(super::RECOVERY_POINTS))?;
        let key = ("__cluster_metadata".to_owned(), 0);
        let recovery_point = points.get(&key).copied().unwrap_or(0);
        // It is written before the markers of a clean stop are taken away, and so always recovered.
        let mode = OpenMode { clean: false, recovery_point, mark: None };
        let (log, recovery) = Log::open(disk, &path, config, mode, None, files)?;
        note_recovery(report, "__cluster_metadata-0", &recovery);
        log
    } else {
        let mut submissions = Vec::new();
        let mut log = Log::create(&path, Uuid::ONE, config, &mut submissions);
        drive(disk, &mut log, submissions)?;
        log
    };
    let mut loader = Loader::default();
    let mut restored = Restored::default();
    if let Some(id) = latest {
        let file = path.join(id.file_name());
        let content = disk.read_file(&file)?;
        loader.snapshot(&content).map_err(|error| damaged(&file, &error))?;
        restore(&mut restored, id, content).map_err(|error| damaged(&file, &error))?;
    }
    let begin = latest.map_or(0, |id| id.end_offset);
    if log.start() > begin {
        return Err(StartError(format!(
            "{}: the log begins at offset {} and no snapshot holds what was before",
            path.display(),
            log.start()
        )));
    }
    // A node that fell behind was given a snapshot instead of the records before it.
    if log.end() < begin {
        let mut submissions = Vec::new();
        if !log.reset_to(begin, &mut submissions) {
            return Err(damaged(&path, &"the log can't be begun anew behind its snapshot"));
        }
        drive(disk, &mut log, submissions)?;
    }
    let bootstrap_path = path.join(SnapshotId::BOOTSTRAP.file_name());
    let mut bootstrap = Loader::default();
    if latest.is_none() && snapshots.contains(&SnapshotId::BOOTSTRAP) {
        let content = disk.read_file(&bootstrap_path)?;
        bootstrap.snapshot(&content).map_err(|error| damaged(&bootstrap_path, &error))?;
        restore(&mut restored, SnapshotId::BOOTSTRAP, content)
            .map_err(|error| damaged(&bootstrap_path, &error))?;
    }
    if let Some(content) = first_records.filter(|_| bootstrap.image.features.is_empty()) {
        let mut features = Loader::default();
        features.snapshot(&content).map_err(|error| damaged(&first_path, &error))?;
        bootstrap.image = features.image;
    }
    let tail_bytes = replay(disk, &log, begin, &mut loader, &mut restored)?;
    tidy(disk, &path, &names)?;
    let mut kept = Vec::new();
    for id in snapshots {
        let file = disk.read_file(&path.join(id.file_name()))?;
        let last_timestamp_ms = metadata::snapshot::last_timestamp_ms(&file).unwrap_or(0);
        kept.push(Snapshot { id, bytes: file.len() as u64, last_timestamp_ms });
    }
    let snapshots = Snapshots::new(&path, kept, tail_bytes);
    restored.log_start = log.start();
    restored.log_end = log.end();
    restored.flushed = log.flushed();
    let epochs = log.epochs().entries().iter();
    restored.epochs = epochs.map(|entry| (entry.epoch, entry.start_offset)).collect();
    restored.snapshots = snapshots.known();
    Ok(Found { log, loader, snapshots, bootstrap, restored })
}

/// Where Apache Kafka before 4.4 leaves the features that a log begins with, when it formats a
/// directory; the log's own directory may not be there then.
pub const FIRST_RECORDS: &str = "bootstrap.checkpoint";

/// Takes in what a snapshot says of the quorum.
fn restore(restored: &mut Restored, id: SnapshotId, file: Bytes) -> Result<(), String> {
    for batch in Batches::new(file) {
        let (header, batch) = batch.map_err(|error| error.to_string())?;
        if header.is_control() {
            restored.read_snapshot(id, &batch)?;
        }
    }
    Ok(())
}

fn damaged(path: &Path, what: &dyn std::fmt::Display) -> StartError {
    StartError(format!("{}: {what}", path.display()))
}

/// Removes what interrupted writing and deleting of snapshots left.
fn tidy(disk: &dyn Disk, path: &Path, names: &[String]) -> Result<(), StartError> {
    let left = |name: &&String| {
        name.ends_with(".checkpoint.part")
            || name.ends_with(".checkpoint.tmp")
            || name.ends_with(".checkpoint.deleted")
    };
    for name in names.iter().filter(left) {
        disk.execute(&Op::RemoveFile { path: path.join(name) })?;
    }
    Ok(())
}

/// Reads the log from an offset on; gives how many bytes that was.
fn replay(
    disk: &dyn Disk,
    log: &Log,
    begin: i64,
    loader: &mut Loader,
    restored: &mut Restored,
) -> Result<u64, StartError> {
    let mut offset = begin;
    let mut bytes_read = 0;
    while offset < log.end() {
        let plan = log
            .plan_read(offset, READ_BYTES, log.end())
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
            // A read begins with the batch that holds the offset.
            if at <= offset {
                continue;
            }
            if header.base_offset < begin {
                return Err(damaged(&"the snapshot ends inside of it"));
            }
            bytes_read += batch.len() as u64;
            loader.batch(&header, &batch).map_err(|error| damaged(&error))?;
            if header.is_control() {
                restored.read_log(&batch).map_err(|error| damaged(&error))?;
            }
        }
        if at == offset {
            return Err(StartError(format!("__cluster_metadata-0: nothing at offset {offset}")));
        }
        offset = at;
    }
    Ok(bytes_read)
}

/// Refuses a quorum that has other voters than this node: their records are not this node's to
/// write.
///
/// # Errors
/// Who else votes.
pub fn check_voters(
    statement: &QuorumStatement,
    node_id: i32,
    directory_id: Uuid,
    static_voters: Option<&str>,
) -> Result<(), StartError> {
    let foreign = |who: String| {
        StartError(format!(
            "the quorum of this cluster has other voters than node {node_id} in this directory: \
             {who}; this version leads a quorum of its own only"
        ))
    };
    if statement.kraft_version > 0 && statement.voters.is_none() {
        return Err(StartError(format!(
            "the metadata log of node {node_id} names no voters: it was formatted with \
             --no-initial-controllers, to learn them from another controller, and this version \
             leads a quorum of its own only; remove meta.properties and {METADATA_DIR} from its \
             metadata directory, then format it with --standalone"
        )));
    }
    if let Some(voters) = statement.voters.as_ref().filter(|_| statement.kraft_version > 0) {
        let mine = |voter: &messages::voters_record::Voter| {
            voter.voter_id == node_id && voter.voter_directory_id == directory_id
        };
        let others: Vec<String> = voters
            .voters
            .iter()
            .filter(|voter| !mine(voter))
            .map(|voter| format!("{} ({})", voter.voter_id, voter.voter_directory_id))
            .collect();
        if !others.is_empty() || voters.voters.is_empty() {
            return Err(foreign(others.join(", ")));
        }
    }
    // `id@host:port`, separated by commas.
    let named = static_voters.unwrap_or_default().split(',').map(str::trim);
    let others: Vec<&str> = named
        .filter(|voter| !voter.is_empty())
        .filter(|voter| {
            let id = voter.split_once('@').map_or(*voter, |(id, _)| id);
            id.trim().parse() != Ok(node_id)
        })
        .collect();
    if others.is_empty() { Ok(()) } else { Err(foreign(others.join(", "))) }
}

/// Lets this node be elected, by itself: the epoch is written down before anything is written in
/// it, and begins with the records that say so.
///
/// # Errors
/// A damaged `quorum-state`, other voters in it, or a disk that fails.
pub fn lead(
    disk: &dyn Disk,
    dir: &Path,
    log: &mut Log,
    mut restored: Restored,
    config: raft::Config,
    now: Now,
    files: &mut FileIds,
) -> Result<Raft, StartError> {
    let path = dir.join(METADATA_DIR).join("quorum-state");
    let damaged = |what: &dyn std::fmt::Display| StartError(format!("{}: {what}", path.display()));
    match disk.read_file(&path) {
        Ok(content) => {
            let text = std::str::from_utf8(&content).map_err(|error| damaged(&error))?;
            let (data, _) = raft::quorum_state::from_text(text).map_err(|error| damaged(&error))?;
            let voters = data.current_voters.iter().flatten();
            if let Some(other) = voters.map(|voter| voter.voter_id).find(|id| *id != config.node_id)
            {
                return Err(damaged(&format!(
                    "node {other} is a voter, too; this version leads a quorum of its own only"
                )));
            }
            restored.quorum_state = Some(data);
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let mut orders = Vec::new();
    let mut raft = Raft::new(config, restored, now.wall_ms, &mut orders);
    let mut orders = VecDeque::from(orders);
    while let Some(order) = orders.pop_front() {
        let event = match order {
            raft::Effect::Store { number, data, version } => {
                let text = raft::quorum_state::to_text(&data, version);
                let bytes = text.map_err(|error| damaged(&error))?.into();
                disk.execute(&Op::Replace { path: path.clone(), bytes })?;
                raft::Event::Stored { number }
            }
            raft::Effect::AppendControl { batch, .. } => {
                let mut submissions = Vec::new();
                log.append_as_follower(now.wall_ms, batch, files, &mut submissions)
                    .map_err(|error| damaged(&format!("{error:?}")))?;
                drive(disk, log, submissions)?;
                raft::Event::Flushed { end: log.flushed() }
            }
            raft::Effect::Became { .. } | raft::Effect::Committed { .. } => continue,
            raft::Effect::Halt { reason } => return Err(StartError(reason)),
            other => return Err(damaged(&format!("a quorum of one does not order {other:?}"))),
        };
        let mut more = Vec::new();
        raft.step(now.wall_ms, event, &mut more);
        orders.extend(more);
    }
    if raft.leading().is_none() || raft.committed() != log.end() {
        return Err(damaged(&"this node does not come to lead its quorum"));
    }
    Ok(raft)
}

const READ_BYTES: usize = 8 << 20;
