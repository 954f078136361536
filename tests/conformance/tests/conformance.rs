//! The built broker from outside: foreign clients, Apache Kafka's own tools, crashes and hostile
//! bytes. With `OTTLA_PEER=apache` the same tests run against Apache Kafka.

mod admin;
mod console;
mod datadir;
mod faults;
mod groups;
mod hostile;
mod operate;
mod smoke;
mod tools;
mod verbs;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{Node, have, run, wait_until};
use tempfile::TempDir;

/// For a foreign client's whole run.
const CLIENT: Duration = Duration::from_secs(300);

/// One of our Go programs, built; `None` means skip `test`.
fn go(test: &str, program: &str) -> Option<PathBuf> {
    if !have(test, &["go"]) {
        return None;
    }
    let build = harness::root().join("tests/conformance/go/build");
    let built = run(Command::new(build).arg(program), harness::DOWNLOAD).success();
    Some(built.trim().into())
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn kcat_reads_back_the_keyed_lines_it_wrote() {
    if !have("kcat round trip", &["kcat"]) {
        return;
    }
    let directory = directory();
    let mut node = Node::start(directory.path());
    let lines: Vec<String> = (0..1000).map(|n| format!("key-{}:value {n} ěšč", n % 7)).collect();
    kcat_produce(&node, "lines", &lines);
    let check = |node: &Node| {
        let read = kcat_consume(node, "lines", "%p %o %k:%s\n");
        let mut following = std::collections::BTreeMap::new();
        let mut contents = Vec::new();
        for line in read.lines() {
            let mut parts = line.splitn(3, ' ');
            let mut number = || parts.next().and_then(|part| part.parse::<i64>().ok());
            let (partition, offset) = (number().expect("partition"), number().expect("offset"));
            let next = following.entry(partition).or_insert(0);
            assert_eq!(offset, *next, "gap in partition {partition}");
            *next += 1;
            contents.push(parts.next().expect("key and value").to_owned());
        }
        contents.sort_unstable();
        let mut expected = lines.clone();
        expected.sort_unstable();
        assert_eq!(contents, expected);
    };
    check(&node);
    node.stop();
    node.launch();
    check(&node);
}

#[test]
fn librdkafka_reads_back_what_it_wrote_after_a_restart() {
    librdkafka_round_trip("librdkafka round trip", &[]);
}

#[test]
fn librdkafka_reads_back_what_it_wrote_idempotently_after_a_restart() {
    librdkafka_round_trip("idempotent librdkafka round trip", &["--idempotent"]);
}

fn librdkafka_round_trip(test: &str, flags: &[&str]) {
    let Some(python) = harness::python(test) else { return };
    let directory = directory();
    let mut node = Node::start(directory.path());
    let state = directory.path().join("state");
    let mut arguments = vec!["--count", "100000"];
    arguments.extend(flags);
    script(&python, "roundtrip.py", "produce", &node, "varied", &state, &arguments);
    let before = script(&python, "roundtrip.py", "consume", &node, "varied", &state, &[]);
    node.stop();
    node.launch();
    let after = script(&python, "roundtrip.py", "consume", &node, "varied", &state, &[]);
    assert!(before.starts_with("100000 records"), "{before}");
    assert_eq!(before, after);
}

#[test]
fn acknowledged_records_survive_kill_9() {
    crash_rounds("kill -9", &[], Node::start);
}

#[test]
fn idempotent_records_survive_kill_9_once_and_in_order() {
    crash_rounds("idempotent kill -9", &["--idempotent"], Node::start);
}

/// The test above can fail: it does where there is no recovery, and says what was lost.
#[cfg(feature = "planted")]
#[test]
fn without_recovery_kill_9_loses_records_and_is_found_out() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let test = "kill -9 without recovery";
    if harness::python(test).is_none() {
        return;
    }
    for flags in [&[][..], &["--idempotent"]] {
        let found = catch_unwind(AssertUnwindSafe(|| {
            crash_rounds(test, flags, |directory| Node::planted(directory, "RecoveryLeftOut"));
        }));
        let panic = found.expect_err("records are lost, and nobody noticed");
        let said = panic.downcast_ref::<String>().map_or("", String::as_str);
        let lost = said.contains("acknowledged records are lost")
            || said.contains("another record than the acknowledged one");
        assert!(lost, "found out by something else: {said}");
    }
}

/// One producer throughout; each round kills the node amid its load and checks after its return.
fn crash_rounds(test: &str, flags: &[&str], start: impl Fn(&Path) -> Node) {
    let Some(python) = harness::python(test) else { return };
    let rounds = std::env::var("OTTLA_ROUNDS").map_or(3, |text| text.parse().expect("a number"));
    let directory = directory();
    let mut node = start(directory.path());
    let acks = directory.path().join("acks");
    let mut producer = Producer::start(&python, &node, &acks, flags);
    for round in 0..rounds {
        let enough = acknowledged(&acks) + 1000;
        let what = format!("1 000 acknowledgements in round {round}");
        wait_until(&what, Duration::from_secs(60), || {
            node.assert_alive();
            producer.assert_alive();
            acknowledged(&acks) >= enough
        });
        node.kill();
        node.launch();
        // Records written meanwhile are no concern of this check, but what they follow is.
        let copy = directory.path().join("acks-so-far");
        fs::copy(&acks, &copy).expect("a copy of the acknowledgements");
        script(&python, "crash.py", "verify", &node, "crash", &copy, flags);
    }
    producer.finish();
    script(&python, "crash.py", "verify", &node, "crash", &acks, flags);
}

/// Whole lines in the file that the producer appends to.
fn acknowledged(acks: &Path) -> usize {
    let bytes = fs::read(acks).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// `crash.py produce`, which ends when its standard input does.
struct Producer {
    child: Child,
    log: PathBuf,
}

impl Producer {
    fn start(python: &Path, node: &Node, acks: &Path, flags: &[&str]) -> Self {
        let log = acks.with_extension("log");
        let output = File::create(&log).expect("a log file for the producer");
        let mut command = Command::new(python);
        command.arg(scripts().join("crash.py")).arg("produce");
        command.arg(node.address()).arg("crash").arg(acks).args(flags);
        command.stdin(Stdio::piped()).stdout(output.try_clone().expect("a handle")).stderr(output);
        Self { child: command.spawn().expect("Python"), log }
    }

    fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().expect("the state of a child") {
            panic!("the producer ended with {status}: {}", self.said());
        }
    }

    fn finish(&mut self) {
        drop(self.child.stdin.take());
        let mut status = None;
        wait_until("the producer's end", Duration::from_secs(90), || {
            status = self.child.try_wait().expect("the state of a child");
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "producer: {}", self.said());
    }

    fn said(&self) -> String {
        let mut text = String::new();
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        text
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn dump_log_segments_finds_no_fault_in_our_files() {
    let test = "DumpLogSegments";
    let Some(python) = harness::python(test) else { return };
    if !have(test, &["mvn", "java", "kcat"]) {
        return;
    }
    let jars = harness::root().join("tests/oracle/jars");
    let jars = run(Command::new(jars).arg("broker"), harness::DOWNLOAD).success();
    let directory = directory();
    let mut node = Node::start(directory.path());
    for (topic, flag) in [("plain", None), ("once", Some("--idempotent"))] {
        let state = directory.path().join(topic);
        let mut arguments = vec!["--count", "20000", "--segment-bytes", "1048576"];
        arguments.extend(flag);
        script(&python, "roundtrip.py", "produce", &node, topic, &state, &arguments);
    }
    let lines: Vec<String> = (0..1000).map(|n| format!("{n}:{n}")).collect();
    kcat_produce(&node, "lines", &lines);
    // A segment that holds eight entries in its index rolls all the time.
    let mut create = Command::new(harness::binary());
    create.args(["topic", "create", "rolling", "--partitions", "4", "--server", &node.address()]);
    for key in ["segment.index.bytes=64", "index.interval.bytes=0", "compression.type=lz4"] {
        create.args(["-c", key]);
    }
    if !Node::is_peer() {
        run(&mut create, CLIENT).success();
        let lines: Vec<String> = (0..6_000).map(|n| format!("{n}:{n}")).collect();
        let file = node.directory().join("rolling.lines");
        fs::write(&file, lines.join("\n") + "\n").expect("a file of lines");
        let mut command = Command::new("kcat");
        command.args(["-P", "-b", &node.address(), "-t", "rolling", "-K:", "-X", "acks=all"]);
        command.args(["-X", "batch.num.messages=1", "-X", "linger.ms=0", "-l"]);
        run(command.arg(file), CLIENT).success();
    }
    node.stop();

    let dump = |files: &[String], flags: &[&str]| {
        let mut command = Command::new("java");
        command.args(["-Xmx512m", "-cp", jars.trim()]);
        command.args(["org.apache.kafka.tools.DumpLogSegments", "--files", &files.join(",")]);
        let finished = run(command.args(flags), CLIENT);
        let said = format!("{}{}", finished.stdout, finished.stderr);
        let code = finished.code;
        assert_eq!(code, Some(0), "{}", harness::command::tail(&said));
        said
    };
    let logs = files_below(directory.path(), "log");
    let segments = logs.iter().filter(|path| path.contains("plain-")).count();
    assert!(segments > 12, "segments never rolled: {segments} of 12 partitions");
    let rolled = logs.iter().filter(|path| path.contains("rolling-")).count();
    assert!(rolled >= 504 || Node::is_peer(), "{rolled} segments of 4 partitions");
    let said = dump(&logs, &["--deep-iteration"]);
    assert_faultless(&said);
    let batches = said.matches("baseOffset:").count();
    let valid = said.matches("isvalid: true").count();
    assert!(batches > 0 && valid >= batches, "{batches} batches, {valid} valid");
    for extension in ["index", "timeindex"] {
        let files = files_below(directory.path(), extension);
        assert!(!files.is_empty(), "no .{extension} files");
        // Without the flag each entry is looked up in the segment.
        assert_faultless(&dump(&files, &[]));
        let said = dump(&files, &["--index-sanity-check"]);
        assert_faultless(&said);
        let (sane, empty) =
            (said.matches("passed sanity").count(), said.matches("is empty").count());
        assert!(sane > 0, "only empty .{extension} files");
        assert_eq!(sane + empty, files.len(), "{said}");
    }
}

#[track_caller]
fn assert_faultless(said: &str) {
    let words = ["isvalid: false", "ismatch", "onsecutive", "rror", "xception", "orrupt", "Could"];
    let mut lines = said.lines().peekable();
    while let Some(line) = lines.next() {
        // The tool takes -1 for the offset before any file, so that it reports the first record
        // of every segment but a partition's first.
        if let Some(file) = line.strip_prefix("Non-consecutive offsets in ") {
            let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str());
            let base: Option<i64> = stem.and_then(|stem| stem.parse().ok());
            let first = format!("  -1 is followed by {}", base.expect("a file named by offset"));
            assert_eq!(lines.next(), Some(first.as_str()), "{line}");
            assert!(!lines.peek().is_some_and(|next| next.contains("is followed by")), "{line}");
            continue;
        }
        // The lines that name the files hold whatever a directory is called.
        let fault = words.iter().any(|word| line.contains(word)) && !line.starts_with("Dumping");
        assert!(!fault, "{line}\n{}", lines.take(3).collect::<Vec<_>>().join("\n"));
    }
}

/// Every segment file with that extension, in directories named `topic-partition`.
fn files_below(directory: &Path, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension)
            && path.file_stem().is_some_and(|stem| stem.len() == 20)
            && !path.parent().is_some_and(|parent| parent.ends_with("__cluster_metadata-0"))
        {
            found.push(path.to_str().expect("a path in UTF-8").to_owned());
        }
    }
    found.sort_unstable();
    found
}

fn scripts() -> PathBuf {
    harness::root().join("tests/conformance/python")
}

#[track_caller]
fn script(
    python: &Path,
    name: &str,
    verb: &str,
    node: &Node,
    topic: &str,
    state: &Path,
    flags: &[&str],
) -> String {
    let mut command = Command::new(python);
    command.arg(scripts().join(name)).arg(verb).arg(node.address()).arg(topic).arg(state);
    run(command.args(flags), CLIENT).success()
}

/// Writes `key:value` lines.
#[track_caller]
fn kcat_produce(node: &Node, topic: &str, lines: &[String]) {
    let file = node.directory().join(format!("{topic}.lines"));
    fs::write(&file, lines.join("\n") + "\n").expect("a file of lines");
    let mut command = Command::new("kcat");
    command.args(["-P", "-b", &node.address(), "-t", topic, "-K:", "-X", "acks=all", "-l"]);
    run(command.arg(file), CLIENT).success();
}

/// Everything in a topic, one line for each record.
#[track_caller]
fn kcat_consume(node: &Node, topic: &str, format: &str) -> String {
    let mut command = Command::new("kcat");
    command.args(["-C", "-e", "-q", "-b", &node.address(), "-t", topic, "-o", "beginning"]);
    run(command.args(["-X", "check.crcs=true", "-f", format]), CLIENT).success()
}
