//! Ottla's own commands: `ottla topic list`, `ottla consume letters` and the rest.
//!
//! Owns: the list of commands ([`VERBS`]), by which they are found, helped with and documented; the
//! flags and exit codes that all of them share; what a command is given.
//!
//! Exit codes: 0 done, 1 failed, 2 a wrong command line, 3 nobody can be reached, 4 not allowed,
//! 5 there is no such thing, 6 some of several things failed, 130 and 143 ended by a signal.
//!
//! Invariants:
//! - I1: standard output is for data only; talk goes to standard error.
//! - I2: `-o json` has the same fields whatever the terminal; fields are added, never renamed.

mod config;
mod consume;
mod format;
mod get;
mod group;
mod output;
mod produce;
mod range;
mod topic;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IsTerminal as _;

use client::{Admin, ApiError, Client, Error, Options};
use serde_json::{Value, json};
use wire::ErrorCode;

use crate::cluster;
use crate::flags::{Flag, Parsed, Spec, value};
use crate::{Failure, Io, finish};
use output::{Column, Output, escape};

/// A command.
pub struct Verb {
    /// Its name (`ottla topic list`), what it is for, its flags.
    spec: &'static Spec,
    /// What follows it besides flags, as the usage has it, and how many of these.
    arguments: (&'static str, std::ops::RangeInclusive<usize>),
    run: fn(&mut Call<'_, '_>) -> Result<u8, Failure>,
}

impl Verb {
    /// The words after `ottla`: `topic list`.
    pub fn words(&self) -> &'static str {
        self.spec.tool.strip_prefix("ottla ").unwrap_or(self.spec.tool)
    }

    /// What it is for, in a sentence.
    pub fn about(&self) -> &'static str {
        self.spec.about
    }

    fn noun(&self) -> &'static str {
        self.words().split(' ').next().unwrap_or_default()
    }

    fn usage(&self) -> String {
        let arguments = self.arguments.0;
        let space = if arguments.is_empty() { "" } else { " " };
        format!(
            "usage: {}{space}{arguments} [OPTION]...\n\n{}\n{}",
            self.spec.tool,
            self.spec.about,
            self.spec.options()
        )
    }
}

/// Every command there is.
pub const VERBS: &[&Verb] = &[
    &topic::LIST,
    &topic::DESCRIBE,
    &get::GET,
    &topic::CREATE,
    &topic::ALTER,
    &topic::DELETE,
    &group::LIST,
    &group::DESCRIBE,
    &group::RESET,
    &group::DELETE,
    &produce::PRODUCE,
    &consume::CONSUME,
    &config::LIST,
    &config::DESCRIBE,
    &config::SET,
    &config::UNSET,
];

/// True if the word begins a command.
pub fn is_noun(word: &str) -> bool {
    VERBS.iter().any(|verb| verb.noun() == word)
}

/// Carries out `ottla ARGS...`; the exit code.
pub fn run(args: &[String], io: &mut Io<'_>) -> u8 {
    finish(io, |io| {
        let (verb, rest) = find(args, io)?;
        let parsed = match verb.spec.read(rest) {
            Ok(parsed) if !parsed.has("help") => parsed,
            // A flag of no command, so nothing else can be meant.
            Err(failure) if !rest.iter().any(|arg| arg == "-h") => return Err(usage(failure)),
            _ => {
                writeln!(io.out, "{}", verb.usage())?;
                return Ok(0);
            }
        };
        if let Some(switch) = verb.spec.switch_with_value(rest) {
            return Err(usage(verb.spec.misuse(&format!("{switch} takes no value"))));
        }
        if parsed.has("version") {
            return Err(usage(verb.spec.misuse("ottla --version tells the version")));
        }
        let (arguments, count) = &verb.arguments;
        if !count.contains(&parsed.rest.len()) {
            let text = match arguments.is_empty() {
                true => format!("{} takes no arguments", verb.spec.tool),
                false => format!("{} takes {arguments}", verb.spec.tool),
            };
            return Err(usage(verb.spec.misuse(&text)));
        }
        let output = Output::of(&parsed).map_err(usage)?;
        (verb.run)(&mut Call { parsed: &parsed, io, output })
    })
}

/// The command, and what follows its words.
fn find<'a>(args: &'a [String], io: &mut Io<'_>) -> Result<(&'static Verb, &'a [String]), Failure> {
    let (noun, rest) = args.split_first().map_or(("", args), |(noun, rest)| (noun.as_str(), rest));
    let family: Vec<&'static Verb> =
        VERBS.iter().copied().filter(|verb| verb.noun() == noun).collect();
    if let Some(verb) = family.iter().find(|verb| verb.words() == noun) {
        return Ok((verb, rest));
    }
    let Some((word, rest)) = rest.split_first() else {
        return Err(told(family_help(&family), USAGE));
    };
    if ["--help", "-h", "help"].contains(&word.as_str()) {
        writeln!(io.out, "{}", family_help(&family))?;
        return Err(Failure::Code(0));
    }
    let wanted = format!("{noun} {word}");
    if let Some(verb) = family.iter().find(|verb| verb.words() == wanted) {
        return Ok((verb, rest));
    }
    let mut text = format!("error: unknown command ottla {wanted}");
    match ::config::nearest(&wanted, family.iter().map(|verb| verb.words())) {
        Some(nearest) => drop(write!(text, "\n  did you mean ottla {nearest}?")),
        None => drop(write!(text, "\n{}", family_help(&family))),
    }
    Err(told(text, USAGE))
}

fn family_help(family: &[&'static Verb]) -> String {
    let mut text = String::from("usage:");
    for verb in family {
        let _ = write!(text, "\n  {:21} {}", verb.spec.tool, verb.spec.about);
    }
    text
}

/// What a command is given.
struct Call<'a, 'io> {
    parsed: &'a Parsed,
    io: &'a mut Io<'io>,
    output: Output,
}

impl Call<'_, '_> {
    fn arguments(&self) -> &[String] {
        &self.parsed.rest
    }

    /// The arguments as a list of things, each once.
    fn names(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        self.arguments().iter().filter(|name| seen.insert(name.as_str())).cloned().collect()
    }

    /// For people, on standard error.
    fn say(&mut self, text: &str) {
        let _ = writeln!(self.io.err, "{text}");
    }

    fn wrong(&self, text: &str) -> Failure {
        usage(self.parsed.spec().misuse(text))
    }

    /// The address, the file and the single properties of the command line, each stronger than
    /// the one before; `changes` are stronger than all.
    fn properties(&self, changes: &[(&str, String)]) -> Result<BTreeMap<String, String>, Failure> {
        let parsed = self.parsed;
        let mut properties = match parsed.value("command-config").map_err(usage)? {
            Some(path) => cluster::read_properties(path)?,
            None => BTreeMap::new(),
        };
        for pair in parsed.values("X") {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| self.wrong(&format!("-X {pair}: KEY=VALUE")))?;
            properties.insert(key.to_owned(), value.to_owned());
        }
        if let Some(server) = parsed.value("server").map_err(usage)? {
            properties.insert(SERVERS.into(), server.to_owned());
        }
        // What nobody says on the command line or in its file.
        properties.entry(SERVERS.into()).or_insert_with(|| {
            std::env::var(SERVER_VARIABLE).unwrap_or_else(|_| DEFAULT_SERVER.to_owned())
        });
        let changes = changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        properties.extend(changes);
        Ok(properties)
    }

    /// Connects with those properties.
    async fn connect(&mut self, properties: &BTreeMap<String, String>) -> Result<Admin, Failure> {
        self.connect_with(properties, |_| {}).await
    }

    /// The same, with what no property can say.
    async fn connect_with(
        &mut self,
        properties: &BTreeMap<String, String>,
        change: impl FnOnce(&mut Options),
    ) -> Result<Admin, Failure> {
        let mut options = cluster::options(properties, self.io).map_err(failed)?;
        change(&mut options);
        let asked = options.bootstrap.clone();
        match Client::connect(options).await {
            Ok(client) => Ok(Admin::new(client)),
            Err(error) => {
                let mut failure = failed(error);
                if let Failure::Told { text, code: UNREACHABLE } = &mut failure
                    && !asked.iter().any(|server| server == DEFAULT_SERVER)
                    && answers(DEFAULT_SERVER).await
                {
                    let _ = write!(
                        text,
                        "\n  something answers on {DEFAULT_SERVER}; try --server {DEFAULT_SERVER}"
                    );
                }
                Err(failure)
            }
        }
    }

    /// What became of each thing that was to be changed: a row of its `noun`, the word for it and
    /// what else there is to say; errors on standard error, too.
    fn report(
        &mut self,
        noun: &str,
        columns: &[Column],
        results: impl Iterator<Item = (String, Result<(&'static str, Value), ApiError>)>,
    ) -> Result<u8, Failure> {
        let mut tally = Tally::default();
        let mut rows = Vec::new();
        for (name, result) in results {
            let mut row = json!({ noun: name });
            let (word, fields) = match result {
                Ok(done) => {
                    tally.done();
                    done
                }
                Err(error) => {
                    tally.failed(self.io, &name, &error);
                    if !self.output.is_json() {
                        continue;
                    }
                    ("failed", json!({ "error": error_fields(&error) }))
                }
            };
            if let (Some(row), Value::Object(fields)) = (row.as_object_mut(), fields) {
                row.insert("result".into(), word.into());
                row.extend(fields);
            }
            rows.push(row);
        }
        if !rows.is_empty() || self.output.is_json() {
            self.output.rows(self.io.out, columns, &rows)?;
        }
        Ok(tally.code())
    }

    /// Asks before something is destroyed: at a terminal, and elsewhere `--yes` has to be there.
    fn confirm(&mut self, what: &str) -> Result<(), Failure> {
        if self.parsed.has("yes") {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            let text = format!("{what} needs --yes where nobody can be asked");
            return Err(self.wrong(&text));
        }
        let _ = write!(self.io.err, "{what}? [y/N] ");
        let _ = self.io.err.flush();
        let mut answer = String::new();
        self.io.stdin.read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(told("nothing was changed", FAILED)),
        }
    }
}

/// What became of several things.
#[derive(Default)]
struct Tally {
    done: usize,
    codes: Vec<u8>,
}

impl Tally {
    fn done(&mut self) {
        self.done += 1;
    }

    /// Tells what happened to `what` and keeps it for the exit code.
    fn failed(&mut self, io: &mut Io<'_>, what: &str, error: &ApiError) {
        let _ = writeln!(io.err, "error: {}: {error}", escape(what));
        self.codes.push(exit_code(error.code));
    }

    fn code(&self) -> u8 {
        match self.codes.as_slice() {
            [] => 0,
            _ if self.done > 0 => PARTIAL,
            [first, others @ ..] if others.iter().all(|code| code == first) => *first,
            _ => FAILED,
        }
    }
}

/// The fields that an error has in `-o json`.
fn error_fields(error: &ApiError) -> Value {
    let name = error.code.name().unwrap_or("UNKNOWN_SERVER_ERROR");
    json!({ "code": name, "message": error.to_string() })
}

async fn answers(server: &str) -> bool {
    let Ok(mut options) = Options::new(server) else { return false };
    options.connect_timeout = std::time::Duration::from_millis(300);
    options.request_timeout = options.connect_timeout;
    options.api_timeout = options.connect_timeout;
    Client::connect(options).await.is_ok()
}

fn told(text: impl Into<String>, code: u8) -> Failure {
    Failure::Told { text: text.into(), code }
}

/// What the parser of flags refuses ends with the exit code for that.
fn usage(failure: Failure) -> Failure {
    match failure {
        Failure::Told { text, .. } => Failure::Told { text, code: USAGE },
        other => other,
    }
}

/// A call as a whole failed.
fn failed(error: Error) -> Failure {
    let code = match &error {
        Error::Unreachable { .. } | Error::Disconnected { .. } => UNREACHABLE,
        Error::Broker(code, _) => exit_code(*code),
        Error::Config(_) => USAGE,
        _ => FAILED,
    };
    told(format!("error: {error}"), code)
}

fn exit_code(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::UNKNOWN_TOPIC_ID
        | ErrorCode::GROUP_ID_NOT_FOUND
        | ErrorCode::RESOURCE_NOT_FOUND => NOT_FOUND,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::GROUP_AUTHORIZATION_FAILED
        | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
        | ErrorCode::SASL_AUTHENTICATION_FAILED => NOT_ALLOWED,
        _ => FAILED,
    }
}

/// An error about a topic, with the topic that may have been meant.
async fn about_topic(admin: &Admin, name: &str, error: ApiError) -> ApiError {
    let no_topic = [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::UNKNOWN_TOPIC_ID];
    if !no_topic.contains(&error.code) {
        return error;
    }
    let hint = nearest_topic(admin, name).await;
    ApiError { message: format!("there is no such topic{hint}"), code: error.code }
}

/// `did you mean ...?` on a line of its own, if a topic there is has nearly this name.
async fn nearest_topic(admin: &Admin, name: &str) -> String {
    let topics = admin.list_topics().await.unwrap_or_default();
    let nearest = ::config::nearest(name, topics.iter().map(|topic| topic.name.as_str()));
    did_you_mean(nearest)
}

/// `did you mean ...?` on a line of its own.
fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("\n  did you mean {}?", escape(nearest))).unwrap_or_default()
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;
const NOT_ALLOWED: u8 = 4;
const NOT_FOUND: u8 = 5;
const PARTIAL: u8 = 6;

const SERVERS: &str = "bootstrap.servers";
const SERVER_VARIABLE: &str = "OTTLA_SERVER";
/// Where commands look for a cluster unless told otherwise.
pub const DEFAULT_SERVER: &str = "localhost:9092";

/// `--server`.
const SERVER: Flag = value(
    &["server", "bootstrap-server", "s"],
    "host:port,...",
    "Brokers to begin with: OTTLA_SERVER of the environment unless given, or localhost:9092.",
);
/// `-X`.
const PROPERTY: Flag =
    value(&["X"], "key=value", "A property of the connection, by Apache Kafka's name.");
/// `--command-config`.
const COMMAND_CONFIG: Flag =
    value(&["command-config"], "file", "Properties of the connection, a line each.");
/// `--key-format`.
const KEY_FORMAT: Flag = value(
    &["key-format"],
    "form",
    "How the key is written: text, hex or base64. text unless given.",
);
/// `--all-partitions`.
const ALL_PARTITIONS: Flag = crate::flags::switch(
    &["all-partitions"],
    "Look for the key in all partitions: not every producer puts it where Apache Kafka's do.",
);
/// `--output`.
const OUTPUT: Flag = value(
    &["output", "o"],
    "form",
    "table, json (an array), jsonl (an object a line) or name. table unless given.",
);
/// `--dry-run`.
const DRY_RUN: Flag = crate::flags::switch(&["dry-run"], "Only check and show what would happen.");
/// `--yes`.
const YES: Flag = crate::flags::switch(&["yes", "y"], "Do not ask.");

#[cfg(test)]
mod tests {
    use super::*;

    fn call(args: &[&str]) -> (u8, String, String) {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code =
            run(&args, &mut Io { stdin: &mut std::io::empty(), out: &mut out, err: &mut err });
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn wrong_command_lines_are_told_with_what_was_meant() {
        let (code, out, err) = call(&["topic", "lst"]);
        assert_eq!((code, out.as_str()), (2, ""));
        assert_eq!(
            err,
            "error: unknown command ottla topic lst\n  did you mean ottla topic list?\n"
        );
        let (code, _, err) = call(&["topic", "list", "--ouput", "json"]);
        assert_eq!(code, 2);
        assert!(err.contains("did you mean --output?"), "{err}");
        let (code, _, err) = call(&["topic", "describe"]);
        assert_eq!(code, 2);
        assert!(err.starts_with("error: ottla topic describe takes TOPIC..."), "{err}");
        let (code, _, err) = call(&["topic", "list", "-o", "xml"]);
        assert_eq!(code, 2);
        assert!(err.contains("table, json, jsonl or name"), "{err}");
        let (code, _, err) = call(&["topic", "delete", "a", "-s", "localhost:1"]);
        assert_eq!(code, 2, "nobody can be asked: {err}");
    }

    #[test]
    fn help_is_on_standard_output() {
        let (code, out, err) = call(&["topic", "--help"]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("ottla topic create"), "{out}");
        for verb in VERBS {
            let mut words: Vec<&str> = verb.words().split(' ').collect();
            words.push("--help");
            let (code, out, err) = call(&words);
            assert_eq!((code, err.as_str()), (0, ""));
            assert!(out.starts_with(&format!("usage: ottla {}", verb.words())), "{out}");
        }
        let (code, _, err) = call(&["group"]);
        assert_eq!(code, 2);
        assert!(err.contains("ottla group reset"), "{err}");
    }

    #[test]
    fn who_can_not_be_reached_is_exit_code_3() {
        for args in [&["topic", "list"][..], &["consume", "a"], &["group", "describe", "g"]] {
            let mut args = args.to_vec();
            args.extend(["--server", "127.0.0.1:9"]);
            let (code, out, err) = call(&args);
            assert_eq!((code, out.as_str()), (3, ""), "{err}");
            assert!(err.starts_with("error: cannot reach 127.0.0.1:9 ("), "{err}");
        }
    }

    #[test]
    fn the_exit_code_tells_some_from_all() {
        let error = |code| ApiError { code, message: String::new() };
        let code = |done: usize, errors: &[ErrorCode]| {
            let mut tally = Tally { done, codes: Vec::new() };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut io = Io { stdin: &mut std::io::empty(), out: &mut out, err: &mut err };
            for code in errors {
                tally.failed(&mut io, "a", &error(*code));
            }
            tally.code()
        };
        assert_eq!(code(0, &[]), 0);
        assert_eq!(code(1, &[ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]), PARTIAL);
        assert_eq!(code(0, &[ErrorCode::UNKNOWN_TOPIC_OR_PARTITION; 2]), NOT_FOUND);
        assert_eq!(code(0, &[ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode(36)]), FAILED);
    }
}
