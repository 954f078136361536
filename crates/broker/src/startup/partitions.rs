//! The logs of partitions: opened where they are, made where they are missing, set aside where the
//! metadata does not know them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use metadata::TopicImage;
use ottla_log::disk::{Deferred, Disk, Op, StorageError};
use ottla_log::{Log, OpenMode};
use wire::Uuid;
use wire::files::{RecoveryMark, parse_marks, parse_partition_metadata};

use super::directories::METADATA_DIR;
use super::{Opened, Report, StartError, drive, drive_node, note_recovery, read_offsets};
use crate::cleaner::{CLEANER_POINTS, Cleaning};
use crate::event::Now;
use crate::node::{LogDir, Node};
use crate::partition::{Partition, log_config, with_gaps};
use crate::upkeep::{LOG_STARTS, RECOVERY_MARKS, RECOVERY_POINTS};

/// What a log directory holds.
struct Found {
    dir: LogDir,
    clean: bool,
    recovery: BTreeMap<(String, i32), i64>,
    starts: BTreeMap<(String, i32), i64>,
    marks: BTreeMap<(String, i32), RecoveryMark>,
    cleaned: BTreeMap<(String, i32), i64>,
    names: BTreeSet<String>,
}

/// Opens every partition this node is a replica of. `clean` are the directories that were closed
/// in order.
///
/// # Errors
/// Anything that would put acknowledged records at risk, or a disk that fails.
pub fn open(
    disk: &dyn Disk,
    node: &mut Node,
    clean: &BTreeSet<PathBuf>,
    now: Now,
    (report, tell): (&mut Report, &mut dyn FnMut(Opened)),
) -> Result<(), StartError> {
    let mut found = Vec::new();
    for dir in node.config.log_dirs.clone() {
        found.push(Found {
            clean: clean.contains(&dir.path),
            recovery: read_offsets(disk, &dir.path.join(RECOVERY_POINTS))?,
            starts: read_offsets(disk, &dir.path.join(LOG_STARTS))?,
            marks: read_marks(disk, &dir.path.join(RECOVERY_MARKS))?,
            cleaned: read_offsets(disk, &dir.path.join(CLEANER_POINTS))?,
            names: disk.list(&dir.path)?.into_iter().collect(),
            dir,
        });
    }
    for found in &mut found {
        set_strays_aside(disk, node, found, report)?;
        inherit_trash(node, found, now);
    }
    let topics: Vec<TopicImage> = node.image.topics.values().cloned().collect();
    let mut told = Vec::new();
    // What recovery makes durable is so for all logs at once: each by itself would cost thousands
    // of them seconds. Nobody is told of any record before that.
    let deferred = Deferred::new(disk);
    let own = node.config.node_id;
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    let all = partitions.filter(|partition| partition.replicas.contains(&own)).count();
    tell(Opened { done: 0, all });
    for topic in &topics {
        let mut tell = |done| tell(Opened { done, all });
        open_topic(&deferred, node, topic, &found, now, (report, &mut tell), &mut told)?;
    }
    for found in &found {
        deferred.execute(&Op::SyncDir { path: found.dir.path.clone() })?;
    }
    deferred.settle()?;
    let mut effects = Vec::new();
    for (topic, index, directory) in told {
        node.tell_directory(topic, index, directory, now, &mut effects);
    }
    drive_node(disk, node, now, effects)
}

fn open_topic(
    disk: &dyn Disk,
    node: &mut Node,
    topic: &TopicImage,
    found: &[Found],
    now: Now,
    (report, tell): (&mut Report, &mut dyn FnMut(usize)),
    told: &mut Vec<(Uuid, i32, Uuid)>,
) -> Result<(), StartError> {
    let config = Arc::new(node.topic_config(&topic.name));
    let shared = Arc::new(log_config(&config));
    for (index, partition) in topic.partitions.iter().enumerate() {
        let Some(place) =
            partition.replicas.iter().position(|replica| *replica == node.config.node_id)
        else {
            continue;
        };
        let assigned = partition.directories.get(place).copied();
        let name = format!("{}-{index}", topic.name);
        let here = locate(disk, node, &name, assigned, found)?;
        let key = (topic.name.to_string(), index as i32);
        let cleaned = here.and_then(|found| found.cleaned.get(&key).copied());
        // What was ever compacted lacks offsets, whatever is asked of the topic now.
        let settings = with_gaps(&shared, cleaned.is_some());
        let (log, dir) = match here {
            Some(found) => {
                let path = found.dir.path.join(&name);
                let recovery_point = found.recovery.get(&key).copied().unwrap_or(0);
                let mark = found.marks.get(&key).copied();
                let mode = OpenMode { clean: found.clean, recovery_point, mark };
                let start = found.starts.get(&key).copied();
                let (log, recovered) =
                    Log::open(disk, &path, settings, mode, start, &mut node.files)?;
                note_recovery(report, &name, &recovered);
                (log, found.dir.id)
            }
            None => {
                // Created, committed, and killed before the directory was made.
                let dir = node.choose_dir(assigned);
                let mut out = Vec::new();
                let mut log = Log::create(&dir.path.join(&name), topic.id, settings, &mut out);
                drive(disk, &mut log, out)?;
                (log, dir.id)
            }
        };
        let mut log = log;
        log.assign_epoch(partition.leader_epoch);
        let mut opened =
            Partition::new(topic, index as i32, partition.leader_epoch, config.clone(), log);
        opened.cleaning = Cleaning::from(cleaned);
        node.add_partition(opened, now);
        if assigned.is_some_and(|assigned| assigned != dir) {
            told.push((topic.id, index as i32, dir));
        }
        report.partitions += 1;
        tell(report.partitions);
    }
    Ok(())
}

/// The directory that holds a partition's log, if one does.
fn locate<'a>(
    disk: &dyn Disk,
    node: &Node,
    name: &str,
    assigned: Option<Uuid>,
    found: &'a [Found],
) -> Result<Option<&'a Found>, StartError> {
    let mut here = None;
    for found in found {
        if !found.names.contains(name) || !holds_log(disk, &found.dir.path.join(name))? {
            continue;
        }
        // Of two, one is what is left of a move between directories: the assigned one counts.
        if here.is_none() || Some(found.dir.id) == assigned {
            here = Some(found);
        }
    }
    // A replica that lives in a directory this node was not given must not be begun anew.
    let elsewhere = assigned
        .filter(|id| !id.is_reserved() && !node.config.log_dirs.iter().any(|dir| dir.id == *id));
    if let (None, Some(directory)) = (here, elsewhere) {
        let dirs: Vec<String> =
            node.config.log_dirs.iter().map(|dir| dir.path.display().to_string()).collect();
        return Err(StartError(format!(
            "{name} is in the log directory with id {directory}, which is none of {}; add it to \
             log.dirs",
            dirs.join(", ")
        )));
    }
    Ok(here)
}

/// False for a directory whose making was cut short: nothing was ever appended there.
pub(crate) fn holds_log(disk: &dyn Disk, path: &Path) -> Result<bool, StorageError> {
    let names = match disk.list(path) {
        Ok(names) => names,
        Err(error) if error.is_not_found() => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(names.iter().any(|name| name == "partition.metadata" || name.ends_with(".log")))
}

/// Renames directories of partitions that the metadata does not know, as Apache Kafka does: a topic
/// of the same name must not begin in another one's files.
fn set_strays_aside(
    disk: &dyn Disk,
    node: &mut Node,
    found: &mut Found,
    report: &mut Report,
) -> Result<(), StartError> {
    use metadata::controller::IdSource;
    for name in found.names.clone() {
        let Some((topic, index)) = name.rsplit_once('-') else { continue };
        let Some(index) = index.bytes().all(|digit| digit.is_ascii_digit()).then_some(index) else {
            continue;
        };
        let Ok(index) = index.parse::<usize>() else { continue };
        if name == METADATA_DIR {
            continue;
        }
        let known =
            node.image.topic(topic).filter(|topic| index < topic.partitions.len()).map(|t| t.id);
        let path = found.dir.path.join(&name);
        // A file, or a directory of somebody else's, is none of ours.
        if disk.list(&path).is_err() || !holds_log(disk, &path)? {
            continue;
        }
        let own = topic_id(disk, &path)?;
        // Without an id in the directory the name decides.
        if known.is_some_and(|known| own.is_none_or(|own| own == known)) {
            continue;
        }
        // A file name has 255 bytes; names of topics are ASCII.
        let suffix = format!("-{index}.{:032x}-stray", node.rng.next_id().0);
        let kept = topic
            .get(..topic.len().min(255usize.saturating_sub(suffix.len())))
            .unwrap_or("partition");
        let aside = format!("{kept}{suffix}");
        disk.execute(&Op::RenameDir { from: path, to: found.dir.path.join(&aside) })?;
        found.names.remove(&name);
        report.cuts.push(format!("{name}: unknown to the metadata, set aside as {aside}"));
    }
    Ok(())
}

/// Reads recovery marks. Without them recovery takes longer and comes to the same, so a file that
/// can't be understood is none.
fn read_marks(
    disk: &dyn Disk,
    path: &Path,
) -> Result<BTreeMap<(String, i32), RecoveryMark>, StartError> {
    let content = match disk.read_file(path) {
        Ok(content) => content,
        Err(error) if error.is_not_found() => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let entries = parse_marks(&content).unwrap_or_default();
    Ok(entries.into_iter().map(|(topic, index, mark)| ((topic, index), mark)).collect())
}

/// The topic a directory says it is of.
fn topic_id(disk: &dyn Disk, path: &Path) -> Result<Option<Uuid>, StartError> {
    match disk.read_file(&path.join("partition.metadata")) {
        Ok(content) => Ok(parse_partition_metadata(&content).ok().map(|meta| meta.topic_id)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Takes over what an earlier life of the node renamed and did not come to remove.
fn inherit_trash(node: &mut Node, found: &Found, now: Now) {
    let delay = node.setting("log.segment.delete.delay.ms").max(TRASH_FIRST_MS);
    for name in found.names.iter().filter(|name| is_deleted(name)) {
        let due = now.steady_ms.saturating_add(delay);
        node.removals.inherit(due, found.dir.path.join(name));
    }
}

/// `<topic>-<partition>.<32 hexadecimal digits>-delete`.
fn is_deleted(name: &str) -> bool {
    let Some((partition, id)) = name.strip_suffix("-delete").and_then(|rest| rest.rsplit_once('.'))
    else {
        return false;
    };
    let index = partition.rsplit_once('-').map_or("", |(_, index)| index);
    id.len() == 32
        && id.bytes().all(|digit| digit.is_ascii_hexdigit())
        && !index.is_empty()
        && index.bytes().all(|digit| digit.is_ascii_digit())
}

/// `log.initial.task.delay.ms`: not before, so that an operator can still step in.
const TRASH_FIRST_MS: i64 = 30_000;
