//! Our own commands against a node: what they print, their exit codes, and that what was written is
//! what is read. With `OTTLA_PEER=apache` against Apache Kafka's.

mod consuming;
mod keys;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::command::run_with;
use harness::{Finished, Node, binary, wait_until};
use serde_json::{Value, json};

use super::directory;

const SHORT: Duration = Duration::from_secs(60);

fn command(node: &Node, words: &str) -> Command {
    let mut command = Command::new(binary());
    command.args(words.split(' ')).env("OTTLA_SERVER", node.address());
    command
}

fn ottla(node: &Node, words: &str) -> Finished {
    ottla_with(node, words, b"")
}

fn ottla_with(node: &Node, words: &str, input: &[u8]) -> Finished {
    run_with(&mut command(node, words), input.to_vec(), SHORT)
}

/// What a command that succeeds prints, as JSON.
#[track_caller]
fn json_of(node: &Node, words: &str) -> Value {
    let text = ottla(node, &format!("{words} -o json")).success();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words}: {error}: {text}"))
}

/// Exit code, and the first line of standard error.
fn refused(node: &Node, words: &str) -> (Option<i32>, String) {
    let finished = ottla(node, words);
    let first = finished.stderr.lines().next().unwrap_or_default().to_owned();
    (finished.code, first)
}

fn field<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or_else(|| panic!("{path} in {value}"))
}

#[test]
fn topics_are_made_changed_and_deleted() {
    let directory = directory();
    let node = Node::start(directory.path());
    let made = json_of(&node, "topic create letters notes -p 3 -c retention.ms=-1");
    assert_eq!(field(&made, "/1/result"), "created");
    assert_eq!(field(&made, "/0/partitions"), 3);
    let (code, error) = refused(&node, "topic create letters");
    assert_eq!((code, error.contains("already exists")), (Some(1), true), "{error}");
    assert_eq!(ottla(&node, "topic create letters --if-not-exists").code, Some(0));
    let partial = ottla(&node, "topic create letters third -o jsonl");
    assert_eq!(partial.code, Some(6));
    let lines: Vec<Value> =
        partial.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(field(&lines[0], "/error/code"), "TOPIC_ALREADY_EXISTS");
    assert_eq!(field(&lines[1], "/result"), "created");
    assert_eq!(ottla(&node, "topic create fourth --dry-run").code, Some(0));
    let names = ottla(&node, "topic list -o name").success();
    assert_eq!(names, "letters\nnotes\nthird\n");
    assert_eq!(ottla(&node, "topic list l.* -o name").success(), "letters\n");

    let grown = json_of(&node, "topic alter letters -p 5 --unset retention.ms -c segment.ms=60000");
    assert_eq!(field(&grown, "/0/result"), "altered");
    let described = json_of(&node, "topic describe letters");
    assert_eq!(field(&described, "/0/configs"), &json!({"segment.ms": "60000"}));
    assert_eq!(field(&described, "/0/partitions").as_array().map(Vec::len), Some(5));
    assert_eq!(field(&described, "/0/partitions/4/end_offset"), 0);
    // All or nothing.
    assert_eq!(ottla(&node, "topic alter letters -p 2 -c retention.ms=5").code, Some(1));
    let again = json_of(&node, "topic describe letters");
    assert_eq!(field(&again, "/0/configs"), field(&described, "/0/configs"));
    let (code, error) = refused(&node, "topic alter letters -p 2");
    assert_eq!((code, error.contains("would not be an increase")), (Some(1), true), "{error}");

    let finished = ottla(&node, "topic describe leters");
    assert_eq!(finished.code, Some(5));
    assert_eq!(finished.stderr, "error: leters: there is no such topic\n  did you mean letters?\n");
    assert_eq!(ottla(&node, "topic delete letters").code, Some(2), "nobody can be asked");
    assert_eq!(ottla(&node, "topic delete letters --yes=false").code, Some(2));
    assert_eq!(ottla(&node, "topic delete letters --yes --version").code, Some(2));
    assert_eq!(ottla(&node, "topic delete letters --dry-run").code, Some(0));
    assert_eq!(ottla(&node, "topic delete letters nothing letters --yes").code, Some(6));
    let gone = || ottla(&node, "topic list -o name").success() == "notes\nthird\n";
    wait_until("the topic is gone", SHORT, gone);
}

#[test]
fn keys_of_our_own_are_set_shown_and_checked() {
    if Node::is_peer() {
        return;
    }
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create kept -c retention.consumer.groups=billing,audit").success();
    let keys = "retention.consumer.groups retention.consumer.groups.max.ms";
    let shown = json_of(&node, &format!("config describe topic kept {keys}"));
    assert_eq!(field(&shown, "/0/value"), "billing,audit");
    assert_eq!(field(&shown, "/1/value"), "-2");
    ottla(&node, "config set topic kept retention.consumer.groups+=mail").success();
    let shown = json_of(&node, "topic describe kept");
    let set = json!({"retention.consumer.groups": "billing,audit,mail"});
    assert_eq!(field(&shown, "/0/configs"), &set);
    let (code, error) =
        refused(&node, "config set topic kept retention.consumer.groups.max.ms=1000");
    let words = "comes to no more than retention.ms (604800000): nothing would ever be held";
    assert_eq!((code, error.contains(words)), (Some(1), true), "{error}");
    ottla(&node, "config unset topic kept retention.consumer.groups").success();
    // Known, and not set.
    let shown = json_of(&node, "config describe topic kept retention.consumer.groups");
    assert_eq!(shown, json!([]));
    let finished = ottla(&node, "config set topic kept retention.consumer.group=a");
    assert!(finished.stderr.contains("did you mean retention.consumer.groups?"));
}

#[test]
fn records_come_back_as_they_went() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters -p 3").success();
    // Of every kind: a document, bytes that are no text, a tombstone, 900 KB.
    let long = "x".repeat(900 << 10);
    let input = [
        json!({"key": "a", "value": "one\ntwo", "timestamp": 983_404_800_000_i64, "partition": 0}),
        json!({"key_base64": "AP8=", "value_base64": "/w==", "timestamp": 2, "partition": 1}),
        json!({"key": "a", "value": null, "timestamp": 983_404_800_001_i64, "partition": 0}),
        json!({"value": {"of": ["a", "document"]}, "timestamp": 4, "partition": 2,
               "headers": [{"name": "h", "value": "1"}, {"name": "h"}]}),
        json!({"value": long, "timestamp": 5, "partition": 2}),
    ];
    let lines: Vec<String> = input.iter().map(Value::to_string).collect();
    let written =
        ottla_with(&node, "produce letters -i json -z zstd -o json", lines.join("\n").as_bytes());
    assert_eq!(written.stderr, "5 records written to letters\n");
    let places: Vec<Value> =
        written.success().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(field(&places[2], "/offset"), 1);
    let read = ottla(&node, "consume letters --offset :end -o json").success();
    let mut read: Vec<Value> =
        read.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    read.sort_by_key(|record| (record["partition"].as_i64(), record["offset"].as_i64()));
    let parts = |index: usize, fields: &[&str]| -> Vec<Value> {
        fields.iter().map(|field| read[index][field].clone()).collect()
    };
    assert_eq!(parts(0, &["key", "value", "offset"]), [json!("a"), json!("one\ntwo"), json!(0)]);
    assert_eq!(parts(1, &["key", "value"]), [json!("a"), json!(null)]);
    assert_eq!(parts(2, &["key_base64", "value_base64"]), [json!("AP8="), json!("/w==")]);
    assert_eq!(parts(3, &["value"]), [json!("{\"of\":[\"a\",\"document\"]}")]);
    let headers = json!([{"name": "h", "value": "1"}, {"name": "h", "value": null}]);
    assert_eq!(read[3]["headers"], headers);
    assert_eq!(read[4]["value"].as_str().map(str::len), Some(long.len()));

    // What was read can be written again, and is the same.
    ottla(&node, "topic create copy -p 3").success();
    let again = ottla(&node, "consume letters --offset :end -o json").success();
    ottla_with(&node, "produce copy -i json", again.as_bytes()).success();
    let sorted = |topic: &str| {
        let text = ottla(&node, &format!("consume {topic} --offset :end -o json")).success();
        let mut lines: Vec<String> =
            text.lines().map(|line| line.replace("\"copy\"", "\"letters\"")).collect();
        lines.sort_unstable();
        lines
    };
    assert!(sorted("copy") == sorted("letters"), "a copy differs");

    // From a time on, and up to one.
    let words = "consume letters -p 0 --offset @2001-03-01:@983404800001 -f %o@%d{rfc3339}\\n";
    assert_eq!(ottla(&node, words).success(), "0@2001-03-01T00:00:00.000Z\n");
    assert_eq!(ottla(&node, "consume letters -p 0 --offset -1:end -f %o").success(), "1");
    let (code, error) = refused(&node, "consume letters -p 7");
    assert_eq!((code, &*error), (Some(5), "error: letters has no partition 7, but 3"));
    let (code, error) = refused(&node, "consume leters");
    assert_eq!((code, &*error), (Some(5), "error: leters: there is no such topic"));
}

#[test]
fn a_bad_line_ends_the_input_after_the_lines_before_it() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters").success();
    let finished = ottla_with(&node, "produce letters -f %k:%v", b"a:1\nb:2\nno colon\nc:3\n");
    assert_eq!(finished.code, Some(1));
    let told = "2 records written to letters\nerror: line 3: it lacks \":\"\n";
    assert_eq!(finished.stderr, told);
    let read = ottla(&node, "consume letters --offset :end -f %k=%v,").success();
    assert_eq!(read, "a=1,b=2,");
    // One record is too large for the topic, the others are not.
    ottla(&node, "config set topic letters max.message.bytes=1000").success();
    let lines = format!("small\n{}\nsmall\n", "x".repeat(5000));
    let finished = ottla_with(&node, "produce letters -X batch.size=0", lines.as_bytes());
    assert_eq!(finished.code, Some(6), "{}", finished.stderr);
    assert!(finished.stderr.ends_with("2 records written to letters\n"), "{}", finished.stderr);
}

#[test]
fn what_is_read_is_written_though_nobody_reads_the_reports() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters").success();
    let mut producer = command(&node, "produce letters -o json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a producer");
    drop(producer.stdout.take());
    let lines: String = (0..100_000).map(|n| format!("{n}\n")).collect();
    let mut stdin = producer.stdin.take().expect("its input");
    stdin.write_all(lines.as_bytes()).expect("lines");
    drop(stdin);
    assert!(producer.wait().expect("a child").success());
    assert!(ottla(&node, "consume letters --offset :end").success() == lines, "lines are lost");
}

#[test]
fn the_command_line_is_stronger_than_the_environment() {
    let directory = directory();
    let node = Node::start(directory.path());
    let mut command = command(&node, "topic list -X");
    command.arg(format!("bootstrap.servers={}", node.address()));
    command.env("OTTLA_SERVER", "localhost:9");
    harness::run(&mut command, SHORT).success();
}

#[test]
fn a_group_goes_on_where_it_stopped_showing_records() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters -p 4").success();
    let lines: String = (0..1000).map(|n| format!("{n}:{n}\n")).collect();
    ottla_with(&node, "produce letters -f %k:%v", lines.as_bytes()).success();
    let mut all = Vec::new();
    for count in [1, 7, 492, 500] {
        let words = format!("consume letters -g readers --offset start -n {count}");
        let read = ottla(&node, &words).success();
        assert_eq!(read.lines().count(), count);
        all.extend(read.lines().map(|line| line.parse::<u32>().expect("a number")));
    }
    all.sort_unstable();
    assert!(all == (0..1000).collect::<Vec<_>>(), "lost or twice");

    let described = json_of(&node, "group describe readers");
    assert_eq!(field(&described, "/0/state"), "Empty");
    let lags = field(&described, "/0/offsets").as_array().expect("offsets").clone();
    assert!(lags.len() == 4 && lags.iter().all(|one| one["lag"] == 0), "{described}");
    assert_eq!(field(&json_of(&node, "group list"), "/0/group"), "readers");

    // Preview, refusal, and the move itself.
    let preview = json_of(&node, "group reset readers --to start --dry-run");
    let back: i64 =
        preview.as_array().expect("rows").iter().filter_map(|row| row["delta"].as_i64()).sum();
    assert_eq!(back, -1000);
    let (code, error) = refused(&node, "group reset readers --to start");
    assert_eq!((code, error.contains("needs --yes")), (Some(2), true), "{error}");
    let moved = json_of(&node, "group reset readers --shift -2 -t letters:1,3 --yes");
    assert_eq!(
        (field(&moved, "/0/delta"), field(&moved, "/1/result")),
        (&json!(-2), &json!("moved"))
    );
    let words = "consume letters -g readers -n 4 -f %p";
    assert_eq!(ottla(&node, words).success().replace('1', "").len(), 2);
    let finished = ottla(&node, "group describe reader");
    assert_eq!(finished.code, Some(5));
    assert!(finished.stderr.ends_with("did you mean readers?\n"), "{}", finished.stderr);

    // Not while somebody reads, who is interrupted then.
    let mut member = command(&node, "consume letters -g readers")
        .stdout(Stdio::null())
        .spawn()
        .expect("a member");
    let stable = || {
        let described = ottla(&node, "group describe readers -o json").stdout;
        described.contains("\"Stable\"")
    };
    wait_until("the group is stable", SHORT, stable);
    let (code, error) = refused(&node, "group reset readers --to end --yes");
    assert_eq!((code, error.contains("is Stable with 1 member")), (Some(1), true), "{error}");
    assert_eq!(ottla(&node, "group delete readers --yes").code, Some(1));
    let interrupt = Command::new("kill").args(["-INT", &member.id().to_string()]).status();
    assert!(interrupt.expect("kill").success());
    let mut code = None;
    wait_until("the member has ended", SHORT, || {
        code = member.try_wait().expect("a child").map(|status| status.code());
        code.is_some()
    });
    assert_eq!(code, Some(Some(130)));
    ottla(&node, "group delete readers --yes").success();
    assert_eq!(ottla(&node, "group list -o json").success(), "[]\n");
}

/// What a program prints, line by line.
fn lines_of(output: std::process::ChildStdout) -> std::sync::mpsc::Receiver<String> {
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = told.send(line);
        }
    });
    heard
}

#[test]
fn what_is_typed_is_written_before_the_input_ends() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters").success();
    let mut producer = command(&node, "produce letters -o json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a producer");
    let mut reader = command(&node, "consume letters --offset start")
        .stdout(Stdio::piped())
        .spawn()
        .expect("a reader");
    let read = lines_of(reader.stdout.take().expect("its output"));
    let written = lines_of(producer.stdout.take().expect("its output"));
    let mut stdin = producer.stdin.take().expect("its input");
    for (offset, line) in ["one", "two"].into_iter().enumerate() {
        writeln!(stdin, "{line}").expect("a line");
        assert_eq!(read.recv_timeout(SHORT).as_deref(), Ok(line));
        let place = written.recv_timeout(SHORT).expect("where it went");
        assert!(place.contains(&format!("\"offset\":{offset},")), "{place}");
    }
    // The input stays open: a signal does not wait for it.
    let interrupt = Command::new("kill").args(["-INT", &producer.id().to_string()]).status();
    assert!(interrupt.expect("kill").success());
    assert_eq!(producer.wait().expect("a child").code(), Some(130));
    drop(stdin);
    reader.kill().expect("a child");
    reader.wait().expect("a child");
}

#[test]
fn configuration_is_shown_set_and_unset() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters").success();
    ottla(&node, "config set topic letters retention.ms=5000 cleanup.policy+=compact").success();
    let shown = json_of(&node, "config describe topic letters");
    let pairs: Vec<(&Value, &Value)> = shown
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (field(row, "/key"), field(row, "/value")))
        .collect();
    let policy = json!("delete,compact");
    let expected = [(&json!("cleanup.policy"), &policy), (&json!("retention.ms"), &json!("5000"))];
    assert_eq!(pairs, expected);
    ottla(&node, "config unset topic letters retention.ms").success();
    let shown = json_of(&node, "config describe topic letters retention.ms");
    assert_eq!(field(&shown, "/0/value"), "604800000");
    let finished = ottla(&node, "config set topic letters retention.sm=1");
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.ends_with("did you mean retention.ms?\n"), "{}", finished.stderr);
    assert_eq!(ottla(&node, "config set topic letters retention.ms=x --dry-run").code, Some(1));
    assert_eq!(ottla(&node, "config describe topic leters").code, Some(5));
    assert_eq!(ottla(&node, "config describe topic letters retention").code, Some(5));
    assert_eq!(ottla(&node, "config describe topics").code, Some(2));
    assert_eq!(ottla(&node, "config describe tropic letters").code, Some(2));
    ottla(&node, "config set broker default log.cleaner.threads=2").success();
    let shown = json_of(&node, "config describe broker default");
    assert_eq!(field(&shown, "/0/key"), "log.cleaner.threads");
    let listed = ottla(&node, "config list topics -o name").success();
    assert_eq!(listed, "letters\n");
}
