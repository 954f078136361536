//! `format`: from a command line and the operator's file to directories of a node.
//!
//! Which directories these are is what `start --config` finds: the file, with the variables
//! `KAFKA_*` over it. A directory is locked while it is written, so that no node serves it. All of
//! them are locked and looked at before the first is written; until then no more is made than the
//! directories and the files of their locks.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use broker::startup::{self, FirstQuorum, Format};
use config::file;
use config::storage::{self, Storage};
use messages::FeatureLevelRecord;
use metadata::Record;
use metadata::image::METADATA_VERSION;
use ottla_log::disk::os::OsDisk;
use server::lock;
use wire::Uuid;
use wire::files::{MetaProperties, parse_meta};

use super::args::Given;
use super::{features, ids, scram, voters};
use crate::{Failure, Io, java};

/// Reads the file that `--config` names, and the environment.
///
/// # Errors
/// Every mistake of the file, each in a line.
pub fn settings(given: &Given) -> Result<Storage, String> {
    read(given.last("config").unwrap_or_default(), std::env::vars_os())
}

fn read(
    path: &str,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Storage, String> {
    let content = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let mut settings = file::read(path, &content).map_err(|problem| problem.to_string())?;
    settings.extend(file::read_variables(variables));
    storage::storage(settings)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// The directories, each once and in order.
pub fn directories(storage: &Storage) -> Vec<String> {
    let mut dirs = storage.log_dirs.clone();
    if !dirs.contains(&storage.metadata_dir) {
        dirs.push(storage.metadata_dir.clone());
    }
    dirs.sort_unstable();
    dirs
}

/// Formats what is not formatted yet.
///
/// # Errors
/// Anything that is to be other than it is; no directory was formatted then.
pub fn run(given: &Given, io: &mut Io<'_>) -> Result<u8, Failure> {
    let storage = settings(given).map_err(Failure::new)?;
    let plan = Plan::new(given, &storage).map_err(Failure::new)?;
    let disk = OsDisk::new();
    // What is refused at the first look is not even locked.
    let first = look(&disk, given, &storage, &plan).map_err(Failure::new)?;
    let _locks = lock_all(&disk, &storage, &first.empty).map_err(Failure::new)?;
    let found = look(&disk, given, &storage, &plan).map_err(Failure::new)?;
    if let Some(dir) = found.empty.iter().find(|dir| !first.empty.contains(dir)) {
        return Err(Failure::new(format!("Log directory {dir} was changed by someone else.")));
    }
    for dir in &found.unreadable {
        writeln!(io.out, "I/O error trying to read log directory {dir}. Ignoring...")?;
    }
    if found.empty.is_empty() {
        if found.formatted == 0 {
            return Err(Failure::new("No available log directories to format."));
        }
        writeln!(io.out, "All of the log directories are already formatted.")?;
        return Ok(0);
    }
    writeln!(io.out, "{}", plan.told())?;
    let release = plan.release();
    // In the order in which Apache Kafka's tool comes to them.
    let order = java::map_order(found.empty, |dir| java::string_hash(dir), 16);
    for dir in &order {
        let kind = plan.kind(&storage, dir);
        writeln!(io.out, "Formatting {kind} {dir} with metadata.version {release}.")?;
    }
    let format = Format {
        dirs: order.iter().map(PathBuf::from).collect(),
        metadata_dir: PathBuf::from(&storage.metadata_dir),
        node_id: storage.node_id,
        cluster_id: plan.cluster_id,
        is_controller: storage.is_controller,
        quorum: plan.quorum,
        records: plan.records,
        ignore_formatted: true,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut random = ids().map_err(Failure::new)?;
    startup::format(&disk, &format, &mut random, now.as_millis() as i64)
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(0)
}

/// Makes directories and locks them, and sees that no two names are one directory.
fn lock_all(
    disk: &OsDisk,
    storage: &Storage,
    empty: &[String],
) -> Result<Vec<lock::DirLock>, String> {
    for dir in empty {
        startup::make_dir(disk, Path::new(dir)).map_err(|error| error.to_string())?;
    }
    let mut seen: BTreeMap<PathBuf, String> = BTreeMap::new();
    for dir in directories(storage) {
        // One that can't be read is told of later.
        let Ok(path) = std::fs::canonicalize(&dir) else { continue };
        if let Some(other) = seen.insert(path, dir.clone()) {
            return Err(format!(
                "Log directories {other} and {dir} are the same one: name it once."
            ));
        }
    }
    empty.iter().map(|dir| lock::acquire(Path::new(dir), true)).collect()
}

/// What is to be written.
struct Plan {
    cluster_id: String,
    quorum: FirstQuorum,
    levels: features::Levels,
    records: Vec<Record>,
}

impl Plan {
    fn new(given: &Given, storage: &Storage) -> Result<Self, String> {
        let quorum = quorum(given, storage)?;
        let dynamic = quorum != FirstQuorum::Configured;
        let wishes: Vec<&str> = given.all("feature").collect();
        let levels = features::levels(given.last("release-version"), &wishes, dynamic)?;
        let feature = |(name, level): &(&str, i16)| {
            Record::FeatureLevel(FeatureLevelRecord {
                name: (*name).to_owned(),
                feature_level: *level,
                ..Default::default()
            })
        };
        let mut records: Vec<Record> = levels.iter().map(feature).collect();
        let mut random = ids()?;
        for argument in given.all("add-scram") {
            if level_of(&levels) < features::SCRAM_FROM {
                return Err("SCRAM is only supported in metadata.version 3.5-IV2 or later.".into());
            }
            let credential = scram::parse(argument, &mut random)?;
            records.push(Record::UserScramCredential(credential));
        }
        let cluster_id = given.last("cluster-id").unwrap_or_default().to_owned();
        Ok(Self { cluster_id, quorum, levels, records })
    }

    fn release(&self) -> &'static str {
        features::name(level_of(&self.levels)).unwrap_or_default()
    }

    /// The id that the node's metadata directory is to have, if the command line gives it.
    fn directory_id(&self, node_id: i32) -> Option<Uuid> {
        let FirstQuorum::Voters(voters) = &self.quorum else { return None };
        let own = voters.iter().find(|voter| voter.voter_id == node_id);
        own.map(|voter| voter.voter_directory_id)
    }

    /// The records as Java prints them.
    fn told(&self) -> String {
        let shown = |record: &Record| {
            let text = match record {
                Record::FeatureLevel(FeatureLevelRecord { name, feature_level, .. }) => {
                    format!("FeatureLevelRecord(name='{name}', featureLevel={feature_level})")
                }
                Record::UserScramCredential(credential) => scram::shown(credential),
                other => format!("{other:?}"),
            };
            format!("ApiMessageAndVersion({text} at version 0)")
        };
        let records: Vec<String> = self.records.iter().map(shown).collect();
        format!(
            "Bootstrap metadata: BootstrapMetadata(records=[{}], metadataVersionLevel={}, \
             source=format command)",
            records.join(", "),
            level_of(&self.levels)
        )
    }

    /// What Apache Kafka's tool calls a directory.
    fn kind(&self, storage: &Storage, dir: &str) -> &'static str {
        if dir != storage.metadata_dir {
            return "data directory";
        }
        match &self.quorum {
            FirstQuorum::Configured | FirstQuorum::Learned => "metadata directory",
            FirstQuorum::Alone(_) => "dynamic metadata voter directory",
            FirstQuorum::Voters(voters) => {
                match voters.iter().any(|voter| voter.voter_id == storage.node_id) {
                    true => "dynamic metadata voter directory",
                    false => "dynamic metadata directory",
                }
            }
        }
    }
}

fn level_of(levels: &features::Levels) -> i16 {
    levels.iter().find(|(name, _)| *name == METADATA_VERSION).map_or(0, |(_, level)| *level)
}

/// What the log is to say of its quorum.
fn quorum(given: &Given, storage: &Storage) -> Result<FirstQuorum, String> {
    let voters = given.last("initial-controllers");
    let voters = voters.map(|text| voters::parse(text, &storage.listener_name)).transpose()?;
    let alone = given.has("standalone");
    if alone && !storage.is_controller {
        return Err("You can only use --standalone on a controller.".into());
    }
    if storage.has_voters {
        if alone || voters.is_some() {
            return Err("You cannot specify controller.quorum.voters and format the node with \
                        --initial-controllers or --standalone. If you want to use dynamic quorum, \
                        please remove controller.quorum.voters and specify \
                        controller.quorum.bootstrap.servers instead."
                .into());
        }
        return Ok(FirstQuorum::Configured);
    }
    match (voters, &storage.controller) {
        (Some(voters), _) => Ok(FirstQuorum::Voters(voters)),
        (None, Some(at)) if alone => {
            Ok(FirstQuorum::Alone((at.name.clone(), at.host.clone(), at.port)))
        }
        _ if given.has("no-initial-controllers") => Ok(FirstQuorum::Learned),
        _ if !storage.is_controller => Ok(FirstQuorum::Configured),
        _ => Err("Because controller.quorum.voters is not set on this controller, you must \
                  specify one of the following: --standalone, --initial-controllers, or \
                  --no-initial-controllers."
            .into()),
    }
}

/// Directories as they were found.
#[derive(Default)]
struct Found {
    empty: Vec<String>,
    formatted: usize,
    unreadable: Vec<String>,
}

/// Looks at all directories; what is neither empty nor a node's is left alone.
fn look(disk: &OsDisk, given: &Given, storage: &Storage, plan: &Plan) -> Result<Found, String> {
    let found = inspect(given, storage, plan)?;
    for dir in &found.empty {
        let meta = startup::identify(disk, Path::new(dir), storage.node_id);
        meta.map_err(|error| error.to_string())?;
    }
    Ok(found)
}

/// Reads what all directories say; what is formatted has to be of this node and cluster.
fn inspect(given: &Given, storage: &Storage, plan: &Plan) -> Result<Found, String> {
    let cluster_id = &plan.cluster_id;
    let own = plan.directory_id(storage.node_id);
    let mut found = Found::default();
    let mut formatted: Vec<(String, MetaProperties)> = Vec::new();
    for dir in directories(storage) {
        match std::fs::read(Path::new(&dir).join(META)) {
            Ok(content) => match parse_meta(&content) {
                Ok(meta) => formatted.push((dir, meta)),
                Err(_) => found.unreadable.push(dir),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => found.empty.push(dir),
            Err(_) => found.unreadable.push(dir),
        }
    }
    let mut seen: Vec<(Uuid, &str)> = Vec::new();
    for (dir, meta) in &formatted {
        let path = java::file(&format!("{dir}/{META}"));
        match &meta.cluster_id {
            Some(stored) if stored != cluster_id => {
                return Err(format!(
                    "Invalid cluster.id in: {path}. Expected {cluster_id}, but read {stored}"
                ));
            }
            None if meta.version > 0 => return Err(format!("cluster.id is missing in {path}")),
            _ => {}
        }
        match meta.node_id {
            Some(stored) if stored != storage.node_id => {
                return Err(format!(
                    "Stored node id {stored} doesn't match previous node id {} in {path}. If you \
                     moved your data, make sure your configured node id matches. If you intend to \
                     create a new node, you should remove all data in your data directories.",
                    storage.node_id
                ));
            }
            None if meta.version > 0 => return Err(format!("node.id is missing in {path}")),
            _ => {}
        }
        let Some(id) = meta.directory_id else { continue };
        if let Some((_, other)) = seen.iter().find(|(other, _)| *other == id) {
            return Err(format!(
                "Duplicate directory ID {id} found. It was the ID of {other}, but also of {dir}"
            ));
        }
        if own == Some(id) && *dir != storage.metadata_dir {
            return Err(format!(
                "Directory ID {id} of --initial-controllers is that of log directory {dir}, not \
                 of metadata directory {}",
                storage.metadata_dir
            ));
        }
        seen.push((id, dir));
    }
    found.formatted = formatted.len();
    match formatted.first() {
        Some((dir, _)) if !given.has("ignore-formatted") => Err(format!(
            "Log directory {dir} is already formatted. Use --ignore-formatted to ignore this \
             directory and format the others."
        )),
        _ => Ok(found),
    }
}

/// The file that makes a directory a node's.
pub const META: &str = "meta.properties";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_environment_count_as_they_do_for_the_node() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.properties");
        let text = "process.roles=broker,controller\nnode.id=1\nlog.dirs=/a\n\
                    listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
                    controller.listener.names=CONTROLLER\n\
                    controller.quorum.bootstrap.servers=localhost:9093\n";
        std::fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        let read = |variables: &[(&str, &str)]| {
            let pair = |(name, value): &(&str, &str)| (name.into(), value.into());
            read(&path, variables.iter().map(pair)).map(|storage| directories(&storage))
        };
        assert_eq!(read(&[]).unwrap(), ["/a"]);
        let variables = [("KAFKA_LOG_DIRS", "/c,/b"), ("KAFKA_OPTS", "-x"), ("PATH", "/bin")];
        assert_eq!(read(&variables).unwrap(), ["/b", "/c"]);
        let told = read(&[("KAFKA_NODE_ID", "x")]).unwrap_err();
        assert!(told.starts_with("KAFKA_NODE_ID: node.id"), "{told}");
    }

    /// Formats directories of node 1 below `base`, and gives what is told on standard error.
    fn format(base: &Path, dirs: &str, more: &[&str]) -> String {
        let path = base.join("server.properties");
        let dirs: Vec<String> =
            dirs.split(',').map(|dir| base.join(dir).display().to_string()).collect();
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\nlog.dirs={}\n\
             listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
             controller.listener.names=CONTROLLER\n\
             controller.quorum.bootstrap.servers=localhost:9093\n",
            dirs.join(",")
        );
        std::fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        let args = ["format", "-c", &path, "-t", "AAAAAAAAAAAAAAAAAAAAZg"];
        let args: Vec<String> = args.iter().chain(more).map(|word| (*word).to_owned()).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io { stdin: &mut std::io::empty(), out: &mut out, err: &mut err };
        crate::storage::run(&args, &mut io);
        String::from_utf8(err).unwrap()
    }

    #[test]
    fn one_directory_of_two_names_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let told = format(base.path(), "z/../a,a", &["-s"]);
        assert!(told.contains("are the same one"), "{told}");
        assert!(!base.path().join("a").join(META).exists());
        assert_eq!(format(base.path(), "a", &["-s"]), "");
        assert!(base.path().join("a").join(META).exists());
    }

    #[test]
    fn the_id_of_another_log_directory_is_refused() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(format(base.path(), "b", &["-s"]), "");
        let meta = std::fs::read(base.path().join("b").join(META)).unwrap();
        let id = parse_meta(&meta).unwrap().directory_id.unwrap();
        let voter = format!("1@localhost:9093:{id}");
        let told = format(base.path(), "a,b", &["-g", "-I", &voter]);
        assert!(told.contains("is that of log directory"), "{told}");
        assert!(!base.path().join("a").exists());
    }

    #[test]
    fn nothing_is_written_if_one_directory_is_refused() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join("b")).unwrap();
        std::fs::write(base.path().join("b/letters.txt"), "dear Ottla").unwrap();
        let told = format(base.path(), "a,b", &["-s"]);
        assert!(told.contains("not a data directory"), "{told}");
        assert!(!base.path().join("a").exists());
    }
}
