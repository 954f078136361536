//! Data directories given to and fro between Ottla and Apache Kafka 4.4.0, in place.

mod formatting;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{Node, binary, free_port, have, run, wait_until};

use super::{directory, kcat_consume, kcat_produce};

/// For anything but a node.
const SHORT: Duration = Duration::from_secs(60);

/// Writes `server.properties` for two log directories and one of the metadata's own.
fn configure(directory: &Path, port: u16, more: &str) {
    let data = directory.join("data");
    let data = data.display();
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{}\n\
         log.dirs={data}/d1,{data}/d2\nmetadata.log.dir={data}/meta\n\
         offsets.topic.replication.factor=1\nbroker.session.timeout.ms=2000\n{more}",
        port + 1,
        port + 1
    );
    fs::write(directory.join("server.properties"), text).expect("a configuration file");
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_directory_of_apache_kafka_is_served_in_place_and_given_back() {
    if !have("golden directory", &["kcat", "java", "mvn", "tar"]) {
        return;
    }
    let directory = directory();
    let golden = harness::root().join("tests/golden/kafka-4.4.0-datadir.tgz");
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(golden).arg("-C").arg(directory.path());
    run(&mut unpack, SHORT).success();
    let port = free_port();
    configure(directory.path(), port, "");
    let committed = |node: &Node| {
        // 25 records, a marker, 25 records, a marker in each of two partitions.
        let read = kcat_consume(node, "t1", "%p %o\n");
        for partition in 0..2 {
            let offsets = (0..52).filter(|offset| ![25, 51].contains(offset));
            for offset in offsets {
                let line = format!("{partition} {offset}");
                assert!(read.lines().any(|read| read == line), "{line} is missing");
            }
        }
        assert_eq!(read.lines().count(), 100);
    };
    let mut node = Node::configured(directory.path(), port);
    committed(&node);
    kcat_produce(&node, "t", &["k:from ottla".to_owned()]);
    node.stop();
    let mut apache = Node::apache(directory.path(), port);
    committed(&apache);
    kcat_produce(&apache, "t", &["k:from apache".to_owned()]);
    apache.stop();
    node.launch();
    committed(&node);
    let letters = kcat_consume(&node, "t", "%s\n");
    assert_eq!(sorted(&letters), ["from apache", "from ottla", "hello"]);
}

#[test]
fn apache_kafka_serves_what_ottla_formatted_and_wrote() {
    if !have("our directory", &["kcat", "java", "mvn"]) {
        return;
    }
    let directory = directory();
    let port = free_port();
    // So small that there are several snapshots, and parts of the log given up.
    let small = "metadata.log.max.record.bytes.between.snapshots=1000\nnum.partitions=4\n";
    configure(directory.path(), port, small);
    let properties = directory.path().join("server.properties");
    let storage = |args: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("kafka-storage").args(args).arg("-c").arg(&properties);
        run(&mut command, SHORT)
    };
    let cluster = run(Command::new(binary()).args(["kafka-storage", "random-uuid"]), SHORT);
    let cluster = cluster.success().trim().to_owned();
    storage(&["format", "--standalone", "-t", &cluster]).success();
    let again = storage(&["format", "--standalone", "-t", &cluster]);
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert!(again.stderr.contains("is already formatted"), "{}", again.stderr);
    let info = storage(&["info"]).success();
    assert!(info.contains(&format!("cluster.id={cluster}")), "{info}");
    let mut node = Node::configured(directory.path(), port);
    let lines: Vec<String> = (0..500).map(|n| format!("key-{}:value {n}", n % 7)).collect();
    let topics = ["first", "second", "third"];
    for topic in topics {
        kcat_produce(&node, topic, &lines);
    }
    let read = |node: &Node| topics.map(|topic| kcat_consume(node, topic, "%p %o %k:%s\n"));
    let written = read(&node);
    // Killed, then stopped in order: both kinds of tail are read again.
    node.kill();
    node.launch();
    node.stop();
    let metadata = directory.path().join("data/meta/__cluster_metadata-0");
    let names = fs::read_dir(metadata).expect("the metadata log").filter_map(Result::ok);
    let snapshots =
        names.filter(|entry| entry.path().extension().is_some_and(|e| e == "checkpoint"));
    assert!(snapshots.count() > 2, "no snapshot was taken");
    let mut apache = Node::apache(directory.path(), port);
    for (ours, theirs) in written.iter().zip(read(&apache)) {
        assert_eq!(sorted(ours), sorted(&theirs));
    }
    kcat_produce(&apache, "fourth", &lines);
    apache.stop();
    node.launch();
    for (ours, again) in written.iter().zip(read(&node)) {
        assert_eq!(sorted(ours), sorted(&again));
    }
    assert_eq!(kcat_consume(&node, "fourth", "%s\n").lines().count(), lines.len());
}

/// Waits until all records of a topic are deleted.
fn wait_for_deletion(node: &Node, topic: &str) {
    let emptied = || kcat_consume(node, topic, "%s\n").is_empty();
    wait_until("records past their retention are deleted", SHORT, emptied);
}

#[test]
fn keys_of_our_own_keep_apache_kafka_from_nothing_and_count_again_afterwards() {
    if !have("keys of our own", &["kcat", "java", "mvn"]) {
        return;
    }
    let directory = directory();
    let port = free_port();
    let often = "log.initial.task.delay.ms=0\nlog.retention.check.interval.ms=200\n";
    configure(directory.path(), port, often);
    let cluster = run(Command::new(binary()).args(["kafka-storage", "random-uuid"]), SHORT);
    let mut format = Command::new(binary());
    format.args(["kafka-storage", "format", "--standalone", "-t", cluster.success().trim(), "-c"]);
    run(format.arg(directory.path().join("server.properties")), SHORT).success();
    let mut node = Node::configured(directory.path(), port);
    let ours = |node: &Node, words: &str| {
        let mut command = Command::new(binary());
        run(command.args(words.split(' ')).env("OTTLA_SERVER", node.address()), SHORT).success()
    };
    let own = "-c retention.consumer.groups=billing,audit -c retention.consumer.groups.max.ms=-1";
    ours(&node, &format!("topic create held {own} -c retention.ms=-1"));
    ours(&node, "topic create plain -c retention.ms=1");
    let lines: Vec<String> = (0..100).map(|n| format!("key-{}:value {n}", n % 7)).collect();
    kcat_produce(&node, "held", &lines);
    node.stop();

    let mut apache = Node::apache(directory.path(), port);
    assert_eq!(kcat_consume(&apache, "held", "%s\n").lines().count(), lines.len());
    kcat_produce(&apache, "held", &lines);
    let theirs = |node: &Node, words: &str| {
        let mut command = Command::new(harness::root().join("tests/oracle/java/run"));
        command.args(["broker", "kafka.admin.ConfigCommand", "--bootstrap-server"]);
        command.arg(node.address()).args(["--entity-type", "topics", "--entity-name", "held"]);
        run(command.args(words.split(' ')), SHORT)
    };
    // It skips what it does not know, and lets the others be changed.
    let shown = theirs(&apache, "--describe").success();
    assert!(shown.contains("retention.ms=-1") && !shown.contains("groups"), "{shown}");
    theirs(&apache, "--alter --add-config max.message.bytes=2000000").success();
    let refused = theirs(&apache, "--alter --add-config retention.consumer.groups=mail");
    assert!(refused.stderr.contains("Unknown topic config name"), "{}", refused.stderr);
    apache.stop();

    node.launch();
    let shown = ours(&node, "config describe topic held -o jsonl");
    for words in ["\"billing,audit\"", "\"retention.consumer.groups.max.ms\"", "\"2000000\""] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    // And it is honoured.
    ours(&node, "config set topic held retention.ms=1");
    kcat_produce(&node, "plain", &lines);
    wait_for_deletion(&node, "plain");
    assert_eq!(kcat_consume(&node, "held", "%s\n").lines().count(), 2 * lines.len());
    for group in ["billing", "audit"] {
        let mut reset = Command::new(binary());
        reset.args(["kafka-consumer-groups", "--bootstrap-server", &node.address(), "--group"]);
        reset.args([group, "--reset-offsets", "--to-latest", "--topic", "held", "--execute"]);
        run(&mut reset, SHORT).success();
    }
    wait_for_deletion(&node, "held");
    node.stop();

    // Its snapshots lack what it skipped: the one thing that an operator has to know.
    let small = "metadata.log.max.record.bytes.between.snapshots=1000\n";
    configure(directory.path(), port, small);
    let mut apache = Node::apache(directory.path(), port);
    for topic in ["a", "b", "c", "d", "e", "f"] {
        kcat_produce(&apache, topic, &lines);
    }
    apache.stop();
    node.launch();
    let shown = ours(&node, "config describe topic held -o jsonl");
    assert!(shown.contains("\"2000000\"") && !shown.contains("groups"), "{shown}");
}

/// Names in the directory of `ledger-0` that end so, wherever that is.
fn ledger_files(directory: &Path, extension: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for dir in ["d1", "d2"] {
        let Ok(entries) = fs::read_dir(directory.join("data").join(dir).join("ledger-0")) else {
            continue;
        };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            // What is listed may be gone a moment later.
            if let (true, Ok(metadata)) = (name.ends_with(extension), entry.metadata()) {
                found.push((name, metadata.len()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn apache_kafka_leaves_key_filters_alone_and_what_it_compacted_is_read_without_them() {
    if !have("key filters", &["kcat", "java", "mvn"]) {
        return;
    }
    let directory = directory();
    let port = free_port();
    configure(directory.path(), port, "log.cleaner.enable=false\n");
    let cluster = run(Command::new(binary()).args(["kafka-storage", "random-uuid"]), SHORT);
    let mut format = Command::new(binary());
    format.args(["kafka-storage", "format", "--standalone", "-t", cluster.success().trim(), "-c"]);
    run(format.arg(directory.path().join("server.properties")), SHORT).success();
    let mut node = Node::configured(directory.path(), port);
    let ours = |node: &Node, words: &str| {
        let mut command = Command::new(binary());
        run(command.args(words.split(' ')).env("OTTLA_SERVER", node.address()), SHORT).success()
    };
    let policy = "-c cleanup.policy=compact -c min.cleanable.dirty.ratio=0.01";
    ours(&node, &format!("topic create ledger {policy} -c segment.bytes=1048576"));
    // The odd keys come again in each of four rounds, the even ones in the first two alone.
    let filler = "x".repeat(6_000);
    let wanted = |n: usize| n % 2 == 1 || n < 400;
    let lines: Vec<String> =
        (0..800).filter(|n| wanted(*n)).map(|n| format!("key-{}:{n} {filler}", n % 200)).collect();
    kcat_produce(&node, "ledger", &lines);
    let check = |node: &Node| {
        for key in (0..200).step_by(13) {
            let round = if key % 2 == 1 { 600 } else { 200 };
            let found = ours(node, &format!("topic get ledger key-{key}"));
            let number = found.split(' ').next().and_then(|number| number.parse::<usize>().ok());
            assert_eq!(number, Some(round + key), "key-{key}");
        }
    };
    let logs = ledger_files(directory.path(), ".log");
    assert!(logs.len() >= 4, "{logs:?}");
    let built = || ledger_files(directory.path(), ".keyfilter").len() == logs.len() - 1;
    wait_until("filters are built", SHORT, built);
    check(&node);
    node.stop();

    let filters = ledger_files(directory.path(), ".keyfilter");
    configure(directory.path(), port, "log.cleaner.backoff.ms=200\n");
    let mut apache = Node::apache(directory.path(), port);
    let size = |files: &[(String, u64)]| files.iter().map(|(_, bytes)| bytes).sum::<u64>();
    let compacted = || size(&ledger_files(directory.path(), ".log")) < size(&logs) * 3 / 4;
    wait_until("Apache Kafka compacts", SHORT, compacted);
    check(&apache);
    apache.stop();
    assert_eq!(ledger_files(directory.path(), ".keyfilter"), filters, "it touched them");

    // Stale ones go at the start; those of what is there now are built.
    configure(directory.path(), port, "log.cleaner.enable=false\n");
    node.launch();
    check(&node);
    let built = || {
        let segments = ledger_files(directory.path(), ".log");
        let empty = segments.iter().filter(|(_, bytes)| *bytes == 0).count();
        ledger_files(directory.path(), ".keyfilter").len() == segments.len() - 1 - empty
    };
    wait_until("filters are built anew", SHORT, built);
    check(&node);
    // The topic goes with them.
    ours(&node, "topic delete ledger --yes");
    let gone = || ledger_files(directory.path(), "").is_empty();
    wait_until("the directory is renamed", SHORT, gone);
}
