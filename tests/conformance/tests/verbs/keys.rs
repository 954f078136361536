//! One key of a topic: `ottla topic get`, and `ottla consume --key`.

use std::collections::BTreeMap;

use harness::{Node, have, wait_until};
use serde_json::Value;

use super::{SHORT, json_of, ottla, ottla_with, refused};
use crate::operate::{get, number};
use crate::{directory, kcat_consume};

const KEYS: usize = 1_000;
const RECORDS: usize = 100_000;

/// The newest value of each key, as kcat reads the topic.
fn newest(node: &Node, topic: &str) -> BTreeMap<String, String> {
    let mut newest = BTreeMap::new();
    // Of a key all records are in one partition, and so in their order.
    for line in kcat_consume(node, topic, "%k %s\n").lines() {
        let (key, value) = line.split_once(' ').expect("key and value");
        newest.insert(key.to_owned(), value.to_owned());
    }
    newest
}

fn count(node: &Node, name: &str) -> u64 {
    number(&get(node, "/metrics").1, name)
}

/// 100 000 records, each key in a stretch of its own, of which 14 MB come in every partition.
fn lines() -> String {
    let filler = "x".repeat(400);
    let line = |n: usize| format!("key-{}:{n} {filler}\n", n * KEYS / RECORDS);
    (0..RECORDS).map(line).collect()
}

#[test]
fn the_newest_value_of_a_key_is_what_kcat_says_and_little_is_read_for_it() {
    if !have("one key", &["kcat"]) {
        return;
    }
    let directory = directory();
    let mut node = Node::start(directory.path());
    let own = if Node::is_peer() { "" } else { " -c segment.key.filter=auto" };
    let configs = "-c cleanup.policy=compact -c segment.bytes=1048576";
    let configs = format!("{configs} -c min.cleanable.dirty.ratio=1.0{own}");
    ottla(&node, &format!("topic create ledger -p 3 {configs}")).success();
    let words = "produce ledger -f %k:%v -X batch.size=16384";
    ottla_with(&node, words, lines().as_bytes()).success();
    let expected = newest(&node, "ledger");
    assert_eq!(expected.len(), KEYS);
    let some: Vec<String> = (0..KEYS).step_by(37).map(|n| format!("key-{n}")).collect();
    let check = |node: &Node| {
        for key in &some {
            let words = format!("topic get ledger {key}");
            assert_eq!(ottla(node, &words).success().trim_end(), expected[key], "{key}");
        }
    };
    check(&node);
    if Node::is_peer() {
        return;
    }
    let total = count(&node, "kafka_server_brokertopicmetrics_bytesin_total");
    assert!(total > 40 << 20, "{total}");
    // All but the three segments that are written to.
    let built = || count(&node, "ottla_key_filters") >= 39;
    wait_until("filters are built", SHORT, built);
    let read = |metrics: &str| number(metrics, "ottla_key_read_bytes_total");
    let skipped = |metrics: &str| number(metrics, "ottla_key_read_skipped_segments_total");
    // Those of before the filters are counted by now.
    let before = get(&node, "/metrics").1;
    check(&node);
    // The numbers are not quite new. A partition has some fourteen segments: the one with the key,
    // perhaps its neighbour, and the one that is written to are read; and now and then one that was
    // taken for it.
    let mut after = before.clone();
    wait_until("most of it is passed over", SHORT, || {
        after = get(&node, "/metrics").1;
        skipped(&after) - skipped(&before) >= 10 * some.len() as u64
    });
    let bytes = (read(&after) - read(&before)) / some.len() as u64;
    assert!(bytes < 4 << 20, "{bytes} bytes a key");
    // All records of a key, of its partition, and where nothing is.
    let text = ottla(&node, "consume ledger --key key-500 --offset start:end -f %k\\n").success();
    assert!(text.lines().count() == 100 && text.lines().all(|line| line == "key-500"));
    let words = "consume ledger --key key-500 --all-partitions --offset start:end -f %p\\n";
    assert_eq!(ottla(&node, words).success().lines().count(), 100);
    assert_eq!(ottla(&node, "consume ledger --key nobody --offset start:end").success(), "");

    // Compacted, and in another life.
    ottla(&node, "config set topic ledger min.cleanable.dirty.ratio=0.01").success();
    let compacted = || kcat_consume(&node, "ledger", "%k\n").lines().count() < RECORDS / 3;
    wait_until("the topic is compacted", SHORT, compacted);
    assert_eq!(newest(&node, "ledger"), expected);
    check(&node);
    node.stop();
    node.launch();
    check(&node);
}

#[test]
fn a_key_that_is_not_there_or_was_deleted_is_exit_code_5() {
    let directory = directory();
    let node = Node::start(directory.path());
    ottla(&node, "topic create letters -p 4 -c cleanup.policy=compact").success();
    ottla_with(&node, "produce letters -f %k:%v -Z", b"a:1\nb:2\na:3\nb:\n").success();
    assert_eq!(ottla(&node, "topic get letters a").success(), "3\n");
    assert_eq!(ottla(&node, "topic get letters 61 --key-format hex -f %k=%v").success(), "a=3");
    assert_eq!(ottla(&node, "topic get letters YQ== --key-format base64").success(), "3\n");
    let text = ottla(&node, "topic get letters a -o json").success();
    let record: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&record["key"], &record["value"]), (&"a".into(), &"3".into()));
    let partition = record["partition"].as_i64().expect("a partition");
    let other = (partition + 1) % 4;
    assert_eq!(ottla(&node, &format!("topic get letters a -p {partition}")).success(), "3\n");

    let (code, error) = refused(&node, "topic get letters b");
    assert_eq!(code, Some(5));
    assert!(error.starts_with("error: letters: the key was deleted, at letters-"), "{error}");
    let (code, error) = refused(&node, "topic get letters c");
    let words = "error: letters: there is no record with that key where producers put it";
    assert_eq!((code, &*error), (Some(5), words));
    let (code, error) = refused(&node, &format!("topic get letters a -p {other}"));
    assert_eq!((code, &*error), (Some(5), "error: letters: there is no record with that key"));
    let (code, error) = refused(&node, "topic get letters a -p 9");
    assert_eq!((code, &*error), (Some(5), "error: letters has no partition 9, but 4"));
    let (code, error) = refused(&node, "topic get leters a");
    assert_eq!((code, &*error), (Some(5), "error: leters: there is no such topic"));

    // Written where no producer puts it by default.
    ottla_with(&node, &format!("produce letters -k a -p {other}"), b"4\n").success();
    assert_eq!(ottla(&node, "topic get letters a").success(), "3\n");
    let found = ottla(&node, "topic get letters a --all-partitions");
    let mut places = [partition, other];
    places.sort_unstable();
    let warning = format!(
        "warning: letters: the key is in the partitions {places:?}; this is its youngest record\n"
    );
    assert_eq!((&*found.stdout, &*found.stderr), ("4\n", &*warning));
    let described = json_of(&node, "topic describe letters");
    assert_eq!(described[0]["configs"]["cleanup.policy"], "compact");
    // Whoever waits for a key is shown what comes.
    let words = "consume letters --key a --all-partitions --offset start -n 3 -f %v,";
    let mut read = ottla(&node, words).success();
    assert_eq!(read.len(), 6);
    read.retain(|letter| letter != ',');
    let mut values: Vec<char> = read.chars().collect();
    values.sort_unstable();
    assert_eq!(values, ['1', '3', '4']);
}
