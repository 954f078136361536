//! Our command line tools against transcripts of Apache Kafka 4.3.1's.
//!
//! A transcript (`NAME.txt`) is a list of commands with what Apache Kafka's tools print on standard
//! output and the code they end with, recorded from them against their own broker:
//!
//! ```text
//! % file NAME                    a file {dir}/NAME of the `| ` lines that follow
//! % member GROUP CLIENT TOPIC,.. a live consumer joins and has its partitions
//! % leave GROUP CLIENT           and leaves
//! % stop, % start                the node
//! $ kafka-topics --bootstrap-server {server} --list
//! < a line of standard input
//! what it prints
//! [the code it ends with]
//! ```
//!
//! `{server}`, `{dir}`, `{data}` and `{lastid}` (the last topic id seen) stand for what is
//! different each time, and `{id}`, `{uuid}`, `{ms}`, `{crc}` mask it in what is printed.
//!
//! With `OTTLA_TOOLS=apache` Apache Kafka's tools are run instead of ours, against our node; with
//! `OTTLA_PEER=apache` as well against Apache Kafka's, and then `UPDATE=1` records. What differs on
//! purpose stands in `differences.txt`, each with its reason; one that is not used fails the test.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use harness::{Node, binary, have, python, root};

use super::directory;

/// A tool's whole run.
const TOOL: Duration = Duration::from_secs(120);
/// A consumer's way into its group.
const JOIN: Duration = Duration::from_secs(60);
/// Marks a difference of Apache Kafka's tool on our node.
const FOREIGN: &str = " (foreign tool)";

fn here(name: &str) -> PathBuf {
    root().join("tests/conformance/tests/tools").join(name)
}

fn apaches_tools() -> bool {
    std::env::var("OTTLA_TOOLS").is_ok_and(|tools| tools == "apache")
}

/// Apache Kafka's class behind the name of a tool.
fn class(tool: &str) -> &'static str {
    match tool {
        "kafka-topics" => "org.apache.kafka.tools.TopicCommand",
        "kafka-configs" => "kafka.admin.ConfigCommand",
        "kafka-get-offsets" => "org.apache.kafka.tools.GetOffsetShell",
        "kafka-delete-records" => "org.apache.kafka.tools.DeleteRecordsCommand",
        "kafka-console-producer" => "org.apache.kafka.tools.ConsoleProducer",
        "kafka-console-consumer" => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "kafka-consumer-groups" => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "kafka-dump-log" => "org.apache.kafka.tools.DumpLogSegments",
        "kafka-storage" => "kafka.tools.StorageTool",
        other => panic!("no such tool: {other}"),
    }
}

/// Splits as a POSIX shell does, quotes and backslashes included.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// A live member of a group, of a foreign client; it leaves when its standard input ends.
struct Member {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Member {
    fn join(node: &Node, group: &str, client: &str, topics: &str) -> Self {
        let interpreter = python("a live member").expect("looked for before");
        let mut child = Command::new(interpreter)
            .arg(root().join("tests/conformance/python/member.py"))
            .args([&node.address(), group, client, topics])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a member");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let name = format!("{group} {client}");
        let said = receiver.recv_timeout(JOIN).unwrap_or_else(|_| panic!("{name} gets nothing"));
        assert_eq!(said, "assigned");
        Self { name, child, stdin }
    }

    fn leave(&mut self) {
        drop(self.stdin.take());
        let status = self.child.wait().expect("its status");
        assert!(status.success(), "{}: {status}", self.name);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one play of a transcript goes on.
struct Stage {
    node: Node,
    dir: tempfile::TempDir,
    members: Vec<Member>,
    last_id: String,
}

impl Stage {
    fn fill(&self, text: &str) -> String {
        text.replace("{server}", &self.node.address())
            .replace("{dir}", &self.dir.path().display().to_string())
            .replace("{data}", &self.data())
            .replace("{lastid}", &self.last_id)
    }

    fn data(&self) -> String {
        // Apache Kafka's node has its log directory in there.
        let data = self.node.directory().join("data");
        let data = if Node::is_peer() { data.join("logs") } else { data };
        data.display().to_string()
    }

    /// Runs one command; what it printed, masked, and its code.
    fn command(&mut self, line: &str, input: &[&str]) -> String {
        let words = words(&self.fill(line));
        let (tool, arguments) = words.split_first().expect("the name of a tool");
        let mut command = if apaches_tools() {
            let mut command = Command::new(root().join("tests/oracle/java/run"));
            command.args(["broker", class(tool)]);
            command
        } else {
            let mut command = Command::new(binary());
            command.arg(tool);
            command
        };
        command.args(arguments).current_dir(self.dir.path());
        let input: String = input.iter().flat_map(|line| [self.fill(line), "\n".into()]).collect();
        let finished = harness::command::run_with(&mut command, input.into_bytes(), TOOL);
        if let Some(at) = finished.stdout.rfind("TopicId: ") {
            self.last_id = finished.stdout[at + 9..].chars().take(22).collect();
        }
        let mut said = mask(
            &finished
                .stdout
                .replace(&self.node.address(), "{server}")
                // As long as the other name, so that tables come out the same.
                .replace(&format!("localhost:{}", self.node.socket().port()), "{server}")
                .replace(&self.data(), "{data}")
                .replace(&self.dir.path().display().to_string(), "{dir}"),
        );
        if !said.is_empty() && !said.ends_with('\n') {
            said.push('\n');
        }
        let code = finished.code.map_or("a signal".to_owned(), |code| code.to_string());
        if std::env::var_os("OTTLA_STDERR").is_some() {
            eprintln!("$ {line}\n{}{}", said, finished.stderr);
        }
        format!("{said}[{code}]\n")
    }

    fn direct(&mut self, direction: &str) {
        let words: Vec<&str> = direction.split_whitespace().collect();
        match words[..] {
            ["member", group, client, topics] => {
                self.members.push(Member::join(&self.node, group, client, topics));
            }
            ["leave", group, client] => {
                let name = format!("{group} {client}");
                let at = self.members.iter().position(|member| member.name == name);
                self.members.remove(at.expect("a member that joined")).leave();
            }
            ["stop"] => self.node.stop(),
            ["start"] => self.node.launch(),
            _ => panic!("no such direction: {direction}"),
        }
    }
}

/// Hides what is different each time.
fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before = out.chars().next_back();
        let apart = !before.is_some_and(|letter| letter.is_ascii_alphanumeric());
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let id = ["TopicId: ", "\"topicId\":\"", "directory.id="].iter().any(|at| out.ends_with(at))
            // What `random-uuid` prints.
            || (out.is_empty() && rest.len() == 23 && rest.ends_with('\n'));
        let (masked, length) = if id && is_id(rest) {
            ("{id}", 22)
        } else if apart && harness::starts_with_uuid(rest) {
            ("{uuid}", 36)
        } else if out.ends_with("crc: ") && digits > 0 {
            ("{crc}", digits)
        } else if apart && digits == 13 && rest[..13] > *"1500000000000" {
            ("{ms}", 13)
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.push_str(masked);
        rest = &rest[length..];
    }
    out
}

fn is_id(text: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    text.bytes().take_while(|byte| letter(byte)).count() == 22
}

/// One command of a transcript, with what it printed and its code.
struct Step {
    line: String,
    expected: String,
    actual: String,
}

/// Plays a transcript; the text it becomes, and its commands.
fn play(text: &str, stage: &mut Stage) -> (String, Vec<Step>) {
    let mut played = String::new();
    let mut steps = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let _ = writeln!(played, "{line}");
        if let Some(name) = line.strip_prefix("% file ") {
            let mut content = String::new();
            while let Some(line) = lines.next_if(|line| line.starts_with('|')) {
                let _ = writeln!(played, "{line}");
                content += &stage.fill(line.strip_prefix("| ").unwrap_or_default());
                content.push('\n');
            }
            fs::write(stage.dir.path().join(name), content).expect("a file");
        } else if let Some(direction) = line.strip_prefix("% ") {
            stage.direct(direction);
        } else if let Some(command) = line.strip_prefix("$ ") {
            let mut input = Vec::new();
            while let Some(line) = lines.next_if(|line| line.starts_with('<')) {
                let _ = writeln!(played, "{line}");
                input.push(line.strip_prefix("< ").unwrap_or_default());
            }
            let mut expected = String::new();
            for line in lines.by_ref() {
                let _ = writeln!(expected, "{line}");
                let code = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
                if code.is_some_and(|code| code.parse::<i32>().is_ok()) {
                    break;
                }
            }
            let actual = stage.command(command, &input);
            played += &actual;
            steps.push(Step { line: command.to_owned(), expected, actual });
        }
    }
    (played, steps)
}

/// A difference on purpose: a command of a transcript, and what is printed instead.
struct Difference {
    command: String,
    printed: String,
    /// Of Apache Kafka's tool on our node, not of ours.
    foreign: bool,
}

/// The differences of a transcript: `NAME $ command`, `because REASON`, what is printed, the code.
/// `NAME (foreign tool) $ command` is one of Apache Kafka's tool on our node.
fn differences(name: &str) -> Vec<Difference> {
    let text = fs::read_to_string(here("differences.txt")).expect("the list of differences");
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (of, command) = line.split_once(" $ ").expect("a transcript and a command");
        let (of, foreign) = of.strip_suffix(FOREIGN).map_or((of, false), |of| (of, true));
        let reason = lines.next().and_then(|line| line.strip_prefix("because "));
        assert!(reason.is_some_and(|reason| reason.len() > 10), "no reason: {line}");
        let mut printed = String::new();
        for line in lines.by_ref() {
            let _ = writeln!(printed, "{line}");
            if line.starts_with('[') && line.ends_with(']') {
                break;
            }
        }
        if of == name {
            found.push(Difference { command: command.to_owned(), printed, foreign });
        }
    }
    found
}

/// Plays `name.txt` and compares.
fn transcript(name: &str) {
    let mut programs = Vec::new();
    let text = fs::read_to_string(here(&format!("{name}.txt"))).expect("a transcript");
    if apaches_tools() || Node::is_peer() {
        programs.extend(["java", "mvn"]);
    }
    if !have(name, &programs) || (text.contains("% member") && python(name).is_none()) {
        return;
    }
    let directory = directory();
    let node = Node::start(directory.path());
    let dir = super::directory();
    let mut stage = Stage { node, dir, members: Vec::new(), last_id: String::new() };
    let (played, steps) = play(&text, &mut stage);
    if std::env::var_os("UPDATE").is_some() {
        assert!(apaches_tools() && Node::is_peer(), "only Apache Kafka's tools and broker record");
        fs::write(here(&format!("{name}.txt")), played).expect("a transcript");
        return;
    }
    let mut allowed = differences(name);
    allowed.retain(|one| !one.foreign || apaches_tools());
    let mut wrong = String::new();
    let (mut used, mut failed) = (0, 0);
    for step in &steps {
        let of_step = |foreign| {
            allowed.iter().position(|one| one.command == step.line && one.foreign == foreign)
        };
        let meant = of_step(true).or_else(|| of_step(false));
        let meant = meant.filter(|_| step.actual != step.expected && !Node::is_peer());
        let expected = match meant {
            Some(at) => {
                used += 1;
                let one = allowed.remove(at);
                // What our node refuses, Apache Kafka's tools say in their own way.
                if apaches_tools() && !one.foreign { step.actual.clone() } else { one.printed }
            }
            None => step.expected.clone(),
        };
        if step.actual != expected {
            failed += 1;
            if std::env::var_os("DIFFERENCES").is_some() {
                // As `differences.txt` wants it, but for the reason.
                eprint!("{name} $ {}\nbecause \n{}\n", step.line, step.actual);
            }
            let _ = writeln!(wrong, "$ {}\nexpected:\n{expected}got:\n{}", step.line, step.actual);
        }
    }
    let _ = writeln!(
        std::io::stderr(),
        "{name}: {} commands, {used} differences on purpose",
        steps.len()
    );
    assert!(failed == 0, "{failed} of {} differ:\n{wrong}", steps.len());
    // Some that are for ours are none for Apache Kafka's tools.
    allowed.retain(|one| one.foreign == apaches_tools());
    let unused: Vec<&str> = allowed.iter().map(|one| one.command.as_str()).collect();
    assert!(unused.is_empty(), "differences that are none: {unused:?}");
}

#[test]
fn every_difference_belongs_to_a_transcript() {
    let text = fs::read_to_string(here("differences.txt")).expect("the list of differences");
    for line in text.lines() {
        if let Some((name, command)) = line.split_once(" $ ").filter(|_| !line.starts_with('#')) {
            let name = name.strip_suffix(FOREIGN).unwrap_or(name);
            let played = fs::read_to_string(here(&format!("{name}.txt"))).expect("a transcript");
            let line = format!("$ {command}");
            assert!(played.lines().any(|other| other == line), "{name} has no {line}");
        }
    }
}

#[test]
fn words_are_split_as_a_shell_does() {
    let split = words(r#"kafka-topics  --topic 'bad name' '' "a\"b" c\ d"#);
    assert_eq!(split, ["kafka-topics", "--topic", "bad name", "", "a\"b", "c d"]);
    assert!(Path::new(&split[0]).is_relative());
}

#[test]
fn kafka_topics_is_apache_kafkas() {
    transcript("kafka-topics");
}

#[test]
fn kafka_get_offsets_is_apache_kafkas() {
    transcript("kafka-get-offsets");
}

#[test]
fn kafka_delete_records_is_apache_kafkas() {
    transcript("kafka-delete-records");
}

#[test]
fn kafka_configs_is_apache_kafkas() {
    transcript("kafka-configs");
}

#[test]
fn kafka_consumer_groups_is_apache_kafkas() {
    transcript("kafka-consumer-groups");
}

#[test]
fn kafka_consumer_groups_of_many_groups_is_apache_kafkas() {
    transcript("kafka-consumer-groups-more");
}

#[test]
fn kafka_dump_log_is_apache_kafkas() {
    transcript("kafka-dump-log");
}

#[test]
fn kafka_storage_is_apache_kafkas() {
    transcript("kafka-storage");
}

#[test]
fn kafka_console_producer_is_apache_kafkas() {
    transcript("kafka-console-producer");
}

#[test]
fn kafka_console_consumer_is_apache_kafkas() {
    transcript("kafka-console-consumer");
}
