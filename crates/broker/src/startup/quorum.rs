//! The metadata's directory: snapshots, log, and the state of the quorum.

use std::path::Path;

use messages::{Message, QuorumStateData, quorum_state_data};
use metadata::{Loader, QuorumStatement, SnapshotId};
use ottla_log::disk::{Disk, FileIds, Op};
use ottla_log::{Log, LogConfig, OpenMode};
use wire::Uuid;
use wire::batch::Batches;

use super::directories::METADATA_DIR;
use super::{Report, StartError, drive, note_cut, read_offsets};
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
}

/// Opens the metadata log and reads it, from the latest snapshot on.
///
/// # Errors
/// Damage in what was committed, or a disk that fails.
pub fn open(
    disk: &dyn Disk,
    dir: &Path,
    clean: bool,
    files: &mut FileIds,
    report: &mut Report,
) -> Result<Found, StartError> {
    let path = dir.join(METADATA_DIR);
    let names = disk.list(&path).map_err(|error| {
        if error.is_not_found() {
            return StartError(format!(
                "{}: no metadata log is here; if its node keeps it in another directory, name \
                 that with metadata.log.dir",
                dir.display()
            ));
        }
        error.into()
    })?;
    let mut snapshots: Vec<SnapshotId> =
        names.iter().filter_map(|name| SnapshotId::parse(name)).collect();
    snapshots.sort_unstable();
    let latest = snapshots.last().copied().filter(|id| *id != SnapshotId::BOOTSTRAP);
    let config = LogConfig { delete: false, ..LogConfig::default() };
    let mut log = if names.iter().any(|name| name == "partition.metadata") {
        let points = read_offsets(disk, &dir.join(super::RECOVERY_POINTS))?;
        let key = ("__cluster_metadata".to_owned(), 0);
        let recovery_point = points.get(&key).copied().unwrap_or(0);
        let mode = OpenMode { clean, recovery_point };
        let (log, recovery) = Log::open(disk, &path, config, mode, None, files)?;
        note_cut(report, "__cluster_metadata-0", &recovery);
        log
    } else {
        let mut submissions = Vec::new();
        let mut log = Log::create(&path, Uuid::ONE, config, &mut submissions);
        drive(disk, &mut log, submissions)?;
        log
    };
    let mut loader = Loader::default();
    if let Some(id) = latest {
        let file = path.join(id.file_name());
        let content = disk.read_file(&file)?;
        loader.snapshot(&content).map_err(|error| damaged(&file, &error))?;
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
    let tail_bytes = replay(disk, &log, begin, &mut loader)?;
    let bootstrap_path = path.join(SnapshotId::BOOTSTRAP.file_name());
    let mut bootstrap = Loader::default();
    if log.end() == 0 && snapshots.contains(&SnapshotId::BOOTSTRAP) {
        let content = disk.read_file(&bootstrap_path)?;
        bootstrap.snapshot(&content).map_err(|error| damaged(&bootstrap_path, &error))?;
    }
    tidy(disk, &path, &names)?;
    let mut kept = Vec::new();
    for id in snapshots {
        let file = disk.read_file(&path.join(id.file_name()))?;
        let last_timestamp_ms = metadata::snapshot::last_timestamp_ms(&file).unwrap_or(0);
        kept.push(Snapshot { id, bytes: file.len() as u64, last_timestamp_ms });
    }
    let snapshots = Snapshots::new(&path, kept, tail_bytes);
    Ok(Found { log, loader, snapshots, bootstrap })
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
fn replay(disk: &dyn Disk, log: &Log, begin: i64, loader: &mut Loader) -> Result<u64, StartError> {
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

/// The raft epoch this node begins, written down before it is used.
///
/// # Errors
/// A damaged `quorum-state`, another node's vote in it, or a disk that fails.
pub fn begin_epoch(
    disk: &dyn Disk,
    dir: &Path,
    node_id: i32,
    kraft_version: i16,
    last_epoch: i32,
) -> Result<i32, StartError> {
    let path = dir.join(METADATA_DIR).join("quorum-state");
    let schema = messages::schema::Message::find("QuorumStateData")
        .ok_or_else(|| "no schema of quorum-state".to_owned())?;
    let damaged = |what: &dyn std::fmt::Display| StartError(format!("{}: {what}", path.display()));
    let before = match disk.read_file(&path) {
        Ok(content) => {
            let json: serde_json::Value =
                serde_json::from_slice(&content).map_err(|error| damaged(&error))?;
            let version = json["data_version"]
                .as_i64()
                .filter(|version| (0..=1).contains(version))
                .ok_or_else(|| damaged(&"data_version is neither 0 nor 1"))?
                as i16;
            let bytes = messages::json::from_json(schema, version, &json)
                .map_err(|error| damaged(&error))?;
            let state =
                QuorumStateData::from_bytes(bytes, version).map_err(|error| damaged(&error))?;
            let voters = state.current_voters.iter().flatten();
            if let Some(other) = voters.map(|voter| voter.voter_id).find(|id| *id != node_id) {
                return Err(damaged(&format!(
                    "node {other} is a voter, too; this version leads a quorum of its own only"
                )));
            }
            state.leader_epoch
        }
        Err(error) if error.is_not_found() => 0,
        Err(error) => return Err(error.into()),
    };
    let epoch = before.max(last_epoch).max(0) + 1;
    let version = i16::from(kraft_version > 0);
    let mut state =
        QuorumStateData { leader_id: node_id, leader_epoch: epoch, ..Default::default() };
    if version == 0 {
        state.current_voters =
            Some(vec![quorum_state_data::Voter { voter_id: node_id, ..Default::default() }]);
    }
    let bytes = state.to_bytes(version).map_err(|error| damaged(&error))?;
    let mut json =
        messages::json::to_json(schema, version, bytes).map_err(|error| damaged(&error))?;
    json["data_version"] = version.into();
    disk.execute(&Op::Replace { path: path.clone(), bytes: json.to_string().into() })?;
    Ok(epoch)
}

const READ_BYTES: usize = 8 << 20;
