//! Our codec and tables against Apache Kafka's own classes, run on the JVM.
//!
//! The Java side (`java/src`) is told how many cases to draw and never what we support, so a
//! message or version that we lack fails here.
#![allow(clippy::print_stdout, reason = "the counts belong into the test's output")]

mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use messages::schema::{self, Message};
use serde_json::Value;
use wire::{Bytes, ErrorCode};

/// Random cases for each version of each message.
const CASES: usize = 50;

/// Covers the first run, which downloads the jars.
const DEADLINE: Duration = Duration::from_secs(1500);

#[test]
fn codec_equals_apache_kafkas_for_every_message_and_version() {
    if !harness::have("codec oracle", &["mvn", "javac", "java"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("cases");
    java(&["CodecOracle", &CASES.to_string(), file.to_str().expect("a path in UTF-8")]);
    let text = std::fs::read_to_string(&file).expect("the oracle's output");

    let mut theirs: BTreeMap<(&str, i16), usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for line in text.lines() {
        if let Some(count) = line.strip_prefix("# ") {
            println!("Apache Kafka: {count}");
            continue;
        }
        let case = Case::parse(line);
        *theirs.entry((case.name, case.version)).or_default() += 1;
        if let Err(fault) = case.check() {
            faults.push(format!("{} v{}: {fault}", case.name, case.version));
        }
    }
    let named: BTreeSet<&str> = theirs.keys().map(|(name, _)| *name).collect();
    println!("Apache Kafka: {} messages, {} versions", named.len(), theirs.len());
    let ours = our_versions();
    let our_names: BTreeSet<&str> = ours.iter().map(|(name, _)| *name).collect();
    println!("ours: {} messages, {} versions", our_names.len(), ours.len());

    let total: usize = theirs.values().sum();
    let kinds: BTreeSet<&str> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
    assert!(
        faults.is_empty(),
        "{} of {total} cases differ, in {} versions:\n{}",
        faults.len(),
        kinds.len(),
        first_of_each(&faults)
    );
    let theirs: BTreeSet<(&str, i16)> = theirs.into_keys().collect();
    let lacking: Vec<_> = theirs.difference(&ours).collect();
    let surplus: Vec<_> = ours.difference(&theirs).collect();
    assert!(lacking.is_empty() && surplus.is_empty(), "lacking {lacking:?}, surplus {surplus:?}");
    assert_eq!(total, ours.len() * CASES);
}

#[test]
fn error_codes_equal_apache_kafkas() {
    if !harness::have("error code oracle", &["mvn", "javac", "java"]) {
        return;
    }
    let mut count = 0;
    for line in java(&["ErrorCodes"]).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [code, name, retriable, refresh, words] = fields.as_slice() else {
            panic!("not five fields: {line}")
        };
        let ours = ErrorCode(code.parse().expect("a 16-bit code"));
        assert_eq!(ours.name(), Some(*name));
        assert_eq!(ours.is_retriable().to_string(), *retriable, "{name} retriable");
        assert_eq!(ours.refreshes_metadata().to_string(), *refresh, "{name} refresh");
        assert!(ours.words().is_empty() || ours.words() == *words, "{name}: {words}");
        count += 1;
    }
    assert_eq!(count, ErrorCode::all().count(), "codes that Apache Kafka lacks");
}

fn java(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("run");
    harness::run(Command::new(script).args(arguments), DEADLINE).success()
}

fn our_versions() -> BTreeSet<(&'static str, i16)> {
    let versions = |message: &'static Message| {
        let range = message.versions.first..=message.versions.last;
        range.map(move |version| (message.name, version))
    };
    schema::ALL.iter().copied().flat_map(versions).collect()
}

/// One line of the Java side's output; its class comment has the format.
struct Case<'a> {
    name: &'a str,
    version: i16,
    bytes: Bytes,
    json: Value,
    /// The bytes without unknown tagged fields, which JSON doesn't show.
    known: Bytes,
}

impl<'a> Case<'a> {
    fn parse(line: &'a str) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, version, hex, json, known] = fields.as_slice() else {
            panic!("not five fields: {line}")
        };
        let bytes = unhex(hex);
        Self {
            name,
            version: version.parse().expect("a version"),
            known: if *known == "=" { bytes.clone() } else { unhex(known) },
            bytes,
            json: serde_json::from_str(json).expect("JSON from the converter"),
        }
    }

    fn check(&self) -> Result<(), String> {
        let message = Message::find(self.name).ok_or("we have no such message")?;
        let typed = messages::transcode(self.name, self.version, self.bytes.clone())
            .map_err(|error| format!("transcode: {error:?}"))?;
        if typed != self.bytes {
            return Err(format!("transcode: {}", difference(&typed, &self.bytes)));
        }
        let json = messages::json::to_json(message, self.version, self.bytes.clone())
            .map_err(|error| format!("to_json: {error}"))?;
        if json != self.json {
            return Err(format!("to_json: {}", json_difference(&json, &self.json)));
        }
        let bytes = messages::json::from_json(message, self.version, &self.json)
            .map_err(|error| format!("from_json: {error}"))?;
        if bytes != self.known {
            return Err(format!("from_json: {}", difference(&bytes, &self.known)));
        }
        Ok(())
    }
}

fn unhex(text: &str) -> Bytes {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn difference(ours: &[u8], theirs: &[u8]) -> String {
    let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    let near = |bytes: &[u8]| {
        let window = bytes.iter().skip(at.saturating_sub(4)).take(16);
        window.map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    format!(
        "byte {at} of {} (theirs {}): {} (theirs {})",
        ours.len(),
        theirs.len(),
        near(ours),
        near(theirs)
    )
}

/// The path of the first difference, and both values there.
fn json_difference(ours: &Value, theirs: &Value) -> String {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                match (a.get(name), b.get(name)) {
                    (Some(one), Some(other)) if one == other => {}
                    (Some(one), Some(other)) => {
                        return format!(".{name}{}", json_difference(one, other));
                    }
                    (Some(_), None) => return format!(".{name}: only ours has it"),
                    _ => return format!(".{name}: only theirs has it"),
                }
            }
            String::new()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            let mut differ = pairs.filter(|(_, (one, other))| one != other);
            let found = differ.next();
            found.map_or(String::new(), |(at, (one, other))| {
                format!("[{at}]{}", json_difference(one, other))
            })
        }
        _ => format!(": {:.80} (theirs {:.80})", ours.to_string(), theirs.to_string()),
    }
}

/// The first fault of each message's version, at most forty: the rest is the same again.
fn first_of_each(faults: &[String]) -> String {
    let mut seen = BTreeSet::new();
    let fresh = faults.iter().filter(|fault| seen.insert(fault.split(':').next()));
    fresh.take(40).map(String::as_str).collect::<Vec<_>>().join("\n")
}
