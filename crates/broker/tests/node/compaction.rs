//! Compaction as a client sees it: of each key the newest value stays, offsets stay what they were,
//! and the checkpoint says how far the cleaner came, over a restart, too.

use crate::rig::Rig;
use broker::Event;
use messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use messages::fetch_request::{FetchPartition, FetchTopic};
use messages::produce_request::{PartitionProduceData, TopicProduceData};
use messages::produce_response::PartitionProduceResponse;
use messages::*;
use ottla_log::disk::Disk as _;
use std::path::Path;
use wire::batch::Batches;
use wire::record::{BatchBuilder, BatchOptions, RecordIter};

/// Above a third of the smallest segment that a topic may have, so that each takes two.
const VALUE_BYTES: usize = 400 << 10;

fn create(rig: &mut Rig, configs: &[(&str, &str)]) {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
        ..Default::default()
    };
    let topic = CreatableTopic {
        name: "ledger".into(),
        num_partitions: 1,
        replication_factor: 1,
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let answer: CreateTopicsResponse = rig.ask(7, &request);
    assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
}

fn produce(rig: &mut Rig, key: Option<&str>, value: Option<&[u8]>) -> PartitionProduceResponse {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.push(rig.now.wall_ms, key.map(str::as_bytes), value, &[]);
    let data = PartitionProduceData {
        records: Some(batch.build().expect("a batch")),
        ..Default::default()
    };
    let topic = TopicProduceData {
        name: "ledger".into(),
        partition_data: vec![data],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![topic],
        ..Default::default()
    };
    let mut answer: ProduceResponse = rig.ask(9, &request);
    answer.responses.remove(0).partition_responses.remove(0)
}

fn put(rig: &mut Rig, key: &str) {
    assert_eq!(produce(rig, Some(key), Some(&vec![7; VALUE_BYTES])).error_code, 0);
}

/// Offsets and keys of all there is, read as consumers do.
fn read(rig: &mut Rig) -> Vec<(i64, String)> {
    let (mut next, mut found) = (0, Vec::new());
    loop {
        let partition = FetchPartition {
            fetch_offset: next,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: "ledger".into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = FetchRequest {
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let mut answer: FetchResponse = rig.ask(12, &request);
        let data = answer.responses.remove(0).partitions.remove(0);
        assert_eq!(data.error_code, 0);
        let records = data.records.unwrap_or_default();
        if records.is_empty() {
            return found;
        }
        for (header, batch) in Batches::new(records).map_while(Result::ok) {
            for record in RecordIter::open(&batch, 1 << 24).expect("records") {
                let record = record.expect("a record");
                let key = record.key.expect("a key");
                found.push((record.offset, String::from_utf8_lossy(&key).into_owned()));
            }
            next = header.next_offset();
        }
    }
}

/// Lets the node be ticked for so long.
fn pass(rig: &mut Rig, seconds: i64) {
    let end = rig.now.steady_ms + seconds * 1000;
    while rig.now.steady_ms < end {
        let next = rig.node.next_deadline_ms().clamp(rig.now.steady_ms + 1, end);
        rig.now.wall_ms += next - rig.now.steady_ms;
        rig.now.steady_ms = next;
        rig.step(Event::Ticked);
    }
}

fn checkpoint(rig: &Rig) -> String {
    let content = rig.disk.read_file(Path::new("/data/cleaner-offset-checkpoint"));
    String::from_utf8(content.expect("a checkpoint").to_vec()).expect("text")
}

#[test]
fn the_newest_of_each_key_stays_where_it_is() {
    let mut rig = Rig::new();
    create(&mut rig, &[("cleanup.policy", "compact"), ("segment.bytes", "1048576")]);
    for key in ["a", "b", "a", "b", "a", "c", "d"] {
        put(&mut rig, key);
    }
    // Segments of two: the last one is written to, and is never cleaned.
    pass(&mut rig, 20);
    let kept = |offsets: &[(i64, &str)]| -> Vec<(i64, String)> {
        offsets.iter().map(|(offset, key)| (*offset, (*key).to_owned())).collect()
    };
    let expected = kept(&[(3, "b"), (4, "a"), (5, "c"), (6, "d")]);
    assert_eq!(read(&mut rig), expected);
    assert_eq!(checkpoint(&rig), "0\n1\nledger 0 6\n");
    rig.restart();
    assert_eq!(read(&mut rig), expected);
    // Half of it has to be dirty before it is cleaned again.
    put(&mut rig, "a");
    put(&mut rig, "a");
    pass(&mut rig, 20);
    assert_eq!(checkpoint(&rig), "0\n1\nledger 0 6\n");
    put(&mut rig, "a");
    put(&mut rig, "a");
    put(&mut rig, "a");
    put(&mut rig, "a");
    pass(&mut rig, 20);
    assert_eq!(checkpoint(&rig), "0\n1\nledger 0 12\n");
    assert_eq!(read(&mut rig), kept(&[(3, "b"), (5, "c"), (6, "d"), (11, "a"), (12, "a")]));
    // What is deleted goes, and its checkpoint with it.
    let request = DeleteTopicsRequest {
        topics: vec![delete_topics_request::DeleteTopicState {
            name: Some("ledger".into()),
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    let answer: DeleteTopicsResponse = rig.ask(6, &request);
    assert_eq!(answer.responses[0].error_code, 0);
    pass(&mut rig, 120);
    assert_eq!(checkpoint(&rig), "0\n0\n");
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    let mut rig = Rig::new();
    create(&mut rig, &[("cleanup.policy", "compact")]);
    let answer = produce(&mut rig, None, Some(b"value"));
    assert_eq!(answer.error_code, 87);
    assert!(answer.error_message.is_some_and(|text| text.contains("without key")));
    assert_eq!(produce(&mut rig, Some("k"), None).error_code, 0);
}

#[test]
fn the_cleaner_leaves_alone_what_is_too_young_or_too_clean() {
    for (key, value) in [("min.compaction.lag.ms", "60000"), ("min.cleanable.dirty.ratio", "1.0")] {
        let mut rig = Rig::new();
        let policy = [("cleanup.policy", "compact"), ("segment.bytes", "1048576"), (key, value)];
        create(&mut rig, &policy);
        for _ in 0..5 {
            put(&mut rig, "a");
        }
        pass(&mut rig, 30);
        assert_eq!(read(&mut rig).len(), 5, "{key}");
        pass(&mut rig, 60);
        let expected = if key == "min.compaction.lag.ms" { 2 } else { 5 };
        assert_eq!(read(&mut rig).len(), expected, "{key}");
    }
}
