//! What an operator sees of a node: its listeners, its health, its numbers, its log.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{Node, binary, free_port, have, run, wait_until};

use super::{directory, kcat_consume, kcat_produce};

const SHORT: Duration = Duration::from_secs(30);

/// The admin port of a node.
fn admin(node: &Node) -> SocketAddr {
    admin_of_life(node, 1)
}

/// The admin port of a node that was started so often.
pub fn admin_of_life(node: &Node, life: usize) -> SocketAddr {
    // The node accepts before it says where.
    wait_until("the node's greeting", SHORT, || node.log().matches("/healthz").count() >= life);
    let log = node.log();
    let address = log.split("http://").nth(life).and_then(|rest| rest.split('/').next());
    address.expect("an admin port").parse().expect("its address")
}

/// What it answers: the status line and the body.
pub fn get(node: &Node, path: &str) -> (String, String) {
    get_from(admin(node), path)
}

/// As [`get`], from a port that is known.
pub fn get_from(admin: SocketAddr, path: &str) -> (String, String) {
    ask(admin, &format!("GET {path} HTTP/1.1\r\nHost: ottla\r\n\r\n"))
}

fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect_timeout(&address, SHORT).expect("the admin port");
    stream.set_read_timeout(Some(SHORT)).expect("a deadline");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

pub fn number(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {metrics}"))
}

#[test]
fn health_and_numbers_are_told_on_the_admin_port() {
    if !have("admin port", &["kcat"]) || Node::is_peer() {
        return;
    }
    let directory = directory();
    let mut node = Node::start(directory.path());
    // Who says nothing keeps nobody out.
    let silent = || TcpStream::connect_timeout(&admin(&node), SHORT).expect("the admin port");
    let silent: Vec<TcpStream> = (0..100).map(|_| silent()).collect();
    assert_eq!(get(&node, "/healthz"), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    drop(silent);
    let lines: Vec<String> = (0..100).map(|n| format!("k:{n}")).collect();
    kcat_produce(&node, "letters", &lines);
    assert_eq!(kcat_consume(&node, "letters", "%s\n").lines().count(), 100);
    let (status, metrics) = get(&node, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let prefix = "kafka_server_brokertopicmetrics_";
    for labels in ["", "{topic=\"letters\"}"] {
        assert_eq!(number(&metrics, &format!("{prefix}messagesin_total{labels}")), 100);
        let bytes_in = number(&metrics, &format!("{prefix}bytesin_total{labels}"));
        let bytes_out = number(&metrics, &format!("{prefix}bytesout_total{labels}"));
        assert!(bytes_in > 400, "{bytes_in}");
        assert_eq!(bytes_in, bytes_out);
    }
    assert_eq!(number(&metrics, "kafka_controller_kafkacontroller_activecontrollercount"), 1);
    assert_eq!(number(&metrics, "kafka_controller_kafkacontroller_offlinepartitionscount"), 0);
    assert!(number(&metrics, &format!("{prefix}totalproducerequests_total")) > 0);
    assert_eq!(number(&metrics, &format!("{prefix}failedproducerequests_total")), 0);
    assert!(get(&node, "/nothing").0.contains("404"));
    node.assert_alive();
    for (request, status) in [
        ("POST /healthz HTTP/1.1\r\n\r\n", "405"),
        ("\0\0\0\x04\0\x12\0\0\r\n\r\n", "400"),
        (&*format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000)), "400"),
    ] {
        assert!(ask(admin(&node), request).0.contains(status), "{request:.40}");
    }
}

/// The brokers that kcat is told of on a port.
fn brokers(port: u16) -> String {
    let mut command = Command::new("kcat");
    command.args(["-L", "-b", &format!("127.0.0.1:{port}")]);
    let listed = run(&mut command, SHORT).success();
    let lines = listed.lines().map(str::trim).filter(|line| line.starts_with("broker "));
    lines.collect::<Vec<_>>().join("; ")
}

fn configure(directory: &Path, lines: &str) {
    let data = directory.join("data");
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\nlog.dirs={}\n\
         controller.listener.names=CONTROLLER\noffsets.topic.replication.factor=1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:9093\n{lines}",
        data.display()
    );
    fs::write(directory.join("server.properties"), text).expect("a configuration file");
    let mut format = Command::new(binary());
    let id = "wS9kkDQaTdGGFMJPOSQDQQ";
    format.args(["kafka-storage", "format", "--standalone", "-t", id, "-c"]);
    format.arg(directory.join("server.properties"));
    run(&mut format, SHORT).success();
}

#[test]
fn each_listener_tells_its_own_address() {
    if !have("listeners", &["kcat"]) || Node::is_peer() {
        return;
    }
    let directory = directory();
    let (inside, outside, silent) = (free_port(), free_port(), free_port());
    configure(
        directory.path(),
        &format!(
            "listeners=IN://127.0.0.1:{inside},OUT://:{outside},SILENT://127.0.0.1:{silent},\
             CONTROLLER://127.0.0.1:{}\n\
             listener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT,SILENT:PLAINTEXT,\
             CONTROLLER:PLAINTEXT\ninter.broker.listener.name=IN\n\
             advertised.listeners=IN://127.0.0.1:{inside},OUT://localhost:{outside}\n",
            inside + 1
        ),
    );
    let node = Node::configured(directory.path(), inside);
    kcat_produce(&node, "letters", &["k:v".to_owned()]);
    let told = |text: &str, address: &str| assert!(text.contains(address), "{address}: {text}");
    told(&brokers(inside), &format!("at 127.0.0.1:{inside}"));
    told(&brokers(outside), &format!("at localhost:{outside}"));
    // Not advertised: it leads to no broker, as with Apache Kafka.
    assert!(!brokers(silent).contains(" at "), "{}", brokers(silent));
}

#[test]
fn log_lines_are_json_where_that_was_asked_for_and_as_urgent() {
    if Node::is_peer() {
        return;
    }
    let garbage = |node: &Node| {
        let mut stream = TcpStream::connect(node.socket()).expect("the node");
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("garbage");
        let _ = stream.read(&mut [0; 16]);
    };
    let directory = directory();
    let mut node = Node::with(directory.path(), &["--log-format", "json"]);
    garbage(&node);
    wait_until("a line about the garbage", SHORT, || node.log().contains("\"msg\""));
    let log = node.log();
    let line = log.lines().find(|line| line.contains("\"msg\"")).expect("a line");
    let read: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(read["level"], "WARN");
    assert!(read["msg"].as_str().is_some_and(|text| text.contains("closed 127.0.0.1")), "{line}");
    node.stop();
    // Less urgent than asked for, so nothing is written.
    let mut quiet = Node::with(&directory.path().join("quiet"), &["--log-level", "error"]);
    garbage(&quiet);
    quiet.stop();
    assert!(!quiet.log().contains("WARN"), "{}", quiet.log());
    let mut wrong = Command::new(binary());
    wrong.args(["--log-level", "loud"]);
    let refused = run(&mut wrong, SHORT);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("trace, debug, info"), "{}", refused.stderr);
}

/// Where the batches of a segment file begin, and their base offsets.
fn batches(content: &[u8]) -> Vec<(usize, i64)> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(head) = content.get(at..at + 12) {
        let number =
            |bytes: &[u8]| bytes.iter().fold(0i64, |all, byte| all << 8 | i64::from(*byte));
        found.push((at, number(&head[..8])));
        at += 12 + number(&head[8..]) as usize;
    }
    found
}

/// A bit turns over in a rolled segment while the node is away: what is before it is read, it is
/// not, and neither is it passed over in silence; what is behind it is read, and so is what comes.
#[test]
fn damage_is_refused_and_told_of_and_all_other_records_are_read() {
    if !have("damage", &["kcat"]) || Node::is_peer() {
        return;
    }
    let directory = directory();
    let mut node = Node::start(directory.path());
    let mut create = Command::new(binary());
    create.args(["kafka-topics", "--create", "--topic", "letters", "--partitions", "1"]);
    create.args(["--config", "segment.bytes=1048576", "--bootstrap-server", &node.address()]);
    run(&mut create, SHORT).success();
    for part in 0..12 {
        let line = |n: i32| format!("k:{:0>400}", part * 500 + n);
        kcat_produce(&node, "letters", &(0..500).map(line).collect::<Vec<_>>());
    }
    node.stop();
    let first = directory.path().join("data/letters-0/00000000000000000000.log");
    let mut content = fs::read(&first).expect("the first segment");
    let all = batches(&content);
    let [_, (at, damaged), (_, behind), ..] = all[..] else { panic!("{all:?}") };
    content[at + 200] ^= 0x10;
    fs::write(&first, &content).expect("the same with a bit turned over");
    node.launch();
    let consume = |node: &Node, from: i64, count: i64| {
        let mut command = Command::new("kcat");
        command.args(["-C", "-q", "-b", &node.address(), "-t", "letters", "-p", "0"]);
        command.args(["-o", &from.to_string(), "-c", &count.to_string(), "-f", "%o\n"]);
        run(&mut command, SHORT)
    };
    let offsets = |from: i64, to: i64| (from..to).map(|n| format!("{n}\n")).collect::<String>();
    assert_eq!(consume(&node, 0, damaged).success(), offsets(0, damaged));
    let refused = consume(&node, damaged, 1);
    assert!(refused.code != Some(0) && refused.stdout.is_empty(), "{refused:?}");
    assert!(refused.stderr.to_lowercase().contains("message"), "{}", refused.stderr);
    assert_eq!(consume(&node, behind, 6000 - behind).success(), offsets(behind, 6000));
    kcat_produce(&node, "letters", &["k:new".to_owned()]);
    assert_eq!(consume(&node, 6000, 1).success(), "6000\n");
    let log = fs::read_to_string(directory.path().join("node.log")).unwrap_or_else(|_| node.log());
    let told: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
    assert_eq!(told.len(), 1, "{log}");
    let range = format!("offsets {damaged} to {}: ", behind - 1);
    for words in ["letters-0 is damaged: ", "00000000000000000000.log, bytes ", &range] {
        assert!(told[0].contains(words), "{words} in {}", told[0]);
    }
    // The last greeting is this life's.
    let address = log.rsplit("http://").next().and_then(|rest| rest.split('/').next());
    let address: SocketAddr = address.expect("an admin port").parse().expect("its address");
    let (_, metrics) = ask(address, "GET /metrics HTTP/1.1\r\nHost: ottla\r\n\r\n");
    assert_eq!(number(&metrics, "ottla_log_damage_found_total"), 1);
    assert_eq!(number(&metrics, "ottla_log_damaged_places"), 1);
    assert_eq!(number(&metrics, "kafka_log_logmanager_remaininglogstorecover"), 0);
}
