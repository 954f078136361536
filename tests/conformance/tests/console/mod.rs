//! Signals, which the console tools of ours answer as Apache Kafka's do: what was read is sent,
//! what was printed is committed, the group is left, and the code is the shell's for the signal.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use harness::{Node, binary, wait_until};

use super::{CLIENT, directory};

fn tool(node: &Node, name: &str, arguments: &[&str]) -> Child {
    Command::new(binary())
        .args([name, "--bootstrap-server", &node.address()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a tool")
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(sent.expect("kill").success());
}

/// What is left on standard output and standard error, and the code.
fn end(mut child: Child) -> (String, String, Option<i32>) {
    let (mut out, mut err) = (String::new(), String::new());
    drop(child.stdin.take());
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut out).expect("text");
    }
    child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("text");
    (out, err, child.wait().expect("its status").code())
}

#[test]
fn a_signal_ends_the_console_consumer_with_what_it_printed_committed() {
    let directory = directory();
    let node = Node::start(directory.path());
    for (signal_name, code, round) in [("-INT", 130, 0), ("-TERM", 143, 1)] {
        let mut producer = tool(&node, "kafka-console-producer", &["--topic", "letters"]);
        producer.stdin.take().expect("a pipe").write_all(b"one\ntwo\n").expect("lines");
        assert_eq!(end(producer), (String::new(), String::new(), Some(0)));
        let arguments = ["--topic", "letters", "--group", "readers", "--from-beginning"];
        let mut consumer = tool(&node, "kafka-console-consumer", &arguments);
        let mut lines = BufReader::new(consumer.stdout.take().expect("a pipe")).lines();
        let mut next = || lines.next().expect("a line").expect("text");
        assert_eq!([next(), next()], ["one", "two"]);
        signal(&consumer, signal_name);
        let (_, err, ended) = end(consumer);
        assert_eq!((err.as_str(), ended), ("Processed a total of 2 messages\n", Some(code)));
        let state = ["--describe", "--group", "readers"];
        let (out, err, _) = end(tool(&node, "kafka-consumer-groups", &state));
        assert!(err.contains("has no active members"), "left: {err}");
        let committed = (round + 1) * 2;
        let row = out.lines().find(|line| line.starts_with("readers")).expect("its row");
        let offset = row.split_whitespace().nth(3).expect("an offset");
        assert_eq!(offset, committed.to_string(), "{out}");
    }
}

#[test]
fn a_signal_ends_the_console_producer_with_what_it_read_sent() {
    let directory = directory();
    let node = Node::start(directory.path());
    for (signal_name, code) in [("-INT", 130), ("-TERM", 143)] {
        // Nothing would be sent within the test's time without the signal.
        let topic = format!("letters{signal_name}");
        let arguments = ["--topic", &topic, "--timeout", "600000"];
        let mut producer = tool(&node, "kafka-console-producer", &arguments);
        producer.stdin.as_mut().expect("a pipe").write_all(b"one\n").expect("a line");
        wait_until("the topic, made for the line that was read", CLIENT, || {
            let listed = end(tool(&node, "kafka-topics", &["--list"]));
            listed.0.contains(&topic)
        });
        signal(&producer, signal_name);
        let stdin = producer.stdin.take();
        let ended = end(producer);
        drop(stdin);
        assert_eq!(ended, (String::new(), String::new(), Some(code)));
        let (out, _, _) = end(tool(&node, "kafka-get-offsets", &["--topic", &topic]));
        assert_eq!(out, format!("{topic}:0:1\n"));
    }
}
