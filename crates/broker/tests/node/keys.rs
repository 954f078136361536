//! Reading one key as a client does: segments whose filters deny it are passed over, in every
//! version that can say so, within sessions and without, and nothing of the key is left out.

use broker::Event;
use messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use messages::fetch_request::{FetchPartition, FetchTopic};
use messages::fetch_response::PartitionData;
use messages::produce_request::{PartitionProduceData, TopicProduceData};
use messages::*;
use ottla_log::disk::Disk as _;
use std::path::Path;
use wire::batch::Batches;
use wire::record::{BatchBuilder, BatchOptions, RecordIter};
use wire::{Bytes, Uuid};

use crate::rig::Rig;

/// Above a third of the smallest segment that a topic may have, so that each takes two.
const VALUE_BYTES: usize = 400 << 10;

fn create(rig: &mut Rig, configs: &[(&str, &str)]) -> Uuid {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
        ..Default::default()
    };
    let smallest = [("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "1.0")];
    let topic = CreatableTopic {
        name: "ledger".into(),
        num_partitions: 1,
        replication_factor: 1,
        configs: configs.iter().chain(&smallest).map(config).collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let answer: CreateTopicsResponse = rig.ask(7, &request);
    assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
    answer.topics[0].topic_id
}

fn put(rig: &mut Rig, key: &str) {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.push(rig.now.wall_ms, Some(key.as_bytes()), Some(&vec![7; VALUE_BYTES]), &[]);
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
    let answer: ProduceResponse = rig.ask(9, &request);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
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

/// A request for what is at that offset, of a key perhaps.
fn request(version: i16, id: Uuid, offset: i64, key: Option<&str>) -> FetchRequest {
    let mut partition =
        FetchPartition { fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    key.into_iter().for_each(|key| partition.set_key(Bytes::copy_from_slice(key.as_bytes())));
    let by_id = version >= 13;
    let topic = FetchTopic {
        topic: if by_id { String::new() } else { "ledger".into() },
        topic_id: if by_id { id } else { Uuid::ZERO },
        partitions: vec![partition],
        ..Default::default()
    };
    FetchRequest {
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn fetch(rig: &mut Rig, version: i16, request: &FetchRequest) -> PartitionData {
    let mut answer: FetchResponse = rig.ask(version, request);
    assert_eq!(answer.error_code, 0);
    let data = answer.responses.remove(0).partitions.remove(0);
    assert_eq!(data.error_code, 0);
    data
}

/// Offsets of a key's records, and how many bytes came for them.
fn read(rig: &mut Rig, version: i16, id: Uuid, key: &str) -> (Vec<i64>, usize) {
    let (mut next, mut shown, mut bytes) = (0, Vec::new(), 0);
    loop {
        let data = fetch(rig, version, &request(version, id, next, Some(key)));
        let searched = data.searched_to();
        let records = data.records.unwrap_or_default();
        bytes += records.len();
        if records.is_empty() {
            match searched {
                Some(to) => {
                    assert!(to > next && to <= data.high_watermark);
                    next = to;
                }
                None => return (shown, bytes),
            }
        }
        for (header, batch) in Batches::new(records).map_while(Result::ok) {
            for record in RecordIter::open(&batch, 1 << 24).expect("records") {
                let record = record.expect("a record");
                if record.key.as_deref() == Some(key.as_bytes()) {
                    shown.push(record.offset);
                }
            }
            next = header.next_offset();
        }
    }
}

fn filters(rig: &Rig) -> usize {
    let names = rig.disk.list(Path::new("/data/ledger-0")).expect("a partition");
    names.iter().filter(|name| name.ends_with(".keyfilter")).count()
}

#[test]
fn a_reader_of_one_key_is_spared_the_segments_without_it() {
    let mut rig = Rig::new();
    let id = create(&mut rig, &[("cleanup.policy", "compact")]);
    // Segments of two; the last one is written to.
    for key in ["a", "b", "c", "a", "d", "e", "f", "g", "h"] {
        put(&mut rig, key);
    }
    let all = read(&mut rig, 12, id, "a");
    assert_eq!(all.0, [0, 3]);
    assert!(all.1 > 8 * VALUE_BYTES, "without filters all is read");
    pass(&mut rig, 30);
    assert_eq!(filters(&rig), 4);
    for version in 12..=18 {
        let (shown, bytes) = read(&mut rig, version, id, "a");
        assert_eq!(shown, [0, 3], "version {version}");
        assert!(bytes < 6 * VALUE_BYTES, "version {version}: {bytes} bytes");
        let (shown, bytes) = read(&mut rig, version, id, "nobody");
        assert!(shown.is_empty());
        assert!(bytes < 2 * VALUE_BYTES, "version {version}: {bytes} bytes");
    }
    // Older ones can't say what they look for, and get it all.
    let data = fetch(&mut rig, 11, &request(11, id, 0, Some("nobody")));
    assert!(data.records.is_some_and(|records| records.len() > VALUE_BYTES));
    // Who asks for no key is told nothing of this.
    let data = fetch(&mut rig, 12, &request(12, id, 0, None));
    assert!(data.unknown_tags.is_empty());
    let text = broker::metrics::Sample::of(&rig.node).text();
    let counted = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).expect("a metric");
        line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok()).expect("a number")
    };
    assert_eq!(counted("ottla_key_filters "), 4);
    assert_eq!(counted("ottla_key_filter_builds_total"), 4);
    assert!(counted("ottla_key_filter_build_bytes_total") > 8 * VALUE_BYTES as u64);
    // Seven versions, twice: two segments without a, and four without nobody.
    assert_eq!(counted("ottla_key_read_skipped_segments_total"), 7 * (2 + 4));
    assert!(counted("ottla_key_read_skipped_bytes_total") > 7 * 6 * VALUE_BYTES as u64);
    let sent = counted("ottla_key_read_bytes_total");
    assert!(counted("kafka_server_brokertopicmetrics_bytesout_total ") > sent);
    // Another life finds them.
    rig.restart();
    let before = filters(&rig);
    let (shown, bytes) = read(&mut rig, 12, id, "a");
    assert_eq!((shown, before), (vec![0, 3], 4));
    assert!(bytes < 6 * VALUE_BYTES, "{bytes} bytes");
}

#[test]
fn the_topic_says_whether_segments_get_filters() {
    for (configs, expected) in [
        (&[][..], 0),
        (&[("segment.key.filter", "true")], 2),
        (&[("cleanup.policy", "compact"), ("segment.key.filter", "false")], 0),
        (&[("cleanup.policy", "compact"), ("segment.key.filter", "auto")], 2),
        (&[("cleanup.policy", "compact,delete")], 2),
    ] {
        let mut rig = Rig::new();
        let id = create(&mut rig, configs);
        for key in ["a", "b", "c", "d", "e"] {
            put(&mut rig, key);
        }
        pass(&mut rig, 30);
        assert_eq!(filters(&rig), expected, "{configs:?}");
        assert_eq!(read(&mut rig, 12, id, "d").0, [3]);
    }
}

#[test]
fn a_session_remembers_the_key_and_a_waiting_reader_is_woken() {
    let mut rig = Rig::new();
    let id = create(&mut rig, &[("cleanup.policy", "compact")]);
    for key in ["a", "b", "c", "d", "e"] {
        put(&mut rig, key);
    }
    pass(&mut rig, 30);
    let mut first = request(13, id, 0, Some("z"));
    first.session_epoch = 0;
    let mut answer: FetchResponse = rig.ask(13, &first);
    let session = answer.session_id;
    assert!(session > 0);
    // Two segments are passed over, the one that is written to is read.
    let data = answer.responses.remove(0).partitions.remove(0);
    let records = data.records.unwrap_or_default();
    let (header, _) = Batches::new(records).next().expect("a batch").expect("a whole one");
    assert_eq!((header.base_offset, data.unknown_tags.len()), (4, 0));
    // The next request names no partition, and gets the same again: the key is remembered.
    let next = FetchRequest {
        session_id: session,
        session_epoch: 1,
        max_bytes: 1 << 20,
        ..Default::default()
    };
    let mut answer: FetchResponse = rig.ask(13, &next);
    let data = answer.responses.remove(0).partitions.remove(0);
    let records = data.records.unwrap_or_default();
    let (header, _) = Batches::new(records).next().expect("a batch").expect("a whole one");
    assert_eq!(header.base_offset, 4);
    // At the end it waits for more, whatever key that has.
    let mut waiting = request(13, id, 5, Some("z"));
    (waiting.max_wait_ms, waiting.min_bytes) = (10_000, 1);
    assert!(rig.send(13, &waiting).is_empty());
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.push(rig.now.wall_ms, Some(b"z"), Some(b"v"), &[]);
    let data = PartitionProduceData {
        records: Some(batch.build().expect("a batch")),
        ..Default::default()
    };
    let topic = TopicProduceData {
        name: "ledger".into(),
        partition_data: vec![data],
        ..Default::default()
    };
    let produce = ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![topic],
        ..Default::default()
    };
    assert_eq!(rig.send(9, &produce).len(), 2, "both are answered");
}
