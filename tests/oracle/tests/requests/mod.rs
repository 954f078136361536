//! The same requests to a node of ours as went to Apache Kafka 4.4.0, replies compared.
//!
//! A scenario (`NAME.txt`) is a conversation on one connection, recorded from Apache Kafka on a
//! fresh directory and a fixed configuration:
//!
//! ```text
//! > CreateTopics 7 {"topics":[{"name":"a","numPartitions":1,"replicationFactor":1}]}
//! < {...}
//! ~> Metadata 12 {"topics":[{"name":"a"}]}
//! < {...}
//! ```
//!
//! Messages are the JSON that `messages::json` reads and writes, which the other oracle compares
//! with Apache Kafka's; fields left out have their defaults. `~>` asks again until the reply is the
//! expected one, for what comes about by and by. `{batch:N}` stands for N records, `{id:a}` for a
//! topic's id, `{member}` for the last member id, `{session}` for the last fetch session.
//!
//! Replies are masked where they differ between two runs of Apache Kafka. Where ours differ on
//! purpose stands in `differences.txt`, each with its reason; one that is not used fails the test.
//! `OTTLA_PEER=apache` plays against Apache Kafka 4.4.0 itself, and with `UPDATE=1` records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Node, binary, free_port, have, root, run};
use messages::header::{request_header_version, response_header_version};
use messages::schema::{Field, Message, Type};
use messages::{ApiKey, RequestHeader, json};
use serde_json::{Map, Value};
use wire::record::{BatchBuilder, BatchOptions};
use wire::{Bytes, Writer};

const SHORT: Duration = Duration::from_secs(60);
/// How long `~>` asks again.
const BY_AND_BY: Duration = Duration::from_secs(15);

fn here(name: &str) -> PathBuf {
    root().join("tests/oracle/tests/requests").join(name)
}

/// A conversation with a node.
struct Stage {
    node: Node,
    stream: TcpStream,
    /// Topic ids by name, as replies told them.
    ids: BTreeMap<String, String>,
    member: String,
    session: i64,
    data: String,
    correlation: i32,
}

impl Stage {
    fn open(directory: &std::path::Path) -> Self {
        let port = free_port();
        let data = directory.join("data").display().to_string();
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{}\n\
             controller.listener.names=CONTROLLER\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{}\nlog.dirs={data}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=true\n",
            port + 1,
            port + 1
        );
        let properties = directory.join("server.properties");
        fs::write(&properties, text).expect("a configuration file");
        let mut format = if Node::is_peer() {
            let mut command = Command::new(root().join("tests/oracle/java/run"));
            command.args(["codec", "kafka.tools.StorageTool"]);
            command
        } else {
            let mut command = Command::new(binary());
            command.arg("kafka-storage");
            command
        };
        let id = "wS9kkDQaTdGGFMJPOSQDQQ";
        format.args(["format", "--standalone", "-t", id, "-c"]).arg(&properties);
        run(&mut format, SHORT).success();
        let node = match Node::is_peer() {
            true => Node::apache(directory, port),
            false => Node::configured(directory, port),
        };
        let stream = TcpStream::connect(node.socket()).expect("the node");
        stream.set_read_timeout(Some(SHORT)).expect("a deadline");
        let (ids, member) = (BTreeMap::new(), String::new());
        Self { node, stream, ids, member, session: 0, data, correlation: 0 }
    }

    /// Asks once; the reply, masked.
    fn ask(&mut self, api: ApiKey, version: i16, request: &str) -> Value {
        let name = api.facts().name;
        let request: Value = serde_json::from_str(&self.fill(request))
            .unwrap_or_else(|error| panic!("{name}: {error}: {request}"));
        let message = Message::find(&format!("{name}Request")).expect("a request");
        let whole = complete(message, 0, version, request);
        let body = json::from_json(message, version, &whole)
            .unwrap_or_else(|error| panic!("{name} {version}: {error}: {whole}"));
        self.correlation += 1;
        let header = RequestHeader {
            request_api_key: api as i16,
            request_api_version: version,
            correlation_id: self.correlation,
            client_id: Some("oracle".into()),
            ..Default::default()
        };
        let mut writer = Writer::new();
        header.encode(&mut writer, request_header_version(api, version)).expect("a header");
        let mut frame = writer.finish().to_bytes().to_vec();
        frame.extend_from_slice(&body);
        let size = (frame.len() as u32).to_be_bytes();
        self.stream.write_all(&[&size, &frame[..]].concat()).expect("a request");
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut frame).expect("a reply");
        // The correlation id and, in version 1, no tagged fields.
        let head = if response_header_version(api, version) == 0 { 4 } else { 5 };
        let body = Bytes::copy_from_slice(&frame[head..]);
        let message = Message::find(&format!("{name}Response")).expect("a response");
        let mut reply = json::to_json(message, version, body)
            .unwrap_or_else(|error| panic!("{name} {version} reply: {error}"));
        self.learn(&reply);
        self.mask(api, "", &mut reply);
        reply
    }

    fn fill(&self, request: &str) -> String {
        let mut filled = request
            .replace("{member}", &self.member)
            .replace("{session}", &self.session.to_string())
            .replace("{data}", &self.data);
        for (name, id) in &self.ids {
            filled = filled.replace(&format!("{{id:{name}}}"), id);
        }
        while let Some(at) = filled.find("{batch:") {
            let end = at + filled[at..].find('}').expect("an end of {batch:N}");
            let count: usize = filled[at + 7..end].parse().expect("a number of records");
            filled.replace_range(at..=end, &json::base64(&batch(count)));
        }
        filled
    }

    fn learn(&mut self, reply: &Value) {
        match reply {
            Value::Array(list) => list.iter().for_each(|value| self.learn(value)),
            Value::Object(object) => {
                let text = |key: &str| object.get(key).and_then(Value::as_str);
                if let (Some(id), Some(name)) = (text("topicId"), text("name")) {
                    self.ids.insert(name.to_owned(), id.to_owned());
                }
                if let Some(member) = text("memberId").filter(|member| !member.is_empty()) {
                    self.member = member.to_owned();
                }
                if let Some(session) = object.get("sessionId").and_then(Value::as_i64) {
                    self.session = session;
                }
                object.values().for_each(|value| self.learn(value));
            }
            _ => {}
        }
    }

    /// Hides what differs between two runs of the same broker.
    fn mask(&self, api: ApiKey, key: &str, value: &mut Value) {
        let port = i64::from(self.node.socket().port());
        let hide = |value: &mut Value, mask: &str| *value = Value::String(mask.to_owned());
        match value {
            Value::Array(list) => list.iter_mut().for_each(|value| self.mask(api, key, value)),
            Value::Object(object) => {
                object.iter_mut().for_each(|(key, value)| self.mask(api, key, value));
            }
            Value::String(text) => {
                let id = text.len() == 22 && key.to_ascii_lowercase().ends_with("id");
                if id && !text.bytes().all(|byte| byte == b'A') {
                    return hide(value, "{id}");
                }
                *text = without_uuids(text)
                    .replace(&self.data, "{data}")
                    .replace(&format!(":{port}"), ":{port}")
                    .replace(&format!(":{}", port + 1), ":{port+1}");
            }
            Value::Number(number) => {
                let volatile = match api {
                    ApiKey::DescribeQuorum => {
                        ["logEndOffset", "highWatermark", "leaderEpoch"].contains(&key)
                    }
                    ApiKey::DescribeLogDirs => ["totalBytes", "usableBytes"].contains(&key),
                    ApiKey::ApiVersions => key == "finalizedFeaturesEpoch",
                    _ => false,
                };
                match number.as_i64() {
                    _ if volatile => hide(value, "{n}"),
                    Some(n) if n == port => hide(value, "{port}"),
                    Some(n) if n == port + 1 => hide(value, "{port+1}"),
                    Some(n) if n > 1_500_000_000_000 && n != i64::MAX => hide(value, "{ms}"),
                    Some(n) if key == "sessionId" && n != 0 => hide(value, "{session}"),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

fn without_uuids(text: &str) -> String {
    let is_uuid = |at: &usize| text.get(*at..).is_some_and(harness::starts_with_uuid);
    match (0..text.len()).find(is_uuid) {
        Some(at) => format!("{}{{uuid}}{}", &text[..at], without_uuids(&text[at + 36..])),
        None => text.to_owned(),
    }
}

/// Records `value-0`, `value-1` and so on, a second apart from time 1 000 000 on.
fn batch(count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for n in 0..count {
        let value = format!("value-{n}");
        builder.push(1_000_000 + n as i64 * 1000, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.build().expect("a batch")
}

/// The value with the defaults of what it leaves out.
fn complete(message: &Message, of: usize, version: i16, value: Value) -> Value {
    let Value::Object(mut given) = value else { panic!("{}: not an object", message.name) };
    let mut whole = Map::new();
    for field in message.structs[of].fields {
        if !field.versions.contains(version) {
            continue;
        }
        let tagged = field.tag.is_some_and(|(_, versions)| versions.contains(version));
        let value = match given.remove(field.name) {
            Some(value) => deeper(message, field, version, value),
            None if tagged => continue,
            None => default(message, field, version),
        };
        whole.insert(field.name.to_owned(), value);
    }
    assert!(given.is_empty(), "{} {version} has no {:?}", message.name, given.keys());
    Value::Object(whole)
}

fn deeper(message: &Message, field: &Field, version: i16, value: Value) -> Value {
    match (field.element, value) {
        (Type::Struct(of), Value::Array(list)) => {
            list.into_iter().map(|value| complete(message, of, version, value)).collect()
        }
        (Type::Struct(of), value @ Value::Object(_)) => complete(message, of, version, value),
        (_, value) => value,
    }
}

fn default(message: &Message, field: &Field, version: i16) -> Value {
    if field.default == Some("null") && field.nullable.contains(version) {
        return Value::Null;
    }
    if field.array {
        return Value::Array(Vec::new());
    }
    match field.element {
        Type::Bool => Value::Bool(field.default == Some("true")),
        Type::String => Value::String(field.default.unwrap_or_default().to_owned()),
        Type::Bytes | Type::Records => Value::String(String::new()),
        Type::Uuid => Value::String("AAAAAAAAAAAAAAAAAAAAAA".to_owned()),
        Type::Struct(of) => complete(message, of, version, Value::Object(Map::new())),
        _ => {
            let text = field.default.unwrap_or("0");
            let number = match text.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(hex, 16),
                None => text.parse(),
            };
            Value::from(number.unwrap_or_else(|_| panic!("{}: {text}", field.name)))
        }
    }
}

/// One place where two replies differ: its pointer, what was expected, what came. Elements of a
/// list go by their name where they have one.
struct Fault(String, String, String);

fn differ(left: &Value, right: &Value, at: &str, found: &mut Vec<Fault>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let none = Value::String("absent".to_owned());
                let side = |of: &Map<String, Value>| of.get(key).cloned().unwrap_or(none.clone());
                differ(&side(left), &side(right), &format!("{at}/{key}"), found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                let name = left.get("name").filter(|name| right.get("name") == Some(*name));
                let step = name.and_then(Value::as_str).map_or(index.to_string(), str::to_owned);
                differ(left, right, &format!("{at}/{step}"), found);
            }
        }
        _ if left == right => {}
        _ => found.push(Fault(at.to_owned(), left.to_string(), right.to_string())),
    }
}

/// Sorts the lists that a difference says come in another order.
fn in_order(value: &mut Value, at: &str, unordered: &[&Difference], used: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => {
            for (index, value) in list.iter_mut().enumerate() {
                in_order(value, &format!("{at}/{index}"), unordered, used);
            }
            if let Some(one) = unordered.iter().find(|one| one.matches(at)) {
                used.insert(one.line.clone());
                // By name first, so that an element meets its like even where it differs.
                list.sort_by_key(|value| (value["name"].to_string(), value.to_string()));
            }
        }
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                in_order(value, &format!("{at}/{key}"), unordered, used);
            }
        }
        _ => {}
    }
}

/// A difference on purpose: `API POINTER = OURS: reason`, `API POINTER: reason` for what has a test
/// of its own, or `API order POINTER: reason`; `*` stands for any one part of a pointer.
struct Difference {
    line: String,
    api: String,
    order: bool,
    pointer: String,
    ours: Option<String>,
}

impl Difference {
    fn all() -> Vec<Self> {
        let text = fs::read_to_string(here("differences.txt")).expect("the list of differences");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parse = |line: &str| {
            let (what, reason) = line.split_once(": ").expect("a reason");
            assert!(reason.len() > 10, "{line}: a reason");
            let words: Vec<&str> = what.split(' ').collect();
            let (api, order, pointer, ours) = match words[..] {
                [api, "order", pointer] => (api, true, pointer, None),
                [api, pointer] => (api, false, pointer, None),
                [api, pointer, "=", ours] => (api, false, pointer, Some(ours.to_owned())),
                _ => panic!("differences.txt: {line}"),
            };
            let (api, pointer) = (api.to_owned(), pointer.to_owned());
            Self { line: line.to_owned(), api, order, pointer, ours }
        };
        lines.map(parse).collect()
    }

    fn matches(&self, pointer: &str) -> bool {
        let (mut mine, mut theirs) = (self.pointer.split('/'), pointer.split('/'));
        loop {
            match (mine.next(), theirs.next()) {
                (None, None) => return true,
                (Some(mine), Some(theirs)) if mine == "*" || mine == theirs => {}
                _ => return false,
            }
        }
    }
}

/// What a scenario came to.
#[derive(Default)]
struct Outcome {
    played: String,
    asked: usize,
    wrong: String,
    used: BTreeSet<String>,
}

fn play(text: &str, stage: &mut Stage, differences: &[Difference]) -> Outcome {
    let mut outcome = Outcome::default();
    let record = std::env::var_os("UPDATE").is_some();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let _ = writeln!(outcome.played, "{line}");
        let (again, question) = match (line.strip_prefix("> "), line.strip_prefix("~> ")) {
            (Some(question), _) => (false, question),
            (_, Some(question)) => (true, question),
            _ => continue,
        };
        let mut words = question.splitn(3, ' ');
        let name = words.next().expect("an API");
        let version: i16 = words.next().and_then(|text| text.parse().ok()).expect("a version");
        let request = words.next().expect("a request");
        let api = ApiKey::ALL.iter().copied().find(|api| api.facts().name == name);
        let api = api.unwrap_or_else(|| panic!("no such API: {name}"));
        let expected = lines.next_if(|line| line.starts_with("< ")).map(|line| &line[2..]);
        let expected: Value = expected.map_or(Value::Null, |text| {
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{line}: {error}"))
        });
        if again && record {
            // What the question itself sets off comes about in between.
            stage.ask(api, version, request);
            std::thread::park_timeout(Duration::from_secs(3));
        }
        let until = Instant::now() + BY_AND_BY;
        let mine: Vec<&Difference> = differences.iter().filter(|one| one.api == name).collect();
        let (reply, found, used) = loop {
            let reply = stage.ask(api, version, request);
            let (found, used) = compare(&expected, &reply, &mine);
            if found.is_empty() || !again || record || Instant::now() > until {
                break (reply, found, used);
            }
            std::thread::park_timeout(Duration::from_millis(50));
        };
        outcome.asked += 1;
        if api == ApiKey::ApiVersions {
            outcome.wrong += &beyond(&expected, &reply);
        }
        outcome.used.extend(used);
        let _ = writeln!(outcome.played, "< {reply}");
        if !found.is_empty() {
            let _ = writeln!(outcome.wrong, "{line}");
            for Fault(pointer, theirs, ours) in found {
                let _ = writeln!(outcome.wrong, "  {pointer}: {theirs:.300}, not {ours:.300}");
            }
        }
    }
    outcome
}

/// What ours advertises that Apache Kafka doesn't.
fn beyond(expected: &Value, reply: &Value) -> String {
    let ranges = |reply: &Value| -> BTreeMap<i64, (i64, i64)> {
        let number = |api: &Value, key: &str| api[key].as_i64().expect("a number");
        let apis = reply["apiKeys"].as_array().into_iter().flatten();
        apis.map(|api| {
            (number(api, "apiKey"), (number(api, "minVersion"), number(api, "maxVersion")))
        })
        .collect()
    };
    let theirs = ranges(expected);
    let mut wrong = String::new();
    for (api, (min, max)) in ranges(reply) {
        let within = theirs.get(&api).is_some_and(|known| known.0 <= min && max <= known.1);
        if !within {
            let _ =
                writeln!(wrong, "API {api}: {min}..={max} is not within {:?}", theirs.get(&api));
        }
    }
    wrong
}

/// Where a reply differs from the expected one but may not, and which differences were used.
fn compare(
    expected: &Value,
    reply: &Value,
    differences: &[&Difference],
) -> (Vec<Fault>, BTreeSet<String>) {
    let mut used = BTreeSet::new();
    let (order, values): (Vec<&Difference>, Vec<&Difference>) =
        differences.iter().copied().partition(|one| one.order);
    let mut found = Vec::new();
    differ(expected, reply, "", &mut found);
    if !found.is_empty() && !order.is_empty() {
        let (mut left, mut right) = (expected.clone(), reply.clone());
        in_order(&mut left, "", &order, &mut used);
        in_order(&mut right, "", &order, &mut used);
        found.clear();
        differ(&left, &right, "", &mut found);
    }
    found.retain(|Fault(pointer, _, ours)| {
        let is_ours = |one: &Difference| one.ours.as_ref().is_none_or(|pinned| pinned == ours);
        let meant = values.iter().find(|one| one.matches(pointer) && is_ours(one));
        used.extend(meant.map(|one| one.line.clone()));
        meant.is_none()
    });
    (found, used)
}

#[test]
fn replies_are_apache_kafkas() {
    if Node::is_peer() && !have("requests oracle", &["java", "mvn"]) {
        return;
    }
    let mut names: Vec<String> = fs::read_dir(here(""))
        .expect("the scenarios")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".txt") && name != "differences.txt")
        .collect();
    names.sort();
    let only = std::env::var("SCENARIO").unwrap_or_default();
    names.retain(|name| name.contains(&only));
    let mut differences = Difference::all();
    if Node::is_peer() {
        // Its own order is not the same twice either.
        differences.retain(|one| one.order);
    }
    let (mut used, mut wrong, mut asked) = (BTreeSet::new(), String::new(), 0);
    for name in &names {
        let text = fs::read_to_string(here(name)).expect("a scenario");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut stage = Stage::open(directory.path());
        let outcome = play(&text, &mut stage, &differences);
        if std::env::var_os("UPDATE").is_some() {
            assert!(Node::is_peer(), "only Apache Kafka records");
            fs::write(here(name), outcome.played).expect("a scenario");
            continue;
        }
        asked += outcome.asked;
        used.extend(outcome.used);
        if !outcome.wrong.is_empty() {
            let _ = writeln!(wrong, "{name}\n{}", outcome.wrong);
        }
    }
    println!(
        "{} scenarios, {asked} requests, {} of {} differences on purpose used",
        names.len(),
        used.len(),
        differences.len()
    );
    assert!(wrong.is_empty(), "replies differ:\n{wrong}");
    let unused: Vec<&str> = differences
        .iter()
        .map(|one| one.line.as_str())
        .filter(|line| !used.contains(*line))
        .collect();
    let some_only = !only.is_empty() || Node::is_peer();
    assert!(some_only || unused.is_empty(), "differences that are none: {unused:#?}");
}
