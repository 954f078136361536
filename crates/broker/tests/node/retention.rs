//! Retention as a client sees it: the node gives up old segments by time and by size, at the
//! intervals it was told, and what is gone stays gone over a restart.

use crate::rig::Rig;
use broker::Event;
use messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use messages::produce_request::{PartitionProduceData, TopicProduceData};
use messages::produce_response::PartitionProduceResponse;
use messages::*;
use ottla_log::disk::Disk as _;
use wire::record::{BatchBuilder, BatchOptions};

pub const MINUTE_MS: i64 = 60_000;
/// Above a third of the smallest segment that a topic may have, so that each takes two.
pub const VALUE_BYTES: usize = 400 << 10;

pub fn create(rig: &mut Rig, configs: &[(&str, &str)]) {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
        ..Default::default()
    };
    let topic = CreatableTopic {
        name: "old".into(),
        num_partitions: 1,
        replication_factor: 1,
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let answer: CreateTopicsResponse = rig.ask(7, &request);
    assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
}

/// One large record with the rig's time.
pub fn produce(rig: &mut Rig) {
    produce_to(rig, 0);
}

/// One in that partition.
pub fn produce_to(rig: &mut Rig, index: i32) {
    let timestamp = rig.now.wall_ms;
    assert_eq!(produce_at(rig, index, timestamp).error_code, 0);
}

/// One with that time.
fn produce_at(rig: &mut Rig, index: i32, timestamp: i64) -> PartitionProduceResponse {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.push(timestamp, None, Some(&vec![7; VALUE_BYTES]), &[]);
    let data = PartitionProduceData {
        index,
        records: Some(batch.build().expect("a batch")),
        ..Default::default()
    };
    let topic =
        TopicProduceData { name: "old".into(), partition_data: vec![data], ..Default::default() };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![topic],
        ..Default::default()
    };
    let answer: ProduceResponse = rig.ask(9, &request);
    answer.responses[0].partition_responses[0].clone()
}

/// The first offset and the one after the last.
pub fn bounds(rig: &mut Rig) -> (i64, i64) {
    bounds_of(rig, 0)
}

/// Those of that partition.
pub fn bounds_of(rig: &mut Rig, partition_index: i32) -> (i64, i64) {
    let mut offset = |timestamp: i64| {
        let partition = ListOffsetsPartition { partition_index, timestamp, ..Default::default() };
        let topic = ListOffsetsTopic {
            name: "old".into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let answer: ListOffsetsResponse = rig.ask(7, &request);
        answer.topics[0].partitions[0].offset
    };
    (offset(-2), offset(-1))
}

/// Lets minutes pass, with the node ticked when it wants to be.
pub fn pass(rig: &mut Rig, minutes: i64) {
    let end = rig.now.steady_ms + minutes * MINUTE_MS;
    while rig.now.steady_ms < end {
        let next = rig.node.next_deadline_ms().clamp(rig.now.steady_ms + 1, end);
        rig.now.wall_ms += next - rig.now.steady_ms;
        rig.now.steady_ms = next;
        rig.step(Event::Ticked);
    }
}

/// The segments that are on the disk, but for those on their way out.
fn segments(rig: &Rig) -> usize {
    let dir = std::path::Path::new("/data/old-0");
    let names = rig.disk.list(dir).expect("the directory of the log");
    names.iter().filter(|name| name.ends_with(".log")).count()
}

#[test]
fn records_older_than_retention_ms_go_with_their_segment() {
    let mut rig = Rig::new();
    create(&mut rig, &[("retention.ms", "3600000"), ("segment.bytes", "1048576")]);
    for _ in 0..6 {
        produce(&mut rig);
        pass(&mut rig, 10);
    }
    // Two a segment: the oldest is an hour old, its neighbour in the segment is not.
    assert_eq!((bounds(&mut rig), segments(&rig)), ((0, 6), 3));
    pass(&mut rig, 20);
    assert_eq!((bounds(&mut rig), segments(&rig)), ((2, 6), 2));
    rig.restart();
    assert_eq!(bounds(&mut rig), (2, 6));
    // In the end all of them, the segment that is written to included; offsets go on.
    pass(&mut rig, 120);
    assert_eq!(bounds(&mut rig), (6, 6));
    produce(&mut rig);
    assert_eq!(bounds(&mut rig), (6, 7));
    rig.restart();
    assert_eq!(bounds(&mut rig), (6, 7));
}

#[test]
fn a_log_above_retention_bytes_loses_its_oldest_segments() {
    let mut rig = Rig::new();
    let limit = (5 * VALUE_BYTES).to_string();
    create(
        &mut rig,
        &[("retention.ms", "-1"), ("retention.bytes", &limit), ("segment.bytes", "1048576")],
    );
    for _ in 0..10 {
        produce(&mut rig);
    }
    assert_eq!(bounds(&mut rig), (0, 10));
    pass(&mut rig, 10);
    // What is left is the least number of segments that is not below the limit.
    assert_eq!((bounds(&mut rig), segments(&rig)), ((4, 10), 3));
    rig.restart();
    assert_eq!(bounds(&mut rig), (4, 10));
}

#[test]
fn a_changed_retention_holds_for_what_is_there() {
    let mut rig = Rig::new();
    create(&mut rig, &[("retention.ms", "-1"), ("segment.bytes", "1048576")]);
    for _ in 0..4 {
        produce(&mut rig);
    }
    pass(&mut rig, 24 * 60);
    assert_eq!(bounds(&mut rig), (0, 4));
    let config = incremental_alter_configs_request::AlterableConfig {
        name: "retention.ms".into(),
        value: Some("60000".into()),
        ..Default::default()
    };
    let resource = incremental_alter_configs_request::AlterConfigsResource {
        resource_type: 2,
        resource_name: "old".into(),
        configs: vec![config],
        ..Default::default()
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer: IncrementalAlterConfigsResponse = rig.ask(1, &request);
    assert_eq!(answer.responses[0].error_code, 0);
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (4, 4));
}

#[test]
fn records_outside_of_the_topics_time_are_refused() {
    let mut rig = Rig::new();
    create(
        &mut rig,
        &[("message.timestamp.before.max.ms", "1000"), ("message.timestamp.after.max.ms", "500")],
    );
    let now = rig.now.wall_ms;
    for (timestamp, code) in [(now - 1000, 0), (now - 1001, 32), (now + 500, 0), (now + 501, 32)] {
        let answer = produce_at(&mut rig, 0, timestamp);
        assert_eq!(answer.error_code, code, "{}", timestamp - now);
        assert_eq!(answer.error_message.is_some(), code != 0);
    }
    assert_eq!(bounds(&mut rig), (0, 2));
}

#[test]
fn with_the_nodes_time_a_producers_does_not_matter() {
    let mut rig = Rig::new();
    create(
        &mut rig,
        &[
            ("message.timestamp.type", "LogAppendTime"),
            ("message.timestamp.before.max.ms", "1000"),
            ("retention.ms", "3600000"),
        ],
    );
    let now = rig.now.wall_ms;
    let answer = produce_at(&mut rig, 0, 7);
    assert_eq!((answer.error_code, answer.log_append_time_ms), (0, now));
    pass(&mut rig, 50);
    assert_eq!(bounds(&mut rig), (0, 1));
    pass(&mut rig, 20);
    assert_eq!(bounds(&mut rig), (1, 1));
}

#[test]
fn a_clock_that_is_set_back_deletes_nothing_and_one_set_forward_does() {
    let mut rig = Rig::new();
    create(&mut rig, &[("retention.ms", "3600000"), ("message.timestamp.after.max.ms", "7200000")]);
    let now = rig.now.wall_ms;
    // From the future: it stays until that has passed.
    assert_eq!(produce_at(&mut rig, 0, now + 7_200_000).error_code, 0);
    rig.now.wall_ms -= 24 * 60 * MINUTE_MS;
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (0, 1));
    rig.now.wall_ms = now + 2 * 60 * MINUTE_MS;
    pass(&mut rig, 50);
    assert_eq!(bounds(&mut rig), (0, 1));
    rig.now.wall_ms += 60 * MINUTE_MS;
    pass(&mut rig, 10);
    assert_eq!(bounds(&mut rig), (1, 1));
}
