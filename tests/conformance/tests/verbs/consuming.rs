//! `ottla consume` where records, topics, members or readers come and go.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Node, wait_until};

use super::{SHORT, command, field, json_of, lines_of, ottla, ottla_with};
use crate::directory;

/// `n` lines of one record each, that say which it is.
fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{n}:{n}\n")).collect()
}

fn produce(node: &Node, range: std::ops::Range<u32>) {
    ottla_with(node, "produce letters -f %k:%v", numbers(range).as_bytes()).success();
}

/// Starts a command whose output is read piece by piece.
fn spawn(node: &Node, words: &str) -> Child {
    let mut command = command(node, words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("a command")
}

fn output(child: &mut Child) -> BufReader<ChildStdout> {
    BufReader::new(child.stdout.take().expect("its output"))
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(sent.expect("kill").success());
}

/// Waits for the end; the exit code and all of standard error.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let mut code = None;
    wait_until("it has ended", SHORT, || {
        code = child.try_wait().expect("a child").map(|status| status.code());
        code.is_some()
    });
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said).expect("its standard error");
    }
    (code.flatten(), said)
}

/// The committed offset of each partition of a group.
fn committed(node: &Node, group: &str) -> BTreeMap<i64, i64> {
    let described = json_of(node, &format!("group describe {group}"));
    let rows = field(&described, "/0/offsets").as_array().expect("offsets").clone();
    let pair =
        |row: &serde_json::Value| Some((row["partition"].as_i64()?, row["committed"].as_i64()?));
    rows.iter().filter_map(pair).collect()
}

#[test]
fn records_that_are_deleted_before_they_are_read_are_told_of() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters").success();
    produce(&node, 0..20_000);
    // Held up by whoever reads it, it falls behind the log's start; small fetches keep it there.
    let words = "consume letters letters --offset start -X max.partition.fetch.bytes=1000";
    let mut reader = spawn(&node, &format!("{words} -f %o:{}\\n", "x".repeat(200)));
    let mut lines = output(&mut reader);
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert!(line.starts_with("0:"), "{line}");
    let file = directory.path().join("delete.json");
    let entry = r#"{"topic": "letters", "partition": 0, "offset": 15000}"#;
    std::fs::write(&file, format!(r#"{{"version": 1, "partitions": [{entry}]}}"#)).expect("a file");
    let mut delete = Command::new(harness::binary());
    delete.args(["kafka-delete-records", "--bootstrap-server", &node.address()]);
    delete.arg("--offset-json-file").arg(&file);
    harness::run(&mut delete, SHORT).success();
    // Live records are not skipped for the deleted ones, and none comes twice.
    let mut before = 0;
    let mut jumps = Vec::new();
    while before < 19_999 {
        line.clear();
        assert!(lines.read_line(&mut line).expect("a line") > 0, "it ended after {before}");
        let offset: i64 = line.split(':').next().and_then(|o| o.parse().ok()).expect("an offset");
        if offset != before + 1 {
            jumps.push((before + 1, offset));
        }
        before = offset;
    }
    signal(&reader, "-INT");
    let (code, said) = ended(reader);
    let &[(from, 15_000)] = &jumps[..] else { panic!("{jumps:?}") };
    let words = format!("offsets {from} to 14999 were deleted before they were read");
    assert_eq!((code, said), (Some(130), format!("warning: letters-0: {words}\n")));
}

#[test]
fn a_group_in_the_properties_is_not_moved_by_whoever_reads_alone() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters").success();
    produce(&node, 0..100);
    ottla(&node, "consume letters -g readers --offset start -n 10").success();
    let words = "consume letters --offset :end -X group.id=readers -X enable.auto.commit=true \
                 -X auto.commit.interval.ms=1";
    assert_eq!(ottla(&node, words).success().lines().count(), 100);
    assert_eq!(committed(&node, "readers"), BTreeMap::from([(0, 10)]));
}

#[test]
fn partitions_of_which_nothing_was_shown_are_committed_too() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters -p 4").success();
    produce(&node, 0..100);
    let mut reader = spawn(&node, "consume letters -g readers -n 1");
    let mut lines = output(&mut reader);
    let stable = || {
        let described = ottla(&node, "group describe readers -o json").stdout;
        described.contains("\"Stable\"")
    };
    wait_until("the group is stable", SHORT, stable);
    // Where the end is, is asked at its own time: one record until one was after that.
    let mut said = String::new();
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let read = lines.read_to_string(&mut said);
        let _ = told.send((read.is_ok(), said));
    });
    let began = Instant::now();
    let mut next = 1000;
    let shown = loop {
        produce(&node, next..next + 1);
        next += 1;
        if let Ok((_, shown)) = heard.recv_timeout(Duration::from_millis(300)) {
            break shown;
        }
        assert!(began.elapsed() < SHORT, "nothing is read");
    };
    assert_eq!((ended(reader).0, shown.lines().count()), (Some(0), 1));
    assert_eq!(committed(&node, "readers").len(), 4);
    // What comes between two runs is for the second one, in whatever partition.
    produce(&node, 2000..2100);
    let unread = next - 1000 - 1 - shown.trim().parse::<u32>().expect("a number") % 1000;
    let words = format!("consume letters -g readers -n {}", 100 + unread);
    let read = ottla(&node, &words).success();
    assert_eq!(read.lines().filter(|line| line.starts_with('2')).count(), 100);
}

#[test]
fn members_with_a_count_give_up_partitions_with_what_they_read() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters -p 4").success();
    produce(&node, 0..20_000);
    // The first is held up by its reader, so that the second is in the group before it is done.
    let form = format!("%v:{}\\n", "x".repeat(100));
    let words = "consume letters -g readers --offset start -n 1000000 -X heartbeat.interval.ms=100";
    let words = format!("{words} -f {form}");
    let mut first = spawn(&node, &words);
    let mut held_up = output(&mut first);
    let mut line = String::new();
    held_up.read_line(&mut line).expect("a line");
    let number = |line: &str| line.split(':').next().and_then(|n| n.parse::<u32>().ok());
    let mut seen = vec![number(&line).expect("a number")];
    let mut second = spawn(&node, &words);
    let from_second = lines_of(second.stdout.take().expect("its output"));
    let joins = || {
        let described = ottla(&node, "group describe readers -o json").stdout;
        described.contains("PreparingRebalance")
    };
    wait_until("the second joins", SHORT, joins);
    // Read no faster than that heartbeats can tell the first of it before it is done.
    let (told, from_first) = std::sync::mpsc::sync_channel(200);
    std::thread::spawn(move || {
        for line in held_up.lines().map_while(Result::ok) {
            let _ = told.send(line);
        }
    });
    let mut of_second = 0;
    wait_until("all is read", SHORT, || {
        let first: Vec<String> = from_first.try_iter().take(200).collect();
        let second: Vec<String> = from_second.try_iter().collect();
        of_second += second.len();
        seen.extend(first.iter().chain(&second).filter_map(|line| number(line)));
        seen.len() >= 20_000
    });
    assert!(of_second > 0, "the second read nothing");
    signal(&first, "-INT");
    signal(&second, "-TERM");
    assert_eq!((ended(first).0, ended(second).0), (Some(130), Some(143)));
    seen.extend(from_first.iter().chain(from_second.iter()).filter_map(|line| number(&line)));
    seen.sort_unstable();
    assert!(seen == (0..20_000).collect::<Vec<_>>(), "lost or twice: {}", seen.len());
    assert_eq!(committed(&node, "readers").values().sum::<i64>(), 20_000);
}

#[test]
fn a_signal_ends_what_nobody_reads_from() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters").success();
    produce(&node, 0..50_000);
    let console = format!(
        "kafka-console-consumer --bootstrap-server {} --topic letters --from-beginning",
        node.address()
    );
    for words in ["consume letters --offset start -o json", &console] {
        let mut reader = spawn(&node, words);
        let mut lines = output(&mut reader);
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        // It has filled the pipe when it writes no more.
        let mut before = None;
        wait_until("it is held up", SHORT, || {
            let io = format!("/proc/{}/io", reader.id());
            let all = std::fs::read_to_string(io).expect("counters");
            let now = all.lines().find(|line| line.starts_with("wchar")).map(str::to_owned);
            std::mem::replace(&mut before, now.clone()) == now
        });
        signal(&reader, "-TERM");
        assert_eq!(ended(reader).0, Some(143), "{words}");
    }
}

#[test]
fn a_member_whose_reader_went_away_leaves_with_what_was_read() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters").success();
    produce(&node, 0..5000);
    let mut reader = spawn(&node, "consume letters -g readers --offset start");
    let mut lines = output(&mut reader);
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert_eq!(line, "0\n");
    drop(lines);
    produce(&node, 5000..5010);
    assert_eq!(ended(reader).0, Some(0));
    // The next one need not wait for the session's timeout, and nothing is passed over.
    let read = committed(&node, "readers");
    let from = read.get(&0).copied().unwrap_or_default();
    let group = ottla(&node, "group describe readers -o json").success();
    assert!(group.contains("\"Empty\""), "it has not left: {group}");
    let next = ottla(&node, "consume letters -g readers --offset start -n 10").success();
    assert_eq!(next.lines().next(), Some(&*from.to_string()));
}

#[test]
fn topics_that_are_deleted_while_they_are_read_are_told_of() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters notes").success();
    produce(&node, 0..10);
    let mut alone = spawn(&node, "consume letters notes --offset start");
    let mut member = spawn(&node, "consume letters notes -g readers --offset start");
    for child in [&mut alone, &mut member] {
        let lines = lines_of(child.stdout.take().expect("its output"));
        for _ in 0..10 {
            lines.recv_timeout(SHORT).expect("a line");
        }
        // Nobody else looks at what is printed.
        std::thread::spawn(move || lines.iter().for_each(drop));
    }
    let told = |child: &mut Child| {
        let stderr = child.stderr.take().expect("its standard error");
        let (told, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        heard
    };
    let both = [told(&mut alone), told(&mut member)];
    for (topic, level) in [("letters", "warning"), ("notes", "error")] {
        ottla(&node, &format!("topic delete {topic} --yes")).success();
        for lines in &both {
            let line = lines.recv_timeout(SHORT).expect("a line");
            assert_eq!(line, format!("{level}: {topic}: the topic was deleted"));
        }
    }
    assert_eq!((ended(alone).0, ended(member).0), (Some(5), Some(5)));
    assert_eq!(ottla(&node, "topic list -o name").success(), "", "they came back");
}
