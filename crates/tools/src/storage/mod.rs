//! `kafka-storage`: formats directories, tells what they are, makes ids, tells of releases.
//!
//! Its output is Apache Kafka 4.3.1's; directories are formatted as 4.4.0 formats them, whose
//! metadata this version has: all that it begins with in the first snapshot of the metadata log.
//!
//! The file that `--config` names is read as `start --config` reads it, variables `KAFKA_*`
//! included, so that both mean the same directories; what `start --override` changes, the tool
//! can't know of. It formats for nodes that this version does not serve yet as well (voters besides
//! this node, SASL); these are refused when they start.

mod args;
mod features;
mod format;
mod help;
mod scram;
mod voters;

use std::path::Path;

use broker::rng::Rng;
use metadata::controller::IdSource;
use wire::files::{MetaProperties, parse_meta};

use self::args::{Asked, Command, Flag, Given};
use self::format::META;
use crate::{Failure, Io, Tool, finish, java};

/// The entry in the list of tools.
pub const TOOL: Tool = Tool {
    name: "kafka-storage",
    about: "Formats directories, tells what they are, makes cluster ids.",
    run,
};

fn run(args: &[String], io: &mut Io<'_>) -> u8 {
    finish(io, |io| match args::parse(args, COMMANDS, help::ALL) {
        Err(text) => Err(Failure::new(format!("kafka-storage: error: {text}"))),
        Ok(Asked::Help(text)) => {
            write!(io.out, "{text}")?;
            Ok(0)
        }
        Ok(Asked::Run(command, given)) => carry_out(command.name, &given, io),
    })
}

fn carry_out(command: &str, given: &Given, io: &mut Io<'_>) -> Result<u8, Failure> {
    match command {
        "format" => return format::run(given, io),
        "info" => {
            let storage = format::settings(given).map_err(Failure::new)?;
            return info(&format::directories(&storage), io);
        }
        "version-mapping" => {
            let text = features::mapping(given.last("release-version")).map_err(Failure::new)?;
            write!(io.out, "{text}")?;
        }
        "feature-dependencies" => {
            for wish in given.all("feature") {
                let text = features::dependencies(wish).map_err(Failure::new)?;
                write!(io.out, "{text}")?;
            }
        }
        _ => writeln!(io.out, "{}", ids().map_err(Failure::new)?.next_id())?,
    }
    Ok(0)
}

/// Random numbers from the system's.
fn ids() -> Result<Rng, String> {
    server::entropy().map(Rng::new).map_err(|error| format!("/dev/urandom: {error}"))
}

/// Tells what directories are and what is wrong with them; the exit code tells whether anything is.
fn info(dirs: &[String], io: &mut Io<'_>) -> Result<u8, Failure> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    let mut first: Option<MetaProperties> = None;
    for dir in dirs {
        let (path, dir) = (Path::new(dir), java::file(dir));
        if !path.is_dir() {
            let what = if path.exists() { "is not a directory" } else { "does not exist" };
            problems.push(format!("{dir} {what}"));
            continue;
        }
        found.push(dir.clone());
        let meta = match std::fs::read(path.join(META)) {
            Ok(content) => parse_meta(&content).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                problems.push(format!("{dir} is not formatted."));
                continue;
            }
            Err(error) => Err(error.to_string()),
        };
        match (meta.and_then(whole), &first) {
            (Err(error), _) => problems.push(format!("Error loading {dir}/{META}: {error}")),
            (Ok(meta), None) => first = Some(meta),
            (Ok(meta), Some(first)) if meta.cluster_id != first.cluster_id => {
                problems.push("Mismatched cluster IDs between storage directories.".to_owned());
            }
            (Ok(meta), Some(first)) if meta.node_id != first.node_id => {
                problems.push("Mismatched node IDs between storage directories.".to_owned());
            }
            (Ok(_), Some(_)) => {}
        }
    }
    if first.as_ref().is_some_and(|meta| meta.version == 0) {
        let text = "The kafka configuration file appears to be for a cluster in KRaft mode, but \
                    the directories are formatted for legacy mode.";
        problems.push(text.to_owned());
    }
    section("Found log director", "y:", "ies:", &found, io)?;
    if let Some(meta) = first {
        let node = if meta.version == 0 { "broker.id" } else { "node.id" };
        let mut parts = Vec::new();
        parts.extend(meta.cluster_id.map(|id| format!("cluster.id={id}")));
        parts.extend(meta.directory_id.map(|id| format!("directory.id={id}")));
        parts.extend(meta.node_id.map(|id| format!("{node}={id}")));
        parts.push(format!("version={}", meta.version));
        parts.sort_unstable();
        writeln!(io.out, "Found metadata: {{{}}}\n", parts.join(", "))?;
    }
    section("Found problem", ":", "s:", &problems, io)?;
    Ok(u8::from(!problems.is_empty()))
}

/// What names no node and no cluster is damaged, unless it is as old as ZooKeeper.
fn whole(meta: MetaProperties) -> Result<MetaProperties, String> {
    match (meta.version, &meta.cluster_id, meta.node_id) {
        (1.., None, _) => Err("cluster.id is missing".into()),
        (1.., _, None) => Err("node.id is missing".into()),
        _ => Ok(meta),
    }
}

fn section(
    title: &str,
    one: &str,
    many: &str,
    lines: &[String],
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(io.out, "{title}{}", if lines.len() == 1 { one } else { many })?;
    for line in lines {
        writeln!(io.out, "  {line}")?;
    }
    writeln!(io.out)?;
    Ok(())
}

const COMMANDS: &[&Command] = &[&INFO, &FORMAT, &MAPPING, &DEPENDENCIES, &RANDOM];

static INFO: Command = Command { name: "info", flags: &[CONFIG], exclusive: &[], help: help::INFO };
static FORMAT: Command = Command {
    name: "format",
    flags: &[
        CONFIG,
        Flag { required: true, ..value("cluster-id", "t") },
        value("add-scram", "S"),
        switch("ignore-formatted", "g"),
        value("release-version", "r"),
        value("feature", "f"),
        switch("standalone", "s"),
        switch("no-initial-controllers", "N"),
        value("initial-controllers", "I"),
    ],
    exclusive: &["standalone", "no-initial-controllers", "initial-controllers"],
    help: help::FORMAT,
};
static MAPPING: Command = Command {
    name: "version-mapping",
    flags: &[value("release-version", "r")],
    exclusive: &[],
    help: help::MAPPING,
};
static DEPENDENCIES: Command = Command {
    name: "feature-dependencies",
    flags: &[Flag { required: true, ..value("feature", "f") }],
    exclusive: &[],
    help: help::DEPENDENCIES,
};
static RANDOM: Command =
    Command { name: "random-uuid", flags: &[], exclusive: &[], help: help::RANDOM };

const CONFIG: Flag = Flag { required: true, ..value("config", "c") };

const fn value(long: &'static str, short: &'static str) -> Flag {
    Flag { long, short, value: true, required: false }
}

const fn switch(long: &'static str, short: &'static str) -> Flag {
    Flag { long, short, value: false, required: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_flag_of_its_command() {
        for command in COMMANDS {
            assert!(help::ALL.contains(&format!("\n    {}", command.name)), "{}", command.name);
            for flag in command.flags {
                let words = [format!("  --{}", flag.long), format!("-{} ", flag.short)];
                for word in words {
                    assert!(
                        format!("{} ", command.help).replace('\n', " ").contains(&word),
                        "{word}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_default_that_help_tells_is_the_one_there_is() {
        let newest = features::name(features::NEWEST).unwrap();
        for text in [help::FORMAT, help::MAPPING] {
            assert!(text.contains(newest), "{text}");
        }
        let mapping = features::mapping(None).unwrap();
        assert!(mapping.starts_with(&format!("metadata.version=33 ({newest})\n")), "{mapping}");
    }
}
