//! Log directories: whose they are, and how an empty one becomes one of a node's.

use std::path::{Path, PathBuf};

use messages::VotersRecord;
use messages::voters_record::Voter;
use metadata::controller::{self, IdSource};
use metadata::{QuorumStatement, Record, SnapshotId, snapshot};
use ottla_log::disk::{Disk, Op};
use wire::Uuid;
use wire::files::{MetaProperties, parse_meta, render_meta};

use super::StartError;
use super::quorum::FIRST_RECORDS;
use crate::metadata_log::VoterIdentity;
use crate::node::LogDir;

/// The directory of the metadata log within a log directory.
pub const METADATA_DIR: &str = "__cluster_metadata-0";
const META: &str = "meta.properties";

/// Whose directories these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `cluster.id`.
    pub cluster_id: String,
    /// Those of `log.dirs`, in their order.
    pub log_dirs: Vec<LogDir>,
    /// That of `metadata.log.dir`.
    pub metadata_dir: LogDir,
}

/// How to format directories.
#[derive(Clone, Debug)]
pub struct Format {
    /// `log.dirs` and `metadata.log.dir`, each once.
    pub dirs: Vec<PathBuf>,
    /// `metadata.log.dir`.
    pub metadata_dir: PathBuf,
    /// `node.id`.
    pub node_id: i32,
    /// `cluster.id`.
    pub cluster_id: String,
    /// It has a controller. One that has none is given all of the metadata and begins without.
    pub is_controller: bool,
    /// What is known of the quorum at the beginning.
    pub quorum: FirstQuorum,
    /// The records the metadata begins with.
    pub records: Vec<Record>,
    /// Directories that are formatted already are left as they are.
    pub ignore_formatted: bool,
}

/// What a new metadata log says of its quorum.
#[derive(Clone, Debug, PartialEq)]
pub enum FirstQuorum {
    /// Nothing: the operator's file names the voters.
    Configured,
    /// That the log names its voters; this node learns from the others who they are.
    Learned,
    /// This node alone, whose controller listener has that name, host and port.
    Alone((String, String, u16)),
    /// These voters. One that is this node tells the id of its metadata directory.
    Voters(Vec<Voter>),
}

impl FirstQuorum {
    /// What the log says, on a node whose metadata directory has that id.
    fn statement(&self, id: i32, directory_id: Uuid) -> QuorumStatement {
        match self {
            Self::Configured => QuorumStatement::default(),
            Self::Learned => QuorumStatement { kraft_version: 1, voters: None },
            Self::Alone(endpoint) => {
                VoterIdentity { id, directory_id, endpoint: endpoint.clone() }.alone()
            }
            Self::Voters(voters) => {
                let voters = VotersRecord { voters: voters.clone(), ..Default::default() };
                QuorumStatement { kraft_version: 1, voters: Some(voters) }
            }
        }
    }

    /// The id that a node's metadata directory has to have, if that is known before.
    fn directory_id(&self, node_id: i32) -> Option<Uuid> {
        let Self::Voters(voters) = self else { return None };
        let own = voters.iter().find(|voter| voter.voter_id == node_id);
        own.map(|voter| voter.voter_directory_id)
    }
}

/// Reads `meta.properties` of a directory; `None` if it is empty or absent.
///
/// # Errors
/// A directory that holds something else, or another node's data.
pub fn identify(
    disk: &dyn Disk,
    dir: &Path,
    node_id: i32,
) -> Result<Option<MetaProperties>, StartError> {
    let names = match disk.list(dir) {
        Ok(names) => names,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let path = dir.join(META);
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

/// Reads what all directories of a node say; `None` if none of them is formatted.
///
/// # Errors
/// Directories of different nodes or clusters, or only some of them formatted.
pub fn identify_all(
    disk: &dyn Disk,
    log_dirs: &[PathBuf],
    metadata_dir: &Path,
    node_id: i32,
) -> Result<Option<Identity>, StartError> {
    let mut all: Vec<&Path> = log_dirs.iter().map(PathBuf::as_path).collect();
    if !all.contains(&metadata_dir) {
        all.push(metadata_dir);
    }
    let mut found: Vec<(LogDir, Option<String>)> = Vec::new();
    let mut missing = Vec::new();
    for dir in all {
        match identify(disk, dir, node_id)? {
            None => missing.push(dir),
            Some(meta) => {
                let id = match meta.directory_id {
                    Some(id) => id,
                    None => {
                        return Err(StartError(format!(
                            "{}: directory.id is missing; it is given by Apache Kafka 3.7 or \
                             later, start that once",
                            dir.join(META).display()
                        )));
                    }
                };
                found.push((LogDir { id, path: dir.to_owned() }, meta.cluster_id));
            }
        }
    }
    let Some((first, cluster_id)) = found.first().cloned() else { return Ok(None) };
    if let Some(missing) = missing.first() {
        return Err(StartError(format!(
            "{}: not formatted, though {} is; format it with: ottla kafka-storage format -g -t {} \
             -c FILE (and with --standalone, unless controller.quorum.voters is set)",
            missing.display(),
            first.path.display(),
            cluster_id.unwrap_or_default()
        )));
    }
    for (index, (dir, cluster)) in found.iter().enumerate() {
        if *cluster != cluster_id {
            return Err(StartError(format!(
                "{}: cluster.id is {}, but that of {} is {}",
                dir.path.join(META).display(),
                cluster.as_deref().unwrap_or("missing"),
                first.path.display(),
                cluster_id.as_deref().unwrap_or("missing")
            )));
        }
        if found.iter().take(index).any(|(other, _)| other.id == dir.id) {
            return Err(StartError(format!(
                "{}: directory.id {} is that of another directory, too",
                dir.path.join(META).display(),
                dir.id
            )));
        }
    }
    let all: Vec<LogDir> = found.into_iter().map(|(dir, _)| dir).collect();
    let metadata = all.iter().find(|dir| dir.path == metadata_dir).cloned();
    Ok(Some(Identity {
        cluster_id: cluster_id.unwrap_or_default(),
        metadata_dir: metadata.unwrap_or_else(|| first.clone()),
        log_dirs: all.into_iter().filter(|dir| log_dirs.contains(&dir.path)).collect(),
    }))
}

/// True for what a formatting that was cut short may have left: it is simply done again.
fn is_of_formatting(name: &str) -> bool {
    let names = [".lock", "lost+found", "meta.properties.tmp", METADATA_DIR, FIRST_RECORDS];
    names.contains(&name)
}

/// True if the metadata directory holds more than formatting puts there.
fn has_data(disk: &dyn Disk, dir: &Path) -> Result<bool, StartError> {
    match disk.list(&dir.join(METADATA_DIR)) {
        Ok(names) => {
            let bootstrap = SnapshotId::BOOTSTRAP.file_name();
            Ok(!names.iter().all(|name| name.strip_suffix(".tmp").unwrap_or(name) == bootstrap))
        }
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes empty or absent directories those of a node, and gives those it wrote to.
///
/// # Errors
/// A disk that fails, or a directory that is not empty.
pub fn format(
    disk: &dyn Disk,
    format: &Format,
    ids: &mut dyn IdSource,
    now_ms: i64,
) -> Result<Vec<PathBuf>, StartError> {
    let mut written = Vec::new();
    for dir in &format.dirs {
        if identify(disk, dir, format.node_id)?.is_some() {
            if format.ignore_formatted {
                continue;
            }
            return Err(StartError(format!("{} is already formatted", dir.display())));
        }
        let is_metadata_dir = *dir == format.metadata_dir;
        let given = format.quorum.directory_id(format.node_id).filter(|_| is_metadata_dir);
        let id = given.unwrap_or_else(|| ids.next_id());
        make_dir(disk, dir)?;
        if is_metadata_dir && format.is_controller {
            write_bootstrap(disk, format, id, now_ms)?;
            // Its name must not be lost where that of the file below is not.
            disk.execute(&Op::SyncDir { path: dir.clone() })?;
        }
        let meta = MetaProperties {
            version: 1,
            cluster_id: Some(format.cluster_id.clone()),
            node_id: Some(format.node_id),
            directory_id: Some(id),
        };
        // Last, because a directory that has it counts as formatted.
        disk.execute(&Op::Replace { path: dir.join(META), bytes: render_meta(&meta).into() })?;
        disk.execute(&Op::SyncDir { path: dir.clone() })?;
        written.push(dir.clone());
    }
    Ok(written)
}

/// Makes a directory and those above it that are absent; their names are durable then.
///
/// # Errors
/// A disk that fails.
pub fn make_dir(disk: &dyn Disk, dir: &Path) -> Result<(), StartError> {
    let is_there = |dir: &Path| !disk.list(dir).is_err_and(|error| error.is_not_found());
    let mut named = vec![above(dir)];
    for made in dir.ancestors().skip(1).take_while(|dir| !is_there(or_here(dir))) {
        named.push(above(made));
    }
    disk.execute(&Op::CreateDir { path: dir.to_owned() })?;
    // The directory's own name is synced in any case: who locked it may have made it.
    for dir in named.into_iter().rev().flatten() {
        disk.execute(&Op::SyncDir { path: dir.to_owned() })?;
    }
    Ok(())
}

/// The directory that holds the name of this one; the root's is nowhere.
fn above(dir: &Path) -> Option<&Path> {
    dir.parent().map(or_here)
}

/// What is above a relative path of one name has none.
fn or_here(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

fn write_bootstrap(
    disk: &dyn Disk,
    format: &Format,
    directory_id: Uuid,
    now_ms: i64,
) -> Result<(), StartError> {
    let dir = format.metadata_dir.join(METADATA_DIR);
    disk.execute(&Op::CreateDir { path: dir.clone() })?;
    let quorum = format.quorum.statement(format.node_id, directory_id);
    let level = controller::metadata_version(&format.records);
    let file = snapshot::write(&format.records, level, &quorum, 0, now_ms, now_ms)?;
    let path = dir.join(SnapshotId::BOOTSTRAP.file_name());
    disk.execute(&Op::Replace { path, bytes: file })?;
    Ok(())
}
