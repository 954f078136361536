//! Administration with Apache Kafka's own tools (4.3.1), across restarts.

use std::process::Command;
use std::time::Duration;

use harness::{Finished, Node, binary, have, run};

use super::{directory, kcat_consume, kcat_produce};

const TOOL: Duration = Duration::from_secs(120);

/// Runs a tool on its main class.
fn tool(node: &Node, class: &str, args: &[&str]) -> Finished {
    let mut command = Command::new(harness::root().join("tests/oracle/java/run"));
    command.args(["broker", class, "--bootstrap-server", &node.address()]).args(args);
    run(&mut command, TOOL)
}

#[test]
fn topics_are_made_changed_described_and_removed_by_apache_kafkas_tools() {
    if !have("admin tools", &["kcat", "java", "mvn"]) {
        return;
    }
    let topics = "org.apache.kafka.tools.TopicCommand";
    let configs = "kafka.admin.ConfigCommand";
    let directory = directory();
    let mut node = Node::start(directory.path());
    tool(&node, topics, &["--create", "--topic", "letters", "--partitions", "1"]).success();
    let lines: Vec<String> = (0..100).map(|n| format!("k:{n}")).collect();
    kcat_produce(&node, "letters", &lines);
    // Records below 40 go, and stay away over an orderly stop.
    let offsets = directory.path().join("offsets.json");
    let json = r#"{"version":1,"partitions":[{"topic":"letters","partition":0,"offset":40}]}"#;
    std::fs::write(&offsets, json).expect("a file of offsets");
    let offsets = offsets.display().to_string();
    let deleted = tool(
        &node,
        "org.apache.kafka.tools.DeleteRecordsCommand",
        &["--offset-json-file", &offsets],
    );
    let deleted = deleted.success();
    assert!(deleted.contains("low_watermark: 40"), "{deleted}");
    let left = |node: &Node| kcat_consume(node, "letters", "%p %o\n").lines().count();
    assert_eq!(left(&node), 60);
    let entity = ["--entity-type", "topics", "--entity-name", "letters"];
    let set = ["--alter", "--add-config", "retention.ms=86400000,segment.ms=5000"];
    tool(&node, configs, &[&entity[..], &set[..]].concat()).success();
    tool(&node, topics, &["--alter", "--topic", "letters", "--partitions", "3"]).success();
    let bad = ["--alter", "--add-config", "retention.ms=soon"];
    let refused = tool(&node, configs, &[&entity[..], &bad[..]].concat());
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("Not a number of type LONG"), "{said}");
    let check = |node: &Node| {
        let described = tool(node, topics, &["--describe", "--topic", "letters"]).success();
        assert!(described.contains("PartitionCount: 3"), "{described}");
        let described = tool(node, configs, &[&entity[..], &["--describe"]].concat()).success();
        for setting in ["retention.ms=86400000", "segment.ms=5000"] {
            assert!(described.contains(setting), "{described}");
        }
        assert_eq!(left(node), 60);
    };
    check(&node);
    node.stop();
    node.launch();
    check(&node);
    tool(&node, topics, &["--delete", "--topic", "letters"]).success();
    tool(&node, topics, &["--create", "--topic", "letters", "--partitions", "1"]).success();
    kcat_produce(&node, "letters", &lines);
    // The new topic has nothing of the old one, and keeps what it has over a crash.
    let count = kcat_consume(&node, "letters", "%o\n").lines().count();
    assert_eq!(count, 100);
    node.kill();
    node.launch();
    let read = kcat_consume(&node, "letters", "%o %s\n");
    let expected: Vec<String> = (0..100).map(|n| format!("{n} {n}")).collect();
    assert_eq!(read.lines().collect::<Vec<_>>(), expected);
    let listed = tool(&node, topics, &["--list"]).success();
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["letters"]);
}

#[test]
fn a_start_that_is_refused_is_refused_again_and_takes_nothing_away() {
    if !have("refused start", &["kcat"]) || Node::is_peer() {
        return;
    }
    let directory = directory();
    let mut node = Node::start(directory.path());
    let lines: Vec<String> = (0..100).map(|n| format!("k:{n}")).collect();
    kcat_produce(&node, "letters", &lines);
    node.stop();
    let log = directory.path().join("data/letters-0/00000000000000000000.log");
    let content = std::fs::read(&log).expect("the log");
    // The node was stopped in order, so a torn end is damage: nobody may cut it off in silence.
    std::fs::write(&log, &content[..content.len() - 10]).expect("a shorter log");
    for attempt in 1..=2 {
        let mut command = Command::new(binary());
        command.arg("--data").arg(directory.path().join("data")).args(["--port", "0"]);
        let refused = run(&mut command, Duration::from_secs(30));
        assert_eq!(refused.code, Some(1), "attempt {attempt}: {}", refused.stdout);
        assert!(refused.stderr.contains("letters-0"), "{}", refused.stderr);
    }
    std::fs::write(&log, &content).expect("the log again");
    node.launch();
    assert_eq!(kcat_consume(&node, "letters", "%s\n").lines().count(), 100);
}
