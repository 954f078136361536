//! `kafka-storage`: formats directories, tells what they are, makes ids.
//!
//! Directories are formatted as Apache Kafka 4.4.0 formats them. Not here: `--initial-controllers`,
//! `--no-initial-controllers` and `--add-scram`, whose quorums and credentials this version can't
//! serve; they are refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use broker::rng::Rng;
use broker::startup::{self, Format};
use config::file::{self, Plan};
use messages::FeatureLevelRecord;
use metadata::Record;
use metadata::controller::IdSource;
use metadata::image::METADATA_VERSION;
use ottla_log::disk::os::OsDisk;
use wire::files::{MetaProperties, parse_meta};

use crate::{Failure, Io, Tool, finish};

/// The entry in the list of tools.
pub const TOOL: Tool = Tool {
    name: "kafka-storage",
    about: "Formats directories, tells what they are, makes cluster ids.",
    run,
};

fn run(args: &[String], io: &mut Io<'_>) -> u8 {
    finish(io, |io| {
        let (text, code) = carry_out(args).map_err(Failure::new)?;
        io.out.write_all(text.as_bytes())?;
        Ok(code)
    })
}

/// What goes to standard output, and the exit code; or what goes to standard error.
fn carry_out(args: &[String]) -> Result<(String, u8), String> {
    let (command, rest) = match args.split_first() {
        None => return Err(format!("{USAGE}kafka-storage: error: too few arguments")),
        Some((command, rest)) => (command.as_str(), rest),
    };
    let done = |text| (text, 0);
    match command {
        "-h" | "--help" => Ok(done(USAGE.to_owned())),
        "random-uuid" => random_uuid().map(done),
        "info" => info(rest),
        "format" => format(rest).map(done),
        "version-mapping" => version_mapping(rest).map(done),
        other => Err(format!(
            "{USAGE}kafka-storage: error: invalid choice: '{other}' (choose from 'info', \
             'format', 'version-mapping', 'random-uuid')"
        )),
    }
}

fn random_uuid() -> Result<String, String> {
    Ok(format!("{}\n", ids()?.next_id()))
}

fn ids() -> Result<Rng, String> {
    server::entropy().map(Rng::new).map_err(|error| format!("no randomness: {error}"))
}

/// Flags with a value, flags without; what stands in `given` comes from the command line.
#[derive(Debug, Default)]
struct Flags {
    values: BTreeMap<&'static str, Vec<String>>,
    set: Vec<&'static str>,
}

impl Flags {
    fn parse(
        args: &[String],
        with_value: &[(&'static str, &'static str)],
        without: &[(&'static str, &'static str)],
    ) -> Result<Self, String> {
        let mut flags = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (arg.as_str(), None),
            };
            let named =
                |(short, long): &&(&'static str, &'static str)| name == *short || name == *long;
            if let Some((_, long)) = without.iter().find(named) {
                flags.set.push(long);
            } else if let Some((short, long)) = with_value.iter().find(named) {
                let value = inline.or_else(|| args.next().cloned()).ok_or_else(|| {
                    format!("kafka-storage: error: argument {long}/{short}: expected one argument")
                })?;
                flags.values.entry(long).or_default().push(value);
            } else {
                return Err(format!("kafka-storage: error: unrecognized arguments: '{arg}'"));
            }
        }
        Ok(flags)
    }

    fn has(&self, flag: &str) -> bool {
        self.set.contains(&flag)
    }

    fn last(&self, flag: &str) -> Option<&str> {
        self.values.get(flag).and_then(|values| values.last()).map(String::as_str)
    }
}

/// Reads the file that `--config` names.
fn plan(path: &str) -> Result<Plan, String> {
    let content = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let settings = file::read(path, &content).map_err(|problem| problem.to_string())?;
    file::plan(settings, "localhost")
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn directories(plan: &Plan) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = plan.log_dirs.iter().map(PathBuf::from).collect();
    let metadata = PathBuf::from(&plan.metadata_dir);
    if !dirs.contains(&metadata) {
        dirs.push(metadata);
    }
    dirs.sort();
    dirs
}

fn format(args: &[String]) -> Result<String, String> {
    let flags = Flags::parse(
        args,
        &[
            ("-t", "--cluster-id"),
            ("-c", "--config"),
            ("-r", "--release-version"),
            ("-f", "--feature"),
            ("-I", "--initial-controllers"),
            ("-S", "--add-scram"),
        ],
        &[
            ("-g", "--ignore-formatted"),
            ("-s", "--standalone"),
            ("-N", "--no-initial-controllers"),
            ("-h", "--help"),
        ],
    )?;
    if flags.has("--help") {
        return Ok(FORMAT_USAGE.to_owned());
    }
    let required = |long: &str, short: &str| {
        flags.last(long).map(str::to_owned).ok_or_else(|| {
            format!("{FORMAT_USAGE}kafka-storage: error: argument {long}/{short} is required")
        })
    };
    let cluster_id = required("--cluster-id", "-t")?;
    let config = required("--config", "-c")?;
    let unavailable = flags.values.keys().chain(&flags.set).find(|flag| {
        ["--initial-controllers", "--no-initial-controllers", "--add-scram"].contains(flag)
    });
    if let Some(flag) = unavailable {
        return Err(format!(
            "{flag} is not available: this version serves a quorum of one node, without SASL"
        ));
    }
    let plan = plan(&config)?;
    let voters = plan.values.get("controller.quorum.voters").is_some_and(|v| !v.trim().is_empty());
    let standalone = flags.has("--standalone");
    if voters && standalone {
        return Err("You cannot specify controller.quorum.voters and format the node with \
                    --initial-controllers or --standalone. If you want to use dynamic quorum, \
                    please remove controller.quorum.voters and specify \
                    controller.quorum.bootstrap.servers instead."
            .into());
    }
    if !voters && !standalone {
        return Err("Because controller.quorum.voters is not set on this controller, you must \
                    specify one of the following: --standalone, --initial-controllers, or \
                    --no-initial-controllers."
            .into());
    }
    let levels = levels(&flags)?;
    let disk = OsDisk::new();
    let dirs = directories(&plan);
    let mut missing = Vec::new();
    for dir in &dirs {
        match startup::identify(&disk, dir, plan.node_id).map_err(|error| error.to_string())? {
            None => missing.push(dir.clone()),
            Some(MetaProperties { cluster_id: Some(stored), .. }) if stored != cluster_id => {
                return Err(format!(
                    "Invalid cluster.id in: {}. Expected {cluster_id}, but read {stored}",
                    dir.join("meta.properties").display()
                ));
            }
            Some(_) if flags.has("--ignore-formatted") => {}
            Some(_) => {
                return Err(format!(
                    "Log directory {} is already formatted. Use --ignore-formatted to ignore this \
                     directory and format the others.",
                    dir.display()
                ));
            }
        }
    }
    if missing.is_empty() {
        return Ok("All of the log directories are already formatted.\n".into());
    }
    let endpoint = plan.controller.as_ref();
    let endpoint = endpoint.map(|at| (at.name.clone(), at.host.clone(), at.port));
    let format = Format {
        dirs,
        metadata_dir: PathBuf::from(&plan.metadata_dir),
        node_id: plan.node_id,
        cluster_id,
        standalone: standalone
            .then(|| endpoint.unwrap_or_else(|| ("CONTROLLER".into(), "localhost".into(), 9093))),
        records: levels.iter().map(|(name, level)| feature(name, *level)).collect(),
        ignore_formatted: true,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let written = startup::format(&disk, &format, &mut ids()?, now.as_millis() as i64)
        .map_err(|error| error.to_string())?;
    Ok(told(&levels, &written, Path::new(&plan.metadata_dir), standalone))
}

fn feature(name: &str, level: i16) -> Record {
    let name = name.to_owned();
    Record::FeatureLevel(FeatureLevelRecord { name, feature_level: level, ..Default::default() })
}

/// What formatting prints.
fn told(
    levels: &[(&'static str, i16)],
    written: &[PathBuf],
    metadata_dir: &Path,
    standalone: bool,
) -> String {
    let records: Vec<String> = levels
        .iter()
        .map(|(name, level)| {
            format!(
                "ApiMessageAndVersion(FeatureLevelRecord(name='{name}', featureLevel={level}) at \
                 version 0)"
            )
        })
        .collect();
    let mut text =
        format!("Bootstrap metadata: BootstrapMetadata(records=[{}]", records.join(", "));
    let level = levels.first().map_or(0, |(_, level)| *level);
    let name = version_name(level);
    let _ = writeln!(text, ", metadataVersionLevel={level}, source=format command)");
    for dir in written {
        let kind = match (dir == metadata_dir, standalone) {
            (true, true) => "dynamic metadata voter directory",
            (true, false) => "metadata directory",
            (false, _) => "data directory",
        };
        let _ = writeln!(text, "Formatting {kind} {} with metadata.version {name}.", dir.display());
    }
    text
}

/// The features to begin with: those of a release, with some set by hand.
fn levels(flags: &Flags) -> Result<Vec<(&'static str, i16)>, String> {
    let release = flags.last("--release-version");
    let metadata_version = match release {
        Some(name) => find_version(name)?,
        None => NEWEST,
    };
    let mut levels: Vec<(&'static str, i16)> = vec![(METADATA_VERSION, metadata_version)];
    for (feature, steps) in FEATURES {
        let default = steps.iter().filter(|(_, from)| *from <= metadata_version).map(|(l, _)| *l);
        levels.push((feature, default.max().unwrap_or(0)));
    }
    for wish in flags.values.get("--feature").into_iter().flatten() {
        let (name, level) = wish.split_once('=').ok_or_else(|| {
            format!("Can't parse feature=level string {wish}: equals sign not found.")
        })?;
        let level: i16 = level.trim().parse().map_err(|_| {
            format!("Can't parse feature=level string {wish}: unable to parse {level} as a short.")
        })?;
        set_level(&mut levels, name.trim(), level, release.is_some())?;
    }
    levels.retain(|(_, level)| *level != 0);
    Ok(levels)
}

fn set_level(
    levels: &mut [(&'static str, i16)],
    name: &str,
    level: i16,
    released: bool,
) -> Result<(), String> {
    if name == METADATA_VERSION && released {
        return Err("Use --release-version instead of --feature metadata.version=X to avoid \
                    ambiguity."
            .into());
    }
    if name == "kraft.version" {
        return Err("kraft.version follows from --standalone or controller.quorum.voters".into());
    }
    let metadata_version = levels.first().map_or(0, |(_, level)| *level);
    let Some(place) = levels.iter_mut().find(|(known, _)| *known == name) else {
        let mut known: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
        known.push("kraft.version");
        known.sort_unstable();
        return Err(format!(
            "Unsupported feature: {name}. Supported features are: {}",
            known.join(", ")
        ));
    };
    if name == METADATA_VERSION {
        if version_name(level).is_empty() {
            return Err(format!("No feature:{name} with feature level {level}"));
        }
        place.1 = level;
        return Ok(());
    }
    let steps = FEATURES.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, s)| s);
    let needs = steps.iter().find(|(step, _)| *step == level);
    match needs {
        _ if level == 0 => {}
        None => return Err(format!("No feature:{name} with feature level {level}")),
        Some((_, from)) if name == "eligible.leader.replicas.version" && metadata_version < 23 => {
            let _ = from;
            return Err(format!(
                "{name} could not be set to {level} because it depends on metadata.version level 23"
            ));
        }
        Some(_) => {}
    }
    place.1 = level;
    Ok(())
}

fn version_mapping(args: &[String]) -> Result<String, String> {
    let flags = Flags::parse(args, &[("-r", "--release-version")], &[])?;
    let (level, name) = match flags.last("--release-version") {
        Some(name) => (find_version(name)?, name.to_owned()),
        None => (NEWEST, version_name(NEWEST)),
    };
    let mut text = format!("metadata.version={level} ({name})\nkraft.version=");
    let _ = writeln!(text, "{}", i16::from(level >= KRAFT_VERSION_1));
    for feature in MAPPED {
        let steps = FEATURES.iter().find(|(name, _)| *name == feature).map_or(&[][..], |(_, s)| s);
        let default = steps.iter().filter(|(_, from)| *from <= level).map(|(level, _)| *level);
        let _ = writeln!(text, "{feature}={}", default.max().unwrap_or(0));
    }
    Ok(text)
}

/// A release (`4.0`) or an exact version (`4.0-IV3`).
fn find_version(name: &str) -> Result<i16, String> {
    let exact = VERSIONS.iter().find(|(_, known)| *known == name).map(|(level, _)| *level);
    // A release is the last of its versions.
    let release = VERSIONS
        .iter()
        .filter(|(_, known)| known.split_once("-IV").is_some_and(|(of, _)| of == name))
        .map(|(level, _)| *level)
        .max();
    exact.or(release).ok_or_else(|| {
        let known: Vec<&str> = VERSIONS.iter().map(|(_, name)| *name).collect();
        format!(
            "Unknown metadata.version '{name}'. Supported metadata.version are: {}",
            known.join(", ")
        )
    })
}

fn version_name(level: i16) -> String {
    let known = VERSIONS.iter().find(|(known, _)| *known == level);
    known.map(|(_, name)| (*name).to_owned()).unwrap_or_default()
}

fn info(args: &[String]) -> Result<(String, u8), String> {
    let dirs = Flags::parse(args, &[("-c", "--config")], &[]).and_then(|flags| {
        let config = flags.last("--config").ok_or_else(|| {
            "usage: kafka-storage info --config CONFIG\nkafka-storage: error: argument \
             --config/-c is required"
                .to_owned()
        })?;
        plan(config).map(|plan| directories(&plan))
    });
    dirs.map(|dirs| describe(&dirs))
}

/// What the directories say and what is wrong with them; the exit code tells whether anything is.
fn describe(dirs: &[PathBuf]) -> (String, u8) {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    let mut first: Option<MetaProperties> = None;
    for dir in dirs {
        if !dir.exists() {
            problems.push(format!("{} does not exist", dir.display()));
            continue;
        }
        found.push(dir.display().to_string());
        if !dir.is_dir() {
            problems.push(format!("{} is not a directory", dir.display()));
            continue;
        }
        let path = dir.join("meta.properties");
        let meta = match std::fs::read(&path) {
            Ok(content) => parse_meta(&content).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                problems.push(format!("{} is not formatted.", dir.display()));
                continue;
            }
            Err(error) => Err(error.to_string()),
        };
        match (meta, &first) {
            (Err(error), _) => problems.push(format!("Error loading {}: {error}", path.display())),
            (Ok(meta), None) => first = Some(meta),
            (Ok(meta), Some(first)) => {
                if meta.node_id != first.node_id {
                    problems.push("Mismatched node IDs between storage directories.".to_owned());
                }
                if meta.cluster_id != first.cluster_id {
                    problems.push("Mismatched cluster IDs between storage directories.".to_owned());
                }
            }
        }
    }
    let mut text = section("Found log director", "y:", "ies:", &found);
    if let Some(meta) = first {
        let mut parts = Vec::new();
        parts.extend(meta.cluster_id.map(|id| format!("cluster.id={id}")));
        parts.extend(meta.directory_id.map(|id| format!("directory.id={id}")));
        parts.extend(meta.node_id.map(|id| format!("node.id={id}")));
        parts.push(format!("version={}", meta.version));
        let _ = write!(text, "Found metadata: {{{}}}\n\n", parts.join(", "));
    }
    text.push_str(&section("Found problem", ":", "s:", &problems));
    (text, u8::from(!problems.is_empty()))
}

fn section(title: &str, one: &str, many: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("{title}{}\n", if lines.len() == 1 { one } else { many });
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    text.push('\n');
    text
}

/// Features besides `metadata.version`: level, and the metadata version it is the default from.
const FEATURES: [(&str, &[(i16, i16)]); 5] = [
    ("eligible.leader.replicas.version", &[(1, 26)]),
    ("group.version", &[(1, 22)]),
    ("share.version", &[(1, 28), (2, 31)]),
    ("streams.version", &[(1, 29)]),
    ("transaction.version", &[(1, 24), (2, 24)]),
];
/// The order in which `version-mapping` prints them.
const MAPPED: [&str; 5] = [
    "transaction.version",
    "group.version",
    "eligible.leader.replicas.version",
    "share.version",
    "streams.version",
];
/// 3.9-IV0.
const KRAFT_VERSION_1: i16 = 21;
/// 4.4-IV2.
const NEWEST: i16 = 33;

const VERSIONS: [(i16, &str); 27] = [
    (7, "3.3-IV3"),
    (8, "3.4-IV0"),
    (9, "3.5-IV0"),
    (10, "3.5-IV1"),
    (11, "3.5-IV2"),
    (12, "3.6-IV0"),
    (13, "3.6-IV1"),
    (14, "3.6-IV2"),
    (15, "3.7-IV0"),
    (16, "3.7-IV1"),
    (17, "3.7-IV2"),
    (18, "3.7-IV3"),
    (19, "3.7-IV4"),
    (20, "3.8-IV0"),
    (21, "3.9-IV0"),
    (22, "4.0-IV0"),
    (23, "4.0-IV1"),
    (24, "4.0-IV2"),
    (25, "4.0-IV3"),
    (26, "4.1-IV0"),
    (27, "4.1-IV1"),
    (28, "4.2-IV0"),
    (29, "4.2-IV1"),
    (30, "4.3-IV0"),
    (31, "4.4-IV0"),
    (32, "4.4-IV1"),
    (33, "4.4-IV2"),
];

const USAGE: &str = "\
usage: kafka-storage [-h] {info,format,version-mapping,random-uuid} ...

  info             Get information about the log directories on this node.
  format           Format the log directories.
  version-mapping  Look up the feature levels of a release.
  random-uuid      Print a random id.
";

const FORMAT_USAGE: &str = "\
usage: kafka-storage format [-h] --config CONFIG --cluster-id CLUSTER_ID
                            [--release-version RELEASE_VERSION]
                            [--feature FEATURE] [--ignore-formatted]
                            [--standalone]
";
