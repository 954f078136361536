//! Foreign consumers with a group. Each client is a program with the same three commands, so that
//! one scenario judges them all:
//!
//! - `produce ADDRESS TOPIC STATE COUNT MODE` creates the topic with 12 partitions and writes COUNT
//!   varied records (null keys and values, repeated header names, 0 bytes to 1 MiB) with every
//!   codec the client has. STATE gets a line a record: partition, offset, digest of the rest, as
//!   they were acknowledged. MODE is `default`, `idempotent`, or `plain` where the default is
//!   idempotent.
//! - `group ADDRESS TOPIC GROUP FOUND UNTIL` reads with one member, then two, then one again, until
//!   UNTIL records are found altogether; both rebalances happen while there is more to read.
//!   Members commit what they read. FOUND is as STATE, and goes on where it ended.
//! - `seek ADDRESS TOPIC` seeks by offset (and time, where the client can) and has an offset beyond
//!   the end reset to the beginning.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use harness::{Node, have, run};

use crate::{CLIENT, directory, kcat_produce, scripts};

const RECORDS: usize = 100_000;

/// How the node goes down between two runs of a group.
enum Restart {
    Orderly,
    Killed,
}

fn java(test: &str) -> Option<Vec<OsString>> {
    if !have(test, &["mvn", "javac", "java"]) {
        return None;
    }
    let program = harness::root().join("tests/conformance/java/run");
    run(&mut Command::new(&program), harness::DOWNLOAD).success();
    Some(vec![program.into(), "GroupClient".into()])
}

fn franz_go(test: &str) -> Option<Vec<OsString>> {
    Some(vec![crate::go(test, "franz")?.into()])
}

fn kafkajs(test: &str) -> Option<Vec<OsString>> {
    if !have(test, &["node", "npm"]) {
        return None;
    }
    let at = harness::root().join("tests/conformance/node");
    let modules = run(&mut Command::new(at.join("env")), harness::DOWNLOAD).success();
    let mut path = OsString::from("NODE_PATH=");
    path.push(modules.trim());
    Some(vec!["env".into(), path, "node".into(), at.join("group.js").into()])
}

fn librdkafka(test: &str) -> Option<Vec<OsString>> {
    let python = harness::python(test)?;
    Some(vec![python.into(), scripts().join("group.py").into()])
}

#[test]
fn java_groups_read_what_was_written() {
    judge("Java", java, "default", Restart::Orderly);
}

#[test]
fn java_groups_read_what_was_written_without_idempotence_after_a_kill() {
    judge("plain Java", java, "plain", Restart::Killed);
}

#[test]
fn franz_go_groups_read_what_was_written() {
    judge("franz-go", franz_go, "default", Restart::Orderly);
}

#[test]
fn franz_go_groups_read_what_was_written_without_idempotence_after_a_kill() {
    judge("plain franz-go", franz_go, "plain", Restart::Killed);
}

#[test]
fn kafkajs_groups_read_what_was_written() {
    judge("KafkaJS", kafkajs, "default", Restart::Orderly);
}

#[test]
fn kafkajs_groups_read_what_was_written_idempotently_after_a_kill() {
    judge("idempotent KafkaJS", kafkajs, "idempotent", Restart::Killed);
}

#[test]
fn librdkafka_groups_read_what_was_written() {
    judge("librdkafka groups", librdkafka, "default", Restart::Orderly);
}

#[test]
fn librdkafka_groups_read_what_was_written_idempotently_after_a_kill() {
    judge("idempotent librdkafka groups", librdkafka, "idempotent", Restart::Killed);
}

fn judge(
    test: &str,
    program: impl Fn(&str) -> Option<Vec<OsString>>,
    mode: &str,
    restart: Restart,
) {
    let Some(program) = program(test) else { return };
    let directory = directory();
    let mut node = Node::start(directory.path());
    let (state, found) = (directory.path().join("state"), directory.path().join("found"));
    let call = |node: &Node, command: &str, arguments: &[&str]| {
        let mut words = program.iter();
        let mut process = Command::new(words.next().expect("a program"));
        process.args(words).args([command, &node.address(), "groups"]).args(arguments);
        run(&mut process, CLIENT).success()
    };
    let (state_text, found_text) = (text(&state), text(&found));
    call(&node, "produce", &[&state_text, &RECORDS.to_string(), mode]);
    let most = (RECORDS * 3 / 5).to_string();
    let said = call(&node, "group", &["readers", &found_text, &most]);
    assert_repeats_little(&said);
    match restart {
        Restart::Orderly => node.stop(),
        Restart::Killed => node.kill(),
    }
    node.launch();
    // What was committed counts: the group goes on where it was, and reads only the rest.
    let said = call(&node, "group", &["readers", &found_text, &RECORDS.to_string()]);
    assert_repeats_little(&said);
    let (state, found) = (lines(&state), lines(&found));
    assert_eq!(state.len(), RECORDS, "records acknowledged");
    let differing: Vec<_> =
        state.iter().filter(|(place, told)| found.get(*place) != Some(told)).take(3).collect();
    assert!(differing.is_empty() && found.len() == RECORDS, "written {differing:?}, not read");
    call(&node, "seek", &[]);
    node.assert_alive();
}

/// A rebalance may repeat what was read and not yet committed, a lost commit would repeat more.
#[track_caller]
fn assert_repeats_little(said: &str) {
    let repeated = said.split(", ").find_map(|part| part.strip_suffix(" repeated"));
    let repeated: usize = repeated.expect("a count of repeats").parse().expect("a number");
    assert!(repeated <= RECORDS / 20, "{said}");
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Digest by partition and offset.
fn lines(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).expect("the program's lines");
    let pairs = text.lines().filter_map(|line| line.rsplit_once(' '));
    pairs.map(|(place, told)| (place.to_owned(), told.to_owned())).collect()
}

#[test]
fn the_groups_tool_shows_resets_and_deletes() {
    let test = "kafka-consumer-groups";
    if !have(test, &["mvn", "java", "kcat"]) {
        return;
    }
    let jars = harness::root().join("tests/oracle/jars");
    let jars = run(Command::new(jars).arg("broker"), harness::DOWNLOAD).success();
    let directory = directory();
    let mut node = Node::start(directory.path());
    let written: Vec<String> = (0..1000).map(|n| format!("{n}:{n}")).collect();
    kcat_produce(&node, "lines", &written);
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &node.address(), "-G", "readers", "-c", "1000"]);
    kcat.args(["-X", "auto.offset.reset=earliest", "lines"]);
    assert_eq!(run(&mut kcat, CLIENT).success().lines().count(), 1000);
    node.stop();
    node.launch();
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-cp", jars.trim()]);
        command.arg("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
        command.args(["--bootstrap-server", &node.address()]).args(arguments);
        let finished = run(&mut command, CLIENT);
        (finished.code, format!("{}{}", finished.stdout, finished.stderr))
    };
    let shows = |arguments: &[&str], columns: &[&str]| {
        let (code, said) = tool(arguments);
        let mut rows = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert!(code == Some(0) && rows.any(|row| row.starts_with(columns)), "{said}");
    };
    shows(&["--list", "--state"], &["readers", "Empty"]);
    let describe = ["--describe", "--group", "readers"];
    shows(&describe, &["readers", "lines", "0", "1000", "1000", "0"]);
    let reset = ["--group", "readers", "--reset-offsets", "--topic", "lines", "--to-offset", "7"];
    shows(&[&reset[..], &["--execute"]].concat(), &["readers", "lines", "0", "7"]);
    shows(&describe, &["readers", "lines", "0", "7", "1000", "993"]);
    shows(
        &["--group", "readers", "--delete-offsets", "--topic", "lines"],
        &["lines", "0", "Successful"],
    );
    let (code, said) = tool(&["--group", "readers", "--delete"]);
    assert!(code == Some(0) && said.contains("was successful"), "{said}");
    let (_, said) = tool(&["--describe", "--group", "readers"]);
    assert!(said.contains("Group readers not found."), "{said}");
}
