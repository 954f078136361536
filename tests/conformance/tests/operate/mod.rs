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
    // The node accepts before it says where.
    wait_until("the node's greeting", SHORT, || node.log().contains("/healthz"));
    let log = node.log();
    let address = log.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    address.expect("an admin port").parse().expect("its address")
}

/// What it answers: the status line and the body.
pub fn get(node: &Node, path: &str) -> (String, String) {
    ask(admin(node), &format!("GET {path} HTTP/1.1\r\nHost: ottla\r\n\r\n"))
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
